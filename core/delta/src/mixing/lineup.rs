//! Codes where lined-up content differs from the base, and what stands there.
//!
//! Mismatches come in clusters. Inside one (*dense*), every byte gets a flag, seen in many
//! contexts: what the base says around it, how long ago and how often the last bytes differed,
//! whether an address was expected to change here. After a long enough calm the run is *sparse*:
//! one word says whether the next mismatch stands at a known *spot* (the base around it is the
//! same as at an earlier mismatch, as where a version number stands on every page), or after a gap
//! of so many bytes, or whether the rest of the run is exact. Exact stretches are copied at the
//! speed of memory.

use super::address::{Addresses, FIELD_LEN, Field, Kind, TRUST_LEVELS};
use super::decision::Decider;
use super::hash::{add, spread, word};
use super::logistic::Logistic;
use super::number::Numbers;
use super::octet::{Hint, Octets, context};
use super::range::Coin;
use super::spots::{Spots, spot};

/// Exact bytes after which a run is sparse, at least and at most.
const CALM_MIN: u32 = 24;
const CALM_MAX: u32 = 1000;
/// An encoder names a spot by walking past at most this many other known ones.
const SPOTS_PASSED_MAX: usize = 24;
/// Flags are weighed apart by what a field says and by how long ago the last mismatch was.
const FLAG_KINDS: usize = 4 * (1 + 8 * TRUST_LEVELS);

#[derive(Debug)]
pub(super) struct Lineup {
    flags: Decider<8, 9>,
    places: Decider<4, 5>,
    at_spot: Decider<4, 5>,
    gaps: Numbers<4, 5>,
    octets: Octets<7, 2, 10>,
    spots: Spots,
    state: State,
    pub(super) addresses: Addresses,
}

/// What happened lately; carries on from run to run.
#[derive(Debug, Clone, Copy)]
struct State {
    /// Exact bytes since the last mismatch.
    since: u32,
    /// The last flags, the newest lowest.
    flags: u32,
    /// Exact bytes before the last mismatches, newest first.
    gaps: [u32; 3],
    /// Sixteen times the usual gap in dense places.
    gap_usual: u32,
    /// The last answers about the next place.
    places: u32,
    /// The last spot's hash.
    spot: u32,
    /// New byte minus old at the last mismatch.
    difference: u8,
}

/// Where the next mismatch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Nowhere,
    Spot,
    Gap(usize),
}

/// A lined-up run, as both sides see it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run<'a> {
    pub(super) base: &'a [u8],
    pub(super) base_start: usize,
    pub(super) len: usize,
    /// The new content from this run on; empty for a decoder.
    pub(super) source: &'a [u8],
}

impl Run<'_> {
    /// How many bytes from `at` on equal the base.
    fn exact(&self, at: usize) -> usize {
        let old = &self.base[self.base_start..][at..self.len];
        let new = &self.source[at..self.len];
        let words = old
            .chunks_exact(8)
            .zip(new.chunks_exact(8))
            .take_while(|(a, b)| a == b)
            .count()
            * 8;
        words
            + old[words..]
                .iter()
                .zip(&new[words..])
                .take_while(|(a, b)| a == b)
                .count()
    }
}

impl Lineup {
    pub(super) fn new(scale: &Logistic) -> Self {
        Self {
            flags: Decider::new(scale, 19, FLAG_KINDS, 1023),
            places: Decider::new(scale, 15, 2, 255),
            at_spot: Decider::new(scale, 16, 1, 255),
            gaps: Numbers::new(scale, 16),
            octets: Octets::new(scale, 15, 255),
            spots: Spots::new(),
            state: State {
                since: CALM_MAX,
                flags: 0,
                gaps: [0; 3],
                gap_usual: 16 * 16,
                places: 0,
                spot: 0,
                difference: 0,
            },
            addresses: Addresses::new(),
        }
    }

    /// Codes a run onto the end of `new`.
    pub(super) fn code<C: Coin>(
        &mut self,
        scale: &Logistic,
        coin: &mut C,
        run: Run<'_>,
        new: &mut Vec<u8>,
    ) {
        let mut at = 0;
        let mut field: Option<Field> = None;
        while at < run.len {
            if self.state.since >= self.calm() {
                field = None;
                let place = C::KNOWS.then(|| self.next_place(&run, at));
                match self.place(scale, coin, &run, at, place) {
                    Place::Nowhere => return self.copy(&run, &mut at, run.len, new),
                    Place::Gap(gap) => {
                        let stop = (at + gap).min(run.len - 1);
                        self.copy(&run, &mut at, stop, new);
                        self.spots.learn(spot(run.base, run.base_start + at));
                    }
                    Place::Spot => {
                        if !self.walk(scale, coin, &run, &mut at, new) {
                            return;
                        }
                    }
                }
                // The mismatch may stand in the middle of an address.
                for back in 0..FIELD_LEN.min(at + 1) {
                    let start = run.base_start + at - back;
                    field = self.addresses.field(run.base, start, new.len() - back);
                    if field.is_some() {
                        break;
                    }
                }
                self.mismatch(scale, coin, &run, &mut at, &mut field, new);
            } else {
                if field.is_none_or(|field| field.kind == Kind::Word) {
                    let found = self
                        .addresses
                        .field(run.base, run.base_start + at, new.len());
                    field = found.or(field);
                }
                if field.is_none() {
                    field = self
                        .addresses
                        .word(run.base, run.base_start + at, new, new.len());
                }
                self.dense(scale, coin, &run, &mut at, &mut field, new);
                if coin.is_spent() {
                    return self.copy(&run, &mut at, run.len, new);
                }
            }
            if let Some(done) =
                field.take_if(|field| field.offset(run.base_start + at) >= FIELD_LEN)
            {
                self.addresses.learn(&done, run.base, new);
            }
        }
    }

