//! Jobs: what was asked for, how far each is, and what is live where because of them.

use std::collections::BTreeSet;

use bellwether_scheduling::{Ending, Job, JobState, Kind, Moment, Phase, Policy, Status, Step};
use bellwether_types::{Name, NodeId, Serial, SitePart, VersionId};
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::applying::{Applying, Effect, Halt};
use crate::bytes::Bytes;
use crate::outcome::{Refused, StoreError};
use crate::row::{column, json, number, parsed, parsed_or_none, to_json};
use crate::store::Store;

/// A job that is asked for. Its name and its serials come from its place in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewJob {
    /// What it does, as [`NewJob::new`] encodes it.
    kind: Bytes,
    /// Whose content.
    pub site: Name,
    /// Which part of it.
    pub part: Name,
    /// On whose nodes.
    pub group: Name,
    /// What is to become live; `None` if the content goes.
    pub target: Option<VersionId>,
    /// Only these nodes of the group; `None` is all.
    pub nodes: Option<BTreeSet<NodeId>>,
    /// When it is due, in milliseconds since 1970.
    pub due_ms: u64,
    /// How it goes about it, encoded.
    policy: Bytes,
}

/// A job as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptJob {
    /// The entry of the log that made it: jobs are in this order.
    pub number: u64,
    /// The entry of the log that changed it last.
    pub changed: u64,
    /// When it was asked for, in milliseconds since 1970.
    pub created_ms: i64,
    /// When it changed last.
    pub changed_ms: i64,
    /// What is to become live; `None` if the content goes.
    pub target: Option<VersionId>,
    /// Only these nodes of the group; `None` is all.
    pub nodes: Option<BTreeSet<NodeId>>,
    /// How far it is.
    pub state: JobState,
}

/// A job in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobLine {
    /// The entry of the log that made it.
    pub number: u64,
    /// Its name.
    pub name: Name,
    /// What it does.
    pub kind: Kind,
    /// Whose content.
    pub site: SitePart,
    /// On whose nodes.
    pub group: Name,
    /// Where it stands.
    pub status: Status,
    /// What is to become live; `None` if the content goes.
    pub target: Option<VersionId>,
    /// When it was asked for, in milliseconds since 1970.
    pub created_ms: i64,
    /// When it changed last.
    pub changed_ms: i64,
    /// How many nodes it is for, once it began.
    pub nodes: u64,
    /// How many of them are where it wanted them, once it is over.
    pub done: u64,
}

/// What is live of a site and part on the nodes of a group, by the jobs that were decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// By the job of this number; later ones are higher.
    pub number: u64,
    /// Whose content.
    pub site: SitePart,
    /// On whose nodes.
    pub group: Name,
    /// The version; `None` if the content was removed.
    pub version: Option<VersionId>,
    /// By which job.
    pub job: Name,
}

/// Serials of a job: parts of its content from the first on, then the order that makes it live, then the one that undoes it.
const SERIALS: u32 = 20;
const ORDER: u64 = 1 << 17;
const UNDO: u64 = 1 << 18;
/// So far a rollback looks back.
const LIVES_MAX: u32 = 1_000;
/// Jobs that are not over.
const OPEN_MAX: u64 = 10_000;

impl NewJob {
    /// A job that is due at once.
    pub fn new(kind: Kind, site: SitePart, group: Name, target: Option<VersionId>) -> Self {
        Self {
            kind: encoded(&kind),
            site: site.site,
            part: site.part,
            group,
            target,
            nodes: None,
            due_ms: 0,
            policy: encoded(&Policy::default()),
        }
    }

    /// With other rules than the usual ones.
    pub fn with_policy(mut self, policy: &Policy) -> Self {
        self.policy = encoded(policy);
        self
    }
}

impl KeptJob {
    /// The serial of its content.
    pub const fn content(&self) -> Serial {
        Serial(self.number << SERIALS)
    }

    /// The serial of the order that makes it live.
    pub const fn order(&self) -> Serial {
        Serial((self.number << SERIALS) + ORDER)
    }

    /// The serial of the order that undoes it.
    pub const fn undo(&self) -> Serial {
        Serial((self.number << SERIALS) + UNDO)
    }
}

