//! Setting right what can be of held versions that are not what they should be.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bellwether_content::{Entry, File, Manifest, Mode, Owner};
use bellwether_types::{Hash, TreePath, VersionId};

use crate::disk::{Disk, Errno, Kind};
use crate::error::{During, SiteError};
use crate::layout::{self, Durability};
use crate::parallel;
use crate::session::Session;
use crate::site::Site;
use crate::store::{Store, Wanted, read_through};
use crate::tree::{self, Place, Survey};

/// What was found out of order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mended {
    /// Entries that were not as they should be, and are again.
    pub restored: Vec<Damage>,
    /// Entries that stay damaged, because no intact copy is held.
    pub lost: Vec<Damage>,
}

/// An entry of a held version that was not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Damage {
    /// The version.
    pub version: VersionId,
    /// The entry.
    pub path: TreePath,
}

/// What a check of everything found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checked {
    /// How many files were compared.
    pub files: usize,
    /// What was out of order.
    pub mended: Mended,
    /// Versions whose manifest was damaged, and was made anew from their tree.
    pub manifests_restored: Vec<VersionId>,
    /// Versions whose manifest is damaged, and whose tree is not what it was either: what they
    /// should be, nobody here knows.
    pub manifests_lost: Vec<VersionId>,
}

impl<D: Disk> Site<D> {
    /// Reads every file of every held version, believing no fingerprint, and restores what
    /// differs from intact copies. What nothing is known about stays.
    pub fn fsck(&self) -> Result<Checked, SiteError> {
        let mut session = Session::begin(self, "fsck")?;
        session.sweep()?;
        let mut checked = Checked::default();
        let mut versions = Vec::new();
        for version in session.state.releases.keys() {
            match session.manifest(version) {
                Err(SiteError::ManifestDamaged { .. }) => {
                    if !restore_manifest(&session, version)? {
                        checked.manifests_lost.push(*version);
                        continue;
                    }
                    checked.manifests_restored.push(*version);
                }
                manifest => drop(manifest?),
            }
            versions.push(*version);
        }
        // After that, so that whatever was restored is among what it looks in.
        let mut store = Store::open(&session);
        store.distrust();
        for version in &versions {
            checked.files += session.manifest(version)?.files().count();
            let mended = release(&session, &store, version)?;
            checked.mended.restored.extend(mended.restored);
            checked.mended.lost.extend(mended.lost);
        }
        store.save_fingerprints()?;
        self.disk().sync_all().during("sync", self.name())?;
        Ok(checked)
    }
}

impl Mended {
    /// Fails with the first entry that is lost.
    pub(crate) fn into_result(self) -> Result<(), SiteError> {
        match self.lost.into_iter().next() {
            None => Ok(()),
            Some(Damage { path, .. }) => Err(SiteError::ContentDamaged { path }),
        }
    }
}

/// Compares the tree of a held version with its manifest, by fingerprints and, where they moved,
/// by content; restores what differs.
pub(crate) fn release<D: Disk>(
    session: &Session<'_, D>,
    store: &Store<'_, D>,
    version: &VersionId,
) -> Result<Mended, SiteError> {
    let manifest = session.manifest(version)?;
    let disk = session.disk();
    // What an earlier attempt left on its way.
    session.clean_private()?;
    let root = open_release(session, version)?;
    let survey = Survey::new(manifest.iter());
    let mended = Mutex::new(Mended::default());
    let found = |path: &TreePath, restored: bool| {
        let mut mended = mended.lock().unwrap_or_else(PoisonError::into_inner);
        let list = if restored {
            &mut mended.restored
        } else {
            &mut mended.lost
        };
        list.push(Damage {
            version: *version,
            path: path.clone(),
        });
    };
    for directory in survey
        .directories
        .iter()
        .filter_map(|directory| directory.place)
    {
        if restore_directory(store, disk, &root, directory)? {
            found(directory.path, true);
        }
    }
    let leaves = survey.leaves();
    let batches: Vec<&[Place<'_>]> = leaves.chunk_by(|a, b| a.directory == b.directory).collect();
    parallel::for_each(session.site.options().threads, batches.len(), |batch| {
        let siblings = batches[batch];
        let at = survey.open(disk, &root, siblings[0].directory)?;
        for place in siblings {
            match restore_leaf(store, disk, &at, place) {
                Ok(false) => {}
                Ok(true) => found(place.path, true),
                Err(SiteError::ContentDamaged { .. } | SiteError::ContentMissing { .. }) => {
                    found(place.path, false);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    })?;
    let mut mended = mended.into_inner().unwrap_or_else(PoisonError::into_inner);
    mended.restored.sort();
    mended.lost.sort();
    Ok(mended)
}

/// The tree of a version; an empty one if somebody removed it.
fn open_release<D: Disk>(
    session: &Session<'_, D>,
    version: &VersionId,
) -> Result<D::Dir, SiteError> {
    let (disk, releases) = (session.disk(), &session.layout.releases);
    let name = version.to_string();
    match disk.create_dir(releases, name.as_bytes(), tree::ROOT_MODE) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno).during("create", name).map_err(Into::into),
    }
    Ok(disk
        .open_dir(releases, name.as_bytes())
        .during("open", name)?)
}

/// Tells whether there was anything to do.
fn restore_directory<D: Disk>(
    store: &Store<'_, D>,
    disk: &D,
    root: &D::Dir,
    place: Place<'_>,
) -> Result<bool, SiteError> {
    let Entry::Directory { mode, owner } = place.entry else {
        return Ok(false);
    };
    let path = place.path;
    let parent = path.parent();
    let parent = parent.as_ref().map_or(b".".as_slice(), TreePath::as_bytes);
    let at = disk.open_dir(root, parent).during("open", path)?;
    let missing = match disk.create_dir(&at, path.file_name(), mode.bits()) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(errno) => return Err(errno).during("restore", path).map_err(Into::into),
    };
    let stat = disk.stat(&at, path.file_name()).during("read", path)?;
    if missing && let Some(ids) = store.ids(owner.as_deref())? {
        disk.set_owner(&at, path.file_name(), ids)
            .during("restore", path)?;
    }
    if stat.mode == mode.bits() {
        return Ok(missing);
    }
    let dir = disk.open_dir(&at, path.file_name()).during("open", path)?;
    disk.set_dir_mode(&dir, mode.bits())
        .during("restore", path)?;
    Ok(true)
}

/// Tells whether there was anything to do.
fn restore_leaf<D: Disk>(
    store: &Store<'_, D>,
    disk: &D,
    at: &D::Dir,
    place: &Place<'_>,
) -> Result<bool, SiteError> {
    let (path, name) = (place.path, place.path.file_name());
    match place.entry {
        Entry::File(file) => store.restore(Wanted { path, file }, at),
        Entry::Symlink { target, owner } => {
            match disk.read_link(at, name) {
                Ok(found) if found == **target => return Ok(false),
                Ok(_) | Err(Errno::INVAL) => disk.unlink(at, name).during("restore", path)?,
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno).during("read", path).map_err(Into::into),
            }
            tree::make_link(store, path, target, owner.as_deref(), at)?;
            Ok(true)
        }
        Entry::Directory { .. } => unreachable!("a survey's leaves are not directories"),
    }
}

