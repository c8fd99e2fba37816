//! A participant's part in bringing subgroups together: table 9.1 of the requirements, row by row.
//!
//! Each member decides for itself whether it leads its subgroup: the lowest name among those that hold the
//! subgroup's data and have not failed. An acknowledgement says "I hold the data of all subgroups", so
//! when all have acknowledged nobody is left without, and no order of messages matters (GROUP-17,
//! GROUP-18). Pages are the same whoever makes them, so a successor's repeat does no harm: exactly once
//! in effect, not on the wire.

use std::collections::BTreeMap;

use bellwether_wire::control::{Bitmap, MergeId, Page, Participant, Round, StateVersion};

use crate::state::SegmentState;

/// A merge as one of its participants knows it. Without one a node is idle.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Exchange {
    pub(crate) merge: MergeId,
    /// What each subgroup knows, as the request says.
    pub(crate) subgroups: Vec<Option<StateVersion>>,
    pub(crate) requests: BTreeMap<u16, Vec<Participant>>,
    pub(crate) request_count: u16,
    pub(crate) data: BTreeMap<u8, Collected>,
    pub(crate) course: Option<Course>,
    /// Times that something was missed since the leader last spoke of this merge.
    pub(crate) silence: u8,
}

/// An exchange under way, its request being whole.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Course {
    pub(crate) participants: Vec<Participant>,
    pub(crate) own: u16,
    pub(crate) round: u32,
    pub(crate) failed: Bitmap,
    pub(crate) stage: Stage,
    /// Rounds seen since the acknowledgement was sent that do not count it.
    pub(crate) uncounted: u8,
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
pub(crate) struct Collected {
    pub(crate) pages: BTreeMap<u16, Page>,
    pub(crate) count: u16,
    /// Complete, and what it promised. Of the own subgroup this is the indicator (GROUP-06).
    pub(crate) whole: bool,
    /// Did a page come since pages were last missed?
    pub(crate) fresh: bool,
}

/// Subgroups in one merge; more of them take several.
pub(crate) const SUBGROUPS_MAX: usize = 32;
/// Times that something is missed without a word of the leader, after which an exchange is given up.
pub(crate) const SILENCE: u8 = 60;

impl Exchange {
    pub(crate) fn new(merge: MergeId) -> Self {
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

    pub(crate) fn own_subgroup(&self) -> Option<u8> {
        let course = self.course.as_ref()?;
        let own = course.participants.get(usize::from(course.own))?;
        Some(own.subgroup)
    }

    pub(crate) fn version(&self, subgroup: u8) -> Option<StateVersion> {
        self.subgroups.get(usize::from(subgroup)).copied().flatten()
    }

    pub(crate) fn is_whole(&self, subgroup: u8) -> bool {
        self.data.get(&subgroup).is_some_and(|data| data.whole)
    }

    /// The lowest of the names in a subgroup that hold its data and have not failed (GROUP-03, GROUP-04).
    pub(crate) fn leader_of(&self, subgroup: u8) -> Option<&Participant> {
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
    pub(crate) fn required(&self) -> impl Iterator<Item = u8> {
        (0..=u8::MAX)
            .take(self.subgroups.len())
            .filter(|subgroup| self.version(*subgroup).is_some())
            .filter(|subgroup| self.leader_of(*subgroup).is_some())
    }

    /// Is the data of a subgroup at hand, here or in what came?
    pub(crate) fn has(&self, subgroup: u8, own: &SegmentState) -> bool {
        self.is_whole(subgroup) || self.version(subgroup) == own.version()
    }

    pub(crate) fn take_page(&mut self, subgroup: u8, page: Page) {
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
    pub(crate) fn sort_out(&mut self) {
        let subgroups = &self.subgroups;
        self.data.retain(|subgroup, data| {
            let version = subgroups.get(usize::from(*subgroup)).copied().flatten();
            data.pages.values().all(|page| Some(page.to) == version)
        });
    }
}

/// Have all acknowledged who have not failed?
pub(crate) fn is_settled(participants: &[Participant], round: &Round) -> bool {
    (0..=u16::MAX)
        .zip(participants)
        .all(|(number, _)| round.failed.contains(number) || round.acked.contains(number))
}
