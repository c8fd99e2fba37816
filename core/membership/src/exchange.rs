//! A participant's part in bringing subgroups together: table 9.1 of the requirements, row by row.
//!
//! Each member decides for itself whether it leads its subgroup: the lowest name among those that hold the
//! subgroup's data and have not failed. An acknowledgement says "I hold the data of all subgroups", so
//! when all have acknowledged nobody is left without, and no order of messages matters (GROUP-17,
//! GROUP-18). Pages are the same whoever makes them, so a successor's repeat does no harm: exactly once
//! in effect, not on the wire.

use std::collections::BTreeMap;
use std::time::Duration;

use bellwether_machine::Outbox;
use bellwether_types::{NodeId, Time};
use bellwether_wire::control::{
    Ack, Bitmap, GroupData, MembershipMessage, MergeId, MergeRequest, Nack, Page, Participant,
    Round, StateVersion,
};

use crate::membership::{Membership, Role, Timer};
use crate::merge::merge;
use crate::output::{Event, Output, To};
use crate::settings::Spans;
use crate::state::SegmentState;

/// A merge as one of its participants knows it. Without one a node is idle.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Exchange {
    pub(crate) merge: MergeId,
    /// What each subgroup knows, as the request says.
    subgroups: Vec<Option<StateVersion>>,
    requests: BTreeMap<u16, Vec<Participant>>,
    request_count: u16,
    data: BTreeMap<u8, Collected>,
    course: Option<Course>,
    /// Times that something was missed since the leader last spoke of this merge.
    silence: u8,
}

/// An exchange under way, its request being whole.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Course {
    participants: Vec<Participant>,
    own: u16,
    round: u32,
    failed: Bitmap,
    stage: Stage,
    /// Rounds seen since the acknowledgement was sent that do not count it.
    uncounted: u8,
}

/// Where in an exchange a participant is; the states of table 9.1 apart from idle, and from processing,
/// which takes no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// It is to lead its subgroup, and does not hold the data yet.
    Decide,
    /// It waits for data, or for its turn to acknowledge.
    Acknowledge,
    /// It has acknowledged.
    AwaitAcks,
}

/// Pages of one subgroup's data.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Collected {
    pages: BTreeMap<u16, Page>,
    count: u16,
    /// Complete, and what it promised. Of the own subgroup this is the indicator (GROUP-06).
    whole: bool,
    /// Did a page come since pages were last missed?
    fresh: bool,
}

/// Subgroups in one merge; more of them take several.
pub(crate) const SUBGROUPS_MAX: usize = 32;
/// Times that something is missed without a word of the leader, after which an exchange is given up.
const SILENCE: u8 = 60;

impl Exchange {
    fn new(merge: MergeId) -> Self {
        Self {
            merge,
            subgroups: Vec::new(),
            requests: BTreeMap::new(),
            request_count: 0,
            data: BTreeMap::new(),
            course: None,
            silence: 0,
        }
    }

    /// Where it is; `None` while the request is not complete.
    pub fn stage(&self) -> Option<Stage> {
        self.course.as_ref().map(|course| course.stage)
    }

    /// The round, from 1; 0 while the request is not complete.
    pub fn round(&self) -> u32 {
        self.course.as_ref().map_or(0, |course| course.round)
    }

    /// Has the own subgroup's data been sent, by whomever (GROUP-06)?
    pub fn indicator(&self) -> bool {
        self.own_subgroup()
            .is_some_and(|subgroup| self.is_whole(subgroup))
    }

    /// How many may be sending at the same time.
    pub(crate) fn senders(&self) -> usize {
        self.subgroups.len().max(1)
    }

    fn own_subgroup(&self) -> Option<u8> {
        let course = self.course.as_ref()?;
        let own = course.participants.get(usize::from(course.own))?;
        Some(own.subgroup)
    }

    fn version(&self, subgroup: u8) -> Option<StateVersion> {
        self.subgroups.get(usize::from(subgroup)).copied().flatten()
    }

    fn is_whole(&self, subgroup: u8) -> bool {
        self.data.get(&subgroup).is_some_and(|data| data.whole)
    }

