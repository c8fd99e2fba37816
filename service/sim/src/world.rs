use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use bellwether_machine::{Outbox, Random};
use bellwether_types::{Epoch, NodeId, Time};

use crate::clock::Clock;
use crate::forgery::Forger;
use crate::network::Network;
use crate::plan::Plan;
use crate::process::{
    Address, Birth, Channel, Datagram, Destination, Fact, Input, Kind, Order, Output, Process, View,
};
use crate::property::Property;
use crate::queue::Queue;
use crate::strike::Undo;
use crate::trace::Trace;
use crate::watch::Watch;

/// All nodes of a run, the network between them, and what is to happen to them.
pub(crate) struct World<P: Process> {
    pub(crate) plan: Plan,
    pub(crate) now: Time,
    pub(crate) nodes: Vec<Node<P>>,
    pub(crate) network: Network,
    pub(crate) forger: Forger,
    pub(crate) watch: Watch,
    pub(crate) trace: Trace,
    pub(crate) random: Random,
    common: P::Common,
    /// The first who ever start.
    first: Vec<Address>,
    queue: Queue<Event>,
    outbox: Outbox<Output<P::Disk>>,
    /// Of each fault that is going on what ends it.
    pub(crate) undo: BTreeMap<u32, Undo>,
    /// The node that an input was last given to.
    current: u32,
    events: u64,
    ended: bool,
}

/// A node: what stays when its process is gone, and the process.
pub(crate) struct Node<P: Process> {
    pub(crate) process: Option<P>,
    clock: Clock,
    disk: Option<P::Disk>,
    /// On its way to the disk; the process waits for it.
    writing: Option<P::Disk>,
    /// What waits for the disk behind that.
    waiting: VecDeque<Output<P::Disk>>,
    /// What came while the process was stopped or waited.
    inbox: VecDeque<Input>,
    busy_until: Time,
    /// When it is going to be woken; others that are still in the queue are void.
    wake: Option<Time>,
    /// When set, the process crashes after some more outputs.
    pub(crate) fuse: Option<Fuse>,
    pub(crate) view: Option<View>,
    starts: u64,
    /// The highest reign that it obeyed when nothing waited for its disk any more.
    sworn: Option<(NodeId, Epoch)>,
    /// The reign that it leads, as far as others could know.
    office: Option<Epoch>,
    /// Wake-ups in a row that left a deadline due.
    spins: u32,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Fuse {
    /// Outputs, or merge datagrams alone, that still get out.
    pub(crate) outputs: u32,
    pub(crate) merging: bool,
    /// How long the node stays dead then.
    pub(crate) down: Duration,
    pub(crate) wiped: bool,
}

#[derive(Debug)]
pub(crate) enum Event {
    Deliver {
        to: u32,
        datagram: Rc<Datagram>,
    },
    Wake(u32),
    /// A process may go on after a stop or a wait for its disk.
    Resume(u32),
    Start(u32),
    Stop(u32),
    Strike(u32),
    Lift(u32),
    Forge(u32),
    /// The last disturbance is over.
    Quiet,
    /// By now all must have settled.
    Deadline,
    End,
}

/// Datagrams that a socket keeps for a process that does not read them.
const INBOX_LEN_MAX: usize = 1_024;
/// Wake-ups in a row that leave a deadline due, after which a process counts as spinning.
const SPINS_MAX: u32 = 1_000;
/// A process is woken up to this much late, as by a busy scheduler.
const LATENESS_MAX: Duration = Duration::from_micros(200);

impl<P: Process> World<P> {
    pub(crate) fn new(plan: Plan, with_story: bool) -> Self {
        let mut random = Random::new(!plan.seed);
        let network = Network::new(
            plan.scenario.network,
            plan.addresses(),
            Random::new(random.bits()),
        );
        let mut queue = Queue::new();
        for (address, node) in plan.nodes.iter().enumerate() {
            if let Some(start) = node.start {
                queue.push(start, Event::Start(address as u32));
            }
        }
        for (index, fault) in plan.faults.iter().enumerate() {
            queue.push(fault.at, Event::Strike(index as u32));
        }
        queue.push(plan.quiet_at, Event::Quiet);
        queue.push(
            plan.quiet_at + plan.scenario.expect.settled.0,
            Event::Deadline,
        );
        Self {
            now: Time::ZERO,
            nodes: plan
                .nodes
                .iter()
                .map(|node| Node::new(node.clock))
                .collect(),
            network,
            forger: Forger::new(&plan, Random::new(random.bits())),
            watch: Watch::new(&plan),
            trace: Trace::new(with_story),
            common: P::common(&plan.scenario.protocol, plan.seed),
            first: first(&plan),
            queue,
            outbox: Outbox::new(),
            undo: BTreeMap::new(),
            random,
            plan,
            current: 0,
            events: 0,
            ended: false,
        }
    }

