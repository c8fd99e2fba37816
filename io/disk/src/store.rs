//! The content of held releases: the one place that decides whether a file on disk may be
//! believed, and gives what can be believed another name.
//!
//! Every content stands in a tree, under the names that trees give it; trees share inodes (hard
//! links) or extents (reflinks). With hard links an edit of a live file is an edit of all that
//! share it, so nothing is read or linked before its fingerprint was compared, and where that
//! moved, its content hashed. Then another file that should have the content may still have it.
//!
//! The road not taken is a store of objects beside the trees, called by their hashes: it costs a
//! second directory entry for every file, written and synced, and guards only against who removes
//! files of a release.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bellwether_content::{File, Manifest, Owner};
use bellwether_types::{Hash, TreePath, VersionId};

use crate::disk::{Disk, Errno, Ids, Kind, Stat};
use crate::error::{During, Fault, SiteError};
use crate::fingerprint::{Fingerprints, Guard};
use crate::index::{Index, Standing};
use crate::layout::{self, Layout, NEXT, PARTIAL};
use crate::session::{self, Session};
use crate::site::Site;

#[derive(Debug)]
pub(crate) struct Store<'s, D: Disk> {
    site: &'s Site<D>,
    layout: Arc<Layout<D>>,
    pub(crate) fingerprints: Fingerprints,
    /// Whether trees are made of reflinks rather than hard links.
    reflink: bool,
    /// Numbers files in passing.
    passing: AtomicU64,
    held: Vec<VersionId>,
    /// Another tree that may serve.
    building: Option<Arc<Manifest>>,
    /// Of all these.
    index: Mutex<Option<Arc<Index>>>,
}

/// A file as a tree should have it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) path: &'a TreePath,
    pub(crate) file: &'a File,
}

/// A name that should have a content, and what else its own tree says of it.
#[derive(Debug)]
pub(crate) struct Source<'a, D: Disk> {
    pub(crate) at: &'a D::Dir,
    pub(crate) name: &'a [u8],
    pub(crate) file: &'a File,
}

/// What became of an attempt to give a file another name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Linked {
    Yes,
    /// What stands there is not what it should be.
    NotIntact,
    /// It has as many names as it may have, or this file system has no hard links for us.
    Never,
}

const COPY_LEN: u64 = 1 << 18;

impl<'s, D: Disk> Store<'s, D> {
    pub(crate) fn open(session: &Session<'s, D>) -> Self {
        let (site, layout) = (session.site, &session.layout);
        Self {
            site,
            fingerprints: Fingerprints::load(site.disk(), &layout.private),
            layout: Arc::clone(layout),
            reflink: false,
            passing: AtomicU64::new(0),
            held: session.state.releases.keys().copied().collect(),
            building: None,
            index: Mutex::default(),
        }
    }

