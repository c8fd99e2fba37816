//! Contents on their way in: piece by piece from afar, or from a tree on this machine.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{MutexGuard, PoisonError};

use bellwether_content::File;
use bellwether_types::{ByteSize, Hash, TreePath};

use super::{Content, Depot, DepotError};
use crate::disk::{Disk, Errno};
use crate::error::{During, Fault};
use crate::layout;
use crate::parallel;
use crate::publish::{Source, SourceError};

/// What came from a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Imported {
    /// Contents that were not here.
    pub contents: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// A content is copied in pieces of this length.
const PIECE_LEN: usize = 256 << 10;

impl<D: Disk> Depot<D> {
    /// How much of a content came so far; all of it once it is here.
    pub fn received(&self, content: Content) -> Result<u64, DepotError> {
        let _mine = self.begin(content.hash)?;
        self.len_received(content)
    }

    /// Takes a piece of a content; returns how much of it is here. A content that is whole is proved, and counts as
    /// here from then on; to repeat a piece of it does no harm.
    pub fn receive(&self, content: Content, offset: u64, piece: &[u8]) -> Result<u64, DepotError> {
        let Content { hash, size } = content;
        let _mine = self.begin(hash)?;
        let received = self.len_received(content)?;
        if received == size && self.place(content)?.is_some() {
            return Ok(size);
        }
        let end = offset.saturating_add(piece.len() as u64);
        if end > size {
            return Err(DepotError::TooLong { hash, size, end });
        }
        let is_whole = offset == 0 && end == size;
        if is_whole && Hash::of(piece) != hash {
            return Err(DepotError::OtherContent { hash });
        }
        // What comes whole may as well replace the beginning of an earlier attempt.
        if offset != received && !is_whole {
            return Err(DepotError::NotNext {
                hash,
                received,
                offset,
            });
        }
        let file = self.open_incoming(&hash, offset)?;
        self.disk
            .write_at(&file, piece, offset)
            .during("write", hash)?;
        if end < size {
            return Ok(end);
        }
        if !is_whole && !self.is(&hash, &file, size)? {
            layout::remove(&self.disk, &self.incoming, hash.to_string().as_bytes())?;
            return Err(DepotError::OtherContent { hash });
        }
        self.arrived(&hash)?;
        Ok(size)
    }

    /// Copies from a tree what of it is not here, on as many threads. Fails if the tree is no longer what its manifest
    /// says.
    pub fn import(&self, source: &Source, threads: usize) -> Result<Imported, DepotError> {
        let missing = self.missing(source.manifest())?;
        let needed: u64 = missing.iter().map(|content| content.size).sum();
        let free = self.disk.space().during("read", "the free space")?.bytes;
        if free < needed {
            let (needed, free) = (ByteSize(needed), ByteSize(free));
            return Err(DepotError::NoSpace { needed, free });
        }
        let places: BTreeMap<Hash, (&TreePath, &File)> = source
            .manifest()
            .files()
            .map(|(path, file)| (file.hash, (path, file)))
            .collect();
        let bytes = AtomicU64::new(0);
        parallel::for_each(threads, missing.len(), |index| {
            let (path, file) = places[&missing[index].hash];
            bytes.fetch_add(self.copy(source, path, file)?, Ordering::Relaxed);
            Ok::<(), DepotError>(())
        })?;
        Ok(Imported {
            contents: missing.len(),
            bytes: bytes.into_inner(),
        })
    }

    fn copy(&self, source: &Source, path: &TreePath, file: &File) -> Result<u64, DepotError> {
        let (hash, size) = (file.hash, file.size);
        let _mine = self.begin(hash)?;
        let target = self.open_incoming(&hash, 0)?;
        let mut hasher = blake3::Hasher::new();
        let mut piece = vec![0; usize::try_from(size).unwrap_or(usize::MAX).min(PIECE_LEN)];
        let mut offset = 0;
        while offset < size {
            let len = usize::try_from(size - offset)
                .unwrap_or(usize::MAX)
                .min(PIECE_LEN);
            let piece = &mut piece[..len];
            source.read_at(path, offset, piece)?;
            hasher.update(piece);
            self.disk
                .write_at(&target, piece, offset)
                .during("write", hash)?;
            offset += len as u64;
        }
        if Hash(hasher.finalize().into()) != hash {
            layout::remove(&self.disk, &self.incoming, hash.to_string().as_bytes())?;
            return Err(SourceError::Changed {
                path: source.place(path),
            }
            .into());
        }
        self.arrived(&hash)?;
        Ok(size)
    }

    /// What was proved counts as here.
    fn arrived(&self, hash: &Hash) -> Result<(), Fault> {
        let name = hash.to_string();
        self.disk
            .rename(
                &self.incoming,
                name.as_bytes(),
                &self.fresh,
                name.as_bytes(),
            )
            .during("move", name)
    }

    /// How much of a content is here. After a crash a file may be long enough and hold something else.
    fn len_received(&self, content: Content) -> Result<u64, DepotError> {
        let Content { hash, size } = content;
        if self.place(content)?.is_some() {
            return Ok(size);
        }
        let name = hash.to_string();
        let len = match self.disk.stat(&self.incoming, name.as_bytes()) {
            Ok(stat) => stat.size,
            Err(Errno::NOENT) => 0,
            Err(errno) => return Err(errno).during("read", hash).map_err(Into::into),
        };
        if len < size || len == 0 {
            return Ok(len);
        }
        let file = self.disk.open_file(&self.incoming, name.as_bytes());
        if self.is(&hash, &file.during("open", hash)?, len)? {
            self.arrived(&hash)?;
            return Ok(size);
        }
        layout::remove(&self.disk, &self.incoming, name.as_bytes())?;
        Ok(0)
    }

    /// The file that a content comes into, with nothing in it unless it goes on.
    fn open_incoming(&self, hash: &Hash, offset: u64) -> Result<D::File, Fault> {
        let name = hash.to_string();
        if offset > 0 {
            return self
                .disk
                .open_file_to_write(&self.incoming, name.as_bytes())
                .during("open", name);
        }
        layout::remove(&self.disk, &self.incoming, name.as_bytes())?;
        self.disk
            .create_file(&self.incoming, name.as_bytes(), 0o600)
            .during("create", name)
    }

    /// Makes a content this caller's until the guard is dropped.
    fn begin(&self, hash: Hash) -> Result<Mine<'_, D>, DepotError> {
        if self.lock_busy().insert(hash) {
            Ok(Mine { depot: self, hash })
        } else {
            Err(DepotError::Busy { hash })
        }
    }

    fn lock_busy(&self) -> MutexGuard<'_, std::collections::BTreeSet<Hash>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Mine<'a, D: Disk> {
    depot: &'a Depot<D>,
    hash: Hash,
}

impl<D: Disk> Drop for Mine<'_, D> {
    fn drop(&mut self) {
        self.depot.lock_busy().remove(&self.hash);
    }
}
