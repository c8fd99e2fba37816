//! What runs on the nodes of a segment: election and membership behind sealed datagrams, driven as an agent drives it.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::collections::BTreeMap;
use std::rc::Rc;

use bellwether_election as election;
use bellwether_machine::{Machine, Outbox, Random};
use bellwether_membership::{self as membership, ChangeKind, Measured, Report, Spans};
use bellwether_segment::{self as segment, Event, Kept, Reach, Segment, Settings, Via};
use bellwether_types::{Incarnation, Name, NodeId, Time, Timing};
use bellwether_wire::control::{KeyRing, Rejected, SegmentKey, Sender, StateVersion};

use crate::process::{
    Address, Birth, Channel, Destination, Fact, Input, Kind, Order, Output, Phase, Process,
    SegmentState, View,
};
use crate::scenario::{self, Protocol};

/// A node of a segment, with all that governs it.
#[derive(Debug)]
pub struct Member {
    segment: Segment,
    disk: Disk,
    measured: Option<Measured>,
    /// Found on the disk, until the process starts.
    kept: Vec<u8>,
    inner: Outbox<segment::Output>,
    seen: Seen,
    story: bool,
}

/// What a [`Member`] keeps on disk.
#[derive(Debug, Clone)]
pub struct Disk {
    node: NodeId,
    starts: u64,
    election: election::Memory,
    membership: Rc<[u8]>,
}

/// What all members have in common.
#[derive(Debug)]
pub struct Common {
    timing: Timing,
    spans: Spans,
    profile: election::Profile,
    multicast: bool,
    key: [u8; 32],
}

/// The state of the segment when it was last looked at.
#[derive(Debug, Default)]
struct Seen {
    version: Option<StateVersion>,
    groups: u32,
    /// The latest start of each node that was ever in it, where somebody looks after that.
    starts: Option<BTreeMap<NodeId, Incarnation>>,
}

/// In larger segments the leader alone looks after incarnations: the others hold what it reports.
const WATCHED_BY_ALL_MAX: u32 = 32;

impl Process for Member {
    type Disk = Disk;
    type Common = Common;

    fn common(protocol: &Protocol, seed: u64) -> Common {
        let timing = protocol.spans();
        let timing = timing.expect("scenarios are checked when they are read");
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        Common {
            timing,
            spans: Spans::of(&timing),
            profile: match protocol.profile {
                scenario::Profile::Claim => election::Profile::Claim,
                scenario::Profile::Quiet => election::Profile::Quiet,
            },
            multicast: protocol.reach == scenario::Reach::Multicast,
            key,
        }
    }

    fn start(_: Time, birth: Birth<'_, Self>) -> (Self, Disk) {
        let Common {
            timing,
            spans,
            profile,
            multicast,
            key,
        } = birth.common;
        let mut random = Random::new(birth.seed);
        let mut bits =
            || (u128::from(random.bits()) << 64 | u128::from(random.bits())).to_be_bytes();
        let salt = bits();
        let mut disk = birth.disk.unwrap_or_else(|| Disk {
            node: NodeId::from_bytes(bits()),
            starts: 0,
            election: election::Memory::default(),
            membership: Rc::default(),
        });
        disk.starts += 1;
        let settings = Settings {
            sender: Sender {
                node: disk.node,
                incarnation: Incarnation(disk.starts),
                salt,
            },
            election: election::Settings {
                profile: *profile,
                ..election::Settings::new(disk.node, name("node", birth.node.0), *timing)
            },
            membership: membership::Settings {
                segment: name("segment", birth.segment.start),
                channel: group(Channel::default()),
                spans: spans.clone(),
                members_max: scenario::SEGMENT_NODES_MAX as usize,
            },
            reach: if *multicast {
                Reach::Group
            } else {
                Reach::Peers(birth.first.iter().copied().map(socket).collect())
            },
        };
        let keys = KeyRing::new(SegmentKey::from_bytes(*key));
        let measured = Measured {
            address: socket(birth.node),
            location: String::new(),
            candidate: true,
            // A thousandth of what can be measured, so that equal ones are rare but not unknown.
            priority: birth.priority * 1_000,
            busy: false,
            formats: Default::default(),
            resources: Default::default(),
            holdings: Vec::new(),
            data_port: None,
            serve_port: None,
        };
        let watches = birth.segment.len() <= WATCHED_BY_ALL_MAX as usize;
        let member = Self {
            segment: Segment::new(settings, keys, disk.election, random),
            kept: disk.membership.to_vec(),
            disk: disk.clone(),
            measured: Some(measured),
            inner: Outbox::new(),
            seen: Seen {
                starts: watches.then(BTreeMap::new),
                ..Seen::default()
            },
            story: birth.story,
        };
        (member, disk)
    }

