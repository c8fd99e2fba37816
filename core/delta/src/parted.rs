//! A segment as three parts, stored or packed by zstd.
//!
//! One zstd stream goes through the whole group and is flushed after each part of each segment, so
//! that every part gets entropy tables of its own and all share one history. A segment's payload
//! is `control_len * 2 + literals_stored`, `mismatches_len`, and the parts; where literals are
//! stored, the length of what is packed stands before it. (Tried: giving zstd the base bytes that
//! literals replace as a prefix; 3 % fewer bytes on executables for a second pass over the base.)

use std::borrow::Cow;

use zstd::zstd_safe::zstd_sys::ZSTD_EndDirective;
use zstd::zstd_safe::{self, CCtx, CParameter, DCtx, DParameter, InBuffer, OutBuffer};

use crate::Match;
use crate::error::DecodeError;
use crate::parts::{self, Parts};
use crate::varint::{self, Reader};

/// The zstd window: what a decoder keeps of the group's parts, as a power of two.
const WINDOW_LOG: u32 = 23;

/// What an encoder looks back to where speed is all: it keeps a copy, and fresh pages cost time.
const WINDOW_LOG_FAST: u32 = 20;

/// From this level on zstd would keep a search tree of 64 MiB and a table of 16. A quarter and a
/// half of that cost less than a thousandth of the bytes on any pair of the corpus.
const TREE_LEVEL_MIN: i32 = 16;

/// What zstd asks for when a block is done.
const BLOCK_HEADER_LEN: usize = 3;

/// Codes the segments of a group.
pub(crate) struct PartedEncoder {
    /// `None` stores.
    stream: Option<CCtx<'static>>,
    parts: Parts,
    packed: Vec<u8>,
}

impl PartedEncoder {
    /// At this level of zstd, or stored.
    pub(crate) fn new(level: Option<i32>) -> Self {
        let stream = level.map(|level| {
            let mut stream = CCtx::create();
            let window_log = match level {
                ..2 => WINDOW_LOG_FAST,
                _ => WINDOW_LOG,
            };
            for parameter in [
                CParameter::CompressionLevel(level),
                CParameter::WindowLog(window_log),
                CParameter::ChecksumFlag(false),
                CParameter::ContentSizeFlag(false),
            ] {
                stream
                    .set_parameter(parameter)
                    .expect("a parameter in range");
            }
            if level >= TREE_LEVEL_MIN {
                for parameter in [CParameter::ChainLog(22), CParameter::HashLog(21)] {
                    stream
                        .set_parameter(parameter)
                        .expect("a parameter in range");
                }
            }
            stream
        });
        Self {
            stream,
            parts: Parts::default(),
            packed: Vec::new(),
        }
    }

    /// Appends the payload of one segment to `out`.
    ///
    /// # Panics
    /// When `matches` do not cover `new`, or leave `base`.
    pub(crate) fn segment(
        &mut self,
        base: &[u8],
        new: &[u8],
        matches: &[Match],
        out: &mut Vec<u8>,
    ) {
        self.parts.split(base, new, matches);
        let Parts {
            control,
            mismatches,
            literals,
            ..
        } = &self.parts;
        let stored = self.stream.is_none() || is_noise(literals);
        varint::put(out, (control.len() as u32) << 1 | u32::from(stored));
        varint::put(out, mismatches.len() as u32);
        match &mut self.stream {
            None => {
                for part in [control, mismatches, literals] {
                    out.extend_from_slice(part);
                }
            }
            Some(stream) => {
                self.packed.clear();
                for part in [control, mismatches] {
                    compress(stream, part, &mut self.packed);
                }
                if stored {
                    varint::put(out, self.packed.len() as u32);
                    out.extend_from_slice(&self.packed);
                    out.extend_from_slice(literals);
                } else {
                    out.extend_from_slice(&self.packed);
                    compress(stream, literals, out);
                }
            }
        }
    }
}

/// Whether literals look incompressible: then they cost nothing but themselves, and no time. Of
/// long ones, samples are tried.
fn is_noise(literals: &[u8]) -> bool {
    const SAMPLE_LEN: usize = 16 << 10;
    const SAMPLE_EVERY: usize = 256 << 10;
    if literals.len() < 1024 {
        return false;
    }
    let mut packed = vec![0; zstd_safe::compress_bound(SAMPLE_LEN)];
    let (mut before, mut after) = (0, 0);
    for piece in literals.chunks(SAMPLE_EVERY) {
        let sample = &piece[..piece.len().min(SAMPLE_LEN)];
        before += sample.len();
        after += zstd_safe::compress(&mut packed[..], sample, 1).unwrap_or(sample.len());
    }
    after >= before - before / 128
}

