use std::time::Duration;

use bellwether_types::{Name, NodeId, Timing};

/// What one node's election is told at its start.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Settings {
    /// Who this is.
    pub node: NodeId,
    /// What it is called.
    pub name: Name,
    /// The spans; all of a segment must agree.
    pub timing: Timing,
    /// When claims are sent.
    pub profile: Profile,
    /// What decides between claims.
    pub contest: Contest,
    /// Whether this node may lead (ELECT-05).
    pub candidacy: Candidacy,
    /// Who leads while it lives, without regard to priority (ELECT-05, Q-41). All of a segment must agree.
    pub fixed: Option<Name>,
    /// Whether a stronger node deposes a leader that lives (ELECT-29); off unless set.
    pub preemption: Option<Preemption>,
}

/// Which reading of the state table holds (ELECT-32, Q-03). Both elect the strongest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Profile {
    /// A claim goes out at the monitor's trigger, and again when the claim wait is over.
    #[default]
    Claim,
    /// A claim goes out only when the claim wait is over, and an open vote is left with a claim only by the stronger.
    Quiet,
}

/// What decides between claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Contest {
    /// The stronger one (ELECT-15).
    #[default]
    Priority,
    /// The first one that is heard, without regard to priority (ELECT-16); names decide between claims that crossed.
    FirstClaimant,
}

/// Who may lead (ELECT-05).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Candidacy {
    /// Everybody.
    #[default]
    Open,
    /// Who is named here.
    Listed(Vec<Name>),
    /// Not this node: it listens and follows (ELECT-22).
    Never,
}

/// When a stronger node takes over from a leader that lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Preemption {
    /// By how much its priority must exceed the leader's.
    pub margin: u32,
    /// For how long without a break.
    pub after: Duration,
}

impl Settings {
    /// A candidate for priority contests in the profile `claim`.
    pub const fn new(node: NodeId, name: Name, timing: Timing) -> Self {
        Self {
            node,
            name,
            timing,
            profile: Profile::Claim,
            contest: Contest::Priority,
            candidacy: Candidacy::Open,
            fixed: None,
            preemption: None,
        }
    }

    /// Is this node the fixed leader?
    pub fn is_fixed(&self) -> bool {
        self.fixed.as_ref() == Some(&self.name)
    }

    /// May this node lead?
    pub fn is_candidate(&self) -> bool {
        match &self.candidacy {
            _ if self.is_fixed() => true,
            Candidacy::Open => true,
            Candidacy::Listed(names) => names.contains(&self.name),
            Candidacy::Never => false,
        }
    }

    /// The priority that counts: what was measured, unless there is nothing to compare or everything is decided.
    pub fn priority(&self, measured: u32) -> u32 {
        match self.contest {
            _ if self.is_fixed() => u32::MAX,
            Contest::Priority => measured.min(bellwether_types::PRIORITY_MAX),
            Contest::FirstClaimant => 0,
        }
    }

    /// When and by how much this node must be stronger than a living leader to depose it, if ever.
    pub(crate) fn preempts(&self) -> Option<Preemption> {
        let fixed = Preemption {
            margin: 0,
            after: Duration::ZERO,
        };
        if self.is_fixed() {
            Some(fixed)
        } else {
            self.preemption
        }
    }
}
