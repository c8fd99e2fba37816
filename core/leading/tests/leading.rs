//! A leader by hand, in time that the test makes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bellwether_leading::{Input, JOBS_MAX, Leading, Output};
use bellwether_machine::{Machine, Outbox};
use bellwether_multicast::Fate;
use bellwether_multicast::sender::To;
use bellwether_types::{Epoch, Hash, Name, NodeId, Serial, Term, Time, VersionId};
use bellwether_wire::transfer::{AssignmentId, JobReport, ReportRequest, TransferMessage};
use bellwether_wire::uplink::{
    Abort, Ask, Downward, Failure, FailureKind, File, Notify, Order, Outcome, Outcomes, Ping,
    Progress, Upward, Variant, Welcome,
};

fn node(byte: u8) -> NodeId {
    NodeId::from_bytes([byte; 16])
}

fn nodes(bytes: &[u8]) -> BTreeSet<NodeId> {
    bytes.iter().copied().map(node).collect()
}

fn job() -> Name {
    "j-7".parse().unwrap()
}

fn version(byte: u8) -> VersionId {
    VersionId(Hash([byte; 32]))
}

fn staged() -> Outcome {
    Outcome::Staged(version(2))
}

fn file(byte: u8) -> File {
    File {
        id: AssignmentId(Hash([byte; 32])),
        len: 1_000 * u64::from(byte),
    }
}

/// What brings the nodes from `base` to version 2, in one file called after the base.
fn variant(base: u8, to: &[u8]) -> Variant {
    Variant {
        base: (base > 0).then(|| version(base)),
        files: vec![file(10 + base)],
        nodes: to.iter().copied().map(node).collect(),
    }
}

fn notify(variants: Vec<Variant>) -> Notify {
    Notify {
        job: job(),
        site: "shop".parse().unwrap(),
        group: None,
        term: Term(1),
        serial: Serial(1),
        target: version(2),
        variants,
        sources: Vec::new(),
        quorum: 99,
        patience_ms: 1_000,
    }
}

fn order(to: &[u8], at_us: Option<u64>) -> Order {
    Order {
        job: job(),
        assignment: b"commit".to_vec(),
        nodes: to.iter().copied().map(node).collect(),
        at_us,
    }
}

/// What a member says of that order.
fn obeyed(outcome: Outcome) -> JobReport {
    JobReport {
        job: job(),
        order: Some(AssignmentId::of(b"commit")),
        outcome,
    }
}

fn welcome() -> Downward {
    Downward::Welcome(Welcome {
        term: Term(1),
        title: None,
        settings: 3,
        silence_ms: 10_000,
    })
}

/// Node 1, which leads nodes 1 to 4.
struct Leader {
    leading: Leading,
    now: Time,
}

impl Leader {
    fn new() -> Self {
        let mut leader = Self {
            leading: Leading::new(node(1)),
            now: Time::ZERO + Duration::from_secs(100),
        };
        leader.give(Input::Members(nodes(&[1, 2, 3, 4])));
        leader.give(Input::Reign(Some(Epoch {
            counter: 5,
            leader: node(1),
        })));
        leader.give(Input::Said(welcome()));
        leader
    }

    fn give(&mut self, input: Input) -> Vec<Output> {
        let mut out = Outbox::new();
        self.leading.handle(self.now, input, &mut out);
        out.drain().collect()
    }

    fn say(&mut self, message: Downward) -> Vec<Output> {
        self.give(Input::Said(message))
    }

