use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bellwether_content::Timestamp;
use bellwether_types::Hash;
use rustix::fs::Statx;

/// Which file it is and when it last changed: equal fingerprints mean the content was not touched,
/// unless the file changed a moment before it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprint {
    /// The file system.
    pub device: u64,
    /// The file in it.
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// When the content was written, as far as the writer admits it.
    pub modified: Timestamp,
    /// When content or attributes changed, as the kernel saw it.
    pub changed: Timestamp,
}

/// Hashes of files by fingerprint: what one scan leaves for the next.
///
/// The file it is kept in is a cache: losing it, or finding it damaged, costs only time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fingerprints {
    /// Sorted by fingerprint, and so by device and inode.
    sorted: Vec<(Fingerprint, Hash)>,
}

/// Two changes within so short a time may leave the same times behind: 2 s is the coarsest step of
/// any file system in use (FAT); others step by the kernel's tick.
const RECENT: Duration = Duration::from_secs(2);

impl Fingerprint {
    pub(crate) fn of(stat: &Statx) -> Self {
        let time = |seconds, nanoseconds| Timestamp {
            seconds,
            nanoseconds,
        };
        Self {
            device: u64::from(stat.stx_dev_major) << 32 | u64::from(stat.stx_dev_minor),
            inode: stat.stx_ino,
            size: stat.stx_size,
            modified: time(stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec),
            changed: time(stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec),
        }
    }

    /// Whether the file could have changed once more, before `recent_since`'s scan began or during
    /// it, without its times telling.
    pub(super) fn is_recent(&self, recent_since: Timestamp) -> bool {
        self.modified.max(self.changed) >= recent_since
    }
}

/// From when on a time is too close to `started` to be trusted.
pub(super) fn recent_since(started: SystemTime) -> Timestamp {
    let since = (started - RECENT)
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanoseconds: since.subsec_nanos(),
    }
}

impl Fingerprints {
    const MAGIC: [u8; 8] = *b"bwscan1\n";
    const RECORD_LEN: usize = 3 * 8 + 2 * 12 + 32;

    /// Collects what was seen, in any order.
    pub fn new(mut seen: Vec<(Fingerprint, Hash)>) -> Self {
        seen.sort_unstable_by_key(|(fingerprint, _)| *fingerprint);
        Self { sorted: seen }
    }

    /// The hash of a file, if it has not changed since it was seen.
    pub fn get(&self, fingerprint: &Fingerprint) -> Option<Hash> {
        self.find(fingerprint).map(|(_, hash)| hash)
    }

    /// Its index too, by which [`kept`](Self::kept) is told of it.
    pub(super) fn find(&self, fingerprint: &Fingerprint) -> Option<(u32, Hash)> {
        let found = self
            .sorted
            .binary_search_by(|(seen, _)| seen.cmp(fingerprint));
        let index = found.ok()?;
        Some((u32::try_from(index).ok()?, self.sorted[index].1))
    }

    /// What is left of this when only some files are still as they were, and `seen` are new;
    /// nothing is copied or sorted if all are and none is. Also tells whether anything changed.
    pub(super) fn kept(
        self,
        unchanged: &[u32],
        mut seen: Vec<(Fingerprint, Hash)>,
    ) -> (Self, bool) {
        // Files with several links make the count too large, and then a stale record may stay.
        if seen.is_empty() && unchanged.len() >= self.sorted.len() {
            return (self, false);
        }
        seen.extend(unchanged.iter().map(|&index| self.sorted[index as usize]));
        (Self::new(seen), true)
    }

    /// How many files are known.
    pub fn len(&self) -> usize {
        self.sorted.len()
    }

    /// Whether no file is known.
    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    pub(super) fn merged(&self, seen: &[(Fingerprint, Hash)]) -> Self {
        Self::new([self.sorted.as_slice(), seen].concat())
    }

    /// Reads what [`save`](Self::save) wrote; nothing is known if that is missing or damaged.
    pub fn load(file: &Path) -> Self {
        let bytes = fs::read(file).unwrap_or_default();
        Self::decode(&bytes).unwrap_or_default()
    }

