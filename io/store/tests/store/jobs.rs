use std::collections::{BTreeMap, BTreeSet};

use bellwether_scheduling::{Ending, Kind, Plan, Status, Step};
use bellwether_store::{Command, Live, NewJob, Outcome, Refused, kept};
use bellwether_types::{Hash, Incarnation, Serial, SitePart, Term, VersionId};
use bellwether_wire::SigningKey;
use bellwether_wire::uplink::{Receipt, Served};

use crate::kit::{Fresh, enrol, fresh, group, name, node, site, token};

fn version(byte: u8) -> VersionId {
    VersionId(Hash([byte; 32]))
}

fn shop() -> SitePart {
    "shop".parse().unwrap()
}

pub(crate) fn job(kind: Kind, target: Option<VersionId>) -> Command {
    Command::CreateJob(NewJob::new(kind, shop(), name("shops"), target))
}

/// The steps of a job that brings a version to one node.
pub(crate) fn steps(number: u64, target: VersionId) -> Vec<Step> {
    let plan = Plan {
        target: Some(target),
        previous: None,
        serial: Serial(number << 20),
        order: Serial((number << 20) + 1),
        undo: Serial((number << 20) + 2),
        bytes: 1,
        bases: BTreeSet::from([None]),
    };
    vec![
        Step::Begun(BTreeSet::from([node(1)])),
        Step::Planned(plan),
        Step::Sent,
        Step::Decided,
        Step::Finished(Status::Completed, BTreeMap::from([(node(1), Ending::Done)])),
    ]
}

async fn defined() -> Fresh {
    let fresh = fresh().await;
    fresh
        .propose(Command::CreateSite(site("shop")))
        .await
        .unwrap();
    fresh.propose(group("shops", "shop", &[])).await.unwrap();
    fresh
}

impl Fresh {
    async fn step(&self, number: u64, step: &Step) -> Outcome {
        let job = name(&format!("j-{number}"));
        self.propose(Command::keep_step(job, step)).await
    }

    async fn live(&self) -> Option<Live> {
        self.store.lives(None).await.unwrap().pop()
    }
}

/// DB-03, VERSION-03, VERSION-04: a job is what its steps made of it, and what it made live is live from the step that
/// decided it.
#[tokio::test]
async fn a_job_is_kept_step_by_step() {
    let fresh = defined().await;
    for (byte, before) in [(1, None), (2, Some(version(1)))] {
        let number = fresh
            .propose(job(Kind::Publish, Some(version(byte))))
            .await
            .unwrap();
        assert_eq!(fresh.store.open_jobs().await.unwrap().len(), 1);
        for step in steps(number, version(byte)) {
            let decides = step == Step::Decided;
            let live = fresh.live().await.and_then(|live| live.version);
            fresh.step(number, &step).await.unwrap();
            if decides {
                assert_eq!(live, before, "it was not live before");
                assert_eq!(fresh.live().await.unwrap().version, Some(version(byte)));
            }
        }
        assert!(fresh.store.open_jobs().await.unwrap().is_empty());
    }
    let live = fresh.live().await.unwrap();
    assert_eq!(
        fresh.store.live_before(&live).await.unwrap(),
        Some(version(1))
    );
    let jobs = fresh.store.jobs(u64::MAX, 10, None, false).await.unwrap();
    assert_eq!(
        (jobs.len(), jobs[0].status, jobs[0].done),
        (2, Status::Completed, 1)
    );
    assert_eq!(jobs[0].target, Some(version(2)), "the latest is first");
    let other = name("other");
    assert!(
        fresh
            .store
            .jobs(u64::MAX, 10, Some(&other), false)
            .await
            .unwrap()
            .is_empty()
    );
    let later = fresh.store.jobs_changed(jobs[1].number).await.unwrap();
    assert_eq!(later.len(), 2);
}

