//! The API without a network: requests as values, straight to the router. `leader` speaks for a segment as its leader would.

pub(crate) mod enrolment;
mod events;
pub(crate) mod fuse;
mod herd;
mod hostile;
mod jobs;
pub(crate) mod kit;
mod leader;
mod publishing;
mod roles;
mod rotation;
mod stories;
mod uplink;
