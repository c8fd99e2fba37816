//! A segment in virtual time: nodes with links, losses and disks of their own, all from one seed.
#![allow(
    dead_code,
    unused_imports,
    reason = "not every test file uses all of it"
)]

mod content;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use bellwether_machine::{Machine, Outbox, Random};
use bellwether_multicast::sender::{Burst, To};
use bellwether_multicast::{
    Input, Job, Outcome, Output, Own, Settings, Station, Way, receiver, sender, small,
};
use bellwether_types::{Epoch, Incarnation, NodeId, Time};
use bellwether_wire::control::SegmentKeyId;
use bellwether_wire::frame::{FrameHeader, SessionId};
use bellwether_wire::transfer::{Announcement, Ask, AssignmentId, TransferMessage};

pub(crate) use content::{Content, Spool};

/// How a network and its nodes are.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    /// Bits in a second that a node can send.
    pub(crate) rate: u64,
    /// Millionths of frames and messages that each receiver loses.
    pub(crate) loss: u32,
    /// Millionths that come twice.
    pub(crate) twice: u32,
    /// Millionths of bursts of which a part comes late.
    pub(crate) late: u32,
    /// From one node to another.
    pub(crate) delay: Duration,
    /// How long proofs, codes and syncs take.
    pub(crate) work: Duration,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            rate: 50_000_000,
            loss: 0,
            twice: 0,
            late: 0,
            delay: Duration::from_micros(100),
            work: Duration::from_millis(1),
        }
    }
}

pub(crate) struct World {
    pub(crate) now: Time,
    pub(crate) network: Network,
    pub(crate) random: Random,
    pub(crate) nodes: Vec<Node>,
    pub(crate) contents: BTreeMap<AssignmentId, Rc<Content>>,
    pub(crate) sending: Settings,
    pub(crate) receiving: receiver::Settings,
    pub(crate) reign: Option<Epoch>,
    pub(crate) outcomes: Vec<(usize, Outcome)>,
    queue: BTreeMap<(Time, u64), Event>,
    queued: u64,
    at_once: u64,
    pub(crate) stats: Stats,
    /// Frames that everybody loses, once.
    pub(crate) lose: BTreeSet<u64>,
    pub(crate) trace: bool,
}

#[derive(Debug, Default, Clone)]
pub(crate) struct Stats {
    /// Bytes on the wire, by node that sent them.
    pub(crate) bytes: BTreeMap<usize, u64>,
    pub(crate) frames: u64,
    /// Statuses that say that something is lacking, and others.
    pub(crate) nacks: u64,
    pub(crate) statuses: u64,
    pub(crate) status_bytes: u64,
    /// When statuses with lacks were sent.
    pub(crate) nack_times: Vec<Time>,
    pub(crate) promises: u64,
    pub(crate) announcements: u64,
    pub(crate) first_frame: Option<Time>,
    pub(crate) codes_max: usize,
    pub(crate) pass_max: u16,
    pub(crate) sizes: BTreeMap<u16, u64>,
    pub(crate) kept_max: usize,
    pub(crate) last_first: Option<Time>,
}

pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) station: Option<Station>,
    pub(crate) incarnation: u64,
    /// In place of the network's.
    pub(crate) loss: Option<u32>,
    /// Bits in a second that come through to it; what does not is dropped when 50 ms wait.
    pub(crate) down: Option<u64>,
    /// Does multicast reach it?
    pub(crate) hears_groups: bool,
    pub(crate) spools: BTreeMap<AssignmentId, Spool>,
    kept: BTreeMap<AssignmentId, Vec<u8>>,
    codes: BTreeMap<(SessionId, u32), Vec<u8>>,
    openings: BTreeMap<SessionId, Announcement>,
    singles: BTreeSet<SessionId>,
    /// What rides in its heartbeats.
    carried: BTreeMap<SessionId, Announcement>,
    /// Sessions it listens to, and on whose data channel.
    listens: BTreeSet<SessionId>,
    quits: BTreeSet<AssignmentId>,
    pub(crate) done: BTreeMap<AssignmentId, Result<Time, String>>,
    pub(crate) disk_full: bool,
    up_free: Time,
    down_free: Time,
    woken: Option<Time>,
}

