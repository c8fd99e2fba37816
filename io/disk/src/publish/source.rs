use std::borrow::Cow;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use bellwether_content::{Entry, Manifest, Timestamp};
use bellwether_types::TreePath;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, StatxFlags, openat, openat2, statx};

use crate::scan::{Fingerprint, Fingerprints, Scan};

/// A tree whose contents can be read, and are what its manifest says.
#[derive(Debug)]
pub struct Source {
    root: Option<OwnedFd>,
    path: PathBuf,
    manifest: Manifest,
    proof: Proof,
}

/// How it shows that a file still has the content of the manifest.
#[derive(Debug)]
enum Proof {
    /// It has the fingerprint that the scan hashed.
    Scanned([Fingerprints; 2]),
    /// It is of a release, which is never written to: it has the size and the time it was given.
    Kept,
    /// It stands in a depot under its hash, and has the size it had when it was proved.
    Stored,
}

/// Why a content could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file could not be opened or read.
    #[error("{path} cannot be read")]
    Read {
        /// The whole path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is not what it was when the tree was scanned.
    #[error("{path} changed since it was scanned: plan again when nobody writes to the tree")]
    Changed {
        /// The whole path.
        path: PathBuf,
    },
}

impl Source {
    /// A tree with nothing in it.
    pub fn empty() -> Self {
        Self {
            root: None,
            path: PathBuf::new(),
            manifest: Manifest::empty(),
            proof: Proof::Kept,
        }
    }

    /// The tree at `path` as it was just scanned.
    pub fn scanned(path: &Path, scan: Scan) -> Result<Self, SourceError> {
        Self::open(
            path,
            scan.manifest,
            Proof::Scanned([scan.fingerprints, scan.passing]),
        )
    }

    /// The tree of a release, whose manifest is kept beside it.
    pub fn kept(path: &Path, manifest: Manifest) -> Result<Self, SourceError> {
        Self::open(path, manifest, Proof::Kept)
    }

    /// A version whose contents stand in a depot.
    pub(crate) fn stored(depot: &Path, manifest: Manifest) -> Result<Self, SourceError> {
        Self::open(depot, manifest, Proof::Stored)
    }

    fn open(path: &Path, manifest: Manifest, proof: Proof) -> Result<Self, SourceError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, path, flags, Mode::empty()).map_err(|errno| SourceError::Read {
            path: path.to_owned(),
            source: errno.into(),
        })?;
        Ok(Self {
            root: Some(root),
            path: path.to_owned(),
            manifest,
            proof,
        })
    }

    /// What the tree is.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Fills `buf` from `offset` on of a file.
    pub fn read_at(&self, path: &TreePath, offset: u64, buf: &mut [u8]) -> Result<(), SourceError> {
        let read = |source: io::Error| SourceError::Read {
            path: self.place(path),
            source,
        };
        let root = self
            .root
            .as_ref()
            .ok_or_else(|| read(io::ErrorKind::NotFound.into()))?;
        let file = openat2(
            root,
            self.name(path).as_ref(),
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
        );
        let file = file.map_err(|errno| read(errno.into()))?;
        self.read_whole(&file, offset, buf).map_err(read)?;
        // Looked at after reading: what was there before was hashed, what comes after is not read.
        if self.is_unchanged(path, &file).map_err(read)? {
            Ok(())
        } else {
            Err(SourceError::Changed {
                path: self.place(path),
            })
        }
    }

    /// Where a file stands, for people.
    pub(crate) fn place(&self, path: &TreePath) -> PathBuf {
        self.path
            .join(std::ffi::OsStr::from_bytes(&self.name(path)))
    }

    /// Where a file stands beneath the root.
    fn name<'p>(&self, path: &'p TreePath) -> Cow<'p, [u8]> {
        match (&self.proof, self.manifest.get(path)) {
            (Proof::Stored, Some(Entry::File(file))) => {
                let hash = file.hash.to_string();
                format!("objects/{}/{hash}", &hash[..2]).into_bytes().into()
            }
            _ => path.as_bytes().into(),
        }
    }

    fn read_whole(&self, file: &OwnedFd, mut offset: u64, mut buf: &mut [u8]) -> io::Result<()> {
        while !buf.is_empty() {
            match rustix::io::pread(file, &mut *buf, offset) {
                // It was cut off, which the fingerprint tells.
                Ok(0) => break,
                Ok(len) => {
                    buf = &mut buf[len..];
                    offset += len as u64;
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    fn is_unchanged(&self, path: &TreePath, file: &OwnedFd) -> io::Result<bool> {
        let stat = statx(
            file.as_fd(),
            c"",
            AtFlags::EMPTY_PATH,
            StatxFlags::BASIC_STATS,
        )?;
        let Some(Entry::File(expected)) = self.manifest.get(path) else {
            return Ok(false);
        };
        Ok(match &self.proof {
            Proof::Scanned(seen) => {
                let now = Fingerprint::of(&stat);
                seen.iter()
                    .any(|seen| seen.get(&now) == Some(expected.hash))
            }
            Proof::Kept => {
                let modified = Timestamp {
                    seconds: stat.stx_mtime.tv_sec,
                    nanoseconds: stat.stx_mtime.tv_nsec,
                };
                (stat.stx_size, modified) == (expected.size, expected.modified)
            }
            Proof::Stored => stat.stx_size == expected.size,
        })
    }
}
