//! The assignment: a signed, immutable series of commands with a data file that holds only the
//! changed bytes (ASSIGN). It is read front to back; nothing is believed before it is proved.
//!
//! ```text
//! magic · header length · header · block hashes · commands · trailer · seal · data file
//! ```
//!
//! The seal is the signature over header, block hashes and trailer, or in an unsigned assignment
//! a plain hash of them. The trailer is the hash of the commands, the block hashes are those of
//! the data file as sent; so the seal proves every byte, and each block by itself.
//! `docs/formats.md` has the layout in full.

mod blocks;
mod header;
mod reader;
mod seal;
mod segments;
mod writer;

pub use blocks::{BLOCK_LEN_LARGE, BLOCK_LEN_SMALL, BlockHasher, Blocks, block_len};
pub use header::{Action, Compression, DecodeHeaderError, Encryption, Header, Part};
pub use reader::{DataReader, KeyIds, OpenError, Opened, Outline, open, outline, peek};
pub use seal::Trust;
pub use segments::{
    BaseRange, Causes, GroupSpec, Limits, Piece, Segment, SegmentError, SegmentReader, SegmentSpec,
    SegmentWriter, causes, cut,
};
pub use writer::{DataWriter, Head, compress_body};

/// The first bytes of every assignment.
pub const MAGIC: [u8; 4] = *b"BWA1";
