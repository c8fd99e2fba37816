//! What all pairs have in common once their files lie there.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

use super::Pair;
use crate::shell;

const OLD_TIME: u64 = 1_704_067_200; // 2024-01-01
const NEW_TIME: u64 = 1_706_745_600; // 2024-02-01

/// One digest for names and bytes of a tree, by the tools that anybody can check it with.
pub(super) fn digest(tree: &Path) -> Result<String> {
    let script = "find . -type f -print0 | sort -z | xargs -0 sha256sum -- | sha256sum";
    let printed = shell::read(
        shell::command(["sh", "-c", script])
            .current_dir(tree)
            .env("LC_ALL", "C"),
    )?;
    Ok(printed
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned())
}

/// Sets times as a reproducible build would leave them: a file that did not change keeps its time, a changed or new
/// one has a later time. Tools that trust times are then neither helped nor misled.
pub(super) fn set_times(pair: &Pair) -> Result<()> {
    let old_time = format!("@{OLD_TIME}");
    for tree in [&pair.old, &pair.new] {
        let mut find = shell::command(["find"]);
        shell::read(
            find.arg(tree)
                .args(["-exec", "touch", "-h", "-d", &old_time, "{}", "+"]),
        )?;
    }
    let later = SystemTime::UNIX_EPOCH + Duration::from_secs(NEW_TIME);
    for file in files(&pair.new)? {
        if !same(&pair.old.join(&file), &pair.new.join(&file))? {
            let file = pair.new.join(&file);
            File::open(&file)
                .and_then(|file| file.set_modified(later))
                .with_context(|| format!("cannot set the time of {}", file.display()))?;
        }
    }
    Ok(())
}

/// Regular files below a folder, relative to it, in order.
pub(crate) fn files(tree: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(folder) = open.pop() {
        for entry in tree.join(&folder).read_dir()? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            match entry.file_type()? {
                kind if kind.is_dir() => open.push(path),
                kind if kind.is_file() => found.push(path),
                _ => {}
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Whether both are there, with the same bytes.
pub(crate) fn same(a: &Path, b: &Path) -> Result<bool> {
    match (a.metadata(), b.metadata()) {
        (Ok(a_is), Ok(b_is)) if a_is.len() == b_is.len() => {
            Ok(std::fs::read(a)? == std::fs::read(b)?)
        }
        _ => Ok(false),
    }
}

pub(super) fn summary(pair: &Pair) -> Result<String> {
    let (mut bytes, mut changed, mut added) = (0, 0, 0);
    let files = files(&pair.new)?;
    for file in &files {
        let (old, new) = (pair.old.join(file), pair.new.join(file));
        bytes += new.metadata()?.len();
        match old.exists() {
            true if !same(&old, &new)? => changed += 1,
            true => {}
            false => added += 1,
        }
    }
    Ok(format!(
        "{} files, {:.1} MB, {changed} changed, {added} new",
        files.len(),
        bytes as f64 / 1e6
    ))
}
