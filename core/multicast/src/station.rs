use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use bellwether_machine::{Machine, Outbox, Random};
use bellwether_types::{Epoch, Incarnation, Name, NodeId, Time};
use bellwether_wire::Salt;
use bellwether_wire::control::SegmentKeyId;
use bellwether_wire::frame::{FrameHeader, SessionId};
use bellwether_wire::transfer::{Announcement, Ask, AssignmentId, Small, TransferMessage};

use crate::geometry::Geometry;
use crate::job::{Finish, Identity, Job, Settings, Slow, Way};
use crate::receiver::{self, Receiver};
use crate::sender::{self, Sender};
use crate::small::{self, NotSmall, SmallJob, SmallSender};

/// All transfers of one node: what it sends as leader, what it receives, and what it serves to neighbours.
#[derive(Debug)]
pub struct Station {
    own: Own,
    sending: Settings,
    receiving: receiver::Settings,
    /// The reign this node obeys, or holds.
    reign: Option<Epoch>,
    groups: BTreeSet<Name>,
    receivers: BTreeMap<AssignmentId, Receiver>,
    senders: BTreeMap<SessionId, Sender>,
    smalls: BTreeMap<AssignmentId, SmallSender>,
    /// Whose receiver frames are for.
    routes: BTreeMap<SessionId, AssignmentId>,
    opened: u64,
    random: Random,
    sender_outbox: Outbox<sender::Output>,
    receiver_outbox: Outbox<receiver::Output>,
}

/// Who a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Own {
    /// The node.
    pub node: NodeId,
    /// Its start.
    pub incarnation: Incarnation,
    /// Random bytes drawn at that start.
    pub salt: Salt,
    /// The segment key that it seals with.
    pub key: SegmentKeyId,
}

/// What a station takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Time has passed.
    Wake,
    /// The reign that this node obeys or holds, if there is one.
    Reign(Option<Epoch>),
    /// The content groups that this node belongs to.
    Groups(BTreeSet<Name>),
    /// A message came, authentic and for the first time; an announcement may have come in LeaderAlive.
    Message {
        /// Who says it.
        from: NodeId,
        /// To this node alone?
        alone: bool,
        /// What.
        message: TransferMessage,
    },
    /// Frames of one session came, proved by their seals.
    Frames(Vec<FrameHeader>),
    /// An assignment of which something was kept.
    Kept {
        /// The assignment.
        assignment: AssignmentId,
        /// The bytes of its last [`receiver::Output::Persist`].
        bytes: Vec<u8>,
    },
    /// An assignment is here whole, proved and durable.
    Have {
        /// The assignment.
        assignment: AssignmentId,
        /// How it is cut.
        geometry: Geometry,
    },
    /// Blocks of an assignment came in another way than from a neighbour; see [`receiver::Input::Came`].
    Came {
        /// The assignment.
        assignment: AssignmentId,
        /// How it is cut.
        geometry: Geometry,
        /// The blocks.
        blocks: Range<u32>,
    },
    /// Fetch an assignment from one of these, the first one first.
    Fetch {
        /// The assignment.
        assignment: AssignmentId,
        /// Nodes that hold it, or part of it.
        sources: Vec<NodeId>,
    },
    /// Send an assignment. What of it is here is known from its receiver, if it has one.
    Send(Box<Job>),
    /// Send a small assignment without a session.
    SendSmall(Box<SmallJob>),
    /// For one sender.
    Sender(SessionId, sender::Input),
    /// For one receiver.
    Receiver(AssignmentId, receiver::Input),
    /// An assignment is of no interest any more: its sessions end.
    Forget(AssignmentId),
    /// The segment key that frames are sealed under from now on.
    Key(SegmentKeyId),
}

/// What a station wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// What a sender wants.
    Sender(SessionId, sender::Output),
    /// What a receiver wants.
    Receiver(AssignmentId, receiver::Output),
    /// What the sender of a small assignment wants.
    Small(AssignmentId, small::Output),
    /// An assignment is too long to go without a session.
    NotSmall(AssignmentId, NotSmall),
    /// Send a message to one node.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: TransferMessage,
    },
    /// This session's frames are wanted: listen where they go, and prove them.
    Listen(Box<Announcement>),
    /// This session's frames are wanted no longer.
    Ignore(SessionId),
    /// A sender began; its announcement says how to seal its frames.
    Opened(Box<Announcement>),
    /// More assignments are announced than a node takes at a time.
    TooMany(AssignmentId),
}

