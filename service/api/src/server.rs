use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The control server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServerInfo {
    /// Its release.
    pub version: String,
    /// The SHA-256 fingerprint of its authority's certificate, in hexadecimal digits.
    pub ca_fingerprint: String,
    /// The key that signs assignments, as a line for `--trust`.
    pub signing_key: String,
    /// The number up to which its log is applied.
    pub applied: u64,
}
