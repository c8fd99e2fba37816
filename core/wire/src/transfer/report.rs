use bellwether_types::NodeId;
use minicbor::{Decode, Encode};

use super::AssignmentId;

/// What became of an assignment on a node (REPORT-01).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct JobReport {
    /// The assignment.
    #[n(0)]
    pub assignment: AssignmentId,
    /// What became of it.
    #[n(1)]
    pub result: JobResult,
}

/// The result of a job on one node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum JobResult {
    /// It was carried out.
    #[n(0)]
    Done,
    /// It was not: the failing command and its code, or another reason, for people; at most
    /// [`JobResult::REASON_LEN_MAX`] bytes.
    #[n(1)]
    Failed(#[n(0)] String),
}

/// A leader lacks reports.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct ReportRequest {
    /// The assignment.
    #[n(0)]
    pub assignment: AssignmentId,
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

/// What a list of nodes means: the shorter one of two is sent (REPORT-05).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Listed {
    /// Their reports are missing: they answer.
    #[n(0)]
    Missing,
    /// Their reports came: all others answer.
    #[n(1)]
    Reported,
}

impl JobResult {
    /// The longest reason, in bytes.
    pub const REASON_LEN_MAX: usize = 512;
}

impl ReportRequest {
    /// Nodes that fit one datagram; a longer list of missing ones is split over several.
    pub const NODES_MAX: usize = 440;

    /// Must `node` send its report again (REPORT-06)?
    pub fn asks(&self, node: NodeId) -> bool {
        match self.listed {
            Listed::Missing => self.nodes.contains(&node),
            Listed::Reported => !self.nodes.contains(&node),
        }
    }
}
