//! What a member does towards its leader: it registers until it sees itself in a report (REG-02 to REG-08),
//! shows that it is here (REG-14), and asks for what it missed.

use std::time::Duration;

use bellwether_machine::Outbox;
use bellwether_types::{Epoch, NodeId, Time};
use bellwether_wire::control::{
    Ask, Carried, Inquiry, Key, MembershipMessage, Page, Record, Refresh, Register, StateVersion,
};

use crate::ahead::Ahead;
use crate::farewell::Presence;
use crate::membership::{Membership, Role, Timer};
use crate::output::{Event, Output, To};

/// A member's stand towards its leader.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Member {
    pub(crate) epoch: Epoch,
    pub(crate) standing: Standing,
    /// What came of the leader's next state.
    pub(crate) ahead: Ahead,
    /// Registrations sent in this reign.
    attempts: u32,
    /// How many members there are, as LeaderAlive last said.
    members: Option<u32>,
    /// Questions sent for the state that is aimed at.
    asked: u8,
    /// How often a question may still give way to pages that arrive.
    patience: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Standing {
    /// In the state held from an earlier reign: the leader's first report confirms it, if it starts from there.
    Expecting,
    /// Not in the leader's report, as far as known.
    Registering,
    /// In the leader's report.
    Registered,
}

/// How often a question gives way to pages that arrive before it is asked all the same.
const PATIENCE: u8 = 8;
/// Questions for what changed, after which everything is asked for.
const QUESTIONS: u8 = 3;

impl Member {
    pub(crate) const fn is_registered(&self) -> bool {
        matches!(self.standing, Standing::Registered)
    }
}

impl Membership {
    pub(crate) fn follow(&mut self, now: Time, epoch: Epoch) {
        if self.epoch() == Some(epoch) || epoch.leader == self.node() {
            return;
        }
        if !self.state.trusted {
            self.state.segment = Default::default();
        }
        let standing = match self.held() {
            Some(held) if self.is_in_force() && held.epoch == epoch => Standing::Registered,
            Some(_) if self.is_in_force() => Standing::Expecting,
            _ => Standing::Registering,
        };
        self.change_role(Role::Member(Member {
            epoch,
            standing,
            ahead: Ahead::over(&self.state.segment),
            attempts: 0,
            members: None,
            asked: 0,
            patience: PATIENCE,
        }));
        let spans = &self.settings.spans;
        match standing {
            Standing::Expecting => {
                let spread = spans.repeat_spread(self.people());
                let grace = spans.report_delay + spans.resend;
                self.register_in(now, grace, spread);
            }
            Standing::Registering => self.register_in(now, Duration::ZERO, spans.first_spread),
            Standing::Registered => self.refresh_in(now, true),
        }
        if matches!(self.state.presence, Presence::Leaving(_)) {
            self.deadlines.set(Timer::Leave, now);
        }
    }

    pub(crate) fn take_carried(&mut self, now: Time, carried: &Carried, out: &mut Outbox<Output>) {
        if let Role::Member(_) = &self.state.role {
            // Elections and merges need all on one channel.
            self.move_to(now, carried.control.unwrap_or(self.settings.channel), out);
        }
        let Role::Member(member) = &mut self.state.role else {
            return;
        };
        let first = member.members.replace(carried.members).is_none();
        if first
            && carried.members > 1
            && member.attempts == 0
            && member.standing == Standing::Registering
        {
            // Few join a segment that stands, and need not wait as if all did.
            let spread = self.settings.spans.stray_spread(self.people());
            let turn = now + self.random.span(spread);
            self.register_by(turn);
        }
        let Role::Member(member) = &mut self.state.role else {
            return;
        };
        if let Some(sequence) = carried.sequence {
            member.ahead.aim(sequence, carried.digest);
            self.advance(now, out);
        }
    }

    pub(crate) fn take_page(
        &mut self,
        now: Time,
        from: NodeId,
        page: &Page,
        out: &mut Outbox<Output>,
    ) {
        let (node, nonce) = (self.node(), self.state.nonce);
        let people = self.people();
        let Role::Member(member) = &mut self.state.role else {
            return;
        };
        if from != member.epoch.leader || page.to.epoch != member.epoch {
            return;
        }
        let segment = &self.state.segment;
        let covers = match member.ahead.take(segment, page, &Key::Member(node)) {
            Ok(covers) => covers,
            Err(fault) => return out.push(Output::Told(Event::BadPage(from, fault))),
        };
        let shown = match member.ahead.get(&Key::Member(node)) {
            Some(value) => Ahead::nonce_of(value) == Some(nonce),
            // Nothing new of it; then the state in force says whether it is in, if that is of this reign.
            None => {
                segment
                    .version()
                    .is_some_and(|own| own.epoch == page.to.epoch)
                    && is_shown(segment.record(node), nonce)
            }
        };
        let Role::Member(member) = &mut self.state.role else {
            return;
        };
        let spans = &self.settings.spans;
        let waits = self.deadlines.get(Timer::Ask).is_some();
        if waits && member.patience > 0 {
            member.patience -= 1;
            let turn = now + spans.patience + self.random.span(spans.ask_spread(people));
            self.deadlines.set(Timer::Ask, turn);
        }
        match member.standing {
            Standing::Registering if covers && shown => self.be_registered(now, page.to, out),
            // Only a page that should have named this node says that it is missing (REG-06).
            Standing::Registering if covers && member.attempts > 0 => self.repeat(now, people),
            Standing::Registered if covers && !shown => self.be_missing(now, page.to, out),
            // The leader's line is not known to come from the state held here.
            Standing::Expecting if page.from != self.state.segment.version() => {
                member.standing = Standing::Registering;
                let turn = now + self.random.span(spans.stray_spread(people));
                self.register_by(turn);
            }
            _ => {}
        }
        self.advance(now, out);
    }

