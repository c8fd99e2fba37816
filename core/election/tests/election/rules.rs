//! Rules beside the table, one by one. Letters: see `one`.

use std::time::Duration;

use bellwether_election::{
    Abstention, Candidacy, Contest, Event, Input, Memory, Output, Preemption, Profile, Ranking,
    Settings, To,
};
use bellwether_machine::Machine;
use bellwether_types::PRIORITY_MAX;
use bellwether_wire::control::{ElectionMessage, ProbeReply, Standing};

use crate::network::Network;
use crate::one::{MS, One, REIGN, candidate, classic, epoch, fast, node};

fn started(change: impl FnOnce(&mut Settings)) -> One {
    let mut one = One::with(change, fast(), Memory::default());
    one.give(Input::Start);
    one
}

fn reply(counter: u64, leader: char, standing: Standing) -> ElectionMessage {
    ElectionMessage::ProbeReply(ProbeReply {
        obeyed: Some(epoch(leader, counter)),
        standing,
    })
}

/// ELECT-05.
#[test]
fn whoever_is_not_on_the_list_never_claims() {
    let listed = |settings: &mut Settings| {
        settings.candidacy = Candidacy::Listed(vec!["x".parse().unwrap()]);
    };
    let mut one = started(listed);
    assert!(one.pass(60_000 * MS).claims().is_empty());
    assert!(one.known().pass(60_000 * MS).claims().is_empty());
    let mut one = started(|settings| {
        settings.candidacy = Candidacy::Listed(vec!["x".parse().unwrap(), "m".parse().unwrap()]);
    });
    assert!(!one.pass(60_000 * MS).claims().is_empty());
}

/// ELECT-05, Q-41.
#[test]
fn a_fixed_leader_leads_while_it_lives() {
    for profile in [Profile::Claim, Profile::Quiet] {
        let mut network = Network::new(1, 5, fast(), |index| 1_000 - 100 * index as u32);
        for host in &mut network.nodes {
            host.settings.fixed = Some("n0003".parse().unwrap());
            host.settings.profile = profile;
        }
        network.start_all();
        network.run(2_000 * MS);
        assert_eq!(network.agreed(), Some(3));
        network.crash(3);
        network.run(1_000 * MS);
        assert_eq!(network.agreed(), Some(0), "an election among the others");
        network.start(3);
        network.run(2_000 * MS);
        assert_eq!(network.agreed(), Some(3), "it takes over again");
    }
}

/// ELECT-16.
#[test]
fn among_first_claimants_the_earliest_claim_wins() {
    for profile in [Profile::Claim, Profile::Quiet] {
        let first = |settings: &mut Settings| {
            settings.contest = Contest::FirstClaimant;
            settings.profile = profile;
        };
        let mut one = started(first).known();
        one.hear_claim('w', REIGN + 1);
        assert_eq!(one.phase(), "concession", "however weak it is");
    }
    for seed in 0..50 {
        let mut network = Network::new(seed, 6, fast(), |index| index as u32);
        for host in &mut network.nodes {
            host.settings.contest = Contest::FirstClaimant;
        }
        network.start_all();
        network.run(2_000 * MS);
        let leader = network.agreed().unwrap();
        network.told.clear();
        network.crash(leader);
        network.run(1_000 * MS);
        let now = network.agreed().unwrap_or_else(|| panic!("seed {seed}"));
        let claimed = network.told.iter().filter_map(|(_, index, event)| {
            matches!(event, Event::Claimed { .. }).then_some(*index)
        });
        let claimed: Vec<usize> = claimed.collect();
        // Claims that crossed are decided by name.
        assert!(
            claimed[0] == now || claimed.len() > 1,
            "seed {seed}: {claimed:?}, {now}"
        );
    }
}

/// ELECT-29: as an extra (hole a5: only by a margin, and only for long enough).
#[test]
fn preemption_takes_a_margin_and_time() {
    let preemption = Some(Preemption {
        margin: 100,
        after: Duration::from_secs(3),
    });
    let mut network = Network::new(1, 3, fast(), |index| 1_000 + 150 * index as u32);
    for host in &mut network.nodes {
        host.settings.preemption = preemption;
    }
    network.start(0);
    network.start(1);
    network.run(5_000 * MS);
    assert_eq!(network.agreed(), Some(1));
    network.give(0, Input::Measured(1_240));
    network.run(5_000 * MS);
    assert_eq!(network.agreed(), Some(1), "within the margin");
    network.start(2);
    network.run(2_500 * MS);
    assert_eq!(network.agreed(), Some(1), "not for long enough");
    network.run(2_000 * MS);
    assert_eq!(network.agreed(), Some(2));
    let epoch = network.reign(2);
    network.run(20_000 * MS);
    assert_eq!(network.reign(2), epoch);
}

