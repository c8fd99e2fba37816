//! Which inodes we know to be intact: what a file system told about a file just after our last
//! change of it. As long as it tells the same, nobody has touched the file.
//!
//! The table is a cache. Losing it, or any entry, costs reading those files once more; a stale
//! entry never matches, because nobody can set a ctime.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bellwether_content::{File, Timestamp};
use bellwether_types::Hash;

use crate::disk::{Disk, Kind, Stat};
use crate::error::Fault;
use crate::layout::{self, Durability, FINGERPRINTS};

/// A table that several threads use; each inode has one guard at a time.
#[derive(Debug)]
pub(crate) struct Fingerprints {
    /// As loaded, by inode.
    loaded: Vec<Record>,
    /// What was learnt since.
    learnt: Vec<Mutex<Learnt>>,
}

type Learnt = BTreeMap<u64, Finding>;

#[derive(Debug, Clone, Copy)]
enum Finding {
    Intact(Record),
    /// Not what it should be, as long as its ctime is this.
    Damaged(Timestamp),
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Record {
    inode: u64,
    mtime: Timestamp,
    ctime: Timestamp,
    content: Content,
}

/// The beginning of the hash of what a file holds.
type Content = [u8; 16];

/// Exclusive use of what is known about one inode (and a few that share its guard).
#[derive(Debug)]
pub(crate) struct Guard<'a> {
    inode: u64,
    loaded: &'a [Record],
    learnt: MutexGuard<'a, Learnt>,
}

const MAGIC: &[u8; 8] = b"bwfinge2";
const CONTENT_LEN: usize = size_of::<Content>();
const RECORD_LEN: usize = 8 + 12 + 12 + CONTENT_LEN;
const CHECK_LEN: usize = 32;
const GUARDS: u64 = 64;
/// 20 million files.
const TABLE_LEN_MAX: u64 = 1 << 30;

impl Fingerprints {
    /// What was saved, or an empty table if that cannot be read.
    pub(crate) fn load<D: Disk>(disk: &D, private: &D::Dir) -> Self {
        let bytes = layout::read(disk, private, FINGERPRINTS, TABLE_LEN_MAX);
        let loaded = bytes.ok().flatten().and_then(|bytes| decode(&bytes));
        Self {
            loaded: loaded.unwrap_or_default(),
            ..Self::empty()
        }
    }

    /// Knows nothing.
    pub(crate) fn empty() -> Self {
        Self {
            loaded: Vec::new(),
            learnt: (0..GUARDS).map(|_| Mutex::default()).collect(),
        }
    }

    /// Saves the table, so that a crash costs at most the table.
    pub(crate) fn save<D: Disk>(&self, disk: &D, private: &D::Dir) -> Result<(), Fault> {
        let bytes = encode(&self.merged());
        layout::replace(disk, private, FINGERPRINTS, &bytes, Durability::Lazy)
    }

    /// Whether anything was learnt since the table was loaded.
    pub(crate) fn changed(&self) -> bool {
        self.learnt.iter().any(|learnt| !lock(learnt).is_empty())
    }

    /// Waits until no other thread works on `inode`.
    pub(crate) fn guard(&self, inode: u64) -> Guard<'_> {
        Guard {
            inode,
            loaded: &self.loaded,
            learnt: lock(&self.learnt[(inode % GUARDS) as usize]),
        }
    }

    fn merged(&self) -> Vec<Record> {
        let guards: Vec<_> = self.learnt.iter().map(lock).collect();
        let learnt = |inode: u64| guards[(inode % GUARDS) as usize].contains_key(&inode);
        let kept = self.loaded.iter().filter(|record| !learnt(record.inode));
        let findings = guards.iter().flat_map(|learnt| learnt.values());
        let new = findings.filter_map(Finding::intact);
        let mut records: Vec<Record> = kept.chain(new).copied().collect();
        records.sort_unstable_by_key(|record| record.inode);
        records
    }
}