    /// Lets time pass, as its deadlines want it.
    fn pass(&mut self, span: Duration) -> Vec<Output> {
        let end = self.now + span;
        let mut outputs = Vec::new();
        while let Some(at) = self.leading.wake_at().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            outputs.extend(self.give(Input::Wake));
        }
        self.now = end;
        outputs
    }

    fn moment(&mut self) -> Vec<Output> {
        self.pass(Duration::from_millis(50))
    }

    fn fetched(&mut self, byte: u8) -> Vec<Output> {
        self.give(Input::Fetched(file(byte).id, Ok(())))
    }

    fn ended(&mut self, byte: u8, fates: &[(u8, Fate)]) -> Vec<Output> {
        let fates = fates.iter().cloned();
        let fates: BTreeMap<NodeId, Fate> = fates.map(|(one, fate)| (node(one), fate)).collect();
        self.give(Input::Ended(file(byte).id, fates))
    }

    /// All of `to` have a file.
    fn brought(&mut self, byte: u8, to: &[u8]) -> Vec<Output> {
        let fates: Vec<(u8, Fate)> = to.iter().map(|one| (*one, Fate::Complete)).collect();
        self.ended(byte, &fates)
    }

    fn report(&mut self, from: u8, report: JobReport) -> Vec<Output> {
        self.give(Input::Report {
            from: node(from),
            report: Box::new(report),
        })
    }

    fn stages(&mut self, from: u8) -> Vec<Output> {
        let report = JobReport {
            job: job(),
            order: None,
            outcome: staged(),
        };
        self.report(from, report)
    }

    /// The job's content is with these, and reported.
    fn staged_by(&mut self, members: &[u8]) {
        self.say(Downward::Notify(notify(vec![variant(1, members)])));
        self.fetched(11);
        self.brought(11, members);
        members.iter().for_each(|member| drop(self.stages(*member)));
        self.moment();
    }
}

fn fetches(outputs: &[Output]) -> Vec<(AssignmentId, Option<String>)> {
    let fetch = |output: &Output| match output {
        Output::Fetch { file, source } => Some((file.id, source.clone())),
        _ => None,
    };
    outputs.iter().filter_map(fetch).collect()
}

fn offers(outputs: &[Output]) -> Vec<(AssignmentId, BTreeSet<NodeId>)> {
    let offer = |output: &Output| match output {
        Output::Offer {
            assignment,
            members,
            ..
        } => Some((*assignment, members.clone())),
        _ => None,
    };
    outputs.iter().filter_map(offer).collect()
}

fn progress(outputs: Vec<Output>) -> Vec<Progress> {
    let progress = outputs.into_iter().filter_map(|output| match output {
        Output::Tell(Upward::Progress(progress)) => Some(progress),
        _ => None,
    });
    progress.collect()
}

/// What the control server was told became of whom.
fn told(outputs: &[Output]) -> BTreeMap<NodeId, Outcome> {
    let outcomes = |output: &Output| match output {
        Output::Tell(Upward::Outcomes(Outcomes { nodes, .. })) => nodes.clone(),
        _ => Vec::new(),
    };
    let told = outputs.iter().flat_map(outcomes);
    told.map(|one| (one.node, one.outcome)).collect()
}

/// Who of nodes 1 to 4 is asked for its report of the content.
fn asked(outputs: &[Output]) -> BTreeSet<NodeId> {
    let request = |output: &Output| -> Option<(To, ReportRequest)> {
        match output {
            Output::Send {
                to,
                message: TransferMessage::Request(request),
            } => Some((*to, request.clone())),
            _ => None,
        }
    };
    let all = nodes(&[1, 2, 3, 4]);
    let asked = outputs.iter().filter_map(request);
    asked
        .flat_map(|(to, request)| {
            let means = |node: &&NodeId| request.asks(**node) && reaches(to, **node);
            all.iter().filter(means).copied().collect::<Vec<_>>()
        })
        .collect()
}

/// Who of nodes 1 to 4 is given an order, and when it is due.
fn ordered(outputs: &[Output]) -> BTreeMap<NodeId, Option<u64>> {
    let mut given = BTreeMap::new();
    for output in outputs {
        if let Output::Send {
            to,
            message: TransferMessage::Order(order),
        } = output
        {
            let all = nodes(&[1, 2, 3, 4]).into_iter();
            let meant = all.filter(|node| order.asks(*node) && reaches(*to, *node));
            given.extend(meant.map(|node| (node, order.at_us)));
        }
    }
    given
}

fn reaches(to: To, node: NodeId) -> bool {
    match to {
        To::Node(one) => one == node,
        To::Segment | To::Group => true,
    }
}

