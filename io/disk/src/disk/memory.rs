//! A file system in memory that forgets at a crash what was not synced.
//!
//! What is promised after a crash is as little as real file systems promise: each write, each
//! file's attributes and each change of names since the last sync survives or not on its own, a
//! write perhaps in part. Two things are kept whole because every journaling file system keeps
//! them and no program could live without: a rename, and what names a directory holds once that
//! directory was synced.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bellwether_content::Timestamp;

use super::{Disk, Errno, Ids, Kind, Listed, Space, Stat, Step, TryLock};

/// A disk in memory. Clones are the same disk.
#[derive(Debug, Clone)]
pub struct MemoryDisk {
    volume: Arc<Mutex<Volume>>,
}

/// In what a [`MemoryDisk`] is unlike an endless, exact and permissive one.
#[derive(Debug, Clone)]
pub struct MemoryOptions {
    /// How many bytes of content fit.
    pub capacity: u64,
    /// How many names a file may have.
    pub links_max: u64,
    /// Which names are the same.
    pub names: NameRule,
    /// Whether every change is refused.
    pub read_only: bool,
    /// Whether files can share content.
    pub reflink: bool,
    /// A name that nobody may open or make.
    pub denied: Option<Vec<u8>>,
}

/// Which names are the same to a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameRule {
    /// Those with the same bytes.
    Exact,
    /// Those that differ only in the case of ASCII letters.
    IgnoreCase,
    /// Those that differ only in how an accented letter is composed. Knows the acute accents,
    /// which is enough to collide.
    Normalise,
}

/// An open directory, file or lock of a [`MemoryDisk`].
#[derive(Debug)]
pub struct Handle {
    inode: u64,
}

/// A lock of a [`MemoryDisk`].
#[derive(Debug)]
pub struct MemoryLock {
    inode: u64,
    volume: Arc<Mutex<Volume>>,
}

#[derive(Debug, Clone)]
struct Volume {
    options: MemoryOptions,
    inodes: BTreeMap<u64, Inode>,
    /// Changes of names that no sync has made durable, oldest first.
    pending: Vec<Change>,
    locks: BTreeSet<u64>,
    inode_next: u64,
    /// The time, in nanoseconds: one for each change.
    now: u64,
    used: u64,
    bytes_read: u64,
    syncs: u64,
}

#[derive(Debug, Clone)]
struct Inode {
    body: Body,
    attributes: Attributes,
    attributes_durable: Attributes,
    links: u64,
}

#[derive(Debug, Clone)]
enum Body {
    File {
        data: Vec<u8>,
        data_durable: Vec<u8>,
        writes: Vec<(usize, Vec<u8>)>,
    },
    Directory {
        names: Names,
        names_durable: Names,
    },
    Symlink(Vec<u8>),
}

#[derive(Debug, Clone, Copy)]
struct Attributes {
    mode: u32,
    ids: Ids,
    size: usize,
    mtime: Timestamp,
    ctime: Timestamp,
}

/// By the name as the file system compares it: the name as it was given, and the inode.
type Names = BTreeMap<Vec<u8>, (Vec<u8>, u64)>;

/// One atomic change of names: in each directory, a compared name and what it now stands for.
type Change = Vec<(u64, Vec<u8>, Option<(Vec<u8>, u64)>)>;

const ROOT: u64 = 2;

impl Default for MemoryOptions {
    fn default() -> Self {
        Self {
            capacity: u64::MAX,
            links_max: u64::MAX,
            names: NameRule::Exact,
            read_only: false,
            reflink: false,
            denied: None,
        }
    }
}

impl MemoryDisk {
    /// An empty disk.
    pub fn new(options: MemoryOptions) -> Self {
        let mut volume = Volume {
            options,
            inodes: BTreeMap::new(),
            pending: Vec::new(),
            locks: BTreeSet::new(),
            inode_next: ROOT,
            now: 1_700_000_000_000_000_000,
            used: 0,
            bytes_read: 0,
            syncs: 0,
        };
        volume.add(Body::directory(), 0o755);
        Self::from_volume(volume)
    }