    fn view(&self) -> View {
        let election = self.segment.election();
        let membership = self.segment.membership();
        let state = membership.segment();
        View {
            id: self.disk.node,
            incarnation: Incarnation(self.disk.starts),
            phase: match election.state().phase {
                election::Phase::Known(_) => Phase::Known,
                election::Phase::Unknown { .. } => Phase::Unknown,
                election::Phase::Voting(_) => Phase::Voting,
                election::Phase::Leading(_) => Phase::Leading,
                election::Phase::Conceding(_) => Phase::Conceding,
            },
            obeyed: election.reign().or_else(|| election.state().obeyed),
            registered: membership.is_registered(),
            state: state.version().map(|version| SegmentState {
                version,
                digest: state.digest(),
                members: state.member_count() as u32,
                groups: self.seen.groups,
            }),
        }
    }
}

impl Machine for Member {
    type Input = Input;
    type Output = Output<Disk>;

    fn handle(&mut self, now: Time, input: Input, out: &mut Outbox<Output<Disk>>) {
        let mut forged = false;
        let input = match input {
            Input::Start => segment::Input::Start {
                membership: std::mem::take(&mut self.kept),
            },
            Input::Wake => segment::Input::Wake,
            Input::Order(Order::StepDown) => segment::Input::StepDown,
            Input::Order(Order::Leave) => segment::Input::Leave,
            Input::Order(Order::Move(channel)) => {
                segment::Input::Order(membership::Order::MoveControl(group(channel)))
            }
            Input::Order(Order::SetGroup(number)) => {
                segment::Input::Order(membership::Order::SetGroup {
                    group: name("group", number),
                    channel: SocketAddr::from((DATA, 7_500)),
                    members: vec![self.disk.node],
                })
            }
            Input::Datagram(datagram) => {
                forged = datagram.forged;
                segment::Input::Datagram {
                    via: if datagram.multicast {
                        Via::Multicast
                    } else {
                        Via::Unicast
                    },
                    source: socket(datagram.from),
                    bytes: datagram.bytes.clone(),
                }
            }
        };
        self.give(now, input, forged, out);
        if let Some(measured) = self.measured.take() {
            self.give(now, segment::Input::Measured(measured), false, out);
        }
        self.look(out);
    }

    fn wake_at(&self) -> Option<Time> {
        self.segment.wake_at()
    }
}

impl Member {
    fn give(
        &mut self,
        now: Time,
        input: segment::Input,
        forged: bool,
        out: &mut Outbox<Output<Disk>>,
    ) {
        self.segment.handle(now, input, &mut self.inner);
        let mut inner = std::mem::take(&mut self.inner);
        for output in inner.drain() {
            if let segment::Output::Told(event) = &output
                && self.story
                && !matches!(event, Event::Rejected { .. })
            {
                out.push(Output::Told(Fact::Noted(format!("{event:?}"))));
            }
            if let Some(output) = self.carried_out(output, forged) {
                out.push(output);
            }
        }
        self.inner = inner;
    }

    fn carried_out(&mut self, output: segment::Output, forged: bool) -> Option<Output<Disk>> {
        Some(match output {
            segment::Output::Send { to, kind, datagram } => {
                let to = destination(to)?;
                let unicast = matches!(to, Destination::One(_));
                Output::Send {
                    to,
                    kind: kind_of(kind, unicast),
                    bytes: datagram,
                }
            }
            segment::Output::Persist(Kept::Election(memory)) => {
                self.disk.election = memory;
                Output::Persist(self.disk.clone())
            }
            segment::Output::Persist(Kept::Membership(bytes)) => {
                self.disk.membership = bytes.into();
                Output::Persist(self.disk.clone())
            }
            segment::Output::Control(control) => match destination(control)? {
                Destination::All(channel) => Output::Listen(channel),
                Destination::One(_) => Output::Told(Fact::Amiss(format!(
                    "the control channel is no group: {control}"
                ))),
            },
            segment::Output::Report(report) => Output::Told(fact_of(&report)),
            segment::Output::Told(event) => return told(event, forged),
            segment::Output::Join { .. }
            | segment::Output::Quit { .. }
            | segment::Output::Reign(_)
            | segment::Output::Transfer { .. }
            | segment::Output::Heartbeat { .. } => return None,
        })
    }

