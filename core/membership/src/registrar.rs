//! How a leader takes registrations, signs of life and farewells, and answers who missed something.

use bellwether_machine::Outbox;
use bellwether_types::{Incarnation, Name, NodeId, Time};
use bellwether_wire::control::{
    Ask, Key, Leave, MembershipMessage, Record, Refresh, Register, StateVersion, Value,
};

use crate::membership::{Membership, Role, Timer};
use crate::output::{Event, Output, Refusal, To};

/// So many questions at once are answered to all, fewer to each.
const QUESTIONS_TO_ALL: usize = 4;

impl Membership {
    pub(crate) fn take_registration(
        &mut self,
        now: Time,
        from: NodeId,
        incarnation: Incarnation,
        register: Register,
        out: &mut Outbox<Output>,
    ) {
        let Role::Leader(leader) = &self.state.role else {
            return;
        };
        // While a vote is open nobody leads, and no registration counts (REG-01).
        if register.epoch != leader.epoch {
            return;
        }
        if let Some(refusal) = self.refusal(from, incarnation, &register.record) {
            return out.push(Output::Told(Event::Refused(from, refusal)));
        }
        self.hear(from, incarnation);
        let stray = register
            .held
            .filter(|held| !self.state.segment.descends_from(*held));
        match stray {
            Some(held) => self.take_stranger(now, from, held, register.record, out),
            None => self.take_member(now, from, register.held, register.record, out),
        }
    }

    fn refusal(&self, from: NodeId, incarnation: Incarnation, record: &Record) -> Option<Refusal> {
        let Role::Leader(leader) = &self.state.role else {
            return None;
        };
        let known = self.latest_record(from);
        let newer = known.filter(|known| known.incarnation > record.incarnation);
        let stranger = leader.strangers.get(&from).map(|known| &known.record);
        let newer =
            newer.or_else(|| stranger.filter(|known| known.incarnation > record.incarnation));
        let segment = &self.state.segment;
        let coming = leader
            .news()
            .filter(|key| matches!(key, Key::Member(_)) && segment.get(key).is_none());
        let full = segment.member_count() + coming.count() >= self.settings.members_max
            || leader.strangers.len() >= self.settings.members_max;
        if record.incarnation != incarnation {
            Some(Refusal::OtherStart)
        } else if let Some(newer) = newer {
            Some(Refusal::Older(newer.incarnation))
        } else if let Some(fault) = record.fault() {
            Some(Refusal::Fault(fault))
        } else if record.encoded_len() > Record::LEN_MAX {
            Some(Refusal::Fault("it is longer than 900 bytes"))
        } else if known.is_none() && stranger.is_none() && full {
            Some(Refusal::Full(self.settings.members_max))
        } else {
            None
        }
    }

    pub(crate) fn take_member(
        &mut self,
        now: Time,
        from: NodeId,
        held: Option<StateVersion>,
        mut record: Record,
        out: &mut Outbox<Output>,
    ) {
        let known = self.latest_record(from);
        let same_start = known.filter(|known| known.incarnation == record.incarnation);
        record.joined = same_start.map_or(0, |known| known.joined);
        let named_anew = known.is_none_or(|known| known.name != record.name);
        if named_anew && let Some(node) = self.namesake(from, &record.name) {
            let event = Event::NameTwice(record.name.clone(), node, from);
            out.push(Output::Told(event));
        }
        let news = self.note(
            now,
            Key::Member(from),
            Some(Value::Member(Box::new(record))),
        );
        let version = self.state.segment.version();
        let reported = self.state.segment.record(from).is_some();
        let Role::Leader(leader) = &mut self.state.role else {
            return;
        };
        leader.strangers.remove(&from);
        if held.is_none() {
            leader.newcomers.insert(from);
        } else {
            leader.newcomers.remove(&from);
        }
        // It is in the report, and would not register had it seen that.
        if !news && reported && held != version {
            self.question(now, from, held);
        }
    }

    /// Another node of that name, in the last report or for the next.
    fn namesake(&self, node: NodeId, name: &Name) -> Option<NodeId> {
        let news = match &self.state.role {
            Role::Leader(leader) => Some(leader.changes.iter()),
            _ => None,
        };
        let coming = news
            .into_iter()
            .flatten()
            .filter_map(|change| match change {
                (Key::Member(node), Some(Value::Member(record))) => Some((*node, &**record)),
                _ => None,
            });
        let mut known = self.members().chain(coming);
        let found = known.find(|(other, record)| *other != node && record.name == *name);
        found.map(|(other, _)| other)
    }

    pub(crate) fn take_refresh(
        &mut self,
        from: NodeId,
        incarnation: Incarnation,
        refresh: &Refresh,
    ) {
        let Role::Leader(leader) = &mut self.state.role else {
            return;
        };
        if refresh.epoch != leader.epoch {
            return;
        }
        if refresh.sequence.is_some() {
            leader.newcomers.remove(&from);
        }
        self.hear(from, incarnation);
    }

    pub(crate) fn take_leave(
        &mut self,
        now: Time,
        from: NodeId,
        incarnation: Incarnation,
        leave: &Leave,
    ) {
        let known = self.latest_record(from);
        let same_start = known.is_some_and(|known| known.incarnation == incarnation);
        let Role::Leader(leader) = &mut self.state.role else {
            return;
        };
        if leave.epoch == leader.epoch && same_start {
            leader.farewells.insert(from);
            self.note(now, Key::Member(from), None);
        }
    }

    pub(crate) fn take_question(
        &mut self,
        now: Time,
        from: NodeId,
        incarnation: Incarnation,
        ask: &Ask,
    ) {
        // Whoever was removed and does not know it asks too, and learns it from the answer.
        if self.epoch() == Some(ask.epoch) {
            self.hear(from, incarnation);
            self.question(now, from, ask.held);
        }
    }

    fn question(&mut self, now: Time, from: NodeId, held: Option<StateVersion>) {
        let Role::Leader(leader) = &mut self.state.role else {
            return;
        };
        if leader.questions.len() < self.settings.members_max {
            leader.questions.insert(from, held);
        }
        if self.deadlines.get(Timer::Answer).is_none() {
            let turn = now + self.settings.spans.patience;
            self.deadlines.set(Timer::Answer, turn);
        }
    }

    /// Many are answered together, from the earliest state among theirs; few one by one.
    pub(crate) fn answer(&mut self, now: Time) {
        let Role::Leader(leader) = &mut self.state.role else {
            return;
        };
        if !leader.reported {
            // What could be told now is not yet this reign's.
            let turn = now + self.settings.spans.patience;
            return self.deadlines.set(Timer::Answer, turn);
        }
        let questions = std::mem::take(&mut leader.questions);
        if questions.len() >= QUESTIONS_TO_ALL {
            let versions = questions.into_values();
            let earliest = versions.min_by_key(|held| held.map(|held| held.sequence));
            self.send_pages(now, To::All, earliest.flatten());
        } else {
            for (node, held) in questions {
                self.send_pages(now, To::Node(node), held);
            }
        }
    }

    pub(crate) fn send_pages(&mut self, now: Time, to: To, from: Option<StateVersion>) {
        for page in self.state.segment.pages(from) {
            self.enqueue(now, to, MembershipMessage::Report(page));
        }
    }
}
