//! A site on disk.

pub mod scan;