    /// Writes the cache, in one step: a reader finds the old or the new one.
    pub fn save(&self, file: &Path) -> io::Result<()> {
        let directory = file.parent().unwrap_or_else(|| Path::new("."));
        fs::create_dir_all(directory)?;
        // Two scans may save at once; each needs a name of its own.
        let draft = file.with_extension(format!("{}.tmp", std::process::id()));
        let written = fs::File::create(&draft)
            .and_then(|mut draft| draft.write_all(&self.encode()))
            .and_then(|()| fs::rename(&draft, file));
        if written.is_err() {
            let _ = fs::remove_file(&draft);
        }
        written
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(8 + self.sorted.len() * Self::RECORD_LEN + 32);
        bytes.extend(Self::MAGIC);
        for (seen, hash) in &self.sorted {
            for number in [seen.device, seen.inode, seen.size] {
                bytes.extend(number.to_le_bytes());
            }
            for time in [seen.modified, seen.changed] {
                bytes.extend(time.seconds.to_le_bytes());
                bytes.extend(time.nanoseconds.to_le_bytes());
            }
            bytes.extend(hash.0);
        }
        bytes.extend(Hash::of(&bytes).0);
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (rest, checksum) = bytes.split_last_chunk::<32>()?;
        if Hash::of(rest).0 != *checksum {
            return None;
        }
        let (records, []) = rest
            .strip_prefix(&Self::MAGIC)?
            .as_chunks::<{ Self::RECORD_LEN }>()
        else {
            return None;
        };
        let sorted: Vec<_> = records.iter().map(decode_record).collect();
        sorted
            .is_sorted_by_key(|(fingerprint, _)| *fingerprint)
            .then_some(Self { sorted })
    }
}

fn decode_record(record: &[u8; Fingerprints::RECORD_LEN]) -> (Fingerprint, Hash) {
    let mut rest = record.as_slice();
    let fingerprint = Fingerprint {
        device: u64::from_le_bytes(take(&mut rest)),
        inode: u64::from_le_bytes(take(&mut rest)),
        size: u64::from_le_bytes(take(&mut rest)),
        modified: take_time(&mut rest),
        changed: take_time(&mut rest),
    };
    (fingerprint, Hash(take(&mut rest)))
}

fn take_time(rest: &mut &[u8]) -> Timestamp {
    Timestamp {
        seconds: i64::from_le_bytes(take(rest)),
        nanoseconds: u32::from_le_bytes(take(rest)),
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let (head, tail) = rest
        .split_first_chunk()
        .expect("a record is as long as its fields");
    *rest = tail;
    *head
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Fingerprints {
        let time = |seconds| Timestamp {
            seconds,
            nanoseconds: 7,
        };
        let seen = |inode| Fingerprint {
            device: 1 << 40,
            inode,
            size: 4096,
            modified: time(-1),
            changed: time(1_700_000_000),
        };
        let records = (0..50)
            .rev()
            .map(|inode| (seen(inode), Hash::of(&inode.to_le_bytes())));
        Fingerprints::new(records.collect())
    }

    #[test]
    fn what_was_seen_is_found_until_anything_about_it_differs() {
        let known = sample();
        let (seen, hash) = known.sorted[17];
        assert_eq!(known.get(&seen), Some(hash));
        let later = Timestamp {
            nanoseconds: 8,
            ..seen.changed
        };
        for other in [
            Fingerprint { device: 0, ..seen },
            Fingerprint { inode: 99, ..seen },
            Fingerprint { size: 4097, ..seen },
            Fingerprint {
                modified: later,
                ..seen
            },
            Fingerprint {
                changed: later,
                ..seen
            },
        ] {
            assert_eq!(known.get(&other), None);
        }
    }

    #[test]
    fn a_cache_reads_back_and_a_damaged_one_knows_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("deep/er/cache");
        assert!(Fingerprints::load(&file).is_empty());
        sample().save(&file).unwrap();
        assert_eq!(Fingerprints::load(&file), sample());

        let bytes = fs::read(&file).unwrap();
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert_eq!(Fingerprints::decode(&flipped), None, "byte {at}");
            assert_eq!(Fingerprints::decode(&bytes[..at]), None, "cut at {at}");
        }
    }
}
