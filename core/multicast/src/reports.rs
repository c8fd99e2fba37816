//! Reports of what became of a job on members of a segment, and how a leader comes by those that are missing.
//!
//! Members report of themselves, spread in time (REPORT-08). Whoever's report is missing after that is asked: few by
//! unicast (REPORT-03), many by one multicast with the shorter of two lists, of those whose reports are missing or of
//! those whose reports came (REPORT-04, REPORT-05); until all came, or the tries are used up (REPORT-07).
//!
//! An order goes the same way: said again, it asks for the report. Before its instant nobody can report, so that it is
//! said several times until then.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bellwether_machine::{Deadlines, Machine, Outbox, Random};
use bellwether_types::{Name, NodeId, Time};
use bellwether_wire::transfer::{
    AssignmentId, JobReport, Listed, Order, ReportRequest, TransferMessage,
};
use bellwether_wire::uplink::Outcome;

use crate::sender::To;

/// How reports are collected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectorSettings {
    /// How long a job may take until reports count as missing; for an order, after its instant.
    pub patience: Duration,
    /// The interval over which answers are spread: 2 s unless said, and never more than a millisecond for each that is
    /// asked.
    pub interval: Duration,
    /// How much longer than that an answer may take, until it is asked for again: 200 ms unless said.
    pub answer: Duration,
    /// More missing reports than this are asked for by multicast; fewer, by unicast. Half of the members unless set.
    pub singly_max: Option<usize>,
    /// How often missing reports are asked for: 10 unless said.
    pub attempts_max: u32,
    /// So many must have carried out the job.
    pub quorum: usize,
}

/// What reports are collected of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// The content of a job, which comes another way.
    Content(Name),
    /// An order, which the collector itself brings to those whose reports it wants.
    Order {
        /// Its job.
        job: Name,
        /// The order, signed.
        assignment: Vec<u8>,
        /// Its instant; `None` is at once.
        at: Option<Time>,
    },
}

/// Collects reports, at the leader.
#[derive(Debug)]
pub struct Collector {
    question: Question,
    settings: CollectorSettings,
    /// Members of the segment of whom no report is wanted.
    others: BTreeSet<NodeId>,
    reports: BTreeMap<NodeId, Outcome>,
    missing: BTreeSet<NodeId>,
    attempt: u32,
    /// Attempts that do not count: nobody could have reported yet.
    early: u32,
    is_over: bool,
    deadlines: Deadlines<Timer>,
}

/// What a collector takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The members have the content, or are to have the order; comes once, before everything else.
    Start,
    /// Time has passed.
    Wake,
    /// A member's report.
    Report {
        /// Who reports.
        from: NodeId,
        /// What.
        report: Box<JobReport>,
    },
    /// A member left the segment.
    Departed(NodeId),
}

/// What a collector wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send a message.
    Send {
        /// To whom.
        to: To,
        /// What.
        message: TransferMessage,
    },
    /// All that will come has come; nothing comes after this.
    Ended(Collected),
}

/// What became of a job in a segment, for the control server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collected {
    /// What members reported.
    pub reports: BTreeMap<NodeId, Outcome>,
    /// Whose reports never came.
    pub missing: BTreeSet<NodeId>,
    /// Did enough carry it out? If not, this is a problem to report.
    pub quorum: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Ask,
}

/// Before its instant an order is said so many times in all, evenly spread.
const SAID_BEFORE: u32 = 4;
/// And no more often than this.
const SAID_EVERY_MIN: Duration = Duration::from_millis(10);

impl Default for CollectorSettings {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(5),
            interval: Duration::from_secs(2),
            answer: Duration::from_millis(200),
            singly_max: None,
            attempts_max: 10,
            quorum: 0,
        }
    }
}

impl Collector {
    /// A collection before its start: of `members`, and not of the `others` in the segment.
    pub const fn new(
        question: Question,
        members: BTreeSet<NodeId>,
        others: BTreeSet<NodeId>,
        settings: CollectorSettings,
    ) -> Self {
        Self {
            question,
            settings,
            others,
            reports: BTreeMap::new(),
            missing: members,
            attempt: 0,
            early: 0,
            is_over: false,
            deadlines: Deadlines::new(),
        }
    }

    /// Whose reports came, and what they say.
    pub const fn reports(&self) -> &BTreeMap<NodeId, Outcome> {
        &self.reports
    }

    /// Whose reports are missing.
    pub const fn missing(&self) -> &BTreeSet<NodeId> {
        &self.missing
    }

    /// Whether all that will come has come.
    pub const fn is_over(&self) -> bool {
        self.is_over
    }

    fn start(&mut self, now: Time, out: &mut Outbox<Output>) {
        match &self.question {
            Question::Content(_) => self.deadlines.set(Timer::Ask, now + self.settings.patience),
            Question::Order { .. } => self.say(now, out),
        }
    }

    fn take(&mut self, from: NodeId, report: JobReport) {
        let is_answer = match &self.question {
            Question::Content(job) => report.job == *job && report.order.is_none(),
            Question::Order {
                job, assignment, ..
            } => report.job == *job && report.order == Some(AssignmentId::of(assignment)),
        };
        if is_answer && (self.missing.remove(&from) || self.reports.contains_key(&from)) {
            self.reports.insert(from, report.outcome);
        }
    }

