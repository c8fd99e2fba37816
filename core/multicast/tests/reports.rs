//! Collecting reports (REPORT), the leader and members by hand.

use std::collections::BTreeSet;
use std::time::Duration;

use bellwether_machine::{Machine, Outbox, Random};
use bellwether_multicast::reports::{
    Answer, Collected, Collector, CollectorSettings, Event, Input, Output, Question, Reporter,
};
use bellwether_multicast::sender::To;
use bellwether_types::{Hash, Incarnation, Name, NodeId, Serial, Term, Time, VersionId};
use bellwether_wire::SigningKey;
use bellwether_wire::transfer::{
    AssignmentId, JobReport, Listed, Order, ReportRequest, TransferMessage,
};
use bellwether_wire::uplink::{Failure, FailureKind, Outcome, Receipt, Served};

const SECOND: Duration = Duration::from_secs(1);

fn node(number: u16) -> NodeId {
    let mut id = [0; 16];
    id[..2].copy_from_slice(&number.to_be_bytes());
    NodeId::from_bytes(id)
}

fn job() -> Name {
    "j-7".parse().unwrap()
}

fn staged() -> Outcome {
    Outcome::Staged(VersionId(Hash::of(b"version")))
}

fn report(outcome: Outcome) -> JobReport {
    JobReport {
        job: job(),
        order: None,
        outcome,
    }
}

/// What a member says of an order that it carried out.
fn obeyed(order: AssignmentId) -> JobReport {
    JobReport {
        order: Some(order),
        ..report(Outcome::Removed)
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
        Self::asking(Question::Content(job()), 1..=members, 0..0, settings).0
    }

    /// With what it says at once.
    fn asking(
        question: Question,
        members: impl IntoIterator<Item = u16>,
        others: impl IntoIterator<Item = u16>,
        settings: CollectorSettings,
    ) -> (Self, Vec<Output>) {
        let members = members.into_iter().map(node).collect();
        let others = others.into_iter().map(node).collect();
        let mut leader = Self {
            collector: Collector::new(question, members, others, settings),
            now: Time::ZERO,
        };
        let outputs = leader.give(Input::Start);
        (leader, outputs)
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
                report: Box::new(report(staged())),
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
    let reason = "command 3: no space left on device (28)";
    let failed = Outcome::Failed(Failure::new(FailureKind::Space, reason));
    let done = Event::Done {
        report: report(failed.clone()),
        leader: Some(node(9)),
        members: 2,
    };
    reporter.handle(Time::ZERO, done, &mut out);
    reporter.handle(reporter.wake_at().unwrap(), Event::Wake, &mut out);
    let sent: Vec<Answer> = out.drain().collect();
    let [Answer::Report { to, report: sent }] = &sent[..] else {
        panic!("{sent:?}");
    };
    assert_eq!((*to, &sent.outcome), (node(9), &failed));
    leader.give(Input::Report {
        from: node(1),
        report: Box::new(sent.clone()),
    });
    let outputs = leader.reports([2]);
    let collected = ended(&outputs);
    assert_eq!(collected.reports[&node(1)], failed);
    assert_eq!(collected.reports[&node(2)], staged());
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
                report: report(staged()),
                leader: Some(node(99)),
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
                report: report(staged()),
                leader: Some(node(999)),
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

fn receipt(node: NodeId) -> Receipt {
    let served = Served {
        node,
        incarnation: Incarnation(1),
        site: "shop".parse().unwrap(),
        version: VersionId(Hash::of(b"version")),
        term: Term(1),
        serial: Serial(1),
        seconds: 0,
        nanoseconds: 0,
    };
    Receipt::sign(served, &SigningKey::from_seed([1; 32]))
}

fn ordered(outputs: &[Output]) -> Vec<(To, Order)> {
    let order = |output: &Output| match output {
        Output::Send {
            to,
            message: TransferMessage::Order(order),
        } => (*to, order.clone()),
        other => panic!("{other:?}"),
    };
    outputs.iter().map(order).collect()
}

fn order(at: Option<Time>) -> Question {
    Question::Order {
        job: job(),
        assignment: b"an order".to_vec(),
        at,
    }
}

/// COMMIT-01: an order is said several times before its instant, so that one loss delays nobody, and after it to those
/// whose reports are missing.
#[test]
fn an_order_is_said_again_before_its_instant_and_to_the_silent_after_it() {
    let at = Time::ZERO + Duration::from_millis(250);
    let settings = CollectorSettings {
        patience: Duration::from_millis(100),
        ..CollectorSettings::default()
    };
    let (mut leader, mut outputs) = Leader::asking(order(Some(at)), 1..=4, 5..=6, settings);
    let mut said = 0;
    while leader.now < at {
        for (to, order) in ordered(&outputs) {
            assert_eq!((to, order.at_us), (To::Group, Some(250_000)));
            let means = (1..=6).filter(|member| order.asks(node(*member)));
            assert_eq!(means.collect::<Vec<_>>(), [1, 2, 3, 4]);
            said += 1;
        }
        outputs = leader.wait();
    }
    assert_eq!(said, 4);
    let after = ordered(&outputs);
    assert_eq!(after.len(), 1, "all are silent: by multicast");
    let id = after[0].1.id();
    for member in [1, 2, 3] {
        leader.give(Input::Report {
            from: node(member),
            report: Box::new(obeyed(id)),
        });
    }
    let outputs = leader.wait();
    let again = ordered(&outputs);
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].0, To::Node(node(4)));
    let outputs = leader.give(Input::Report {
        from: node(4),
        report: Box::new(obeyed(id)),
    });
    assert!(ended(&outputs).missing.is_empty());
}

