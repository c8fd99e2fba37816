//! The header: numbered fields in a CBOR map; unknown numbers are ignored, so that later
//! programs can say more.

use std::fmt;

use bellwether_types::{Hash, Name, Serial, SitePart, Term, VersionId};
use bellwether_wire::{PublicKey, Salt};
use minicbor::{Decode, Encode};

/// What an assignment is for (ASSIGN-09).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Action {
    /// Changes of the staging source.
    #[n(0)]
    Publish,
    /// The whole content, for a node that has none.
    #[n(1)]
    Replicate,
    /// Back to a checkpoint.
    #[n(2)]
    Restore,
    /// What a node missed.
    #[n(3)]
    Synchronize,
    /// Back to the version before the last commit.
    #[n(4)]
    Rollback,
    /// Make prepared content live without a transfer.
    #[n(5)]
    Switch,
    /// Content goes.
    #[n(6)]
    Remove,
    /// Content in demand, to more nodes.
    #[n(7)]
    PublishHot,
    /// Make staged content live.
    #[n(8)]
    Commit,
    /// Drop staged content.
    #[n(9)]
    Abort,
    /// Get a version from neighbours that hold it, and stage it.
    #[n(10)]
    Gather,
}

/// What an assignment says of itself. Lengths are in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// What it is for.
    pub action: Action,
    /// Its place in the order of its site and part.
    pub serial: Serial,
    /// The reign it was made under; nodes refuse a lower one than they have seen.
    pub term: Term,
    /// Whose content; `None` fits any site, for files that are carried by hand.
    pub site: Option<SitePart>,
    /// The group of nodes it is addressed to.
    pub group: Option<Name>,
    /// The job it belongs to.
    pub job: Option<Name>,
    /// The version it starts from; `None` starts from an empty tree.
    pub base: Option<VersionId>,
    /// The version it leads to.
    pub target: Option<VersionId>,
    /// Its place among the assignments that an update was split into.
    pub part: Part,
    /// The commands as sent; 0 if there are none.
    pub body_len: u64,
    /// The commands once decompressed.
    pub body_raw_len: u64,
    /// How the commands are compressed.
    pub body_compression: Compression,
    /// The data file as sent; 0 if there is none.
    pub data_len: u64,
    /// The data file before it was sealed.
    pub data_plain_len: u64,
    /// The hash of the list of block hashes.
    pub blocks_hash: Hash,
    /// All content that the whole update writes: the space that a node needs.
    pub content_len: u64,
    /// How commands and data are sealed, if they are.
    pub encryption: Option<Encryption>,
    /// Who signed; `None` is unsigned.
    pub signer: Option<PublicKey>,
}

/// Which of how many, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Which.
    pub number: u32,
    /// Of how many.
    pub count: u32,
}

/// How commands are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Compression {
    /// Not at all.
    #[n(0)]
    Stored,
    /// One zstd frame.
    #[n(1)]
    Zstd,
    /// One segment without a base, by the context-mixing codec.
    #[n(2)]
    Mixing,
}

/// How commands and data are sealed: AES-256-GCM in chunks, each stream under a key of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encryption {
    /// Drawn for this assignment.
    pub salt: Salt,
}

