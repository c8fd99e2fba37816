//! A stream sealed in chunks, so that any length can be opened in bounded memory and no chunk
//! can be changed, dropped, repeated, reordered or cut off unnoticed (the STREAM construction).
//!
//! Each stream has a key of its own, drawn from the content key, a random salt and the purpose;
//! so a nonce is simply the number of the chunk, with its last byte telling the final one.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hkdf::{self, HKDF_SHA256};

use crate::key_text::{self, ParseKeyError};
use crate::signing::Secret;

/// Plain bytes in every chunk but the last, which may have fewer (also none, if it is alone).
pub const SEALED_CHUNK_LEN: usize = 64 << 10;

const TAG_LEN: usize = 16;

/// Random bytes that make a stream's key its own; carried in the header.
pub type Salt = [u8; 16];

/// The key of a group of nodes: who holds it can read the group's content.
#[derive(Debug)]
pub struct ContentKey(Secret);

/// Seals a stream.
pub struct Sealer(Stream);

/// Opens a stream.
pub struct Opener(Stream);

/// The chunk is not the next one sealed under this key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot be opened with this key: it was sealed with another one, or changed since")]
pub struct UnsealError;

struct Stream {
    key: LessSafeKey,
    chunk: u64,
}

const LABEL: &str = "bellwether-content-key";

impl ContentKey {
    /// The key that 32 random bytes are.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Secret(bytes))
    }

    /// Starts to seal the stream that `purpose` names.
    pub fn sealer(&self, salt: &Salt, purpose: &str) -> Sealer {
        Sealer(self.stream(salt, purpose))
    }

    /// Starts to open the stream that was sealed with the same salt and purpose.
    pub fn opener(&self, salt: &Salt, purpose: &str) -> Opener {
        Opener(self.stream(salt, purpose))
    }

    fn stream(&self, salt: &Salt, purpose: &str) -> Stream {
        let secret = hkdf::Salt::new(HKDF_SHA256, salt).extract(&self.0.0);
        let info = [b"bellwether ", purpose.as_bytes()];
        let key = secret.expand(&info, &AES_256_GCM).map(UnboundKey::from);
        Stream {
            key: LessSafeKey::new(key.expect("32 bytes are within what HKDF can give")),
            chunk: 0,
        }
    }

    /// What nobody can tell who does not have the key: so whoever tells it has it. Of no use for another purpose.
    pub fn proof(&self, purpose: &[u8]) -> [u8; 32] {
        let secret = hkdf::Salt::new(HKDF_SHA256, &[]).extract(&self.0.0);
        let info: [&[u8]; 2] = [b"bellwether proof ", purpose];
        let mut proof = [0; 32];
        let expanded = secret.expand(&info, HKDF_SHA256);
        let filled = expanded.and_then(|expanded| expanded.fill(&mut proof));
        filled.expect("32 bytes are within what HKDF can give");
        proof
    }

    /// Whether `proof` is that, compared in a time that tells nothing of it.
    pub fn proves(&self, purpose: &[u8], proof: &[u8; 32]) -> bool {
        verify_slices_are_equal(&self.proof(purpose), proof).is_ok()
    }

    /// The line to keep in a file that only the nodes of the group may read.
    pub fn to_text(&self) -> String {
        key_text::to_text(LABEL, &self.0.0)
    }
}

impl FromStr for ContentKey {
    type Err = ParseKeyError;

    fn from_str(text: &str) -> Result<Self, ParseKeyError> {
        key_text::from_text(text, LABEL, "content key").map(Self::from_bytes)
    }
}

/// How many bytes a stream of `plain_len` becomes.
pub fn sealed_len(plain_len: u64) -> u64 {
    let chunks = plain_len.div_ceil(SEALED_CHUNK_LEN as u64).max(1);
    plain_len + chunks * TAG_LEN as u64
}

impl Stream {
    fn nonce(&mut self, last: bool) -> Nonce {
        let mut bytes = [0; 12];
        bytes[3..11].copy_from_slice(&self.chunk.to_be_bytes());
        bytes[11] = last.into();
        self.chunk += 1;
        Nonce::assume_unique_for_key(bytes)
    }
}

impl Sealer {
    /// Seals the next chunk in place; all but the last have [`SEALED_CHUNK_LEN`] bytes.
    pub fn seal(&mut self, chunk: &mut Vec<u8>, last: bool) {
        debug_assert!(chunk.len() <= SEALED_CHUNK_LEN && (last || chunk.len() == SEALED_CHUNK_LEN));
        let nonce = self.0.nonce(last);
        let sealed = self
            .0
            .key
            .seal_in_place_append_tag(nonce, Aad::empty(), chunk);
        sealed.expect("a chunk is far below what the cipher takes");
    }

