//! Channels by the leader's order.

use std::time::Duration;

use bellwether_membership::{Event, Order};
use bellwether_types::NodeId;

use crate::network::{Network, channel, fast, node_id};

const SECOND: Duration = Duration::from_secs(1);

fn formed(count: usize) -> Network {
    let mut network = Network::new(count, fast(), 0, 31);
    network.appoint(0);
    network.run_to(5 * SECOND, |network| network.agrees(0));
    network
}

fn all_on(network: &Network, text: &str) -> bool {
    network.alive().all(|node| node.control == channel(text))
}

/// CHAN-03: all move, before the leader does, and hear it there.
#[test]
fn all_follow_to_the_new_control_channel() {
    let mut network = formed(8);
    network.order(0, Order::MoveControl(channel("239.1.1.9:7009")));
    let took = network.run_to(SECOND, |network| all_on(network, "239.1.1.9:7009"));
    assert!(
        took < Duration::from_millis(100),
        "less than a heartbeat: {took:?}"
    );
    network.run_to(SECOND, |network| network.agrees(0));
    assert_eq!(
        network.nodes[3].kept,
        minicbor::to_vec(channel("239.1.1.9:7009")).unwrap()
    );
}

/// CHAN-09: the order is repeated on the old channel for who missed it.
#[test]
fn whoever_missed_the_order_hears_it_repeated_on_the_old_channel() {
    let mut network = formed(8);
    network.nodes[5].side = 1;
    network.order(0, Order::MoveControl(channel("239.1.1.9:7009")));
    network.run_for(Duration::from_millis(500));
    network.nodes[5].side = 0;
    assert!(!all_on(&network, "239.1.1.9:7009"));
    network.run_to(SECOND, |network| all_on(network, "239.1.1.9:7009"));
}

/// CHAN-09: whoever starts, or fell back, finds the segment by the configured channel.
#[test]
fn a_new_node_finds_a_segment_that_moved() {
    let mut network = formed(4);
    network.order(0, Order::MoveControl(channel("239.1.1.9:7009")));
    network.run_for(10 * SECOND);
    network.add();
    network.run_to(5 * SECOND, |network| network.agrees(0));
}

/// CHAN-09: a moved channel on which nobody leads is given up for the configured one.
#[test]
fn without_a_leader_on_the_moved_channel_a_node_falls_back() {
    let mut network = formed(3);
    network.order(0, Order::MoveControl(channel("239.1.1.9:7009")));
    network.run_for(SECOND);
    network.kill(0);
    network.run_for(SECOND / 10);
    network.depose(0);
    network.run_for(5 * SECOND);
    assert!(
        all_on(&network, "239.1.1.9:7009"),
        "an election comes first"
    );
    network.run_to(3 * SECOND, |network| all_on(network, "239.1.1.1:7000"));
}

/// A restart looks for the segment where it was last.
#[test]
fn the_moved_channel_survives_a_restart() {
    let mut network = formed(3);
    network.order(0, Order::MoveControl(channel("239.1.1.9:7009")));
    network.run_for(SECOND);
    network.restart(2);
    assert_eq!(network.nodes[2].control, channel("239.1.1.9:7009"));
    // Nobody is there any more.
    network.nodes[2].side = 1;
    network.run_to(10 * SECOND, |network| {
        network.nodes[2].control == channel("239.1.1.1:7000")
    });
}

/// Two parts on two channels, neither of them the configured one: the lower reign goes to the higher one's.
#[test]
fn parts_on_different_channels_meet_on_one() {
    let mut network = formed(6);
    (3..6).for_each(|number| network.nodes[number].side = 1);
    network.appoint(3);
    network.run_for(5 * SECOND);
    network.order(0, Order::MoveControl(channel("239.1.1.8:7008")));
    network.order(3, Order::MoveControl(channel("239.1.1.9:7009")));
    network.run_for(SECOND);
    (3..6).for_each(|number| network.nodes[number].side = 0);
    network.run_to(2 * SECOND, |network| all_on(network, "239.1.1.9:7009"));
    network.depose(0);
    network.appoint(3);
    network.run_to(5 * SECOND, |network| network.agrees(0));
}

/// Whoever leads nobody on a moved channel goes back too: there it hears where the others are.
#[test]
fn a_leader_of_nobody_on_the_moved_channel_falls_back() {
    let mut network = formed(3);
    network.order(0, Order::MoveControl(channel("239.1.1.9:7009")));
    network.run_for(SECOND);
    network.restart(2);
    network.nodes[2].side = 1;
    network.appoint(2);
    network.run_for(5 * SECOND);
    assert!(all_on(&network, "239.1.1.9:7009"));
    network.run_to(3 * SECOND, |network| {
        network.nodes[2].control == channel("239.1.1.1:7000")
    });
    network.nodes[2].side = 0;
    network.run_to(5 * SECOND, |network| network.agrees(0));
}

