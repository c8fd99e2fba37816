//! Decisions about content, without I/O: what a tree is ([`Manifest`]), what changed, which
//! commands bring a node from one version to the next, and the assignment that carries them.
#![warn(missing_docs)]

pub mod assignment;
pub mod body;
pub mod command;
pub mod diff;
pub mod manifest;
pub mod planner;
pub mod tree;
pub mod update;

pub use manifest::{Entry, File, Manifest, ManifestError, Mode, Owner, Timestamp};
