//! The lab: makes segments and hosts, sets what is wrong between them, and clears everything away.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::fault::{self, Fault};
use crate::host::{Host, Interface};
use crate::namespace::{Lifeline, Namespace, Privilege};
use crate::place::Place;
use crate::shape::{self, Shape};
use crate::transcript::Transcript;
use crate::until;

/// Far more than it takes.
const PORTS_UP: Duration = Duration::from_secs(10);

/// Runs a test in a lab of its own. Where there can be none, says so and returns.
///
/// # Panics
/// When the test fails, after all that its programs printed has been shown.
pub fn in_lab(test: impl FnOnce(&mut Lab) -> Result<()>) {
    let mut lab = match Lab::open() {
        Ok(lab) => lab,
        Err(reason)
            if std::env::var_os("BELLWETHER_LAB").is_some_and(|word| word == "required") =>
        {
            panic!("no lab, and BELLWETHER_LAB=required: {reason}")
        }
        Err(reason) => {
            eprintln!("skipped: {reason}");
            return;
        }
    };
    if let Err(error) = test(&mut lab) {
        // The lab is dropped on the way, and reports.
        panic!("{error:#}");
    }
}

/// A network, and what runs in it. Dropped, it is gone without a trace.
#[derive(Debug)]
pub struct Lab {
    switch: Namespace,
    segments: u8,
    hosts: Vec<Host>,
    faults: usize,
    can_delay: bool,
    lifeline: Arc<Lifeline>,
    transcripts: Arc<Mutex<Vec<Arc<Transcript>>>>,
    started: Instant,
    /// Last, so that others get in when everything else is gone.
    place: Place,
}

/// A network segment: hosts that are plugged into the same one hear each other's multicast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment(u8);

/// Why there is no lab.
#[derive(Debug)]
pub struct Unavailable(anyhow::Error);

impl std::fmt::Display for Unavailable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "no network lab on this machine: {:#}", self.0)
    }
}

impl std::error::Error for Unavailable {}

impl Lab {
    /// A lab with what rights we have; waits for its turn.
    pub fn open() -> Result<Self, Unavailable> {
        Self::open_with(&[Privilege::Own, Privilege::UserNamespace])
    }

    /// A lab with the first of these rights that we have.
    pub fn open_with(privileges: &[Privilege]) -> Result<Self, Unavailable> {
        Self::try_open(privileges).map_err(Unavailable)
    }

    fn try_open(privileges: &[Privilege]) -> Result<Self> {
        let place = Place::take()?;
        let lifeline = Arc::new(Lifeline::new()?);
        let switch = first_namespace(privileges, &lifeline)?;
        probe(&switch)?;
        Ok(Self {
            can_delay: shape::probe_delay(&switch).is_ok(),
            switch,
            segments: 0,
            hosts: Vec::new(),
            faults: 0,
            lifeline,
            transcripts: Arc::default(),
            started: Instant::now(),
            place,
        })
    }

    /// Whether links can be made longer here ([`Shape::delay`]).
    pub fn can_delay(&self) -> bool {
        self.can_delay
    }

    /// For files of the test; empty at first, and deleted in the end.
    pub fn folder(&self) -> &Path {
        self.place.scratch()
    }

    /// A new segment, whose switch floods multicast to every port.
    pub fn segment(&mut self) -> Result<Segment> {
        ensure!(self.segments < 200, "200 segments are enough");
        self.segments += 1;
        let segment = Segment(self.segments);
        let bridge = segment.bridge();
        let lines = format!(
            "link add {bridge} type bridge stp_state 0 forward_delay 0 mcast_snooping 0 \
             mcast_query_response_interval 100 mcast_startup_query_interval 100\n\
             link set {bridge} up\n"
        );
        self.switch.run(&["ip", "-batch", "-"], &lines)?;
        Ok(segment)
    }

    /// With snooping the switch sends multicast only to ports that asked for the group, and asks them itself who
    /// wants what. (A switch of Linux that nobody asks on behalf of floods all the same; one that does not, as some
    /// are, is a [`Fault`] of [`crate::Traffic::Multicast`].)
    pub fn set_snooping(&self, segment: Segment, on: bool) -> Result<()> {
        let on = u8::from(on);
        let bridge = segment.bridge();
        let line =
            format!("link set {bridge} type bridge mcast_snooping {on} mcast_querier {on}\n");
        self.switch.run(&["ip", "-batch", "-"], &line).map(drop)
    }