    /// Lets the next thing happen; false when nothing more does.
    pub(crate) fn step(&mut self) -> bool {
        if self.ended || self.watch.broken().is_some() {
            return false;
        }
        let Some((now, event)) = self.queue.pop() else {
            return false;
        };
        self.now = now;
        self.events += 1;
        match event {
            Event::Deliver { to, datagram } => {
                self.trace.record(now, to, b'd', &[]);
                self.feed(to, Input::Datagram(datagram));
            }
            Event::Wake(node) => self.wake(node),
            Event::Resume(node) => self.resume(node),
            Event::Start(node) => self.start(node),
            Event::Stop(node) => self.crash(node, false),
            Event::Strike(index) => self.strike(index),
            Event::Lift(index) => self.lift(index),
            Event::Forge(index) => self.forge(index),
            Event::Quiet => self.watch.quiet(now),
            Event::Deadline => self.watch.deadline(now),
            Event::End => self.ended = self.watch.is_over(now),
        }
        if let Some(end) = self.watch.take_end() {
            self.queue.push(end, Event::End);
        }
        true
    }

    pub(crate) fn at(&mut self, at: Time, event: Event) {
        self.queue.push(at, event);
    }

    /// A property of the run as a whole broke.
    pub(crate) fn fail(&mut self, property: Property) {
        self.watch.fail(self.now, self.current, property);
    }

    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    pub(crate) fn start(&mut self, address: u32) {
        let node = &mut self.nodes[address as usize];
        let plan = &self.plan.nodes[address as usize];
        if node.process.is_some() {
            return;
        }
        let birth = Birth {
            common: &self.common,
            node: Address(address),
            segment: self.network.nodes(),
            first: &self.first,
            starts: node.starts,
            priority: plan.priority,
            disk: node.disk.clone(),
            seed: self.random.bits(),
            story: self.trace.has_story(),
        };
        node.starts += 1;
        node.busy_until = self.now;
        self.trace.record(self.now, address, b's', &[]);
        let kept = if birth.disk.is_some() {
            "its disk"
        } else {
            "an empty disk"
        };
        self.trace
            .tell(self.now, || format!("{address} starts with {kept}"));
        let (process, disk) = P::start(node.clock.shows(self.now), birth);
        let view = process.view();
        node.process = Some(process);
        node.disk = Some(disk);
        if let Some((id, sworn)) = node.sworn
            && id == view.id
            && view.obeyed < Some(sworn)
        {
            let to = view.obeyed;
            let property = Property::ReignForgotten { from: sworn, to };
            self.watch.fail(self.now, address, property);
        }
        self.network.listen(address, Channel::default());
        self.watch.started(address);
        self.feed(address, Input::Start);
    }

    /// The process is gone from one moment to the next, and with it all that was not yet durable.
    pub(crate) fn crash(&mut self, address: u32, wiped: bool) {
        let written = self.random.chance(500_000);
        let node = &mut self.nodes[address as usize];
        if node.process.take().is_none() {
            return;
        }
        if let Some(value) = node.writing.take().filter(|_| written) {
            node.disk = Some(value);
        }
        if wiped {
            node.disk = None;
        }
        node.waiting.clear();
        node.inbox.clear();
        node.wake = None;
        node.fuse = None;
        self.trace.record(self.now, address, b'x', &[wiped.into()]);
        self.trace.tell(self.now, || format!("{address} dies"));
        self.nodes[address as usize].office = None;
        let view = self.nodes[address as usize].view.take();
        self.watch.died(self.now, address, view);
    }

    /// The process does nothing until then; what comes waits for it.
    pub(crate) fn pause(&mut self, address: u32, until: Time) {
        let node = &mut self.nodes[address as usize];
        if node.process.is_some() && until > node.busy_until {
            node.busy_until = until;
            self.queue.push(until, Event::Resume(address));
        }
    }

