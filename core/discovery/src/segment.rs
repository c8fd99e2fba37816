use core::net::SocketAddr;
use std::collections::{BTreeMap, BTreeSet};

use bellwether_types::{Epoch, Name, NodeId, Time};
use bellwether_wire::control::Record;
use bellwether_wire::uplink::ReportNumber;

use crate::LinkId;

/// A segment, as far as it was heard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Segment {
    /// Through which link it is heard.
    pub link: Option<LinkId>,
    /// The highest reign that was heard of it, while that counts.
    pub epoch: Option<Epoch>,
    /// Who leads it, by its last whole report.
    pub leader: Option<Leader>,
    /// The last report that counted.
    pub number: Option<ReportNumber>,
    /// When its link was lost, if it is lost.
    pub lost_at: Option<Time>,
    /// Whether its silence was told.
    pub(crate) told_silent: bool,
    /// Whether all was asked for, and has not come.
    pub(crate) asked: bool,
    /// The nodes that were last seen in it.
    pub(crate) nodes: BTreeSet<NodeId>,
}

impl Segment {
    /// Whether nobody has spoken for it for as long as a link may be silent.
    pub const fn is_silent(&self) -> bool {
        self.told_silent
    }
}

/// Who leads a segment (CLUSTER-02).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    /// The node.
    pub node: NodeId,
    /// Its name.
    pub name: Name,
    /// Its address.
    pub address: SocketAddr,
    /// Where it stands (CLUSTER-09).
    pub location: String,
}

/// A node, as its segment last told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    /// The segment.
    pub segment: Name,
    /// What it says of itself.
    pub record: Record,
    /// Whether it is there.
    pub(crate) present: bool,
    /// Since when it is there, or not there.
    pub since: Time,
}

/// Whether a node is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// Its leader counts it.
    Present,
    /// Its leader counts it no more.
    Absent,
    /// Nobody speaks for its segment.
    Unknown,
}

/// All nodes that were heard of since the start.
pub(crate) type Nodes = BTreeMap<NodeId, Presence>;
