//! A directory of its own for each test, and the binary that works in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::tree::Snapshot;

/// Holds staging trees, assignments and keys; `root` in it is what a node serves.
pub(crate) struct Place(TempDir);

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::create_dir(place.at("root")).unwrap();
        place
    }

    pub(crate) fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(path)
    }

    /// A line of words after `bellwether content`; those that act on a site act on `shop`.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bellwether"));
        command
            .arg("content")
            .args(line.split_whitespace())
            .current_dir(self.0.path())
            .env_clear()
            .env("HOME", self.0.path())
            .env("BELLWETHER_ROOT", "root")
            .env("BELLWETHER_SITE", "shop")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, line: &str) -> Ended {
        self.command(line).output().unwrap().into()
    }

    /// Runs what must succeed, and gives its report.
    pub(crate) fn done(&self, line: &str) -> Value {
        let ended = self.run(&format!("{line} --output json"));
        assert_eq!(ended.code, 0, "{line}: {}", ended.err);
        serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("JSON: {}", ended.out))
    }

    /// Runs what must be refused with this exit code and a message that has all of `words`,
    /// while everything that is served or held stays as it is.
    pub(crate) fn refused(&self, line: &str, code: i32, words: &[&str]) {
        let before = self.held();
        let ended = self.run(line);
        ended.assert_refused(line, code, words);
        self.held().assert_equal(&before, line);
    }

    /// What the root holds, apart from what says nothing about content: the note of who had the
    /// lock, the cache of fingerprints, and when the state was last written.
    pub(crate) fn held(&self) -> Snapshot {
        let mut held = Snapshot::of(&self.at("root"));
        held.forget(|path| path.ends_with(b"/.bellwether/lock"));
        held.forget(|path| path.ends_with(b"/.bellwether/fingerprints"));
        held.forget_time(b"/.bellwether/state.0");
        held.forget_time(b"/.bellwether/state.1");
        held
    }

    /// What readers see.
    pub(crate) fn live(&self) -> Snapshot {
        Snapshot::of(&self.at("root/shop/live/"))
    }

    pub(crate) fn assert_live(&self, tree: &str) {
        self.live()
            .assert_equal(&Snapshot::of(&self.at(tree)), &format!("live and {tree}"));
    }

    /// Stages what anybody made, and makes it live.
    pub(crate) fn publish(&self, assignment: &str) {
        self.done(&format!("stage {assignment} --allow-unsigned"));
        self.done("commit");
    }
}

impl Ended {
    pub(crate) fn assert_refused(&self, line: &str, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{line}: {}{}", self.out, self.err);
        for word in words {
            assert!(self.err.contains(word), "{line}: {word}? {}", self.err);
        }
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("nobody killed it"),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}