/// Assignments at a time.
const RECEIVERS_MAX: usize = 64;
/// Sessions that this node sends at a time.
const SENDERS_MAX: usize = 32;
/// Beside a session for all, a session for one gets such a part of the link.
const SINGLE_SHARE: u64 = 50;
/// Neighbours that a node serves with one assignment at a time: more would share its link to nobody's good.
const SERVED_MAX: usize = 2;

impl Station {
    /// A node that has no transfers yet. Sessions are held by `sending`, assignments received by `receiving`.
    pub const fn new(
        own: Own,
        sending: Settings,
        receiving: receiver::Settings,
        random: Random,
    ) -> Self {
        Self {
            own,
            sending,
            receiving,
            reign: None,
            groups: BTreeSet::new(),
            receivers: BTreeMap::new(),
            senders: BTreeMap::new(),
            smalls: BTreeMap::new(),
            routes: BTreeMap::new(),
            opened: 0,
            random,
            sender_outbox: Outbox::new(),
            receiver_outbox: Outbox::new(),
        }
    }

    /// What it sends.
    pub fn senders(&self) -> impl Iterator<Item = (SessionId, &Sender)> {
        self.senders
            .iter()
            .map(|(session, sender)| (*session, sender))
    }

    /// What it receives, or has.
    pub fn receivers(&self) -> impl Iterator<Item = &Receiver> {
        self.receivers.values()
    }

    /// Sessions of leaders that are not over, as far as this node heard: whoever leads next goes on with them.
    pub fn unfinished(&self) -> impl Iterator<Item = &Announcement> {
        let sessions = self.receivers.values().flat_map(Receiver::sessions);
        sessions.filter(|session| session.sender == session.epoch.leader)
    }

    /// One that it receives, or has.
    pub fn receiver(&self, assignment: AssignmentId) -> Option<&Receiver> {
        self.receivers.get(&assignment)
    }
}

impl Machine for Station {
    type Input = Input;
    type Output = Output;

    fn handle(&mut self, now: Time, input: Input, out: &mut Outbox<Output>) {
        match input {
            Input::Wake => self.wake(now, out),
            Input::Reign(reign) => self.obey(now, reign, out),
            Input::Groups(groups) => self.groups = groups,
            Input::Message {
                from,
                alone,
                message,
            } => self.hear(now, from, alone, message, out),
            Input::Frames(frames) => {
                let session = frames.first().map(|frame| frame.session);
                let route = session.and_then(|session| self.routes.get(&session));
                if let Some(assignment) = route.copied() {
                    self.receive(now, assignment, receiver::Input::Frames(frames), out);
                }
            }
            Input::Kept { assignment, bytes } => {
                if self.know(now, assignment, out) {
                    self.receive(now, assignment, receiver::Input::Start { kept: bytes }, out);
                }
            }
            Input::Have {
                assignment,
                geometry,
            } => {
                if self.know(now, assignment, out) {
                    self.receive(now, assignment, receiver::Input::Have(geometry), out);
                }
            }
            Input::Came {
                assignment,
                geometry,
                blocks,
            } => {
                if self.know(now, assignment, out) {
                    let input = receiver::Input::Came { geometry, blocks };
                    self.receive(now, assignment, input, out);
                }
            }
            Input::Fetch {
                assignment,
                sources,
            } => self.fetch(now, assignment, sources, out),
            Input::Send(job) => self.open(now, *job, self.sending.clone(), out),
            Input::SendSmall(job) => self.open_small(now, *job, out),
            Input::Sender(session, input) => self.send(now, session, input, out),
            Input::Receiver(assignment, input) => self.receive(now, assignment, input, out),
            Input::Forget(assignment) => self.forget(now, assignment, out),
            Input::Key(key) => self.own.key = key,
        }
    }

    fn wake_at(&self) -> Option<Time> {
        let senders = self.senders.values().filter_map(Machine::wake_at);
        let receivers = self.receivers.values().filter_map(Machine::wake_at);
        let smalls = self.smalls.values().filter_map(Machine::wake_at);
        senders.chain(receivers).chain(smalls).min()
    }
}

impl Station {
    fn wake(&mut self, now: Time, out: &mut Outbox<Output>) {
        let due = |at: Option<Time>| at.is_some_and(|at| at <= now);
        let senders = self
            .senders
            .iter()
            .filter(|(_, sender)| due(sender.wake_at()));
        let senders: Vec<SessionId> = senders.map(|(session, _)| *session).collect();
        for session in senders {
            self.send(now, session, sender::Input::Wake, out);
        }
        let smalls = self.smalls.iter().filter(|(_, small)| due(small.wake_at()));
        let smalls: Vec<AssignmentId> = smalls.map(|(assignment, _)| *assignment).collect();
        for assignment in smalls {
            self.send_small(now, assignment, small::Input::Wake, out);
        }
        let receivers = self
            .receivers
            .iter()
            .filter(|(_, receiver)| due(receiver.wake_at()));
        let receivers: Vec<AssignmentId> = receivers.map(|(assignment, _)| *assignment).collect();
        for assignment in receivers {
            self.receive(now, assignment, receiver::Input::Wake, out);
        }
    }

