//! What the control server is told.

use std::time::Duration;

use bellwether_membership::{ChangeKind, Input, Order, Report};

use crate::network::{Network, fast, measured, name, node_id};

const SECOND: Duration = Duration::from_secs(1);

fn formed(count: usize) -> Network {
    let mut network = Network::new(count, fast(), 0, 37);
    network.appoint(0);
    network.run_to(5 * SECOND, |network| network.agrees(0));
    network
}

/// CLUSTER-01, CLUSTER-02, CLUSTER-03, CLUSTER-09.
#[test]
fn a_cluster_report_tells_all_of_the_segment() {
    let mut network = formed(4);
    network.order(0, Order::SetTitle("Berlin, rack 3".into()));
    network.run_for(SECOND);
    let report = network.nodes[0].machine.cluster_report().unwrap();
    assert_eq!(report.number.segment.as_str(), "lan");
    assert_eq!(report.number.epoch, network.nodes[0].epoch.unwrap());
    assert_eq!(report.title.as_deref(), Some("Berlin, rack 3"));
    assert_eq!(
        (report.leader, report.address),
        (name(0), measured(0).address)
    );
    assert_eq!(report.location, "Europe/Berlin");
    assert_eq!(report.members.len(), 4);
    for (node, record) in &report.members {
        let number = (0..4).find(|number| node_id(*number) == *node).unwrap();
        assert_eq!(record.address, measured(number).address);
        assert_eq!(record.resources, measured(number).resources);
    }
    assert_eq!(network.nodes[1].machine.cluster_report(), None);
}

/// CLUSTER-07: the title outlives its leader.
#[test]
fn the_segments_title_stays_under_the_next_leader() {
    let mut network = formed(3);
    network.order(0, Order::SetTitle("Berlin".into()));
    network.run_for(SECOND);
    network.kill(0);
    network.depose(0);
    network.appoint(1);
    network.run_to(SECOND, |network| network.living_agree(0));
    let report = network.nodes[1].machine.cluster_report().unwrap();
    assert_eq!(report.title.as_deref(), Some("Berlin"));
}

/// CLUSTER-05, CLUSTER-06, CLUSTER-11: one report for each event, numbered without a gap.
#[test]
fn joining_leaving_and_changing_cause_one_report_each() {
    let mut network = formed(3);
    let before = network.nodes[0].reports.len();
    network.add();
    network.run_to(5 * SECOND, |network| network.agrees(0));
    network.restart(1);
    network.run_to(5 * SECOND, |network| network.agrees(0));
    let mut busy = measured(2);
    busy.busy = true;
    network.input(2, Input::Measured(busy));
    network.run_to(5 * SECOND, |network| network.record(0, 2).unwrap().busy);
    network.input(3, Input::Leave);
    network.run_for(SECOND);
    let kinds: Vec<(ChangeKind, usize)> = network.nodes[0].reports[before..]
        .iter()
        .map(|report| match report {
            Report::Change(report) => {
                let change = &report.changes[0];
                let number = (0..4)
                    .find(|number| node_id(*number) == change.node)
                    .unwrap();
                assert_eq!(report.changes.len(), 1);
                (change.kind, number)
            }
            Report::Cluster(report) => panic!("{report:?}"),
        })
        .collect();
    use ChangeKind::{Changed, Joined, Left, Restarted};
    assert_eq!(
        kinds,
        [(Joined, 3), (Restarted, 1), (Changed, 2), (Left, 3)]
    );
    let numbers = network.nodes[0]
        .reports
        .iter()
        .map(|report| report.number().sequence);
    let numbers: Vec<u64> = numbers.collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
}

/// CLUSTER-12, hole b6.
#[test]
fn a_later_reports_number_supersedes_an_earlier_one_and_never_the_other_way() {
    let mut network = formed(3);
    let first = network.nodes[0].reports[0].number().clone();
    network.add();
    network.run_to(5 * SECOND, |network| network.agrees(0));
    let second = network.nodes[0].reports.last().unwrap().number().clone();
    network.depose(0);
    network.appoint(2);
    network.run_to(5 * SECOND, |network| network.agrees(0));
    let third = network.nodes[2].reports[0].number().clone();
    assert!(matches!(network.nodes[2].reports[0], Report::Cluster(_)));
    assert!(second.supersedes(&first) && third.supersedes(&second));
    assert!(!first.supersedes(&second) && !second.supersedes(&third) && !first.supersedes(&first));
    let mut elsewhere = third.clone();
    elsewhere.segment = "other".parse().unwrap();
    assert!(!elsewhere.supersedes(&first));
}
