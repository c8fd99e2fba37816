//! Hashes of files, read through a bounded buffer: small files by one thread each, large ones
//! piece by piece by as many threads as have nothing else to do.
//!
//! BLAKE3 is a tree: the hash of an aligned piece does not depend on what lies before it, so any
//! thread can hash any piece, and the pieces' values are joined at the end.

use std::io;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bellwether_types::Hash;
use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root,
};
use rustix::io::{pread, retry_on_intr};

/// Files above this are shared among threads, in bytes.
pub(super) const SHARED_LEN_MIN: u64 = 4 * PIECE_LEN;

/// A power of two, so that every piece but the last is a whole subtree.
const PIECE_LEN: u64 = 1 << 20;

/// Where file content is read to: as much as stays in a core's own cache until it is hashed, and
/// starting at a page, because some processors copy to other addresses at a fifth of the speed.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
}

impl Buffer {
    const LEN: usize = 128 << 10;
    const PAGE_LEN: usize = 4096;

    pub(super) fn new() -> Self {
        let bytes = vec![0; Self::LEN + Self::PAGE_LEN];
        let start = bytes
            .as_ptr()
            .align_offset(Self::PAGE_LEN)
            .min(Self::PAGE_LEN);
        Self { bytes, start }
    }

    pub(super) fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..][..Self::LEN]
    }
}

/// Hashes the first `len` bytes; `None` if the file is shorter.
pub(super) fn hash_whole(file: &OwnedFd, len: u64, buffer: &mut [u8]) -> io::Result<Option<Hash>> {
    let mut hasher = blake3::Hasher::new();
    let complete = read_range(file, 0, len, buffer, |bytes| {
        hasher.update(bytes);
    })?;
    Ok(complete.then(|| Hash(hasher.finalize().into())))
}

/// A large file whose pieces are hashed by several threads.
#[derive(Debug)]
pub(super) struct SharedFile {
    file: OwnedFd,
    len: u64,
    /// The next piece that nobody has taken.
    next: AtomicUsize,
    /// Pieces that are not done.
    left: AtomicUsize,
    /// Set when a piece could not be read whole: the file changed.
    shrunk: AtomicBool,
    values: Mutex<Vec<ChainingValue>>,
}

impl SharedFile {
    pub(super) fn new(file: OwnedFd, len: u64) -> Self {
        let pieces = usize::try_from(len.div_ceil(PIECE_LEN)).unwrap_or(usize::MAX);
        debug_assert!(
            pieces >= 2,
            "a single piece would be the root, which is hashed otherwise"
        );
        Self {
            file,
            len,
            next: AtomicUsize::new(0),
            left: AtomicUsize::new(pieces),
            shrunk: AtomicBool::new(false),
            values: Mutex::new(vec![ChainingValue::default(); pieces]),
        }
    }

    pub(super) fn file(&self) -> &OwnedFd {
        &self.file
    }

    /// Hashes pieces until all are taken, or `hashed` says to stop. Whoever finished the last one,
    /// and nobody else, gets true and concludes.
    pub(super) fn help(
        &self,
        buffer: &mut [u8],
        hashed: impl Fn(u64) -> ControlFlow<()>,
    ) -> io::Result<bool> {
        let mut concludes = false;
        loop {
            let piece = self.next.fetch_add(1, Ordering::Relaxed);
            let start = piece as u64 * PIECE_LEN;
            if start >= self.len {
                return Ok(concludes);
            }
            let len = PIECE_LEN.min(self.len - start);
            self.hash_piece(piece, start, len, buffer)?;
            if hashed(len).is_break() {
                return Ok(false);
            }
            concludes = self.left.fetch_sub(1, Ordering::AcqRel) == 1;
        }
    }