/// What a step is called in the audit and among the events.
pub(crate) fn word(step: &Bytes) -> &'static str {
    match decoded(step) {
        Ok(Step::Queued) => "job.queued",
        Ok(Step::Begun(_)) => "job.begun",
        Ok(Step::Deferred(_)) => "job.deferred",
        Ok(Step::Planned(_)) => "job.planned",
        Ok(Step::PlanFailed(_)) => "job.plan-failed",
        Ok(Step::Sent) => "job.sent",
        Ok(Step::Missed(_)) => "job.missed",
        Ok(Step::Decided) => "job.decided",
        Ok(Step::RollbackDecided) => "job.rollback-decided",
        Ok(Step::Aborted) => "job.aborted",
        Ok(Step::CommitAsked) => "job.commit-asked",
        Ok(Step::AbortAsked) => "job.abort-asked",
        Ok(Step::Finished(..)) => "job.finished",
        Ok(Step::CaughtUp(_)) => "job.caught-up",
        Err(_) => "job.step",
    }
}

pub(crate) async fn create(applying: &mut Applying<'_>, new: &NewJob) -> Effect {
    let group = sqlx::query("SELECT site, parts FROM content_groups WHERE name = $1")
        .bind(new.group.as_str())
        .fetch_optional(&mut *applying.db)
        .await?;
    let group = group.ok_or_else(|| missing("group", new.group.as_str()))?;
    let (site, parts): (Name, BTreeSet<Name>) = (parsed(&group, "site")?, json(&group, "parts")?);
    if site != new.site || !(parts.is_empty() || parts.contains(&new.part)) {
        let place = SitePart {
            site: new.site.clone(),
            part: new.part.clone(),
        };
        let fault = format!("group {} does not serve {place}", new.group);
        return Err(Refused::Invalid(fault).into());
    }
    crate::site::require(applying, &new.site, [&new.part]).await?;
    let count = "SELECT count(*) FROM jobs WHERE open";
    applying
        .room("jobs that are not over", count, OPEN_MAX)
        .await?;
    let invalid = |what: &str| Refused::Invalid(format!("the job's {what} cannot be read"));
    let kind: Kind = decoded(&new.kind).map_err(|_| invalid("kind"))?;
    let policy: Policy = decoded(&new.policy).map_err(|_| invalid("policy"))?;
    if (kind == Kind::Remove) != new.target.is_none() {
        let fault = "a job names the version that becomes live, unless the content goes";
        return Err(Refused::Invalid(fault.to_owned()).into());
    }
    let name: Name = format!("j-{}", applying.number)
        .parse()
        .expect("a name by its letters");
    let state = JobState::new(Job {
        name: name.clone(),
        kind,
        site: SitePart {
            site: new.site.clone(),
            part: new.part.clone(),
        },
        group: new.group.clone(),
        due: Moment(new.due_ms),
        policy,
    });
    sqlx::query(
        "INSERT INTO jobs (number, name, changed, created_ms, changed_ms, kind, site, part, \
         content_group, target, only_nodes, status, open, state, nodes, done) \
         VALUES ($1, $2, $1, $3, $3, $4, $5, $6, $7, $8, $9, $10, 1, $11, 0, 0)",
    )
    .bind(column(applying.number))
    .bind(name.as_str())
    .bind(applying.at_ms)
    .bind(&new.kind.0)
    .bind(new.site.as_str())
    .bind(new.part.as_str())
    .bind(new.group.as_str())
    .bind(new.target.map(|target| target.to_string()))
    .bind(new.nodes.as_ref().map(to_json))
    .bind(encoded(&state.status).0)
    .bind(encoded(&state).0)
    .execute(&mut *applying.db)
    .await?;
    let text = format!(
        "job {name} was asked for: {} on {}",
        state.job.site, new.group
    );
    applying.tell("job.created", name.as_str(), &text).await
}

