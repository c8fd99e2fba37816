//! What a receiver is told, and what it wants done.

use std::ops::Range;
use std::time::Duration;

use bellwether_types::NodeId;
use bellwether_wire::frame::{FrameHeader, SessionId};
use bellwether_wire::transfer::{Announcement, Flush, Mend, Small, TransferMessage};

use crate::geometry::{Geometry, Place};

/// How an assignment is received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// New symbols after which the state is kept at the latest.
    pub keep_every: u32,
    /// A source that is silent for so long is given up for the next one.
    pub source_patience: Duration,
    /// So many sources in a row are tried in vain before the node gives up.
    pub sources_tried_max: u32,
    /// Without any word of any sender for so long, the node gives up.
    pub patience: Duration,
    /// Blocks that may turn out wrong before the node gives up.
    pub proofs_failed_max: u32,
}

/// What a receiver takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Go on from what was kept, if anything was; comes once, before everything else.
    Start {
        /// The bytes of the last [`Output::Persist`].
        kept: Vec<u8>,
    },
    /// All of it is here, proved and durable, cut like this.
    Have(Geometry),
    /// These blocks, the head's before all others, came in another way than from a neighbour: they are proved, and in the
    /// spool.
    Came {
        /// How the assignment is cut.
        geometry: Geometry,
        /// The blocks.
        blocks: Range<u32>,
    },
    /// A session was announced by its sender, who may: it leads, or was asked to serve this node.
    Announced(Box<Announcement>),
    /// Frames of one session came, proved by their seals.
    Frames(Vec<FrameHeader>),
    /// A piece of a small assignment, from the leader. Its bytes count as those of the only frame of a batch.
    Small {
        /// The leader.
        from: NodeId,
        /// The piece.
        piece: Small,
    },
    /// A sender asks what is lacking.
    Flush {
        /// What it says.
        flush: Flush,
        /// To this node alone?
        alone: bool,
    },
    /// A sender promises.
    Mend(Mend),
    /// A session is over.
    Closed(SessionId),
    /// The leader says whom to fetch from.
    Divert(Vec<NodeId>),
    /// That node does not serve this one.
    Refused(NodeId),
    /// A repair block was decoded, and what was missing is in the spool; or it could not be.
    Decoded {
        /// The repair block.
        block: u32,
        /// Could it be decoded?
        ok: bool,
    },
    /// A proof ended.
    Proved {
        /// What was to be proved.
        what: Prove,
        /// Is it what it should be?
        ok: bool,
    },
    /// Everything in the spool is durable.
    Synced,
    /// The spool cannot be written; why, for people.
    Broken(String),
    /// Time has passed.
    Wake,
}

/// Something to prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Prove {
    /// The head, by its hash: the assignment's id. From then on its block hashes count.
    Head,
    /// A block of the data file by its hash; counted with those of the head in front.
    Block(u32),
}

/// What a receiver wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send a message.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: TransferMessage,
    },
    /// Write the symbols of frames of the batch to the spool, one after the other.
    Write {
        /// The first frame's place in the batch.
        first: u16,
        /// How many frames.
        count: u16,
        /// Where all of them together belong.
        place: Place,
    },
    /// Put a repair symbol aside.
    WriteRepair {
        /// The frame's place in the batch.
        frame: u16,
        /// The repair block.
        block: u32,
        /// The number of the repair symbol.
        repair: u16,
    },
    /// Decode a repair block on any thread, and write what is missing to the spool.
    Decode {
        /// The repair block.
        block: u32,
        /// Its symbols that are missing.
        missing: Vec<u16>,
        /// The repair symbols there are.
        repairs: Vec<u16>,
    },
    /// Prove something on any thread.
    Prove(Prove),
    /// These blocks are proved: others may be served with them.
    Available(Range<u32>),
    /// Keep these bytes in place of earlier ones.
    Persist(Vec<u8>),
    /// Make everything in the spool durable.
    Sync,
    /// The cut is another one: repair symbols that were put aside are worth nothing.
    Recut(Geometry),
    /// Listen to the data channel no longer; this assignment comes by unicast.
    Quit,
    /// The assignment is there, proved and durable (MCTP-19).
    Complete,
    /// It will not come; why, for people. Another session may still bring it.
    Failed(String),
    /// Something happened that somebody may want to know.
    Told(Event),
}

/// What happened, for logs and counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// An announcement contradicts what is known of the assignment, or makes no sense.
    BadAnnouncement(NodeId, String),
    /// So many frames were for no place in the assignment.
    BadFrames(SessionId, u32),
    /// Something was not what its hash says: a holder of the segment key sent it, or the disk changed it.
    NotProved(Prove),
    /// A session was forgotten: there were too many.
    TooManySessions(SessionId),
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            keep_every: 4_096,
            source_patience: Duration::from_secs(2),
            sources_tried_max: 12,
            patience: Duration::from_secs(60),
            proofs_failed_max: 8,
        }
    }
}