/// Why bytes are not a header.
#[derive(Debug, thiserror::Error)]
pub enum DecodeHeaderError {
    /// Not CBOR, or a field of the wrong shape.
    #[error("the header is malformed")]
    Malformed(#[from] minicbor::decode::Error),
    /// Written in a form that this program does not know.
    #[error("format {0} is newer than this program, which reads format {FORMAT}: update it")]
    Format(u64),
    /// Sealed with an unknown cipher.
    #[error("cipher {0} is unknown: update this program")]
    Cipher(u64),
    /// Fields that contradict each other.
    #[error("the header contradicts itself: {0}")]
    Contradiction(&'static str),
}

const FORMAT: u64 = 1;
const CIPHER_AES_256_GCM: u64 = 1;
/// Also a bound on memory for the block list: 32 MiB.
const DATA_LEN_MAX: u64 = 1 << 40;
const PART_COUNT_MAX: u32 = 1 << 20;

/// The header as it travels.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Fields<'b> {
    #[n(0)]
    format: u64,
    #[n(1)]
    action: Action,
    #[n(2)]
    serial: u64,
    #[n(3)]
    term: u64,
    #[b(4)]
    site: Option<&'b str>,
    #[b(5)]
    group: Option<&'b str>,
    #[b(6)]
    job: Option<&'b str>,
    #[cbor(n(7), with = "minicbor::bytes")]
    base: Option<[u8; 32]>,
    #[cbor(n(8), with = "minicbor::bytes")]
    target: Option<[u8; 32]>,
    #[n(9)]
    part_number: Option<u32>,
    #[n(10)]
    part_count: Option<u32>,
    #[n(11)]
    body_len: Option<u64>,
    #[n(12)]
    body_raw_len: Option<u64>,
    #[n(13)]
    body_compression: Option<Compression>,
    #[n(14)]
    data_len: Option<u64>,
    #[n(15)]
    data_plain_len: Option<u64>,
    #[cbor(n(16), with = "minicbor::bytes")]
    blocks_hash: Option<[u8; 32]>,
    #[n(17)]
    content_len: Option<u64>,
    #[n(18)]
    cipher: Option<u64>,
    #[cbor(n(19), with = "minicbor::bytes")]
    salt: Option<[u8; 16]>,
    #[cbor(n(20), with = "minicbor::bytes")]
    signer: Option<[u8; 32]>,
}

impl Header {
    /// The most bytes of a header.
    pub const LEN_MAX: usize = 4096;

    /// A header with nothing but an action and a place in the order.
    pub fn new(action: Action, serial: Serial, term: Term) -> Self {
        Self {
            action,
            serial,
            term,
            site: None,
            group: None,
            job: None,
            base: None,
            target: None,
            part: Part::WHOLE,
            body_len: 0,
            body_raw_len: 0,
            body_compression: Compression::Stored,
            data_len: 0,
            data_plain_len: 0,
            blocks_hash: Hash::of(&[]),
            content_len: 0,
            encryption: None,
            signer: None,
        }
    }

    /// The serial of a part of the update whose first part this is: they follow each other,
    /// except outside the order, where all have 0.
    pub fn serial_of_part(&self, number: u32) -> Serial {
        match self.serial {
            Serial(0) => Serial(0),
            Serial(first) => Serial(first.saturating_add(u64::from(number) - 1)),
        }
    }

    /// The bytes that travel and are signed.
    pub fn encode(&self) -> Vec<u8> {
        let some = |value: u64| (value != 0).then_some(value);
        let site = self.site.as_ref().map(ToString::to_string);
        let fields = Fields {
            format: FORMAT,
            action: self.action,
            serial: self.serial.0,
            term: self.term.0,
            site: site.as_deref(),
            group: self.group.as_ref().map(Name::as_str),
            job: self.job.as_ref().map(Name::as_str),
            base: self.base.map(|version| version.0.0),
            target: self.target.map(|version| version.0.0),
            part_number: (self.part != Part::WHOLE).then_some(self.part.number),
            part_count: (self.part != Part::WHOLE).then_some(self.part.count),
            body_len: some(self.body_len),
            body_raw_len: some(self.body_raw_len),
            body_compression: (self.body_len > 0).then_some(self.body_compression),
            data_len: some(self.data_len),
            data_plain_len: some(self.data_plain_len),
            blocks_hash: (self.data_len > 0).then_some(self.blocks_hash.0),
            content_len: some(self.content_len),
            cipher: self.encryption.map(|_| CIPHER_AES_256_GCM),
            salt: self.encryption.map(|encryption| encryption.salt),
            signer: self.signer.map(|key| key.to_bytes()),
        };
        match minicbor::to_vec(fields) {
            Ok(bytes) => bytes,
            Err(_) => unreachable!("a vector takes everything"),
        }
    }

