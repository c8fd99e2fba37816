//! A staging tree on disk, read into a [`Manifest`].
//!
//! A crew of threads shares one queue of directories and files. Whether a file must be read is
//! decided by its [`Fingerprint`]: what an earlier scan has seen is not read again, everything
//! else is hashed. The fingerprint is only a hint, and it is not believed for a file that was
//! touched just before the scan began, because file systems tell such changes apart too coarsely.
//!
//! The tree may be written to while it is scanned. A file that changed between the first and the
//! last look at it is read again when all else is done, a few times, and then refused by name;
//! a directory whose entries changed makes the whole scan start over, knowing what it knows. So a
//! file that moves from one directory to another meanwhile is never missed. What this does not
//! promise is a snapshot: two files may still stem from different moments.
//!
//! Roads not taken: memory maps (a file that shrinks would kill the process with SIGBUS), and a
//! cache keyed by path (an inode already says which file it is, in eight bytes).

mod content;
mod error;
mod filter;
mod fingerprint;
mod owners;
mod policy;
mod queue;
#[cfg(test)]
mod tests;
mod tree;
mod walk;

use std::path::Path;

use bellwether_content::Manifest;
use bellwether_types::TreePath;

pub use error::{Place, ScanError, SpecialKind};
pub use filter::{Filter, FilterError};
pub use fingerprint::{Fingerprint, Fingerprints};
pub use policy::{Ownership, ScanPolicy, Specials, Watch};

/// How often something may change under the scanner before it is refused.
const TRIES_MAX: u32 = 4;

/// What a scan found.
#[derive(Debug)]
pub struct Scan {
    /// The tree. Times are those of the files; whoever knows what was published before decides
    /// when a content was first seen.
    pub manifest: Manifest,
    /// What makes the next scan fast.
    pub fingerprints: Fingerprints,
    /// Whether they differ from what was known before.
    pub fingerprints_changed: bool,
    /// Fingerprints of files that were read and that a later scan must read again: they tell no
    /// more than whether a file changed since this scan.
    pub passing: Fingerprints,
    /// Entries left out because no site can hold them, and policy said to skip such.
    pub skipped: Vec<(TreePath, SpecialKind)>,
    /// Files that had to be read.
    pub files_hashed: u64,
    /// Bytes that had to be read.
    pub bytes_hashed: u64,
}

/// Reads the tree at `root`. Files whose fingerprint is known are not read.
pub fn scan(
    root: &Path,
    policy: &ScanPolicy,
    mut known: Fingerprints,
    watch: &dyn Watch,
) -> Result<Scan, ScanError> {
    let mut started_over = false;
    let mut found = walk::walk(root, policy, &known, watch)?;
    for _ in 1..TRIES_MAX {
        if found.changed_directory.is_none() {
            break;
        }
        started_over = true;
        let (files_hashed, bytes_hashed) = (found.files_hashed, found.bytes_hashed);
        known = known.merged(&found.fingerprints);
        found = walk::walk(root, policy, &known, watch)?;
        found.files_hashed += files_hashed;
        found.bytes_hashed += bytes_hashed;
    }
    if let Some(path) = found.changed_directory {
        return Err(ScanError::Changing { path });
    }
    let (fingerprints, changed) = known.kept(&found.unchanged, found.fingerprints);
    Ok(Scan {
        manifest: tree::assemble(found.entries, &found.bridges)?,
        fingerprints,
        fingerprints_changed: changed || started_over,
        passing: Fingerprints::new(found.passing),
        skipped: found.skipped,
        files_hashed: found.files_hashed,
        bytes_hashed: found.bytes_hashed,
    })
}
