//! Moves content: the sockets, spools and threads around the station of `core/multicast`.
//!
//! A [`send()`] and any number of [`receive()`]s on one multicast group move files to all of them with one copy of the bytes
//! on the wire, without any server, list or election.
#![warn(missing_docs)]

mod batch;
mod carrier;
mod content;
mod group;
mod parcel;
mod receive;
mod send;
mod source;
mod spool;

pub use group::{GroupSettings, TransferError};
pub use receive::{Received, Receiving, receive};
pub use send::{Delivery, Report, SendSettings, Sending, send};
pub use source::SourceError;
