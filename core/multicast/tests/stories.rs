//! Transfers told one by one, in virtual time.

mod world;

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use bellwether_multicast::small::{SmallJob, SmallSender};
use bellwether_multicast::{Fate, Finish, Input, Outcome, Rate, Settings, Slow, Way};
use bellwether_wire::transfer::{Ask, NackTime};
use world::{Content, Network, World};

const SECOND: Duration = Duration::from_secs(1);
const MIB: u64 = 1 << 20;

fn settings(network: &Network) -> Settings {
    Settings {
        rate: Rate::Fixed(network.rate),
        ..Settings::default()
    }
}

/// A leader and its members, with an assignment of which only numbers count.
fn segment(
    members: usize,
    size: u64,
    network: Network,
    settings: Settings,
) -> (World, Rc<Content>) {
    let mut world = World::new(members + 1, 7, network, settings);
    let content = world.add(Content::counted(size, 256 << 10, 1_432));
    world.lead(0);
    world.have(0, &content);
    (world, content)
}

fn send(world: &mut World, content: &Content) -> Outcome {
    let job = world.job(content, Way::Group);
    world.send(job);
    world.run_to_end(1_000 * SECOND)
}

fn lossy(loss: u32) -> Network {
    Network {
        loss,
        ..Network::default()
    }
}

fn small_job(world: &World, content: &Content) -> SmallJob {
    let (head, data) = content.bytes.clone().unwrap();
    SmallJob {
        assignment: content.id,
        head,
        data,
        participants: world.nodes[1..].iter().map(|node| node.id).collect(),
    }
}

/// MCTP-02: 8,192 bytes need no session, 8,193 do.
#[test]
fn what_fits_one_block_goes_without_a_session() {
    for loss in [0, 100_000] {
        let network = lossy(loss);
        let settings = settings(&network);
        let mut world = World::new(9, 7, network, settings);
        // 32 bytes of hash and 8 of commands stand in front.
        let content = Content::new(1, 8_192 - 40, 8_192, 1_000);
        let content = world.add(content);
        world.lead(0);
        let job = small_job(&world, &content);
        world.give(0, Input::SendSmall(Box::new(job)));
        let outcome = world.run_to_end(20 * SECOND);
        assert!(
            outcome.fates.values().all(|fate| *fate == Fate::Complete),
            "{outcome:?}"
        );
        assert!((1..=8).all(|number| world.nodes[number].spools[&content.id].is_exact()));
        assert_eq!((world.stats.announcements, world.stats.frames), (0, 0));
    }
    let (world, _) = segment(1, 1, lossy(0), Settings::default());
    let long = Content::new(1, 8_193 - 40, 8_192, 1_000);
    let error = SmallSender::new(small_job(&world, &long), Settings::default()).unwrap_err();
    assert_eq!(error.len, 8_193);
}

/// MCTP-03, and the first byte comes at once: nobody is waited for.
#[test]
fn an_announcement_precedes_data_and_data_do_not_wait() {
    let network = lossy(0);
    let settings = settings(&network);
    let (mut world, content) = segment(8, MIB, network, settings);
    let began = world.now;
    send(&mut world, &content);
    let first = world.stats.first_frame.unwrap();
    assert!(
        first.since(began) <= Duration::from_millis(1),
        "{:?}",
        first.since(began)
    );
    assert!(world.stats.announcements >= 1);
    assert_eq!(world.stats.nacks, 0, "who missed nothing asks for nothing");
}

/// MCTP-05: all frames but the last of a block are full.
#[test]
fn frames_have_the_announced_size() {
    let network = lossy(10_000);
    let settings = settings(&network);
    let (mut world, content) = segment(4, 3 * MIB, network, settings);
    send(&mut world, &content);
    let others: u64 = world
        .stats
        .sizes
        .iter()
        .filter(|(size, _)| **size != 1_432)
        .map(|(_, n)| n)
        .sum();
    assert!(
        world.stats.sizes[&1_432] > 2_000 && others <= 2 * u64::from(content.geometry.blocks())
    );
}

