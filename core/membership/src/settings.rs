use core::net::SocketAddr;
use std::time::Duration;

use bellwether_types::{Name, Timing};

/// What membership is set to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Settings {
    /// The segment.
    pub segment: Name,
    /// The control channel that every node knows from its configuration.
    pub channel: SocketAddr,
    /// How long things take.
    pub spans: Spans,
    /// The most members that a leader takes, at most 4,096: more do not fit a round of a merge.
    pub members_max: usize,
}

/// How long things take. All nodes of a segment must have the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Spans {
    /// From one LeaderAlive to the next.
    pub heartbeat: Duration,
    /// The quiet interval from the last news to the report that tells them (REG-05).
    pub report_delay: Duration,
    /// The longest from the first news to the report, however much news follows.
    pub report_delay_max: Duration,
    /// The fixed part of the wait before a registration (REG-07).
    pub repeat_delay: Duration,
    /// The least random part of that wait.
    pub repeat_spread: Duration,
    /// The greatest random part of that wait.
    pub repeat_spread_max: Duration,
    /// The random part while the leader knows nobody, and so nobody knows how many will register.
    pub first_spread: Duration,
    /// The random part of the wait of those who hold a state of another line than the leader; the leader
    /// waits as long for all of them before it merges (GROUP-13).
    pub merge_spread: Duration,
    /// How long a registration may stay without an effect before it is repeated (REG-09).
    pub resend: Duration,
    /// A member shows itself at least this often (REG-14), in a segment that is not too large for it.
    pub refresh: Duration,
    /// From one inquiry to the next one to the same member; the third one without an answer removes it.
    pub inquiry: Duration,
    /// How long pages, acknowledgements and what is missing are waited for before somebody asks.
    pub patience: Duration,
    /// From one burst of pages to the next.
    pub pace: Duration,
    /// From one word of the leader about a merge to the next.
    pub tick: Duration,
    /// A node without a leader for so long goes back to the configured control channel (CHAN-09).
    pub fallback: Duration,
}

/// Registrations in a second that a leader should have to bear.
const REGISTRATIONS_PER_SECOND: u32 = 1_500;
/// Short messages in a second: refreshes, acknowledgements, questions.
const REFRESHES_PER_SECOND: u32 = 250;
const ACKS_PER_SECOND: u32 = 4_000;

impl Spans {
    /// What follows from the segment's timing: in `classic` the values of requirements §36, in `fast` multiples of
    /// heartbeat and slot.
    pub fn of(timing: &Timing) -> Self {
        let ms = Duration::from_millis;
        let (heartbeat, slot) = (timing.heartbeat(), timing.slot());
        let report_delay = timing.report_delay();
        let report_delay_max = timing.choose(report_delay * 10, report_delay * 3);
        Self {
            heartbeat,
            report_delay,
            report_delay_max,
            // In `fast` a registration that crossed with a report is in the next one.
            repeat_delay: timing.choose(report_delay_max + slot * 2, ms(500)),
            repeat_spread: timing.choose(slot * 10, ms(1_000)),
            repeat_spread_max: timing.choose(ms(10_000), ms(1_000)),
            first_spread: timing.choose(ms(1_500), ms(1_000)),
            merge_spread: timing.choose(heartbeat * 3, ms(3_000)),
            resend: timing.choose(report_delay_max * 2, ms(5_000)),
            refresh: timing.choose(heartbeat * 10, ms(15_000)),
            inquiry: timing.choose(heartbeat, ms(1_500)),
            patience: timing.choose(slot * 4, ms(300)),
            pace: timing.choose(slot, ms(20)),
            tick: timing.choose(heartbeat / 2, ms(750)),
            fallback: timing.choose(heartbeat * 60, ms(60_000)),
        }
    }

    /// The random part of the wait before a registration when `missing` may be about to register.
    pub(crate) fn repeat_spread(&self, missing: usize) -> Duration {
        let wanted = spread(missing, REGISTRATIONS_PER_SECOND);
        wanted.clamp(self.repeat_spread, self.repeat_spread_max)
    }

    /// The random part of the wait of those who hold a state of another line than the leader.
    pub(crate) fn stray_spread(&self, missing: usize) -> Duration {
        spread(missing, REGISTRATIONS_PER_SECOND).max(self.merge_spread)
    }

    /// The window in which each of so many members shows itself once.
    pub(crate) fn refresh(&self, members: usize) -> Duration {
        spread(members, REFRESHES_PER_SECOND).max(self.refresh)
    }

    /// Over how long so many spread a question.
    pub(crate) fn ask_spread(&self, members: usize) -> Duration {
        spread(members, REGISTRATIONS_PER_SECOND).max(self.patience)
    }

    /// Over how long so many participants spread their acknowledgements.
    pub(crate) fn ack_spread(participants: usize) -> Duration {
        spread(participants, ACKS_PER_SECOND)
    }
}

fn spread(count: usize, per_second: u32) -> Duration {
    Duration::from_secs(1) * u32::try_from(count).unwrap_or(u32::MAX) / per_second
}