/// JOB-17, TREE-10, TREE-19, REPORT-09: fetched, offered, staged, reported; this node's own share takes no way over the
/// network.
#[test]
fn content_comes_to_members_and_their_reports_to_the_control_server() {
    let mut leader = Leader::new();
    let outputs = leader.say(Downward::Notify(notify(vec![
        variant(1, &[1, 2]),
        variant(0, &[3]),
    ])));
    let ids: Vec<AssignmentId> = fetches(&outputs).into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, [file(10).id, file(11).id], "the shorter first");
    let outputs = leader.fetched(11);
    assert!(outputs.contains(&Output::Arrived(file(11).id)));
    assert_eq!(offers(&outputs), [(file(11).id, nodes(&[2]))]);
    let outputs = leader.fetched(10);
    assert!(!outputs.contains(&Output::Arrived(file(10).id)));
    assert_eq!(offers(&outputs), [(file(10).id, nodes(&[3]))]);
    leader.stages(1);
    let outputs = leader.moment();
    assert_eq!(
        told(&outputs),
        BTreeMap::from([(node(1), staged())]),
        "without waiting"
    );
    leader.stages(2);
    leader.stages(3);
    assert_eq!(
        told(&leader.moment()).keys().copied().collect::<Vec<_>>(),
        [node(2), node(3)],
        "together"
    );
}

/// TREE: what has come of a file goes out while the rest comes.
#[test]
fn a_file_is_offered_as_soon_as_its_head_is_here() {
    let mut leader = Leader::new();
    leader.say(Downward::Notify(notify(vec![variant(1, &[1, 2, 3])])));
    let begun = || Input::Begun(file(11).id);
    assert_eq!(
        offers(&leader.give(begun())),
        [(file(11).id, nodes(&[2, 3]))]
    );
    let refused = Failure::new(FailureKind::Silent, "it broke off");
    leader.give(Input::Fetched(file(11).id, Err(refused)));
    let outputs = leader.pass(Duration::from_secs(1));
    assert_eq!(fetches(&outputs), [(file(11).id, None)], "it goes on");
    assert_eq!(offers(&leader.give(begun())), [], "once is enough");
    // Everybody but this node has left: there is nobody to wait for, and still it comes.
    leader.ended(11, &[(2, Fate::Departed), (3, Fate::Departed)]);
    let outputs = leader.fetched(11);
    assert!(outputs.contains(&Output::Arrived(file(11).id)));
}

/// That one is tried again must not keep the other from it.
#[test]
fn a_fetch_and_an_offer_that_fail_together_are_both_tried_again() {
    let mut leader = Leader::new();
    leader.say(Downward::Notify(notify(vec![variant(1, &[1, 2])])));
    leader.give(Input::Begun(file(11).id));
    leader.give(Input::NotOffered(file(11).id, "not here yet".to_owned()));
    let broken = Failure::new(FailureKind::Silent, "it broke off");
    leader.give(Input::Fetched(file(11).id, Err(broken)));
    let outputs = leader.pass(Duration::from_secs(2));
    assert_eq!(fetches(&outputs), [(file(11).id, None)]);
    assert_eq!(offers(&outputs), [(file(11).id, nodes(&[2]))]);
}

#[test]
fn progress_is_told_now_and_then() {
    let mut leader = Leader::new();
    leader.say(Downward::Notify(notify(vec![variant(1, &[1, 2])])));
    for bytes in 0..100 {
        leader.give(Input::Fetching(file(11).id, bytes * 100));
    }
    let told = progress(leader.pass(Duration::from_secs(1)));
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].bytes, told[0].fetched), (11_000, 9_900));
    assert_eq!((told[0].received, told[0].needed), (9_900, 22_000));
    leader.fetched(11);
    leader.brought(11, &[2]);
    leader.stages(2);
    let told = progress(leader.pass(Duration::from_secs(1))).pop().unwrap();
    assert_eq!((told.complete, told.staged, told.received), (2, 1, 22_000));
}