    /// The lowest of the names in a subgroup that hold its data and have not failed (GROUP-03, GROUP-04).
    fn leader_of(&self, subgroup: u8) -> Option<&Participant> {
        let course = self.course.as_ref()?;
        let numbered = (0..=u16::MAX).zip(&course.participants);
        let mut able = numbered.filter(|(number, participant)| {
            participant.subgroup == subgroup
                && participant.holds
                && !course.failed.contains(*number)
        });
        able.next().map(|(_, participant)| participant)
    }

    /// Subgroups that have data and somebody to send it; the others are dropped (GROUP-19).
    fn required(&self) -> impl Iterator<Item = u8> {
        (0..=u8::MAX)
            .take(self.subgroups.len())
            .filter(|subgroup| self.version(*subgroup).is_some())
            .filter(|subgroup| self.leader_of(*subgroup).is_some())
    }

    /// Is the data of a subgroup at hand, here or in what came?
    fn has(&self, subgroup: u8, own: &SegmentState) -> bool {
        self.is_whole(subgroup) || self.version(subgroup) == own.version()
    }

    fn take_page(&mut self, subgroup: u8, page: Page) {
        let data = self.data.entry(subgroup).or_default();
        let fits = page.from.is_none() && page.number < page.count;
        let same = data.pages.values().next().is_none_or(|first| {
            (first.to, first.digest, first.count) == (page.to, page.digest, page.count)
        });
        if data.whole || !fits || !same {
            return;
        }
        data.count = page.count;
        data.fresh = true;
        data.pages.insert(page.number, page);
        if data.pages.len() == usize::from(data.count) {
            data.whole = SegmentState::from_pages(data.pages.values()).is_some();
            if !data.whole {
                *data = Collected::default();
            }
        }
    }

    /// Throws away pages of other states than the request names.
    fn sort_out(&mut self) {
        let subgroups = &self.subgroups;
        self.data.retain(|subgroup, data| {
            let version = subgroups.get(usize::from(*subgroup)).copied().flatten();
            data.pages.values().all(|page| Some(page.to) == version)
        });
    }
}

impl Membership {
    /// G1, once all pages of the request are there.
    pub(crate) fn take_request(
        &mut self,
        now: Time,
        from: NodeId,
        request: MergeRequest,
        out: &mut Outbox<Output>,
    ) {
        let fits = request.number < request.count && request.subgroups.len() <= SUBGROUPS_MAX;
        if !fits || from != request.merge.epoch.leader || !self.concerns(now, request.merge) {
            return;
        }
        let Some(exchange) = &mut self.state.exchange else {
            return;
        };
        if exchange.course.is_some() {
            return;
        }
        exchange.subgroups = request.subgroups;
        exchange.request_count = request.count;
        exchange
            .requests
            .insert(request.number, request.participants);
        if exchange.requests.len() < usize::from(exchange.request_count) {
            return;
        }
        let requests = std::mem::take(&mut exchange.requests);
        let participants: Vec<Participant> = requests.into_values().flatten().collect();
        let identity = &self.state.identity;
        let own = (0..=u16::MAX).zip(&participants).find(|(_, participant)| {
            (participant.node, participant.incarnation) == (identity.node, identity.incarnation)
        });
        let Some((own, _)) = own else {
            self.end_exchange();
            self.state.merged = Some(request.merge);
            return;
        };
        exchange.course = Some(Course {
            participants,
            own,
            round: 1,
            failed: Bitmap::new(),
            stage: Stage::Decide,
            uncounted: 0,
        });
        exchange.sort_out();
        self.put_off_registration(now);
        self.decide(now, out);
    }

    /// Is the merge one that this node takes part in? A later one ends an earlier one.
    fn concerns(&mut self, now: Time, merge: MergeId) -> bool {
        if self.epoch() != Some(merge.epoch) || self.state.merged.is_some_and(|done| done >= merge)
        {
            return false;
        }
        match &mut self.state.exchange {
            Some(exchange) if exchange.merge > merge => return false,
            Some(exchange) if exchange.merge == merge => exchange.silence = 0,
            _ => {
                self.state.exchange = Some(Exchange::new(merge));
                self.miss_in(now, self.settings.spans.tick);
            }
        }
        true
    }

