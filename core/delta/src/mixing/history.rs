//! Repeats: what was said before will be said again.
//!
//! Literals of many small edits repeat each other (the same paragraph added to a hundred pages),
//! and pieces of the base too short for a match of their own turn up inside them. A [`Repeat`]
//! follows such an earlier place byte by byte and hints at what comes next.

use super::hash::{spread, word};
use super::octet::Hint;

const RING_BITS: u32 = 20;
const HEAD_BITS: u32 = 17;
/// Bytes that must agree before a place in history is followed.
const HISTORY_LEN_MIN: usize = 4;

/// The latest megabyte of literals, with an index of where each few bytes stood last.
#[derive(Debug)]
pub(super) struct History {
    ring: Vec<u8>,
    end: usize,
    heads: Vec<u32>,
}

impl History {
    pub(super) fn new() -> Self {
        // Position 0 means "nowhere" in the index, so the first byte is a blank.
        Self {
            ring: vec![0; 1 << RING_BITS],
            end: 1,
            heads: vec![0; 1 << HEAD_BITS],
        }
    }

    pub(super) fn end(&self) -> usize {
        self.end
    }

    /// Appends a byte; `tail` holds the last eight bytes including it, the newest on top.
    pub(super) fn push(&mut self, byte: u8, tail: u64) {
        let mask = self.ring.len() - 1;
        self.ring[self.end & mask] = byte;
        self.end += 1;
        let head = Self::head(tail);
        self.heads[head] = self.end as u32;
    }

    fn head(tail: u64) -> usize {
        (spread(tail >> (64 - 8 * HISTORY_LEN_MIN), 1) >> (32 - HEAD_BITS)) as usize
    }

    /// The byte at a place, if it is still there.
    fn byte(&self, at: usize) -> Option<u8> {
        (at < self.end && self.end - at < self.ring.len())
            .then(|| self.ring[at & (self.ring.len() - 1)])
    }

    /// The last place that followed the same bytes, and how many of them agree.
    fn find(&self, tail: u64) -> Option<(usize, u32)> {
        let at = self.heads[Self::head(tail)] as usize;
        let len = (1..=32.min(at)).take_while(|&back| {
            self.end > back
                && self
                    .byte(at - back)
                    .is_some_and(|byte| self.byte(self.end - back) == Some(byte))
        });
        let len = len.count();
        (at > 0 && at < self.end && len >= HISTORY_LEN_MIN).then_some((at, len as u32))
    }
}

const BASE_HEADS: usize = 3 << 19;
/// Bytes that must agree before a place in the base is followed.
const BASE_LEN_MIN: usize = 5;

/// Where pieces of a segment's base stand. Large bases are sampled, so that the index stays small.
#[derive(Debug)]
pub(super) struct BaseIndex {
    heads: Vec<u32>,
}

impl BaseIndex {
    pub(super) fn new() -> Self {
        Self { heads: Vec::new() }
    }

    /// Forgets the last segment's base and samples this one.
    pub(super) fn begin(&mut self, base: &[u8]) {
        self.heads.clear();
        self.heads.resize(BASE_HEADS, 0);
        let stride = base.len().div_ceil(BASE_HEADS).max(1);
        for at in (BASE_LEN_MIN..=base.len()).step_by(stride) {
            self.insert(base, at);
        }
    }

    fn insert(&mut self, base: &[u8], at: usize) {
        let head = Self::head(word(base, at as isize - 8));
        self.heads[head] = at as u32;
    }

    fn head(tail: u64) -> usize {
        let hash = spread(tail >> (64 - 8 * BASE_LEN_MIN), 2);
        ((u64::from(hash) * BASE_HEADS as u64) >> 32) as usize
    }

    /// A place that followed the same bits, and how many whole bytes of them agree.
    fn find(&self, base: &[u8], new: &[u8]) -> Option<(Place, u32)> {
        let tail = word(new, new.len() as isize - 8);
        (0..8).find_map(|phase| {
            let at = *self.heads.get(Self::head(tail << phase))? as usize;
            let place = Place { at, phase };
            let len = place.agrees(base, new);
            (at > 0 && len >= BASE_LEN_MIN as u32).then_some((place, len))
        })
    }
}

/// How far a place moves to resume after a miss, in bits.
const RESUME_BITS_MAX: isize = 32;

