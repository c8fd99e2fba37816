//! Why an assignment could not be made, as the job and its operator are told.

use std::io;

use bellwether_disk::ErrorKind;
use bellwether_disk::depot::DepotError;
use bellwether_disk::publish::{PublishError, SourceError};
use bellwether_store::StoreError;
use bellwether_types::Name;
use bellwether_wire::UnsealError;
use bellwether_wire::uplink::{Failure, FailureKind};

use crate::folder::FolderError;
use crate::problem::chain;

/// Why the works cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum WorksError {
    /// Their directories.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The contents of all versions.
    #[error("the depot of contents cannot be opened")]
    Depot(#[from] DepotError),
}

/// Why nothing was made.
#[derive(Debug, thiserror::Error)]
pub(super) enum MakeError {
    /// A version is not kept, or not as it was.
    #[error(transparent)]
    Depot(#[from] DepotError),
    /// A content cannot be read, or the files cannot be written.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The assignments of the server cannot be read, or written.
    #[error("the assignments of the control server cannot be kept")]
    Shelf(#[from] io::Error),
    /// The group was removed meanwhile.
    #[error("group {0} is not defined any more, and its key is gone")]
    GroupMissing(Name),
    /// The group's key does not open.
    #[error("the key of the group does not open: is vault.key the right one?")]
    Unseal(#[source] UnsealError),
}

impl MakeError {
    pub(super) fn failure(&self) -> Failure {
        Failure::new(self.kind(), format!("the control server: {}", chain(self)))
    }

    fn kind(&self) -> FailureKind {
        match self {
            Self::Depot(error) => of_kind(error.kind()),
            Self::Publish(PublishError::Source(SourceError::Changed { .. })) => FailureKind::Disk,
            Self::Publish(PublishError::Source(SourceError::Read { source, .. }))
            | Self::Publish(PublishError::Write { source, .. })
            | Self::Shelf(source) => of_io(source),
            Self::GroupMissing(_) | Self::Unseal(_) => FailureKind::Trust,
            Self::Publish(PublishError::Plan(_)) => FailureKind::Machine,
        }
    }
}

/// Of the database.
pub(super) fn of_store(error: &StoreError) -> Failure {
    let kind = match error {
        StoreError::Full(_) => FailureKind::Space,
        _ => FailureKind::Machine,
    };
    Failure::new(kind, chain(error))
}

const fn of_kind(kind: ErrorKind) -> FailureKind {
    match kind {
        ErrorKind::NoSpace => FailureKind::Space,
        ErrorKind::Permission => FailureKind::Permission,
        ErrorKind::NotFound | ErrorKind::Damaged => FailureKind::Disk,
        ErrorKind::Conflict => FailureKind::Busy,
        ErrorKind::Unsupported | ErrorKind::Hook | ErrorKind::Machine => FailureKind::Machine,
    }
}

fn of_io(error: &io::Error) -> FailureKind {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FailureKind::Space,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            FailureKind::Permission
        }
        // A content that the depot says it has.
        io::ErrorKind::NotFound => FailureKind::Disk,
        _ => FailureKind::Machine,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_as_such_whoever_finds_it() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let writing = PublishError::Write {
            path: "assignments/part".into(),
            source: full(),
        };
        for error in [MakeError::Publish(writing), MakeError::Shelf(full())] {
            let failure = error.failure();
            assert_eq!(failure.kind, FailureKind::Space);
            assert!(failure.reason.starts_with("the control server: "));
        }
    }
}
