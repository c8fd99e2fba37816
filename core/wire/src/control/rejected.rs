use bellwether_types::{Incarnation, Name, NodeId};

use super::datagram::DATAGRAM_LEN_MAX;
use super::header::VERSION;
use super::key::SegmentKeyId;

/// Why a datagram had no effect.
///
/// What can be told without a key is told first, so that floods are cheap; up to [`Self::NotSealed`], and for
/// [`Self::Replayed`] and [`Self::OlderIncarnation`], a stranger may be the cause. The others come from holders of the
/// key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// No datagram is so short.
    #[error("{len} bytes are no control datagram: it was cut short, or is another program's")]
    Truncated {
        /// Bytes that came.
        len: usize,
    },
    /// No datagram is so long.
    #[error("{len} bytes are more than the {DATAGRAM_LEN_MAX} of the longest control datagram")]
    Oversized {
        /// Bytes that came.
        len: usize,
    },
    /// Another format, or none of ours.
    #[error(
        "format {0} is not known here ({VERSION} is): a newer release speaks it, or another program uses this port"
    )]
    UnknownVersion(u8),
    /// Another segment's key, or one that was revoked.
    #[error("key {0} is not accepted here: compare the key files of this node and of the sender")]
    UnknownKey(SegmentKeyId),
    /// Forged, or changed on the way.
    #[error("says it comes from node {from}, but its seal does not hold: it was forged or damaged")]
    NotSealed {
        /// Who is said to have sent it.
        from: NodeId,
    },
    /// It was here before, or is so late that nobody can tell.
    #[error("datagram {counter} of node {from} was here before, or is far too late")]
    Replayed {
        /// Whose it is.
        from: NodeId,
        /// The how-manieth of the sender.
        counter: u64,
    },
    /// The node has started again since.
    #[error(
        "comes from start {incarnation} of node {from}, which has meanwhile started {known} times"
    )]
    OlderIncarnation {
        /// Whose it is.
        from: NodeId,
        /// The start it names.
        incarnation: Incarnation,
        /// The latest start known.
        known: Incarnation,
    },
    /// Two processes run as the same start of the same node.
    #[error(
        "two processes run as node {from}, start {incarnation}: a data directory was copied, or restored while in use; \
         give one of them a directory of its own"
    )]
    AnotherSalt {
        /// The node.
        from: NodeId,
        /// The start both claim to be.
        incarnation: Incarnation,
    },
    /// Our own words, back from the multicast group (ELECT-30).
    #[error("our own datagram came back from the group")]
    OwnEcho,
    /// Another process runs as this node, and holds the key.
    #[error(
        "another process runs under this node's id, as start {incarnation}: a data directory was copied; give one of \
         them a directory of its own"
    )]
    OwnIdTaken {
        /// The start it claims to be.
        incarnation: Incarnation,
    },
    /// Another segment with the same key on the same channel (ELECT-30).
    #[error("node {from} belongs to segment {segment}: give the segments channels of their own")]
    AnotherSegment {
        /// Who sent it.
        from: NodeId,
        /// Its segment.
        segment: Name,
    },
    /// An operator put the sender out.
    #[error("node {from} was put out: it is not heard any more")]
    PutOut {
        /// Who sent it.
        from: NodeId,
    },
    /// Meant for another node.
    #[error("node {from} said this to node {to}")]
    AnotherNode {
        /// Who sent it.
        from: NodeId,
        /// To whom.
        to: NodeId,
    },
    /// Truly sealed, but not understood.
    #[error("node {from} says what this release cannot read ({detail}): it may be newer")]
    Malformed {
        /// Who sent it.
        from: NodeId,
        /// Where reading ended.
        detail: String,
    },
}
