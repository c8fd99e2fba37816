use std::collections::BTreeSet;

use bellwether_types::{Hash, TreePath};
use bellwether_wire::transfer::AssignmentId;
use minicbor::{Decode, Encode};

/// Files as they travel without a site: a head that names them and has the hash of each block of their bytes, put end to
/// end; its own hash names the whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parcel {
    pub(crate) files: Vec<ParcelFile>,
    pub(crate) block_len: u32,
    hashes: Vec<Hash>,
}

/// A file of a parcel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ParcelFile {
    pub(crate) path: TreePath,
    pub(crate) len: u64,
    pub(crate) is_executable: bool,
}

/// A head that is none, whoever sealed it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the head of the transfer is malformed: {0}")]
pub(crate) struct ParcelError(&'static str);

#[derive(Encode, Decode)]
struct Written {
    #[n(0)]
    format: u32,
    #[n(1)]
    files: Vec<WrittenFile>,
    #[n(2)]
    block_len: u32,
    #[n(3)]
    #[cbor(with = "minicbor::bytes")]
    hashes: Vec<u8>,
}

#[derive(Encode, Decode)]
struct WrittenFile {
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    path: Vec<u8>,
    #[n(1)]
    len: u64,
    #[n(2)]
    is_executable: bool,
}

const FORMAT: u32 = 1;

impl Parcel {
    /// These files, and the hashes of the blocks of all their bytes.
    pub(crate) fn new(files: Vec<ParcelFile>, block_len: u32, hashes: Vec<Hash>) -> Self {
        Self {
            files,
            block_len,
            hashes,
        }
    }

    /// Bytes of all files.
    pub(crate) fn data_len(&self) -> u64 {
        self.files.iter().map(|file| file.len).sum()
    }

    /// What a block must hash to.
    pub(crate) fn hash(&self, block: u32) -> Option<&Hash> {
        self.hashes.get(block as usize)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let files = self.files.iter().map(|file| WrittenFile {
            path: file.path.as_bytes().to_vec(),
            len: file.len,
            is_executable: file.is_executable,
        });
        let written = Written {
            format: FORMAT,
            files: files.collect(),
            block_len: self.block_len,
            hashes: self.hashes.iter().flat_map(|hash| hash.0).collect(),
        };
        minicbor::to_vec(written).expect("memory takes what is written")
    }

    pub(crate) fn id(head: &[u8]) -> AssignmentId {
        AssignmentId(Hash::of(head))
    }

    /// Reads a head for `data_len` bytes. Whoever has the segment's key may have written it.
    pub(crate) fn decode(head: &[u8], data_len: u64) -> Result<Self, ParcelError> {
        let fault = |what| move |_| ParcelError(what);
        let written: Written = minicbor::decode(head).map_err(fault("it cannot be read"))?;
        if written.format != FORMAT {
            return Err(ParcelError("another version of this program wrote it"));
        }
        let mut paths = BTreeSet::new();
        let mut files = Vec::new();
        let mut rest = data_len;
        for file in written.files {
            let path = TreePath::new(file.path).map_err(|_| ParcelError("a path is none"))?;
            rest = rest
                .checked_sub(file.len)
                .ok_or(ParcelError("its files are longer than what is sent"))?;
            if !paths.insert(path.clone()) {
                return Err(ParcelError("a path is there twice"));
            }
            files.push(ParcelFile {
                path,
                len: file.len,
                is_executable: file.is_executable,
            });
        }
        let is_below_file = |path: &TreePath| {
            let mut above = path.parent();
            while let Some(directory) = above {
                if paths.contains(&directory) {
                    return true;
                }
                above = directory.parent();
            }
            false
        };
        if rest > 0 || paths.iter().any(is_below_file) {
            return Err(ParcelError("its files are not what is sent"));
        }
        let (hashes, odd) = written.hashes.as_chunks::<32>();
        let blocks = data_len.div_ceil(u64::from(written.block_len.max(1)));
        if !odd.is_empty() || hashes.len() as u64 != blocks || written.block_len == 0 {
            return Err(ParcelError("its hashes do not fit its blocks"));
        }
        Ok(Self {
            files,
            block_len: written.block_len,
            hashes: hashes.iter().map(|hash| Hash(*hash)).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parcel(paths: &[&str]) -> Parcel {
        let files = paths.iter().map(|path| ParcelFile {
            path: TreePath::new(path.as_bytes()).unwrap(),
            len: 5,
            is_executable: true,
        });
        let files: Vec<_> = files.collect();
        let blocks = (5 * files.len()).div_ceil(4);
        Parcel::new(files, 4, vec![Hash([7; 32]); blocks])
    }

    #[test]
    fn a_head_reads_as_it_was_written_and_cut_anywhere_it_is_refused() {
        let parcel = parcel(&["a", "b/c"]);
        let head = parcel.encode();
        assert_eq!(Parcel::decode(&head, 10).unwrap(), parcel);
        for len in 0..head.len() {
            Parcel::decode(&head[..len], 10).unwrap_err();
        }
    }

    #[test]
    fn heads_that_contradict_themselves_are_refused() {
        let refused = |paths: &[&str], len| Parcel::decode(&parcel(paths).encode(), len).is_err();
        assert!(!refused(&["a", "b"], 10));
        assert!(refused(&["a", "b"], 9), "more files than bytes");
        assert!(refused(&["a", "b"], 11), "more bytes than files");
        assert!(refused(&["a", "a"], 10), "a file twice");
        assert!(refused(&["a", "a/b"], 10), "a file that is a directory");
        let mut fewer = parcel(&["a", "b"]);
        fewer.hashes.pop();
        assert!(Parcel::decode(&fewer.encode(), 10).is_err());
    }

    #[test]
    fn no_path_leaves_the_place_for_what_is_received() {
        for path in ["/etc/passwd", "../a", "a/../../b", "", "a//b", "a\0b"] {
            let written = Written {
                format: FORMAT,
                files: vec![WrittenFile {
                    path: path.as_bytes().to_vec(),
                    len: 0,
                    is_executable: false,
                }],
                block_len: 4,
                hashes: Vec::new(),
            };
            let head = minicbor::to_vec(written).unwrap();
            Parcel::decode(&head, 0).unwrap_err();
        }
    }
}