/// Design §6, ELECT-34, hole a9.
#[test]
fn a_claim_takes_a_counter_that_is_on_disk_and_above_all_that_were_seen() {
    let kept = Memory {
        obeyed: Some(epoch('l', 40)),
        counter: 45,
    };
    let mut one = One::with(|_| (), fast(), kept);
    one.give(Input::Start);
    let said = one.pass_until(2_000 * MS, "voting");
    assert_eq!(said.claims(), [46]);
    let claim = said
        .0
        .iter()
        .position(|output| matches!(output, Output::Send { .. }));
    let kept = said
        .0
        .iter()
        .position(|output| matches!(output, Output::Persist(_)));
    assert!(kept < claim, "{said:?}");
    assert!(said.persisted()[0].counter >= 46);
    // What was obeyed before the restart binds.
    let mut one = One::with(
        |_| (),
        fast(),
        Memory {
            obeyed: Some(epoch('l', 40)),
            counter: 45,
        },
    );
    one.give(Input::Start);
    one.hear_alive('a', 39);
    assert_eq!(one.election.reign(), None);
}

/// The disk is not in the way of a failover: the counter was granted when the last leader became known.
#[test]
fn a_claim_after_a_leaders_death_waits_for_no_disk() {
    for one in One::all() {
        let mut one = one.known();
        let said = one.pass_until(20_000 * MS, "voting");
        let claim = said
            .0
            .iter()
            .position(|output| matches!(output, Output::Send { to: To::All, .. }));
        assert!(
            said.0[..claim.unwrap()]
                .iter()
                .all(|output| !matches!(output, Output::Persist(_)))
        );
        let said = one.pass_until(20_000 * MS, "leading");
        assert_eq!(said.persisted(), []);
    }
}

#[test]
fn whoever_speaks_of_an_old_reign_is_told_of_the_new_one() {
    for one in One::all() {
        let mut one = one.leading();
        for said in [one.hear_alive('l', REIGN), one.hear_claim('w', REIGN + 1)] {
            let told = said
                .0
                .iter()
                .filter(|output| matches!(output, Output::Send { .. }));
            assert_eq!(told.count(), 1);
        }
        let said = one.hear_alive('l', REIGN);
        assert!(matches!(said.told_to('l')[..], [ElectionMessage::Alive(_)]));
        assert_eq!(one.phase(), "leading");
        let mut one = One::all().next().unwrap().known();
        assert!(
            one.hear_alive('a', REIGN - 1).is_silent(),
            "only the leader answers"
        );
    }
}

/// Whoever lost a leader of a high epoch would be alone for ever beside a leader of a lower one.
#[test]
fn a_leader_below_what_others_have_obeyed_claims_a_higher_epoch() {
    for one in One::all() {
        let mut one = one.leading();
        let said = one.hear('w', reply(50, 'x', Standing::Waits));
        assert_eq!(said.claims(), [51]);
    }
    for one in One::all() {
        let mut one = one.unknown();
        let said = one.hear_alive('w', REIGN - 1);
        assert_eq!(said.told_to('w').len(), 1);
    }
}

/// Bad input of a kind that only a holder of the key can make.
#[test]
fn a_counter_out_of_all_proportion_is_refused_and_told() {
    for one in One::all() {
        let mut one = one.known();
        for counter in [REIGN + (1 << 33), 1 << 60, u64::MAX] {
            let said = one.hear_alive('a', counter);
            assert!(matches!(said.events()[..], [Event::Implausible { .. }]));
            one.hear_claim('a', counter);
            one.hear('a', reply(counter, 'a', Standing::Follows { silent_ms: 0 }));
            assert_eq!(one.election.reign(), Some(epoch('l', REIGN)));
        }
        let mut alive = one.alive('l', REIGN);
        alive.successor = Some(epoch('m', u64::MAX));
        one.hear('l', ElectionMessage::Alive(alive));
        assert_eq!(one.phase(), "known");
        let mut fresh = One::new(Profile::Claim, one.timing());
        fresh.give(Input::Start);
        fresh.hear_alive('a', u64::MAX);
        fresh.hear_alive('a', (1 << 48) + 1);
        assert_eq!(fresh.phase(), "unknown");
        fresh.hear_alive('a', 1 << 40);
        assert_eq!(fresh.phase(), "known");
    }
}

