//! How a leader orders a merge; `coordinator` is what it knows of it.

use std::collections::{BTreeMap, BTreeSet};

use bellwether_machine::Outbox;
use bellwether_types::{Incarnation, NodeId, Time};
use bellwether_wire::control::{
    Ack, Inquiry, Key, MembershipMessage, MergeId, Nack, Record, StateVersion, Value,
};

use crate::coordinator::Coordinator;
use crate::leader::Stranger;
use crate::membership::{Membership, Role, Timer};
use crate::output::{Event, Output, To};

/// Inquiries without an answer, after which a participant has failed.
const INQUIRIES: u8 = 3;
/// Ticks of a round before anybody is asked why its acknowledgement is missing.
const TICKS_OF_TRUST: u32 = 3;
/// Ticks after which whoever has not acknowledged is excluded, though it answers.
const TICKS_MAX: u32 = 40;
/// Rounds after which a merge is given up: so many failures one after another are not a segment at rest.
const ROUNDS_MAX: u32 = 16;
/// Times that the last word is said once more.
const FAREWELLS: u8 = 3;

impl Membership {
    /// Somebody holds a state of another line: wait for others of its kind, then merge.
    pub(crate) fn take_stranger(
        &mut self,
        now: Time,
        from: NodeId,
        held: StateVersion,
        record: Record,
        out: &mut Outbox<Output>,
    ) {
        let Role::Leader(leader) = &mut self.state.role else {
            return;
        };
        if let Some(coordinator) = leader.coordinator.as_mut().filter(|merge| merge.runs()) {
            if coordinator.strangers.contains_key(&from) {
                return;
            }
            // It was taken for a member of the leader's own line, and is none.
            let number = coordinator.numbers.get(&from).copied();
            let number = number.filter(|number| !coordinator.failed.contains(*number));
            if let Some(number) = number {
                coordinator.exclude(&[number]);
                self.say_round(now, out);
            }
        }
        let Role::Leader(leader) = &mut self.state.role else {
            return;
        };
        let stranger = Stranger { held, record };
        if leader.strangers.insert(from, stranger).is_some() {
            return;
        }
        let spans = &self.settings.spans;
        let first = now + spans.merge_spread;
        let start = self.deadlines.get(Timer::Merge).unwrap_or(first);
        let start = start.max(now + spans.patience);
        self.deadlines.set(Timer::Merge, start);
    }

    /// Orders a merge of all lines that showed themselves; `gather` also of newcomers, as a subgroup of
    /// their own (GROUP-12).
    pub(crate) fn start_merge(&mut self, now: Time, gather: bool, out: &mut Outbox<Output>) {
        self.deadlines.cancel(Timer::Merge);
        let Role::Leader(leader) = &self.state.role else {
            return;
        };
        if leader.coordinator.is_some() {
            // One after another; the end of this one calls for the next.
            return;
        }
        self.admit_strangers(now, out);
        // All that is known so far is part of what the leader's own subgroup brings.
        self.report(now, out);
        let Some(own) = self.state.segment.version() else {
            return;
        };
        let Role::Leader(leader) = &mut self.state.role else {
            return;
        };
        if leader.strangers.is_empty() && !gather {
            return;
        }
        let newcomers = match gather {
            true => std::mem::take(&mut leader.newcomers),
            false => BTreeSet::new(),
        };
        leader.merges += 1;
        let merge = MergeId {
            epoch: leader.epoch,
            number: leader.merges,
        };
        let segment = &self.state.segment;
        let coordinator = Coordinator::new(merge, own, segment, &leader.strangers, &newcomers);
        leader
            .strangers
            .retain(|node, _| !coordinator.strangers.contains_key(node));
        let people = coordinator.participants.len();
        let event = Event::Merging(merge, coordinator.subgroup_count(), people);
        out.push(Output::Told(event));
        let requests = coordinator.requests.clone();
        leader.coordinator = Some(coordinator);
        let tick = now + self.settings.spans.tick;
        self.deadlines.set(Timer::Tick, tick);
        for request in &requests {
            let message = MembershipMessage::Request(request.clone());
            self.enqueue(now, To::All, message);
        }
        let node = self.node();
        for request in requests {
            self.take_request(now, node, request, out);
        }
    }

