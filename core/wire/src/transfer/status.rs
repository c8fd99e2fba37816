use minicbor::{Decode, Encode};

use super::AssignmentId;
use crate::frame::SessionId;

/// A participant's word: an acknowledgement, or with something lacking a NACK.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Status {
    /// The assignment.
    #[n(0)]
    pub assignment: AssignmentId,
    /// The session.
    #[n(1)]
    pub session: SessionId,
    /// The sequence number behind the last frame that the participant knows to be sent.
    #[n(2)]
    pub seen: u64,
    /// How many frames of the session came.
    #[n(3)]
    pub received: u64,
    /// How far it is.
    #[n(4)]
    pub stage: Stage,
    /// Symbols that it lacks in all, whether they were sent yet or not.
    #[n(5)]
    pub lacking: u64,
    /// What it lacks, or a part of it: a long list is split, and each part stands for itself (MCTP-24).
    #[n(6)]
    pub lacks: Vec<Lack>,
    /// The first frame that came: the participant joined then.
    #[n(8)]
    pub joined: u64,
    /// The highest round of [`Flush`](super::Flush) that this answers; 0 before any.
    #[n(7)]
    pub round: u32,
}

/// How far a participant is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Stage {
    /// It lacks something, or something may still come.
    #[n(0)]
    Receiving,
    /// Everything came; it is being proved and made durable.
    #[n(1)]
    Held,
    /// All is proved and durable.
    #[n(2)]
    Complete,
    /// It cannot go on; why, for people.
    #[n(3)]
    Failed(#[n(0)] String),
    /// It fetches from another node.
    #[n(4)]
    Fetching,
}

/// Something that is lacking.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Lack {
    /// All of so many repair blocks from the first on.
    #[n(0)]
    Whole(#[n(0)] u32, #[n(1)] u32),
    /// Any so many symbols of a repair block.
    #[n(1)]
    Any(#[n(0)] u32, #[n(1)] u16),
    /// These symbols of a repair block: ranges as first and count.
    #[n(2)]
    These(#[n(0)] u32, #[n(1)] Vec<(u16, u16)>),
}

impl Stage {
    /// The longest reason, in bytes.
    pub const REASON_LEN_MAX: usize = 256;
}
