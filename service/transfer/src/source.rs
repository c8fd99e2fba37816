use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use bellwether_types::{Hash, TreePath};

use crate::parcel::{Parcel, ParcelFile};

/// Files that are sent: their bytes end to end.
#[derive(Debug)]
pub(crate) struct Source {
    files: Vec<SourceFile>,
    /// The file that was read last, and its number.
    open: Mutex<Option<(usize, File)>>,
}

#[derive(Debug)]
struct SourceFile {
    path: PathBuf,
    /// Where its bytes begin.
    offset: u64,
    len: u64,
}

/// What cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It cannot be read.
    #[error("cannot read {path}", path = path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It is neither a file nor a directory.
    #[error("{path} is neither a file nor a directory: leave it out", path = path.display())]
    Kind {
        /// What it is called.
        path: PathBuf,
    },
    /// Its name cannot be used elsewhere.
    #[error("{path} has a name that receivers cannot use: rename it", path = path.display())]
    Name {
        /// What it is called.
        path: PathBuf,
    },
    /// Two of them would be one at the receivers.
    #[error("two files would be called {0} at the receivers: send their directory instead")]
    Twice(TreePath),
    /// It changed while it was read.
    #[error("{path} changed while it was read: send it again", path = path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// No files.
    #[error("there is nothing to send")]
    Nothing,
}

/// Blocks of this length, and below [`SMALL_LEN`] of a quarter of it.
const BLOCK_LEN: u32 = 1 << 20;
const SMALL_LEN: u64 = 64 << 20;

impl Source {
    /// Opens files, and directories with all they hold, and hashes them. The parcel that says what they are.
    pub(crate) fn open(paths: &[PathBuf]) -> Result<(Self, Parcel), SourceError> {
        let mut files = Vec::new();
        for path in paths {
            // `.` and `..` have no name: what they hold comes without a directory around it.
            let name = path.file_name().map(|name| name.as_bytes().to_vec());
            let name = name.unwrap_or_default();
            collect(path, name, &mut files)?;
        }
        files.sort_by(|(one, ..), (other, ..)| one.cmp(other));
        if let Some(twice) = files.windows(2).find(|two| two[0].0 == two[1].0) {
            return Err(SourceError::Twice(twice[0].0.clone()));
        }
        if files.is_empty() {
            return Err(SourceError::Nothing);
        }
        let mut source = Self {
            files: Vec::new(),
            open: Mutex::new(None),
        };
        let mut listed = Vec::new();
        let mut offset = 0;
        for (name, path, len, is_executable) in files {
            listed.push(ParcelFile {
                path: name,
                len,
                is_executable,
            });
            source.files.push(SourceFile { path, offset, len });
            offset += len;
        }
        let block_len = match offset {
            len if len < SMALL_LEN => BLOCK_LEN / 4,
            _ => BLOCK_LEN,
        };
        let hashes = source.hash(block_len)?;
        let parcel = Parcel::new(listed, block_len, hashes);
        Ok((source, parcel))
    }

    fn hash(&self, block_len: u32) -> Result<Vec<Hash>, SourceError> {
        let mut hashes = Vec::new();
        let mut block = Vec::with_capacity(block_len as usize);
        for file in &self.files {
            let fault = |source| SourceError::Read {
                path: file.path.clone(),
                source,
            };
            let mut reader = File::open(&file.path).map_err(fault)?;
            let mut rest = file.len;
            while rest > 0 {
                let room = u64::from(block_len) - block.len() as u64;
                let take = room.min(rest);
                let read = (&mut reader)
                    .take(take)
                    .read_to_end(&mut block)
                    .map_err(fault)?;
                if read as u64 != take {
                    let path = file.path.clone();
                    return Err(SourceError::Changed { path });
                }
                rest -= take;
                if block.len() == block_len as usize {
                    hashes.push(Hash::of(&block));
                    block.clear();
                }
            }
        }
        if !block.is_empty() {
            hashes.push(Hash::of(&block));
        }
        Ok(hashes)
    }

