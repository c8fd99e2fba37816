//! The canonical encoding: CBOR (RFC 8949) in its deterministic form, described for other
//! programs in `docs/formats.md`. There is one encoding of a tree; any other is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bellwether_types::{Hash, PathError, TreePath};
use minicbor::{Decoder, Encoder};

use super::{Entry, EntryError, File, Manifest, ManifestError, Mode, Owner, Timestamp};

const FORMAT: u64 = 1;
const DIRECTORY: u8 = 0;
const FILE: u8 = 1;
const SYMLINK: u8 = 2;

/// Why bytes are not a manifest.
#[derive(Debug, thiserror::Error)]
pub enum DecodeManifestError {
    /// Not CBOR, or not of the manifest's shape.
    #[error("the manifest is malformed")]
    Malformed(#[from] minicbor::decode::Error),
    /// Written by a newer Bellwether.
    #[error("the manifest has format {0}; this program reads format 1: update it")]
    Format(u64),
    /// An entry of a kind that is not known.
    #[error("the manifest has an entry of unknown kind {0}")]
    Kind(u8),
    /// An owner that is not in the manifest's list.
    #[error("the manifest names owner {0}, which its list does not have")]
    Owner(u64),
    /// A path that cannot be.
    #[error(transparent)]
    Path(#[from] PathError),
    /// An entry that cannot be.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// Entries that do not make a tree.
    #[error(transparent)]
    Tree(#[from] ManifestError),
    /// The same tree has another, shorter or ordered, encoding: the version id would not be its.
    #[error("the manifest is not in canonical form")]
    NotCanonical,
}

impl Manifest {
    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64 + self.entries.len() * 112);
        let mut encoder = Encoder::new(&mut bytes);
        match self.encode_into(&mut encoder) {
            Ok(()) => bytes,
            Err(error) => match error.into_write() {
                Some(never) => match never {},
                None => unreachable!("only writing can fail, and a vector takes everything"),
            },
        }
    }

    fn encode_into(
        &self,
        encoder: &mut Encoder<&mut Vec<u8>>,
    ) -> Result<(), minicbor::encode::Error<std::convert::Infallible>> {
        let owners: BTreeSet<&Owner> = self
            .iter()
            .filter_map(|(_, entry)| entry.owner().map(Arc::as_ref))
            .collect();
        encoder.array(3)?.u64(FORMAT)?.array(owners.len() as u64)?;
        for owner in &owners {
            encoder.array(2)?.str(&owner.user)?.str(&owner.group)?;
        }
        let numbers: BTreeMap<&Owner, u64> = owners.into_iter().zip(1..).collect();
        let number = |entry: &Entry| entry.owner().map_or(0, |owner| numbers[owner.as_ref()]);
        encoder.array(self.entries.len() as u64)?;
        for (path, entry) in &self.entries {
            let path = path.as_bytes();
            match entry {
                Entry::Directory { mode, .. } => {
                    encoder.array(4)?.u8(DIRECTORY)?.bytes(path)?;
                    encoder.u64(number(entry))?.u32(mode.bits())?;
                }
                Entry::File(file) => {
                    encoder.array(8)?.u8(FILE)?.bytes(path)?;
                    encoder.u64(number(entry))?.u32(file.mode.bits())?;
                    encoder.u64(file.size)?.bytes(&file.hash.0)?;
                    encoder
                        .i64(file.modified.seconds)?
                        .u32(file.modified.nanoseconds)?;
                }
                Entry::Symlink { target, .. } => {
                    encoder.array(4)?.u8(SYMLINK)?.bytes(path)?;
                    encoder.u64(number(entry))?.bytes(target)?;
                }
            }
        }
        Ok(())
    }

    /// Reads the canonical encoding, and nothing else.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeManifestError> {
        let mut decoder = Decoder::new(bytes);
        array(&mut decoder, 3)?;
        match decoder.u64()? {
            FORMAT => {}
            format => return Err(DecodeManifestError::Format(format)),
        }
        let owners = (0..definite(&mut decoder)?)
            .map(|_| {
                array(&mut decoder, 2)?;
                let (user, group) = (decoder.str()?.to_owned(), decoder.str()?.to_owned());
                Ok(Arc::new(Owner { user, group }))
            })
            .collect::<Result<Vec<_>, minicbor::decode::Error>>()?;
        let entries = (0..definite(&mut decoder)?)
            .map(|_| decode_entry(&mut decoder, &owners))
            .collect::<Result<Vec<_>, DecodeManifestError>>()?;
        let manifest = Self::from_entries(entries)?;
        // Catches owners nobody has, wrong order, long integers and trailing bytes at once.
        if manifest.encode() == bytes {
            Ok(manifest)
        } else {
            Err(DecodeManifestError::NotCanonical)
        }
    }
}

