use bellwether_api::Code;
use bellwether_types::{Hash, Incarnation, NodeId, Serial, Term, VersionId};
use bellwether_wire::SigningKey;
use bellwether_wire::uplink::{
    ChangeKind, Downward, NodeOutcome, Outcome, Outcomes, Reason, Receipt, Report, Served, Upward,
};
use serde_json::{Value, json};

use super::kit::{Bench, bench};
use super::leader::{Leader, record, segment};
use crate::door::Peer;

impl Bench {
    /// Waits for an event of this kind; its text.
    async fn told(&self, kind: &str) -> String {
        let mut after = 0;
        loop {
            let line = format!("GET /v1/events?after={after}&wait=60s");
            let events = self.admin(&line, "").await.body;
            let told = events["events"].as_array().unwrap();
            if let Some(event) = told.iter().find(|event| event["kind"] == kind) {
                return event["text"].as_str().unwrap().to_owned();
            }
            after = events["last"].as_u64().unwrap();
        }
    }

    async fn segment(&self) -> Value {
        self.admin(&format!("GET /v1/segments/{}", segment()), "")
            .await
            .body
    }
}

/// CLUSTER-01, CLUSTER-02, CLUSTER-03, CLUSTER-05: what a leader says of its segment is seen at once.
#[tokio::test]
async fn nodes_are_seen_as_their_leader_reports_them() {
    let bench = bench().await;
    let nodes = bench.enrol([1, 2, 3]).await;
    assert_eq!(bench.presence(nodes[1].id).await, "unknown");
    let mut leader = Leader::lead(&bench, nodes[0], &nodes[..2]).await;
    assert_eq!(bench.presence(nodes[2].id).await, "down");
    let shown = bench.segment().await;
    assert_eq!((&shown["up"], &shown["nodes"]), (&2.into(), &3.into()));
    assert_eq!(shown["leader"]["name"], "web-1");
    leader
        .tell_of(ChangeKind::Joined, record(nodes[2].id))
        .await;
    bench.until_up(nodes[2].id).await;
    leader.tell_of(ChangeKind::Left, record(nodes[1].id)).await;
    while bench.presence(nodes[1].id).await != "down" {}
    let shown = bench.admin("GET /v1/nodes", "").await.body;
    assert_eq!(shown["items"][0]["leads"], true);
    assert_eq!(shown["items"][2]["says"]["location"], "Boston");
    assert_eq!(shown["items"][1]["says"], Value::Null);
}