    /// G2 and G3.
    fn decide(&mut self, now: Time, out: &mut Outbox<Output>) {
        let node = self.node();
        let Some(exchange) = &mut self.state.exchange else {
            return;
        };
        let Some(subgroup) = exchange.own_subgroup() else {
            return;
        };
        let leads = exchange.leader_of(subgroup).map(|leader| leader.node) == Some(node);
        let sends = leads && !exchange.is_whole(subgroup);
        let version = exchange.version(subgroup);
        let merge = exchange.merge;
        let Some(course) = &mut exchange.course else {
            return;
        };
        course.stage = Stage::Decide;
        course.uncounted = 0;
        if sends && version != self.state.segment.version() {
            return;
        }
        course.stage = Stage::Acknowledge;
        if sends {
            for page in self.state.segment.pages(None) {
                // The own echo sets the indicator (G5).
                exchange.take_page(subgroup, page);
            }
            let pages = exchange.data.get(&subgroup).map(|data| &data.pages);
            let pages: Vec<Page> = pages
                .into_iter()
                .flat_map(BTreeMap::values)
                .cloned()
                .collect();
            for page in pages {
                let data = GroupData {
                    merge,
                    subgroup,
                    page,
                };
                self.enqueue(now, To::All, MembershipMessage::Data(data));
            }
        }
        self.await_turn(now, out);
    }

    /// The turn to acknowledge comes when the data of all subgroups is at hand.
    fn await_turn(&mut self, now: Time, out: &mut Outbox<Output>) {
        let Some(exchange) = &self.state.exchange else {
            return;
        };
        let Some(course) = &exchange.course else {
            return;
        };
        let ready = self.may_acknowledge()
            && exchange
                .required()
                .all(|subgroup| exchange.has(subgroup, &self.state.segment));
        if course.stage != Stage::Acknowledge || !ready {
            return;
        }
        if matches!(self.state.role, Role::Leader(_)) {
            self.acknowledge(now, out);
        } else if self.deadlines.get(Timer::Ack).is_none() {
            let spread = Spans::ack_spread(course.participants.len());
            let turn = now + self.random.span(spread);
            self.deadlines.set(Timer::Ack, turn);
        }
    }

    /// Is what this node holds part of what is merged? If not, the leader took it for a member of another
    /// subgroup, and what it holds would be lost.
    pub(crate) fn may_acknowledge(&self) -> bool {
        let Some(exchange) = &self.state.exchange else {
            return false;
        };
        if exchange.course.is_none() {
            return false;
        }
        let Some(held) = self.held() else {
            return true;
        };
        let own = exchange
            .own_subgroup()
            .and_then(|own| exchange.version(own));
        own.is_none_or(|own| held.epoch == own.epoch && held.sequence <= own.sequence)
    }

    /// G4.
    pub(crate) fn acknowledge(&mut self, now: Time, out: &mut Outbox<Output>) {
        let sending = self
            .state
            .outgoing
            .iter()
            .any(|(_, message)| matches!(message, MembershipMessage::Data(_)));
        let Some(exchange) = &mut self.state.exchange else {
            return;
        };
        let merge = exchange.merge;
        let Some(course) = &mut exchange.course else {
            return;
        };
        if course.stage != Stage::Acknowledge {
            return;
        }
        if sending {
            // First the data, then the acknowledgement (GROUP-08).
            let turn = now + self.settings.spans.pace;
            return self.deadlines.set(Timer::Ack, turn);
        }
        course.stage = Stage::AwaitAcks;
        course.uncounted = 0;
        let ack = Ack {
            merge,
            round: course.round,
        };
        if matches!(self.state.role, Role::Leader(_)) {
            let (node, incarnation) = (self.node(), self.state.identity.incarnation);
            self.take_ack(now, node, incarnation, &ack, out);
        } else {
            out.push(Output::Send {
                to: To::Node(merge.epoch.leader),
                message: MembershipMessage::Ack(ack),
            });
        }
    }

