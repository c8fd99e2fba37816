//! A node and its control server: enrolment, and what becomes of it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use bellwether_agent::{ControlServer, EnrolError, Enrolled, Newcomer, enrol};
use bellwether_api::routes::{ListNodes, RemoveNode};
use bellwether_api::{NoQuery, NodesPage};
use bellwether_client::{CallError, Client, Credential};
use bellwether_control::{ServerSettings, start};
use tokio::runtime::Runtime;

/// A control server that runs as long as it is kept.
struct Control {
    runtime: Runtime,
    server: ControlServer,
    admin: Client,
}

impl Control {
    fn start(data: &Path) -> Self {
        let runtime = Runtime::new().unwrap();
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let settings = ServerSettings {
            data: data.to_owned(),
            listen,
            names: Vec::new(),
        };
        let mut running = runtime.block_on(start(settings)).unwrap();
        let beginning = running.beginning.take().unwrap();
        let (url, ca) = (running.url.clone(), running.ca_fingerprint.clone());
        runtime.spawn(running.run());
        let server = ControlServer {
            url: url.parse().unwrap(),
            ca: ca.parse().unwrap(),
            token: Some(beginning.join_token),
        };
        let admin = fs::read_to_string(&beginning.admin_token)
            .unwrap()
            .trim()
            .to_owned();
        let admin = Client::new(server.url.clone(), server.ca, Credential::Token(admin)).unwrap();
        Self {
            runtime,
            server,
            admin,
        }
    }

    fn nodes(&self) -> usize {
        let page = NodesPage::default();
        let asked = self.admin.call::<ListNodes>(&(), &page, &());
        self.runtime.block_on(asked).unwrap().items.len()
    }

    fn remove(&self, node: &str) {
        let name = node.parse().unwrap();
        self.runtime
            .block_on(self.admin.call::<RemoveNode>(&name, &NoQuery {}, &()))
            .unwrap();
    }

    /// The same, known to a node that has no token.
    fn tokenless(&self) -> ControlServer {
        ControlServer {
            token: None,
            ..self.server.clone()
        }
    }
}

fn come(data: &Path, server: ControlServer) -> Result<Enrolled, EnrolError> {
    let newcomer = Newcomer {
        name: "web-1".parse().unwrap(),
        interface: "127.0.0.1".parse().unwrap(),
    };
    enrol(data, server, &newcomer)
}

/// CLUSTER-13: a token is all that a node needs to be told where it belongs, and afterwards not even that.
#[test]
fn a_node_enrols_once_and_goes_on_without_its_token_and_without_the_server() {
    let home = tempfile::tempdir().unwrap();
    let (data, node) = (home.path().join("server"), home.path().join("node"));
    let control = Control::start(&data);
    let tokenless = control.tokenless();
    assert!(matches!(
        come(&node, tokenless.clone()),
        Err(EnrolError::Tokenless(_))
    ));
    let first = come(&node, control.server.clone()).unwrap();
    assert_eq!(first.segment.as_str(), "net-127.0.0.0-8");
    let again = come(&node, tokenless.clone()).unwrap();
    assert_eq!(
        (again.segment, again.admission.keys.current().id()),
        (first.segment.clone(), first.admission.keys.current().id())
    );
    assert_eq!(control.nodes(), 1);
    drop(control);
    let alone = come(&node, tokenless).unwrap();
    assert_eq!(
        (alone.segment, alone.admission.keys.current().id()),
        (first.segment, first.admission.keys.current().id())
    );
}

/// Cut short after any file that is written: it begins again, and there is one node.
#[test]
fn an_enrolment_that_was_cut_short_is_finished_by_the_next_start() {
    let home = tempfile::tempdir().unwrap();
    let (data, node) = (home.path().join("server"), home.path().join("node"));
    let control = Control::start(&data);
    let first = come(&node, control.server.clone()).unwrap();
    // The answer was lost.
    fs::remove_file(node.join("enrolment")).unwrap();
    let again = come(&node, control.server.clone()).unwrap();
    assert_eq!(
        again.admission.keys.current().id(),
        first.admission.keys.current().id()
    );
    assert_eq!(control.nodes(), 1);
    // A copy of the directory without its key is not this node.
    fs::remove_file(node.join("enrolment")).unwrap();
    fs::remove_file(node.join("key")).unwrap();
    let thief = come(&node, control.server.clone());
    assert!(
        matches!(thief, Err(EnrolError::Call(CallError::Problem(_)))),
        "{thief:?}"
    );
}

#[test]
fn a_node_that_was_put_out_is_told_so_and_comes_back_by_a_token_only() {
    let home = tempfile::tempdir().unwrap();
    let (data, node) = (home.path().join("server"), home.path().join("node"));
    let control = Control::start(&data);
    come(&node, control.server.clone()).unwrap();
    control.remove("web-1");
    assert!(matches!(
        come(&node, control.tokenless()),
        Err(EnrolError::PutOut(_))
    ));
    assert_eq!(control.nodes(), 0);
    come(&node, control.server.clone()).unwrap();
    assert_eq!(control.nodes(), 1);
}

/// Secrets are their owner's alone, and no log or message has them.
#[test]
fn what_a_node_keeps_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let home = tempfile::tempdir().unwrap();
    let (data, node) = (home.path().join("server"), home.path().join("node"));
    let control = Control::start(&data);
    let enrolled = come(&node, control.server.clone()).unwrap();
    for file in ["key", "enrolment"] {
        let mode = fs::metadata(node.join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let shown = format!("{enrolled:?}");
    assert!(
        !shown.contains("PRIVATE KEY") && !shown.contains("segment-key:"),
        "{shown}"
    );
    assert!(
        !shown.contains(control.server.token.as_ref().unwrap()),
        "{shown}"
    );
}
