//! The server on a real port, with the client that people and nodes use.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use bellwether_api::routes::{
    CreateSite, Enrol, Health, ListSites, RemoveNode, ShowServer, ShowSettings,
};
use bellwether_api::{Code, EnrolRequest, NoQuery, NodeSettings, Page};
use bellwether_client::{CallError, Client, Credential, Identity, ServerUrl};
use bellwether_control::{Running, ServerSettings, start};
use bellwether_types::{Epoch, Hash, Incarnation, NodeId};
use bellwether_wire::control::Formats;
use bellwether_wire::uplink::{Downward, Hello, Reason};
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};

const ANY: NoQuery = NoQuery {};
/// A server that says nothing for so long says nothing.
const SILENCE: Duration = Duration::from_secs(30);

async fn running(data: &Path) -> Running {
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    start(ServerSettings {
        data: data.to_owned(),
        listen,
        names: Vec::new(),
    })
    .await
    .unwrap()
}

/// Where a server runs, and whom it should be known as.
struct Known {
    url: ServerUrl,
    fingerprint: Hash,
}

impl Known {
    fn serve(running: Running) -> Self {
        let known = Self {
            url: running.url.parse().unwrap(),
            fingerprint: running.ca_fingerprint.parse().unwrap(),
        };
        tokio::spawn(running.run());
        known
    }

    fn client(&self, credential: Credential) -> Client {
        Client::new(self.url.clone(), self.fingerprint, credential).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_and_nodes_speak_with_a_server_that_they_know_by_its_fingerprint() {
    let home = tempfile::tempdir().unwrap();
    let running = running(home.path()).await;
    let beginning = running.beginning.as_ref().unwrap();
    let join = beginning.join_token.clone();
    let admin = std::fs::read_to_string(&beginning.admin_token)
        .unwrap()
        .trim()
        .to_owned();
    let known = Known::serve(running);

    known
        .client(Credential::Nobody)
        .call::<Health>(&(), &ANY, &())
        .await
        .unwrap();
    let admin = known.client(Credential::Token(admin));
    let shown = admin.call::<ShowServer>(&(), &ANY, &()).await.unwrap();
    assert_eq!(shown.ca_fingerprint, known.fingerprint.to_string());
    let site = serde_json::from_str(r#"{"name":"shop"}"#).unwrap();
    admin.call::<CreateSite>(&(), &ANY, &site).await.unwrap();
    let sites = admin
        .call::<ListSites>(&(), &Page::default(), &())
        .await
        .unwrap();
    assert_eq!(sites.items, [site]);

    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let request = CertificateParams::default()
        .serialize_request(&key)
        .unwrap()
        .pem()
        .unwrap();
    let enrol = EnrolRequest {
        node: NodeId::from_bytes([7; 16]),
        name: "web".parse().unwrap(),
        addresses: vec!["127.0.0.1/8".to_owned()],
        request,
    };
    let newcomer = known.client(Credential::Token(join));
    let certified = newcomer.call::<Enrol>(&(), &ANY, &enrol).await.unwrap();
    let identity = Identity {
        certificate: certified.certificate,
        key: key.serialize_pem(),
    };
    let node = known.client(Credential::Node(identity));
    let settings = node.call::<ShowSettings>(&(), &ANY, &()).await.unwrap();
    assert_eq!(settings, certified.settings);

    let mut uplink = node.uplink(hello(&settings)).await.unwrap();
    let welcome = uplink.stream.next(SILENCE).await.unwrap();
    assert!(matches!(welcome, Downward::Welcome(_)), "{welcome:?}");

    // Its connection is open, and still it is nobody from now on.
    let name = "web".parse().unwrap();
    admin.call::<RemoveNode>(&name, &ANY, &()).await.unwrap();
    let refused = node.call::<ShowSettings>(&(), &ANY, &()).await.unwrap_err();
    let CallError::Problem(problem) = refused else {
        panic!("{refused}")
    };
    assert_eq!(problem.code, Code::Unauthenticated);
    let dismissed = loop {
        if let Downward::Dismiss(dismiss) = uplink.stream.next(SILENCE).await.unwrap() {
            break dismiss;
        }
    };
    assert_eq!(dismissed.reason, Reason::NotAllowed);
}

/// What the node of the test says as the leader of its segment.
fn hello(settings: &NodeSettings) -> Hello {
    let epoch = Epoch {
        counter: 1,
        leader: NodeId::from_bytes([7; 16]),
    };
    Hello {
        segment: settings.segment.clone(),
        epoch,
        incarnation: Incarnation(1),
        formats: Formats::default(),
        settings: settings.number,
        jobs: Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_another_authority_is_not_spoken_with_nor_a_node_of_one() {
    let (home, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let known = Known::serve(running(home.path()).await);
    let foreign = Known::serve(running(other.path()).await);
    let mistaken = Known {
        url: known.url.clone(),
        fingerprint: foreign.fingerprint,
    };
    let refused = mistaken
        .client(Credential::Nobody)
        .call::<Health>(&(), &ANY, &())
        .await;
    assert!(
        matches!(refused, Err(CallError::Untrusted { .. })),
        "{refused:?}"
    );

    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::default()
        .self_signed(&key)
        .unwrap()
        .pem();
    let identity = Identity {
        certificate,
        key: key.serialize_pem(),
    };
    let forger = known.client(Credential::Node(identity));
    forger
        .call::<ShowSettings>(&(), &ANY, &())
        .await
        .unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_starts_again_is_the_same_and_tells_no_beginning() {
    let home = tempfile::tempdir().unwrap();
    let fingerprint = {
        let first = running(home.path()).await;
        first.ca_fingerprint.clone()
    };
    // The database of the first is closed in the background; the directory is free at once.
    let again = running(home.path()).await;
    assert!(again.beginning.is_none());
    assert_eq!(again.ca_fingerprint, fingerprint);
}
