use bellwether_types::{Name, NodeId};
use minicbor::{Decode, Encode};

use super::AssignmentId;
use crate::uplink::{Failure, Outcome};

/// What became of a job on a node (REPORT-01).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct JobReport {
    /// The job.
    #[n(0)]
    pub job: Name,
    /// The order that it answers; `None` tells of the job's content.
    #[n(1)]
    pub order: Option<AssignmentId>,
    /// What became of it. A reason is cut off by whoever reads it, after [`Failure::REASON_LEN_MAX`] bytes.
    #[n(2)]
    pub outcome: Outcome,
}

/// A leader lacks reports of what became of a job's content.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct ReportRequest {
    /// The job.
    #[n(0)]
    pub job: Name,
    /// The how-manieth time it asks, from 1.
    #[n(1)]
    pub attempt: u32,
    /// Milliseconds over which the answers are spread.
    #[n(2)]
    pub spread_ms: u32,
    /// What the list means.
    #[n(3)]
    pub listed: Listed,
    /// Nodes.
    #[n(4)]
    pub nodes: Vec<NodeId>,
}

/// An order of the control group, as the leader hands it on. Said again, it asks for the report: nothing is done twice.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Order {
    /// The order: an assignment of a header alone, signed; at most [`uplink::Order::LEN_MAX`](crate::uplink::Order::LEN_MAX) bytes.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub assignment: Vec<u8>,
    /// When, in microseconds of the sender's steady clock; `None` is at once.
    #[n(1)]
    pub at_us: Option<u64>,
    /// The how-manieth time it is said, from 1.
    #[n(2)]
    pub attempt: u32,
    /// Milliseconds over which the answers are spread.
    #[n(3)]
    pub spread_ms: u32,
    /// What the list means.
    #[n(4)]
    pub listed: Listed,
    /// Nodes, at most [`Self::NODES_MAX`].
    #[n(5)]
    pub nodes: Vec<NodeId>,
}

/// What a list of nodes means: the shorter one of two is sent (REPORT-05).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Listed {
    /// It is for them, and their reports are missing: they answer.
    #[n(0)]
    Missing,
    /// It is for all others: those listed are not meant, or their reports came.
    #[n(1)]
    Reported,
}

impl ReportRequest {
    /// Nodes that fit one datagram; a longer list of missing ones is split over several.
    pub const NODES_MAX: usize = 440;

    /// Must `node` send its report again (REPORT-06)?
    pub fn asks(&self, node: NodeId) -> bool {
        self.listed.means(&self.nodes, node)
    }
}

impl Order {
    /// Nodes that fit one datagram beside the longest order; a longer list is split over several.
    pub const NODES_MAX: usize = 220;

    /// Which order it is: the hash of the assignment, which is all head.
    pub fn id(&self) -> AssignmentId {
        AssignmentId::of(&self.assignment)
    }

    /// Is it for `node`?
    pub fn asks(&self, node: NodeId) -> bool {
        self.listed.means(&self.nodes, node)
    }
}

impl JobReport {
    /// As it counts, if `from` says so: a reason has its length, and nobody signs for another.
    pub fn checked(mut self, from: NodeId) -> Option<Self> {
        match &mut self.outcome {
            Outcome::Live(receipt) if receipt.served.node != from => return None,
            Outcome::Failed(failure) | Outcome::Behind(_, failure) => {
                *failure = Failure::new(failure.kind, std::mem::take(&mut failure.reason));
            }
            _ => {}
        }
        Some(self)
    }
}

impl Listed {
    fn means(self, nodes: &[NodeId], node: NodeId) -> bool {
        match self {
            Self::Missing => nodes.contains(&node),
            Self::Reported => !nodes.contains(&node),
        }
    }
}
