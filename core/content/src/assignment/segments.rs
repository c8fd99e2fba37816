//! The data file, once proved and opened: groups of segments (see [`bellwether_delta`]).
//!
//! ```text
//! data file = group*
//! group     = codec · segment* · 0
//! segment   = new length · base · payload length · payload
//! base      = 0 | 1 + number of ranges · (file in the base manifest · offset · length)*
//! ```
//!
//! The segments bring the contents of all `WriteFile` commands end to end. A base of 0 stands for
//! the whole base files of those contents, each once, in order, of which there is one at least:
//! thousands of small files need not name theirs.

use std::io::Read;

use bellwether_delta::{Codec, GroupEncoder, Match, SEGMENT_BASE_MAX, SEGMENT_NEW_MAX};
use bellwether_types::TreePath;

use super::{DataReader, OpenError};
use crate::command::WriteFile;
use crate::manifest::{Entry, Manifest};

/// A run of bytes of a file of the base tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseRange {
    /// What the base calls the file.
    pub path: TreePath,
    /// Where the run begins.
    pub offset: u64,
    /// Its bytes.
    pub len: u64,
}

/// A run of bytes of a written file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Which `WriteFile`.
    pub write: usize,
    /// Where the run begins.
    pub offset: u64,
    /// Its bytes.
    pub len: u64,
}

/// A segment before it is coded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentSpec {
    /// What it brings.
    pub pieces: Vec<Piece>,
    /// What it is expressed against.
    pub base: Vec<BaseRange>,
    /// The base is too large to name whole, or none is known: look for ranges worth naming.
    pub search: bool,
}

/// How large segments and groups may become, in bytes of new content and of base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// New content in a segment.
    pub segment_new_max: u64,
    /// Base content of a segment.
    pub segment_base_max: u64,
    /// New content in a group.
    pub group_new_max: u64,
}

/// New files from this size on are worth a search for content that the base has elsewhere.
const SEARCH_LEN_MIN: u64 = 256 << 10;
/// More ranges than this would cost more than they gain.
const RANGES_MAX: u64 = 1 << 16;

/// Contents of one class, whose segments are coded one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSpec<C> {
    /// What its contents have in common.
    pub class: C,
    /// In the order of the `WriteFile`s.
    pub segments: Vec<SegmentSpec>,
}

/// Cuts the contents of `writes` into groups of segments. A group holds only contents of one
/// class, and a segment only contents that have a base or only such that have none.
pub fn cut<C: PartialEq>(
    writes: &[WriteFile],
    base: &Manifest,
    limits: Limits,
    class: impl Fn(&WriteFile) -> C,
) -> Vec<GroupSpec<C>> {
    let mut groups: Vec<GroupSpec<C>> = Vec::new();
    let (mut group_len, mut new_len, mut base_len) = (0, 0, 0);
    for (write, file) in writes.iter().enumerate().filter(|(_, file)| file.size > 0) {
        let own = whole(file, base);
        let own_len = own.as_ref().map_or(0, |range| range.len);
        let search =
            own_len > limits.segment_base_max || (own.is_none() && file.size >= SEARCH_LEN_MIN);
        let mut offset = 0;
        while offset < file.size {
            let class = class(file);
            if groups.last().is_none_or(|group| group.class != class)
                || group_len >= limits.group_new_max
            {
                let segments = Vec::new();
                groups.push(GroupSpec { class, segments });
                group_len = 0;
            }
            let Some(GroupSpec { segments, .. }) = groups.last_mut() else {
                break;
            };
            let full = |segment: &SegmentSpec| {
                search
                    || segment.search
                    || segment.base.is_empty() != own.is_none()
                    || new_len >= limits.segment_new_max
                    || base_len + own_len > limits.segment_base_max
            };
            if segments.last().is_none_or(full) {
                segments.push(SegmentSpec {
                    pieces: Vec::new(),
                    base: Vec::new(),
                    search,
                });
                (new_len, base_len) = (0, 0);
            }
            let Some(segment) = segments.last_mut() else {
                break;
            };
            let len = (file.size - offset)
                .min(limits.group_new_max - group_len)
                .min(limits.segment_new_max - new_len);
            segment.pieces.push(Piece { write, offset, len });
            if let Some(own) = own.as_ref().filter(|_| !search)
                && segment.base.last() != Some(own)
            {
                segment.base.push(own.clone());
                base_len += own.len;
            }
            offset += len;
            new_len += len;
            group_len += len;
        }
    }
    groups
}

