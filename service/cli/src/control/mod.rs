//! The control server: run it, and speak with one that runs, over its API.

mod access;
mod audit;
mod context;
mod events;
mod follow;
mod group;
mod job;
mod login;
mod moment;
mod node;
mod plan;
mod publish;
mod rollback;
mod segment;
mod server;
mod shown;
mod site;
mod staging;
mod status;
mod token;

pub(crate) use access::{Access, Remote};
pub(crate) use audit::Audit;
pub(crate) use events::EventsCommand;
pub(crate) use group::GroupCommand;
pub(crate) use job::JobCommand;
pub(crate) use login::Login;
pub(crate) use node::NodeCommand;
pub(crate) use plan::Plan;
pub(crate) use publish::Publish;
pub(crate) use rollback::Rollback;
pub(crate) use segment::SegmentCommand;
pub(crate) use server::Server;
pub(crate) use site::SiteCommand;
pub(crate) use status::Status;
pub(crate) use token::TokenCommand;
