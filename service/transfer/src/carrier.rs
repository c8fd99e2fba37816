use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

use bellwether_machine::{Machine, Outbox};
use bellwether_multicast::sender::{self, Burst, To};
use bellwether_multicast::{Geometry, Input, Outcome, Output, Station, receiver};
use bellwether_net::{Alarm, FrameChannel, Via, now};
use bellwether_types::{Epoch, Name, NodeId};
use bellwether_wire::control::KeyRing;
use bellwether_wire::frame::{FRAME_OVERHEAD, FrameHeader, FrameKey, SessionId};
use bellwether_wire::transfer::{Announcement, AssignmentId, TransferMessage};
use tokio::sync::mpsc;

use crate::batch::{Batch, Batches};
use crate::content::{Content, Proof};
use crate::shelf::Shelf;
use crate::spool::Spool;

/// What carries out what a station decides: frames, spools, proofs. How messages travel is its user's business.
///
/// One task reads, decides and sends; what takes long (codes, hashes, the disk's durability) is done on threads, whose
/// results come back as inputs.
pub(crate) struct Carrier {
    station: Station,
    channel: FrameChannel,
    alarm: Alarm,
    keys: KeyRing,
    /// Where what is received goes; who only sends has no such place.
    shelf: Option<Shelf>,
    /// The data channels of content groups, and the one for all.
    groups: BTreeMap<Option<Name>, SocketAddr>,
    /// Where nodes take frames.
    peers: BTreeMap<NodeId, SocketAddr>,
    contents: BTreeMap<AssignmentId, Arc<Content>>,
    /// What this node sends.
    openings: BTreeMap<SessionId, Opening>,
    /// What it listens to.
    listens: BTreeMap<SessionId, FrameKey>,
    /// Repair symbols that were made.
    codes: BTreeMap<(SessionId, u32), Vec<u8>>,
    /// What waits until the system takes more: datagrams of the user go before frames, which fill every queue there is.
    datagrams: VecDeque<(SocketAddr, Vec<u8>)>,
    bursts: VecDeque<(SessionId, Burst)>,
    /// Bytes that were proved since they were last made durable.
    behind: BTreeMap<AssignmentId, u64>,
    inputs: VecDeque<Input>,
    batches: Batches,
    done: mpsc::UnboundedSender<Done>,
    results: mpsc::UnboundedReceiver<Done>,
    events: VecDeque<Event>,
    frames: Vec<u8>,
}

/// What a carrier's user is told.
#[derive(Debug)]
pub(crate) enum Event {
    /// This is to be said.
    Say(To, TransferMessage),
    /// Something came that is no frame.
    Datagram(SocketAddr, Via, Vec<u8>),
    /// This session is to be announced in heartbeats from now on, or no longer.
    Carry(SessionId, Option<Box<Announcement>>),
    /// Something is announced that this node is to have.
    Began(Box<Announcement>),
    /// More of it is proved.
    Proved(AssignmentId),
    /// It is here and proved.
    Complete(AssignmentId),
    /// It will not come; why.
    Failed(AssignmentId, String),
    /// All sessions of other nodes are over.
    Closed,
    /// A session for many of this node is over.
    Ended(AssignmentId, Epoch, Outcome),
    /// For whoever looks after the network.
    Note(String),
}

/// A thread's result.
enum Done {
    Input(Input),
    Encoded(SessionId, u32, io::Result<Vec<u8>>),
}

struct Opening {
    assignment: AssignmentId,
    geometry: Geometry,
    key: FrameKey,
    encrypted: bool,
    target: To,
    group: Option<Name>,
    epoch: Epoch,
    /// Was it said that the network refuses its frames?
    is_refused: bool,
}

/// Nodes that are remembered: more have no business here.
const PEERS_MAX: usize = 8_192;
/// Datagrams that may wait; more are lost, as they are on a network that takes none.
const DATAGRAMS_MAX: usize = 4_096;
/// Proved bytes that may wait for the disk.
const BEHIND_MAX: u64 = 8 << 20;

impl Carrier {
    pub(crate) fn new(
        station: Station,
        channel: FrameChannel,
        keys: KeyRing,
        shelf: Option<Shelf>,
    ) -> io::Result<Self> {
        let (done, results) = mpsc::unbounded_channel();
        Ok(Self {
            station,
            channel,
            alarm: Alarm::new()?,
            keys,
            shelf,
            groups: BTreeMap::new(),
            peers: BTreeMap::new(),
            contents: BTreeMap::new(),
            openings: BTreeMap::new(),
            listens: BTreeMap::new(),
            codes: BTreeMap::new(),
            datagrams: VecDeque::new(),
            bursts: VecDeque::new(),
            behind: BTreeMap::new(),
            inputs: VecDeque::new(),
            batches: Batches::default(),
            done,
            results,
            events: VecDeque::new(),
            frames: Vec::new(),
        })
    }

