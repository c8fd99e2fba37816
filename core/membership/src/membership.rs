use core::net::SocketAddr;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bellwether_machine::{Deadlines, Machine, Outbox, Random};
use bellwether_types::{Epoch, Incarnation, Name, NodeId, Time};
use bellwether_wire::control::{
    Carried, Formats, MembershipMessage, MergeId, Record, StateVersion,
};

use crate::channel::Moving;
use crate::exchange::Exchange;
use crate::farewell::Presence;
use crate::input::{Identity, Input, Measured};
use crate::leader::Leader;
use crate::member::{Member, is_shown};
use crate::news::News;
use crate::output::{Output, To};
use crate::settings::Settings;
use crate::state::SegmentState;

/// Membership of one node in its segment.
#[derive(Debug, Clone)]
pub struct Membership {
    pub(crate) settings: Settings,
    pub(crate) state: State,
    pub(crate) deadlines: Deadlines<Timer>,
    pub(crate) random: Random,
}

/// All that membership knows, without any moment in time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    pub(crate) identity: Identity,
    /// Drawn at start: what shows it was made after the start.
    pub(crate) nonce: u64,
    /// What the node says of itself; `None` until it measured.
    pub(crate) record: Option<Record>,
    /// What all members know, as far as this one does.
    pub(crate) segment: SegmentState,
    /// Is that known to be newer than this node's start? Until then it may be a recording.
    pub(crate) trusted: bool,
    pub(crate) role: Role,
    pub(crate) exchange: Option<Exchange>,
    /// The last merge that is over for this node, whatever its end.
    pub(crate) merged: Option<MergeId>,
    /// The control channel.
    pub(crate) control: SocketAddr,
    pub(crate) moving: Option<Moving>,
    /// Data channels listened on.
    pub(crate) joined: BTreeMap<Name, SocketAddr>,
    /// Pages that wait for their turn.
    pub(crate) outgoing: VecDeque<(To, MembershipMessage)>,
    pub(crate) presence: Presence,
    /// Whoever leads has no such member.
    pub(crate) put_out: BTreeSet<NodeId>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    Leaderless,
    Member(Member),
    Leader(Box<Leader>),
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// The quiet interval before a report.
    Report,
    /// The longest wait for quiet.
    ReportMax,
    /// The turn to register.
    Register,
    /// The turn to show that the node is here.
    Refresh,
    /// The turn to ask for what is missing.
    Ask,
    /// The end of a collection of questions.
    Answer,
    /// The end of a window in which each member showed itself.
    Sweep,
    /// The next inquiry to those who did not.
    Inquire,
    /// The next burst of pages.
    Pace,
    /// The end of a collection of strangers' registrations.
    Merge,
    /// The leader's next word about a merge.
    Tick,
    /// The turn to acknowledge.
    Ack,
    /// The turn to say what pages of a merge are missing.
    Nack,
    /// The next order to move.
    Move,
    /// The end of patience on a moved control channel.
    Fallback,
    /// The next farewell.
    Leave,
}

/// Timers that belong to a role and end with it.
const TIMERS_OF_ROLE: [Timer; 13] = [
    Timer::Report,
    Timer::ReportMax,
    Timer::Register,
    Timer::Refresh,
    Timer::Ask,
    Timer::Answer,
    Timer::Sweep,
    Timer::Inquire,
    Timer::Pace,
    Timer::Merge,
    Timer::Tick,
    Timer::Move,
    Timer::Fallback,
];

/// Timers run in one turn; the rest in the next, so that a turn ends whatever the settings.
const TIMERS_IN_TURN_MAX: usize = 64;
/// Pages in a burst, shared by those who send at the same time.
const BURST: usize = 8;
/// Pages that may wait; whoever misses one asks for it.
const OUTGOING_MAX: usize = 1 << 14;

impl Membership {
    /// A node that knows nothing of its segment yet.
    pub fn new(identity: Identity, settings: Settings, mut random: Random) -> Self {
        let state = State {
            identity,
            nonce: random.bits(),
            record: None,
            segment: SegmentState::default(),
            trusted: false,
            role: Role::Leaderless,
            exchange: None,
            merged: None,
            control: settings.channel,
            moving: None,
            joined: BTreeMap::new(),
            outgoing: VecDeque::new(),
            presence: Presence::Here,
            put_out: BTreeSet::new(),
        };
        Self {
            settings,
            state,
            deadlines: Deadlines::new(),
            random,
        }
    }