    pub(crate) fn feed(&mut self, address: u32, input: Input) {
        let node = &mut self.nodes[address as usize];
        let Some(process) = &mut node.process else {
            return;
        };
        if node.busy_until > self.now || !node.waiting.is_empty() || !node.inbox.is_empty() {
            if node.inbox.len() < INBOX_LEN_MAX {
                node.inbox.push_back(input);
            }
            return;
        }
        self.current = address;
        let shown = node.clock.shows(self.now);
        if let Input::Datagram(datagram) = &input
            && datagram.forged
        {
            return self.feed_forged(address, shown, input);
        }
        let mut outbox = std::mem::take(&mut self.outbox);
        process.handle(shown, input, &mut outbox);
        let mut outputs = outbox.drain();
        while let Some(output) = outputs.next() {
            if !self.perform(address, output) {
                // The process crashed, or waits for its disk.
                let node = &mut self.nodes[address as usize];
                if node.process.is_some() {
                    node.waiting.extend(&mut outputs);
                }
                break;
            }
        }
        drop(outputs);
        self.outbox = outbox;
        self.observe(address);
    }

    /// A datagram that no node ever sent changes nothing, and nothing is said about it.
    fn feed_forged(&mut self, address: u32, shown: Time, input: Input) {
        let Some(process) = &mut self.nodes[address as usize].process else {
            return;
        };
        if process.wake_at().is_some_and(|due| due <= shown) {
            // What is due comes first, so that it is not taken for an effect.
            return self.feed(address, Input::Wake);
        }
        let before = process.view();
        let mut outbox = std::mem::take(&mut self.outbox);
        process.handle(shown, input, &mut outbox);
        let quiet = outbox.drain().count() == 0;
        if !quiet || process.view() != before {
            self.watch.fail(self.now, address, Property::Swayed);
        }
        self.outbox = outbox;
    }

    /// Does what a process wants done; false if it cannot go on for now.
    fn perform(&mut self, address: u32, output: Output<P::Disk>) -> bool {
        let node = &mut self.nodes[address as usize];
        match &mut node.fuse {
            Some(fuse) if fuse.merging && !is_merging(&output) => {}
            Some(fuse) if fuse.outputs == 0 => {
                let fuse = *fuse;
                self.burn(address, fuse);
                return false;
            }
            Some(fuse) => fuse.outputs -= 1,
            None => {}
        }
        match output {
            Output::Persist(value) => {
                let wait = self.plan.scenario.machine.disk.draw(&mut self.random);
                self.trace.record(self.now, address, b'p', &[]);
                if wait.is_zero() {
                    node.disk = Some(value);
                    return true;
                }
                node.writing = Some(value);
                let until = self.now + wait;
                self.pause(address, until);
                false
            }
            Output::Send { to, kind, bytes } => {
                self.send(address, to, kind, bytes);
                true
            }
            Output::Listen(channel) => {
                self.trace.record(self.now, address, b'l', &[channel.0]);
                self.network.listen(address, channel);
                true
            }
            Output::Told(fact) => {
                self.tell(address, fact);
                true
            }
            Output::Ended => {
                self.crash(address, false);
                false
            }
        }
    }

    fn tell(&mut self, address: u32, fact: Fact) {
        self.trace.tell(self.now, || match &fact {
            Fact::Noted(what) => format!("{address} notes {what}"),
            fact => format!("{address} says {fact:?}"),
        });
        match self.nodes[address as usize].process.as_ref() {
            Some(process) => self.watch.told(self.now, address, &process.view(), fact),
            None => unreachable!("a process that has said something"),
        }
    }

    fn send(&mut self, address: u32, to: Destination, kind: Kind, bytes: Vec<u8>) {
        let multicast = matches!(to, Destination::All(_));
        self.trace
            .record(self.now, address, b'A' + kind as u8, &bytes);
        let wire_len = self.network.wire_len(bytes.len());
        self.watch
            .sent(self.now, address, kind, multicast, wire_len);
        let len = bytes.len();
        let from = Address(address);
        let datagram = Rc::new(Datagram {
            from,
            multicast,
            bytes,
            forged: false,
        });
        self.forger.hears(&datagram);
        let queue = &mut self.queue;
        self.network.carry(self.now, address, to, len, |to, at| {
            let datagram = Rc::clone(&datagram);
            queue.push(at, Event::Deliver { to, datagram });
        });
    }

    fn wake(&mut self, address: u32) {
        let node = &mut self.nodes[address as usize];
        if node.wake != Some(self.now) {
            return;
        }
        node.wake = None;
        let due = node.process.as_ref().and_then(|process| process.wake_at());
        if due.is_some_and(|due| due <= node.clock.shows(self.now)) {
            self.trace.record(self.now, address, b'w', &[]);
            self.feed(address, Input::Wake);
            self.check_progress(address);
        } else {
            self.set_wake(address);
        }
    }

