//! Code and data move, and what points at them changes: learns where old addresses went.
//!
//! Three kinds of words are recognised in the base. *Relative*: the four bytes after an x86 call,
//! jump or RIP-relative operand, which name a distance from their own end. *Absolute*: a pointer
//! in a table, a word whose upper half is zero. *Unknown*: any other word near changed addresses, as
//! in the tables of unwinders and switches, which changes as its neighbours do. When such a word changes, the place it names moved
//! by some shift, and so did its neighbours: the shift is remembered for the exact place and for
//! ever larger surroundings. For relative words there is a better source yet: the matches of the
//! segment are known before its content, and they say where each piece of the base went.

use super::hash::{spread, word};
use crate::Match;

/// What a word names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A place at a distance from the word's end.
    Relative,
    /// A place by its address.
    Absolute,
    /// Unknown; changes as its neighbours in a table do.
    Word,
}

/// A word of four bytes that holds an address, and what it is expected to become.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    pub(super) kind: Kind,
    /// Where it starts in the base and in the new content.
    base_start: usize,
    new_start: usize,
    target: u32,
    expected: u32,
    /// How the expectation was found, from 1 (a far neighbour) to [`TRUST_LEVELS`] - 1; 0 if not.
    pub(super) trust: u8,
    /// Whether a byte of the word was not as expected.
    pub(super) missed: bool,
}

pub(super) const TRUST_LEVELS: usize = 8;
pub(super) const FIELD_LEN: usize = 4;
/// How far from a changed address words are expected to change as their neighbours do.
const WORDS_REACH: usize = 1 << 18;

impl Field {
    /// Which byte of the word stands at a place of the base.
    pub(super) fn offset(&self, base_at: usize) -> usize {
        base_at - self.base_start
    }

    /// By how much the word so many bytes before changed.
    fn before(&self, base: &[u8], new: &[u8], back: isize) -> u32 {
        let old = word(base, self.base_start as isize - back) as u32;
        (word(new, self.new_start as isize - back) as u32).wrapping_sub(old)
    }

    /// The byte expected at a place of the base.
    pub(super) fn expected(&self, base_at: usize) -> u8 {
        self.expected.to_le_bytes()[self.offset(base_at) & 3]
    }
}

/// What was learned about where addresses went.
#[derive(Debug)]
pub(super) struct Addresses {
    relative: Shifts,
    absolute: Shifts,
    /// The segment's matches as (base start, base end, shift), by base start.
    moves: Vec<(u32, u32, u32)>,
    /// Where words start, modulo four, going by the last absolute address.
    phase: usize,
    /// Where in the base an address last changed; unknown words count only near such places.
    changed_at: usize,
    /// Whether a word last changed as the word two before it, rather than the one before.
    pairs: bool,
}

impl Addresses {
    pub(super) fn new() -> Self {
        Self {
            relative: Shifts::new(),
            absolute: Shifts::new(),
            moves: Vec::new(),
            phase: 0,
            changed_at: usize::MAX,
            pairs: true,
        }
    }

    /// Takes in a segment's matches and forgets the places of the last one.
    pub(super) fn begin(&mut self, matches: &[Match]) {
        self.relative.forget();
        self.changed_at = usize::MAX;
        self.moves.clear();
        let mut new_at = 0u32;
        for m in matches {
            new_at += m.literal_len;
            if m.len >= 8 {
                self.moves.push((
                    m.base_start,
                    m.base_start + m.len,
                    new_at.wrapping_sub(m.base_start),
                ));
            }
            new_at += m.len;
        }
        self.moves.sort_unstable();
    }

    /// The field that starts at `base_at`, if its surroundings in the base look like one.
    #[inline]
    pub(super) fn field(&self, base: &[u8], base_at: usize, new_at: usize) -> Option<Field> {
        let before = word(base, base_at as isize - 8);
        let here = word(base, base_at as isize);
        let kind = kind(before, here)?;
        let value = here as u32;
        let (target, shift, trust) = match kind {
            Kind::Relative => {
                let target = value.wrapping_add((base_at + FIELD_LEN) as u32);
                let (shift, trust) = self.moved(target);
                (target, shift, trust)
            }
            Kind::Absolute | Kind::Word => {
                let (shift, trust) = self.absolute.find(value);
                (value, shift, trust)
            }
        };
        let target_new = target.wrapping_add(shift);
        let expected = match kind {
            Kind::Relative => target_new.wrapping_sub((new_at + FIELD_LEN) as u32),
            Kind::Absolute | Kind::Word => target_new,
        };
        let expected = if trust == 0 { value } else { expected };
        Some(Field {
            kind,
            base_start: base_at,
            new_start: new_at,
            target,
            expected,
            trust,
            missed: false,
        })
    }

