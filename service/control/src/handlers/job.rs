use std::time::Duration;

use bellwether_api::routes::{AbortJob, CommitJob, CreateJob, ListJobs, ShowJob};
use bellwether_api::{
    Code, JobFault, JobInfo, JobKind, JobLine, JobNode, JobPhase, JobProgress, JobStatus,
    JobWanted, List, Problem,
};
use bellwether_scheduling::{Ending, Kind, Phase, Status, Step};
use bellwether_store::{self as store, Actor, Command, KeptJob, NewJob};
use bellwether_types::{Name, NodeId, SitePart, VersionId};
use bellwether_wire::uplink::Outcome;
use tokio::time::{Instant, sleep, timeout_at};

use super::event::span;
use super::page;
use crate::clock::moment;
use crate::door::Call;
use crate::jobs::{Reach, Sight, rules};
use crate::problem;
use crate::server::Server;
use crate::uplink::Fleet;

/// Who waits is answered so much later than something changed: by then more has.
const GATHERED: Duration = Duration::from_millis(100);
const FAULTS_MAX: usize = 1_000;

pub(crate) async fn create(call: Call<CreateJob>) -> Result<JobInfo, Problem> {
    let (server, wanted) = (&call.server, &call.body);
    let of_store = |error| problem::of_store(&error);
    let site = server.store.site(&wanted.site).await.map_err(of_store)?;
    let site = site.ok_or_else(|| problem::missing("site", wanted.site.as_str()))?;
    let part = match &wanted.part {
        Some(part) => part.clone(),
        None => "all".parse().expect("a name by its letters"),
    };
    let place = SitePart {
        site: wanted.site.clone(),
        part,
    };
    let target = target(server, wanted, &place).await?;
    let policy = rules(wanted.policy.as_ref().unwrap_or(&site.policy));
    let mut job = NewJob::new(kind(wanted.kind), place, wanted.group.clone(), target);
    job.nodes = wanted.nodes.clone();
    job.due_ms = wanted.due_ms.unwrap_or(0);
    let command = Command::CreateJob(job.with_policy(&policy));
    let number = server.propose(call.actor(), command).await?;
    let name = format!("j-{number}")
        .parse()
        .expect("a name by its letters");
    again(server, &name).await
}

/// What becomes live, if that is not said.
async fn target(
    server: &Server,
    wanted: &JobWanted,
    place: &SitePart,
) -> Result<Option<VersionId>, Problem> {
    let of_store = |error| problem::of_store(&error);
    let invalid = |message: String, hint: &str| Problem::new(Code::Conflict, message).hint(hint);
    match (wanted.kind, wanted.target) {
        (JobKind::Remove, None) => Ok(None),
        (JobKind::Remove, Some(_)) => Err(Problem::new(
            Code::Invalid,
            "what is removed is whatever is live: a target cannot be named",
        )),
        (_, Some(target)) => Ok(Some(target)),
        (JobKind::Rollback, None) => {
            let lives = server
                .store
                .lives(Some(&place.site))
                .await
                .map_err(of_store)?;
            let live = lives
                .into_iter()
                .find(|live| live.site == *place && live.group == wanted.group);
            let nothing = || {
                let message = format!("nothing was live of {place} on {} before", wanted.group);
                invalid(message, "name the version to go back to")
            };
            let live = live.ok_or_else(nothing)?;
            let before = server.store.live_before(&live).await.map_err(of_store)?;
            before.map(Some).ok_or_else(nothing)
        }
        (_, None) => {
            let latest = server.store.latest_version(place).await.map_err(of_store)?;
            let latest = latest.map(|latest| latest.version);
            latest.map(Some).ok_or_else(|| {
                let message = format!("no version of {place} is kept");
                invalid(message, "`bellwether publish` keeps one")
            })
        }
    }
}

