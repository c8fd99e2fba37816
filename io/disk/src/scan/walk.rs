use std::collections::BTreeSet;
use std::io;
use std::mem::MaybeUninit;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::SystemTime;

use bellwether_content::{Entry, File, Mode, Owner, Timestamp};
use bellwether_types::{Hash, TreePath};
use rustix::fs::{
    AtFlags, CWD, FileType, OFlags, RawDir, ResolveFlags, Statx, StatxFlags, fgetxattr, openat,
    openat2, readlinkat, statx,
};
use rustix::io::Errno;

use super::content::{Buffer, SHARED_LEN_MIN, SharedFile, hash_whole};
use super::error::Place;
use super::fingerprint::recent_since;
use super::owners::Owners;
use super::queue::Queue;
use super::{
    Fingerprint, Fingerprints, Ownership, ScanError, ScanPolicy, SpecialKind, Specials, TRIES_MAX,
    Watch,
};

/// Entries of one directory that one thread looks at in a go; more are shared among threads.
const BATCH_LEN: usize = 256;

/// Room for the answers of `getdents`.
const LIST_BUFFER_LEN: usize = 64 << 10;

/// What one pass over the tree found, in any order.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) entries: Vec<(TreePath, Entry)>,
    /// Directories among the entries that no pattern asked for.
    pub(super) bridges: BTreeSet<TreePath>,
    pub(super) skipped: Vec<(TreePath, SpecialKind)>,
    /// Files that were read.
    pub(super) fingerprints: Vec<(Fingerprint, Hash)>,
    /// Those that a later scan must not believe.
    pub(super) passing: Vec<(Fingerprint, Hash)>,
    /// Files that need not be read, by their index in what was known.
    pub(super) unchanged: Vec<u32>,
    pub(super) files_hashed: u64,
    pub(super) bytes_hashed: u64,
    /// A directory that was not the same at the end of the pass as when it was listed.
    pub(super) changed_directory: Option<Place>,
    /// Every directory as it was when it was listed.
    directories: Vec<(Place, Fingerprint)>,
}

/// Reads the whole tree once.
pub(super) fn walk(
    root: &Path,
    policy: &ScanPolicy,
    known: &Fingerprints,
    watch: &dyn Watch,
) -> Result<Found, ScanError> {
    let handle = openat(CWD, root, DIRECTORY, rustix::fs::Mode::empty());
    let handle = handle.map_err(|errno| ScanError::Root {
        root: root.to_owned(),
        source: errno.into(),
    })?;
    let threads = policy
        .threads
        .or_else(|| thread::available_parallelism().ok());
    let threads = threads.map_or(1, NonZeroUsize::get);
    let walk = Walk {
        root: handle,
        policy,
        known,
        watch,
        threads,
        recent_since: recent_since(policy.started.unwrap_or_else(SystemTime::now)),
        queue: Queue::new(Job::List(Listed {
            place: Place(None),
            included: policy.filter.includes_all(),
        })),
        failure: Mutex::new(None),
    };
    let shares = thread::scope(|scope| {
        let crew: Vec<_> = (1..threads)
            .map(|_| scope.spawn(|| Worker::new(&walk).run()))
            .collect();
        let mut shares = vec![Worker::new(&walk).run()];
        shares.extend(crew.into_iter().map(|member| match member.join() {
            Ok(share) => share,
            Err(panic) => std::panic::resume_unwind(panic),
        }));
        shares
    });
    if let Some(error) = walk
        .failure
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
    {
        return Err(error);
    }
    let mut found = Found::default();
    shares.into_iter().for_each(|share| found.add(share));
    found.changed_directory = changed_directory(&walk.root, &found.directories)?;
    Ok(found)
}

/// The first directory that is no longer what it was when it was listed: entries may have been
/// missed that moved from where the scan had not been to where it had.
fn changed_directory(
    root: &OwnedFd,
    directories: &[(Place, Fingerprint)],
) -> Result<Option<Place>, ScanError> {
    for (place, seen) in directories {
        match stat(root.as_fd(), place.as_bytes()) {
            Ok(now) if Fingerprint::of(&now) == *seen => {}
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Some(place.clone())),
            Err(errno) => return Err(failed(place, "look at it", errno)),
        }
    }
    Ok(None)
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