    /// All that it knows, for comparison.
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// What all members know, as far as this one does.
    pub const fn segment(&self) -> &SegmentState {
        &self.state.segment
    }

    /// The members that this node knows of, for the election and for whoever distributes (REG-13).
    pub fn members(&self) -> impl Iterator<Item = (NodeId, &Record)> {
        self.state.segment.members()
    }

    /// The members that can take part in distribution now (CLUSTER-11).
    pub fn participants(&self) -> impl Iterator<Item = (NodeId, &Record)> {
        self.members().filter(|(_, record)| !record.busy)
    }

    /// Is this node in the leader's report, or the leader?
    pub const fn is_registered(&self) -> bool {
        match &self.state.role {
            Role::Leaderless => false,
            Role::Member(member) => member.is_registered(),
            Role::Leader(leader) => leader.has_reported(),
        }
    }

    /// What is waited for, and until when; soonest first.
    pub fn timers(&self) -> impl Iterator<Item = (Time, Timer)> + '_ {
        self.deadlines.pending()
    }

    pub(crate) const fn node(&self) -> NodeId {
        self.state.identity.node
    }

    /// The version in force, if it is known to be newer than this node's start.
    pub(crate) fn held(&self) -> Option<StateVersion> {
        self.state.segment.version().filter(|_| self.state.trusted)
    }

    /// Is this start of the node among the members?
    pub(crate) fn is_in_force(&self) -> bool {
        is_shown(self.state.segment.record(self.node()), self.state.nonce)
    }

    pub(crate) const fn epoch(&self) -> Option<Epoch> {
        match &self.state.role {
            Role::Leaderless => None,
            Role::Member(member) => Some(member.epoch),
            Role::Leader(leader) => Some(leader.epoch),
        }
    }

    pub(crate) fn change_role(&mut self, role: Role) {
        for timer in TIMERS_OF_ROLE {
            self.deadlines.cancel(timer);
        }
        self.state.outgoing.clear();
        self.state.moving = None;
        self.state.role = role;
        let epoch = self.epoch();
        let exchange = self.state.exchange.as_ref();
        if epoch.is_some() && exchange.is_some_and(|exchange| Some(exchange.merge.epoch) != epoch) {
            self.end_exchange();
        }
    }

    /// Sends a page in its turn.
    pub(crate) fn enqueue(&mut self, now: Time, to: To, message: MembershipMessage) {
        if self.state.outgoing.len() < OUTGOING_MAX {
            self.state.outgoing.push_back((to, message));
        }
        if self.deadlines.get(Timer::Pace).is_none() {
            self.deadlines.set(Timer::Pace, now);
        }
    }

    fn burst(&mut self, now: Time, out: &mut Outbox<Output>) {
        let senders = self.state.exchange.as_ref().map_or(1, Exchange::senders);
        for _ in 0..(BURST / senders).max(1) {
            let Some((to, message)) = self.state.outgoing.pop_front() else {
                return;
            };
            out.push(Output::Send { to, message });
        }
        self.deadlines
            .set(Timer::Pace, now + self.settings.spans.pace);
    }

    fn start(&mut self, now: Time, kept: &[u8], out: &mut Outbox<Output>) {
        if let Ok(control) = minicbor::decode(kept) {
            self.state.control = control;
        }
        self.await_company(now);
        out.push(Output::Control(self.state.control));
    }

    fn measured(&mut self, now: Time, measured: Measured, out: &mut Outbox<Output>) {
        let record = measured.into_record(&self.state.identity, self.state.nonce);
        let news = match &self.state.record {
            None => News::Urgent,
            Some(known) => News::of(known, &record),
        };
        if news == News::None {
            return;
        }
        self.state.record = Some(record);
        match &self.state.role {
            Role::Leaderless => {}
            Role::Member(_) => self.member_changed(now, news == News::Urgent),
            Role::Leader(_) => self.note_own_record(now, out),
        }
    }

    fn take(
        &mut self,
        now: Time,
        from: NodeId,
        incarnation: Incarnation,
        message: MembershipMessage,
        out: &mut Outbox<Output>,
    ) {
        match message {
            MembershipMessage::Register(register) => {
                self.take_registration(now, from, incarnation, register, out);
            }
            MembershipMessage::Refresh(refresh) => {
                self.take_refresh(from, incarnation, &refresh);
            }
            MembershipMessage::Inquiry(inquiry) => self.answer_inquiry(now, from, &inquiry, out),
            MembershipMessage::Leave(leave) => self.take_leave(now, from, incarnation, &leave),
            MembershipMessage::Report(page) => self.take_page(now, from, &page, out),
            MembershipMessage::Ask(ask) => {
                self.take_question(now, from, incarnation, &ask);
            }
            MembershipMessage::Move(order) => self.take_move(now, from, &order, out),
            MembershipMessage::Request(request) => self.take_request(now, from, request, out),
            MembershipMessage::Data(data) => self.take_data(now, from, data, out),
            MembershipMessage::Ack(ack) => self.take_ack(now, from, incarnation, &ack, out),
            MembershipMessage::Round(round) => self.take_round(now, from, &round, out),
            MembershipMessage::Nack(nack) => self.take_nack(now, from, &nack),
        }
    }

    fn run(&mut self, now: Time, timer: Timer, out: &mut Outbox<Output>) {
        match timer {
            Timer::Report | Timer::ReportMax => self.report(now, out),
            Timer::Register => self.register(now, out),
            Timer::Refresh => self.refresh(now, out),
            Timer::Ask => self.ask(now, out),
            Timer::Answer => self.answer(now),
            Timer::Sweep => self.sweep(now),
            Timer::Inquire => self.inquire(now, out),
            Timer::Pace => self.burst(now, out),
            Timer::Merge => self.start_merge(now, false, out),
            Timer::Tick => self.tick(now, out),
            Timer::Ack => self.acknowledge(now, out),
            Timer::Nack => self.miss(now, out),
            Timer::Move => self.repeat_move(now, out),
            Timer::Fallback => self.fall_back(now, out),
            Timer::Leave => self.say_farewell(now, out),
        }
    }

    fn lose_leader(&mut self, now: Time) {
        self.change_role(Role::Leaderless);
        self.await_company(now);
    }
}

