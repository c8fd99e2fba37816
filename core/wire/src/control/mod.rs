//! Messages of a segment's control channel: numbered fields in CBOR, of which a reader ignores those
//! it does not know.

mod election;
mod membership;

use minicbor::{Decode, Encode};

pub use election::{Alive, Claim, ElectionMessage, Probe, ProbeReply};
pub use membership::MembershipMessage;

/// What one node of a segment tells another, or all of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub enum ControlMessage {
    /// Who leads.
    #[n(0)]
    Election(#[n(0)] ElectionMessage),
    /// Who belongs to the segment, and what all of them know.
    #[n(1)]
    Membership(#[n(0)] MembershipMessage),
}