/// MCTP-06.
#[test]
fn announcements_ride_in_heartbeats_and_go_by_themselves_only_at_first() {
    let network = lossy(20_000);
    let settings = Settings {
        carry: true,
        ..settings(&network)
    };
    let (mut world, content) = segment(6, 4 * MIB, network, settings);
    world.crash(3);
    let job = world.job(&content, Way::Group);
    world.send(job);
    world.run_for(Duration::from_millis(300));
    world.start(3);
    let outcome = world.run_to_end(100 * SECOND);
    assert_eq!(outcome.fates[&world.nodes[3].id], Fate::Complete);
    assert!(
        outcome.fates.values().all(|fate| *fate == Fate::Complete),
        "{outcome:?}"
    );
    assert!(
        (1..8).contains(&world.stats.announcements),
        "{}",
        world.stats.announcements
    );
}

/// MCTP-07, MCTP-08.
#[test]
fn a_repeated_assignment_sends_no_frame() {
    let network = lossy(0);
    let settings = settings(&network);
    let (mut world, content) = segment(8, MIB, network, settings);
    send(&mut world, &content);
    let frames = world.stats.frames;
    let mut job = world.job(&content, Way::Group);
    job.is_new = false;
    world.send(job);
    let outcome = world.run_to_end(10 * SECOND);
    assert_eq!((world.stats.frames, outcome.frames), (frames, 0));
    assert!(outcome.fates.values().all(|fate| *fate == Fate::Complete));
}

/// MCTP-11, MCTP-12, MCTP-13: at the end, or soon after each repair block.
#[test]
fn lacks_are_told_when_the_announcement_says() {
    for nack in [NackTime::End, NackTime::Block] {
        let network = lossy(10_000);
        let settings = Settings {
            nack,
            ..settings(&network)
        };
        let (mut world, content) = segment(4, 16 * MIB, network, settings);
        let outcome = send(&mut world, &content);
        assert!(outcome.fates.values().all(|fate| *fate == Fate::Complete));
        let last = world.stats.last_first.unwrap();
        let early = world
            .stats
            .nack_times
            .iter()
            .filter(|time| **time < last)
            .count();
        assert_eq!(early > 0, nack == NackTime::Block, "{early}");
        let late = world
            .stats
            .nack_times
            .iter()
            .map(|time| time.since(last))
            .max()
            .unwrap();
        assert!(late < SECOND, "{late:?}");
        assert!(
            world.stats.statuses >= 4,
            "an empty list is the acknowledgement"
        );
    }
}

/// MCTP-14, MCTP-16: lost by ten and sent again once, with the next pass.
#[test]
fn a_frame_that_ten_members_lost_is_sent_again_once() {
    let network = lossy(0);
    let settings = Settings {
        nack: NackTime::End,
        ..settings(&network)
    };
    let mut world = World::new(11, 7, network, settings);
    let mut content = Content::counted(4 * MIB, 256 << 10, 1_432);
    content.geometry = content.geometry.plain();
    let content = world.add(content);
    world.lead(0);
    world.have(0, &content);
    // 3, 7 and the last.
    let last = content.geometry.symbols_in_all() - 1;
    world.lose = BTreeSet::from([3, 7, last]);
    let outcome = send(&mut world, &content);
    assert_eq!((outcome.resent, outcome.repairs), (3, 0));
    assert_eq!(world.stats.pass_max, 2);
    assert!(outcome.fates.values().all(|fate| *fate == Fate::Complete));
}

/// MCTP-15: receivers get half of what the sender can send, and the switch drops the rest.
#[test]
fn the_rate_follows_what_comes_through() {
    let network = Network {
        rate: 100_000_000,
        ..Network::default()
    };
    let settings = Settings {
        rate: Rate::Adaptive {
            floor: 1_000_000,
            ceiling: 1_000_000_000,
        },
        ..Settings::default()
    };
    let (mut world, content) = segment(8, 32 * MIB, network, settings);
    for node in &mut world.nodes[1..] {
        node.down = Some(50_000_000);
    }
    let began = world.now;
    let outcome = send(&mut world, &content);
    assert!(
        outcome.fates.values().all(|fate| *fate == Fate::Complete),
        "{outcome:?}"
    );
    let bytes = world.stats.bytes[&0] as f64 / (32 * MIB) as f64;
    let time = world.now.since(began).as_secs_f64() / (32.0 * 8.0 * MIB as f64 / 50e6);
    assert!(bytes <= 1.15 && time <= 1.3, "{bytes} x S in {time} x S/B");
}