/// Takes a step of a job, at the time of the entry.
pub(crate) async fn keep(applying: &mut Applying<'_>, job: &Name, step: &Bytes) -> Effect {
    let row = sqlx::query("SELECT * FROM jobs WHERE name = $1")
        .bind(job.as_str())
        .fetch_optional(&mut *applying.db)
        .await?;
    let kept = read(&row.ok_or_else(|| missing("job", job.as_str()))?)?;
    let kind = word(step);
    let invalid = |_| Refused::Invalid("the step cannot be read".to_owned());
    let step: Step = decoded(step).map_err(invalid)?;
    let mut state = kept.state.clone();
    let at = Moment(u64::try_from(applying.at_ms).unwrap_or(0));
    state
        .apply(&step, at)
        .map_err(|refused| Refused::Job(refused.to_string()))?;
    let done = state
        .endings
        .values()
        .filter(|ending| **ending == Ending::Done)
        .count();
    sqlx::query(
        "UPDATE jobs SET changed = $2, changed_ms = $3, status = $4, open = $5, state = $6, \
         nodes = $7, done = $8 WHERE number = $1",
    )
    .bind(column(kept.number))
    .bind(column(applying.number))
    .bind(applying.at_ms)
    .bind(encoded(&state.status).0)
    .bind(!state.status.is_over())
    .bind(encoded(&state).0)
    .bind(column(state.nodes.len() as u64))
    .bind(column(done as u64))
    .execute(&mut *applying.db)
    .await?;
    go_live(applying, &kept, &state).await?;
    let mut text = format!("job {job} ({})", state.status);
    if let Some(why) = &state.why {
        text = format!("{text}: {why}");
    }
    applying.tell(kind, job.as_str(), &text).await
}

/// What is live changes when a job is decided, and is what it was before if the job is taken back or changed nothing.
async fn go_live(applying: &mut Applying<'_>, was: &KeptJob, is: &JobState) -> Effect {
    // What nodes missed was live already.
    let new = is.job.kind != Kind::Synchronize;
    if new && !was.state.is_decided() && is.is_decided() {
        sqlx::query("INSERT INTO lives VALUES ($1, $2, $3, $4, $5, $6)")
            .bind(column(was.number))
            .bind(is.job.site.site.as_str())
            .bind(is.job.site.part.as_str())
            .bind(is.job.group.as_str())
            .bind(was.target.map(|target| target.to_string()))
            .bind(is.job.name.as_str())
            .execute(&mut *applying.db)
            .await?;
    }
    let taken_back = matches!(is.phase, Phase::RollingBack(_))
        || matches!(is.status, Status::Failed | Status::RolledBack);
    if taken_back {
        sqlx::query("DELETE FROM lives WHERE number = $1")
            .bind(column(was.number))
            .execute(&mut *applying.db)
            .await?;
    }
    Ok(())
}

fn missing(what: &'static str, name: &str) -> Halt {
    let name = name.to_owned();
    Refused::Missing { what, name }.into()
}

/// A value of the protocols, as it stands in commands and columns.
pub(crate) fn encoded<T: Encode<()>>(value: &T) -> Bytes {
    Bytes(minicbor::to_vec(value).expect("a vector takes everything"))
}

fn decoded<T: for<'b> Decode<'b, ()>>(bytes: &Bytes) -> Result<T, minicbor::decode::Error> {
    minicbor::decode(&bytes.0)
}

fn column_of<T: for<'b> Decode<'b, ()>>(
    row: &SqliteRow,
    name: &'static str,
) -> Result<T, StoreError> {
    let bytes: &[u8] = row.try_get(name)?;
    minicbor::decode(bytes).map_err(|fault| StoreError::Damaged(format!("{name}: {fault}")))
}

fn site_part(row: &SqliteRow) -> Result<SitePart, StoreError> {
    Ok(SitePart {
        site: parsed(row, "site")?,
        part: parsed(row, "part")?,
    })
}

fn read(row: &SqliteRow) -> Result<KeptJob, StoreError> {
    let only: Option<&str> = row.try_get("only_nodes")?;
    Ok(KeptJob {
        number: number(row, "number")?,
        changed: number(row, "changed")?,
        created_ms: row.try_get("created_ms")?,
        changed_ms: row.try_get("changed_ms")?,
        target: parsed_or_none(row, "target")?,
        nodes: only.map(|_| json(row, "only_nodes")).transpose()?,
        state: column_of(row, "state")?,
    })
}

fn read_line(row: &SqliteRow) -> Result<JobLine, StoreError> {
    Ok(JobLine {
        number: number(row, "number")?,
        name: parsed(row, "name")?,
        kind: column_of(row, "kind")?,
        site: site_part(row)?,
        group: parsed(row, "content_group")?,
        status: column_of(row, "status")?,
        target: parsed_or_none(row, "target")?,
        created_ms: row.try_get("created_ms")?,
        changed_ms: row.try_get("changed_ms")?,
        nodes: number(row, "nodes")?,
        done: number(row, "done")?,
    })
}

fn read_live(row: &SqliteRow) -> Result<Live, StoreError> {
    Ok(Live {
        number: number(row, "number")?,
        site: site_part(row)?,
        group: parsed(row, "content_group")?,
        version: parsed_or_none(row, "version")?,
        job: parsed(row, "job")?,
    })
}