    /// A leader that is none any more sends no longer; whom it served as a neighbour, it goes on serving.
    fn obey(&mut self, now: Time, reign: Option<Epoch>, out: &mut Outbox<Output>) {
        self.reign = reign;
        let deposed: Vec<SessionId> = self
            .senders
            .iter()
            .filter(|(_, sender)| sender.job().way != Way::Single)
            .filter(|(_, sender)| reign.is_some_and(|reign| reign != sender.job().epoch))
            .map(|(session, _)| *session)
            .collect();
        for session in deposed {
            self.send(now, session, sender::Input::Deposed, out);
        }
    }

    fn hear(
        &mut self,
        now: Time,
        from: NodeId,
        alone: bool,
        message: TransferMessage,
        out: &mut Outbox<Output>,
    ) {
        match message {
            TransferMessage::Announce(announcement) => {
                self.announced(now, from, announcement, out);
            }
            TransferMessage::Status(status) => {
                let session = status.session;
                if self.smalls.contains_key(&status.assignment)
                    && session == Small::session(&status.assignment)
                {
                    let (assignment, input) =
                        (status.assignment, small::Input::Status { from, status });
                    return self.send_small(now, assignment, input, out);
                }
                self.send(now, session, sender::Input::Status { from, status }, out);
            }
            TransferMessage::Flush(flush) => {
                if let Some(assignment) = self.route(from, flush.session) {
                    let input = receiver::Input::Flush { flush, alone };
                    self.receive(now, assignment, input, out);
                }
            }
            TransferMessage::Mend(mend) => {
                if let Some(assignment) = self.route(from, mend.session) {
                    self.receive(now, assignment, receiver::Input::Mend(mend), out);
                }
            }
            TransferMessage::Close(session) => {
                if let Some(assignment) = self.route(from, session) {
                    self.routes.remove(&session);
                    out.push(Output::Ignore(session));
                    self.receive(now, assignment, receiver::Input::Closed(session), out);
                }
            }
            TransferMessage::Divert(divert) => {
                if self.reign.is_some_and(|reign| reign.leader == from) {
                    self.fetch(now, divert.assignment, divert.sources, out);
                }
            }
            TransferMessage::Fetch(assignment) => self.serve(now, from, assignment, out),
            TransferMessage::Refuse(assignment) => {
                self.receive(now, assignment, receiver::Input::Refused(from), out);
            }
            TransferMessage::Small(piece) => {
                let leads = self.reign.is_some_and(|reign| reign.leader == from);
                let assignment = piece.assignment;
                if leads && self.know(now, assignment, out) {
                    let input = receiver::Input::Small { from, piece };
                    self.receive(now, assignment, input, out);
                }
            }
            // Reports have machines of their own.
            TransferMessage::Report(_)
            | TransferMessage::Request(_)
            | TransferMessage::Order(_) => {}
        }
    }

    /// The receiver of a session, if `from` sends it.
    fn route(&self, from: NodeId, session: SessionId) -> Option<AssignmentId> {
        let assignment = self.routes.get(&session)?;
        let mut sessions = self.receivers.get(assignment)?.sessions();
        sessions
            .any(|known| known.session() == session && known.sender == from)
            .then_some(*assignment)
    }

    fn announced(
        &mut self,
        now: Time,
        from: NodeId,
        announcement: Box<Announcement>,
        out: &mut Outbox<Output>,
    ) {
        let assignment = announcement.assignment;
        let leads = self.reign == Some(announcement.epoch) && announcement.epoch.leader == from;
        let is_source = |receiver: &Receiver| receiver.source() == Some(from);
        let serves = self.receivers.get(&assignment).is_some_and(is_source);
        let group = announcement.group.as_ref();
        let concerns = serves || group.is_none_or(|group| self.groups.contains(group));
        if announcement.sender != from || !(leads || serves) || !concerns {
            return;
        }
        let session = announcement.session();
        if self
            .routes
            .get(&session)
            .is_some_and(|known| *known != assignment)
        {
            return;
        }
        if !self.know(now, assignment, out) {
            return;
        }
        let input = receiver::Input::Announced(announcement.clone());
        let is_new = !self.routes.contains_key(&session);
        if is_new {
            self.drop_stale_routes(out);
        }
        self.receive(now, assignment, input, out);
        let receiver = &self.receivers[&assignment];
        if is_new && receiver.sessions().any(|known| known.session() == session) {
            self.routes.insert(session, assignment);
            if !receiver.is_complete() {
                out.push(Output::Listen(announcement));
            }
        }
    }

