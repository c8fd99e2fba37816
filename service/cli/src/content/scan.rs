use std::fmt;
use std::path::PathBuf;

use bellwether_content::Entry;
use bellwether_types::ByteSize;
use clap::Args;
use serde::Serialize;

use super::tree::TreeArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, Report};

/// Read a tree and print its version: equal trees have equal versions.
#[derive(Debug, Args)]
pub(crate) struct Scan {
    /// The tree.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    #[command(flatten)]
    tree: TreeArgs,
}

#[derive(Debug, Default, Serialize)]
struct Scanned {
    version: String,
    files: u64,
    directories: u64,
    symlinks: u64,
    bytes: u64,
    files_hashed: u64,
    bytes_hashed: u64,
    skipped: Vec<Skipped>,
}

#[derive(Debug, Serialize)]
struct Skipped {
    path: String,
    kind: String,
}

impl Report for Scanned {
    const KIND: &'static str = "content.scan";
}

impl fmt::Display for Scanned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "version      {}", self.version)?;
        writeln!(f, "files        {}", self.files)?;
        writeln!(f, "directories  {}", self.directories)?;
        writeln!(f, "symlinks     {}", self.symlinks)?;
        writeln!(f, "bytes        {} ({})", self.bytes, ByteSize(self.bytes))?;
        let read = ByteSize(self.bytes_hashed);
        write!(
            f,
            "read         {} files, {read}; the rest has not changed",
            self.files_hashed
        )
    }
}

impl Scan {
    pub(crate) fn run(self, output: &Output) -> Result<Exit, Failure> {
        let scan = self.tree.scan(&self.directory, output)?;
        let mut report = Scanned {
            version: scan.manifest.version().to_string(),
            files_hashed: scan.files_hashed,
            bytes_hashed: scan.bytes_hashed,
            ..Scanned::default()
        };
        for (_, entry) in scan.manifest.iter() {
            match entry {
                Entry::Directory { .. } => report.directories += 1,
                Entry::Symlink { .. } => report.symlinks += 1,
                Entry::File(file) => {
                    report.files += 1;
                    report.bytes += file.size;
                }
            }
        }
        let skipped = scan.skipped.iter().map(|(path, kind)| Skipped {
            path: path.to_string(),
            kind: kind.to_string(),
        });
        report.skipped = skipped.collect();
        output.report(&report)?;
        Ok(Exit::Done)
    }
}
