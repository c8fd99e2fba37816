//! Code and data move, and what points at them changes: learns where old addresses went.
//!
//! Two kinds of words are recognised in the base. *Relative*: the four bytes after an x86 call,
//! jump or RIP-relative operand, which name a distance from their own end. *Absolute*: a pointer
//! in a table, a word whose upper half is zero. When such a word changes, the place it names moved
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

impl Field {
    /// Which byte of the word stands at a place of the base.
    pub(super) fn offset(&self, base_at: usize) -> usize {
        base_at - self.base_start
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
}

impl Addresses {
    pub(super) fn new() -> Self {
        Self {
            relative: Shifts::new(),
            absolute: Shifts::new(),
            moves: Vec::new(),
        }
    }

    /// Takes in a segment's matches and forgets the places of the last one.
    pub(super) fn begin(&mut self, matches: &[Match]) {
        self.relative.forget();
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
            Kind::Absolute => {
                let (shift, trust) = self.absolute.find(value);
                (value, shift, trust)
            }
        };
        let target_new = target.wrapping_add(shift);
        let expected = match kind {
            Kind::Relative => target_new.wrapping_sub((new_at + FIELD_LEN) as u32),
            Kind::Absolute => target_new,
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

    /// The shift of a place in the base: known exactly, known from the matches, or guessed.
    fn moved(&self, target: u32) -> (u32, u8) {
        let (shift, trust) = self.relative.find(target);
        if trust == 7 {
            return (shift, trust);
        }
        let after = self.moves.partition_point(|&(start, ..)| start <= target);
        if let Some(&(_, end, shift)) = after.checked_sub(1).and_then(|i| self.moves.get(i))
            && target < end
        {
            return (shift, 6);
        }
        (shift, trust)
    }

    /// Learns from a field whose new bytes are all known.
    pub(super) fn learn(&mut self, field: &Field, new: &[u8]) {
        let value = word(new, field.new_start as isize) as u32;
        match field.kind {
            Kind::Relative => {
                let target = value.wrapping_add((field.new_start + FIELD_LEN) as u32);
                self.relative
                    .learn(field.target, target.wrapping_sub(field.target));
            }
            Kind::Absolute => self
                .absolute
                .learn(field.target, value.wrapping_sub(field.target)),
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

const SLOT_BITS: u32 = 16;
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