/// VERSION-04: what was decided and changed nothing is not live.
#[tokio::test]
async fn a_job_that_failed_leaves_live_what_was() {
    let fresh = defined().await;
    let number = fresh
        .propose(job(Kind::Publish, Some(version(1))))
        .await
        .unwrap();
    for step in &steps(number, version(1))[..4] {
        fresh.step(number, step).await.unwrap();
    }
    let over = Step::Finished(Status::Failed, BTreeMap::new());
    fresh.step(number, &over).await.unwrap();
    assert_eq!(fresh.live().await, None);
    let again = fresh.step(number, &Step::Decided).await;
    assert!(matches!(again, Err(Refused::Job(_))), "{again:?}");
}

#[tokio::test]
async fn a_job_that_cannot_be_is_refused() {
    let fresh = defined().await;
    let other = NewJob::new(
        Kind::Publish,
        "other".parse().unwrap(),
        name("shops"),
        Some(version(1)),
    );
    let group = NewJob::new(Kind::Publish, shop(), name("none"), Some(version(1)));
    let part = NewJob::new(
        Kind::Publish,
        "shop@none".parse().unwrap(),
        name("shops"),
        Some(version(1)),
    );
    for job in [other, group, part] {
        fresh.propose(Command::CreateJob(job)).await.unwrap_err();
    }
    for (kind, target) in [(Kind::Publish, None), (Kind::Remove, Some(version(1)))] {
        fresh.propose(job(kind, target)).await.unwrap_err();
    }
    let missing = fresh.step(77, &Step::Sent).await;
    assert!(
        matches!(missing, Err(Refused::Missing { .. })),
        "{missing:?}"
    );
}

/// DB-07, REPORT-11: of each node the latest receipt stays, and none of a node that is not there.
#[tokio::test]
async fn the_latest_receipt_of_a_node_stays() {
    let fresh = defined().await;
    let join = token("n1", bellwether_fleet::Role::Node, Some("boston"));
    fresh.propose(Command::CreateToken(join)).await.unwrap();
    fresh
        .propose(Command::Enrol(enrol(1, "n1", None, 1)))
        .await
        .unwrap();
    let receipt = |byte: u8, content: u8, serial: u64| {
        let served = Served {
            node: node(byte),
            incarnation: Incarnation(1),
            site: shop(),
            version: version(content),
            term: Term(1),
            serial: Serial(serial),
            seconds: 5,
            nanoseconds: 250_000_000,
        };
        kept(&Receipt::sign(served, &SigningKey::from_seed([byte; 32])))
    };
    for (byte, content, serial) in [(1, 1, 10), (1, 2, 20), (1, 3, 15), (9, 1, 1)] {
        let receipts = vec![receipt(byte, content, serial)];
        fresh
            .propose(Command::KeepReceipts(receipts))
            .await
            .unwrap();
    }
    let serving = fresh.store.serving("", 10, None).await.unwrap();
    assert_eq!(serving.len(), 1);
    assert_eq!(serving[0].served, Some((shop(), version(2), 5_250)));
    let other = name("other");
    let serving = fresh.store.serving("", 10, Some(&other)).await.unwrap();
    assert_eq!(serving[0].served, None);
}

/// COMMIT-14: each rollback leads one version further back, and behind the first there is nothing.
#[tokio::test]
async fn each_rollback_leads_one_version_further_back() {
    let fresh = defined().await;
    let publish = |byte| (Kind::Publish, byte, byte - 1);
    let rollback = |byte| (Kind::Rollback, byte, byte - 1);
    for (kind, byte, before) in [publish(1), publish(2), publish(3), rollback(2), rollback(1)] {
        let number = fresh.propose(job(kind, Some(version(byte)))).await.unwrap();
        for step in steps(number, version(byte)) {
            if kind == Kind::Publish || step != Step::Sent {
                fresh.step(number, &step).await.unwrap();
            }
        }
        let live = fresh.live().await.unwrap();
        assert_eq!(live.version, Some(version(byte)));
        let found = fresh.store.live_before(&live).await.unwrap();
        assert_eq!(
            found,
            (before > 0).then(|| version(before)),
            "{kind:?} {byte}"
        );
    }
}