/// MCTP-15: one hundredth lost at random costs an adaptive sender no tenth of its speed.
#[test]
fn random_loss_is_not_taken_for_congestion() {
    let network = lossy(10_000);
    let rate = network.rate;
    let settings = Settings {
        rate: Rate::Adaptive {
            floor: rate / 50,
            ceiling: 20 * rate,
        },
        ..Settings::default()
    };
    let (mut world, content) = segment(8, 16 * MIB, network, settings);
    let began = world.now;
    send(&mut world, &content);
    let time = world.now.since(began).as_secs_f64() / (16.0 * 8.0 * MIB as f64 / rate as f64);
    assert!(time <= 1.11 / 0.9, "{time}");
}

/// MCTP-17: all, or as soon as a quorum has it.
#[test]
fn a_quorum_ends_the_session_if_it_is_to() {
    for finish in [Finish::Quorum(2), Finish::All { quorum: 2 }] {
        let network = lossy(0);
        let settings = Settings {
            finish,
            ..settings(&network)
        };
        let (mut world, content) = segment(3, MIB, network, settings);
        world.crash(3);
        let began = world.now;
        let outcome = send(&mut world, &content);
        assert!(outcome.quorum);
        let waited = world.now.since(began) > SECOND;
        assert_eq!(waited, matches!(finish, Finish::All { .. }));
        let dead = &outcome.fates[&world.nodes[3].id];
        assert!(matches!(dead, Fate::Silent | Fate::LeftBehind), "{dead:?}");
    }
}

/// MCTP-18: two of three are cut off, and the quorum is two.
#[test]
fn without_a_quorum_the_tries_end_and_the_problem_is_told() {
    let network = lossy(0);
    let settings = Settings {
        finish: Finish::All { quorum: 2 },
        ..settings(&network)
    };
    let (mut world, content) = segment(3, MIB, network, settings);
    world.crash(2);
    world.crash(3);
    let outcome = send(&mut world, &content);
    assert!(!outcome.quorum);
    assert_eq!(outcome.fates[&world.nodes[1].id], Fate::Complete);
    assert_eq!(outcome.fates[&world.nodes[2].id], Fate::Silent);
}

/// MCTP-21, CHAN-06, CHAN-07: two groups at once, and each member gets its group's alone.
#[test]
fn only_members_of_the_group_take_part() {
    let network = lossy(10_000);
    let settings = settings(&network);
    let (mut world, red) = segment(6, 4 * MIB, network, settings);
    let blue = world.add(Content::counted(3 * MIB, 256 << 10, 1_432));
    world.have(0, &blue);
    for (group, content, members) in [("red", &red, 1..=3), ("blue", &blue, 4..=6)] {
        let mut job = world.job(content, Way::Group);
        let group: bellwether_types::Name = group.parse().unwrap();
        job.group = Some(group.clone());
        job.participants = members
            .clone()
            .map(|number| world.nodes[number].id)
            .collect();
        for number in members {
            world.give(number, Input::Groups(BTreeSet::from([group.clone()])));
        }
        world.send(job);
    }
    world.run_for(60 * SECOND);
    assert_eq!(world.outcomes.len(), 2);
    for number in 1..=6 {
        let has = (
            world.is_complete(number, &red),
            world.is_complete(number, &blue),
        );
        assert_eq!(has, (number <= 3, number > 3), "{number}");
        assert_eq!(world.nodes[number].spools.len(), 1);
    }
}

