//! The content interpreter (INTERP): an assignment is read front to back, proved, and built into
//! the next version beside the live one.
//!
//! One thread reads, proves and decodes; others hash and write what comes out. Memory is bounded
//! by the segments' limits, whatever the size of a file.

use std::io::Read;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use bellwether_content::assignment::{
    self, Action, DataReader, Header, OpenError, Opened, Part, Segment, SegmentError,
    SegmentReader, Trust,
};
use bellwether_content::body::{self, DecodeBodyError};
use bellwether_content::command::WriteFile;
use bellwether_content::tree::{ApplyError, Tree};
use bellwether_content::{Entry, File};
use bellwether_delta::{DecodeError, GroupDecoder};
use bellwether_types::{ByteSize, Hash, SitePart, TreePath, VersionId};
use bellwether_wire::ContentKey;

use crate::disk::Disk;
use crate::error::SiteError;
use crate::site::Site;
use crate::staging::{BaseFile, StageRequest, Staging};
use crate::writer::NewFile;

/// What a node accepts.
pub struct Accepting<'k> {
    /// Whose assignments.
    pub trust: &'k Trust,
    /// What opens encrypted ones.
    pub content_key: Option<&'k ContentKey>,
    /// Whether files may set the user or group id of who runs them.
    pub allow_set_id: bool,
    /// Is told of bytes of content that were written, of how many.
    pub progress: &'k (dyn Fn(u64, u64) + Sync),
}

/// What was staged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged {
    /// The version that the next commit makes live.
    pub version: VersionId,
    /// Files and bytes that came with the assignment.
    pub files_written: usize,
    /// Bytes of content that was written.
    pub bytes_written: u64,
    /// Bytes of assignment that it took.
    pub bytes_read: u64,
}

/// Why nothing was staged. What is live, and what was staged before, is as it was.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The assignment is not whole, not proved or not trusted.
    #[error("the assignment {0}")]
    Open(#[from] OpenError),
    /// Its commands do not fit the base.
    #[error("the assignment's commands are refused")]
    Body(#[from] DecodeBodyError),
    /// Its data file is refused.
    #[error("the assignment's data file is refused")]
    Segment(#[from] SegmentError),
    /// Its content cannot be decoded.
    #[error("the assignment's content cannot be decoded; fetch or plan it again")]
    Decode(#[from] DecodeError),
    /// Its commands do not make a tree.
    #[error("the assignment's commands make no tree")]
    Apply(#[from] ApplyError),
    /// It is for another site.
    #[error("the assignment is for site {named}, not for {site}")]
    OtherSite {
        /// Whom it is for.
        named: SitePart,
        /// Where it was to be staged.
        site: SitePart,
    },
    /// It carries an order and no content.
    #[error("the assignment is a {0}: there is nothing to stage")]
    NoContent(Action),
    /// Not all parts of a split update, or not in order.
    #[error(
        "part {} of {} was expected, and part {} of {} was given: stage all parts together, in order",
        expected.number, expected.count, given.number, given.count
    )]
    Parts {
        /// The part that is next.
        expected: Part,
        /// The part that is there.
        given: Part,
    },
    /// Parts of different updates.
    #[error("part {} belongs to another update than part 1", part.number)]
    OtherUpdate {
        /// The part that does not belong.
        part: Part,
    },
    /// No assignment was given.
    #[error("no assignment was given")]
    Nothing,
    /// The commands announce more or less content than the header.
    #[error(
        "the assignment announces {} of content and its commands write {}",
        ByteSize(*announced), ByteSize(*written)
    )]
    ContentLen {
        /// By its header.
        announced: u64,
        /// By its commands.
        written: u64,
    },
    /// A file would run as its owner or group.
    #[error("{path}: mode {mode:o} sets the user or group id, which this node does not allow")]
    SetId {
        /// The file.
        path: TreePath,
        /// Its permissions.
        mode: u32,
    },
    /// The content came out differently.
    #[error(
        "what was built is version {built}, and the assignment promises {promised}: nothing was staged; verify the base and plan again"
    )]
    OtherVersion {
        /// What the header says.
        promised: VersionId,
        /// What came out.
        built: VersionId,
    },
    /// The site or its disk.
    #[error(transparent)]
    Site(#[from] SiteError),
}