#[test]
fn a_reign_in_another_nodes_name_is_ignored() {
    let mut one = started(|_| ()).known();
    let before = one.election.state().clone();
    let alive = one.alive('a', REIGN + 1);
    one.hear('w', ElectionMessage::Alive(alive));
    let claim = one.claim('a', REIGN + 1);
    one.hear('w', ElectionMessage::Claim(claim));
    assert_eq!(one.election.state().phase, before.phase);
}

/// Two timings on one channel: named, not obeyed, and not fought.
#[test]
fn another_timing_is_named_and_neither_obeyed_nor_contested() {
    let mut one = started(|_| ());
    let mut alive = one.alive('a', 3);
    alive.heartbeat_ms = 500;
    let said = one.hear('a', ElectionMessage::Alive(alive.clone()));
    let why = Abstention::OtherTiming;
    let (node, heartbeat_ms) = (node('a'), 500);
    let expected = [
        &Event::Mismatch { node, heartbeat_ms },
        &Event::Abstains { why },
    ];
    assert_eq!(said.events(), expected);
    for _ in 0..50 {
        assert!(one.pass(250 * MS).claims().is_empty());
        assert!(
            one.hear('a', ElectionMessage::Alive(alive.clone()))
                .events()
                .is_empty()
        );
    }
    let said = one.pass_until(5_000 * MS, "voting");
    assert!(said.events().contains(&&Event::AbstainsNoMore));
    let mut one = started(|_| ()).leading();
    let mut claim = one.claim('a', REIGN + 5);
    claim.heartbeat_ms = 500;
    one.hear('a', ElectionMessage::Claim(claim));
    assert_eq!(one.phase(), "leading");
}

/// Eight questions to the leader within the threshold, then some to neighbours.
#[test]
fn a_silent_leader_is_asked_several_times_and_then_the_neighbours() {
    for one in One::all() {
        let mut one = one.known();
        let silence = one.timing().silence();
        assert!(one.pass(one.timing().heartbeat()).is_silent());
        let said = one.pass(silence - one.timing().heartbeat());
        let (leader, others): (Vec<_>, Vec<_>) = said
            .asked()
            .into_iter()
            .partition(|asked| *asked == node('l'));
        assert!((7..=8).contains(&leader.len()), "{}", leader.len());
        assert!(others.len() >= 4, "{others:?}");
        assert_eq!(others[0], node('a'), "the strongest first");
    }
}

/// An answer counts as a heartbeat, for it is one.
#[test]
fn an_answer_of_the_leader_ends_the_suspicion() {
    for one in One::all() {
        let mut one = one.leading();
        let said = one.hear('w', ElectionMessage::Probe);
        let [ElectionMessage::Alive(alive)] = said.told_to('w')[..] else {
            panic!("{said:?}")
        };
        assert_eq!(alive.epoch, epoch('m', REIGN + 1));
    }
}

#[test]
fn very_many_questions_are_answered_by_few_more_heartbeats() {
    for one in One::all() {
        let mut one = one.leading();
        let (mut single, mut all) = (0, 0);
        for _ in 0..500 {
            let said = one.hear('w', ElectionMessage::Probe);
            single += said.told_to('w').len();
            all += said.heartbeats().len();
        }
        assert_eq!((single, all), (8, 5));
    }
}

/// A heartbeat that only this node missed does not make it claim before the others.
#[test]
fn the_silence_counts_from_the_last_heartbeat_that_a_neighbour_heard() {
    for one in One::all() {
        let mut one = one.known();
        let (silence, heartbeat) = (one.timing().silence(), one.timing().heartbeat());
        one.pass(silence - 2 * MS);
        let silent_ms = (silence - heartbeat).as_millis() as u32;
        one.hear('a', reply(REIGN, 'l', Standing::Follows { silent_ms }));
        assert!(one.pass(heartbeat - MS).claims().is_empty());
        assert_eq!(one.phase(), "known");
        one.pass_until(one.timing().rank_wait(2) + 2 * MS, "unknown");
    }
}

/// Some other one still hears the leader that we miss.
#[test]
fn a_leader_that_lives_for_a_neighbour_is_given_time_to_be_heard() {
    for one in One::all() {
        let mut one = one.unknown();
        one.hear('a', reply(REIGN, 'l', Standing::Follows { silent_ms: 1 }));
        assert!(
            one.pass(one.timing().silence() - 2 * MS)
                .claims()
                .is_empty()
        );
        assert_eq!(one.phase(), "unknown");
    }
}

#[test]
fn a_neighbour_that_follows_a_later_reign_leads_to_its_leader() {
    for state in [One::known, One::unknown, One::conceding] {
        for one in One::all() {
            let mut one = state(one);
            let said = one.hear(
                'a',
                reply(REIGN + 2, 'w', Standing::Follows { silent_ms: 3 }),
            );
            assert_eq!(said.asked(), [node('w')]);
        }
    }
}

