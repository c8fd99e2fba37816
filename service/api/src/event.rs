use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventInfo {
    /// Its number; there are no gaps.
    pub number: u64,
    /// When.
    pub at_ms: i64,
    /// What kind of thing, such as `site.created`.
    pub kind: String,
    /// To what it happened.
    pub subject: String,
    /// The same for people.
    pub text: String,
}

/// What happened, and where to go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Events {
    /// These, in order.
    pub events: Vec<EventInfo>,
    /// Ask for those after this number next.
    pub last: u64,
    /// What was asked for is forgotten: look at everything anew, and go on after `last`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reset: bool,
}

/// Which events.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct After {
    /// Those after this number; those that are still to come unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// How long to wait for one, such as `30s` or `500ms`, at most a minute; not at all unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<String>,
}

crate::endpoint::queries!(After);
