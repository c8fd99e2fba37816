//! Membership of many nodes in virtual time.

mod channels;
mod chaos;
mod formation;
mod liveness;
mod merging;
mod network;
mod registration;
mod reports;
