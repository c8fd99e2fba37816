use core::net::SocketAddr;
use std::collections::{BTreeSet, VecDeque};

use bellwether_election::{self as election, CandidateRef, Election, Memory, Ranking};
use bellwether_machine::{Machine, Outbox, Random};
use bellwether_membership::{self as membership, Membership};
use bellwether_types::{Epoch, NodeId, Time};
use bellwether_wire::control::{
    Alive, Carried, ControlMessage, DatagramSeal, ElectionMessage, Introduction, KeyRing, Rejected,
};
use bellwether_wire::transfer::TransferMessage;

use crate::heartbeat::Riders;
use crate::reach::Paths;
use crate::{Event, Input, Kept, Kind, Numbers, Output, Settings, Via};

/// A node of a segment.
#[derive(Debug)]
pub struct Segment {
    election: Election,
    membership: Membership,
    seal: DatagramSeal,
    paths: Paths,
    /// The group that control messages go to.
    control: SocketAddr,
    /// Where this node takes what is for it alone, once it knows.
    own_address: Option<SocketAddr>,
    /// The reign that membership was last told of.
    reign: Option<Epoch>,
    /// When to ask again where others are.
    hello_at: Option<Time>,
    riders: Riders,
    /// Whom an operator put out, and who may hold an accepted key still.
    put_out: BTreeSet<NodeId>,
    steps: VecDeque<Step>,
    election_outbox: Outbox<election::Output>,
    membership_outbox: Outbox<membership::Output>,
}

/// What one of the two protocols is to be given next.
#[derive(Debug)]
enum Step {
    Election(election::Input),
    Membership(membership::Input),
}

impl Segment {
    /// A node before its start. `memory` is what the election kept; `random` seeds what is spread in time.
    pub fn new(settings: Settings, keys: KeyRing, memory: Memory, mut random: Random) -> Self {
        let Settings {
            sender,
            election,
            membership,
            reach,
        } = settings;
        let identity = membership::Identity {
            node: sender.node,
            incarnation: sender.incarnation,
            name: election.name.clone(),
        };
        Self {
            seal: DatagramSeal::new(membership.segment.clone(), sender, keys),
            paths: Paths::new(reach),
            control: membership.channel,
            own_address: None,
            reign: None,
            hello_at: None,
            riders: Riders::default(),
            put_out: BTreeSet::new(),
            election: Election::new(election, memory, random.bits()),
            membership: Membership::new(identity, membership, random),
            steps: VecDeque::new(),
            election_outbox: Outbox::new(),
            membership_outbox: Outbox::new(),
        }
    }

    /// Who leads, as this node sees it.
    pub const fn election(&self) -> &Election {
        &self.election
    }

    /// Who belongs, as this node sees it.
    pub const fn membership(&self) -> &Membership {
        &self.membership
    }

    /// The segment keys that it accepts.
    pub const fn keys(&self) -> &KeyRing {
        self.seal.keys()
    }
}

impl Machine for Segment {
    type Input = Input;
    type Output = Output;

    fn handle(&mut self, now: Time, input: Input, out: &mut Outbox<Output>) {
        match input {
            Input::Start { membership: kept } => {
                self.steps.extend([
                    Step::Membership(membership::Input::Start { kept }),
                    Step::Election(election::Input::Start),
                ]);
                self.hello_at = self.paths.needs_introduction().then_some(now);
            }
            Input::Wake => self.wake(now),
            Input::Datagram { via, source, bytes } => self.receive(now, via, source, &bytes, out),
            Input::Measured(measured) => self.measure(measured),
            Input::StepDown => self.elect(election::Input::StepDown),
            Input::Appoint(node) => self.elect(election::Input::Appoint(node)),
            Input::Leave => {
                self.elect(election::Input::StepDown);
                self.enrol(membership::Input::Leave);
            }
            Input::Order(order) => self.enrol(membership::Input::Order(order)),
            Input::Reconfigured(settings) => {
                self.elect(election::Input::Reconfigured(settings));
            }
            Input::Transfer { to, message } => {
                let message = ControlMessage::Transfer(message);
                match to {
                    Some(node) => self.send_to_node(node, &message, out),
                    None => self.send_to_all(&message, out),
                }
            }
            Input::Announce(announcements) => self.riders.announce(announcements),
            Input::Numbers(numbers) => self.riders.numbers = numbers,
            Input::Admit { keys, put_out } => {
                self.seal.set_keys(*keys);
                self.put_out.clone_from(&put_out);
                self.enrol(membership::Input::PutOut(put_out));
            }
        }
        self.run(now, out);
        if self.hello_at.is_some_and(|at| at <= now) {
            self.say_hello(now, out);
        }
    }

