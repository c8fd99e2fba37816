//! Our own side, through the command line as its users have it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::cost::{self, Cost};
use crate::shell;

#[derive(Debug)]
pub(super) struct Ours {
    binary: PathBuf,
}

/// Where a site lives.
#[derive(Debug)]
pub(super) struct Site {
    root: PathBuf,
}

impl Site {
    const NAME: &str = "bench";

    pub(super) fn at(root: PathBuf) -> Self {
        Self { root }
    }

    pub(super) fn live(&self) -> PathBuf {
        self.root.join(Self::NAME).join("live")
    }
}

impl Ours {
    /// The release binary of this workspace, built now; or another, for comparing two builds.
    pub(super) fn new(binary: Option<PathBuf>) -> Result<Self> {
        if let Some(binary) = binary {
            let binary = binary
                .canonicalize()
                .with_context(|| format!("no binary at {}", binary.display()))?;
            return Ok(Self::of(binary));
        }
        Ok(Self::of(shell::built("bellwether")?))
    }

    pub(super) fn of(binary: PathBuf) -> Self {
        Self { binary }
    }

    pub(super) fn program(&self) -> &Path {
        &self.binary
    }

    /// Made once a folder.
    pub(super) fn signing_key(&self, folder: &Path) -> Result<PathBuf> {
        self.key(folder, "sign")
    }

    pub(super) fn encryption_key(&self, folder: &Path) -> Result<PathBuf> {
        self.key(folder, "encrypt")
    }

    fn key(&self, folder: &Path, purpose: &str) -> Result<PathBuf> {
        let prefix = folder.join(purpose);
        let key = folder.join(format!("{purpose}.key"));
        if !key.exists() {
            shell::read(self.content("keygen").arg(purpose).arg(&prefix))?;
        }
        Ok(key)
    }

    pub(super) fn plan(&self, old: &Path, new: &Path, out: &Path, effort: &str) -> Command {
        let mut command = self.content("plan");
        command
            .arg("--old")
            .arg(old)
            .arg("--new")
            .arg(new)
            .arg("--out")
            .arg(out)
            // Without what an earlier run has learnt of the trees: no peer has that either.
            .args(["--effort", effort, "--no-cache"]);
        command
    }

    /// A node of a segment whose key and nodes' data lie in the folder.
    pub(super) fn agent(&self, folder: &Path, name: &str, settings: &str) -> Result<Command> {
        let key = self.segment_key(folder)?;
        let config = folder.join(format!("{name}.toml"));
        std::fs::write(&config, settings)?;
        let mut command = Command::new(&self.binary);
        command.args(["agent", "run", "--segment", "bench", "--interface", "eth0"]);
        command.args(["--name", name, "--config"]).arg(config);
        command.arg("--key-file").arg(key);
        command
            .arg("--data")
            .arg(folder.join(format!("{name}.data")));
        Ok(command)
    }

    /// One who takes part in a group whose key lies in the folder.
    pub(super) fn multicast(&self, folder: &Path, role: &str, name: &str) -> Result<Command> {
        let key = self.segment_key(folder)?;
        let mut command = Command::new(&self.binary);
        command.args([
            "multicast",
            role,
            "--group",
            "239.66.7.7:7707",
            "--interface",
            "eth0",
        ]);
        command.args(["--name", name, "--key-file"]).arg(key);
        Ok(command)
    }

    fn segment_key(&self, folder: &Path) -> Result<PathBuf> {
        let key = folder.join("segment.key");
        if !key.exists() {
            shell::read(
                Command::new(&self.binary)
                    .args(["agent", "keygen"])
                    .arg(&key),
            )?;
        }
        Ok(key)
    }

    pub(super) fn stage(&self, assignment: &Path, site: &Site) -> Command {
        let mut command = self.content("stage");
        command.arg(assignment);
        of_site(&mut command, site).arg("--allow-unsigned");
        command
    }

