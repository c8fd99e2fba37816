use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};

use bellwether_election::{
    Election, Input, Memory, Output, Phase, Profile, Ranking, Settings, Timer, To,
};
use bellwether_machine::{Machine, Outbox};
use bellwether_types::{Epoch, Fast, Name, NodeId, Time, Timing};
use bellwether_wire::control::ElectionMessage;
use stateright::{Model, Property};

/// The elections of a small segment.
#[derive(Debug, Clone)]
pub struct ElectionModel {
    /// How many nodes; the first is the strongest.
    pub nodes: u8,
    /// In which profile.
    pub profile: Profile,
    /// How far to go.
    pub bounds: Bounds,
    /// Whether a node finds on its disk what it kept there; without it, the checker must find a fault.
    pub disks: bool,
}

/// How far to go.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The highest counter of a reign.
    pub counter: u64,
    /// How many crashes there may be in all.
    pub crashes: u8,
    /// How often the time to ask somebody may come in all; each time makes a state of its own.
    pub questions: u8,
}

/// A segment at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Group {
    /// Its nodes.
    pub peers: Vec<Peer>,
    /// All that was ever sent, but for what was sent to one node and received by it.
    pub network: BTreeSet<Sent>,
    /// Who led in each reign, by node and start.
    pub held: BTreeMap<Epoch, (u8, u8)>,
    crashes: u8,
    questions: u8,
    broken: Option<&'static str>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Peer {
    /// What runs on it, if it is not dead.
    pub life: Option<Life>,
    disk: Memory,
    starts: u8,
}

/// A running election. Equal to another when it knows and waits for the same; when it would stop waiting is no part of
/// it, because any deadline may pass at any time.
#[derive(Debug, Clone)]
pub struct Life(pub Election);

/// A message in the network.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sent {
    from: u8,
    to: Option<u8>,
    /// Encoded, so that messages have an order.
    bytes: Vec<u8>,
}

/// What may happen next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A node receives a message.
    Receive {
        /// The node.
        node: u8,
        /// The message.
        sent: Sent,
        /// It crashes after so many of its outputs.
        crash: Option<u8>,
    },
    /// A deadline of a node passes.
    Expire {
        /// The node.
        node: u8,
        /// The deadline.
        timer: Timer,
        /// It crashes after so many of its outputs.
        crash: Option<u8>,
    },
    /// A dead node starts again.
    Start(u8),
}

/// More outputs than a node ever has at once.
const OUTPUTS_MAX: u8 = 6;

impl Model for ElectionModel {
    type State = Group;
    type Action = Action;

    fn init_states(&self) -> Vec<Group> {
        let dead = Peer {
            life: None,
            disk: Memory::default(),
            starts: 0,
        };
        let mut group = Group {
            peers: vec![dead; self.nodes.into()],
            network: BTreeSet::new(),
            held: BTreeMap::new(),
            crashes: 0,
            questions: 0,
            broken: None,
        };
        for node in 0..self.nodes {
            group = self.started(group, node);
        }
        vec![group]
    }

    fn actions(&self, group: &Group, actions: &mut Vec<Action>) {
        let crashes = group.crashes < self.bounds.crashes;
        let may_ask = group.questions < self.bounds.questions;
        let cuts = || {
            let cuts = (0..OUTPUTS_MAX).filter(|_| crashes).map(Some);
            std::iter::once(None).chain(cuts)
        };
        for (node, peer) in (0..).zip(&group.peers) {
            let Some(life) = &peer.life else {
                actions.push(Action::Start(node));
                continue;
            };
            for crash in cuts() {
                let timers = life
                    .0
                    .pending()
                    .filter(|(_, timer)| may_ask || !asks(*timer));
                actions.extend(timers.map(|(_, timer)| Action::Expire { node, timer, crash }));
                let heard = group.network.iter().filter(|sent| sent.reaches(node));
                actions.extend(heard.map(|sent| Action::Receive {
                    node,
                    sent: sent.clone(),
                    crash,
                }));
            }
        }
    }

    fn next_state(&self, last: &Group, action: Action) -> Option<Group> {
        let mut group = last.clone();
        let mut out = Outbox::new();
        let (node, crash) = match action {
            Action::Start(node) => return Some(self.started(group, node)),
            Action::Expire { node, timer, crash } => {
                let life = group.peers[usize::from(node)].life.as_mut()?;
                life.0.expire(Time::ZERO, timer, &mut out);
                group.questions += u8::from(asks(timer));
                (node, crash)
            }
            Action::Receive { node, sent, crash } => {
                let life = group.peers[usize::from(node)].life.as_mut()?;
                let input = Input::Message {
                    from: id(sent.from),
                    message: sent.message(),
                };
                life.0.handle(Time::ZERO, input, &mut out);
                if sent.to.is_some() {
                    group.network.remove(&sent);
                }
                (node, crash)
            }
        };
        let crashed = group.carry_out(node, &mut out, crash)?;
        group.judge(last, node);
        if crashed {
            group.peers[usize::from(node)].life = None;
            group.crashes += 1;
        }
        (group != *last).then_some(group)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "no reign falls, and none is led twice",
                |_, group: &Group| group.broken.is_none(),
            ),
            Property::sometimes("all obey the strongest", |_, group: &Group| {
                let strongest = group.peers[0].life.as_ref().map(|life| &life.0);
                strongest.is_some_and(|strongest| {
                    strongest.leads()
                        && group
                            .lives()
                            .all(|life| life.0.reign() == strongest.reign())
                })
            }),
            Property::sometimes("another leads after a crash", |_, group: &Group| {
                group.crashes > 0 && group.held.len() > 1
            }),
        ]
    }

    fn within_boundary(&self, group: &Group) -> bool {
        group
            .lives()
            .all(|life| life.0.state().counter_seen <= self.bounds.counter)
    }
}

