//! A site on disk.

pub mod publish;
pub mod scan;
