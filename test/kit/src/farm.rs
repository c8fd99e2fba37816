//! Trees in memory, and both ends of an assignment without a disk.

use std::collections::BTreeMap;

use bellwether_content::assignment::{
    self, Action, BaseRange, DataWriter, Encryption, Head, Header, OpenError, Part, SegmentError,
    SegmentReader, Trust,
};
use bellwether_content::body::{self, DecodeBodyError};
use bellwether_content::command::WriteFile;
use bellwether_content::manifest::{Entry, File, Manifest, Mode, Timestamp};
use bellwether_content::planner::Hints;
use bellwether_content::tree::{ApplyError, Tree};
use bellwether_content::update::{Coding, Contents, Update};
use bellwether_delta::{DecodeError, Effort, GroupDecoder};
use bellwether_types::{Hash, Serial, Term, TreePath, VersionId};
use bellwether_wire::{ContentKey, SigningKey};

pub type Files = BTreeMap<&'static str, Vec<u8>>;

/// A tree of regular files and the directories above them.
#[derive(Debug, Clone, Default)]
pub struct Farm {
    pub files: BTreeMap<TreePath, Vec<u8>>,
    pub manifest: Manifest,
}

impl Farm {
    pub fn new(files: &Files) -> Self {
        let files: BTreeMap<TreePath, Vec<u8>> = files
            .iter()
            .map(|(path, content)| (TreePath::new(path.as_bytes()).unwrap(), content.clone()))
            .collect();
        let mut entries = BTreeMap::new();
        for (path, content) in &files {
            let mut parent = path.parent();
            while let Some(path) = parent {
                let mode = Mode::new(0o755).unwrap();
                entries.insert(path.clone(), Entry::Directory { mode, owner: None });
                parent = path.parent();
            }
            let file = File {
                mode: Mode::new(0o644).unwrap(),
                owner: None,
                size: content.len() as u64,
                hash: Hash::of(content),
                modified: Timestamp::new(1_700_000_000, 5).unwrap(),
            };
            entries.insert(path.clone(), Entry::File(file));
        }
        let manifest = Manifest::from_entries(entries).unwrap();
        Self { files, manifest }
    }
}

struct Pair<'f> {
    base: &'f Farm,
    target: &'f Farm,
}

impl Contents for Pair<'_> {
    type Error = std::convert::Infallible;

    fn read_base(&self, path: &TreePath, offset: u64, buf: &mut [u8]) -> Result<(), Self::Error> {
        let start = offset as usize;
        buf.copy_from_slice(&self.base.files[path][start..start + buf.len()]);
        Ok(())
    }

    fn read_target(&self, path: &TreePath, at: u64, buf: &mut [u8]) -> Result<(), Self::Error> {
        let start = at as usize;
        buf.copy_from_slice(&self.target.files[path][start..start + buf.len()]);
        Ok(())
    }

    fn search_base(
        &self,
        write: &WriteFile,
        offset: u64,
        _new: &[u8],
        len_max: u64,
    ) -> Result<Vec<BaseRange>, Self::Error> {
        // The neighbourhood of the same offset.
        let Some(path) = &write.base else {
            return Ok(Vec::new());
        };
        let old_len = self.base.files[path].len() as u64;
        let offset = offset.saturating_sub(len_max / 4).min(old_len);
        let (path, len) = (path.clone(), (old_len - offset).min(len_max));
        Ok(vec![BaseRange { path, offset, len }])
    }
}

pub struct Making<'k> {
    /// What the header says beyond what comes of the trees; its serial is the first part's.
    pub header: Option<Header>,
    pub effort: Effort,
    pub size_max: Option<u64>,
    pub signing: Option<&'k SigningKey>,
    pub content_key: Option<&'k ContentKey>,
    pub compressible: &'k dyn Fn(&TreePath) -> bool,
}

impl std::fmt::Debug for Making<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Making")
            .field("effort", &self.effort)
            .field("size_max", &self.size_max)
            .finish_non_exhaustive()
    }
}

impl Default for Making<'_> {
    fn default() -> Self {
        Self {
            header: None,
            effort: Effort::Default,
            size_max: None,
            signing: None,
            content_key: None,
            compressible: &|_| true,
        }
    }
}