/// Makes the manifest of a version anew from its tree, and keeps it if that is the version. Owners
/// have no place in a tree of files: they are taken from what other versions have at a path.
fn restore_manifest<D: Disk>(
    session: &Session<'_, D>,
    version: &VersionId,
) -> Result<bool, SiteError> {
    let others = session.state.releases.keys();
    let others: Vec<Arc<Manifest>> = others
        .filter_map(|other| session.manifest(other).ok())
        .collect();
    let owner = |path: &TreePath| {
        let other = others.iter().find_map(|manifest| manifest.get(path));
        other.and_then(|entry| entry.owner().cloned())
    };
    let (disk, releases) = (session.disk(), &session.layout.releases);
    let name = version.to_string();
    let root = match disk.open_dir(releases, name.as_bytes()) {
        Ok(root) => root,
        Err(Errno::NOENT) => return Ok(false),
        Err(errno) => return Err(errno).during("open", name).map_err(Into::into),
    };
    let mut entries: BTreeMap<TreePath, Entry> = BTreeMap::new();
    let mut waiting: Vec<Option<TreePath>> = vec![None];
    while let Some(directory) = waiting.pop() {
        let beneath = directory
            .as_ref()
            .map_or(b".".as_slice(), TreePath::as_bytes);
        let at = disk.open_dir(&root, beneath).during("open", &name)?;
        for listed in disk.list(&at).during("list", &name)? {
            let path = match &directory {
                None => TreePath::new(&*listed.name),
                Some(directory) => directory.join(&listed.name),
            };
            let Ok(path) = path else { return Ok(false) };
            let Some(entry) = read_entry(disk, &at, &path, owner(&path))? else {
                return Ok(false);
            };
            if listed.kind == Kind::Directory {
                waiting.push(Some(path.clone()));
            }
            entries.insert(path, entry);
        }
    }
    let Ok(manifest) = Manifest::from_entries(entries) else {
        return Ok(false);
    };
    let encoded = manifest.encode();
    if VersionId(Hash::of(&encoded)) != *version {
        return Ok(false);
    }
    let (manifests, synced) = (&session.layout.manifests, Durability::Synced);
    layout::replace(disk, manifests, name.as_bytes(), &encoded, synced)?;
    Ok(true)
}

/// What stands in a tree; `None` if no tree of ours has the like.
fn read_entry<D: Disk>(
    disk: &D,
    at: &D::Dir,
    path: &TreePath,
    owner: Option<Arc<Owner>>,
) -> Result<Option<Entry>, SiteError> {
    let name = path.file_name();
    let stat = disk.stat(at, name).during("read", path)?;
    let Ok(mode) = Mode::new(stat.mode) else {
        return Ok(None);
    };
    Ok(match stat.kind {
        Kind::Directory => Some(Entry::Directory { mode, owner }),
        Kind::Symlink => {
            let target = disk.read_link(at, name).during("read", path)?.into();
            Some(Entry::Symlink { target, owner })
        }
        Kind::File => {
            let file = disk.open_file(at, name).during("open", path)?;
            let hash = read_through(disk, &file, stat.size, |_| Ok(())).during("read", path)?;
            Some(Entry::File(File {
                mode,
                owner,
                size: stat.size,
                hash,
                modified: stat.mtime,
            }))
        }
        Kind::Other => None,
    })
}
