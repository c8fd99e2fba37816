//! A segment in virtual time: nodes with membership alone, whose leaders the test appoints. Heartbeats, loss,
//! reordering, partitions, crashes and restarts all come from one seed.

use core::net::SocketAddr;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::rc::Rc;
use std::time::Duration;

use bellwether_machine::{Machine, Outbox, Random};
use bellwether_membership::{
    Event, Identity, Input, Measured, Membership, Order, Output, Report, Settings, Spans, To,
};
use bellwether_types::{Classic, Epoch, Fast, Incarnation, Name, NodeId, Time, Timing};
use bellwether_wire::control::{
    Carried, FormatRange, Formats, MembershipMessage, Record, Resources,
};

/// What the payload of a datagram must fit.
pub(crate) const PAYLOAD_LEN_MAX: usize = 1_200;

pub(crate) struct Network {
    pub(crate) now: Time,
    pub(crate) nodes: Vec<Node>,
    pub(crate) random: Random,
    pub(crate) loss_per_million: u32,
    pub(crate) settings: Settings,
    /// Datagrams sent, by kind.
    pub(crate) sent: BTreeMap<&'static str, u64>,
    pub(crate) bytes: u64,
    /// Registrations by the millisecond they were sent in.
    pub(crate) registrations: Vec<u64>,
    pub(crate) watch: Option<Watch>,
    queue: BinaryHeap<Reverse<(Time, u64, Due)>>,
    number: u64,
    counter: u64,
    seed: u64,
}

/// What becomes of a message that a node sends.
pub(crate) type Watch = Box<dyn FnMut(usize, To, &MembershipMessage) -> Fate>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It goes its way.
    Leaves,
    /// The sender dies before it.
    Dies,
    /// The sender dies at it; every other receiver gets it.
    ReachesHalf,
    /// It is lost on its way.
    Lost,
}

pub(crate) struct Node {
    pub(crate) machine: Membership,
    pub(crate) identity: Identity,
    pub(crate) alive: bool,
    /// Nodes hear those of the same side only.
    pub(crate) side: u8,
    pub(crate) control: SocketAddr,
    pub(crate) epoch: Option<Epoch>,
    pub(crate) leads: bool,
    pub(crate) carried: Carried,
    pub(crate) kept: Vec<u8>,
    pub(crate) events: Vec<(Time, Event)>,
    pub(crate) reports: Vec<Report>,
    pub(crate) data_channels: BTreeMap<Name, SocketAddr>,
    pub(crate) rosters: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Deliver {
        to: usize,
        from: usize,
        incarnation: u64,
        bytes: Rc<[u8]>,
    },
    Beat {
        leader: usize,
        epoch: (u64, usize),
    },
    Hear {
        to: usize,
        leader: usize,
        counter: u64,
        carried: Vec<u8>,
    },
    Wake {
        node: usize,
    },
}