/// MCTP-22.
#[test]
fn whoever_joins_late_gets_what_it_missed() {
    let network = lossy(10_000);
    let settings = settings(&network);
    let (mut world, content) = segment(4, 16 * MIB, network, settings);
    world.crash(4);
    let job = world.job(&content, Way::Group);
    world.send(job);
    world.run_for(Duration::from_millis(1_300));
    world.start(4);
    let outcome = world.run_to_end(100 * SECOND);
    assert!(
        outcome.fates.values().all(|fate| *fate == Fate::Complete),
        "{outcome:?}"
    );
    assert!(outcome.resent > 0 && world.stats.bytes[&0] < 2 * 16 * MIB);
}

/// MCTP-23: what is kept of a gigabyte is small.
#[test]
fn memory_does_not_grow_with_the_assignment() {
    let network = Network {
        rate: 1_000_000_000,
        ..lossy(10_000)
    };
    let settings = settings(&network);
    let (mut world, content) = segment(1, 1 << 30, network, settings);
    let outcome = send(&mut world, &content);
    assert_eq!(outcome.fates[&world.nodes[1].id], Fate::Complete);
    assert!(world.stats.kept_max < 64 << 10, "{}", world.stats.kept_max);
    assert!(world.stats.codes_max <= 8);
}

/// MCTP-24: no message is longer than a packet (the network sees to that), and a hundred thousand lost frames are told.
#[test]
fn a_hundred_thousand_lost_frames_are_told_in_many_messages() {
    let network = Network {
        rate: 1_000_000_000,
        ..lossy(550_000)
    };
    let settings = Settings {
        nack: NackTime::End,
        slow: Slow::Wait,
        tries_max: 100,
        ..settings(&network)
    };
    let (mut world, content) = segment(1, 256 * MIB, network, settings);
    let outcome = send(&mut world, &content);
    assert_eq!(
        outcome.fates[&world.nodes[1].id],
        Fate::Complete,
        "{outcome:?}"
    );
    assert!(outcome.resent > 100_000, "{}", outcome.resent);
}

/// What operators are told of those who are waited for: one that loses much lags, one that is not there lacks all.
#[test]
fn a_sender_knows_how_far_everybody_is_while_it_sends() {
    let network = Network::default();
    // Whoever gets on badly stays in the session.
    let settings = Settings {
        slow: Slow::Wait,
        rate: Rate::Adaptive {
            floor: 1_000_000,
            ceiling: network.rate,
        },
        ..Settings::default()
    };
    let (mut world, content) = segment(4, 32 * MIB, network, settings);
    world.nodes[2].loss = Some(400_000);
    world.crash(4);
    let job = world.job(&content, Way::Group);
    world.send(job);
    let all = content.geometry.symbols_in_all();
    let lacking = |world: &World, number: usize| {
        let mut senders = world.nodes[0].station.as_ref().unwrap().senders();
        let (_, sender) = senders.next().unwrap();
        let id = world.nodes[number].id;
        let mut progress = sender.progress();
        progress.find(|(node, ..)| *node == id).unwrap().2
    };
    world.run_for(SECOND / 2);
    let at_first = lacking(&world, 1);
    assert!(at_first > all / 2, "what was not sent yet is lacking");
    // Its rate rises as it learns what comes through.
    for _ in 0..60 {
        if lacking(&world, 1) < all / 2 {
            break;
        }
        world.run_for(SECOND / 2);
    }
    let [well, badly, gone] = [1, 2, 4].map(|number| lacking(&world, number));
    assert_eq!(gone, all);
    assert!(well < all / 2, "{well} of {all}");
    assert!(
        badly < all && well * 5 < badly * 4,
        "{well}, {badly} of {all}"
    );
}

/// MCTP-25: nobody hears multicast, known or not.
#[test]
fn a_segment_without_multicast_makes_a_chain_and_no_star() {
    for way in [Way::Chain, Way::Group] {
        let network = lossy(0);
        let settings = settings(&network);
        let (mut world, content) = segment(6, 8 * MIB, network, settings);
        for node in &mut world.nodes {
            node.hears_groups = false;
        }
        let job = world.job(&content, way);
        world.send(job);
        let began = world.now;
        let outcome = world.run_to_end(200 * SECOND);
        assert!(
            outcome.fates.values().all(|fate| *fate == Fate::Complete),
            "{outcome:?}"
        );
        let sent = world.stats.bytes[&0] as f64 / (8 * MIB) as f64;
        // Where it had to be found out first, it was sent once in vain.
        let most = if way == Way::Chain { 2.2 } else { 3.4 };
        assert!(sent < most, "{way:?}: {sent} x S from the leader");
        let time = world.now.since(began).as_secs_f64() / (64.0 * MIB as f64 / 50e6);
        assert!(time < 5.0, "{way:?}: {time} x S/B");
    }
}

