use bellwether_types::{Epoch, Incarnation, Name, NodeId};
use minicbor::{Decode, Encode};

use super::AssignmentId;
use crate::control::SegmentKeyId;
use crate::frame::{FrameSource, SessionId};
use crate::sealing::Salt;

/// A session: what is sent, by whom, how it is cut, and how to answer (MCTP-04). It also rides in LeaderAlive (MCTP-06),
/// and so is whole in itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Announcement {
    /// What is sent.
    #[n(0)]
    pub assignment: AssignmentId,
    /// Its name for people, at most [`Self::NAME_LEN_MAX`] bytes.
    #[n(1)]
    pub name: String,
    /// The content group it is for; `None` for all members (MCTP-21).
    #[n(2)]
    pub group: Option<Name>,
    /// The reign in which it is sent.
    #[n(3)]
    pub epoch: Epoch,
    /// Who sends: the leader, or a node that was asked to serve another.
    #[n(4)]
    pub sender: NodeId,
    /// The sender's start.
    #[n(5)]
    pub incarnation: Incarnation,
    /// Drawn for this session; its first bytes name the session.
    #[n(6)]
    #[cbor(with = "minicbor::bytes")]
    pub salt: Salt,
    /// The segment key that the frames' key is drawn from.
    #[n(7)]
    pub key: SegmentKeyId,
    /// Bytes of the head: header, block hashes, commands, trailer and seal.
    #[n(8)]
    pub head_len: u64,
    /// Bytes of the data file.
    #[n(9)]
    pub data_len: u64,
    /// Bytes of a block, the unit of proof.
    #[n(10)]
    pub block_len: u32,
    /// Bytes of a symbol: what a frame carries (MCTP-05). Even.
    #[n(11)]
    pub symbol_len: u16,
    /// Blocks in a repair block.
    #[n(12)]
    pub blocks_per_repair: u16,
    /// Repair symbols that a repair block has at most; 0 if lost frames are only sent again as they were.
    #[n(13)]
    pub repairs: u16,
    /// The repair symbol with which this session begins; others follow, round and round.
    #[n(14)]
    pub repair_start: u16,
    /// Bits in a second, headers included, when the session was announced.
    #[n(15)]
    pub rate: u64,
    /// Who answers the announcement.
    #[n(16)]
    pub ask: Ask,
    /// When participants say what they lack.
    #[n(17)]
    pub nack: NackTime,
    /// Milliseconds over which answers of all participants are spread.
    #[n(18)]
    pub spread_ms: u32,
    /// Are frames encrypted?
    #[n(19)]
    pub encrypted: bool,
    /// How many take part.
    #[n(20)]
    pub participants: u32,
}

/// Who answers an announcement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Ask {
    /// Those who have the assignment already; the rest takes part silently (MCTP-07).
    #[n(0)]
    Complete,
    /// All: the sender does not know who holds what, and sends what is lacking.
    #[n(1)]
    All,
}

/// When a participant says what it lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum NackTime {
    /// Soon after each repair block (MCTP-13).
    #[n(0)]
    Block,
    /// When all is sent (MCTP-11).
    #[n(1)]
    End,
}

impl Announcement {
    /// The longest name, in bytes.
    pub const NAME_LEN_MAX: usize = 128;

    /// The name of the session in its frames.
    pub const fn session(&self) -> SessionId {
        SessionId::of(&self.salt)
    }

    /// What the key of the session's frames is drawn from.
    pub const fn source(&self) -> FrameSource {
        FrameSource {
            key: self.key,
            node: self.sender,
            incarnation: self.incarnation,
            salt: self.salt,
        }
    }
}
