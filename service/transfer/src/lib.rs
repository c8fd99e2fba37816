//! Moves content: the sockets, spools and threads around the station of `core/multicast`.
//!
//! - **In a segment** ([`Member`]): the leader brings assignments to members, and the next leader goes on with them.
//! - **Alone**: a [`send()`] and any number of [`receive()`]s on one multicast group move files to all of them with one copy of the bytes
//!   on the wire, without any server, list or election.
#![warn(missing_docs)]

mod alone;
mod batch;
mod carrier;
mod content;
mod group;
mod inflow;
mod member;
mod parcel;
mod receive;
mod send;
mod shelf;
mod source;
mod spool;

pub use group::{GroupSettings, TransferError};
pub use inflow::{Inflow, InflowError};
pub use member::{
    Going, Member, MemberSettings, Offer, OfferError, Order, Roster, Told, Transfer, Whereabouts,
    coming,
};
pub use receive::{Received, Receiving, receive};
pub use send::{Delivery, Report, SendSettings, Sending, send};
pub use source::SourceError;