/// Never waits for a writer, should the file have become a FIFO since it was looked at.
const FILE: OFlags = OFlags::RDONLY
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK);

/// One pass: what all threads share.
struct Walk<'a> {
    root: OwnedFd,
    policy: &'a ScanPolicy,
    known: &'a Fingerprints,
    watch: &'a dyn Watch,
    threads: usize,
    recent_since: Timestamp,
    queue: Queue<Job>,
    failure: Mutex<Option<ScanError>>,
}

/// Jobs hold paths and not handles, so that no tree is too wide or deep for the limit of open
/// files; a path is opened beneath the root in one call whatever its depth.
enum Job {
    /// Read a directory's names.
    List(Listed),
    /// Look at some of its entries.
    Look(Listed, Vec<(TreePath, bool)>),
    /// Look once more at a file that changed.
    Retry(TreePath, u32),
    /// Hash a large file, together.
    Share(Unread),
    /// Take part in that.
    Help(Arc<Shared>),
}

#[derive(Clone)]
struct Listed {
    place: Place,
    /// Whether a pattern asked for the directory, and so for all it holds.
    included: bool,
}

/// A file whose content is not known.
#[derive(Clone)]
struct Unread {
    path: TreePath,
    mode: Mode,
    owner: Option<Arc<Owner>>,
    seen: Fingerprint,
    /// How often it was looked at before.
    tries: u32,
}

struct Shared {
    unread: Unread,
    content: SharedFile,
    has_capability: bool,
}

/// One thread and what it found.
struct Worker<'a> {
    walk: &'a Walk<'a>,
    found: Found,
    owners: Option<Owners>,
    buffer: Buffer,
}

impl<'a> Worker<'a> {
    fn new(walk: &'a Walk<'a>) -> Self {
        Self {
            walk,
            found: Found::default(),
            owners: match walk.policy.ownership {
                Ownership::Site => None,
                Ownership::ByName => Some(Owners::of_this_machine()),
            },
            buffer: Buffer::new(),
        }
    }

    fn run(mut self) -> Found {
        let walk = self.walk;
        walk.queue.run(|job| {
            if let Err(error) = self.work(job) {
                let mut failure = walk.failure.lock().unwrap_or_else(PoisonError::into_inner);
                failure.get_or_insert(error);
                walk.queue.stop();
            }
        });
        self.found
            .entries
            .sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        self.found
    }

    fn work(&mut self, job: Job) -> Result<(), ScanError> {
        match job {
            Job::List(directory) => self.list(&directory),
            Job::Look(directory, batch) => match self.walk.open_directory(&directory.place)? {
                Some(handle) => self.look_at_all(handle.as_fd(), batch),
                None => Ok(()),
            },
            Job::Retry(path, tries) => {
                let root = self.walk.root.as_fd();
                match stat(root, path.as_bytes()) {
                    Ok(stat) => self.look(root, path.as_bytes(), path.clone(), &stat, tries),
                    Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
                    Err(errno) => Err(failed(&Place::from(&path), "look at it", errno)),
                }
            }
            Job::Share(unread) => self.share(unread),
            Job::Help(shared) => self.help(&shared),
        }
    }

