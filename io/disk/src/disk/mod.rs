//! What this crate asks of a file system: one step per method, every name relative to an open
//! directory, nothing followed out of the root.
//!
//! Because each change is one call, a test can stop after any of them ([`Stopping`]), and a disk
//! in memory can forget at a crash what was not synced ([`MemoryDisk`]). The rest of the crate
//! knows no other way to reach a file. The road not taken is a trait that speaks of whole trees:
//! there the interesting crashes would happen inside the implementation.

mod memory;
mod real;
mod stopping;

use std::fmt;
use std::path::Path;

use bellwether_content::Timestamp;

pub use memory::{MemoryDisk, MemoryOptions, NameRule};
pub use real::{RealDisk, RealLock};
pub use rustix::io::Errno;
pub use stopping::Stopping;

/// A step of a [`Disk`] succeeds or fails with the system's error number.
pub type Step<T> = Result<T, Errno>;

/// A file system, seen from one root directory.
///
/// `name` arguments are single components, `path` arguments may be several; neither is ever
/// followed through a symbolic link. Calls may come from several threads.
pub trait Disk: Send + Sync {
    /// An open directory.
    type Dir: Send + Sync + fmt::Debug;
    /// An open regular file.
    type File: Send + Sync + fmt::Debug;
    /// A lock, held until dropped or until the process dies.
    type Lock: Send + Sync + fmt::Debug;

    /// Where the root is, for people and hooks.
    fn path(&self) -> &Path;
    /// The root.
    fn root(&self) -> Step<Self::Dir>;

    /// Opens a directory.
    fn open_dir(&self, at: &Self::Dir, path: &[u8]) -> Step<Self::Dir>;
    /// Opens a file to read. Never blocks, whatever stands there.
    fn open_file(&self, at: &Self::Dir, path: &[u8]) -> Step<Self::File>;
    /// Opens a file that is there to read it and to write on.
    fn open_file_to_write(&self, at: &Self::Dir, path: &[u8]) -> Step<Self::File>;
    /// Opens a file to read and write.
    fn open_to_write(&self, at: &Self::Dir, name: &[u8]) -> Step<Self::File>;
    /// Reads up to `buffer.len()` bytes; 0 at the end.
    fn read_at(&self, file: &Self::File, buffer: &mut [u8], offset: u64) -> Step<usize>;
    /// Where a symbolic link leads.
    fn read_link(&self, at: &Self::Dir, name: &[u8]) -> Step<Vec<u8>>;
    /// What a directory holds, sorted by name.
    fn list(&self, at: &Self::Dir) -> Step<Vec<Listed>>;
    /// What stands at `name`.
    fn stat(&self, at: &Self::Dir, name: &[u8]) -> Step<Stat>;
    /// What is open.
    fn stat_file(&self, file: &Self::File) -> Step<Stat>;
    /// What is free for us.
    fn space(&self) -> Step<Space>;

    /// Makes a directory.
    fn create_dir(&self, at: &Self::Dir, name: &[u8], mode: u32) -> Step<()>;
    /// Makes a file that was not there, open to read and write.
    fn create_file(&self, at: &Self::Dir, name: &[u8], mode: u32) -> Step<Self::File>;
    /// Writes all of `bytes`.
    fn write_at(&self, file: &Self::File, bytes: &[u8], offset: u64) -> Step<()>;
    /// Cuts or extends a file.
    fn set_len(&self, file: &Self::File, len: u64) -> Step<()>;
    /// Gives `target`, which is empty, the content of `source` without copying it.
    fn reflink(&self, source: &Self::File, target: &Self::File) -> Step<()>;
    /// Gives a file a second name.
    fn link(&self, from: &Self::Dir, from_name: &[u8], to: &Self::Dir, to_name: &[u8]) -> Step<()>;
    /// Makes a symbolic link.
    fn symlink(&self, target: &[u8], at: &Self::Dir, name: &[u8]) -> Step<()>;
    /// Renames, replacing what was there.
    fn rename(
        &self,
        from: &Self::Dir,
        from_name: &[u8],
        to: &Self::Dir,
        to_name: &[u8],
    ) -> Step<()>;
    /// Removes a name of anything but a directory.
    fn unlink(&self, at: &Self::Dir, name: &[u8]) -> Step<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, at: &Self::Dir, name: &[u8]) -> Step<()>;
    /// Sets the permissions of a file.
    fn set_mode(&self, file: &Self::File, mode: u32) -> Step<()>;
    /// Sets the permissions of a directory.
    fn set_dir_mode(&self, dir: &Self::Dir, mode: u32) -> Step<()>;
    /// Sets the time of the last change of content.
    fn set_mtime(&self, file: &Self::File, mtime: Timestamp) -> Step<()>;
    /// Sets who owns what stands at `name`.
    fn set_owner(&self, at: &Self::Dir, name: &[u8], ids: Ids) -> Step<()>;
    /// Makes a file's content durable.
    fn sync_file(&self, file: &Self::File) -> Step<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Self::Dir) -> Step<()>;
    /// Makes everything on this file system durable.
    fn sync_all(&self) -> Step<()>;
    /// Takes the lock of the file `name`, made if it is missing, and notes `holder` in it; or
    /// tells what its holder noted.
    fn try_lock(&self, at: &Self::Dir, name: &[u8], holder: &[u8]) -> Step<TryLock<Self::Lock>>;
}

/// What became of an attempt to lock.
#[derive(Debug)]
pub enum TryLock<L> {
    /// The lock is ours until dropped.
    Held(L),
    /// Another has it, and noted this about itself.
    Busy(Vec<u8>),
}

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// The name.
    pub name: Vec<u8>,
    /// What it names.
    pub kind: Kind,
}

/// What stands at a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// A device, socket or FIFO.
    Other,
}

/// What a file system knows about a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// Bytes.
    pub size: u64,
    /// The number that all its names share.
    pub inode: u64,
    /// How many names it has.
    pub links: u64,
    /// Who owns it.
    pub ids: Ids,
    /// When its content last changed, or was said to.
    pub mtime: Timestamp,
    /// When anything about it last changed; nobody can set it.
    pub ctime: Timestamp,
}

/// A user and a group, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    /// The user.
    pub user: u32,
    /// The group.
    pub group: u32,
}

/// What is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes.
    pub bytes: u64,
    /// Files that can still be made; `u64::MAX` where the file system has no such limit.
    pub files: u64,
}

impl Kind {
    /// The kind in a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::File => "file",
            Self::Symlink => "symbolic link",
            Self::Other => "special file",
        }
    }
}
