use clap::Args;

use super::site::SiteArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;

/// Finish or undo what was interrupted, and clear up.
#[derive(Debug, Args)]
pub(crate) struct Recover {
    #[command(flatten)]
    site: SiteArgs,
}

impl Recover {
    pub(crate) fn run(self, _output: &Output) -> Result<Exit, Failure> {
        Err(super::not_joined("recover"))
    }
}