    /// The calm after which a run is sparse: a few times the usual gap.
    fn calm(&self) -> u32 {
        (self.state.gap_usual).clamp(CALM_MIN, CALM_MAX)
    }

    /// Appends exact bytes up to `stop`.
    fn copy(&mut self, run: &Run<'_>, at: &mut usize, stop: usize, new: &mut Vec<u8>) {
        new.extend_from_slice(&run.base[run.base_start + *at..run.base_start + stop]);
        self.state.since = self.state.since.saturating_add((stop - *at) as u32);
        *at = stop;
    }

    /// For an encoder: the cheapest true answer.
    fn next_place(&self, run: &Run<'_>, at: usize) -> Place {
        let gap = run.exact(at);
        if at + gap == run.len {
            return Place::Nowhere;
        }
        let known = |at: usize| self.spots.contains(spot(run.base, run.base_start + at));
        if known(at + gap)
            && (at..at + gap)
                .filter(|&at| known(at))
                .take(SPOTS_PASSED_MAX + 1)
                .count()
                <= SPOTS_PASSED_MAX
        {
            return Place::Spot;
        }
        Place::Gap(gap)
    }

    fn place<C: Coin>(
        &mut self,
        scale: &Logistic,
        coin: &mut C,
        run: &Run<'_>,
        at: usize,
        truth: Option<Place>,
    ) -> Place {
        let state = self.state;
        let left = usize::BITS - (run.len - at).leading_zeros();
        let is_start = u32::from(at == 0);
        let contexts = [
            spread(
                u64::from(state.places & 0xff) << 8 | u64::from(left) << 1 | u64::from(is_start),
                70,
            ),
            add(state.spot, 71 + is_start),
            spread(u64::from(state.places & 0xf) << 8 | u64::from(is_start), 72),
            spread(word(run.base, (run.base_start + at) as isize - 4), 73),
        ];
        let ends = self
            .places
            .decide(scale, coin, &contexts, 0, truth == Some(Place::Nowhere));
        if ends {
            self.state.places = state.places << 2 | 1;
            return Place::Nowhere;
        }
        let contexts = contexts.map(|context| add(context, 1));
        let is_spot = self
            .places
            .decide(scale, coin, &contexts, 1, truth == Some(Place::Spot));
        if is_spot {
            self.state.places = state.places << 2 | 2;
            return Place::Spot;
        }
        self.state.places = state.places << 2 | 3;
        let gap = if let Some(Place::Gap(gap)) = truth {
            gap
        } else {
            0
        };
        let contexts = [
            spread(u64::from(left), 74),
            add(state.spot, 75),
            spread(u64::from(state.gaps[0]), 76),
            77,
        ];
        Place::Gap(
            self.gaps
                .code(scale, coin, &contexts, gap as u64)
                .min(usize::MAX as u64 / 2) as usize,
        )
    }

    /// Copies up to the known spot at which the next mismatch stands; false if there is none.
    fn walk<C: Coin>(
        &mut self,
        scale: &Logistic,
        coin: &mut C,
        run: &Run<'_>,
        at: &mut usize,
        new: &mut Vec<u8>,
    ) -> bool {
        let here = *at;
        let gap = if C::KNOWS { run.exact(here) } else { 0 };
        for stop in here..run.len {
            let spot = spot(run.base, run.base_start + stop);
            if !self.spots.contains(spot) {
                continue;
            }
            let contexts = [
                spot,
                add(spot, self.state.spot),
                add(self.state.spot, 80),
                spread(
                    word(run.base, (run.base_start + stop) as isize - 2) & 0xffff_ffff,
                    81,
                ),
            ];
            if self
                .at_spot
                .decide(scale, coin, &contexts, 0, stop == here + gap)
            {
                self.copy(run, at, stop, new);
                self.state.spot = spot;
                return true;
            }
            if coin.is_spent() {
                break;
            }
        }
        self.copy(run, at, run.len, new);
        false
    }

