//! Parts of a segment that meet again: the exchange among many, with loss and with crashes of any sender.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bellwether_membership::{Event, Order};
use bellwether_wire::control::{Key, MembershipMessage};

use crate::network::{Fate, Network, fast, kind, node_id};

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

/// GROUP-02, ADV-09: without loss one page for each subgroup, which fits one, and no acknowledgement twice.
#[test]
fn each_subgroups_data_is_sent_once_and_everybody_acknowledges_once() {
    let network = merge(9, 3, 0, 3);
    assert_eq!(network.count("data"), 3);
    assert_eq!(network.count("ack"), 8, "the leader's own is not sent");
    assert_eq!(network.count("register"), 6, "of those in other lines");
}

fn subgroups_of_merges(network: &Network) -> Vec<(u64, usize)> {
    let events = network.nodes[0].events.iter();
    let merges = events.filter_map(|(_, event)| match event {
        Event::Merging(merge, subgroups, _) => Some((merge.number, *subgroups)),
        _ => None,
    });
    merges.collect()
}

/// GROUP-12, GROUP-14, GROUP-21: newcomers, one and three at once, as a subgroup of their own.
#[test]
fn newcomers_join_through_the_exchange_when_that_is_ordered() {
    let mut network = Network::new(5, fast(), 0, 43);
    network.appoint(0);
    network.run_to(Duration::from_secs(5), |network| network.agrees(0));
    for (count, number) in [(1, 1), (3, 2)] {
        network.forget_counts();
        for _ in 0..count {
            network.add();
        }
        network.run_to(Duration::from_secs(5), |network| {
            network.count("register") == count
        });
        network.run_for(Duration::from_millis(4));
        network.order(0, Order::Gather);
        network.run_to(Duration::from_secs(1), |network| network.agrees(0));
        network.assert_equal_states(0);
        assert_eq!(subgroups_of_merges(&network).last(), Some(&(number, 2)));
        assert_eq!(network.count("data"), 1, "newcomers bring none");
        network.run_for(Duration::from_secs(1));
    }
}

/// GROUP-15, at every member.
#[test]
fn what_the_sides_said_differently_is_settled_alike_everywhere() {
    let mut network = parted(6, 2, 0, 47);
    for node in &mut network.nodes {
        node.side = u8::from(!node.identity.name.as_str().ends_with(['0', '2', '4']));
    }
    for (leader, port) in [(0, 7100), (1, 7200)] {
        network.order(
            leader,
            Order::SetGroup {
                group: "shop".parse().unwrap(),
                channel: ([239, 1, 2, 1], port).into(),
                members: vec![node_id(leader)],
            },
        );
    }
    network.run_for(Duration::from_millis(500));
    for node in &mut network.nodes {
        node.side = 0;
    }
    network.appoint(1);
    network.run_to(Duration::from_secs(5), |network| network.agrees(0));
    network.assert_equal_states(0);
    for node in &network.nodes {
        let shop = "shop".parse().unwrap();
        assert_eq!(node.machine.data_channel(&shop).unwrap().port(), 7200);
        let conflicts = node.machine.segment().entries();
        let conflicts = conflicts.filter(|(key, _)| matches!(key, Key::Conflict(..)));
        assert_eq!(
            conflicts.count(),
            2,
            "the channel and the place of the side that lost"
        );
    }
}

/// GROUP-21, hole d5, hole d6: who comes while a merge runs waits for the next.
#[test]
fn a_part_that_comes_during_a_merge_is_merged_after_it() {
    let mut network = parted(9, 3, 0, 53);
    for number in [2, 5, 8] {
        network.nodes[number].side = 2;
    }
    let seen = Rc::new(Cell::new(false));
    let begun = seen.clone();
    network.watch = Some(Box::new(move |_, _, message| {
        begun.set(begun.get() || matches!(message, MembershipMessage::Request(_)));
        Fate::Leaves
    }));
    network.appoint(0);
    network.run_to(Duration::from_secs(5), |_| seen.get());
    for number in [2, 5, 8] {
        network.nodes[number].side = 0;
    }
    network.run_to(Duration::from_secs(5), |network| network.agrees(0));
    network.assert_equal_states(0);
    assert_eq!(subgroups_of_merges(&network), [(1, 2), (2, 2)]);
}

/// Hole d10: who answers and yet never gets what the others got is left out, and comes in later.
#[test]
fn a_participant_that_never_gets_the_data_does_not_hold_up_the_others() {
    let mut network = parted(6, 2, 0, 59);
    network.watch = Some(Box::new(|from, _, message| match message {
        MembershipMessage::Ack(_) if from == 3 => Fate::Lost,
        _ => Fate::Leaves,
    }));
    network.appoint(0);
    network.run_to(Duration::from_secs(5), |network| {
        [0, 1, 2, 4, 5].iter().all(|number| {
            let segment = network.nodes[*number].machine.segment();
            segment.member_count() >= 5
                && network.nodes[*number].epoch == network.nodes[0].epoch
                && segment.version().map(|version| version.epoch) == network.nodes[0].epoch
        })
    });
    network.watch = None;
    network.run_to(Duration::from_secs(5), |network| network.agrees(0));
    network.assert_equal_states(0);
}

/// 500 members, the bound kept though the leader dies at its very last word, or a subgroup's at its data.
#[test]
fn ten_parts_of_500_members_merge_within_the_bound_though_a_sender_dies() {
    let last_word: fn(usize, &MembershipMessage) -> bool = |_, message| match message {
        MembershipMessage::Round(round) => round.acked.count() >= 500,
        _ => false,
    };
    let data_of_5: fn(usize, &MembershipMessage) -> bool =
        |from, message| from == 5 && matches!(message, MembershipMessage::Data(_));
    for dies_at in [last_word, data_of_5] {
        let mut network = parted(500, 10, 0, 61);
        let dead = Rc::new(Cell::new(false));
        let died = dead.clone();
        network.watch = Some(Box::new(move |from, _, message| {
            if died.get() || !dies_at(from, message) {
                return Fate::Leaves;
            }
            died.set(true);
            Fate::Dies
        }));
        network.appoint(0);
        let took = merge_in_spite_of_death(&mut network);
        assert!(dead.get());
        println!("{took:?}: {:?}", network.sent);
        assert!(took <= Duration::from_secs(3), "{took:?}");
    }
}
