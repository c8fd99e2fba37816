use std::fmt;

use minicbor::{Decode, Encode};

use crate::sealing::Salt;

/// The first byte of a frame: the top bit tells it from a control datagram on the same socket, the rest is its version.
const VERSION: u8 = 0x81;

/// Names a session in its frames: the first bytes of its salt. The announcement says of which assignment and sender it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct SessionId(#[cbor(with = "minicbor::bytes")] pub [u8; 4]);

/// What stands before the symbol of a frame (MCTP-09), 24 bytes, numbers big-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FrameHeader {
    /// The session, and through its announcement the assignment.
    pub session: SessionId,
    /// The how-manieth frame of the session it is, from 0; never used twice.
    pub sequence: u64,
    /// The repair block.
    pub block: u32,
    /// The symbol: below the block's count a piece of its content, from there on a repair symbol.
    pub symbol: u16,
    /// 1 when the block is sent first, one more each time something of it is sent again (MCTP-16).
    pub pass: u16,
    /// Bytes of the symbol.
    pub size: u16,
    /// Is the symbol encrypted?
    pub encrypted: bool,
}

impl FrameHeader {
    /// Bytes of a header.
    pub const LEN: usize = 24;

    /// The header as it travels.
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[0] = VERSION;
        bytes[1] = self.encrypted.into();
        bytes[2..4].copy_from_slice(&self.size.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.session.0);
        bytes[8..16].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[16..20].copy_from_slice(&self.block.to_be_bytes());
        bytes[20..22].copy_from_slice(&self.symbol.to_be_bytes());
        bytes[22..24].copy_from_slice(&self.pass.to_be_bytes());
        bytes
    }

    /// Reads the header that `frame` begins with, if it is one of this version; proves nothing.
    pub fn read(frame: &[u8]) -> Option<Self> {
        let (bytes, _) = frame.split_first_chunk::<{ Self::LEN }>()?;
        let [version, flags, rest @ ..] = bytes;
        if *version != VERSION || *flags > 1 {
            return None;
        }
        let (size, rest) = rest.split_first_chunk()?;
        let (session, rest) = rest.split_first_chunk()?;
        let (sequence, rest) = rest.split_first_chunk()?;
        let (block, rest) = rest.split_first_chunk()?;
        let (symbol, rest) = rest.split_first_chunk()?;
        let pass = rest.first_chunk()?;
        Some(Self {
            session: SessionId(*session),
            sequence: u64::from_be_bytes(*sequence),
            block: u32::from_be_bytes(*block),
            symbol: u16::from_be_bytes(*symbol),
            pass: u16::from_be_bytes(*pass),
            size: u16::from_be_bytes(*size),
            encrypted: *flags == 1,
        })
    }

    /// Does a datagram that begins with this byte look like a frame and not like a control datagram?
    pub const fn begins_with(first: u8) -> bool {
        first & 0x80 != 0
    }
}

impl SessionId {
    /// The id of the session with this salt.
    pub const fn of(salt: &Salt) -> Self {
        let [a, b, c, d, ..] = *salt;
        Self([a, b, c, d])
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// MCTP-09.
        #[test]
        fn headers_read_back_and_nothing_else_reads(bytes in prop::collection::vec(any::<u8>(), 0..40), first in any::<bool>()) {
            let mut bytes = bytes;
            if first && bytes.len() > 1 {
                bytes[0] = VERSION;
                bytes[1] &= 1;
            }
            if let Some(header) = FrameHeader::read(&bytes) {
                prop_assert_eq!(&header.to_bytes()[..], &bytes[..FrameHeader::LEN]);
            } else {
                prop_assert!(bytes.len() < FrameHeader::LEN || bytes[0] != VERSION || bytes[1] > 1);
            }
        }
    }
}