/// The leader is asked to hand over, to a node that is there and may lead.
#[tokio::test]
async fn a_leader_is_asked_to_hand_over() {
    let bench = bench().await;
    let nodes = bench.enrol([1, 2, 3]).await;
    let mut leader = Leader::lead(&bench, nodes[0], &nodes[..2]).await;
    let line = format!("POST /v1/segments/{}/leader", segment());
    let wanted = |node: NodeId| format!(r#"{{"node":"{node}"}}"#);
    let absent = bench.admin(&line, &wanted(nodes[2].id)).await.problem();
    assert_eq!(absent.code, Code::Conflict, "{absent:?}");
    // Whoever leads already is not asked.
    assert_eq!(bench.admin(&line, &wanted(nodes[0].id)).await.status, 200);
    assert_eq!(bench.admin(&line, &wanted(nodes[1].id)).await.status, 200);
    let asked = |message: &Downward| matches!(message, Downward::StepDown(_));
    let first = leader.until(asked).await;
    assert_eq!(first, Downward::StepDown(Some(nodes[1].id)));
    assert_eq!(bench.admin(&line, "{}").await.status, 200);
    assert_eq!(leader.until(asked).await, Downward::StepDown(None));
    // Who wanted it is in the audit, and whoever asked for what is so already is not.
    let audit = bench.admin("GET /v1/audit", "").await.body;
    let lines = audit["items"].as_array().unwrap().iter();
    let changes = lines.filter(|line| line["action"] == "segment.change-leader");
    let targets: Vec<Value> = changes.map(|line| line["target"].clone()).collect();
    let named = format!("{} {}", segment(), nodes[1].id);
    assert_eq!(targets, [json!(segment()), json!(named)]);
    leader.hang_up();
    while bench.segment().await["leader"] != Value::Null {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        bench.admin(&line, "{}").await.problem().code,
        Code::Conflict
    );
}

/// CLUSTER-06: coming and going is numbered among the events, and told once.
#[tokio::test]
async fn who_comes_and_goes_is_among_the_events() {
    let bench = bench().await;
    let nodes = bench.enrol([1, 2]).await;
    let mut leader = Leader::lead(&bench, nodes[0], &nodes).await;
    assert!(bench.told("node.up").await.contains("is there"));
    assert!(
        bench
            .told("segment.led")
            .await
            .contains(&nodes[0].id.to_string())
    );
    leader.tell_of(ChangeKind::Left, record(nodes[1].id)).await;
    assert!(bench.told("node.down").await.contains("said farewell"));
    let audit = bench.admin("GET /v1/audit", "").await.body.to_string();
    assert!(!audit.contains("observe"), "nobody wished for it");
}

#[tokio::test]
async fn of_two_leaders_the_later_reign_is_heard() {
    let bench = bench().await;
    let nodes = bench.enrol([1, 2]).await;
    let mut first = Leader::lead(&bench, nodes[0], &nodes).await;
    let mut second = Leader::open(&bench, nodes[1], 2).await;
    second
        .until(|message| matches!(message, Downward::Ask(_)))
        .await;
    assert!(matches!(
        first.dismissed().await.reason,
        Reason::Superseded(_)
    ));
    let mut deposed = Leader::open(&bench, nodes[0], 1).await;
    assert!(matches!(
        deposed.dismissed().await.reason,
        Reason::Superseded(_)
    ));
}

/// A node that was put out, or put elsewhere, speaks for nobody from then on.
#[tokio::test]
async fn a_leader_that_does_not_belong_to_the_segment_is_dismissed_at_once() {
    let bench = bench().await;
    let nodes = bench.enrol([1, 2]).await;
    let mut leader = Leader::lead(&bench, nodes[0], &nodes).await;
    let id = nodes[0].id;
    bench.admin(&format!("DELETE /v1/nodes/{id}"), "").await;
    assert_eq!(leader.dismissed().await.reason, Reason::NotAllowed);
    let elsewhere = super::enrolment::Newcomer::new(9, "10.9.9.9/24");
    super::enrolment::certified(&elsewhere.come(&bench, &bench.join).await);
    let mut leader = Leader::open(&bench, nodes[1], 7).await;
    leader
        .until(|message| matches!(message, Downward::Welcome(_)))
        .await;
    let line = format!("PUT /v1/nodes/{}/segment", nodes[1].id);
    bench.admin(&line, r#"{"segment":"net-10.9.9.0-24"}"#).await;
    assert_eq!(leader.dismissed().await.reason, Reason::NotAllowed);
    let mut stranger = Leader::open(&bench, nodes[1], 8).await;
    assert_eq!(stranger.dismissed().await.reason, Reason::NotAllowed);
}

#[tokio::test]
async fn the_leader_is_told_that_there_are_newer_settings() {
    let bench = bench().await;
    let nodes = bench.enrol([1]).await;
    let mut leader = Leader::lead(&bench, nodes[0], &nodes).await;
    let line = format!("PATCH /v1/nodes/{}/labels", nodes[0].id);
    bench.admin(&line, r#"{"set":{"tier":"gold"}}"#).await;
    leader
        .until(|message| matches!(message, Downward::Settings(_)))
        .await;
}

#[tokio::test]
async fn what_is_no_message_ends_the_connection_and_says_why() {
    let bench = bench().await;
    let nodes = bench.enrol([1]).await;
    let nonsense: &[u8] = &[0, 0, 0, 3, 0xff, 0xff, 0xff];
    let endless: &[u8] = &[0xff, 0xff, 0xff, 0xff];
    for bytes in [nonsense, endless] {
        let mut leader = Leader::connect(&bench, nodes[0]).await;
        leader.utter(bytes).await;
        assert_eq!(leader.dismissed().await.reason, Reason::Fault);
        let mut leader = Leader::lead(&bench, nodes[0], &nodes).await;
        leader.utter(bytes).await;
        assert_eq!(leader.dismissed().await.reason, Reason::Fault);
    }
    let mut mute = Leader::connect(&bench, nodes[0]).await;
    let report = Leader::lead(&bench, nodes[0], &nodes).await;
    drop(report);
    mute.say(&Upward::Segment(Report::Change(
        bellwether_wire::uplink::SegmentReport {
            number: bellwether_wire::uplink::ReportNumber {
                segment: segment(),
                epoch: bellwether_types::Epoch {
                    counter: 1,
                    leader: nodes[0].id,
                },
                sequence: 1,
            },
            changes: Vec::new(),
        },
    )))
    .await;
    assert_eq!(mute.dismissed().await.reason, Reason::Fault);
}

#[tokio::test]
async fn nobody_but_a_node_opens_an_uplink() {
    let bench = bench().await;
    for peer in [Peer(None), Peer(Some(Hash([7; 32])))] {
        let refused = bench.node(peer, "POST /v1/uplink", "").await.problem();
        assert_eq!(refused.code, Code::Unauthenticated);
    }
    let refused = bench.admin("POST /v1/uplink", "").await.problem();
    assert_eq!(refused.code, Code::Unauthenticated);
}

/// A segment that is silent is told of; its nodes are neither there nor gone.
#[tokio::test]
async fn a_segment_falls_silent_when_its_leader_hangs_up() {
    let bench = bench().await;
    let nodes = bench.enrol([1]).await;
    let mut leader = Leader::lead(&bench, nodes[0], &nodes).await;
    bench.told("segment.led").await;
    leader.hang_up();
    while bench.presence(nodes[0].id).await != "unknown" {
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.segment().await["leader"], Value::Null);
    assert!(bench.told("segment.silent").await.contains("nobody speaks"));
}

/// One that reads nothing is let go, and does not hold up others.
#[tokio::test]
async fn a_leader_that_does_not_read_is_let_go() {
    let bench = bench().await;
    let nodes = bench.enrol([1]).await;
    let leader = Leader::lead(&bench, nodes[0], &nodes).await;
    let line = format!("PATCH /v1/nodes/{}/labels", nodes[0].id);
    for round in 0.. {
        let labels = format!(r#"{{"set":{{"round":"r{round}"}}}}"#);
        assert_eq!(bench.admin(&line, &labels).await.status, 200);
        if bench.server.hub.links() == 0 {
            break;
        }
    }
    drop(leader);
}

#[tokio::test]
async fn an_ending_server_says_so_to_its_leaders() {
    let bench = bench().await;
    let nodes = bench.enrol([1]).await;
    let mut leader = Leader::lead(&bench, nodes[0], &nodes).await;
    bench.end.send_replace(true);
    assert_eq!(leader.dismissed().await.reason, Reason::Later);
}

/// What a node serves is what it signed, told by the leader of its own segment.
#[tokio::test]
async fn a_receipt_counts_if_its_node_signed_it_and_its_segment_tells_it() {
    let bench = bench().await;
    let nodes = bench.enrol([1, 2]).await;
    let mut leader = Leader::lead(&bench, nodes[0], &nodes).await;
    let elsewhere = super::enrolment::Newcomer::keyed(9, "10.9.9.9/24");
    super::enrolment::certified(&elsewhere.come(&bench, &bench.join).await);
    let said = |node: NodeId, seed: u8| {
        let served = Served {
            node,
            incarnation: Incarnation(1),
            site: "shop".parse().unwrap(),
            version: VersionId(Hash([5; 32])),
            term: Term(1),
            serial: Serial(1),
            seconds: 0,
            nanoseconds: 0,
        };
        let receipt = Receipt::sign(served, &SigningKey::from_seed([seed; 32]));
        let outcome = Outcome::Live(receipt);
        NodeOutcome { node, outcome }
    };
    let job = "j-1".parse().unwrap();
    // Forged; its own; of a node that belongs elsewhere.
    let told = vec![
        said(nodes[0].id, 2),
        said(nodes[1].id, 2),
        said(elsewhere.id, 9),
    ];
    leader
        .say(&Upward::Outcomes(Outcomes { job, nodes: told }))
        .await;
    let serves = async || {
        let status = bench.admin("GET /v1/status", "").await.body;
        let nodes = status["items"].as_array().unwrap().clone();
        nodes
            .iter()
            .map(|node| node["serves"].as_array().unwrap().len())
            .collect::<Vec<_>>()
    };
    while serves().await[1] == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(serves().await, [0, 1, 0]);
}