    /// A word of a table, expected to change as much as the words before it.
    pub(super) fn word(
        &self,
        base: &[u8],
        base_at: usize,
        new: &[u8],
        new_at: usize,
    ) -> Option<Field> {
        if (base_at ^ self.phase) & 3 != 0
            || base_at < 8
            || new_at < 8
            || base_at.abs_diff(self.changed_at) > WORDS_REACH
        {
            return None;
        }
        let (old_before, new_before) = (
            word(base, base_at as isize - 8),
            word(new, new_at as isize - 8),
        );
        let two_before = (new_before as u32).wrapping_sub(old_before as u32);
        let one_before = ((new_before >> 32) as u32).wrapping_sub((old_before >> 32) as u32);
        let value = word(base, base_at as isize) as u32;
        let difference = if self.pairs { two_before } else { one_before };
        let trust = 1
            + u8::from(one_before == two_before)
            + 2 * u8::from(one_before != 0)
            + 4 * u8::from(two_before != 0);
        Some(Field {
            kind: Kind::Word,
            base_start: base_at,
            new_start: new_at,
            target: value,
            expected: value.wrapping_add(difference),
            trust: trust.min(7),
            missed: false,
        })
    }

    /// The shift of a place in the base: known exactly, known from the matches, or guessed.
    fn moved(&self, target: u32) -> (u32, u8) {
        let (shift, trust) = self.relative.find(target);
        if trust == 7 {
            return (shift, trust);
        }
        self.moved_to(target)
            .map_or((shift, trust), |shift| (shift, 6))
    }

    /// Where the matches say that a place in the base went.
    fn moved_to(&self, place: u32) -> Option<u32> {
        let after = self.moves.partition_point(|&(start, ..)| start <= place);
        let &(_, end, shift) = self.moves.get(after.checked_sub(1)?)?;
        (place < end).then_some(shift)
    }

    /// Learns from a field whose new bytes are all known.
    pub(super) fn learn(&mut self, field: &Field, base: &[u8], new: &[u8]) {
        let value = word(new, field.new_start as isize) as u32;
        if field.kind != Kind::Word && value != word(base, field.base_start as isize) as u32 {
            self.changed_at = field.base_start;
        }
        match field.kind {
            Kind::Relative => {
                let target = value.wrapping_add((field.new_start + FIELD_LEN) as u32);
                self.relative
                    .learn(field.target, target.wrapping_sub(field.target));
            }
            Kind::Absolute => {
                if value != field.target {
                    self.phase = field.base_start & 3;
                }
                self.absolute
                    .learn(field.target, value.wrapping_sub(field.target));
            }
            Kind::Word => {
                let two_before = field.before(base, new, 8);
                let one_before = field.before(base, new, 4);
                let difference = value.wrapping_sub(field.target);
                if one_before != two_before
                    && (difference == one_before || difference == two_before)
                {
                    self.pairs = difference == two_before;
                }
            }
        }
    }
}

/// What the bytes around say about a word: `before` ends where it starts, `here` starts there.
#[inline]
fn kind(before: u64, here: u64) -> Option<Kind> {
    let (b1, b2) = ((before >> 56) as u8, (before >> 48) as u8);
    let is_call = b1 & 0xfe == 0xe8;
    let is_branch = b2 == 0x0f && b1 & 0xf0 == 0x80;
    let is_operand = b1 & 0xc7 == 0x05 && b2 != 0;
    if is_call || is_branch || is_operand {
        // A distance: small, either way.
        let top = (here >> 24) as u8;
        return (top == 0 || top == 0xff).then_some(Kind::Relative);
    }
    (b1 == 0 && here >> 32 == 0 && here >= 0x1000 && here as u8 != 0).then_some(Kind::Absolute)
}

/// Shifts by place, and by ever larger surroundings of places.
#[derive(Debug)]
struct Shifts {
    /// (key, shift); a key is a place at one level, spread over 32 bits.
    slots: Vec<(u32, u32)>,
}

const SLOT_BITS: u32 = 15;
/// How many low bits of a place each level ignores, and the trust in what it says.
const LEVELS: [(u32, u8); 4] = [(0, 7), (6, 5), (11, 4), (18, 3)];

impl Shifts {
    fn new() -> Self {
        Self {
            slots: vec![(0, 0); 1 << SLOT_BITS],
        }
    }

    fn forget(&mut self) {
        self.slots.fill((0, 0));
    }

    fn key(place: u32, level: usize) -> u32 {
        spread(u64::from(place >> LEVELS[level].0), 40 + level as u32) | 1
    }

    fn find(&self, place: u32) -> (u32, u8) {
        for (level, &(_, trust)) in LEVELS.iter().enumerate() {
            let key = Self::key(place, level);
            let slot = self.slots[(key >> (32 - SLOT_BITS)) as usize];
            if slot.0 == key {
                return (slot.1, trust);
            }
        }
        (0, 0)
    }

    fn learn(&mut self, place: u32, shift: u32) {
        for level in 0..LEVELS.len() {
            let key = Self::key(place, level);
            self.slots[(key >> (32 - SLOT_BITS)) as usize] = (key, shift);
        }
    }
}
