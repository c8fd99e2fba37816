use std::fmt;

use bellwether_fleet::{Placement, Role};
use bellwether_types::Name;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A token that was given; not the token itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenInfo {
    /// What it is referred to by.
    #[schema(value_type = String)]
    pub id: Name,
    /// Whose it is, or what for.
    pub name: String,
    /// What its bearer may do.
    pub role: Role,
    /// Of a token for nodes: the segment they come to, or `auto`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub segment: Option<Placement>,
    /// When it was given.
    pub created_ms: i64,
    /// When it ends.
    pub ends_ms: Option<i64>,
}

/// A token that is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenWanted {
    /// Whose it is, or what for: 1 to 100 characters.
    pub name: String,
    /// What its bearer may do.
    pub role: Role,
    /// Of a token for nodes: the segment they come to, or `auto`, which is the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub segment: Option<Placement>,
    /// How long it lasts, in seconds: a day for nodes and 90 days for people unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lasts_s: Option<u64>,
}

/// A token, told this once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenGiven {
    /// The token.
    pub token: String,
    /// What is known of it from now on.
    pub info: TokenInfo,
}

/// Not the token.
impl fmt::Debug for TokenGiven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenGiven")
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GroupKey, SettingsKey};

    #[test]
    fn secrets_are_not_shown() {
        let keys = r#"{"current":"secret","next":"secret"}"#;
        let keys: SettingsKey = serde_json::from_str(keys).unwrap();
        let key: GroupKey = serde_json::from_str(r#"{"group":"g","key":"secret"}"#).unwrap();
        let info = r#"{"id":"i","name":"n","role":"viewer","created_ms":0,"ends_ms":null}"#;
        let given = format!(r#"{{"token":"secret","info":{info}}}"#);
        let given: TokenGiven = serde_json::from_str(&given).unwrap();
        assert!(!format!("{keys:?} {key:?} {given:?}").contains("secret"));
    }
}