    fn wake_at(&self) -> Option<Time> {
        let wakes = [
            self.election.wake_at(),
            self.membership.wake_at(),
            self.hello_at,
        ];
        wakes.into_iter().flatten().min()
    }
}

impl Segment {
    fn elect(&mut self, input: election::Input) {
        self.steps.push_back(Step::Election(input));
    }

    fn enrol(&mut self, input: membership::Input) {
        self.steps.push_back(Step::Membership(input));
    }

    fn wake(&mut self, now: Time) {
        let due = |at: Option<Time>| at.is_some_and(|at| at <= now);
        if due(self.election.wake_at()) {
            self.elect(election::Input::Wake);
        }
        if due(self.membership.wake_at()) {
            self.enrol(membership::Input::Wake);
        }
    }

    /// Others rank this node by what its election makes of the measurement.
    fn measure(&mut self, mut measured: membership::Measured) {
        let settings = self.election.settings();
        let priority = measured.priority;
        measured.priority = settings.priority(priority);
        measured.candidate = settings.is_candidate();
        self.own_address = Some(measured.address);
        self.elect(election::Input::Measured(priority));
        self.enrol(membership::Input::Measured(measured));
    }

    fn receive(
        &mut self,
        now: Time,
        via: Via,
        source: SocketAddr,
        bytes: &[u8],
        out: &mut Outbox<Output>,
    ) {
        let opened = match self.seal.open(bytes) {
            Ok(opened) => opened,
            Err(reason) => return out.push(Output::Told(Event::Rejected { source, reason })),
        };
        let from = opened.from;
        if self.put_out.contains(&from) {
            let reason = Rejected::PutOut { from };
            return out.push(Output::Told(Event::Rejected { source, reason }));
        }
        if self.paths.heard(from, source, via) == Some(true) {
            out.push(Output::Told(Event::MulticastBack));
        }
        match opened.message {
            ControlMessage::Election(ElectionMessage::Alive(alive)) => {
                self.take_alive(now, from, via, alive, out);
                self.introduce_rival(from, source, out);
            }
            ControlMessage::Election(message) => {
                if message == ElectionMessage::Probe {
                    self.paths.asked(from);
                }
                let claims = matches!(message, ElectionMessage::Claim(_));
                self.elect(election::Input::Message { from, message });
                if claims {
                    self.run(now, out);
                    self.introduce_rival(from, source, out);
                }
            }
            ControlMessage::Membership(message) => {
                self.elect(election::Input::Heard);
                self.enrol(membership::Input::Message {
                    from,
                    incarnation: opened.incarnation,
                    message,
                });
            }
            // Content moves beside this machine; here it shows that its sender lives.
            ControlMessage::Transfer(message) => {
                self.elect(election::Input::Heard);
                let alone = via == Via::Unicast;
                out.push(Output::Transfer {
                    from,
                    alone,
                    message,
                });
            }
            ControlMessage::Introduction(Introduction::Hello) => {
                self.elect(election::Input::Heard);
                self.paths.learn([source]);
                self.introduce(from, source, out);
            }
            ControlMessage::Introduction(Introduction::Peers(addresses)) => {
                self.elect(election::Input::Heard);
                let own = self.own_address;
                let others = addresses
                    .into_iter()
                    .filter(|address| Some(*address) != own);
                self.paths.learn(others.take(Introduction::PEERS_MAX));
            }
        }
    }

