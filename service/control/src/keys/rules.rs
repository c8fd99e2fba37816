use std::time::Duration;

/// What the next step of a rotation depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct View {
    /// Does nobody know the current key who was put out?
    pub(super) is_current_safe: bool,
    pub(super) is_current_old: bool,
    /// The same of the announced key, if there is one.
    pub(super) next_is_safe: Option<bool>,
    pub(super) has_previous: bool,
    /// Does somebody know an accepted key who was put out?
    pub(super) is_urgent: bool,
    /// Was each node that is there handed what the step before changed?
    pub(super) all_told: bool,
    pub(super) waited: Waited,
}

/// Since the step before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waited {
    pub(super) in_all: Duration,
    /// While somebody speaks for the segment, and nobody else did in between; `None` if nobody does.
    pub(super) heard: Option<Duration>,
}

/// A step of a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Make a key, and let nodes know it.
    Announce,
    /// Seal with it.
    Advance,
    /// Accept the former one no longer.
    Retire,
}

/// For nodes that do not ask, while somebody was put out: two steps take less than 10 s with this.
const PATIENCE: Duration = Duration::from_secs(4);
/// Otherwise, and as long as nobody speaks for the segment: by then each node that can has asked by itself.
const PATIENCE_LONG: Duration = Duration::from_secs(15 * 60);

impl View {
    /// The step to take now, if there is one.
    pub(super) fn next(&self) -> Option<Step> {
        match self.next_is_safe {
            Some(false) => Some(Step::Announce),
            Some(true) => self.is_time().then_some(Step::Advance),
            None if !self.is_current_safe => Some(Step::Announce),
            None if self.has_previous => self.is_time().then_some(Step::Retire),
            None => self.is_current_old.then_some(Step::Announce),
        }
    }

    fn is_time(&self) -> bool {
        let heard = self.waited.heard.is_some_and(|heard| heard >= PATIENCE);
        self.all_told || self.is_urgent && heard || self.waited.in_all >= PATIENCE_LONG
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A rotation that waits for nodes, somebody having been put out.
    const WAITING: View = View {
        is_current_safe: false,
        is_current_old: false,
        next_is_safe: Some(true),
        has_previous: false,
        is_urgent: true,
        all_told: false,
        waited: Waited {
            in_all: Duration::ZERO,
            heard: Some(Duration::ZERO),
        },
    };

    /// CRYPT-06.
    #[test]
    fn a_key_is_replaced_when_somebody_knows_it_who_was_put_out_and_when_it_is_old() {
        let idle = View {
            is_current_safe: true,
            next_is_safe: None,
            is_urgent: false,
            ..WAITING
        };
        assert_eq!(idle.next(), None);
        let known = View {
            is_current_safe: false,
            ..idle
        };
        assert_eq!(known.next(), Some(Step::Announce));
        let old = View {
            is_current_old: true,
            ..idle
        };
        assert_eq!(old.next(), Some(Step::Announce));
        let next_is_known = View {
            next_is_safe: Some(false),
            all_told: true,
            ..WAITING
        };
        assert_eq!(next_is_known.next(), Some(Step::Announce));
    }

    #[test]
    fn each_step_waits_for_those_who_are_there_but_not_for_long_if_somebody_was_put_out() {
        let retiring = View {
            is_current_safe: true,
            next_is_safe: None,
            has_previous: true,
            ..WAITING
        };
        for (waiting, step) in [(WAITING, Step::Advance), (retiring, Step::Retire)] {
            assert_eq!(waiting.next(), None);
            let told = View {
                all_told: true,
                ..waiting
            };
            assert_eq!(told.next(), Some(step));
            let waited = |in_all, heard| View {
                waited: Waited { in_all, heard },
                ..waiting
            };
            assert_eq!(waited(PATIENCE, Some(PATIENCE)).next(), Some(step));
            assert_eq!(waited(PATIENCE, None).next(), None, "nobody is reached");
            assert_eq!(waited(PATIENCE_LONG, None).next(), Some(step));
            let by_age = View {
                is_urgent: false,
                ..waited(PATIENCE, Some(PATIENCE))
            };
            assert_eq!(by_age.next(), None, "there is no hurry");
        }
    }
}
