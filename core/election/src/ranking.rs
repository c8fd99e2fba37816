use std::collections::BTreeSet;

use bellwether_types::NodeId;

use crate::candidate::{Candidate, CandidateRef};

/// Where a node stands among the live candidates of its segment, as far as an election needs to know.
///
/// Only the strongest are named: who must be known by name is asked, succeeds, or is taken out of the order because it
/// died, and further down one rank more or less changes little.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ranking {
    strongest: Vec<NodeId>,
    stronger: u32,
}

const NAMED_MAX: usize = 32;

impl Ranking {
    /// The ranking of `own` among the live candidates of its segment, in any order; `own` may be one of them.
    pub fn of<'a, C: Into<CandidateRef<'a>>>(
        own: &Candidate,
        live: impl IntoIterator<Item = C>,
    ) -> Self {
        let own = CandidateRef::from(own);
        let mut named: BTreeSet<CandidateRef<'_>> = BTreeSet::new();
        let mut stronger = 0;
        for candidate in live {
            let candidate = candidate.into();
            stronger += u32::from(candidate > own && candidate.node != own.node);
            // Most are weaker than all that are named, and cost one comparison.
            if named.len() < NAMED_MAX || named.first() < Some(&candidate) {
                named.insert(candidate);
            }
            if named.len() > NAMED_MAX {
                named.pop_first();
            }
        }
        let strongest = named.iter().rev().map(|candidate| candidate.node).collect();
        Self {
            strongest,
            stronger,
        }
    }

    /// How many live candidates are stronger than `own`, when those that are `gone` are no longer counted.
    pub(crate) fn rank(&self, own: NodeId, gone: &[NodeId]) -> u32 {
        let before = self.strongest.iter().take(self.stronger as usize);
        let dead = before.filter(|node| **node != own && gone.contains(node));
        self.stronger - u32::try_from(dead.count()).unwrap_or(0)
    }

    /// The strongest others that are not `gone`, strongest first.
    pub(crate) fn others<'a>(
        &'a self,
        own: NodeId,
        gone: &'a [NodeId],
    ) -> impl Iterator<Item = NodeId> + 'a {
        let others = self.strongest.iter().copied();
        others.filter(move |node| *node != own && !gone.contains(node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(node: u8) -> Candidate {
        Candidate {
            priority: u32::from(node),
            name: "x".parse().unwrap(),
            node: NodeId::from_bytes([node; 16]),
        }
    }

    #[test]
    fn the_dead_are_not_counted_and_a_node_is_not_before_itself() {
        let live: Vec<Candidate> = (1..=100).map(candidate).collect();
        let node = |node| candidate(node).node;
        let ranking = Ranking::of(&candidate(95), &live);
        assert_eq!(ranking.rank(node(95), &[]), 5);
        assert_eq!(ranking.rank(node(95), &[node(100), node(97), node(3)]), 3);
        let others: Vec<NodeId> = ranking.others(node(95), &[node(100)]).take(5).collect();
        assert_eq!(others, [99, 98, 97, 96, 94].map(node));
        let last = Ranking::of(&candidate(1), &live);
        assert_eq!(last.rank(node(1), &[]), 99);
        assert_eq!(last.rank(node(1), &[node(2), node(100)]), 98);
    }

    #[test]
    fn no_more_are_kept_than_can_matter() {
        let live: Vec<Candidate> = (0..=255).map(candidate).collect();
        let ranking = Ranking::of(&candidate(0), &live);
        assert_eq!(ranking.strongest.len(), NAMED_MAX);
    }
}
