//! What the control server is told. The leader makes these values; whoever speaks with the control
//! server sends them.

use core::net::SocketAddr;

use bellwether_types::{Epoch, Name, NodeId};
use bellwether_wire::control::Record;

/// The place of a report in the order of its segment (CLUSTER-12).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ReportNumber {
    /// The segment.
    pub segment: Name,
    /// The reign it was made in, which names the leader.
    pub epoch: Epoch,
    /// Rises by one with each report of the reign, from 1; a gap says that one was lost.
    pub sequence: u64,
}

/// What a leader tells the control server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Report {
    /// Who belongs to the segment, all of it (CLUSTER-01): the first of a reign, after a merge, and on demand.
    Cluster(ClusterReport),
    /// What changed since the report before (CLUSTER-05, CLUSTER-06).
    Change(SegmentReport),
}

/// A cluster report (CLUSTER-02, CLUSTER-03).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClusterReport {
    /// Its number.
    pub number: ReportNumber,
    /// The segment's name for people, if it has one (CLUSTER-07).
    pub title: Option<String>,
    /// The leader's name.
    pub leader: Name,
    /// The leader's address.
    pub address: SocketAddr,
    /// Where the leader stands (CLUSTER-09).
    pub location: String,
    /// All members, the leader among them, in the order of their ids.
    pub members: Vec<(NodeId, Record)>,
}

/// A network-segment report.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SegmentReport {
    /// Its number.
    pub number: ReportNumber,
    /// What changed, in the order of the nodes' ids.
    pub changes: Vec<MemberChange>,
}

/// One member's change.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MemberChange {
    /// The member.
    pub node: NodeId,
    /// What happened to it.
    pub kind: ChangeKind,
    /// What is known of it now, or was known of it last.
    pub record: Record,
}

/// What happens to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeKind {
    /// It came, or came back.
    Joined,
    /// It said farewell.
    Left,
    /// It answers no more.
    Failed,
    /// It started again without having been missed.
    Restarted,
    /// What it says of itself changed.
    Changed,
}

impl Report {
    /// Its number.
    pub const fn number(&self) -> &ReportNumber {
        match self {
            Self::Cluster(report) => &report.number,
            Self::Change(report) => &report.number,
        }
    }
}

impl ReportNumber {
    /// May a report of this number replace what a report of the `other` said of the same segment?
    pub fn supersedes(&self, other: &Self) -> bool {
        self.segment == other.segment && (self.epoch, self.sequence) > (other.epoch, other.sequence)
    }
}
