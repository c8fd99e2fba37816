use std::fmt;

use bellwether_api::routes::{CreateJob, ListGroups, ShowSite};
use bellwether_api::{JobInfo, JobKind, JobWanted, NoQuery};
use bellwether_fleet::Group;
use bellwether_types::{Name, VersionId};
use clap::Args;
use serde::Serialize;

use super::access::{Access, Remote};
use super::follow::see_through;
use super::job::lines;
use super::shown::all;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, Report};

/// Bring a site back to what was live before, on all its groups at once. Once more leads one version further back.
#[derive(Debug, Args)]
pub(crate) struct Rollback {
    /// The site.
    site: Name,
    /// Only this part of it.
    #[arg(long)]
    part: Option<Name>,
    /// To this version, instead of the one before.
    #[arg(long, value_name = "VERSION")]
    to: Option<VersionId>,
    /// Do not wait until it is done.
    #[arg(long)]
    detach: bool,
    #[command(flatten)]
    access: Access,
}

/// What came of it.
#[derive(Serialize)]
struct RolledBack {
    jobs: Vec<JobInfo>,
}

impl Rollback {
    pub(crate) fn run(self, output: &Output) -> Result<Exit, Failure> {
        let remote = self.access.open()?;
        let mut jobs = Vec::new();
        let mut refused = None;
        for (part, group) in self.places(&remote)? {
            let wanted = JobWanted {
                kind: JobKind::Rollback,
                site: self.site.clone(),
                part: Some(part),
                group,
                target: self.to,
                nodes: None,
                due_ms: None,
                policy: None,
            };
            match remote.call::<CreateJob>(&(), &NoQuery {}, &wanted) {
                Ok(job) => jobs.push(job),
                // Nothing was live of this part: others may have something to go back to.
                Err(failure) if failure.exit == Exit::Conflict => refused = Some(failure),
                Err(failure) => return Err(failure),
            }
        }
        if jobs.is_empty() {
            let nobody = || {
                let message = format!("no group serves site {}", self.site);
                Failure::new(Exit::Conflict, message)
            };
            return Err(refused.unwrap_or_else(nobody));
        }
        let exit = match self.detach {
            true => Exit::Done,
            false => see_through(&remote, &mut jobs, output)?,
        };
        output.report(&RolledBack { jobs })?;
        Ok(exit)
    }

    /// The parts that groups serve, each with the group.
    fn places(&self, remote: &Remote) -> Result<Vec<(Name, Name)>, Failure> {
        let site = remote.call::<ShowSite>(&self.site, &NoQuery {}, &())?;
        let whole: Name = "all".parse().expect("a name by its letters");
        let parts = site.parts.into_iter().map(|part| part.name);
        let parts: Vec<Name> = std::iter::once(whole).chain(parts).collect();
        let groups = all::<ListGroups, Group>(remote)?.items.into_iter();
        let mut places = Vec::new();
        for group in groups.filter(|group| group.site == self.site) {
            let served = parts.iter().filter(|part| {
                let named = group.parts.is_empty() || group.parts.contains(*part);
                named && self.part.as_ref().is_none_or(|wanted| wanted == *part)
            });
            places.extend(served.map(|part| (part.clone(), group.name.clone())));
        }
        Ok(places)
    }
}

impl Report for RolledBack {
    const KIND: &'static str = "rollback";
}

impl fmt::Display for RolledBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&lines(&self.jobs))
    }
}
