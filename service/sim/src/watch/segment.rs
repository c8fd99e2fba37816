//! One segment, as tallies of what its nodes show: kept up with each change, so that asking costs nothing.

use std::collections::{BTreeMap, BTreeSet};

use bellwether_types::{Epoch, Incarnation, NodeId, Time};
use bellwether_wire::control::{MergeId, StateVersion};

use super::Cause;
use crate::plan::Plan;
use crate::process::{SegmentState, View};
use crate::property::Lack;
use crate::scenario::Expect;

#[derive(Debug)]
pub(super) struct Segment {
    /// The node that should lead in the end.
    pub(super) best: u32,
    /// The node that should lead after one that died, if nothing else happens.
    pub(super) heir: Option<u32>,
    priorities: Vec<u32>,
    pub(super) living: BTreeSet<u32>,
    /// Of all who live and have shown themselves.
    ids: Ids,
    registered: usize,
    pub(super) reigns: BTreeMap<Epoch, u32>,
    pub(super) states: BTreeMap<Option<SegmentState>, u32>,
    pub(super) leading: Vec<(u32, Epoch)>,
    /// What was held as each version, by anybody, ever.
    pub(super) digests: BTreeMap<StateVersion, u64>,
    /// What came of each merge.
    pub(super) merges: BTreeMap<MergeId, StateVersion>,
    /// In which start of which node each merge took effect.
    pub(super) merged: BTreeSet<(MergeId, NodeId, Incarnation)>,
    /// The last report of each reign to the control server.
    pub(super) reports: BTreeMap<Epoch, u64>,
    pub(super) server: Server,
    /// Content groups that were ordered.
    pub(super) groups: u32,
    /// Who led in each reign, ever.
    pub(super) held: BTreeMap<Epoch, (u32, Incarnation)>,
    /// Who led last, unless it died.
    pub(super) leader: Option<u32>,
    /// Cuts and the like in force.
    pub(super) hindrances: i32,
    pub(super) disturbance: Option<Disturbance>,
    /// Is it settled, once all is quiet?
    pub(super) settled: bool,
    pub(super) registrations: (u64, u64),
    pub(super) calm_bytes: u64,
}

#[derive(Debug)]
pub(super) struct Disturbance {
    pub(super) cause: Cause,
    pub(super) at: Time,
    /// The reign before, which does not end it.
    pub(super) before: Option<Epoch>,
    pub(super) claimants: BTreeSet<u32>,
    pub(super) multicasts: u32,
    pub(super) registrations: u32,
}

/// What the control server knows of the segment.
#[derive(Debug, Default)]
pub(super) struct Server {
    number: Option<(Epoch, u64)>,
    members: BTreeSet<NodeId>,
    ids: Ids,
}

/// A set of nodes in brief: equal for equal sets, and otherwise as good as never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Ids(u128);

impl Segment {
    pub(super) fn new(plan: &Plan) -> Self {
        let starting = plan
            .addresses()
            .filter(|node| plan.nodes[*node as usize].start.is_some());
        // Of equal ones the first, whose name is the lowest.
        let best = starting
            .rev()
            .max_by_key(|node| plan.nodes[*node as usize].priority);
        Self {
            best: best.unwrap_or(0),
            heir: None,
            priorities: plan.nodes.iter().map(|node| node.priority).collect(),
            living: BTreeSet::new(),
            ids: Ids::default(),
            registered: 0,
            reigns: BTreeMap::new(),
            states: BTreeMap::new(),
            leading: Vec::new(),
            digests: BTreeMap::new(),
            merges: BTreeMap::new(),
            merged: BTreeSet::new(),
            reports: BTreeMap::new(),
            server: Server::default(),
            groups: 0,
            held: BTreeMap::new(),
            leader: None,
            hindrances: 0,
            disturbance: Some(Disturbance::new(Cause::ColdStart, Time::ZERO, None)),
            settled: false,
            registrations: (0, 0),
            calm_bytes: 0,
        }
    }

