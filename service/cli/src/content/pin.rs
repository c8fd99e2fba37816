use bellwether_types::VersionId;
use clap::Args;

use super::site::SiteArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;

/// Keep a version whatever its age.
#[derive(Debug, Args)]
pub(crate) struct Pin {
    /// The version.
    version: VersionId,
    /// No longer keep it.
    #[arg(long)]
    remove: bool,
    #[command(flatten)]
    site: SiteArgs,
}

impl Pin {
    pub(crate) fn run(self, _output: &Output) -> Result<Exit, Failure> {
        Err(super::not_joined("pin"))
    }
}
