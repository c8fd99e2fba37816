//! One job, as its segment's leader knows it.

mod progress;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bellwether_machine::{Machine, Outbox};
use bellwether_multicast::Fate;
use bellwether_multicast::reports::{
    Collector, CollectorSettings, Input as Collect, Output as Collecting, Question,
};
use bellwether_types::{Name, NodeId, Time};
use bellwether_wire::transfer::{AssignmentId, JobReport};
use bellwether_wire::uplink::{Failure, FailureKind, File, NodeOutcome, Notify, Outcome, Outcomes};

use crate::Output;

/// A job.
#[derive(Debug)]
pub(crate) struct Job {
    /// Tells jobs of one name apart, and which was touched last.
    pub(crate) number: u64,
    group: Option<Name>,
    sources: Vec<String>,
    quorum: usize,
    pub(crate) patience: Duration,
    pub(crate) files: BTreeMap<AssignmentId, Carried>,
    /// The files that each node is to have.
    wanted: BTreeMap<NodeId, BTreeSet<AssignmentId>>,
    /// The last word of each node, with the order that it was said of.
    outcomes: BTreeMap<NodeId, (Option<AssignmentId>, Outcome)>,
    /// Those whose last word the control server was not told.
    unsent: BTreeSet<NodeId>,
    content: Option<Collector>,
    orders: BTreeMap<AssignmentId, Collector>,
    /// Which of them are to get the content from neighbours.
    gatherings: BTreeSet<AssignmentId>,
    /// Has something changed since progress was told?
    pub(crate) moved: bool,
}

/// A file of a job.
#[derive(Debug)]
pub(crate) struct Carried {
    file: File,
    fetched: u64,
    coming: Coming,
    going: Going,
    /// Who holds all of it.
    complete: BTreeSet<NodeId>,
    /// Bits in a second that are sent of it.
    rate: u64,
    /// Bytes of it that others have, as far as they said.
    received: BTreeMap<NodeId, u64>,
    /// How often in a row it could not be fetched.
    failed_fetches: u32,
    /// How often in a row it could not be offered, or did not reach everybody.
    failed_offers: u32,
}

/// How far a file is on its way to this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coming {
    /// It is to be fetched.
    Waiting,
    /// It is being fetched.
    Fetching,
    /// That failed, and is tried again in a while.
    Resting,
    /// It is here.
    Here,
    /// It cannot be had.
    Failed,
}

/// How far a file is on its way to the others, which need not wait until all of it is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Going {
    /// There is nothing to send yet.
    Nothing,
    /// It is to be offered.
    Wanted,
    /// It is being offered.
    Offered,
    /// An offer is over.
    Ended,
}

/// A file that could not be fetched is tried again after so long, and twice as long each time.
const RETRY: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// So often in a row; then the job has failed here.
const TRIES_MAX: u32 = 8;
/// Orders of a job that are remembered.
const ORDERS_MAX: usize = 8;
/// Content that all members hold is staged within this, or its report was lost.
const STAGING: Duration = Duration::from_secs(2);
const STAGING_AGAIN: Duration = Duration::from_secs(5);
/// An order that was due is carried out within this, or its report was lost.
const OBEYING: Duration = Duration::from_millis(150);

fn retry_after(failures: u32) -> Duration {
    let doubled = RETRY * 2u32.saturating_pow(failures.saturating_sub(1));
    doubled.min(RETRY_MAX)
}

impl Job {
    pub(crate) const fn new(number: u64) -> Self {
        Self {
            number,
            group: None,
            sources: Vec::new(),
            quorum: 0,
            patience: Duration::ZERO,
            files: BTreeMap::new(),
            wanted: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            unsent: BTreeSet::new(),
            content: None,
            orders: BTreeMap::new(),
            gatherings: BTreeSet::new(),
            moved: false,
        }
    }

