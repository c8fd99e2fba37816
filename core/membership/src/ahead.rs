use std::collections::BTreeMap;

use bellwether_wire::control::{Key, Page, StateVersion, Value};

use crate::state::{Known, SegmentState, keys_between, read_page};

/// What came of the leader's next state while it is not complete: entries in any order, from pages of any of
/// its reports, laid over the state that is in force.
///
/// Whether it is complete the digest alone says, so it matters neither which pages were lost nor
/// which state a page starts from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Ahead {
    /// Sequence and digest of the newest state that the leader spoke of.
    target: Option<(u64, u64)>,
    entries: BTreeMap<Key, Known>,
    /// Of the state in force with the entries laid over it.
    digest: u64,
    /// Did removals come as gaps in a whole state, so that it is not known when they were?
    whole: bool,
}

/// Entries that may be laid over a state.
const ENTRIES_MAX: usize = 1 << 17;

impl Ahead {
    /// Begins over the state in force.
    pub(crate) fn over(state: &SegmentState) -> Self {
        Self {
            digest: state.digest(),
            ..Self::default()
        }
    }

    /// The leader speaks of this state.
    pub(crate) fn aim(&mut self, sequence: u64, digest: u64) {
        if self.target.is_none_or(|(known, _)| known < sequence) {
            self.target = Some((sequence, digest));
        }
    }

    /// The newest state that the leader spoke of.
    pub(crate) const fn target(&self) -> Option<(u64, u64)> {
        self.target
    }

    /// Lays a page over the state; whether it would have had an entry for `key` if there were news of it. Or
    /// says what is wrong with the page.
    pub(crate) fn take(
        &mut self,
        state: &SegmentState,
        page: &Page,
        key: &Key,
    ) -> Result<bool, &'static str> {
        let entries = read_page(page)?;
        if self.entries.len() + entries.len() > ENTRIES_MAX {
            return Err("there are more entries than a segment may have");
        }
        let last = page.number + 1 == page.count;
        let covers = page.after.as_ref().is_none_or(|after| after < key)
            && (last || entries.last().is_some_and(|(end, _)| key <= end));
        self.aim(page.to.sequence, page.digest);
        if page.from.is_none() {
            self.whole = true;
            self.take_gaps(state, page, &entries);
        }
        for (key, known) in entries {
            self.lay(state, key, known);
        }
        Ok(covers)
    }

    /// What a page of a whole state passes over is no more, be it in force or laid over from an earlier page.
    fn take_gaps(&mut self, state: &SegmentState, page: &Page, entries: &[(Key, Known)]) {
        let mut after = page.after.as_ref();
        let last = page.number + 1 == page.count;
        let ends = entries.iter().map(|(key, _)| Some(key));
        let mut gone = Vec::new();
        for before in ends.chain(last.then_some(None)) {
            gone.extend(state.keys_between(after, before).cloned());
            gone.extend(keys_between(&self.entries, after, before).cloned());
            after = before;
        }
        for key in gone {
            let known = Known::new(&key, page.to.sequence, None);
            self.lay(state, key, known);
        }
    }

    fn lay(&mut self, state: &SegmentState, key: Key, known: Known) {
        let below = self.entries.get(&key).or_else(|| state.known(&key));
        let newer = below.is_none_or(|below| below.since() < known.since());
        if newer {
            let below = below.map_or(0, Known::digest);
            self.digest = self.digest.wrapping_sub(below).wrapping_add(known.digest());
            self.entries.insert(key, known);
        }
    }

    /// The value under a key, where pages of the next state have one; `None` where they do not speak of it.
    pub(crate) fn get(&self, key: &Key) -> Option<Option<&Value>> {
        self.entries.get(key).map(Known::value)
    }

    /// Is all there that leads to the newest state the leader spoke of?
    pub(crate) fn is_complete(&self) -> bool {
        self.target.is_some_and(|(_, digest)| digest == self.digest)
    }

    /// Would the complete state descend from the one it is laid over? If not, the two are to be merged.
    pub(crate) fn descends(&self, state: &SegmentState, leader: StateVersion) -> bool {
        let Some(own) = state.version() else {
            return true;
        };
        if own.epoch == leader.epoch {
            return own.sequence <= leader.sequence;
        }
        let reign = Key::Reign(own.epoch);
        match self.get(&reign).unwrap_or_else(|| state.get(&reign)) {
            Some(Value::Reign(last)) => own.sequence <= *last,
            _ => false,
        }
    }

    /// Puts the complete state in force; whether members or their records changed.
    pub(crate) fn settle(&mut self, state: &mut SegmentState, version: StateVersion) -> bool {
        let mut members = false;
        for (key, known) in std::mem::take(&mut self.entries) {
            members |= matches!(key, Key::Member(_));
            state.put(key, known);
        }
        if self.whole || state.version().is_none() {
            state.forget_removals(version.sequence);
        }
        state.become_version(version);
        self.whole = false;
        debug_assert_eq!(self.digest, state.digest());
        members
    }

    /// The nonce in a member's entry.
    pub(crate) fn nonce_of(value: Option<&Value>) -> Option<u64> {
        match value? {
            Value::Member(record) => Some(record.nonce),
            _ => None,
        }
    }
}
