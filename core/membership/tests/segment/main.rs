//! Membership of many nodes in virtual time.

mod formation;
mod merging;
mod network;
