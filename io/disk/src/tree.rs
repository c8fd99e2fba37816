//! Building and removing trees.
//!
//! A tree is built in four passes: all directories, parents first, on one thread; the new files,
//! as they come ([`crate::writer`]); what is already held, and links, on all threads, in the order
//! of their directories; then the permissions of directories, which might forbid what comes
//! before. Removing goes the other way. No pass holds more than a few directories open, however
//! deep the tree.

use bellwether_content::{Entry, File, Manifest, Owner};
use bellwether_types::TreePath;

use crate::disk::{Disk, Errno, Kind};
use crate::error::{During, Fault, SiteError};
use crate::parallel;
use crate::store::{Source, Store, Wanted};

/// A tree that is built beside what it is made from.
pub(crate) struct Building<'a, 's, D: Disk> {
    pub(crate) store: &'a Store<'s, D>,
    pub(crate) threads: usize,
    /// A directory of ours.
    pub(crate) root: &'a D::Dir,
    /// A tree to link unchanged files from, if it is there, and what it should hold.
    pub(crate) base: (Option<&'a D::Dir>, &'a Manifest),
}

/// A manifest arranged by directories, as disks want it.
pub(crate) struct Survey<'m> {
    /// Each after the one above it; the first is the root.
    pub(crate) directories: Vec<Directory<'m>>,
    /// All entries, directories too, in the manifest's order.
    pub(crate) entries: Vec<Place<'m>>,
}

/// A directory of a tree.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Directory<'m> {
    /// Its own entry; `None` for the root.
    pub(crate) place: Option<Place<'m>>,
}

/// An entry and the number of the directory it stands in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'m> {
    pub(crate) directory: usize,
    pub(crate) path: &'m TreePath,
    pub(crate) entry: &'m Entry,
}

/// A file or link to make, and the file of the base to make it from.
struct Leaf<'m> {
    place: Place<'m>,
    base: Option<(&'m TreePath, &'m File)>,
}

/// The directory of the last path beneath a root: siblings come together.
#[derive(Debug)]
pub(crate) struct Siblings<'a, D: Disk> {
    disk: &'a D,
    root: &'a D::Dir,
    last: Option<(Vec<u8>, D::Dir)>,
}

/// How many files a thread takes at a time.
const BATCH: usize = 256;

/// The root of a release.
pub(crate) const ROOT_MODE: u32 = 0o755;

impl<'m> Survey<'m> {
    /// Of the entries of a manifest, or of a tree in a manifest's order.
    pub(crate) fn new(tree: impl IntoIterator<Item = (&'m TreePath, &'m Entry)>) -> Self {
        let mut directories = vec![Directory { place: None }];
        let mut entries = Vec::new();
        let mut directory = 0;
        for (path, entry) in tree {
            // Climb to the directory that this entry stands in: the root holds everything.
            while let Some(above) = directories[directory].place
                && !path.is_within(above.path)
            {
                directory = above.directory;
            }
            let place = Place {
                directory,
                path,
                entry,
            };
            entries.push(place);
            if let Entry::Directory { .. } = entry {
                directory = directories.len();
                directories.push(Directory { place: Some(place) });
            }
        }
        Self {
            directories,
            entries,
        }
    }

    /// Everything but directories; what stands in one directory is together.
    pub(crate) fn leaves(&self) -> Vec<Place<'m>> {
        let is_leaf = |place: &Place<'_>| !matches!(place.entry, Entry::Directory { .. });
        let mut leaves: Vec<_> = self.entries.iter().copied().filter(is_leaf).collect();
        leaves.sort_by_key(|leaf| leaf.directory);
        leaves
    }

    /// Opens a directory of a tree that is arranged so.
    pub(crate) fn open<D: Disk>(
        &self,
        disk: &D,
        root: &D::Dir,
        directory: usize,
    ) -> Result<D::Dir, Fault> {
        match self.directories[directory].place {
            Some(Place { path, .. }) => disk.open_dir(root, path.as_bytes()).during("open", path),
            None => disk.open_dir(root, b".").during("open", "."),
        }
    }
}

impl<'a, D: Disk> Siblings<'a, D> {
    pub(crate) fn new(disk: &'a D, root: &'a D::Dir) -> Self {
        let last = None;
        Self { disk, root, last }
    }

