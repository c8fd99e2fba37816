use std::fmt;
use std::path::PathBuf;

use bellwether_api::routes::KeepVersion;
use bellwether_api::{TreeWanted, VersionKept};
use bellwether_types::{ByteSize, Name};
use bytes::Bytes;
use clap::Args;
use serde::Serialize;

use super::access::Access;
use super::staging::{Sent, Staging};
use crate::content::TreeArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, Report};

/// Publish a tree as the next version of a site: what the control server lacks of it is sent, and nothing else.
#[derive(Debug, Args)]
pub(crate) struct Publish {
    /// Which.
    site: Name,
    /// The directory of this machine that holds the tree; unless given, the server reads the site's staging source.
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
    /// A tree without files is meant as it is: all content of the site goes.
    #[arg(long)]
    allow_empty: bool,
    #[command(flatten)]
    tree: TreeArgs,
    #[command(flatten)]
    access: Access,
}

/// What became of the tree.
#[derive(Debug, Serialize)]
struct Published {
    sent_contents: u64,
    sent_bytes: u64,
    parts: Vec<VersionKept>,
}

impl Report for Published {
    const KIND: &'static str = "publish";
}

impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, part) in self.parts.iter().enumerate() {
            let start = if number == 0 { "" } else { "\n" };
            let state = match part.changed {
                true => "kept",
                false => "unchanged",
            };
            let (version, files, bytes) = (part.version.short(), part.files, ByteSize(part.bytes));
            write!(
                f,
                "{start}{}  version {version} {state}: {files} files, {bytes}",
                part.site
            )?;
        }
        if self.sent_contents > 0 {
            let (contents, bytes) = (self.sent_contents, ByteSize(self.sent_bytes));
            write!(f, "\nsent  {contents} contents, {bytes}")?;
        }
        Ok(())
    }
}

impl Publish {
    pub(crate) fn run(self, output: &Output) -> Result<Exit, Failure> {
        let remote = self.access.open()?;
        let (manifest, sent) = match &self.directory {
            None => (Bytes::new(), Sent::default()),
            Some(directory) => {
                let staging = Staging::scan(directory, &self.tree, output)?;
                let sent = staging.send(&remote, &self.site, output)?;
                (staging.manifest, sent)
            }
        };
        let wanted = TreeWanted {
            scan: self.directory.is_none(),
            allow_empty: self.allow_empty,
        };
        let kept = remote
            .client
            .send::<KeepVersion>(&self.site, &wanted, manifest);
        let kept = remote.wait(kept)?;
        output.report(&Published {
            sent_contents: sent.contents,
            sent_bytes: sent.bytes,
            parts: kept.parts,
        })?;
        Ok(Exit::Done)
    }
}
