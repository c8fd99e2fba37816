//! What a job does next.

mod standing;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bellwether_types::{NodeId, Serial, VersionId};
use bellwether_wire::uplink::{Failure, FailureKind, Outcome};

use standing::Standing;

use crate::conflict::conflict;
use crate::job::Kind;
use crate::policy::{CommitMode, OnConflict, Partial};
use crate::state::{Ending, JobState, Phase, Plan, Step};
use crate::status::Status;
use crate::view::{Moment, View};

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Nothing until that moment, or until the view changes. `None`: until it changes.
    Wait(Option<Moment>),
    /// This is to be kept, by [`JobState::apply`].
    Keep(Step),
    /// Variants for these bases are to be made, and the plan kept as [`Step::Planned`]. For jobs that bring no content,
    /// only what they make live is to be found out, and there are no bases.
    Plan(BTreeSet<Option<VersionId>>),
    /// These nodes are to be told of the job's content, by the base that they are on. Then [`View::notified`] says when.
    Notify(BTreeMap<Option<VersionId>, BTreeSet<NodeId>>),
    /// These nodes are to be given an order. Then [`View::ordered`] says when.
    Order {
        /// Which.
        kind: OrderKind,
        /// Its serial.
        serial: Serial,
        /// The version that it makes live, or drops.
        version: Option<VersionId>,
        /// Who gets it.
        nodes: BTreeSet<NodeId>,
        /// How far ahead its instant lies; `None` is at once.
        lead: Option<Duration>,
    },
}

/// What an order says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OrderKind {
    /// Make live what is staged.
    Commit,
    /// Make a held version live.
    Rollback,
    /// Remove the content.
    Remove,
    /// Drop what is staged.
    Abort,
    /// Get the content from neighbours that serve it, and stage it.
    Gather,
}

/// What is to be done for a job now. Asked again before anything changed, it says the same; carried out twice, it has one
/// effect.
pub fn next(state: &JobState, view: &View, now: Moment) -> Decision {
    let saga = Saga { state, view, now };
    match state.phase {
        Phase::Waiting => saga.wait(),
        Phase::Planning(since) => saga.plan(since),
        Phase::Distributing(since) => saga.distribute(since),
        Phase::Committing(since) => saga.commit(since),
        Phase::RollingBack(since) => saga.roll_back(since),
        Phase::Dropping(since, then) => saga.drop_staged(since, then),
        Phase::Over => Decision::Wait(None),
    }
}

struct Saga<'s> {
    state: &'s JobState,
    view: &'s View,
    now: Moment,
}

