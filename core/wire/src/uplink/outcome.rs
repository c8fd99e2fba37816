use std::fmt;

use bellwether_types::{Name, NodeId, VersionId};
use minicbor::{Decode, Encode};

use super::receipt::Receipt;
use super::within;

/// What became of a job on nodes of a segment. Each node's word replaces what was said of it before; a leader may repeat
/// any of it, and sends what it has without waiting for the rest.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Outcomes {
    /// The job.
    #[n(0)]
    pub job: Name,
    /// Nodes, in the order of their ids, each once; more than [`Self::NODES_MAX`] go in several messages.
    #[n(1)]
    pub nodes: Vec<NodeOutcome>,
}

/// What became of a job on one node.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct NodeOutcome {
    /// The node.
    #[n(0)]
    pub node: NodeId,
    /// What became of it.
    #[n(1)]
    pub outcome: Outcome,
}

/// How a job, or a step of it, ended on a node.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Outcome {
    /// The version stands beside the live one, verified and durable.
    #[n(0)]
    Staged(#[n(0)] VersionId),
    /// The version is live: signed by the node.
    #[n(1)]
    Live(#[n(0)] Receipt),
    /// It could not be done. What is live is as it was.
    #[n(2)]
    Failed(#[n(0)] Failure),
    /// The node was ordered to make live what it has not staged (COMMIT-11), or was given up by its leader: it is to be
    /// synchronised. With what is live on it, as far as that is known.
    #[n(3)]
    Behind(#[n(0)] Option<VersionId>, #[n(1)] Failure),
    /// What was staged for the job is dropped, or nothing was.
    #[n(4)]
    Aborted,
    /// The content is gone.
    #[n(5)]
    Removed,
}

/// Why something was not done, for programs and for people.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Failure {
    /// What kind of failure it is.
    #[n(0)]
    pub kind: FailureKind,
    /// What failed, where, and what to do (INTERP-03, INTERP-08); at most [`Self::REASON_LEN_MAX`] bytes.
    #[n(1)]
    pub reason: String,
}

/// What a failure means for what comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum FailureKind {
    /// The node does not hold the base: it needs another variant, or the assignments it missed (ASSIGN-18).
    #[n(0)]
    Base,
    /// A later term or serial was there first.
    #[n(1)]
    Order,
    /// It is not signed by whom the node trusts, or the node has no key for it.
    #[n(2)]
    Trust,
    /// What arrived is not what was sent, or makes no tree.
    #[n(3)]
    Damaged,
    /// No room on the node's disk.
    #[n(4)]
    Space,
    /// The node's system does not allow it.
    #[n(5)]
    Permission,
    /// The node cannot do what is asked, whoever asks: an owner it does not know, names that are one to it.
    #[n(6)]
    Unsupported,
    /// A command of the node's own configuration said no.
    #[n(7)]
    Hook,
    /// Another change of the same site and part is under way.
    #[n(8)]
    Busy,
    /// Something on the node's disk is not as it was put there.
    #[n(9)]
    Disk,
    /// What is to be made live was not staged.
    #[n(10)]
    NotStaged,
    /// The node said nothing in time, or is not there.
    #[n(11)]
    Silent,
    /// The machine failed.
    #[n(12)]
    Machine,
    /// No neighbour gave what was to be got from one: it has to come from further away.
    #[n(13)]
    Neighbours,
}

impl Failure {
    /// The longest reason, in bytes.
    pub const REASON_LEN_MAX: usize = 512;

    /// A failure; what is too long of its reason is cut off.
    pub fn new(kind: FailureKind, reason: impl Into<String>) -> Self {
        let mut reason: String = reason.into();
        if reason.len() > Self::REASON_LEN_MAX {
            let mut end = Self::REASON_LEN_MAX - "…".len();
            while !reason.is_char_boundary(end) {
                end -= 1;
            }
            reason.truncate(end);
            reason.push('…');
        }
        Self { kind, reason }
    }
}

impl FailureKind {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Base,
        Self::Order,
        Self::Trust,
        Self::Damaged,
        Self::Space,
        Self::Permission,
        Self::Unsupported,
        Self::Hook,
        Self::Busy,
        Self::Disk,
        Self::NotStaged,
        Self::Silent,
        Self::Machine,
        Self::Neighbours,
    ];

    /// Whether the same may succeed when it is tried again as it is.
    pub const fn passes(self) -> bool {
        matches!(self, Self::Busy | Self::Silent | Self::Machine)
    }
}

impl Outcomes {
    /// The most nodes in one message.
    pub const NODES_MAX: usize = super::NODES_MAX;

    pub(super) fn fault(&self) -> Option<&'static str> {
        let in_order = self.nodes.is_sorted_by(|a, b| a.node < b.node);
        let too_long = |outcome: &Outcome| match outcome {
            Outcome::Failed(failure) | Outcome::Behind(_, failure) => {
                !within(&failure.reason, Failure::REASON_LEN_MAX)
            }
            _ => false,
        };
        if !in_order {
            Some("outcomes are not in the order of their nodes")
        } else if self.nodes.iter().any(|node| too_long(&node.outcome)) {
            Some("the reason of a failure is longer than 512 bytes")
        } else if self.nodes.iter().any(|node| match &node.outcome {
            Outcome::Live(receipt) => receipt.served.node != node.node,
            _ => false,
        }) {
            Some("a receipt is of another node than the outcome")
        } else {
            None
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// REPORT-09.
    #[test]
    fn a_reason_that_is_too_long_is_cut_between_letters() {
        let failure = Failure::new(FailureKind::Space, "ü".repeat(400));
        assert!(failure.reason.len() <= Failure::REASON_LEN_MAX);
        assert!(failure.reason.ends_with("ü…"));
        assert_eq!(Failure::new(FailureKind::Hook, "no").reason, "no");
    }
}