    /// The directory that has `path`.
    pub(crate) fn of(&mut self, path: &TreePath) -> Result<&D::Dir, Errno> {
        let above = path.as_bytes().len() - path.file_name().len();
        let parent = match &path.as_bytes()[..above] {
            [] => b".",
            [parent @ .., _slash] => parent,
        };
        let last = match self.last.take() {
            Some(last) if last.0 == parent => last,
            _ => (parent.to_vec(), self.disk.open_dir(self.root, parent)?),
        };
        Ok(&self.last.insert(last).1)
    }
}

/// Makes the directories of a tree beneath `root`, which is empty.
pub(crate) fn make_directories<D: Disk>(
    store: &Store<'_, D>,
    root: &D::Dir,
    survey: &Survey<'_>,
) -> Result<(), SiteError> {
    let disk = store.disk();
    let mut siblings = Siblings::new(disk, root);
    for directory in &survey.directories {
        let Some(Place { path, .. }) = directory.place else {
            continue;
        };
        let at = siblings.of(path).during("open", path)?;
        // Ours alone until its files are there; its own permissions come last.
        match disk.create_dir(at, path.file_name(), 0o700) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Err(store.collision(path, at)),
            Err(errno) => return Err(errno).during("create", path).map_err(Into::into),
        }
    }
    Ok(())
}