    /// Puts the leader's state in force once it is complete, or sees to it that it will be.
    fn advance(&mut self, now: Time, out: &mut Outbox<Output>) {
        let people = self.people();
        let Role::Member(member) = &mut self.state.role else {
            return;
        };
        let Some((sequence, _)) = member.ahead.target() else {
            return;
        };
        let version = StateVersion {
            epoch: member.epoch,
            sequence,
        };
        if self.state.segment.version() == Some(version) {
            return;
        }
        if !member.ahead.is_complete() {
            let waits = self.deadlines.get(Timer::Ask).is_some();
            if member.standing == Standing::Registered && !waits {
                let spans = &self.settings.spans;
                let turn = now + spans.patience + self.random.span(spans.ask_spread(people));
                self.deadlines.set(Timer::Ask, turn);
            }
            return;
        }
        if !member.ahead.descends(&self.state.segment, version) {
            // What is held here must not be lost: the leader is told of it, and merges.
            if member.standing != Standing::Registering {
                member.standing = Standing::Registering;
                let turn = now + self.random.span(self.settings.spans.stray_spread(people));
                self.register_by(turn);
            }
            return;
        }
        let members = member.ahead.settle(&mut self.state.segment, version);
        (member.asked, member.patience) = (0, PATIENCE);
        self.deadlines.cancel(Timer::Ask);
        self.state_changed(now, members, out);
        let Role::Member(member) = &self.state.role else {
            return;
        };
        match (self.is_in_force(), member.standing) {
            (true, Standing::Expecting | Standing::Registering) => {
                self.be_registered(now, version, out);
            }
            (false, Standing::Expecting | Standing::Registered) => {
                self.be_missing(now, version, out);
            }
            _ => {}
        }
        self.catch_up_exchange(now, version, out);
    }

    pub(crate) fn be_registered(
        &mut self,
        now: Time,
        version: StateVersion,
        out: &mut Outbox<Output>,
    ) {
        let Role::Member(member) = &mut self.state.role else {
            return;
        };
        let warm = member.attempts == 0;
        member.standing = Standing::Registered;
        member.attempts = 0;
        self.state.trusted = true;
        self.deadlines.cancel(Timer::Register);
        self.refresh_in(now, warm);
        out.push(Output::Told(Event::Registered(version)));
    }

    fn be_missing(&mut self, now: Time, version: StateVersion, out: &mut Outbox<Output>) {
        if matches!(self.state.presence, Presence::Leaving(_)) {
            return self.be_gone(out);
        }
        let people = self.people();
        let Role::Member(member) = &mut self.state.role else {
            return;
        };
        member.standing = Standing::Registering;
        self.deadlines.cancel(Timer::Ask);
        out.push(Output::Told(Event::Missing(version)));
        self.repeat(now, people);
    }

    /// A merge put this state in force.
    pub(crate) fn settle_in(&mut self, now: Time, version: StateVersion, out: &mut Outbox<Output>) {
        let Role::Member(member) = &mut self.state.role else {
            return;
        };
        member.ahead = Ahead::over(&self.state.segment);
        member
            .ahead
            .aim(version.sequence, self.state.segment.digest());
        self.deadlines.cancel(Timer::Ask);
        self.state_changed(now, true, out);
        if self.is_in_force() {
            self.be_registered(now, version, out);
        } else {
            self.be_missing(now, version, out);
        }
    }

    /// Out of a merge, or out of the leader's sight: from the beginning.
    pub(crate) fn register_anew(&mut self, now: Time) {
        let people = self.people();
        if let Role::Member(member) = &mut self.state.role {
            member.standing = Standing::Registering;
            member.attempts = 0;
            self.repeat(now, people);
        }
    }

    /// A merge is under way, which makes a registration needless until it is over.
    pub(crate) fn put_off_registration(&mut self, now: Time) {
        if self.deadlines.get(Timer::Register).is_some() {
            let turn = now + self.settings.spans.resend * 4;
            self.deadlines.set(Timer::Register, turn);
        }
    }

    /// After the fixed and the random wait (REG-07), unless the turn is sooner anyway.
    fn repeat(&mut self, now: Time, people: usize) {
        let spans = &self.settings.spans;
        let turn = now + spans.repeat_delay + self.random.span(spans.repeat_spread(people));
        self.register_by(turn);
    }