    /// Reads and checks a header.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeHeaderError> {
        let format = first_field(bytes)?;
        if format != FORMAT {
            return Err(DecodeHeaderError::Format(format));
        }
        let mut decoder = minicbor::Decoder::new(bytes);
        let fields: Fields<'_> = decoder.decode()?;
        if decoder.position() != bytes.len() {
            return contradiction("bytes follow it");
        }
        let name = |text: Option<&str>| {
            text.map(str::parse::<Name>)
                .transpose()
                .map_err(|_| DecodeHeaderError::Contradiction("a name that cannot be one"))
        };
        let site = fields.site.map(str::parse::<SitePart>).transpose();
        let encryption = match (fields.cipher, fields.salt) {
            (None, None) => None,
            (Some(CIPHER_AES_256_GCM), Some(salt)) => Some(Encryption { salt }),
            (Some(cipher), Some(_)) => return Err(DecodeHeaderError::Cipher(cipher)),
            _ => return contradiction("a cipher needs a salt"),
        };
        let header = Self {
            action: fields.action,
            serial: Serial(fields.serial),
            term: Term(fields.term),
            site: site.map_err(|_| DecodeHeaderError::Contradiction("a site that is no name"))?,
            group: name(fields.group)?,
            job: name(fields.job)?,
            base: fields.base.map(|hash| VersionId(Hash(hash))),
            target: fields.target.map(|hash| VersionId(Hash(hash))),
            part: Part {
                number: fields.part_number.unwrap_or(1),
                count: fields.part_count.unwrap_or(1),
            },
            body_len: fields.body_len.unwrap_or(0),
            body_raw_len: fields.body_raw_len.unwrap_or(0),
            body_compression: fields.body_compression.unwrap_or(Compression::Stored),
            data_len: fields.data_len.unwrap_or(0),
            data_plain_len: fields.data_plain_len.unwrap_or(0),
            blocks_hash: fields.blocks_hash.map_or_else(|| Hash::of(&[]), Hash),
            content_len: fields.content_len.unwrap_or(0),
            encryption,
            signer: fields.signer.map(PublicKey::from_bytes),
        };
        header.check()?;
        Ok(header)
    }

    fn check(&self) -> Result<(), DecodeHeaderError> {
        if self.body_raw_len > crate::body::BODY_LEN_MAX as u64 {
            return contradiction("more than 256 MiB of commands");
        }
        if self.data_len > DATA_LEN_MAX {
            return contradiction("more than 1 TiB of data");
        }
        let Part { number, count } = self.part;
        if number == 0 || number > count || count > PART_COUNT_MAX {
            return contradiction("a part that is not one of its parts");
        }
        let sealed_len = |plain: u64| match self.encryption {
            Some(_) if plain > 0 => bellwether_wire::sealed_len(plain),
            _ => plain,
        };
        if self.data_plain_len > DATA_LEN_MAX || sealed_len(self.data_plain_len) != self.data_len {
            return contradiction("lengths of the data file that do not fit each other");
        }
        if self.body_len > self.body_raw_len + (1 << 20) {
            return contradiction("commands that grow by compression");
        }
        if self.data_len > 0 && self.part.number == 1 && self.body_len == 0 {
            return contradiction("data without commands");
        }
        if self.data_len == 0 && self.blocks_hash != Hash::of(&[]) {
            return contradiction("blocks of a data file that is not there");
        }
        let compression = (self.body_raw_len, self.body_compression);
        if self.body_len == 0 && compression != (0, Compression::Stored) {
            return contradiction("commands that are not there");
        }
        Ok(())
    }
}

/// The format number stands first, so that a newer form can be told from a broken one.
fn first_field(bytes: &[u8]) -> Result<u64, DecodeHeaderError> {
    let mut decoder = minicbor::Decoder::new(bytes);
    let fields = decoder.map()?;
    if fields == Some(0) || decoder.u64()? != 0 {
        return contradiction("it does not begin with its format");
    }
    Ok(decoder.u64()?)
}

fn contradiction<T>(what: &'static str) -> Result<T, DecodeHeaderError> {
    Err(DecodeHeaderError::Contradiction(what))
}

impl Part {
    /// The only part.
    pub const WHOLE: Self = Self {
        number: 1,
        count: 1,
    };
}