/// Who needs less is not taken for slow, and nobody is named while all are equally far.
#[test]
fn progress_names_those_who_are_waited_for_while_others_are_further() {
    let mut leader = Leader::new();
    let variants = vec![variant(1, &[1, 2, 3]), variant(0, &[4])];
    leader.say(Downward::Notify(notify(variants)));
    let told = progress(leader.pass(Duration::from_secs(1)));
    assert_eq!(told.last().unwrap().slowest, []);
    leader.fetched(11);
    leader.fetched(10);
    let mut going = |byte: u8, received: &[(u8, u64)]| {
        let received = received.iter().map(|(to, bytes)| (node(*to), *bytes));
        leader.give(Input::Going {
            id: file(byte).id,
            rate: 4_000_000,
            received: received.collect(),
        });
    };
    going(11, &[(2, 10_000), (3, 1_000)]);
    going(10, &[(4, 9_000)]);
    let told = progress(leader.pass(Duration::from_secs(1))).pop().unwrap();
    assert_eq!((told.received, told.needed), (11_000 + 20_000, 43_000));
    assert_eq!(told.rate, 8_000_000);
    let named = |told: &Progress| -> Vec<(NodeId, u64, u64)> {
        let slowest = told.slowest.iter();
        slowest
            .map(|one| (one.node, one.received, one.needed))
            .collect()
    };
    let slowest = [(3, 1_000, 11_000), (4, 9_000, 10_000), (2, 10_000, 11_000)];
    let slowest = slowest.map(|(one, received, needed)| (node(one), received, needed));
    assert_eq!(named(&told), slowest);
    // Node 1 leads, has all, and has not staged it yet; node 3 has.
    leader.brought(11, &[2, 3]);
    leader.brought(10, &[4]);
    leader.stages(3);
    let told = progress(leader.pass(Duration::from_secs(1))).pop().unwrap();
    assert_eq!((told.complete, told.rate), (4, 0));
    let waiting = named(&told).into_iter().map(|(one, ..)| one);
    assert_eq!(waiting.collect::<Vec<_>>(), [1, 2, 4].map(node));
}

/// Nodes on another base turn up: what is under way goes on.
#[test]
fn a_notification_with_more_variants_adds_to_what_is_under_way() {
    let mut leader = Leader::new();
    leader.say(Downward::Notify(notify(vec![variant(1, &[1, 2])])));
    leader.fetched(11);
    let more = notify(vec![variant(1, &[2, 3]), variant(0, &[4])]);
    let outputs = leader.say(Downward::Notify(more));
    assert_eq!(fetches(&outputs), [(file(10).id, None)]);
    assert_eq!(offers(&outputs), [], "that of the first goes on");
    let outputs = leader.brought(11, &[2]);
    assert_eq!(offers(&outputs), []);
    let outputs = leader.pass(Duration::from_secs(1));
    assert_eq!(offers(&outputs), [(file(11).id, nodes(&[3]))]);
}

#[test]
fn what_nobody_trusted_signed_is_not_fetched_again() {
    let mut leader = Leader::new();
    leader.say(Downward::Notify(notify(vec![variant(1, &[1, 2])])));
    let stranger = Failure::new(FailureKind::Trust, "signed by a stranger");
    leader.give(Input::Fetched(file(11).id, Err(stranger)));
    let outputs = leader.pass(Duration::from_secs(40));
    assert_eq!(fetches(&outputs), []);
    let told = told(&outputs);
    assert!([1, 2].iter().all(|one| matches!(
        &told[&node(*one)],
        Outcome::Failed(failure) if failure.kind == FailureKind::Trust
    )));
}

/// A leader without room would leave all others without the content.
#[test]
fn a_leader_without_room_lets_another_lead_once_for_each_job() {
    let mut leader = Leader::new();
    let failed = || {
        let failure = Failure::new(FailureKind::Space, "no space left");
        Input::Fetched(file(11).id, Err(failure))
    };
    let reign = |counter| {
        let leader = node(1);
        Input::Reign(Some(Epoch { counter, leader }))
    };
    leader.say(Downward::Notify(notify(vec![variant(1, &[1, 2, 3, 4])])));
    assert!(leader.give(failed()).contains(&Output::StepDown(None)));
    // It leads again: then nobody else could.
    leader.give(reign(9));
    leader.say(welcome());
    leader.say(Downward::Notify(notify(vec![variant(1, &[1, 2, 3, 4])])));
    assert!(!leader.give(failed()).contains(&Output::StepDown(None)));

    let mut alone = Leader::new();
    alone.give(Input::Members(nodes(&[1])));
    alone.say(Downward::Notify(notify(vec![variant(1, &[1, 2, 3, 4])])));
    assert!(!alone.give(failed()).contains(&Output::StepDown(None)));
}

