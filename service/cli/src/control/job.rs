use std::fmt;

use bellwether_api::routes::{AbortJob, CommitJob, ListJobs, ShowJob};
use bellwether_api::{JobInfo, JobLine, JobStatus, JobsPage, NoQuery, Page, Since};
use bellwether_types::Name;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::access::Access;
use super::follow::{follow, line, segment};
use super::moment::moment;
use super::shown::{Listing, Row};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, Report};

/// Jobs: list, show and watch them, call them off, and let them go live.
#[derive(Debug, Subcommand)]
pub(crate) enum JobCommand {
    /// List the jobs, the latest first.
    List(JobList),
    /// Show a job.
    Show(OneJob),
    /// Tell how a job gets on, until it is over; the exit code tells how it ended.
    Watch(OneJob),
    /// Call a job off. What is decided can only be rolled back.
    Abort(OneJob),
    /// Let what nodes have staged go live, where that is done by hand.
    Commit(OneJob),
}

#[derive(Debug, Args)]
pub(crate) struct JobList {
    /// Only those of this site.
    #[arg(long)]
    site: Option<Name>,
    /// Only those that are not over.
    #[arg(long)]
    open: bool,
    /// How many at most.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=i64::from(Page::LIMIT_MAX)))]
    limit: u32,
    #[command(flatten)]
    access: Access,
}

#[derive(Debug, Args)]
pub(crate) struct OneJob {
    /// Which.
    job: Name,
    #[command(flatten)]
    access: Access,
}

/// A job, as it is shown.
#[derive(Serialize)]
pub(super) struct Shown {
    pub(super) job: JobInfo,
}

impl JobCommand {
    pub(crate) fn run(self, output: &Output) -> Result<Exit, Failure> {
        let shown = match self {
            Self::List(list) => return list.run(output),
            Self::Watch(OneJob { job, access }) => {
                let job = follow(&access.open()?, &job, output)?;
                let exit = exit_of(&job);
                output.report(&Shown { job })?;
                return Ok(exit);
            }
            Self::Show(OneJob { job, access }) => {
                let at_once = Since::default();
                access.open()?.call::<ShowJob>(&job, &at_once, &())?
            }
            Self::Abort(OneJob { job, access }) => {
                access.open()?.call::<AbortJob>(&job, &NoQuery {}, &())?
            }
            Self::Commit(OneJob { job, access }) => {
                access.open()?.call::<CommitJob>(&job, &NoQuery {}, &())?
            }
        };
        output.report(&Shown { job: shown })?;
        Ok(Exit::Done)
    }
}

impl JobList {
    fn run(self, output: &Output) -> Result<Exit, Failure> {
        let page = JobsPage {
            after: None,
            limit: Some(self.limit),
            site: self.site,
            open: self.open.then_some(true),
        };
        let list = self.access.open()?.call::<ListJobs>(&(), &page, &())?;
        output.report(&Listing { items: list.items })?;
        Ok(Exit::Done)
    }
}

/// What the caller is told by the exit code of how a job ended.
pub(super) fn exit_of(job: &JobInfo) -> Exit {
    match job.line.status {
        JobStatus::Completed => Exit::Done,
        JobStatus::CompletedMissing => Exit::PartlyDone,
        JobStatus::RolledBack => Exit::RolledBack,
        JobStatus::Cancelled | JobStatus::Aborted => Exit::Conflict,
        JobStatus::Idle
        | JobStatus::ConflictQueued
        | JobStatus::Running
        | JobStatus::Deferred
        | JobStatus::Failed => Exit::Failed,
    }
}

impl Row for JobLine {
    const ONE: &'static str = "job.line";
    const LIST: &'static str = "job.list";
    const HEADINGS: &'static [&'static str] = &[
        "job", "kind", "site", "group", "status", "version", "nodes", "asked",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.to_string(),
            format!("{:?}", self.kind).to_lowercase(),
            self.site.clone(),
            self.group.to_string(),
            self.status.to_string(),
            self.target
                .map_or_else(|| "-".to_owned(), |version| version.short()),
            match self.nodes {
                0 => "-".to_owned(),
                nodes => format!("{}/{nodes}", self.done),
            },
            moment(self.created_ms),
        ]
    }
}

/// Jobs that were asked for together, a line each.
pub(super) fn lines(jobs: &[JobInfo]) -> String {
    let line = |job: &JobInfo| {
        let JobLine {
            name,
            site,
            group,
            status,
            ..
        } = &job.line;
        format!("{name} {site} on {group}: {status}")
    };
    jobs.iter().map(line).collect::<Vec<_>>().join("\n")
}

impl Report for Shown {
    const KIND: &'static str = "job.show";
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let job = &self.job;
        writeln!(f, "{}", line(job))?;
        let short = |version: Option<_>| {
            let short = version.map(|version: bellwether_types::VersionId| version.short());
            short.unwrap_or_else(|| "nothing".to_owned())
        };
        let (from, to) = (short(job.previous), short(job.line.target));
        write!(f, "  {from} -> {to} on {}", job.line.group)?;
        for one in &job.segments {
            write!(f, "\n  {}", segment(one))?;
        }
        for fault in &job.faults {
            write!(f, "\n  node {}: {}", fault.node, fault.reason)?;
        }
        Ok(())
    }
}
