use std::fmt;

use clap::Args;
use serde::Serialize;

use super::site::SiteArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, Report};

/// Finish or undo what was interrupted, and clear up.
#[derive(Debug, Args)]
pub(crate) struct Recover {
    #[command(flatten)]
    site: SiteArgs,
}

#[derive(Debug, Serialize)]
struct Recovered {
    live: Option<String>,
    switch_finished: bool,
    trees_removed: usize,
    files_removed: usize,
}

impl Report for Recovered {
    const KIND: &'static str = "content.recover";
}

impl fmt::Display for Recovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "live     {}", self.live.as_deref().unwrap_or("nothing"))?;
        if self.switch_finished {
            writeln!(f, "switch   was decided, and is finished now")?;
        }
        write!(
            f,
            "removed  {} unfinished trees, {} other files",
            self.trees_removed, self.files_removed
        )
    }
}

impl Recover {
    pub(crate) fn run(self, output: &Output) -> Result<Exit, Failure> {
        let site = self.site.open()?;
        let recovery = site.recover()?;
        output.report(&Recovered {
            live: site.status()?.live.map(|version| version.to_string()),
            switch_finished: recovery.switch.is_some(),
            trees_removed: recovery.trees,
            files_removed: recovery.files,
        })?;
        Ok(Exit::Done)
    }
}