/// A fetch that breaks off is resumed, at the next place if there are several; in the end the job has failed here.
#[test]
fn a_fetch_that_fails_is_tried_again_and_then_told() {
    let mut leader = Leader::new();
    let places = ["https://a", "https://b"].map(str::to_owned);
    let outputs = leader.say(Downward::Notify(Notify {
        sources: places.to_vec(),
        ..notify(vec![variant(1, &[1, 2])])
    }));
    let mut tried = vec![fetches(&outputs)];
    let refused = || Failure::new(FailureKind::Silent, "it broke off");
    let outcome = loop {
        leader.give(Input::Fetched(file(11).id, Err(refused())));
        let outputs = leader.pass(Duration::from_secs(40));
        match fetches(&outputs) {
            again if again.is_empty() => break told(&outputs),
            again => tried.push(again),
        }
    };
    let sources = tried.iter().map(|tried| tried[0].1.clone().unwrap());
    let sources: Vec<String> = sources.collect();
    assert_eq!(sources.len(), 8);
    assert!(sources.chunks(2).all(|pair| pair == places));
    assert!(
        matches!(&outcome[&node(2)], Outcome::Failed(failure) if failure.reason.contains("broke off"))
    );
    assert_eq!(outcome.len(), 2);
    // Whoever says it again wants it again.
    let outputs = leader.say(Downward::Notify(notify(vec![variant(1, &[1, 2])])));
    assert_eq!(fetches(&outputs).len(), 1);
}

/// Members that did not get it are offered it again; one that says why not has failed.
#[test]
fn whom_an_offer_did_not_reach_gets_another() {
    let mut leader = Leader::new();
    leader.say(Downward::Notify(notify(vec![variant(1, &[2, 3, 4])])));
    leader.fetched(11);
    leader.ended(
        11,
        &[
            (2, Fate::Complete),
            (3, Fate::Silent),
            (4, Fate::Failed("no space".to_owned())),
        ],
    );
    let outputs = leader.pass(Duration::from_secs(1));
    assert_eq!(offers(&outputs), [(file(11).id, nodes(&[3]))]);
    assert!(matches!(told(&outputs)[&node(4)], Outcome::Failed(_)));
    leader.brought(11, &[3]);
    let outputs = leader.pass(Duration::from_secs(4));
    assert_eq!(asked(&outputs), nodes(&[2, 3]));
}

/// REPORT-03, REPORT-06: after everything was brought, reports that are missing are asked for, and no others; as long as
/// it takes, because staging may.
#[test]
fn lost_reports_are_asked_for() {
    let mut leader = Leader::new();
    leader.say(Downward::Notify(notify(vec![variant(1, &[1, 2, 3, 4])])));
    leader.fetched(11);
    assert_eq!(asked(&leader.pass(Duration::from_secs(60))), nodes(&[]));
    leader.brought(11, &[2, 3, 4]);
    leader.stages(1);
    leader.stages(2);
    leader.stages(4);
    for _ in 0..20 {
        assert_eq!(asked(&leader.pass(Duration::from_secs(6))), nodes(&[3]));
    }
    leader.stages(3);
    assert_eq!(asked(&leader.pass(Duration::from_secs(60))), nodes(&[]));
}

/// REPORT-07: enough have it; after a while the rest is behind, and who is late is heard all the same.
#[test]
fn whoever_is_slower_than_the_quorum_s_patience_is_behind() {
    let mut leader = Leader::new();
    leader.say(Downward::Notify(Notify {
        quorum: 2,
        ..notify(vec![variant(1, &[2, 3, 4])])
    }));
    leader.fetched(11);
    leader.brought(11, &[2, 3, 4]);
    leader.stages(2);
    assert!(told(&leader.pass(Duration::from_secs(5))).len() == 1);
    leader.stages(3);
    let outputs = leader.pass(Duration::from_secs(2));
    let Outcome::Behind(None, failure) = &told(&outputs)[&node(4)] else {
        panic!("{outputs:?}")
    };
    assert_eq!(failure.kind, FailureKind::Silent);
    leader.stages(4);
    assert_eq!(told(&leader.moment())[&node(4)], staged());
}