    fn ask(&mut self, now: Time, out: &mut Outbox<Output>) {
        if self.attempt - self.early >= self.settings.attempts_max {
            return self.end(out);
        }
        self.say(now, out);
    }

    fn say(&mut self, now: Time, out: &mut Outbox<Output>) {
        self.attempt = self.attempt.saturating_add(1);
        let members = self.missing.len() + self.reports.len();
        let is_first = self.attempt == 1 && matches!(self.question, Question::Order { .. });
        let singly_max = self.settings.singly_max.unwrap_or(members / 2);
        let singly = self.missing.len() <= singly_max && !is_first;
        let spread = if singly {
            Duration::ZERO
        } else {
            spread(self.settings.interval, self.missing.len())
        };
        if singly {
            for node in &self.missing {
                let message = self.message(spread, Listed::Missing, vec![*node]);
                let to = To::Node(*node);
                out.push(Output::Send { to, message });
            }
        } else {
            let not_meant = self.reports.keys().chain(&self.others);
            let not_meant: Vec<NodeId> = not_meant.copied().collect();
            let shorter = self.missing.len() < not_meant.len();
            let messages = if shorter || not_meant.len() > self.nodes_max() {
                let missing: Vec<NodeId> = self.missing.iter().copied().collect();
                let parts = missing.chunks(self.nodes_max());
                parts
                    .map(|part| self.message(spread, Listed::Missing, part.to_vec()))
                    .collect()
            } else {
                vec![self.message(spread, Listed::Reported, not_meant)]
            };
            for message in messages {
                let to = To::Group;
                out.push(Output::Send { to, message });
            }
        }
        let next = match &self.question {
            Question::Order { at: Some(at), .. } if *at > now => {
                self.early += 1;
                let again = now + (at.since(now) / SAID_BEFORE).max(SAID_EVERY_MIN);
                match self.early < SAID_BEFORE && again < *at {
                    true => again,
                    false => *at + spread + self.settings.patience,
                }
            }
            Question::Order { .. } if self.attempt == 1 => now + spread + self.settings.patience,
            _ => now + spread + self.settings.answer,
        };
        self.deadlines.set(Timer::Ask, next);
    }

    fn message(&self, spread: Duration, listed: Listed, nodes: Vec<NodeId>) -> TransferMessage {
        let attempt = self.attempt;
        let spread_ms = spread.as_millis() as u32;
        match &self.question {
            Question::Content(job) => TransferMessage::Request(ReportRequest {
                job: job.clone(),
                attempt,
                spread_ms,
                listed,
                nodes,
            }),
            Question::Order { assignment, at, .. } => TransferMessage::Order(Order {
                assignment: assignment.clone(),
                at_us: at.map(|at| at.as_nanos() / 1_000),
                attempt,
                spread_ms,
                listed,
                nodes,
            }),
        }
    }

    const fn nodes_max(&self) -> usize {
        match &self.question {
            Question::Content(_) => ReportRequest::NODES_MAX,
            Question::Order { .. } => Order::NODES_MAX,
        }
    }

    fn end(&mut self, out: &mut Outbox<Output>) {
        self.is_over = true;
        self.deadlines = Deadlines::new();
        let done = self.reports.values().filter(|outcome| is_done(outcome));
        out.push(Output::Ended(Collected {
            quorum: done.count() >= self.settings.quorum,
            reports: self.reports.clone(),
            missing: self.missing.clone(),
        }));
    }
}

impl Machine for Collector {
    type Input = Input;
    type Output = Output;

    fn handle(&mut self, now: Time, input: Input, out: &mut Outbox<Output>) {
        if self.is_over {
            return;
        }
        match input {
            Input::Start if self.missing.is_empty() => {}
            Input::Start => self.start(now, out),
            Input::Wake => {}
            Input::Report { from, report } => {
                if let Some(report) = report.checked(from) {
                    self.take(from, report);
                }
            }
            Input::Departed(node) => {
                self.missing.remove(&node);
            }
        }
        if self.missing.is_empty() {
            return self.end(out);
        }
        if self.deadlines.pop_due(now).is_some() {
            self.ask(now, out);
        }
    }

    fn wake_at(&self) -> Option<Time> {
        self.deadlines.next()
    }
}

/// Whether a member did what was asked of it.
fn is_done(outcome: &Outcome) -> bool {
    !matches!(outcome, Outcome::Failed(_) | Outcome::Behind(..))
}

/// Reports of one member: what became of its jobs and orders, told to whoever leads.
#[derive(Debug)]
pub struct Reporter {
    node: NodeId,
    interval: Duration,
    /// The latest results, the oldest in front, each with its number.
    results: Vec<(u64, JobReport)>,
    number: u64,
    /// Orders that are being carried out, the oldest in front.
    orders: Vec<AssignmentId>,
    /// Whom to tell what, in its turn.
    turns: Deadlines<(NodeId, u64)>,
    random: Random,
}