/// MCTP-25: to one member there is no multicast.
#[test]
fn one_member_is_served_by_unicast() {
    let network = lossy(20_000);
    let settings = settings(&network);
    let (mut world, content) = segment(1, 4 * MIB, network, settings);
    world.nodes[1].hears_groups = false;
    let job = world.job(&content, Way::Single);
    world.send(job);
    world.run_for(10 * SECOND);
    assert!(world.is_complete(1, &content));
}

/// One receiver with a tenth of the rate, or 30 % loss: the others do not wait, and it gets the bytes from a neighbour.
#[test]
fn a_slow_receiver_does_not_slow_the_others() {
    let finished = |slow: &dyn Fn(&mut World)| {
        let network = lossy(0);
        let settings = settings(&network);
        let (mut world, content) = segment(8, 16 * MIB, network, settings);
        slow(&mut world);
        let began = world.now;
        let outcome = send(&mut world, &content);
        assert!(
            outcome.fates.values().all(|fate| *fate == Fate::Complete),
            "{outcome:?}"
        );
        let done = (1..=7).map(|number| world.nodes[number].done[&content.id].clone().unwrap());
        let served: u64 = (1..=7)
            .map(|number| world.stats.bytes.get(&number).copied().unwrap_or(0))
            .sum();
        (done.max().unwrap().since(began).as_secs_f64(), served)
    };
    let (normal, _) = finished(&|_| {});
    let (lossy, served) = finished(&|world| world.nodes[8].loss = Some(300_000));
    assert!(lossy <= normal * 1.05, "{lossy} s in place of {normal} s");
    assert!(served > MIB, "{served} bytes from neighbours");
    let (slow, served) = finished(&|world| world.nodes[8].down = Some(5_000_000));
    assert!(slow <= normal * 1.05, "{slow} s in place of {normal} s");
    assert!(served > MIB, "{served} bytes from neighbours");
}

/// TREE-24, and nothing is started over: the next leader sends what members lack.
#[test]
fn the_next_leader_goes_on_from_what_members_hold() {
    let network = lossy(10_000);
    let settings = settings(&network);
    let (mut world, content) = segment(6, 16 * MIB, network, settings);
    let job = world.job(&content, Way::Group);
    world.send(job);
    world.run_for(Duration::from_millis(1_400));
    world.crash(0);
    world.run_for(Duration::from_millis(300));
    world.lead(1);
    world.have(1, &content);
    let old = world.nodes[0].id;
    let mut job = world.job(&content, Way::Group);
    job.participants.remove(&old);
    job.ask = Ask::All;
    job.is_new = false;
    world.send(job);
    let outcome = world.run_to_end(100 * SECOND);
    assert!(
        outcome.fates.values().all(|fate| *fate == Fate::Complete),
        "{outcome:?}"
    );
    // About 8.3 MiB had been sent, so 7.7 MiB were not, and all of it costs its headers and repairs.
    let both = (world.stats.bytes[&0] + world.stats.bytes[&1]) as f64 / (16 * MIB) as f64;
    assert!(both < 1.10, "{both} x S from both leaders");
}