    /// Sessions that their receivers gave up.
    fn drop_stale_routes(&mut self, out: &mut Outbox<Output>) {
        let receivers = &self.receivers;
        self.routes.retain(|session, assignment| {
            let known = receivers.get(assignment).is_some_and(|receiver| {
                receiver.sessions().any(|known| known.session() == *session)
            });
            if !known {
                out.push(Output::Ignore(*session));
            }
            known
        });
    }

    /// Has a receiver for the assignment, unless there are too many.
    fn know(&mut self, now: Time, assignment: AssignmentId, out: &mut Outbox<Output>) -> bool {
        if self.receivers.contains_key(&assignment) {
            return true;
        }
        if self.receivers.len() == RECEIVERS_MAX {
            out.push(Output::TooMany(assignment));
            return false;
        }
        let random = Random::new(self.random.bits());
        let receiver = Receiver::new(assignment, self.receiving.clone(), random);
        self.receivers.insert(assignment, receiver);
        let start = receiver::Input::Start { kept: Vec::new() };
        self.receive(now, assignment, start, out);
        true
    }

    fn fetch(
        &mut self,
        now: Time,
        assignment: AssignmentId,
        mut sources: Vec<NodeId>,
        out: &mut Outbox<Output>,
    ) {
        sources.retain(|source| *source != self.own.node);
        if self.know(now, assignment, out) {
            self.receive(now, assignment, receiver::Input::Divert(sources), out);
        }
    }

    /// Opens a session for one neighbour.
    fn serve(&mut self, now: Time, to: NodeId, assignment: AssignmentId, out: &mut Outbox<Output>) {
        let of_assignment = |sender: &&Sender| sender.job().assignment == assignment;
        let served = self.senders.values().filter(of_assignment);
        let served: Vec<NodeId> = served.filter_map(Sender::served).collect();
        if served.contains(&to) {
            return;
        }
        let receiver = self.receivers.get(&assignment);
        let receiver = receiver.filter(|receiver| !receiver.has_failed());
        let geometry = receiver.and_then(Receiver::geometry).copied();
        // Whoever serves this node gets nothing from it: two could wait for each other.
        let in_turn = receiver.and_then(Receiver::source) == Some(to);
        let Some(geometry) = geometry.filter(|_| served.len() < SERVED_MAX && !in_turn) else {
            let message = TransferMessage::Refuse(assignment);
            return out.push(Output::Send { to, message });
        };
        let epoch = self.reign.unwrap_or(Epoch {
            counter: 0,
            leader: self.own.node,
        });
        let job = Job {
            assignment,
            name: String::new(),
            group: None,
            epoch,
            geometry,
            participants: BTreeSet::from([to]),
            ask: Ask::All,
            is_new: false,
            is_available: false,
            way: Way::Single,
        };
        let settings = Settings {
            finish: Finish::All { quorum: 1 },
            slow: Slow::Wait,
            carry: false,
            ..self.sending.clone()
        };
        self.open(now, job, settings, out);
    }

    fn open(&mut self, now: Time, job: Job, settings: Settings, out: &mut Outbox<Output>) {
        if self.senders.len() == SENDERS_MAX {
            return out.push(Output::TooMany(job.assignment));
        }
        self.opened += 1;
        let mut salt = self.own.salt;
        let number = self.opened.to_be_bytes();
        salt[8..]
            .iter_mut()
            .zip(number)
            .for_each(|(byte, of_number)| *byte ^= of_number);
        // Sessions are named by the first bytes: other ones each time.
        salt[..4].copy_from_slice(&(self.random.bits() as u32).to_be_bytes());
        let identity = Identity {
            node: self.own.node,
            incarnation: self.own.incarnation,
            key: self.own.key,
            salt,
        };
        let assignment = job.assignment;
        let sender = Sender::new(job, &identity, settings);
        let session = sender.announcement().session();
        out.push(Output::Opened(Box::new(sender.announcement().clone())));
        self.senders.insert(session, sender);
        self.share(now, out);
        let receiver = self.receivers.get(&assignment);
        let proved: Vec<_> = receiver.into_iter().flat_map(Receiver::proved).collect();
        for blocks in proved {
            self.send(now, session, sender::Input::Available(blocks), out);
        }
        self.send(now, session, sender::Input::Start, out);
    }

