use clap::Args;

use super::commit::SwitchReport;
use super::hooks::HookArgs;
use super::site::{SiteArgs, held_version};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;

/// Go back to the version that was live before, or to a kept one.
#[derive(Debug, Args)]
pub(crate) struct Rollback {
    /// The version to go back to.
    #[arg(long, value_name = "VERSION")]
    to: Option<String>,
    #[command(flatten)]
    site: SiteArgs,
    #[command(flatten)]
    hooks: HookArgs,
}

impl Rollback {
    pub(crate) fn run(self, output: &Output) -> Result<Exit, Failure> {
        let site = self.site.open_with(self.hooks.hooks())?;
        let to = self.to.map(|text| held_version(&site, &text)).transpose()?;
        let switched = site.rollback(to)?;
        output.report(&SwitchReport::of(&switched, output))?;
        Ok(Exit::Done)
    }
}
