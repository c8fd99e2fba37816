//! The typed client of the control server's API: one connection, HTTP/2 over TLS 1.3.
//!
//! The server is known by the fingerprint of its authority's certificate, which it sends along; no list of authorities
//! of the machine has a say. Nodes are asked the same way by their neighbours, under the names in their certificates.
#![warn(missing_docs)]

mod address;
mod client;
mod fetch;
mod neighbour;
mod pinned;
mod uplink;

pub use address::{ParseServerUrlError, ServerUrl};
pub use client::{CallError, Client, Credential, Identity};
pub use fetch::Download;
pub use neighbour::{PIECE_LEN_MAX, Right};
pub use uplink::{Lost, Uplink, UplinkSender, UplinkStream};