/// What a list shows of jobs; a condition follows.
macro_rules! lines {
    ($rest:literal) => {
        concat!(
            "SELECT number, name, kind, site, part, content_group, status, target, created_ms, ",
            "changed_ms, nodes, done FROM jobs WHERE number < $1 ",
            $rest
        )
    };
}

impl Store {
    /// A job by its name.
    pub async fn job(&self, name: &Name) -> Result<Option<KeptJob>, StoreError> {
        let row = sqlx::query("SELECT * FROM jobs WHERE name = $1")
            .bind(name.as_str())
            .fetch_optional(self.reader())
            .await?;
        row.as_ref().map(read).transpose()
    }

    /// The jobs that are not over, in their order.
    pub async fn open_jobs(&self) -> Result<Vec<KeptJob>, StoreError> {
        let rows = sqlx::query("SELECT * FROM jobs WHERE open ORDER BY number")
            .fetch_all(self.reader())
            .await?;
        rows.iter().map(read).collect()
    }

    /// The jobs that changed after an entry of the log, in their order.
    pub async fn jobs_changed(&self, after: u64) -> Result<Vec<KeptJob>, StoreError> {
        let rows = sqlx::query("SELECT * FROM jobs WHERE changed > $1 ORDER BY number")
            .bind(column(after))
            .fetch_all(self.reader())
            .await?;
        rows.iter().map(read).collect()
    }

    /// Jobs before one of them, the latest first, at most so many; of one site if one is named, or only those that are not
    /// over.
    pub async fn jobs(
        &self,
        before: u64,
        limit: u32,
        site: Option<&Name>,
        open: bool,
    ) -> Result<Vec<JobLine>, StoreError> {
        let query = match (site, open) {
            (None, false) => lines!("ORDER BY number DESC LIMIT $2"),
            (None, true) => lines!("AND open ORDER BY number DESC LIMIT $2"),
            (Some(_), false) => lines!("AND site = $3 ORDER BY number DESC LIMIT $2"),
            (Some(_), true) => lines!("AND site = $3 AND open ORDER BY number DESC LIMIT $2"),
        };
        let mut query = sqlx::query(query).bind(column(before)).bind(limit);
        if let Some(site) = site {
            query = query.bind(site.as_str());
        }
        let rows = query.fetch_all(self.reader()).await?;
        rows.iter().map(read_line).collect()
    }

    /// What is live of each site and part on the nodes of each group; of one site if one is named.
    pub async fn lives(&self, site: Option<&Name>) -> Result<Vec<Live>, StoreError> {
        let rows = sqlx::query(
            "SELECT max(number) AS number, site, part, content_group, version, job FROM lives WHERE $1 IS NULL OR site = $1 \
             GROUP BY site, part, content_group ORDER BY site, part, content_group",
        )
        .bind(site.map(Name::as_str))
        .fetch_all(self.reader())
        .await?;
        rows.iter().map(read_live).collect()
    }

    /// What a rollback of what is live leads back to: what was live before that became live, so that each rollback leads
    /// one version further back (COMMIT-14).
    pub async fn live_before(&self, live: &Live) -> Result<Option<VersionId>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM (SELECT l.number, l.version, j.kind FROM lives AS l \
             JOIN jobs AS j ON j.number = l.number \
             WHERE l.site = $1 AND l.part = $2 AND l.content_group = $3 AND l.version IS NOT NULL \
             ORDER BY l.number DESC LIMIT $4) ORDER BY number",
        )
        .bind(live.site.site.as_str())
        .bind(live.site.part.as_str())
        .bind(live.group.as_str())
        .bind(LIVES_MAX)
        .fetch_all(self.reader())
        .await?;
        let mut way: Vec<VersionId> = Vec::new();
        for row in &rows {
            let version = parsed(row, "version")?;
            let kind: Kind = column_of(row, "kind")?;
            let known = way.iter().rposition(|one| *one == version);
            match known.filter(|_| matches!(kind, Kind::Rollback | Kind::Switch)) {
                Some(back) => way.truncate(back + 1),
                None if way.last() == Some(&version) => {}
                None => way.push(version),
            }
        }
        // Removed content is not on the way: the last that was there is what a rollback leads back to.
        if live.version.is_some() {
            way.pop();
        }
        Ok(way.pop())
    }
}
