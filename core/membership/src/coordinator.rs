//! The leader's part in a merge: it numbers merges by its reign, so that all handle them in the same order
//! (GROUP-21), names the participants, counts acknowledgements, and finds who failed (GROUP-10).

use std::collections::{BTreeMap, BTreeSet};

use bellwether_machine::Outbox;
use bellwether_types::{Epoch, Incarnation, Name, NodeId, Time};
use bellwether_wire::control::{
    Ack, Bitmap, Inquiry, Key, MembershipMessage, MergeId, MergeRequest, Nack, Participant, Record,
    Round, StateVersion, Value,
};

use crate::exchange::{SUBGROUPS_MAX, is_settled};
use crate::leader::Stranger;
use crate::membership::{Membership, Role, Timer};
use crate::output::{Event, Output, To};

/// A merge as its leader knows it. Membership is frozen while it runs: joins wait.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Coordinator {
    merge: MergeId,
    requests: Vec<MergeRequest>,
    participants: Vec<Participant>,
    numbers: BTreeMap<NodeId, u16>,
    round: u32,
    failed: Bitmap,
    acked: Bitmap,
    /// Participants heard since the last tick.
    heard: Bitmap,
    /// Inquiries that each participant left without an answer.
    missed: BTreeMap<u16, u8>,
    /// Ticks in this round.
    ticks: u32,
    /// The last word, once all have acknowledged, is said so many times more.
    farewells: Option<u8>,
    /// What those said of themselves who are not in the leader's own line.
    strangers: BTreeMap<NodeId, Record>,
}

/// Participants in a page of a request.
const PARTICIPANTS_IN_PAGE: usize = 36;
/// Inquiries without an answer, after which a participant has failed.
const INQUIRIES: u8 = 3;
/// Ticks of a round before anybody is asked why its acknowledgement is missing.
const TICKS_OF_TRUST: u32 = 3;
/// Ticks after which whoever has not acknowledged is excluded, though it answers.
const TICKS_MAX: u32 = 40;
/// Rounds after which a merge is given up: so many failures one after another are not a segment at rest.
const ROUNDS_MAX: u32 = 16;
const FAREWELLS: u8 = 3;

impl Coordinator {
    /// Is the merge still open?
    pub(crate) const fn runs(&self) -> bool {
        self.farewells.is_none()
    }

    pub(crate) fn hear(&mut self, from: NodeId) {
        if let Some(number) = self.numbers.get(&from) {
            self.heard.insert(*number);
        }
    }

    fn word(&self) -> Round {
        Round {
            merge: self.merge,
            round: self.round,
            failed: self.failed.clone(),
            acked: self.acked.clone(),
        }
    }

    /// Participants whose acknowledgement is missing.
    fn missing(&self) -> impl Iterator<Item = (u16, NodeId)> {
        let numbered = (0..=u16::MAX).zip(&self.participants);
        numbered
            .filter(|(number, _)| !self.failed.contains(*number) && !self.acked.contains(*number))
            .map(|(number, participant)| (number, participant.node))
    }

