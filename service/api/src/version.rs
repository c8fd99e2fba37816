use std::collections::BTreeMap;

use bellwether_types::{Name, SitePart, VersionId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Where a tree is, and what of it is accepted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
pub struct TreeWanted {
    /// The server reads the site's staging source, and the body is empty; otherwise the body is a manifest in its
    /// canonical encoding (`docs/formats.md`).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub scan: bool,
    /// A tree without files is meant as it is.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_empty: bool,
}

crate::endpoint::queries!(TreeWanted);

/// A version of a part of a site, which the server keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VersionInfo {
    /// Its number; later ones are higher.
    pub number: u64,
    /// The site, or `SITE@PART`.
    #[schema(value_type = String)]
    pub site: SitePart,
    /// The version.
    #[schema(value_type = String)]
    pub version: VersionId,
    /// Its files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When it was kept.
    pub kept_ms: i64,
}

/// What a tree became: a version for each part of the site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VersionsKept {
    /// The parts, `all` first.
    pub parts: Vec<VersionKept>,
}

/// The latest version of a part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VersionKept {
    /// The site, or `SITE@PART`.
    #[schema(value_type = String)]
    pub site: SitePart,
    /// The version.
    #[schema(value_type = String)]
    pub version: VersionId,
    /// Whether it is another than before.
    pub changed: bool,
    /// Its files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The groups whose nodes receive it.
    #[schema(value_type = Vec<String>)]
    pub groups: Vec<Name>,
}

/// What publishing a tree would change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SitePlan {
    /// The parts, `all` first.
    pub parts: Vec<PartPlan>,
}

/// What publishing would change of a part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PartPlan {
    /// The site, or `SITE@PART`.
    #[schema(value_type = String)]
    pub site: SitePart,
    /// The latest version.
    #[schema(value_type = Option<String>)]
    pub base: Option<VersionId>,
    /// The version that the tree is.
    #[schema(value_type = String)]
    pub target: VersionId,
    /// How many entries are new, changed, moved, copied, deleted, or have other attributes.
    pub changes: BTreeMap<String, u64>,
    /// Bytes of the files whose content the latest version does not have.
    pub bytes: u64,
    /// Bytes of all files.
    pub content_bytes: u64,
    /// The groups whose nodes would receive it.
    pub groups: Vec<GroupPlan>,
}

/// Whom an update would go to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GroupPlan {
    /// The group.
    #[schema(value_type = String)]
    pub group: Name,
    /// How many nodes it selects.
    pub nodes: u64,
    /// How many of them must be able to take it before it begins.
    pub quorum_before: u64,
    /// How many must have staged it before it is committed.
    pub quorum_after: u64,
}

impl SitePlan {
    /// Whether anything would change.
    pub fn changes(&self) -> bool {
        self.parts.iter().any(|part| part.base != Some(part.target))
    }
}
