use std::time::Duration;

use minicbor::{Decode, Encode};

/// The rules of a job.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Policy {
    /// How many nodes must be able before anything leaves (CCM-05).
    #[n(0)]
    pub quorum_before: Quorum,
    /// How many nodes must have staged before any becomes live.
    #[n(1)]
    pub quorum_after: Quorum,
    /// What becomes of a job without its quorum before.
    #[n(2)]
    pub below: Below,
    /// What becomes of a job that another one is in the way of (SCHED-05).
    #[n(3)]
    pub on_conflict: OnConflict,
    /// When nodes make live what they staged.
    #[n(4)]
    pub commit: CommitMode,
    /// What becomes of nodes that are live when too many others are not (COMMIT-13).
    #[n(5)]
    pub partial: Partial,
    /// How often a job is tried again after it failed or was deferred (SCHED-08).
    #[n(6)]
    pub retries: u32,
    /// How long it waits before that.
    #[n(7)]
    pub retry_after: Duration,
    /// How long it waits for the slowest once the quorum has staged and nothing more is heard.
    #[n(8)]
    pub patience: Duration,
    /// How long bringing the content to nodes may take.
    #[n(9)]
    pub distribute_max: Duration,
    /// How long making it live, or dropping it, may take until whoever said nothing is behind.
    #[n(10)]
    pub commit_max: Duration,
    /// How far ahead the common instant of a commit lies: longer than an order takes to the last node.
    #[n(11)]
    pub lead: Duration,
    /// After how long an order is given again to who did not answer.
    #[n(12)]
    pub repeat: Duration,
    /// After how long nodes are told again of content that they do not have yet. It may take long to arrive, and a leader
    /// whose connection is new is told at once (see [`View::notified`](crate::View::notified)).
    #[n(13)]
    pub renew: Duration,
}

/// How many of the nodes that a job is for. Never fewer than one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Quorum {
    /// So many, or all if there are fewer.
    #[n(0)]
    Count(#[n(0)] u32),
    /// So many percent, rounded up; over 100 is 100.
    #[n(1)]
    Percent(#[n(0)] u8),
}

/// What becomes of a job without its quorum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Below {
    /// It is tried again later, as often as its policy says, and then cancelled.
    #[n(0)]
    Defer,
    /// It is cancelled.
    #[n(1)]
    Cancel,
}

/// What becomes of a job that another one is in the way of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum OnConflict {
    /// It waits until the other is over.
    #[n(0)]
    Queue,
    /// It is cancelled.
    #[n(1)]
    Cancel,
}

/// When nodes make live what they staged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum CommitMode {
    /// All at one instant, once the quorum has staged (COMMIT-01).
    #[n(0)]
    Together,
    /// Each by itself, as soon as it has staged; no order is sent (COMMIT-02). So it is decided when it is sent.
    #[n(1)]
    EachWhenReady,
    /// All at one instant, once the quorum has staged and somebody says so.
    #[n(2)]
    ByHand,
}

/// What becomes of nodes that are live when too many others are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Partial {
    /// They stay, and the others are synchronised.
    #[n(0)]
    Keep,
    /// All go back to what was live before.
    #[n(1)]
    RollBack,
}

impl Quorum {
    /// All.
    pub const ALL: Self = Self::Percent(100);

    /// How many that are of `of`; at least 1.
    pub fn needed(self, of: usize) -> usize {
        let needed = match self {
            Self::Count(count) => usize::try_from(count).unwrap_or(usize::MAX).min(of),
            Self::Percent(percent) => {
                let percent = usize::from(percent.min(100));
                // Without overflow for any number of nodes.
                (of / 100) * percent + ((of % 100) * percent).div_ceil(100)
            }
        };
        needed.max(1)
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            quorum_before: Quorum::Percent(51),
            quorum_after: Quorum::Percent(51),
            below: Below::Defer,
            on_conflict: OnConflict::Queue,
            commit: CommitMode::Together,
            partial: Partial::Keep,
            retries: 3,
            retry_after: Duration::from_secs(60),
            patience: Duration::from_secs(10),
            distribute_max: Duration::from_secs(4 * 3600),
            commit_max: Duration::from_secs(30),
            lead: Duration::from_millis(250),
            repeat: Duration::from_secs(2),
            renew: Duration::from_secs(30),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CCM-05.
    #[test]
    fn a_quorum_is_a_count_or_a_share_rounded_up_and_never_nobody() {
        for (quorum, of, needed) in [
            (Quorum::Count(3), 10, 3),
            (Quorum::Count(30), 10, 10),
            (Quorum::Count(0), 10, 1),
            (Quorum::Percent(51), 3, 2),
            (Quorum::Percent(50), 4, 2),
            (Quorum::Percent(50), 5, 3),
            (Quorum::Percent(1), 5, 1),
            (Quorum::Percent(0), 5, 1),
            (Quorum::ALL, 1_000, 1_000),
            (Quorum::Percent(200), 7, 7),
            (Quorum::Percent(51), 0, 1),
            (Quorum::ALL, usize::MAX, usize::MAX),
        ] {
            assert_eq!(quorum.needed(of), needed, "{quorum:?} of {of}");
        }
    }
}