    /// A node's start never gives way to an earlier one in what all know.
    fn look(&mut self, out: &mut Outbox<Output<Disk>>) {
        let membership = self.segment.membership();
        let state = membership.segment();
        if state.version() == self.seen.version {
            return;
        }
        self.seen.version = state.version();
        self.seen.groups = state.groups().count() as u32;
        if self.segment.election().leads() {
            self.seen.starts.get_or_insert_default();
        }
        let Some(starts) = &mut self.seen.starts else {
            return;
        };
        for (node, record) in membership.members() {
            if let Some(later) = starts
                .get(&node)
                .filter(|known| **known > record.incarnation)
            {
                let earlier = record.incarnation;
                out.push(Output::Told(Fact::Amiss(format!(
                    "start {earlier} of node {node} took the place of start {later}"
                ))));
            }
            // Until it is in a report, what it heard may be a recording, and does not bind it.
            if membership.is_registered() {
                starts.insert(node, record.incarnation);
            }
        }
    }
}

fn told(event: Event, forged: bool) -> Option<Output<Disk>> {
    let amiss = |what: String| Some(Output::Told(Fact::Amiss(what)));
    match event {
        Event::Membership(membership::Event::Merged(merge, version)) => {
            Some(Output::Told(Fact::Merged { merge, version }))
        }
        Event::Membership(membership::Event::Left) => Some(Output::Ended),
        Event::Membership(membership::Event::BadPage(from, why)) => {
            amiss(format!("a page of node {from} cannot be: {why}"))
        }
        Event::TooLong(len) => amiss(format!("a datagram of {len} bytes is too long")),
        Event::Rejected { reason, .. } => match reason {
            // Copies, latecomers, and words to who lived at this address before.
            Rejected::Replayed { .. }
            | Rejected::OlderIncarnation { .. }
            | Rejected::AnotherNode { .. }
            | Rejected::OwnEcho => None,
            _ if forged => None,
            reason => amiss(format!("a node's datagram was rejected: it {reason}")),
        },
        Event::Election(_) | Event::Membership(_) | Event::MulticastLost | Event::MulticastBack => {
            None
        }
    }
}

fn fact_of(report: &Report) -> Fact {
    let number = report.number();
    let (epoch, sequence) = (number.epoch, number.sequence);
    let (came, went) = match report {
        Report::Cluster(report) => (
            report.members.iter().map(|(node, _)| *node).collect(),
            vec![],
        ),
        Report::Change(report) => {
            let gone = |kind| matches!(kind, ChangeKind::Left | ChangeKind::Failed);
            let nodes = report
                .changes
                .iter()
                .map(|change| (change.node, gone(change.kind)));
            let (went, came): (Vec<_>, Vec<_>) = nodes.partition(|(_, gone)| *gone);
            let ids =
                |nodes: Vec<(NodeId, bool)>| nodes.into_iter().map(|(node, _)| node).collect();
            (ids(came), ids(went))
        }
    };
    Fact::Reported {
        epoch,
        sequence,
        whole: matches!(report, Report::Cluster(_)),
        came,
        went,
    }
}

fn kind_of(kind: segment::Kind, unicast: bool) -> Kind {
    match kind {
        segment::Kind::Heartbeat if unicast => Kind::Probe,
        segment::Kind::Heartbeat => Kind::Alive,
        segment::Kind::Claim => Kind::Claim,
        segment::Kind::Question => Kind::Probe,
        segment::Kind::Registration => Kind::Registration,
        segment::Kind::Presence => Kind::Presence,
        segment::Kind::Report => Kind::Report,
        segment::Kind::Merge => Kind::Merge,
        segment::Kind::Channel | segment::Kind::Introduction | segment::Kind::Transfer => {
            Kind::Other
        }
    }
}

const NODES: [u8; 2] = [10, 0];
const GROUPS: [u8; 3] = [239, 66, 0];
const DATA: [u8; 4] = [239, 67, 0, 1];

fn name(what: &str, number: u32) -> Name {
    let name = format!("{what}-{number:06}");
    name.parse().expect("letters, digits and a dash")
}

fn socket(Address(node): Address) -> SocketAddr {
    let bits = u32::from_be_bytes([NODES[0], NODES[1], 0, 1]) + node;
    SocketAddr::from((Ipv4Addr::from_bits(bits), 7_401))
}

fn group(Channel(number): Channel) -> SocketAddr {
    let [a, b, c] = GROUPS;
    SocketAddr::from(([a, b, c, number], 7_400))
}

/// What an address stands for in the simulation; nothing, if nobody is there.
fn destination(to: SocketAddr) -> Option<Destination> {
    let IpAddr::V4(ip) = to.ip() else {
        return None;
    };
    if ip.is_multicast() {
        return Some(Destination::All(Channel(ip.octets()[3])));
    }
    let node = ip
        .to_bits()
        .checked_sub(u32::from_be_bytes([NODES[0], NODES[1], 0, 1]))?;
    Some(Destination::One(Address(node)))
}
