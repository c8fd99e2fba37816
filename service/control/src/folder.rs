//! The server's data directory, which is its owner's alone.
//!
//! ```text
//! DATA/lock         held by the server that runs
//! DATA/store.db     the database (docs/control.md)
//! DATA/vault.key    opens the secrets in it; keep a copy apart from those of the database
//! DATA/depot/       the contents of all versions
//! DATA/assignments/ what was made of them for nodes
//! DATA/scans/       what was read of staging sources, so that it is not read again
//! DATA/admin.token  the first token of an administrator; may be removed once others are given
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

/// A data directory that this process has for itself.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    /// Held until the process ends.
    _lock: File,
}

/// Why a data directory cannot be used. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Another server runs on it.
    #[error("another control server runs on {path}: stop it, or give this one a directory of its own", path = path.display())]
    Taken {
        /// The directory.
        path: PathBuf,
    },
    /// Others can read a secret.
    #[error("{path} is secret, and others on this machine can read it: make it its owner's alone (chmod 600)", path = path.display())]
    Open {
        /// The file.
        path: PathBuf,
    },
    /// A file is not as it was written.
    #[error("{path} is damaged: put it back from a copy", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The file system refuses.
    #[error("cannot {action} {path}", path = path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl Folder {
    /// Opens the directory, which is made if it is not there, and locks it.
    pub(crate) fn open(path: &Path) -> Result<Self, FolderError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(fault("create", path))?;
        // The database is as secret as what stands in it: hashes of tokens, and who did what.
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))
            .map_err(fault("close to others", path))?;
        let lock_path = path.join("lock");
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(fault("open", &lock_path))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                _lock: lock,
            }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(FolderError::Taken {
                path: path.to_owned(),
            }),
            Err(errno) => Err(fault("lock", &lock_path)(errno.into())),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Reads a secret line; `None` if there is none yet.
    pub(crate) fn secret(&self, name: &str) -> Result<Option<String>, FolderError> {
        let path = self.path(name);
        match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(FolderError::Damaged { path })
            }
            Err(error) => Err(fault("read", &path)(error)),
            Ok(text) => {
                let metadata = fs::metadata(&path).map_err(fault("look at", &path))?;
                match metadata.permissions().mode() & 0o077 {
                    0 => Ok(Some(text.trim_end().to_owned())),
                    _ => Err(FolderError::Open { path }),
                }
            }
        }
    }

    /// Keeps a secret line, durably: whole or not at all.
    pub(crate) fn keep_secret(&self, name: &str, line: &str) -> Result<(), FolderError> {
        let (path, beside) = (self.path(name), self.path(&format!("{name}.new")));
        let write = || {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&beside)?;
            writeln!(file, "{line}")?;
            file.sync_all()?;
            fs::rename(&beside, &path)?;
            File::open(&self.path)?.sync_all()
        };
        write().map_err(fault("write", &path))
    }
}

fn fault<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> FolderError + 'a {
    move |source| FolderError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_server_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let first = Folder::open(home.path()).unwrap();
        assert!(matches!(
            Folder::open(home.path()),
            Err(FolderError::Taken { .. })
        ));
        drop(first);
        Folder::open(home.path()).unwrap();
    }

    #[test]
    fn a_secret_is_its_owners_alone_or_refused() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::open(home.path()).unwrap();
        assert_eq!(folder.secret("vault.key").unwrap(), None);
        folder.keep_secret("vault.key", "line").unwrap();
        assert_eq!(folder.secret("vault.key").unwrap().as_deref(), Some("line"));
        let path = home.path().join("vault.key");
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(
            folder.secret("vault.key"),
            Err(FolderError::Open { .. })
        ));
    }
}
