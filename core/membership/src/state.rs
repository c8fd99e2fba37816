//! What all members of a segment know, as one ordered table of entries that only the leader changes.
//!
//! Each entry remembers the sequence of the state in which it last changed. So whoever holds a state can
//! tell anybody what changed since any earlier one, without a log; removals are remembered as entries
//! without a value, until there are too many. The digest is a sum over the entries, so that a report
//! of a few changes is checked against the whole at the cost of the few.

use std::collections::BTreeMap;
use std::ops::Bound;

use bellwether_types::{Epoch, Hash, Name, NodeId};
use bellwether_wire::control::{Entry, Key, Page, Record, StateVersion, Value};

/// The segment as its members know it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct SegmentState {
    version: Option<StateVersion>,
    entries: BTreeMap<Key, Known>,
    digest: u64,
    members: usize,
    removals: usize,
    horizon: u64,
}

/// What is known under a key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Known {
    since: u64,
    digest: u64,
    value: Option<Value>,
}

/// Entries' bytes in a page: beside them there is room for its header in a datagram of 1,200 bytes.
const PAGE_LEN_MAX: usize = 1_000;
/// Removals that are remembered, beyond which the older half is forgotten.
const REMOVALS_MAX: usize = 1_024;

impl SegmentState {
    /// Which state this is; `None` if the node knows nothing yet.
    pub const fn version(&self) -> Option<StateVersion> {
        self.version
    }

    /// Equal states have equal digests.
    pub const fn digest(&self) -> u64 {
        self.digest
    }

    /// How many members there are.
    pub const fn member_count(&self) -> usize {
        self.members
    }

    /// All members, in the order of their ids.
    pub fn members(&self) -> impl Iterator<Item = (NodeId, &Record)> {
        let first = Key::Member(NodeId::from_bytes([0; 16]));
        self.live(first)
            .map_while(|(key, value)| match (key, value) {
                (Key::Member(node), Value::Member(record)) => Some((*node, &**record)),
                _ => None,
            })
    }

    /// What a member said of itself.
    pub fn record(&self, node: NodeId) -> Option<&Record> {
        match self.get(&Key::Member(node))? {
            Value::Member(record) => Some(record),
            _ => None,
        }
    }

    /// The value under a key.
    pub fn get(&self, key: &Key) -> Option<&Value> {
        self.entries.get(key)?.value.as_ref()
    }

    /// Everything that is known, in the order of the keys.
    pub fn entries(&self) -> impl Iterator<Item = (&Key, &Value)> {
        self.live(Key::Title)
    }

    /// Everything that is known from a key on.
    pub(crate) fn entries_from(&self, first: Key) -> impl Iterator<Item = (&Key, &Value)> {
        self.live(first)
    }

    /// Places in all groups together.
    pub(crate) fn place_count(&self) -> usize {
        let places = self
            .entries()
            .filter(|(key, _)| matches!(key, Key::Place(..)));
        places.count()
    }

    /// The content groups that are not given up.
    pub fn groups(&self) -> impl Iterator<Item = &Name> {
        let first = Bound::Excluded(Key::Reign(Epoch {
            counter: u64::MAX,
            leader: NodeId::from_bytes([u8::MAX; 16]),
        }));
        self.entries
            .range((first, Bound::Unbounded))
            .map_while(|(key, known)| match key {
                Key::Group(name) => Some((name, &known.value)),
                _ => None,
            })
            .filter(|(_, value)| matches!(value, Some(Value::Group(Some(_)))))
            .map(|(name, _)| name)
    }

    /// Is `version` this state, or one that it came from?
    pub fn descends_from(&self, version: StateVersion) -> bool {
        let Some(own) = self.version else {
            return false;
        };
        if own.epoch == version.epoch {
            return version.sequence <= own.sequence;
        }
        match self.get(&Key::Reign(version.epoch)) {
            Some(Value::Reign(last)) => version.sequence <= *last,
            _ => false,
        }
    }

    fn live(&self, first: Key) -> impl Iterator<Item = (&Key, &Value)> {
        let entries = self.entries.range(first..);
        entries.filter_map(|(key, known)| Some((key, known.value.as_ref()?)))
    }

    pub(crate) fn known(&self, key: &Key) -> Option<&Known> {
        self.entries.get(key)
    }

    /// Keys of entries with a value between two keys, the ends excluded.
    pub(crate) fn keys_between(
        &self,
        after: Option<&Key>,
        before: Option<&Key>,
    ) -> impl Iterator<Item = &Key> {
        keys_between(&self.entries, after, before)
    }

    /// Changes an entry, whatever stood there.
    pub(crate) fn put(&mut self, key: Key, known: Known) {
        let counts = matches!(key, Key::Member(_));
        self.digest = self.digest.wrapping_add(known.digest);
        self.members += usize::from(counts && known.value.is_some());
        self.removals += usize::from(known.value.is_none());
        if let Some(before) = self.entries.insert(key, known) {
            self.digest = self.digest.wrapping_sub(before.digest);
            self.members -= usize::from(counts && before.value.is_some());
            self.removals -= usize::from(before.value.is_none());
        }
    }

    /// The changes so far make this version.
    pub(crate) fn become_version(&mut self, version: StateVersion) {
        self.version = Some(version);
        if self.removals > REMOVALS_MAX {
            let mut removed: Vec<u64> = self.removals().collect();
            removed.sort_unstable();
            self.forget_removals(removed[removed.len() / 2]);
        }
    }

