use std::fmt;
use std::path::PathBuf;

use bellwether_api::routes::{CreateJob, KeepVersion};
use bellwether_api::{JobInfo, JobKind, JobWanted, NoQuery, TreeWanted, VersionKept};
use bellwether_types::{ByteSize, Name};
use bytes::Bytes;
use clap::Args;
use serde::Serialize;

use super::access::{Access, Remote};
use super::follow::see_through;
use super::job::lines;
use super::staging::{Sent, Staging};
use crate::content::TreeArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, Report};

/// Publish a tree as the next version of a site: what the control server lacks of it is sent there, what has changed goes
/// to the nodes of every group that serves the site, and there it becomes live.
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
    /// Wait until it is live, and tell how it gets on; so it is unless --detach is given.
    #[arg(long, conflicts_with = "detach")]
    wait: bool,
    /// Do not wait: `job watch` tells the rest.
    #[arg(long)]
    detach: bool,
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
    jobs: Vec<JobInfo>,
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
        write!(f, "\n{}", lines(&self.jobs))
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
        let mut jobs = self.launch(&remote, &kept.parts)?;
        let exit = match self.detach {
            true => Exit::Done,
            false => see_through(&remote, &mut jobs, output)?,
        };
        output.report(&Published {
            sent_contents: sent.contents,
            sent_bytes: sent.bytes,
            parts: kept.parts,
            jobs,
        })?;
        Ok(exit)
    }

    /// A job for each part that has changed and each group that serves it; for all parts if none has: then nodes that
    /// lack something get it, and nothing happens to the others.
    fn launch(&self, remote: &Remote, parts: &[VersionKept]) -> Result<Vec<JobInfo>, Failure> {
        if parts.iter().all(|part| part.groups.is_empty()) {
            let site = &self.site;
            let error = format!("site {site} is kept, and goes nowhere: no group serves it");
            let hint = format!("bellwether group create NAME --site {site}");
            return Err(Failure::new(Exit::Conflict, error).hint(hint));
        }
        let is_same = parts.iter().all(|part| !part.changed);
        let wanted = parts.iter().filter(|part| part.changed || is_same);
        let mut jobs = Vec::new();
        for part in wanted {
            for group in &part.groups {
                let wanted = JobWanted {
                    kind: JobKind::Publish,
                    site: part.site.site.clone(),
                    part: Some(part.site.part.clone()),
                    group: group.clone(),
                    target: Some(part.version),
                    nodes: None,
                    due_ms: None,
                    policy: None,
                };
                jobs.push(remote.call::<CreateJob>(&(), &NoQuery {}, &wanted)?);
            }
        }
        Ok(jobs)
    }
}
