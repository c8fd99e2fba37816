use clap::Args;

use super::site::SiteArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;

/// Show what is live, staged and kept.
#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    site: SiteArgs,
}

impl Status {
    pub(crate) fn run(self, _output: &Output) -> Result<Exit, Failure> {
        Err(super::not_joined("status"))
    }
}
