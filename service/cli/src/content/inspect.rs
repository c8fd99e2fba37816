use std::path::PathBuf;

use clap::Args;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;

/// Show what an assignment holds: header, commands, and bytes by cause (new, patch, copy).
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// The assignment.
    file: PathBuf,
    /// Also list every command.
    #[arg(long)]
    commands: bool,
}

impl Inspect {
    pub(crate) fn run(self, _output: &Output) -> Result<Exit, Failure> {
        Err(super::not_joined("inspect"))
    }
}
