use bellwether_types::{Name, NodeId};
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
    /// How many of them are there, as far as that is known.
    pub up: u64,
    /// Who leads it, while that one is heard.
    pub leader: Option<SegmentLeader>,
}

/// Who leads a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SegmentLeader {
    /// The node.
    #[schema(value_type = String)]
    pub node: NodeId,
    /// What it calls itself.
    #[schema(value_type = String)]
    pub name: Name,
    /// Where it takes datagrams.
    pub address: String,
    /// A time zone or another word for where it stands.
    pub location: String,
}

/// Who is to lead a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaderWanted {
    /// The node, by its name or by the beginning of its id; the best one besides the present leader if nobody is named.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub node: Option<Name>,
}

/// What people call a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SegmentTitle {
    /// The name, which no other segment has.
    #[schema(value_type = String)]
    pub title: Name,
}