    pub(crate) const fn station(&self) -> &Station {
        &self.station
    }

    pub(crate) const fn channel_mut(&mut self) -> &mut FrameChannel {
        &mut self.channel
    }

    pub(crate) const fn shelf(&self) -> Option<&Shelf> {
        self.shelf.as_ref()
    }

    /// The data channels from now on.
    pub(crate) fn set_groups(&mut self, groups: BTreeMap<Option<Name>, SocketAddr>) {
        self.groups = groups;
    }

    /// The segment keys that are accepted from now on. What is being sent or heard keeps the key that it began with.
    pub(crate) fn set_keys(&mut self, keys: KeyRing) {
        self.keys = keys;
    }

    /// Where nodes take frames from now on.
    pub(crate) fn set_peers(&mut self, peers: BTreeMap<NodeId, SocketAddr>) {
        self.peers = peers;
    }

    /// A node takes frames here. Is it a new one?
    pub(crate) fn meet(&mut self, node: NodeId, address: SocketAddr) -> bool {
        let has_room = self.peers.len() < PEERS_MAX || self.peers.contains_key(&node);
        has_room && self.peers.insert(node, address).is_none()
    }

    pub(crate) fn address(&self, node: NodeId) -> Option<SocketAddr> {
        self.peers.get(&node).copied()
    }

    pub(crate) fn content(&self, assignment: AssignmentId) -> Option<&Arc<Content>> {
        self.contents.get(&assignment)
    }

    /// What this node has, or has begun to receive in an earlier start.
    pub(crate) fn add(&mut self, assignment: AssignmentId, content: Content) {
        self.contents.insert(assignment, Arc::new(content));
    }

    /// Holds it no longer.
    pub(crate) fn forget(&mut self, assignment: AssignmentId) {
        self.give(Input::Forget(assignment));
        self.settle();
        self.contents.remove(&assignment);
    }

    /// Tells the station something.
    pub(crate) fn give(&mut self, input: Input) {
        self.inputs.push_back(input);
    }

    /// Sends a datagram of the user's as soon as the system takes it.
    pub(crate) fn post(&mut self, to: SocketAddr, datagram: Vec<u8>) {
        if self.datagrams.len() < DATAGRAMS_MAX {
            self.datagrams.push_back((to, datagram));
        }
    }

    /// Goes on until something happened that somebody may want to know. Nothing is lost if the waiting is given up.
    pub(crate) async fn next(&mut self) -> io::Result<Event> {
        loop {
            self.settle();
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            // While frames wait for the link, more would only wait behind them, and be missed and asked for meanwhile.
            let wake_at = self.station.wake_at().filter(|_| self.bursts.is_empty());
            self.alarm.set(wake_at)?;
            let is_waiting = !(self.datagrams.is_empty() && self.bursts.is_empty());
            tokio::select! {
                rung = self.alarm.ring() => {
                    rung?;
                    self.inputs.push_back(Input::Wake);
                }
                Some(done) = self.results.recv() => self.take(done),
                frames = self.channel.next(is_waiting) => {
                    let Some(mut frames) = frames? else {
                        continue;
                    };
                    let via = frames.via();
                    frames.each(|source, bytes| match bytes.first() {
                        Some(first) if FrameHeader::begins_with(*first) => {
                            self.batches.take(bytes, &self.listens);
                        }
                        _ => {
                            let event = Event::Datagram(source, via, bytes.to_vec());
                            self.events.push_back(event);
                        }
                    });
                }
            }
        }
    }

    /// Everything that is known goes in, until nothing more comes of it.
    pub(crate) fn settle(&mut self) {
        let mut outbox = Outbox::new();
        loop {
            let batch = self.batches.pop();
            let input = match &batch {
                Some(batch) => Some(Input::Frames(batch.headers.clone())),
                None => self.inputs.pop_front(),
            };
            let Some(input) = input else {
                break;
            };
            let batch = batch.unwrap_or_else(|| match &input {
                Input::Message {
                    message: TransferMessage::Small(piece),
                    ..
                } => Batch::of(&piece.bytes),
                _ => Batch::default(),
            });
            self.station.handle(now(), input, &mut outbox);
            for output in outbox.drain().collect::<Vec<_>>() {
                self.carry_out(output, &batch);
            }
            self.batches.give_back(batch);
        }
        if self.send_datagrams() {
            self.send_bursts();
        }
    }

