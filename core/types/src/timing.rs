use std::time::Duration;

/// The highest priority that measuring can give a candidate; only a fixed leader stands above it.
pub const PRIORITY_MAX: u32 = 1_000_000;

/// Every span that the protocols of a segment wait, derived from few settings that were checked once.
///
/// A segment has one timing. `fast` answers a dead leader within three heartbeats and a few milliseconds; `classic`
/// keeps the values and ranges of requirements §36.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Timing {
    pace: Pace,
    heartbeat: Duration,
    silence: Duration,
    slot: Duration,
    round_trip: Duration,
    claim_wait_min: Duration,
    claim_wait_max: Duration,
    vote: Duration,
    report_delay: Duration,
}

/// Settings of the `fast` timing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fast {
    /// From one LeaderAlive to the next: 50 ms to 1 s, 500 ms unless said.
    pub heartbeat: Duration,
    /// How long a datagram is under way, as 999 of 1,000 are at most: 100 µs to 50 ms, 2 ms unless said.
    pub one_way: Duration,
    /// By how much timers of two nodes may differ over a silence: up to 50 ms, 3 ms unless said.
    pub jitter: Duration,
}

/// Settings of the `classic` timing (requirements §36).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Classic {
    /// From one LeaderAlive to the next: above 1 s, to a third of the silence; 1.5 s unless said.
    pub heartbeat: Duration,
    /// Silence after which the leader counts as gone (ELECT-09): 5 s to 60 s, 5 s unless said.
    pub silence: Duration,
    /// Every ordinary candidate waits longer than this (ELECT-14): 5 s or more, 5 s unless said.
    pub claim_wait_min: Duration,
    /// The weakest candidate waits this long (ELECT-14): 10 s unless said.
    pub claim_wait_max: Duration,
    /// How long a vote is open (ELECT-17): 10 s to 15 s, 12 s unless said.
    pub vote: Duration,
    /// From the last registration to the report (REG-05): 3 s to 5 s, 4 s unless said.
    pub report_delay: Duration,
}

