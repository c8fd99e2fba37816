use std::collections::BTreeSet;

use bellwether_fleet::Labels;
use bellwether_types::{Name, NodeId};
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