    /// Whose line has become part of the leader's own is a stranger no longer, only behind.
    fn admit_strangers(&mut self, now: Time, out: &mut Outbox<Output>) {
        let Role::Leader(leader) = &mut self.state.role else {
            return;
        };
        let strangers = std::mem::take(&mut leader.strangers);
        let (known, strangers): (BTreeMap<_, _>, _) = strangers
            .into_iter()
            .partition(|(_, stranger)| self.state.segment.descends_from(stranger.held));
        leader.strangers = strangers;
        for (node, stranger) in known {
            self.take_member(now, node, Some(stranger.held), stranger.record, out);
        }
    }

    /// The next word about the merge; whoever left inquiries unanswered has failed.
    pub(crate) fn tick(&mut self, now: Time, out: &mut Outbox<Output>) {
        let node = self.node();
        let Role::Leader(leader) = &mut self.state.role else {
            return;
        };
        let Some(coordinator) = &mut leader.coordinator else {
            return;
        };
        if let Some(farewells) = coordinator.farewells {
            return self.say_farewell_to_merge(now, farewells, out);
        }
        coordinator.ticks += 1;
        let missing: Vec<(u16, NodeId)> = coordinator.missing().collect();
        let mut failed = Vec::new();
        for (number, participant) in missing {
            let early = coordinator.ticks <= TICKS_OF_TRUST;
            if participant == node || early || coordinator.heard.contains(number) {
                coordinator.missed.remove(&number);
            } else {
                let missed = coordinator.missed.entry(number).or_insert(0);
                *missed += 1;
                if *missed > INQUIRIES {
                    failed.push(number);
                    continue;
                }
                let epoch = coordinator.merge.epoch;
                out.push(Output::Send {
                    to: To::Node(participant),
                    message: MembershipMessage::Inquiry(Inquiry { epoch }),
                });
            }
            // It lives, and yet does not get what the others got (overlapping views): without it, then.
            if coordinator.ticks >= TICKS_MAX && participant != node {
                failed.push(number);
            }
        }
        coordinator.heard.clear();
        if !failed.is_empty() {
            coordinator.exclude(&failed);
            let event = Event::Failed(coordinator.merge, coordinator.round);
            out.push(Output::Told(event));
        }
        if coordinator.round > ROUNDS_MAX || coordinator.ticks > TICKS_MAX {
            return self.abandon_merge(now, out);
        }
        let tick = now + self.settings.spans.tick;
        self.deadlines.set(Timer::Tick, tick);
        self.say_round(now, out);
    }

    fn say_farewell_to_merge(&mut self, now: Time, farewells: u8, out: &mut Outbox<Output>) {
        let Role::Leader(leader) = &mut self.state.role else {
            return;
        };
        let Some(coordinator) = &mut leader.coordinator else {
            return;
        };
        if farewells > 0 {
            coordinator.farewells = Some(farewells - 1);
            let message = MembershipMessage::Round(coordinator.word());
            out.push(Output::Send {
                to: To::All,
                message,
            });
            let tick = now + self.settings.spans.tick;
            self.deadlines.set(Timer::Tick, tick);
        } else {
            leader.coordinator = None;
            if !leader.strangers.is_empty() {
                self.deadlines.set(Timer::Merge, now);
            }
        }
    }

    fn abandon_merge(&mut self, now: Time, out: &mut Outbox<Output>) {
        let Role::Leader(leader) = &mut self.state.role else {
            return;
        };
        if let Some(coordinator) = leader.coordinator.take() {
            self.end_exchange();
            out.push(Output::Told(Event::Abandoned(coordinator.merge)));
            self.state.merged = Some(coordinator.merge);
            let turn = now + self.settings.spans.report_delay;
            self.deadlines.set(Timer::Report, turn);
        }
    }

