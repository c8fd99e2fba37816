//! An agent and a control server that the test plays, over real sockets: enrolled, heard, given jobs and orders.

mod fake;
mod segment;

use std::collections::BTreeMap;
use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bellwether_agent::{ControlServer, Ended, Request, RunError, Settings, ask, run_enrolled};
use bellwether_content::assignment::{Action, DataWriter, Head, Header};
use bellwether_delta::Effort;
use bellwether_kit::farm::{Farm, Files, Making, make};
use bellwether_types::{Hash, Name, NodeId, Serial, SitePart, Term, VersionId};
use bellwether_wire::PublicKey;
use bellwether_wire::transfer::AssignmentId;
use bellwether_wire::uplink::{
    Ask, Downward, FailureKind, File, Hello, Notify, Order, Outcome, Ping, Report, Upward, Variant,
};
use tempfile::TempDir;

use fake::Fake;

fn site(name: &str) -> SitePart {
    name.parse().unwrap()
}

fn farm(index: &str) -> Farm {
    Farm::new(&Files::from([
        ("index", index.into()),
        ("same", b"unchanged ".repeat(90)),
        ("large", noise(index.len() as u64, 3 << 20)),
    ]))
}

/// Bytes that do not compress.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}

fn version(farm: &Farm) -> VersionId {
    farm.manifest.version()
}

/// An agent on a thread of its own, alone in its segment, and its control server.
struct Stage {
    home: TempDir,
    fake: Fake,
    agent: Option<Agent>,
    node: NodeId,
    key: PublicKey,
}

impl Stage {
    fn new(sites: &[&str]) -> Self {
        let fake = Fake::start(sites);
        let home = TempDir::new().unwrap();
        let agent = run(home.path(), &fake, free_port());
        let (node, key) = fake.enrolled();
        let mut stage = Self {
            home,
            fake,
            agent: Some(agent),
            node,
            key,
        };
        stage.greet();
        stage
    }

    fn data(&self) -> PathBuf {
        self.home.path().join("node")
    }

    /// Hears the leader's greeting, and welcomes it.
    fn greet(&mut self) -> Vec<Name> {
        let hello = greet(&self.fake);
        assert_eq!(hello.epoch.leader, self.node);
        hello.jobs
    }

    /// The next outcome of this node for a job.
    fn outcome(&self, job: &str) -> Outcome {
        let job: Name = job.parse().unwrap();
        loop {
            if let Upward::Outcomes(mut outcomes) = self.fake.next()
                && outcomes.job == job
            {
                assert_eq!(outcomes.nodes.len(), 1);
                assert_eq!(outcomes.nodes[0].node, self.node);
                break outcomes.nodes.remove(0).outcome;
            }
        }
    }

    /// Notifies the leader of a job, and what it staged.
    fn publish(&self, job: &str, site: &SitePart, base: Option<&Farm>, target: &Farm) -> Outcome {
        self.notify(job, site, base, target);
        self.outcome(job)
    }

    fn notify(&self, job: &str, site: &SitePart, base: Option<&Farm>, target: &Farm) {
        notify(&self.fake, job, site, (base, target), vec![self.node]);
    }

    fn order(
        &self,
        action: Action,
        job: &str,
        site: &SitePart,
        version: VersionId,
        at_us: Option<u64>,
    ) -> Outcome {
        let nodes = vec![self.node];
        order(&self.fake, (action, job), site, version, nodes, at_us);
        loop {
            match self.outcome(job) {
                // Said again, of before.
                Outcome::Staged(_) => {}
                other => break other,
            }
        }
    }

    /// What the node serves of a site, by file.
    fn live(&self, site: &str) -> BTreeMap<String, Vec<u8>> {
        live(&self.data(), site)
    }

    /// Ends the agent, as its operator does.
    fn leave(&mut self) {
        ask(&self.data(), Request::Leave).unwrap();
        self.agent.take().unwrap().join().unwrap().unwrap();
    }
}

/// Hears a leader's greeting.
fn greet(fake: &Fake) -> Hello {
    loop {
        if let Upward::Hello(hello) = fake.next() {
            break hello;
        }
    }
}

/// What a node serves of a site, by file.
fn live(data: &Path, site: &str) -> BTreeMap<String, Vec<u8>> {
    let live = data.join("sites").join(site).join("live");
    let entries = fs::read_dir(live).unwrap().map(|entry| {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        (name, fs::read(entry.path()).unwrap())
    });
    entries.collect()
}

