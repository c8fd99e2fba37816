use clap::Args;

use super::site::SiteArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;

/// Remove releases that are no longer kept, and content that none of them needs.
#[derive(Debug, Args)]
pub(crate) struct Gc {
    /// How many releases to keep besides the live one.
    #[arg(long, value_name = "N")]
    keep: Option<usize>,
    #[command(flatten)]
    site: SiteArgs,
}

impl Gc {
    pub(crate) fn run(self, _output: &Output) -> Result<Exit, Failure> {
        Err(super::not_joined("gc"))
    }
}
