//! Transfers in a segment where everything can happen, in virtual time and from one seed.
//!
//! `BELLWETHER_SEEDS` says how many seeds are run, `BELLWETHER_SEED` runs one of them, `TRACE` shows its messages.
#![expect(
    clippy::disallowed_methods,
    reason = "a test is told its seeds by the environment"
)]

mod world;

use std::rc::Rc;
use std::time::Duration;

use bellwether_multicast::{Fate, Finish, Rate, Settings, Slow, Way};
use bellwether_wire::transfer::{Ask, NackTime};
use world::{Content, Network, World};

const MILLION: u64 = 1_000_000;

/// MCTP-01, MCTP-10, MCTP-14, MCTP-17, MCTP-19, MCTP-22, MCTP-23. Loss, duplicates, disorder, crashes, power failures,
/// slow and deaf receivers, late joiners, changes of the leader: every live receiver ends with exactly the bytes, or
/// with a failure that has a name; no unproved byte is handed out; all ends.
#[test]
fn whatever_happens_receivers_end_with_the_bytes_or_a_named_failure() {
    if let Ok(seed) = std::env::var("BELLWETHER_SEED") {
        return story(seed.parse().expect("a seed is a number"));
    }
    let seeds = std::env::var("BELLWETHER_SEEDS").map_or(1_000, |seeds| seeds.parse().unwrap());
    for seed in 0..seeds {
        let result = std::panic::catch_unwind(|| story(seed));
        assert!(
            result.is_ok(),
            "seed {seed} fails: BELLWETHER_SEED={seed} repeats it"
        );
    }
}

fn story(seed: u64) {
    let mut random = bellwether_machine::Random::new(seed ^ 0x5EED);
    let mut pick = |bound: u64| random.below(bound);
    let receivers = 1 + pick(8) as usize;
    let network = Network {
        rate: [5, 50, 500][pick(3) as usize] * MILLION,
        loss: [0, 10_000, 50_000, 150_000, 300_000][pick(5) as usize],
        twice: [0, 30_000][pick(2) as usize],
        late: [0, 100_000][pick(2) as usize],
        ..Network::default()
    };
    let settings = Settings {
        rate: if pick(2) == 0 {
            Rate::Fixed(network.rate)
        } else {
            Rate::Adaptive {
                floor: network.rate / 20,
                ceiling: network.rate,
            }
        },
        nack: [NackTime::Block, NackTime::End][pick(2) as usize],
        slow: [Slow::Wait, Slow::Unicast, Slow::Unicast][pick(3) as usize],
        carry: pick(4) == 0,
        finish: Finish::All { quorum: 1 },
        ..Settings::default()
    };
    let way = [Way::Group, Way::Group, Way::Group, Way::Chain][pick(4) as usize];
    let len = 1 + pick(300_000) as usize;
    let mut world = World::new(receivers + 1, seed, network, settings);
    let mut content = Content::new(seed, len, 16 << 10, [200, 500, 1_432][pick(3) as usize]);
    if pick(4) == 0 {
        content.geometry = content.geometry.plain();
    }
    let content = world.add(content);
    for number in 1..=receivers {
        match pick(12) {
            0 => world.nodes[number].hears_groups = false,
            1 => world.nodes[number].loss = Some(400_000),
            2 => world.nodes[number].disk_full = pick(2) == 0,
            3 => world.crash(number),
            _ => {}
        }
    }
    world.lead(0);
    world.have(0, &content);
    let mut job = world.job(&content, way);
    job.is_new = pick(2) == 0;
    world.send(job);
    // Things happen while it lasts.
    for _ in 0..pick(6) {
        world.run_for(Duration::from_millis(pick(200)));
        let number = 1 + pick(receivers as u64) as usize;
        let is_up = world.nodes[number].station.is_some();
        match pick(4) {
            _ if !is_up => world.start(number),
            0 => world.crash(number),
            1 => world.lose_power(number),
            _ => {}
        }
    }
    // Everybody is up in the end.
    for number in 1..=receivers {
        if world.nodes[number].station.is_none() {
            world.start(number);
        }
    }
    let mut leader = 0;
    if pick(3) == 0 {
        leader = 1;
        change_leader(&mut world, &content, leader, way);
    }
    if world.outcomes.is_empty() {
        world.run_to_end(Duration::from_secs(2_000));
    }
    let outcome = world.outcomes.last().unwrap().1.clone();
    world.run_for(Duration::from_secs(200));
    for number in (0..=receivers).filter(|number| *number != leader) {
        if world.nodes[number].station.is_none() {
            continue;
        }
        let node = &world.nodes[number];
        let done = node.done.get(&content.id);
        match outcome.fates.get(&node.id) {
            Some(Fate::Complete) => assert!(matches!(done, Some(Ok(_))), "{number}: {done:?}"),
            Some(Fate::Failed(reason)) => assert!(!reason.is_empty()),
            Some(fate) => {
                let named = matches!(fate, Fate::Silent | Fate::Stuck { .. } | Fate::LeftBehind);
                assert!(
                    named && matches!(done, None | Some(_)),
                    "{number}: {fate:?}"
                );
            }
            None => assert_eq!(number, leader),
        }
        if let Some(Ok(_)) = done {
            assert!(node.spools[&content.id].is_exact());
        }
        let must_succeed = !node.disk_full && world.network.loss <= 50_000 && node.loss.is_none();
        if must_succeed && world.sending.slow == Slow::Unicast {
            assert!(
                matches!(done, Some(Ok(_))),
                "{number}: {done:?}, {outcome:?}"
            );
        }
    }
    assert!(world.stats.codes_max <= 8);
    let left = world.nodes.iter().filter_map(|node| node.station.as_ref());
    assert!(
        left.into_iter()
            .all(|station| station.senders().next().is_none()),
        "a session goes on"
    );
}

/// The old leader dies; the next one has what it received, and gets the rest from elsewhere.
fn change_leader(world: &mut World, content: &Rc<Content>, leader: usize, way: Way) {
    world.crash(0);
    world.lead(leader);
    world.outcomes.clear();
    world.have(leader, content);
    let mut job = world.job(content, way);
    let old = world.nodes[0].id;
    job.participants.remove(&old);
    job.ask = Ask::All;
    job.is_new = false;
    world.send(job);
}
