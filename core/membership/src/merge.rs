use std::collections::{BTreeMap, BTreeSet};

use bellwether_types::{Name, NodeId};
use bellwether_wire::control::{Bitmap, Entry, Key, Participant, StateVersion, Value};

use crate::state::{Known, SegmentState};

/// Reigns that are remembered; who holds a state of an older one counts as a stranger.
const REIGNS_MAX: usize = 32;
/// Entries that lost, of which the oldest go first.
const CONFLICTS_MAX: usize = 64;

/// What a segment knows once its subgroups meet: `sides` by number of subgroup, `None` for those that brought
/// nothing or were dropped. The same at every participant (GROUP-15):
///
/// - Of title, control channel and each group the first side that has it prevails, a group with all its places.
/// - Of a member the highest incarnation prevails, then the word of its own subgroup, then the first
///   side. Who failed is gone; who does not take part stays only if the first side knows it, which will then look after it.
/// - What differed and lost is kept as a conflict.
pub(crate) fn merge(
    sides: &[Option<SegmentState>],
    participants: &[Participant],
    failed: &Bitmap,
    version: StateVersion,
) -> SegmentState {
    let mut merged = Merged::default();
    for side in sides.iter().flatten() {
        merged.take_reigns(side, version);
        merged.take_words(side);
    }
    merged.take_members(sides, participants, failed);
    merged.take_conflicts(sides, version.sequence);
    merged.into_state(version)
}

#[derive(Default)]
struct Merged {
    entries: BTreeMap<Key, Value>,
    lost: BTreeSet<Vec<u8>>,
}

impl Merged {
    fn take_reigns(&mut self, side: &SegmentState, version: StateVersion) {
        let ended = side
            .entries()
            .filter_map(|(key, value)| match (key, value) {
                (Key::Reign(epoch), Value::Reign(last)) => Some((*epoch, *last)),
                _ => None,
            });
        let own = side.version().map(|own| (own.epoch, own.sequence));
        for (epoch, last) in ended.chain(own) {
            if epoch == version.epoch {
                continue;
            }
            let entry = self.entries.entry(Key::Reign(epoch));
            let known = entry.or_insert(Value::Reign(last));
            if matches!(known, Value::Reign(known) if *known < last) {
                *known = Value::Reign(last);
            }
        }
    }

    fn take_words(&mut self, side: &SegmentState) {
        let settled: BTreeSet<Name> = self.groups();
        for (key, value) in side.entries() {
            let open = match key {
                Key::Title | Key::Control => !self.entries.contains_key(key),
                Key::Group(group) | Key::Place(group, _) => !settled.contains(group),
                Key::Reign(_) | Key::Conflict(..) | Key::Member(_) => continue,
            };
            if open {
                self.entries.insert(key.clone(), value.clone());
            } else if self.entries.get(key) != Some(value) {
                self.lose(key, value);
            }
        }
    }

    fn groups(&self) -> BTreeSet<Name> {
        let names = self.entries.keys().filter_map(|key| match key {
            Key::Group(name) => Some(name.clone()),
            _ => None,
        });
        names.collect()
    }

    fn take_members(
        &mut self,
        sides: &[Option<SegmentState>],
        participants: &[Participant],
        failed: &Bitmap,
    ) {
        let numbered = (0..=u16::MAX).zip(participants);
        let present: BTreeMap<NodeId, Option<&Participant>> = numbered
            .map(|(number, participant)| {
                let present = (!failed.contains(number)).then_some(participant);
                (participant.node, present)
            })
            .collect();
        for (number, side) in sides.iter().enumerate() {
            let Some(side) = side else { continue };
            for (node, record) in side.members() {
                let key = Key::Member(node);
                let participant = present.get(&node).copied();
                let passed_over = match participant {
                    Some(None) => true,
                    // Its registration tells of the start that takes part, if nobody else does.
                    Some(Some(participant)) => record.incarnation < participant.incarnation,
                    // Whether it stays the first side says; which start of it is the latest, each.
                    None => number > 0 && !self.entries.contains_key(&key),
                };
                if passed_over {
                    continue;
                }
                let home = participant
                    .flatten()
                    .map(|participant| usize::from(participant.subgroup));
                let value = Value::Member(Box::new(record.clone()));
                let Some(Value::Member(known)) = self.entries.get(&key) else {
                    self.entries.insert(key, value);
                    continue;
                };
                let differs = known.name != record.name || known.address != record.address;
                let contested = known.incarnation == record.incarnation && differs;
                let at_home = home == Some(number);
                let prevails = record.incarnation > known.incarnation
                    || record.incarnation == known.incarnation && at_home;
                let loser = if prevails {
                    self.entries.insert(key.clone(), value)
                } else {
                    Some(value)
                };
                if let Some(loser) = loser.filter(|_| contested) {
                    self.lose(&key, &loser);
                }
            }
        }
    }

    fn take_conflicts(&mut self, sides: &[Option<SegmentState>], sequence: u64) {
        let mut conflicts: BTreeMap<(u64, u16), Vec<u8>> = BTreeMap::new();
        let earlier = sides.iter().flatten().flat_map(SegmentState::entries);
        let earlier = earlier.filter_map(|(key, value)| match (key, value) {
            (Key::Conflict(sequence, number), Value::Conflict(lost)) => {
                Some(((*sequence, *number), lost.clone()))
            }
            _ => None,
        });
        let lost = std::mem::take(&mut self.lost)
            .into_iter()
            .take(CONFLICTS_MAX);
        for ((sequence, mut number), lost) in earlier.chain(lost.map(|lost| ((sequence, 0), lost)))
        {
            // Sequences of two lines may be the same though their conflicts are not.
            while number < u16::MAX
                && conflicts
                    .get(&(sequence, number))
                    .is_some_and(|known| *known != lost)
            {
                number += 1;
            }
            conflicts.insert((sequence, number), lost);
        }
        let excess = conflicts.len().saturating_sub(CONFLICTS_MAX);
        for ((sequence, number), lost) in conflicts.into_iter().skip(excess) {
            self.entries
                .insert(Key::Conflict(sequence, number), Value::Conflict(lost));
        }
    }

    fn lose(&mut self, key: &Key, value: &Value) {
        let entry = Entry {
            key: key.clone(),
            since: 0,
            value: Some(value.clone()),
        };
        self.lost.extend(minicbor::to_vec(entry));
    }

    fn into_state(self, version: StateVersion) -> SegmentState {
        let reigns = self
            .entries
            .keys()
            .filter(|key| matches!(key, Key::Reign(_)));
        let excess = reigns.count().saturating_sub(REIGNS_MAX);
        let mut state = SegmentState::default();
        let mut reigns = 0;
        for (key, value) in self.entries {
            reigns += usize::from(matches!(key, Key::Reign(_)));
            if matches!(key, Key::Reign(_)) && reigns <= excess {
                continue;
            }
            let known = Known::new(&key, version.sequence, Some(value));
            state.put(key, known);
        }
        state.forget_removals(version.sequence);
        state.become_version(version);
        state
    }
}

#[cfg(test)]
mod tests;
