use std::fmt;
use std::str::FromStr;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk};
use minicbor::{Decode, Encode};

use super::header::{HEADER_LEN, Header, Sender};
use crate::key_text::{self, ParseKeyError};
use crate::signing::Secret;

/// Bytes that prove a datagram, behind what they prove.
pub(crate) const TAG_LEN: usize = 16;

const LABEL: &str = "bellwether-segment-key";

/// The key of a segment: who holds it belongs to the segment (REG-03, ELECT-31).
pub struct SegmentKey {
    secret: Secret,
    id: SegmentKeyId,
    /// The secret as HKDF takes it. It is uniform already, so there is nothing to extract (RFC 5869, 3.3).
    material: Prk,
}

/// Names a segment key in a datagram's header; drawn from the key, and tells nothing of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct SegmentKeyId(#[cbor(with = "minicbor::bytes")] pub [u8; 4]);

/// The segment keys a node accepts while keys rotate. It seals with the current one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRing {
    current: SegmentKey,
    previous: Option<SegmentKey>,
    next: Option<SegmentKey>,
}

/// The key of one sender's datagrams, drawn from a segment key.
#[derive(Debug)]
pub(super) struct SenderKey {
    segment_key: SegmentKeyId,
    key: LessSafeKey,
}

impl SegmentKey {
    /// The key that 32 random bytes are.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        let material = Prk::new_less_safe(HKDF_SHA256, &bytes);
        let mut id = [0; 4];
        material
            .expand(&[b"bellwether control key id"], IdLen)
            .and_then(|drawn| drawn.fill(&mut id))
            .expect("4 bytes are within what HKDF can give");
        Self {
            secret: Secret(bytes),
            id: SegmentKeyId(id),
            material,
        }
    }

    /// What headers call this key.
    pub const fn id(&self) -> SegmentKeyId {
        self.id
    }

    /// The line to keep in a file that only the nodes of the segment may read.
    pub fn to_text(&self) -> String {
        key_text::to_text(LABEL, &self.secret.0)
    }

    /// The key under which `sender` seals. A sender never repeats a salt, so no two starts share a key.
    pub(super) fn of_sender(&self, sender: &Sender) -> SenderKey {
        let info: [&[u8]; 5] = [
            b"bellwether control",
            &self.id.0,
            sender.node.as_bytes(),
            &sender.incarnation.0.to_be_bytes(),
            &sender.salt,
        ];
        SenderKey {
            segment_key: self.id,
            key: self.draw(&info),
        }
    }

    /// A key for what `info` names, and for nothing else.
    pub(crate) fn draw(&self, info: &[&[u8]]) -> LessSafeKey {
        let key = self.material.expand(info, &AES_256_GCM);
        let key = key.map(UnboundKey::from);
        LessSafeKey::new(key.expect("32 bytes are within what HKDF can give"))
    }
}

impl Clone for SegmentKey {
    fn clone(&self) -> Self {
        Self::from_bytes(self.secret.0)
    }
}

/// Equal secrets, compared in constant time.
impl PartialEq for SegmentKey {
    fn eq(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.secret.0, &other.secret.0).is_ok()
    }
}

impl Eq for SegmentKey {}

impl FromStr for SegmentKey {
    type Err = ParseKeyError;

    fn from_str(text: &str) -> Result<Self, ParseKeyError> {
        key_text::from_text(text, LABEL, "segment key").map(Self::from_bytes)
    }
}

impl KeyRing {
    /// One key, as long as nothing is rotated.
    pub const fn new(current: SegmentKey) -> Self {
        Self {
            current,
            previous: None,
            next: None,
        }
    }

    /// Accepts these as well: the key that was current, and the one that will be.
    pub fn with(self, previous: Option<SegmentKey>, next: Option<SegmentKey>) -> Self {
        Self {
            previous,
            next,
            ..self
        }
    }

    /// What this node seals with.
    pub const fn current(&self) -> &SegmentKey {
        &self.current
    }

    /// Is a key of this name accepted?
    pub fn accepts(&self, id: SegmentKeyId) -> bool {
        self.find(id).is_some()
    }

    /// The accepted key of this name, if there is one.
    pub(crate) fn find(&self, id: SegmentKeyId) -> Option<&SegmentKey> {
        let others = self.previous.iter().chain(&self.next);
        std::iter::once(&self.current)
            .chain(others)
            .find(|key| key.id == id)
    }
}

impl SenderKey {
    pub(super) fn is_from(&self, segment_key: SegmentKeyId) -> bool {
        self.segment_key == segment_key
    }

    /// Seals what stands behind the header, and appends the tag.
    pub(super) fn seal(&self, counter: u64, datagram: &mut Vec<u8>) {
        let (header, plain) = datagram.split_at_mut(HEADER_LEN);
        let sealed =
            self.key
                .seal_in_place_separate_tag(nonce(counter), Aad::from(&*header), plain);
        let tag = sealed.expect("a datagram is far below what the cipher takes");
        datagram.extend_from_slice(tag.as_ref());
    }

    /// Opens a datagram of at least a header and a tag into `plain`; false if its seal does not hold.
    pub(super) fn open(&self, header: &Header, datagram: &[u8], plain: &mut Vec<u8>) -> bool {
        let (clear, rest) = datagram.split_at(HEADER_LEN);
        let (sealed, tag) = rest.split_at(rest.len() - TAG_LEN);
        plain.clear();
        plain.resize(sealed.len(), 0);
        self.key
            .open_separate_gather(nonce(header.counter), Aad::from(clear), sealed, tag, plain)
            .is_ok()
    }
}

/// A counter is never used twice under one key.
pub(crate) fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&counter.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

struct IdLen;

impl KeyType for IdLen {
    fn len(&self) -> usize {
        4
    }
}

impl fmt::Display for SegmentKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

impl fmt::Debug for SegmentKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for SegmentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SegmentKey({})", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_lines_read_back_and_secrets_are_not_shown() {
        let key = SegmentKey::from_bytes([0xab; 32]);
        let line = key.to_text();
        assert_eq!(line.parse::<SegmentKey>().unwrap().id(), key.id());
        assert!(line.parse::<crate::ContentKey>().is_err());
        assert!(!format!("{:?}", KeyRing::new(key)).contains("abab"));
        let error = format!("{line}00").parse::<SegmentKey>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("abab"));
    }

    #[test]
    fn previous_current_and_next_are_accepted_and_nothing_else() {
        let key = |byte| SegmentKey::from_bytes([byte; 32]);
        let accepted = |ring: &KeyRing| [1, 2, 3].map(|byte| ring.accepts(key(byte).id()));
        let ring = KeyRing::new(key(2));
        assert_eq!(accepted(&ring), [false, true, false]);
        let rotating = ring.clone().with(Some(key(1)), Some(key(3)));
        assert_eq!(accepted(&rotating), [true, true, true]);
        assert_eq!(rotating.current(), &key(2));
        assert_eq!(rotating.with(None, None), ring);
    }
}
