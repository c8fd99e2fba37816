//! How far a job is in the segment.

use bellwether_types::{Name, NodeId};
use bellwether_wire::transfer::AssignmentId;
use bellwether_wire::uplink::{NodeProgress, Outcome, Progress};

use super::{Carried, Job};

/// How far a member is: farther is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Reached {
    /// Of what is for it, in millionths.
    share: u64,
    is_complete: bool,
    has_said: bool,
}

impl Job {
    pub(crate) fn progress(&self, name: &Name, own: NodeId) -> Progress {
        let said = |is_it: fn(&Outcome) -> bool| {
            let said = self.outcomes.values();
            count(said.filter(|(_, outcome)| is_it(outcome)).count())
        };
        let sum = |of: fn(&Carried) -> u64| {
            let files = self.files.values();
            files.map(of).fold(0, u64::saturating_add)
        };
        let members = self.wanted.keys();
        let members: Vec<(Reached, NodeProgress)> =
            members.map(|node| self.reached(*node, own)).collect();
        let total = |of: fn(&NodeProgress) -> u64| {
            let members = members.iter();
            members.map(|(_, one)| of(one)).fold(0, u64::saturating_add)
        };
        Progress {
            job: name.clone(),
            bytes: sum(|carried| carried.file.len),
            fetched: sum(|carried| carried.fetched),
            received: total(|one| one.received),
            rate: sum(|carried| carried.rate),
            nodes: count(self.wanted.len()),
            complete: count(members.iter().filter(|(one, _)| one.is_complete).count()),
            staged: said(has_staged),
            failed: said(|outcome| matches!(outcome, Outcome::Failed(_) | Outcome::Behind(..))),
            needed: total(|one| one.needed),
            slowest: slowest(members),
        }
    }

    fn reached(&self, node: NodeId, own: NodeId) -> (Reached, NodeProgress) {
        let outcome = self.outcomes.get(&node).map(|(_, outcome)| outcome);
        // Who staged it has it, wherever it came from.
        let has_staged = outcome.is_some_and(has_staged);
        let files = self.wanted.get(&node).into_iter().flatten();
        let files = files.filter_map(|id: &AssignmentId| self.files.get(id));
        let (mut received, mut needed) = (0u64, 0u64);
        let mut is_complete = true;
        for carried in files {
            let is_here = has_staged || carried.complete.contains(&node);
            let so_far = match carried.received.get(&node) {
                _ if is_here => carried.file.len,
                _ if node == own => carried.fetched,
                so_far => so_far.copied().unwrap_or(0),
            };
            is_complete &= is_here;
            needed = needed.saturating_add(carried.file.len);
            received = received.saturating_add(so_far.min(carried.file.len));
        }
        let share = u128::from(received) * 1_000_000;
        let share = share.checked_div(needed.into()).unwrap_or(1_000_000);
        let reached = Reached {
            share: u64::try_from(share).unwrap_or(u64::MAX),
            is_complete,
            has_said: outcome.is_some(),
        };
        let progress = NodeProgress {
            node,
            received,
            needed,
        };
        (reached, progress)
    }
}

/// Those who are waited for while somebody is further.
fn slowest(mut members: Vec<(Reached, NodeProgress)>) -> Vec<NodeProgress> {
    let Some(farthest) = members.iter().map(|(reached, _)| *reached).max() else {
        return Vec::new();
    };
    members.retain(|(reached, _)| !reached.has_said && *reached < farthest);
    members.sort_by_key(|(reached, one)| (*reached, one.node));
    members.truncate(Progress::SLOWEST_MAX);
    members.into_iter().map(|(_, one)| one).collect()
}

const fn has_staged(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Staged(_) | Outcome::Live(_))
}

fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