    pub(crate) fn disk(&self) -> &'s D {
        self.site.disk()
    }

    /// Finds out whether this file system can share content between files, and does so from now
    /// on if it can.
    pub(crate) fn prefer_reflinks(&mut self) -> Result<(), SiteError> {
        let (disk, at) = (self.disk(), &self.layout.private);
        let names = [self.passing_name()?, self.passing_name()?];
        let create = |name: &[u8]| {
            disk.create_file(at, name, 0o600)
                .during("create", "a probe")
        };
        let [source, target] = [create(&names[0])?, create(&names[1])?];
        disk.write_at(&source, b"?", 0).during("write", "a probe")?;
        self.reflink = disk.reflink(&source, &target).is_ok();
        for name in names {
            disk.unlink(at, &name).during("remove", "a probe")?;
        }
        Ok(())
    }

    /// Looks for content in the tree that is being built, too.
    pub(crate) fn look_in_partial(&mut self, manifest: Arc<Manifest>) {
        self.building = Some(manifest);
        self.index = Mutex::default();
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

    pub(crate) fn ids(&self, owner: Option<&Owner>) -> Result<Option<Ids>, SiteError> {
        (self.site.options().owners)(owner).map_err(|()| SiteError::OwnerUnknown {
            owner: owner.cloned(),
        })
    }

    /// Gives a tree the file under `name`, from `source`, or else from wherever there is an
    /// intact copy.
    pub(crate) fn place(
        &self,
        wanted: Wanted<'_>,
        source: Option<&Source<'_, D>>,
        at: &D::Dir,
        name: &[u8],
    ) -> Result<(), SiteError> {
        if let Some(source) = source
            && self.take(wanted, source, at, name)?
        {
            return Ok(());
        }
        let take = |source: &Source<'_, D>| Ok(self.take(wanted, source, at, name)?.then_some(()));
        if self.find(wanted, take)?.is_some() {
            Ok(())
        } else if source.is_some() || self.index()?.find(&wanted.file.hash).next().is_some() {
            Err(damaged(wanted))
        } else {
            Err(SiteError::ContentMissing {
                path: wanted.path.clone(),
            })
        }
    }

    /// Opens content that was compared with what it should be: where `path` of a held version
    /// stands, or else wherever there is an intact copy.
    pub(crate) fn open_intact(
        &self,
        version: &VersionId,
        wanted: Wanted<'_>,
    ) -> Result<D::File, SiteError> {
        let tree = version.to_string();
        if let Some(at) = self.open_parent(tree.as_bytes(), wanted.path)? {
            let source = Source {
                at: &at,
                name: wanted.path.file_name(),
                file: wanted.file,
            };
            if let Some(file) = self.open_source(&source)? {
                return Ok(file);
            }
        }
        self.find(wanted, |source| self.open_source(source))?
            .ok_or_else(|| damaged(wanted))
    }

    /// Gives a tree the file where it has something else, or nothing, in one step. Tells
    /// whether there was anything to do.
    pub(crate) fn restore(&self, wanted: Wanted<'_>, at: &D::Dir) -> Result<bool, SiteError> {
        let name = wanted.path.file_name();
        let own = Source {
            at,
            name,
            file: wanted.file,
        };
        if self.intact(&own)?.is_some() {
            return Ok(false);
        }
        let (disk, private) = (self.disk(), &self.layout.private);
        let passing = self.passing_name()?;
        self.place(wanted, None, private, &passing)?;
        let file = disk
            .open_file(private, &passing)
            .during("open", wanted.path)?;
        disk.sync_file(&file).during("sync", wanted.path)?;
        disk.rename(private, &passing, at, name)
            .during("restore", wanted.path)?;
        // To be renamed is a change, too.
        let inode = disk.stat_file(&file).during("read", wanted.path)?.inode;
        let mut guard = self.fingerprints.guard(inode);
        let now = disk.stat_file(&file).during("read", wanted.path)?;
        guard.note(&now, &wanted.file.hash);
        Ok(true)
    }

    /// Removes a name of a file. That moves the ctime of what other trees share, so the
    /// fingerprint is taken anew, if it held until now. Tells whether it was the last name.
    pub(crate) fn unlink(&self, wanted: Wanted<'_>, at: &D::Dir) -> Result<bool, SiteError> {
        let (disk, name) = (self.disk(), wanted.path.file_name());
        // Whatever else stands there is left to the removal of the whole tree.
        let Ok(before) = disk.stat(at, name) else {
            return Ok(false);
        };
        if before.kind != Kind::File {
            return Ok(false);
        }
        let mut guard = self.fingerprints.guard(before.inode);
        let shared = match before.links {
            ..=1 => None,
            _ => Some(disk.open_file(at, name).during("open", wanted.path)?),
        };
        disk.unlink(at, name).during("remove", wanted.path)?;
        let after = shared.map(|file| disk.stat_file(&file)).transpose();
        match after.during("read", wanted.path)? {
            Some(after) if after.inode == before.inode && guard.holds(&before, wanted.file) => {
                guard.note(&after, &wanted.file.hash);
            }
            _ => guard.forget(),
        }
        Ok(before.links <= 1)
    }

    /// Links, reflinks or copies the file from `source`; tells whether that was what it should
    /// be.
    fn take(
        &self,
        wanted: Wanted<'_>,
        source: &Source<'_, D>,
        at: &D::Dir,
        name: &[u8],
    ) -> Result<bool, SiteError> {
        if !self.reflink && source.file == wanted.file {
            match self.link(wanted, source, at, name)? {
                Linked::Yes => return Ok(true),
                Linked::NotIntact => return Ok(false),
                Linked::Never => {}
            }
        }
        self.copy(wanted, source, at, name)
    }

    fn link(
        &self,
        wanted: Wanted<'_>,
        source: &Source<'_, D>,
        at: &D::Dir,
        name: &[u8],
    ) -> Result<Linked, SiteError> {
        let Some((before, mut guard)) = self.intact(source)? else {
            return Ok(Linked::NotIntact);
        };
        let disk = self.disk();
        match disk.link(source.at, source.name, at, name) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Ok(Linked::NotIntact),
            Err(Errno::MLINK | Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS) => {
                return Ok(Linked::Never);
            }
            Err(Errno::EXIST) => return Err(self.collision(wanted.path, at)),
            Err(errno) => return Err(errno).during("link", wanted.path).map_err(Into::into),
        }
        let after = disk.stat(at, name).during("read", wanted.path)?;
        if (after.inode, after.mtime, after.size) != (before.inode, before.mtime, before.size) {
            // Somebody edits the file at this very moment.
            guard.forget();
            disk.unlink(at, name).during("remove", wanted.path)?;
            return Ok(Linked::NotIntact);
        }
        guard.note(&after, &wanted.file.hash);
        Ok(Linked::Yes)
    }

    fn copy(
        &self,
        wanted: Wanted<'_>,
        source: &Source<'_, D>,
        at: &D::Dir,
        name: &[u8],
    ) -> Result<bool, SiteError> {
        let Some(from) = self.open_source(source)? else {
            return Ok(false);
        };
        let disk = self.disk();
        let to = self.create(wanted, at, name)?;
        if !self.fill(wanted, &from, &to)? {
            disk.unlink(at, name).during("remove", wanted.path)?;
            return Ok(false);
        }
        self.finish(wanted.path, wanted.file, &to)?;
        Ok(true)
    }

    /// Makes a file with its owner, and with nothing in it yet.
    pub(crate) fn create(
        &self,
        wanted: Wanted<'_>,
        at: &D::Dir,
        name: &[u8],
    ) -> Result<D::File, SiteError> {
        let (disk, path) = (self.disk(), wanted.path);
        let file = match disk.create_file(at, name, wanted.file.mode.bits()) {
            Err(Errno::EXIST) => return Err(self.collision(path, at)),
            created => created.during("create", path)?,
        };
        // Now, because it may take permissions away, which are looked at last.
        if let Some(ids) = self.ids(wanted.file.owner.as_deref())? {
            disk.set_owner(at, name, ids)
                .during("set the owner of", path)?;
        }
        Ok(file)
    }

    /// Sets the time and permissions of a file that we made and filled, and notes its
    /// fingerprint.
    pub(crate) fn finish(
        &self,
        path: &TreePath,
        right: &File,
        file: &D::File,
    ) -> Result<(), SiteError> {
        let disk = self.disk();
        disk.set_mtime(file, right.modified)
            .during("set the time of", path)?;
        let mut now = disk.stat_file(file).during("read", path)?;
        // The file system may have its own idea of them (umask, inherited groups).
        if now.mode != right.mode.bits() {
            disk.set_mode(file, right.mode.bits())
                .during("set the mode of", path)?;
            now = disk.stat_file(file).during("read", path)?;
        }
        self.fingerprints.guard(now.inode).note(&now, &right.hash);
        Ok(())
    }

    /// Copies content and tells whether it was what it should be.
    fn fill(&self, wanted: Wanted<'_>, from: &D::File, to: &D::File) -> Result<bool, SiteError> {
        let disk = self.disk();
        if self.reflink && disk.reflink(from, to).is_ok() {
            return Ok(true);
        }
        let mut offset = 0;
        let hash = read_through(disk, from, wanted.file.size, |bytes| {
            disk.write_at(to, bytes, offset)?;
            offset += bytes.len() as u64;
            Ok(())
        });
        Ok(hash.during("copy", wanted.path)? == wanted.file.hash)
    }

    /// What stands at a source, guarded, if it is what it should be.
    fn intact(&self, source: &Source<'_, D>) -> Result<Option<(Stat, Guard<'_>)>, SiteError> {
        let disk = self.disk();
        let stat = || match disk.stat(source.at, source.name) {
            Ok(stat) if stat.kind == Kind::File => Ok(Some(stat)),
            Ok(_) | Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno).during("read", source.name.escape_ascii()),
        };
        let Some(seen) = stat()? else { return Ok(None) };
        let guard = self.fingerprints.guard(seen.inode);
        if guard.holds(&seen, source.file) {
            return Ok(Some((seen, guard)));
        }
        drop(guard);
        let Some(file) = self.open_source(source)? else {
            return Ok(None);
        };
        // Now it holds, unless somebody is at work on it.
        let inode = disk
            .stat_file(&file)
            .during("read", source.name.escape_ascii())?
            .inode;
        let guard = self.fingerprints.guard(inode);
        let held = stat()?.filter(|seen| seen.inode == inode && guard.holds(seen, source.file));
        Ok(held.map(|seen| (seen, guard)))
    }

    /// Opens a source if it is what it should be: by its fingerprint, else by its content, whose
    /// owner, permissions and time are then set right.
    fn open_source(&self, source: &Source<'_, D>) -> Result<Option<D::File>, SiteError> {
        let &Source {
            at,
            name,
            file: right,
        } = source;
        let (disk, place) = (self.disk(), || name.escape_ascii());
        let file = match disk.open_file(at, name) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(None),
            Err(errno) => return Err(errno).during("open", place()).map_err(Into::into),
        };
        let stat = || disk.stat_file(&file).during("read", place());
        let mut guard = self.fingerprints.guard(stat()?.inode);
        let seen = stat()?;
        if guard.holds(&seen, right) {
            return Ok(Some(file));
        }
        if seen.kind != Kind::File || seen.size != right.size || guard.refuses(&seen) {
            return Ok(None);
        }
        let hash = read_through(disk, &file, seen.size, |_| Ok(())).during("read", place())?;
        if hash != right.hash {
            guard.note_damaged(&seen);
            return Ok(None);
        }
        if let Some(ids) = self.ids(right.owner.as_deref())?
            && seen.ids != ids
        {
            disk.set_owner(at, name, ids)
                .during("set the owner of", place())?;
        }
        if seen.mode != right.mode.bits() {
            disk.set_mode(&file, right.mode.bits())
                .during("set the mode of", place())?;
        }
        if seen.mtime != right.modified {
            disk.set_mtime(&file, right.modified)
                .during("set the time of", place())?;
        }
        guard.note(&stat()?, &right.hash);
        Ok(Some(file))
    }

    /// Tries every file that should have the content, until one serves.
    fn find<T>(
        &self,
        wanted: Wanted<'_>,
        mut take: impl FnMut(&Source<'_, D>) -> Result<Option<T>, SiteError>,
    ) -> Result<Option<T>, SiteError> {
        let index = self.index()?;
        for Standing { tree, path, file } in index.find(&wanted.file.hash) {
            if let Some(at) = self.open_parent(tree, path)? {
                let name = path.file_name();
                let source = Source {
                    at: &at,
                    name,
                    file,
                };
                if let Some(taken) = take(&source)? {
                    return Ok(Some(taken));
                }
            }
        }
        Ok(None)
    }

    fn index(&self) -> Result<Arc<Index>, SiteError> {
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = &*index {
            return Ok(Arc::clone(index));
        }
        let mut trees = Vec::new();
        for version in &self.held {
            match session::read_manifest(self.site, &self.layout, version) {
                Ok(manifest) => trees.push((version.to_string().into_bytes(), manifest)),
                // What it held can be found no more; `fsck` says so.
                Err(SiteError::ManifestDamaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        trees.extend(
            self.building
                .iter()
                .map(|manifest| (PARTIAL.to_vec(), Arc::clone(manifest))),
        );
        Ok(Arc::clone(index.insert(Arc::new(Index::new(trees)))))
    }

    /// The directory that has `path` of a tree in `releases`, if it is still there.
    fn open_parent(&self, tree: &[u8], path: &TreePath) -> Result<Option<D::Dir>, SiteError> {
        let open = |at: &D::Dir, path: &[u8]| match self.disk().open_dir(at, path) {
            Ok(dir) => Ok(Some(dir)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => Err(errno).during("open", path.escape_ascii()),
        };
        let Some(root) = open(&self.layout.releases, tree)? else {
            return Ok(None);
        };
        match path.parent() {
            None => Ok(Some(root)),
            Some(parent) => Ok(open(&root, parent.as_bytes())?),
        }
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

    /// A free name in the private directory for a file on its way; what a crash leaves of them is
    /// swept.
    fn passing_name(&self) -> Result<Vec<u8>, Fault> {
        let number = self.passing.fetch_add(1, Ordering::Relaxed);
        let name = [format!("passing.{number}").as_bytes(), NEXT].concat();
        layout::remove(self.disk(), &self.layout.private, &name)?;
        Ok(name)
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

fn damaged(wanted: Wanted<'_>) -> SiteError {
    SiteError::ContentDamaged {
        path: wanted.path.clone(),
    }
}