/// COMMIT-01: with its instant, by the leader's clock; to those who are meant, and to nobody twice.
#[test]
fn an_order_goes_to_those_who_are_meant_until_they_report() {
    let mut leader = Leader::new();
    leader.staged_by(&[1, 2, 3]);
    let at_us = leader.now.as_nanos() / 1_000 + 250_000;
    let mut outputs = leader.say(Downward::Order(order(&[1, 2, 3], Some(at_us))));
    let meant = BTreeMap::from([1, 2, 3].map(|one| (node(one), Some(at_us))));
    assert_eq!(ordered(&outputs), meant);
    outputs = leader.pass(Duration::from_millis(200));
    assert_eq!(ordered(&outputs), meant, "a loss delays nobody");
    leader.pass(Duration::from_millis(55));
    leader.report(1, obeyed(Outcome::Removed));
    leader.report(2, obeyed(Outcome::Removed));
    // Late, and said before the order was.
    leader.stages(2);
    let outputs = leader.pass(Duration::from_millis(500));
    assert_eq!(told(&outputs)[&node(2)], Outcome::Removed);
    assert_eq!(
        ordered(&outputs).keys().copied().collect::<Vec<_>>(),
        [node(3)]
    );
    // The control server did not hear of it: it is told again, and only the silent are ordered again.
    leader.pass(Duration::from_secs(60));
    let mut outputs = leader.say(Downward::Order(order(&[1, 2, 3], None)));
    outputs.extend(leader.moment());
    assert_eq!(told(&outputs).len(), 2);
    assert_eq!(
        ordered(&outputs).keys().copied().collect::<Vec<_>>(),
        [node(3)]
    );
}

/// JOB-04: getting content from neighbours takes as long as it takes; who gets nothing there is brought it, and what it says
/// of that counts.
#[test]
fn who_gets_nothing_from_neighbours_is_brought_it() {
    let mut leader = Leader::new();
    let outputs = leader.say(Downward::Gather(order(&[2, 3], None)));
    assert_eq!(ordered(&outputs).len(), 2);
    let outputs = leader.pass(Duration::from_secs(1));
    assert_eq!(ordered(&outputs).len(), 0, "they are at work");
    let outputs = leader.pass(Duration::from_secs(60));
    let again = ordered(&outputs);
    assert_eq!(
        again.keys().copied().collect::<Vec<_>>(),
        [node(2), node(3)]
    );
    leader.report(2, obeyed(staged()));
    let why = Failure::new(FailureKind::Neighbours, "nobody gives it");
    leader.report(3, obeyed(Outcome::Failed(why.clone())));
    let outputs = told(&leader.moment());
    assert_eq!(outputs[&node(2)], staged());
    assert_eq!(outputs[&node(3)], Outcome::Failed(why.clone()));
    leader.say(Downward::Notify(notify(vec![variant(1, &[3])])));
    leader.fetched(11);
    // Said before, and late.
    leader.report(3, obeyed(Outcome::Failed(why)));
    assert_eq!(told(&leader.moment()), BTreeMap::new());
    leader.stages(3);
    assert_eq!(told(&leader.moment())[&node(3)], staged());
}

/// A leader that comes in the middle knows nothing: the control server says it again, and members say what they have.
#[test]
fn a_leader_that_comes_later_goes_on_with_what_it_is_told() {
    let mut leader = Leader::new();
    // A member's word of a job that it never heard of.
    assert_eq!(leader.stages(2), []);
    let outputs = leader.say(Downward::Notify(notify(vec![variant(1, &[1, 2, 3])])));
    assert_eq!(fetches(&outputs).len(), 1);
    // It lies here already, and members say that they have it.
    leader.fetched(11);
    leader.brought(11, &[2, 3]);
    let outputs = leader.pass(Duration::from_secs(3));
    assert_eq!(asked(&outputs), nodes(&[1, 2, 3]));
    leader.stages(1);
    // An order of which it knows nothing else, either.
    let mut leader = Leader::new();
    let outputs = leader.say(Downward::Order(order(&[2, 3], None)));
    assert_eq!(ordered(&outputs).len(), 2);
    leader.report(3, obeyed(Outcome::Removed));
    assert_eq!(told(&leader.moment()).len(), 1);
}

#[test]
fn a_job_that_is_called_off_is_dropped_everywhere() {
    let mut leader = Leader::new();
    leader.say(Downward::Notify(notify(vec![variant(1, &[2, 3])])));
    leader.fetched(11);
    let mut outputs = leader.say(Downward::Abort(Abort {
        job: job(),
        assignment: b"abort".to_vec(),
        nodes: vec![node(2), node(3)],
    }));
    assert!(outputs.contains(&Output::Drop(file(11).id)));
    assert_eq!(ordered(&outputs).len(), 2);
    // What is said of the file afterwards brings nothing back.
    outputs = leader.brought(11, &[2, 3]);
    outputs.extend(leader.pass(Duration::from_secs(5)));
    assert_eq!((offers(&outputs), asked(&outputs)), (vec![], nodes(&[])));
    // The same job, begun again, is fetched again.
    let outputs = leader.say(Downward::Notify(notify(vec![variant(1, &[2, 3])])));
    assert_eq!(fetches(&outputs).len(), 1);
}

