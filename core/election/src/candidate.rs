use std::cmp::{Ordering, Reverse};

use bellwether_types::{Name, NodeId};

/// A candidate as it is compared with others: by priority, then by name and by id, of which the lower is the stronger
/// (ELECT-25). The order is total, so of several candidates there is always one strongest; greater is stronger.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Candidate {
    /// Higher is stronger.
    pub priority: u32,
    /// Lower is stronger.
    pub name: Name,
    /// Lower is stronger.
    pub node: NodeId,
}

/// The same, borrowed from whoever knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CandidateRef<'a> {
    /// Higher is stronger.
    pub priority: u32,
    /// Lower is stronger.
    pub name: &'a Name,
    /// Lower is stronger.
    pub node: NodeId,
}

impl<'a> From<&'a Candidate> for CandidateRef<'a> {
    fn from(candidate: &'a Candidate) -> Self {
        Self {
            priority: candidate.priority,
            name: &candidate.name,
            node: candidate.node,
        }
    }
}

impl Ord for CandidateRef<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let order = self.priority.cmp(&other.priority);
        order.then_with(|| {
            (Reverse(self.name), Reverse(self.node))
                .cmp(&(Reverse(other.name), Reverse(other.node)))
        })
    }
}

impl PartialOrd for CandidateRef<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        CandidateRef::from(self).cmp(&other.into())
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ELECT-25.
    #[test]
    fn equal_priorities_are_ordered_by_name_and_then_by_id() {
        let candidate = |priority, name: &str, node| Candidate {
            priority,
            name: name.parse().unwrap(),
            node: NodeId::from_bytes([node; 16]),
        };
        let strongest_first = [
            candidate(9, "z", 9),
            candidate(8, "a", 9),
            candidate(8, "b", 1),
            candidate(8, "b", 2),
        ];
        assert!(strongest_first.is_sorted_by(|one, next| one > next));
    }
}