impl Guard<'_> {
    /// Whether a file with this `stat`, of the guarded inode, is as we left it: with the content
    /// and the permissions of `file`.
    pub(crate) fn holds(&self, stat: &Stat, file: &File) -> bool {
        debug_assert_eq!(stat.inode, self.inode);
        stat.kind == Kind::File
            && (stat.size, stat.mode) == (file.size, file.mode.bits())
            && self.record().is_some_and(|record| {
                record.ctime == stat.ctime
                    && record.mtime == stat.mtime
                    && record.content == content(&file.hash)
            })
    }

    /// Whether a file with this `stat` was found damaged, and nobody has touched it since.
    pub(crate) fn refuses(&self, stat: &Stat) -> bool {
        match self.learnt.get(&self.inode) {
            Some(Finding::Damaged(ctime)) => *ctime == stat.ctime,
            _ => false,
        }
    }

    /// Notes that a file with this `stat` is intact and has this content.
    pub(crate) fn note(&mut self, stat: &Stat, hash: &Hash) {
        debug_assert_eq!(stat.inode, self.inode);
        let record = Record {
            inode: self.inode,
            mtime: stat.mtime,
            ctime: stat.ctime,
            content: content(hash),
        };
        self.learnt.insert(self.inode, Finding::Intact(record));
    }

    /// Notes that it is not what it should be.
    pub(crate) fn note_damaged(&mut self, stat: &Stat) {
        let finding = Finding::Damaged(stat.ctime);
        self.learnt.insert(self.inode, finding);
    }

    /// Notes that nothing is known.
    pub(crate) fn forget(&mut self) {
        self.learnt.insert(self.inode, Finding::Unknown);
    }

    fn record(&self) -> Option<&Record> {
        match self.learnt.get(&self.inode) {
            Some(finding) => finding.intact(),
            None => {
                let index = self
                    .loaded
                    .binary_search_by_key(&self.inode, |record| record.inode);
                index.ok().map(|index| &self.loaded[index])
            }
        }
    }
}

impl Finding {
    fn intact(&self) -> Option<&Record> {
        match self {
            Self::Intact(record) => Some(record),
            Self::Damaged(_) | Self::Unknown => None,
        }
    }
}

fn content(hash: &Hash) -> Content {
    let mut content = [0; CONTENT_LEN];
    content.copy_from_slice(&hash.0[..CONTENT_LEN]);
    content
}

fn lock(learnt: &Mutex<Learnt>) -> MutexGuard<'_, Learnt> {
    // A thread that panicked left whole records behind.
    learnt.lock().unwrap_or_else(PoisonError::into_inner)
}