    /// Takes what the control server says of its content, for the first time or again: those that it names did not do
    /// what was wanted yet, as far as it knows.
    pub(crate) fn notified(&mut self, notify: Notify) {
        self.group = notify.group;
        self.sources = notify.sources;
        self.quorum = usize::try_from(notify.quorum).unwrap_or(usize::MAX);
        self.patience = Duration::from_millis(notify.patience_ms.into());
        for variant in notify.variants {
            let ids: BTreeSet<AssignmentId> = variant.files.iter().map(|file| file.id).collect();
            for file in variant.files {
                let carried = self.files.entry(file.id).or_insert_with(|| Carried {
                    file,
                    fetched: 0,
                    coming: Coming::Waiting,
                    going: Going::Nothing,
                    complete: BTreeSet::new(),
                    rate: 0,
                    received: BTreeMap::new(),
                    failed_fetches: 0,
                    failed_offers: 0,
                });
                if carried.coming == Coming::Failed {
                    carried.coming = Coming::Waiting;
                    carried.failed_fetches = 0;
                    carried.failed_offers = 0;
                }
                // What is here already may be for others now.
                if carried.going == Going::Ended {
                    carried.going = Going::Wanted;
                }
            }
            for node in variant.nodes {
                self.wanted.insert(node, ids.clone());
                match self.outcomes.get(&node) {
                    Some((_, Outcome::Staged(_) | Outcome::Live(_))) => {
                        self.unsent.insert(node);
                    }
                    _ => drop(self.outcomes.remove(&node)),
                }
            }
        }
        self.content = None;
        self.moved = true;
    }

    /// The next file to fetch, the one that fewest bytes bring to somebody first; and where.
    pub(crate) fn next_fetch(&mut self) -> Option<Output> {
        let waiting = self.files.values_mut();
        let waiting = waiting.filter(|carried| carried.coming == Coming::Waiting);
        let carried = waiting.min_by_key(|carried| carried.file.len)?;
        carried.coming = Coming::Fetching;
        let places = u32::try_from(self.sources.len()).unwrap_or(u32::MAX);
        let turn = carried.failed_fetches.checked_rem(places).unwrap_or(0);
        Some(Output::Fetch {
            file: carried.file.clone(),
            source: self.sources.get(turn as usize).cloned(),
        })
    }

    pub(crate) fn is_fetching(&self) -> usize {
        let files = self.files.values();
        files
            .filter(|carried| carried.coming == Coming::Fetching)
            .count()
    }

    pub(crate) fn fetching(&mut self, id: AssignmentId, bytes: u64) {
        if let Some(carried) = self.files.get_mut(&id) {
            carried.fetched = bytes.min(carried.file.len);
            self.moved = true;
        }
    }

    /// The head of a file is here: what follows goes out as it comes.
    pub(crate) fn begun(&mut self, id: AssignmentId) {
        if let Some(carried) = self.files.get_mut(&id)
            && carried.going == Going::Nothing
        {
            carried.going = Going::Wanted;
        }
    }

    /// A file came, or did not. When to try again.
    pub(crate) fn fetched(
        &mut self,
        own: NodeId,
        id: AssignmentId,
        result: Result<(), Failure>,
        out: &mut Outbox<Output>,
    ) -> Option<Duration> {
        let carried = self.files.get_mut(&id)?;
        self.moved = true;
        match result {
            Ok(()) => {
                carried.fetched = carried.file.len;
                carried.failed_fetches = 0;
                carried.coming = Coming::Here;
                self.begun(id);
                if self.is_for(own, id) {
                    self.hold(own, id);
                    out.push(Output::Arrived(id));
                }
                None
            }
            Err(failure) => {
                carried.coming = Coming::Resting;
                carried.failed_fetches += 1;
                let failures = carried.failed_fetches;
                self.failed(id, failures, failure, out)
            }
        }
    }

    /// A file could not be offered. When to try again.
    pub(crate) fn not_offered(
        &mut self,
        id: AssignmentId,
        failure: Failure,
        out: &mut Outbox<Output>,
    ) -> Option<Duration> {
        let carried = self.files.get_mut(&id)?;
        carried.failed_offers += 1;
        let failures = carried.failed_offers;
        self.failed(id, failures, failure, out)
    }

    /// It is tried again later; too often, or in vain for good, and all whom it was for have failed.
    fn failed(
        &mut self,
        id: AssignmentId,
        failures: u32,
        failure: Failure,
        out: &mut Outbox<Output>,
    ) -> Option<Duration> {
        // A signature does not get better.
        if failures < TRIES_MAX && failure.kind != FailureKind::Trust {
            return Some(retry_after(failures));
        }
        let carried = self.files.get_mut(&id)?;
        carried.coming = Coming::Failed;
        if carried.going != Going::Nothing {
            carried.going = Going::Nothing;
            out.push(Output::Drop(id));
        }
        let Failure { kind, reason } = failure;
        let reason = format!("the leader cannot have it: {reason}");
        for node in self.lacking(id) {
            self.say(
                node,
                None,
                Outcome::Failed(Failure::new(kind, reason.clone())),
            );
        }
        None
    }