    /// New hosts in a segment, `h1`, `h2`, … in the order of their addresses.
    pub fn hosts(&mut self, count: usize, segment: Segment) -> Result<Vec<Host>> {
        let first = self.hosts.len() + 1;
        let plans = (first..first + count).map(|number| (format!("h{number}"), vec![segment]));
        self.plug(plans.collect())
    }

    /// A new host with an interface in each of these segments.
    pub fn host(&mut self, name: &str, segments: &[Segment]) -> Result<Host> {
        ensure!(!segments.is_empty(), "host {name} is in no segment");
        let mut hosts = self.plug(vec![(name.to_owned(), segments.to_vec())])?;
        hosts.pop().context("a host was made")
    }

    /// All hosts at once, because most of the time goes into starting tools.
    fn plug(&mut self, plans: Vec<(String, Vec<Segment>)>) -> Result<Vec<Host>> {
        let (mut cables, mut moves, mut ends) = (String::new(), String::new(), Vec::new());
        let mut made = Vec::new();
        for (name, segments) in plans {
            let number = self.hosts.len() + made.len() + 1;
            let namespace = self.switch.another(&self.lifeline)?;
            let mut interfaces = Vec::new();
            for (plug, segment) in segments.into_iter().enumerate() {
                let interface = segment.interface(number, plug)?;
                let (port, end) = (&interface.port, format!("c{number}-{plug}"));
                cables += &format!(
                    "link add {port} type veth peer name {end}\n\
                     link set {port} master {} up\n\
                     link set {end} addrgenmode none\n",
                    segment.bridge()
                );
                let holder = namespace.id();
                moves += &format!("link set {end} netns {holder} name {}\n", interface.name);
                ends.extend([port.clone(), end]);
                interfaces.push(interface);
            }
            let (lifeline, transcripts) = (&self.lifeline, &self.transcripts);
            made.push(Host::new(
                name,
                interfaces,
                namespace,
                Arc::clone(lifeline),
                Arc::clone(transcripts),
            ));
        }
        self.switch.run(&["ip", "-batch", "-"], &cables)?;
        self.switch.run(&["sh", "-e"], &offloads_off(&ends))?;
        self.switch.run(&["ip", "-batch", "-"], &moves)?;
        for host in &made {
            host.bring_up()?;
        }
        self.await_ports(&made)?;
        self.hosts.extend_from_slice(&made);
        Ok(made)
    }

    /// The switch lets nothing through a port before it has seen, some time later, that the other end is up.
    fn await_ports(&self, hosts: &[Host]) -> Result<()> {
        until("all ports of the switch forward", PORTS_UP, || {
            let table = self.switch.run(&["bridge", "link", "show"], "");
            table.is_ok_and(|table| {
                let forwarding: BTreeSet<_> = table.lines().filter_map(forwarding_port).collect();
                let mut ports = hosts.iter().flat_map(Host::ports);
                ports.all(|port| forwarding.contains(port))
            })
        })
    }

    /// Makes the host's cables so, in both directions.
    pub fn shape(&self, host: &Host, shape: Shape) -> Result<()> {
        if !shape.delay.is_zero() && !self.can_delay {
            bail!("this kernel has no netem, so links cannot be made longer");
        }
        let all = |names: Vec<&str>| names.into_iter().map(|name| shape.lines(name)).collect();
        let ports: String = all(host.ports().collect());
        let interfaces: String = all(host.interfaces().iter().map(|one| &*one.name).collect());
        self.switch.run(&["tc", "-batch", "-"], &ports)?;
        host.feed(&["tc", "-batch", "-"], &interfaces).map(drop)
    }

    /// The largest packet on the host's cables, in bytes.
    pub fn set_mtu(&self, host: &Host, mtu: u16) -> Result<()> {
        let all = |names: Vec<&str>| {
            let lines = names.into_iter();
            lines
                .map(|name| format!("link set {name} mtu {mtu}\n"))
                .collect()
        };
        let ports: String = all(host.ports().collect());
        let interfaces: String = all(host.interfaces().iter().map(|one| &*one.name).collect());
        self.switch.run(&["ip", "-batch", "-"], &ports)?;
        host.feed(&["ip", "-batch", "-"], &interfaces).map(drop)
    }

    /// Pulls the host's cables out of the switch: the host sees its interfaces lose their carrier.
    pub fn unplug(&self, host: &Host) -> Result<()> {
        self.set_ports(host, "down")
    }

