use std::fmt;

use bellwether_fleet::Role;
use bellwether_types::{Name, NameError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use utoipa::ToSchema;
use utoipa::openapi::path::Parameter;

/// A route of the API.
pub trait Endpoint: Send + Sync + 'static {
    /// What clients and documentation call it.
    const NAME: &'static str;
    /// What it does, in a sentence.
    const SUMMARY: &'static str;
    /// Its method.
    const METHOD: Method;
    /// Its path, with a name in braces where the key stands.
    const PATH: &'static str;
    /// Who may ask.
    const ACCESS: Access;
    /// The status of success.
    const STATUS: u16;
    /// What the path names: a [`Name`], or nothing.
    type Key: Key;
    /// What may stand behind the path.
    type Query: Query;
    /// What is sent; `()` is nothing.
    type Body: Serialize + DeserializeOwned + ToSchema + Send + 'static;
    /// What comes back; `()` is nothing.
    type Reply: Serialize + DeserializeOwned + ToSchema + Send + 'static;
}

/// Methods that routes have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Looks, and changes nothing.
    Get,
    /// Makes something.
    Post,
    /// Says how something is from now on.
    Put,
    /// Changes a part of something.
    Patch,
    /// Ends something.
    Delete,
}

/// Who may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Whoever reaches the port.
    Anyone,
    /// The bearer of a token of at least this role.
    AtLeast(Role),
    /// A node, by its certificate.
    Node,
}

/// What a path names.
pub trait Key: Send + Sync + Sized + 'static {
    /// Reads it.
    fn read(text: Option<&str>) -> Result<Self, NameError>;
    /// Writes it; it needs no escapes.
    fn text(&self) -> Option<&str>;
}

/// What may stand behind a path.
pub trait Query: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// How that is documented.
    fn parameters() -> Vec<Parameter>;
}

impl Key for () {
    fn read(_: Option<&str>) -> Result<Self, NameError> {
        Ok(())
    }

    fn text(&self) -> Option<&str> {
        None
    }
}

impl Key for Name {
    fn read(text: Option<&str>) -> Result<Self, NameError> {
        text.unwrap_or_default().parse()
    }

    fn text(&self) -> Option<&str> {
        Some(self.as_str())
    }
}

impl Method {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anyone => f.write_str("anyone"),
            Self::AtLeast(role) => write!(f, "the role {role}"),
            Self::Node => f.write_str("a node's certificate"),
        }
    }
}

/// Queries that are documented by their own fields.
macro_rules! queries {
    ($($query:ty),*) => { $(
        impl crate::endpoint::Query for $query {
            fn parameters() -> Vec<utoipa::openapi::path::Parameter> {
                use utoipa::openapi::path::ParameterIn;
                <Self as utoipa::IntoParams>::into_params(|| Some(ParameterIn::Query))
            }
        }
    )* };
}
pub(crate) use queries;

/// Nothing may stand behind the path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoQuery {}

impl Query for NoQuery {
    fn parameters() -> Vec<Parameter> {
        Vec::new()
    }
}