    /// Codes one byte of a cluster: as before or not, and what instead.
    fn dense<C: Coin>(
        &mut self,
        scale: &Logistic,
        coin: &mut C,
        run: &Run<'_>,
        at: &mut usize,
        field: &mut Option<Field>,
        new: &mut Vec<u8>,
    ) {
        let base_at = run.base_start + *at;
        let old = run.base[base_at];
        let around = word(run.base, base_at as isize - 4);
        let (before, here) = (around as u32, (around >> 32) as u32);
        let state = self.state;
        // What the field says: nothing, or which byte of what kind, and whether it should differ.
        let (says, kind) = match field {
            None => (0, 0),
            Some(field) => {
                let differs = u32::from(field.expected(base_at) != old);
                let offset = field.offset(base_at) as u32 & 3;
                let kind = 1 + field.kind as u32;
                let trust = u32::from(field.trust);
                let missed = u32::from(field.missed);
                (
                    ((((kind << 2 | offset) << 3 | trust) << 1 | differs) << 1) | missed | 1 << 15,
                    1 + (u32::from(field.kind == Kind::Word) * TRUST_LEVELS as u32 + trust) * 4
                        + differs * 2
                        + missed,
                )
            }
        };
        let since = state.since.min(63);
        let since_size = if since < 4 { since } else { 2 + since.ilog2() };
        let recent = state.flags & 0xff;
        let contexts = [
            spread((around >> 8 & 0xff_ffff_ffff) << 16 | u64::from(says), 90),
            spot(run.base, base_at),
            spread(
                u64::from(recent) << 32 | u64::from(since) << 16 | u64::from(says),
                92,
            ),
            spread(u64::from(says) << 8 | u64::from(state.flags & 0xf), 93),
            spread(
                u64::from(says) << 32 | u64::from(old) << 8 | u64::from(before >> 24),
                94,
            ),
            spread(
                u64::from(state.gaps[0].min(255)) << 32
                    | u64::from(state.gaps[1].min(255)) << 16
                    | u64::from(since),
                95,
            ),
            spread(
                u64::from(before >> 16) << 32
                    | u64::from(here & 0xffff) << 16
                    | u64::from(since.min(3)),
                96,
            ),
            spread(u64::from(state.since.min(500)) << 32 | u64::from(says), 97),
        ];
        let truth = run.source.get(*at).is_some_and(|&new| new != old);
        let kind = (kind * 4 + since_size.min(7) / 2) as usize;
        if self.flags.decide(scale, coin, &contexts, kind, truth) {
            self.mismatch(scale, coin, run, at, field, new);
        } else {
            if let Some(field) = field {
                field.missed |= field.expected(base_at) != old;
            }
            self.state.flags <<= 1;
            self.state.since += 1;
            new.push(old);
            *at += 1;
        }
    }

    /// Codes what stands where the base does not hold.
    fn mismatch<C: Coin>(
        &mut self,
        scale: &Logistic,
        coin: &mut C,
        run: &Run<'_>,
        at: &mut usize,
        field: &mut Option<Field>,
        new: &mut Vec<u8>,
    ) {
        let base_at = run.base_start + *at;
        let old = run.base[base_at];
        let tail = word(new, new.len() as isize - 8);
        let last = |n: u32| tail >> (64 - 8 * n);
        let around = word(run.base, base_at as isize - 3);
        let state = &mut self.state;
        let (says, of_field) = match field {
            Some(field) => {
                let byte = field.expected(base_at);
                let offset = field.offset(base_at) as u8 & 3;
                let kind = field.kind as u8;
                let sure = if field.missed { 0 } else { field.trust };
                let trust = if byte == old {
                    0
                } else {
                    1 + sure * 6 + kind * 2 + u8::from(offset > 0)
                };
                (
                    1 + u64::from(offset) + u64::from(kind) * 4,
                    Hint { byte, trust },
                )
            }
            None => (0, Hint::default()),
        };
        let of_difference = Hint {
            byte: old.wrapping_add(state.difference),
            trust: 1 + state.since.min(30) as u8,
        };
        let of_difference = if state.difference == 0 {
            Hint::default()
        } else {
            of_difference
        };
        let contexts = [
            context(u64::from(old) << 8 | says, 100),
            context(
                last(1) << 16 | u64::from(old) << 8 | (around >> 16 & 0xff),
                101,
            ),
            spot(run.base, base_at),
            context(last(2) << 8 | u64::from(old), 103),
            context(around & 0xff_ffff_ffff, 104),
            context(
                u64::from(old) << 16
                    | u64::from(state.difference) << 8
                    | u64::from(state.since.min(8)),
                105,
            ),
            context(last(3), 106),
        ];
        let truth = run.source.get(*at).copied().unwrap_or(0);
        let byte = self.octets.code(
            scale,
            coin,
            &contexts,
            &[of_field, of_difference],
            context(u64::from(old), 107),
            truth,
        );
        state.difference = byte.wrapping_sub(old);
        state.gaps = [state.since, state.gaps[0], state.gaps[1]];
        let gap = state.since.min(CALM_MAX * 4);
        state.gap_usual = state.gap_usual - state.gap_usual / 16 + gap;
        state.flags = state.flags << 1 | 1;
        state.since = 0;
        if let Some(field) = field {
            field.missed |= field.expected(base_at) != byte;
        }
        new.push(byte);
        *at += 1;
    }
}
