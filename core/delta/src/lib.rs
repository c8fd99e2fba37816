//! Bytes to bytes: new content expressed against what a node already holds.
//!
//! Content is handled in *segments*: at most [`SEGMENT_NEW_MAX`] bytes of new content (a slice of
//! one large file, or many small files end to end) against at most [`SEGMENT_BASE_MAX`] bytes of
//! base content (whole old files, or named ranges of them, end to end). So memory is bounded for
//! content of any size.
//!
//! Making a delta has two separate steps, because no single tool is best at both:
//! *matching* ([`Match`]: which base bytes line up with which new bytes, mismatches allowed) and
//! *coding* (matches, mismatches and literals become few bytes). Matching segments is independent
//! work that may run on any threads; coding carries its statistics from segment to segment of a
//! *group*, so that a tree's many small edits are coded as one stream.
#![warn(missing_docs)]

mod coarse;
mod content;
mod error;
mod gear;
mod grid;
mod group;
mod matching;
mod mismatches;
mod mixing;
mod parted;
mod parts;
#[cfg(test)]
mod samples;
mod varint;

pub use coarse::{BaseRange, CoarseIndex, pairs_at_home};
pub use content::{Content, ReadError};
pub use error::DecodeError;
pub use group::{Codec, GroupDecoder, GroupEncoder};
pub use matching::{Matcher, Pair, lies_opposite};

/// The most new content in one segment, in bytes.
pub const SEGMENT_NEW_MAX: usize = 8 << 20;

/// The most base content that one segment may name, in bytes.
pub const SEGMENT_BASE_MAX: usize = 32 << 20;

/// How much work to spend on few bytes (COMP).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    /// Least CPU time.
    Fast,
    /// Near the size of the best general tools at a fraction of their time.
    Default,
    /// Fewest bytes.
    Max,
}

/// One step of a segment's reconstruction: first `literal_len` bytes that line up with nothing,
/// then `len` bytes that line up with the base from `base_start` on. Lined-up bytes may differ
/// here and there; a coder sends the differences. The last step of a segment may have `len` 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match {
    /// New bytes before the lined-up ones.
    pub literal_len: u32,
    /// Where the lined-up bytes start in the segment's base.
    pub base_start: u32,
    /// How many bytes line up.
    pub len: u32,
}
