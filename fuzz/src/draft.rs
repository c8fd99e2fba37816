//! An assignment before it is hashed and signed. Whatever its parts became, [`Draft::sealed`]
//! makes an assignment of them whose proofs hold, so that what lies behind these is reached.
//!
//! ```text
//! flags · header length (2) · body length (2) · header · body · data file
//! ```

use std::sync::LazyLock;

use bellwether_content::assignment::{
    self, Action, Compression, DataWriter, Header, MAGIC, Opened, Part, Trust, compress_body,
};
use bellwether_delta::Effort;
use bellwether_kit::document::vector;
use bellwether_kit::farm::{Farm, Files, Making, make, noise};
use bellwether_types::{Hash, Serial, Term, VersionId};
use bellwether_wire::{ContentKey, SigningKey};

pub(crate) struct Draft {
    flags: u8,
    header: Vec<u8>,
    body: Vec<u8>,
    data: Vec<u8>,
}

/// Lengths stay as the header claims them.
const LENGTHS_AS_CLAIMED: u8 = 1;
/// Base, target, place in the order and announced content stay as the header claims them.
const ORDER_AS_CLAIMED: u8 = 2;
/// The node allows files that set the user or group id.
const SET_ID_ALLOWED: u8 = 4;

/// Longer bodies only take time.
const BODY_LEN_MAX: u64 = 1 << 20;

impl Draft {
    /// Any bytes that are long enough are a draft.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (&[flags, a, b, c, d], rest) = bytes.split_first_chunk()?;
        let (header, rest) = rest.split_at_checked(u16::from_le_bytes([a, b]).into())?;
        let (body, data) = rest.split_at_checked(u16::from_le_bytes([c, d]).into())?;
        let [header, body, data] = [header, body, data].map(<[u8]>::to_vec);
        Some(Self {
            flags,
            header,
            body,
            data,
        })
    }

    fn write(&self) -> Vec<u8> {
        let [header_len, body_len] = [&self.header, &self.body].map(|part| {
            let len = u16::try_from(part.len()).expect("samples are small");
            len.to_le_bytes()
        });
        [
            &[self.flags],
            &header_len[..],
            &body_len[..],
            &self.header,
            &self.body,
            &self.data,
        ]
        .concat()
    }

    /// What was sealed into an assignment, its body compressed or not.
    fn of(assignment: &[u8], effort: Option<Effort>) -> Self {
        let opened = assignment::open(assignment, &Trust::Anyone, Some(&content_key()));
        let Opened {
            mut header,
            body,
            mut data,
        } = opened.expect("samples are assignments");
        let mut plain = Vec::new();
        data.read(usize::MAX, &mut plain)
            .expect("samples are whole");
        header.body_raw_len = body.len() as u64;
        let (compression, body) = match effort {
            Some(effort) => compress_body(&body, effort),
            None => (Compression::Stored, body),
        };
        header.body_compression = compression;
        header.body_len = body.len() as u64;
        Self {
            flags: 0,
            header: header.encode(),
            body,
            data: plain,
        }
    }

    /// Whether base, target and the like are what the node needs, so that nothing but the
    /// commands and the data file decides what becomes of it.
    pub(crate) fn is_in_order(&self) -> bool {
        self.flags & ORDER_AS_CLAIMED == 0
    }

    /// Whether the data file is too short to bring anything: then it may announce as much as it
    /// likes.
    pub(crate) fn brings_nothing(&self) -> bool {
        self.data.len() <= 8
    }

    pub(crate) fn allows_set_id(&self) -> bool {
        self.flags & SET_ID_ALLOWED != 0
    }

    /// The header as it is to be sent, but for what only the other parts tell; `None` if it is
    /// none, or announces more than is worth the time.
    pub(crate) fn header(&self) -> Option<Header> {
        let mut header = Header::decode(&self.header).ok()?;
        if header.body_raw_len > BODY_LEN_MAX {
            return None;
        }
        if self.is_in_order() {
            header.site = None;
            header.base = Some(base().manifest.version());
            (header.serial, header.term) = (Serial(1000), Term(1000));
            header.part = Part::WHOLE;
            header.target = Some(VersionId(Hash([0; 32])));
        }
        header.signer = header.signer.map(|_| signing_key().public());
        Some(header)
    }

    /// An assignment with this header, whose seal, block list and trailer hold.
    pub(crate) fn sealed(&self, mut header: Header) -> Vec<u8> {
        let key = content_key();
        let mut body = self.body.clone();
        if let Some(encryption) = header.encryption.filter(|_| !body.is_empty()) {
            let sealer = key.sealer(&encryption.salt, "assignment body");
            body = sealer.seal_all(&body);
        }
        let mut data = Vec::new();
        let mut writer = DataWriter::new(
            header
                .encryption
                .as_ref()
                .map(|encryption| (&key, encryption)),
        );
        writer.write(&self.data, &mut data);
        let mut honest = header.clone();
        let blocks = writer.finish(&mut honest, &mut data).encode();
        if self.flags & LENGTHS_AS_CLAIMED == 0 {
            header = honest;
            header.body_len = body.len() as u64;
            if header.body_compression == Compression::Stored {
                header.body_raw_len = self.body.len() as u64;
            }
        }
        header.blocks_hash = Hash::of(&blocks);
        let trailer = Hash::of(&body);
        let header_bytes = header.encode();
        let header_len = (header_bytes.len() as u32).to_le_bytes();
        let message = [
            b"bellwether assignment 1\0",
            &header_len[..],
            &header_bytes,
            &blocks,
            &trailer.0,
        ]
        .concat();
        let seal = match header.signer {
            Some(_) => signing_key().sign(&message).to_vec(),
            None => Hash::of(&message).0.to_vec(),
        };
        let trailer: &[u8] = if body.is_empty() { &[] } else { &trailer.0 };
        [
            &MAGIC,
            &header_len[..],
            &header_bytes,
            &blocks,
            &body,
            trailer,
            &seal,
            &data,
        ]
        .concat()
    }
}

