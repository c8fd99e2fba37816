//! What holds whatever happens, and what holds once it is quiet.

use std::time::Duration;

use bellwether_election::{Event, Input, Profile};
use bellwether_machine::Random;
use bellwether_types::Timing;
use proptest::prelude::*;

use crate::network::Network;
use crate::one::{MS, classic, fast};

/// From quiet to agreement: the longest is that somebody who heard nobody waits until it believes to be alone.
fn bound(timing: &Timing) -> Duration {
    timing.silence() * 20 + (timing.silence() + timing.claim_wait(None, 0) + timing.vote(false)) * 4
}

fn priorities(seed: u64) -> impl Fn(usize) -> u32 {
    move |index| (Random::new(seed ^ index as u64).below(1_000_001)) as u32
}

fn with(profile: Profile, mut network: Network) -> Network {
    for host in &mut network.nodes {
        host.settings.profile = profile;
    }
    network
}

/// ELECT-01, ELECT-15, ELECT-23, ELECT-32.
#[test]
fn whoever_starts_when_the_strongest_leads_after_a_common_start() {
    for seed in 0..300 {
        for (profile, timing) in [
            (Profile::Claim, fast()),
            (Profile::Quiet, fast()),
            (Profile::Claim, classic()),
            (Profile::Quiet, classic()),
        ] {
            let count = 2 + (seed % 7) as usize;
            let network = Network::new(seed, count, timing, priorities(seed));
            let mut network = with(profile, network);
            let mut random = Random::new(seed);
            let mut order: Vec<usize> = (0..count).collect();
            order.sort_by_cached_key(|_| random.bits());
            for index in order {
                network.start(index);
                network.run(random.span(2 * MS));
            }
            let longest = timing.listening()
                + timing.claim_wait(None, 0)
                + timing.spread()
                + timing.vote(false)
                + timing.claim_wait(None, 0) * 2
                + 50 * MS;
            let took = network.run_until(longest, |network| network.agreed().is_some());
            assert!(took.is_some(), "seed {seed} {profile:?}");
            assert_eq!(
                network.agreed(),
                Some(network.strongest()),
                "seed {seed} {profile:?}"
            );
        }
    }
}

/// ELECT-01, ELECT-06, ELECT-24, ELECT-32; the bound of design §8: silence, slot, vote, delay.
#[test]
fn leaders_killed_one_after_another_are_followed_by_the_strongest_left() {
    for seed in 0..200 {
        for profile in [Profile::Claim, Profile::Quiet] {
            let timing = fast();
            let count = 3 + (seed % 6) as usize;
            let network = Network::new(seed, count, timing, priorities(seed));
            let mut network = with(profile, network);
            network.start_all();
            network.run(20 * timing.heartbeat());
            for _ in 1..count {
                let leader = network
                    .agreed()
                    .unwrap_or_else(|| panic!("seed {seed}: nobody"));
                network.run(Random::new(seed).span(timing.heartbeat()));
                network.crash(leader);
                network.multicasts = 0;
                network.claimants.clear();
                let longest = timing.silence() + timing.slot() + timing.vote(true) + 5 * MS;
                let took = network.run_until(longest, |network| {
                    network.agreed().is_some_and(|now| now != leader)
                });
                assert!(took.is_some(), "seed {seed} {profile:?}");
                assert_eq!(network.agreed(), Some(network.strongest()), "seed {seed}");
                assert_eq!(network.claimants.len(), 1, "seed {seed}");
                let most = if profile == Profile::Claim { 3 } else { 2 };
                assert!(
                    network.multicasts <= most,
                    "seed {seed}: {}",
                    network.multicasts
                );
                network.run(20 * timing.heartbeat());
            }
        }
    }
}

/// ELECT-25 (hole a2).
#[test]
fn of_equal_candidates_the_lowest_name_leads() {
    for seed in 0..100 {
        let mut network = Network::new(seed, 5, fast(), |_| 500_000);
        network.start_all();
        network.run(2_000 * MS);
        assert_eq!(network.agreed(), Some(0), "seed {seed}");
        network.crash(0);
        network.run(2_000 * MS);
        assert_eq!(network.agreed(), Some(1), "seed {seed}");
    }
}

