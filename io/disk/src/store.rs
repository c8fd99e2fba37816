//! The object store: every content a held version needs, once per mode, owner and time, and the
//! one place that decides whether a file on disk may be believed.
//!
//! Objects and trees share inodes (hard links) or extents (reflinks). With hard links an edit of
//! a live file is an edit of the object, so nothing is read or linked before its fingerprint was
//! compared, and where that moved, its content hashed.
//!
//! Outside of a stage or a removal every object is needed by a held version and was durable when
//! that version became held. So an object that is found needs no note of its own to be trusted.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use bellwether_content::{File, Owner};
use bellwether_types::{Hash, TreePath, VersionId};

use crate::disk::{Disk, Errno, Ids, Kind, Stat};
use crate::error::{During, Fault, SiteError};
use crate::fingerprint::{Fingerprints, Guard};
use crate::key::Key;
use crate::layout::Layout;
use crate::session::{self, Session};
use crate::site::Site;

#[derive(Debug)]
pub(crate) struct Store<'s, D: Disk> {
    site: &'s Site<D>,
    layout: Layout<D>,
    shards: Vec<OnceLock<D::Dir>>,
    pub(crate) fingerprints: Fingerprints,
    /// Objects made in this session: not durable yet, and known to be what they should be.
    created: Mutex<HashSet<Key>>,
    spooled: AtomicU64,
    /// Whether trees are made of reflinks rather than hard links.
    reflink: bool,
    held: Vec<VersionId>,
    copies: OnceLock<Copies>,
}

/// Where in held releases each object also stands.
type Copies = BTreeMap<Key, Vec<(VersionId, TreePath)>>;

/// An open directory and a name in it.
type Standing<'p, D> = (<D as Disk>::Dir, &'p [u8]);

/// An object, as an entry of a tree describes it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Object<'a> {
    pub(crate) key: Key,
    pub(crate) file: &'a File,
    /// For messages, and where to look for copies.
    pub(crate) path: &'a TreePath,
}

/// What became of an attempt to give a file another name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Linked {
    Yes,
    /// What stands there is not the object.
    NotIntact,
    /// The object has as many names as it may have.
    TooMany,
    /// This file system has no hard links, or not for us.
    Never,
    /// Something has the new name already.
    NameTaken,
}

/// Begins the names of objects that are being written.
const SPOOLED: &str = "new.";
const COPY_LEN: u64 = 1 << 18;
const SHARDS: usize = 256;

impl<'a> Object<'a> {
    pub(crate) fn new(path: &'a TreePath, file: &'a File) -> Self {
        Self {
            key: Key::of(file),
            file,
            path,
        }
    }
}

impl<'s, D: Disk> Store<'s, D> {
    pub(crate) fn open(session: &Session<'s, D>) -> Result<Self, SiteError> {
        let site = session.site;
        let layout = Layout::open(site.disk(), site.name())?;
        Ok(Self {
            site,
            shards: (0..SHARDS).map(|_| OnceLock::new()).collect(),
            fingerprints: Fingerprints::load(site.disk(), &layout.private),
            created: Mutex::default(),
            spooled: AtomicU64::new(0),
            reflink: false,
            held: session.state.releases.keys().copied().collect(),
            copies: OnceLock::new(),
            layout,
        })
    }