    /// Reads the names of a directory. Subdirectories and all but the last batch of entries become
    /// jobs for everybody.
    fn list(&mut self, directory: &Listed) -> Result<(), ScanError> {
        let Listed { place, included } = directory;
        let Some(handle) = self.walk.open_directory(place)? else {
            return Ok(());
        };
        let seen = stat(handle.as_fd(), b"").map_err(|errno| failed(place, "look at it", errno))?;
        self.found
            .directories
            .push((place.clone(), Fingerprint::of(&seen)));
        if let Some(path) = &place.0 {
            self.add_directory(path, &seen, *included)?;
        }
        let mut batch = Vec::new();
        let mut buffer = [MaybeUninit::uninit(); LIST_BUFFER_LEN];
        let mut names = RawDir::new(&handle, &mut buffer);
        while let Some(name) = names.next() {
            let name = name.map_err(|errno| failed(place, "list it", errno))?;
            let kind = name.file_type();
            let name = name.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let path = match &place.0 {
                Some(parent) => parent.join(name)?,
                None => TreePath::new(name)?,
            };
            let filter = &self.walk.policy.filter;
            if filter.excludes(&path) {
                continue;
            }
            let included = *included || filter.includes(&path);
            if kind == FileType::Directory {
                self.walk.queue.push(Job::List(Listed {
                    place: Place(Some(path)),
                    included,
                }));
                continue;
            }
            if batch.len() == BATCH_LEN {
                let full = std::mem::take(&mut batch);
                self.walk.queue.push(Job::Look(directory.clone(), full));
            }
            batch.push((path, included));
        }
        self.look_at_all(handle.as_fd(), batch)
    }

    fn look_at_all(
        &mut self,
        directory: BorrowedFd<'_>,
        batch: Vec<(TreePath, bool)>,
    ) -> Result<(), ScanError> {
        let (mut files, mut bytes) = (0, 0);
        for (path, included) in batch {
            let stat = match stat(directory, path.file_name()) {
                Ok(stat) => stat,
                // Deleted since it was listed, which the directory's own times tell at the end.
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(failed(&Place::from(&path), "look at it", errno)),
            };
            if kind(&stat) == FileType::Directory {
                // A file system that does not tell kinds in its lists.
                self.walk.queue.push(Job::List(Listed {
                    place: Place(Some(path)),
                    included,
                }));
            } else if included && self.walk.policy.filter.has_type_of(&path) {
                (files, bytes) = (files + 1, bytes + stat.stx_size);
                let name = path.file_name().to_owned();
                self.look(directory, &name, path, &stat, 0)?;
            }
        }
        self.walk.watch.found(files, bytes);
        Ok(())
    }

    /// Looks at what is no directory; `name` is its path from `directory`.
    fn look(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &[u8],
        path: TreePath,
        stat: &Statx,
        tries: u32,
    ) -> Result<(), ScanError> {
        match kind(stat) {
            FileType::RegularFile => self.look_at_file(directory, name, path, stat, tries),
            FileType::Symlink => {
                let target = match readlinkat(directory, name, Vec::new()) {
                    Ok(target) => target,
                    Err(Errno::NOENT | Errno::INVAL) => return self.retry(path, tries),
                    Err(errno) => return Err(failed(&Place::from(&path), "read the link", errno)),
                };
                let owner = self.owner(&path, stat)?;
                let target = target.into_bytes().into();
                self.found
                    .entries
                    .push((path, Entry::Symlink { target, owner }));
                Ok(())
            }
            FileType::Directory => self.retry(path, tries),
            other => {
                let kind = SpecialKind::of(other);
                match self.walk.policy.specials {
                    Specials::Refuse => Err(ScanError::Special { path, kind }),
                    Specials::Skip => {
                        self.found.skipped.push((path, kind));
                        Ok(())
                    }
                }
            }
        }
    }

