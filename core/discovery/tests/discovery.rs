//! What the control server believes of segments, whatever leaders say, in whatever order.

use core::time::Duration;
use std::collections::BTreeMap;

use bellwether_discovery::{Discovery, Event, Farewell, Input, LinkId, Output, Settings, Standing};
use bellwether_machine::{Machine, Outbox};
use bellwether_types::{Epoch, Incarnation, Name, NodeId, Term, Time};
use bellwether_wire::control::{Formats, Record, Resources};
use bellwether_wire::uplink::{
    ChangeKind, ClusterReport, Downward, Hello, MemberChange, Order, Pong, Reason, Report,
    ReportNumber, SegmentReport, Upward,
};
use proptest::prelude::*;

const SILENCE: Duration = Duration::from_secs(2);

struct Server {
    discovery: Discovery,
    now: Time,
}

impl Server {
    fn new() -> Self {
        let settings = Settings {
            term: Term(1),
            silence: SILENCE,
        };
        Self {
            discovery: Discovery::new(settings),
            now: Time::from_nanos(5_000_000_000),
        }
    }

    fn give(&mut self, input: Input) -> Vec<Output> {
        let mut out = Outbox::new();
        self.discovery.handle(self.now, input, &mut out);
        out.drain().collect()
    }

    fn open(&mut self, link: u64, segment: &str, epoch: Epoch) -> Vec<Output> {
        self.give(Input::Opened {
            link: LinkId(link),
            node: epoch.leader,
            hello: Hello {
                segment: name(segment),
                epoch,
                incarnation: Incarnation(1),
                formats: Formats::default(),
                settings: 3,
                jobs: Vec::new(),
            },
            title: None,
            settings: 3,
        })
    }

    fn report(&mut self, link: u64, report: Report) -> Vec<Output> {
        self.give(Input::Said {
            link: LinkId(link),
            message: Upward::Segment(report),
        })
    }

    fn pass(&mut self, span: Duration) -> Vec<Output> {
        let end = self.now + span;
        let mut said = Vec::new();
        while let Some(at) = self.discovery.wake_at().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            said.extend(self.give(Input::Wake));
        }
        self.now = end;
        said
    }

    fn standings(&self, nodes: &[u8]) -> Vec<Standing> {
        nodes
            .iter()
            .map(|n| self.discovery.standing(node(*n)))
            .collect()
    }
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn node(n: u8) -> NodeId {
    NodeId::from_bytes([n; 16])
}

fn epoch(counter: u64, leader: u8) -> Epoch {
    Epoch {
        counter,
        leader: node(leader),
    }
}

fn record(n: u8, incarnation: u64) -> Record {
    Record {
        incarnation: Incarnation(incarnation),
        name: name(&format!("node-{n}")),
        address: ([10, 0, 0, n], 7766).into(),
        location: String::new(),
        candidate: true,
        priority: 1,
        busy: false,
        formats: Formats::default(),
        resources: Resources::default(),
        holdings: Vec::new(),
        nonce: 0,
        joined: 0,
        data_port: None,
        serve_port: None,
    }
}

fn number(segment: &str, epoch: Epoch, sequence: u64) -> ReportNumber {
    ReportNumber {
        segment: name(segment),
        epoch,
        sequence,
    }
}

fn cluster(segment: &str, epoch: Epoch, sequence: u64, members: &[u8]) -> Report {
    Report::Cluster(ClusterReport {
        number: number(segment, epoch, sequence),
        title: None,
        leader: name("leader"),
        address: ([10, 0, 0, 1], 7766).into(),
        location: "Europe/Vienna".to_owned(),
        members: members.iter().map(|n| (node(*n), record(*n, 1))).collect(),
    })
}

fn change(
    segment: &str,
    epoch: Epoch,
    sequence: u64,
    kind: ChangeKind,
    n: u8,
    incarnation: u64,
) -> Report {
    Report::Change(SegmentReport {
        number: number(segment, epoch, sequence),
        changes: vec![MemberChange {
            node: node(n),
            kind,
            record: record(n, incarnation),
        }],
    })
}

fn told(said: &[Output]) -> Vec<Event> {
    let events = said.iter().filter_map(|output| match output {
        Output::Told(event) => Some(event.clone()),
        _ => None,
    });
    events.collect()
}

