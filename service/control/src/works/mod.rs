//! The bytes of publishing: contents of all versions in a depot, and the assignments that bring nodes from one version to
//! another, as files for leaders to fetch.

mod effort;
mod failure;
mod intake;
mod parts;
mod reading;
mod shelf;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder};
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;

use bellwether_content::assignment::{self, Action, Blocks, Head, Header};
use bellwether_content::update::Coding;
use bellwether_delta::Effort;
use bellwether_disk::depot::DepotError;
use bellwether_disk::publish::{self, Made, Source, publish};
use bellwether_disk::{Depot, RealDisk};
use bellwether_store::Store;
use bellwether_types::{Hash, Name, Serial, SitePart, Term, VersionId};
use bellwether_wire::transfer::AssignmentId;
use bellwether_wire::uplink::{Failure, File};
use bellwether_wire::{ContentKey, SigningKey};
use tokio::sync::{Mutex as Turn, OwnedMutexGuard, Semaphore};
use tokio::task;

use crate::folder::{Folder, FolderError};
use crate::vault::{Vault, group_key, random};
pub use failure::WorksError;
use failure::{MakeError, of_store};
pub(crate) use intake::StagingError;
pub(crate) use parts::split;
pub(crate) use reading::Reading;
use shelf::Shelf;

/// What a control server makes assignments of, and the assignments.
#[derive(Debug)]
pub(crate) struct Works {
    depot: Depot<RealDisk>,
    shelf: Shelf,
    store: Arc<Store>,
    vault: Arc<Vault>,
    signing: Arc<SigningKey>,
    /// Makings under way, each with its turn: the same one is made once.
    turns: Mutex<BTreeMap<Hash, Weak<Turn<()>>>>,
    /// Each takes the memory of a planner.
    places: Arc<Semaphore>,
    /// What is remembered of staging sources, a file for each site.
    scans: PathBuf,
    /// The data directory.
    data: PathBuf,
    /// Held while a version follows the latest of its part.
    pub(crate) keeping: Turn<()>,
    /// Each takes the memory of a manifest.
    pub(crate) manifests: Semaphore,
    /// The next making panics.
    #[cfg(test)]
    pub(crate) is_brittle: std::sync::atomic::AtomicBool,
}

/// An assignment that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Making {
    /// The job that it belongs to.
    pub(crate) job: Name,
    /// Whose content.
    pub(crate) site: SitePart,
    /// The group that it is addressed to, and sealed for if the site's policy says so.
    pub(crate) group: Name,
    /// The reign of the control group's master.
    pub(crate) term: Term,
    /// The place of its first file in the order of the site and part.
    pub(crate) serial: Serial,
    /// What nodes have.
    pub(crate) base: Option<VersionId>,
    /// What they shall have: a version that is kept.
    pub(crate) target: VersionId,
}

/// An order that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OrderMaking {
    /// The job that it belongs to.
    pub(crate) job: Name,
    /// Whose content.
    pub(crate) site: SitePart,
    /// The reign of the control group's master.
    pub(crate) term: Term,
    /// Its place in the order of the site and part.
    pub(crate) serial: Serial,
    /// What is to be done: commit, rollback, switch, remove, abort or gather.
    pub(crate) action: Action,
    /// What it is about; a commit, a switch, an abort and a gathering name it.
    pub(crate) version: Option<VersionId>,
    /// The group in which nodes get it; a gathering names it.
    pub(crate) group: Option<Name>,
}

const DEPOT: &str = "depot";
const ASSIGNMENTS: &str = "assignments";
/// A larger update is split into several files, which are sent one after the other.
const FILE_LEN_MAX: u64 = 4 << 30;
/// Bytes in a second to a segment, as long as nobody has measured that: 50 Mbit/s.
const LINK_RATE: u64 = 6_250_000;
const SCANS: &str = "scans";
/// Manifests that are taken in at once; whoever brings another waits.
const MANIFESTS_MAX: usize = 4;
/// Assignments that are made at once: a small one does not wait behind a large one.
const MAKINGS_MAX: usize = 3;