    fn take(&mut self, done: Done) {
        match done {
            Done::Input(input) => self.inputs.push_back(input),
            Done::Encoded(session, block, Ok(code)) => {
                self.codes.insert((session, block), code);
                let input = sender::Input::Encoded { block };
                self.inputs.push_back(Input::Sender(session, input));
            }
            Done::Encoded(session, _, Err(error)) => self.cannot_read(session, &error),
        }
    }

    fn carry_out(&mut self, output: Output, batch: &Batch) {
        match output {
            Output::Sender(session, output) => self.send(session, output),
            Output::Receiver(assignment, output) => self.receive(assignment, output, batch),
            Output::Send { to, message } => self.tell(To::Node(to), message),
            Output::Listen(announcement) => self.listen(announcement),
            Output::Ignore(session) => {
                self.listens.remove(&session);
                if self.listens.is_empty() {
                    self.events.push_back(Event::Closed);
                }
            }
            Output::Opened(announcement) => self.open(&announcement),
            // Everything goes by sessions here: the smallest of them takes two datagrams more.
            Output::Small(..) | Output::NotSmall(..) => {}
            Output::TooMany(_) => {
                let note = "more is announced than a node takes at a time: something is left out";
                self.events.push_back(Event::Note(note.to_owned()));
            }
        }
    }

    fn open(&mut self, announcement: &Announcement) {
        let session = announcement.session();
        let sender = self.station.senders().find(|(known, _)| *known == session);
        let (Some((_, sender)), Some(key)) = (sender, self.key_of(announcement)) else {
            return;
        };
        let opening = Opening {
            assignment: announcement.assignment,
            geometry: sender.job().geometry,
            encrypted: announcement.encrypted,
            target: sender.target(),
            group: announcement.group.clone(),
            epoch: announcement.epoch,
            is_refused: false,
            key,
        };
        self.openings.insert(session, opening);
    }

    fn key_of(&self, announcement: &Announcement) -> Option<FrameKey> {
        FrameKey::new(&self.keys, &announcement.source())
    }

    fn send(&mut self, session: SessionId, output: sender::Output) {
        match output {
            sender::Output::Send { to, message } => self.tell(to, message),
            sender::Output::Frames(burst) => self.bursts.push_back((session, burst)),
            sender::Output::Encode { block } => {
                let Some(opening) = self.openings.get(&session) else {
                    return;
                };
                let Some(content) = self.contents.get(&opening.assignment).cloned() else {
                    return;
                };
                let (geometry, done) = (opening.geometry, self.done.clone());
                tokio::task::spawn_blocking(move || {
                    let code = content.encode(&geometry, block);
                    // Nobody waits for it when all has ended.
                    let _ = done.send(Done::Encoded(session, block, code));
                });
            }
            sender::Output::Forget { block } => drop(self.codes.remove(&(session, block))),
            sender::Output::Ended(outcome) => {
                self.codes.retain(|(of, _), _| *of != session);
                self.bursts.retain(|(of, _)| *of != session);
                // Who is served alone is somebody else's participant.
                if let Some(opening) = self.openings.remove(&session)
                    && opening.target == To::Group
                {
                    let event = Event::Ended(opening.assignment, opening.epoch, outcome);
                    self.events.push_back(event);
                }
            }
            sender::Output::Carry(announcement) => {
                self.events.push_back(Event::Carry(session, announcement));
            }
        }
    }

    /// Sends datagrams; whether none is left.
    fn send_datagrams(&mut self) -> bool {
        while let Some((to, datagram)) = self.datagrams.front() {
            match self.channel.send(*to, datagram, datagram.len()) {
                Ok(false) => return false,
                // What the network does not take is lost as on the way.
                Ok(true) | Err(_) => drop(self.datagrams.pop_front()),
            }
        }
        true
    }

    /// Sends frames, as many as the system takes.
    fn send_bursts(&mut self) {
        while let Some((session, burst)) = self.bursts.front().copied() {
            match self.send_burst(session, burst) {
                Ok(None) => drop(self.bursts.pop_front()),
                Ok(Some(rest)) => {
                    self.bursts[0].1 = rest;
                    return;
                }
                Err(error) => {
                    self.bursts.pop_front();
                    self.cannot_read(session, &error);
                }
            }
        }
    }