    /// Fills `bytes` from `offset` on.
    pub(crate) fn read(&self, mut offset: u64, mut bytes: &mut [u8]) -> io::Result<()> {
        let end = |file: &SourceFile| file.offset + file.len;
        let mut number = self.files.partition_point(|file| end(file) <= offset);
        while !bytes.is_empty() {
            let file = self.files.get(number).ok_or(io::ErrorKind::UnexpectedEof)?;
            let len = (end(file) - offset).min(bytes.len() as u64) as usize;
            let (now, rest) = bytes.split_at_mut(len);
            if len > 0 {
                self.read_file(number, offset - file.offset, now)?;
            }
            (bytes, offset, number) = (rest, offset + len as u64, number + 1);
        }
        Ok(())
    }

    fn read_file(&self, number: usize, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let mut open = self
            .open
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let is_open = open.as_ref().is_some_and(|(known, _)| *known == number);
        if !is_open {
            *open = Some((number, File::open(&self.files[number].path)?));
        }
        let (_, file) = open.as_ref().expect("it was opened just now");
        file.read_exact_at(bytes, offset)
    }
}

type Found = (TreePath, PathBuf, u64, bool);

fn collect(path: &Path, name: Vec<u8>, files: &mut Vec<Found>) -> Result<(), SourceError> {
    let fault = |source| SourceError::Read {
        path: path.to_owned(),
        source,
    };
    let metadata = fs::metadata(path).map_err(fault)?;
    if metadata.is_dir() {
        for entry in fs::read_dir(path).map_err(fault)? {
            let entry = entry.map_err(fault)?;
            // What a link below a directory leads to is not part of it.
            if entry.file_type().map_err(fault)?.is_symlink() {
                return Err(SourceError::Kind { path: entry.path() });
            }
            let entry_name = entry.file_name();
            let below = match name.as_slice() {
                [] => entry_name.as_bytes().to_vec(),
                name => [name, b"/", entry_name.as_bytes()].concat(),
            };
            collect(&entry.path(), below, files)?;
        }
        return Ok(());
    }
    if !metadata.is_file() {
        return Err(SourceError::Kind {
            path: path.to_owned(),
        });
    }
    let name = TreePath::new(name).map_err(|_| SourceError::Name {
        path: path.to_owned(),
    })?;
    let is_executable = metadata.permissions().mode() & 0o100 != 0;
    files.push((name, path.to_owned(), metadata.len(), is_executable));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_many_files_are_read_across_their_bounds() {
        let home = tempfile::tempdir().unwrap();
        let tree = home.path().join("tree");
        fs::create_dir_all(tree.join("sub")).unwrap();
        let mut all = Vec::new();
        for number in 0..30u8 {
            let bytes = vec![number; usize::from(number) * 100];
            fs::write(tree.join(format!("sub/{number:02}")), &bytes).unwrap();
            all.extend(bytes);
        }
        let (source, parcel) = Source::open(&[tree]).unwrap();
        assert_eq!(parcel.data_len(), all.len() as u64);
        assert_eq!(parcel.files[3].path.as_bytes(), b"tree/sub/03");
        assert_eq!(parcel.hash(0), Some(&Hash::of(&all)));
        for (offset, len) in [(0, all.len()), (99, 1), (100, 5_000), (all.len() - 1, 1)] {
            let mut bytes = vec![0; len];
            source.read(offset as u64, &mut bytes).unwrap();
            assert_eq!(bytes, all[offset..offset + len]);
        }
        source.read(all.len() as u64, &mut [0]).unwrap_err();
    }

    #[test]
    fn what_cannot_be_sent_is_named() {
        let home = tempfile::tempdir().unwrap();
        let refused = |path: &str| Source::open(&[home.path().join(path)]).unwrap_err();
        assert!(matches!(refused("nothing"), SourceError::Read { .. }));
        fs::create_dir(home.path().join("empty")).unwrap();
        assert!(matches!(refused("empty"), SourceError::Nothing));
        fs::create_dir(home.path().join("links")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", home.path().join("links/x")).unwrap();
        assert!(matches!(refused("links"), SourceError::Kind { .. }));
    }
}
