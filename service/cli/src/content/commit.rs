use std::fmt;

use bellwether_disk::Switched;
use clap::Args;
use serde::Serialize;

use super::hooks::{self, HookArgs, HookReport};
use super::site::{SiteArgs, held_version};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, Report};

/// Make a staged version live: the newest one unless said otherwise.
#[derive(Debug, Args)]
pub(crate) struct Commit {
    /// The version; what was staged last unless said otherwise.
    version: Option<String>,
    #[command(flatten)]
    site: SiteArgs,
    #[command(flatten)]
    hooks: HookArgs,
}

/// What a commit or a rollback did.
#[derive(Debug, Serialize)]
pub(crate) struct SwitchReport {
    from: Option<String>,
    live: String,
    changed: bool,
    hooks: Vec<HookReport>,
}

impl Report for SwitchReport {
    const KIND: &'static str = "content.switch";
}

impl fmt::Display for SwitchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "live  {}", self.live)?;
        match &self.from {
            _ if !self.changed => write!(f, "\n      it was live already"),
            Some(from) => write!(f, "\nwas   {from}"),
            None => write!(f, "\nwas   nothing"),
        }
    }
}

impl SwitchReport {
    pub(crate) fn of(switched: &Switched, output: &Output) -> Self {
        Self {
            from: switched.from.map(|version| version.to_string()),
            live: switched.to.to_string(),
            changed: switched.from != Some(switched.to),
            hooks: hooks::tell(&switched.after, output),
        }
    }
}

impl Commit {
    pub(crate) fn run(self, output: &Output) -> Result<Exit, Failure> {
        let site = self.site.open_with(self.hooks.hooks())?;
        let version = self
            .version
            .map(|text| held_version(&site, &text))
            .transpose()?;
        let switched = site.commit(version)?;
        output.report(&SwitchReport::of(&switched, output))?;
        Ok(Exit::Done)
    }
}