pub(crate) fn node_id(number: usize) -> NodeId {
    // Spread, so that the order of ids is not that of names.
    let bits = (number as u128 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
    NodeId::from_bytes(bits.to_be_bytes())
}

pub(crate) fn name(number: usize) -> Name {
    format!("n{number:04}").parse().unwrap()
}

pub(crate) fn channel(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(crate) fn fast() -> Spans {
    let set = Fast {
        heartbeat: Duration::from_millis(100),
        ..Fast::default()
    };
    Spans::of(&Timing::fast(set).unwrap())
}

pub(crate) fn classic() -> Spans {
    Spans::of(&Timing::classic(Classic::default()).unwrap())
}

pub(crate) fn settings(spans: Spans) -> Settings {
    Settings {
        segment: "lan".parse().unwrap(),
        channel: channel("239.1.1.1:7000"),
        spans,
        members_max: 4_096,
    }
}

pub(crate) fn measured(number: usize) -> Measured {
    let range = FormatRange {
        lowest: 1,
        highest: 1,
    };
    let host = u8::try_from(number % 250).unwrap();
    let net = u8::try_from(number / 250).unwrap();
    Measured {
        address: SocketAddr::from(([10, 0, net, host], 7001)),
        location: "Europe/Berlin".into(),
        candidate: true,
        priority: 100,
        busy: false,
        formats: Formats {
            control: range,
            frame: range,
            assignment: range,
        },
        resources: Resources {
            disk_free_bytes: 1 << 38,
            cpu_millicores: 4_000,
            connections: 120,
        },
        holdings: Vec::new(),
        data_port: None,
        serve_port: None,
    }
}

impl Network {
    /// So many nodes that start now, all on one side.
    pub(crate) fn new(count: usize, spans: Spans, loss_per_million: u32, seed: u64) -> Self {
        let mut network = Self {
            now: Time::ZERO,
            nodes: Vec::new(),
            random: Random::new(seed),
            loss_per_million,
            settings: settings(spans),
            sent: BTreeMap::new(),
            bytes: 0,
            registrations: Vec::new(),
            watch: None,
            queue: BinaryHeap::new(),
            number: 0,
            counter: 0,
            seed,
        };
        for _ in 0..count {
            network.add();
        }
        network
    }

    /// Another node starts.
    pub(crate) fn add(&mut self) -> usize {
        let number = self.nodes.len();
        let identity = Identity {
            node: node_id(number),
            incarnation: Incarnation(1),
            name: name(number),
        };
        let machine = self.machine(&identity);
        self.nodes.push(Node {
            machine,
            identity,
            alive: true,
            side: 0,
            control: self.settings.channel,
            epoch: None,
            leads: false,
            carried: Carried::default(),
            kept: Vec::new(),
            events: Vec::new(),
            reports: Vec::new(),
            data_channels: BTreeMap::new(),
            rosters: 0,
        });
        self.input(number, Input::Start { kept: Vec::new() });
        self.input(number, Input::Measured(measured(number)));
        number
    }

    fn machine(&self, identity: &Identity) -> Membership {
        let seed = self.seed
            ^ u64::from_be_bytes(identity.node.as_bytes()[..8].try_into().unwrap())
            ^ identity.incarnation.0;
        Membership::new(identity.clone(), self.settings.clone(), Random::new(seed))
    }

    /// A node of this number with other settings.
    pub(crate) fn machine_with(&self, number: usize, settings: Settings) -> Membership {
        let identity = self.nodes[number].identity.clone();
        Membership::new(identity, settings, Random::new(number as u64))
    }

    pub(crate) fn kill(&mut self, number: usize) {
        self.nodes[number].alive = false;
        self.nodes[number].leads = false;
    }

    /// To the configured channel all listen.
    fn listens(&self, node: &Node, channel: SocketAddr) -> bool {
        channel == node.control || channel == self.settings.channel
    }

    /// The node starts again under its old id.
    pub(crate) fn restart(&mut self, number: usize) {
        let mut identity = self.nodes[number].identity.clone();
        identity.incarnation.0 += 1;
        let machine = self.machine(&identity);
        let node = &mut self.nodes[number];
        node.identity = identity;
        node.machine = machine;
        (node.alive, node.leads, node.epoch) = (true, false, None);
        let kept = node.kept.clone();
        self.input(number, Input::Start { kept });
        self.input(number, Input::Measured(measured(number)));
    }

    /// `leader` leads its side from now on; the others learn it from its first heartbeat.
    pub(crate) fn appoint(&mut self, leader: usize) -> Epoch {
        self.counter += 1;
        let epoch = Epoch {
            counter: self.counter,
            leader: node_id(leader),
        };
        let node = &mut self.nodes[leader];
        (node.leads, node.epoch) = (true, Some(epoch));
        self.input(leader, Input::Leading(epoch));
        self.push(
            self.now,
            Due::Beat {
                leader,
                epoch: (self.counter, leader),
            },
        );
        epoch
    }

    /// All of a side lose their leader.
    pub(crate) fn depose(&mut self, side: u8) {
        for number in 0..self.nodes.len() {
            if self.nodes[number].side == side && self.nodes[number].alive {
                self.nodes[number].leads = false;
                self.input(number, Input::Leaderless);
            }
        }
    }

    pub(crate) fn order(&mut self, leader: usize, order: Order) {
        self.input(leader, Input::Order(order));
    }

    pub(crate) fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        self.run_until(end, |_| false);
        self.now = end;
    }

    /// Runs until the condition holds, and says how long that took; fails after `limit`.
    pub(crate) fn run_to(
        &mut self,
        limit: Duration,
        mut holds: impl FnMut(&Self) -> bool,
    ) -> Duration {
        let start = self.now;
        let end = start + limit;
        assert!(
            self.run_until(end, &mut holds),
            "seed {}: not within {limit:?}; sent {:?}\n{}",
            self.seed,
            self.sent,
            self.story()
        );
        self.now.since(start)
    }

    fn run_until(&mut self, end: Time, mut holds: impl FnMut(&Self) -> bool) -> bool {
        let mut checked = self.now;
        if holds(self) {
            return true;
        }
        while let Some(Reverse((at, _, _))) = self.queue.peek() {
            if *at > end {
                return false;
            }
            let Reverse((at, _, due)) = self.queue.pop().unwrap();
            self.now = at;
            self.pass(due);
            // Conditions look at all nodes, so not after every event.
            let next = self.queue.peek().map_or(end, |Reverse((at, _, _))| *at);
            if next.since(checked) >= Duration::from_millis(2) {
                checked = self.now;
                if holds(self) {
                    return true;
                }
            }
        }
        holds(self)
    }

    fn pass(&mut self, due: Due) {
        match due {
            Due::Wake { node } => {
                let at = self.nodes[node].machine.wake_at();
                if self.nodes[node].alive && at.is_some_and(|at| at <= self.now) {
                    self.input(node, Input::Wake);
                }
            }
            Due::Deliver {
                to,
                from,
                incarnation,
                bytes,
            } => {
                if self.hears(to, from) {
                    let message = minicbor::decode(&bytes).expect("what was encoded is decoded");
                    self.input(
                        to,
                        Input::Message {
                            from: node_id(from),
                            incarnation: Incarnation(incarnation),
                            message,
                        },
                    );
                }
            }
            Due::Beat { leader, epoch } => {
                let node = &self.nodes[leader];
                if !node.alive || !node.leads || node.epoch.map(|e| e.counter) != Some(epoch.0) {
                    return;
                }
                let carried = minicbor::to_vec(&node.carried).unwrap();
                let control = node.control;
                for to in 0..self.nodes.len() {
                    if to != leader && self.listens(&self.nodes[to], control) {
                        let delay = self.delay();
                        if let Some(delay) = delay {
                            self.push(
                                self.now + delay,
                                Due::Hear {
                                    to,
                                    leader,
                                    counter: epoch.0,
                                    carried: carried.clone(),
                                },
                            );
                        }
                    }
                }
                let next = self.now + self.settings.spans.heartbeat;
                self.push(next, Due::Beat { leader, epoch });
            }
            Due::Hear {
                to,
                leader,
                counter,
                carried,
            } => {
                if !self.hears(to, leader) {
                    return;
                }
                let epoch = Epoch {
                    counter,
                    leader: node_id(leader),
                };
                let known = self.nodes[to].epoch;
                if known.is_some_and(|known| known > epoch) {
                    return;
                }
                if known != Some(epoch) {
                    self.nodes[to].epoch = Some(epoch);
                    self.nodes[to].leads = false;
                }
                self.input(to, Input::Following(epoch));
                self.input(to, Input::Carried(minicbor::decode(&carried).unwrap()));
            }
        }
    }

    fn hears(&self, to: usize, from: usize) -> bool {
        self.nodes[to].alive && self.nodes[to].side == self.nodes[from].side
    }

    fn delay(&mut self) -> Option<Duration> {
        if self.random.chance(self.loss_per_million) {
            return None;
        }
        let delay = Duration::from_micros(200) + self.random.span(Duration::from_micros(800));
        Some(delay + self.random.span(Duration::from_millis(2)))
    }

    fn push(&mut self, at: Time, due: Due) {
        self.number += 1;
        self.queue.push(Reverse((at, self.number, due)));
    }

    pub(crate) fn input(&mut self, number: usize, input: Input) {
        let mut out = Outbox::new();
        let now = self.now;
        self.nodes[number].machine.handle(now, input, &mut out);
        let outputs: Vec<Output> = out.drain().collect();
        for output in outputs {
            // Whoever died at one message sends no other.
            if self.nodes[number].alive {
                self.carry_out(number, output);
            }
        }
        if let Some(at) = self.nodes[number].machine.wake_at() {
            let at = at.max(self.now);
            self.push(at, Due::Wake { node: number });
        }
    }

    fn carry_out(&mut self, number: usize, output: Output) {
        let node = &mut self.nodes[number];
        match output {
            Output::Send { to, message } => self.send(number, to, &message),
            Output::Persist(bytes) => node.kept = bytes,
            Output::Carry(carried) => node.carried = carried,
            Output::Roster => node.rosters += 1,
            Output::Report(report) => node.reports.push(report),
            Output::Control(control) => node.control = control,
            Output::Join { group, channel } => {
                node.data_channels.insert(group, channel);
            }
            Output::Quit { group } => {
                node.data_channels.remove(&group);
            }
            Output::Told(event) => node.events.push((self.now, event)),
        }
    }

    fn send(&mut self, from: usize, to: To, message: &MembershipMessage) {
        let fate = match &mut self.watch {
            Some(watch) => watch(from, to, message),
            None => Fate::Leaves,
        };
        match fate {
            Fate::Leaves => {}
            Fate::Dies => return self.kill(from),
            Fate::ReachesHalf => self.kill(from),
            Fate::Lost => return,
        }
        let bytes: Rc<[u8]> = minicbor::to_vec(message).unwrap().into();
        assert!(
            bytes.len() <= PAYLOAD_LEN_MAX,
            "{} bytes: {message:?}",
            bytes.len()
        );
        *self.sent.entry(kind(message)).or_insert(0) += 1;
        self.bytes += bytes.len() as u64;
        if matches!(message, MembershipMessage::Register(_)) {
            let milli = usize::try_from(self.now.as_nanos() / 1_000_000).unwrap();
            self.registrations
                .resize(self.registrations.len().max(milli + 1), 0);
            self.registrations[milli] += 1;
        }
        let listens = |node: &Node, number: usize| match to {
            To::All => number != from && self.listens(node, self.nodes[from].control),
            To::Channel(channel) => number != from && self.listens(node, channel),
            To::Node(id) => node.identity.node == id,
        };
        let receivers: Vec<usize> = (0..self.nodes.len())
            .filter(|number| listens(&self.nodes[*number], *number))
            .collect();
        let incarnation = self.nodes[from].identity.incarnation.0;
        for (place, to) in receivers.into_iter().enumerate() {
            if fate == Fate::ReachesHalf && place % 2 == 1 {
                continue;
            }
            if let Some(delay) = self.delay() {
                self.push(
                    self.now + delay,
                    Due::Deliver {
                        to,
                        from,
                        incarnation,
                        bytes: bytes.clone(),
                    },
                );
            }
        }
    }

    pub(crate) fn alive(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.alive)
    }

    /// Do all who live on a side hold the same state, with all of them in it and nobody else?
    pub(crate) fn agrees(&self, side: u8) -> bool {
        let count = self.alive().filter(|node| node.side == side).count();
        let mut here = self.alive().filter(|node| node.side == side);
        self.living_agree(side) && here.all(|node| node.machine.segment().member_count() == count)
    }

    /// As `agrees`; the dead may still be in it.
    pub(crate) fn living_agree(&self, side: u8) -> bool {
        let mut here = self.alive().filter(|node| node.side == side);
        let Some(first) = here.next() else {
            return true;
        };
        let segment = first.machine.segment();
        first.machine.is_registered()
            && here.all(|node| {
                let own = node.machine.segment();
                node.machine.is_registered()
                    && own.version() == segment.version()
                    && own.digest() == segment.digest()
                    && own
                        .record(node.identity.node)
                        .map(|record| record.incarnation)
                        == Some(node.identity.incarnation)
            })
    }

    /// Whatever is claimed to be equal is equal, entry by entry.
    pub(crate) fn assert_equal_states(&self, side: u8) {
        let mut here = self.alive().filter(|node| node.side == side);
        let first = here.next().unwrap();
        for node in here {
            assert!(
                first
                    .machine
                    .segment()
                    .entries()
                    .eq(node.machine.segment().entries()),
                "{} and {} differ",
                first.identity.name,
                node.identity.name
            );
        }
    }

    pub(crate) fn count(&self, kind: &str) -> u64 {
        self.sent.get(kind).copied().unwrap_or(0)
    }

    pub(crate) fn forget_counts(&mut self) {
        self.sent.clear();
        self.bytes = 0;
        self.registrations.clear();
    }

    pub(crate) fn record(&self, at: usize, of: usize) -> Option<&Record> {
        self.nodes[at].machine.segment().record(node_id(of))
    }

    /// What each node says of itself, for whoever reads why a test failed.
    pub(crate) fn story(&self) -> String {
        let lines = self.nodes.iter().take(12).map(|node| {
            let segment = node.machine.segment();
            let last: Vec<String> = node.events.iter().rev().take(4).map(|(at, event)| format!("{at} {event:?}")).collect();
            let exchange = node.machine.state().exchange();
            format!(
                "{}{}{} side {} obeys {:?}: {:?}, {} members, registered {}, exchange {:?}, timers {:?}; {}",
                node.identity.name,
                if node.alive { "" } else { " (dead)" },
                if node.leads { " leads" } else { "" },
                node.side,
                node.epoch.map(|epoch| epoch.counter),
                segment.version().map(|version| (version.epoch.counter, version.sequence)),
                segment.member_count(),
                node.machine.is_registered(),
                exchange.map(|exchange| (exchange.stage(), exchange.round(), exchange.indicator())),
                node.machine.timers().map(|(at, timer)| format!("{timer:?} {at}")).collect::<Vec<_>>(),
                last.join(" <- ")
            )
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

pub(crate) fn kind(message: &MembershipMessage) -> &'static str {
    match message {
        MembershipMessage::Register(_) => "register",
        MembershipMessage::Refresh(_) => "refresh",
        MembershipMessage::Inquiry(_) => "inquiry",
        MembershipMessage::Leave(_) => "leave",
        MembershipMessage::Report(_) => "report",
        MembershipMessage::Ask(_) => "ask",
        MembershipMessage::Move(_) => "move",
        MembershipMessage::Request(_) => "request",
        MembershipMessage::Data(_) => "data",
        MembershipMessage::Ack(_) => "ack",
        MembershipMessage::Round(_) => "round",
        MembershipMessage::Nack(_) => "nack",
    }
}