    fn look_at_file(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &[u8],
        path: TreePath,
        stat: &Statx,
        tries: u32,
    ) -> Result<(), ScanError> {
        let mode = mode(&path, stat)?;
        if mode.sets_id() && !self.walk.policy.allow_set_id {
            let mode = mode.bits();
            return Err(ScanError::SetId { path, mode });
        }
        let owner = self.owner(&path, stat)?;
        let seen = Fingerprint::of(stat);
        let unread = Unread {
            path,
            mode,
            owner,
            seen,
            tries,
        };
        if !seen.is_recent(self.walk.recent_since)
            && let Some((index, hash)) = self.walk.known.find(&seen)
        {
            self.found.unchanged.push(index);
            self.add_file(unread, hash);
            return Ok(());
        }
        if seen.size >= SHARED_LEN_MIN {
            self.walk.queue.push(Job::Share(unread));
            return Ok(());
        }
        self.walk.watch.reading(&unread.path);
        let file = match openat(directory, name, FILE, rustix::fs::Mode::empty()) {
            Ok(file) => file,
            Err(errno) => return self.cannot_open(unread, errno),
        };
        let has_capability = self.has_capability(&unread, &file)?;
        let hash = hash_whole(&file, seen.size, self.buffer.as_mut())
            .map_err(|error| unreadable(&unread.path, error))?;
        self.walk.watch.hashed(seen.size);
        self.conclude(&unread, &file, hash, has_capability)
    }

    fn share(&mut self, unread: Unread) -> Result<(), ScanError> {
        self.walk.watch.reading(&unread.path);
        let (root, path) = (&self.walk.root, unread.path.as_bytes());
        let file = match openat2(root, path, FILE, rustix::fs::Mode::empty(), BENEATH) {
            Ok(file) => file,
            Err(errno) => return self.cannot_open(unread, errno),
        };
        let has_capability = self.has_capability(&unread, &file)?;
        let shared = Arc::new(Shared {
            content: SharedFile::new(file, unread.seen.size),
            unread,
            has_capability,
        });
        for _ in 1..self.walk.threads {
            self.walk.queue.push(Job::Help(Arc::clone(&shared)));
        }
        self.help(&shared)
    }