fn compress(stream: &mut CCtx<'static>, part: &[u8], out: &mut Vec<u8>) {
    if part.is_empty() {
        return;
    }
    let mut input = InBuffer::around(part);
    loop {
        out.reserve(zstd_safe::compress_bound(part.len() - input.pos()) + 64);
        let start = out.len();
        let mut output = OutBuffer::around_pos(out, start);
        let left = stream
            .compress_stream2(&mut output, &mut input, ZSTD_EndDirective::ZSTD_e_flush)
            .expect("compressing from memory to memory");
        if left == 0 && input.pos() == part.len() {
            return;
        }
    }
}

/// Decodes the segments of a group, in the order in which they were coded.
pub(crate) struct PartedDecoder {
    /// `None` if everything is stored.
    stream: Option<DCtx<'static>>,
    /// zstd reads the next block's header as soon as it can: whether it did not.
    is_between_blocks: bool,
}

impl PartedDecoder {
    pub(crate) fn new(is_stored: bool) -> Self {
        let stream = (!is_stored).then(|| {
            let mut stream = DCtx::create();
            stream
                .set_parameter(DParameter::WindowLogMax(WINDOW_LOG))
                .expect("a window in range");
            stream
        });
        Self {
            stream,
            is_between_blocks: true,
        }
    }

    /// Appends the `new_len` bytes that `payload` makes of `base` to `new`. After an error the
    /// group cannot be continued.
    pub(crate) fn segment(
        &mut self,
        base: &[u8],
        new_len: usize,
        payload: &[u8],
        new: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        let limit = |part, claimed: usize, limit: usize| {
            if claimed <= limit {
                return Ok(claimed);
            }
            Err(DecodeError::Size {
                part,
                claimed: claimed as u64,
                limit: limit as u64,
            })
        };
        let part_max = parts::part_len_max(new_len);
        let mut reader = Reader::new(payload, "segment header");
        let first = reader.number()?;
        let control_len = limit("control", (first >> 1) as usize, part_max)?;
        let mismatches_len = limit("mismatches", reader.number()? as usize, part_max)?;
        let literals_stored = first & 1 == 1 && self.stream.is_some();
        let (mut packed, stored) = match literals_stored {
            true => {
                let len = reader.number()? as usize;
                (reader.bytes(len)?, reader.rest())
            }
            false => (reader.rest(), &[][..]),
        };
        let control = self.part(&mut packed, control_len, "control")?;
        let (steps, literals_len) = parts::read_control(&control, base.len(), new_len)?;
        let mismatches = self.part(&mut packed, mismatches_len, "mismatches")?;
        let literals = match literals_stored {
            true => stored.into(),
            false => self.part(&mut packed, literals_len, "literals")?,
        };
        if !packed.is_empty() || !self.is_between_blocks {
            return Err(DecodeError::Trailing(packed.len().max(1)));
        }
        new.reserve(new_len);
        parts::join(base, &steps, &mismatches, &literals, new)
    }

    /// The next part of a payload: `len` bytes once decoded.
    fn part<'a>(
        &mut self,
        rest: &mut &'a [u8],
        len: usize,
        part: &'static str,
    ) -> Result<Cow<'a, [u8]>, DecodeError> {
        let stream = self.stream.as_mut().filter(|_| len > 0);
        let Some(stream) = stream else {
            let (bytes, left) = rest
                .split_at_checked(len)
                .ok_or(DecodeError::Truncated(part))?;
            *rest = left;
            return Ok(bytes.into());
        };
        let mut bytes = Vec::with_capacity(len);
        let mut input = InBuffer::around(rest);
        let mut output = OutBuffer::around(&mut bytes);
        while output.pos() < len {
            let before = (input.pos(), output.pos());
            let wanted = stream
                .decompress_stream(&mut output, &mut input)
                .map_err(|_| DecodeError::Compression(part))?;
            self.is_between_blocks = wanted == BLOCK_HEADER_LEN;
            if before == (input.pos(), output.pos()) {
                return Err(DecodeError::Truncated(part));
            }
        }
        let used = input.pos();
        *rest = &rest[used..];
        Ok(bytes.into())
    }
}