/// A process that was restarted and has forgotten its office says so; nobody need wait for the threshold.
#[test]
fn a_leader_that_was_restarted_is_followed_at_once() {
    let mut one = started(|_| ()).known();
    let said = one.hear('l', reply(REIGN, 'l', Standing::Waits));
    assert!(said.is_silent(), "two stronger ones come first");
    one.pass_until(one.timing().rank_wait(2) + MS, "unknown");
    // ELECT-09 knows no exception.
    let mut one = One::new(Profile::Claim, classic());
    one.give(Input::Start);
    let mut one = one.known();
    one.hear('l', reply(REIGN, 'l', Standing::Waits));
    one.pass(4_990 * MS);
    assert_eq!(one.phase(), "known");
}

/// A weaker one that missed more heartbeats does not lead because it was first.
#[test]
fn a_stronger_one_that_misses_the_leader_too_answers_a_weaker_claim_in_its_slot() {
    for profile in [Profile::Claim, Profile::Quiet] {
        let mut one = started(|settings| settings.profile = profile).known();
        one.pass(one.timing().missed() + one.timing().rank_wait(2));
        one.hear_claim('w', REIGN + 1);
        let said = one.pass(one.timing().rank_wait(2) + MS / 10);
        assert_eq!(said.claims(), [REIGN + 2]);
        let mut one = started(|settings| settings.profile = profile).known();
        one.pass(one.timing().heartbeat());
        one.hear_claim('w', REIGN + 1);
        assert!(one.pass(one.timing().rank_wait(2) + MS).claims().is_empty());
    }
}

/// Hole a6, and a7's local health.
#[test]
fn a_candidate_whom_nobody_answers_abstains_and_says_so() {
    for profile in [Profile::Claim, Profile::Quiet] {
        let mut one = started(|settings| settings.profile = profile).known();
        let mut events = Vec::new();
        for _ in 0..40 {
            one.now = one.election.wake_at().unwrap();
            let said = one.give(Input::Wake);
            assert!(said.claims().is_empty());
            events.extend(said.events().into_iter().cloned());
        }
        let why = Abstention::HearsNobody;
        assert!(events.contains(&Event::Abstains { why }));
        let said = one.give(Input::Heard);
        assert_eq!(said.events(), [&Event::AbstainsNoMore]);
        assert!(
            one.pass(one.timing().missed() - MS).claims().is_empty(),
            "listens first"
        );
        one.pass_until(200 * MS, "voting");
    }
}

/// Local health: whoever stood still reads its mail before it believes its clock.
#[test]
fn a_member_that_stood_still_reads_before_it_claims() {
    for one in One::all() {
        let mut one = one.known();
        let live = ['l', 'm', 'w'].map(candidate);
        one.give(Input::Ranked(Ranking::of(&candidate('m'), &live)));
        one.hear_alive('l', REIGN);
        one.now += one.timing().silence() * 3;
        assert!(one.give(Input::Wake).claims().is_empty());
        one.hear_alive('l', REIGN);
        assert!(one.pass(one.timing().silence() - MS).claims().is_empty());
        assert_eq!(one.phase(), "known");
    }
}

/// Hole a8: no heartbeat before it is known whether somebody else leads.
#[test]
fn a_leader_that_stood_still_asks_before_it_speaks() {
    for one in One::all() {
        let mut one = one.leading();
        one.now += one.timing().silence();
        let said = one.give(Input::Wake);
        assert!(said.heartbeats().is_empty() && said.claims().is_empty());
        assert_eq!(said.asked()[0], node('a'));
        assert_eq!(one.phase(), "unknown");
        let said = one.pass(one.timing().reclaim_wait());
        assert_eq!(said.claims(), [REIGN + 2], "sooner than anyone (ELECT-13)");
        let mut one = One::all().next().unwrap().leading();
        one.now += one.timing().silence();
        let said = one.hear_alive('w', REIGN + 2);
        assert!(said.claims().is_empty());
        assert!(said.events().contains(&&Event::Deposed {
            by: epoch('w', REIGN + 2)
        }));
    }
}