    /// Stages and says which version is now staged.
    pub(super) fn staged(&self, assignment: &Path, site: &Site) -> Result<String> {
        let printed = shell::read(&mut self.stage(assignment, site))?;
        let reply: Value = serde_json::from_str(printed.trim())?;
        let version = reply["version"]
            .as_str()
            .or_else(|| reply["staged"].as_str());
        Ok(version
            .with_context(|| format!("stage named no version: {printed}"))?
            .to_owned())
    }

    pub(super) fn commit(&self, site: &Site, version: Option<&str>) -> Command {
        let mut command = self.content("commit");
        command.args(version);
        of_site(&mut command, site);
        command
    }

    pub(super) fn rollback(&self, site: &Site, version: &str) -> Command {
        let mut command = self.content("rollback");
        command.args(["--to", version]);
        of_site(&mut command, site);
        command
    }

    pub(super) fn scan<'a>(
        &self,
        tree: &Path,
        options: impl IntoIterator<Item = &'a OsStr>,
    ) -> Command {
        let mut command = self.content("scan");
        command.arg(tree).args(options);
        command
    }

    /// Brings a site to this tree, unmeasured.
    pub(super) fn publish(&self, tree: &Path, site: &Site, folder: &Path) -> Result<String> {
        let nothing = folder.join("nothing");
        std::fs::create_dir_all(&nothing)?;
        let assignment = folder.join("whole.assignment");
        shell::read(&mut self.plan(&nothing, tree, &assignment, "fast"))?;
        let version = self.staged(&assignment, site)?;
        shell::read(&mut self.commit(site, None))?;
        std::fs::remove_file(&assignment)?;
        Ok(version)
    }

    /// Whether the assignment makes of `old` exactly `new`, modes, times and links included, and a rollback leads
    /// back to exactly `old`.
    pub(super) fn verify(
        &self,
        old: &Path,
        new: &Path,
        assignment: &Path,
        folder: &Path,
    ) -> Result<()> {
        let site = Site::at(folder.join("verify"));
        std::fs::create_dir_all(&site.root)?;
        let before = self.publish(old, &site, folder)?;
        self.staged(assignment, &site)?;
        shell::read(&mut self.commit(&site, None))?;
        same_tree(new, &site.live())?;
        shell::read(&mut self.rollback(&site, &before))?;
        same_tree(old, &site.live())?;
        std::fs::remove_dir_all(&site.root)?;
        Ok(())
    }

    /// Our program, which says what it has to say as JSON.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(["--quiet", "--output", "json"]);
        command
    }

    fn content(&self, verb: &str) -> Command {
        let mut command = self.command();
        command.args(["content", verb]);
        command
    }
}

fn of_site<'a>(command: &'a mut Command, site: &Site) -> &'a mut Command {
    command
        .arg("--root")
        .arg(&site.root)
        .args(["--site", Site::NAME])
}

/// Whether rsync, reading everything, would find nothing to do between the two.
fn same_tree(wanted: &Path, live: &Path) -> Result<()> {
    let words = [
        "rsync",
        "--dry-run",
        "--archive",
        "--checksum",
        "--delete",
        "--itemize-changes",
        "--omit-dir-times",
    ];
    let differences = shell::read(shell::command(words).arg(slash(wanted)).arg(slash(live)))?;
    ensure!(
        differences.is_empty(),
        "{} differs from {}:\n{differences}",
        live.display(),
        wanted.display()
    );
    Ok(())
}

/// To rsync a folder with a slash is what lies in it.
fn slash(folder: &Path) -> PathBuf {
    folder.join("")
}

/// Measures a command of ours that leaves a file behind.
pub(super) fn sized(command: &mut Command, out: &Path) -> Result<(u64, Cost)> {
    let cost = cost::of(command)?;
    Ok((
        out.metadata()
            .with_context(|| format!("no {}", out.display()))?
            .len(),
        cost,
    ))
}