impl Works {
    /// Opens what a data directory has; makes it where there is none. What was begun when the server went down is removed.
    pub(crate) fn open(
        folder: &Folder,
        store: Arc<Store>,
        vault: Arc<Vault>,
        signing: Arc<SigningKey>,
    ) -> Result<Self, WorksError> {
        let [depot, shelf, scans] = [DEPOT, ASSIGNMENTS, SCANS].map(|name| folder.path(name));
        make_dir(&scans)?;
        let data = scans.canonicalize().map_err(fault("find", &scans))?;
        let data = data.parent().unwrap_or(&data).to_owned();
        make_dir(&depot)?;
        let disk = RealDisk::open(&depot).map_err(|errno| fault("open", &depot)(errno.into()))?;
        let depot = Depot::open(disk)?;
        make_dir(&shelf)?;
        let shelf = Shelf::open(&shelf).map_err(fault("open", &shelf))?;
        Ok(Self {
            depot,
            shelf,
            store,
            vault,
            signing,
            turns: Mutex::default(),
            places: Arc::new(Semaphore::new(MAKINGS_MAX)),
            scans,
            data,
            keeping: Turn::default(),
            manifests: Semaphore::new(MANIFESTS_MAX),
            #[cfg(test)]
            is_brittle: Default::default(),
        })
    }

    #[cfg(test)]
    pub(crate) const fn depot(&self) -> &Depot<RealDisk> {
        &self.depot
    }

    /// Makes the files that bring nodes from `base` to `target`, in their order. Said again it finds what lies there
    /// already, and reads no content. Nodes whose base is not kept any more get all of the content.
    ///
    /// # Errors
    /// If the target is not kept, or the disk fails or is full: then nothing of it lies there.
    pub(crate) async fn make(self: &Arc<Self>, making: Making) -> Result<Vec<File>, Failure> {
        let key = making.key();
        let mine = self.turn(key).await;
        if let Some(files) = self.made(&making, key).await? {
            return Ok(files);
        }
        let group_key = self.content_key(&making).await?;
        let places = Arc::clone(&self.places);
        let place = places.acquire_owned().await.expect("nobody closes it");
        let works = Arc::clone(self);
        // Whoever asked may go away: then it is made nevertheless, and found the next time.
        blocking(move || {
            let (_mine, _place) = (mine, place);
            let made = works.make_now(&making, key, group_key.as_ref());
            made.map_err(|error| error.failure())
        })
        .await
    }

    /// Bytes that a node needs room for: these files, and the content that they bring (CCM-04).
    pub(crate) async fn room(self: &Arc<Self>, files: &[File]) -> Result<u64, Failure> {
        let lens = files.iter().map(|file| file.len);
        let brought: u64 = lens.fold(0, u64::saturating_add);
        // Its header speaks of all parts.
        let Some(first) = files.first().map(|file| file.id) else {
            return Ok(brought);
        };
        let works = Arc::clone(self);
        let header = blocking(move || {
            let found = works.shelf.find(first).and_then(|found| {
                let (file, _) = found.ok_or(io::ErrorKind::NotFound)?;
                assignment::peek(io::BufReader::new(file)).map_err(io::Error::other)
            });
            found.map_err(|error| MakeError::Shelf(error).failure())
        });
        Ok(brought.saturating_add(header.await?.content_len))
    }

    /// A signed order: an assignment of a header alone.
    pub(crate) fn order(&self, order: OrderMaking) -> Vec<u8> {
        let header = Header {
            site: Some(order.site),
            job: Some(order.job),
            target: order.version,
            group: order.group,
            ..Header::new(order.action, order.serial, order.term)
        };
        let (body, blocks) = (Vec::new(), Blocks::default());
        let head = Head {
            header,
            body,
            blocks,
        };
        head.encode(Effort::Fast, Some(&self.signing), None).1
    }

    /// An assignment to be read, and its length; `None` if there is none.
    pub(crate) async fn assignment(
        self: &Arc<Self>,
        id: AssignmentId,
    ) -> io::Result<Option<(fs::File, u64)>> {
        let works = Arc::clone(self);
        blocking(move || works.shelf.find(id)).await
    }

    /// Removes the files that were made for a job, which is over.
    pub(crate) async fn forget(self: &Arc<Self>, job: Name) -> Result<(), Failure> {
        let works = Arc::clone(self);
        blocking(move || {
            let forgotten = works.shelf.forget(&job);
            forgotten.map_err(|error| MakeError::Shelf(error).failure())
        })
        .await
    }

    /// Removes the files that were made for other jobs than these, which are all that are not over.
    pub(crate) async fn retain(self: &Arc<Self>, jobs: BTreeSet<Name>) -> Result<(), Failure> {
        let works = Arc::clone(self);
        blocking(move || {
            let retained = works.shelf.retain(&jobs);
            retained.map_err(|error| MakeError::Shelf(error).failure())
        })
        .await
    }