/// Whom the targets trust.
pub(crate) fn trust(header: &Header) -> Trust {
    match header.signer {
        Some(_) => Trust::Keys(vec![signing_key().public()]),
        None => Trust::Anyone,
    }
}

/// The key of the document's signatures.
pub(crate) fn signing_key() -> SigningKey {
    SigningKey::from_seed([1; 32])
}

/// The key of the document's sealed assignment.
pub(crate) fn content_key() -> ContentKey {
    ContentKey::from_bytes([2; 32])
}

/// The tree that drafts start from: that of the document's patch.
pub(crate) fn base() -> &'static Farm {
    static BASE: LazyLock<Farm> = LazyLock::new(|| {
        Farm::new(&Files::from([
            ("a", b"0123456789abcdef".to_vec()),
            ("b", b"the quick brown fox jumps over the lazy dog".to_vec()),
            ("gone", Vec::new()),
            ("old/x", Vec::new()),
            ("stale/y", Vec::new()),
        ]))
    });
    &BASE
}

/// The document's vectors, and updates of the base that were planned.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut assignments: Vec<Vec<u8>> = ["commit", "stored", "zstd", "encrypted", "patch"]
        .map(vector)
        .into();
    let target = Farm::new(&Files::from([
        ("a", b"0123456789ABCDEF".to_vec()),
        (
            "fresh/c",
            b"the quick brown dog jumps over the lazy fox".to_vec(),
        ),
        ("fresh/noise", noise(1, 300)),
        ("new/x", Vec::new()),
        ("b", b"the quick brown fox jumps over the lazy dog".to_vec()),
    ]));
    let (signing, content_key) = (signing_key(), content_key());
    for effort in [Effort::Fast, Effort::Default, Effort::Max] {
        for (signing, content_key) in [(None, None), (Some(&signing), Some(&content_key))] {
            let making = Making {
                effort,
                signing,
                content_key,
                ..Making::default()
            };
            assignments.extend(make(base(), &target, &making));
        }
    }
    let mut order = Header::new(Action::Switch, Serial(3), Term(1));
    order.target = Some(base().manifest.version());
    let order = Draft {
        flags: ORDER_AS_CLAIMED,
        header: order.encode(),
        body: Vec::new(),
        data: Vec::new(),
    };
    let efforts = [None, Some(Effort::Default), Some(Effort::Max)];
    let drafts = assignments
        .iter()
        .flat_map(|bytes| efforts.map(|effort| Draft::of(bytes, effort)));
    drafts.chain([order]).map(|draft| draft.write()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bellwether_kit::farm::build;

    /// Without this, the targets would only ever see what is refused at the door.
    #[test]
    fn a_good_draft_becomes_an_assignment_that_is_read_to_its_end() {
        let mut read = 0;
        for seed in seeds() {
            let draft = Draft::read(&seed).unwrap();
            let header = draft.header().unwrap();
            let trust = trust(&header);
            let has_content = !draft.body.is_empty();
            let bytes = draft.sealed(header);
            let built = build(base(), &[bytes], &trust, Some(&content_key()));
            match built {
                Ok(_) => read += usize::from(has_content),
                // Those of the document that begin with nothing do not fit the base.
                Err(error) => assert!(
                    !draft.is_in_order() || !has_content || error.to_string().contains("command"),
                    "{error}"
                ),
            }
        }
        assert!(read >= 20, "{read}");
    }

    /// What a few bytes unpack to is never more than they announced, and so never more than the
    /// target's bound.
    #[test]
    fn a_body_that_unpacks_to_more_than_it_says_is_not_unpacked() {
        let (compression, body) = compress_body(&vec![0; 200 << 20], Effort::Fast);
        let mut draft = Draft::read(&seeds()[0]).unwrap();
        let mut header = Header::decode(&draft.header).unwrap();
        header.body_compression = compression;
        (header.body_len, header.body_raw_len) = (body.len() as u64, 50);
        (draft.header, draft.body) = (header.encode(), body);
        crate::Target::named("assignment")
            .unwrap()
            .check(&draft.write());
        let bytes = draft.sealed(draft.header().unwrap());
        let error = build(base(), &[bytes], &trust(&header), None).unwrap_err();
        assert!(
            error.to_string().contains("cannot be decompressed"),
            "{error}"
        );
    }
}
