use core::net::SocketAddr;
use std::time::Duration;

use bellwether_types::Name;

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
    /// The values of requirements §36: heartbeat 1.5 s, report after 4 quiet seconds unless set otherwise,
    /// repeats after 0.5 s and up to 1 s more.
    pub fn classic(heartbeat: Duration, report_delay: Duration) -> Self {
        Self {
            heartbeat,
            report_delay,
            report_delay_max: report_delay * 3,
            repeat_delay: Duration::from_millis(500),
            repeat_spread: Duration::from_secs(1),
            repeat_spread_max: Duration::from_secs(1),
            first_spread: Duration::from_secs(1),
            merge_spread: Duration::from_secs(3),
            resend: Duration::from_secs(5),
            refresh: Duration::from_secs(15),
            inquiry: Duration::from_millis(1_500),
            patience: Duration::from_millis(300),
            pace: Duration::from_millis(20),
            tick: Duration::from_millis(750),
            fallback: Duration::from_secs(60),
        }
    }

    /// Derived from the segment's heartbeat and slot (one-way delay and jitter).
    pub fn fast(heartbeat: Duration, slot: Duration) -> Self {
        let report_delay = slot * 4;
        let report_delay_max = report_delay * 10;
        Self {
            heartbeat,
            report_delay,
            report_delay_max,
            // A registration that crossed with a report is in the next one.
            repeat_delay: report_delay_max + slot * 2,
            repeat_spread: slot * 10,
            repeat_spread_max: Duration::from_secs(10),
            first_spread: Duration::from_millis(1_500),
            merge_spread: heartbeat * 3,
            resend: report_delay_max * 2,
            refresh: heartbeat * 10,
            inquiry: heartbeat,
            patience: slot * 4,
            pace: slot,
            tick: heartbeat / 2,
            fallback: heartbeat * 60,
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