    fn disk(&self) -> &'s D {
        self.site.disk()
    }

    /// Finds out whether this file system can share content between files, and does so from now
    /// on if it can.
    pub(crate) fn prefer_reflinks(&mut self) -> Result<(), SiteError> {
        let disk = self.disk();
        let (source_name, source) = self.spool(0o600)?;
        disk.write_at(&source, b"?", 0).during("write", "a probe")?;
        let (target_name, target) = self.spool(0o600)?;
        self.reflink = disk.reflink(&source, &target).is_ok();
        self.unspool(&source_name)?;
        self.unspool(&target_name)
    }

    pub(crate) fn ids(&self, owner: Option<&Owner>) -> Result<Option<Ids>, SiteError> {
        (self.site.options().owners)(owner).map_err(|()| SiteError::OwnerUnknown {
            owner: owner.cloned(),
        })
    }

    /// Stores new content. Returns at once if the object was stored before in this session.
    pub(crate) fn put(&self, file: &File, content: &[u8]) -> Result<(), SiteError> {
        debug_assert_eq!(Hash::of(content), file.hash);
        let key = Key::of(file);
        if !self.created().insert(key) {
            return Ok(());
        }
        let (disk, shard, name) = (self.disk(), self.shard(&key)?, key.name());
        match disk.create_file(shard, &name, file.mode.bits()) {
            Ok(object) => {
                disk.write_at(&object, content, 0)
                    .during("write", Place(key))?;
                self.dress(shard, &name, &object, None, file)?;
                // A hard link changes the ctime, so then the first fingerprint comes later.
                if self.reflink {
                    self.note(key, file, &object)
                } else {
                    Ok(())
                }
            }
            Err(Errno::EXIST) => {
                // It was there, and is trusted unless somebody edited it.
                self.created().remove(&key);
                if !self.is_intact(shard, &name, &key, file)? {
                    let (spooled, object) = self.spool(file.mode.bits())?;
                    disk.write_at(&object, content, 0)
                        .during("write", Place(key))?;
                    self.replace(&key, file, &spooled, &object)?;
                }
                Ok(())
            }
            Err(errno) => Err(errno).during("create", Place(key)).map_err(Into::into),
        }
    }

    /// Stores the content of a spooled file, which is `file`'s.
    pub(crate) fn put_spooled(
        &self,
        file: &File,
        spooled: &str,
        content: &D::File,
    ) -> Result<(), SiteError> {
        let key = Key::of(file);
        let (disk, shard, name) = (self.disk(), self.shard(&key)?, key.name());
        if !self.created().insert(key) {
            return self.unspool(spooled);
        }
        match disk.stat(shard, &name) {
            Err(Errno::NOENT) => {
                self.dress(
                    &self.layout.objects,
                    spooled.as_bytes(),
                    content,
                    None,
                    file,
                )?;
                disk.rename(&self.layout.objects, spooled.as_bytes(), shard, &name)
                    .during("store", Place(key))?;
                self.note(key, file, content)
            }
            Err(errno) => Err(errno).during("store", Place(key)).map_err(Into::into),
            Ok(_) => {
                self.created().remove(&key);
                if self.is_intact(shard, &name, &key, file)? {
                    self.unspool(spooled)
                } else {
                    self.replace(&key, file, spooled, content)
                }
            }
        }
    }

    /// Stores `target`, which has the content of an object that is held.
    pub(crate) fn put_copy(&self, object: Object<'_>, target: &File) -> Result<(), SiteError> {
        let source = self.open_intact(object)?;
        let (spooled, copy) = self.spool(target.mode.bits())?;
        if !self.copy(object, &source, &copy)? {
            self.unspool(&spooled)?;
            return Err(damaged(object));
        }
        self.put_spooled(target, &spooled, &copy)
    }

    /// A new file to write to, and its name for [`Store::put_spooled`].
    pub(crate) fn spool(&self, mode: u32) -> Result<(String, D::File), SiteError> {
        let name = format!("{SPOOLED}{}", self.spooled.fetch_add(1, Ordering::Relaxed));
        let disk = self.disk();
        let file = disk
            .create_file(&self.layout.objects, name.as_bytes(), mode)
            .during("create", format_args!(".bellwether/objects/{name}"))?;
        Ok((name, file))
    }

    /// Removes a spooled file.
    pub(crate) fn unspool(&self, name: &str) -> Result<(), SiteError> {
        let removed = self.disk().unlink(&self.layout.objects, name.as_bytes());
        Ok(removed.during("remove", format_args!(".bellwether/objects/{name}"))?)
    }

    /// Opens an object that was compared with what it should be; where it differs, it is first
    /// replaced from an intact copy.
    pub(crate) fn open_intact(&self, object: Object<'_>) -> Result<D::File, SiteError> {
        let (shard, name) = (self.shard(&object.key)?, object.key.name());
        if !self.was_created(&object.key)
            && !self.is_intact(shard, &name, &object.key, object.file)?
        {
            self.heal(object)?;
        }
        Ok(self
            .disk()
            .open_file(shard, &name)
            .during("open", Place(object.key))?)
    }

    /// Gives an object a name in a tree. `base` is a directory that has it under the same name:
    /// linking from there reads the directories in the order they are written.
    pub(crate) fn place(
        &self,
        object: Object<'_>,
        base: Option<&D::Dir>,
        target: &D::Dir,
    ) -> Result<(), SiteError> {
        let name = object.path.file_name();
        if self.reflink {
            return self.place_copy(object, target);
        }
        if let Some(base) = base
            && self.link(object, base, name, target)? == Linked::Yes
        {
            return Ok(());
        }
        let (shard, object_name) = (self.shard(&object.key)?, object.key.name());
        // The second attempt is made with an object that was healed or has no links yet.
        for attempt in 0..2 {
            let linked = if self.was_created(&object.key) {
                self.link_created(object, shard, &object_name, target)?
            } else {
                self.link(object, shard, &object_name, target)?
            };
            match linked {
                Linked::Yes => return Ok(()),
                Linked::NameTaken => return Err(self.collision(object.path, target)),
                Linked::NotIntact if attempt == 0 => self.heal(object)?,
                Linked::TooMany if attempt == 0 => self.renew(object)?,
                Linked::TooMany | Linked::Never => return self.place_copy(object, target),
                Linked::NotIntact => break,
            }
        }
        Err(damaged(object))
    }

    /// Links what was there before this session, if it is intact, and notes its new fingerprint.
    fn link(
        &self,
        object: Object<'_>,
        from: &D::Dir,
        from_name: &[u8],
        target: &D::Dir,
    ) -> Result<Linked, SiteError> {
        let Some((before, mut guard)) = self.intact(from, from_name, &object.key, object.file)?
        else {
            return Ok(Linked::NotIntact);
        };
        let (disk, name) = (self.disk(), object.path.file_name());
        let linked = linked(disk.link(from, from_name, target, name), object.path)?;
        if linked == Linked::Yes {
            let after = disk.stat(target, name).during("read", object.path)?;
            if (after.inode, after.mtime, after.size) != (before.inode, before.mtime, before.size) {
                // Somebody edits the file at this very moment.
                guard.forget();
                disk.unlink(target, name).during("remove", object.path)?;
                return Ok(Linked::NotIntact);
            }
            guard.note(&after, object.key);
        }
        Ok(linked)
    }

    /// Links what this session made, and notes its first fingerprint. The file system's own idea
    /// of permissions (umask, inherited groups) is set right here, where a stat is needed anyway.
    fn link_created(
        &self,
        object: Object<'_>,
        shard: &D::Dir,
        object_name: &[u8],
        target: &D::Dir,
    ) -> Result<Linked, SiteError> {
        let (disk, name) = (self.disk(), object.path.file_name());
        let linked = linked(disk.link(shard, object_name, target, name), object.path)?;
        if linked == Linked::Yes {
            let stat = || disk.stat(target, name).during("read", object.path);
            let mut now = stat()?;
            if now.mode != object.file.mode.bits() {
                let file = disk.open_file(target, name).during("open", object.path)?;
                self.dress(target, name, &file, Some(&now), object.file)?;
                now = stat()?;
            }
            if now.size != object.file.size {
                return Err(damaged(object));
            }
            self.fingerprints
                .guard(now.inode)
                .note_latest(&now, object.key);
        }
        Ok(linked)
    }

    /// Gives a tree a file of its own with an object's content.
    fn place_copy(&self, object: Object<'_>, target: &D::Dir) -> Result<(), SiteError> {
        let source = self.open_intact(object)?;
        let (disk, name) = (self.disk(), object.path.file_name());
        let copy = match disk.create_file(target, name, object.file.mode.bits()) {
            Err(Errno::EXIST) => return Err(self.collision(object.path, target)),
            created => created.during("create", object.path)?,
        };
        if !self.copy(object, &source, &copy)? {
            return Err(damaged(object));
        }
        self.dress(target, name, &copy, None, object.file)?;
        self.note(object.key, object.file, &copy)
    }

    /// Copies content and tells whether it was what it should be.
    fn copy(
        &self,
        object: Object<'_>,
        source: &D::File,
        target: &D::File,
    ) -> Result<bool, SiteError> {
        let disk = self.disk();
        if self.reflink && disk.reflink(source, target).is_ok() {
            return Ok(true);
        }
        let mut offset = 0;
        let hash = read_through(disk, source, object.file.size, |bytes| {
            disk.write_at(target, bytes, offset)?;
            offset += bytes.len() as u64;
            Ok(())
        });
        Ok(hash.during("copy", object.path)? == object.file.hash)
    }

    /// Notes the fingerprint of a file we made, once its permissions are right whatever the file
    /// system's own idea of them (umask, inherited groups) was.
    fn note(&self, key: Key, right: &File, file: &D::File) -> Result<(), SiteError> {
        let stat = || self.disk().stat_file(file).during("read", Place(key));
        let mut now = stat()?;
        if now.mode != right.mode.bits() {
            let set = self.disk().set_mode(file, right.mode.bits());
            set.during("set the mode of", Place(key))?;
            now = stat()?;
        }
        self.fingerprints.guard(now.inode).note(&now, key);
        Ok(())
    }

    /// Sets owner, permissions and time where they are not right, in the order in which none
    /// undoes another.
    fn dress(
        &self,
        at: &D::Dir,
        name: &[u8],
        file: &D::File,
        now: Option<&Stat>,
        right: &File,
    ) -> Result<(), SiteError> {
        let (disk, place) = (self.disk(), name.escape_ascii());
        if let Some(ids) = self.ids(right.owner.as_deref())?
            && now.is_none_or(|now| now.ids != ids)
        {
            disk.set_owner(at, name, ids)
                .during("set the owner of", place.clone())?;
        }
        if now.is_some_and(|now| now.mode != right.mode.bits()) {
            disk.set_mode(file, right.mode.bits())
                .during("set the mode of", place.clone())?;
        }
        if now.is_none_or(|now| now.mtime != right.modified) {
            disk.set_mtime(file, right.modified)
                .during("set the time of", place)?;
        }
        Ok(())
    }

    /// What stands at `name`, guarded, if it is the object: by its fingerprint, else by its
    /// content, whose permissions and time are then set right. `None` for anything else.
    pub(crate) fn intact(
        &self,
        at: &D::Dir,
        name: &[u8],
        key: &Key,
        right: &File,
    ) -> Result<Option<(Stat, Guard<'_>)>, SiteError> {
        let (disk, place) = (self.disk(), || name.escape_ascii());
        let stat = || match disk.stat(at, name) {
            Ok(stat) if stat.kind == Kind::File => Ok(Some(stat)),
            Ok(_) | Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno).during("read", place()),
        };
        let Some(seen) = stat()? else { return Ok(None) };
        let mut guard = self.fingerprints.guard(seen.inode);
        if guard.holds(&seen, key) {
            return Ok(Some((seen, guard)));
        }
        // Another thread may have linked it before we had the guard.
        let Some(seen) = stat()?.filter(|again| again.inode == seen.inode) else {
            return Ok(None);
        };
        if guard.holds(&seen, key) {
            return Ok(Some((seen, guard)));
        }
        let file = disk.open_file(at, name).during("open", place())?;
        if seen.size != right.size
            || read_through(disk, &file, seen.size, |_| Ok(())).during("read", place())?
                != right.hash
        {
            guard.forget();
            return Ok(None);
        }
        self.dress(at, name, &file, Some(&seen), right)?;
        let Some(seen) = stat()?.filter(|again| again.inode == seen.inode) else {
            return Ok(None);
        };
        guard.note(&seen, *key);
        Ok(Some((seen, guard)))
    }

    fn is_intact(
        &self,
        at: &D::Dir,
        name: &[u8],
        key: &Key,
        right: &File,
    ) -> Result<bool, SiteError> {
        Ok(self.intact(at, name, key, right)?.is_some())
    }

    /// Replaces an object that is missing or damaged by an intact copy from a held release.
    pub(crate) fn heal(&self, object: Object<'_>) -> Result<(), SiteError> {
        let Some(copies) = self.copies()?.get(&object.key) else {
            return Err(SiteError::ContentMissing {
                path: object.path.clone(),
            });
        };
        for (version, path) in copies {
            if let Some((at, name)) = self.open_parent(version, path)?
                && self.is_intact(&at, name, &object.key, object.file)?
            {
                let source = self.disk().open_file(&at, name).during("open", path)?;
                return self.replace_by_copy(object, &source);
            }
        }
        Err(damaged(object))
    }

    /// Replaces an object by a copy of itself, which has no other names yet.
    fn renew(&self, object: Object<'_>) -> Result<(), SiteError> {
        let source = self.open_intact(object)?;
        self.replace_by_copy(object, &source)
    }

    fn replace_by_copy(&self, object: Object<'_>, source: &D::File) -> Result<(), SiteError> {
        let (spooled, copy) = self.spool(object.file.mode.bits())?;
        if !self.copy(object, source, &copy)? {
            self.unspool(&spooled)?;
            return Err(damaged(object));
        }
        self.replace(&object.key, object.file, &spooled, &copy)
    }

    /// Puts a spooled file in the place of an object. Held versions may need the object, so the
    /// file is durable before it has that name.
    fn replace(
        &self,
        key: &Key,
        right: &File,
        spooled: &str,
        content: &D::File,
    ) -> Result<(), SiteError> {
        let disk = self.disk();
        let stat = disk.stat_file(content).during("read", Place(*key))?;
        self.dress(
            &self.layout.objects,
            spooled.as_bytes(),
            content,
            Some(&stat),
            right,
        )?;
        disk.sync_file(content).during("sync", Place(*key))?;
        let shard = self.shard(key)?;
        disk.rename(&self.layout.objects, spooled.as_bytes(), shard, &key.name())
            .during("replace", Place(*key))?;
        self.note(*key, right, content)
    }

    /// Removes what this session made and no entry needs; `used` is sorted.
    pub(crate) fn remove_unused(&self, used: &[Key]) -> Result<(), SiteError> {
        let mut unused: Vec<Key> = self
            .created()
            .iter()
            .copied()
            .filter(|key| used.binary_search(key).is_err())
            .collect();
        unused.sort_unstable();
        unused.iter().try_for_each(|key| self.remove(key).map(drop))
    }

    /// Removes an object, and tells whether it was there.
    pub(crate) fn remove(&self, key: &Key) -> Result<bool, SiteError> {
        match self.disk().unlink(self.shard(key)?, &key.name()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(errno).during("remove", Place(*key)).map_err(Into::into),
        }
    }

    /// Removes a tree's name of an object. That moves the ctime of what other trees share, so the
    /// fingerprint is taken anew, if it held until now.
    pub(crate) fn unlink(&self, object: Object<'_>, at: &D::Dir) -> Result<(), SiteError> {
        let (disk, name) = (self.disk(), object.path.file_name());
        // Whatever else stands there is left to the removal of the whole tree.
        let Ok(before) = disk.stat(at, name) else {
            return Ok(());
        };
        if before.kind != Kind::File {
            return Ok(());
        }
        let mut guard = self.fingerprints.guard(before.inode);
        let held = guard.holds(&before, &object.key);
        disk.unlink(at, name).during("remove", object.path)?;
        match disk.stat(self.shard(&object.key)?, &object.key.name()) {
            Ok(after) if held && after.inode == before.inode => guard.note(&after, object.key),
            _ => guard.forget(),
        }
        Ok(())
    }

    /// Gives a tree the object where it has something else, or nothing, in one step. Tells
    /// whether there was anything to do.
    pub(crate) fn restore(&self, object: Object<'_>, at: &D::Dir) -> Result<bool, SiteError> {
        if self.is_intact(at, object.path.file_name(), &object.key, object.file)? {
            return Ok(false);
        }
        let source = self.open_intact(object)?;
        let (spooled, copy) = self.spool(object.file.mode.bits())?;
        if !self.copy(object, &source, &copy)? {
            self.unspool(&spooled)?;
            return Err(damaged(object));
        }
        let (disk, spool) = (self.disk(), &self.layout.objects);
        self.dress(spool, spooled.as_bytes(), &copy, None, object.file)?;
        disk.sync_file(&copy).during("sync", object.path)?;
        disk.rename(spool, spooled.as_bytes(), at, object.path.file_name())
            .during("restore", object.path)?;
        self.note(object.key, object.file, &copy)?;
        Ok(true)
    }

    /// Whether the store has the object, as it should be.
    pub(crate) fn has_intact(&self, object: Object<'_>) -> Result<bool, SiteError> {
        let shard = self.shard(&object.key)?;
        self.is_intact(shard, &object.key.name(), &object.key, object.file)
    }

    /// Believes no fingerprint that was taken before this session.
    pub(crate) fn distrust(&mut self) {
        self.fingerprints = Fingerprints::empty();
    }

    /// Keeps what was learnt about inodes for the next session.
    pub(crate) fn save_fingerprints(&self) -> Result<(), SiteError> {
        if self.fingerprints.changed() {
            self.fingerprints.save(self.disk(), &self.layout.private)?;
        }
        Ok(())
    }

    fn copies(&self) -> Result<&Copies, SiteError> {
        if let Some(copies) = self.copies.get() {
            return Ok(copies);
        }
        let mut copies = Copies::new();
        for version in &self.held {
            let manifest = session::read_manifest(self.site, &self.layout, version)?;
            for (path, file) in manifest.files() {
                copies
                    .entry(Key::of(file))
                    .or_default()
                    .push((*version, path.clone()));
            }
        }
        Ok(self.copies.get_or_init(|| copies))
    }

    /// The directory in a held release that has `path`, if it is still there.
    fn open_parent<'p>(
        &self,
        version: &VersionId,
        path: &'p TreePath,
    ) -> Result<Option<Standing<'p, D>>, SiteError> {
        let open = |at: &D::Dir, path: &[u8]| match self.disk().open_dir(at, path) {
            Ok(dir) => Ok(Some(dir)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => Err(errno).during("open", path.escape_ascii()),
        };
        let release = open(&self.layout.releases, version.to_string().as_bytes())?;
        let Some(release) = release else {
            return Ok(None);
        };
        let at = match path.parent() {
            None => Some(release),
            Some(parent) => open(&release, parent.as_bytes())?,
        };
        Ok(at.map(|at| (at, path.file_name())))
    }

    /// Which name in `dir` is the same as that of `path`.
    pub(crate) fn collision(&self, path: &TreePath, dir: &D::Dir) -> SiteError {
        let disk = self.disk();
        let name = path.file_name();
        let same = |other: &[u8]| {
            let inode = |name| disk.stat(dir, name).map(|stat| stat.inode);
            other != name && inode(other).is_ok_and(|other| inode(name) == Ok(other))
        };
        let names = disk
            .list(dir)
            .unwrap_or_default()
            .into_iter()
            .map(|listed| listed.name);
        let mut names: Vec<Vec<u8>> = names.filter(|other| same(other)).collect();
        // Equal files share an inode, so there may be several; the likeliest differs in case.
        names.sort_by_key(|other| !other.eq_ignore_ascii_case(name));
        let other = names.first().map_or(name, Vec::as_slice);
        SiteError::NamesCollide {
            path: path.clone(),
            other: other.escape_ascii().to_string(),
        }
    }

    /// The directory of an object, made when first needed.
    pub(crate) fn shard(&self, key: &Key) -> Result<&D::Dir, Fault> {
        let shard = &self.shards[usize::from(key.shard())];
        if let Some(dir) = shard.get() {
            return Ok(dir);
        }
        let name = format!("{:02x}", key.shard());
        let (disk, at) = (self.disk(), &self.layout.objects);
        let dir = match disk.open_dir(at, name.as_bytes()) {
            Err(Errno::NOENT) => match disk.create_dir(at, name.as_bytes(), 0o700) {
                // Another thread was perhaps faster.
                Ok(()) | Err(Errno::EXIST) => disk.open_dir(at, name.as_bytes()),
                Err(errno) => Err(errno),
            },
            opened => opened,
        };
        let dir = dir.during("open", Place(*key))?;
        Ok(shard.get_or_init(|| dir))
    }

    fn was_created(&self, key: &Key) -> bool {
        self.created().contains(key)
    }

    fn created(&self) -> MutexGuard<'_, HashSet<Key>> {
        self.created.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Held content, seen without a lock: what is read may be compared, and nothing is changed.
