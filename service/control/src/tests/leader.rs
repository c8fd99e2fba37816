use axum::body::Body;
use axum::extract::Request;
use bellwether_types::{Epoch, Incarnation, Name, NodeId};
use bellwether_wire::control::{Formats, Record, Resources};
use bellwether_wire::uplink::{
    ChangeKind, ClusterReport, Dismiss, Downward, Frames, Hello, MemberChange, Pong, Report,
    ReportNumber, SegmentReport, Upward, frame,
};
use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::sync::mpsc;
use tower::ServiceExt;

use super::enrolment::{Newcomer, certified};
use super::kit::Bench;
use crate::clock::steady;
use crate::door::Peer;
use crate::stream::stream;

/// A node that enrolled.
#[derive(Clone, Copy)]
pub(super) struct Enrolled {
    pub(super) id: NodeId,
    pub(super) peer: Peer,
}

/// The leader of a segment, as the control server hears it.
pub(super) struct Leader {
    messages: Option<mpsc::Sender<Bytes>>,
    answer: Body,
    frames: Frames<Downward>,
    pub(super) segment: Name,
    epoch: Epoch,
    sequence: u64,
}

/// So far is a leader's clock ahead of ours.
pub(super) const AHEAD_US: u64 = 3_600_000_000;

impl Bench {
    /// Takes in the nodes of these bytes; all are of the segment `net-10.0.0.0-24`.
    pub(super) async fn enrol(&self, bytes: impl IntoIterator<Item = u8>) -> Vec<Enrolled> {
        let mut enrolled = Vec::new();
        for byte in bytes {
            let node = Newcomer::keyed(byte, "10.0.0.1/24");
            let (_, peer) = certified(&node.come(self, &self.join).await);
            enrolled.push(Enrolled { id: node.id, peer });
        }
        enrolled
    }
}

pub(super) fn segment() -> Name {
    "net-10.0.0.0-24".parse().unwrap()
}

/// What a node says of itself.
pub(super) fn record(node: NodeId) -> Record {
    Record {
        incarnation: Incarnation(1),
        name: format!("web-{}", node.as_bytes()[0]).parse().unwrap(),
        address: "10.0.0.1:7400".parse().unwrap(),
        location: "Boston".to_owned(),
        candidate: true,
        priority: 1,
        busy: false,
        formats: Formats::default(),
        resources: Resources {
            disk_free_bytes: 1 << 40,
            ..Resources::default()
        },
        holdings: Vec::new(),
        nonce: 1,
        joined: 1,
        data_port: None,
        serve_port: None,
    }
}