/// No endless elections: 20 % loss, clocks of ±5 %, a thousand equals (hole a11).
#[test]
fn loss_drift_and_a_thousand_equals_end_in_one_leader() {
    for seed in 0..2 {
        let mut network = Network::new(seed, 1_000, fast(), |_| 500_000);
        network.ranks = false;
        network.links.loss_permille = 200;
        let mut random = Random::new(seed);
        for host in &mut network.nodes {
            host.drift_ppm = 50_000 - random.below(100_001) as i64;
        }
        network.start_all();
        let took = network.run_until(10_000 * MS, |network| network.agreed().is_some());
        assert!(took.is_some(), "seed {seed}");
        assert!(
            network.multicasts <= 2_000,
            "{} multicasts",
            network.multicasts
        );
    }
}

/// ELECT-13, with and without somebody who took the office meanwhile (hole a8).
#[test]
fn a_leader_that_was_away_too_long_wins_again_or_finds_itself_deposed() {
    for (timing, later) in [(fast(), 600 * MS), (classic(), 30_000 * MS)] {
        let (mut again, mut deposed) = (0, 0);
        for seed in 0..300 {
            let mut network = Network::new(seed, 5, timing, priorities(seed));
            network.start_all();
            network.run(80_000 * MS);
            let leader = network.agreed().unwrap();
            let before = network.reign(leader).unwrap();
            network.told.clear();
            let away = timing.silence() - timing.heartbeat()
                + Random::new(seed).span(timing.vote(true) * 3);
            network.pause(leader, away);
            network.run(away + later);
            let now = network.agreed().unwrap_or_else(|| panic!("seed {seed}"));
            let mut told = network.told.iter().map(|(_, _, event)| event);
            assert!(network.reign(now).unwrap() >= before);
            if now != leader {
                deposed += 1;
                assert!(
                    told.any(|event| matches!(event, Event::Deposed { .. })),
                    "seed {seed}"
                );
            } else if told.any(|event| matches!(event, Event::Lapsed { .. })) {
                again += 1;
            }
            network.run(later);
            assert_eq!(network.agreed(), Some(now), "seed {seed}");
        }
        assert!(again > 20 && deposed > 20, "{again} {deposed}");
    }
}

/// ELECT-13: in `classic` it is back long before anybody else could claim for good.
#[test]
fn a_leader_that_is_back_before_the_vote_is_over_keeps_its_office() {
    for seed in 0..50 {
        let timing = classic();
        let mut network = Network::new(seed, 5, timing, priorities(seed));
        network.start_all();
        network.run(80_000 * MS);
        let leader = network.agreed().unwrap();
        network.told.clear();
        network.pause(
            leader,
            timing.silence() + Random::new(seed).span(4_000 * MS),
        );
        network.run(40_000 * MS);
        assert_eq!(network.agreed(), Some(leader), "seed {seed}");
        let led = network
            .told
            .iter()
            .filter(|(_, _, event)| matches!(event, Event::Leading { .. }));
        assert_eq!(
            led.map(|(_, index, _)| *index).collect::<Vec<_>>(),
            [leader]
        );
    }
}

/// The bound for a planned change of leader: two heartbeats.
#[test]
fn a_step_down_is_obeyed_within_two_heartbeats() {
    for seed in 0..200 {
        let timing = fast();
        let count = 3 + seed as usize % 6;
        let mut network = Network::new(seed, count, timing, priorities(seed));
        network.start_all();
        network.run(2_000 * MS);
        network.links.loss_permille = if seed % 2 == 0 { 0 } else { 10 };
        let leader = network.agreed().unwrap();
        network.multicasts = 0;
        network.give(leader, Input::StepDown);
        let took = network.run_until(timing.heartbeat() * 2, |network| {
            network.agreed().is_some_and(|now| now != leader)
        });
        assert!(took.is_some(), "seed {seed}");
        if network.links.loss_permille == 0 {
            let deposed = |(_, _, event): &(_, _, Event)| matches!(event, Event::Deposed { .. });
            assert!(
                !network.told.iter().any(deposed),
                "seed {seed}: it went by itself"
            );
            assert!(took.unwrap() < 3 * MS, "seed {seed}: {took:?}");
            assert!(
                network.claimants.len() <= 8 && network.multicasts == 2,
                "seed {seed}"
            );
        }
    }
}

