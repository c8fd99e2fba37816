//! Errors at the edge: which exit code, and what to do about it. Everything beneath has typed
//! errors of its own; here is the one place that knows what each means to a caller.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::Path;

use bellwether_content::ManifestError;
use bellwether_disk::scan::{FilterError, ScanError};

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
