//! A handful of elections in virtual time, with a network between them that does what networks do. One seed, one trace.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::rc::Rc;
use std::time::Duration;

use bellwether_election::{
    Candidate, Election, Event, Input, Memory, Output, Ranking, Settings, To,
};
use bellwether_machine::{Machine, Outbox, Random};
use bellwether_types::{Epoch, NodeId, Time, Timing};
use bellwether_wire::control::ElectionMessage;

use crate::one::MS;

pub(crate) struct Network {
    pub(crate) now: Time,
    pub(crate) nodes: Vec<Host>,
    pub(crate) links: Links,
    /// Events in the order in which they were told.
    pub(crate) told: Vec<(Time, usize, Event)>,
    /// Multicasts and unicasts sent.
    pub(crate) multicasts: u64,
    pub(crate) unicasts: u64,
    /// Who has sent a claim.
    pub(crate) claimants: BTreeSet<usize>,
    /// Whether members learn their ranks by themselves, as membership would see to.
    pub(crate) ranks: bool,
    queue: BinaryHeap<Reverse<(Time, u64, Next)>>,
    sequence: u64,
    random: Random,
    reigns: BTreeMap<Epoch, usize>,
}

pub(crate) struct Host {
    pub(crate) settings: Settings,
    pub(crate) measured: u32,
    /// None while it is down.
    pub(crate) election: Option<Election>,
    /// Its disk.
    pub(crate) memory: Memory,
    /// How fast its clock runs, in millionths more than true.
    pub(crate) drift_ppm: i64,
    /// Stands still until then.
    paused: Option<Time>,
    /// What waits for it to go on.
    inbox: Vec<Input>,
    /// The highest reign it has obeyed, as long as it has this disk.
    obeyed: Option<Epoch>,
    /// Dies after carrying out so many more outputs.
    pub(crate) dies_after: Option<usize>,
    /// When it is to be woken.
    wake: Option<Time>,
}

pub(crate) struct Links {
    pub(crate) delay: Duration,
    pub(crate) jitter: Duration,
    pub(crate) loss_permille: u32,
    /// Pairs from, to that are cut.
    pub(crate) cut: BTreeSet<(usize, usize)>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Next {
    Wake(usize),
    Resume(usize),
    Ranks,
    Arrival(usize, usize, Rc<Ordered>),
}

/// The heap needs an order of everything; the sequence decides before this is asked.
pub(crate) struct Ordered(ElectionMessage);

impl Network {
    /// So many nodes, none of them started, with priorities as the function says.
    pub(crate) fn new(
        seed: u64,
        count: usize,
        timing: Timing,
        priority: impl Fn(usize) -> u32,
    ) -> Self {
        let host = |index: usize| {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&Random::new(index as u64 ^ 0xb1d5).bits().to_be_bytes());
            id[8..].copy_from_slice(&(index as u64).to_be_bytes());
            let name = format!("n{index:04}").parse().unwrap();
            Host {
                settings: Settings::new(NodeId::from_bytes(id), name, timing),
                measured: priority(index),
                election: None,
                memory: Memory::default(),
                drift_ppm: 0,
                paused: None,
                inbox: Vec::new(),
                obeyed: None,
                dies_after: None,
                wake: None,
            }
        };
        let mut network = Self {
            now: Time::ZERO,
            nodes: (0..count).map(host).collect(),
            links: Links {
                delay: MS / 5,
                jitter: MS * 4 / 5,
                loss_permille: 0,
                cut: BTreeSet::new(),
            },
            told: Vec::new(),
            multicasts: 0,
            unicasts: 0,
            claimants: BTreeSet::new(),
            ranks: true,
            queue: BinaryHeap::new(),
            sequence: 0,
            random: Random::new(seed),
            reigns: BTreeMap::new(),
        };
        network.push(timing.heartbeat(), Next::Ranks);
        network
    }

    pub(crate) fn start_all(&mut self) {
        for index in 0..self.nodes.len() {
            self.start(index);
        }
    }

    /// Starts a node with what is on its disk.
    pub(crate) fn start(&mut self, index: usize) {
        let seed = self.random.bits();
        let host = &mut self.nodes[index];
        if host.election.is_some() {
            return;
        }
        host.paused = None;
        host.inbox.clear();
        host.dies_after = None;
        host.election = Some(Election::new(host.settings.clone(), host.memory, seed));
        let measured = host.measured;
        self.give(index, Input::Measured(measured));
        self.give(index, Input::Start);
    }

    pub(crate) fn crash(&mut self, index: usize) {
        self.nodes[index].election = None;
    }

