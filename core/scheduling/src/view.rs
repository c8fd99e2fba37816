use std::collections::BTreeMap;
use std::ops::Add;
use std::time::Duration;

use bellwether_types::{NodeId, VersionId};
use bellwether_wire::uplink::{Failure, FailureKind, Outcome};
use minicbor::{Decode, Encode};

use crate::conflict::Occupied;

/// A moment of the control server's wall clock: milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
#[cbor(transparent)]
pub struct Moment(#[n(0)] pub u64);

/// What is volatile: it is empty when a control server starts, and fills from what leaders report.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// When this control server began to listen: before that it heard nothing, and silence means nothing.
    pub began: Moment,
    /// The nodes that the job's group selects, whether they are there or not.
    pub nodes: BTreeMap<NodeId, NodeView>,
    /// What running jobs have for themselves, and those that wait and came before this one. Not this job.
    pub occupied: Vec<Occupied>,
    /// What nodes reported of this job, each one's last word.
    pub reported: BTreeMap<NodeId, Reported>,
    /// When nodes were last told of the job's content. Forgotten of nodes whose leader is another, or has connected anew.
    pub notified: BTreeMap<NodeId, Moment>,
    /// When nodes were last told to get the content from neighbours. Forgotten likewise.
    pub gathering: BTreeMap<NodeId, Moment>,
    /// When nodes were last told to commit, roll back, remove or drop: what the job's present phase tells them. Forgotten
    /// likewise.
    pub ordered: BTreeMap<NodeId, Moment>,
}

/// What is known of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView {
    /// Does it answer?
    pub presence: Presence,
    /// Is it busy with other work (CLUSTER-11)?
    pub busy: bool,
    /// Bytes free on the disk that holds content.
    pub free_bytes: u64,
    /// What it serves of the job's site and part, as it says of itself.
    pub base: Base,
    /// What it last signed for.
    pub signed: Option<VersionId>,
    /// Does another node of its segment and of the job's group serve what the job brings, and is up?
    pub has_neighbour: bool,
}

/// Whether a node answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Presence {
    /// Nobody has said so since the control server began.
    Unknown,
    /// It is registered in its segment.
    Up,
    /// Its segment lost it, or never has it.
    Down,
}

/// What a node serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Base {
    /// It has not said so since the control server began.
    Unknown,
    /// This version; `None` is nothing.
    Known(Option<VersionId>),
}

/// What a node said, and when that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reported {
    /// What it said.
    pub outcome: Outcome,
    /// When it came.
    pub at: Moment,
}

impl View {
    /// Why a node cannot take part now; `None` if it can (CCM-06). `bytes` is the space it needs.
    pub fn hindrance(&self, node: NodeId, bytes: u64) -> Option<Failure> {
        let (kind, reason) = match self.nodes.get(&node) {
            None => (FailureKind::Silent, "it was removed".to_owned()),
            Some(view) if view.presence != Presence::Up => {
                (FailureKind::Silent, "it does not answer".to_owned())
            }
            Some(view) if view.busy => (FailureKind::Busy, "it is busy".to_owned()),
            Some(view) if view.base == Base::Unknown => {
                let reason = "what it serves is not known yet".to_owned();
                (FailureKind::Base, reason)
            }
            Some(view) if view.free_bytes < bytes => {
                let free = view.free_bytes;
                let reason = format!("it has {free} bytes free, and {bytes} are needed");
                (FailureKind::Space, reason)
            }
            Some(_) => return None,
        };
        Some(Failure::new(kind, reason))
    }

    /// The version that a node serves, if it is known.
    pub(crate) fn base(&self, node: NodeId) -> Option<Option<VersionId>> {
        match self.nodes.get(&node)?.base {
            Base::Known(base) => Some(base),
            Base::Unknown => None,
        }
    }

    /// Whether a node says that it serves a version, and has signed for it.
    pub(crate) fn serves(&self, node: NodeId, version: VersionId) -> bool {
        let known = self.nodes.get(&node);
        known.is_some_and(|view| view.serves(version))
    }

    pub(crate) fn is_up(&self, node: NodeId) -> bool {
        let known = self.nodes.get(&node);
        known.is_some_and(|view| view.presence == Presence::Up)
    }

    /// Whether more is to be heard of a node before anything is concluded from its silence.
    pub(crate) fn is_unknown(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|view| {
            let unsaid = view.presence == Presence::Up && view.base == Base::Unknown;
            view.presence == Presence::Unknown || unsaid
        })
    }

    /// What a node said since a moment.
    pub(crate) fn said_since(&self, node: NodeId, since: Moment) -> Option<&Outcome> {
        let reported = self.reported.get(&node)?;
        (reported.at >= since).then_some(&reported.outcome)
    }

    /// When anything was last heard.
    pub(crate) fn heard(&self) -> Option<Moment> {
        self.reported.values().map(|reported| reported.at).max()
    }
}

impl NodeView {
    /// Whether it says that it serves a version, and has signed for it: without its receipt nobody can tell who has what.
    pub(crate) fn serves(&self, version: VersionId) -> bool {
        self.base == Base::Known(Some(version)) && self.signed == Some(version)
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    /// Ends at the last moment instead of failing.
    fn add(self, span: Duration) -> Self {
        let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(millis))
    }
}
