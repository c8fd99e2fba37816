use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How a site's content goes out. What is not said is as it is by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// When what is staged goes live.
    pub commit: CommitMode,
    /// How many nodes of the group must be able to take an update before it begins (CCM-05): a number, or a share such
    /// as `80%`.
    #[schema(value_type = String)]
    pub quorum_before: Quorum,
    /// How many of the nodes that took part must have staged before it is committed.
    #[schema(value_type = String)]
    pub quorum_after: Quorum,
    /// What becomes of an update that has not enough nodes.
    pub shortfall: Shortfall,
    /// What becomes of nodes that are live when too many others are not (COMMIT-13).
    pub partial: Partial,
    /// Is what travels readable to the group's nodes alone (CRYPT-01)?
    pub encrypt: bool,
    /// How often a failed update is tried again (SCHED-08).
    pub retries: u8,
}

/// When what is staged goes live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CommitMode {
    /// On all nodes at the same instant, once enough have staged.
    #[default]
    Together,
    /// On each node as soon as it has staged.
    Each,
    /// When an operator says so.
    ByHand,
}

/// What becomes of an update that has not enough nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Shortfall {
    /// It waits for them.
    #[default]
    Defer,
    /// It is cancelled.
    Cancel,
}

/// What becomes of nodes that are live when too many others are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Partial {
    /// They stay, and the others are brought to the same.
    #[default]
    Keep,
    /// All go back to what was live before.
    RollBack,
}

/// How many of a number of nodes are enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quorum {
    /// So many, or all if there are fewer.
    Count(u32),
    /// So many of a hundred, rounded up; 0 to 100.
    Percent(u8),
}

/// Text that is neither a number nor a share.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a quorum is a number of nodes, such as `3`, or a share of them, such as `80%`")]
pub struct ParseQuorumError;

impl Default for Policy {
    fn default() -> Self {
        Self {
            commit: CommitMode::Together,
            quorum_before: Quorum::Percent(50),
            quorum_after: Quorum::Percent(100),
            shortfall: Shortfall::Defer,
            partial: Partial::Keep,
            encrypt: false,
            retries: 3,
        }
    }
}

impl Quorum {
    /// How many of `nodes` are enough.
    pub fn of(self, nodes: u32) -> u32 {
        match self {
            Self::Count(count) => count.min(nodes),
            Self::Percent(share) => {
                let hundredths = u64::from(nodes) * u64::from(share.min(100));
                u32::try_from(hundredths.div_ceil(100)).unwrap_or(nodes)
            }
        }
    }
}

impl FromStr for Quorum {
    type Err = ParseQuorumError;

    fn from_str(text: &str) -> Result<Self, ParseQuorumError> {
        let digits = text.strip_suffix('%').unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(ParseQuorumError);
        }
        let number: u32 = digits.parse().map_err(|_| ParseQuorumError)?;
        match digits.len() == text.len() {
            true => Ok(Self::Count(number)),
            false if number <= 100 => Ok(Self::Percent(number as u8)),
            false => Err(ParseQuorumError),
        }
    }
}

impl fmt::Display for Quorum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            Self::Percent(share) => write!(f, "{share}%"),
        }
    }
}

bellwether_types::as_text!(Quorum);

#[cfg(test)]
mod tests {
    use super::*;

    /// CCM-05.
    #[test]
    fn a_quorum_is_a_number_or_a_share_rounded_up() {
        let quorum = |text: &str| text.parse::<Quorum>().unwrap();
        assert_eq!(quorum("3").of(8), 3);
        assert_eq!(quorum("30").of(8), 8);
        assert_eq!(quorum("50%").of(9), 5);
        assert_eq!(quorum("100%").of(u32::MAX), u32::MAX);
        assert_eq!(quorum("0%").of(8), 0);
        for text in ["", "%", "-1", "+1", "101%", "half", "5 %", "99999999999"] {
            assert_eq!(text.parse::<Quorum>(), Err(ParseQuorumError), "{text}");
        }
    }

    #[test]
    fn what_a_policy_does_not_say_is_the_default() {
        let policy: Policy = serde_json::from_str(r#"{"commit":"by-hand"}"#).unwrap();
        assert_eq!(policy.commit, CommitMode::ByHand);
        assert_eq!(policy.quorum_after, Quorum::Percent(100));
        assert!(serde_json::from_str::<Policy>(r#"{"comit":"by-hand"}"#).is_err());
        let text = serde_json::to_string(&policy).unwrap();
        assert_eq!(serde_json::from_str::<Policy>(&text).unwrap(), policy);
    }
}
