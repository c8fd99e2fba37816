//! Messages of a segment's control channel, and the sealed datagrams in which they travel
//! (`docs/formats.md`). A message is numbered fields in CBOR, of which a reader ignores those it does not
//! know.

mod bitmap;
mod datagram;
mod election;
mod entry;
mod header;
mod introduction;
mod key;
mod membership;
mod record;
mod rejected;
mod replay;

use minicbor::{Decode, Encode};

pub use bitmap::Bitmap;
pub use datagram::{DATAGRAM_LEN_MAX, DatagramSeal, MESSAGE_LEN_WHOLE, MessageTooLong, Opened};
pub use election::{Alive, Claim, ElectionMessage, ProbeReply, Standing};
pub use entry::{Entry, Key, StateVersion, Value};
pub use header::Sender;
pub use introduction::Introduction;
pub use key::{KeyRing, SegmentKey, SegmentKeyId};
pub(crate) use key::{TAG_LEN, nonce};
pub use membership::{
    Ack, Ask, Carried, GroupData, Inquiry, Leave, MembershipMessage, MergeId, MergeRequest, Move,
    Nack, Page, Participant, Refresh, Register, Round,
};
pub use record::{FormatRange, Formats, Holding, Record, Resources};
pub use rejected::Rejected;

use crate::transfer::TransferMessage;

/// What one node of a segment tells another, or all of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub enum ControlMessage {
    /// Who leads.
    #[n(0)]
    Election(#[n(0)] ElectionMessage),
    /// Who belongs to the segment, and what all of them know.
    #[n(1)]
    Membership(#[n(0)] MembershipMessage),
    /// Where others are.
    #[n(2)]
    Introduction(#[n(0)] Introduction),
    /// What goes from one to all, and how far it is.
    #[n(3)]
    Transfer(#[n(0)] Box<TransferMessage>),
}
