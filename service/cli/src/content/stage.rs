use std::fmt;
use std::fs::File;
use std::path::PathBuf;

use bellwether_content::assignment::Trust;
use bellwether_disk::stage::{Accepting, stage};
use bellwether_types::ByteSize;
use bellwether_wire::{ContentKey, PublicKey};
use clap::{ArgGroup, Args};
use serde::Serialize;

use super::site::SiteArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::keys;
use crate::output::{Output, Report};
use crate::progress::Progress;

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
    /// Accept files with setuid or setgid bits.
    #[arg(long)]
    allow_set_id: bool,
}

#[derive(Debug, Serialize)]
struct Staged {
    version: String,
    files_written: usize,
    bytes_written: u64,
    bytes_read: u64,
}

impl Report for Staged {
    const KIND: &'static str = "content.stage";
}

impl fmt::Display for Staged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (files, written) = (self.files_written, ByteSize(self.bytes_written));
        writeln!(f, "staged   {}", self.version)?;
        write!(
            f,
            "written  {files} files, {written} from {}",
            ByteSize(self.bytes_read)
        )
    }
}

impl Stage {
    pub(crate) fn run(self, output: &Output) -> Result<Exit, Failure> {
        let trust = match self.allow_unsigned {
            true => Trust::Anyone,
            false => {
                let keys = self.trust.iter().map(|file| keys::read::<PublicKey>(file));
                Trust::Keys(keys.collect::<Result<_, _>>()?)
            }
        };
        let content_key = self.decrypt.as_deref();
        let content_key = content_key.map(|file| keys::read_secret::<ContentKey>(file, output));
        let content_key = content_key.transpose()?;
        let files = self.files.iter().map(|path| {
            let file = File::open(path).map_err(|error| Failure::io("open", path, error))?;
            Ok(std::io::BufReader::with_capacity(256 << 10, file))
        });
        let files = files.collect::<Result<Vec<_>, Failure>>()?;
        let site = self.site.open()?;
        let progress = Progress::new(output, "staging");
        let staged = stage(
            &site,
            files,
            &Accepting {
                trust: &trust,
                content_key: content_key.as_ref(),
                allow_set_id: self.allow_set_id,
                progress: &|done, total| progress.reach(done, total),
            },
        );
        drop(progress);
        let staged = staged.map_err(|error| Failure::of_stage(error, &self.files))?;
        output.report(&Staged {
            version: staged.version.to_string(),
            files_written: staged.files_written,
            bytes_written: staged.bytes_written,
            bytes_read: staged.bytes_read,
        })?;
        Ok(Exit::Done)
    }
}