impl Leader {
    /// Connects, and says nothing yet.
    pub(super) async fn connect(bench: &Bench, node: Enrolled) -> Self {
        let (messages, body) = stream(64);
        let request = Request::builder().method("POST").uri("/v1/uplink");
        let request = request.extension(node.peer).body(Body::new(body)).unwrap();
        let response = bench.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200);
        Self {
            messages: Some(messages),
            answer: response.into_body(),
            frames: Frames::new(),
            segment: segment(),
            epoch: Epoch {
                counter: 1,
                leader: node.id,
            },
            sequence: 0,
        }
    }

    /// Connects and says for whom it speaks, in the reign of this number.
    pub(super) async fn open(bench: &Bench, node: Enrolled, counter: u64) -> Self {
        let mut leader = Self::connect(bench, node).await;
        leader.epoch.counter = counter;
        let hello = Hello {
            segment: leader.segment.clone(),
            epoch: leader.epoch,
            incarnation: Incarnation(1),
            formats: Formats::default(),
            settings: 0,
            jobs: Vec::new(),
        };
        leader.say(&Upward::Hello(hello)).await;
        leader
    }

    /// The same, and it was welcomed and told who belongs to its segment.
    pub(super) async fn lead(bench: &Bench, node: Enrolled, members: &[Enrolled]) -> Self {
        let mut leader = Self::open(bench, node, 1).await;
        leader
            .until(|message| matches!(message, Downward::Ask(_)))
            .await;
        leader
            .tell_all(members.iter().map(|member| record(member.id)))
            .await;
        for member in members {
            bench.until_up(member.id).await;
        }
        leader
    }

    pub(super) async fn say(&mut self, message: &Upward) {
        let bytes = frame(message).unwrap();
        let messages = self.messages.as_ref().expect("it speaks still");
        // It may have been dismissed.
        let _ = messages.send(bytes.into()).await;
    }

    /// Sends bytes that may be no message.
    pub(super) async fn utter(&mut self, bytes: &'static [u8]) {
        let messages = self.messages.as_ref().expect("it speaks still");
        messages.send(Bytes::from_static(bytes)).await.unwrap();
    }

    /// The connection breaks.
    pub(super) fn hang_up(&mut self) {
        self.messages = None;
    }

    /// Tells of all members, each by its record, whose name ends with the byte of its id.
    pub(super) async fn tell_all(&mut self, records: impl IntoIterator<Item = Record>) {
        let members = records.into_iter().map(|record| (node_of(&record), record));
        let report = ClusterReport {
            number: self.number(),
            title: None,
            leader: record(self.epoch.leader).name,
            address: "10.0.0.1:7400".parse().unwrap(),
            location: "Boston".to_owned(),
            members: members.collect(),
        };
        self.say(&Upward::Segment(Report::Cluster(report))).await;
    }

    /// Tells of one member.
    pub(super) async fn tell_of(&mut self, kind: ChangeKind, record: Record) {
        let node = node_of(&record);
        let report = SegmentReport {
            number: self.number(),
            changes: vec![MemberChange { node, kind, record }],
        };
        self.say(&Upward::Segment(Report::Change(report))).await;
    }

    /// What it is told next, pings apart, which are answered; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<Downward> {
        loop {
            match self.frames.next().unwrap() {
                Some(Downward::Ping(ping)) => {
                    let at = steady().as_nanos() / 1_000 + AHEAD_US;
                    let pong = Pong {
                        number: ping.number,
                        received_us: at,
                        sent_us: at,
                    };
                    if self.messages.is_some() {
                        self.say(&Upward::Pong(pong)).await;
                    }
                }
                Some(message) => return Some(message),
                None => {
                    let piece = self.answer.frame().await?;
                    self.frames.push(piece.unwrap().data_ref().unwrap());
                }
            }
        }
    }

    /// Reads until such a message.
    pub(super) async fn until(&mut self, is: impl Fn(&Downward) -> bool) -> Downward {
        loop {
            let message = self.next().await.expect("the connection goes on");
            if is(&message) {
                return message;
            }
        }
    }

    /// Reads until the end; why it ended.
    pub(super) async fn dismissed(&mut self) -> Dismiss {
        let mut last = None;
        while let Some(message) = self.next().await {
            last = Some(message);
        }
        match last {
            Some(Downward::Dismiss(dismiss)) => dismiss,
            other => panic!("{other:?}"),
        }
    }

    fn number(&mut self) -> ReportNumber {
        self.sequence += 1;
        ReportNumber {
            segment: self.segment.clone(),
            epoch: self.epoch,
            sequence: self.sequence,
        }
    }
}

fn node_of(record: &Record) -> NodeId {
    let byte = record.name.as_str().strip_prefix("web-").unwrap();
    NodeId::from_bytes([byte.parse().unwrap(); 16])
}

impl Bench {
    /// Waits until a node is there.
    pub(super) async fn until_up(&self, node: NodeId) {
        while self.presence(node).await != "up" {
            tokio::task::yield_now().await;
        }
    }

    pub(super) async fn presence(&self, node: NodeId) -> String {
        let shown = self.admin(&format!("GET /v1/nodes/{node}"), "").await;
        shown.body["presence"].as_str().unwrap().to_owned()
    }
}