impl SegmentSpec {
    /// Bytes that it brings.
    pub fn new_len(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.len).sum()
    }

    /// Bytes that it is expressed against.
    pub fn base_len(&self) -> u64 {
        self.base.iter().map(|range| range.len).sum()
    }
}

fn whole(write: &WriteFile, base: &Manifest) -> Option<BaseRange> {
    let path = write.base.as_ref()?;
    match base.get(path) {
        Some(Entry::File(file)) if file.size > 0 => Some(BaseRange {
            path: path.clone(),
            offset: 0,
            len: file.size,
        }),
        _ => None,
    }
}

/// What a base of 0 stands for.
fn implied_base(pieces: &[Piece], writes: &[WriteFile], base: &Manifest) -> Vec<BaseRange> {
    let mut ranges: Vec<BaseRange> = Vec::new();
    for range in pieces
        .iter()
        .filter_map(|piece| whole(&writes[piece.write], base))
    {
        if ranges.last() != Some(&range) {
            ranges.push(range);
        }
    }
    ranges
}

/// Codes the segments of one group.
pub struct SegmentWriter<'m> {
    writes: &'m [WriteFile],
    base: &'m Manifest,
    encoder: GroupEncoder,
    bytes: Vec<u8>,
}

impl<'m> SegmentWriter<'m> {
    /// Starts a group for contents of `writes` against `base`.
    pub fn new(codec: Codec, writes: &'m [WriteFile], base: &'m Manifest) -> Self {
        Self {
            writes,
            base,
            encoder: GroupEncoder::new(codec),
            bytes: vec![codec.id()],
        }
    }

    /// Adds a segment; `base_bytes` and `new_bytes` are what `spec` names, end to end.
    pub fn segment(
        &mut self,
        spec: &SegmentSpec,
        base_bytes: &[u8],
        new_bytes: &[u8],
        matches: &[Match],
    ) {
        put(&mut self.bytes, new_bytes.len() as u64);
        let implied = implied_base(&spec.pieces, self.writes, self.base);
        if !spec.base.is_empty() && spec.base == implied {
            put(&mut self.bytes, 0);
        } else {
            put(&mut self.bytes, 1 + spec.base.len() as u64);
            for range in &spec.base {
                let index = self.base.index_of(&range.path);
                put(
                    &mut self.bytes,
                    index.expect("ranges name files of the base") as u64,
                );
                put(&mut self.bytes, range.offset);
                put(&mut self.bytes, range.len);
            }
        }
        let mut payload = Vec::new();
        self.encoder
            .segment(base_bytes, new_bytes, matches, &mut payload);
        put(&mut self.bytes, payload.len() as u64);
        self.bytes.append(&mut payload);
    }

    /// The group's bytes.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.push(0);
        self.bytes
    }
}

/// A segment as it is read.
#[derive(Debug)]
pub struct Segment {
    /// The codec of the group that begins with this segment.
    pub begins_group: Option<Codec>,
    /// What it brings: runs of the written files, in order.
    pub pieces: Vec<Piece>,
    /// What it is expressed against.
    pub base: Vec<BaseRange>,
    /// For the group's decoder.
    pub payload: Vec<u8>,
}

impl Segment {
    /// Bytes that it brings, at most [`SEGMENT_NEW_MAX`].
    pub fn new_len(&self) -> usize {
        self.pieces.iter().map(|piece| piece.len as usize).sum()
    }
}