    /// Seals a whole stream.
    pub fn seal_all(mut self, plain: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::with_capacity(plain.len() + TAG_LEN);
        let mut chunks = plain.chunks(SEALED_CHUNK_LEN).peekable();
        let mut next = chunks.next().unwrap_or_default();
        loop {
            let mut chunk = next.to_vec();
            self.seal(&mut chunk, chunks.peek().is_none());
            sealed.append(&mut chunk);
            match chunks.next() {
                Some(chunk) => next = chunk,
                None => return sealed,
            }
        }
    }
}

impl Opener {
    /// Opens the next chunk in place; all but the last have [`SEALED_CHUNK_LEN`] plain bytes.
    pub fn open(&mut self, chunk: &mut Vec<u8>, last: bool) -> Result<(), UnsealError> {
        let nonce = self.0.nonce(last);
        let plain = self.0.key.open_in_place(nonce, Aad::empty(), chunk);
        let len = plain.map_err(|_| UnsealError)?.len();
        chunk.truncate(len);
        Ok(())
    }

    /// Opens a whole stream.
    pub fn open_all(mut self, sealed: &[u8]) -> Result<Vec<u8>, UnsealError> {
        let mut plain = Vec::with_capacity(sealed.len());
        let mut chunks = sealed.chunks(SEALED_CHUNK_LEN + TAG_LEN).peekable();
        while let Some(chunk) = chunks.next() {
            let mut chunk = chunk.to_vec();
            self.open(&mut chunk, chunks.peek().is_none())?;
            plain.append(&mut chunk);
        }
        if self.0.chunk == 0 {
            return Err(UnsealError);
        }
        Ok(plain)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer")
            .field("chunk", &self.0.chunk)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener")
            .field("chunk", &self.0.chunk)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> ContentKey {
        ContentKey::from_bytes([3; 32])
    }

    #[test]
    fn a_proof_is_of_one_key_and_one_purpose() {
        let proof = key().proof(b"one");
        assert!(key().proves(b"one", &proof));
        assert!(!key().proves(b"other", &proof));
        assert!(!ContentKey::from_bytes([4; 32]).proves(b"one", &proof));
    }

    #[test]
    fn streams_of_every_length_open_again() {
        for len in [
            0,
            1,
            SEALED_CHUNK_LEN - 1,
            SEALED_CHUNK_LEN,
            2 * SEALED_CHUNK_LEN + 5,
        ] {
            let plain: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let sealed = key().sealer(&[1; 16], "data").seal_all(&plain);
            assert_eq!(sealed.len() as u64, sealed_len(len as u64));
            assert_eq!(key().opener(&[1; 16], "data").open_all(&sealed), Ok(plain));
        }
    }

    /// CRYPT-05, CRYPT-06.
    #[test]
    fn another_key_salt_or_purpose_opens_nothing() {
        let sealed = key().sealer(&[1; 16], "data").seal_all(b"flock");
        let other = ContentKey::from_bytes([4; 32]);
        assert_eq!(
            other.opener(&[1; 16], "data").open_all(&sealed),
            Err(UnsealError)
        );
        assert_eq!(
            key().opener(&[2; 16], "data").open_all(&sealed),
            Err(UnsealError)
        );
        assert_eq!(
            key().opener(&[1; 16], "body").open_all(&sealed),
            Err(UnsealError)
        );
    }

    #[test]
    fn chunks_cannot_be_cut_off_swapped_or_changed() {
        let sealed_chunk = SEALED_CHUNK_LEN + TAG_LEN;
        let sealed = key()
            .sealer(&[1; 16], "data")
            .seal_all(&vec![9; 3 * SEALED_CHUNK_LEN]);
        let open = |bytes: &[u8]| key().opener(&[1; 16], "data").open_all(bytes);
        assert_eq!(open(&[]), Err(UnsealError));
        assert_eq!(open(&sealed[..2 * sealed_chunk]), Err(UnsealError));
        assert_eq!(open(&sealed[sealed_chunk..]), Err(UnsealError));
        let mut flipped = sealed.clone();
        flipped[sealed_chunk + 7] ^= 1;
        assert_eq!(open(&flipped), Err(UnsealError));
        let (first, rest) = sealed.split_at(sealed_chunk);
        let (second, third) = rest.split_at(sealed_chunk);
        assert_eq!(open(&[second, first, third].concat()), Err(UnsealError));
    }
}
