use std::fmt;

use clap::Args;
use serde::Serialize;

use super::site::{SiteArgs, held_version};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, Report};

/// Keep a version whatever its age.
#[derive(Debug, Args)]
pub(crate) struct Pin {
    /// The version.
    version: String,
    /// No longer keep it.
    #[arg(long)]
    remove: bool,
    #[command(flatten)]
    site: SiteArgs,
}

#[derive(Debug, Serialize)]
struct Pinned {
    version: String,
    pinned: bool,
}

impl Report for Pinned {
    const KIND: &'static str = "content.pin";
}

impl fmt::Display for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.pinned { "pinned" } else { "unpinned" };
        write!(f, "{word}  {}", self.version)
    }
}

impl Pin {
    pub(crate) fn run(self, output: &Output) -> Result<Exit, Failure> {
        let site = self.site.open()?;
        let version = held_version(&site, &self.version)?;
        site.pin(version, !self.remove)?;
        output.report(&Pinned {
            version: version.to_string(),
            pinned: !self.remove,
        })?;
        Ok(Exit::Done)
    }
}
