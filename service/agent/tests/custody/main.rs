//! Content in a node's custody, on a disk in memory: no network, and any crash.

mod coming;
mod crash;
mod gather;
mod kit;
mod lines;
mod orders;
mod refusals;