fn decode_entry(
    decoder: &mut Decoder<'_>,
    owners: &[Arc<Owner>],
) -> Result<(TreePath, Entry), DecodeManifestError> {
    let fields = definite(decoder)?;
    let kind = decoder.u8()?;
    let path = TreePath::new(decoder.bytes()?)?;
    let number = decoder.u64()?;
    let owner = match number.checked_sub(1) {
        None => None,
        Some(index) => {
            let owner = usize::try_from(index)
                .ok()
                .and_then(|index| owners.get(index));
            Some(owner.cloned().ok_or(DecodeManifestError::Owner(number))?)
        }
    };
    let entry = match (kind, fields) {
        (DIRECTORY, 4) => Entry::Directory {
            mode: Mode::new(decoder.u32()?)?,
            owner,
        },
        (FILE, 8) => Entry::File(File {
            mode: Mode::new(decoder.u32()?)?,
            owner,
            size: decoder.u64()?,
            hash: decode_hash(decoder)?,
            modified: Timestamp::new(decoder.i64()?, decoder.u32()?)?,
        }),
        (SYMLINK, 4) => Entry::Symlink {
            target: decoder.bytes()?.into(),
            owner,
        },
        _ => return Err(DecodeManifestError::Kind(kind)),
    };
    Ok((path, entry))
}

fn decode_hash(decoder: &mut Decoder<'_>) -> Result<Hash, minicbor::decode::Error> {
    let bytes = decoder.bytes()?;
    let bytes = bytes.try_into();
    bytes
        .map(Hash)
        .map_err(|_| minicbor::decode::Error::message("a hash has 32 bytes"))
}

fn definite(decoder: &mut Decoder<'_>) -> Result<u64, minicbor::decode::Error> {
    let missing = || minicbor::decode::Error::message("an array without a length");
    decoder.array()?.ok_or_else(missing)
}

fn array(decoder: &mut Decoder<'_>, len: u64) -> Result<(), minicbor::decode::Error> {
    if definite(decoder)? == len {
        Ok(())
    } else {
        Err(minicbor::decode::Error::message(
            "an array of another length",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{directory, file, path, symlink};
    use super::*;

    fn sample() -> Manifest {
        let owned = Entry::Directory {
            mode: Mode::new(0o750).unwrap(),
            owner: Some(Arc::new(Owner {
                user: "www".into(),
                group: "web".into(),
            })),
        };
        Manifest::from_entries([
            (path("b"), owned),
            (path("a"), directory()),
            (path("a/x"), file(b"content")),
            (path("a-b"), file(b"")),
            (path("l"), symlink("a/x")),
        ])
        .unwrap()
    }

    #[test]
    fn a_manifest_reads_back_and_keeps_its_version() {
        let manifest = sample();
        let read = Manifest::decode(&manifest.encode()).unwrap();
        assert_eq!(read, manifest);
        assert_eq!(read.version(), manifest.version());
    }

    #[test]
    fn truncated_at_any_byte_is_an_error() {
        let bytes = sample().encode();
        for len in 0..bytes.len() {
            assert!(Manifest::decode(&bytes[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn no_two_encodings_read_as_the_same_tree() {
        let (manifest, bytes) = (sample(), sample().encode());
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                if let Ok(read) = Manifest::decode(&flipped) {
                    assert_ne!(read, manifest, "byte {at}, bit {bit}");
                }
            }
        }
        assert!(matches!(
            Manifest::decode(&[bytes.as_slice(), &[0]].concat()),
            Err(DecodeManifestError::NotCanonical)
        ));
    }

    #[test]
    fn a_length_that_lies_allocates_nothing() {
        // An array that claims 2^60 entries.
        let bytes = [0x83, 0x01, 0x80, 0x9b, 0x10, 0, 0, 0, 0, 0, 0, 0];
        assert!(Manifest::decode(&bytes).is_err());
    }
}
