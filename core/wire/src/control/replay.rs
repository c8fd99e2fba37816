use std::collections::BTreeMap;

use bellwether_types::{Incarnation, NodeId};

use super::header::Sender;
use super::key::SenderKey;

/// Counters below the highest one seen that are still told apart; what is further behind counts as seen.
pub(super) const WINDOW: u64 = 1_024;

/// One word more than the window, so that the window is whole wherever in a word its front stands.
const WORDS: usize = WINDOW as usize / 64 + 1;

/// Which counters of one sender were seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReplayWindow {
    highest: u64,
    /// A ring: bit `counter % 64` of word `counter / 64 % WORDS`.
    seen: [u64; WORDS],
}

impl ReplayWindow {
    /// A window that saw this counter only, and takes those shortly before it.
    pub(super) fn starting_with(counter: u64) -> Self {
        let mut window = Self {
            highest: counter,
            seen: [0; WORDS],
        };
        *window.word(counter) |= bit(counter);
        window
    }

    /// Was this counter seen, or is it too old to tell?
    pub(super) fn has(&self, counter: u64) -> bool {
        if counter > self.highest {
            return false;
        }
        self.highest - counter >= WINDOW || self.seen[index(counter)] & bit(counter) != 0
    }

    /// Marks a counter that [`Self::has`] not yet.
    pub(super) fn mark(&mut self, counter: u64) {
        if counter > self.highest {
            let words = (counter / 64 - self.highest / 64).min(WORDS as u64);
            for passed in 0..words {
                *self.word(counter - 64 * passed) = 0;
            }
            self.highest = counter;
        }
        *self.word(counter) |= bit(counter);
    }

    fn word(&mut self, counter: u64) -> &mut u64 {
        &mut self.seen[index(counter)]
    }
}

const fn index(counter: u64) -> usize {
    (counter / 64 % WORDS as u64) as usize
}

const fn bit(counter: u64) -> u64 {
    1 << (counter % 64)
}

/// What is known of the senders that proved themselves, and of no others.
///
/// Bounded: when full, the quarter that was silent longest is forgotten. Only a datagram under an accepted key enters
/// anybody, so it takes as many true members as there are places to push one out: old recordings of that many, or a
/// holder of the key, who could speak in anybody's name anyway. Whoever still speaks is among the last to go, and comes
/// back with the next word, its window empty as at our own start.
#[derive(Debug)]
pub(super) struct Senders {
    known: BTreeMap<NodeId, Known>,
    places: usize,
    /// How many datagrams were proved so far: our measure of age.
    proved: u64,
}

/// What is known of one.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) sender: Sender,
    pub(super) window: ReplayWindow,
    pub(super) key: SenderKey,
    proved: u64,
}

impl Senders {
    pub(super) const fn new(places: usize) -> Self {
        Self {
            known: BTreeMap::new(),
            places,
            proved: 0,
        }
    }

    pub(super) fn get(&self, node: NodeId) -> Option<&Known> {
        self.known.get(&node)
    }

    /// A datagram of this sender was proved, with the key given if it is not the one known; a later incarnation, or a
    /// node not known, begins a window.
    pub(super) fn prove(&mut self, sender: Sender, counter: u64, key: Option<SenderKey>) {
        self.proved += 1;
        let proved = self.proved;
        match self.known.get_mut(&sender.node) {
            Some(known) if known.sender == sender => {
                known.window.mark(counter);
                known.proved = proved;
                if let Some(key) = key {
                    known.key = key;
                }
            }
            known => {
                let Some(key) = key else {
                    debug_assert!(false, "a sender not known has no known key");
                    return;
                };
                if known.is_none() {
                    self.make_room();
                }
                let window = ReplayWindow::starting_with(counter);
                self.known.insert(
                    sender.node,
                    Known {
                        sender,
                        window,
                        key,
                        proved,
                    },
                );
            }
        }
    }

    /// A quarter at once, so that a newcomer costs little on average, however many come.
    fn make_room(&mut self) {
        if self.known.len() < self.places {
            return;
        }
        let mut ages: Vec<u64> = self.known.values().map(|known| known.proved).collect();
        let quarter = self.places / 4;
        let (_, oldest_kept, _) = ages.select_nth_unstable(quarter);
        let oldest_kept = *oldest_kept;
        self.known.retain(|_, known| known.proved >= oldest_kept);
    }
}

impl Known {
    pub(super) fn incarnation(&self) -> Incarnation {
        self.sender.incarnation
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::control::SegmentKey;

    /// Beside a plain set of all counters ever seen.
    #[test]
    fn a_counter_passes_once_and_only_within_the_window() {
        let mut random = numbers();
        for first in [0, 1, 63, 64, 1_000, u64::MAX - 5_000] {
            let mut window = ReplayWindow::starting_with(first);
            let mut seen = BTreeSet::from([first]);
            let mut highest = first;
            for _ in 0..20_000 {
                let counter = match random() % 8 {
                    0 => highest.saturating_add(random() % 3_000),
                    1..4 => highest.saturating_add(1 + random() % 3),
                    _ => highest.saturating_sub(random() % 1_100),
                };
                let passes = highest.saturating_sub(counter) < WINDOW && !seen.contains(&counter);
                assert_eq!(!window.has(counter), passes, "{counter} after {highest}");
                if passes {
                    window.mark(counter);
                    seen.insert(counter);
                    highest = highest.max(counter);
                }
            }
        }
    }

    /// Numbers that look random, always the same.
    fn numbers() -> impl FnMut() -> u64 {
        let mut state = 1_u64;
        move || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            state >> 33
        }
    }

    #[test]
    fn when_full_those_go_that_were_silent_longest() {
        let segment_key = SegmentKey::from_bytes([1; 32]);
        let mut senders = Senders::new(8);
        let mut speak = |node: u8| {
            let sender = sender(node);
            let key = senders
                .get(sender.node)
                .is_none()
                .then(|| segment_key.of_sender(&sender));
            senders.prove(sender, 1, key);
            senders
                .known
                .keys()
                .map(|node| node.as_bytes()[0])
                .collect::<Vec<_>>()
        };
        for node in 0..8 {
            speak(node);
        }
        speak(0);
        assert_eq!(speak(8), [0, 3, 4, 5, 6, 7, 8]);
        assert_eq!(speak(9).len(), 8);
        assert_eq!(speak(10), [0, 5, 6, 7, 8, 9, 10]);
    }

    fn sender(node: u8) -> Sender {
        Sender {
            node: NodeId::from_bytes([node; 16]),
            incarnation: Incarnation(1),
            salt: [0; 16],
        }
    }
}