    /// The disk as a process finds it that starts after this one was killed: nothing is
    /// forgotten, no lock is held. Shares nothing with `self`.
    pub fn restarted(&self) -> Self {
        let mut volume = self.volume().clone();
        volume.locks.clear();
        Self::from_volume(volume)
    }

    /// The disk after power failed: of what was not synced, `seed` chooses what survives. Seed 0
    /// forgets all of it. Shares nothing with `self`.
    pub fn crashed(&self, seed: u64) -> Self {
        let volume = self.volume().clone();
        Self::from_volume(volume.crashed(&mut Luck::new(seed)))
    }

    /// Changes the options of the disk from now on.
    pub fn set_options(&self, options: MemoryOptions) {
        self.volume().options = options;
    }

    /// The options.
    pub fn options(&self) -> MemoryOptions {
        self.volume().options.clone()
    }

    /// How much content was ever read, to show that something was not.
    pub fn bytes_read(&self) -> u64 {
        self.volume().bytes_read
    }

    /// How often anything was ever made durable: what a real disk takes its time for.
    pub fn syncs(&self) -> u64 {
        self.volume().syncs
    }

    fn from_volume(volume: Volume) -> Self {
        Self {
            volume: Arc::new(Mutex::new(volume)),
        }
    }

    fn volume(&self) -> MutexGuard<'_, Volume> {
        // A test that panicked elsewhere leaves whole steps behind, so the volume is usable.
        self.volume.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The volume, if it takes changes.
    fn writable(&self) -> Step<MutexGuard<'_, Volume>> {
        let mut volume = self.volume();
        if volume.options.read_only {
            return Err(Errno::ROFS);
        }
        volume.now += 1;
        Ok(volume)
    }
}

impl Body {
    fn directory() -> Self {
        Self::Directory {
            names: Names::new(),
            names_durable: Names::new(),
        }
    }

    fn file() -> Self {
        Self::File {
            data: Vec::new(),
            data_durable: Vec::new(),
            writes: Vec::new(),
        }
    }
}

impl Volume {
    fn time(&self) -> Timestamp {
        Timestamp {
            seconds: (self.now / 1_000_000_000).cast_signed(),
            nanoseconds: (self.now % 1_000_000_000) as u32,
        }
    }

    fn add(&mut self, body: Body, mode: u32) -> u64 {
        let inode = self.inode_next;
        self.inode_next += 1;
        let attributes = Attributes {
            mode,
            ids: Ids { user: 0, group: 0 },
            size: 0,
            mtime: self.time(),
            ctime: self.time(),
        };
        self.inodes.insert(
            inode,
            Inode {
                body,
                attributes,
                attributes_durable: attributes,
                links: 0,
            },
        );
        inode
    }

    fn inode(&mut self, inode: u64) -> &mut Inode {
        self.inodes
            .get_mut(&inode)
            .expect("an inode with a name or a handle stays")
    }

    fn names(&mut self, directory: u64) -> Step<&mut Names> {
        match &mut self.inode(directory).body {
            Body::Directory { names, .. } => Ok(names),
            _ => Err(Errno::NOTDIR),
        }
    }

    fn compared(&self, name: &[u8]) -> Vec<u8> {
        match self.options.names {
            NameRule::Exact => name.to_vec(),
            NameRule::IgnoreCase => name.to_ascii_lowercase(),
            NameRule::Normalise => {
                let mut text = String::from_utf8_lossy(name).into_owned();
                for (apart, composed) in
                    [("a", "á"), ("e", "é"), ("i", "í"), ("o", "ó"), ("u", "ú")]
                {
                    text = text.replace(&format!("{apart}\u{301}"), composed);
                }
                text.into_bytes()
            }
        }
    }

