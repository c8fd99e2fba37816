use aws_lc_rs::aead::{Aad, LessSafeKey};
use bellwether_types::{Incarnation, NodeId};

use super::header::{FrameHeader, SessionId};
use crate::control::{KeyRing, SegmentKeyId, TAG_LEN, nonce};
use crate::sealing::Salt;

/// Bytes of a frame beside its symbol: header and tag.
pub const FRAME_OVERHEAD: usize = FrameHeader::LEN + TAG_LEN;

/// Whose frames, and of which session: what the announcement names, and the key is drawn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameSource {
    /// The segment key.
    pub key: SegmentKeyId,
    /// Who sends.
    pub node: NodeId,
    /// In which of its starts.
    pub incarnation: Incarnation,
    /// Drawn at random for this session; a sender never repeats one.
    pub salt: Salt,
}

/// The key of one session's frames. Sealing and opening change nothing in it, so that several threads may share it.
#[derive(Debug)]
pub struct FrameKey {
    session: SessionId,
    key: LessSafeKey,
}

/// Why bytes are no frame of a session. Only holders of the segment key can be the cause of none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Too short, another format, or its length is not what it says.
    #[error("{len} bytes are no frame of this format: cut short, or another program's")]
    Malformed {
        /// Bytes that came.
        len: usize,
    },
    /// Another session's.
    #[error("a frame of session {0} was given to another session")]
    OtherSession(SessionId),
    /// Forged, or changed on the way.
    #[error(
        "frame {sequence} of session {session} does not hold its seal: it was forged or damaged"
    )]
    NotSealed {
        /// The session it names.
        session: SessionId,
        /// The sequence number it names.
        sequence: u64,
    },
}

impl FrameKey {
    /// The key of a session, if its segment key is accepted here.
    pub fn new(keys: &KeyRing, source: &FrameSource) -> Option<Self> {
        let key = keys.find(source.key)?.draw(&[
            b"bellwether frame",
            &source.key.0,
            source.node.as_bytes(),
            &source.incarnation.0.to_be_bytes(),
            &source.salt,
        ]);
        Some(Self {
            session: SessionId::of(&source.salt),
            key,
        })
    }

    /// The session it is for.
    pub const fn session(&self) -> SessionId {
        self.session
    }

    /// Makes a frame of its parts in place: `frame` is [`FRAME_OVERHEAD`] longer than the symbol, which stands already
    /// behind the place of the header. The header's session and size are filled in here.
    pub fn seal(&self, mut header: FrameHeader, frame: &mut [u8]) {
        let size = frame.len().saturating_sub(FRAME_OVERHEAD);
        header.session = self.session;
        header.size = u16::try_from(size).expect("a symbol is shorter than a datagram");
        frame[..FrameHeader::LEN].copy_from_slice(&header.to_bytes());
        let (proved, tag) = frame.split_at_mut(FrameHeader::LEN + size);
        let (clear, secret) = proved.split_at_mut(hidden_from(&header, size));
        let sealed =
            self.key
                .seal_in_place_separate_tag(nonce(header.sequence), Aad::from(&*clear), secret);
        let sealed = sealed.expect("a frame is far below what the cipher takes");
        tag.copy_from_slice(sealed.as_ref());
    }

    /// Reads and proves a frame. The symbol stands in `frame`; if it was encrypted, it no longer is.
    pub fn open<'f>(&self, frame: &'f mut [u8]) -> Result<(FrameHeader, &'f [u8]), FrameError> {
        let len = frame.len();
        let header = FrameHeader::read(frame).ok_or(FrameError::Malformed { len })?;
        let size = usize::from(header.size);
        if len != size + FRAME_OVERHEAD {
            return Err(FrameError::Malformed { len });
        }
        if header.session != self.session {
            return Err(FrameError::OtherSession(header.session));
        }
        let (clear, secret) = frame.split_at_mut(hidden_from(&header, size));
        let opened = self
            .key
            .open_in_place(nonce(header.sequence), Aad::from(&*clear), secret);
        match opened {
            Ok(_) => Ok((header, &frame[FrameHeader::LEN..FrameHeader::LEN + size])),
            Err(_) => Err(FrameError::NotSealed {
                session: header.session,
                sequence: header.sequence,
            }),
        }
    }
}

/// Where what is encrypted begins.
const fn hidden_from(header: &FrameHeader, size: usize) -> usize {
    if header.encrypted {
        FrameHeader::LEN
    } else {
        FrameHeader::LEN + size
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::SegmentKey;

    fn ring(byte: u8) -> KeyRing {
        KeyRing::new(SegmentKey::from_bytes([byte; 32]))
    }

    fn source(keys: &KeyRing) -> FrameSource {
        FrameSource {
            key: keys.current().id(),
            node: NodeId::from_bytes([1; 16]),
            incarnation: Incarnation(2),
            salt: [3; 16],
        }
    }

    fn sealed(key: &FrameKey, sequence: u64, symbol: &[u8], encrypted: bool) -> Vec<u8> {
        let header = FrameHeader {
            session: SessionId([0; 4]),
            sequence,
            block: 7,
            symbol: 8,
            pass: 1,
            size: 0,
            encrypted,
        };
        let mut frame = vec![0; FrameHeader::LEN];
        frame.extend_from_slice(symbol);
        frame.extend_from_slice(&[0; TAG_LEN]);
        key.seal(header, &mut frame);
        frame
    }

    /// MCTP-20, CRYPT-05.
    #[test]
    fn a_frame_opens_to_what_was_sealed_in_clear_or_encrypted() {
        let keys = ring(9);
        let key = FrameKey::new(&keys, &source(&keys)).unwrap();
        for encrypted in [false, true] {
            for symbol in [&b""[..], b"flock", &[5; 1_432]] {
                let mut frame = sealed(&key, 42, symbol, encrypted);
                let shown = frame.windows(5).any(|window| window == b"flock");
                assert_eq!(shown, symbol == b"flock" && !encrypted);
                let (header, opened) = key.open(&mut frame).unwrap();
                assert_eq!((header.sequence, header.block), (42, 7));
                assert_eq!((header.session, opened), (SessionId([3; 4]), symbol));
            }
        }
    }

    /// CRYPT-05: whoever lacks the key can neither make a frame nor change one.
    #[test]
    fn no_bit_can_be_changed_and_no_other_key_opens() {
        let keys = ring(9);
        let key = FrameKey::new(&keys, &source(&keys)).unwrap();
        for encrypted in [false, true] {
            let frame = sealed(&key, 42, b"flock", encrypted);
            for bit in 0..frame.len() * 8 {
                let mut changed = frame.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                assert!(key.open(&mut changed).is_err(), "{bit}");
            }
            for len in 0..frame.len() {
                assert!(key.open(&mut frame[..len].to_vec()).is_err(), "{len}");
            }
            let other = ring(8);
            let other = FrameKey::new(&other, &source(&other)).unwrap();
            let refused = other.open(&mut frame.clone()).unwrap_err();
            assert!(matches!(refused, FrameError::NotSealed { .. }));
        }
        let mut another_sender = source(&keys);
        another_sender.node = NodeId::from_bytes([2; 16]);
        let another_sender = FrameKey::new(&keys, &another_sender).unwrap();
        let mut frame = sealed(&key, 42, b"flock", false);
        assert!(another_sender.open(&mut frame).is_err());
        assert!(FrameKey::new(&ring(8), &source(&keys)).is_none());
    }
}
