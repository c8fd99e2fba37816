use bellwether_api::{Certified, Code, NodeSettings};
use bellwether_types::NodeId;
use bellwether_wire::control::SegmentKey;
use bellwether_wire::{ContentKey, SigningKey};
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde_json::json;

use super::kit::{Answer, Bench, bench};
use crate::authority::fingerprint;
use crate::door::Peer;

/// Somebody who would be a node.
pub(super) struct Newcomer {
    pub(super) id: NodeId,
    key: KeyPair,
    address: &'static str,
}

impl Newcomer {
    pub(super) fn new(byte: u8, address: &'static str) -> Self {
        Self {
            id: NodeId::from_bytes([byte; 16]),
            key: KeyPair::generate_for(&PKCS_ED25519).unwrap(),
            address,
        }
    }

    /// One whose key grows from its byte, so that a test can sign as it.
    pub(super) fn keyed(byte: u8, address: &'static str) -> Self {
        let key = PrivatePkcs8KeyDer::from(SigningKey::from_seed([byte; 32]).to_pkcs8());
        Self {
            key: KeyPair::try_from(&key).unwrap(),
            ..Self::new(byte, address)
        }
    }

    fn request(&self) -> String {
        let request = CertificateParams::default()
            .serialize_request(&self.key)
            .unwrap();
        request.pem().unwrap()
    }

    pub(super) async fn come(&self, bench: &Bench, token: &str) -> Answer {
        let body = json!({
            "node": self.id, "name": "web", "addresses": [self.address], "request": self.request()
        });
        bench.ask(token, "POST /v1/enrol", &body.to_string()).await
    }
}

pub(super) fn certified(answer: &Answer) -> (Certified, Peer) {
    assert_eq!(answer.status, 200, "{answer:?}");
    let certified: Certified = serde_json::from_value(answer.body.clone()).unwrap();
    let der = CertificateDer::from_pem_slice(certified.certificate.as_bytes()).unwrap();
    (certified, Peer(Some(fingerprint(&der))))
}

/// A node that was taken in.
pub(crate) async fn enrolled(bench: &Bench, byte: u8) -> Peer {
    let newcomer = Newcomer::new(byte, "10.0.0.1/24");
    certified(&newcomer.come(bench, &bench.join).await).1
}

