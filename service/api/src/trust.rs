use std::collections::BTreeSet;
use std::fmt;

use bellwether_fleet::{CommitMode, Part};
use bellwether_types::{Name, NodeId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A node that comes for the first time. Its join token is the bearer token of the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnrolRequest {
    /// Its id.
    #[schema(value_type = String)]
    pub node: NodeId,
    /// What it calls itself.
    #[schema(value_type = String)]
    pub name: Name,
    /// Its addresses as `ADDRESS/PREFIX`, that towards its segment first; at most 16.
    pub addresses: Vec<String>,
    /// A request for a certificate (PKCS #10, PEM): its key counts, and nothing else that it says.
    pub request: String,
}

/// A node whose certificate is to be replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RenewRequest {
    /// A request for a certificate (PKCS #10, PEM), by the key that the node has.
    pub request: String,
}

/// A certificate for a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Certified {
    /// The certificate, PEM.
    pub certificate: String,
    /// That of the authority, PEM.
    pub authority: String,
    /// When the node's ends.
    pub ends_ms: i64,
    /// What the node is to know.
    pub settings: NodeSettings,
}

/// What a node is told by the control server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeSettings {
    /// Higher is newer.
    pub number: u64,
    /// The segment it belongs to.
    #[schema(value_type = String)]
    pub segment: Name,
    /// The keys of the segment.
    pub keys: SettingsKey,
    /// The other nodes of the segment, by the addresses they named: where multicast does not reach.
    pub peers: Vec<String>,
    /// Who signs assignments, as a line for `--trust`.
    pub signing_key: String,
    /// What it serves.
    pub sites: Vec<ServedSite>,
    /// The keys of its groups.
    pub groups: Vec<GroupKey>,
    /// Nodes that were put out and know a key of the segment still: they are not to be heard.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub put_out: Vec<NodeId>,
}

/// The keys of a segment, each a line for a key file.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SettingsKey {
    /// Accepted still.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// What to seal with.
    pub current: String,
    /// Accepted already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A site that a node serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServedSite {
    /// The site.
    #[schema(value_type = String)]
    pub site: Name,
    /// Which of its parts, `all` among them if it serves what no other part takes.
    #[schema(value_type = Vec<String>)]
    pub parts: BTreeSet<Name>,
    /// All parts that the site has, besides `all`.
    pub rules: Vec<Part>,
    /// When what is staged goes live.
    pub commit: CommitMode,
}

/// The key of a group's content.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GroupKey {
    /// The group.
    #[schema(value_type = String)]
    pub group: Name,
    /// Its key, as a line for a key file.
    pub key: String,
    /// Whose content its nodes receive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub site: Option<Name>,
    /// Which parts of it; all of them unless named.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub parts: BTreeSet<Name>,
}

/// Not the keys: they are secret.
impl fmt::Debug for SettingsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(keys)")
    }
}

/// Not the key.
impl fmt::Debug for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupKey")
            .field("group", &self.group)
            .finish_non_exhaustive()
    }
}
