mod sample;

use std::path::Path;

use clap::Args;
use tempfile::TempDir;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;

/// Publish, update and roll back a sample site in a temporary directory.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Leave everything there to look at, and say where.
    #[arg(long)]
    keep: bool,
}

impl Demo {
    pub(crate) fn run(self, output: &Output) -> Result<Exit, Failure> {
        let place = TempDir::with_prefix("bellwether-demo-");
        let place = place.map_err(|error| Failure::io("create", &std::env::temp_dir(), error))?;
        let told = story(place.path(), output);
        if self.keep {
            output.say(format_args!("kept in {}", place.keep().display()));
        }
        told.map(|()| Exit::Done)
    }
}

/// The steps that anybody can repeat by hand, in the same order.
fn story(place: &Path, output: &Output) -> Result<(), Failure> {
    let (first, second) = (place.join("staging-1"), place.join("staging-2"));
    sample::write_first(&first).map_err(|error| Failure::io("write", &first, error))?;
    sample::write_second(&second).map_err(|error| Failure::io("write", &second, error))?;
    output.say("two sample trees are written");
    Ok(())
}
