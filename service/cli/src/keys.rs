//! Keys in files: one line each, secrets readable by their owner only.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use bellwether_wire::control::SegmentKey;
use bellwether_wire::{ParseKeyError, Salt};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;

/// Reads the key of a segment, which nobody but its owner may read: whoever has it belongs to the segment.
pub(crate) fn read_segment(file: &Path) -> Result<SegmentKey, Failure> {
    let text = fs::read_to_string(file).map_err(|error| Failure::io("read", file, error))?;
    let key = text.trim_end().parse().map_err(|error: ParseKeyError| {
        Failure::new(Exit::Usage, format!("{}: {error}", file.display()))
            .hint("`bellwether agent keygen` makes such a key")
    })?;
    let mode = fs::metadata(file).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o077 != 0 {
        let error = format!(
            "{} holds the segment's key and others on this machine can read it",
            file.display()
        );
        return Err(Failure::new(Exit::Permission, error)
            .hint("chmod 600 it; if somebody may have read it, make another"));
    }
    Ok(key)
}

/// Reads a key that nobody but its owner should be able to read.
pub(crate) fn read_secret<K>(file: &Path, output: &Output) -> Result<K, Failure>
where
    K: FromStr<Err = ParseKeyError>,
{
    let key = read(file)?;
    let mode = fs::metadata(file).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o077 != 0 {
        output.say(format_args!(
            "warning: {} holds a secret that others on this machine can read: chmod 600 it",
            file.display()
        ));
    }
    Ok(key)
}

/// Reads a key.
pub(crate) fn read<K>(file: &Path) -> Result<K, Failure>
where
    K: FromStr<Err = ParseKeyError>,
{
    let text = fs::read_to_string(file).map_err(|error| Failure::io("read", file, error))?;
    text.trim_end().parse().map_err(|error: ParseKeyError| {
        Failure::new(Exit::Usage, format!("{}: {error}", file.display()))
            .hint("`bellwether content keygen` makes keys")
    })
}

/// Writes a line to a new file; an existing one is never touched.
pub(crate) fn write_new(file: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(file);
    let written = written.and_then(|mut file| {
        writeln!(file, "{text}")?;
        file.sync_all()
    });
    written.map_err(|error| {
        let hint = match error.kind() {
            std::io::ErrorKind::AlreadyExists => "choose another name: keys are never overwritten",
            _ => "choose a directory that this user may write to",
        };
        Failure::io("create", file, error).hint(hint)
    })
}

/// `prefix` with `extension` appended, whatever dots it has.
pub(crate) fn beside(prefix: &Path, extension: &str) -> PathBuf {
    let mut name = prefix.as_os_str().to_owned();
    name.push(extension);
    name.into()
}

/// What makes the streams of one assignment its own. Without randomness there is no safe way on.
pub(crate) fn random_salt() -> Salt {
    let bytes = random_bytes().expect("the system gives randomness once it has started");
    std::array::from_fn(|index| bytes[index])
}

/// Randomness of the system.
pub(crate) fn random_bytes() -> Result<[u8; 32], Failure> {
    let mut bytes = [0; 32];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    match filled {
        Ok(32) => Ok(bytes),
        // The kernel never gives less of so few bytes, but a key of zeros would be a disaster.
        Ok(_) => Err(Failure::new(
            Exit::Failed,
            "the system gave too little randomness",
        )),
        Err(errno) => Err(Failure::new(Exit::Failed, std::io::Error::from(errno))),
    }
}
