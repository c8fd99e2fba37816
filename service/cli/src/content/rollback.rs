use bellwether_types::VersionId;
use clap::Args;

use super::site::SiteArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;

/// Go back to the version that was live before, or to a kept one.
#[derive(Debug, Args)]
pub(crate) struct Rollback {
    /// The version to go back to.
    #[arg(long, value_name = "VERSION")]
    to: Option<VersionId>,
    #[command(flatten)]
    site: SiteArgs,
}

impl Rollback {
    pub(crate) fn run(self, _output: &Output) -> Result<Exit, Failure> {
        Err(super::not_joined("rollback"))
    }
}
