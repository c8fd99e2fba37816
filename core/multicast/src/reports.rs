//! Reports of what became of an assignment, and how a leader comes by those that are missing.
//!
//! Members report of themselves, spread in time (REPORT-08). Whoever's report is missing after that is asked: few by
//! unicast (REPORT-03), many by one multicast with the shorter of two lists, of those whose reports are missing or of
//! those whose reports came (REPORT-04, REPORT-05); until all came, or the tries are used up (REPORT-07).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bellwether_machine::{Deadlines, Machine, Outbox, Random};
use bellwether_types::{NodeId, Time};
use bellwether_wire::transfer::{
    AssignmentId, JobReport, JobResult, Listed, ReportRequest, TransferMessage,
};

use crate::sender::To;

/// How reports are collected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectorSettings {
    /// How long a job may take until reports count as missing.
    pub patience: Duration,
    /// The interval over which answers are spread: 2 s unless said, and never more than a millisecond for each that is
    /// asked.
    pub interval: Duration,
    /// More missing reports than this are asked for by multicast; fewer, by unicast. Half of the members unless set.
    pub singly_max: Option<usize>,
    /// How often missing reports are asked for: 10 unless said.
    pub attempts_max: u32,
    /// So many must have carried out the job.
    pub quorum: usize,
}

/// Collects the reports of one assignment, at the leader.
#[derive(Debug)]
pub struct Collector {
    assignment: AssignmentId,
    settings: CollectorSettings,
    reports: BTreeMap<NodeId, JobResult>,
    missing: BTreeSet<NodeId>,
    attempt: u32,
    is_over: bool,
    deadlines: Deadlines<Timer>,
}

/// What a collector takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The members have the assignment; comes once, before everything else.
    Start,
    /// Time has passed.
    Wake,
    /// A member's report.
    Report {
        /// Who reports.
        from: NodeId,
        /// What.
        report: JobReport,
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

/// What became of an assignment in a segment, for the control server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collected {
    /// What members reported.
    pub reports: BTreeMap<NodeId, JobResult>,
    /// Whose reports never came.
    pub missing: BTreeSet<NodeId>,
    /// Did enough carry it out? If not, this is a problem to report.
    pub quorum: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Ask,
}

/// How much longer than the spread an answer may take.
const ANSWER: Duration = Duration::from_millis(200);

impl Default for CollectorSettings {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(5),
            interval: Duration::from_secs(2),
            singly_max: None,
            attempts_max: 10,
            quorum: 0,
        }
    }
}

impl Collector {
    /// A collection before its start.
    pub const fn new(
        assignment: AssignmentId,
        members: BTreeSet<NodeId>,
        settings: CollectorSettings,
    ) -> Self {
        Self {
            assignment,
            settings,
            reports: BTreeMap::new(),
            missing: members,
            attempt: 0,
            is_over: false,
            deadlines: Deadlines::new(),
        }
    }

    fn take(&mut self, from: NodeId, report: JobReport) {
        let known = report.assignment == self.assignment
            && (self.missing.remove(&from) || self.reports.contains_key(&from));
        if known {
            let mut result = report.result;
            if let JobResult::Failed(reason) = &mut result {
                cut_off(reason);
            }
            self.reports.insert(from, result);
        }
    }