fn encode(records: &[Record]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(MAGIC.len() + records.len() * RECORD_LEN + CHECK_LEN);
    bytes.extend_from_slice(MAGIC);
    for record in records {
        bytes.extend_from_slice(&record.inode.to_le_bytes());
        for time in [record.mtime, record.ctime] {
            bytes.extend_from_slice(&time.seconds.to_le_bytes());
            bytes.extend_from_slice(&time.nanoseconds.to_le_bytes());
        }
        bytes.extend_from_slice(&record.content);
    }
    let check = blake3::hash(&bytes);
    bytes.extend_from_slice(check.as_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<Vec<Record>> {
    let (body, check) = bytes.split_at_checked(bytes.len().checked_sub(CHECK_LEN)?)?;
    let records = body.strip_prefix(MAGIC)?;
    if blake3::hash(body).as_bytes() != check || records.len() % RECORD_LEN != 0 {
        return None;
    }
    records
        .chunks_exact(RECORD_LEN)
        .map(decode_record)
        .collect()
}

fn decode_record(bytes: &[u8]) -> Option<Record> {
    let (inode, rest) = bytes.split_first_chunk()?;
    let (mtime, rest) = rest.split_first_chunk()?;
    let (ctime, rest) = rest.split_first_chunk()?;
    Some(Record {
        inode: u64::from_le_bytes(*inode),
        mtime: decode_time(mtime)?,
        ctime: decode_time(ctime)?,
        content: rest.try_into().ok()?,
    })
}

fn decode_time(bytes: &[u8; 12]) -> Option<Timestamp> {
    let (seconds, nanoseconds) = bytes.split_first_chunk()?;
    Some(Timestamp {
        seconds: i64::from_le_bytes(*seconds),
        nanoseconds: u32::from_le_bytes(nanoseconds.try_into().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use bellwether_content::Mode;

    use super::*;
    use crate::disk::{Ids, MemoryDisk};

    fn file(content: &str) -> File {
        File {
            mode: Mode::new(0o644).unwrap(),
            owner: None,
            size: content.len() as u64,
            hash: Hash::of(content.as_bytes()),
            modified: Timestamp::default(),
        }
    }

    fn stat(inode: u64, change: i64) -> Stat {
        let time = |seconds| Timestamp {
            seconds,
            nanoseconds: 7,
        };
        Stat {
            kind: Kind::File,
            mode: 0o644,
            size: 3,
            inode,
            links: 1,
            ids: Ids { user: 0, group: 0 },
            mtime: time(1),
            ctime: time(change),
        }
    }

    fn saved(table: &Fingerprints) -> Fingerprints {
        let disk = MemoryDisk::new(Default::default());
        let root = disk.root().unwrap();
        table.save(&disk, &root).unwrap();
        Fingerprints::load(&disk, &root)
    }

    #[test]
    fn what_was_noted_holds_until_the_file_is_touched() {
        let disk = MemoryDisk::new(Default::default());
        let table = Fingerprints::load(&disk, &disk.root().unwrap());
        let (abc, abd) = (file("abc"), file("abd"));
        for inode in [70, 6, 134] {
            table.guard(inode).note(&stat(inode, 2), &abc.hash);
        }
        table.guard(6).forget();
        for table in [&table, &saved(&table), &saved(&saved(&table))] {
            let holds = |stat: Stat, file: &File| table.guard(stat.inode).holds(&stat, file);
            assert!(holds(stat(70, 2), &abc));
            assert!(holds(stat(134, 2), &abc));
            assert!(!holds(stat(70, 3), &abc), "another ctime");
            assert!(!holds(stat(70, 2), &abd), "another content");
            assert!(!holds(stat(6, 2), &abc), "forgotten");
            let (mode, size) = (0o600, 4);
            for changed in [
                Stat {
                    mode,
                    ..stat(70, 2)
                },
                Stat {
                    size,
                    ..stat(70, 2)
                },
                // Within the tick of the clock in which it was noted.
                Stat {
                    mtime: stat(70, 2).ctime,
                    ..stat(70, 2)
                },
            ] {
                assert!(!holds(changed, &abc), "{changed:?}");
            }
        }
    }

    #[test]
    fn damage_is_found_once_and_looked_for_again_after_a_touch() {
        let table = Fingerprints::empty();
        table.guard(1).note_damaged(&stat(1, 2));
        assert!(table.guard(1).refuses(&stat(1, 2)));
        assert!(!table.guard(1).refuses(&stat(1, 3)));
        assert!(!table.guard(1).holds(&stat(1, 2), &file("abc")));
        assert!(!saved(&table).guard(1).refuses(&stat(1, 2)), "kept");
    }

    #[test]
    fn a_damaged_table_is_an_empty_one() {
        let record = Record {
            inode: 1,
            mtime: Timestamp::default(),
            ctime: Timestamp::default(),
            content: [1; CONTENT_LEN],
        };
        let bytes = encode(&[record; 2]);
        assert_eq!(decode(&bytes).map(|records| records.len()), Some(2));
        for index in 0..bytes.len() {
            assert_eq!(decode(&bytes[..index]), None);
            let mut flipped = bytes.clone();
            flipped[index] ^= 1;
            assert_eq!(decode(&flipped), None);
        }
    }
}
