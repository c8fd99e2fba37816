//! Leaders of many segments, over real connections: each enrols its members, reports them every few seconds, and while a
//! job is under way tells how far it is, four times a second. Meanwhile somebody asks the API, and how long that takes is
//! printed as JSON, with what the server used.
//!
//! `bellwether-crowd URL CA ADMIN_TOKEN_FILE SERVER_PID LEADERS MEMBERS SECONDS`

mod leader;
mod usage;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bellwether_api::routes::{
    CreateToken, ListEvents, ListJobs, ListNodes, ListSegments, ShowJob, ShowStatus,
};
use bellwether_api::{After, JobPhase, JobsPage, NoQuery, NodesPage, Page, Since, StatusPage};
use bellwether_client::{Client, Credential};
use bellwether_types::Name;
use serde_json::json;
use tokio::sync::{Barrier, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;

use leader::{Leader, Place};
use usage::Usage;

/// Nodes that enrol at a time.
const ENROLLING: usize = 32;
/// Calls of the API in a second.
const CALLS: u32 = 20;
const PATIENCE: Duration = Duration::from_secs(300);

#[tokio::main]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [url, ca, token_file, pid, leaders, members, seconds] = words.as_slice() else {
        bail!("URL CA ADMIN_TOKEN_FILE SERVER_PID LEADERS MEMBERS SECONDS");
    };
    let (leaders, members): (u32, u32) = (leaders.parse()?, members.parse()?);
    let span = Duration::from_secs(seconds.parse()?);
    let token = std::fs::read_to_string(token_file).context("the administrator's token")?;
    let place = Arc::new(Place {
        url: url.parse().map_err(|fault| anyhow::anyhow!("{fault}"))?,
        ca: ca.parse().map_err(|fault| anyhow::anyhow!("{fault}"))?,
    });
    let admin = place.client(Credential::Token(token.trim().to_owned()))?;
    let began = Instant::now();
    let leaders = enrol(&place, &admin, leaders, members).await?;
    let enrolled = began.elapsed();
    let count = leaders.len();
    // All of them, and this one, when all are heard.
    let heard = Arc::new(Barrier::new(count + 1));
    let mut speaking = JoinSet::new();
    for leader in leaders {
        speaking.spawn(leader.speak(Arc::clone(&heard)));
    }
    let all = timeout(PATIENCE, async {
        tokio::select! {
            _ = heard.wait() => Ok(()),
            ended = speaking.join_next() => bail!("a leader is not heard: {ended:?}"),
        }
    });
    all.await.context("not all leaders are heard")??;
    println!(
        "{}",
        json!({ "kind": "crowd.heard", "leaders": count, "enrolled_s": enrolled.as_secs_f64() })
    );
    let job = timeout(PATIENCE, running_job(&admin)).await;
    let job = job.context("no job is under way")??;
    let before = Usage::of(pid)?;
    let took = ask(&admin, &job, span, &mut speaking).await?;
    let used = Usage::of(pid)?;
    let percentile =
        |percent: usize| took[(took.len() * percent).div_ceil(100) - 1].as_secs_f64() * 1e3;
    println!(
        "{}",
        json!({
            "kind": "crowd.done",
            "calls": took.len(),
            "p50_ms": percentile(50),
            "p99_ms": percentile(99),
            "cores": (used.processor - before.processor).as_secs_f64() / span.as_secs_f64(),
            "resident_mib": used.resident_bytes as f64 / 1_048_576.0,
        })
    );
    Ok(())
}

async fn enrol(
    place: &Arc<Place>,
    admin: &Client,
    leaders: u32,
    members: u32,
) -> Result<Vec<Leader>> {
    let wanted =
        serde_json::from_value(json!({ "name": "crowd", "role": "node", "segment": "auto" }))?;
    let join = admin
        .call::<CreateToken>(&(), &NoQuery {}, &wanted)
        .await?
        .token;
    let newcomer = Arc::new(place.client(Credential::Token(join))?);
    let room = Arc::new(Semaphore::new(ENROLLING));
    let mut enrolling = JoinSet::new();
    for number in 0..leaders {
        let (place, newcomer, room) = (Arc::clone(place), Arc::clone(&newcomer), Arc::clone(&room));
        enrolling.spawn(async move {
            let _room = room.acquire().await?;
            Leader::enrol(&place, &newcomer, number, members).await
        });
    }
    let mut enrolled = Vec::new();
    while let Some(leader) = enrolling.join_next().await {
        enrolled.push(leader??);
    }
    Ok(enrolled)
}

/// Waits until a job distributes something.
async fn running_job(admin: &Client) -> Result<Name> {
    let wait = || Some("30s".to_owned());
    let mut after = After::default();
    loop {
        let told = admin.call::<ListEvents>(&(), &after, &()).await?;
        after = After {
            after: Some(told.last),
            wait: wait(),
        };
        let open = JobsPage {
            open: Some(true),
            ..JobsPage::default()
        };
        let Some(line) = admin.call::<ListJobs>(&(), &open, &()).await?.items.pop() else {
            continue;
        };
        let mut since = Since::default();
        loop {
            let job = admin.call::<ShowJob>(&line.name, &since, &()).await?;
            if job.phase == JobPhase::Distributing {
                return Ok(line.name);
            }
            if job.over {
                break;
            }
            since = Since {
                revision: Some(job.revision),
                wait: wait(),
            };
        }
    }
}

/// How long each call took, the quickest first.
async fn ask(
    admin: &Client,
    job: &Name,
    span: Duration,
    speaking: &mut JoinSet<Result<()>>,
) -> Result<Vec<Duration>> {
    let mut took = Vec::new();
    let mut turns = tokio::time::interval(Duration::from_secs(1) / CALLS);
    let end = Instant::now() + span;
    while Instant::now() < end {
        turns.tick().await;
        if let Some(ended) = speaking.try_join_next() {
            bail!("a leader is heard no more: {ended:?}");
        }
        let began = Instant::now();
        match took.len() % 5 {
            0 => drop(
                admin
                    .call::<ShowStatus>(&(), &StatusPage::default(), &())
                    .await?,
            ),
            1 => drop(
                admin
                    .call::<ListJobs>(&(), &JobsPage::default(), &())
                    .await?,
            ),
            2 => drop(
                admin
                    .call::<ListSegments>(&(), &Page::default(), &())
                    .await?,
            ),
            3 => drop(
                admin
                    .call::<ListNodes>(&(), &NodesPage::default(), &())
                    .await?,
            ),
            _ => drop(admin.call::<ShowJob>(job, &Since::default(), &()).await?),
        }
        took.push(began.elapsed());
    }
    took.sort();
    Ok(took)
}