pub(super) async fn settings(bench: &Bench, peer: Peer) -> NodeSettings {
    let answer = bench.node(peer, "GET /v1/settings", "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_value(answer.body).unwrap()
}

/// CLUSTER-13: nodes come by one token to the segments of their subnets, and know their key and each other.
#[tokio::test]
async fn a_node_that_enrols_is_told_its_segment_its_keys_and_its_peers() {
    let bench = bench().await;
    let (one, two) = (
        Newcomer::new(1, "10.0.0.1/24"),
        Newcomer::new(2, "10.0.0.2/24"),
    );
    let (first, peer) = certified(&one.come(&bench, &bench.join).await);
    let (second, _) = certified(&two.come(&bench, &bench.join).await);
    assert_eq!(first.settings.segment.as_str(), "net-10.0.0.0-24");
    assert_eq!(first.settings.keys, second.settings.keys);
    first.settings.keys.current.parse::<SegmentKey>().unwrap();
    assert_eq!(second.settings.peers, ["10.0.0.1"]);
    assert_eq!(settings(&bench, peer).await.peers, ["10.0.0.2"]);
    let elsewhere = Newcomer::new(3, "10.0.1.1/24");
    let (third, _) = certified(&elsewhere.come(&bench, &bench.join).await);
    assert_ne!(third.settings.keys.current, first.settings.keys.current);
}

/// CGRP-05, CGRP-06: a node has the keys of its groups, and of no other.
#[tokio::test]
async fn settings_follow_the_groups_that_select_the_node() {
    let bench = bench().await;
    let one = Newcomer::new(1, "10.0.0.1/24");
    let (first, peer) = certified(&one.come(&bench, &bench.join).await);
    let site = r#"{"name":"shop","parts":[{"name":"media","types":["mp4"]}]}"#;
    bench.admin("POST /v1/sites", site).await;
    let group =
        r#"{"name":"films","site":"shop","parts":["media"],"selector":{"labels":{"tier":"gold"}}}"#;
    bench.admin("POST /v1/groups", group).await;
    assert!(settings(&bench, peer).await.groups.is_empty());
    bench
        .admin("PATCH /v1/nodes/web/labels", r#"{"set":{"tier":"gold"}}"#)
        .await;
    let now = settings(&bench, peer).await;
    assert!(
        now.number > first.settings.number,
        "newer settings have a higher number"
    );
    assert_eq!(now.groups.len(), 1);
    now.groups[0].key.parse::<ContentKey>().unwrap();
    assert_eq!(
        now.sites[0]
            .parts
            .iter()
            .map(|part| part.as_str())
            .collect::<Vec<_>>(),
        ["media"]
    );
    bench.admin("DELETE /v1/groups/films", "").await;
    assert!(settings(&bench, peer).await.groups.is_empty());
}

#[tokio::test]
async fn a_node_that_is_put_out_is_nobody_at_once() {
    let bench = bench().await;
    let one = Newcomer::new(1, "10.0.0.1/24");
    let (_, peer) = certified(&one.come(&bench, &bench.join).await);
    assert_eq!(bench.admin("DELETE /v1/nodes/web", "").await.status, 204);
    for line in ["GET /v1/settings", "POST /v1/renew"] {
        let refused = bench.node(peer, line, "").await.problem();
        assert_eq!(refused.code, Code::Unauthenticated, "{line}");
    }
}

#[tokio::test]
async fn a_renewed_certificate_counts_beside_the_former_one() {
    let bench = bench().await;
    let one = Newcomer::new(1, "10.0.0.1/24");
    let (_, peer) = certified(&one.come(&bench, &bench.join).await);
    let other = Newcomer::new(1, "10.0.0.1/24");
    let body = json!({ "request": other.request() }).to_string();
    let (_, renewed) = certified(&bench.node(peer, "POST /v1/renew", &body).await);
    settings(&bench, peer).await;
    settings(&bench, renewed).await;
    // From now on that is the node's key.
    assert_eq!(
        one.come(&bench, &bench.join).await.problem().code,
        Code::Conflict
    );
    certified(&other.come(&bench, &bench.join).await);
}

/// Forged, foreign and unfit requests, each refused for what it is.
#[tokio::test]
async fn only_a_join_token_and_a_true_request_admit_a_node() {
    let bench = bench().await;
    let one = Newcomer::new(1, "10.0.0.1/24");
    for role in ["viewer", "operator", "admin"] {
        let token = bench.token(role).await;
        assert_eq!(
            one.come(&bench, &token).await.problem().code,
            Code::Forbidden,
            "{role}"
        );
    }
    assert_eq!(
        one.come(&bench, "bwt_0_0").await.problem().code,
        Code::Unauthenticated
    );
    for address in ["10.0.0.1", "10.0.0.1/33", "nowhere/24"] {
        let lost = Newcomer::new(1, address).come(&bench, &bench.join).await;
        assert_eq!(lost.problem().code, Code::Invalid, "{address}");
    }
    let body =
        json!({ "node": one.id, "name": "web", "addresses": ["10.0.0.1/24"], "request": "none" });
    let forged = bench
        .ask(&bench.join, "POST /v1/enrol", &body.to_string())
        .await;
    assert_eq!(forged.problem().code, Code::Invalid);
    let other_kind = Newcomer {
        key: KeyPair::generate().unwrap(),
        ..Newcomer::new(1, "10.0.0.1/24")
    };
    let refused = other_kind.come(&bench, &bench.join).await;
    assert_eq!(refused.problem().code, Code::Invalid);
    certified(&one.come(&bench, &bench.join).await);
    let thief = Newcomer::new(1, "10.0.0.9/24")
        .come(&bench, &bench.join)
        .await;
    assert_eq!(thief.problem().code, Code::Conflict, "the id is another's");
}