/// Step-down towards somebody who dies at that moment.
#[test]
fn a_successor_that_does_not_come_is_replaced_by_the_next() {
    for seed in 0..100 {
        let timing = fast();
        let mut network = Network::new(seed, 5, timing, priorities(seed));
        network.start_all();
        network.run(2_000 * MS);
        let leader = network.agreed().unwrap();
        network.crash(leader);
        let successor = network.strongest();
        network.start(leader);
        network.run(2_000 * MS);
        // The old leader, back again, does not depose its successor (ELECT-29).
        assert_eq!(network.agreed(), Some(successor), "seed {seed}");
        network.crash(leader);
        network.run(1_000 * MS);
        network.nodes[successor].dies_after = Some(3);
        network.give(successor, Input::StepDown);
        network.crash(successor);
        network.crash(network.strongest());
        let longest = timing.heartbeat() + timing.slot() * 2 + timing.vote(true) + 5 * MS;
        let took = network.run_until(longest, |network| network.agreed().is_some());
        assert!(took.is_some(), "seed {seed}");
        assert_eq!(network.agreed(), Some(network.strongest()), "seed {seed}");
    }
}

/// ELECT-19, ELECT-34 (hole a4).
#[test]
fn a_healed_partition_ends_in_one_leader_above_both() {
    for seed in 0..200 {
        let mut network = Network::new(seed, 8, fast(), priorities(seed));
        network.start_all();
        network.run(2_000 * MS);
        network.isolate(&[0, 1, 2]);
        network.run(4_000 * MS);
        let leaders = network.leaders();
        assert_eq!(leaders.len(), 2, "seed {seed}");
        network.links.cut.clear();
        let took = network.run_until(400 * MS, |network| network.agreed().is_some());
        assert!(took.is_some(), "seed {seed}");
        let winner = network.agreed().unwrap();
        let strongest = leaders.iter().map(|(index, _)| *index);
        let strongest = strongest.max_by_key(|index| {
            network.nodes[*index]
                .election
                .as_ref()
                .map(|election| election.candidate())
        });
        assert_eq!(
            Some(winner),
            strongest,
            "seed {seed}: the stronger of both leaders"
        );
        let epoch = network.reign(winner).unwrap();
        assert!(
            leaders
                .iter()
                .all(|(_, before)| epoch.counter > before.counter)
        );
        network.run(2_000 * MS);
        assert_eq!(
            network.reign(winner),
            Some(epoch),
            "seed {seed}: and it stays"
        );
    }
}