fn is_asked(said: &[Output]) -> bool {
    said.iter().any(
        |output| matches!(output, Output::Send { message: Downward::Ask(ask), .. } if ask.segment),
    )
}

fn dismissals(said: &[Output]) -> Vec<(u64, Reason)> {
    let dismissed = said.iter().filter_map(|output| match output {
        Output::Send {
            link,
            message: Downward::Dismiss(dismiss),
        } => Some((link.0, dismiss.reason)),
        _ => None,
    });
    dismissed.collect()
}

/// CLUSTER-01, CLUSTER-04, CLUSTER-05, CLUSTER-06.
#[test]
fn nodes_appear_go_and_come_back_as_their_leader_reports() {
    let mut server = Server::new();
    let said = server.open(1, "vienna", epoch(1, 1));
    assert!(
        matches!(&said[0], Output::Send { message: Downward::Welcome(welcome), .. }
        if welcome.silence_ms == 2_000 && welcome.settings == 3)
    );
    assert!(is_asked(&said));
    assert!(matches!(
        &told(&said)[..],
        [Event::Heard { settings: 3, .. }]
    ));
    let said = server.report(1, cluster("vienna", epoch(1, 1), 1, &[1, 2, 3]));
    assert_eq!(told(&said).len(), 3);
    let leader = server
        .discovery
        .segment(&name("vienna"))
        .unwrap()
        .leader
        .clone()
        .unwrap();
    assert_eq!(
        (leader.node, leader.location.as_str()),
        (node(1), "Europe/Vienna")
    );

    let gone = |n, farewell| Event::Gone {
        segment: name("vienna"),
        node: node(n),
        farewell,
    };
    let said = server.report(
        1,
        change("vienna", epoch(1, 1), 2, ChangeKind::Failed, 2, 1),
    );
    assert_eq!(told(&said), [gone(2, Farewell::Failed)]);
    let said = server.report(1, change("vienna", epoch(1, 1), 3, ChangeKind::Left, 3, 1));
    assert_eq!(told(&said), [gone(3, Farewell::Left)]);
    assert_eq!(
        server.standings(&[1, 2, 3, 4]),
        [
            Standing::Present,
            Standing::Absent,
            Standing::Absent,
            Standing::Unknown
        ]
    );
    let said = server.report(
        1,
        change("vienna", epoch(1, 1), 4, ChangeKind::Joined, 2, 2),
    );
    assert!(matches!(&told(&said)[..], [Event::Joined { .. }]));
    let said = server.report(
        1,
        change("vienna", epoch(1, 1), 5, ChangeKind::Restarted, 2, 3),
    );
    assert!(matches!(&told(&said)[..], [Event::Changed { .. }]));
    // The next reign does not know one of them any more.
    server.open(2, "vienna", epoch(2, 2));
    let said = server.report(2, cluster("vienna", epoch(2, 2), 1, &[2]));
    assert!(told(&said).contains(&gone(1, Farewell::Missed)));
    assert_eq!(
        server.standings(&[1, 2]),
        [Standing::Absent, Standing::Present]
    );
}

/// CLUSTER-12.
#[test]
fn an_older_report_changes_nothing_and_a_gap_is_asked_about_once() {
    let mut server = Server::new();
    server.open(1, "vienna", epoch(1, 1));
    // Before anything is known, a change is worth nothing; all was asked for already.
    let said = server.report(
        1,
        change("vienna", epoch(1, 1), 7, ChangeKind::Joined, 9, 1),
    );
    assert_eq!(said, []);
    server.report(1, cluster("vienna", epoch(1, 1), 8, &[1, 2]));
    for old in [
        cluster("vienna", epoch(1, 1), 7, &[1]),
        change("vienna", epoch(1, 1), 8, ChangeKind::Failed, 2, 1),
        change("vienna", epoch(1, 1), 3, ChangeKind::Left, 2, 1),
    ] {
        assert_eq!(server.report(1, old), []);
    }
    assert_eq!(server.standings(&[1, 2]), [Standing::Present; 2]);
    let said = server.report(
        1,
        change("vienna", epoch(1, 1), 10, ChangeKind::Failed, 2, 1),
    );
    assert!(is_asked(&said) && told(&said).is_empty());
    assert_eq!(
        server.report(
            1,
            change("vienna", epoch(1, 1), 11, ChangeKind::Failed, 2, 1)
        ),
        []
    );
    server.report(1, cluster("vienna", epoch(1, 1), 11, &[1, 2]));
    // Nothing follows the last possible number.
    server.report(1, cluster("vienna", epoch(1, 1), u64::MAX, &[1, 2]));
    let wrapped = change("vienna", epoch(1, 1), 0, ChangeKind::Failed, 2, 1);
    assert_eq!(server.report(1, wrapped), []);
}