    fn help(&mut self, shared: &Shared) -> Result<(), ScanError> {
        let Shared {
            unread,
            content,
            has_capability,
        } = shared;
        let walk = self.walk;
        let hashed = |bytes| {
            walk.watch.hashed(bytes);
            if walk.queue.is_stopped() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let concludes = content.help(self.buffer.as_mut(), hashed);
        if concludes.map_err(|error| unreadable(&unread.path, error))? {
            self.conclude(unread, content.file(), content.conclude(), *has_capability)
        } else {
            Ok(())
        }
    }

    /// Believes the hash only if the file is still the one that was looked at.
    fn conclude(
        &mut self,
        unread: &Unread,
        file: &OwnedFd,
        hash: Option<Hash>,
        has_capability: bool,
    ) -> Result<(), ScanError> {
        let now = stat(file.as_fd(), b"");
        let now = now.map_err(|errno| failed(&Place::from(&unread.path), "look at it", errno))?;
        self.found.files_hashed += 1;
        self.found.bytes_hashed += unread.seen.size;
        match hash {
            Some(hash) if Fingerprint::of(&now) == unread.seen => {
                // Without a fingerprint the next scan looks for capabilities again, whatever its
                // policy is; they are rare.
                let seen = if has_capability || unread.seen.is_recent(self.walk.recent_since) {
                    &mut self.found.passing
                } else {
                    &mut self.found.fingerprints
                };
                seen.push((unread.seen, hash));
                self.add_file(unread.clone(), hash);
                Ok(())
            }
            _ => self.retry(unread.path.clone(), unread.tries),
        }
    }

    fn cannot_open(&self, unread: Unread, errno: Errno) -> Result<(), ScanError> {
        match errno {
            // It was replaced, or deleted, since it was looked at.
            Errno::NOENT | Errno::LOOP | Errno::NOTDIR | Errno::NXIO => {
                self.retry(unread.path, unread.tries)
            }
            errno => Err(failed(&Place::from(&unread.path), "open it", errno)),
        }
    }

    fn retry(&self, path: TreePath, tries: u32) -> Result<(), ScanError> {
        if tries + 1 < TRIES_MAX {
            self.walk.queue.put_off(Job::Retry(path, tries + 1));
            return Ok(());
        }
        let path = Place::from(&path);
        Err(ScanError::Changing { path })
    }

    fn has_capability(&self, unread: &Unread, file: &OwnedFd) -> Result<bool, ScanError> {
        const EXECUTABLE: u32 = 0o111;
        if unread.mode.bits() & EXECUTABLE == 0 {
            return Ok(false);
        }
        let has = match fgetxattr(file, c"security.capability", &mut [0_u8; 64]) {
            Ok(_) | Err(Errno::RANGE) => true,
            Err(Errno::NODATA | Errno::NOTSUP) => false,
            Err(errno) => {
                return Err(failed(
                    &Place::from(&unread.path),
                    "read its attributes",
                    errno,
                ));
            }
        };
        if has && !self.walk.policy.allow_capabilities {
            let path = unread.path.clone();
            return Err(ScanError::Capability { path });
        }
        Ok(has)
    }

    fn add_directory(
        &mut self,
        path: &TreePath,
        stat: &Statx,
        included: bool,
    ) -> Result<(), ScanError> {
        const SET_ID: u32 = 0o6000;
        let mut mode = mode(path, stat)?;
        if !self.walk.policy.allow_set_id {
            mode = Mode::new(mode.bits() & !SET_ID).expect("fewer bits are permission bits too");
        }
        let owner = self.owner(path, stat)?;
        if !included {
            self.found.bridges.insert(path.clone());
        }
        self.found
            .entries
            .push((path.clone(), Entry::Directory { mode, owner }));
        Ok(())
    }

    fn add_file(&mut self, file: Unread, hash: Hash) {
        let entry = Entry::File(File {
            mode: file.mode,
            owner: file.owner,
            size: file.seen.size,
            hash,
            modified: file.seen.modified,
        });
        self.found.entries.push((file.path, entry));
    }

    fn owner(&mut self, path: &TreePath, stat: &Statx) -> Result<Option<Arc<Owner>>, ScanError> {
        let owner = |owners: &mut Owners| owners.of(path, stat.stx_uid, stat.stx_gid);
        self.owners.as_mut().map(owner).transpose()
    }
}

impl Walk<'_> {
    /// `None` if it is no directory any more.
    fn open_directory(&self, place: &Place) -> Result<Option<OwnedFd>, ScanError> {
        let path = if place.0.is_some() {
            place.as_bytes()
        } else {
            b"."
        };
        match openat2(
            &self.root,
            path,
            DIRECTORY,
            rustix::fs::Mode::empty(),
            BENEATH,
        ) {
            Ok(handle) => Ok(Some(handle)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => Err(failed(place, "open it", errno)),
        }
    }
}

impl Found {
    fn add(&mut self, other: Self) {
        self.entries.extend(other.entries);
        self.bridges.extend(other.bridges);
        self.skipped.extend(other.skipped);
        self.fingerprints.extend(other.fingerprints);
        self.passing.extend(other.passing);
        self.unchanged.extend(other.unchanged);
        self.directories.extend(other.directories);
        self.files_hashed += other.files_hashed;
        self.bytes_hashed += other.bytes_hashed;
    }
}

const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS);

fn stat(directory: BorrowedFd<'_>, name: &[u8]) -> Result<Statx, Errno> {
    let mut flags = AtFlags::SYMLINK_NOFOLLOW;
    if name.is_empty() {
        flags |= AtFlags::EMPTY_PATH;
    }
    statx(directory, name, flags, StatxFlags::BASIC_STATS)
}

fn kind(stat: &Statx) -> FileType {
    FileType::from_raw_mode(stat.stx_mode.into())
}

fn mode(path: &TreePath, stat: &Statx) -> Result<Mode, ScanError> {
    Mode::new(u32::from(stat.stx_mode) & 0o7777).map_err(|fault| ScanError::Entry {
        path: path.clone(),
        fault,
    })
}

fn failed(place: &Place, action: &'static str, errno: Errno) -> ScanError {
    ScanError::Io {
        path: place.clone(),
        action,
        source: errno.into(),
    }
}

fn unreadable(path: &TreePath, source: io::Error) -> ScanError {
    ScanError::Io {
        path: path.into(),
        action: "read it",
        source,
    }
}
