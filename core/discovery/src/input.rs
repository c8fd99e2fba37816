use core::time::Duration;

use bellwether_types::{Epoch, Name, NodeId, Term};
use bellwether_wire::uplink::{Downward, Hello, Upward};

/// What the control server tells discovery at its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The reign of the control group's master.
    pub term: Term,
    /// A link that says nothing for so long is dead; pings go out four times as often. Told to leaders in whole
    /// milliseconds.
    pub silence: Duration,
}

/// A connection of a leader; no two ever have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// What discovery takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Time has passed.
    Wake,
    /// A leader's first message on a new connection. That the node may speak for the segment was checked.
    Opened {
        /// The connection.
        link: LinkId,
        /// The node, by its certificate.
        node: NodeId,
        /// What it says.
        hello: Hello,
        /// The segment's name for people, as the operator gave it.
        title: Option<String>,
        /// The number of the newest settings for nodes of the segment.
        settings: u64,
    },
    /// A later message.
    Said {
        /// The connection.
        link: LinkId,
        /// What.
        message: Upward,
    },
    /// The connection is gone.
    Closed(LinkId),
    /// A message for a segment. Instants in it are by this machine's clock.
    Tell {
        /// The segment.
        segment: Name,
        /// What.
        message: Downward,
    },
    /// The operator put a node out, or elsewhere: it speaks for nobody until it comes again, and is not shown.
    Expelled(NodeId),
}

/// What discovery wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send a message.
    Send {
        /// Where.
        link: LinkId,
        /// What.
        message: Downward,
    },
    /// Close a connection once everything is sent.
    Close(LinkId),
    /// Nobody speaks for the segment; or, where there are instants in it, the leader's clock is not known yet.
    Untold {
        /// The segment.
        segment: Name,
        /// What it was to be told.
        message: Downward,
    },
    /// The leader of a segment tells of jobs: [`Upward::Progress`] or [`Upward::Outcomes`].
    Heard {
        /// The segment.
        segment: Name,
        /// What.
        message: Upward,
    },
    /// Something changed.
    Told(Event),
}

/// What changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Somebody speaks for a segment: for the first time, again, or another than before.
    Heard {
        /// The segment.
        segment: Name,
        /// The reign.
        epoch: Epoch,
        /// The number of the newest settings that the leader holds.
        settings: u64,
        /// Jobs of which it knows that they are not over.
        jobs: Vec<Name>,
    },
    /// Nobody has spoken for a segment for as long as a link may be silent.
    Silent {
        /// The segment.
        segment: Name,
    },
    /// A node is there: new, or again.
    Joined {
        /// Its segment.
        segment: Name,
        /// Which.
        node: NodeId,
    },
    /// A node is in another segment than before.
    Moved {
        /// Which.
        node: NodeId,
        /// Where it was.
        from: Name,
        /// Where it is.
        to: Name,
    },
    /// What a node says of itself is not what it was, or it started again.
    Changed {
        /// Its segment.
        segment: Name,
        /// Which.
        node: NodeId,
    },
    /// A node is not there any more.
    Gone {
        /// Its segment.
        segment: Name,
        /// Which.
        node: NodeId,
        /// How it went.
        farewell: Farewell,
    },
}

/// How a node went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Farewell {
    /// It said so.
    Left,
    /// It answers its leader no more.
    Failed,
    /// Its segment does not know it any more; why was not heard.
    Missed,
}
