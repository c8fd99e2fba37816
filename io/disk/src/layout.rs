//! Where things are in a site's directory, and the one way to replace a small file.

use bellwether_types::{SitePart, VersionId};

use crate::disk::{Disk, Errno};
use crate::error::{During, Fault, SiteError};

pub(crate) const LIVE: &[u8] = b"live";
pub(crate) const LIVE_NEXT: &[u8] = b"live.next";
pub(crate) const RELEASES: &[u8] = b"releases";
pub(crate) const PRIVATE: &[u8] = b".bellwether";
pub(crate) const MANIFESTS: &[u8] = b"manifests";
const SPOOL: &[u8] = b"spool";
/// The state is written into these by turns: one of them is whole, whatever happens.
pub(crate) const STATES: [&[u8]; 2] = [b"state.0", b"state.1"];
pub(crate) const FINGERPRINTS: &[u8] = b"fingerprints";
pub(crate) const LOCK: &[u8] = b"lock";
/// In `releases`: the tree that is being built. There is one at a time, because of the lock.
pub(crate) const PARTIAL: &[u8] = b".partial";
/// Ends the name of a file that will replace another; no name that a user gives can end so.
pub(crate) const NEXT: &[u8] = b"~";

/// The open directories of a site.
#[derive(Debug)]
pub(crate) struct Layout<D: Disk> {
    pub(crate) site: D::Dir,
    pub(crate) releases: D::Dir,
    pub(crate) private: D::Dir,
    pub(crate) manifests: D::Dir,
    pub(crate) spool: D::Dir,
}

/// Only the owner looks into our files; what is served stands in `releases`.
const PRIVATE_MODE: u32 = 0o700;
const PUBLIC_MODE: u32 = 0o755;

impl<D: Disk> Layout<D> {
    pub(crate) fn open(disk: &D, site: &SitePart) -> Result<Self, SiteError> {
        let missing = |fault: Fault| match fault.errno {
            Errno::NOENT => SiteError::SiteMissing { site: site.clone() },
            _ => fault.into(),
        };
        let place = site.to_string();
        let root = disk.root().during("open", ".")?;
        let at = disk
            .open_dir(&root, place.as_bytes())
            .during("open", &place)
            .map_err(missing)?;
        let open = |at: &D::Dir, name: &[u8]| {
            let place = format_args!("{site}/{}", name.escape_ascii()).to_string();
            disk.open_dir(at, name)
                .during("open", place)
                .map_err(missing)
        };
        let private = open(&at, PRIVATE)?;
        Ok(Self {
            releases: open(&at, RELEASES)?,
            manifests: open(&private, MANIFESTS)?,
            spool: open(&private, SPOOL)?,
            site: at,
            private,
        })
    }

    /// Whether a version is being built, or was when the builder ended.
    pub(crate) fn is_building(&self, disk: &D) -> bool {
        disk.stat(&self.releases, PARTIAL).is_ok()
    }

    /// Makes what is missing, durably: the state that follows must be reachable after a crash.
    pub(crate) fn create(disk: &D, site: &SitePart) -> Result<(), Fault> {
        let root = disk.root().during("open", ".")?;
        let name = site.to_string();
        let make = |at: &D::Dir, name: &[u8], mode| -> Result<D::Dir, Fault> {
            let place = || format!("{site}: {}", name.escape_ascii());
            match disk.create_dir(at, name, mode) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno).during("create", place()),
            }
            disk.open_dir(at, name).during("open", place())
        };
        let at = make(&root, name.as_bytes(), PUBLIC_MODE)?;
        make(&at, RELEASES, PUBLIC_MODE)?;
        let private = make(&at, PRIVATE, PRIVATE_MODE)?;
        for name in [MANIFESTS, SPOOL] {
            make(&private, name, PRIVATE_MODE)?;
        }
        for name in STATES {
            match disk.create_file(&private, name, 0o600) {
                Ok(_) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno).during("create", name.escape_ascii()),
            }
        }
        for dir in [&private, &at, &root] {
            disk.sync_dir(dir).during("sync", &name)?;
        }
        Ok(())
    }
}

/// The name of a release while it is removed.
pub(crate) fn removed_name(version: &VersionId) -> Vec<u8> {
    format!(".{version}.removed").into_bytes()
}

/// How much a replaced file must survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Old or new, whole, whatever happens; new when this returns.
    Synced,
    /// Later syncs will do, or the loss is harmless.
    Lazy,
}

/// Puts `bytes` under `name`, in place of what was there.
pub(crate) fn replace<D: Disk>(
    disk: &D,
    at: &D::Dir,
    name: &[u8],
    bytes: &[u8],
    durability: Durability,
) -> Result<(), Fault> {
    let next = [name, NEXT].concat();
    let place = || name.escape_ascii();
    // A crash may have left one behind.
    remove(disk, at, &next)?;
    let file = disk
        .create_file(at, &next, 0o600)
        .during("replace", place())?;
    disk.write_at(&file, bytes, 0).during("write", place())?;
    if durability == Durability::Synced {
        disk.sync_file(&file).during("sync", place())?;
    }
    disk.rename(at, &next, at, name)
        .during("replace", place())?;
    if durability == Durability::Synced {
        disk.sync_dir(at).during("sync", place())?;
    }
    Ok(())
}

/// Removes a file, and tells whether it was there.
pub(crate) fn remove<D: Disk>(disk: &D, at: &D::Dir, name: &[u8]) -> Result<bool, Fault> {
    match disk.unlink(at, name) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno).during("remove", name.escape_ascii()),
    }
}

/// All of a file of at most `len_max` bytes, or `None` if there is none.
pub(crate) fn read<D: Disk>(
    disk: &D,
    at: &D::Dir,
    name: &[u8],
    len_max: u64,
) -> Result<Option<Vec<u8>>, Fault> {
    let place = || name.escape_ascii();
    let file = match disk.open_file(at, name) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(errno).during("read", place()),
    };
    let size = disk.stat_file(&file).during("read", place())?.size;
    if size > len_max {
        return Err(Errno::FBIG).during("read", place());
    }
    let mut bytes = vec![
        0;
        usize::try_from(size)
            .map_err(|_| Errno::FBIG)
            .during("read", place())?
    ];
    let mut len = 0;
    while len < bytes.len() {
        match disk
            .read_at(&file, &mut bytes[len..], len as u64)
            .during("read", place())?
        {
            0 => break,
            more => len += more,
        }
    }
    bytes.truncate(len);
    Ok(Some(bytes))
}