pub(crate) async fn list(call: Call<ListJobs>) -> Result<List<JobLine>, Problem> {
    let limit = page::limit(call.query.limit)?;
    let before = match &call.query.after {
        None => u64::MAX,
        Some(text) => text.parse().map_err(|_| {
            let message = "`after` is what the list before said as `next`";
            Problem::new(Code::Invalid, message)
        })?,
    };
    let (site, open) = (call.query.site.as_ref(), call.query.open.unwrap_or(false));
    let found = call.server.store.jobs(before, limit + 1, site, open).await;
    page::list(found, limit, |job| job.number.to_string(), line)
}

pub(crate) async fn show(call: Call<ShowJob>) -> Result<JobInfo, Problem> {
    let server = &call.server;
    let wait = call
        .query
        .wait
        .as_deref()
        .map_or(Ok(Duration::ZERO), span)?;
    let end = Instant::now() + wait;
    let mut changes = server.board.watch();
    loop {
        changes.mark_unchanged();
        let shown = again(server, &call.key).await?;
        if call.query.revision != Some(shown.revision) || Instant::now() >= end {
            return Ok(shown);
        }
        tokio::select! {
            _ = timeout_at(end, changes.changed()) => {}
            () = server.ended() => return Ok(shown),
        }
        sleep(GATHERED.min(end.saturating_duration_since(Instant::now()))).await;
    }
}

pub(crate) async fn abort(call: Call<AbortJob>) -> Result<JobInfo, Problem> {
    step(&call.server, call.actor(), &call.key, &Step::AbortAsked).await
}

pub(crate) async fn commit(call: Call<CommitJob>) -> Result<JobInfo, Problem> {
    step(&call.server, call.actor(), &call.key, &Step::CommitAsked).await
}

async fn step(server: &Server, actor: Actor, job: &Name, step: &Step) -> Result<JobInfo, Problem> {
    let command = Command::keep_step(job.clone(), step);
    server.propose(actor, command).await?;
    again(server, job).await
}

async fn again(server: &Server, name: &Name) -> Result<JobInfo, Problem> {
    let job = server.store.job(name).await;
    let job = job.map_err(|error| problem::of_store(&error))?;
    let job = job.ok_or_else(|| problem::missing("job", name.as_str()))?;
    Ok(info(server, &job))
}

fn info(server: &Server, job: &KeptJob) -> JobInfo {
    let Sight {
        outcomes,
        segments,
        revision,
    } = server.board.seen(&job.state.job.name, moment());
    let fleet = server.hub.fleet();
    let segments = segments.into_iter();
    let state = &job.state;
    let done = |ending: &&Ending| **ending == Ending::Done;
    let staged = outcomes
        .values()
        .filter(|o| matches!(o, Outcome::Staged(_)));
    let live = match state.status.is_over() {
        true => state.endings.values().filter(done).count(),
        false => outcomes
            .values()
            .filter(|o| matches!(o, Outcome::Live(_)))
            .count(),
    };
    let reported = outcomes.iter().filter_map(|(node, outcome)| match outcome {
        Outcome::Failed(why) | Outcome::Behind(_, why) => Some(fault(node, &why.reason)),
        _ => None,
    });
    let ended = state
        .endings
        .iter()
        .filter_map(|(node, ending)| match ending {
            Ending::Behind(why) => Some(fault(node, &why.reason)),
            Ending::Done => None,
        });
    JobInfo {
        over: state.status.is_over(),
        phase: phase(state.phase),
        decided: state.is_decided(),
        previous: state.plan.as_ref().and_then(|plan| plan.previous),
        attempt: state.attempt,
        why: state.why.as_ref().map(|why| why.reason.clone()),
        staged: staged.count() as u64,
        live: live as u64,
        segments: segments
            .map(|(name, reach)| segment(name, reach, &fleet))
            .collect(),
        faults: reported.chain(ended).take(FAULTS_MAX).collect(),
        // Below 2^53 for as long as there are fewer than 2^33 entries: JSON has no larger ones.
        revision: (job.changed << 20) + (revision & 0xf_ffff),
        line: JobLine {
            name: state.job.name.clone(),
            kind: word(state.job.kind),
            site: state.job.site.to_string(),
            group: state.job.group.clone(),
            status: status(state.status),
            target: job.target,
            created_ms: job.created_ms,
            changed_ms: job.changed_ms,
            nodes: state.nodes.len() as u64,
            done: state.endings.values().filter(done).count() as u64,
        },
    }
}

