//! The contents of all versions of all sites on a control server, and what comes in for the next ones.
//!
//! ```text
//! DEPOT/objects/AB/HASH      contents, each once; what stands here was proved and made durable
//! DEPOT/fresh/HASH           proved when it was written, and perhaps not on disk yet
//! DEPOT/incoming/HASH        as much of a content as came
//! DEPOT/versions/VERSION     manifests; all that one names is here
//! DEPOT/lock                 one process at a time
//! ```
//!
//! Thousands of contents become durable with one sync: what is written goes to `fresh`, a version that is kept syncs
//! everything and then moves what it needs to `objects`. After a crash, `fresh` is believed only as far as it proves
//! itself. The road not taken is to sync each content before it is named.

mod collect;
mod incoming;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use bellwether_content::Manifest;
use bellwether_types::{ByteSize, Hash, VersionId};

use crate::disk::{Disk, Errno, Kind, RealDisk, TryLock};
use crate::error::{During, ErrorKind, Fault};
use crate::layout::{self, Durability, LOCK, NEXT};
use crate::publish::{Source, SourceError};
use crate::store::read_through;

pub use collect::Cleared;
pub use incoming::Imported;

/// A depot, open in this process alone.
#[derive(Debug)]
pub struct Depot<D: Disk> {
    disk: D,
    objects: D::Dir,
    fresh: D::Dir,
    incoming: D::Dir,
    versions: D::Dir,
    /// Contents that somebody is writing at this moment.
    busy: Mutex<BTreeSet<Hash>>,
    /// Versions are kept and cleared away one at a time.
    versions_lock: Mutex<()>,
    _lock: D::Lock,
}

/// A content of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Content {
    /// Its hash.
    pub hash: Hash,
    /// Its length in bytes.
    pub size: u64,
}

/// Why something could not be done with a depot. What was kept before is as it was.
#[derive(Debug, thiserror::Error)]
pub enum DepotError {
    /// A step on disk failed.
    #[error(transparent)]
    Disk(#[from] Fault),
    /// Another process has it.
    #[error("the depot is in use by another process ({holder})")]
    InUse {
        /// What the other noted about itself.
        holder: String,
    },
    /// Somebody else sends the same content.
    #[error("content {hash} is being sent by somebody else: ask again what is missing")]
    Busy {
        /// The content.
        hash: Hash,
    },
    /// A piece does not follow what came before.
    #[error(
        "of content {hash}, {received} bytes came so far, and the next piece is said to begin at {offset}"
    )]
    NotNext {
        /// The content.
        hash: Hash,
        /// How much came.
        received: u64,
        /// Where the piece begins.
        offset: u64,
    },
    /// A piece goes beyond the end.
    #[error("content {hash} has {size} bytes, and the piece ends at {end}")]
    TooLong {
        /// The content.
        hash: Hash,
        /// Its length.
        size: u64,
        /// Where the piece ends.
        end: u64,
    },
    /// All came, and is something else. It is forgotten.
    #[error("what came as content {hash} is another: send it again from the start")]
    OtherContent {
        /// What it was to be.
        hash: Hash,
    },
    /// A version cannot be kept before all of it is here.
    #[error("{count} contents of the version are not here: {first} is one of them")]
    Incomplete {
        /// How many.
        count: usize,
        /// One of them.
        first: Hash,
    },
    /// A version that is not here.
    #[error("version {version} is not held here")]
    NotHeld {
        /// The version.
        version: VersionId,
    },
    /// A manifest that cannot be believed.
    #[error("the manifest of version {version} is damaged: publish the site again")]
    ManifestDamaged {
        /// The version.
        version: VersionId,
    },
    /// Less space than is needed.
    #[error("{needed} are needed and {free} are free: make room on the control server")]
    NoSpace {
        /// What the contents need.
        needed: ByteSize,
        /// What there is.
        free: ByteSize,
    },
    /// The tree that is imported.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// Directories that contents are spread over, by the first digits of their hashes.
const SHELVES: usize = 256;
const SHELF_LEN: usize = 2;
/// The longest manifest that is read.
const MANIFEST_LEN_MAX: u64 = 1 << 30;