/// Hole a6: whoever sends but does not hear.
#[test]
fn nobody_obeys_the_deaf_for_long_and_a_deaf_candidate_keeps_silent() {
    for seed in 0..100 {
        let mut network = Network::new(seed, 5, fast(), priorities(seed));
        network.start_all();
        network.run(2_000 * MS);
        let leader = network.agreed().unwrap();
        // The leader goes deaf: it is replaced, and keeps silent.
        network.links.cut = (0..5).map(|other| (other, leader)).collect();
        network.run(5_000 * MS);
        let epoch = network.reign((leader + 1) % 5).unwrap();
        assert_ne!(
            epoch.leader, network.nodes[leader].settings.node,
            "seed {seed}"
        );
        for other in (0..5).filter(|other| *other != leader) {
            assert_eq!(network.reign(other), Some(epoch), "seed {seed}");
        }
        network.run(20_000 * MS);
        assert_eq!(
            network.reign((leader + 1) % 5),
            Some(epoch),
            "seed {seed}: undisturbed"
        );
        network.links.cut.clear();
        network.run(1_000 * MS);
        assert!(network.agreed().is_some(), "seed {seed}");
        // A member goes deaf: it says so and does not claim.
        let leader = network.agreed().unwrap();
        let deaf = (leader + 2) % 5;
        network.claimants.clear();
        network.told.clear();
        network.links.cut = (0..5).map(|other| (other, deaf)).collect();
        network.run(4_000 * MS);
        assert!(network.claimants.is_empty(), "seed {seed}");
        let abstains = network
            .told
            .iter()
            .filter(|(_, _, event)| matches!(event, Event::Abstains { .. }));
        assert_eq!(
            abstains.map(|(_, index, _)| *index).collect::<Vec<_>>(),
            [deaf]
        );
        network.links.cut.clear();
        network.run(1_000 * MS);
        assert_eq!(network.agreed(), Some(leader), "seed {seed}");
        assert!(network.claimants.is_empty(), "seed {seed}");
    }
}

/// A sole survivor, and a node that was alone from the beginning.
#[test]
fn the_last_one_standing_leads_even_if_nobody_answers() {
    let mut network = Network::new(1, 1, fast(), |_| 1);
    network.start_all();
    network.run(1_000 * MS);
    assert_eq!(network.agreed(), Some(0));
    network.run(60_000 * MS);
    assert_eq!(network.agreed(), Some(0));
    let abstains = network
        .told
        .iter()
        .filter(|(_, _, event)| matches!(event, Event::Abstains { .. }));
    assert_eq!(
        abstains.count(),
        1,
        "once it has found out that it is alone, it stays"
    );
    for count in 2..6 {
        let mut network = Network::new(1, count, fast(), |index| index as u32);
        network.start_all();
        network.run(2_000 * MS);
        (1..count).for_each(|index| network.crash(index));
        let limit = if count == 2 { 400 * MS } else { bound(&fast()) };
        let took = network.run_until(limit, |network| network.agreed() == Some(0));
        assert!(took.is_some(), "{count}");
    }
}

/// ELECT-29.
#[test]
fn a_stronger_one_that_comes_later_waits_for_the_next_election() {
    let mut network = Network::new(1, 4, fast(), |index| 100 * index as u32);
    (0..3).for_each(|index| network.start(index));
    network.run(2_000 * MS);
    assert_eq!(network.agreed(), Some(2));
    let epoch = network.reign(2);
    network.claimants.clear();
    network.start(3);
    network.run(2_000 * MS);
    assert_eq!((network.agreed(), network.reign(2)), (Some(2), epoch));
    assert!(network.claimants.is_empty());
    network.crash(2);
    network.run(1_000 * MS);
    assert_eq!(network.agreed(), Some(3));
}

/// Lost multicasts alone depose nobody: questions by unicast come through (hole a7).
#[test]
fn a_leader_whose_multicasts_are_lost_for_one_member_is_not_deposed() {
    let mut network = Network::new(3, 5, fast(), |_| 1);
    network.start_all();
    network.run(2_000 * MS);
    let epoch = network.reign(0);
    network.links.loss_permille = 200;
    network.claimants.clear();
    network.run(600_000 * MS);
    assert!(network.claimants.is_empty(), "{:?}", network.claimants);
    assert_eq!(network.reign(0), epoch);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let trace = |seed| {
        let mut network = Network::new(seed, 8, fast(), priorities(seed));
        network.links.loss_permille = 100;
        network.start_all();
        network.run(5_000 * MS);
        (network.told, network.multicasts, network.unicasts)
    };
    assert_eq!(trace(1), trace(1));
    assert_ne!(trace(1), trace(2));
}

