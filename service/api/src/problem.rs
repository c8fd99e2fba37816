use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why a request was not done. Every error of the API has this shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// What kind of problem, for programs.
    pub code: Code,
    /// What is wrong, for people.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Kinds of problems. Each has one status; this is the only place that knows which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The request is not written as it should be.
    Malformed,
    /// Nobody who may ask has asked.
    Unauthenticated,
    /// Whoever asks may not.
    Forbidden,
    /// There is no such thing, or no such route.
    NotFound,
    /// The route has no such method.
    MethodNotAllowed,
    /// The state does not allow it.
    Conflict,
    /// The body is too large.
    TooLarge,
    /// The range that is asked for lies beyond the end.
    Range,
    /// The body is not JSON by its content type.
    UnsupportedType,
    /// What is asked for cannot be.
    Invalid,
    /// Too many ask.
    TooMany,
    /// It is the server's fault; its log says more.
    Internal,
    /// The server is ending, or beginning.
    Unavailable,
    /// The server has no room.
    NoSpace,
}

impl Code {
    /// The HTTP status.
    pub const fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::Unauthenticated => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::Conflict => 409,
            Self::TooLarge => 413,
            Self::UnsupportedType => 415,
            Self::Range => 416,
            Self::Invalid => 422,
            Self::TooMany => 429,
            Self::Internal => 500,
            Self::Unavailable => 503,
            Self::NoSpace => 507,
        }
    }
}

impl Problem {
    /// A problem without advice.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: None,
        }
    }

    /// What to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}
