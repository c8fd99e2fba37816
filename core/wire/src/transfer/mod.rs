//! What nodes of a segment say to each other while content goes from one to all (`docs/mctp.md`): sessions announced,
//! what is lacking, what will be mended, who serves whom, and what became of it. The content itself travels in
//! [`frame`](crate::frame)s.
//!
//! Messages ride in control datagrams. A reader checks what a message says against what it knows; here it is only told
//! apart from what cannot be meant.

mod announcement;
mod report;
mod status;

use bellwether_types::{Hash, NodeId};
use minicbor::{Decode, Encode};

pub use announcement::{Announcement, Ask, NackTime};
pub use report::{JobReport, Listed, Order, ReportRequest};
pub use status::{Lack, Stage, Status};

use crate::frame::SessionId;

/// Names an assignment: the hash of its head, which is signed and holds the hashes of everything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct AssignmentId(#[n(0)] pub Hash);

/// A message of the transfer protocol.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub enum TransferMessage {
    /// Sender to all, or to the one it serves: a session is open (MCTP-03).
    #[n(0)]
    Announce(#[n(0)] Box<Announcement>),
    /// Participant to sender: how far it is, and what it lacks (MCTP-11).
    #[n(1)]
    Status(#[n(0)] Status),
    /// Sender to all, or to one whose word is missing: all of this is sent; what do you lack?
    #[n(2)]
    Flush(#[n(0)] Flush),
    /// Sender to all: this much will be sent again; whoever lacks no more keeps silent.
    #[n(3)]
    Mend(#[n(0)] Mend),
    /// Sender to all: a piece of an assignment that needs no session (MCTP-02).
    #[n(4)]
    Small(#[n(0)] Small),
    /// Sender to one participant: leave the session, and fetch from these.
    #[n(5)]
    Divert(#[n(0)] Divert),
    /// Participant to a node that holds the assignment, or part of it: serve me.
    #[n(6)]
    Fetch(#[n(0)] AssignmentId),
    /// The answer of one who cannot: it does not hold the assignment, or serves enough others.
    #[n(7)]
    Refuse(#[n(0)] AssignmentId),
    /// Sender to all: the session is over.
    #[n(8)]
    Close(#[n(0)] SessionId),
    /// Member to leader: what became of a job's content, or of an order (REPORT-01).
    #[n(9)]
    Report(#[n(0)] Box<JobReport>),
    /// Leader to one, or to those of a list: your report is missing (REPORT-03, REPORT-04).
    #[n(10)]
    Request(#[n(0)] ReportRequest),
    /// Leader to one, or to those of a list: carry this out at its instant, and report; said again, only report.
    #[n(11)]
    Order(#[n(0)] Order),
}

/// Everything is sent up to a frame.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Flush {
    /// The session.
    #[n(0)]
    pub session: SessionId,
    /// The sequence number of the next frame.
    #[n(1)]
    pub sequence: u64,
    /// The how-manieth question it is; a participant answers each once.
    #[n(2)]
    pub round: u32,
    /// Is more to come? Then only how many frames came is asked for, and not what is lacking.
    #[n(3)]
    pub more: bool,
}

/// What the sender will send again.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Mend {
    /// The session.
    #[n(0)]
    pub session: SessionId,
    /// Repair blocks, and how many repair symbols of each the session will have sent when it is done with this.
    #[n(1)]
    pub repairs: Vec<(u32, u16)>,
    /// First and count of repair blocks that will be sent whole once more.
    #[n(2)]
    pub whole: Vec<(u32, u32)>,
}

/// A piece of a small assignment. Its id says where it belongs, so it needs no announcement.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Small {
    /// The assignment.
    #[n(0)]
    pub assignment: AssignmentId,
    /// Bytes of its head.
    #[n(1)]
    pub head_len: u16,
    /// Bytes of head and data file together.
    #[n(2)]
    pub len: u16,
    /// Where the piece begins.
    #[n(3)]
    pub offset: u16,
    /// The piece.
    #[n(4)]
    #[cbor(with = "minicbor::bytes")]
    pub bytes: Vec<u8>,
    /// The how-manieth time it is sent, from 1.
    #[n(5)]
    pub round: u32,
    /// Milliseconds over which answers are spread.
    #[n(6)]
    pub spread_ms: u32,
}

/// Whom to fetch from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Divert {
    /// The assignment.
    #[n(0)]
    pub assignment: AssignmentId,
    /// Nodes that hold it or are getting it, the one to ask first in front; at most [`Divert::SOURCES_MAX`].
    #[n(1)]
    pub sources: Vec<NodeId>,
}

impl AssignmentId {
    /// The assignment with this head.
    pub fn of(head: &[u8]) -> Self {
        Self(Hash::of(head))
    }
}

impl Mend {
    /// Is nothing promised?
    pub const fn is_empty(&self) -> bool {
        self.repairs.is_empty() && self.whole.is_empty()
    }
}

impl Divert {
    /// The most sources that are named.
    pub const SOURCES_MAX: usize = 16;
}

impl Small {
    /// The longest assignment that goes without a session (MCTP-02): requirements' 8 KB.
    pub const LEN_MAX: usize = 8_192;
    /// The length of a piece: with its datagram it fits one packet everywhere. Head and data file are cut apart, and the
    /// last piece of each is shorter.
    pub const PIECE_LEN: u16 = 1_000;

    /// What stands for a session in the answers.
    pub const fn session(assignment: &AssignmentId) -> SessionId {
        let [a, b, c, d, ..] = assignment.0.0;
        SessionId([a, b, c, d])
    }
}
