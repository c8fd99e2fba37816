use bellwether_types::Time;

/// What is to happen, in the order of time; of what happens at the same time, first what was put in first.
///
/// A radix heap with sixty-four ways: an entry lies on the level of the highest digit in which its time differs from
/// the present, and moves down as the present comes near. That takes a few moves for an entry where a binary heap takes
/// a dozen comparisons all over memory, and keeps the order of equal times without a number for each.
#[derive(Debug)]
pub(crate) struct Queue<E> {
    now: u64,
    /// What happens at `now`, last first.
    ready: Vec<E>,
    levels: Vec<Level<E>>,
}

#[derive(Debug)]
struct Level<E> {
    occupied: u64,
    slots: [Vec<(u64, E)>; SLOTS],
}

const DIGIT: u32 = 6;
const SLOTS: usize = 1 << DIGIT;
const LEVELS: u32 = u64::BITS.div_ceil(DIGIT);

impl<E> Queue<E> {
    pub(crate) fn new() -> Self {
        let level = |_| Level {
            occupied: 0,
            slots: std::array::from_fn(|_| Vec::new()),
        };
        Self {
            now: 0,
            ready: Vec::new(),
            levels: (0..LEVELS).map(level).collect(),
        }
    }

    /// Something is to happen at `at`; now, if that is past.
    pub(crate) fn push(&mut self, at: Time, event: E) {
        self.place(at.as_nanos().max(self.now), event);
    }

    /// The next thing to happen, and when.
    pub(crate) fn pop(&mut self) -> Option<(Time, E)> {
        while self.ready.is_empty() {
            self.approach()?;
        }
        let event = self.ready.pop()?;
        Some((Time::from_nanos(self.now), event))
    }

    fn place(&mut self, at: u64, event: E) {
        let difference = at ^ self.now;
        let level = (u64::BITS - difference.leading_zeros()).saturating_sub(1) / DIGIT;
        let slot = digit(at, level);
        let level = &mut self.levels[level as usize];
        level.occupied |= 1 << slot;
        level.slots[slot].push((at, event));
    }

    /// Brings the earliest slot nearer: what lies in it becomes ready, or moves to lower levels, all of which are empty.
    fn approach(&mut self) -> Option<()> {
        let nearest = self.levels.iter().position(|level| level.occupied != 0)?;
        let level = &mut self.levels[nearest];
        let slot = level.occupied.trailing_zeros() as usize;
        level.occupied &= !(1 << slot);
        let mut entries = std::mem::take(&mut level.slots[slot]);
        self.now = entries.iter().map(|(at, _)| *at).min()?;
        if nearest == 0 {
            self.ready
                .extend(entries.drain(..).rev().map(|(_, event)| event));
        } else {
            for (at, event) in entries.drain(..) {
                self.place(at, event);
            }
        }
        // What was allocated is used again.
        self.levels[nearest].slots[slot] = entries;
        Some(())
    }
}

fn digit(at: u64, level: u32) -> usize {
    (at >> (level * DIGIT)) as usize % SLOTS
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Push { ahead: u64 },
        Pop,
    }

    fn step() -> impl Strategy<Value = Step> {
        let ahead = prop_oneof![0..3_u64, 0..5_000_u64, 0..u64::MAX / 2];
        prop_oneof![
            ahead.prop_map(|ahead| Step::Push { ahead }),
            Just(Step::Pop)
        ]
    }

    proptest! {
        /// Against a sorted map from time and number.
        #[test]
        fn events_happen_in_the_order_of_their_time_and_then_of_their_coming(
            steps in prop::collection::vec(step(), 0..400)
        ) {
            let mut queue = Queue::new();
            let mut expected = BTreeMap::new();
            let mut now = Time::ZERO;
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Push { ahead } => {
                        let at = now + std::time::Duration::from_nanos(ahead);
                        queue.push(at, number);
                        expected.insert((at, number), number);
                    }
                    Step::Pop => {
                        let next = expected.pop_first().map(|((at, _), number)| (at, number));
                        prop_assert_eq!(queue.pop(), next);
                        now = next.map_or(now, |(at, _)| at);
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_late_happens_now() {
        let mut queue = Queue::new();
        queue.push(Time::from_nanos(700), 'a');
        assert_eq!(queue.pop(), Some((Time::from_nanos(700), 'a')));
        queue.push(Time::from_nanos(3), 'b');
        assert_eq!(queue.pop(), Some((Time::from_nanos(700), 'b')));
        assert_eq!(queue.pop(), None);
    }
}
