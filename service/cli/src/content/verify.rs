use clap::Args;

use super::site::SiteArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;

/// Compare the live tree with what it should be; changed, missing and extra entries are named.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    site: SiteArgs,
}

impl Verify {
    pub(crate) fn run(self, _output: &Output) -> Result<Exit, Failure> {
        Err(super::not_joined("verify"))
    }
}