enum Event {
    Wake(usize),
    Heartbeat(usize),
    Message {
        to: usize,
        from: usize,
        alone: bool,
        message: TransferMessage,
    },
    Frames {
        to: usize,
        frames: Vec<FrameHeader>,
        symbols: Vec<Vec<u8>>,
    },
    Input {
        to: usize,
        incarnation: u64,
        input: Input,
    },
}

/// What the system takes of a sender before its link has carried it.
const SEND_BUFFER: Duration = Duration::from_millis(30);

impl World {
    pub(crate) fn new(nodes: usize, seed: u64, network: Network, sending: Settings) -> Self {
        let mut random = Random::new(seed);
        random.bits();
        let mut world = Self {
            now: Time::from_nanos(1_000_000_000),
            network,
            random,
            nodes: Vec::new(),
            contents: BTreeMap::new(),
            sending,
            receiving: receiver::Settings::default(),
            reign: None,
            outcomes: Vec::new(),
            queue: BTreeMap::new(),
            queued: 0,
            at_once: 0,
            stats: Stats::default(),
            lose: BTreeSet::new(),
            trace: std::env::var_os("TRACE").is_some(),
        };
        for number in 0..nodes {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&(number as u64 + 1).to_be_bytes());
            world.nodes.push(Node {
                id: NodeId::from_bytes(id),
                station: None,
                incarnation: 0,
                loss: None,
                down: None,
                hears_groups: true,
                spools: BTreeMap::new(),
                kept: BTreeMap::new(),
                codes: BTreeMap::new(),
                openings: BTreeMap::new(),
                singles: BTreeSet::new(),
                carried: BTreeMap::new(),
                listens: BTreeSet::new(),
                quits: BTreeSet::new(),
                done: BTreeMap::new(),
                disk_full: false,
                up_free: Time::ZERO,
                down_free: Time::ZERO,
                woken: None,
            });
        }
        for number in 0..nodes {
            world.start(number);
        }
        world
    }

    /// Starts a node that is down, with what its disk has.
    pub(crate) fn start(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        node.incarnation += 1;
        let mut salt = [0; 16];
        salt[..8].copy_from_slice(&self.random.bits().to_be_bytes());
        salt[8..].copy_from_slice(&self.random.bits().to_be_bytes());
        let own = Own {
            node: node.id,
            incarnation: Incarnation(node.incarnation),
            salt,
            key: SegmentKeyId([1; 4]),
        };
        let random = Random::new(self.random.bits());
        node.station = Some(Station::new(
            own,
            self.sending.clone(),
            self.receiving.clone(),
            random,
        ));
        node.listens.clear();
        node.quits.clear();
        node.codes.clear();
        node.openings.clear();
        for spool in node.spools.values_mut() {
            spool.proved.clear();
        }
        for (assignment, bytes) in node.kept.clone() {
            self.give(number, Input::Kept { assignment, bytes });
        }
        self.give(number, Input::Reign(self.reign));
    }

    pub(crate) fn crash(&mut self, number: usize) {
        self.nodes[number].station = None;
    }

    /// Everybody obeys this node from now on.
    pub(crate) fn lead(&mut self, number: usize) {
        let counter = self.reign.map_or(0, |reign| reign.counter) + 1;
        self.reign = Some(Epoch {
            counter,
            leader: self.nodes[number].id,
        });
        for number in 0..self.nodes.len() {
            self.give(number, Input::Reign(self.reign));
        }
    }

    pub(crate) fn add(&mut self, content: Content) -> Rc<Content> {
        let content = Rc::new(content);
        self.contents.insert(content.id, Rc::clone(&content));
        content
    }

    /// The node has all of it, from elsewhere.
    pub(crate) fn have(&mut self, number: usize, content: &Rc<Content>) {
        let spool = Spool::full(Rc::clone(content));
        self.nodes[number].spools.insert(content.id, spool);
        self.nodes[number].done.insert(content.id, Ok(self.now));
        let geometry = content.geometry;
        let assignment = content.id;
        self.give(
            number,
            Input::Have {
                assignment,
                geometry,
            },
        );
    }

    /// Blocks of it come to a node in another way.
    pub(crate) fn come(&mut self, number: usize, content: &Rc<Content>, blocks: Range<u32>) {
        let spool = Spool::full(Rc::clone(content));
        self.nodes[number].spools.insert(content.id, spool);
        let geometry = content.geometry;
        let assignment = content.id;
        let input = Input::Came {
            assignment,
            geometry,
            blocks,
        };
        self.give(number, input);
    }

    /// A job for all nodes but the leader.
    pub(crate) fn job(&self, content: &Content, way: Way) -> Job {
        let leader = self.reign.unwrap().leader;
        let others = self.nodes.iter().map(|node| node.id);
        Job {
            assignment: content.id,
            name: "content".to_owned(),
            group: None,
            epoch: self.reign.unwrap(),
            geometry: content.geometry,
            participants: others.filter(|node| *node != leader).collect(),
            ask: Ask::Complete,
            is_new: true,
            is_available: true,
            way,
        }
    }

    pub(crate) fn send(&mut self, job: Job) {
        let leader = self.number(job.epoch.leader);
        self.give(leader, Input::Send(Box::new(job)));
    }

    pub(crate) fn number(&self, id: NodeId) -> usize {
        self.nodes.iter().position(|node| node.id == id).unwrap()
    }

    fn push(&mut self, at: Time, event: Event) {
        self.queued += 1;
        self.queue.insert((at, self.queued), event);
    }

    /// Lets things happen until `until`, or until nothing more does; whether something is left.
    pub(crate) fn run_until(&mut self, until: Time) -> bool {
        while let Some(((at, _), _)) = self.queue.first_key_value() {
            if *at > until {
                self.now = until;
                return true;
            }
            let ((at, _), event) = self.queue.pop_first().unwrap();
            self.at_once = if at > self.now { 0 } else { self.at_once + 1 };
            assert!(self.at_once < 100_000, "time stands still");
            self.now = at;
            self.happen(event);
        }
        self.now = until;
        false
    }

    pub(crate) fn run_for(&mut self, span: Duration) -> bool {
        self.run_until(self.now + span)
    }

    /// Until a session has ended.
    pub(crate) fn run_to_end(&mut self, limit: Duration) -> Outcome {
        let (had, end) = (self.outcomes.len(), self.now + limit);
        while self.outcomes.len() == had {
            let next = self.now + Duration::from_millis(10);
            assert!(self.now < end, "no session ended within {limit:?}");
            self.run_until(next);
        }
        self.outcomes.last().unwrap().1.clone()
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Wake(number) => {
                let node = &mut self.nodes[number];
                if node.woken == Some(self.now) {
                    node.woken = None;
                    self.give(number, Input::Wake);
                }
            }
            Event::Heartbeat(number) => {
                let node = &self.nodes[number];
                let is_up = node.station.is_some();
                let carried: Vec<Announcement> = node.carried.values().cloned().collect();
                if !is_up || carried.is_empty() {
                    return self.nodes[number].carried.clear();
                }
                for announcement in carried {
                    let message = TransferMessage::Announce(Box::new(announcement));
                    self.transmit(number, To::Segment, &message);
                    self.stats.announcements -= 1;
                }
                let next = self.now + Duration::from_millis(500);
                self.push(next, Event::Heartbeat(number));
            }
            Event::Message {
                to,
                from,
                alone,
                message,
            } => {
                if self.trace {
                    let (now, node) = (self.now, self.nodes[from].id);
                    eprintln!("{now} {node:?} -> {to}: {message:?}");
                }
                let from = self.nodes[from].id;
                let symbols = match &message {
                    TransferMessage::Small(piece) => vec![piece.bytes.clone()],
                    _ => Vec::new(),
                };
                let input = Input::Message {
                    from,
                    alone,
                    message,
                };
                self.give_with(to, input, &symbols);
            }
            Event::Frames {
                to,
                frames,
                symbols,
            } => {
                if self.nodes[to].listens.contains(&frames[0].session) {
                    self.give_frames(to, frames, &symbols);
                }
            }
            Event::Input {
                to,
                incarnation,
                input,
            } => {
                if self.nodes[to].incarnation == incarnation {
                    self.give(to, input);
                }
            }
        }
    }

    pub(crate) fn give(&mut self, number: usize, input: Input) {
        self.give_with(number, input, &[]);
    }

    pub(crate) fn give_frames(
        &mut self,
        number: usize,
        frames: Vec<FrameHeader>,
        symbols: &[Vec<u8>],
    ) {
        self.give_with(number, Input::Frames(frames), symbols);
    }

    fn give_with(&mut self, number: usize, input: Input, symbols: &[Vec<u8>]) {
        let Some(station) = &mut self.nodes[number].station else {
            return;
        };
        let mut out = Outbox::new();
        station.handle(self.now, input, &mut out);
        for output in out.drain() {
            self.carry_out(number, output, symbols);
        }
        let node = &mut self.nodes[number];
        let wake = node.station.as_ref().and_then(Machine::wake_at);
        if let Some(at) = wake {
            // Who sends waits as long as its link has enough to carry.
            let held_up = Time::from_nanos(
                (node.up_free.as_nanos()).saturating_sub(SEND_BUFFER.as_nanos() as u64),
            );
            let at = at.max(self.now).max(held_up);
            if node.woken.is_none_or(|woken| at < woken) {
                node.woken = Some(at);
                self.push(at, Event::Wake(number));
            }
        }
    }

    fn carry_out(&mut self, number: usize, output: Output, symbols: &[Vec<u8>]) {
        match output {
            Output::Sender(session, output) => self.carry_out_sender(number, session, output),
            Output::Receiver(assignment, output) => {
                self.carry_out_receiver(number, assignment, output, symbols);
            }
            Output::Send { to, message } => self.transmit(number, To::Node(to), &message),
            Output::Small(_, small::Output::Send { to, message }) => {
                self.transmit(number, to, &message);
            }
            Output::Small(_, small::Output::Ended(outcome)) => {
                self.outcomes.push((number, outcome))
            }
            Output::NotSmall(assignment, error) => panic!("{assignment:?}: {error}"),
            Output::Listen(announcement) => {
                self.nodes[number].listens.insert(announcement.session());
            }
            Output::Ignore(session) => {
                self.nodes[number].listens.remove(&session);
            }
            Output::Opened(announcement) => {
                let session = announcement.session();
                let node = &mut self.nodes[number];
                let mut senders = node.station.iter().flat_map(Station::senders);
                if senders.any(|(id, sender)| id == session && sender.job().way == Way::Single) {
                    node.singles.insert(session);
                }
                node.openings.insert(session, *announcement);
            }
            Output::TooMany(assignment) => panic!("too many: {assignment:?}"),
        }
    }

    fn carry_out_sender(&mut self, number: usize, session: SessionId, output: sender::Output) {
        let incarnation = self.nodes[number].incarnation;
        match output {
            sender::Output::Send { to, message } => self.transmit(number, to, &message),
            sender::Output::Carry(carried) => {
                let was_empty = self.nodes[number].carried.is_empty();
                let carries = &mut self.nodes[number].carried;
                carries.remove(&session);
                carries.extend(carried.map(|carried| (session, *carried)));
                if was_empty {
                    self.push(self.now, Event::Heartbeat(number));
                }
            }
            sender::Output::Frames(burst) => self.transmit_frames(number, session, burst),
            sender::Output::Encode { block } => {
                let node = &mut self.nodes[number];
                let assignment = node.openings[&session].assignment;
                let spool = &node.spools[&assignment];
                let blocks = spool.content.geometry.blocks_of(block);
                assert!(
                    blocks
                        .into_iter()
                        .all(|block| spool.proved.contains(&block)),
                    "codes unproved content"
                );
                let code = spool.encode(block);
                node.codes.insert((session, block), code);
                let codes = node.codes.keys().filter(|(of, _)| *of == session).count();
                self.stats.codes_max = self.stats.codes_max.max(codes);
                let input = Input::Sender(session, sender::Input::Encoded { block });
                let event = Event::Input {
                    to: number,
                    incarnation,
                    input,
                };
                self.push(self.now + self.network.work, event);
            }
            sender::Output::Forget { block } => {
                self.nodes[number].codes.remove(&(session, block));
            }
            sender::Output::Ended(outcome) => {
                self.nodes[number].codes.retain(|(of, _), _| *of != session);
                if !self.nodes[number].singles.contains(&session) {
                    self.outcomes.push((number, outcome));
                }
            }
        }
    }

    fn carry_out_receiver(
        &mut self,
        number: usize,
        assignment: AssignmentId,
        output: receiver::Output,
        symbols: &[Vec<u8>],
    ) {
        let incarnation = self.nodes[number].incarnation;
        let content = Rc::clone(&self.contents[&assignment]);
        let later = |input| Event::Input {
            to: number,
            incarnation,
            input: Input::Receiver(assignment, input),
        };
        let done = self.now + self.network.work;
        let node = &mut self.nodes[number];
        let spool = node
            .spools
            .entry(assignment)
            .or_insert_with(|| Spool::new(Rc::clone(&content)));
        match output {
            receiver::Output::Send { to, message } => {
                self.transmit(number, To::Node(to), &message);
            }
            receiver::Output::Write {
                first,
                count,
                place,
            } => {
                if node.disk_full {
                    let broken = receiver::Input::Broken("no space left on device".to_owned());
                    return self.push(self.now, later(broken));
                }
                for block in content.geometry.blocks_at(place) {
                    assert!(!spool.proved.contains(&block), "writes over a proved block");
                }
                if content.bytes.is_some() {
                    let (first, count) = (usize::from(first), usize::from(count));
                    spool.write(place, &symbols[first..first + count]);
                }
            }
            receiver::Output::WriteRepair {
                frame,
                block,
                repair,
            } => {
                if content.bytes.is_some() {
                    spool.write_repair(block, repair, symbols[usize::from(frame)].clone());
                }
            }
            receiver::Output::Decode {
                block,
                missing,
                repairs,
            } => {
                let ok = spool.decode(block, &missing, &repairs);
                self.push(done, later(receiver::Input::Decoded { block, ok }));
            }
            receiver::Output::Prove(what) => {
                let ok = spool.prove(what);
                self.push(done, later(receiver::Input::Proved { what, ok }));
            }
            receiver::Output::Available(blocks) => {
                assert!(
                    blocks
                        .into_iter()
                        .all(|block| spool.proved.contains(&block))
                );
            }
            receiver::Output::Persist(bytes) => {
                self.stats.kept_max = self.stats.kept_max.max(bytes.len());
                node.kept.insert(assignment, bytes);
            }
            receiver::Output::Sync => self.push(done, later(receiver::Input::Synced)),
            receiver::Output::Recut(geometry) => {
                assert_eq!(geometry, content.geometry);
                spool.forget_repairs();
            }
            receiver::Output::Quit => {
                node.quits.insert(assignment);
            }
            receiver::Output::Complete => {
                assert!(spool.is_exact(), "complete, and not what was sent");
                node.done.insert(assignment, Ok(self.now));
            }
            receiver::Output::Failed(reason) => {
                node.done.insert(assignment, Err(reason));
            }
            receiver::Output::Told(event) => {
                if self.trace {
                    eprintln!("{} {number}: {event:?}", self.now);
                }
            }
        }
    }

    fn transmit(&mut self, from: usize, to: To, message: &TransferMessage) {
        let bytes = 42 + 69 + 30 + minicbor::to_vec(message).unwrap().len() as u64;
        assert!(bytes < 1_500, "{message:?}");
        *self.stats.bytes.entry(from).or_default() += bytes;
        match message {
            TransferMessage::Status(status) if status.lacks.is_empty() => self.stats.statuses += 1,
            TransferMessage::Status(_) => {
                self.stats.nacks += 1;
                self.stats.nack_times.push(self.now);
            }
            TransferMessage::Mend(_) => self.stats.promises += 1,
            TransferMessage::Announce(_) => self.stats.announcements += 1,
            _ => {}
        }
        if let TransferMessage::Status(_) = message {
            self.stats.status_bytes += bytes;
        }
        let sent = self.occupy(from, bytes);
        let (alone, receivers) = self.receivers(from, to);
        for to in receivers {
            if self.is_lost(to) {
                continue;
            }
            // Never twice, unlike frames: the seal of control datagrams sees to that.
            let at = sent.max(self.nodes[to].down_free) + self.network.delay + self.lateness();
            let event = Event::Message {
                to,
                from,
                alone,
                message: message.clone(),
            };
            self.push(at, event);
        }
    }

    fn receivers(&self, from: usize, to: To) -> (bool, Vec<usize>) {
        match to {
            To::Node(node) => {
                // A node that nobody knows is not reached.
                let known = self.nodes.iter().position(|known| known.id == node);
                (true, known.into_iter().collect())
            }
            To::Segment | To::Group => {
                let all = (0..self.nodes.len()).filter(|number| *number != from);
                (
                    false,
                    all.filter(|number| self.nodes[*number].hears_groups)
                        .collect(),
                )
            }
        }
    }

    fn is_lost(&mut self, to: usize) -> bool {
        let loss = self.nodes[to].loss.unwrap_or(self.network.loss);
        self.random.chance(loss)
    }

    fn lateness(&mut self) -> Duration {
        if self.network.late > 0 && self.random.chance(self.network.late) {
            self.random.span(Duration::from_millis(5))
        } else {
            Duration::ZERO
        }
    }

    /// When the node's link has carried so many bytes.
    fn occupy(&mut self, number: usize, bytes: u64) -> Time {
        let nanos = bytes * 8_000_000_000 / self.network.rate;
        let node = &mut self.nodes[number];
        node.up_free = node.up_free.max(self.now) + Duration::from_nanos(nanos);
        node.up_free
    }

    fn transmit_frames(&mut self, from: usize, session: SessionId, burst: Burst) {
        let announcement = self.nodes[from].openings[&session].clone();
        let spool = &self.nodes[from].spools[&announcement.assignment];
        let content = Rc::clone(&spool.content);
        let geometry = content.geometry;
        let symbols = geometry.symbols(burst.block);
        let (mut headers, mut payloads, mut bytes) = (Vec::new(), Vec::new(), 0);
        for n in 0..burst.count {
            let symbol = burst.first + n;
            let size = if symbol < symbols {
                let block = geometry.block_of(burst.block, symbol);
                assert!(spool.proved.contains(&block), "unproved content leaves");
                geometry.place(burst.block, symbol).len as u16
            } else {
                assert!(self.nodes[from].codes.contains_key(&(session, burst.block)));
                geometry.symbol_len()
            };
            headers.push(FrameHeader {
                session,
                sequence: burst.sequence + u64::from(n),
                block: burst.block,
                symbol,
                pass: burst.pass,
                size,
                encrypted: false,
            });
            bytes += u64::from(size) + u64::from(self.sending.overhead);
            if content.bytes.is_some() {
                payloads.push(if symbol < symbols {
                    spool.symbol(burst.block, symbol)
                } else {
                    let code = &self.nodes[from].codes[&(session, burst.block)];
                    let at = usize::from(symbol - symbols) * usize::from(size);
                    code[at..at + usize::from(size)].to_vec()
                });
            }
        }
        self.stats.frames += headers.len() as u64;
        self.stats.pass_max = self.stats.pass_max.max(burst.pass);
        if burst.pass == 1 {
            self.stats.last_first = Some(self.now);
        }
        for header in &headers {
            *self.stats.sizes.entry(header.size).or_default() += 1;
        }
        self.stats.first_frame.get_or_insert(self.now);
        *self.stats.bytes.entry(from).or_default() += bytes;
        let sent = self.occupy(from, bytes);
        let to = self.nodes[from]
            .station
            .as_ref()
            .and_then(|station| {
                station
                    .senders()
                    .find(|(id, _)| *id == session)
                    .map(|(_, sender)| sender.target())
            })
            .unwrap_or(To::Group);
        let (alone, receivers) = self.receivers(from, to);
        for to in receivers {
            let quit = !alone && self.nodes[to].quits.contains(&announcement.assignment);
            if self.nodes[to].station.is_some() && !quit {
                self.deliver(to, sent, &headers, &payloads);
            }
        }
    }

    fn deliver(&mut self, to: usize, sent: Time, headers: &[FrameHeader], payloads: &[Vec<u8>]) {
        let mut parts = [(Vec::new(), Vec::new()), (Vec::new(), Vec::new())];
        let late = self.network.late > 0 && self.random.chance(self.network.late);
        for (index, header) in headers.iter().enumerate() {
            let meant = self.lose.contains(&header.sequence);
            if meant || self.is_lost(to) || self.overflows(to, sent, header) {
                continue;
            }
            let twice = self.network.twice > 0 && self.random.chance(self.network.twice);
            let part = usize::from(late && self.random.chance(300_000));
            for part in [part, 1 - part].iter().take(1 + usize::from(twice)) {
                parts[*part].0.push(*header);
                parts[*part].1.extend(payloads.get(index).cloned());
            }
        }
        for (part, (frames, symbols)) in parts.into_iter().enumerate() {
            if frames.is_empty() {
                continue;
            }
            let lateness = if part == 1 {
                self.random.span(Duration::from_millis(8))
            } else {
                Duration::ZERO
            };
            let at = sent.max(self.nodes[to].down_free) + self.network.delay + lateness;
            let event = Event::Frames {
                to,
                frames,
                symbols,
            };
            self.push(at, event);
        }
    }

    /// A slow link drops what does not fit its queue.
    fn overflows(&mut self, to: usize, sent: Time, header: &FrameHeader) -> bool {
        let Some(rate) = self.nodes[to].down else {
            return false;
        };
        let bytes = u64::from(header.size) + u64::from(self.sending.overhead);
        let node = &mut self.nodes[to];
        if node.down_free.since(sent) > Duration::from_millis(50) {
            return true;
        }
        node.down_free =
            node.down_free.max(sent) + Duration::from_nanos(bytes * 8_000_000_000 / rate);
        false
    }

    pub(crate) fn lose_power(&mut self, number: usize) {
        self.crash(number);
        let node = &mut self.nodes[number];
        for (assignment, spool) in &mut node.spools {
            // What was synced stays.
            if !matches!(node.done.get(assignment), Some(Ok(_))) {
                spool.lose_some(&mut self.random);
            }
        }
    }

    pub(crate) fn is_complete(&self, number: usize, content: &Content) -> bool {
        matches!(self.nodes[number].done.get(&content.id), Some(Ok(_)))
    }
}