    /// G5 and G6.
    pub(crate) fn take_data(
        &mut self,
        now: Time,
        from: NodeId,
        data: GroupData,
        out: &mut Outbox<Output>,
    ) {
        if usize::from(data.subgroup) >= SUBGROUPS_MAX || !self.concerns(now, data.merge) {
            return;
        }
        let Some(exchange) = &mut self.state.exchange else {
            return;
        };
        let known = exchange.course.is_some();
        if known && exchange.version(data.subgroup) != Some(data.page.to) {
            return out.push(Output::Told(Event::BadPage(
                from,
                "it is of another state than the request names",
            )));
        }
        exchange.take_page(data.subgroup, data.page);
        self.await_turn(now, out);
    }

    /// G7 to G12: the leader says who failed and who has acknowledged.
    pub(crate) fn take_round(
        &mut self,
        now: Time,
        from: NodeId,
        round: &Round,
        out: &mut Outbox<Output>,
    ) {
        if from != round.merge.epoch.leader || !self.concerns(now, round.merge) {
            return;
        }
        let Some(exchange) = &mut self.state.exchange else {
            return;
        };
        let Some(course) = &mut exchange.course else {
            return;
        };
        if round.failed.contains(course.own) {
            return self.be_excluded(now, round.merge, out);
        }
        if round.round > course.round {
            course.round = round.round;
            course.failed = round.failed.clone();
            self.deadlines.cancel(Timer::Ack);
            self.decide(now, out);
        }
        let Some(course) = self.course_mut() else {
            return;
        };
        if round.round < course.round || course.stage != Stage::AwaitAcks {
            return;
        }
        if is_settled(&course.participants, round) {
            return self.process(now, round, out);
        }
        if !round.acked.contains(course.own) {
            // One round may have crossed with the acknowledgement; two have not.
            course.uncounted += 1;
            if course.uncounted > 1 {
                course.stage = Stage::Acknowledge;
                self.await_turn(now, out);
            }
        }
    }

    fn course_mut(&mut self) -> Option<&mut Course> {
        self.state.exchange.as_mut()?.course.as_mut()
    }

    /// G10: all data together, at once.
    pub(crate) fn process(&mut self, now: Time, round: &Round, out: &mut Outbox<Output>) {
        let Some(mut exchange) = self.state.exchange.take() else {
            return;
        };
        if let Some(course) = &mut exchange.course {
            course.failed = round.failed.clone();
        }
        let mut sides = vec![None; exchange.subgroups.len()];
        for subgroup in exchange.required() {
            let own = exchange.version(subgroup) == self.state.segment.version();
            let side = match exchange.data.get(&subgroup) {
                _ if own => Some(self.state.segment.clone()),
                Some(data) => SegmentState::from_pages(data.pages.values()),
                None => None,
            };
            if side.is_none() {
                // An acknowledgement said that it is here.
                debug_assert!(false, "subgroup {subgroup} has no data");
                return self.end_exchange();
            }
            sides[usize::from(subgroup)] = side;
        }
        let sequences = exchange.subgroups.iter().flatten();
        let sequence = sequences.map(|version| version.sequence).max();
        let version = StateVersion {
            epoch: exchange.merge.epoch,
            sequence: sequence.unwrap_or(0) + 1,
        };
        let participants = exchange
            .course
            .map_or_else(Vec::new, |course| course.participants);
        self.state.segment = merge(&sides, &participants, &round.failed, version);
        self.end_exchange();
        self.state.merged = Some(exchange.merge);
        out.push(Output::Told(Event::Merged(exchange.merge, version)));
        match &self.state.role {
            Role::Member(_) => self.settle_in(now, version, out),
            Role::Leader(_) => self.finish_merge(now, out),
            Role::Leaderless => {}
        }
    }

