use bellwether_types::VersionId;
use clap::Args;

use super::site::SiteArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;

/// Make a staged version live: the newest one unless said otherwise.
#[derive(Debug, Args)]
pub(crate) struct Commit {
    /// The version; what was staged last unless said otherwise.
    version: Option<VersionId>,
    #[command(flatten)]
    site: SiteArgs,
}

impl Commit {
    pub(crate) fn run(self, _output: &Output) -> Result<Exit, Failure> {
        Err(super::not_joined("commit"))
    }
}