    /// A change of membership: a new round without those who failed, and without acknowledgements (G9).
    fn exclude(&mut self, failed: &[u16]) {
        for number in failed {
            self.failed.insert(*number);
        }
        self.round += 1;
        self.ticks = 0;
        self.acked.clear();
        self.missed.clear();
    }
}

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
        let strangers = std::mem::take(&mut leader.strangers);
        leader.merges += 1;
        let merge = MergeId {
            epoch: leader.epoch,
            number: leader.merges,
        };
        let (subgroups, later) = subgroups(own, &strangers, !newcomers.is_empty());
        let members = self.state.segment.members();
        let members = members.map(|(node, record)| (node, (record, None)));
        let mut people: BTreeMap<NodeId, (&Record, Option<StateVersion>)> = members.collect();
        for (node, stranger) in &strangers {
            match later.contains(&stranger.held.epoch) {
                // Its line waits for the next merge, and it with it.
                true => people.remove(node),
                false => people.insert(*node, (&stranger.record, Some(stranger.held))),
            };
        }
        let mut named: Vec<(Participant, &Name)> = people
            .into_iter()
            .map(|(node, (record, held))| {
                let joins = newcomers.contains(&node);
                let at = match held {
                    None if joins => subgroups.len() - 1,
                    None => 0,
                    Some(held) => subgroups
                        .iter()
                        .flatten()
                        .position(|version| version.epoch == held.epoch)
                        .unwrap_or(0),
                };
                let participant = Participant {
                    node,
                    incarnation: record.incarnation,
                    subgroup: u8::try_from(at).unwrap_or(u8::MAX),
                    // Of the own line all can, once they have caught up.
                    holds: !joins && held.is_none_or(|held| subgroups[at] == Some(held)),
                };
                (participant, &record.name)
            })
            .collect();
        named.sort_by_key(|(participant, name)| (participant.subgroup, *name, participant.node));
        let participants: Vec<Participant> = named
            .into_iter()
            .map(|(participant, _)| participant)
            .collect();
        let requests = requests(merge, &subgroups, &participants);
        let numbers = (0..=u16::MAX).zip(&participants);
        let numbers = numbers.map(|(number, participant)| (participant.node, number));
        let coordinator = Coordinator {
            merge,
            numbers: numbers.collect(),
            round: 1,
            failed: Bitmap::new(),
            acked: Bitmap::new(),
            heard: Bitmap::new(),
            missed: BTreeMap::new(),
            ticks: 0,
            farewells: None,
            requests,
            participants,
            strangers: BTreeMap::new(),
        };
        let Role::Leader(leader) = &mut self.state.role else {
            return;
        };
        let event = Event::Merging(merge, subgroups.len(), coordinator.participants.len());
        out.push(Output::Told(event));
        let requests = coordinator.requests.clone();
        let coordinator = leader.coordinator.insert(coordinator);
        for (node, stranger) in strangers {
            if later.contains(&stranger.held.epoch) {
                leader.strangers.insert(node, stranger);
            } else {
                coordinator.strangers.insert(node, stranger.record);
            }
        }
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
        if is_settled(&coordinator.participants, &coordinator.word()) {
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
        self.state_told(true, out);
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

/// The leader's own line first, then the others by their reigns, each in its latest state, then those who
/// just join. And the reigns of lines for which there is no room.
fn subgroups(
    own: StateVersion,
    strangers: &BTreeMap<NodeId, Stranger>,
    newcomers: bool,
) -> (Vec<Option<StateVersion>>, BTreeSet<Epoch>) {
    let mut latest: BTreeMap<Epoch, StateVersion> = BTreeMap::new();
    for stranger in strangers.values() {
        let held = stranger.held;
        let known = latest.entry(held.epoch).or_insert(held);
        *known = held.max(*known);
    }
    let later = latest.keys().copied().skip(SUBGROUPS_MAX - 2).collect();
    let lines = latest.into_values().take(SUBGROUPS_MAX - 2);
    let lines = [own].into_iter().chain(lines).map(Some);
    (lines.chain(newcomers.then_some(None)).collect(), later)
}

fn requests(
    merge: MergeId,
    subgroups: &[Option<StateVersion>],
    participants: &[Participant],
) -> Vec<MergeRequest> {
    // Versions of many subgroups leave less room for participants.
    let in_page = PARTICIPANTS_IN_PAGE.saturating_sub(subgroups.len()).max(4);
    let pages = participants.chunks(in_page);
    let count = u16::try_from(pages.len()).unwrap_or(u16::MAX);
    (0..count)
        .zip(pages)
        .map(|(number, participants)| MergeRequest {
            merge,
            subgroups: subgroups.to_vec(),
            number,
            count,
            participants: participants.to_vec(),
        })
        .collect()
}