impl Machine for Membership {
    type Input = Input;
    type Output = Output;

    fn handle(&mut self, now: Time, input: Input, out: &mut Outbox<Output>) {
        if self.state.presence == Presence::Gone {
            return;
        }
        match input {
            Input::Start { kept } => self.start(now, &kept, out),
            Input::Wake => {}
            Input::Message {
                from,
                incarnation,
                message,
            } => self.take(now, from, incarnation, message, out),
            Input::Carried(carried) => self.take_carried(now, &carried, out),
            Input::Leading(epoch) => self.lead(now, epoch, out),
            Input::Following(epoch) => self.follow(now, epoch),
            Input::Leaderless => self.lose_leader(now),
            Input::Measured(measured) => self.measured(now, measured, out),
            Input::Leave => self.leave(now, out),
            Input::Order(order) => self.obey(now, order, out),
            Input::PutOut(nodes) => {
                self.state.put_out = nodes;
                self.remove_put_out(now, out);
            }
        }
        for _ in 0..TIMERS_IN_TURN_MAX {
            let Some(timer) = self.deadlines.pop_due(now) else {
                break;
            };
            self.run(now, timer, out);
        }
    }

    fn wake_at(&self) -> Option<Time> {
        self.deadlines.next()
    }
}

impl Membership {
    /// What rides in LeaderAlive from now on: the latest report's short form, and where the control channel is, or is
    /// about to be.
    pub(crate) fn carry(&self, out: &mut Outbox<Output>) {
        let Role::Leader(leader) = &self.state.role else {
            return;
        };
        let moving = self.state.moving.as_ref().map(Moving::target);
        let control = moving.unwrap_or(self.state.control);
        out.push(Output::Carry(Carried {
            control: Some(control).filter(|control| *control != self.settings.channel),
            ..self.state.carried(leader.epoch)
        }));
    }
}

impl State {
    /// The merge that runs, as far as this node is concerned.
    pub const fn exchange(&self) -> Option<&Exchange> {
        self.exchange.as_ref()
    }

    /// The latest report's short form.
    fn carried(&self, epoch: Epoch) -> Carried {
        let version = self.segment.version();
        Carried {
            sequence: version
                .filter(|version| version.epoch == epoch)
                .map(|version| version.sequence),
            digest: self.segment.digest(),
            members: u32::try_from(self.segment.member_count()).unwrap_or(u32::MAX),
            formats: self.common_formats(),
            ..Carried::default()
        }
    }

    /// What all members can read.
    pub(crate) fn common_formats(&self) -> Option<Formats> {
        let mut members = self.segment.members().map(|(_, record)| record.formats);
        let first = members.next()?;
        members.try_fold(first, |common, next| common.common(next))
    }
}
