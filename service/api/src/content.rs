use std::borrow::Cow;

use bellwether_types::Hash;
use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};

/// Bytes as they are, and no JSON: of a body that is taken, or of what comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Octets;

/// How long a content is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct ContentSize {
    /// Its length in bytes.
    pub size: u64,
}

/// Which piece of a content the body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct ContentPiece {
    /// The length of the whole content in bytes.
    pub size: u64,
    /// Where the piece begins: where what came so far ends, or 0 for a content that comes whole.
    #[serde(default)]
    pub offset: u64,
}

/// Contents after which one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct MissingPage {
    /// Those after this hash; the first ones unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    pub after: Option<Hash>,
}

/// How much of a content the server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ContentReceived {
    /// Bytes from its beginning; a content is proved once all of it came.
    pub received: u64,
}

/// Contents that the server lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Missing {
    /// These, each once, in the order of their hashes; at most 50,000.
    pub contents: Vec<MissingContent>,
    /// There are more: ask for those after the last one.
    pub more: bool,
    /// Bytes of all that are missing after the one that was named.
    pub bytes: u64,
}

/// A content that the server lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MissingContent {
    /// Its BLAKE3 hash.
    #[schema(value_type = String)]
    pub hash: Hash,
    /// Its length in bytes.
    pub size: u64,
}

crate::endpoint::queries!(ContentSize, ContentPiece, MissingPage);

impl Missing {
    /// Contents that are told at once.
    pub const CONTENTS_MAX: usize = 50_000;
}

impl PartialSchema for Octets {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::String).into()
    }
}

impl ToSchema for Octets {
    fn name() -> Cow<'static, str> {
        "Octets".into()
    }
}
