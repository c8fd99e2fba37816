use std::fmt;

use bellwether_content::Timestamp;
use clap::Args;
use serde::Serialize;

use super::site::SiteArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, Report};

/// Show what is live, staged and kept.
#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    site: SiteArgs,
}

#[derive(Debug, Serialize)]
struct State {
    site: String,
    live: Option<String>,
    staged: Option<String>,
    previous: Option<String>,
    /// A switch was decided and waits to be finished, or a stage was cut short.
    needs_recovery: bool,
    serial: u64,
    term: u64,
    releases: Vec<Release>,
}

/// Times are seconds since 1970.
#[derive(Debug, Serialize)]
struct Release {
    version: String,
    serial: u64,
    term: u64,
    staged_at: i64,
    committed_at: Option<i64>,
    pinned: bool,
}

impl Report for State {
    const KIND: &'static str = "content.status";
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or = |version: &Option<String>| version.clone().unwrap_or_else(|| "nothing".into());
        writeln!(f, "site      {}", self.site)?;
        writeln!(f, "live      {}", or(&self.live))?;
        writeln!(f, "staged    {}", or(&self.staged))?;
        writeln!(f, "previous  {}", or(&self.previous))?;
        write!(f, "kept      {} versions", self.releases.len())?;
        for release in &self.releases {
            let pinned = if release.pinned { ", pinned" } else { "" };
            write!(f, "\n  {}{pinned}", release.version)?;
        }
        if self.needs_recovery {
            write!(
                f,
                "\nsomething is under way or was cut short: `content recover` finishes it"
            )?;
        }
        Ok(())
    }
}

impl Status {
    pub(crate) fn run(self, output: &Output) -> Result<Exit, Failure> {
        let site = self.site.open()?;
        let status = site.status()?;
        let text = |version: Option<bellwether_types::VersionId>| version.map(|v| v.to_string());
        let seconds = |time: Timestamp| time.seconds;
        let releases = status.releases.iter().map(|(version, release)| Release {
            version: version.to_string(),
            serial: release.serial.0,
            term: release.term.0,
            staged_at: release.staged.seconds,
            committed_at: release.committed.map(seconds),
            pinned: release.pinned,
        });
        output.report(&State {
            site: self.site.site.to_string(),
            live: text(status.live),
            staged: text(status.staged),
            previous: text(status.previous),
            needs_recovery: status.decided.is_some() || status.unswept,
            serial: status.serial.0,
            term: status.term.0,
            releases: releases.collect(),
        })?;
        Ok(Exit::Done)
    }
}