    /// What it lacks to be settled; a segment of which nobody lives lacks nothing.
    pub(super) fn lack(&self, expect: Expect) -> Option<Lack> {
        if self.living.is_empty() {
            return None;
        }
        let [(_, epoch)] = self.leading[..] else {
            return Some(if self.leading.is_empty() {
                Lack::Leader
            } else {
                Lack::OneLeader
            });
        };
        let living = self.living.len();
        if self.reigns.get(&epoch).copied() != u32::try_from(living).ok() {
            return Some(Lack::Obedience);
        }
        if !expect.members {
            return None;
        }
        let mut states = self.states.keys();
        match (states.next(), states.next()) {
            (Some(Some(_)), None) if self.registered < living => Some(Lack::Registration),
            // All who live are members, so if there are no more of those they are the same.
            (Some(Some(state)), None) if state.members as usize != living => Some(Lack::Members),
            (Some(Some(_)), None) if self.server.differs(self.ids, epoch) => {
                Some(Lack::ControlServer)
            }
            (Some(Some(state)), None) if expect.groups && state.groups != self.groups => {
                Some(Lack::Groups)
            }
            (Some(Some(_)), None) => None,
            _ => Some(Lack::EqualStates),
        }
    }

    pub(super) fn learn(&mut self, node: u32, view: &View) {
        if let Some(epoch) = view.reign() {
            *self.reigns.entry(epoch).or_default() += 1;
        }
        self.ids.toggle(view.id);
        self.registered += usize::from(view.registered);
        *self.states.entry(view.state).or_default() += 1;
        if let Some(epoch) = view.leads() {
            self.leading.push((node, epoch));
        }
    }

    pub(super) fn forget(&mut self, node: u32, view: &View) {
        if let Some(epoch) = view.reign() {
            decrease(&mut self.reigns, &epoch);
        }
        self.ids.toggle(view.id);
        self.registered -= usize::from(view.registered);
        decrease(&mut self.states, &view.state);
        self.leading.retain(|(leader, _)| *leader != node);
    }

    /// The strongest of those who live.
    pub(super) fn best_living(&self) -> Option<u32> {
        // Of equal ones the first, whose name is the lowest.
        let priority = |node: &&u32| self.priorities[**node as usize];
        self.living.iter().rev().max_by_key(priority).copied()
    }
}

impl Server {
    /// A report came; one that an earlier one has overtaken changes nothing.
    pub(super) fn take(
        &mut self,
        number: (Epoch, u64),
        whole: bool,
        came: &[NodeId],
        went: &[NodeId],
    ) {
        if self.number >= Some(number) {
            return;
        }
        self.number = Some(number);
        if whole {
            self.members.clear();
        }
        self.members.retain(|node| !went.contains(node));
        self.members.extend(came);
        self.ids = Ids::default();
        self.members.iter().for_each(|node| self.ids.toggle(*node));
    }

    /// Does it believe in others than those who live under this reign? What it knows of a higher one stems from nodes
    /// whose disks are all lost.
    fn differs(&self, living: Ids, reign: Epoch) -> bool {
        self.ids != living && self.number.is_none_or(|(epoch, _)| epoch <= reign)
    }
}

impl Ids {
    /// Adds a node, or takes it out.
    fn toggle(&mut self, node: NodeId) {
        self.0 ^= u128::from_be_bytes(*node.as_bytes());
    }
}

impl Disturbance {
    pub(super) fn new(cause: Cause, at: Time, before: Option<Epoch>) -> Self {
        Self {
            cause,
            at,
            before,
            claimants: BTreeSet::new(),
            multicasts: 0,
            registrations: 0,
        }
    }
}

fn decrease<K: Ord>(tally: &mut BTreeMap<K, u32>, key: &K) {
    if let Some(count) = tally.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            tally.remove(key);
        }
    }
}
