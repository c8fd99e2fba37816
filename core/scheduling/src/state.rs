use std::collections::{BTreeMap, BTreeSet};

use bellwether_types::{NodeId, Serial, VersionId};
use bellwether_wire::uplink::Failure;
use minicbor::{Decode, Encode};

use crate::job::Job;
use crate::policy::{Below, CommitMode};
use crate::status::Status;
use crate::view::Moment;

/// How far a job is: all that is kept of it. It changes by [`JobState::apply`] and in no other way.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct JobState {
    /// What was asked for.
    #[n(0)]
    pub job: Job,
    /// Where it stands.
    #[n(1)]
    pub status: Status,
    /// What it is at.
    #[n(2)]
    pub phase: Phase,
    /// Whom it is for, from the moment it began.
    #[n(3)]
    pub nodes: BTreeSet<NodeId>,
    /// What it brings, once that is known.
    #[n(4)]
    pub plan: Option<Plan>,
    /// How often it was tried again.
    #[n(5)]
    pub attempt: u32,
    /// Before this moment it is not begun.
    #[n(6)]
    pub due: Moment,
    /// Did somebody say that it may be live?
    #[n(7)]
    pub commit_asked: bool,
    /// Did somebody call it off?
    #[n(8)]
    pub abort_asked: bool,
    /// Why it waits or failed, for people.
    #[n(9)]
    pub why: Option<Failure>,
    /// What became of each node, once the job is over.
    #[n(10)]
    pub endings: BTreeMap<NodeId, Ending>,
    /// Bytes of content that a node has to have room for, as the plans so far found out.
    #[n(11)]
    #[cbor(default)]
    pub bytes: u64,
}