/// A place between two bits of the base.
///
/// Compiled intermediate code is a stream of bits: one field more and everything after it is the
/// same as before, but shifted by so many bits. Streams fill their bytes from the lowest bit up.
#[derive(Debug, Default, Clone, Copy)]
struct Place {
    at: usize,
    /// How many bits of the byte at `at` lie before the place.
    phase: u32,
}

impl Place {
    /// The eight bits from here on.
    fn byte(self, base: &[u8]) -> Option<u8> {
        let low = *base.get(self.at)?;
        if self.phase == 0 {
            return Some(low);
        }
        let high = base.get(self.at + 1).copied().unwrap_or(0);
        Some((u16::from_le_bytes([low, high]) >> self.phase) as u8)
    }

    /// A place nearby that the last three bytes of `new` led to, if bits were put in or taken out.
    fn resume(self, base: &[u8], new: &[u8]) -> Option<Self> {
        let tail = word(new, new.len() as isize - 8) >> 40;
        let here = (self.at * 8) as isize + self.phase as isize;
        (1..=RESUME_BITS_MAX)
            .flat_map(|by| [by, -by])
            .find_map(|by| {
                let bits = here + by - 24;
                let found = word(base, bits >> 3) >> (bits & 7) & 0xff_ffff == tail;
                found.then_some(Self {
                    at: ((bits + 24) >> 3) as usize,
                    phase: (bits & 7) as u32,
                })
            })
    }

    /// How many bytes before here equal the last bytes of `new`, up to 32.
    fn agrees(self, base: &[u8], new: &[u8]) -> u32 {
        let agree = (1..=self.at.min(new.len()).min(32)).take_while(|&back| {
            let there = Self {
                at: self.at - back,
                ..self
            };
            there.byte(base) == Some(new[new.len() - back])
        });
        agree.count() as u32
    }
}

/// A place that is being followed.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Repeat {
    place: Place,
    /// Bytes that agreed since the last miss.
    len: u32,
    misses: u32,
    active: bool,
}

/// A place is given up after this many misses in short order.
const MISSES_MAX: u32 = 8;

impl Repeat {
    /// Follows a place known from elsewhere, such as an earlier edit at the same spot.
    pub(super) fn seeded(at: Option<usize>) -> Self {
        Self {
            place: Place {
                at: at.unwrap_or(0),
                phase: 0,
            },
            len: 0,
            misses: 0,
            active: at.is_some(),
        }
    }

    pub(super) fn hint_of_history(&mut self, history: &History, tail: u64) -> Hint {
        if (!self.active || self.len < 16)
            && let Some((at, len)) = history.find(tail)
            && (!self.active || len > self.len)
        {
            *self = Self {
                place: Place { at, phase: 0 },
                len,
                misses: 0,
                active: true,
            };
        }
        self.hint(history.byte(self.place.at))
    }

    pub(super) fn hint_of_base(&mut self, index: &BaseIndex, base: &[u8], new: &[u8]) -> Hint {
        if (!self.active || self.len < 16)
            && let Some((place, len)) = index.find(base, new)
            && (!self.active || len > self.len)
        {
            *self = Self {
                place,
                len,
                misses: 0,
                active: true,
            };
        } else if self.active
            && self.len == 0
            && let Some(place) = self.place.resume(base, new)
        {
            self.place = place;
            self.len = 2;
        }
        self.hint(self.place.byte(base))
    }

    fn hint(&mut self, byte: Option<u8>) -> Hint {
        self.active &= byte.is_some();
        match byte {
            Some(byte) if self.active => Hint {
                byte,
                trust: self.trust(),
            },
            _ => Hint::default(),
        }
    }

    fn trust(&self) -> u8 {
        let len = match self.len {
            0..=11 => self.len,
            12..=15 => 12,
            16..=23 => 13,
            24..=31 => 14,
            _ => 15,
        };
        1 + (len * 3 + self.misses.min(2)) as u8
    }

    /// Moves on past a byte that turned out to be `byte`, where `hint` was given.
    pub(super) fn step(&mut self, hint: Hint, byte: u8) {
        if !self.active {
            return;
        }
        self.place.at += 1;
        if hint.byte == byte {
            self.len += 1;
            if self.len >= 16 {
                self.misses = 0;
            }
        } else {
            self.len = 0;
            self.misses += 1;
            self.active = self.misses < MISSES_MAX;
        }
    }
}