/// TREE: a leader sends what comes to it while the rest comes. It is there when all of it came, and the others soon after.
#[test]
fn what_comes_to_a_leader_block_by_block_goes_out_at_once() {
    const SIZE: u64 = 32 * MIB;
    for rate in [
        Rate::Fixed(Network::default().rate),
        Rate::Adaptive {
            floor: 1_000_000,
            ceiling: 1_000_000_000,
        },
    ] {
        let network = lossy(1_000);
        let settings = Settings {
            rate,
            ..Settings::default()
        };
        let mut world = World::new(9, 7, network, settings);
        let content = world.add(Content::counted(SIZE, 256 << 10, 1_432));
        world.lead(0);
        let began = world.now;
        let head = content.geometry.head_blocks();
        world.come(0, &content, 0..head);
        let mut job = world.job(&content, Way::Group);
        job.is_available = false;
        world.send(job);
        let floor = SIZE as f64 * 8.0 / Network::default().rate as f64;
        let blocks = content.geometry.blocks();
        let each = Duration::from_secs_f64(floor / f64::from(blocks - head));
        for block in head..blocks {
            world.run_for(each);
            assert!(!world.nodes[0].done.contains_key(&content.id));
            world.come(0, &content, block..block + 1);
        }
        let outcome = world.run_to_end(100 * SECOND);
        assert!(world.nodes[0].done[&content.id].is_ok());
        assert!(
            outcome.fates.values().all(|fate| *fate == Fate::Complete),
            "{outcome:?}"
        );
        let time = world.now.since(began).as_secs_f64() / floor;
        assert!(time <= 1.12, "{rate:?}: {time} x S/B");
    }
}

/// What the next leader lacks may come to it in another way, when its session is open already.
#[test]
fn a_leader_that_comes_by_the_rest_meanwhile_sends_it() {
    let network = lossy(10_000);
    let settings = settings(&network);
    let (mut world, content) = segment(4, 8 * MIB, network, settings);
    let job = world.job(&content, Way::Group);
    world.send(job);
    world.run_for(Duration::from_millis(700));
    world.crash(0);
    world.run_for(Duration::from_millis(300));
    world.lead(1);
    let (old, own) = (world.nodes[0].id, world.nodes[1].id);
    let mut job = world.job(&content, Way::Group);
    job.participants.retain(|node| ![old, own].contains(node));
    (job.ask, job.is_new, job.is_available) = (Ask::All, false, false);
    world.send(job);
    let sources = vec![world.nodes[2].id];
    let assignment = content.id;
    world.give(
        1,
        Input::Fetch {
            assignment,
            sources,
        },
    );
    world.run_for(SECOND);
    world.have(1, &content);
    let outcome = world.run_to_end(100 * SECOND);
    assert!(
        outcome.fates.values().all(|fate| *fate == Fate::Complete),
        "{outcome:?}"
    );
}

/// After kill -9 at most 2 % more are sent than were lacking.
#[test]
fn a_receiver_that_starts_again_goes_on_where_it_was() {
    let network = lossy(0);
    let settings = settings(&network);
    let (mut world, content) = segment(4, 16 * MIB, network, settings);
    world.receiving.keep_every = 256;
    world.crash(4);
    world.start(4);
    let job = world.job(&content, Way::Group);
    world.send(job);
    world.run_for(Duration::from_millis(1_500));
    world.crash(4);
    world.run_for(Duration::from_millis(500));
    world.start(4);
    let outcome = world.run_to_end(100 * SECOND);
    assert!(
        outcome.fates.values().all(|fate| *fate == Fate::Complete),
        "{outcome:?}"
    );
    let symbols = content.geometry.symbols_in_all();
    // Half a second of frames and up to half a second until the next announcement.
    let missed = (0.5 + 0.52) * 50e6 / 8.0 / 1_514.0;
    let again = (outcome.frames - symbols) as f64;
    assert!(
        again <= missed + 0.02 * symbols as f64,
        "{again} frames again for {missed}"
    );
}

/// One full disk is that node's failure alone.
#[test]
fn a_full_disk_fails_one_node_and_says_so() {
    let network = lossy(10_000);
    let settings = settings(&network);
    let (mut world, content) = segment(4, 4 * MIB, network, settings);
    world.nodes[2].disk_full = true;
    let outcome = send(&mut world, &content);
    let full = &outcome.fates[&world.nodes[2].id];
    assert_eq!(*full, Fate::Failed("no space left on device".to_owned()));
    let complete = outcome
        .fates
        .values()
        .filter(|fate| **fate == Fate::Complete)
        .count();
    assert_eq!(complete, 3);
}
