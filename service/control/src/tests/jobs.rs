//! Jobs from the request to the receipts of nodes, over a leader that answers as its segment would.

use std::sync::atomic::Ordering;

use bellwether_api::Code;
use bellwether_types::{NodeId, VersionId};
use bellwether_wire::uplink::{Downward, NodeProgress, Progress, Upward};
use serde_json::{Value, json};

use super::fuse;
use super::herd::Herd;
use super::kit::{Bench, bench};
use super::leader::{Leader, record};

/// A control server with a site, a group of all nodes, and nodes that do as they are told.
struct Farm {
    bench: Bench,
    herd: Herd,
    nodes: Vec<NodeId>,
}

const EAGER: &str = r#"{"retries":0,"quorum_before":"1","quorum_after":"1"}"#;
const STRICT: &str = r#"{"retries":0}"#;
const BY_HAND: &str = r#"{"commit":"by-hand"}"#;

async fn farm(policy: &str, count: u8) -> Farm {
    let bench = bench().await;
    let site = format!(r#"{{"name":"shop","policy":{policy}}}"#);
    assert_eq!(bench.admin("POST /v1/sites", &site).await.status, 201);
    let group = r#"{"name":"shops","site":"shop"}"#;
    assert_eq!(bench.admin("POST /v1/groups", group).await.status, 201);
    let enrolled = bench.enrol(1..=count).await;
    let herd = Herd::new(&enrolled);
    let nodes = enrolled.iter().map(|node| node.id).collect();
    Farm { bench, herd, nodes }
}

/// A farm whose first node leads.
async fn led(policy: &str, count: u8) -> Farm {
    let farm = farm(policy, count).await;
    farm.herd.lead(&farm.bench, farm.nodes[0], 1).await;
    farm
}

impl Farm {
    fn version(&self, content: &str) -> VersionId {
        self.bench.keep_version(content)
    }

    async fn create(&self, kind: &str, target: Option<VersionId>) -> String {
        let wanted = json!({ "kind": kind, "site": "shop", "group": "shops", "target": target });
        let made = self.bench.admin("POST /v1/jobs", &wanted.to_string()).await;
        assert_eq!(made.status, 201, "{made:?}");
        made.body["name"].as_str().unwrap().to_owned()
    }

    async fn job(&self, name: &str) -> Value {
        self.bench
            .admin(&format!("GET /v1/jobs/{name}"), "")
            .await
            .body
    }

    /// Waits until a job is so.
    async fn until(&self, name: &str, is: impl Fn(&Value) -> bool) -> Value {
        let mut revision = 0;
        loop {
            let line = format!("GET /v1/jobs/{name}?revision={revision}&wait=10s");
            let job = self.bench.admin(&line, "").await.body;
            if is(&job) {
                return job;
            }
            assert!(!job["over"].as_bool().unwrap(), "{job}");
            revision = job["revision"].as_u64().unwrap();
        }
    }

    async fn over(&self, name: &str) -> Value {
        self.until(name, |job| job["over"] == true).await
    }

    async fn publish(&self, target: VersionId) -> Value {
        let name = self.create("publish", Some(target)).await;
        self.over(&name).await
    }

    fn lives(&self) -> Vec<Option<VersionId>> {
        self.herd.each(|sheep| sheep.live)
    }

    async fn post(&self, name: &str, what: &str) -> super::kit::Answer {
        let line = format!("POST /v1/jobs/{name}/{what}");
        self.bench.admin(&line, "").await
    }
}

/// JOB-02, COMMIT-01: published, every node serves it and signed for that; rolled back, what was there before.
#[tokio::test]
async fn a_publish_goes_live_on_every_node_and_a_rollback_takes_it_back() {
    let farm = led(STRICT, 3).await;
    let [one, two] = ["one", "two"].map(|content| farm.version(content));
    let job = farm.publish(one).await;
    assert_eq!(job["status"], "completed", "{job}");
    assert_eq!((&job["nodes"], &job["done"]), (&3.into(), &3.into()));
    assert_eq!(farm.lives(), [Some(one); 3]);
    let job = farm.publish(two).await;
    assert_eq!(
        (&job["status"], &job["previous"]),
        (&"completed".into(), &json!(one))
    );
    let status = farm.bench.admin("GET /v1/status", "").await.body;
    let nodes = status["items"].as_array().unwrap();
    assert_eq!(nodes.len(), 3);
    for node in nodes {
        assert_eq!(node["presence"], "up");
        assert_eq!(node["serves"][0]["version"], json!(two));
        assert_eq!(node["serves"][0]["behind"], false);
    }
    let name = farm.create("rollback", None).await;
    assert_eq!(farm.over(&name).await["status"], "completed");
    assert_eq!(farm.lives(), [Some(one); 3]);
    assert_eq!(farm.herd.each(|sheep| sheep.switches), [3; 3]);
    let jobs = farm.bench.admin("GET /v1/jobs?limit=2", "").await.body;
    assert_eq!(jobs["items"][0]["kind"], "rollback");
    assert_eq!(jobs["items"].as_array().unwrap().len(), 2);
}

/// CCM-12: killed before and after whatever it does, a server that starts again brings the job to its end; nothing is
/// lost, and nothing done twice.
#[tokio::test]
async fn a_job_ends_the_same_wherever_the_server_is_killed() {
    let mut farm = led(STRICT, 2).await;
    for places in 0.. {
        let version = farm.version(&format!("version {places}"));
        fuse::light(Some(places));
        let name = farm.create("publish", Some(version)).await;
        while !fuse::is_burnt() && farm.job(&name).await["over"] == false {
            tokio::task::yield_now().await;
        }
        let killed = fuse::is_burnt();
        fuse::light(None);
        if killed {
            farm.bench = farm.bench.restart().await;
            let reign = places as u64 + 2;
            farm.herd.lead(&farm.bench, farm.nodes[0], reign).await;
        }
        let job = farm.over(&name).await;
        assert_eq!(job["status"], "completed", "killed at {places}: {job}");
        assert_eq!(farm.lives(), [Some(version); 2], "killed at {places}");
        let switches = farm.herd.each(|sheep| sheep.switches);
        assert_eq!(switches, [places as u32 + 1; 2], "killed at {places}");
        let status = farm.bench.admin("GET /v1/status", "").await.body;
        for node in status["items"].as_array().unwrap() {
            let served = &node["serves"][0]["version"];
            assert_eq!(*served, json!(version), "killed at {places}");
        }
        // Nor does anything stay that was made for it, wherever that was cut short.
        while farm.bench.made() > 0 {
            tokio::task::yield_now().await;
        }
        if !killed {
            assert!(places > 12, "the saga has more steps than {places}");
            return;
        }
    }
}

/// How far a job is comes from leaders, and names nodes as they name themselves.
#[tokio::test]
async fn a_job_tells_how_far_it_is_and_who_is_waited_for() {
    let bench = bench().await;
    let site = format!(r#"{{"name":"shop","policy":{STRICT}}}"#);
    bench.admin("POST /v1/sites", &site).await;
    let group = r#"{"name":"shops","site":"shop"}"#;
    bench.admin("POST /v1/groups", group).await;
    let enrolled = bench.enrol(1..=2).await;
    let mut leader = Leader::open(&bench, enrolled[0], 1).await;
    let records = enrolled.iter().map(|node| record(node.id));
    leader.tell_all(records).await;
    let wanted = json!({
        "kind": "publish", "site": "shop", "group": "shops", "target": bench.keep_version("one"),
    });
    let made = bench.admin("POST /v1/jobs", &wanted.to_string()).await;
    let name = made.body["name"].as_str().unwrap().to_owned();
    leader
        .until(|message| matches!(message, Downward::Notify(_)))
        .await;
    let progress = Progress {
        job: name.parse().unwrap(),
        bytes: 1_000,
        fetched: 1_000,
        received: 1_200,
        rate: 50_000_000,
        nodes: 2,
        complete: 1,
        staged: 0,
        failed: 0,
        slowest: vec![NodeProgress {
            node: enrolled[1].id,
            received: 200,
            needed: 1_000,
        }],
        needed: 2_000,
    };
    leader.say(&Upward::Progress(progress)).await;
    let line = format!("GET /v1/jobs/{name}");
    let segment = loop {
        let job = bench.admin(&line, "").await.body;
        match &job["segments"][0] {
            Value::Null => tokio::task::yield_now().await,
            segment => break segment.clone(),
        }
    };
    let nodes = bench.admin("GET /v1/nodes", "").await.body;
    let nodes = nodes["items"].as_array().unwrap();
    let slow = nodes
        .iter()
        .find(|node| node["id"] == json!(enrolled[1].id));
    let slow = json!({
        "node": enrolled[1].id, "name": slow.unwrap()["name"], "received": 200, "needed": 1_000,
    });
    assert_eq!(segment["slowest"], json!([slow]));
    let amounts = ["received", "needed", "wire_rate", "rate", "left_ms"];
    let amounts = amounts.map(|amount| &segment[amount]);
    // After one word nothing is known of the pace.
    assert_eq!(json!(amounts), json!([1_200, 2_000, 50_000_000, 0, null]));
}

/// SCHED-05, JOB-18: of two publishes of one site the second waits for the first.
#[tokio::test]
async fn two_publishes_of_one_site_go_one_after_the_other() {
    let farm = led(BY_HAND, 2).await;
    let [one, two] = ["one", "two"].map(|content| farm.version(content));
    let first = farm.create("publish", Some(one)).await;
    let second = farm.create("publish", Some(two)).await;
    farm.until(&first, |job| job["staged"] == 2).await;
    farm.until(&second, |job| job["status"] == "conflict-queued")
        .await;
    farm.post(&first, "commit").await;
    assert_eq!(farm.over(&first).await["status"], "completed");
    farm.until(&second, |job| job["staged"] == 2).await;
    farm.post(&second, "commit").await;
    assert_eq!(farm.over(&second).await["status"], "completed");
    assert_eq!(farm.lives(), [Some(two); 2]);
}

/// JOB-12: a job that is called off leaves nothing behind; one that is decided can no longer be.
#[tokio::test]
async fn a_job_is_called_off_until_it_is_decided() {
    let farm = led(BY_HAND, 2).await;
    let version = farm.version("one");
    let name = farm.create("publish", Some(version)).await;
    farm.until(&name, |job| job["staged"] == 2).await;
    assert_eq!(farm.post(&name, "abort").await.status, 200);
    assert_eq!(farm.over(&name).await["status"], "aborted");
    assert_eq!(
        farm.herd.each(|sheep| (sheep.live, sheep.staged)),
        [(None, None); 2]
    );
    let name = farm.create("publish", Some(version)).await;
    farm.until(&name, |job| job["staged"] == 2).await;
    farm.post(&name, "commit").await;
    farm.over(&name).await;
    let refused = farm.post(&name, "abort").await.problem();
    assert_eq!(refused.code, Code::Conflict);
    let missing = farm.post("j-99999", "abort").await.problem();
    assert_eq!(missing.code, Code::NotFound);
}

/// COMMIT-11, JOB-04: a node that was away when its group went live gets it when it comes.
#[tokio::test]
async fn a_node_that_comes_later_is_brought_to_what_is_live() {
    let farm = farm(EAGER, 3).await;
    let late = farm.nodes[2];
    farm.herd.with(late, |sheep| sheep.up = false);
    farm.herd.lead(&farm.bench, farm.nodes[0], 1).await;
    let version = farm.version("one");
    let job = farm.publish(version).await;
    assert_eq!(job["status"], "completed with missing nodes", "{job}");
    assert_eq!(job["faults"][0]["node"], json!(late));
    let name = job["name"].as_str().unwrap();
    farm.herd.with(late, |sheep| sheep.up = true);
    farm.herd.lead(&farm.bench, farm.nodes[0], 2).await;
    while farm.job(name).await["status"] != "completed" {
        tokio::task::yield_now().await;
    }
    assert_eq!(farm.lives(), [Some(version); 3]);
    let jobs = farm.bench.admin("GET /v1/jobs", "").await.body;
    assert_eq!(jobs["items"][0]["kind"], "synchronize");
    assert_eq!(jobs["items"].as_array().unwrap().len(), 2, "once is enough");
}

/// A node that cannot is named, with its reason; without a quorum nothing goes live.
#[tokio::test]
async fn without_its_quorum_a_job_fails_and_leaves_nothing_behind() {
    let farm = led(STRICT, 2).await;
    farm.herd.with(farm.nodes[1], |sheep| sheep.broken = true);
    let job = farm.publish(farm.version("one")).await;
    assert_eq!(job["status"], "failed", "{job}");
    assert!(
        job["why"].as_str().unwrap().contains("no room on the disk"),
        "{job}"
    );
    assert_eq!(
        farm.herd.each(|sheep| (sheep.live, sheep.staged)),
        [(None, None); 2]
    );
}

/// COMMIT-13: who is live when too many others are not stays so, or all go back.
#[tokio::test]
async fn a_part_that_is_live_stays_or_goes_back_as_the_policy_says() {
    for (partial, status) in [
        ("keep", "completed with missing nodes"),
        ("roll-back", "rolled back"),
    ] {
        let policy = format!(r#"{{"retries":0,"partial":"{partial}"}}"#);
        let farm = led(&policy, 2).await;
        let [one, two] = ["one", "two"].map(|content| farm.version(content));
        farm.publish(one).await;
        farm.herd.with(farm.nodes[1], |sheep| sheep.stuck = true);
        let job = farm.publish(two).await;
        assert_eq!(job["status"], status, "{job}");
        let first = if partial == "keep" { two } else { one };
        assert_eq!(farm.lives(), [Some(first), Some(one)]);
    }
}

/// VERSION-11: what comes after a rollback starts from what is live then.
#[tokio::test]
async fn a_publish_after_a_rollback_starts_from_what_is_live() {
    let farm = led(STRICT, 2).await;
    let [one, two, three] = ["one", "two", "three"].map(|content| farm.version(content));
    farm.publish(one).await;
    farm.publish(two).await;
    let name = farm.create("rollback", None).await;
    farm.over(&name).await;
    // A node refuses what does not start from what it serves.
    let job = farm.publish(three).await;
    assert_eq!(
        (&job["status"], &job["previous"]),
        (&"completed".into(), &json!(one))
    );
    assert_eq!(farm.lives(), [Some(three); 2]);
}

/// JOB-08: removed content is gone, and what comes later starts from nothing.
#[tokio::test]
async fn a_removal_takes_the_content_from_every_node() {
    let farm = led(STRICT, 2).await;
    let [one, two] = ["one", "two"].map(|content| farm.version(content));
    farm.publish(one).await;
    let name = farm.create("remove", None).await;
    assert_eq!(farm.over(&name).await["status"], "completed");
    assert_eq!(farm.lives(), [None; 2]);
    assert_eq!(farm.publish(two).await["status"], "completed");
    assert_eq!(farm.lives(), [Some(two); 2]);
}

/// What is broken in the making of an assignment breaks its job, and neither the server nor the next job.
#[tokio::test]
async fn a_job_whose_assignment_breaks_the_planner_fails_and_the_next_goes_on() {
    let farm = led(STRICT, 2).await;
    let works = &farm.bench.server.works;
    works.is_brittle.store(true, Ordering::Relaxed);
    let job = farm.publish(farm.version("one")).await;
    assert_eq!(job["status"], "failed", "{job}");
    assert!(job["why"].as_str().unwrap().contains("it broke"), "{job}");
    let job = farm.publish(farm.version("two")).await;
    assert_eq!(job["status"], "completed", "{job}");
}

#[tokio::test]
async fn a_node_that_is_removed_holds_up_no_job() {
    let farm = led(BY_HAND, 3).await;
    let version = farm.version("one");
    let name = farm.create("publish", Some(version)).await;
    farm.until(&name, |job| job["staged"] == 3).await;
    let line = format!("DELETE /v1/nodes/{}", farm.nodes[2]);
    assert_eq!(farm.bench.admin(&line, "").await.status, 204);
    farm.herd.with(farm.nodes[2], |sheep| sheep.up = false);
    farm.post(&name, "commit").await;
    farm.over(&name).await;
    assert_eq!(farm.lives()[..2], [Some(version); 2]);
}

/// What a job cannot be is refused by name.
#[tokio::test]
async fn a_job_that_cannot_be_is_refused() {
    let farm = farm(STRICT, 1).await;
    for (wanted, code) in [
        (
            json!({ "kind": "publish", "site": "none", "group": "shops" }),
            Code::NotFound,
        ),
        (
            json!({ "kind": "publish", "site": "shop", "group": "none", "target": "0".repeat(64) }),
            Code::NotFound,
        ),
        (
            json!({ "kind": "publish", "site": "shop", "group": "shops" }),
            Code::Conflict,
        ),
        (
            json!({ "kind": "rollback", "site": "shop", "group": "shops" }),
            Code::Conflict,
        ),
        (
            json!({ "kind": "remove", "site": "shop", "group": "shops", "target": "0".repeat(64) }),
            Code::Invalid,
        ),
        (
            json!({ "kind": "publish", "site": "shop", "part": "none", "group": "shops", "target": "0".repeat(64) }),
            Code::NotFound,
        ),
        (
            json!({ "kind": "paint", "site": "shop", "group": "shops" }),
            Code::Invalid,
        ),
    ] {
        let refused = farm.bench.admin("POST /v1/jobs", &wanted.to_string()).await;
        assert_eq!(refused.problem().code, code, "{wanted}");
    }
}
