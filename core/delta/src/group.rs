//! Segments coded one after the other, each with the help of those before it.

use crate::error::DecodeError;
use crate::mixing::{MixDecoder, MixEncoder};
use crate::parts::{self, Parts};
use crate::varint::{self, Reader};
use crate::{Effort, Match, SEGMENT_NEW_MAX};
use zstd::zstd_safe::{self, CCtx, CParameter, DCtx, DParameter, InBuffer, OutBuffer};

/// How the parts of a group's segments become few bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// As they are: for content that no compressor gains on.
    Stored,
    /// As one zstd stream.
    Zstd {
        /// zstd's compression level. A decoder need not know it.
        level: i32,
    },
    /// By the context-mixing coder.
    Mixing,
}

impl Codec {
    /// What an effort uses.
    pub fn of(effort: Effort) -> Self {
        match effort {
            Effort::Fast => Self::Zstd { level: 3 },
            Effort::Default => Self::Zstd { level: 19 },
            Effort::Max => Self::Mixing,
        }
    }

    /// Its number in an assignment.
    pub fn id(self) -> u8 {
        match self {
            Self::Stored => 0,
            Self::Zstd { .. } => 1,
            Self::Mixing => 2,
        }
    }

    /// The codec of a number, for decoding.
    pub fn from_id(id: u8) -> Option<Self> {
        match id {
            0 => Some(Self::Stored),
            1 => Some(Self::Zstd { level: 0 }),
            2 => Some(Self::Mixing),
            _ => None,
        }
    }
}

const WINDOW_LOG: u32 = 23;

/// Codes the segments of a group.
pub struct GroupEncoder {
    codec: Codec,
    stream: CCtx<'static>,
    parts: Parts,
    mixing: Option<Box<MixEncoder>>,
}

impl GroupEncoder {
    /// A group of its own, which knows nothing of other groups.
    pub fn new(codec: Codec) -> Self {
        let mut stream = CCtx::create();
        if let Codec::Zstd { level } = codec {
            for parameter in [
                CParameter::CompressionLevel(level),
                CParameter::WindowLog(WINDOW_LOG),
                CParameter::ChecksumFlag(false),
                CParameter::ContentSizeFlag(false),
            ] {
                stream
                    .set_parameter(parameter)
                    .expect("a parameter in range");
            }
        }
        Self {
            codec,
            stream,
            parts: Parts::default(),
            mixing: (codec == Codec::Mixing).then(Box::default),
        }
    }

    /// Appends the payload of one segment to `out`.
    pub fn segment(&mut self, base: &[u8], new: &[u8], matches: &[Match], out: &mut Vec<u8>) {
        if let Some(mixing) = &mut self.mixing {
            return mixing.segment(base, new, matches, out);
        }
        self.parts.split(base, new, matches);
        varint::put(out, self.parts.control.len() as u32);
        varint::put(out, self.parts.mismatches.len() as u32);
        for part in [
            &self.parts.control,
            &self.parts.mismatches,
            &self.parts.literals,
        ] {
            if part.is_empty() {
                continue;
            }
            match self.codec {
                Codec::Stored | Codec::Mixing => out.extend_from_slice(part),
                Codec::Zstd { .. } => {
                    compress(&mut self.stream, part, out);
                }
            }
        }
    }
}

fn compress(stream: &mut CCtx<'static>, part: &[u8], out: &mut Vec<u8>) {
    let mut input = InBuffer::around(part);
    loop {
        out.reserve(zstd_safe::compress_bound(part.len() - input.pos()) + 64);
        let start = out.len();
        let mut output = OutBuffer::around_pos(out, start);
        let left = stream
            .compress_stream2(
                &mut output,
                &mut input,
                zstd_safe::zstd_sys::ZSTD_EndDirective::ZSTD_e_flush,
            )
            .expect("compressing from memory to memory");
        if left == 0 && input.pos() == part.len() {
            return;
        }
    }
}

/// Decodes the segments of a group, in the order in which they were coded.
pub struct GroupDecoder {
    codec: Codec,
    stream: DCtx<'static>,
    mixing: Option<Box<MixDecoder>>,
}

impl GroupDecoder {
    /// For a group that was coded with `codec`.
    pub fn new(codec: Codec) -> Self {
        let mut stream = DCtx::create();
        stream
            .set_parameter(DParameter::WindowLogMax(WINDOW_LOG))
            .expect("a window in range");
        let mixing = (codec == Codec::Mixing).then(Box::default);
        Self {
            codec,
            stream,
            mixing,
        }
    }

    /// Appends the `new_len` bytes that `payload` makes of `base` to `new`. After an error the
    /// group cannot be continued.
    pub fn segment(
        &mut self,
        base: &[u8],
        new_len: usize,
        payload: &[u8],
        new: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        if let Some(mixing) = &mut self.mixing {
            return Ok(mixing.segment(base, new_len, payload, new)?);
        }
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
        limit("new content", new_len, SEGMENT_NEW_MAX)?;
        let mut reader = Reader::new(payload, "segment");
        let part_max = parts::part_len_max(new_len);
        let control_len = limit("control", reader.number()? as usize, part_max)?;
        let mismatches_len = limit("mismatches", reader.number()? as usize, part_max)?;
        let mut rest = reader.rest();
        let control = self.part(&mut rest, control_len, "control")?;
        let (steps, literals_len) = parts::read_control(&control, base.len(), new_len)?;
        let mismatches = self.part(&mut rest, mismatches_len, "mismatches")?;
        let literals = self.part(&mut rest, literals_len, "literals")?;
        if !rest.is_empty() {
            return Err(DecodeError::Trailing(rest.len()));
        }
        new.reserve(new_len);
        parts::join(base, &steps, &mismatches, &literals, new)
    }

    fn part(
        &mut self,
        rest: &mut &[u8],
        len: usize,
        part: &'static str,
    ) -> Result<Vec<u8>, DecodeError> {
        if len == 0 {
            return Ok(Vec::new());
        }
        match self.codec {
            Codec::Stored | Codec::Mixing => {
                let (bytes, left) = rest
                    .split_at_checked(len)
                    .ok_or(DecodeError::Truncated(part))?;
                *rest = left;
                Ok(bytes.to_vec())
            }
            Codec::Zstd { .. } => {
                let mut bytes = Vec::with_capacity(len);
                let mut input = InBuffer::around(rest);
                let mut output = OutBuffer::around(&mut bytes);
                while output.pos() < len {
                    let before = (input.pos(), output.pos());
                    self.stream
                        .decompress_stream(&mut output, &mut input)
                        .map_err(|_| DecodeError::Compression(part))?;
                    if before == (input.pos(), output.pos()) {
                        return Err(DecodeError::Truncated(part));
                    }
                }
                let used = input.pos();
                *rest = &rest[used..];
                Ok(bytes)
            }
        }
    }
}