/// CLUSTER-12, TREE-24: two leaders of one segment.
#[test]
fn the_highest_reign_speaks_for_a_segment() {
    let mut server = Server::new();
    server.open(1, "vienna", epoch(4, 1));
    server.report(1, cluster("vienna", epoch(4, 1), 1, &[1, 2]));
    let said = server.open(2, "vienna", epoch(3, 2));
    assert_eq!(dismissals(&said), [(2, Reason::Superseded(epoch(4, 1)))]);
    let said = server.open(3, "vienna", epoch(5, 3));
    assert_eq!(dismissals(&said), [(1, Reason::Superseded(epoch(5, 3)))]);
    // What the deposed one still says is not heard.
    assert_eq!(
        server.report(1, cluster("vienna", epoch(4, 1), 2, &[1])),
        []
    );
    // The same leader on a new connection.
    let said = server.open(4, "vienna", epoch(5, 3));
    assert_eq!(dismissals(&said), [(3, Reason::Later)]);
    // A reign that claims another's office.
    let said = server.give(Input::Opened {
        link: LinkId(5),
        node: node(9),
        hello: Hello {
            segment: name("vienna"),
            epoch: epoch(9, 3),
            incarnation: Incarnation(1),
            formats: Formats::default(),
            settings: 0,
            jobs: Vec::new(),
        },
        title: None,
        settings: 0,
    });
    assert_eq!(dismissals(&said), [(5, Reason::NotAllowed)]);
    let said = server.report(4, cluster("graz", epoch(5, 3), 1, &[1]));
    assert_eq!(dismissals(&said), [(4, Reason::Fault)]);
}

/// CLUSTER-10, TREE-01.
#[test]
fn a_segment_nobody_speaks_for_is_unknown_and_a_lower_reign_is_heard_once_it_is_silent() {
    let mut server = Server::new();
    server.open(1, "vienna", epoch(4, 1));
    server.report(1, cluster("vienna", epoch(4, 1), 1, &[1, 2]));
    server.give(Input::Closed(LinkId(1)));
    assert_eq!(server.standings(&[1, 2]), [Standing::Unknown; 2]);
    // Another part of the segment is not the truth just because it is quick.
    let said = server.open(2, "vienna", epoch(3, 2));
    assert_eq!(dismissals(&said), [(2, Reason::Superseded(epoch(4, 1)))]);
    let said = server.pass(SILENCE);
    assert_eq!(
        told(&said),
        [Event::Silent {
            segment: name("vienna")
        }]
    );
    assert_eq!(server.pass(SILENCE * 3), []);
    // All disks were lost, say.
    let said = server.open(3, "vienna", epoch(1, 2));
    assert_eq!(dismissals(&said), []);
    server.report(3, cluster("vienna", epoch(1, 2), 1, &[2]));
    assert_eq!(
        server.standings(&[1, 2]),
        [Standing::Absent, Standing::Present]
    );
}

#[test]
fn a_link_that_answers_no_ping_is_closed() {
    let mut server = Server::new();
    let said = server.open(1, "vienna", epoch(1, 1));
    let ping = |said: &[Output]| {
        said.iter().find_map(|output| match output {
            Output::Send {
                message: Downward::Ping(ping),
                ..
            } => Some(*ping),
            _ => None,
        })
    };
    let mut open = ping(&said);
    for _ in 0..20 {
        let asked = open.expect("pings go on");
        server.give(Input::Said {
            link: LinkId(1),
            message: Upward::Pong(Pong {
                number: asked.number,
                received_us: asked.sent_us,
                sent_us: asked.sent_us,
            }),
        });
        open = ping(&server.pass(SILENCE / 4));
    }
    let said = server.pass(SILENCE * 3);
    assert_eq!(dismissals(&said), [(1, Reason::Later)]);
    assert!(said.contains(&Output::Close(LinkId(1))));
    assert_eq!(
        told(&said),
        [Event::Silent {
            segment: name("vienna")
        }]
    );
    assert_eq!(server.discovery.wake_at(), None);
}

