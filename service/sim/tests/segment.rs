//! Elections alone, under the disturbances of the scenarios that come with the simulator.

use bellwether_sim::scenario::{FaultKind, Profile};
use bellwether_sim::{Cause, Member, Reduction, Runs, Scenario, run, run_seeds};

fn runs(name: &str, seeds: u64, change: impl Fn(&mut Scenario)) -> Runs {
    let mut scenario = Scenario::load(name).unwrap();
    // Members do not seal.
    scenario.faults.remove(&FaultKind::Forge);
    change(&mut scenario);
    let runs = run_seeds::<Member>(&scenario, 1, seeds, |_| {});
    if let Some(failure) = &runs.failure {
        let broken = failure.broken.as_ref().unwrap();
        panic!("{name}, seed {}: {broken}", failure.seed);
    }
    runs
}

#[test]
fn every_small_scenario_ends_with_one_leader_whom_all_obey_in_both_profiles() {
    let small = [
        "cold-start",
        "failover",
        "step-down",
        "partition-heal",
        "flap",
        "loss20",
        "drift",
        "swarm",
    ];
    for name in small {
        for profile in [Profile::Claim, Profile::Quiet] {
            runs(name, 5, |scenario| scenario.protocol.profile = profile);
        }
    }
}

/// ELECT-13 aside, nobody may lose office to lost datagrams and short stops.
#[test]
fn pauses_of_half_the_silence_and_loss_depose_nobody() {
    let statistics = runs("pause", 10, |_| {}).statistics;
    assert!(statistics.simulated_hours > 1.5);
    assert_eq!(statistics.false_reigns, 0);
}

#[test]
fn a_dead_leader_is_replaced_within_four_heartbeats_by_one_claim() {
    let statistics = runs("failover", 20, |_| {}).statistics;
    let lost = &statistics.recoveries[&Cause::LeaderLost];
    assert!(lost.took_ms.count() > 200);
    let [median, p99] = lost.took_ms.quantiles([0.5, 0.99]).unwrap();
    assert!(
        median <= 275.0 && p99 <= 400.0,
        "median {median} ms, p99 {p99} ms"
    );
    assert!(lost.claimants.share_up_to(1.0).unwrap() >= 0.99);
    let [most] = lost.multicasts.quantiles([0.99]).unwrap();
    assert!(most <= 3.0, "{most} multicasts");
}

#[test]
fn a_successor_that_was_named_is_obeyed_within_two_heartbeats() {
    let statistics = runs("step-down", 20, |_| {}).statistics;
    let handed = &statistics.recoveries[&Cause::StepDown].took_ms;
    assert!(handed.count() > 200);
    assert!(handed.share_up_to(200.0).unwrap() >= 0.99, "{handed}");
}

#[test]
fn a_run_of_elections_is_the_same_each_time() {
    let scenario = Scenario::load("churn").unwrap();
    let trace = || run::<Member>(&scenario, 3, &Reduction::default(), false).trace;
    assert_eq!(trace(), trace());
}
