use std::fmt;
use std::io;
use std::path::PathBuf;

use bellwether_content::ManifestError;
use bellwether_content::manifest::EntryError;
use bellwether_types::{PathError, TreePath};
use rustix::fs::FileType;

/// Why a tree could not be read into a manifest. Nothing on disk was changed.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The tree cannot be opened.
    #[error("cannot open the directory {}", root.display())]
    Root {
        /// Where it should be.
        root: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An entry cannot be opened, listed or read.
    #[error("{path}: cannot {action}")]
    Io {
        /// The entry.
        path: Place,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// It changed each time it was looked at.
    #[error("{path}: keeps changing while it is read")]
    Changing {
        /// The file or directory.
        path: Place,
    },
    /// A device, socket or FIFO.
    #[error("{path}: is a {kind}, which no site can hold")]
    Special {
        /// The entry.
        path: TreePath,
        /// What it is.
        kind: SpecialKind,
    },
    /// A program that would run as its owner or group on every node.
    #[error("{path}: has mode {mode:04o}, which sets the user or group id of who runs it")]
    SetId {
        /// The file.
        path: TreePath,
        /// Its permission bits.
        mode: u32,
    },
    /// A program with privileges beyond those of who runs it.
    #[error("{path}: has file capabilities, which are not distributed")]
    Capability {
        /// The file.
        path: TreePath,
    },
    /// Owners are kept by name, and this one has none.
    #[error("{path}: {role} {id} has no name here")]
    Nameless {
        /// The entry.
        path: TreePath,
        /// User or group.
        role: &'static str,
        /// Its number.
        id: u32,
    },
    /// The tree is nested too deeply.
    #[error(transparent)]
    Path(#[from] PathError),
    /// An entry that no tree may have.
    #[error("{path}: {fault}")]
    Entry {
        /// The entry.
        path: TreePath,
        /// What is wrong.
        fault: EntryError,
    },
    /// Entries that do not make a tree, such as a link that leads out of it.
    #[error(transparent)]
    Tree(#[from] ManifestError),
}

/// A directory or file of the tree; `None` is its root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place(pub Option<TreePath>);

/// An entry that is neither file, directory nor symbolic link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SpecialKind {
    /// A block or character device.
    Device,
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
    /// Something this program does not know.
    Unknown,
}

impl SpecialKind {
    pub(super) fn of(kind: FileType) -> Self {
        match kind {
            FileType::BlockDevice | FileType::CharacterDevice => Self::Device,
            FileType::Fifo => Self::Fifo,
            FileType::Socket => Self::Socket,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for SpecialKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Device => "device",
            Self::Fifo => "FIFO",
            Self::Socket => "socket",
            Self::Unknown => "thing of unknown kind",
        })
    }
}

impl Place {
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_ref().map_or(b"", TreePath::as_bytes)
    }
}

impl From<&TreePath> for Place {
    fn from(path: &TreePath) -> Self {
        Self(Some(path.clone()))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(path) => fmt::Display::fmt(path, f),
            None => f.write_str("the top directory"),
        }
    }
}
