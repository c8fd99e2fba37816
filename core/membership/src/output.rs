use core::net::SocketAddr;

use bellwether_types::{Incarnation, Name, NodeId};
use bellwether_wire::control::{Carried, MembershipMessage, MergeId, StateVersion};
use bellwether_wire::uplink::Report;

/// What membership wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send a message.
    Send {
        /// To whom.
        to: To,
        /// What.
        message: MembershipMessage,
    },
    /// Keep these bytes, in place of earlier ones, before anything that comes after this.
    Persist(Vec<u8>),
    /// Let this ride in every LeaderAlive from now on.
    Carry(Carried),
    /// The members, their priorities or their candidacies changed: see
    /// [`Membership::members`](crate::Membership::members).
    Roster,
    /// The control server is to be told.
    Report(Report),
    /// The control channel is there from now on: listen and send there. The configured one is listened to as well,
    /// always: parts of a segment on different channels find each other there.
    Control(SocketAddr),
    /// Listen on a data channel (CHAN-05); if the group has one already, there instead.
    Join {
        /// The content group.
        group: Name,
        /// Its data channel.
        channel: SocketAddr,
    },
    /// Listen on the data channel of a content group no longer.
    Quit {
        /// The content group.
        group: Name,
    },
    /// Tell whoever reads logs.
    Told(Event),
}

/// Where a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum To {
    /// All, on the control channel.
    All,
    /// One node.
    Node(NodeId),
    /// Whoever still listens on another channel than the control channel.
    Channel(SocketAddr),
}

/// What happened, for a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// This node is in the leader's report.
    Registered(StateVersion),
    /// A report lacks this node; it registers again.
    Missing(StateVersion),
    /// A page of a report or of a merge cannot be what the sender meant.
    BadPage(NodeId, &'static str),
    /// The leader made a report: the version, and how many members are in it.
    Reported(StateVersion, usize),
    /// A member did not answer and was removed.
    Silent(NodeId, Name),
    /// A member was put out by an operator.
    PutOut(NodeId, Name),
    /// A registration was not taken.
    Refused(NodeId, Refusal),
    /// Two nodes have one name.
    NameTwice(Name, NodeId, NodeId),
    /// There is a format of which the members share no version.
    NoCommonFormat,
    /// A merge began: which, of how many subgroups, with how many participants.
    Merging(MergeId, usize, usize),
    /// Participants of a merge failed: the merge and its new round.
    Failed(MergeId, u32),
    /// A merge is in force.
    Merged(MergeId, StateVersion),
    /// A merge was given up; nothing changed.
    Abandoned(MergeId),
    /// This node was excluded from a merge and will register again.
    Excluded(MergeId),
    /// The control channel moved.
    Moved(SocketAddr),
    /// Nobody leads on the moved control channel; back to the configured one.
    FellBack(SocketAddr),
    /// An order was not carried out.
    NotDone(&'static str),
    /// This node has left.
    Left,
}

/// Why a registration was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// An older start of a node that is known by a newer one.
    #[error("the node has started again since, as incarnation {0}")]
    Older(Incarnation),
    /// The record is wrong.
    #[error("{0}")]
    Fault(&'static str),
    /// The sender is not the one that the record speaks of.
    #[error("the record is of another start than the one that sent it")]
    OtherStart,
    /// There are as many members as there may be.
    #[error("the segment has all {0} members that it may have")]
    Full(usize),
}
