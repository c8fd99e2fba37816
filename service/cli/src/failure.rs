//! Errors at the edge: which exit code, and what to do about it. Everything beneath has typed
//! errors of its own; here is the one place that knows what each means to a caller.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::Path;

use bellwether_content::ManifestError;
use bellwether_content::assignment::{OpenError, SegmentError};
use bellwether_disk::publish::{PublishError, SourceError};
use bellwether_disk::scan::{FilterError, ScanError};
use bellwether_disk::stage::StageError;
use bellwether_disk::{ErrorKind, SiteError};

use crate::exit::Exit;

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) error: Box<dyn Error + Send + Sync>,
    /// What to do, in a sentence.
    pub(crate) hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            exit,
            error: error.into(),
            hint: None,
        }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// `action` on a file failed, such as `read`.
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::new(
            Exit::of_io(&source),
            FileError {
                message: format!("cannot {action} {}", path.display()),
                source,
            },
        )
    }

    /// The message and those of its causes.
    pub(crate) fn chain(&self) -> impl Iterator<Item = &(dyn Error + 'static)> {
        let first: &(dyn Error + 'static) = self.error.as_ref();
        std::iter::successors(Some(first), |&error| error.source())
    }
}

#[derive(Debug)]
struct FileError {
    message: String,
    source: io::Error,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for FileError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

impl From<ScanError> for Failure {
    fn from(error: ScanError) -> Self {
        let (exit, hint) = match &error {
            ScanError::Root { source, .. } => (
                Exit::of_io(source),
                "give the directory that holds the tree, and make it readable for this user",
            ),
            ScanError::Io { source, .. } => (
                Exit::of_io(source),
                "make it readable for this user, or leave it out with --exclude",
            ),
            ScanError::Changing { .. } => (
                Exit::TreeChanged,
                "stop what writes to the tree, or scan a snapshot of it; --exclude leaves the file out",
            ),
            ScanError::Special { .. } => (
                Exit::SpecialFile,
                "remove it, leave it out with --exclude, or skip all such with --special skip",
            ),
            ScanError::SetId { .. } => (
                Exit::UnsafeEntry,
                "clear the bits with `chmod ug-s`, or accept them with --allow-set-id",
            ),
            ScanError::Capability { .. } => (
                Exit::UnsafeEntry,
                "remove them with `setcap -r`, or send the file without them by --allow-capabilities",
            ),
            ScanError::Nameless { .. } => (
                Exit::UnsafeEntry,
                "give it an owner of /etc/passwd and /etc/group, or scan without --keep-owners",
            ),
            ScanError::Tree(ManifestError::Entry { .. }) | ScanError::Entry { .. } => (
                Exit::UnsafeEntry,
                "make the link relative and let it stay within the tree, or leave it out with --exclude",
            ),
            ScanError::Tree(_) => (
                Exit::TreeChanged,
                "stop what writes to the tree, or scan a snapshot of it",
            ),
            ScanError::Path(_) => (
                Exit::UnsafeEntry,
                "shorten the path, or leave it out with --exclude",
            ),
        };
        Self::new(exit, error).hint(hint)
    }
}

impl From<FilterError> for Failure {
    fn from(error: FilterError) -> Self {
        let hint = "patterns are like those of a shell: `*.tmp`, `docs/**/draft`, `[ab].txt`";
        Self::new(Exit::Usage, error).hint(hint)
    }
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        match &error {
            SourceError::Read { source, .. } => Self::new(Exit::of_io(source), error),
            SourceError::Changed { .. } => Self::new(Exit::TreeChanged, error),
        }
    }
}

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Source(error) => error.into(),
            PublishError::Plan(error) => Self::new(Exit::Failed, error),
            PublishError::Write { ref source, .. } => Self::new(Exit::of_io(source), error)
                .hint("choose a directory with room that this user may write to"),
        }
    }
}

impl From<SiteError> for Failure {
    fn from(error: SiteError) -> Self {
        let exit = match (&error, error.kind()) {
            (SiteError::TermPassed { .. } | SiteError::SerialPassed { .. }, _) => Exit::LowerTerm,
            (SiteError::NamesCollide { .. }, _) => Exit::UnsafeEntry,
            (SiteError::ContentDamaged { .. } | SiteError::ContentMissing { .. }, _) => {
                Exit::BaseDamaged
            }
            (_, ErrorKind::NotFound) => Exit::NotFound,
            (_, ErrorKind::Conflict) => Exit::Conflict,
            (_, ErrorKind::Damaged) => Exit::BaseDamaged,
            (_, ErrorKind::NoSpace) => Exit::NoSpace,
            (_, ErrorKind::Permission) => Exit::Permission,
            (_, ErrorKind::Hook) => Exit::HookFailed,
            (_, ErrorKind::Unsupported | ErrorKind::Machine) => Exit::Failed,
        };
        Self::new(exit, error)
    }
}

impl Failure {
    /// An assignment was refused; `files` are those it was read from.
    pub(crate) fn of_stage(error: StageError, files: &[std::path::PathBuf]) -> Self {
        let exit = match &error {
            StageError::Site(SiteError::VersionNotHeld { .. }) => Exit::WrongBase,
            StageError::Site(_) => {
                let StageError::Site(error) = error else {
                    unreachable!("matched above")
                };
                return error.into();
            }
            StageError::Open(open) | StageError::Segment(SegmentError::Open(open)) => match open {
                OpenError::Read(source) => Exit::of_io(source),
                OpenError::Unsigned { .. } | OpenError::Untrusted { .. } => Exit::Signature,
                OpenError::Seal => Exit::Signature,
                OpenError::KeyNeeded | OpenError::Unseal(..) => Exit::Forbidden,
                _ => Exit::Malformed,
            },
            StageError::Body(_)
            | StageError::Segment(_)
            | StageError::Decode(_)
            | StageError::Apply(_)
            | StageError::ContentLen { .. }
            | StageError::NoContent(_) => Exit::Malformed,
            StageError::OtherSite { .. }
            | StageError::Parts { .. }
            | StageError::OtherUpdate { .. } => Exit::Conflict,
            StageError::Nothing => Exit::Usage,
            StageError::SetId { .. } => Exit::UnsafeEntry,
            StageError::OtherVersion { .. } => Exit::BaseDamaged,
        };
        let hint = match &error {
            StageError::SetId { .. } => "accept such files with --allow-set-id".to_owned(),
            StageError::Open(OpenError::KeyNeeded) => "name its file with --decrypt".to_owned(),
            _ => {
                let names: Vec<_> = files
                    .iter()
                    .map(|file| file.display().to_string())
                    .collect();
                format!("it was read from {}; nothing was changed", names.join(", "))
            }
        };
        Self::new(exit, error).hint(hint)
    }
}