    /// The time has come to fetch it again.
    pub(crate) fn fetch_again(&mut self, id: AssignmentId) {
        if let Some(carried) = self.files.get_mut(&id)
            && carried.coming == Coming::Resting
        {
            carried.coming = Coming::Waiting;
        }
    }

    /// The time has come to offer it again.
    pub(crate) fn offer_again(&mut self, id: AssignmentId) {
        if let Some(carried) = self.files.get_mut(&id)
            && carried.going != Going::Nothing
        {
            carried.going = Going::Wanted;
        }
    }

    /// Offers what is here, or on its way, to those who lack it, and are there.
    pub(crate) fn offer(
        &mut self,
        name: &Name,
        own: NodeId,
        present: &BTreeSet<NodeId>,
        out: &mut Outbox<Output>,
    ) {
        let wanted = self.files.iter();
        let wanted = wanted.filter(|(_, carried)| carried.going == Going::Wanted);
        let wanted: Vec<AssignmentId> = wanted.map(|(id, _)| *id).collect();
        for id in wanted {
            let mut members = self.lacking(id);
            members.retain(|node| *node != own && present.contains(node));
            let Some(carried) = self.files.get_mut(&id) else {
                continue;
            };
            if members.is_empty() {
                carried.going = Going::Ended;
                continue;
            }
            carried.going = Going::Offered;
            out.push(Output::Offer {
                assignment: id,
                name: name.clone(),
                group: self.group.clone(),
                members,
            });
        }
    }

    /// An offer gets on.
    pub(crate) fn going(&mut self, id: AssignmentId, rate: u64, received: BTreeMap<NodeId, u64>) {
        if let Some(carried) = self.files.get_mut(&id)
            && (carried.rate != rate || carried.received != received)
        {
            carried.rate = rate;
            carried.received = received;
            self.moved = true;
        }
    }

    /// An offer is over. When to offer it again, if some did not get it.
    pub(crate) fn ended(
        &mut self,
        id: AssignmentId,
        fates: BTreeMap<NodeId, Fate>,
        present: &BTreeSet<NodeId>,
    ) -> Option<Duration> {
        let carried = self.files.get_mut(&id)?;
        carried.going = Going::Ended;
        carried.rate = 0;
        self.moved = true;
        // Those who have it now are asked with the others.
        self.content = None;
        for (node, fate) in fates {
            match fate {
                Fate::Complete => self.hold(node, id),
                Fate::Failed(why) => {
                    let failure = Failure::new(FailureKind::Machine, why);
                    self.say(node, None, Outcome::Failed(failure));
                }
                Fate::Silent | Fate::Stuck { .. } | Fate::LeftBehind | Fate::Departed => {}
            }
        }
        let again = self.lacking(id).iter().any(|node| present.contains(node));
        let carried = self.files.get_mut(&id)?;
        if !again {
            carried.failed_offers = 0;
            return None;
        }
        // Members that stay away make no offer fail for good.
        carried.failed_offers = (carried.failed_offers + 1).min(TRIES_MAX - 1);
        Some(retry_after(carried.failed_offers))
    }

    /// Members came: what ended without them is offered again.
    pub(crate) fn came(&mut self, came: &BTreeSet<NodeId>) {
        let ended = self.files.iter();
        let ended = ended.filter(|(_, carried)| carried.going == Going::Ended);
        let ended: Vec<AssignmentId> = ended.map(|(id, _)| *id).collect();
        for id in ended {
            if !self.lacking(id).is_disjoint(came) {
                self.offer_again(id);
            }
        }
    }