impl ElectionModel {
    fn started(&self, mut group: Group, node: u8) -> Group {
        let peer = &mut group.peers[usize::from(node)];
        let memory = if self.disks {
            peer.disk
        } else {
            Memory::default()
        };
        let mut election = Election::new(self.settings(node), memory, 1);
        let mut out = Outbox::new();
        let candidates = (0..self.nodes).map(|other| {
            let mut candidate = election.candidate();
            candidate.priority = priority(other);
            candidate.name = name(other);
            candidate.node = id(other);
            candidate
        });
        let candidates: Vec<_> = candidates.collect();
        let measured = Input::Measured(priority(node));
        let ranked = Input::Ranked(Ranking::of(&candidates[usize::from(node)], &candidates));
        for input in [measured, Input::Start, ranked] {
            election.handle(Time::ZERO, input, &mut out);
        }
        peer.starts += 1;
        peer.life = Some(Life(election));
        group.carry_out(node, &mut out, None);
        group
    }

    fn settings(&self, node: u8) -> Settings {
        let timing = Timing::fast(Fast::default()).expect("defaults are within their ranges");
        let mut settings = Settings::new(id(node), name(node), timing);
        settings.profile = self.profile;
        settings
    }
}

impl Group {
    /// Does what a node wants done, up to the output at which it crashes; nothing if it does not get that far.
    fn carry_out(&mut self, node: u8, out: &mut Outbox<Output>, crash: Option<u8>) -> Option<bool> {
        let mut done = 0;
        for output in out.drain() {
            if matches!(output, Output::Told(_)) {
                continue;
            }
            if crash == Some(done) {
                return Some(true);
            }
            done += 1;
            match output {
                Output::Persist(memory) => self.peers[usize::from(node)].disk = memory,
                Output::Send { to, message } => {
                    let to = match to {
                        To::All => None,
                        To::Node(id) => Some(id.as_bytes()[0]),
                    };
                    self.network.insert(Sent::new(node, to, &message));
                }
                Output::Told(_) => {}
            }
        }
        match crash {
            None => Some(false),
            Some(after) => (after == done).then_some(true),
        }
    }

    fn judge(&mut self, last: &Self, node: u8) {
        let place = usize::from(node);
        let (Some(before), Some(after)) = (&last.peers[place].life, &self.peers[place].life) else {
            return;
        };
        let starts = self.peers[place].starts;
        if before.0.state().obeyed > after.0.state().obeyed
            || after
                .0
                .reign()
                .is_some_and(|reign| Some(reign) < before.0.state().obeyed)
        {
            self.broken = Some("a node obeys a lower reign than before");
        }
        if let Phase::Leading(epoch) = after.0.state().phase {
            if epoch.leader != id(node) {
                self.broken = Some("a node leads in the reign of another");
            }
            if *self.held.entry(epoch).or_insert((node, starts)) != (node, starts) {
                self.broken = Some("a reign is led twice");
            }
        }
    }

    fn lives(&self) -> impl Iterator<Item = &Life> {
        self.peers.iter().filter_map(|peer| peer.life.as_ref())
    }
}

impl Sent {
    fn new(from: u8, to: Option<u8>, message: &ElectionMessage) -> Self {
        let bytes = minicbor::to_vec(message).expect("memory takes everything");
        Self { from, to, bytes }
    }

    fn message(&self) -> ElectionMessage {
        minicbor::decode(&self.bytes).expect("it was encoded here")
    }

    fn reaches(&self, node: u8) -> bool {
        self.from != node && self.to.is_none_or(|to| to == node)
    }
}

impl Life {
    fn pending(&self) -> BTreeSet<Timer> {
        self.0.pending().map(|(_, timer)| timer).collect()
    }
}

impl PartialEq for Life {
    fn eq(&self, other: &Self) -> bool {
        self.0.state() == other.0.state() && self.pending() == other.pending()
    }
}

impl Eq for Life {}

impl Hash for Life {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.state().hash(state);
        self.pending().hash(state);
    }
}

/// Does the passing of this deadline ask somebody?
fn asks(timer: Timer) -> bool {
    matches!(timer, Timer::Probe | Timer::Hearing)
}

fn id(node: u8) -> NodeId {
    NodeId::from_bytes([node; 16])
}

fn name(node: u8) -> Name {
    format!("node-{node}")
        .parse()
        .expect("letters, digits and a dash")
}

fn priority(node: u8) -> u32 {
    1_000 - u32::from(node)
}