    /// Waits until nobody else makes the same.
    async fn turn(&self, key: Hash) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| turn.strong_count() > 0);
            let known = turns.get(&key).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let turn = Arc::default();
                turns.insert(key, Arc::downgrade(&turn));
                turn
            })
        };
        turn.lock_owned().await
    }

    async fn made(
        self: &Arc<Self>,
        making: &Making,
        key: Hash,
    ) -> Result<Option<Vec<File>>, Failure> {
        let (works, job) = (Arc::clone(self), making.job.clone());
        blocking(move || {
            let made = works.shelf.made(&job, key);
            made.map_err(|error| MakeError::Shelf(error).failure())
        })
        .await
    }

    /// The key to seal an assignment with, if the site's policy says so (CRYPT-01).
    async fn content_key(&self, making: &Making) -> Result<Option<ContentKey>, Failure> {
        let site = self.store.site(&making.site.site).await;
        if !site
            .map_err(|error| of_store(&error))?
            .is_some_and(|site| site.policy.encrypt)
        {
            return Ok(None);
        }
        let sealed = self.store.group_key(&making.group).await;
        let sealed = sealed.map_err(|error| of_store(&error))?;
        let gone = || MakeError::GroupMissing(making.group.clone()).failure();
        let purpose = group_key(making.group.as_str());
        let key = self.vault.open_key(&purpose, &sealed.ok_or_else(gone)?);
        let key = key.map_err(|error| MakeError::Unseal(error).failure())?;
        Ok(Some(ContentKey::from_bytes(key)))
    }

    fn make_now(
        &self,
        making: &Making,
        key: Hash,
        content_key: Option<&ContentKey>,
    ) -> Result<Vec<File>, MakeError> {
        #[cfg(test)]
        assert!(
            !self
                .is_brittle
                .swap(false, std::sync::atomic::Ordering::Relaxed),
            "it broke"
        );
        let target = self.depot.source(&making.target)?;
        let base = self.base(making.base)?;
        let draft = self.shelf.begin(key)?;
        let how = |effort| publish::Making {
            coding: Coding {
                effort,
                size_max: Some(FILE_LEN_MAX),
            },
            // The times of a version that is kept are final.
            first_seen: target.manifest(),
            compressible: &|_| true,
            header: making.header(),
            signing: Some(&self.signing),
            sealing: content_key.map(|key| (key, &random as _)),
            threads: None,
            progress: &|_, _| {},
        };
        let fast = publish(
            &base,
            &target,
            &how(Effort::Fast),
            &draft.path().join("fast"),
        )?;
        let len = |made: &Made| made.parts.iter().map(|(_, _, len)| len).sum::<u64>();
        let content_len = fast.parts.first().map_or(0, |part| part.1.content_len);
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let Some(effort) = effort::again(content_len, len(&fast), LINK_RATE, cores) else {
            return Ok(draft.keep(&making.job, &fast.parts)?);
        };
        let slow = publish(&base, &target, &how(effort), &draft.path().join("slow"))?;
        let better = if len(&slow) < len(&fast) { slow } else { fast };
        Ok(draft.keep(&making.job, &better.parts)?)
    }

    fn base(&self, base: Option<VersionId>) -> Result<Source, MakeError> {
        match base.map(|base| self.depot.source(&base)) {
            None | Some(Err(DepotError::NotHeld { .. })) => Ok(Source::empty()),
            Some(base) => Ok(base?),
        }
    }
}

impl Making {
    /// Names it among those of all jobs.
    fn key(&self) -> Hash {
        let Self {
            job,
            site,
            group,
            term,
            serial,
            base,
            target,
        } = self;
        let base = base.map_or_else(String::new, |base| base.to_string());
        let line = format!(
            "{job} {site} {group} {} {} {base} {target}",
            term.0, serial.0
        );
        Hash::of(line.as_bytes())
    }

    fn header(&self) -> Header {
        let action = match self.base {
            Some(_) => Action::Publish,
            None => Action::Replicate,
        };
        Header {
            site: Some(self.site.clone()),
            group: Some(self.group.clone()),
            job: Some(self.job.clone()),
            ..Header::new(action, self.serial, self.term)
        }
    }
}

/// Runs what reads and writes files, or takes long, where it holds nobody up.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The process ends: nobody will be told any more.
            Err(_) => std::future::pending().await,
        },
    }
}

fn make_dir(path: &Path) -> Result<(), FolderError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.and_then(|()| fs::File::open(path)?.sync_all())
        .map_err(fault("create", path))
}

fn fault<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> FolderError + 'a {
    move |source| FolderError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}