impl<D: Disk> Depot<D> {
    /// Opens the depot in the root of `disk`; makes it where there is none. What a crash may have damaged is proved, or
    /// removed.
    pub fn open(disk: D) -> Result<Self, DepotError> {
        let root = disk.root().during("open", ".")?;
        let holder = format!("process {}", std::process::id());
        let lock = match disk
            .try_lock(&root, LOCK, holder.as_bytes())
            .during("lock", "lock")?
        {
            TryLock::Held(lock) => lock,
            TryLock::Busy(holder) => {
                let holder = String::from_utf8_lossy(&holder).into_owned();
                return Err(DepotError::InUse { holder });
            }
        };
        let [objects, fresh, incoming, versions] = [
            folder(&disk, &root, b"objects")?,
            folder(&disk, &root, b"fresh")?,
            folder(&disk, &root, b"incoming")?,
            folder(&disk, &root, b"versions")?,
        ];
        // All at once and durably: a crash takes none from under what was moved there.
        if disk.list(&objects).during("list", "objects")?.len() < SHELVES {
            for shelf in 0..SHELVES {
                folder(&disk, &objects, format!("{shelf:02x}").as_bytes())?;
            }
            disk.sync_dir(&objects).during("sync", "objects")?;
        }
        disk.sync_dir(&root).during("sync", ".")?;
        let depot = Self {
            disk,
            objects,
            fresh,
            incoming,
            versions,
            busy: Mutex::default(),
            versions_lock: Mutex::default(),
            _lock: lock,
        };
        depot.recover()?;
        Ok(depot)
    }

    /// The contents of a manifest that are not here, each once, in the order of their hashes.
    pub fn missing(&self, manifest: &Manifest) -> Result<Vec<Content>, DepotError> {
        let mut missing = Vec::new();
        for content in contents(manifest) {
            if self.place(content)?.is_none() {
                missing.push(content);
            }
        }
        Ok(missing)
    }

    /// Keeps a version, all of whose contents are here: durably when this returns.
    pub fn keep(&self, manifest: &Manifest) -> Result<VersionId, DepotError> {
        let _one_at_a_time = self.lock_versions();
        let encoded = manifest.encode();
        let version = VersionId(Hash::of(&encoded));
        let mut fresh = Vec::new();
        let mut missing = Vec::new();
        for content in contents(manifest) {
            match self.place(content)? {
                Some(Place::Objects) => {}
                Some(Place::Fresh) => fresh.push(content.hash),
                None => missing.push(content.hash),
            }
        }
        if let Some(&first) = missing.first() {
            let count = missing.len();
            return Err(DepotError::Incomplete { count, first });
        }
        // Only what was there before the sync is moved: what comes meanwhile is not durable yet.
        self.disk.sync_all().during("sync", version)?;
        for hash in fresh {
            self.settle(&hash)?;
        }
        let name = version.to_string();
        layout::replace(
            &self.disk,
            &self.versions,
            name.as_bytes(),
            &encoded,
            Durability::Synced,
        )?;
        Ok(version)
    }

    /// What a version holds.
    pub fn manifest(&self, version: &VersionId) -> Result<Manifest, DepotError> {
        let name = version.to_string();
        let bytes = layout::read(
            &self.disk,
            &self.versions,
            name.as_bytes(),
            MANIFEST_LEN_MAX,
        )?;
        let version = *version;
        let bytes = bytes.ok_or(DepotError::NotHeld { version })?;
        let manifest = Manifest::decode(&bytes).ok();
        let manifest = manifest.filter(|_| VersionId(Hash::of(&bytes)) == version);
        manifest.ok_or(DepotError::ManifestDamaged { version })
    }

    /// All versions that are kept.
    pub fn versions(&self) -> Result<BTreeSet<VersionId>, DepotError> {
        let listed = self.disk.list(&self.versions).during("list", "versions")?;
        let hashes = listed.iter().filter_map(|listed| parse(&listed.name));
        Ok(hashes.map(VersionId).collect())
    }

    /// Where a content stands, whole.
    fn place(&self, content: Content) -> Result<Option<Place>, Fault> {
        let name = content.hash.to_string();
        let stands = |at: &D::Dir, name: &[u8]| match self.disk.stat(at, name) {
            Ok(stat) => Ok(stat.kind == Kind::File && stat.size == content.size),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(errno).during("read", name.escape_ascii()),
        };
        if stands(&self.shelf(&name)?, name.as_bytes())? {
            return Ok(Some(Place::Objects));
        }
        Ok(stands(&self.fresh, name.as_bytes())?.then_some(Place::Fresh))
    }