/// COMMIT-01: instants are by the clock of whoever gets them.
#[test]
fn an_order_names_its_instant_by_the_leaders_clock_or_is_not_sent() {
    let mut server = Server::new();
    let order = |at_us| {
        Downward::Order(Order {
            job: name("job"),
            assignment: vec![1],
            nodes: vec![node(1)],
            at_us,
        })
    };
    let tell = |server: &mut Server, message: Downward| {
        server.give(Input::Tell {
            segment: name("vienna"),
            message,
        })
    };
    assert!(matches!(
        &tell(&mut server, order(None))[..],
        [Output::Untold { .. }]
    ));
    let said = server.open(1, "vienna", epoch(1, 1));
    assert!(matches!(
        &tell(&mut server, order(Some(1)))[..],
        [Output::Untold { .. }]
    ));
    assert!(matches!(
        &tell(&mut server, order(None))[..],
        [Output::Send { .. }]
    ));
    let asked = said.iter().find_map(|output| match output {
        Output::Send {
            message: Downward::Ping(ping),
            ..
        } => Some(*ping),
        _ => None,
    });
    let asked = asked.expect("a link begins with a ping");
    // There and back in 2 ms; the leader's clock is an hour ahead.
    server.now += Duration::from_millis(2);
    let there = asked.sent_us + 1_000 + 3_600_000_000;
    server.give(Input::Said {
        link: LinkId(1),
        message: Upward::Pong(Pong {
            number: asked.number,
            received_us: there,
            sent_us: there,
        }),
    });
    let said = tell(&mut server, order(Some(9_000_000)));
    assert_eq!(
        said,
        [Output::Send {
            link: LinkId(1),
            message: order(Some(3_609_000_000)),
        }]
    );
}

/// CRYPT-06.
#[test]
fn who_was_put_out_is_dismissed_and_not_shown() {
    let mut server = Server::new();
    server.open(1, "vienna", epoch(1, 1));
    server.report(1, cluster("vienna", epoch(1, 1), 1, &[1, 2]));
    assert_eq!(server.give(Input::Expelled(node(2))), []);
    assert!(server.discovery.node(node(2)).is_none());
    let said = server.give(Input::Expelled(node(1)));
    assert_eq!(dismissals(&said), [(1, Reason::NotAllowed)]);
}

/// CGRP-06: a node that starts again elsewhere.
#[test]
fn a_node_that_moved_is_where_its_later_start_is() {
    let mut server = Server::new();
    server.open(1, "vienna", epoch(1, 1));
    server.open(2, "graz", epoch(1, 5));
    server.report(1, cluster("vienna", epoch(1, 1), 1, &[1, 2]));
    server.report(2, cluster("graz", epoch(1, 5), 1, &[5]));
    let said = server.report(2, change("graz", epoch(1, 5), 2, ChangeKind::Joined, 2, 2));
    let moved = Event::Moved {
        node: node(2),
        from: name("vienna"),
        to: name("graz"),
    };
    assert_eq!(told(&said), [moved]);
    // The old segment has not noticed, and then it has.
    assert_eq!(
        told(&server.report(1, cluster("vienna", epoch(1, 1), 2, &[1, 2]))),
        []
    );
    assert_eq!(
        told(&server.report(
            1,
            change("vienna", epoch(1, 1), 3, ChangeKind::Failed, 2, 1)
        )),
        []
    );
    assert_eq!(
        server.discovery.node(node(2)).unwrap().segment,
        name("graz")
    );
    assert_eq!(server.standings(&[2]), [Standing::Present]);
}

