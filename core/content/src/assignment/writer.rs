//! Making an assignment: the data file comes first, since the header commits to its blocks.

use bellwether_delta::{Codec, Effort, GroupEncoder, Match};
use bellwether_types::Hash;
use bellwether_wire::{ContentKey, SEALED_CHUNK_LEN, Sealer, SigningKey};

use super::{BlockHasher, Blocks, Compression, Encryption, Header, MAGIC, seal};

/// Purposes of sealed streams.
pub(super) const BODY_PURPOSE: &str = "assignment body";
pub(super) const DATA_PURPOSE: &str = "assignment data";

/// Commands compressed by the means that makes them smallest.
pub fn compress_body(raw: &[u8], effort: Effort) -> (Compression, Vec<u8>) {
    let zstd_level = if effort == Effort::Fast { 3 } else { 19 };
    let mut best = (Compression::Stored, raw.to_vec());
    if let Ok(bytes) = zstd::bulk::compress(raw, zstd_level)
        && bytes.len() < best.1.len()
    {
        best = (Compression::Zstd, bytes);
    }
    if effort == Effort::Max && raw.len() <= bellwether_delta::SEGMENT_NEW_MAX {
        let mut bytes = Vec::new();
        let all_new = Match {
            literal_len: raw.len() as u32,
            base_start: 0,
            len: 0,
        };
        GroupEncoder::new(Codec::Mixing).segment(&[], raw, &[all_new], &mut bytes);
        if bytes.len() < best.1.len() {
            best = (Compression::Mixing, bytes);
        }
    }
    best
}

/// Everything of an assignment that stands before its data file.
#[derive(Debug)]
pub struct Head {
    /// What it says; lengths, hashes and signer are filled in by [`Head::encode`].
    pub header: Header,
    /// The commands before compression.
    pub body: Vec<u8>,
    /// The data file as sent.
    pub blocks: Blocks,
}

impl Head {
    /// The bytes that stand before the data file, and the header as it was sent.
    pub fn encode(
        self,
        effort: Effort,
        signing: Option<&SigningKey>,
        content_key: Option<&ContentKey>,
    ) -> (Header, Vec<u8>) {
        let Self {
            mut header,
            body,
            blocks,
        } = self;
        let (compression, mut sent) = match body.is_empty() {
            true => (Compression::Stored, Vec::new()),
            false => compress_body(&body, effort),
        };
        if let (Some(encryption), Some(key), false) =
            (header.encryption, content_key, sent.is_empty())
        {
            sent = key.sealer(&encryption.salt, BODY_PURPOSE).seal_all(&sent);
        }
        let block_list = blocks.encode();
        header.body_len = sent.len() as u64;
        header.body_raw_len = body.len() as u64;
        header.body_compression = compression;
        header.blocks_hash = Hash::of(&block_list);
        header.signer = signing.map(SigningKey::public);
        let header_bytes = header.encode();
        let trailer = Hash::of(&sent);
        let message = seal::message(&header_bytes, &block_list, &trailer);
        let mut bytes = MAGIC.to_vec();
        bytes.extend((header_bytes.len() as u32).to_le_bytes());
        bytes.extend(header_bytes);
        bytes.extend(block_list);
        bytes.extend(&sent);
        if !sent.is_empty() {
            bytes.extend(trailer.0);
        }
        bytes.extend(seal::seal(&message, signing));
        (header, bytes)
    }
}

/// Makes the data file as sent: seals it if it is to be sealed, and hashes its blocks.
#[derive(Debug)]
pub struct DataWriter {
    sealer: Option<Sealer>,
    chunk: Vec<u8>,
    hasher: BlockHasher,
    plain_len: u64,
}

impl DataWriter {
    /// For an empty data file, sealed under `key` if one is given.
    pub fn new(key: Option<(&ContentKey, &Encryption)>) -> Self {
        let sealer = key.map(|(key, encryption)| key.sealer(&encryption.salt, DATA_PURPOSE));
        Self {
            sealer,
            chunk: Vec::new(),
            hasher: BlockHasher::new(),
            plain_len: 0,
        }
    }

    /// Takes plain bytes and appends what is to be sent of them by now to `out`.
    pub fn write(&mut self, mut plain: &[u8], out: &mut Vec<u8>) {
        self.plain_len += plain.len() as u64;
        let start = out.len();
        match &mut self.sealer {
            None => out.extend_from_slice(plain),
            Some(sealer) => {
                while !plain.is_empty() {
                    // A full chunk waits for the next byte: only then it is not the last one.
                    if self.chunk.len() == SEALED_CHUNK_LEN {
                        sealer.seal(&mut self.chunk, false);
                        out.append(&mut self.chunk);
                    }
                    let room = SEALED_CHUNK_LEN - self.chunk.len();
                    let (now, rest) = plain.split_at(room.min(plain.len()));
                    self.chunk.extend_from_slice(now);
                    plain = rest;
                }
            }
        }
        self.hasher.update(&out[start..]);
    }

    /// Appends the rest to `out`, and enters the data file into the header.
    pub fn finish(mut self, header: &mut Header, out: &mut Vec<u8>) -> Blocks {
        if let (Some(sealer), true) = (&mut self.sealer, self.plain_len > 0) {
            sealer.seal(&mut self.chunk, true);
            self.hasher.update(&self.chunk);
            out.append(&mut self.chunk);
        }
        let (len, blocks) = self.hasher.finish();
        (header.data_len, header.data_plain_len) = (len, self.plain_len);
        blocks
    }
}
