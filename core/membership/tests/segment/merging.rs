//! Parts of a segment that meet again: the exchange among many, with loss and with crashes of any sender.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bellwether_wire::control::MembershipMessage;

use crate::network::{Fate, Network, fast, kind};

/// Nodes in so many sides, each formed under a leader of its own, that hear each other again.
fn parted(count: usize, sides: usize, loss_per_million: u32, seed: u64) -> Network {
    let mut network = Network::new(count, fast(), 0, seed);
    for (number, node) in network.nodes.iter_mut().enumerate() {
        node.side = u8::try_from(number % sides).unwrap();
    }
    for side in 0..sides {
        network.appoint(side);
    }
    network.run_to(Duration::from_secs(5), |network| {
        (0..sides).all(|side| network.agrees(u8::try_from(side).unwrap()))
    });
    network.loss_per_million = loss_per_million;
    network.forget_counts();
    for node in &mut network.nodes {
        node.side = 0;
    }
    network
}

fn merge(count: usize, sides: usize, loss_per_million: u32, seed: u64) -> Network {
    let mut network = parted(count, sides, loss_per_million, seed);
    network.appoint(0);
    let took = network.run_to(Duration::from_secs(5), |network| network.agrees(0));
    network.assert_equal_states(0);
    println!(
        "{count} nodes, {sides} sides, loss {loss_per_million}: {took:?}, {:?}, {} bytes",
        network.sent, network.bytes
    );
    network
}

/// GROUP-13.
#[test]
fn parts_that_meet_again_become_one() {
    for (count, sides) in [(2, 2), (5, 2), (9, 3), (60, 4)] {
        for loss in [0, 50_000] {
            merge(count, sides, loss, 3);
        }
    }
}

/// GROUP-11, GROUP-18: whichever message of an exchange its sender dies at, or dies at having reached half
/// of the others, the survivors end with one state that has all of them.
#[test]
fn whoever_dies_at_whichever_message_the_survivors_end_with_one_state() {
    let mut longest = Duration::ZERO;
    for fate in [Fate::Dies, Fate::ReachesHalf] {
        for at in 0.. {
            let mut network = parted(12, 3, 0, 7);
            let seen = Rc::new(Cell::new(0));
            let count = seen.clone();
            network.watch = Some(Box::new(move |_, _, message| {
                if !is_of_exchange(message) {
                    return Fate::Leaves;
                }
                count.set(count.get() + 1);
                match count.get() == at + 1 {
                    true => fate,
                    false => Fate::Leaves,
                }
            }));
            network.appoint(0);
            let took = merge_in_spite_of_death(&mut network);
            longest = longest.max(took);
            if seen.get() <= at {
                assert!(at > 10, "the exchange has few messages: {at}");
                break;
            }
        }
    }
    println!("longest: {longest:?}");
    assert!(longest <= Duration::from_secs(3), "{longest:?}");
}

fn is_of_exchange(message: &MembershipMessage) -> bool {
    matches!(kind(message), "request" | "data" | "ack" | "round" | "nack")
}

/// When the leader dies, the next one leads after 340 ms, as an election would have it.
fn merge_in_spite_of_death(network: &mut Network) -> Duration {
    let start = network.now;
    network.run_to(Duration::from_secs(5), |network| {
        network.living_agree(0) || !network.nodes[0].alive
    });
    if !network.nodes[0].alive {
        network.depose(0);
        network.run_for(Duration::from_millis(340));
        network.appoint(1);
    }
    network.run_to(Duration::from_secs(5), |network| network.living_agree(0));
    let took = network.now.since(start);
    network.assert_equal_states(0);
    // The dead one is noticed as any other.
    network.run_to(Duration::from_secs(5), |network| network.agrees(0));
    took
}

#[test]
fn ten_parts_of_500_members_merge_within_the_bound() {
    for loss in [0, 10_000] {
        merge(500, 10, loss, 4);
    }
}