/// Why a data file is refused although its bytes are what was signed.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// The bytes are not proved.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The data file ends in the midst of a segment.
    #[error("the data file ends in the midst of a segment")]
    Truncated,
    /// The data file uses an unknown codec.
    #[error("codec {0} is unknown: update this program")]
    Codec(u64),
    /// A length beyond the format's bound.
    #[error("{what} of {len} bytes, more than the {max} that the format allows")]
    TooLong {
        /// Of what.
        what: &'static str,
        /// As it claims.
        len: u64,
        /// The bound.
        max: u64,
    },
    /// More content than the commands announced.
    #[error("the data file brings more than the commands announced")]
    TooMuch,
    /// Less content than the commands announced.
    #[error("the data file brings {missing} bytes less than the commands announced")]
    TooLittle {
        /// What is missing.
        missing: u64,
    },
    /// A range that the base does not have.
    #[error("a segment names bytes that the base does not have")]
    Range,
}

/// Reads the segments of a data file, or of several: an update that was split goes on in the
/// next one.
#[derive(Debug)]
pub struct SegmentReader<R> {
    data: DataReader<R>,
    in_group: bool,
    /// The next byte to be brought.
    write: usize,
    offset: u64,
}

impl<R: Read> SegmentReader<R> {
    /// At the first segment.
    pub fn new(data: DataReader<R>) -> Self {
        Self {
            data,
            in_group: false,
            write: 0,
            offset: 0,
        }
    }

    /// Goes on with the data file of the next part, after [`Self::next_segment`] returned `None`.
    pub fn part(self, data: DataReader<R>) -> Result<Self, SegmentError> {
        self.data.finish()?;
        Ok(Self { data, ..self })
    }

    /// The next segment; `None` at the end of the data file.
    pub fn next_segment(
        &mut self,
        writes: &[WriteFile],
        base: &Manifest,
    ) -> Result<Option<Segment>, SegmentError> {
        let Some(raw) = self.next_raw()? else {
            return Ok(None);
        };
        let pieces = self.pieces(raw.new_len, writes)?;
        let base = match raw.ranges {
            None => implied_base(&pieces, writes, base),
            Some(ranges) => resolve(&ranges, base)?,
        };
        let base_len = base
            .iter()
            .fold(0u64, |sum, range| sum.saturating_add(range.len));
        bounded("a segment's base", base_len, SEGMENT_BASE_MAX as u64)?;
        Ok(Some(Segment {
            begins_group: raw.begins_group,
            pieces,
            base,
            payload: raw.payload,
        }))
    }

    /// The next segment as it stands there.
    fn next_raw(&mut self) -> Result<Option<RawSegment>, SegmentError> {
        let mut begins_group = None;
        let new_len = loop {
            if self.in_group {
                match self.number()? {
                    0 => self.in_group = false,
                    new_len => break new_len,
                }
            } else {
                let Some(id) = self.byte()? else {
                    return Ok(None);
                };
                let codec = Codec::from_id(id).ok_or(SegmentError::Codec(id.into()))?;
                begins_group = Some(codec);
                self.in_group = true;
            }
        };
        let new_len = bounded("a segment", new_len, SEGMENT_NEW_MAX as u64)?;
        let ranges = match self.number()?.checked_sub(1) {
            None => None,
            Some(count) => {
                let count = bounded("a list of ranges", count, RANGES_MAX)?;
                let range = |_| Ok([self.number()?, self.number()?, self.number()?]);
                Some(
                    (0..count)
                        .map(range)
                        .collect::<Result<Vec<_>, SegmentError>>()?,
                )
            }
        };
        let len = bounded(
            "a segment's payload",
            self.number()?,
            2 * SEGMENT_NEW_MAX as u64,
        )?;
        let mut payload = Vec::new();
        if self.data.read(len as usize, &mut payload)? < len as usize {
            return Err(SegmentError::Truncated);
        }
        Ok(Some(RawSegment {
            begins_group,
            new_len,
            ranges,
            payload,
        }))
    }

