use std::fmt;
use std::str::FromStr;

use bellwether_types::{Name, NameError};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What the bearer of a token may do. Of people, each role includes those before it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Enrol a node, and nothing else.
    Node,
    /// See everything that is no secret.
    Viewer,
    /// Also define, publish and roll back.
    Operator,
    /// Also give and take tokens.
    Admin,
}

impl Role {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a node that enrols belongs: a segment by name, or `auto`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Placement {
    /// The segment of its subnet, which is made when its first node comes.
    Auto,
    /// This one, which is made when its first node comes.
    Segment(Name),
}

/// Text that is neither `auto` nor a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("neither `auto` nor the name of a segment")]
pub struct ParsePlacementError(#[source] NameError);

const AUTO: &str = "auto";

impl FromStr for Placement {
    type Err = ParsePlacementError;

    fn from_str(text: &str) -> Result<Self, ParsePlacementError> {
        match text {
            AUTO => Ok(Self::Auto),
            name => name.parse().map(Self::Segment).map_err(ParsePlacementError),
        }
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str(AUTO),
            Self::Segment(name) => name.fmt(f),
        }
    }
}

bellwether_types::as_text!(Placement);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_of_people_includes_those_before_it_and_a_node_none() {
        assert!(Role::Node < Role::Viewer);
        assert!(Role::Viewer < Role::Operator && Role::Operator < Role::Admin);
    }

    #[test]
    fn a_placement_is_auto_or_a_name() {
        for text in ["auto", "boston"] {
            assert_eq!(text.parse::<Placement>().unwrap().to_string(), text);
        }
        assert!("a/b".parse::<Placement>().is_err());
    }
}
