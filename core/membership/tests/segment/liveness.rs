//! Who is gone is noticed, and nobody else.

use std::time::Duration;

use bellwether_membership::{ChangeKind, Event, Input, Report, Spans};

use crate::network::{Network, classic, fast, name, node_id};

const SECOND: Duration = Duration::from_secs(1);

fn formed(count: usize, spans: Spans, seed: u64) -> Network {
    let mut network = Network::new(count, spans, 0, seed);
    network.appoint(0);
    network.run_to(30 * SECOND, |network| network.agrees(0));
    network.forget_counts();
    network
}

/// REG-14, CLUSTER-06: two windows, and an inquiry interval for each of three inquiries and the look after them.
#[test]
fn a_member_that_died_is_reported_within_the_bound() {
    for seed in 0..10 {
        let mut network = formed(10, fast(), seed);
        network.run_for(Duration::from_millis(137 * seed));
        network.kill(4);
        let took = network.run_to(5 * SECOND, |network| network.agrees(0));
        let bound = 2 * SECOND + Duration::from_millis(400 + 50);
        assert!(took <= bound, "{took:?}");
        let told = Event::Silent(node_id(4), name(4));
        assert!(
            network.nodes[0]
                .events
                .iter()
                .any(|(_, event)| *event == told)
        );
        let Some(Report::Change(report)) = network.nodes[0].reports.last() else {
            panic!("{:?}", network.nodes[0].reports.last())
        };
        assert_eq!(report.changes[0].kind, ChangeKind::Failed);
    }
}

/// REG-14: who lives stays, with one message in five lost.
#[test]
fn nobody_is_removed_who_answers() {
    let mut network = formed(10, fast(), 3);
    network.loss_per_million = 200_000;
    network.run_for(300 * SECOND);
    let removed = network.nodes[0].events.iter();
    let removed = removed
        .filter(|(_, event)| matches!(event, Event::Silent(..)))
        .count();
    // A question and its answer both arrive with 0.64; three of them, after a silent window, do not with 0.36³.
    assert!(removed <= 30, "{removed} of some 2,700 windows");
    network.loss_per_million = 0;
    network.run_to(5 * SECOND, |network| network.agrees(0));
}

/// REG-14.
#[test]
fn whoever_leaves_is_gone_at_once_and_told_so() {
    let mut network = formed(5, fast(), 5);
    network.input(3, Input::Leave);
    let left = |network: &Network| {
        network.nodes[3]
            .events
            .iter()
            .any(|(_, event)| *event == Event::Left)
    };
    let took = network.run_to(SECOND, left);
    assert!(took <= Duration::from_millis(50), "{took:?}");
    network.kill(3);
    network.run_to(SECOND, |network| network.agrees(0));
    let Some(Report::Change(report)) = network.nodes[0].reports.last() else {
        panic!("{:?}", network.nodes[0].reports.last())
    };
    assert_eq!(report.changes[0].kind, ChangeKind::Left);
}

#[test]
fn whoever_leaves_without_a_leader_just_goes() {
    let mut network = formed(5, fast(), 5);
    network.kill(0);
    network.depose(0);
    network.input(3, Input::Leave);
    network.run_to(SECOND, |network| {
        network.nodes[3]
            .events
            .iter()
            .any(|(_, event)| *event == Event::Left)
    });
}

/// The old leader of a new reign is asked at once, and is out of the report before anybody else would be.
#[test]
fn a_leader_that_died_is_the_first_to_be_missed() {
    let mut network = formed(10, fast(), 6);
    network.kill(0);
    network.depose(0);
    network.appoint(1);
    let took = network.run_to(5 * SECOND, |network| network.agrees(0));
    assert!(took <= Duration::from_millis(450), "{took:?}");
}

/// A 100-node segment in the classic timing stays below 2 KiB/s on the wire, whatever rides in LeaderAlive.
#[test]
fn the_steady_traffic_of_a_hundred_nodes_is_small() {
    // Ethernet, IP and UDP; the datagram's own header, seal and segment name.
    const HEADERS: u64 = 42 + 70;
    const LEADER_ALIVE: u64 = 140;
    let classic = classic();
    let heartbeat = classic.heartbeat;
    let mut network = formed(100, classic, 7);
    let span = 600 * SECOND;
    network.run_for(span);
    let datagrams: u64 = network.sent.values().sum();
    let beats = span.as_millis() as u64 / heartbeat.as_millis() as u64;
    let bytes = network.bytes + datagrams * HEADERS + beats * (LEADER_ALIVE + HEADERS);
    let rate = bytes / span.as_secs();
    println!("{rate} B/s: {:?}", network.sent);
    assert!(rate <= 2_048, "{rate} B/s: {:?}", network.sent);
    assert!(network.agrees(0));
}