    /// Begins to ask for reports once everything was brought to everybody, as far as it could be.
    pub(crate) fn collect(
        &mut self,
        name: &Name,
        now: Time,
        present: &BTreeSet<NodeId>,
        out: &mut Outbox<Output>,
    ) {
        if self.content.is_some() || self.wanted.is_empty() || !self.is_brought() {
            return;
        }
        let holds = |(node, files): &(&NodeId, &BTreeSet<AssignmentId>)| {
            let held = |id: &AssignmentId| {
                let carried = self.files.get(id);
                carried.is_some_and(|carried| carried.complete.contains(*node))
            };
            !self.outcomes.contains_key(*node) && present.contains(*node) && files.iter().all(held)
        };
        let members: BTreeSet<NodeId> = self
            .wanted
            .iter()
            .filter(holds)
            .map(|(node, _)| *node)
            .collect();
        let others = present.difference(&members).copied().collect();
        let settings = staging();
        let question = Question::Content(name.clone());
        let mut collector = Collector::new(question, members, others, settings);
        run(&mut collector, now, Collect::Start, out);
        self.content = Some(collector);
    }

    /// Whether the content was brought to all, enough have it, and the rest may be given up after a while.
    pub(crate) fn is_enough(&self) -> bool {
        let done = |node: &&NodeId| {
            let said = self.outcomes.get(*node);
            said.is_some_and(|(_, outcome)| {
                matches!(outcome, Outcome::Staged(_) | Outcome::Live(_))
            })
        };
        self.is_brought()
            && self.wanted.keys().filter(done).count() >= self.quorum
            && !self.is_settled()
    }

    /// Whoever has not said anything is behind.
    pub(crate) fn give_up(&mut self) {
        let silent = self.wanted.keys();
        let silent = silent.filter(|node| !self.outcomes.contains_key(node));
        let silent: Vec<NodeId> = silent.copied().collect();
        for node in silent {
            let why = "it did not stage the content in time, and enough others did: synchronise it";
            let failure = Failure::new(FailureKind::Silent, why);
            self.say(node, None, Outcome::Behind(None, failure));
        }
    }

    /// An order that follows is to get the content from neighbours.
    pub(crate) fn gathers(&mut self, id: AssignmentId) {
        self.gatherings.insert(id);
    }

    /// Hands on an order; said again, only to those who did not report on it, and are not being asked.
    pub(crate) fn order(
        &mut self,
        now: Time,
        question: Question,
        id: AssignmentId,
        nodes: &BTreeSet<NodeId>,
        present: &BTreeSet<NodeId>,
        out: &mut Outbox<Output>,
    ) {
        let mut missing = BTreeSet::new();
        for node in nodes {
            match self.outcomes.get(node) {
                Some((Some(said), _)) if *said == id => drop(self.unsent.insert(*node)),
                _ if present.contains(node) => drop(missing.insert(*node)),
                _ => {}
            }
        }
        if let Some(asking) = self.orders.get(&id).filter(|asking| !asking.is_over()) {
            if missing.is_subset(asking.missing()) {
                return;
            }
            missing.extend(asking.missing());
        }
        if missing.is_empty() {
            return;
        }
        if self.orders.len() >= ORDERS_MAX && !self.orders.contains_key(&id) {
            let over = self.orders.iter().find(|(_, one)| one.is_over());
            let over = over.or_else(|| self.orders.first_key_value());
            if let Some(over) = over.map(|(id, _)| *id) {
                self.orders.remove(&over);
                self.gatherings.remove(&over);
            }
        }
        let others = present.difference(&missing).copied().collect();
        let settings = match self.gatherings.contains(&id) {
            true => staging(),
            false => CollectorSettings {
                patience: OBEYING,
                ..CollectorSettings::default()
            },
        };
        let mut collector = Collector::new(question, missing, others, settings);
        run(&mut collector, now, Collect::Start, out);
        self.orders.insert(id, collector);
    }

    /// The job is called off: no more of its content.
    pub(crate) fn stop(&mut self, out: &mut Outbox<Output>) {
        let files = std::mem::take(&mut self.files);
        files.into_keys().for_each(|id| out.push(Output::Drop(id)));
        self.wanted.clear();
        self.content = None;
    }

    /// Takes a member's report. What it says of an order is not replaced by what it says of the content before. That
    /// neighbours did not give it the content means nothing any more once it is to come from here.
    pub(crate) fn reported(
        &mut self,
        now: Time,
        from: NodeId,
        report: &JobReport,
        out: &mut Outbox<Output>,
    ) {
        let is_of_content =
            |order: &Option<AssignmentId>| order.is_none_or(|id| self.gatherings.contains(&id));
        let failed = matches!(report.outcome, Outcome::Failed(_));
        let passed = failed
            && report.order.is_some()
            && is_of_content(&report.order)
            && self.wanted.contains_key(&from);
        let known = self.outcomes.get(&from);
        let counts =
            !is_of_content(&report.order) || known.is_none_or(|(order, _)| is_of_content(order));
        if counts && !passed {
            self.say(from, report.order, report.outcome.clone());
        }
        self.give(now, out, || Collect::Report {
            from,
            report: Box::new(report.clone()),
        });
    }