    /// What is left of a burst when the system takes no more.
    fn send_burst(&mut self, session: SessionId, mut burst: Burst) -> io::Result<Option<Burst>> {
        let Self {
            openings,
            contents,
            codes,
            channel,
            peers,
            frames,
            groups,
            events,
            ..
        } = self;
        let opening = openings.get_mut(&session);
        let Some(opening) = opening else {
            return Ok(None);
        };
        let Some(content) = contents.get(&opening.assignment) else {
            return Ok(None);
        };
        let to = match opening.target {
            To::Node(node) => peers.get(&node).copied(),
            To::Segment | To::Group => groups.get(&opening.group).copied(),
        };
        let Some(to) = to else {
            return Ok(None);
        };
        let frame_len = usize::from(opening.geometry.symbol_len()) + FRAME_OVERHEAD;
        let batch_max = channel.batch_frames_max(frame_len);
        while burst.count > 0 {
            frames.clear();
            let mut count = 0;
            // Frames of a batch are equally long; a shorter one is its last.
            while count < burst.count
                && usize::from(count) < batch_max
                && frames.len() % frame_len == 0
            {
                let start = frames.len();
                frames.resize(start + FrameHeader::LEN, 0);
                read_symbol(opening, content, codes, session, &burst, count, frames)?;
                frames.resize(frames.len() + FRAME_OVERHEAD - FrameHeader::LEN, 0);
                let header = FrameHeader {
                    session,
                    sequence: burst.sequence + u64::from(count),
                    block: burst.block,
                    symbol: burst.first + count,
                    pass: burst.pass,
                    size: 0,
                    encrypted: opening.encrypted,
                };
                opening.key.seal(header, &mut frames[start..]);
                count += 1;
            }
            match channel.send(to, frames, frame_len) {
                Ok(false) => return Ok(Some(burst)),
                // What the network does not take is lost as on the way, and will be asked for.
                sent => {
                    if let Some(error) = sent.err().filter(|_| !opening.is_refused) {
                        opening.is_refused = true;
                        let note = format!(
                            "the network refuses frames of {frame_len} bytes to {to}: {error}"
                        );
                        events.push_back(Event::Note(note));
                    }
                    burst.first += count;
                    burst.count -= count;
                    burst.sequence += u64::from(count);
                }
            }
        }
        Ok(None)
    }

    /// Content of this node that is not what it was cannot be sent any longer.
    fn cannot_read(&mut self, session: SessionId, error: &io::Error) {
        let note = format!("what is sent cannot be read any longer: {error}");
        self.events.push_back(Event::Note(note));
        self.inputs
            .push_back(Input::Sender(session, sender::Input::Stop));
    }

    fn listen(&mut self, announcement: Box<Announcement>) {
        let Some(shelf) = &self.shelf else {
            return;
        };
        let assignment = announcement.assignment;
        if let Entry::Vacant(vacant) = self.contents.entry(assignment) {
            match shelf.open(assignment, announcement.head_len) {
                Ok(content) => drop(vacant.insert(Arc::new(content))),
                Err(error) => return self.inputs.push_back(broken(assignment, None, &error)),
            }
        }
        if let Some(key) = self.key_of(&announcement) {
            self.listens.insert(announcement.session(), key);
        }
        self.events.push_back(Event::Began(announcement));
    }