#[test]
fn a_successor_leads_without_a_vote_and_others_wait_one_heartbeat_for_it() {
    for one in One::all() {
        let mut one = one.known();
        let mut last = one.alive('l', REIGN);
        last.successor = Some(epoch('m', REIGN + 1));
        let said = one.hear('l', ElectionMessage::Alive(last.clone()));
        assert_eq!(said.heartbeats()[0].epoch, epoch('m', REIGN + 1));
        assert!(said.claims().is_empty());
        // What it obeys from now on is on disk before it speaks.
        let obeyed = Some(epoch('m', REIGN + 1));
        let kept =
            |output: &Output| matches!(output, Output::Persist(memory) if memory.obeyed == obeyed);
        let kept = said.0.iter().position(kept).unwrap();
        let spoke = said
            .0
            .iter()
            .position(|output| matches!(output, Output::Send { to: To::All, .. }));
        assert!(kept < spoke.unwrap());
    }
    for one in One::all() {
        let mut one = one.known();
        let mut last = one.alive('l', REIGN);
        last.successor = Some(epoch('a', REIGN + 1));
        one.hear('l', ElectionMessage::Alive(last));
        let said = one.pass(one.timing().heartbeat() - MS);
        assert!(said.claims().is_empty());
        assert_eq!(said.asked()[0], node('a'));
        let said = one.pass_until(20_000 * MS, "voting");
        assert!(!said.claims().is_empty());
    }
}

#[test]
fn there_is_no_stepping_down_for_nobody() {
    let mut one = started(|_| ());
    one.pass_until(5_000 * MS, "leading");
    let said = one.give(Input::StepDown);
    assert_eq!(said.events(), [&Event::NoSuccessor]);
    assert_eq!(one.phase(), "leading");
}

/// It need not be the strongest; but one that is not known to live leads nobody anywhere.
#[test]
fn the_office_goes_to_whom_it_is_to_go_to() {
    for one in One::all() {
        let mut one = one.leading();
        let live = ['m', 'x', 'y'].map(candidate);
        one.give(Input::Ranked(Ranking::of(&candidate('m'), &live)));
        let said = one.give(Input::Appoint(candidate('q').node));
        assert_eq!(said.events(), [&Event::NoSuccessor]);
        let said = one.give(Input::Appoint(candidate('y').node));
        assert_eq!(said.heartbeats()[0].successor, Some(epoch('y', REIGN + 2)));
        assert_eq!(said.told_to('y').len(), 1);
    }
}

/// Whoever hands over does not want the office back when the successor fails.
#[test]
fn whoever_stepped_down_claims_last() {
    for one in One::all() {
        let mut one = one.leading();
        let live = ['m', 'x', 'y'].map(candidate);
        one.give(Input::Ranked(Ranking::of(&candidate('m'), &live)));
        let said = one.give(Input::StepDown);
        assert_eq!(said.heartbeats()[0].successor, Some(epoch('x', REIGN + 2)));
        assert_eq!(said.told_to('x').len(), 1);
        one.pass_until(one.timing().heartbeat(), "unknown");
        let wait = one.timing().claim_wait(Some(64), priority());
        assert!(one.pass(wait - MS).claims().is_empty());
    }
}

fn priority() -> u32 {
    crate::one::OWN
}

#[test]
fn whoever_is_no_longer_a_candidate_leaves_office() {
    for successor in [true, false] {
        let mut one = started(|_| ()).leading();
        if !successor {
            let alone = [candidate('m')];
            one.give(Input::Ranked(Ranking::of(&candidate('m'), &alone)));
        }
        let mut settings = one.election.settings().clone();
        settings.candidacy = Candidacy::Never;
        let said = one.give(Input::Reconfigured(Box::new(settings.clone())));
        let stepped = |event: &&Event| matches!(event, Event::SteppedDown { .. });
        assert_eq!(said.events().iter().any(stepped), successor);
        assert!(one.pass(20_000 * MS).claims().is_empty());
        settings.candidacy = Candidacy::Open;
        one.give(Input::Reconfigured(Box::new(settings)));
        one.pass_until(20_000 * MS, "leading");
    }
}

/// ELECT-02, ELECT-11, ELECT-12.
#[test]
fn claims_say_who_and_how_strong_and_the_strong_are_sooner() {
    let wait = |priority| {
        let mut one = started(|_| ());
        one.give(Input::Measured(priority));
        one.give(Input::Start);
        let from = one.now;
        let said = one.pass_until(10_000 * MS, "voting");
        let priorities = said.0.iter().filter_map(|output| match output {
            Output::Send {
                to: To::All,
                message: ElectionMessage::Claim(claim),
            } => Some((claim.name.as_str().to_owned(), claim.priority)),
            _ => None,
        });
        assert_eq!(priorities.max(), Some(("m".to_owned(), priority)));
        one.now.since(from)
    };
    assert!(wait(PRIORITY_MAX) + fast().heartbeat() < wait(0));
}