/// Builds the version that an assignment leads to; `parts` are its files, in order.
pub fn stage<D: Disk, R: Read>(
    site: &Site<D>,
    parts: impl IntoIterator<Item = R>,
    accepting: &Accepting<'_>,
) -> Result<Staged, StageError> {
    let mut parts = parts.into_iter();
    let first = parts.next().ok_or(StageError::Nothing)?;
    let first = assignment::open(first, accepting.trust, accepting.content_key)?;
    let promised = check_first(site, &first.header)?;
    let mut incoming = Incoming {
        accepting,
        first: first.header.clone(),
        parts,
        bytes_read: 0,
    };
    let staging = site.stage(StageRequest {
        // The order goes on behind the last part.
        serial: first.header.serial_of_part(first.header.part.count),
        term: first.header.term,
        base: first.header.base,
        bytes_new: first.header.content_len,
    })?;
    let base = staging.base_manifest().clone();
    let mut tree = Tree::new(&base);
    body::decode(&first.body, &mut tree)?;
    check_writes(&incoming.first, &tree, accepting)?;
    staging.create_directories(tree.iter())?;
    let places = tree.written_places();
    let contents = incoming.write_contents(&staging, first, tree.written(), &places)?;
    let mut entries: Vec<usize> = places.iter().flatten().map(|place| place.0).collect();
    entries.sort_unstable();
    let bytes_written = incoming.first.content_len;
    let files_written = contents.len();
    let target = tree.finish(&contents)?;
    let encoded = target.encode();
    let built = VersionId(Hash::of(&encoded));
    if built != promised {
        return Err(StageError::OtherVersion { promised, built });
    }
    Ok(Staged {
        version: staging.finish(Arc::new(target), &encoded, &entries)?,
        files_written,
        bytes_written,
        bytes_read: incoming.bytes_read,
    })
}

fn check_first<D: Disk>(site: &Site<D>, header: &Header) -> Result<VersionId, StageError> {
    if let Some(named) = header.site.as_ref().filter(|named| *named != site.name()) {
        return Err(StageError::OtherSite {
            named: named.clone(),
            site: site.name().clone(),
        });
    }
    let first = Part {
        number: 1,
        count: header.part.count,
    };
    if header.part != first {
        return Err(StageError::Parts {
            expected: first,
            given: header.part,
        });
    }
    let target = header.target.filter(|_| header.body_len > 0);
    target.ok_or(StageError::NoContent(header.action))
}

fn check_writes(
    header: &Header,
    tree: &Tree<'_>,
    accepting: &Accepting<'_>,
) -> Result<(), StageError> {
    let sizes = tree.written().iter().map(|write| write.size);
    let written = sizes.fold(0, u64::saturating_add);
    if written != header.content_len {
        return Err(StageError::ContentLen {
            announced: header.content_len,
            written,
        });
    }
    match set_id(tree.iter()).filter(|_| !accepting.allow_set_id) {
        None => Ok(()),
        Some((path, mode)) => Err(StageError::SetId {
            path: path.clone(),
            mode,
        }),
    }
}

/// The first entry that would run as its owner or group.
pub(crate) fn set_id<'m>(
    entries: impl IntoIterator<Item = (&'m TreePath, &'m Entry)>,
) -> Option<(&'m TreePath, u32)> {
    let mut entries = entries.into_iter();
    entries.find_map(|(path, entry)| match entry {
        Entry::Directory { mode, .. } | Entry::File(File { mode, .. }) if mode.sets_id() => {
            Some((path, mode.bits()))
        }
        _ => None,
    })
}

/// The parts of an assignment as they come in.
struct Incoming<'k, I> {
    accepting: &'k Accepting<'k>,
    first: Header,
    parts: I,
    bytes_read: u64,
}

