use std::fmt;
use std::path::PathBuf;

use bellwether_api::routes::PlanSite;
use bellwether_api::{SitePlan, TreeWanted};
use bellwether_types::{ByteSize, Name};
use bytes::Bytes;
use clap::Args;
use serde::Serialize;

use super::access::Access;
use super::shown::words;
use super::staging::Staging;
use crate::content::TreeArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, Report};

/// Tell what publishing a tree would change, and for whom. Nothing is sent but its manifest.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// Which.
    site: Name,
    /// The directory of this machine that holds the tree; unless given, the server reads the site's staging source.
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
    /// End with exit code 9 if anything would change.
    #[arg(long)]
    detailed_exitcode: bool,
    #[command(flatten)]
    tree: TreeArgs,
    #[command(flatten)]
    access: Access,
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Planned(SitePlan);

impl Report for Planned {
    const KIND: &'static str = "plan";
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, part) in self.0.parts.iter().enumerate() {
            let start = if number == 0 { "" } else { "\n" };
            let base = part
                .base
                .map_or_else(|| "nothing".to_owned(), |v| v.short());
            if part.base == Some(part.target) {
                write!(f, "{start}{}  no change, version {base}", part.site)?;
                continue;
            }
            let changes = part.changes.iter();
            let changes = words(changes.map(|(kind, count)| format!("{count} {kind}")));
            write!(
                f,
                "{start}{}  from {base} to {}: {}, {} new of {}",
                part.site,
                part.target.short(),
                changes.replace(',', ", "),
                ByteSize(part.bytes),
                ByteSize(part.content_bytes)
            )?;
            for group in &part.groups {
                write!(
                    f,
                    "\n  group {}: {} nodes, of which {} must be able to take it and {} must stage it",
                    group.group, group.nodes, group.quorum_before, group.quorum_after
                )?;
            }
        }
        Ok(())
    }
}

impl Plan {
    pub(crate) fn run(self, output: &Output) -> Result<Exit, Failure> {
        let remote = self.access.open()?;
        let manifest = match &self.directory {
            None => Bytes::new(),
            Some(directory) => Staging::scan(directory, &self.tree, output)?.manifest,
        };
        let wanted = TreeWanted {
            scan: self.directory.is_none(),
            // It is only looked at.
            allow_empty: true,
        };
        let plan = remote
            .client
            .send::<PlanSite>(&self.site, &wanted, manifest);
        let plan = remote.wait(plan)?;
        let changes = plan.changes();
        output.report(&Planned(plan))?;
        Ok(match changes && self.detailed_exitcode {
            true => Exit::Changes,
            false => Exit::Done,
        })
    }
}