/// Members follow their leader to its channel, wherever they were: merges need all on one.
#[test]
fn members_on_another_channel_than_their_leader_go_to_its() {
    let mut network = formed(4);
    network.nodes[3].side = 1;
    network.order(0, Order::MoveControl(channel("239.1.1.9:7009")));
    network.run_for(SECOND);
    network.nodes[3].side = 0;
    network.appoint(3);
    network.run_to(2 * SECOND, |network| network.agrees(0));
    assert!(all_on(&network, "239.1.1.1:7000"));
}

fn group(members: &[usize], text: &str) -> Order {
    Order::SetGroup {
        group: "shop".parse().unwrap(),
        channel: channel(text),
        members: members.iter().copied().map(node_id).collect(),
    }
}

fn listeners(network: &Network) -> Vec<usize> {
    let shop = "shop".parse().unwrap();
    let nodes = network.nodes.iter().enumerate();
    let listening = nodes.filter(|(_, node)| node.data_channels.contains_key(&shop));
    listening.map(|(number, _)| number).collect()
}

/// CHAN-04, CHAN-05, CHAN-06, CHAN-08.
#[test]
fn members_listen_on_their_groups_data_channel_and_no_others_do() {
    let mut network = formed(6);
    network.order(0, group(&[1, 2], "239.1.2.1:7100"));
    network.run_for(SECOND);
    assert_eq!(listeners(&network), [1, 2]);
    network.order(0, group(&[2, 3, 4], "239.1.2.1:7100"));
    network.order(0, group(&[2, 3], "239.1.2.1:7100"));
    network.run_for(SECOND);
    assert_eq!(listeners(&network), [2, 3]);
    network.order(0, group(&[2, 3], "239.1.2.2:7100"));
    network.run_for(SECOND);
    let shop = "shop".parse().unwrap();
    assert_eq!(
        network.nodes[3].data_channels[&shop],
        channel("239.1.2.2:7100")
    );
    for node in &network.nodes {
        assert_eq!(
            node.machine.data_channel(&shop),
            Some(channel("239.1.2.2:7100"))
        );
        let members: Vec<NodeId> = node.machine.group_members(&shop).collect();
        let mut expected = [2, 3].map(node_id);
        expected.sort();
        assert_eq!(members, expected);
    }
    // The next leader goes on with the same list.
    network.kill(0);
    network.depose(0);
    network.appoint(1);
    network.run_to(SECOND, |network| network.living_agree(0));
    network.order(1, Order::DropGroup(shop.clone()));
    network.run_for(SECOND);
    assert_eq!(listeners(&network), [0_usize; 0]);
    assert_eq!(network.nodes[4].machine.data_channel(&shop), None);
}

/// A place in a group is kept for a node that is down.
#[test]
fn a_member_of_a_group_that_comes_back_listens_again() {
    let mut network = formed(4);
    network.order(0, group(&[3], "239.1.2.1:7100"));
    network.run_for(SECOND);
    network.kill(3);
    network.run_to(5 * SECOND, |network| network.agrees(0));
    network.nodes[3].data_channels.clear();
    network.restart(3);
    network.run_to(5 * SECOND, |network| network.agrees(0));
    assert_eq!(listeners(&network), [3]);
}

#[test]
fn orders_that_cannot_be_carried_out_are_named() {
    let mut network = formed(2);
    let refused = |network: &mut Network, at: usize, order: Order| {
        network.order(at, order);
        match network.nodes[at].events.last() {
            Some((_, Event::NotDone(why))) => *why,
            other => panic!("{other:?}"),
        }
    };
    let unicast = Order::MoveControl(channel("10.0.0.1:7000"));
    assert_eq!(
        refused(&mut network, 0, unicast),
        "a control channel is a multicast address"
    );
    let control = group(&[1], "239.1.1.1:7000");
    assert_eq!(
        refused(&mut network, 0, control),
        "a data channel is not the control channel"
    );
    let member = group(&[1], "239.1.2.1:7100");
    assert_eq!(
        refused(&mut network, 1, member),
        "only the leader can do that"
    );
    let title = Order::SetTitle("x".repeat(129));
    assert_eq!(
        refused(&mut network, 0, title),
        "a title has at most 128 bytes"
    );
}