/// What a job is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Phase {
    /// It waits: for its time, its quorum, or another job.
    #[n(0)]
    Waiting,
    /// Its nodes are known, and what they need is found out. Nothing has left. Not before that moment.
    #[n(1)]
    Planning(#[n(0)] Moment),
    /// Nodes get it and stage it, from that moment on.
    #[n(2)]
    Distributing(#[n(0)] Moment),
    /// It is decided, since that moment: there is no way back but a rollback.
    #[n(3)]
    Committing(#[n(0)] Moment),
    /// It is taken back, since that moment.
    #[n(4)]
    RollingBack(#[n(0)] Moment),
    /// What nodes staged is dropped, since that moment; then the job stands so.
    #[n(5)]
    Dropping(#[n(0)] Moment, #[n(1)] Status),
    /// It is over.
    #[n(6)]
    Over,
}

/// What a job brings.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Plan {
    /// The version that becomes live; `None` if the content is removed.
    #[n(0)]
    pub target: Option<VersionId>,
    /// What was live before, to go back to.
    #[n(1)]
    pub previous: Option<VersionId>,
    /// The serial of the content, the same for all variants; of the first part if it is split.
    #[n(2)]
    pub serial: Serial,
    /// The serial of the order that makes it live: above that of all parts.
    #[n(3)]
    pub order: Serial,
    /// The serial of the order that drops it or takes it back: above `order`.
    #[n(4)]
    pub undo: Serial,
    /// Bytes of content that a node has to have room for.
    #[n(5)]
    pub bytes: u64,
    /// The bases for which there is a variant; `None` is that of nodes that hold nothing.
    #[n(6)]
    pub bases: BTreeSet<Option<VersionId>>,
}

/// What became of a node.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Ending {
    /// It is where the job wanted it.
    #[n(0)]
    Done,
    /// It is not, or did not say so; why.
    #[n(1)]
    Behind(#[n(0)] Failure),
}

/// What has happened to a job, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Step {
    /// Another job is in the way.
    #[n(0)]
    Queued,
    /// Its nodes are these.
    #[n(1)]
    Begun(#[n(0)] BTreeSet<NodeId>),
    /// Too few are able; it is tried again later, or cancelled if that was the last time.
    #[n(2)]
    Deferred(#[n(0)] Failure),
    /// Its plan, or variants for more bases.
    #[n(3)]
    Planned(#[n(0)] Plan),
    /// It could not be planned.
    #[n(4)]
    PlanFailed(#[n(0)] Failure),
    /// The content goes out.
    #[n(5)]
    Sent,
    /// Too few staged it; it is sent once more later, or dropped if that was the last time.
    #[n(6)]
    Missed(#[n(0)] Failure),
    /// It is to become live.
    #[n(7)]
    Decided,
    /// It is to be taken back.
    #[n(8)]
    RollbackDecided,
    /// What is staged is to be dropped.
    #[n(9)]
    Aborted,
    /// Somebody says that it may become live ([`CommitMode::ByHand`]).
    #[n(10)]
    CommitAsked,
    /// Somebody calls it off.
    #[n(11)]
    AbortAsked,
    /// It is over, and this became of its nodes.
    #[n(12)]
    Finished(#[n(0)] Status, #[n(1)] BTreeMap<NodeId, Ending>),
    /// These were behind, and are not any more.
    #[n(13)]
    CaughtUp(#[n(0)] BTreeSet<NodeId>),
}

/// Why a step may not follow. Nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The job is over.
    #[error("job {job} is over ({status})")]
    Over {
        /// Which.
        job: String,
        /// How it ended.
        status: Status,
    },
    /// It cannot be called off any more.
    #[error("job {job} is decided: it can be rolled back, and no longer aborted")]
    Decided {
        /// Which.
        job: String,
    },
    /// Another plan than the one that nodes have.
    #[error("job {job} has another plan already")]
    OtherPlan {
        /// Which.
        job: String,
    },
    /// It is not at that point.
    #[error("job {job} ({status}) is not at the point where that can happen")]
    NotNow {
        /// Which.
        job: String,
        /// Where it stands.
        status: Status,
    },
}

impl Phase {
    fn may_end_as(self, status: Status) -> bool {
        use Status::{Aborted, Cancelled, Completed, CompletedMissing, Failed, RolledBack};
        match self {
            Self::Waiting => status == Cancelled,
            Self::Planning(_) => status == Aborted,
            Self::Distributing(_) | Self::Over => false,
            Self::Committing(_) => matches!(status, Completed | CompletedMissing | Failed),
            Self::RollingBack(_) => status == RolledBack,
            Self::Dropping(_, then) => status == then,
        }
    }
}

impl JobState {
    /// A job that was just asked for.
    pub fn new(job: Job) -> Self {
        Self {
            due: job.due,
            job,
            status: Status::Idle,
            phase: Phase::Waiting,
            nodes: BTreeSet::new(),
            plan: None,
            attempt: 0,
            commit_asked: false,
            abort_asked: false,
            why: None,
            endings: BTreeMap::new(),
            bytes: 0,
        }
    }

    /// Whether there is no way back but a rollback. A job whose nodes commit by themselves is decided when it is sent.
    pub const fn is_decided(&self) -> bool {
        match self.phase {
            Phase::Distributing(_) => matches!(self.job.policy.commit, CommitMode::EachWhenReady),
            Phase::Committing(_) | Phase::RollingBack(_) => true,
            _ => false,
        }
    }

    /// Whether the job has its site on its nodes for itself.
    pub fn occupies(&self) -> bool {
        self.status == Status::Running
    }

    /// Takes a step that happened at a moment.
    ///
    /// # Errors
    /// If it may not follow on what is; then nothing changed.
    pub fn apply(&mut self, step: &Step, at: Moment) -> Result<(), Refused> {
        if let Step::CaughtUp(nodes) = step {
            return self.catch_up(nodes);
        }
        if self.status.is_over() {
            return Err(Refused::Over {
                job: self.job.name.to_string(),
                status: self.status,
            });
        }
        let policy = &self.job.policy;
        let later = at + policy.retry_after;
        let tried_out = self.attempt >= policy.retries;
        match (step, self.phase) {
            (Step::Queued, Phase::Waiting) => self.become_status(Status::ConflictQueued)?,
            (Step::Begun(nodes), Phase::Waiting) => {
                self.become_status(Status::Running)?;
                self.nodes.clone_from(nodes);
                self.phase = Phase::Planning(at);
                self.why = None;
            }
            (Step::Deferred(why), Phase::Waiting | Phase::Planning(_)) => {
                // It began before its time, because enough seemed to be back: that was none of its tries.
                let early = at < self.due;
                let last = !early && (tried_out || policy.below == Below::Cancel);
                // Asked for the moment: who is able may be others next time.
                self.nodes.clear();
                self.plan = None;
                self.why = Some(why.clone());
                if last {
                    self.finish(Status::Cancelled)?;
                } else {
                    self.become_status(Status::Deferred)?;
                    self.phase = Phase::Waiting;
                    if !early {
                        self.attempt += 1;
                        self.due = later;
                    }
                }
            }
            (Step::Planned(plan), Phase::Planning(_) | Phase::Distributing(_)) => {
                self.take_plan(plan)?;
            }
            (Step::PlanFailed(why), Phase::Planning(_)) => {
                self.why = Some(why.clone());
                if tried_out || !why.kind.passes() {
                    self.finish(Status::Failed)?;
                } else {
                    self.attempt += 1;
                    self.phase = Phase::Planning(later);
                }
            }
            (Step::PlanFailed(why) | Step::Missed(why), Phase::Distributing(_)) => {
                self.why = Some(why.clone());
                if tried_out && self.is_decided() {
                    // What is live stays; the rest is found out.
                    self.phase = Phase::Committing(at);
                } else if tried_out {
                    self.phase = Phase::Dropping(at, Status::Failed);
                } else {
                    self.attempt += 1;
                    self.phase = Phase::Distributing(later);
                }
            }
            (Step::Sent, Phase::Planning(_)) if self.plan.is_some() => {
                self.phase = Phase::Distributing(at);
            }
            (Step::Decided, Phase::Distributing(_)) => self.decide(at),
            (Step::Decided, Phase::Planning(_))
                if self.plan.is_some() && !self.job.kind.distributes() =>
            {
                self.decide(at);
            }
            (Step::RollbackDecided, Phase::Committing(_)) => {
                self.phase = Phase::RollingBack(at);
            }
            (Step::Aborted, Phase::Distributing(_)) if !self.is_decided() => {
                self.phase = Phase::Dropping(at, Status::Aborted);
            }
            (Step::CommitAsked, _) => self.commit_asked = true,
            (Step::AbortAsked, _) if self.is_decided() => {
                return Err(Refused::Decided {
                    job: self.job.name.to_string(),
                });
            }
            (Step::AbortAsked, _) => self.abort_asked = true,
            (Step::Finished(status, endings), phase) if phase.may_end_as(*status) => {
                self.finish(*status)?;
                self.endings.clone_from(endings);
            }
            _ => return Err(self.not_now()),
        }
        Ok(())
    }

    fn decide(&mut self, at: Moment) {
        self.phase = Phase::Committing(at);
        self.why = None;
    }

    fn take_plan(&mut self, plan: &Plan) -> Result<(), Refused> {
        self.bytes = self.bytes.max(plan.bytes);
        match &mut self.plan {
            None => self.plan = Some(plan.clone()),
            Some(known) if known.target == plan.target && known.serial == plan.serial => {
                known.bases.extend(&plan.bases);
                known.bytes = known.bytes.max(plan.bytes);
            }
            Some(_) => {
                return Err(Refused::OtherPlan {
                    job: self.job.name.to_string(),
                });
            }
        }
        Ok(())
    }

    fn catch_up(&mut self, nodes: &BTreeSet<NodeId>) -> Result<(), Refused> {
        if !matches!(self.status, Status::CompletedMissing | Status::Completed) {
            return Err(self.not_now());
        }
        for node in nodes {
            if let Some(ending) = self.endings.get_mut(node) {
                *ending = Ending::Done;
            }
        }
        if self.endings.values().all(|ending| *ending == Ending::Done) {
            self.status = Status::Completed;
        }
        Ok(())
    }

    fn finish(&mut self, status: Status) -> Result<(), Refused> {
        self.become_status(status)?;
        self.phase = Phase::Over;
        Ok(())
    }

    fn become_status(&mut self, status: Status) -> Result<(), Refused> {
        if status != self.status && !self.status.may_become(status) {
            return Err(self.not_now());
        }
        self.status = status;
        Ok(())
    }

    fn not_now(&self) -> Refused {
        Refused::NotNow {
            job: self.job.name.to_string(),
            status: self.status,
        }
    }
}
