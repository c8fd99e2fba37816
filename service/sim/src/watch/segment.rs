//! One segment, as tallies of what its nodes show: kept up with each change, so that asking costs nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use bellwether_types::{Epoch, Incarnation, Time};

use super::Cause;
use crate::plan::Plan;
use crate::process::{SegmentState, View};
use crate::property::Lack;
use crate::scenario::Expect;

#[derive(Debug)]
pub(super) struct Segment {
    /// The node that should lead in the end.
    pub(super) best: u32,
    pub(super) living: u32,
    pub(super) reigns: BTreeMap<Epoch, u32>,
    pub(super) states: BTreeMap<Option<SegmentState>, u32>,
    pub(super) leading: Vec<(u32, Epoch)>,
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
}

impl Segment {
    pub(super) fn new(nodes: &Range<u32>, plan: &Plan) -> Self {
        let starting = nodes
            .clone()
            .filter(|node| plan.nodes[*node as usize].start.is_some());
        // Of equal ones the first, whose name is the lowest.
        let best = starting
            .rev()
            .max_by_key(|node| plan.nodes[*node as usize].priority);
        Self {
            best: best.unwrap_or(nodes.start),
            living: 0,
            reigns: BTreeMap::new(),
            states: BTreeMap::new(),
            leading: Vec::new(),
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
        if self.living == 0 {
            return None;
        }
        let [(_, epoch)] = self.leading[..] else {
            return Some(if self.leading.is_empty() {
                Lack::Leader
            } else {
                Lack::OneLeader
            });
        };
        if self.reigns.get(&epoch) != Some(&self.living) {
            return Some(Lack::Obedience);
        }
        if !expect.members {
            return None;
        }
        let mut states = self.states.keys();
        match (states.next(), states.next()) {
            (Some(Some(state)), None) if state.members == self.living => None,
            (_, None) => Some(Lack::Members),
            _ => Some(Lack::EqualStates),
        }
    }

    pub(super) fn learn(&mut self, node: u32, view: &View) {
        if let Some(epoch) = view.reign() {
            *self.reigns.entry(epoch).or_default() += 1;
        }
        *self.states.entry(view.state).or_default() += 1;
        if let Some(epoch) = view.leads() {
            self.leading.push((node, epoch));
        }
    }

    pub(super) fn forget(&mut self, node: u32, view: &View) {
        if let Some(epoch) = view.reign() {
            decrease(&mut self.reigns, &epoch);
        }
        decrease(&mut self.states, &view.state);
        self.leading.retain(|(leader, _)| *leader != node);
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
