use bellwether_types::Name;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SegmentInfo {
    /// What its nodes call it.
    #[schema(value_type = String)]
    pub name: Name,
    /// What people call it.
    #[schema(value_type = Option<String>)]
    pub title: Option<Name>,
    /// The subnet whose nodes come here by themselves.
    pub subnet: Option<String>,
    /// How many nodes belong to it.
    pub nodes: u64,
}

/// What people call a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SegmentTitle {
    /// The name, which no other segment has.
    #[schema(value_type = String)]
    pub title: Name,
}