/// The parts of the assignment that brings `base` to `target`.
pub fn make(base: &Farm, target: &Farm, making: &Making<'_>) -> Vec<Vec<u8>> {
    let hints = Hints {
        compressible: making.compressible,
        ..Hints::NONE
    };
    let coding = Coding {
        effort: making.effort,
        size_max: making.size_max,
    };
    let update = Update::plan(&base.manifest, &target.manifest, &hints, coding).unwrap();
    let pair = Pair { base, target };
    let code = |group| match update.coder().group(group, &pair, &|_| {}) {
        Ok(bytes) => bytes,
        Err(never) => match never {},
    };
    let mut data = vec![Vec::new()];
    for group in (0..update.group_count()).map(code) {
        let last = data.last_mut().unwrap();
        let full = |max| !last.is_empty() && (last.len() + group.len()) as u64 > max;
        if making.size_max.is_some_and(full) {
            data.push(group);
        } else {
            last.extend(group);
        }
    }
    let count = data.len() as u32;
    let parts = data.iter().zip(1..).map(|(plain, number)| {
        let mut header = match &making.header {
            Some(header) => Header {
                serial: Serial(header.serial.0 + u64::from(number) - 1),
                ..header.clone()
            },
            None => Header::new(Action::Publish, Serial(6 + u64::from(number)), Term(1)),
        };
        let is_empty = base.manifest == Manifest::empty();
        header.base = (!is_empty).then(|| base.manifest.version());
        header.target = Some(target.manifest.version());
        header.part = Part { number, count };
        header.content_len = update.content_len();
        header.encryption = making.content_key.map(|_| Encryption {
            salt: [number as u8; 16],
        });
        let mut sent = Vec::new();
        let mut writer = DataWriter::new(making.content_key.zip(header.encryption.as_ref()));
        // In pieces of odd length, as a pipe would give them.
        plain
            .chunks(10_007)
            .for_each(|chunk| writer.write(chunk, &mut sent));
        let blocks = writer.finish(&mut header, &mut sent);
        let body = if number == 1 {
            update.body().to_vec()
        } else {
            Vec::new()
        };
        let head = Head {
            header,
            body,
            blocks,
        };
        let (_, mut bytes) = head.encode(making.effort, making.signing, making.content_key);
        bytes.extend(sent);
        bytes
    });
    parts.collect()
}

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Body(#[from] DecodeBodyError),
    #[error(transparent)]
    Segment(#[from] SegmentError),
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error("made for another base")]
    Base,
    #[error("another version came out")]
    Version,
}

/// What a node makes of the parts, if it is what they promise: the contents that were written, and
/// the tree.
pub fn read(
    base: &Farm,
    parts: &[Vec<u8>],
    trust: &Trust,
    key: Option<&ContentKey>,
) -> Result<(BTreeMap<TreePath, Vec<u8>>, Manifest), ReadError> {
    let built = build(base, parts, trust, key)?;
    if built.promised != Some(built.manifest.version()) {
        return Err(ReadError::Version);
    }
    let written = built.written.into_iter().map(|write| write.path);
    Ok((written.zip(built.contents).collect(), built.manifest))
}

/// What came of an assignment, promised or not.
#[derive(Debug)]
pub struct Built {
    /// The header's target.
    pub promised: Option<VersionId>,
    /// The files that were written, in order.
    pub written: Vec<WriteFile>,
    /// Their contents.
    pub contents: Vec<Vec<u8>>,
    /// The tree.
    pub manifest: Manifest,
}

/// Carries out what the parts say.
pub fn build(
    base: &Farm,
    parts: &[Vec<u8>],
    trust: &Trust,
    key: Option<&ContentKey>,
) -> Result<Built, ReadError> {
    let mut tree = Tree::new(&base.manifest);
    let mut promised = None;
    let mut segments: Option<SegmentReader<&[u8]>> = None;
    let mut decoder = None;
    let mut contents: Vec<Vec<u8>> = Vec::new();
    for part in parts {
        let opened = assignment::open(part.as_slice(), trust, key)?;
        // No base is the empty tree.
        let empty = || Manifest::empty().version();
        if opened.header.base.unwrap_or_else(empty) != base.manifest.version() {
            return Err(ReadError::Base);
        }
        promised = opened.header.target;
        // The first part has the commands of all.
        if segments.is_none() {
            body::decode(&opened.body, &mut tree)?;
        }
        contents.resize_with(tree.written().len(), Vec::new);
        let mut reader = match segments.take() {
            None => SegmentReader::new(opened.data),
            Some(reader) => reader.part(opened.data)?,
        };
        while let Some(segment) = reader.next_segment(tree.written(), &base.manifest)? {
            if let Some(codec) = segment.begins_group {
                decoder = Some(GroupDecoder::new(codec));
            }
            let decoder = decoder.as_mut().expect("a segment is in a group");
            let ranges = segment.base.iter().flat_map(|range| {
                let start = range.offset as usize;
                &base.files[&range.path][start..start + range.len as usize]
            });
            let ranges: Vec<u8> = ranges.copied().collect();
            let mut new = Vec::new();
            decoder.segment(&ranges, segment.new_len(), &segment.payload, &mut new)?;
            for piece in &segment.pieces {
                let rest = new.split_off(piece.len as usize);
                contents[piece.write].append(&mut new);
                new = rest;
            }
        }
        segments = Some(reader);
    }
    if let Some(reader) = segments {
        reader.finish(tree.written())?;
    }
    let hashes = contents
        .iter()
        .map(|bytes| (bytes.len() as u64, Hash::of(bytes)));
    let hashes: Vec<_> = hashes.collect();
    let written = tree.written().to_vec();
    let manifest = tree.finish(&hashes)?;
    Ok(Built {
        promised,
        written,
        contents,
        manifest,
    })
}

/// Repeatable bytes that do not compress.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(|_| next()).collect()
}