    /// What was removed up to this sequence cannot be told any more.
    pub(crate) fn forget_removals(&mut self, horizon: u64) {
        self.horizon = self.horizon.max(horizon);
        self.entries
            .retain(|_, known| known.value.is_some() || known.since > horizon);
        self.removals = self.removals().count();
    }

    fn removals(&self) -> impl Iterator<Item = u64> {
        let removed = self.entries.values().filter(|known| known.value.is_none());
        removed.map(|known| known.since)
    }

    /// The pages that lead somebody who holds `from` to this state: what changed since, or all of it where
    /// that cannot be told. Equal states make equal pages of all of it.
    pub(crate) fn pages(&self, from: Option<StateVersion>) -> Vec<Page> {
        let Some(to) = self.version else {
            return Vec::new();
        };
        let from = from.filter(|from| self.descends_from(*from) && from.sequence >= self.horizon);
        let mut pages = Vec::new();
        let mut page = Page {
            to,
            from,
            digest: self.digest,
            number: 0,
            count: 0,
            after: None,
            entries: Vec::new(),
        };
        let mut last = None;
        for (key, known) in &self.entries {
            let told = match from {
                None => known.value.is_some(),
                Some(from) => known.since > from.sequence,
            };
            if !told {
                continue;
            }
            let bytes = encoded(key, known);
            if page.entries.len() + bytes.len() > PAGE_LEN_MAX && !page.entries.is_empty() {
                let next = Page {
                    number: page.number.saturating_add(1),
                    after: last,
                    entries: Vec::new(),
                    ..page.clone()
                };
                pages.push(std::mem::replace(&mut page, next));
            }
            page.entries.extend_from_slice(&bytes);
            last = Some(key.clone());
        }
        pages.push(page);
        let count = u16::try_from(pages.len()).unwrap_or(u16::MAX);
        for page in &mut pages {
            page.count = count;
        }
        pages
    }

    /// The state that a whole set of pages from nothing describes; `None` if it is not what they promise.
    pub(crate) fn from_pages<'a>(pages: impl Iterator<Item = &'a Page>) -> Option<Self> {
        let mut state = Self::default();
        for page in pages {
            state.version = Some(page.to);
            state.horizon = page.to.sequence;
            for (key, known) in read_page(page).ok()? {
                state.put(key, known);
            }
            if page.number + 1 == page.count && state.digest != page.digest {
                return None;
            }
        }
        Some(state)
    }
}

impl Known {
    /// What is known from `since` on.
    pub(crate) fn new(key: &Key, since: u64, value: Option<Value>) -> Self {
        let mut known = Self {
            since,
            digest: 0,
            value,
        };
        if known.value.is_some() {
            known.digest = digest(&encoded(key, &known));
        }
        known
    }

    pub(crate) const fn since(&self) -> u64 {
        self.since
    }

    pub(crate) const fn digest(&self) -> u64 {
        self.digest
    }

    pub(crate) const fn value(&self) -> Option<&Value> {
        self.value.as_ref()
    }
}

/// Keys of entries with a value between two keys, the ends excluded.
pub(crate) fn keys_between<'a>(
    entries: &'a BTreeMap<Key, Known>,
    after: Option<&Key>,
    before: Option<&Key>,
) -> impl Iterator<Item = &'a Key> {
    let first = after.map_or(Bound::Unbounded, Bound::Excluded);
    // `range` refuses an end before its start, and nothing lies there.
    let last = match (after, before) {
        (Some(after), Some(before)) if before <= after => Bound::Included(after),
        (_, before) => before.map_or(Bound::Unbounded, Bound::Excluded),
    };
    entries
        .range::<Key, _>((first, last))
        .filter(|(_, known)| known.value.is_some())
        .map(|(key, _)| key)
}

/// The entries of a page that was made elsewhere; or what is wrong with it.
pub(crate) fn read_page(page: &Page) -> Result<Vec<(Key, Known)>, &'static str> {
    if page.number >= page.count {
        return Err("a page has a number beyond their count");
    }
    let mut decoder = minicbor::Decoder::new(&page.entries);
    let mut entries: Vec<(Key, Known)> = Vec::new();
    while decoder.position() < page.entries.len() {
        let start = decoder.position();
        let entry: Entry = decoder.decode().map_err(|_| "an entry cannot be read")?;
        if let Some(fault) = entry.fault() {
            return Err(fault);
        }
        let before = entries.last().map(|(key, _)| key).or(page.after.as_ref());
        if before.is_some_and(|before| *before >= entry.key) {
            return Err("entries are not in order");
        }
        if entry.since > page.to.sequence {
            return Err("an entry is newer than its report");
        }
        let known = Known {
            since: entry.since,
            digest: match entry.value {
                Some(_) => digest(&page.entries[start..decoder.position()]),
                None => 0,
            },
            value: entry.value,
        };
        entries.push((entry.key, known));
    }
    Ok(entries)
}

fn encoded(key: &Key, known: &Known) -> Vec<u8> {
    // The shape of `Entry`, without cloning one for it.
    #[derive(minicbor::Encode)]
    struct Borrowed<'a> {
        #[n(0)]
        key: &'a Key,
        #[n(1)]
        since: u64,
        #[n(2)]
        value: Option<&'a Value>,
    }
    let entry = Borrowed {
        key,
        since: known.since,
        value: known.value.as_ref(),
    };
    minicbor::to_vec(entry).unwrap_or_default()
}

fn digest(bytes: &[u8]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = Hash::of(bytes).0;
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests;
