//! Who belongs to a segment, as its leader tells the control server.

use core::net::SocketAddr;

use bellwether_types::{Epoch, Name, NodeId};
use minicbor::{Decode, Encode};

use super::within;
use crate::control::{Record, Value};

/// The place of a report in the order of its segment (CLUSTER-12).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct ReportNumber {
    /// The segment.
    #[n(0)]
    pub segment: Name,
    /// The reign it was made in, which names the leader.
    #[n(1)]
    pub epoch: Epoch,
    /// Rises by one with each report of the reign, from 1; a gap says that one was lost.
    #[n(2)]
    pub sequence: u64,
}

/// What a leader tells the control server.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Report {
    /// Who belongs to the segment, all of it (CLUSTER-01): the first of a reign, after a merge, and on demand.
    #[n(0)]
    Cluster(#[n(0)] ClusterReport),
    /// What changed since the report before (CLUSTER-05, CLUSTER-06).
    #[n(1)]
    Change(#[n(0)] SegmentReport),
}

/// A cluster report (CLUSTER-02, CLUSTER-03).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct ClusterReport {
    /// Its number.
    #[n(0)]
    pub number: ReportNumber,
    /// The segment's name for people, if it has one (CLUSTER-07).
    #[n(1)]
    pub title: Option<String>,
    /// The leader's name.
    #[n(2)]
    pub leader: Name,
    /// The leader's address.
    #[n(3)]
    pub address: SocketAddr,
    /// Where the leader stands (CLUSTER-09).
    #[n(4)]
    pub location: String,
    /// All members, the leader among them, in the order of their ids.
    #[n(5)]
    pub members: Vec<(NodeId, Record)>,
}

/// A network-segment report.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct SegmentReport {
    /// Its number.
    #[n(0)]
    pub number: ReportNumber,
    /// What changed, in the order of the nodes' ids.
    #[n(1)]
    pub changes: Vec<MemberChange>,
}

/// One member's change.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct MemberChange {
    /// The member.
    #[n(0)]
    pub node: NodeId,
    /// What happened to it.
    #[n(1)]
    pub kind: ChangeKind,
    /// What is known of it now, or was known of it last.
    #[n(2)]
    pub record: Record,
}

/// What happens to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum ChangeKind {
    /// It came, or came back.
    #[n(0)]
    Joined,
    /// It said farewell.
    #[n(1)]
    Left,
    /// It answers no more.
    #[n(2)]
    Failed,
    /// It started again without having been missed.
    #[n(3)]
    Restarted,
    /// What it says of itself changed.
    #[n(4)]
    Changed,
}

impl Report {
    /// The most members that a report tells of.
    pub const MEMBERS_MAX: usize = 16_384;

    /// Its number.
    pub const fn number(&self) -> &ReportNumber {
        match self {
            Self::Cluster(report) => &report.number,
            Self::Change(report) => &report.number,
        }
    }

    pub(super) fn fault(&self) -> Option<&'static str> {
        let (count, fault) = match self {
            Self::Cluster(report) => {
                let title = report.title.as_ref();
                if !within(&report.location, Record::LOCATION_LEN_MAX)
                    || title.is_some_and(|title| !within(title, Value::TITLE_LEN_MAX))
                {
                    return Some("a cluster report has a location or title that is too long");
                }
                let mut records = report.members.iter().map(|(_, record)| record);
                (report.members.len(), records.find_map(Record::fault))
            }
            Self::Change(report) => {
                let mut records = report.changes.iter().map(|change| &change.record);
                (report.changes.len(), records.find_map(Record::fault))
            }
        };
        if count > Self::MEMBERS_MAX {
            return Some("a report has more members than a segment may have");
        }
        fault
    }
}

impl ReportNumber {
    /// May a report of this number replace what a report of the `other` said of the same segment?
    pub fn supersedes(&self, other: &Self) -> bool {
        self.segment == other.segment && (self.epoch, self.sequence) > (other.epoch, other.sequence)
    }
}