/// The files of an assignment, which the control server has from now on.
fn put(fake: &Fake, job: &str, site: &SitePart, base: Option<&Farm>, target: &Farm) -> Vec<File> {
    let making = Making {
        signing: Some(&fake.signing),
        header: Some(header(Action::Publish, job, site)),
        ..Making::default()
    };
    let empty = Farm::default();
    let files = make(base.unwrap_or(&empty), target, &making);
    let files = files.into_iter().map(|bytes| {
        let (id, len) = (id(&bytes), bytes.len() as u64);
        fake.have(id, bytes);
        File { id, len }
    });
    files.collect()
}

/// A notification of one variant for these nodes.
fn notify(
    fake: &Fake,
    job: &str,
    site: &SitePart,
    (base, target): (Option<&Farm>, &Farm),
    nodes: Vec<NodeId>,
) {
    fake.say(Downward::Notify(Notify {
        job: job.parse().unwrap(),
        site: site.clone(),
        group: None,
        term: Term(1),
        serial: serial(job),
        target: version(target),
        variants: vec![Variant {
            base: base.map(version),
            files: put(fake, job, site, base, target),
            nodes,
        }],
        sources: Vec::new(),
        quorum: 1,
        patience_ms: 10_000,
    }));
}

/// Gives an order about a version.
fn order(
    fake: &Fake,
    (action, job): (Action, &str),
    site: &SitePart,
    version: VersionId,
    nodes: Vec<NodeId>,
    at_us: Option<u64>,
) {
    let mut header = Header {
        target: Some(version),
        serial: Serial(serial(job).0 + 1),
        ..header(action, job, site)
    };
    let head = Head {
        blocks: DataWriter::new(None).finish(&mut header, &mut Vec::new()),
        header,
        body: Vec::new(),
    };
    let assignment = head.encode(Effort::Default, Some(&fake.signing), None).1;
    fake.say(Downward::Order(Order {
        job: job.parse().unwrap(),
        assignment,
        nodes,
        at_us,
    }));
}

type Agent = JoinHandle<Result<Ended, RunError>>;

/// A port that nobody uses keeps agents of other tests apart; the next one is theirs, too.
fn free_port() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port() & !1
}

fn run(home: &Path, fake: &Fake, port: u16) -> Agent {
    let given = format!(
        "segment = 'told'\nkey_file = 'told'\nname = '{2}'\ninterface = '127.0.0.1'\n\
         data = '{0}/node'\n[channel]\nserve_port = 0\ngroup = '239.255.77.1:{1}'\n[timing.fast]\nheartbeat_ms = 500\n\
         [hooks]\nafter = ['echo $BELLWETHER_SITE >> {0}/hooked']\n",
        home.display(),
        port,
        home.file_name()
            .unwrap()
            .to_string_lossy()
            .trim_start_matches('.'),
    );
    let settings = Settings::load(None, given.parse().unwrap()).unwrap();
    let server = ControlServer {
        url: fake.url.parse().unwrap(),
        ca: fake.ca,
        token: Some("token".to_owned()),
    };
    thread::spawn(move || run_enrolled(settings, server))
}

/// Jobs are called `j-1`, `j-2` …
fn serial(job: &str) -> Serial {
    Serial(job[2..].parse::<u64>().unwrap() << 20)
}

fn header(action: Action, job: &str, site: &SitePart) -> Header {
    Header {
        site: Some(site.clone()),
        job: Some(job.parse().unwrap()),
        ..Header::new(action, serial(job), Term(1))
    }
}

/// The hash of what stands before the data file.
fn id(bytes: &[u8]) -> AssignmentId {
    let trust = bellwether_content::assignment::Trust::Anyone;
    let outline = bellwether_content::assignment::outline(bytes, &trust).unwrap();
    AssignmentId(Hash::of(&bytes[..outline.head_len as usize]))
}

