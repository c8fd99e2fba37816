//! Collecting reports (REPORT), the leader and members by hand.

use std::collections::BTreeSet;
use std::time::Duration;

use bellwether_machine::{Machine, Outbox, Random};
use bellwether_multicast::reports::{
    Collected, Collector, CollectorSettings, Event, Input, Output, Reporter,
};
use bellwether_multicast::sender::To;
use bellwether_types::{Hash, NodeId, Time};
use bellwether_wire::transfer::{
    AssignmentId, JobReport, JobResult, Listed, ReportRequest, TransferMessage,
};

const SECOND: Duration = Duration::from_secs(1);

fn node(number: u16) -> NodeId {
    let mut id = [0; 16];
    id[..2].copy_from_slice(&number.to_be_bytes());
    NodeId::from_bytes(id)
}

fn assignment() -> AssignmentId {
    AssignmentId(Hash::of(b"assignment"))
}

fn report(result: JobResult) -> JobReport {
    JobReport {
        assignment: assignment(),
        result,
    }
}

struct Leader {
    collector: Collector,
    now: Time,
}

impl Leader {
    fn new(members: u16, change: impl Fn(&mut CollectorSettings)) -> Self {
        let mut settings = CollectorSettings::default();
        change(&mut settings);
        let members = (1..=members).map(node).collect();
        let mut leader = Self {
            collector: Collector::new(assignment(), members, settings),
            now: Time::ZERO,
        };
        leader.give(Input::Start);
        leader
    }

    fn give(&mut self, input: Input) -> Vec<Output> {
        let mut out = Outbox::new();
        self.collector.handle(self.now, input, &mut out);
        out.drain().collect()
    }

    fn reports(&mut self, members: impl IntoIterator<Item = u16>) -> Vec<Output> {
        let members = members.into_iter();
        let outputs = members.map(|member| {
            self.give(Input::Report {
                from: node(member),
                report: report(JobResult::Done),
            })
        });
        outputs.collect::<Vec<_>>().concat()
    }

    fn wait(&mut self) -> Vec<Output> {
        self.now = self.collector.wake_at().expect("it waits for something");
        self.give(Input::Wake)
    }
}

fn request(output: &Output) -> (To, ReportRequest) {
    match output {
        Output::Send {
            to,
            message: TransferMessage::Request(request),
        } => (*to, request.clone()),
        other => panic!("{other:?}"),
    }
}

fn ended(outputs: &[Output]) -> &Collected {
    match outputs {
        [Output::Ended(collected)] => collected,
        other => panic!("{other:?}"),
    }
}

/// REPORT-01, REPORT-02.
#[test]
fn success_and_failure_are_reported_for_each_assignment() {
    let mut reporter = Reporter::new(node(1), 2 * SECOND, Random::new(1));
    let mut leader = Leader::new(2, |settings| settings.quorum = 2);
    let mut out = Outbox::new();
    let failed = JobResult::Failed("command 3: no space left on device (28)".to_owned());
    let done = Event::Done {
        report: report(failed.clone()),
        leader: node(9),
        members: 2,
    };
    reporter.handle(Time::ZERO, done, &mut out);
    reporter.handle(reporter.wake_at().unwrap(), Event::Wake, &mut out);
    let sent: Vec<Output> = out.drain().collect();
    let [
        Output::Send {
            to,
            message: TransferMessage::Report(sent),
        },
    ] = &sent[..]
    else {
        panic!("{sent:?}");
    };
    assert_eq!((*to, &sent.result), (To::Node(node(9)), &failed));
    leader.give(Input::Report {
        from: node(1),
        report: sent.clone(),
    });
    let outputs = leader.reports([2]);
    let collected = ended(&outputs);
    assert_eq!(collected.reports[&node(1)], failed);
    assert_eq!(collected.reports[&node(2)], JobResult::Done);
    assert!(!collected.quorum, "one of two failed");
}

/// REPORT-03, REPORT-04: on both sides of the limit.
#[test]
fn few_missing_reports_are_asked_for_singly_and_many_by_multicast() {
    let mut leader = Leader::new(10, |_| {});
    leader.reports([1, 2, 3, 4, 5]);
    let outputs = leader.wait();
    let asked: Vec<To> = outputs.iter().map(|output| request(output).0).collect();
    assert_eq!(
        asked,
        (6..=10)
            .map(|member| To::Node(node(member)))
            .collect::<Vec<_>>()
    );
    let mut leader = Leader::new(10, |_| {});
    leader.reports([1, 2, 3, 4]);
    let outputs = leader.wait();
    assert_eq!(outputs.len(), 1);
    assert_eq!(request(&outputs[0]).0, To::Group);
}

