use bellwether_types::Time;

/// The moments a machine waits for, by what it waits for; apart from the rest of its state, so that
/// a model checker can let any of them pass and compare states without them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deadlines<K>(Vec<(Time, K)>);

impl<K: Copy + Ord> Deadlines<K> {
    /// No deadline.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Waits for `at`, and no longer for an earlier setting of the same key.
    pub fn set(&mut self, key: K, at: Time) {
        self.cancel(key);
        let place = self.0.partition_point(|pending| *pending > (at, key));
        self.0.insert(place, (at, key));
    }

    /// Waits for `key` no longer.
    pub fn cancel(&mut self, key: K) {
        self.0.retain(|(_, pending)| *pending != key);
    }

    /// When `key` is due, if it is waited for.
    pub fn get(&self, key: K) -> Option<Time> {
        let found = self.0.iter().find(|(_, pending)| *pending == key);
        found.map(|(at, _)| *at)
    }

    /// When the next one is due.
    pub fn next(&self) -> Option<Time> {
        self.0.last().map(|(at, _)| *at)
    }

    /// Takes out one that is due at `now`: the earliest, and of equal ones the lowest key.
    pub fn pop_due(&mut self, now: Time) -> Option<K> {
        self.0.pop_if(|(at, _)| *at <= now).map(|(_, key)| key)
    }

    /// What is waited for, soonest first.
    pub fn pending(&self) -> impl Iterator<Item = (Time, K)> + '_ {
        self.0.iter().rev().copied()
    }
}

impl<K: Copy + Ord> Default for Deadlines<K> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_pass_in_their_order_and_a_key_only_once() {
        let at = Time::from_nanos;
        let mut deadlines = Deadlines::new();
        for (key, time) in [('c', 5), ('a', 9), ('b', 5), ('a', 7), ('d', 1)] {
            deadlines.set(key, at(time));
        }
        deadlines.cancel('d');
        assert_eq!(deadlines.next(), Some(at(5)));
        assert_eq!(deadlines.get('a'), Some(at(7)));
        let passed: Vec<char> = std::iter::from_fn(|| deadlines.pop_due(at(6))).collect();
        assert_eq!(passed, ['b', 'c']);
        assert_eq!(deadlines.pop_due(at(7)), Some('a'));
        assert_eq!(deadlines.next(), None);
    }
}
