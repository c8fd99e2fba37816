use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Who wanted what, when, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditInfo {
    /// Its number; later ones are higher.
    pub number: u64,
    /// When.
    pub at_ms: i64,
    /// Who: `server`, a token by id and name, or a node by id.
    pub actor: String,
    /// What, such as `site.create`.
    pub action: String,
    /// To what.
    pub target: String,
    /// `done`, or why not.
    pub result: String,
}

/// Which lines of the audit, the latest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Before {
    /// Those before this number; the latest unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// How many at most, 1 to 1000; 100 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

crate::endpoint::queries!(Before);