    /// The directory of `objects` that a content belongs to.
    fn shelf(&self, name: &str) -> Result<D::Dir, Fault> {
        let shelf = &name[..SHELF_LEN];
        let opened = self.disk.open_dir(&self.objects, shelf.as_bytes());
        opened.during("open", format_args!("objects/{shelf}"))
    }

    /// Moves a content that is durable to its place.
    fn settle(&self, hash: &Hash) -> Result<(), Fault> {
        let name = hash.to_string();
        let shelf = self.shelf(&name)?;
        self.disk
            .rename(&self.fresh, name.as_bytes(), &shelf, name.as_bytes())
            .during("move", &name)
    }

    /// A crash may have taken what was written last from under its name.
    fn recover(&self) -> Result<(), Fault> {
        let mut proved = Vec::new();
        for listed in self.disk.list(&self.fresh).during("list", "fresh")? {
            match self.prove(&listed.name)? {
                Some(hash) => proved.push(hash),
                None => drop(layout::remove(&self.disk, &self.fresh, &listed.name)?),
            }
        }
        if !proved.is_empty() {
            self.disk.sync_all().during("sync", "fresh")?;
            proved.iter().try_for_each(|hash| self.settle(hash))?;
        }
        for listed in self.disk.list(&self.versions).during("list", "versions")? {
            if listed.name.ends_with(NEXT) {
                layout::remove(&self.disk, &self.versions, &listed.name)?;
            }
        }
        Ok(())
    }

    /// The hash that a fresh content is called by, if it has it.
    fn prove(&self, name: &[u8]) -> Result<Option<Hash>, Fault> {
        let Some(hash) = parse(name) else {
            return Ok(None);
        };
        let file = self
            .disk
            .open_file(&self.fresh, name)
            .during("open", hash)?;
        let size = self.disk.stat_file(&file).during("read", hash)?.size;
        Ok(self.is(&hash, &file, size)?.then_some(hash))
    }

    fn is(&self, hash: &Hash, file: &D::File, size: u64) -> Result<bool, Fault> {
        let found = read_through(&self.disk, file, size, |_| Ok(()));
        Ok(found.during("read", hash)? == *hash)
    }

    fn lock_versions(&self) -> std::sync::MutexGuard<'_, ()> {
        self.versions_lock
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Depot<RealDisk> {
    /// A version whose contents can be read, to plan from it or to it.
    pub fn source(&self, version: &VersionId) -> Result<Source, DepotError> {
        Ok(Source::stored(self.disk.path(), self.manifest(version)?)?)
    }
}

/// Where a content stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Objects,
    Fresh,
}

impl DepotError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Disk(fault) => fault.kind(),
            Self::InUse { .. }
            | Self::Busy { .. }
            | Self::NotNext { .. }
            | Self::Incomplete { .. } => ErrorKind::Conflict,
            Self::TooLong { .. } | Self::OtherContent { .. } => ErrorKind::Unsupported,
            Self::NotHeld { .. } => ErrorKind::NotFound,
            Self::ManifestDamaged { .. } => ErrorKind::Damaged,
            Self::NoSpace { .. } => ErrorKind::NoSpace,
            Self::Source(_) => ErrorKind::Machine,
        }
    }
}

/// The contents of a manifest, each once, in the order of their hashes.
fn contents(manifest: &Manifest) -> impl Iterator<Item = Content> {
    let sizes: BTreeMap<Hash, u64> = manifest
        .files()
        .map(|(_, file)| (file.hash, file.size))
        .collect();
    sizes.into_iter().map(|(hash, size)| Content { hash, size })
}

fn folder<D: Disk>(disk: &D, at: &D::Dir, name: &[u8]) -> Result<D::Dir, Fault> {
    match disk.create_dir(at, name, 0o700) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno).during("create", name.escape_ascii()),
    }
    disk.open_dir(at, name).during("open", name.escape_ascii())
}

/// The hash that a file is called by.
fn parse(name: &[u8]) -> Option<Hash> {
    std::str::from_utf8(name).ok()?.parse().ok()
}