/// REPORT-10, TREE-09, TREE-25: from notification to what is served, and back: the whole way of content on a node that
/// leads.
#[test]
fn a_node_that_leads_is_heard_and_serves_what_it_is_given() {
    let mut stage = Stage::new(&["shop"]);
    let shop = site("shop");
    // Who belongs, and what its clock shows.
    stage.fake.say(Downward::Ask(Ask {
        segment: true,
        jobs: Vec::new(),
    }));
    let members = loop {
        if let Upward::Segment(Report::Cluster(report)) = stage.fake.next()
            // Nobody, before the leader's first report.
            && !report.members.is_empty()
        {
            break report.members;
        }
    };
    assert_eq!(members[0].0, stage.node);
    stage.fake.say(Downward::Ping(Ping {
        number: 1,
        sent_us: 0,
    }));
    let clock_us = loop {
        if let Upward::Pong(pong) = stage.fake.next() {
            break pong.received_us;
        }
    };
    let [one, two] = [farm("one"), farm("second")];
    let staged = stage.publish("j-1", &shop, None, &one);
    assert_eq!(staged, Outcome::Staged(version(&one)));
    let at_us = Some(clock_us + 200_000);
    let Outcome::Live(receipt) = stage.order(Action::Commit, "j-1", &shop, version(&one), at_us)
    else {
        panic!("it was staged")
    };
    assert_eq!(receipt.served.version, version(&one));
    assert!(receipt.holds(&stage.key), "by the key of its certificate");
    assert_eq!(stage.live("shop")["index"], b"one");
    let hooked = fs::read_to_string(stage.home.path().join("hooked")).unwrap();
    assert_eq!(hooked.trim(), "shop");
    // An update whose download breaks off is resumed, and not begun again.
    stage.fake.break_next();
    let staged = stage.publish("j-2", &shop, Some(&one), &two);
    assert_eq!(staged, Outcome::Staged(version(&two)));
    let ranges = stage.fake.ranges();
    assert!(ranges.iter().any(|from| *from > 0), "{ranges:?}");
    stage.order(Action::Commit, "j-2", &shop, version(&two), None);
    assert_eq!(stage.live("shop")["index"], b"second");
    assert_eq!(stage.live("shop")["large"], noise(6, 3 << 20));
    let Outcome::Live(back) = stage.order(Action::Rollback, "j-3", &shop, version(&one), None)
    else {
        panic!("it is held")
    };
    assert_eq!(back.served.version, version(&one));
    assert_eq!(stage.live("shop")["index"], b"one");
    stage.leave();
}

/// A control server that went away is asked again, and told of what happened meanwhile.
#[test]
fn a_connection_that_broke_is_opened_again() {
    let mut stage = Stage::new(&["shop"]);
    let (shop, one) = (site("shop"), farm("one"));
    stage.publish("j-1", &shop, None, &one);
    stage.fake.cut();
    assert_eq!(stage.greet(), ["j-1".parse().unwrap()]);
    assert_eq!(stage.outcome("j-1"), Outcome::Staged(version(&one)));
    stage.leave();
}

/// Sites that the control server adds are served without a restart.
#[test]
fn what_is_to_be_served_changes_while_the_node_runs() {
    let mut stage = Stage::new(&[]);
    let one = farm("one");
    stage.fake.serve(&["docs"]);
    stage.fake.say(Downward::Settings(stage.fake.number()));
    stage.fake.told_settings();
    let docs = site("docs");
    // The node may still be at its new settings: then it is asked again.
    let staged = stage.publish("j-1", &docs, None, &one);
    assert_eq!(staged, Outcome::Staged(version(&one)));
    stage.order(Action::Commit, "j-1", &docs, version(&one), None);
    assert_eq!(stage.live("docs")["index"], b"one");
    stage.leave();
}

/// A node that starts again takes up what came, and is what it was.
#[test]
fn a_node_that_starts_again_says_what_it_has() {
    let mut stage = Stage::new(&["shop"]);
    let (shop, one) = (site("shop"), farm("one"));
    stage.publish("j-1", &shop, None, &one);
    stage.leave();
    stage.fake.cut();
    stage.agent = Some(run(stage.home.path(), &stage.fake, free_port()));
    assert_eq!(stage.greet(), Vec::<Name>::new());
    assert_eq!(stage.outcome("j-1"), Outcome::Staged(version(&one)));
    stage.order(Action::Commit, "j-1", &shop, version(&one), None);
    assert_eq!(stage.live("shop")["index"], b"one");
    stage.leave();
}

/// Orders of strangers are not carried out, and files that are not what they are called do not count.
#[test]
fn what_the_control_group_did_not_sign_is_refused() {
    let mut stage = Stage::new(&["shop"]);
    let (shop, one) = (site("shop"), farm("one"));
    let trusted = std::mem::replace(&mut stage.fake.signing, fake::stranger());
    let outcome = stage.publish("j-1", &shop, None, &one);
    assert!(
        matches!(&outcome, Outcome::Failed(failure) if failure.kind == FailureKind::Trust),
        "{outcome:?}"
    );
    stage.fake.signing = trusted;
    stage.publish("j-2", &shop, None, &one);
    stage.order(Action::Commit, "j-2", &shop, version(&one), None);
    assert_eq!(stage.live("shop")["index"], b"one");
    stage.leave();
}

/// How long the test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(100);
