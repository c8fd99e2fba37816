use std::fmt;
use std::str::FromStr;

use minicbor::{Decode, Encode};

/// A node for all its life, whatever its name and addresses: 128 random bits kept on its disk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct NodeId(#[cbor(with = "minicbor::bytes")] [u8; 16]);

/// The how-manieth start of a node: each start is a higher one, and the higher one is the truth about a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
#[cbor(transparent)]
pub struct Incarnation(#[n(0)] pub u64);

/// The reign of one leader in its segment (ELECT-34): higher is later, and no two leaders share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Epoch {
    /// One more than any counter the claimant had seen; 0 before the first leader.
    #[n(0)]
    pub counter: u64,
    /// The leader, which settles what equal counters leave open.
    #[n(1)]
    pub leader: NodeId,
}

/// Text that is not 32 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a node id is 32 hexadecimal digits")]
pub struct ParseNodeIdError;

impl NodeId {
    /// The id that 16 random bytes are.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The DNS name in its certificate, under which it serves other nodes; no control server has one like it.
    pub fn host_name(&self) -> String {
        format!("{self}.node.bellwether.internal")
    }

    /// The bytes of the id.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl FromStr for NodeId {
    type Err = ParseNodeIdError;

    fn from_str(text: &str) -> Result<Self, ParseNodeIdError> {
        let hex = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        match u128::from_str_radix(text, 16) {
            Ok(bits) if hex => Ok(Self(bits.to_be_bytes())),
            _ => Err(ParseNodeIdError),
        }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// The first eight digits: enough to tell nodes apart in a log.
impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u128::from_be_bytes(self.0) >> 96)
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:?}", self.counter, self.leader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_what_they_write_and_nothing_else() {
        let id = NodeId::from_bytes(*b"sixteen bytes !!");
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in [
            "",
            "0",
            &"g".repeat(32),
            &"0".repeat(33),
            "+0000000000000000000000000000000",
        ] {
            assert_eq!(text.parse::<NodeId>(), Err(ParseNodeIdError), "{text}");
        }
    }

    #[test]
    fn a_higher_counter_is_a_later_epoch_whoever_leads() {
        let epoch = |counter, leader| Epoch {
            counter,
            leader: NodeId::from_bytes([leader; 16]),
        };
        assert!(epoch(2, 1) > epoch(1, 9));
        assert!(epoch(2, 2) > epoch(2, 1));
    }
}