    /// What rides in a heartbeat counts once the heartbeat does.
    fn take_alive(
        &mut self,
        now: Time,
        from: NodeId,
        via: Via,
        alive: Alive,
        out: &mut Outbox<Output>,
    ) {
        let epoch = alive.epoch;
        let carried = minicbor::decode::<Carried>(&alive.carried).ok();
        let message = ElectionMessage::Alive(alive);
        self.elect(election::Input::Message { from, message });
        self.run(now, out);
        if self.election.reign() != Some(epoch) || self.election.leads() {
            return;
        }
        self.paths.beat();
        if via == Via::Unicast && self.paths.heartbeat_by_unicast() == Some(false) {
            out.push(Output::Told(Event::MulticastLost));
        }
        let Some(mut carried) = carried else {
            return;
        };
        for announcement in std::mem::take(&mut carried.announcements) {
            let message = TransferMessage::Announce(Box::new(announcement));
            out.push(Output::Transfer {
                from,
                alone: via == Via::Unicast,
                message: Box::new(message),
            });
        }
        let numbers = Numbers {
            settings: std::mem::take(&mut carried.settings),
            committed: std::mem::take(&mut carried.committed),
        };
        let sent_us = std::mem::take(&mut carried.sent_us);
        out.push(Output::Heartbeat { numbers, sent_us });
        self.enrol(membership::Input::Carried(carried));
    }

    fn run(&mut self, now: Time, out: &mut Outbox<Output>) {
        while let Some(step) = self.steps.pop_front() {
            match step {
                Step::Election(input) => {
                    let mut outbox = std::mem::take(&mut self.election_outbox);
                    self.election.handle(now, input, &mut outbox);
                    for output in outbox.drain() {
                        self.carry_out_election(now, output, out);
                    }
                    self.election_outbox = outbox;
                    self.tell_reign(out);
                }
                Step::Membership(input) => {
                    let mut outbox = std::mem::take(&mut self.membership_outbox);
                    self.membership.handle(now, input, &mut outbox);
                    for output in outbox.drain() {
                        self.carry_out_membership(output, out);
                    }
                    self.membership_outbox = outbox;
                }
            }
        }
    }

    /// A change of reign is a change for membership, whatever led to it.
    fn tell_reign(&mut self, out: &mut Outbox<Output>) {
        let reign = self.election.reign();
        if reign == self.reign {
            return;
        }
        self.reign = reign;
        out.push(Output::Reign(reign));
        self.enrol(match reign {
            None => membership::Input::Leaderless,
            Some(epoch) if self.election.leads() => membership::Input::Leading(epoch),
            Some(epoch) => membership::Input::Following(epoch),
        });
    }

    fn carry_out_election(
        &mut self,
        now: Time,
        output: election::Output,
        out: &mut Outbox<Output>,
    ) {
        match output {
            election::Output::Send { to, mut message } => {
                let heartbeat = matches!(message, ElectionMessage::Alive(_));
                if let ElectionMessage::Alive(alive) = &mut message {
                    alive.carried = self.riders.mount(now, &alive.carried);
                }
                let message = ControlMessage::Election(message);
                match to {
                    election::To::All => self.send_to_all(&message, out),
                    election::To::Node(node) => self.send_to_node(node, &message, out),
                }
                if heartbeat && to == election::To::All {
                    self.paths.beat();
                    if self.paths.served() == Some(true) {
                        out.push(Output::Told(Event::MulticastBack));
                    }
                }
            }
            election::Output::Persist(memory) => {
                out.push(Output::Persist(Kept::Election(memory)));
            }
            election::Output::Told(event) => out.push(Output::Told(Event::Election(event))),
        }
    }

    fn carry_out_membership(&mut self, output: membership::Output, out: &mut Outbox<Output>) {
        match output {
            membership::Output::Send { to, message } => {
                let message = ControlMessage::Membership(message);
                match to {
                    membership::To::All => self.send_to_all(&message, out),
                    membership::To::Node(node) => self.send_to_node(node, &message, out),
                    membership::To::Channel(channel) => self.send(None, &message, [channel], out),
                }
            }
            membership::Output::Persist(bytes) => {
                out.push(Output::Persist(Kept::Membership(bytes)));
            }
            membership::Output::Carry(carried) => {
                let bytes = minicbor::to_vec(carried).expect("memory takes what is written");
                self.elect(election::Input::Carry(bytes));
            }
            membership::Output::Roster => self.rank(),
            membership::Output::Report(report) => out.push(Output::Report(report)),
            membership::Output::Control(control) => {
                self.control = control;
                out.push(Output::Control(control));
            }
            membership::Output::Join { group, channel } => {
                out.push(Output::Join { group, channel });
            }
            membership::Output::Quit { group } => out.push(Output::Quit { group }),
            membership::Output::Told(event) => out.push(Output::Told(Event::Membership(event))),
        }
    }

