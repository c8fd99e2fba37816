//! What the tests of several crates share.

pub mod document;
pub mod farm;
