//! A lab's turn on this machine, and its folder.

use std::fs::File;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// The one lab of this user on this machine, as long as the file is locked; and its folder.
#[derive(Debug)]
pub(crate) struct Place {
    lock: File,
    scratch: PathBuf,
}

impl Place {
    pub(crate) fn take() -> Result<Self> {
        let user = rustix::process::geteuid().as_raw();
        let folder = std::env::temp_dir().join(format!("bellwether-lab-{user}"));
        let shown = folder.display();
        // Others may write where this lies: what we find must be a folder of our own.
        match std::fs::DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(error).with_context(|| format!("cannot make {shown}"));
            }
            _ => {}
        }
        let found = std::fs::symlink_metadata(&folder)?;
        ensure!(
            found.is_dir() && found.uid() == user,
            "{shown} belongs to somebody else"
        );
        let lock = File::create(folder.join("lock"))?;
        if lock.try_lock().is_err() {
            eprintln!("lab: waiting for another one on this machine to be closed");
            lock.lock()?;
        }
        let scratch = folder.join("scratch");
        // A lab that was killed could not.
        if scratch.exists() {
            std::fs::remove_dir_all(&scratch)?;
        }
        std::fs::create_dir(&scratch)?;
        Ok(Self { lock, scratch })
    }

    /// For files of the test.
    pub(crate) fn scratch(&self) -> &Path {
        &self.scratch
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.scratch);
        // By word and not by closing: a process that was just forked may have the file open as well.
        let _ = self.lock.unlock();
    }
}
