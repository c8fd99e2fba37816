//! Why something was not done, as the control server and its operators are told.

use std::error::Error;
use std::io;

use bellwether_content::assignment::OpenError;
use bellwether_disk::stage::StageError;
use bellwether_disk::{AssembleError, ErrorKind, SiteError};
use bellwether_wire::uplink::{Failure, FailureKind};

/// Of an assignment that was not staged (INTERP-03, INTERP-08).
pub(super) fn of_stage(error: &StageError) -> Failure {
    let kind = match error {
        StageError::Open(error) => of_open_kind(error),
        StageError::Site(error) => of_site_kind(error),
        StageError::OtherSite { .. } | StageError::SetId { .. } => FailureKind::Unsupported,
        _ => FailureKind::Damaged,
    };
    Failure::new(kind, chain(error))
}

/// Of a site that refused.
pub(super) fn of_site(error: &SiteError) -> Failure {
    Failure::new(of_site_kind(error), chain(error))
}

/// Of a version that was not put together from what neighbours gave.
pub(super) fn of_assemble(error: &AssembleError) -> Failure {
    let kind = match error {
        AssembleError::Site(error) => of_site_kind(error),
        AssembleError::Fetch { .. } | AssembleError::Content { .. } => FailureKind::Neighbours,
        AssembleError::SetId { .. } => FailureKind::Unsupported,
    };
    Failure::new(kind, chain(error))
}

/// Of bytes that are not the assignment they should be.
pub(super) fn of_open(error: &OpenError) -> Failure {
    let reason = format!("the assignment {}", chain(error));
    Failure::new(of_open_kind(error), reason)
}

fn of_open_kind(error: &OpenError) -> FailureKind {
    match error {
        OpenError::Unsigned { .. }
        | OpenError::Untrusted { .. }
        | OpenError::Seal
        | OpenError::KeyNeeded
        | OpenError::Unseal(..) => FailureKind::Trust,
        OpenError::Read(error) if error.kind() == io::ErrorKind::StorageFull => FailureKind::Space,
        OpenError::Read(_) => FailureKind::Machine,
        _ => FailureKind::Damaged,
    }
}

fn of_site_kind(error: &SiteError) -> FailureKind {
    match error {
        SiteError::SiteMissing { .. }
        | SiteError::VersionNotHeld { .. }
        | SiteError::NotInBase { .. } => FailureKind::Base,
        SiteError::NothingStaged { .. }
        | SiteError::NothingBefore { .. }
        | SiteError::NothingLive { .. } => FailureKind::NotStaged,
        SiteError::TermPassed { .. } | SiteError::SerialPassed { .. } => FailureKind::Order,
        SiteError::Busy { .. } => FailureKind::Busy,
        _ => match error.kind() {
            ErrorKind::NoSpace => FailureKind::Space,
            ErrorKind::Permission => FailureKind::Permission,
            ErrorKind::Unsupported => FailureKind::Unsupported,
            ErrorKind::Hook => FailureKind::Hook,
            ErrorKind::Damaged | ErrorKind::NotFound => FailureKind::Disk,
            ErrorKind::Conflict => FailureKind::Busy,
            ErrorKind::Machine => FailureKind::Machine,
        },
    }
}

/// An error and its causes, in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