/// One thing that happens.
#[derive(Debug, Clone)]
enum Fault {
    Run(u32),
    Crash(usize),
    /// After so many outputs, somewhere in the middle of a step.
    CrashSoon(usize, usize),
    Start(usize),
    Wipe(usize),
    Pause(usize, u32),
    CutOneWay(usize, usize),
    Isolate(u8),
    Heal,
    Loss(u32),
    StepDown(usize),
    Measured(usize, u32),
}

fn fault() -> impl Strategy<Value = Fault> {
    let node = 0..8_usize;
    prop_oneof![
        6 => (1..600_u32).prop_map(Fault::Run),
        2 => node.clone().prop_map(Fault::Crash),
        2 => (node.clone(), 0..6_usize).prop_map(|(node, outputs)| Fault::CrashSoon(node, outputs)),
        4 => node.clone().prop_map(Fault::Start),
        1 => node.clone().prop_map(Fault::Wipe),
        2 => (node.clone(), 1..1_000_u32).prop_map(|(node, ms)| Fault::Pause(node, ms)),
        2 => (node.clone(), node.clone()).prop_map(|(from, to)| Fault::CutOneWay(from, to)),
        1 => any::<u8>().prop_map(Fault::Isolate),
        2 => Just(Fault::Heal),
        2 => (0..300_u32).prop_map(Fault::Loss),
        2 => node.clone().prop_map(Fault::StepDown),
        1 => (node, 0..1_000_u32).prop_map(|(node, value)| Fault::Measured(node, value * 1_000)),
    ]
}

fn inflict(network: &mut Network, fault: &Fault) {
    let count = network.nodes.len();
    match *fault {
        Fault::Run(ms) => network.run(MS * ms),
        Fault::Crash(node) => network.crash(node % count),
        Fault::CrashSoon(node, outputs) => network.nodes[node % count].dies_after = Some(outputs),
        Fault::Start(node) => network.start(node % count),
        Fault::Wipe(node) => {
            network.crash(node % count);
            network.wipe(node % count);
            network.start(node % count);
        }
        Fault::Pause(node, ms) => network.pause(node % count, MS * ms),
        Fault::CutOneWay(from, to) => {
            network.links.cut.insert((from % count, to % count));
        }
        Fault::Isolate(mask) => {
            let inside: Vec<usize> = (0..count).filter(|index| mask >> index & 1 == 1).collect();
            network.isolate(&inside);
        }
        Fault::Heal => network.links.cut.clear(),
        Fault::Loss(permille) => network.links.loss_permille = permille,
        Fault::StepDown(node) => network.give(node % count, Input::StepDown),
        Fault::Measured(node, value) => {
            network.nodes[node % count].measured = value;
            network.give(node % count, Input::Measured(value));
        }
    }
}

proptest! {
    /// Safety is checked by the network after every step: obeyed epochs never fall, no epoch has two reigns, no claim
    /// is sent that is not on disk.
    #[test]
    fn after_any_faults_quiet_brings_one_leader_that_stays(
        seed in any::<u64>(),
        count in 3..=8_usize,
        quiet in any::<bool>(),
        drift in prop::collection::vec(-50_000..=50_000_i64, 8),
        faults in prop::collection::vec(fault(), 1..60),
    ) {
        let timing = fast();
        let profile = if quiet { Profile::Quiet } else { Profile::Claim };
        let mut network = with(profile, Network::new(seed, count, timing, priorities(seed)));
        for (host, drift) in network.nodes.iter_mut().zip(drift) {
            host.drift_ppm = drift;
        }
        network.start_all();
        for fault in &faults {
            inflict(&mut network, fault);
        }
        network.links.cut.clear();
        network.links.loss_permille = 0;
        for host in &mut network.nodes {
            host.dies_after = None;
        }
        network.start_all();
        network.run(1_000 * MS);
        let took = network.run_until(bound(&timing), |network| network.agreed().is_some());
        prop_assert!(took.is_some());
        let leader = network.agreed().unwrap();
        let epoch = network.reign(leader);
        network.run(5_000 * MS);
        prop_assert_eq!(network.agreed(), Some(leader));
        prop_assert_eq!(network.reign(leader), epoch);
    }
}