    fn receive(&mut self, assignment: AssignmentId, output: receiver::Output, batch: &Batch) {
        use receiver::Output as O;
        let geometry = self
            .station
            .receiver(assignment)
            .and_then(|receiver| receiver.geometry());
        let (geometry, content) = (geometry.copied(), self.contents.get(&assignment).cloned());
        let (Some(geometry), Some(content)) = (geometry, content) else {
            match output {
                O::Send { to, message } => self.tell(To::Node(to), message),
                O::Failed(why) => self.events.push_back(Event::Failed(assignment, why)),
                _ => {}
            }
            return;
        };
        let give = move |input| Input::Receiver(assignment, input);
        match output {
            O::Send { to, message } => self.tell(To::Node(to), message),
            O::Write {
                first,
                count,
                place,
            } => {
                let parts = content.spool().zip(batch.symbols(first, count));
                let written = parts.map_or(Ok(()), |(spool, symbols)| {
                    spool.write(place.part, place.offset, symbols)
                });
                self.wrote(assignment, written);
            }
            O::WriteRepair {
                frame,
                block,
                repair,
            } => {
                let parts = content.spool().zip(batch.symbols(frame, 1));
                let written = parts.map_or(Ok(()), |(spool, symbols)| {
                    spool.write_repair(&geometry, block, repair, symbols)
                });
                self.wrote(assignment, written);
            }
            O::Decode {
                block,
                missing,
                repairs,
            } => self.work(
                move || match content.decode(&geometry, block, &missing, &repairs) {
                    Ok(ok) => give(receiver::Input::Decoded { block, ok }),
                    Err(error) => broken(assignment, Some(&content), &error),
                },
            ),
            O::Prove(what) => self.work(move || match content.prove(assignment, &geometry, what) {
                Ok(Proof::Holds) => give(receiver::Input::Proved { what, ok: true }),
                Ok(Proof::Fails) => give(receiver::Input::Proved { what, ok: false }),
                Ok(Proof::Useless(why)) => give(receiver::Input::Broken(why)),
                Err(error) => broken(assignment, Some(&content), &error),
            }),
            O::Sync => self.work(move || match content.sync() {
                Ok(()) => give(receiver::Input::Synced),
                Err(error) => broken(assignment, Some(&content), &error),
            }),
            O::Persist(bytes) => {
                let kept = content.spool().map_or(Ok(()), |spool| spool.keep(&bytes));
                self.wrote(assignment, kept);
            }
            O::Recut(_) => {
                let forgotten = content.spool().map_or(Ok(()), Spool::forget_repairs);
                self.wrote(assignment, forgotten);
            }
            O::Complete => {
                self.behind.remove(&assignment);
                self.events.push_back(Event::Complete(assignment));
            }
            O::Failed(why) => self.events.push_back(Event::Failed(assignment, why)),
            O::Told(event) => self.events.push_back(Event::Note(format!("{event:?}"))),
            O::Available(blocks) => {
                self.events.push_back(Event::Proved(assignment));
                self.write_behind(assignment, &content, &geometry, blocks);
            }
            // Frames go on coming to one socket for all.
            O::Quit => {}
        }
    }

    /// What is proved goes to the disk while more comes, so that little is left in the end.
    fn write_behind(
        &mut self,
        assignment: AssignmentId,
        content: &Arc<Content>,
        geometry: &Geometry,
        blocks: Range<u32>,
    ) {
        let bytes: u64 = blocks
            .map(|block| u64::from(geometry.block(block).len))
            .sum();
        let behind = self.behind.entry(assignment).or_default();
        *behind += bytes;
        if *behind < BEHIND_MAX || content.spool().is_none() {
            return;
        }
        *behind = 0;
        let content = Arc::clone(content);
        // If it cannot be done, the last sync says so.
        tokio::task::spawn_blocking(move || content.spool().map(Spool::sync));
    }

    fn wrote(&mut self, assignment: AssignmentId, written: io::Result<()>) {
        if let Err(error) = written {
            let content = self.contents.get(&assignment);
            let input = broken(assignment, content.map(Arc::as_ref), &error);
            self.inputs.push_back(input);
        }
    }

    fn work(&self, work: impl FnOnce() -> Input + Send + 'static) {
        let done = self.done.clone();
        tokio::task::spawn_blocking(move || {
            // Nobody waits for it when all has ended.
            let _ = done.send(Done::Input(work()));
        });
    }

    fn tell(&mut self, to: To, message: TransferMessage) {
        self.events.push_back(Event::Say(to, message));
    }
}

fn read_symbol(
    opening: &Opening,
    content: &Content,
    codes: &BTreeMap<(SessionId, u32), Vec<u8>>,
    session: SessionId,
    burst: &Burst,
    number: u16,
    frames: &mut Vec<u8>,
) -> io::Result<()> {
    let (geometry, symbol) = (&opening.geometry, burst.first + number);
    match symbol.checked_sub(geometry.symbols(burst.block)) {
        None => content.read(geometry.place(burst.block, symbol), frames),
        Some(repair) => {
            let len = usize::from(geometry.symbol_len());
            let start = usize::from(repair) * len;
            let code = codes.get(&(session, burst.block));
            let symbol = code.and_then(|code| code.get(start..start + len));
            frames.extend_from_slice(symbol.ok_or(io::ErrorKind::NotFound)?);
            Ok(())
        }
    }
}

/// What came in vain to a full disk is given up, lest the disk stay full of it.
fn broken(assignment: AssignmentId, content: Option<&Content>, error: &io::Error) -> Input {
    let mut why = format!("the disk refuses: {error}");
    let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
    if full.contains(&error.kind())
        && let Some(Err(error)) = content.and_then(Content::spool).map(Spool::clear)
    {
        why = format!("{why}; what came of it stays: {error}");
    }
    Input::Receiver(assignment, receiver::Input::Broken(why))
}