    fn check_progress(&mut self, address: u32) {
        let node = &mut self.nodes[address as usize];
        let shown = node.clock.shows(self.now);
        let due = node.process.as_ref().and_then(|process| process.wake_at());
        let stuck = due.is_some_and(|due| due <= shown) && node.busy_until <= self.now;
        node.spins = if stuck { node.spins + 1 } else { 0 };
        if node.spins > SPINS_MAX {
            self.watch.fail(self.now, address, Property::Spinning);
        }
    }

    /// A stopped process goes on: first with what it was doing, then with its timers and with what came, in either order.
    fn resume(&mut self, address: u32) {
        let node = &mut self.nodes[address as usize];
        if node.process.is_none() || node.busy_until != self.now {
            return;
        }
        if let Some(value) = node.writing.take() {
            node.disk = Some(value);
        }
        self.trace.record(self.now, address, b'r', &[]);
        while let Some(output) = self.nodes[address as usize].waiting.pop_front() {
            if !self.perform(address, output) {
                return;
            }
        }
        let mut inbox = std::mem::take(&mut self.nodes[address as usize].inbox);
        if self.random.chance(500_000) {
            inbox.push_front(Input::Wake);
        }
        while let Some(input) = inbox.pop_front() {
            self.feed(address, input);
            let node = &mut self.nodes[address as usize];
            if node.process.is_none() {
                return;
            }
            if node.busy_until > self.now {
                inbox.append(&mut node.inbox);
                node.inbox = inbox;
                return;
            }
        }
        self.observe(address);
    }

    fn observe(&mut self, address: u32) {
        let node = &mut self.nodes[address as usize];
        let Some(process) = &node.process else {
            return;
        };
        let view = process.view();
        // What was not carried out yet is nothing that anybody could know of.
        let is_carried_out = node.waiting.is_empty() && node.writing.is_none();
        if is_carried_out && let Some(obeyed) = view.obeyed {
            node.sworn = Some((view.id, obeyed));
        }
        let before = node.view.replace(view);
        let office = match is_carried_out {
            true => view.leads(),
            false => node.office.filter(|held| view.leads() == Some(*held)),
        };
        let is_crowned = office != std::mem::replace(&mut node.office, office);
        if before != Some(view) {
            self.trace
                .tell(self.now, || format!("{address} {:?}: {view}", view.id));
            self.watch.changed(self.now, address, before, view);
        }
        if let Some(epoch) = office.filter(|_| is_crowned) {
            self.watch.crowned(self.now, address, epoch, &view);
        }
        self.set_wake(address);
    }

    fn set_wake(&mut self, address: u32) {
        let node = &mut self.nodes[address as usize];
        let Some(due) = node.process.as_ref().and_then(|process| process.wake_at()) else {
            return;
        };
        let at = node.clock.reaches(due).max(self.now);
        if node.wake.is_none_or(|wake| wake > at + LATENESS_MAX) && node.busy_until <= self.now {
            let at = at + self.random.span(LATENESS_MAX);
            node.wake = Some(at);
            self.queue.push(at, Event::Wake(address));
        }
    }

    /// An operator wants something of a node.
    pub(crate) fn order(&mut self, address: u32, order: Order) {
        self.trace
            .record(self.now, address, b'o', format!("{order:?}").as_bytes());
        self.trace
            .tell(self.now, || format!("{address} is ordered to {order:?}"));
        self.feed(address, Input::Order(order));
    }
}

fn first(plan: &Plan) -> Vec<Address> {
    let starting = plan
        .addresses()
        .filter(|node| plan.nodes[*node as usize].start.is_some());
    starting.take(FIRST).map(Address).collect()
}

/// Addresses that a configuration would name.
const FIRST: usize = 3;

fn is_merging<D>(output: &Output<D>) -> bool {
    matches!(
        output,
        Output::Send {
            kind: Kind::Merge,
            ..
        }
    )
}

impl<P: Process> Node<P> {
    fn new(clock: Clock) -> Self {
        Self {
            process: None,
            clock,
            disk: None,
            writing: None,
            waiting: VecDeque::new(),
            inbox: VecDeque::new(),
            busy_until: Time::ZERO,
            wake: None,
            fuse: None,
            view: None,
            starts: 0,
            sworn: None,
            office: None,
            spins: 0,
        }
    }
}