/// What a leader may do in the model.
#[derive(Debug, Clone)]
enum Step {
    Open {
        link: u64,
        counter: u64,
        leader: u8,
    },
    Whole {
        link: u64,
        sequence: u64,
        members: Vec<u8>,
    },
    Change {
        link: u64,
        sequence: u64,
        n: u8,
        joins: bool,
    },
    Close(u64),
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..6_u64, 1..4_u64, 1..4_u8).prop_map(|(link, counter, leader)| Step::Open {
            link,
            counter,
            leader
        }),
        (
            0..6_u64,
            1..6_u64,
            proptest::collection::btree_set(1..6_u8, 0..5)
        )
            .prop_map(|(link, sequence, members)| Step::Whole {
                link,
                sequence,
                members: members.into_iter().collect(),
            }),
        (0..6_u64, 1..6_u64, 1..6_u8, any::<bool>()).prop_map(|(link, sequence, n, joins)| {
            Step::Change {
                link,
                sequence,
                n,
                joins,
            }
        }),
        (0..6_u64).prop_map(Step::Close),
        (0..3_000_u64).prop_map(Step::Pass),
    ];
    proptest::collection::vec(step, 0..60)
}

proptest! {
    /// CLUSTER-12: what is believed is what the reports of the reign that is heard say in their order, and no
    /// message of a link that was dismissed or closed counts.
    #[test]
    fn what_is_believed_is_what_the_reign_that_is_heard_said(steps in steps()) {
        let mut server = Server::new();
        let mut links: BTreeMap<u64, Epoch> = BTreeMap::new();
        let (mut known, mut number): (Vec<u8>, Option<(Epoch, u64)>) = (Vec::new(), None);
        let (mut unused, mut last) = (0, None);
        let mut alias: BTreeMap<u64, u64> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Open { link, counter, leader } => {
                    // No two links ever have the same id.
                    unused += 1;
                    alias.insert(link, unused);
                    let said = server.open(unused, "vienna", epoch(counter, leader));
                    let dismissed = dismissals(&said);
                    if !dismissed.iter().any(|(link, _)| *link == unused) {
                        // Numbers begin anew with each reign, also with one that was heard before.
                        number = number.filter(|_| last == Some(epoch(counter, leader)));
                        last = Some(epoch(counter, leader));
                        links.insert(unused, epoch(counter, leader));
                    }
                    links.retain(|link, _| !dismissed.iter().any(|(other, _)| other == link));
                    // One speaks at a time, and a higher reign is never refused for a lower one.
                    prop_assert!(links.len() <= 1);
                    for (link, reason) in dismissed {
                        if let Reason::Superseded(by) = reason {
                            prop_assert!(link != unused || by > epoch(counter, leader));
                        }
                    }
                }
                Step::Whole { link, sequence, members } => {
                    let Some(id) = alias.get(&link).copied() else { continue };
                    let Some(reign) = links.get(&id).copied() else {
                        let said = server.report(id, cluster("vienna", epoch(1, 1), sequence, &members));
                        prop_assert_eq!(said, []);
                        continue;
                    };
                    server.report(id, cluster("vienna", reign, sequence, &members));
                    if number.is_none_or(|(of, last)| of != reign || sequence >= last) {
                        known = members;
                        number = Some((reign, sequence));
                    }
                }
                Step::Change { link, sequence, n, joins } => {
                    let Some(id) = alias.get(&link).copied() else { continue };
                    let Some(reign) = links.get(&id).copied() else { continue };
                    let kind = if joins { ChangeKind::Joined } else { ChangeKind::Failed };
                    server.report(id, change("vienna", reign, sequence, kind, n, 1));
                    if number == Some((reign, sequence.wrapping_sub(1))) {
                        number = Some((reign, sequence));
                        known.retain(|other| *other != n);
                        if joins {
                            known.push(n);
                        }
                    }
                }
                Step::Close(link) => {
                    if let Some(id) = alias.get(&link) {
                        server.give(Input::Closed(LinkId(*id)));
                        links.remove(id);
                    }
                }
                Step::Pass(ms) => {
                    let said = server.pass(Duration::from_millis(ms));
                    let dismissed = dismissals(&said);
                    links.retain(|link, _| !dismissed.iter().any(|(other, _)| other == link));
                }
            }
            let heard = server.discovery.link(&name("vienna")).map(|(id, _)| id.0);
            prop_assert_eq!(heard, links.keys().next().copied());
            for n in 1..6 {
                let expected = match (heard, known.contains(&n)) {
                    (Some(_), true) => Standing::Present,
                    (None, _) => Standing::Unknown,
                    (Some(_), false) => match server.discovery.node(node(n)) {
                        Some(_) => Standing::Absent,
                        None => Standing::Unknown,
                    },
                };
                prop_assert_eq!(server.discovery.standing(node(n)), expected, "node {}", n);
            }
        }
    }
}