#[derive(Debug)]
pub(crate) struct Reading<'s, D: Disk> {
    disk: &'s D,
    layout: Layout<D>,
    fingerprints: Fingerprints,
}

impl<'s, D: Disk> Reading<'s, D> {
    pub(crate) fn open(site: &'s Site<D>) -> Result<Self, SiteError> {
        let layout = Layout::open(site.disk(), site.name())?;
        Ok(Self {
            disk: site.disk(),
            fingerprints: Fingerprints::load(site.disk(), &layout.private),
            layout,
        })
    }

    pub(crate) fn disk(&self) -> &'s D {
        self.disk
    }

    /// The tree of a version.
    pub(crate) fn release(&self, version: &VersionId) -> Result<D::Dir, Fault> {
        let name = version.to_string();
        self.disk
            .open_dir(&self.layout.releases, name.as_bytes())
            .during("open", name)
    }

    /// Whether what stands in a tree, and has this `stat`, is the object.
    pub(crate) fn is_intact(
        &self,
        object: Object<'_>,
        at: &D::Dir,
        stat: &Stat,
    ) -> Result<bool, Fault> {
        if self.fingerprints.guard(stat.inode).holds(stat, &object.key) {
            return Ok(true);
        }
        let opened = self.disk.open_file(at, object.path.file_name());
        let file = opened.during("open", object.path)?;
        let hash = read_through(self.disk, &file, stat.size, |_| Ok(()));
        Ok(stat.size == object.file.size && hash.during("read", object.path)? == object.file.hash)
    }
}

