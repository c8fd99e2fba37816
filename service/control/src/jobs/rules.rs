use std::time::Duration;

use bellwether_fleet::{self as fleet, Shortfall};
use bellwether_scheduling::{Below, CommitMode, OnConflict, Partial, Policy, Quorum};

/// What decisions go by, of what operators say. The one place that knows both.
pub(crate) fn rules(policy: &fleet::Policy) -> Policy {
    Policy {
        quorum_before: quorum(policy.quorum_before),
        quorum_after: quorum(policy.quorum_after),
        below: match policy.shortfall {
            Shortfall::Defer => Below::Defer,
            Shortfall::Cancel => Below::Cancel,
        },
        commit: match policy.commit {
            fleet::CommitMode::Together => CommitMode::Together,
            fleet::CommitMode::Each => CommitMode::EachWhenReady,
            fleet::CommitMode::ByHand => CommitMode::ByHand,
        },
        partial: match policy.partial {
            fleet::Partial::Keep => Partial::Keep,
            fleet::Partial::RollBack => Partial::RollBack,
        },
        retries: policy.retries.into(),
        ..Policy::default()
    }
}

/// For nodes that missed something: whoever can takes it, and the others are seen to later.
pub(super) fn catching_up() -> Policy {
    Policy {
        quorum_before: Quorum::Count(1),
        quorum_after: Quorum::Count(1),
        below: Below::Cancel,
        on_conflict: OnConflict::Cancel,
        retries: 0,
        patience: Duration::from_secs(5),
        ..Policy::default()
    }
}

const fn quorum(quorum: fleet::Quorum) -> Quorum {
    match quorum {
        fleet::Quorum::Count(count) => Quorum::Count(count),
        fleet::Quorum::Percent(share) => Quorum::Percent(share),
    }
}
