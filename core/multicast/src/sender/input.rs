//! What a sender is told, and what it wants done.

use std::ops::Range;

use bellwether_types::NodeId;
use bellwether_wire::transfer::{Announcement, Status, TransferMessage};

use crate::job::Outcome;

/// What a sender takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Open the session; comes once, before everything else.
    Start,
    /// Time has passed.
    Wake,
    /// A participant's word. It is authentic, and nothing else is known of it.
    Status {
        /// Who says it.
        from: NodeId,
        /// What.
        status: Status,
    },
    /// These blocks are proved and may be sent.
    Available(Range<u32>),
    /// The repair symbols of this repair block are at hand, as an [`Output::Encode`] asked.
    Encoded {
        /// The repair block.
        block: u32,
    },
    /// This node is to have the assignment, too.
    Joined(NodeId),
    /// This node left the segment.
    Departed(NodeId),
    /// Never send faster from now on, in bits a second: other sessions share the link.
    Ceiling(u64),
    /// End the session.
    Stop,
    /// Somebody else leads, who goes on with it: end without a word.
    Deposed,
}

/// What a sender wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send a message.
    Send {
        /// To whom.
        to: To,
        /// What.
        message: TransferMessage,
    },
    /// Let this ride in every LeaderAlive from now on, or nothing of this session.
    Carry(Option<Box<Announcement>>),
    /// Send frames.
    Frames(Burst),
    /// Make the repair symbols of this repair block, on any thread.
    Encode {
        /// The repair block.
        block: u32,
    },
    /// The repair symbols of this repair block are needed no longer, for the time being.
    Forget {
        /// The repair block.
        block: u32,
    },
    /// The session is over; nothing comes after this.
    Ended(Outcome),
}

/// Where a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum To {
    /// All members, on the control channel.
    Segment,
    /// All participants, on the session's data channel.
    Group,
    /// One node.
    Node(NodeId),
}

/// Frames one after the other: of one repair block, with successive symbols and sequence numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Burst {
    /// The repair block.
    pub block: u32,
    /// The first symbol.
    pub first: u16,
    /// How many.
    pub count: u16,
    /// The first frame's sequence number.
    pub sequence: u64,
    /// The pass of all of them.
    pub pass: u16,
}