impl<R: Read, I: Iterator<Item = R>> Incoming<'_, I> {
    /// Reads all data files and writes the contents; returns size and hash of each.
    fn write_contents<D: Disk>(
        &mut self,
        staging: &Staging<'_, D>,
        first: Opened<R>,
        writes: &[WriteFile],
        places: &[WrittenPlace<'_>],
    ) -> Result<Vec<(u64, Hash)>, StageError> {
        let writers = Writers::new(staging.threads());
        thread::scope(|scope| {
            let mut running = Vec::new();
            let mut queues = Vec::new();
            for _ in 0..writers.count {
                // No queue: one batch in each writer's hands, and one being decoded.
                let (sender, receiver) = sync_channel(0);
                queues.push(sender);
                running.push(scope.spawn(move || write_batches(staging, places, &receiver)));
            }
            let read = self.read_segments(staging, first, writes, &writers, &queues);
            drop(queues);
            let mut contents = vec![(0, Hash([0; 32])); writes.len()];
            let mut written = Ok(());
            for thread in running {
                match thread.join() {
                    Ok(Ok(done)) => {
                        done.into_iter()
                            .for_each(|(write, content)| contents[write] = content);
                    }
                    Ok(Err(error)) => written = Err(error),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            // If a writer failed, the reader stopped because nobody took its batches.
            written?;
            read?;
            Ok(contents)
        })
    }

    fn read_segments<D: Disk>(
        &mut self,
        staging: &Staging<'_, D>,
        first: Opened<R>,
        writes: &[WriteFile],
        writers: &Writers,
        queues: &[SyncSender<Batch>],
    ) -> Result<(), StageError> {
        let base = staging.base_manifest().clone();
        let mut bases = Bases::new(staging);
        let mut decoder = None;
        let mut buffers = Buffers::default();
        let mut done = 0;
        self.count(&first.header);
        let mut reader = SegmentReader::new(first.data);
        // Empty files have no bytes that could come.
        let empty = (0..writes.len()).filter(|&write| writes[write].size == 0);
        let empty = empty.map(|write| (write, 0..0)).collect();
        writers.hand_out(&Arc::default(), empty, writes, queues);
        let mut number = 1;
        loop {
            while let Some(segment) = reader.next_segment(writes, &base)? {
                let mut new = buffers.take();
                decode(&segment, &mut decoder, &mut bases, Arc::make_mut(&mut new))?;
                done += new.len() as u64;
                let mut start = 0;
                let pieces = segment.pieces.iter().map(|piece| {
                    let range = start..start + piece.len as usize;
                    start = range.end;
                    (piece.write, range)
                });
                let pieces = pieces.collect();
                if !writers.hand_out(&new, pieces, writes, queues) {
                    // A writer failed and says why.
                    return Ok(());
                }
                buffers.used.push(new);
                (self.accepting.progress)(done, self.first.content_len);
            }
            if number == self.first.part.count {
                return self.end(reader, writes);
            }
            number += 1;
            reader = reader.part(self.next_part(number)?)?;
        }
    }

    fn next_part(&mut self, number: u32) -> Result<DataReader<R>, StageError> {
        let expected = Part {
            number,
            count: self.first.part.count,
        };
        let Some(part) = self.parts.next() else {
            let given = Part {
                number: number - 1,
                ..expected
            };
            return Err(StageError::Parts { expected, given });
        };
        let part = assignment::open(part, self.accepting.trust, self.accepting.content_key)?;
        if part.header.part != expected {
            return Err(StageError::Parts {
                expected,
                given: part.header.part,
            });
        }
        let same = |header: &Header| {
            (
                header.term,
                header.base,
                header.target,
                header.site.clone(),
                header.signer,
            )
        };
        let in_order = part.header.serial == self.first.serial_of_part(number);
        if same(&part.header) != same(&self.first) || !in_order || !part.body.is_empty() {
            return Err(StageError::OtherUpdate { part: expected });
        }
        self.count(&part.header);
        Ok(part.data)
    }

    fn end(&mut self, reader: SegmentReader<R>, writes: &[WriteFile]) -> Result<(), StageError> {
        reader.finish(writes)?;
        match self.parts.next() {
            None => Ok(()),
            Some(_) => Err(StageError::Parts {
                expected: self.first.part,
                given: Part {
                    number: self.first.part.count + 1,
                    ..self.first.part
                },
            }),
        }
    }

    fn count(&mut self, header: &Header) {
        self.bytes_read += header.data_len + header.body_len;
    }
}

fn decode<D: Disk>(
    segment: &Segment,
    decoder: &mut Option<GroupDecoder>,
    bases: &mut Bases<'_, D>,
    new: &mut Vec<u8>,
) -> Result<(), StageError> {
    if let Some(codec) = segment.begins_group {
        // The old one goes first: there is room for one only.
        *decoder = None;
        *decoder = Some(GroupDecoder::new(codec));
    }
    let base = bases.read(segment)?;
    new.reserve_exact(segment.new_len());
    match decoder {
        Some(decoder) => decoder.segment(base, segment.new_len(), &segment.payload, new)?,
        None => return Err(SegmentError::Truncated.into()),
    }
    if new.len() == segment.new_len() {
        Ok(())
    } else {
        Err(SegmentError::Truncated.into())
    }
}

/// Decoded segments that writers have, or had: to take fresh memory for each would cost as much
/// as the creation of a file.
#[derive(Default)]
struct Buffers {
    used: Vec<Arc<Vec<u8>>>,
}

impl Buffers {
    /// An empty buffer that nobody else has.
    fn take(&mut self) -> Arc<Vec<u8>> {
        let free = self
            .used
            .iter_mut()
            .position(|used| Arc::get_mut(used).is_some());
        let mut buffer = free.map_or_else(Arc::default, |free| self.used.swap_remove(free));
        Arc::make_mut(&mut buffer).clear();
        buffer
    }
}

/// The base bytes of a segment.
struct Bases<'a, D: Disk> {
    staging: &'a Staging<'a, D>,
    bytes: Vec<u8>,
    /// Slices of one large file follow each other.
    last: Option<(TreePath, BaseFile<'a, D>)>,
}

impl<'a, D: Disk> Bases<'a, D> {
    fn new(staging: &'a Staging<'_, D>) -> Self {
        Self {
            staging,
            bytes: Vec::new(),
            last: None,
        }
    }

    fn read(&mut self, segment: &Segment) -> Result<&[u8], StageError> {
        self.bytes.clear();
        for range in &segment.base {
            if self
                .last
                .as_ref()
                .is_none_or(|(path, _)| *path != range.path)
            {
                let file = self.staging.base_content(&range.path)?;
                self.last = Some((range.path.clone(), file));
            }
            let start = self.bytes.len();
            self.bytes.resize(start + range.len as usize, 0);
            if let Some((_, file)) = &self.last {
                file.read_exact_at(&mut self.bytes[start..], range.offset)?;
            }
        }
        Ok(&self.bytes)
    }
}

/// Runs of written files, and the bytes that hold them.
struct Batch {
    bytes: Arc<Vec<u8>>,
    pieces: Vec<(usize, Range<usize>)>,
}

struct Writers {
    count: usize,
}

impl Writers {
    fn new(count: usize) -> Self {
        Self {
            count: count.max(1),
        }
    }

    /// Gives each writer its share. A file that comes in several pieces always goes to the same
    /// one. Returns whether all writers still take.
    fn hand_out(
        &self,
        bytes: &Arc<Vec<u8>>,
        pieces: Vec<(usize, Range<usize>)>,
        writes: &[WriteFile],
        queues: &[SyncSender<Batch>],
    ) -> bool {
        let mut shares: Vec<Vec<(usize, Range<usize>)>> = vec![Vec::new(); self.count];
        let total = pieces.len();
        for (index, (write, range)) in pieces.into_iter().enumerate() {
            let whole = range.len() as u64 == writes[write].size;
            // Neighbours share a directory: a writer gets a run of them.
            let writer = if whole {
                index * self.count / total
            } else {
                write % self.count
            };
            shares[writer].push((write, range));
        }
        let mut taken = true;
        for (queue, pieces) in queues.iter().zip(shares) {
            if !pieces.is_empty() {
                let bytes = bytes.clone();
                taken &= queue.send(Batch { bytes, pieces }).is_ok();
            }
        }
        taken
    }
}

/// Which file was written, and its size and hash.
type Written = (usize, (u64, Hash));

/// Where the content of a `WriteFile` goes: number, path and attributes of its entry, if a later
/// command did not remove it.
type WrittenPlace<'a> = Option<(usize, &'a TreePath, &'a File)>;

/// What one writer does: hashes and writes what it is given, until nothing comes.
fn write_batches<D: Disk>(
    staging: &Staging<'_, D>,
    places: &[WrittenPlace<'_>],
    batches: &Receiver<Batch>,
) -> Result<Vec<Written>, StageError> {
    let mut writer = staging.writer();
    let mut done = Vec::new();
    let mut open: Option<(usize, u64, NewFile<'_, D>)> = None;
    for batch in batches {
        for (write, range) in batch.pieces {
            let Some((_, path, file)) = places[write] else {
                continue;
            };
            let (_, mut len, mut new) = match open.take() {
                Some(open) if open.0 == write => open,
                _ => (write, 0, writer.create(path, file)?),
            };
            len += range.len() as u64;
            new.write(&batch.bytes[range])?;
            if len == file.size {
                done.push((write, new.finish()?));
            } else {
                open = Some((write, len, new));
            }
        }
    }
    Ok(done)
}

impl std::fmt::Debug for Accepting<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Accepting")
            .field("trust", &self.trust)
            .finish_non_exhaustive()
    }
}