/// The hash of a file's first `size` bytes, shown piece by piece to `look`.
pub(crate) fn read_through<D: Disk>(
    disk: &D,
    file: &D::File,
    size: u64,
    mut look: impl FnMut(&[u8]) -> Result<(), Errno>,
) -> Result<Hash, Errno> {
    // At least one byte more than the rest, so that a file that grew does not pass.
    let len = (size + 1).min(COPY_LEN);
    let mut buffer = vec![0; usize::try_from(len).map_err(|_| Errno::FBIG)?];
    let mut hasher = blake3::Hasher::new();
    let mut offset = 0;
    loop {
        let len = disk.read_at(file, &mut buffer, offset)?;
        if len == 0 || offset > size {
            return Ok(Hash(hasher.finalize().into()));
        }
        hasher.update(&buffer[..len]);
        look(&buffer[..len])?;
        offset += len as u64;
    }
}

fn linked(step: Result<(), Errno>, path: &TreePath) -> Result<Linked, Fault> {
    match step {
        Ok(()) => Ok(Linked::Yes),
        Err(Errno::NOENT) => Ok(Linked::NotIntact),
        Err(Errno::MLINK) => Ok(Linked::TooMany),
        Err(Errno::EXIST) => Ok(Linked::NameTaken),
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(Linked::Never),
        Err(errno) => Err(errno).during("link", path),
    }
}

fn damaged(object: Object<'_>) -> SiteError {
    SiteError::ContentDamaged {
        path: object.path.clone(),
    }
}

/// Where an object is, for messages.
struct Place(Key);

impl Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, ".bellwether/objects/{}", self.0)
    }
}