fn fault(node: &NodeId, reason: &str) -> JobFault {
    JobFault {
        node: *node,
        reason: reason.to_owned(),
    }
}

fn segment(segment: Name, reach: Reach, fleet: &Fleet) -> JobProgress {
    let Reach {
        progress,
        rate,
        left_ms,
    } = reach;
    // Who was removed since is not waited for.
    let slowest = progress.slowest.into_iter().filter_map(|slow| {
        let name = fleet.nodes.get(&slow.node)?.name.clone();
        Some(JobNode {
            node: slow.node,
            name,
            received: slow.received,
            needed: slow.needed,
        })
    });
    JobProgress {
        segment,
        bytes: progress.bytes,
        fetched: progress.fetched,
        received: progress.received,
        needed: progress.needed,
        rate,
        wire_rate: progress.rate,
        left_ms,
        nodes: progress.nodes,
        complete: progress.complete,
        staged: progress.staged,
        failed: progress.failed,
        slowest: slowest.collect(),
    }
}

fn line(job: store::JobLine) -> JobLine {
    JobLine {
        name: job.name,
        kind: word(job.kind),
        site: job.site.to_string(),
        group: job.group,
        status: status(job.status),
        target: job.target,
        created_ms: job.created_ms,
        changed_ms: job.changed_ms,
        nodes: job.nodes,
        done: job.done,
    }
}

const fn status(status: Status) -> JobStatus {
    match status {
        Status::Idle => JobStatus::Idle,
        Status::ConflictQueued => JobStatus::ConflictQueued,
        Status::Running => JobStatus::Running,
        Status::Deferred => JobStatus::Deferred,
        Status::Completed => JobStatus::Completed,
        Status::CompletedMissing => JobStatus::CompletedMissing,
        Status::Failed => JobStatus::Failed,
        Status::Cancelled => JobStatus::Cancelled,
        Status::Aborted => JobStatus::Aborted,
        Status::RolledBack => JobStatus::RolledBack,
    }
}

const fn phase(phase: Phase) -> JobPhase {
    match phase {
        Phase::Waiting => JobPhase::Waiting,
        Phase::Planning(_) => JobPhase::Planning,
        Phase::Distributing(_) => JobPhase::Distributing,
        Phase::Committing(_) => JobPhase::Committing,
        Phase::RollingBack(_) => JobPhase::RollingBack,
        Phase::Dropping(..) => JobPhase::Dropping,
        Phase::Over => JobPhase::Over,
    }
}

const fn kind(kind: JobKind) -> Kind {
    match kind {
        JobKind::Publish => Kind::Publish,
        JobKind::Replicate => Kind::Replicate,
        JobKind::Synchronize => Kind::Synchronize,
        JobKind::Restore => Kind::Restore,
        JobKind::Rollback => Kind::Rollback,
        JobKind::Switch => Kind::Switch,
        JobKind::Remove => Kind::Remove,
        JobKind::PublishHot => Kind::PublishHot,
    }
}

const fn word(kind: Kind) -> JobKind {
    match kind {
        Kind::Publish => JobKind::Publish,
        Kind::Replicate => JobKind::Replicate,
        Kind::Synchronize => JobKind::Synchronize,
        Kind::Restore => JobKind::Restore,
        Kind::Rollback => JobKind::Rollback,
        Kind::Switch => JobKind::Switch,
        Kind::Remove => JobKind::Remove,
        Kind::PublishHot => JobKind::PublishHot,
    }
}