    /// Plugs them in again.
    pub fn replug(&self, host: &Host) -> Result<()> {
        self.set_ports(host, "up")
    }

    fn set_ports(&self, host: &Host, state: &str) -> Result<()> {
        let lines: String = host
            .ports()
            .map(|port| format!("link set {port} {state}\n"))
            .collect();
        self.switch.run(&["ip", "-batch", "-"], &lines).map(drop)
    }

    /// Exactly these faults from now on, whatever there were before; an empty list heals the network.
    pub fn set_faults(&mut self, faults: &[Fault]) -> Result<()> {
        fault::replace(&self.switch, faults)?;
        self.faults = faults.len();
        Ok(())
    }

    /// How many frames each of the present faults has taken; a frame to a group counts for each host it would reach.
    pub fn lost(&self) -> Result<Vec<u64>> {
        fault::taken(&self.switch, self.faults)
    }

    /// Processes that hold the lab together, by their ids.
    pub fn holders(&self) -> Vec<i32> {
        std::iter::once(self.switch.id())
            .chain(self.hosts.iter().map(Host::holder))
            .collect()
    }

    pub fn privilege(&self) -> Privilege {
        self.switch.privilege()
    }
}

/// What the programs said, when the test fails.
impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let transcripts = self
                .transcripts
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            for transcript in transcripts.iter() {
                eprint!("{}", transcript.report(self.started));
            }
        }
    }
}

impl Segment {
    fn bridge(self) -> String {
        format!("br{}", self.0)
    }

    /// Of the host with this number, from 1: addresses rise with it.
    fn interface(self, host: usize, plug: usize) -> Result<Interface> {
        let host = u16::try_from(host).context("too many hosts")?;
        let (high, low) = (host / 250, host % 250 + 1);
        let (segment, high, low) = (self.0, u8::try_from(high)?, u8::try_from(low)?);
        Ok(Interface {
            name: format!("eth{plug}"),
            port: format!("p{host}-{plug}"),
            ipv4: Ipv4Addr::new(10, segment, high, low),
            ipv6: Ipv6Addr::new(0xfd77, 0, 0, segment.into(), 0, 0, 0, host),
            link_local: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, host),
        })
    }
}

/// Of a line like `3: p1-0@if4: <BROADCAST,UP> mtu 1500 master br1 state forwarding priority 32 cost 2`.
fn forwarding_port(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once(": ")?;
    let (port, rest) = rest.split_once('@')?;
    rest.contains("state forwarding").then_some(port)
}

/// Segments as they come out of the switch: one packet, one frame.
fn offloads_off(interfaces: &[String]) -> String {
    let features = "tso off gso off gro off tx-udp-segmentation off";
    // Which of these can be set at all differs between kernels, and ethtool fails if one cannot.
    format!(
        "for i in {}; do ethtool -K $i {features} >/dev/null 2>&1 || true; done\n",
        interfaces.join(" ")
    )
}

fn first_namespace(privileges: &[Privilege], lifeline: &Lifeline) -> Result<Namespace> {
    let mut refusals = Vec::new();
    for privilege in privileges {
        match Namespace::first(*privilege, lifeline) {
            Ok(namespace) => return Ok(namespace),
            Err(error) => refusals.push(match privilege {
                Privilege::Own => format!("this process may not make network namespaces ({error})"),
                Privilege::UserNamespace => {
                    format!("nor may this user make user namespaces ({error})")
                }
            }),
        }
    }
    bail!(
        "{}; run as root, or allow user namespaces (sysctl user.max_user_namespaces, and what the distribution adds)",
        refusals.join(", ")
    )
}

/// Fails where something is missing that every lab needs.
fn probe(switch: &Namespace) -> Result<()> {
    for (tool, package) in [
        ("ip", "iproute2"),
        ("tc", "iproute2"),
        ("nft", "nftables"),
        ("ethtool", "ethtool"),
    ] {
        switch
            .run(&["sh", "-c", "command -v \"$0\" >/dev/null", tool], "")
            .with_context(|| format!("{tool} is not installed (Debian: {package})"))?;
    }
    let lines = "link set lo up\nlink add probe type bridge\nlink add one type veth peer name two\n\
                 link set one master probe\nlink del one\nlink del probe\n";
    switch
        .run(&["ip", "-batch", "-"], lines)
        .context("this kernel lets us make no bridge")?;
    fault::probe(switch)?;
    shape::probe_rate(switch).context("this kernel cannot limit a rate (tbf)")
}