/// Settings that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimingError {
    /// A value outside its range.
    #[error("{what} is {value:?}, and must be between {min:?} and {max:?}")]
    Range {
        /// The setting.
        what: &'static str,
        /// What it was set to.
        value: Duration,
        /// The least it can be.
        min: Duration,
        /// The most it can be.
        max: Duration,
    },
    /// ELECT-14.
    #[error("the least claim wait, {min:?}, must be shorter than the longest, {max:?}")]
    ClaimWaits {
        /// The least claim wait.
        min: Duration,
        /// The longest claim wait.
        max: Duration,
    },
    /// ELECT-28: a weak candidate that spoke early would lead before a strong one has spoken.
    #[error("the longest claim wait, {wait:?}, must be shorter than the vote, {vote:?}")]
    VoteTooShort {
        /// The longest claim wait.
        wait: Duration,
        /// The vote.
        vote: Duration,
    },
    /// The network is slower than the heartbeat allows.
    #[error(
        "a vote of {vote:?} (4 x one-way delay + 2 x jitter, and as much again to answer) does not fit into a heartbeat of {heartbeat:?}: raise the heartbeat or lower the delays"
    )]
    VoteTooLong {
        /// The vote that follows from one-way delay and jitter.
        vote: Duration,
        /// The heartbeat.
        heartbeat: Duration,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Pace {
    Fast,
    Classic,
}

const SECOND: Duration = Duration::from_secs(1);
const CLASSIC_SLOT: Duration = Duration::from_millis(5);
const CLASSIC_ROUND_TRIP: Duration = Duration::from_millis(20);
/// After how many slots the number of ranks that share one doubles.
const SLOTS_A_DOUBLING: u32 = 16;
/// Probes of a silent leader, evenly spread over the rest of the threshold.
const PROBES: u32 = 8;

impl Timing {
    /// The timing for a network with known delays.
    pub fn fast(set: Fast) -> Result<Self, TimingError> {
        let ms = Duration::from_millis;
        range("heartbeat", set.heartbeat, ms(50), SECOND)?;
        range(
            "one-way delay",
            set.one_way,
            Duration::from_micros(100),
            ms(50),
        )?;
        range("jitter", set.jitter, Duration::ZERO, ms(50))?;
        let slot = set.one_way + set.jitter;
        let round_trip = set.one_way * 2;
        let vote = slot * 2 + round_trip;
        // A probe must be answered before the next is due, and a vote be over before the next heartbeat is missed.
        if vote * 2 > set.heartbeat {
            let heartbeat = set.heartbeat;
            return Err(TimingError::VoteTooLong { vote, heartbeat });
        }
        Ok(Self {
            pace: Pace::Fast,
            heartbeat: set.heartbeat,
            silence: set.heartbeat * 3,
            slot,
            round_trip,
            claim_wait_min: Duration::ZERO,
            claim_wait_max: set.heartbeat * 3,
            vote,
            report_delay: slot * 4,
        })
    }

    /// The timing of the original protocol.
    pub fn classic(set: Classic) -> Result<Self, TimingError> {
        let secs = Duration::from_secs;
        range("silence", set.silence, secs(5), secs(60))?;
        range(
            "heartbeat",
            set.heartbeat,
            Duration::from_millis(1_001),
            set.silence / 3,
        )?;
        range("vote", set.vote, secs(10), secs(15))?;
        range("least claim wait", set.claim_wait_min, secs(5), secs(15))?;
        range("report delay", set.report_delay, secs(3), secs(5))?;
        if set.claim_wait_min + CLASSIC_SLOT * 2 >= set.claim_wait_max {
            let (min, max) = (set.claim_wait_min, set.claim_wait_max);
            return Err(TimingError::ClaimWaits { min, max });
        }
        if set.claim_wait_max >= set.vote {
            let (wait, vote) = (set.claim_wait_max, set.vote);
            return Err(TimingError::VoteTooShort { wait, vote });
        }
        Ok(Self {
            pace: Pace::Classic,
            heartbeat: set.heartbeat,
            silence: set.silence,
            slot: CLASSIC_SLOT,
            round_trip: CLASSIC_ROUND_TRIP,
            claim_wait_min: set.claim_wait_min + CLASSIC_SLOT,
            claim_wait_max: set.claim_wait_max,
            vote: set.vote,
            report_delay: set.report_delay,
        })
    }

    /// From one LeaderAlive to the next.
    pub const fn heartbeat(&self) -> Duration {
        self.heartbeat
    }

    /// The same in milliseconds, as it stands in messages; it also tells the two timings apart.
    pub fn heartbeat_ms(&self) -> u32 {
        u32::try_from(self.heartbeat.as_millis()).unwrap_or(u32::MAX)
    }

    /// Silence after which the leader counts as gone (ELECT-08, ELECT-09).
    pub const fn silence(&self) -> Duration {
        self.silence
    }

    /// What keeps two claims of neighbouring ranks apart: one-way delay and jitter.
    pub const fn slot(&self) -> Duration {
        self.slot
    }

    /// There and back.
    pub const fn round_trip(&self) -> Duration {
        self.round_trip
    }

    /// From the last registration to the report (REG-05).
    pub const fn report_delay(&self) -> Duration {
        self.report_delay
    }

    /// Which of two spans holds: the one of `fast` or the one of `classic`.
    pub const fn choose(&self, fast: Duration, classic: Duration) -> Duration {
        match self.pace {
            Pace::Fast => fast,
            Pace::Classic => classic,
        }
    }

    /// How much later than the strongest candidate one acts that has so many stronger ones before it.
    ///
    /// The first 32 ranks have a slot each; then every 16 slots serve twice as many ranks as the 16 before. So the wait
    /// stays bounded when however many of the strongest die together (2,000 candidates: 128 slots), and a slot is
    /// shared by no more than a sixteenth of those before it.
    pub fn rank_wait(&self, rank: u32) -> Duration {
        let doublings = (rank / SLOTS_A_DOUBLING)
            .checked_ilog2()
            .map_or(0, |log| log + 1);
        let Some(shared) = doublings.checked_sub(1) else {
            return self.slot * rank;
        };
        let first = SLOTS_A_DOUBLING << shared;
        self.slot * (SLOTS_A_DOUBLING * doublings) + self.slot * (rank - first) / (1 << shared)
    }

    /// From need to claim: a decreasing function of the priority (ELECT-12), and of the rank where it is known.
    ///
    /// In `fast` a known rank says everything. Without one, two heartbeats are divided by priority, and
    /// [`Timing::spread`] is to be added, so that equals do not speak at once.
    pub fn claim_wait(&self, rank: Option<u32>, priority: u32) -> Duration {
        let by_rank = rank.map_or(Duration::ZERO, |rank| self.rank_wait(rank));
        if self.pace == Pace::Fast && rank.is_some() {
            return by_rank;
        }
        let spread = self.spread();
        let span = self.claim_wait_max - self.claim_wait_min - spread;
        let weakness = PRIORITY_MAX - priority.min(PRIORITY_MAX);
        let by_priority = span.as_nanos() * u128::from(weakness) / u128::from(PRIORITY_MAX);
        let by_priority = Duration::from_nanos(u64::try_from(by_priority).unwrap_or(u64::MAX));
        self.claim_wait_min + by_priority + by_rank.min(spread)
    }

    /// The bound of the random part of a claim wait where no rank is known.
    pub fn spread(&self) -> Duration {
        match self.pace {
            Pace::Fast => self.heartbeat,
            Pace::Classic => (self.claim_wait_max - self.claim_wait_min) / 5,
        }
    }

    /// How long a starter listens for a leader before its claim wait begins (ELECT-27); the claim waits of `classic`
    /// are long enough by themselves.
    pub fn listening(&self) -> Duration {
        self.choose(self.silence, Duration::ZERO)
    }

    /// How long a vote is open (ELECT-17). Where claims do not go out in rank slots, it outlasts every claim wait, so
    /// that the strongest has spoken (ELECT-28).
    pub fn vote(&self, ranked: bool) -> Duration {
        match self.pace {
            Pace::Fast if !ranked => self.vote + self.claim_wait_max,
            _ => self.vote,
        }
    }

    /// How long a leader that only just lost its office waits before it claims (ELECT-13): time to hear, and to be
    /// told by those it asks, whether somebody else leads already.
    pub fn reclaim_wait(&self) -> Duration {
        self.slot + self.round_trip
    }

    /// When a heartbeat counts as missed, and the leader is asked.
    pub fn missed(&self) -> Duration {
        self.heartbeat + self.heartbeat / 4
    }

    /// From one question to the silent leader to the next.
    pub fn probe_interval(&self) -> Duration {
        (self.silence - self.missed()) / PROBES
    }

    /// A wake-up that comes this late means that the process stood still, and that what came meanwhile is yet to be
    /// read.
    pub fn stall(&self) -> Duration {
        self.heartbeat / 2
    }
}

impl Default for Fast {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(500),
            one_way: Duration::from_millis(2),
            jitter: Duration::from_millis(3),
        }
    }
}