    fn find(&mut self, directory: u64, name: &[u8]) -> Step<u64> {
        if self.options.denied.as_deref() == Some(name) {
            return Err(Errno::ACCESS);
        }
        if name == b"." {
            return Ok(directory);
        }
        let compared = self.compared(name);
        let names = self.names(directory)?;
        names
            .get(&compared)
            .map(|(_, inode)| *inode)
            .ok_or(Errno::NOENT)
    }

    fn walk(&mut self, directory: u64, path: &[u8]) -> Step<u64> {
        let mut inode = directory;
        for name in path.split(|&b| b == b'/') {
            if matches!(name, b"" | b"..") {
                return Err(Errno::XDEV);
            }
            inode = self.find(inode, name)?;
            if matches!(self.inode(inode).body, Body::Symlink(_)) {
                return Err(Errno::LOOP);
            }
        }
        Ok(inode)
    }

    /// Fails if anything stands at `name`.
    fn vacant(&mut self, directory: u64, name: &[u8]) -> Step<()> {
        match self.find(directory, name) {
            Ok(_) => Err(Errno::EXIST),
            Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Points names at inodes, all at once, and counts links.
    fn change(&mut self, parts: Vec<(u64, &[u8], Option<u64>)>) -> Step<()> {
        let mut change = Change::new();
        for (directory, name, inode) in parts {
            let compared = self.compared(name);
            let new = inode.map(|inode| (name.to_vec(), inode));
            if let Some(inode) = inode {
                self.touch(inode).links += 1;
            }
            let names = self.names(directory)?;
            let old = match &new {
                Some(new) => names.insert(compared.clone(), new.clone()),
                None => names.remove(&compared),
            };
            if let Some((_, old)) = old {
                self.touch(old).links -= 1;
                if self.inode(old).links == 0
                    && let Body::File { data, .. } = &self.inode(old).body
                {
                    self.used -= data.len() as u64;
                }
            }
            let now = self.time();
            self.touch(directory).attributes.mtime = now;
            change.push((directory, compared, new));
        }
        self.pending.push(change);
        Ok(())
    }

    /// The inode, its ctime set to now.
    fn touch(&mut self, inode: u64) -> &mut Inode {
        let now = self.time();
        let inode = self.inode(inode);
        inode.attributes.ctime = now;
        inode
    }

    fn resize(&mut self, inode: u64, len: usize) -> Step<()> {
        let (capacity, used) = (self.options.capacity, self.used);
        let inode = self.touch(inode);
        let Body::File { data, .. } = &mut inode.body else {
            return Err(Errno::ISDIR);
        };
        let used = used - data.len() as u64 + len as u64;
        if len > data.len() && used > capacity {
            return Err(Errno::NOSPC);
        }
        data.resize(len, 0);
        inode.attributes.size = len;
        inode.attributes.mtime = inode.attributes.ctime;
        self.used = used;
        Ok(())
    }

    fn write(&mut self, inode: u64, bytes: &[u8], offset: u64) -> Step<()> {
        let start = usize::try_from(offset).map_err(|_| Errno::FBIG)?;
        let end = start.checked_add(bytes.len()).ok_or(Errno::FBIG)?;
        let size = self.inode(inode).attributes.size;
        self.resize(inode, size.max(end))?;
        if let Body::File { data, writes, .. } = &mut self.inode(inode).body {
            data[start..end].copy_from_slice(bytes);
            writes.push((start, bytes.to_vec()));
        }
        Ok(())
    }

    fn sync_inode(&mut self, inode: u64) {
        let inode = self.inode(inode);
        inode.attributes_durable = inode.attributes;
        if let Body::File {
            data,
            data_durable,
            writes,
        } = &mut inode.body
        {
            data_durable.clone_from(data);
            writes.clear();
        }
    }

    /// Makes the changes of names in `directory` durable, and those that hang together with them.
    fn sync_names(&mut self, directory: u64) {
        let mut directories = BTreeSet::from([directory]);
        loop {
            let count = directories.len();
            for change in &self.pending {
                if change
                    .iter()
                    .any(|(directory, ..)| directories.contains(directory))
                {
                    directories.extend(change.iter().map(|(directory, ..)| *directory));
                }
            }
            if directories.len() == count {
                break;
            }
        }
        let pending = std::mem::take(&mut self.pending);
        let (durable, pending) = pending
            .into_iter()
            .partition(|change| directories.contains(&change[0].0));
        self.pending = pending;
        self.settle(durable);
    }

    fn settle(&mut self, changes: Vec<Change>) {
        for (directory, name, inode) in changes.into_iter().flatten() {
            if let Body::Directory { names_durable, .. } = &mut self.inode(directory).body {
                match inode {
                    Some(inode) => names_durable.insert(name, inode),
                    None => names_durable.remove(&name),
                };
            }
        }
    }

    fn crashed(mut self, luck: &mut Luck) -> Self {
        self.locks.clear();
        let pending = std::mem::take(&mut self.pending);
        let kept = pending.into_iter().filter(|_| luck.keeps()).collect();
        self.settle(kept);
        for inode in self.inodes.values_mut() {
            inode.links = 0;
            if luck.keeps() {
                inode.attributes_durable = inode.attributes;
            }
            inode.attributes = inode.attributes_durable;
            match &mut inode.body {
                Body::File {
                    data,
                    data_durable,
                    writes,
                } => {
                    for (start, bytes) in writes.drain(..) {
                        let len = luck.part(bytes.len());
                        let end = start + len;
                        data_durable.resize(data_durable.len().max(end), 0);
                        data_durable[start..end].copy_from_slice(&bytes[..len]);
                    }
                    data_durable.resize(inode.attributes.size, 0);
                    data.clone_from(data_durable);
                }
                Body::Directory {
                    names,
                    names_durable,
                } => names.clone_from(names_durable),
                Body::Symlink(_) => {}
            }
        }
        self.count_links();
        self
    }

    /// Counts what can be reached from the root, and forgets the rest.
    fn count_links(&mut self) {
        let mut waiting = vec![ROOT];
        let mut reached = BTreeSet::new();
        while let Some(inode) = waiting.pop() {
            self.inode(inode).links += 1;
            if reached.insert(inode)
                && let Ok(names) = self.names(inode)
            {
                waiting.extend(names.values().map(|(_, inode)| *inode));
            }
        }
        self.inodes.retain(|inode, _| reached.contains(inode));
        let size = |inode: &Inode| match &inode.body {
            Body::File { data, .. } => data.len() as u64,
            _ => 0,
        };
        self.used = self.inodes.values().map(size).sum();
    }

    fn stat(&mut self, inode: u64) -> Stat {
        let number = inode;
        let inode = self.inode(inode);
        let kind = match inode.body {
            Body::File { .. } => Kind::File,
            Body::Directory { .. } => Kind::Directory,
            Body::Symlink(_) => Kind::Symlink,
        };
        Stat {
            kind,
            mode: inode.attributes.mode,
            size: inode.attributes.size as u64,
            inode: number,
            links: inode.links,
            ids: inode.attributes.ids,
            mtime: inode.attributes.mtime,
            ctime: inode.attributes.ctime,
        }
    }
}

impl Disk for MemoryDisk {
    type Dir = Handle;
    type File = Handle;
    type Lock = MemoryLock;

    fn path(&self) -> &Path {
        Path::new("/memory")
    }

    fn root(&self) -> Step<Handle> {
        Ok(Handle { inode: ROOT })
    }

    fn open_dir(&self, at: &Handle, path: &[u8]) -> Step<Handle> {
        let mut volume = self.volume();
        let inode = volume.walk(at.inode, path)?;
        volume.names(inode)?;
        Ok(Handle { inode })
    }

    fn open_file(&self, at: &Handle, path: &[u8]) -> Step<Handle> {
        let inode = self.volume().walk(at.inode, path)?;
        Ok(Handle { inode })
    }

    fn open_file_to_write(&self, at: &Handle, path: &[u8]) -> Step<Handle> {
        if self.options().read_only {
            return Err(Errno::ROFS);
        }
        self.open_file(at, path)
    }

    fn open_to_write(&self, at: &Handle, name: &[u8]) -> Step<Handle> {
        let inode = self.writable()?.walk(at.inode, name)?;
        Ok(Handle { inode })
    }

    fn read_at(&self, file: &Handle, buffer: &mut [u8], offset: u64) -> Step<usize> {
        let mut volume = self.volume();
        let Body::File { data, .. } = &volume.inode(file.inode).body else {
            return Err(Errno::ISDIR);
        };
        let start = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(data.len());
        let len = buffer.len().min(data.len() - start);
        buffer[..len].copy_from_slice(&data[start..start + len]);
        volume.bytes_read += len as u64;
        Ok(len)
    }

    fn read_link(&self, at: &Handle, name: &[u8]) -> Step<Vec<u8>> {
        let mut volume = self.volume();
        let inode = volume.find(at.inode, name)?;
        match &volume.inode(inode).body {
            Body::Symlink(target) => Ok(target.clone()),
            _ => Err(Errno::INVAL),
        }
    }

    fn list(&self, at: &Handle) -> Step<Vec<Listed>> {
        let mut volume = self.volume();
        let names: Vec<_> = volume.names(at.inode)?.values().cloned().collect();
        let mut listed: Vec<_> = names
            .into_iter()
            .map(|(name, inode)| Listed {
                name,
                kind: volume.stat(inode).kind,
            })
            .collect();
        listed.sort_unstable();
        Ok(listed)
    }

    fn stat(&self, at: &Handle, name: &[u8]) -> Step<Stat> {
        let mut volume = self.volume();
        let inode = volume.find(at.inode, name)?;
        Ok(volume.stat(inode))
    }

    fn stat_file(&self, file: &Handle) -> Step<Stat> {
        Ok(self.volume().stat(file.inode))
    }

    fn space(&self) -> Step<Space> {
        let volume = self.volume();
        Ok(Space {
            bytes: volume.options.capacity.saturating_sub(volume.used),
            files: u64::MAX,
        })
    }

    fn create_dir(&self, at: &Handle, name: &[u8], mode: u32) -> Step<()> {
        let mut volume = self.writable()?;
        volume.vacant(at.inode, name)?;
        let inode = volume.add(Body::directory(), mode);
        volume.change(vec![(at.inode, name, Some(inode))])
    }

    fn create_file(&self, at: &Handle, name: &[u8], mode: u32) -> Step<Handle> {
        let mut volume = self.writable()?;
        volume.vacant(at.inode, name)?;
        let inode = volume.add(Body::file(), mode);
        volume.change(vec![(at.inode, name, Some(inode))])?;
        Ok(Handle { inode })
    }

    fn write_at(&self, file: &Handle, bytes: &[u8], offset: u64) -> Step<()> {
        self.writable()?.write(file.inode, bytes, offset)
    }

    fn set_len(&self, file: &Handle, len: u64) -> Step<()> {
        let len = usize::try_from(len).map_err(|_| Errno::FBIG)?;
        self.writable()?.resize(file.inode, len)
    }

    fn reflink(&self, source: &Handle, target: &Handle) -> Step<()> {
        let mut volume = self.writable()?;
        if !volume.options.reflink {
            return Err(Errno::OPNOTSUPP);
        }
        let Body::File { data, .. } = &volume.inode(source.inode).body else {
            return Err(Errno::ISDIR);
        };
        let data = data.clone();
        volume.write(target.inode, &data, 0)
    }

    fn link(&self, from: &Handle, from_name: &[u8], to: &Handle, to_name: &[u8]) -> Step<()> {
        let mut volume = self.writable()?;
        let inode = volume.find(from.inode, from_name)?;
        volume.vacant(to.inode, to_name)?;
        if volume.inode(inode).links >= volume.options.links_max {
            return Err(Errno::MLINK);
        }
        volume.change(vec![(to.inode, to_name, Some(inode))])
    }

    fn symlink(&self, target: &[u8], at: &Handle, name: &[u8]) -> Step<()> {
        let mut volume = self.writable()?;
        volume.vacant(at.inode, name)?;
        let inode = volume.add(Body::Symlink(target.to_vec()), 0o777);
        volume.change(vec![(at.inode, name, Some(inode))])
    }

    fn rename(&self, from: &Handle, from_name: &[u8], to: &Handle, to_name: &[u8]) -> Step<()> {
        let mut volume = self.writable()?;
        let inode = volume.find(from.inode, from_name)?;
        match volume.find(to.inode, to_name) {
            Ok(old) => match &volume.inode(old).body {
                Body::Directory { names, .. } if !names.is_empty() => return Err(Errno::NOTEMPTY),
                _ => {}
            },
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
        volume.change(vec![
            (to.inode, to_name, Some(inode)),
            (from.inode, from_name, None),
        ])
    }

    fn unlink(&self, at: &Handle, name: &[u8]) -> Step<()> {
        let mut volume = self.writable()?;
        let inode = volume.find(at.inode, name)?;
        if matches!(volume.inode(inode).body, Body::Directory { .. }) {
            return Err(Errno::ISDIR);
        }
        volume.change(vec![(at.inode, name, None)])
    }

    fn remove_dir(&self, at: &Handle, name: &[u8]) -> Step<()> {
        let mut volume = self.writable()?;
        let inode = volume.find(at.inode, name)?;
        if !volume.names(inode)?.is_empty() {
            return Err(Errno::NOTEMPTY);
        }
        volume.change(vec![(at.inode, name, None)])
    }

    fn set_mode(&self, file: &Handle, mode: u32) -> Step<()> {
        self.writable()?.touch(file.inode).attributes.mode = mode;
        Ok(())
    }

    fn set_dir_mode(&self, dir: &Handle, mode: u32) -> Step<()> {
        self.set_mode(dir, mode)
    }

    fn set_mtime(&self, file: &Handle, mtime: Timestamp) -> Step<()> {
        self.writable()?.touch(file.inode).attributes.mtime = mtime;
        Ok(())
    }

    fn set_owner(&self, at: &Handle, name: &[u8], ids: Ids) -> Step<()> {
        let mut volume = self.writable()?;
        let inode = volume.find(at.inode, name)?;
        volume.touch(inode).attributes.ids = ids;
        Ok(())
    }

    fn sync_file(&self, file: &Handle) -> Step<()> {
        let mut volume = self.writable()?;
        volume.syncs += 1;
        volume.sync_inode(file.inode);
        Ok(())
    }

    fn sync_dir(&self, dir: &Handle) -> Step<()> {
        let mut volume = self.writable()?;
        volume.syncs += 1;
        volume.sync_inode(dir.inode);
        volume.sync_names(dir.inode);
        Ok(())
    }

    fn sync_all(&self) -> Step<()> {
        let mut volume = self.writable()?;
        volume.syncs += 1;
        let pending = std::mem::take(&mut volume.pending);
        volume.settle(pending);
        let inodes: Vec<u64> = volume.inodes.keys().copied().collect();
        inodes
            .into_iter()
            .for_each(|inode| volume.sync_inode(inode));
        Ok(())
    }

    fn try_lock(&self, at: &Handle, name: &[u8], holder: &[u8]) -> Step<TryLock<MemoryLock>> {
        let inode = match self.create_file(at, name, 0o600) {
            Ok(file) => file.inode,
            Err(Errno::EXIST) => self.volume().find(at.inode, name)?,
            Err(errno) => return Err(errno),
        };
        let mut volume = self.writable()?;
        if volume.locks.contains(&inode) {
            let Body::File { data, .. } = &volume.inode(inode).body else {
                return Err(Errno::ISDIR);
            };
            return Ok(TryLock::Busy(data.clone()));
        }
        volume.resize(inode, 0)?;
        volume.write(inode, holder, 0)?;
        volume.locks.insert(inode);
        Ok(TryLock::Held(MemoryLock {
            inode,
            volume: Arc::clone(&self.volume),
        }))
    }
}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        let mut volume = self.volume.lock().unwrap_or_else(PoisonError::into_inner);
        volume.locks.remove(&self.inode);
    }
}

/// What survives, drawn from a seed (splitmix64).
struct Luck {
    state: u64,
    /// How much survives, in 256ths.
    kept: u64,
}

impl Luck {
    fn new(seed: u64) -> Self {
        let mut luck = Self {
            state: seed,
            kept: 0,
        };
        if seed != 0 {
            luck.kept = [32, 128, 224][(luck.draw() % 3) as usize];
        }
        luck
    }

    fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn keeps(&mut self) -> bool {
        self.draw() % 256 < self.kept
    }

    /// How much of a write of `len` bytes survives.
    fn part(&mut self, len: usize) -> usize {
        if !self.keeps() {
            0
        } else if self.keeps() {
            len
        } else {
            usize::try_from(self.draw() % (len as u64 + 1)).unwrap_or(len)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(disk: &MemoryDisk, name: &[u8]) -> Option<Vec<u8>> {
        let file = disk.open_file(&disk.root().unwrap(), name).ok()?;
        let mut buffer = vec![0; 64];
        let len = disk.read_at(&file, &mut buffer, 0).unwrap();
        buffer.truncate(len);
        Some(buffer)
    }

    fn write(disk: &MemoryDisk, name: &[u8], bytes: &[u8]) -> Handle {
        let file = disk
            .create_file(&disk.root().unwrap(), name, 0o644)
            .unwrap();
        disk.write_at(&file, bytes, 0).unwrap();
        file
    }

    #[test]
    fn content_and_names_are_forgotten_apart() {
        let disk = MemoryDisk::new(MemoryOptions::default());
        let named = write(&disk, b"named", b"content");
        disk.sync_dir(&disk.root().unwrap()).unwrap();
        let written = write(&disk, b"written", b"content");
        disk.sync_file(&written).unwrap();
        let crashed = disk.crashed(0);
        assert_eq!(read(&crashed, b"named").as_deref(), Some(b"".as_slice()));
        assert_eq!(read(&crashed, b"written"), None);
        disk.sync_file(&named).unwrap();
        disk.sync_dir(&disk.root().unwrap()).unwrap();
        for seed in 0..50 {
            let crashed = disk.crashed(seed);
            for name in [b"named".as_slice(), b"written"] {
                assert_eq!(read(&crashed, name).as_deref(), Some(b"content".as_slice()));
            }
        }
    }

    #[test]
    fn a_rename_happens_or_does_not() {
        let disk = MemoryDisk::new(MemoryOptions::default());
        write(&disk, b"old", b"old");
        write(&disk, b"new", b"new");
        disk.sync_all().unwrap();
        let root = disk.root().unwrap();
        disk.rename(&root, b"new", &root, b"old").unwrap();
        let mut seen = BTreeSet::new();
        for seed in 0..50 {
            let crashed = disk.crashed(seed);
            seen.insert((read(&crashed, b"old"), read(&crashed, b"new")));
        }
        let before = (Some(b"old".to_vec()), Some(b"new".to_vec()));
        let after = (Some(b"new".to_vec()), None);
        assert_eq!(seen, BTreeSet::from([before, after]));
    }

    #[test]
    fn every_subset_of_unsynced_files_is_seen() {
        let disk = MemoryDisk::new(MemoryOptions::default());
        write(&disk, b"a", b"");
        write(&disk, b"b", b"");
        let seen: BTreeSet<_> = (0..200)
            .map(|seed| disk.crashed(seed))
            .map(|crashed| {
                (
                    read(&crashed, b"a").is_some(),
                    read(&crashed, b"b").is_some(),
                )
            })
            .collect();
        assert_eq!(seen.len(), 4);
    }
}
