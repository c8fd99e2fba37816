//! What nodes said and did not say, and whom to tell.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bellwether_types::{NodeId, VersionId};
use bellwether_wire::uplink::{Failure, FailureKind, Outcome};

use super::{Decision, Saga};
use crate::job::Kind;
use crate::state::Step;
use crate::view::Moment;

/// What a node's words mean for the step that is under way.
pub(super) enum Standing {
    /// It is where it should be.
    Done,
    /// It has staged the content.
    Staged,
    /// It could not.
    Failed(Failure),
    /// It has not said.
    Open,
}

impl Saga<'_> {
    /// What a node's words, since the step began, mean for it.
    pub(super) fn standing(&self, node: NodeId, since: Moment) -> Standing {
        let Self { state, view, .. } = self;
        let target = state.plan.as_ref().and_then(|plan| plan.target);
        let removes = state.job.kind == Kind::Remove;
        match view.reported.get(&node).map(|reported| &reported.outcome) {
            // What a node has, it has, whenever it said so.
            Some(Outcome::Live(receipt))
                if !removes
                    && receipt.served.site == state.job.site
                    && Some(receipt.served.version) == target =>
            {
                return Standing::Done;
            }
            Some(Outcome::Staged(version)) if Some(*version) == target => return Standing::Staged,
            Some(Outcome::Removed) if removes => return Standing::Done,
            _ => {}
        }
        // It may have been there before the job began.
        let is_there = match target {
            _ if removes => view.base(node) == Some(None),
            Some(target) => view.serves(node, target),
            None => false,
        };
        if is_there {
            return Standing::Done;
        }
        // A failure counts for the attempt that it came in.
        match view.said_since(node, since) {
            // It comes from further away then.
            Some(Outcome::Failed(why)) if why.kind == FailureKind::Neighbours => Standing::Open,
            Some(Outcome::Failed(why) | Outcome::Behind(_, why)) => Standing::Failed(why.clone()),
            _ => Standing::Open,
        }
    }

    /// Whether a node that missed something may have it from a neighbour: one serves it, and none has refused it yet.
    pub(super) fn gathers(&self, node: NodeId) -> bool {
        let Self { state, view, .. } = self;
        let known = view.nodes.get(&node);
        let has_neighbour = known.is_some_and(|known| known.has_neighbour);
        let refused = view.reported.get(&node).is_some_and(|said| {
            matches!(&said.outcome, Outcome::Failed(why) if why.kind == FailureKind::Neighbours)
        });
        state.job.kind == Kind::Synchronize && has_neighbour && !refused
    }

    /// When each was told, of those who have neighbours and of those who do not.
    pub(super) fn told(
        &self,
        near: &BTreeSet<NodeId>,
        far: &BTreeSet<NodeId>,
    ) -> BTreeMap<NodeId, Moment> {
        let of = |told: &BTreeMap<NodeId, Moment>, nodes: &BTreeSet<NodeId>| {
            let told = nodes
                .iter()
                .filter_map(|node| Some((*node, *told.get(node)?)));
            told.collect::<Vec<_>>()
        };
        let near = of(&self.view.gathering, near);
        near.into_iter()
            .chain(of(&self.view.notified, far))
            .collect()
    }

    /// What the last word of a node means that has not staged the content, whenever it said so.
    pub(super) fn refusal(&self, node: NodeId) -> Standing {
        match self.view.reported.get(&node).map(|said| &said.outcome) {
            Some(Outcome::Failed(why) | Outcome::Behind(_, why)) => Standing::Failed(why.clone()),
            _ => Standing::Open,
        }
    }

    /// Bases of nodes that could take part and for which there is no variant.
    pub(super) fn lacking_bases(&self, since: Moment) -> BTreeSet<Option<VersionId>> {
        let Self { state, view, .. } = self;
        if !state.job.kind.distributes() {
            return BTreeSet::new();
        }
        let bytes = state.plan.as_ref().map_or(0, |plan| plan.bytes);
        let nodes = state.nodes.iter().filter(|node| {
            view.hindrance(**node, bytes).is_none()
                && !self.gathers(**node)
                && matches!(self.standing(**node, since), Standing::Open)
        });
        let bases = nodes.filter_map(|node| view.base(*node));
        let planned = |base: &Option<VersionId>| {
            let plan = state.plan.as_ref();
            plan.is_some_and(|plan| plan.bases.contains(base))
        };
        bases.filter(|base| !planned(base)).collect()
    }

    /// Why too few are able; `None` if there are enough (CCM-05, CCM-06).
    pub(super) fn below_quorum(&self, nodes: &BTreeSet<NodeId>, bytes: u64) -> Option<Failure> {
        let mut able = 0;
        let mut hindrance = None;
        for node in nodes {
            match self.view.hindrance(*node, bytes) {
                None => able += 1,
                Some(why) => hindrance = Some((node, why)),
            }
        }
        let needed = self.state.job.policy.quorum_before.needed(nodes.len());
        if able >= needed {
            return None;
        }
        let of = nodes.len();
        let mut reason = format!("{able} of {of} nodes are able, and {needed} are needed");
        let mut kind = FailureKind::Silent;
        if let Some((node, why)) = hindrance {
            reason = format!("{reason}; node {node}: {why}");
            kind = why.kind;
        }
        Some(Failure::new(kind, reason))
    }

    /// A conclusion from silence, as soon as silence means something.
    pub(super) fn once_settled(&self, nodes: &BTreeSet<NodeId>, step: Step) -> Decision {
        match self.unsettled(nodes) {
            Some(settled) => Decision::Wait(Some(settled)),
            None => Decision::Keep(step),
        }
    }

    /// Until when more is to be heard of nodes; `None` if all is known, or enough time was given.
    pub(super) fn unsettled(&self, nodes: &BTreeSet<NodeId>) -> Option<Moment> {
        let settled = self.view.began + self.state.job.policy.patience;
        let unknown = nodes.iter().any(|node| self.view.is_unknown(*node));
        (unknown && self.now < settled).then_some(settled)
    }

    /// Who of `open` was not told since the step began, or so long ago that it is told again.
    pub(super) fn untold(
        &self,
        told: &BTreeMap<NodeId, Moment>,
        open: &BTreeSet<NodeId>,
        since: Moment,
        repeat: Duration,
    ) -> BTreeSet<NodeId> {
        let due = |node: &&NodeId| match told.get(*node) {
            Some(told) if *told >= since => *told + repeat <= self.now,
            _ => true,
        };
        open.iter().filter(due).copied().collect()
    }

    /// Waits for `deadline`, or until somebody is told again.
    pub(super) fn wait_for(
        &self,
        told: &BTreeMap<NodeId, Moment>,
        open: &BTreeSet<NodeId>,
        since: Moment,
        repeat: Duration,
        deadline: Moment,
    ) -> Decision {
        let told = open.iter().filter_map(|node| told.get(node));
        let again = told
            .filter(|told| **told >= since)
            .map(|told| *told + repeat);
        Decision::Wait(Some(
            again.min().map_or(deadline, |again| again.min(deadline)),
        ))
    }

    pub(super) fn by_base(
        &self,
        nodes: BTreeSet<NodeId>,
    ) -> BTreeMap<Option<VersionId>, BTreeSet<NodeId>> {
        let mut bases: BTreeMap<_, BTreeSet<NodeId>> = BTreeMap::new();
        for node in nodes {
            if let Some(base) = self.view.base(node) {
                bases.entry(base).or_default().insert(node);
            }
        }
        bases
    }

    /// Why a node that said nothing is behind.
    pub(super) fn silence(&self, node: NodeId, bytes: u64) -> Failure {
        let hindrance = self.view.hindrance(node, bytes);
        let silent = || Failure::new(FailureKind::Silent, "it did not say that it is done");
        hindrance.unwrap_or_else(silent)
    }
}
