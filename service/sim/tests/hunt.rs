//! Seeds against a small protocol: what is sound survives, each flaw is found, cut down and found again.

mod toy;

use bellwether_sim::scenario::Expect;
use bellwether_sim::{Process, Property, Reduction, Run, Scenario, run, run_seeds, shrink};
use toy::{FORGETFUL, GULLIBLE, NERVOUS, SOUND, Toy};

/// The toy has no members and no priorities; it only elects.
fn scenario(name: &str) -> Scenario {
    let mut scenario = Scenario::load(name).unwrap();
    scenario.expect = Expect {
        best: false,
        heir: false,
        members: false,
        groups: false,
        ..scenario.expect
    };
    scenario
}

fn swarm() -> Scenario {
    scenario("swarm")
}

#[test]
fn a_sound_protocol_survives_every_scenario() {
    for name in bellwether_sim::scenario::NAMES {
        if matches!(
            name,
            "storm"
                | "steady"
                | "equal-priorities"
                | "formation"
                | "merge-10"
                | "peers"
                | "cold-start"
        ) {
            continue;
        }
        let scenario = scenario(name);
        let runs = run_seeds::<Toy<SOUND>>(&scenario, 1, 10, |_| {});
        assert!(runs.failure.is_none(), "{name}: {:#?}", runs.failure);
    }
}

#[test]
fn a_seed_is_the_same_each_time_and_on_each_processor() {
    let scenario = swarm();
    let one = |seed| run::<Toy<SOUND>>(&scenario, seed, &Reduction::default(), false).trace;
    assert_eq!(one(7), one(7));
    assert_ne!(one(7), one(8));
    let many = || run_seeds::<Toy<SOUND>>(&scenario, 1, 20, |_| {}).trace;
    assert_eq!(many(), many());
}

fn first_failure<P: Process>(scenario: &Scenario) -> Run {
    let runs = run_seeds::<P>(scenario, 1, 100, |_| {});
    runs.failure.expect("a hundred seeds are enough to find it")
}

fn hunt<P: Process>(expected: impl Fn(&Property) -> bool) -> Reduction {
    let scenario = swarm();
    let failure = first_failure::<P>(&scenario);
    let broken = failure.broken.unwrap();
    assert!(expected(&broken.property), "{broken}");
    let (reduction, least) = shrink::<P>(&scenario, failure.seed, &broken);
    let again = run::<P>(&scenario, failure.seed, &reduction, true);
    assert_eq!(again.broken, Some(least));
    assert!(!again.story.is_empty());
    reduction
}

#[test]
fn obeying_old_reigns_is_found() {
    let reduction =
        hunt::<Toy<GULLIBLE>>(|property| matches!(property, Property::ReignFell { .. }));
    assert!(reduction.faults.unwrap().len() <= 2);
}

#[test]
fn forgetting_what_was_claimed_is_found() {
    let reduction = hunt::<Toy<FORGETFUL>>(|property| {
        matches!(
            property,
            Property::SharedReign(_) | Property::ReignForgotten { .. }
        )
    });
    assert!(reduction.faults.unwrap().len() <= 6);
}

#[test]
fn a_panic_is_found() {
    let reduction = hunt::<Toy<NERVOUS>>(|property| matches!(property, Property::Panicked(_)));
    assert!(reduction.faults.unwrap().len() <= 2);
}