    pub(crate) fn departed(&mut self, now: Time, node: NodeId, out: &mut Outbox<Output>) {
        self.give(now, out, || Collect::Departed(node));
        for carried in self.files.values_mut() {
            // It may come back with less.
            carried.complete.remove(&node);
            carried.received.remove(&node);
        }
    }

    pub(crate) fn wake(&mut self, now: Time, out: &mut Outbox<Output>) {
        self.give(now, out, || Collect::Wake);
    }

    pub(crate) fn wake_at(&self) -> Option<Time> {
        let collectors = self.content.iter().chain(self.orders.values());
        collectors.filter_map(Collector::wake_at).min()
    }

    /// All that is known is told again.
    pub(crate) fn tell_again(&mut self) {
        self.unsent.extend(self.outcomes.keys());
        self.moved = true;
    }

    pub(crate) fn has_news(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Words that the control server was not told.
    pub(crate) fn news(&mut self, name: &Name) -> Option<Outcomes> {
        let nodes = std::mem::take(&mut self.unsent).into_iter();
        let nodes = nodes.filter_map(|node| {
            let (_, outcome) = self.outcomes.get(&node)?;
            let outcome = outcome.clone();
            Some(NodeOutcome { node, outcome })
        });
        let nodes: Vec<NodeOutcome> = nodes.collect();
        (!nodes.is_empty()).then(|| Outcomes {
            job: name.clone(),
            nodes,
        })
    }

    /// Whether all that was wanted was said.
    fn is_settled(&self) -> bool {
        let mut wanted = self.wanted.keys();
        wanted.all(|node| self.outcomes.contains_key(node))
    }

    fn is_brought(&self) -> bool {
        let mut files = self.files.values();
        files.all(|carried| match carried.coming {
            Coming::Here => carried.going == Going::Ended,
            other => other == Coming::Failed,
        })
    }

    fn is_for(&self, node: NodeId, id: AssignmentId) -> bool {
        let files = self.wanted.get(&node);
        files.is_some_and(|files| files.contains(&id))
    }

    /// Who is to have a file, has not got it, and has not said what became of the job.
    fn lacking(&self, id: AssignmentId) -> BTreeSet<NodeId> {
        let complete = self.files.get(&id).map(|carried| &carried.complete);
        let lacks = |(node, files): &(&NodeId, &BTreeSet<AssignmentId>)| {
            files.contains(&id)
                && !self.outcomes.contains_key(*node)
                && complete.is_none_or(|complete| !complete.contains(*node))
        };
        self.wanted
            .iter()
            .filter(lacks)
            .map(|(node, _)| *node)
            .collect()
    }

    fn hold(&mut self, node: NodeId, id: AssignmentId) {
        if let Some(carried) = self.files.get_mut(&id) {
            carried.complete.insert(node);
        }
        self.moved = true;
    }

    fn say(&mut self, node: NodeId, order: Option<AssignmentId>, outcome: Outcome) {
        let said = (order, outcome);
        if self.outcomes.get(&node) != Some(&said) {
            self.outcomes.insert(node, said);
            self.unsent.insert(node);
            self.moved = true;
        }
    }

    fn give(&mut self, now: Time, out: &mut Outbox<Output>, input: impl Fn() -> Collect) {
        for collector in self.content.iter_mut().chain(self.orders.values_mut()) {
            run(collector, now, input(), out);
        }
    }
}

/// It may take as long as it takes: who goes is missed otherwise.
fn staging() -> CollectorSettings {
    CollectorSettings {
        patience: STAGING,
        answer: STAGING_AGAIN,
        attempts_max: u32::MAX,
        ..CollectorSettings::default()
    }
}

/// What a collector says goes to members; what it collected was told as it came.
fn run(collector: &mut Collector, now: Time, input: Collect, out: &mut Outbox<Output>) {
    let mut outbox = Outbox::new();
    collector.handle(now, input, &mut outbox);
    for output in outbox.drain() {
        if let Collecting::Send { to, message } = output {
            out.push(Output::Send { to, message });
        }
    }
}
