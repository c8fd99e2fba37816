//! Trees on disk: two versions of a small site, and a comparer that believes only what it reads.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Everything about a tree that a publication promises, by path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot(BTreeMap<Vec<u8>, Node>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Node {
    Directory {
        mode: u32,
    },
    File {
        mode: u32,
        /// Seconds and nanoseconds.
        modified: (i64, i64),
        content: Vec<u8>,
    },
    Symlink(Vec<u8>),
    Special,
}

impl Snapshot {
    /// What stands beneath `root`. A trailing slash follows a link.
    pub(crate) fn of(root: &Path) -> Self {
        let mut nodes = BTreeMap::new();
        let mut waiting = vec![(root.to_owned(), Vec::new())];
        while let Some((directory, above)) = waiting.pop() {
            for entry in fs::read_dir(&directory).unwrap() {
                let entry = entry.unwrap();
                let path = [&above, entry.file_name().as_bytes()].concat();
                let node = Node::of(&entry.path());
                if let Node::Directory { .. } = node {
                    waiting.push((entry.path(), [&path, b"/".as_slice()].concat()));
                }
                nodes.insert(path, node);
            }
        }
        Self(nodes)
    }

    pub(crate) fn forget(&mut self, path: impl Fn(&[u8]) -> bool) {
        self.0.retain(|kept, _| !path(kept));
    }

    /// Forgets when files whose path ends so were written.
    pub(crate) fn forget_time(&mut self, end: &[u8]) {
        for (path, node) in &mut self.0 {
            if let Node::File { modified, .. } = node
                && path.ends_with(end)
            {
                *modified = (0, 0);
            }
        }
    }

    /// Fails with the names of what differs, not with the content.
    pub(crate) fn assert_equal(&self, other: &Self, what: &str) {
        let paths = self.0.keys().chain(other.0.keys());
        let differing = paths.filter(|path| self.0.get(*path) != other.0.get(*path));
        let mut differing: Vec<_> = differing
            .map(|path| path.escape_ascii().to_string())
            .collect();
        differing.sort();
        differing.dedup();
        assert!(differing.is_empty(), "{what} differ in {differing:?}");
    }
}

impl Node {
    fn of(path: &Path) -> Self {
        let metadata = fs::symlink_metadata(path).unwrap();
        let (kind, mode) = (metadata.file_type(), metadata.mode() & 0o7777);
        if kind.is_dir() {
            Self::Directory { mode }
        } else if kind.is_symlink() {
            Self::Symlink(
                fs::read_link(path)
                    .unwrap()
                    .into_os_string()
                    .as_bytes()
                    .to_vec(),
            )
        } else if kind.is_fifo() || kind.is_socket() {
            Self::Special
        } else {
            Self::File {
                mode,
                modified: (metadata.mtime(), metadata.mtime_nsec()),
                content: fs::read(path).unwrap(),
            }
        }
    }
}

/// When everything of the first version was written.
const SPRING: u64 = 1_700_000_000;
/// When what the second version changes was written.
const SUMMER: u64 = 1_710_000_000;

/// The site as it is published first.
pub(crate) fn write_old(root: &Path) {
    page(root, "index.html", "Welcome", SPRING);
    file(root, "assets/app.js", script(1).as_bytes(), 0o644, SPRING);
    file(root, "assets/photo.bin", &noise(1, 300_000), 0o644, SPRING);
    file(root, "bin/report", b"#!/bin/sh\necho old\n", 0o755, SPRING);
    file(root, "bin/tool", b"#!/bin/sh\necho tool\n", 0o644, SPRING);
    file(root, "empty.txt", b"", 0o600, SPRING);
    file(root, b"caf\xe9.txt", b"a name in Latin-1", 0o644, SPRING);
    file(root, "gone.txt", b"not in the next version", 0o644, SPRING);
    for number in 0..12 {
        page(root, &format!("blog/2023/{number}.html"), "Post", SPRING);
    }
    directory(root, "uploads", 0o775);
    directory(root, "old-only", 0o755);
    symlink("index.html", root.join("home")).unwrap();
    symlink("../assets/app.js", root.join("bin/link")).unwrap();
}

/// The same site, updated: edited, grown, moved, removed, emptied and given other permissions.
pub(crate) fn write_new(root: &Path) {
    page(root, "index.html", "Welcome back", SUMMER);
    file(root, "assets/app.js", script(2).as_bytes(), 0o644, SUMMER);
    file(root, "assets/photo.bin", &noise(1, 300_000), 0o644, SPRING);
    file(root, "assets/video.bin", &noise(2, 400_000), 0o644, SUMMER);
    file(root, "bin/report", b"", 0o755, SUMMER);
    // Only the permissions differ.
    file(root, "bin/tool", b"#!/bin/sh\necho tool\n", 0o755, SPRING);
    file(root, "empty.txt", b"", 0o600, SPRING);
    file(root, b"caf\xe9.txt", b"still Latin-1", 0o640, SUMMER);
    file(root, b"\xff\xfe/deep/\x01", b"new", 0o644, SUMMER);
    for number in 0..12 {
        page(root, &format!("archive/23/{number}.html"), "Post", SPRING);
    }
    directory(root, "uploads", 0o755);
    directory(root, "sealed", 0o500);
    symlink("assets/app.js", root.join("home")).unwrap();
    symlink("../assets/video.bin", root.join("bin/link")).unwrap();
}

/// A file, and the directories above it.
pub(crate) fn file(root: &Path, path: impl AsRef<[u8]>, content: &[u8], mode: u32, time: u64) {
    let at = root.join(OsStr::from_bytes(path.as_ref()));
    let above = at.parent().unwrap();
    if !above.exists() {
        fs::create_dir_all(above).unwrap();
    }
    fs::write(&at, content).unwrap();
    fs::set_permissions(&at, PermissionsExt::from_mode(mode)).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::new(time, 123_456_789);
    File::open(&at).unwrap().set_modified(time).unwrap();
}

pub(crate) fn directory(root: &Path, path: &str, mode: u32) {
    let at = root.join(path);
    fs::create_dir_all(&at).unwrap();
    fs::set_permissions(&at, PermissionsExt::from_mode(mode)).unwrap();
}

pub(crate) fn page(root: &Path, path: &str, title: &str, time: u64) {
    let mut text = format!("<!doctype html><title>{title}: {path}</title>\n");
    // The name of the file, not where it stands, so that a page can move.
    let name = path.rsplit('/').next().unwrap_or(path);
    text = text.replace(path, name);
    for line in 0..30 {
        text += &format!("<p>{title} {line} of {name}</p>\n");
    }
    file(root, path, text.as_bytes(), 0o644, time);
}

fn script(version: u32) -> String {
    let mut text = format!("export const version = {version};\n");
    for number in 0..2000_u32 {
        let constant = number.wrapping_mul(40_503) % 65_521;
        text += &format!("export const f{number} = (x) => x * {constant};\n");
    }
    text
}

/// Repeatable bytes that do not compress.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut luck = Luck::new(seed);
    (0..len).map(|_| (luck.draw() >> 32) as u8).collect()
}

/// Repeatable randomness.
pub(crate) struct Luck(u64);

impl Luck {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn draw(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
