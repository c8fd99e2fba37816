//! What can go wrong with a site on disk: each error says what failed, where, and what to do.

use std::fmt::Display;

use bellwether_content::Owner;
use bellwether_types::{ByteSize, Serial, SitePart, Term, TreePath, VersionId};

use crate::disk::{Errno, Step};
use crate::hook::HookRun;

/// A step on disk that failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot {action} {place}")]
pub struct Fault {
    /// What was being done.
    pub action: &'static str,
    /// Where, relative to the root.
    pub place: String,
    /// What the system said.
    #[source]
    pub errno: Errno,
}

/// Why something could not be done with a site. Unless a variant says otherwise, nothing that is
/// live, staged or held has changed.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// A step on disk failed.
    #[error(transparent)]
    Disk(#[from] Fault),
    /// The site was never staged here.
    #[error("there is no site `{site}` here: stage a version first")]
    SiteMissing {
        /// The site.
        site: SitePart,
    },
    /// Another has the site's lock.
    #[error("site `{site}` is busy ({holder}): try again when that is done")]
    Busy {
        /// The site.
        site: SitePart,
        /// What the holder noted about itself.
        holder: String,
    },
    /// A version that is not on this disk, or no more.
    #[error("version {version} of site `{site}` is not held here: stage it first")]
    VersionNotHeld {
        /// The site.
        site: SitePart,
        /// The version.
        version: VersionId,
    },
    /// A commit names no version, and none is staged.
    #[error("nothing is staged for site `{site}`: stage a version, or name one that is held")]
    NothingStaged {
        /// The site.
        site: SitePart,
    },
    /// A rollback names no version, and no earlier one is held.
    #[error("no version of site `{site}` from before the live one is held: stage it again")]
    NothingBefore {
        /// The site.
        site: SitePart,
    },
    /// Nothing was ever made live.
    #[error("no version of site `{site}` is live: commit one")]
    NothingLive {
        /// The site.
        site: SitePart,
    },
    /// A hook called the switch off.
    #[error("hook `{}` {}, so nothing was switched{}", .0.command.join(" "), .0.outcome, printed(.0))]
    HookFailed(HookRun),
    /// An assignment of a master that was succeeded.
    #[error("term {given} has passed: term {known} is known, and its master decides")]
    TermPassed {
        /// The assignment's.
        given: Term,
        /// The highest accepted.
        known: Term,
    },
    /// An assignment that came after a later one was staged.
    #[error("serial {given} has passed: serial {known} was staged already")]
    SerialPassed {
        /// The assignment's.
        given: Serial,
        /// The highest staged.
        known: Serial,
    },
    /// Less space than is needed.
    #[error("{needed} are needed and {free} are free: make room, or remove old releases")]
    NoSpace {
        /// What the work needs.
        needed: ByteSize,
        /// What there is.
        free: ByteSize,
    },
    /// A manifest names content that was neither given nor is held.
    #[error("{path}: its content was not given and is not held: send it in full")]
    ContentMissing {
        /// The entry.
        path: TreePath,
    },
    /// Content on disk is not what it was, and there is no intact copy.
    #[error("{path}: changed on disk behind our back, no intact copy is held: send it in full")]
    ContentDamaged {
        /// The entry.
        path: TreePath,
    },
    /// A file of the base that the base does not have.
    #[error("{path}: the base has no file of that name")]
    NotInBase {
        /// The entry.
        path: TreePath,
    },
    /// Two names that are one to this file system.
    #[error("`{path}` and `{other}` are the same name to the file system of this node")]
    NamesCollide {
        /// The second.
        path: TreePath,
        /// The first.
        other: String,
    },
    /// An owner this machine does not know.
    #[error("this machine does not know the owner {}", owner_name(owner.as_ref()))]
    OwnerUnknown {
        /// The owner; `None` for the owner of the site.
        owner: Option<Owner>,
    },
    /// The state file cannot be believed.
    #[error("the state of site `{site}` {reason}: restore {place} or move the site away")]
    StateDamaged {
        /// The site.
        site: SitePart,
        /// The file.
        place: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The manifest of a held version cannot be believed.
    #[error(
        "the manifest of version {version} is damaged: fsck makes it anew if its tree is whole, else stage that version again, from nothing"
    )]
    ManifestDamaged {
        /// The version.
        version: VersionId,
    },
    /// `live` is not a link of ours.
    #[error("`{place}` is not a link to a release: move it away")]
    LiveForeign {
        /// The link.
        place: String,
    },
}

/// What kind of failure it is: what an exit code, a status or a retry is chosen by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// What was asked for is not there.
    NotFound,
    /// It is there, but not now or not so: another works on it, or the order is wrong.
    Conflict,
    /// What is on disk is not what was put there.
    Damaged,
    /// No room.
    NoSpace,
    /// Not allowed.
    Permission,
    /// What was asked for cannot be done on this machine.
    Unsupported,
    /// A command of the node's configuration failed.
    Hook,
    /// The machine failed.
    Machine,
}

impl SiteError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Disk(fault) => fault.kind(),
            Self::SiteMissing { .. }
            | Self::VersionNotHeld { .. }
            | Self::NothingStaged { .. }
            | Self::NothingBefore { .. }
            | Self::NothingLive { .. }
            | Self::NotInBase { .. }
            | Self::ContentMissing { .. } => ErrorKind::NotFound,
            Self::Busy { .. } | Self::TermPassed { .. } | Self::SerialPassed { .. } => {
                ErrorKind::Conflict
            }
            Self::NoSpace { .. } => ErrorKind::NoSpace,
            Self::ContentDamaged { .. }
            | Self::StateDamaged { .. }
            | Self::ManifestDamaged { .. }
            | Self::LiveForeign { .. } => ErrorKind::Damaged,
            Self::HookFailed(_) => ErrorKind::Hook,
            Self::NamesCollide { .. } | Self::OwnerUnknown { .. } => ErrorKind::Unsupported,
        }
    }
}

impl Fault {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self.errno {
            Errno::NOENT => ErrorKind::NotFound,
            Errno::NOSPC | Errno::DQUOT => ErrorKind::NoSpace,
            Errno::ACCESS | Errno::PERM | Errno::ROFS => ErrorKind::Permission,
            _ => ErrorKind::Machine,
        }
    }
}

fn owner_name(owner: Option<&Owner>) -> String {
    match owner {
        None => "of the site".to_owned(),
        Some(Owner { user, group }) => format!("{user}:{group}"),
    }
}

fn printed(run: &HookRun) -> String {
    match run.output.trim_end() {
        "" => String::new(),
        output => format!("; it printed:\n{output}"),
    }
}

/// Says what a step was for, once it failed.
pub(crate) trait During<T> {
    fn during(self, action: &'static str, place: impl Display) -> Result<T, Fault>;
}

impl<T> During<T> for Step<T> {
    fn during(self, action: &'static str, place: impl Display) -> Result<T, Fault> {
        self.map_err(|errno| Fault {
            action,
            place: place.to_string(),
            errno,
        })
    }
}
