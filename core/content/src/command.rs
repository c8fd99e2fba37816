//! The primitives of an assignment's body (ASSIGN-07), with paths spelled out.

use std::sync::Arc;

use bellwether_types::TreePath;

use crate::manifest::{Mode, Owner, Timestamp};

/// One step from the base tree to the target tree. Steps are valid in the order given, each on
/// the tree that the ones before it left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A new, empty directory.
    CreateDirectory {
        /// Where; its parent is there already.
        path: TreePath,
        /// Permissions.
        mode: Mode,
        /// Owner; `None` is the site's.
        owner: Option<Arc<Owner>>,
    },
    /// A file or a symbolic link goes.
    RemoveFile {
        /// Which.
        path: TreePath,
    },
    /// A directory goes, with all that is left in it.
    RemoveDirectory {
        /// Which.
        path: TreePath,
    },
    /// An entry gets another name, a directory with all that it holds.
    Move {
        /// What it is called now.
        from: TreePath,
        /// A name that is free.
        to: TreePath,
    },
    /// A file of the *base* tree appears here as well, in place of a file if one is there.
    Copy {
        /// What the base calls it, whatever became of it since.
        from: TreePath,
        /// Where it appears.
        to: TreePath,
    },
    /// A symbolic link, in place of another if one is there.
    Symlink {
        /// Where.
        path: TreePath,
        /// Where it leads.
        target: Box<[u8]>,
        /// Owner; `None` is the site's.
        owner: Option<Arc<Owner>>,
    },
    /// An entry keeps its content and gets other attributes.
    SetAttributes {
        /// Which.
        path: TreePath,
        /// Permissions; a symbolic link has none and ignores them.
        mode: Mode,
        /// Owner; `None` is the site's.
        owner: Option<Arc<Owner>>,
        /// For a file, when its content was first seen.
        modified: Option<Timestamp>,
    },
    /// A file whose content is in the data file, in place of a file if one is there.
    WriteFile(WriteFile),
}

/// A file whose content comes in the data file, after that of the `WriteFile`s before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteFile {
    /// Where.
    pub path: TreePath,
    /// Permissions.
    pub mode: Mode,
    /// Owner; `None` is the site's.
    pub owner: Option<Arc<Owner>>,
    /// Bytes of content.
    pub size: u64,
    /// When this content was first seen.
    pub modified: Timestamp,
    /// The file of the base tree that the content is expressed against.
    pub base: Option<TreePath>,
}
