//! The control server: its API over TLS, the authority that vouches for its nodes, and what it decides.
//!
//! Whatever changes is a command to the store (`bellwether_store`); a handler reads, decides what the command says, and
//! proposes it. `door` is the one place where requests are admitted, read and answered.
//!
//! One TCP port speaks HTTP/1.1 and 2 over TLS 1.3. People have bearer tokens, nodes have client certificates.
#![warn(missing_docs)]

mod authority;
mod begin;
mod clock;
mod door;
mod folder;
mod handlers;
mod jobs;
mod keys;
mod metrics;
mod problem;
mod router;
mod serve;
mod server;
mod stream;
mod subnet;
#[cfg(test)]
mod tests;
mod tls;
mod token;
mod uplink;
mod vault;
mod works;

pub use authority::AuthorityError;
pub use begin::{BeginError, Beginning};
pub use folder::FolderError;
pub use serve::{Ended, Running, ServerSettings, StartError, start};
pub use works::WorksError;