impl Saga<'_> {
    fn wait(&self) -> Decision {
        let Self { state, view, now } = self;
        if state.abort_asked {
            return finish(Status::Cancelled, BTreeMap::new());
        }
        let nodes: BTreeSet<NodeId> = view.nodes.keys().copied().collect();
        let is_taken = conflict(&state.job.site, &nodes, &view.occupied).is_some();
        if *now < state.due {
            // Whoever it was deferred for may be back before it is tried again.
            let waits = state.status == Status::Deferred && !is_taken;
            return match waits && self.below_quorum(&nodes, state.bytes).is_none() {
                true => Decision::Keep(Step::Begun(nodes)),
                false => Decision::Wait(Some(state.due)),
            };
        }
        if is_taken {
            return match (state.job.policy.on_conflict, state.status) {
                (OnConflict::Cancel, _) => finish(Status::Cancelled, BTreeMap::new()),
                (OnConflict::Queue, Status::ConflictQueued) => Decision::Wait(None),
                (OnConflict::Queue, _) => Decision::Keep(Step::Queued),
            };
        }
        match self.below_quorum(&nodes, 0) {
            Some(why) => self.once_settled(&nodes, Step::Deferred(why)),
            None => Decision::Keep(Step::Begun(nodes)),
        }
    }

    fn plan(&self, since: Moment) -> Decision {
        let Self { state, now, .. } = self;
        if state.abort_asked {
            return finish(Status::Aborted, BTreeMap::new());
        }
        if *now < since {
            return Decision::Wait(Some(since));
        }
        let lacking = self.lacking_bases(since);
        let Some(plan) = state.plan.as_ref().filter(|_| lacking.is_empty()) else {
            return Decision::Plan(lacking);
        };
        if let Some(why) = self.below_quorum(&state.nodes, plan.bytes) {
            return self.once_settled(&state.nodes, Step::Deferred(why));
        }
        Decision::Keep(match state.job.kind.distributes() {
            true => Step::Sent,
            false => Step::Decided,
        })
    }

    fn distribute(&self, since: Moment) -> Decision {
        let Self { state, view, now } = self;
        let policy = &state.job.policy;
        let each = policy.commit == CommitMode::EachWhenReady;
        if state.abort_asked && !state.is_decided() {
            return Decision::Keep(Step::Aborted);
        }
        // The last attempt fell short. Who is told again is told then; what is enough by itself meanwhile is enough.
        let pauses = *now < since;
        let lacking = self.lacking_bases(since);
        if !pauses && !lacking.is_empty() {
            return Decision::Plan(lacking);
        }
        let mut open = BTreeSet::new();
        let (mut ready, mut away, mut done) = (0, 0, 0);
        let mut failure = None;
        for node in &state.nodes {
            match self.standing(*node, since) {
                Standing::Done => done += 1,
                // Who is not there cannot commit with the others.
                Standing::Staged if each => drop(open.insert(*node)),
                Standing::Staged if view.is_up(*node) => ready += 1,
                Standing::Staged => away += 1,
                Standing::Failed(why) => failure = Some(why),
                Standing::Open => drop(open.insert(*node)),
            }
        }
        // Who was removed since it began does not count.
        let remain = state.nodes.iter();
        let of = remain.filter(|node| view.nodes.contains_key(node)).count();
        let needed = policy.quorum_after.needed(of);
        let asks = policy.commit == CommitMode::ByHand && !state.commit_asked;
        if pauses {
            return match ready + done >= needed && !asks {
                true => Decision::Keep(Step::Decided),
                false => Decision::Wait(Some(since)),
            };
        }
        let bytes = state.plan.as_ref().map_or(0, |plan| plan.bytes);
        open.retain(|node| view.hindrance(*node, bytes).is_none());
        let (near, far) = open.iter().partition(|node| self.gathers(**node));
        let (near, far): (BTreeSet<NodeId>, BTreeSet<NodeId>) = (near, far);
        let to_gather = self.untold(&view.gathering, &near, since, policy.renew);
        if let Some(plan) = state.plan.as_ref().filter(|_| !to_gather.is_empty()) {
            return Decision::Order {
                kind: OrderKind::Gather,
                serial: plan.serial,
                version: plan.target,
                nodes: to_gather,
                lead: None,
            };
        }
        let to_tell = self.untold(&view.notified, &far, since, policy.renew);
        if !to_tell.is_empty() {
            return Decision::Notify(self.by_base(to_tell));
        }
        let told = self.told(&near, &far);
        let from = since.max(view.began);
        let deadline = from + policy.distribute_max;
        let quiet = view.heard().unwrap_or(from).max(from) + policy.patience;
        let over = open.is_empty() || *now >= deadline;
        if ready + done >= needed {
            if over || *now >= quiet {
                if open.is_empty()
                    && let Some(settled) = self.unsettled(&state.nodes)
                {
                    return Decision::Wait(Some(settled));
                }
                return match asks {
                    true => Decision::Wait(None),
                    false => Decision::Keep(Step::Decided),
                };
            }
            let until = deadline.min(quiet);
            return self.wait_for(&told, &open, since, policy.renew, until);
        }
        if !over {
            return self.wait_for(&told, &open, since, policy.renew, deadline);
        }
        if asks && ready + away + done >= needed {
            // Nobody wants them to commit yet: whoever is not there now may be then.
            return Decision::Wait(None);
        }
        let had = ready + done;
        let mut why = format!("{had} of {of} nodes have it, and {needed} are needed");
        if away > 0 {
            why = format!("{why}; {away} that have it do not answer");
        }
        if let Some(failure) = &failure {
            why = format!("{why}; one says: {failure}");
        }
        let kind = failure.map_or(FailureKind::Silent, |failure| failure.kind);
        self.once_settled(&state.nodes, Step::Missed(Failure::new(kind, why)))
    }

    fn commit(&self, since: Moment) -> Decision {
        let Self { state, view, now } = self;
        let policy = &state.job.policy;
        let Some(plan) = &state.plan else {
            return Decision::Wait(None);
        };
        let kind = match state.job.kind {
            Kind::Remove => OrderKind::Remove,
            Kind::Rollback | Kind::Switch => OrderKind::Rollback,
            _ => OrderKind::Commit,
        };
        let ordered = kind != OrderKind::Commit || policy.commit != CommitMode::EachWhenReady;
        let mut to_order = BTreeSet::new();
        let mut open = BTreeSet::new();
        let mut endings = BTreeMap::new();
        for node in &state.nodes {
            let standing = match self.standing(*node, since) {
                // Who could not stage it has nothing to make live, and is not waited for.
                Standing::Open if kind == OrderKind::Commit => self.refusal(*node),
                standing => standing,
            };
            let ending = match standing {
                Standing::Done => Ending::Done,
                Standing::Failed(why) => Ending::Behind(why),
                standing => {
                    // Who serves it already, and did not say so of this job, signs for it once it is ordered to.
                    let has = matches!(standing, Standing::Staged)
                        || plan.target.is_some() && view.base(*node) == Some(plan.target);
                    if view.is_up(*node) && ordered && (has || kind != OrderKind::Commit) {
                        to_order.insert(*node);
                    }
                    if view.is_up(*node) || view.is_unknown(*node) {
                        open.insert(*node);
                    }
                    Ending::Behind(self.silence(*node, plan.bytes))
                }
            };
            endings.insert(*node, ending);
        }
        let deadline = since.max(view.began) + policy.commit_max;
        let untold = self.untold(&view.ordered, &to_order, since, policy.repeat);
        if *now < deadline && !untold.is_empty() {
            let first = !view.ordered.values().any(|told| *told >= since);
            return Decision::Order {
                kind,
                serial: plan.order,
                version: plan.target,
                nodes: untold,
                lead: first.then_some(policy.lead),
            };
        }
        if *now < deadline && !open.is_empty() {
            return self.wait_for(&view.ordered, &to_order, since, policy.repeat, deadline);
        }
        let done = endings.values().filter(|e| **e == Ending::Done).count();
        if done == state.nodes.len() {
            return finish(Status::Completed, endings);
        }
        let short = done < policy.quorum_after.needed(state.nodes.len());
        let may_return = state.job.kind.distributes() && plan.previous.is_some();
        if short && may_return && policy.partial == Partial::RollBack {
            return Decision::Keep(Step::RollbackDecided);
        }
        // Who was not heard may have it all the same.
        let certain = |node: &NodeId| matches!(self.standing(*node, since), Standing::Failed(_));
        let nothing = done == 0 && state.nodes.iter().all(certain);
        let status = match nothing {
            true => Status::Failed,
            false => Status::CompletedMissing,
        };
        finish(status, endings)
    }

    fn roll_back(&self, since: Moment) -> Decision {
        let Self { state, view, .. } = self;
        let Some(plan) = &state.plan else {
            return Decision::Wait(None);
        };
        let ending = |node: NodeId| match view.said_since(node, since) {
            Some(Outcome::Live(receipt)) if Some(receipt.served.version) == plan.previous => {
                Some(Ending::Done)
            }
            Some(Outcome::Failed(why) | Outcome::Behind(_, why)) => {
                Some(Ending::Behind(why.clone()))
            }
            _ => None,
        };
        let order = (OrderKind::Rollback, plan.previous);
        let done = self.undo(plan, order, since, ending);
        done.unwrap_or_else(|| {
            let silent = |node| Ending::Behind(self.silence(node, 0));
            let endings = state.nodes.iter().map(|node| {
                let ending = ending(*node).unwrap_or_else(|| silent(*node));
                (*node, ending)
            });
            finish(Status::RolledBack, endings.collect())
        })
    }

    fn drop_staged(&self, since: Moment, then: Status) -> Decision {
        let Self { state, view, .. } = self;
        let Some(plan) = &state.plan else {
            return finish(then, BTreeMap::new());
        };
        let ending = |node: NodeId| match view.said_since(node, since) {
            Some(Outcome::Aborted) => Some(Ending::Done),
            Some(Outcome::Failed(why) | Outcome::Behind(_, why)) => {
                Some(Ending::Behind(why.clone()))
            }
            _ => None,
        };
        let order = (OrderKind::Abort, plan.target);
        let done = self.undo(plan, order, since, ending);
        done.unwrap_or_else(|| finish(then, BTreeMap::new()))
    }

    /// Orders to all who are there and have not answered; `None` when nobody is left, or time is up.
    fn undo(
        &self,
        plan: &Plan,
        (kind, version): (OrderKind, Option<VersionId>),
        since: Moment,
        ending: impl Fn(NodeId) -> Option<Ending>,
    ) -> Option<Decision> {
        let Self { state, view, now } = self;
        let repeat = state.job.policy.repeat;
        let deadline = since.max(view.began) + state.job.policy.commit_max;
        let mut open = state.nodes.clone();
        open.retain(|node| ending(*node).is_none());
        let unknown = open.iter().any(|node| view.is_unknown(*node));
        open.retain(|node| view.is_up(*node));
        if *now >= deadline || (open.is_empty() && !unknown) {
            return None;
        }
        let nodes = self.untold(&view.ordered, &open, since, repeat);
        if nodes.is_empty() {
            return Some(self.wait_for(&view.ordered, &open, since, repeat, deadline));
        }
        Some(Decision::Order {
            kind,
            serial: plan.undo,
            version,
            nodes,
            lead: None,
        })
    }
}

fn finish(status: Status, endings: BTreeMap<NodeId, Ending>) -> Decision {
    Decision::Keep(Step::Finished(status, endings))
}