/// A member does what an order says once, however often it hears it; its report is said again from memory.
#[test]
fn a_repeated_order_is_obeyed_once_and_reported_again() {
    let (_, outputs) = Leader::asking(order(None), [1], [], CollectorSettings::default());
    let order = ordered(&outputs).remove(0).1;
    let mut reporter = Reporter::new(node(1), SECOND, Random::new(1));
    let mut now = Time::ZERO;
    let mut give = |event: Event| {
        now += SECOND;
        let mut out = Outbox::new();
        reporter.handle(now, event, &mut out);
        now = reporter.wake_at().unwrap_or(now);
        reporter.handle(now, Event::Wake, &mut out);
        out.drain().collect::<Vec<_>>()
    };
    let from = node(9);
    let heard = |order: &Order| Event::Order {
        from,
        order: order.clone(),
    };
    let obey = Answer::Obey {
        from,
        order: order.clone(),
    };
    assert_eq!(give(heard(&order)), [obey]);
    assert_eq!(give(heard(&order)), []);
    let report = obeyed(order.id());
    let done = Event::Done {
        report: report.clone(),
        leader: None,
        members: 3,
    };
    assert_eq!(give(done), []);
    let told = Answer::Report { to: from, report };
    assert_eq!(give(heard(&order)), [told]);
    // One that was refused is looked at again.
    let other = Order {
        assignment: b"another".to_vec(),
        ..order
    };
    assert_eq!(give(heard(&other)).len(), 1);
    assert_eq!(give(Event::Refused(other.id())), []);
    assert_eq!(give(heard(&other)).len(), 1);
}

/// A member that started again remembers nothing of a job that it has: it is told to look.
#[test]
fn a_member_asked_for_a_report_it_does_not_remember_looks_for_it() {
    let mut leader = Leader::new(1, |_| {});
    let outputs = leader.wait();
    let (_, request) = request(&outputs[0]);
    let mut reporter = Reporter::new(node(1), SECOND, Random::new(1));
    let mut out = Outbox::new();
    let from = node(9);
    reporter.handle(Time::ZERO, Event::Request { from, request }, &mut out);
    assert_eq!(out.drain().collect::<Vec<_>>(), [Answer::Recall(job())]);
}

/// What was staged for a job that was called off is not reported again.
#[test]
fn a_job_that_was_called_off_is_not_reported_as_staged() {
    let mut reporter = Reporter::new(node(1), SECOND, Random::new(1));
    let mut out = Outbox::new();
    let called_off = JobReport {
        outcome: Outcome::Aborted,
        ..obeyed(AssignmentId::of(b"abort"))
    };
    for report in [report(staged()), called_off] {
        let done = Event::Done {
            report,
            leader: None,
            members: 1,
        };
        reporter.handle(Time::ZERO, done, &mut out);
    }
    let request = ReportRequest {
        job: job(),
        attempt: 1,
        spread_ms: 0,
        listed: Listed::Reported,
        nodes: Vec::new(),
    };
    let from = node(9);
    reporter.handle(Time::ZERO, Event::Request { from, request }, &mut out);
    assert_eq!(out.drain().collect::<Vec<_>>(), [Answer::Recall(job())]);
}

/// Strangers, other assignments and repetitions change nothing.
#[test]
fn only_members_reports_of_this_assignment_count() {
    let mut leader = Leader::new(2, |_| {});
    leader.reports([77]);
    let other = JobReport {
        job: "j-8".parse().unwrap(),
        ..report(staged())
    };
    for report in [other, obeyed(AssignmentId::of(b"an order"))] {
        let (from, report) = (node(1), Box::new(report));
        leader.give(Input::Report { from, report });
    }
    let of_another = Outcome::Live(receipt(node(2)));
    leader.give(Input::Report {
        from: node(1),
        report: Box::new(report(of_another)),
    });
    assert_eq!(leader.collector.missing().len(), 2);
    leader.reports([1, 1, 1]);
    let outputs = leader.give(Input::Departed(node(2)));
    assert_eq!(ended(&outputs).reports.len(), 1);
}
