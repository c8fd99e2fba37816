//! What a participant of a merge does with what it hears; `exchange` is what it knows of it.

use std::collections::BTreeMap;
use std::time::Duration;

use bellwether_machine::Outbox;
use bellwether_types::{NodeId, Time};
use bellwether_wire::control::{
    Ack, Bitmap, GroupData, MembershipMessage, MergeId, MergeRequest, Nack, Page, Participant,
    Round, StateVersion,
};

use crate::exchange::{Course, Exchange, SILENCE, SUBGROUPS_MAX, Stage, is_settled};
use crate::membership::{Membership, Role, Timer};
use crate::merge::merge;
use crate::output::{Event, Output, To};
use crate::settings::Spans;
use crate::state::SegmentState;

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
        // Whoever holds a later state of the same reign missed a merge that is over, not one that runs.
        let first = exchange.subgroups.first().copied().flatten();
        if first < self.held() && self.held().map(|held| held.epoch) == self.epoch() {
            self.end_exchange();
            self.state.merged = Some(request.merge);
            return;
        }
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

#[cfg(test)]
mod tests;