    fn rank(&mut self) {
        let members = self.membership.members();
        let live = members
            .filter(|(node, record)| record.candidate && !self.put_out.contains(node))
            .map(|(node, record)| CandidateRef {
                priority: record.priority,
                name: &record.name,
                node,
            });
        let ranking = Ranking::of(&self.election.candidate(), live);
        self.elect(election::Input::Ranked(ranking));
    }

    fn send_to_all(&mut self, message: &ControlMessage, out: &mut Outbox<Output>) {
        let own = self.election.settings().node;
        let members = self.membership.members();
        let others = members.filter(|(node, _)| *node != own);
        let others = others.map(|(node, record)| (node, record.address));
        let addresses = self.paths.everyone(self.control, others);
        self.send(None, message, addresses, out);
    }

    /// A member's own word about its address goes before what its datagrams look like. A node that is not known
    /// anywhere is not reached, as if the datagram were lost.
    fn send_to_node(&mut self, node: NodeId, message: &ControlMessage, out: &mut Outbox<Output>) {
        if let Some(address) = self.address_of(node) {
            self.send(Some(node), message, [address], out);
        }
    }

    fn address_of(&self, node: NodeId) -> Option<SocketAddr> {
        let record = self.membership.segment().record(node);
        let address = record.map(|record| record.address);
        address.or_else(|| self.paths.source(node))
    }

    fn send(
        &mut self,
        node: Option<NodeId>,
        message: &ControlMessage,
        addresses: impl IntoIterator<Item = SocketAddr>,
        out: &mut Outbox<Output>,
    ) {
        let datagram = match self.seal.seal(node, message) {
            Ok(datagram) => datagram,
            Err(error) => return out.push(Output::Told(Event::TooLong(error.len))),
        };
        let kind = Kind::of(message);
        let mut addresses = addresses.into_iter().peekable();
        let mut datagram = Some(datagram);
        while let Some(to) = addresses.next() {
            let bytes = match addresses.peek() {
                Some(_) => datagram.clone(),
                None => datagram.take(),
            };
            if let Some(datagram) = bytes.filter(|_| Some(to) != self.own_address) {
                out.push(Output::Send { to, kind, datagram });
            }
        }
    }

    /// Where there is no multicast: asks, as long as nobody leads.
    fn say_hello(&mut self, now: Time, out: &mut Outbox<Output>) {
        if self.reign.is_none() {
            let hello = ControlMessage::Introduction(Introduction::Hello);
            self.send_to_all(&hello, out);
        }
        self.hello_at = Some(now + self.election.settings().timing.heartbeat());
    }

    /// Where there is no multicast: two who lead, or would, may not know of each other; who follows one of them, and
    /// hears both, tells the other.
    fn introduce_rival(&mut self, rival: NodeId, source: SocketAddr, out: &mut Outbox<Output>) {
        let leader = self.election.reign().map(|reign| reign.leader);
        let follows = leader.is_some() && !self.election.leads();
        if self.paths.needs_introduction() && follows && leader != Some(rival) {
            self.introduce(rival, source, out);
        }
    }

    fn introduce(&mut self, to: NodeId, source: SocketAddr, out: &mut Outbox<Output>) {
        let leader = self.election.reign().map(|reign| reign.leader);
        let others = self.membership.members();
        let others = others.filter(|(node, _)| Some(*node) != leader && *node != to);
        let others = others.map(|(_, record)| record.address);
        let leader = leader.filter(|leader| *leader != to);
        let leader = leader.and_then(|leader| self.address_of(leader));
        let peers = leader.into_iter().chain(others);
        let peers = peers.take(Introduction::PEERS_MAX).collect();
        let answer = ControlMessage::Introduction(Introduction::Peers(peers));
        self.send(Some(to), &answer, [source], out);
    }
}
