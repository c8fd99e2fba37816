use std::fmt;
use std::sync::Arc;

use bellwether_types::{Hash, TreePath};

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A directory, perhaps empty.
    Directory {
        /// Its permissions.
        mode: Mode,
        /// Who owns it; `None` is the owner of the site.
        owner: Option<Arc<Owner>>,
    },
    /// A regular file.
    File(File),
    /// A symbolic link that stays within the tree.
    Symlink {
        /// Where it leads, relative to the directory that holds it.
        target: Box<[u8]>,
        /// Who owns it; `None` is the owner of the site.
        owner: Option<Arc<Owner>>,
    },
}

/// A regular file of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its permissions.
    pub mode: Mode,
    /// Who owns it; `None` is the owner of the site.
    pub owner: Option<Arc<Owner>>,
    /// Bytes.
    pub size: u64,
    /// Of the content.
    pub hash: Hash,
    /// When this content was first seen: the same on every node, so that `ETag` and
    /// `Last-Modified` agree.
    pub modified: Timestamp,
}

/// Permission bits, at most `0o7777`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mode(u16);

/// An owner by name, for trees whose owners are kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// The user's name on the nodes.
    pub user: String,
    /// The group's name on the nodes.
    pub group: String,
}

/// A time as file systems keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp {
    /// Since 1970-01-01 UTC.
    pub seconds: i64,
    /// 0 to 999,999,999.
    pub nanoseconds: u32,
}

/// Why an entry is not acceptable in any tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Permission bits beyond `0o7777`.
    #[error("mode {0:o} has unknown bits")]
    Mode(u32),
    /// Nanoseconds of a second or more.
    #[error("{0} nanoseconds are a second or more")]
    Nanoseconds(u32),
    /// A user or group name is empty, too long, or has a colon, a slash or NUL.
    #[error("owner `{0}` is not a user and group name")]
    Owner(String),
    /// A symbolic link that could lead out of the tree.
    #[error("the link leads to `{target}`, {reason}")]
    Symlink {
        /// Where it leads, escaped.
        target: String,
        /// What is wrong with that.
        reason: &'static str,
    },
}

impl Entry {
    /// Who owns the entry; `None` is the owner of the site.
    pub fn owner(&self) -> Option<&Arc<Owner>> {
        match self {
            Self::Directory { owner, .. } | Self::Symlink { owner, .. } => owner.as_ref(),
            Self::File(file) => file.owner.as_ref(),
        }
    }

    /// What kind of entry it is, in a word.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Directory { .. } => "directory",
            Self::File(_) => "file",
            Self::Symlink { .. } => "symbolic link",
        }
    }

    /// Whether the entry may stand at `path` of a tree.
    pub(super) fn check(&self, path: &TreePath) -> Result<(), EntryError> {
        if let Some(owner) = self.owner() {
            owner.check()?;
        }
        match self {
            Self::Symlink { target, .. } => check_target(path, target),
            _ => Ok(()),
        }
    }
}

/// The parents of a link are directories, so leading `..` components climb exactly as they read.
/// Behind the first name they need not: that name may be a link itself. So `..` is accepted only
/// in front, and no more of it than there are directories above.
fn check_target(path: &TreePath, target: &[u8]) -> Result<(), EntryError> {
    let fault = |reason| {
        Err(EntryError::Symlink {
            target: target.escape_ascii().to_string(),
            reason,
        })
    };
    if target.is_empty() || target.contains(&0) {
        return fault("which is no path");
    }
    if target.len() > TreePath::LEN_MAX {
        return fault("which is longer than 4095 bytes");
    }
    if target[0] == b'/' {
        return fault("an absolute path: links must stay within the site");
    }
    let depth = path.components().count() - 1;
    let names = target
        .split(|&b| b == b'/')
        .filter(|name| !matches!(*name, b"" | b"."));
    let climbs = names.clone().take_while(|name| *name == b"..").count();
    if climbs > depth {
        return fault("which is outside the site");
    }
    if names.skip(climbs).any(|name| name == b"..") {
        return fault("which has `..` behind a name and could leave the site through another link");
    }
    Ok(())
}

impl Mode {
    const ALL: u16 = 0o7777;
    const SET_ID: u16 = 0o6000;

    /// What symbolic links are said to have.
    pub(crate) const LINK: Self = Self(0o777);

    /// Checks that `bits` has permission bits only.
    pub fn new(bits: u32) -> Result<Self, EntryError> {
        match u16::try_from(bits) {
            Ok(bits) if bits & !Self::ALL == 0 => Ok(Self(bits)),
            _ => Err(EntryError::Mode(bits)),
        }
    }

    /// The bits.
    pub fn bits(self) -> u32 {
        self.0.into()
    }

    /// Whether a file of this mode runs as its owner or group, which policy refuses by default.
    pub fn sets_id(self) -> bool {
        self.0 & Self::SET_ID != 0
    }
}

impl fmt::Debug for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0o{:o}", self.0)
    }
}

impl Owner {
    const NAME_LEN_MAX: usize = 255;

    fn check(&self) -> Result<(), EntryError> {
        let valid = |name: &str| {
            (1..=Self::NAME_LEN_MAX).contains(&name.len()) && !name.contains([':', '/', '\0'])
        };
        if valid(&self.user) && valid(&self.group) {
            Ok(())
        } else {
            Err(EntryError::Owner(format!("{}:{}", self.user, self.group)))
        }
    }
}

impl Timestamp {
    /// Checks that `nanoseconds` are less than a second.
    pub fn new(seconds: i64, nanoseconds: u32) -> Result<Self, EntryError> {
        if nanoseconds < 1_000_000_000 {
            Ok(Self {
                seconds,
                nanoseconds,
            })
        } else {
            Err(EntryError::Nanoseconds(nanoseconds))
        }
    }
}