    /// Checks that all that the commands announced has come, and nothing follows.
    pub fn finish(mut self, writes: &[WriteFile]) -> Result<(), SegmentError> {
        self.skip_finished(writes);
        let sizes = writes[self.write..].iter().map(|write| write.size);
        let missing = sizes.fold(0, u64::saturating_add);
        if missing > self.offset {
            let missing = missing - self.offset;
            return Err(SegmentError::TooLittle { missing });
        }
        Ok(self.data.finish()?)
    }

    /// The runs of the written files that the next `len` bytes are.
    fn pieces(&mut self, mut len: u64, writes: &[WriteFile]) -> Result<Vec<Piece>, SegmentError> {
        let mut pieces = Vec::new();
        while len > 0 {
            self.skip_finished(writes);
            let write = writes.get(self.write).ok_or(SegmentError::TooMuch)?;
            let piece = Piece {
                write: self.write,
                offset: self.offset,
                len: len.min(write.size - self.offset),
            };
            self.offset += piece.len;
            len -= piece.len;
            pieces.push(piece);
        }
        Ok(pieces)
    }

    fn skip_finished(&mut self, writes: &[WriteFile]) {
        while writes
            .get(self.write)
            .is_some_and(|write| write.size == self.offset)
        {
            self.write += 1;
            self.offset = 0;
        }
    }

    fn byte(&mut self) -> Result<Option<u8>, SegmentError> {
        let mut byte = Vec::new();
        self.data.read(1, &mut byte)?;
        Ok(byte.first().copied())
    }

    fn number(&mut self) -> Result<u64, SegmentError> {
        let mut value = 0;
        for shift in (0..63).step_by(7) {
            let byte = self.byte()?.ok_or(SegmentError::Truncated)?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(SegmentError::Truncated)
    }
}

/// A segment before its place in the trees is looked up.
struct RawSegment {
    begins_group: Option<Codec>,
    new_len: u64,
    /// `None` stands for the implied base.
    ranges: Option<Vec<[u64; 3]>>,
    payload: Vec<u8>,
}

fn resolve(ranges: &[[u64; 3]], base: &Manifest) -> Result<Vec<BaseRange>, SegmentError> {
    let range = |&[index, offset, len]: &[u64; 3]| {
        let entry = usize::try_from(index)
            .ok()
            .and_then(|index| base.entry_at(index));
        match entry {
            Some((path, Entry::File(file)))
                if offset.checked_add(len).is_some_and(|end| end <= file.size) =>
            {
                let path = path.clone();
                Ok(BaseRange { path, offset, len })
            }
            _ => Err(SegmentError::Range),
        }
    };
    ranges.iter().map(range).collect()
}

/// What the bytes of a data file are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Causes {
    /// Bytes that bring content by itself.
    pub new: u64,
    /// Bytes that bring content by what the base has.
    pub patch: u64,
}

/// Reads and proves a data file without a base, and counts its bytes by cause.
pub fn causes<R: Read>(data: DataReader<R>) -> Result<Causes, SegmentError> {
    let mut reader = SegmentReader::new(data);
    let mut causes = Causes::default();
    while let Some(segment) = reader.next_raw()? {
        let is_new = segment.ranges.is_some_and(|ranges| ranges.is_empty());
        let cause = if is_new {
            &mut causes.new
        } else {
            &mut causes.patch
        };
        *cause += segment.payload.len() as u64;
    }
    reader.data.finish()?;
    Ok(causes)
}

fn bounded(what: &'static str, len: u64, max: u64) -> Result<u64, SegmentError> {
    if len <= max {
        Ok(len)
    } else {
        Err(SegmentError::TooLong { what, len, max })
    }
}

fn put(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

impl std::fmt::Debug for SegmentWriter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SegmentWriter")
            .field("len", &self.bytes.len())
            .finish_non_exhaustive()
    }
}