    fn register_in(&mut self, now: Time, delay: Duration, spread: Duration) {
        let turn = now + delay + self.random.span(spread);
        self.deadlines.set(Timer::Register, turn);
    }

    fn register_by(&mut self, turn: Time) {
        let pending = self.deadlines.get(Timer::Register);
        if pending.is_none_or(|pending| turn < pending) {
            self.deadlines.set(Timer::Register, turn);
        }
    }

    pub(crate) fn register(&mut self, now: Time, out: &mut Outbox<Output>) {
        let (people, held) = (self.people(), self.held());
        let Role::Member(member) = &mut self.state.role else {
            return;
        };
        let spans = &self.settings.spans;
        let Some(record) = self.state.record.clone() else {
            return self.register_in(now, spans.resend, spans.repeat_spread(people));
        };
        let epoch = member.epoch;
        member.standing = Standing::Registering;
        member.attempts = member.attempts.saturating_add(1);
        let delay = spans.resend * (1 << member.attempts.min(4)) / 2;
        self.register_in(now, delay, spans.repeat_spread(people));
        out.push(Output::Send {
            to: To::Node(epoch.leader),
            message: MembershipMessage::Register(Register {
                epoch,
                held,
                record,
            }),
        });
    }

    /// Each window once, at a random moment, so that a leader hears all of them spread.
    pub(crate) fn refresh_in(&mut self, now: Time, first: bool) {
        let window = self.settings.spans.refresh(self.people()) * 9 / 10;
        let period = match first {
            true => self.random.span(window),
            false => window * 2 / 3 + self.random.span(window / 3),
        };
        self.deadlines.set(Timer::Refresh, now + period);
    }

    /// Shows that the node is here, and what it newly says of itself.
    pub(crate) fn refresh(&mut self, now: Time, out: &mut Outbox<Output>) {
        let Role::Member(member) = &self.state.role else {
            return;
        };
        self.show(member.epoch, out);
        self.refresh_in(now, false);
    }

    fn show(&self, epoch: Epoch, out: &mut Outbox<Output>) {
        out.push(Output::Send {
            to: To::Node(epoch.leader),
            message: self.sign_of_life(epoch),
        });
    }

    fn sign_of_life(&self, epoch: Epoch) -> MembershipMessage {
        let held = self.held();
        let known = self.state.segment.record(self.node());
        match (&self.state.record, known) {
            (Some(record), Some(known))
                if !record.says_the_same(known) && self.state.exchange.is_none() =>
            {
                MembershipMessage::Register(Register {
                    epoch,
                    held,
                    record: record.clone(),
                })
            }
            _ => MembershipMessage::Refresh(Refresh {
                epoch,
                sequence: held
                    .filter(|held| held.epoch == epoch)
                    .map(|held| held.sequence),
            }),
        }
    }

    pub(crate) fn answer_inquiry(
        &mut self,
        now: Time,
        from: NodeId,
        inquiry: &Inquiry,
        out: &mut Outbox<Output>,
    ) {
        let Role::Member(member) = &self.state.role else {
            return;
        };
        if from != inquiry.epoch.leader || member.epoch != inquiry.epoch {
            return;
        }
        match member.standing {
            Standing::Registered => self.refresh(now, out),
            // The answer says what is held here; a registration later on is a repeat of it.
            // In a merge, what is held here is known already.
            _ if self.may_acknowledge() => self.show(member.epoch, out),
            Standing::Expecting | Standing::Registering => self.register(now, out),
        }
    }

    pub(crate) fn ask(&mut self, now: Time, out: &mut Outbox<Output>) {
        let (people, held) = (self.people(), self.held());
        let Role::Member(member) = &mut self.state.role else {
            return;
        };
        if member.standing != Standing::Registered {
            return;
        }
        let epoch = member.epoch;
        let held = held.filter(|_| member.asked < QUESTIONS);
        member.asked = member.asked.saturating_add(1);
        member.patience = PATIENCE;
        let spans = &self.settings.spans;
        let delay = spans.patience * (1 << member.asked.min(6));
        let turn = now + delay + self.random.span(spans.ask_spread(people));
        self.deadlines.set(Timer::Ask, turn);
        out.push(Output::Send {
            to: To::Node(epoch.leader),
            message: MembershipMessage::Ask(Ask { epoch, held }),
        });
    }

    /// What the node says of itself changed.
    pub(crate) fn member_changed(&mut self, now: Time, urgent: bool) {
        let Role::Member(member) = &self.state.role else {
            return;
        };
        if urgent && member.standing == Standing::Registered {
            let turn = now + self.random.span(self.settings.spans.patience);
            self.deadlines.set(Timer::Refresh, turn);
        }
    }

    /// How many there may be in the segment, as far as is known here.
    pub(crate) fn people(&self) -> usize {
        let told = match &self.state.role {
            Role::Member(member) => member.members.unwrap_or(0),
            _ => 0,
        };
        let told = usize::try_from(told).unwrap_or(usize::MAX);
        told.min(self.settings.members_max)
            .max(self.state.segment.member_count())
    }
}

pub(crate) fn is_shown(record: Option<&Record>, nonce: u64) -> bool {
    record.is_some_and(|record| record.nonce == nonce)
}