    fn hash_piece(&self, piece: usize, start: u64, len: u64, buffer: &mut [u8]) -> io::Result<()> {
        if self.shrunk.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut hasher = blake3::Hasher::new();
        hasher.set_input_offset(start);
        let complete = read_range(&self.file, start, len, buffer, |bytes| {
            hasher.update(bytes);
        })?;
        if complete {
            let mut values = self
                .values
                .lock()
                .expect("no thread panics while it stores a value");
            values[piece] = hasher.finalize_non_root();
        } else {
            self.shrunk.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The hash of the whole, once all pieces are done; `None` if the file was shorter than that.
    pub(super) fn conclude(&self) -> Option<Hash> {
        debug_assert_eq!(self.left.load(Ordering::Acquire), 0);
        if self.shrunk.load(Ordering::Relaxed) {
            return None;
        }
        let values = self
            .values
            .lock()
            .expect("no thread panics while it stores a value");
        let (left, right) = halves(&values);
        let root = merge_subtrees_root(&subtree(left), &subtree(right), Mode::Hash);
        Some(Hash(root.into()))
    }
}

fn subtree(values: &[ChainingValue]) -> ChainingValue {
    if let [value] = values {
        return *value;
    }
    let (left, right) = halves(values);
    merge_subtrees_non_root(&subtree(left), &subtree(right), Mode::Hash)
}

/// The left half is the largest power of two that leaves something on the right.
fn halves(values: &[ChainingValue]) -> (&[ChainingValue], &[ChainingValue]) {
    values.split_at(values.len().next_power_of_two() / 2)
}

/// Passes on a range of the file, one buffer at a time; false if the file ends within it.
fn read_range(
    file: &OwnedFd,
    start: u64,
    len: u64,
    buffer: &mut [u8],
    mut each: impl FnMut(&[u8]),
) -> io::Result<bool> {
    let end = start + len;
    let mut at = start;
    while at < end {
        let want = usize::try_from(end - at)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let read = retry_on_intr(|| pread(file, &mut buffer[..want], at))?;
        if read == 0 {
            return Ok(false);
        }
        each(&buffer[..read]);
        at += read as u64;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    const GO_ON: ControlFlow<()> = ControlFlow::Continue(());

    fn file_with(content: &[u8]) -> OwnedFd {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, content).unwrap();
        File::open(path).unwrap().into()
    }

    #[test]
    fn a_shared_file_has_the_same_hash_as_one_read_at_once() {
        let piece = PIECE_LEN as usize;
        let content: Vec<u8> = (0..7 * piece + 1).map(|i| ((i * i) >> 7) as u8).collect();
        for len in [
            piece + 1,
            2 * piece,
            3 * piece - 1,
            4 * piece,
            5 * piece + 77,
            content.len(),
        ] {
            let shared = SharedFile::new(file_with(&content[..len]), len as u64);
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| shared.help(&mut [0; 4096], |_| GO_ON).unwrap());
                }
            });
            assert_eq!(
                shared.conclude(),
                Some(Hash::of(&content[..len])),
                "{len} bytes"
            );
        }
    }

    #[test]
    fn exactly_one_helper_concludes() {
        let len = 9 * PIECE_LEN;
        let shared = SharedFile::new(file_with(&vec![7; len as usize]), len);
        let helpers = std::thread::scope(|scope| {
            let help = || shared.help(&mut [0; 65536], |_| GO_ON).unwrap();
            let helpers = [(); 4].map(|()| scope.spawn(help));
            helpers.map(|helper| helper.join().unwrap())
        });
        assert_eq!(helpers.iter().filter(|&&concludes| concludes).count(), 1);
    }

    #[test]
    fn a_file_that_ends_early_has_no_hash() {
        let shared = SharedFile::new(file_with(&[1; 100]), 2 * PIECE_LEN);
        assert!(shared.help(&mut [0; 4096], |_| GO_ON).unwrap());
        assert_eq!(shared.conclude(), None);
        assert_eq!(
            hash_whole(&file_with(b"abc"), 4, &mut [0; 16]).unwrap(),
            None
        );
    }
}