    /// G12: what this node holds stays with it, until it registers with it anew.
    fn be_excluded(&mut self, now: Time, merge: MergeId, out: &mut Outbox<Output>) {
        self.end_exchange();
        self.state.merged = Some(merge);
        out.push(Output::Told(Event::Excluded(merge)));
        self.register_anew(now);
    }

    /// The state of this node's own line came in while it was to lead its subgroup; or that of the merge itself.
    pub(crate) fn catch_up_exchange(
        &mut self,
        now: Time,
        version: StateVersion,
        out: &mut Outbox<Output>,
    ) {
        let Some(exchange) = &self.state.exchange else {
            return;
        };
        let Some(Some(first)) = exchange.subgroups.first() else {
            return;
        };
        if version > *first {
            let merge = exchange.merge;
            self.end_exchange();
            self.state.merged = Some(merge);
        } else if exchange.stage() == Some(Stage::Decide) {
            self.decide(now, out);
        } else {
            self.await_turn(now, out);
        }
    }

    pub(crate) fn end_exchange(&mut self) {
        self.state.exchange = None;
        self.deadlines.cancel(Timer::Ack);
        self.deadlines.cancel(Timer::Nack);
        let data = |message: &MembershipMessage| matches!(message, MembershipMessage::Data(_));
        self.state.outgoing.retain(|(_, message)| !data(message));
    }

    fn miss_in(&mut self, now: Time, delay: Duration) {
        let spread = self.settings.spans.ask_spread(self.people());
        let turn = now + delay + self.random.span(spread);
        self.deadlines.set(Timer::Nack, turn);
    }

    /// Says what is missing, where nothing came for a while.
    pub(crate) fn miss(&mut self, now: Time, out: &mut Outbox<Output>) {
        let Some(exchange) = &mut self.state.exchange else {
            return;
        };
        exchange.silence += 1;
        if exchange.silence > SILENCE {
            return self.end_exchange();
        }
        let merge = exchange.merge;
        let nack = |to, subgroup, missing| Output::Send {
            to: To::Node(to),
            message: MembershipMessage::Nack(Nack {
                merge,
                subgroup,
                missing,
            }),
        };
        if exchange.course.is_none() {
            let numbers = 0..exchange.request_count;
            let missing = numbers.filter(|number| !exchange.requests.contains_key(number));
            out.push(nack(merge.epoch.leader, None, missing.collect()));
        }
        let wanted = exchange.required();
        let wanted = wanted.filter(|subgroup| !exchange.has(*subgroup, &self.state.segment));
        for subgroup in wanted.collect::<Vec<u8>>() {
            let leader = exchange.leader_of(subgroup).map(|leader| leader.node);
            let data = exchange.data.entry(subgroup).or_default();
            if std::mem::take(&mut data.fresh) {
                continue;
            }
            let numbers = 0..data.count;
            let missing = numbers.filter(|number| !data.pages.contains_key(number));
            if let Some(leader) = leader {
                out.push(nack(leader, Some(subgroup), missing.collect()));
            }
        }
        self.miss_in(now, self.settings.spans.patience);
    }

    /// Sends again what somebody lacks, to all: what one missed others may have missed too.
    pub(crate) fn take_nack(&mut self, now: Time, from: NodeId, nack: &Nack) {
        let Some(subgroup) = nack.subgroup else {
            return self.repeat_request(now, from, nack);
        };
        let Some(exchange) = &self.state.exchange else {
            return;
        };
        if exchange.merge != nack.merge {
            return;
        }
        let Some(data) = exchange.data.get(&subgroup).filter(|data| data.whole) else {
            return;
        };
        let wanted = data
            .pages
            .values()
            .filter(|page| nack.missing.is_empty() || nack.missing.contains(page.number))
            .map(|page| GroupData {
                merge: nack.merge,
                subgroup,
                page: page.clone(),
            })
            .map(MembershipMessage::Data);
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

/// Have all acknowledged who have not failed?
pub(crate) fn is_settled(participants: &[Participant], round: &Round) -> bool {
    (0..=u16::MAX)
        .zip(participants)
        .all(|(number, _)| round.failed.contains(number) || round.acked.contains(number))
}