    /// Its disk is lost; it must be down.
    pub(crate) fn wipe(&mut self, index: usize) {
        // Whoever has lost its disk has lost its id, which was on it.
        let host = &mut self.nodes[index];
        let mut id = *host.settings.node.as_bytes();
        id[8] = id[8].wrapping_add(1);
        host.settings.node = NodeId::from_bytes(id);
        host.memory = Memory::default();
        host.obeyed = None;
    }

    pub(crate) fn pause(&mut self, index: usize, span: Duration) {
        let until = self.now + span;
        self.nodes[index].paused = Some(until);
        self.push(span, Next::Resume(index));
    }

    /// Cuts every link between those inside and those outside, both ways.
    pub(crate) fn isolate(&mut self, inside: &[usize]) {
        for one in 0..self.nodes.len() {
            for other in 0..self.nodes.len() {
                if inside.contains(&one) != inside.contains(&other) {
                    self.links.cut.insert((one, other));
                }
            }
        }
    }

    pub(crate) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        self.run_while(end, |_| true);
    }

    /// Runs until the condition holds, and says how long that took; none if it did not within the span.
    pub(crate) fn run_until(
        &mut self,
        span: Duration,
        holds: impl Fn(&Self) -> bool,
    ) -> Option<Duration> {
        let from = self.now;
        self.run_while(from + span, |network| !holds(network));
        holds(self).then(|| self.now.since(from))
    }

    fn run_while(&mut self, end: Time, go_on: impl Fn(&Self) -> bool) {
        while go_on(self) {
            match self.queue.peek() {
                Some(Reverse((at, ..))) if *at <= end => {
                    let Some(Reverse((at, _, next))) = self.queue.pop() else {
                        unreachable!("it was there")
                    };
                    self.now = at;
                    self.happen(next);
                }
                _ => {
                    self.now = end;
                    return;
                }
            }
        }
    }

    fn happen(&mut self, next: Next) {
        match next {
            Next::Wake(index) => {
                if self.nodes[index].wake == Some(self.now) {
                    self.nodes[index].wake = None;
                    self.give(index, Input::Wake);
                }
            }
            Next::Arrival(from, to, message) => {
                let from = self.nodes[from].settings.node;
                let message = message.0.clone();
                self.give(to, Input::Message { from, message });
            }
            Next::Resume(index) => {
                let host = &mut self.nodes[index];
                if host.paused.is_some_and(|until| until <= self.now) {
                    host.paused = None;
                    for input in std::mem::take(&mut host.inbox) {
                        self.give(index, input);
                    }
                    self.give(index, Input::Wake);
                }
            }
            Next::Ranks => {
                if self.ranks {
                    self.rank();
                }
                let period = self.nodes[0].settings.timing.heartbeat() * 5;
                self.push(period, Next::Ranks);
            }
        }
    }

    /// Tells everybody where it stands among those who obey the same leader.
    pub(crate) fn rank(&mut self) {
        let reigns: Vec<Epoch> = self.leaders().into_iter().map(|(_, epoch)| epoch).collect();
        for epoch in reigns {
            let members: Vec<usize> = (0..self.nodes.len())
                .filter(|index| self.reign(*index) == Some(epoch))
                .collect();
            let candidates: Vec<Candidate> = members
                .iter()
                .filter_map(|index| {
                    let election = self.nodes[*index].election.as_ref()?;
                    let is_candidate = election.settings().is_candidate();
                    is_candidate.then(|| election.candidate())
                })
                .collect();
            for index in members {
                if let Some(election) = &self.nodes[index].election {
                    let ranking = Ranking::of(&election.candidate(), &candidates);
                    self.give(index, Input::Ranked(ranking));
                }
            }
        }
    }

    pub(crate) fn give(&mut self, index: usize, input: Input) {
        let host = &mut self.nodes[index];
        let local = local_time(self.now, host.drift_ppm);
        let Some(election) = &mut host.election else {
            return;
        };
        if host.paused.is_some() {
            if input != Input::Wake {
                host.inbox.push(input);
            }
            return;
        }
        let mut out = Outbox::new();
        election.handle(local, input, &mut out);
        let wake = election.wake_at();
        for output in out.drain() {
            if let Some(left) = &mut self.nodes[index].dies_after {
                match left.checked_sub(1) {
                    Some(less) => *left = less,
                    None => return self.crash(index),
                }
            }
            self.carry_out(index, output);
        }
        self.check(index);
        if let Some(wake) = wake {
            let wake = true_time(wake, self.nodes[index].drift_ppm).max(self.now);
            if self.nodes[index].wake != Some(wake) {
                self.nodes[index].wake = Some(wake);
                self.push(wake.since(self.now), Next::Wake(index));
            }
        }
    }

    fn carry_out(&mut self, index: usize, output: Output) {
        match output {
            Output::Persist(memory) => self.nodes[index].memory = memory,
            Output::Told(event) => {
                if let Event::Leading { epoch } = event {
                    let before = self.reigns.insert(epoch, index);
                    assert_eq!(before, None, "two reigns of one epoch, {epoch}");
                }
                self.told.push((self.now, index, event));
            }
            Output::Send { to, message } => {
                if let ElectionMessage::Claim(claim) = &message {
                    let kept = self.nodes[index].memory.counter;
                    assert!(claim.epoch.counter <= kept, "a claim that is not on disk");
                    self.claimants.insert(index);
                }
                let message = Rc::new(Ordered(message));
                match to {
                    To::All => {
                        self.multicasts += 1;
                        for other in (0..self.nodes.len()).filter(|other| *other != index) {
                            self.transmit(index, other, &message);
                        }
                    }
                    To::Node(node) => {
                        self.unicasts += 1;
                        let other = self
                            .nodes
                            .iter()
                            .position(|host| host.settings.node == node);
                        if let Some(other) = other {
                            self.transmit(index, other, &message);
                        }
                    }
                }
            }
        }
    }

    fn transmit(&mut self, from: usize, to: usize, message: &Rc<Ordered>) {
        let lost = self.random.chance(self.links.loss_permille * 1_000);
        if lost || self.links.cut.contains(&(from, to)) || self.nodes[to].election.is_none() {
            return;
        }
        let delay = self.links.delay + self.random.span(self.links.jitter);
        self.push(delay, Next::Arrival(from, to, message.clone()));
    }

    /// What must hold after every step.
    fn check(&mut self, index: usize) {
        let host = &mut self.nodes[index];
        let Some(election) = &host.election else {
            return;
        };
        let obeyed = election.reign().max(host.obeyed);
        assert!(
            election.reign().is_none() || election.reign() == obeyed,
            "{index} obeyed {:?} and now {:?}",
            host.obeyed,
            election.reign()
        );
        host.obeyed = obeyed;
        let state = election.state();
        assert!(state.gone.len() <= 8 && election.pending().count() <= 8);
    }

    fn push(&mut self, span: Duration, next: Next) {
        self.sequence += 1;
        self.queue
            .push(Reverse((self.now + span, self.sequence, next)));
    }

    pub(crate) fn reign(&self, index: usize) -> Option<Epoch> {
        self.nodes[index].election.as_ref()?.reign()
    }

    /// Who leads, and in which epoch.
    pub(crate) fn leaders(&self) -> Vec<(usize, Epoch)> {
        let elections = self.nodes.iter().map(|host| host.election.as_ref());
        let leading = elections.enumerate().filter_map(|(index, election)| {
            let election = election.filter(|election| election.leads())?;
            Some((index, election.reign()?))
        });
        leading.collect()
    }

    /// The one leader that everybody who is up obeys, if it is so.
    pub(crate) fn agreed(&self) -> Option<usize> {
        let mut reigns = (0..self.nodes.len())
            .filter(|index| self.nodes[*index].election.is_some())
            .map(|index| self.reign(index));
        let first = reigns.next()??;
        let leader = self
            .nodes
            .iter()
            .position(|host| host.settings.node == first.leader)?;
        let leads = self.nodes[leader]
            .election
            .as_ref()
            .is_some_and(Election::leads);
        (leads && reigns.all(|reign| reign == Some(first))).then_some(leader)
    }

    /// The strongest candidate that is up.
    pub(crate) fn strongest(&self) -> usize {
        let up = (0..self.nodes.len()).filter_map(|index| {
            let election = self.nodes[index].election.as_ref()?;
            election
                .settings()
                .is_candidate()
                .then(|| (election.candidate(), index))
        });
        up.max().expect("somebody is up").1
    }
}

fn local_time(time: Time, drift_ppm: i64) -> Time {
    let nanos = i128::from(time.as_nanos());
    let local = nanos + nanos * i128::from(drift_ppm) / 1_000_000;
    Time::from_nanos(u64::try_from(local).unwrap())
}

/// The first true moment at which the local clock shows `time`.
fn true_time(time: Time, drift_ppm: i64) -> Time {
    let nanos = i128::from(time.as_nanos()) * 1_000_000 / i128::from(1_000_000 + drift_ppm);
    let mut guess = Time::from_nanos(u64::try_from(nanos).unwrap().saturating_sub(2));
    while local_time(guess, drift_ppm) < time {
        guess += Duration::from_nanos(1);
    }
    guess
}

impl PartialEq for Ordered {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Ordered {}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ordered {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}