    fn say_round(&mut self, now: Time, out: &mut Outbox<Output>) {
        let Role::Leader(leader) = &self.state.role else {
            return;
        };
        let Some(coordinator) = &leader.coordinator else {
            return;
        };
        let word = coordinator.word();
        out.push(Output::Send {
            to: To::All,
            message: MembershipMessage::Round(word.clone()),
        });
        let node = self.node();
        self.take_round(now, node, &word, out);
    }

    /// G7 and G8.
    pub(crate) fn take_ack(
        &mut self,
        now: Time,
        from: NodeId,
        incarnation: Incarnation,
        ack: &Ack,
        out: &mut Outbox<Output>,
    ) {
        self.hear(from, incarnation);
        let Role::Leader(leader) = &mut self.state.role else {
            return;
        };
        let Some(coordinator) = leader.coordinator.as_mut().filter(|merge| merge.runs()) else {
            return;
        };
        if (ack.merge, ack.round) != (coordinator.merge, coordinator.round) {
            return;
        }
        let Some(number) = coordinator.numbers.get(&from).copied() else {
            return;
        };
        let same_start = coordinator
            .participants
            .get(usize::from(number))
            .is_some_and(|participant| participant.incarnation == incarnation);
        if same_start && !coordinator.failed.contains(number) {
            coordinator.acked.insert(number);
        }
        if coordinator.is_settled() {
            coordinator.farewells = Some(FAREWELLS);
            let tick = now + self.settings.spans.tick;
            self.deadlines.set(Timer::Tick, tick);
            self.say_round(now, out);
        }
    }

    /// The merge is in force here, as it is at all who hear the last round.
    pub(crate) fn finish_merge(&mut self, now: Time, out: &mut Outbox<Output>) {
        let Role::Leader(leader) = &mut self.state.role else {
            return;
        };
        let mut strangers = BTreeMap::new();
        if let Some(coordinator) = &mut leader.coordinator {
            strangers = std::mem::take(&mut coordinator.strangers);
            let numbers = coordinator.numbers.iter();
            let present = numbers.filter(|(_, number)| !coordinator.failed.contains(**number));
            leader.heard.extend(present.map(|(node, _)| *node));
        }
        self.state_told(now, true, out);
        self.tell_control_server(None, out);
        // Who was not well known to its own subgroup is known by its registration.
        for (node, mut record) in strangers {
            let known = self.state.segment.record(node);
            record.joined = known.map_or(0, |known| known.joined);
            if known.is_none_or(|known| known.incarnation <= record.incarnation) {
                let value = Value::Member(Box::new(record));
                self.note(now, Key::Member(node), Some(value));
            }
        }
        self.note_own_record(now, out);
        self.note_control(now);
        let turn = now + self.settings.spans.report_delay;
        self.deadlines.set(Timer::Report, turn);
    }

    pub(crate) fn repeat_request(&mut self, now: Time, from: NodeId, nack: &Nack) {
        let Role::Leader(leader) = &mut self.state.role else {
            return;
        };
        let Some(coordinator) = &mut leader.coordinator else {
            return;
        };
        if coordinator.merge != nack.merge {
            return;
        }
        coordinator.hear(from);
        let wanted = coordinator.requests.iter();
        let wanted = wanted
            .filter(|request| nack.missing.is_empty() || nack.missing.contains(request.number))
            .cloned()
            .map(MembershipMessage::Request);
        for message in wanted.collect::<Vec<_>>() {
            let waits = self
                .state
                .outgoing
                .iter()
                .any(|(_, waiting)| *waiting == message);
            if !waits {
                self.enqueue(now, To::All, message);
            }
        }
    }
}
