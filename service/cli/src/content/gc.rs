use std::fmt;
use std::time::Duration;

use bellwether_disk::Retention;
use clap::Args;
use serde::Serialize;

use super::site::SiteArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, Report};

/// Remove releases that are no longer kept.
#[derive(Debug, Args)]
pub(crate) struct Gc {
    /// How many releases to keep, the live one included.
    #[arg(long, value_name = "N", default_value_t = 3)]
    keep: usize,
    /// Keep every release for so long after another took its place.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    grace: u64,
    /// Remove at most so many files in a second: a mass deletion slows the whole file system.
    #[arg(long, value_name = "FILES", default_value_t = 5000)]
    rate: u64,
    #[command(flatten)]
    site: SiteArgs,
}

#[derive(Debug, Serialize)]
struct Collected {
    versions: Vec<String>,
    files: usize,
}

impl Report for Collected {
    const KIND: &'static str = "content.gc";
}

impl fmt::Display for Collected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "removed  {} versions, with {} files that no other shares",
            self.versions.len(),
            self.files
        )?;
        self.versions
            .iter()
            .try_for_each(|version| write!(f, "\n  {version}"))
    }
}

impl Gc {
    pub(crate) fn run(self, output: &Output) -> Result<Exit, Failure> {
        let site = self.site.open()?;
        let retention = Retention {
            keep: self.keep,
            grace: Duration::from_secs(self.grace),
        };
        let rate = self.rate.max(1);
        let collected = site.collect(retention, &mut |files| {
            std::thread::sleep(Duration::from_nanos(files as u64 * 1_000_000_000 / rate));
        })?;
        output.report(&Collected {
            versions: collected.versions.iter().map(ToString::to_string).collect(),
            files: collected.files,
        })?;
        Ok(Exit::Done)
    }
}