impl<D: Disk> Building<'_, '_, D> {
    /// Makes everything of `target` but the directories, which are there, and the entries with
    /// these numbers, which rise, and are there, too.
    pub(crate) fn build(&self, target: &Manifest, written: &[usize]) -> Result<(), SiteError> {
        let survey = Survey::new(target.iter());
        let leaves = self.leaves(&survey, written);
        let batches: Vec<&[Leaf<'_>]> = leaves.chunks(BATCH).collect();
        parallel::for_each(self.threads, batches.len(), |batch| {
            self.make_leaves(batches[batch])
        })?;
        self.finish_directories(&survey)
    }

    /// What to make; what stands in one directory is together.
    fn leaves<'m>(&'m self, survey: &Survey<'m>, written: &[usize]) -> Vec<Leaf<'m>> {
        // Both manifests are in the same order, so one pass finds all unchanged entries.
        let mut base = self.base.1.iter().peekable();
        let mut written = written.iter().peekable();
        let mut leaves = Vec::with_capacity(survey.entries.len());
        let mut elsewhere = false;
        for (number, &place) in survey.entries.iter().enumerate() {
            if matches!(place.entry, Entry::Directory { .. })
                || written.next_if(|&&next| next == number).is_some()
            {
                continue;
            }
            while base.next_if(|(path, _)| *path < place.path).is_some() {}
            let same = base.next_if(|(path, entry)| (*path, *entry) == (place.path, place.entry));
            let base = same.and_then(|(path, entry)| Some((path, file(entry)?)));
            elsewhere |= base.is_none() && file(place.entry).is_some();
            leaves.push(Leaf { place, base });
        }
        if elsewhere {
            self.find_elsewhere(&mut leaves);
        }
        leaves.sort_by_key(|leaf| leaf.place.directory);
        leaves
    }

    /// Finds moved and copied files in the base by their content: best under equal attributes,
    /// so that they can be linked.
    fn find_elsewhere<'m>(&'m self, leaves: &mut [Leaf<'m>]) {
        let mut held: Vec<_> = self.base.1.files().collect();
        held.sort_by_key(|(_, file)| file.hash);
        for leaf in leaves.iter_mut().filter(|leaf| leaf.base.is_none()) {
            let Some(wanted) = file(leaf.place.entry) else {
                continue;
            };
            let start = held.partition_point(|(_, file)| file.hash < wanted.hash);
            let same = held[start..]
                .iter()
                .take_while(|(_, file)| file.hash == wanted.hash);
            let equal = same.clone().find(|(_, file)| *file == wanted);
            leaf.base = equal.or_else(|| same.clone().next()).copied();
        }
    }

    fn make_leaves(&self, leaves: &[Leaf<'_>]) -> Result<(), SiteError> {
        let disk = self.store.disk();
        let mut targets = Siblings::new(disk, self.root);
        let mut bases = self.base.0.map(|root| Siblings::new(disk, root));
        for Leaf { place, base } in leaves {
            let at = targets.of(place.path).during("open", place.path)?;
            match place.entry {
                Entry::File(file) => {
                    let source = match (&mut bases, base) {
                        // Somebody may have removed its directory; then others serve.
                        (Some(bases), Some((path, file))) => bases.of(path).ok().map(|at| Source {
                            at,
                            name: path.file_name(),
                            file,
                        }),
                        _ => None,
                    };
                    let wanted = Wanted {
                        path: place.path,
                        file,
                    };
                    let name = place.path.file_name();
                    self.store.place(wanted, source.as_ref(), at, name)?;
                }
                Entry::Symlink { target, owner } => {
                    make_link(self.store, place.path, target, owner.as_deref(), at)?;
                }
                Entry::Directory { .. } => unreachable!("leaves are not directories"),
            }
        }
        Ok(())
    }

    /// Deepest first, because a directory's permissions may hide what is beneath.
    fn finish_directories(&self, survey: &Survey<'_>) -> Result<(), SiteError> {
        for (index, directory) in survey.directories.iter().enumerate().rev() {
            let disk = self.store.disk();
            let dir = survey.open(disk, self.root, index)?;
            let (mode, owner) = match directory.place.map(|place| place.entry) {
                Some(Entry::Directory { mode, owner }) => (mode.bits(), owner.as_deref()),
                _ => (ROOT_MODE, None),
            };
            let place = || {
                directory
                    .place
                    .map_or_else(|| ".".into(), |place| place.path.to_string())
            };
            if let Some(ids) = self.store.ids(owner)? {
                disk.set_owner(&dir, b".", ids)
                    .during("set the owner of", place())?;
            }
            disk.set_dir_mode(&dir, mode)
                .during("set the mode of", place())?;
        }
        Ok(())
    }
}

/// Makes a symbolic link.
pub(crate) fn make_link<D: Disk>(
    store: &Store<'_, D>,
    path: &TreePath,
    target: &[u8],
    owner: Option<&Owner>,
    at: &D::Dir,
) -> Result<(), SiteError> {
    let disk = store.disk();
    match disk.symlink(target, at, path.file_name()) {
        Ok(()) => {}
        Err(Errno::EXIST) => return Err(store.collision(path, at)),
        Err(errno) => return Err(errno).during("create", path).map_err(Into::into),
    }
    if let Some(ids) = store.ids(owner)? {
        disk.set_owner(at, path.file_name(), ids)
            .during("set the owner of", path)?;
    }
    Ok(())
}

fn file(entry: &Entry) -> Option<&File> {
    match entry {
        Entry::File(file) => Some(file),
        _ => None,
    }
}

/// Removes the tree `name` in `at`; `pace` is told how many files were removed since it was last
/// called, and may wait.
pub(crate) fn remove<D: Disk>(
    disk: &D,
    at: &D::Dir,
    name: &[u8],
    pace: &mut dyn FnMut(usize),
) -> Result<(), Fault> {
    let place = || name.escape_ascii();
    let root = match disk.open_dir(at, name) {
        Ok(root) => root,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(errno).during("open", place()),
    };
    // Paths beneath the root, each before what it holds.
    let mut directories: Vec<Vec<u8>> = vec![b".".to_vec()];
    let mut next = 0;
    while let Some(path) = directories.get(next).cloned() {
        next += 1;
        let dir = disk.open_dir(&root, &path).during("open", place())?;
        let listed = disk.list(&dir).during("list", place())?;
        if !listed.is_empty() {
            // A tree may forbid its owner to change it.
            disk.set_dir_mode(&dir, 0o700).during("remove", place())?;
        }
        for listed in listed.chunks(BATCH) {
            for entry in listed {
                match entry.kind {
                    Kind::Directory if path == b"." => directories.push(entry.name.clone()),
                    Kind::Directory => directories.push([&path[..], b"/", &entry.name].concat()),
                    _ => disk.unlink(&dir, &entry.name).during("remove", place())?,
                }
            }
            pace(listed.len());
        }
    }
    for path in directories[1..].iter().rev() {
        let (parent, name) = match path.iter().rposition(|&b| b == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (b".".as_slice(), &path[..]),
        };
        let parent = disk.open_dir(&root, parent).during("open", place())?;
        disk.remove_dir(&parent, name).during("remove", place())?;
    }
    disk.remove_dir(at, name).during("remove", place())
}
