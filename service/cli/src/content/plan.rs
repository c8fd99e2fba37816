use std::path::PathBuf;

use bellwether_types::{ByteSize, Serial, SitePart, Term};
use clap::{Args, ValueEnum};

use super::tree::TreeArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;

/// Write the assignment that turns old trees into a new one.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// A tree, or a version of the site, that nodes may have; without any, nodes have nothing.
    #[arg(long, value_name = "DIR|VERSION", num_args = 1..)]
    old: Vec<String>,
    /// The tree they shall have.
    #[arg(long, value_name = "DIR")]
    new: PathBuf,
    /// Where to write the assignment; a set of several is numbered.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// How much work to spend on few bytes.
    #[arg(long, value_enum, default_value_t)]
    effort: Effort,
    /// Do not try to compress files that this pattern names; can be given several times.
    #[arg(long, value_name = "GLOB", num_args = 1..)]
    no_compress: Vec<String>,
    /// Sign with this key.
    #[arg(long, value_name = "KEY")]
    sign: Option<PathBuf>,
    /// Encrypt the data with this key.
    #[arg(long, value_name = "KEYFILE")]
    encrypt: Option<PathBuf>,
    /// Split into assignments of at most so many bytes, such as 512M.
    #[arg(long, value_name = "BYTES")]
    max_size: Option<ByteSize>,
    /// The directory that holds the site whose versions are named by --old.
    #[arg(long, requires = "site")]
    root: Option<PathBuf>,
    /// The site the assignment is for, or SITE@PART.
    #[arg(long)]
    site: Option<SitePart>,
    /// Its place in the order of the site's assignments.
    #[arg(long, default_value = "1", value_parser = parse_serial)]
    serial: Serial,
    /// The reign of the control group's master.
    #[arg(long, default_value = "1", value_parser = parse_term)]
    term: Term,
    #[command(flatten)]
    tree: TreeArgs,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Effort {
    /// Least time.
    Fast,
    /// Few bytes in reasonable time.
    #[default]
    Default,
    /// Fewest bytes.
    Max,
}

fn parse_serial(text: &str) -> Result<Serial, std::num::ParseIntError> {
    text.parse().map(Serial)
}

fn parse_term(text: &str) -> Result<Term, std::num::ParseIntError> {
    text.parse().map(Term)
}

impl Plan {
    pub(crate) fn run(self, _output: &Output) -> Result<Exit, Failure> {
        Err(super::not_joined("plan"))
    }
}