/// Who goes is not asked; who comes back is offered what it lacks.
#[test]
fn members_that_go_and_come_back() {
    let mut leader = Leader::new();
    leader.say(Downward::Notify(notify(vec![variant(1, &[2, 3])])));
    leader.fetched(11);
    leader.give(Input::Members(nodes(&[1, 2])));
    leader.ended(11, &[(2, Fate::Complete), (3, Fate::Departed)]);
    let outputs = leader.pass(Duration::from_secs(10));
    assert_eq!(offers(&outputs), []);
    let present = nodes(&[1, 2]);
    assert_eq!(&asked(&outputs) & &present, nodes(&[2]));
    leader.stages(2);
    let outputs = leader.give(Input::Members(nodes(&[1, 2, 3])));
    assert_eq!(offers(&outputs), [(file(11).id, nodes(&[3]))]);
    // A stranger's word does not count.
    leader.stages(9);
    assert_eq!(told(&leader.moment()).get(&node(9)), None);
}

/// After a new connection, or when it asks, the control server is told all again.
#[test]
fn what_became_of_jobs_is_told_again() {
    let mut leader = Leader::new();
    leader.staged_by(&[1, 2]);
    leader.give(Input::Closed);
    assert!(!leader.leading.is_heard());
    let mut outputs = leader.say(welcome());
    outputs.extend(leader.moment());
    assert!(outputs.contains(&Output::Settings(3)));
    assert_eq!(told(&outputs).len(), 2);
    let mut outputs = leader.say(Downward::Ask(Ask {
        segment: true,
        jobs: vec![job(), "j-unknown".parse().unwrap()],
    }));
    outputs.extend(leader.moment());
    assert!(outputs.contains(&Output::TellSegment));
    assert_eq!(told(&outputs).len(), 2);
}

/// Nothing goes up while nobody hears, and nothing is lost by that.
#[test]
fn what_is_reported_while_the_control_server_is_away_waits() {
    let mut leader = Leader::new();
    leader.say(Downward::Notify(notify(vec![variant(1, &[1, 2])])));
    leader.give(Input::Closed);
    leader.fetched(11);
    leader.brought(11, &[2]);
    leader.stages(1);
    leader.stages(2);
    assert_eq!(told(&leader.pass(Duration::from_secs(10))).len(), 0);
    leader.say(welcome());
    assert_eq!(told(&leader.moment()).len(), 2);
}

#[test]
fn pings_are_answered_at_once() {
    let mut leader = Leader::new();
    let ping = Ping {
        number: 4,
        sent_us: 9,
    };
    let outputs = leader.say(Downward::Ping(ping));
    let [Output::Tell(Upward::Pong(pong))] = &outputs[..] else {
        panic!("{outputs:?}")
    };
    assert_eq!((pong.number, pong.received_us), (4, 100_000_000));
}

/// An office that was lost takes everything with it, and a node that does not lead does nothing.
#[test]
fn a_node_that_does_not_lead_does_nothing() {
    let mut leader = Leader::new();
    leader.staged_by(&[1, 2]);
    leader.give(Input::Reign(None));
    assert_eq!(leader.leading.wake_at(), None);
    assert_eq!(leader.leading.jobs().count(), 0);
    assert_eq!(
        leader.say(Downward::Notify(notify(vec![variant(1, &[2])]))),
        []
    );
    assert_eq!(leader.fetched(11), []);
    assert_eq!(leader.pass(Duration::from_secs(60)), []);
}

#[test]
fn only_so_many_jobs_are_remembered() {
    let mut leader = Leader::new();
    for number in 0..2 * JOBS_MAX {
        leader.say(Downward::Notify(Notify {
            job: format!("j-{number}").parse().unwrap(),
            ..notify(vec![variant(1, &[2])])
        }));
    }
    assert_eq!(leader.leading.jobs().count(), JOBS_MAX);
}
