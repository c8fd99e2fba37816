//! A small disk of a program's own, which a test can fill and make room on.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::program::Program;

/// A disk in memory that lies over a folder, for one program alone: it is gone with the program.
#[derive(Clone, Copy, Debug)]
pub struct Disk {
    pub bytes: u64,
}

/// Mounts, with what was in the folder before, and becomes the program.
const SCRIPT: &str = r#"
    bytes=$1 folder=$2
    shift 2
    mkdir -p "$folder" "$folder.disk"
    mount -t tmpfs -o "size=$bytes,mode=700" disk "$folder.disk"
    cp -a "$folder/." "$folder.disk"
    mount --bind "$folder.disk" "$folder"
    exec "$@"
"#;
/// What takes up room.
const BALLAST: &str = "ballast";
const PIECE: usize = 4096;

impl Disk {
    /// The command, on this disk.
    pub fn under(self, folder: &Path, command: &Command) -> Command {
        let mut wrapped = Command::new("unshare");
        wrapped.args(["--mount", "sh", "-ec", SCRIPT, "disk"]);
        wrapped.arg(self.bytes.to_string()).arg(folder);
        wrapped.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                wrapped.env(name, value);
            }
        }
        wrapped
    }
}

/// A folder as a program sees it.
pub fn seen_by(program: &Program, folder: &Path) -> PathBuf {
    let mut seen = format!("/proc/{}/root", program.id());
    seen.push_str(&folder.to_string_lossy());
    seen.into()
}

/// Takes up all but so many bytes of the disk of a folder.
pub fn fill(folder: &Path, left: u64) -> Result<()> {
    let path = folder.join(BALLAST);
    let mut options = OpenOptions::new();
    let file = options.create(true).append(true).open(&path);
    let mut file: File = file.with_context(|| format!("cannot open {}", path.display()))?;
    loop {
        let free = rustix::fs::statvfs(folder)?;
        if free.f_bavail * free.f_frsize <= left || file.write_all(&[0; PIECE]).is_err() {
            return Ok(());
        }
    }
}

/// Gives back what was taken up.
pub fn make_room(folder: &Path) -> Result<()> {
    Ok(fs::remove_file(folder.join(BALLAST))?)
}