/// REPORT-05, REPORT-06.
#[test]
fn the_shorter_list_is_sent_and_only_those_it_means_answer() {
    for (missing, listed, len) in [(3, Listed::Missing, 3), (7, Listed::Reported, 3)] {
        let mut leader = Leader::new(10, |settings| settings.singly_max = Some(2));
        leader.reports(missing + 1..=10);
        let outputs = leader.wait();
        let (to, request) = request(&outputs[0]);
        assert_eq!(
            (to, request.listed, request.nodes.len()),
            (To::Group, listed, len)
        );
        for member in 1..=10 {
            assert_eq!(request.asks(node(member)), member <= missing, "{member}");
            let mut reporter = Reporter::new(node(member), 2 * SECOND, Random::new(1));
            let mut out = Outbox::new();
            let done = Event::Done {
                report: report(JobResult::Done),
                leader: node(99),
                members: 10,
            };
            reporter.handle(Time::ZERO, done, &mut out);
            let later = Time::ZERO + 5 * SECOND;
            reporter.handle(later, Event::Wake, &mut out);
            drop(out.drain().collect::<Vec<_>>());
            let from = node(99);
            let request = request.clone();
            reporter.handle(later, Event::Request { from, request }, &mut out);
            reporter.handle(later + SECOND, Event::Wake, &mut out);
            assert_eq!(out.drain().count(), usize::from(member <= missing));
        }
    }
}

/// A list that fits no datagram is split, whoever it names.
#[test]
fn long_lists_are_split() {
    let mut leader = Leader::new(2_000, |_| {});
    leader.reports(1..=900);
    let outputs = leader.wait();
    let asked: BTreeSet<NodeId> = outputs
        .iter()
        .map(request)
        .flat_map(|(_, request)| {
            assert_eq!(request.listed, Listed::Missing);
            assert!(request.nodes.len() <= ReportRequest::NODES_MAX);
            request.nodes
        })
        .collect();
    assert_eq!(asked, (901..=2_000).map(node).collect());
}

/// REPORT-07.
#[test]
fn a_dead_member_is_asked_so_often_and_no_more() {
    let mut leader = Leader::new(4, |settings| settings.quorum = 3);
    leader.reports([1, 2, 3]);
    for attempt in 1..=10 {
        let outputs = leader.wait();
        assert_eq!(request(&outputs[0]).1.attempt, attempt);
    }
    let outputs = leader.wait();
    let collected = ended(&outputs);
    assert_eq!(collected.missing, BTreeSet::from([node(4)]));
    assert!(collected.quorum);
    assert_eq!(leader.collector.wake_at(), None);
}

/// REPORT-08.
#[test]
fn two_hundred_members_do_not_report_at_once() {
    let mut times: Vec<Time> = (0..200)
        .map(|member| {
            let mut reporter = Reporter::new(node(member), 2 * SECOND, Random::new(member.into()));
            let done = Event::Done {
                report: report(JobResult::Done),
                leader: node(999),
                members: 200,
            };
            reporter.handle(Time::ZERO, done, &mut Outbox::new());
            reporter.wake_at().unwrap()
        })
        .collect();
    times.sort_unstable();
    assert!(*times.last().unwrap() <= Time::ZERO + Duration::from_millis(200));
    let window = Duration::from_millis(10);
    let most = times
        .iter()
        .enumerate()
        .map(|(at, first)| {
            times[at..]
                .iter()
                .take_while(|time| time.since(*first) < window)
                .count()
        })
        .max();
    assert!(most.unwrap() <= 25, "{most:?} in {window:?}");
}

/// Strangers, other assignments and repetitions change nothing.
#[test]
fn only_members_reports_of_this_assignment_count() {
    let mut leader = Leader::new(2, |_| {});
    leader.reports([77]);
    let mut other = report(JobResult::Done);
    other.assignment = AssignmentId(Hash::of(b"other"));
    leader.give(Input::Report {
        from: node(1),
        report: other,
    });
    leader.reports([1, 1, 1]);
    let outputs = leader.give(Input::Departed(node(2)));
    assert_eq!(ended(&outputs).reports.len(), 1);
}
