//! Every order of events in small groups that elect. Bounds are stated with each test; within them nothing is left out.

use bellwether_election::Profile;
use bellwether_model::{Bounds, ElectionModel};
use stateright::{Checker, Model};

const SAFE: &str = "no reign falls, and none is led twice";

fn model(nodes: u8, bounds: Bounds) -> ElectionModel {
    ElectionModel {
        nodes,
        profile: Profile::Claim,
        bounds,
        disks: true,
    }
}

/// Goes through all states, down to a depth if one is given, and says how many there were.
fn explore(model: ElectionModel, depth: Option<usize>) -> impl Checker<ElectionModel> {
    let about = format!("{model:?}");
    let checker = model.checker().threads(2);
    let checker = match depth {
        Some(depth) => checker.target_max_depth(depth),
        None => checker,
    };
    let checker = checker.spawn_bfs().join();
    let (states, reached) = (checker.unique_state_count(), checker.max_depth());
    println!("{about}: {states} states, depth {reached}");
    checker
}

#[test]
fn two_nodes_hold_through_every_order_of_two_reigns_and_a_crash() {
    for profile in [Profile::Claim, Profile::Quiet] {
        let bounds = Bounds {
            counter: 2,
            crashes: 1,
            questions: 0,
        };
        let model = ElectionModel {
            profile,
            ..model(2, bounds)
        };
        explore(model, None).assert_properties();
    }
}

#[test]
fn three_nodes_hold_through_the_first_nine_events_with_questions_and_a_crash() {
    let bounds = Bounds {
        counter: 2,
        crashes: 1,
        questions: 1,
    };
    explore(model(3, bounds), Some(9)).assert_no_discovery(SAFE);
}

/// What the checker is worth: a node that forgets its claims must be caught.
#[test]
fn a_node_that_forgets_what_it_kept_leads_a_reign_twice() {
    let bounds = Bounds {
        counter: 2,
        crashes: 1,
        questions: 0,
    };
    let model = ElectionModel {
        disks: false,
        ..model(2, bounds)
    };
    explore(model, None).assert_any_discovery(SAFE);
}

#[test]
#[ignore = "goes through many millions of states, and needs the memory for them"]
fn three_nodes_hold_through_every_order_of_two_reigns_and_a_crash() {
    let bounds = Bounds {
        counter: 2,
        crashes: 1,
        questions: 0,
    };
    explore(model(3, bounds), None).assert_properties();
}
