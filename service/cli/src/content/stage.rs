use std::path::PathBuf;

use clap::{ArgGroup, Args};

use super::site::SiteArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;

/// Build the next tree beside the live one and print its version.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("authenticity").required(true))]
pub(crate) struct Stage {
    /// The assignment, or all of a split set.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    site: SiteArgs,
    /// Accept only what this public key signed; can be given several times.
    #[arg(long, value_name = "PUBKEY", group = "authenticity")]
    trust: Vec<PathBuf>,
    /// Accept an assignment whoever made it.
    #[arg(long, group = "authenticity", conflicts_with = "trust")]
    allow_unsigned: bool,
    /// The key that opens encrypted data.
    #[arg(long, value_name = "KEYFILE")]
    decrypt: Option<PathBuf>,
}

impl Stage {
    pub(crate) fn run(self, _output: &Output) -> Result<Exit, Failure> {
        Err(super::not_joined("stage"))
    }
}