/// What a reporter takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Something ended here; the leader is to know.
    Done {
        /// What ended, and how.
        report: JobReport,
        /// Who leads, if anybody does.
        leader: Option<NodeId>,
        /// How many members the segment has.
        members: usize,
    },
    /// The leader lacks reports.
    Request {
        /// The leader.
        from: NodeId,
        /// What it says.
        request: ReportRequest,
    },
    /// The leader hands on an order, or lacks reports of it.
    Order {
        /// The leader.
        from: NodeId,
        /// What it says.
        order: Order,
    },
    /// An order was refused, and there is nothing to report of it.
    Refused(AssignmentId),
    /// Time has passed.
    Wake,
}

/// What a reporter wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Tell a leader this.
    Report {
        /// To whom.
        to: NodeId,
        /// What.
        report: JobReport,
    },
    /// Carry this out, and say what became of it: it is here for the first time.
    Obey {
        /// Who says so.
        from: NodeId,
        /// What.
        order: Order,
    },
    /// The leader lacks a report of a job of which nothing is remembered: look what there is of it.
    Recall(Name),
}

/// Results that are remembered; of older ones it has to be looked what is there.
const RESULTS_MAX: usize = 64;
/// Orders that are being carried out; one more, and the oldest is forgotten.
const ORDERS_MAX: usize = 64;
/// Reports that wait for their turn.
const TURNS_MAX: usize = 256;
/// A spread that is asked for is believed up to this.
const SPREAD_MAX: Duration = Duration::from_secs(10);

impl Reporter {
    /// A member that has nothing to report yet. `interval` is that of [`CollectorSettings`].
    pub const fn new(node: NodeId, interval: Duration, random: Random) -> Self {
        Self {
            node,
            interval,
            results: Vec::new(),
            number: 0,
            orders: Vec::new(),
            turns: Deadlines::new(),
            random,
        }
    }

    /// Remembers a result in place of what was said of the same; its number.
    fn keep(&mut self, report: JobReport) -> u64 {
        let is_other = |known: &JobReport| known.job != report.job || known.order != report.order;
        self.results.retain(|(_, known)| is_other(known));
        if matches!(report.outcome, Outcome::Aborted | Outcome::Removed) {
            // What was staged is not there any more.
            self.results
                .retain(|(_, known)| known.job != report.job || known.order.is_some());
        }
        if let Some(order) = report.order {
            self.orders.retain(|known| *known != order);
        }
        if self.results.len() == RESULTS_MAX {
            self.results.remove(0);
        }
        self.number += 1;
        self.results.push((self.number, report));
        self.number
    }

    /// The number of the result that is meant.
    fn find(&self, is_it: impl Fn(&JobReport) -> bool) -> Option<u64> {
        let found = self.results.iter().find(|(_, known)| is_it(known));
        found.map(|(number, _)| *number)
    }

    fn arm(&mut self, now: Time, to: NodeId, number: u64, spread: Duration) {
        let turn = (to, number);
        let is_known = self.turns.get(turn).is_some();
        if is_known || self.turns.pending().count() < TURNS_MAX {
            let at = now + self.random.span(spread);
            self.turns.set(turn, at);
        }
    }
}

impl Machine for Reporter {
    type Input = Event;
    type Output = Answer;

    fn handle(&mut self, now: Time, input: Event, out: &mut Outbox<Answer>) {
        match input {
            Event::Done {
                report,
                leader,
                members,
            } => {
                let number = self.keep(report);
                if let Some(leader) = leader {
                    self.arm(now, leader, number, spread(self.interval, members));
                }
            }
            Event::Request { from, request } if request.asks(self.node) => {
                match self.find(|known| known.job == request.job && known.order.is_none()) {
                    Some(number) => self.arm(now, from, number, asked(request.spread_ms)),
                    None => out.push(Answer::Recall(request.job)),
                }
            }
            Event::Order { from, order } if order.asks(self.node) => {
                let id = order.id();
                if let Some(number) = self.find(|known| known.order == Some(id)) {
                    self.arm(now, from, number, asked(order.spread_ms));
                } else if !self.orders.contains(&id) {
                    if self.orders.len() == ORDERS_MAX {
                        self.orders.remove(0);
                    }
                    self.orders.push(id);
                    out.push(Answer::Obey { from, order });
                }
            }
            Event::Refused(order) => self.orders.retain(|known| *known != order),
            Event::Request { .. } | Event::Order { .. } | Event::Wake => {}
        }
        while let Some((to, number)) = self.turns.pop_due(now) {
            let known = self.results.iter().find(|(known, _)| *known == number);
            if let Some((_, report)) = known {
                let report = report.clone();
                out.push(Answer::Report { to, report });
            }
        }
    }

    fn wake_at(&self) -> Option<Time> {
        self.turns.next()
    }
}

/// Over how long so many answers are spread.
fn spread(interval: Duration, members: usize) -> Duration {
    let members = u64::try_from(members).unwrap_or(u64::MAX);
    interval.min(Duration::from_millis(members))
}

fn asked(spread_ms: u32) -> Duration {
    Duration::from_millis(spread_ms.into()).min(SPREAD_MAX)
}
