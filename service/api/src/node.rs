use std::collections::{BTreeMap, BTreeSet};

use bellwether_fleet::Labels;
use bellwether_types::{Name, NodeId, VersionId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeInfo {
    /// Its id.
    #[schema(value_type = String)]
    pub id: NodeId,
    /// What it calls itself.
    #[schema(value_type = String)]
    pub name: Name,
    /// The segment it belongs to.
    #[schema(value_type = String)]
    pub segment: Name,
    /// The addresses it named when it enrolled.
    pub addresses: Vec<String>,
    /// Its labels.
    #[schema(value_type = BTreeMap<String, String>)]
    pub labels: Labels,
    /// When it enrolled.
    pub enrolled_ms: i64,
    /// When its certificate ends.
    pub certificate_ends_ms: i64,
    /// Whether it is there.
    pub presence: Presence,
    /// When it was seen to come or to go.
    pub seen_ms: Option<i64>,
    /// Does it lead its segment?
    pub leads: bool,
    /// What it says of itself, while it is there.
    pub says: Option<NodeReport>,
}

/// Whether a node is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Presence {
    /// Its segment counts it.
    Up,
    /// Its segment does not.
    Down,
    /// Nobody speaks for its segment.
    Unknown,
}

/// What a node says of itself to its segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeReport {
    /// Where it takes datagrams.
    pub address: String,
    /// A time zone or another word for where it stands.
    pub location: String,
    /// How often it was started.
    pub incarnation: u64,
    /// Is it busy with other work?
    pub busy: bool,
    /// Bytes free where content is.
    pub disk_free_bytes: u64,
    /// What is live on it, by site, or `SITE@PART`.
    #[schema(value_type = BTreeMap<String, String>)]
    pub live: BTreeMap<String, VersionId>,
}

/// Which nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct NodesPage {
    /// Those after this id; the first ones unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// How many at most, 1 to 1000; 100 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Only those of this group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    pub group: Option<Name>,
    /// Only those of this segment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    pub segment: Option<Name>,
}

crate::endpoint::queries!(NodesPage);

/// Labels to give and to take.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NodeLabels {
    /// Those it has from now on.
    #[schema(value_type = BTreeMap<String, String>)]
    pub set: Labels,
    /// Those it has no more.
    #[schema(value_type = Vec<String>)]
    pub unset: BTreeSet<Name>,
}

/// Where a node belongs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NodePlace {
    /// The segment.
    #[schema(value_type = String)]
    pub segment: Name,
}
