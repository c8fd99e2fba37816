use bellwether_types::{Incarnation, NodeId};

use super::key::SegmentKeyId;
use crate::sealing::Salt;

/// The one format there is.
pub(super) const VERSION: u8 = 1;

/// Version, key id, node, incarnation, salt, counter.
pub(super) const HEADER_LEN: usize = 1 + 4 + 16 + 8 + 16 + 8;

/// One start of one node, as its datagrams name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    /// The node.
    pub node: NodeId,
    /// Its start.
    pub incarnation: Incarnation,
    /// Random bytes drawn at that start: even a node whose incarnation was lost never seals under an old key again.
    pub salt: Salt,
}

/// What stands in clear before every sealed envelope, and is proved together with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) key: SegmentKeyId,
    pub(super) sender: Sender,
    /// Rises by one with each datagram of the sender, to whomever it goes.
    pub(super) counter: u64,
}

impl Header {
    pub(super) fn write(&self, datagram: &mut Vec<u8>) {
        datagram.push(VERSION);
        datagram.extend_from_slice(&self.key.0);
        datagram.extend_from_slice(self.sender.node.as_bytes());
        datagram.extend_from_slice(&self.sender.incarnation.0.to_be_bytes());
        datagram.extend_from_slice(&self.sender.salt);
        datagram.extend_from_slice(&self.counter.to_be_bytes());
    }

    /// Reads a header of [`VERSION`]; `None` if the bytes end within it.
    pub(super) fn read(datagram: &[u8]) -> Option<Self> {
        let (_version, rest) = datagram.split_first()?;
        let (key, rest) = rest.split_first_chunk()?;
        let (node, rest) = rest.split_first_chunk()?;
        let (incarnation, rest) = rest.split_first_chunk()?;
        let (salt, rest) = rest.split_first_chunk()?;
        let counter = rest.first_chunk()?;
        Some(Self {
            key: SegmentKeyId(*key),
            sender: Sender {
                node: NodeId::from_bytes(*node),
                incarnation: Incarnation(u64::from_be_bytes(*incarnation)),
                salt: *salt,
            },
            counter: u64::from_be_bytes(*counter),
        })
    }
}