    fn ask(&mut self, now: Time, out: &mut Outbox<Output>) {
        if self.attempt >= self.settings.attempts_max {
            return self.end(out);
        }
        self.attempt += 1;
        let members = self.missing.len() + self.reports.len();
        let singly = self.missing.len() <= self.settings.singly_max.unwrap_or(members / 2);
        let spread = if singly {
            Duration::ZERO
        } else {
            spread(self.settings.interval, self.missing.len())
        };
        let request = |listed, nodes| {
            TransferMessage::Request(ReportRequest {
                assignment: self.assignment,
                attempt: self.attempt,
                spread_ms: spread.as_millis() as u32,
                listed,
                nodes,
            })
        };
        if singly {
            for node in &self.missing {
                let message = request(Listed::Missing, vec![*node]);
                let to = To::Node(*node);
                out.push(Output::Send { to, message });
            }
        } else {
            let reported: Vec<NodeId> = self.reports.keys().copied().collect();
            let shorter = self.missing.len() < reported.len();
            let messages = if shorter || reported.len() > ReportRequest::NODES_MAX {
                let missing: Vec<NodeId> = self.missing.iter().copied().collect();
                let parts = missing.chunks(ReportRequest::NODES_MAX);
                parts
                    .map(|part| request(Listed::Missing, part.to_vec()))
                    .collect()
            } else {
                vec![request(Listed::Reported, reported)]
            };
            for message in messages {
                let to = To::Group;
                out.push(Output::Send { to, message });
            }
        }
        self.deadlines.set(Timer::Ask, now + spread + ANSWER);
    }

    fn end(&mut self, out: &mut Outbox<Output>) {
        self.is_over = true;
        self.deadlines = Deadlines::new();
        let done = self
            .reports
            .values()
            .filter(|result| **result == JobResult::Done);
        out.push(Output::Ended(Collected {
            quorum: done.count() >= self.settings.quorum,
            reports: std::mem::take(&mut self.reports),
            missing: std::mem::take(&mut self.missing),
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
            Input::Start => self.deadlines.set(Timer::Ask, now + self.settings.patience),
            Input::Wake => {}
            Input::Report { from, report } => self.take(from, report),
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

/// Reports of one member: what became of its assignments, told to whoever leads.
#[derive(Debug)]
pub struct Reporter {
    node: NodeId,
    interval: Duration,
    /// The latest results, the oldest in front.
    results: Vec<(AssignmentId, JobResult)>,
    /// Whom to tell what, in its turn.
    turns: Deadlines<(NodeId, AssignmentId)>,
    random: Random,
}

/// What a reporter takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A job ended here; the leader is to know.
    Done {
        /// What ended, and how.
        report: JobReport,
        /// Who leads.
        leader: NodeId,
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
    /// Time has passed.
    Wake,
}

/// Results that are remembered; older ones can no longer be asked for.
const RESULTS_MAX: usize = 64;
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
            turns: Deadlines::new(),
            random,
        }
    }

    fn arm(&mut self, now: Time, to: NodeId, assignment: AssignmentId, spread: Duration) {
        let is_known = self.turns.get((to, assignment)).is_some();
        if is_known || self.turns.pending().count() < TURNS_MAX {
            let at = now + self.random.span(spread);
            self.turns.set((to, assignment), at);
        }
    }
}

impl Machine for Reporter {
    type Input = Event;
    type Output = Output;

    fn handle(&mut self, now: Time, input: Event, out: &mut Outbox<Output>) {
        match input {
            Event::Done {
                report,
                leader,
                members,
            } => {
                let assignment = report.assignment;
                self.results.retain(|(known, _)| *known != assignment);
                if self.results.len() == RESULTS_MAX {
                    self.results.remove(0);
                }
                self.results.push((assignment, report.result));
                self.arm(now, leader, assignment, spread(self.interval, members));
            }
            Event::Request { from, request } => {
                let spread = Duration::from_millis(request.spread_ms.into()).min(SPREAD_MAX);
                if request.asks(self.node) {
                    self.arm(now, from, request.assignment, spread);
                }
            }
            Event::Wake => {}
        }
        while let Some((to, assignment)) = self.turns.pop_due(now) {
            let known = self.results.iter().find(|(known, _)| *known == assignment);
            if let Some((_, result)) = known {
                let mut result = result.clone();
                if let JobResult::Failed(reason) = &mut result {
                    cut_off(reason);
                }
                let message = TransferMessage::Report(JobReport { assignment, result });
                let to = To::Node(to);
                out.push(Output::Send { to, message });
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

fn cut_off(reason: &mut String) {
    while reason.len() > JobResult::REASON_LEN_MAX {
        reason.pop();
    }
}