impl Action {
    /// All, with what they are called.
    pub const ALL: [(Self, &'static str); 11] = [
        (Self::Publish, "publish"),
        (Self::Replicate, "replicate"),
        (Self::Restore, "restore"),
        (Self::Synchronize, "synchronize"),
        (Self::Rollback, "rollback"),
        (Self::Switch, "switch"),
        (Self::Remove, "remove"),
        (Self::PublishHot, "publish hot"),
        (Self::Commit, "commit"),
        (Self::Abort, "abort"),
        (Self::Gather, "gather"),
    ];
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(action, _)| action == self);
        f.write_str(name.map_or("unknown", |(_, name)| name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Header {
        let data_plain_len = 100_000;
        Header {
            action: Action::Synchronize,
            site: Some("shop@media".parse().unwrap()),
            group: Some("edge".parse().unwrap()),
            job: Some("job-7".parse().unwrap()),
            base: Some(VersionId(Hash::of(b"base"))),
            target: Some(VersionId(Hash::of(b"target"))),
            part: Part {
                number: 2,
                count: 3,
            },
            body_len: 40,
            body_raw_len: 90,
            body_compression: Compression::Mixing,
            data_len: bellwether_wire::sealed_len(data_plain_len),
            data_plain_len,
            blocks_hash: Hash::of(b"blocks"),
            content_len: 1 << 33,
            encryption: Some(Encryption { salt: [5; 16] }),
            signer: Some(bellwether_wire::SigningKey::from_seed([1; 32]).public()),
            ..Header::new(Action::Publish, Serial(u64::MAX), Term(7))
        }
    }

    /// ASSIGN-03, ASSIGN-08, ASSIGN-09, ASSIGN-17.
    #[test]
    fn every_field_and_action_reads_back() {
        assert_eq!(Header::decode(&full().encode()).unwrap(), full());
        for (action, _) in Action::ALL {
            let header = Header::new(action, Serial(1), Term(1));
            assert_eq!(Header::decode(&header.encode()).unwrap(), header);
        }
    }

    #[test]
    fn fields_of_a_later_program_are_ignored_and_later_formats_are_named() {
        let mut bytes = full().encode();
        bytes[0] += 1; // One more pair in the map: 99 → "x".
        assert!(bytes[0] < 0xb8);
        bytes.extend([0x18, 99, 0x61, b'x']);
        assert_eq!(Header::decode(&bytes).unwrap(), full());
        bytes[2] = 2;
        assert!(matches!(
            Header::decode(&bytes),
            Err(DecodeHeaderError::Format(2))
        ));
    }

    /// ASSIGN-03.
    #[test]
    fn truncated_or_contradictory_headers_are_refused() {
        let bytes = full().encode();
        for len in 0..bytes.len() {
            assert!(Header::decode(&bytes[..len]).is_err(), "{len}");
        }
        let refused = |why: &str, change: fn(&mut Header)| {
            let mut header = full();
            change(&mut header);
            let error = Header::decode(&header.encode()).unwrap_err().to_string();
            assert!(error.contains(why), "{why}? {error}");
        };
        let lengths = "lengths of the data file";
        refused(lengths, |header| header.data_len += 1);
        refused(lengths, |header| header.data_plain_len = u64::MAX);
        refused("1 TiB of data", |header| header.data_len = u64::MAX);
        refused("256 MiB of commands", |header| {
            header.body_raw_len = u64::MAX;
        });
        refused("grow by compression", |header| header.body_len = 1 << 30);
        refused("a part that", |header| header.part.number = 0);
        refused("a part that", |header| header.part.number = 4);
        refused("a part that", |header| header.part.count = u32::MAX);
        refused("data without commands", |header| {
            header.part.number = 1;
            (header.body_len, header.body_raw_len) = (0, 0);
        });
    }

    /// ASSIGN-02.
    #[test]
    fn what_is_said_of_parts_that_are_not_there_is_refused() {
        let order = Header::new(Action::Commit, Serial(1), Term(1)).encode();
        assert!(Header::decode(&order).is_ok());
        let blocks = [&[16, 0x58, 32][..], &[7; 32]].concat();
        for (field, why) in [
            (&blocks[..], "blocks of a data file"),
            (&[12, 9], "commands that are not there"),
            (&[13, 1], "commands that are not there"),
        ] {
            let mut bytes = [&order, field].concat();
            bytes[0] += 1; // One more pair in the map.
            let error = Header::decode(&bytes).unwrap_err().to_string();
            assert!(error.contains(why), "{why}? {error}");
        }
    }

    /// CRYPT-04.
    #[test]
    fn unknown_ciphers_are_named_and_half_of_one_is_refused() {
        let bytes = full().encode();
        // The cipher's key, its number, and the key of the salt.
        let at = bytes.windows(4).position(|four| four == [18, 1, 19, 0x50]);
        let at = at.unwrap();
        let mut other = bytes.clone();
        other[at + 1] = 2;
        assert!(matches!(
            Header::decode(&other),
            Err(DecodeHeaderError::Cipher(2))
        ));
        // A field of a later program in the place of the one or the other.
        for half in [at, at + 2] {
            let mut other = bytes.clone();
            other.splice(half..=half, [0x18, 97]);
            let error = Header::decode(&other).unwrap_err();
            assert!(
                error.to_string().contains("a cipher needs a salt"),
                "{error}"
            );
        }
    }
}