    fn open_small(&mut self, now: Time, job: SmallJob, out: &mut Outbox<Output>) {
        let assignment = job.assignment;
        match SmallSender::new(job, self.sending.clone()) {
            Err(error) => out.push(Output::NotSmall(assignment, error)),
            Ok(_) if self.smalls.len() == SENDERS_MAX => out.push(Output::TooMany(assignment)),
            Ok(sender) => {
                self.smalls.insert(assignment, sender);
                self.send_small(now, assignment, small::Input::Start, out);
            }
        }
    }

    fn send_small(
        &mut self,
        now: Time,
        assignment: AssignmentId,
        input: small::Input,
        out: &mut Outbox<Output>,
    ) {
        let Some(sender) = self.smalls.get_mut(&assignment) else {
            return;
        };
        let mut outbox = Outbox::new();
        sender.handle(now, input, &mut outbox);
        if sender.is_over() {
            self.smalls.remove(&assignment);
        }
        for output in outbox.drain() {
            out.push(Output::Small(assignment, output));
        }
    }

    fn forget(&mut self, now: Time, assignment: AssignmentId, out: &mut Outbox<Output>) {
        let of_assignment = self.senders.iter();
        let of_assignment =
            of_assignment.filter(|(_, sender)| sender.job().assignment == assignment);
        let sessions: Vec<SessionId> = of_assignment.map(|(session, _)| *session).collect();
        for session in sessions {
            self.send(now, session, sender::Input::Stop, out);
        }
        self.receivers.remove(&assignment);
        self.drop_stale_routes(out);
    }

    /// What this node cannot get it cannot give: others look for another source.
    fn stop_serving(&mut self, now: Time, assignment: AssignmentId, out: &mut Outbox<Output>) {
        let senders = self.senders.iter().filter(|(_, sender)| {
            sender.job().way == Way::Single && sender.job().assignment == assignment
        });
        let sessions: Vec<SessionId> = senders.map(|(session, _)| *session).collect();
        for session in sessions {
            self.send(now, session, sender::Input::Stop, out);
        }
    }

    fn send(
        &mut self,
        now: Time,
        session: SessionId,
        input: sender::Input,
        out: &mut Outbox<Output>,
    ) {
        let Some(sender) = self.senders.get_mut(&session) else {
            return;
        };
        let was_sending = sender.is_sending();
        sender.handle(now, input, &mut self.sender_outbox);
        let changed = was_sending != sender.is_sending();
        let is_over = sender.is_over();
        if is_over {
            self.senders.remove(&session);
        }
        for output in self.sender_outbox.drain() {
            out.push(Output::Sender(session, output));
        }
        if is_over || changed {
            self.share(now, out);
        }
    }

    /// Sessions share the link. Those for all go first: whoever is served alone is helped by others as well.
    fn share(&mut self, now: Time, out: &mut Outbox<Output>) {
        let count = |way| {
            let sending = self.senders.values().filter(|sender| sender.is_sending());
            let of_way = sending.filter(|sender| sender.job().way == way);
            of_way.count() as u64
        };
        let (singles, groups) = (count(Way::Single), count(Way::Group));
        let all = self.sending.rate.ceiling();
        let shares: Vec<(SessionId, u64)> = self
            .senders
            .iter()
            .map(|(session, sender)| {
                let share = match sender.job().way {
                    Way::Single if groups == 0 => all / singles.max(1),
                    Way::Single => all / SINGLE_SHARE,
                    Way::Group => all / groups.max(1),
                    Way::Chain => all,
                };
                (*session, share.max(1))
            })
            .collect();
        for (session, share) in shares {
            self.send(now, session, sender::Input::Ceiling(share), out);
        }
    }

    fn receive(
        &mut self,
        now: Time,
        assignment: AssignmentId,
        input: receiver::Input,
        out: &mut Outbox<Output>,
    ) {
        let Some(receiver) = self.receivers.get_mut(&assignment) else {
            return;
        };
        receiver.handle(now, input, &mut self.receiver_outbox);
        let outputs: Vec<_> = self.receiver_outbox.drain().collect();
        for output in outputs {
            if let receiver::Output::Failed(_) = &output {
                self.stop_serving(now, assignment, out);
            }
            if let receiver::Output::Available(blocks) = &output {
                let of_assignment = self.senders.iter();
                let of_assignment =
                    of_assignment.filter(|(_, sender)| sender.job().assignment == assignment);
                let sessions: Vec<SessionId> = of_assignment.map(|(session, _)| *session).collect();
                for session in sessions {
                    let input = sender::Input::Available(blocks.clone());
                    self.send(now, session, input, out);
                }
            }
            out.push(Output::Receiver(assignment, output));
        }
    }
}
