//! The leader's part in a merge: it numbers merges by its reign, so that all handle them in the same order
//! (GROUP-21), names the participants, counts acknowledgements, and finds who failed (GROUP-10).

use std::collections::{BTreeMap, BTreeSet};

use bellwether_types::{Epoch, Name, NodeId};
use bellwether_wire::control::{
    Bitmap, MergeId, MergeRequest, Participant, Record, Round, StateVersion,
};

use crate::exchange::{SUBGROUPS_MAX, is_settled};
use crate::leader::Stranger;
use crate::state::SegmentState;

/// A merge as its leader knows it. Membership is frozen while it runs: joins wait.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Coordinator {
    pub(crate) merge: MergeId,
    pub(crate) requests: Vec<MergeRequest>,
    pub(crate) participants: Vec<Participant>,
    pub(crate) numbers: BTreeMap<NodeId, u16>,
    pub(crate) round: u32,
    pub(crate) failed: Bitmap,
    pub(crate) acked: Bitmap,
    /// Participants heard since the last tick.
    pub(crate) heard: Bitmap,
    /// Inquiries that each participant left without an answer.
    pub(crate) missed: BTreeMap<u16, u8>,
    /// Ticks in this round.
    pub(crate) ticks: u32,
    /// The last word, once all have acknowledged, is said so many times more.
    pub(crate) farewells: Option<u8>,
    /// What those said of themselves who are not in the leader's own line.
    pub(crate) strangers: BTreeMap<NodeId, Record>,
}

/// Participants in a page of a request that names few subgroups.
const PARTICIPANTS_IN_PAGE: usize = 36;

impl Coordinator {
    /// A merge of the leader's own line, in the state `own`, with those of strangers; newcomers are a subgroup of
    /// their own.
    pub(crate) fn new(
        merge: MergeId,
        own: StateVersion,
        segment: &SegmentState,
        strangers: &BTreeMap<NodeId, Stranger>,
        newcomers: &BTreeSet<NodeId>,
    ) -> Self {
        let subgroups = subgroups(own, strangers, !newcomers.is_empty());
        let participants = participants(&subgroups, segment, strangers, newcomers);
        let numbers = (0..=u16::MAX).zip(&participants);
        let numbers = numbers.map(|(number, participant)| (participant.node, number));
        let numbers: BTreeMap<NodeId, u16> = numbers.collect();
        let strangers = strangers
            .iter()
            .filter(|(node, _)| numbers.contains_key(node))
            .map(|(node, stranger)| (*node, stranger.record.clone()));
        Self {
            merge,
            strangers: strangers.collect(),
            requests: requests(merge, &subgroups, &participants),
            participants,
            numbers,
            round: 1,
            failed: Bitmap::new(),
            acked: Bitmap::new(),
            heard: Bitmap::new(),
            missed: BTreeMap::new(),
            ticks: 0,
            farewells: None,
        }
    }

    /// Is the merge still open?
    pub(crate) const fn runs(&self) -> bool {
        self.farewells.is_none()
    }

    /// Have all acknowledged who have not failed?
    pub(crate) fn is_settled(&self) -> bool {
        is_settled(&self.participants, &self.word())
    }

    /// How many subgroups meet.
    pub(crate) fn subgroup_count(&self) -> usize {
        self.requests
            .first()
            .map_or(0, |request| request.subgroups.len())
    }

    pub(crate) fn hear(&mut self, from: NodeId) {
        if let Some(number) = self.numbers.get(&from) {
            self.heard.insert(*number);
        }
    }

    pub(crate) fn word(&self) -> Round {
        Round {
            merge: self.merge,
            round: self.round,
            failed: self.failed.clone(),
            acked: self.acked.clone(),
        }
    }

    /// Participants whose acknowledgement is missing.
    pub(crate) fn missing(&self) -> impl Iterator<Item = (u16, NodeId)> {
        let numbered = (0..=u16::MAX).zip(&self.participants);
        numbered
            .filter(|(number, _)| !self.failed.contains(*number) && !self.acked.contains(*number))
            .map(|(number, participant)| (number, participant.node))
    }

    /// A change of membership: a new round without those who failed, and without acknowledgements (G9).
    pub(crate) fn exclude(&mut self, failed: &[u16]) {
        for number in failed {
            self.failed.insert(*number);
        }
        self.round += 1;
        self.ticks = 0;
        self.acked.clear();
        self.missed.clear();
    }
}

/// The leader's own line first, then the others by their reigns, each in its latest state, then those who
/// just join. Lines for which there is no room wait for the next merge.
fn subgroups(
    own: StateVersion,
    strangers: &BTreeMap<NodeId, Stranger>,
    newcomers: bool,
) -> Vec<Option<StateVersion>> {
    let mut latest: BTreeMap<Epoch, StateVersion> = BTreeMap::new();
    for stranger in strangers.values() {
        let held = stranger.held;
        let known = latest.entry(held.epoch).or_insert(held);
        *known = held.max(*known);
    }
    let lines = latest.into_values().take(SUBGROUPS_MAX - 2);
    let lines = [own].into_iter().chain(lines).map(Some);
    lines.chain(newcomers.then_some(None)).collect()
}

/// All members and strangers, in the order of their subgroups and names.
fn participants(
    subgroups: &[Option<StateVersion>],
    segment: &SegmentState,
    strangers: &BTreeMap<NodeId, Stranger>,
    newcomers: &BTreeSet<NodeId>,
) -> Vec<Participant> {
    let at = |place: usize| u8::try_from(place).unwrap_or(u8::MAX);
    let mut named: Vec<(Participant, &Name)> = Vec::new();
    for (node, record) in segment.members() {
        if strangers.contains_key(&node) {
            continue;
        }
        let joins = newcomers.contains(&node);
        let participant = Participant {
            node,
            incarnation: record.incarnation,
            subgroup: if joins { at(subgroups.len() - 1) } else { 0 },
            // Of the own line all can lead, once they have caught up.
            holds: !joins,
        };
        named.push((participant, &record.name));
    }
    for (node, stranger) in strangers {
        let of_line = |version: &StateVersion| version.epoch == stranger.held.epoch;
        let Some(place) = subgroups
            .iter()
            .position(|held| held.as_ref().is_some_and(of_line))
        else {
            continue;
        };
        let participant = Participant {
            node: *node,
            incarnation: stranger.record.incarnation,
            subgroup: at(place),
            holds: subgroups[place] == Some(stranger.held),
        };
        named.push((participant, &stranger.record.name));
    }
    named.sort_by_key(|(participant, name)| (participant.subgroup, *name, participant.node));
    named
        .into_iter()
        .map(|(participant, _)| participant)
        .collect()
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
