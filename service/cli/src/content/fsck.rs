use clap::Args;

use super::site::SiteArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;

/// Hash everything that is held, and repair what can be repaired.
#[derive(Debug, Args)]
pub(crate) struct Fsck {
    #[command(flatten)]
    site: SiteArgs,
}

impl Fsck {
    pub(crate) fn run(self, _output: &Output) -> Result<Exit, Failure> {
        Err(super::not_joined("fsck"))
    }
}