impl Default for Classic {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(1_500),
            silence: Duration::from_secs(5),
            claim_wait_min: Duration::from_secs(5),
            claim_wait_max: Duration::from_secs(10),
            vote: Duration::from_secs(12),
            report_delay: Duration::from_secs(4),
        }
    }
}

fn range(
    what: &'static str,
    value: Duration,
    min: Duration,
    max: Duration,
) -> Result<(), TimingError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(TimingError::Range {
        what,
        value,
        min,
        max,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn fast() -> Timing {
        Timing::fast(Fast::default()).unwrap()
    }

    fn classic() -> Timing {
        Timing::classic(Classic::default()).unwrap()
    }

    /// ELECT-09, ELECT-14, ELECT-17 and the ranges of `fast`.
    #[test]
    fn values_outside_their_ranges_are_refused_with_the_range() {
        let fast = |change: fn(&mut Fast)| {
            let mut set = Fast::default();
            change(&mut set);
            Timing::fast(set).unwrap_err().to_string()
        };
        let classic = |change: fn(&mut Classic)| {
            let mut set = Classic::default();
            change(&mut set);
            Timing::classic(set).unwrap_err().to_string()
        };
        let refused = [
            (
                fast(|set| set.heartbeat = 49 * MS),
                "heartbeat is 49ms, and must be between 50ms and 1s",
            ),
            (
                fast(|set| set.one_way = 51 * MS),
                "one-way delay is 51ms, and must be between 100µs and 50ms",
            ),
            (
                fast(|set| set.jitter = 51 * MS),
                "jitter is 51ms, and must be between 0ns and 50ms",
            ),
            (
                classic(|set| set.silence = 4_999 * MS),
                "silence is 4.999s, and must be between 5s and 60s",
            ),
            (
                classic(|set| set.heartbeat = 1_700 * MS),
                "heartbeat is 1.7s, and must be between 1.001s and 1.666666666s",
            ),
            (
                classic(|set| set.vote = 15_100 * MS),
                "vote is 15.1s, and must be between 10s and 15s",
            ),
            (
                classic(|set| set.claim_wait_min = 10_000 * MS),
                "the least claim wait, 10s, must be shorter than the longest, 10s",
            ),
            (
                classic(|set| set.report_delay = 6_000 * MS),
                "report delay is 6s, and must be between 3s and 5s",
            ),
        ];
        for (message, expected) in refused {
            assert_eq!(message, expected);
        }
    }

    /// ELECT-28, in both of its readings.
    #[test]
    fn a_vote_that_a_strong_candidate_could_miss_is_refused() {
        let set = Classic {
            claim_wait_max: 12_000 * MS,
            ..Classic::default()
        };
        assert!(matches!(
            Timing::classic(set),
            Err(TimingError::VoteTooShort { .. })
        ));
        let set = Fast {
            heartbeat: 50 * MS,
            one_way: 5 * MS,
            jitter: 5 * MS,
        };
        assert!(matches!(
            Timing::fast(set),
            Err(TimingError::VoteTooLong { .. })
        ));
        let fast = fast();
        assert!(fast.vote(true) > fast.slot() + fast.round_trip());
        assert!(fast.vote(false) > fast.claim_wait(None, 0) + fast.spread());
        let classic = classic();
        assert!(classic.vote(false) > classic.claim_wait(None, 0) + classic.spread());
        assert!(classic.vote(true) > classic.claim_wait(Some(u32::MAX), 0));
    }

    /// ELECT-12, ELECT-14.
    #[test]
    fn the_stronger_the_claim_the_shorter_the_wait() {
        for timing in [fast(), classic()] {
            for weaker in (0..PRIORITY_MAX).step_by(997).chain([PRIORITY_MAX - 1]) {
                let wait = |priority| timing.claim_wait(None, priority);
                assert!(wait(weaker + 1) < wait(weaker), "{weaker}");
            }
            for rank in 0..10_000 {
                assert!(
                    timing.rank_wait(rank) < timing.rank_wait(rank + 1),
                    "{rank}"
                );
            }
        }
        let classic = classic();
        assert!(classic.claim_wait(Some(0), u32::MAX) > 5_000 * MS);
        assert_eq!(classic.claim_wait(Some(u32::MAX), 0), 10_000 * MS);
    }

    #[test]
    fn ranks_share_slots_only_far_down_and_their_wait_stays_bounded() {
        let fast = fast();
        let slots = |rank| fast.rank_wait(rank).as_micros() / fast.slot().as_micros();
        let waits = [0, 1, 16, 17, 32, 34, 64, 500, 2_000].map(slots);
        assert_eq!(waits, [0, 1, 16, 17, 32, 33, 48, 95, 127]);
        assert!(fast.rank_wait(u32::MAX) < fast.slot() * 500);
    }

    #[test]
    fn the_sums_that_operators_are_told_hold() {
        let fast = fast();
        let sums = [
            fast.silence(),
            fast.slot(),
            fast.vote(true),
            fast.report_delay(),
        ];
        assert_eq!(sums, [1_500 * MS, 5 * MS, 14 * MS, 20 * MS]);
        let classic = classic();
        let failover =
            classic.silence() + classic.claim_wait(Some(0), PRIORITY_MAX) + classic.vote(true);
        assert_eq!(failover, 22_005 * MS);
    }
}
