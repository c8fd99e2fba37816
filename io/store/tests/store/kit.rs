use std::path::Path;

use bellwether_fleet::{Group, Labels, Placement, Role, Site};
use bellwether_store::{
    Actor, Authority, Bytes, Certificate, Command, Enrolment, Entry, NewKey, NewToken, Outcome,
    Store,
};
use bellwether_types::{Hash, Name, NodeId, VersionId};
use tempfile::TempDir;

/// A store that is gone with its directory.
pub(crate) struct Fresh {
    pub(crate) store: Store,
    pub(crate) home: TempDir,
}

pub(crate) async fn fresh() -> Fresh {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path()).await;
    Fresh { store, home }
}

pub(crate) async fn open(home: &Path) -> Store {
    Store::open(&home.join("store.db")).await.unwrap()
}

impl Fresh {
    pub(crate) async fn propose(&self, command: Command) -> Outcome {
        propose_at(&self.store, 1_000, command).await
    }
}

pub(crate) async fn propose_at(store: &Store, at_ms: i64, command: Command) -> Outcome {
    store
        .propose(Entry::new(at_ms, Actor::Server, command))
        .await
        .unwrap()
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(crate) fn node(byte: u8) -> NodeId {
    NodeId::from_bytes([byte; 16])
}

pub(crate) fn begin() -> Command {
    let authority = Authority {
        certificate: Bytes(vec![1]),
        sealed_key: Bytes(vec![2]),
        signing_public: Bytes(vec![3]),
        sealed_signing: Bytes(vec![4]),
    };
    Command::Begin {
        authority,
        tokens: vec![token("first", Role::Admin, None)],
    }
}

pub(crate) fn token(id: &str, role: Role, placement: Option<&str>) -> NewToken {
    NewToken {
        id: name(id),
        hash: Hash::of(id.as_bytes()),
        name: "somebody".to_owned(),
        role,
        placement: placement.map(|text| text.parse::<Placement>().unwrap()),
        ends_ms: Some(100_000),
    }
}

pub(crate) fn site(text: &str) -> Site {
    let site = format!(r#"{{"name":"{text}","parts":[{{"name":"media","types":["mp4"]}}]}}"#);
    serde_json::from_str(&site).unwrap()
}

pub(crate) fn keep(site: &str, byte: u8) -> Command {
    Command::KeepVersion {
        site: site.parse().unwrap(),
        version: VersionId(Hash([byte; 32])),
        files: 3,
        bytes: 30,
    }
}

pub(crate) fn group(text: &str, site: &str, parts: &[&str]) -> Command {
    let group = Group {
        name: name(text),
        site: name(site),
        parts: parts.iter().map(|part| name(part)).collect(),
        selector: Default::default(),
    };
    Command::CreateGroup {
        group,
        sealed_key: Bytes(vec![5]),
    }
}

pub(crate) fn key(id: u8) -> NewKey {
    NewKey {
        id: format!("{id:08x}"),
        sealed: Bytes(vec![id; 4]),
    }
}

/// The node comes with this token, its key drawn from `secret`.
pub(crate) fn enrol(byte: u8, token: &str, subnet: Option<&str>, secret: u8) -> Enrolment {
    Enrolment {
        node: node(byte),
        name: name(&format!("web-{byte}")),
        addresses: vec![format!("10.0.0.{byte}/24")],
        token: name(token),
        segment: name("net-10.0.0.0-24"),
        subnet: subnet.map(ToOwned::to_owned),
        segment_key: key(byte),
        key: [secret; 32],
        certificate: certificate(byte, 50_000),
    }
}

pub(crate) fn certificate(byte: u8, ends_ms: i64) -> Certificate {
    Certificate {
        fingerprint: Hash([byte; 32]),
        ends_ms,
    }
}

pub(crate) fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs
        .iter()
        .map(|(label, value)| (name(label), name(value)))
        .collect()
}
