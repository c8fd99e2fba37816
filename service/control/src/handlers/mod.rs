//! What each route does: reads, decides what the command says, proposes it, and shows what came of it.

pub(crate) mod assignment;
pub(crate) mod audit;
pub(crate) mod content;
pub(crate) mod enrol;
pub(crate) mod event;
pub(crate) mod group;
pub(crate) mod job;
pub(crate) mod node;
mod page;
pub(crate) mod segment;
pub(crate) mod site;
pub(crate) mod status;
pub(crate) mod token;
pub(crate) mod version;
pub(crate) mod whole;
