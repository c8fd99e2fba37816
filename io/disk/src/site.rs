//! One site of one root: the front door of this crate.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bellwether_content::{Manifest, Owner, Timestamp};
use bellwether_types::{Serial, SitePart, Term, VersionId};

use crate::disk::{Disk, Ids};
use crate::error::SiteError;
use crate::hook::Hooks;
use crate::layout::Layout;
use crate::session;
use crate::staging::{StageRequest, Staging};
use crate::state::{Release, Switch};

/// A site (or the part of one that has its own `live`) beneath a root. Opening it touches
/// nothing; each operation that changes something takes the site's lock for as long as it works.
#[derive(Debug)]
pub struct Site<D: Disk> {
    disk: D,
    name: SitePart,
    options: Options,
}

/// What a site on disk takes from its node.
#[derive(Clone)]
pub struct Options {
    /// How many threads build trees and hash files. With 1, every run takes the same steps.
    pub threads: usize,
    /// The time, for what people read and for grace.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// Who an entry's owner is on this machine; `None` asks for the owner of the site.
    pub owners: OwnerLookup,
    /// Commands around each switch.
    pub hooks: Hooks,
}

/// Finds an owner by name. `Ok(None)` leaves the owner to the file system; `Err` says that this
/// machine does not know the owner.
pub type OwnerLookup = Arc<dyn Fn(Option<&Owner>) -> Result<Option<Ids>, ()> + Send + Sync>;

/// What a site is doing, as its readers see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// What is served.
    pub live: Option<VersionId>,
    /// What the next commit makes live.
    pub staged: Option<VersionId>,
    /// What a rollback makes live.
    pub previous: Option<VersionId>,
    /// A switch that was decided and waits to be finished.
    pub decided: Option<Switch>,
    /// Whether a stage or a removal is under way, or was cut short.
    pub unswept: bool,
    /// The serial of the last version that was staged.
    pub serial: Serial,
    /// The highest term of which a version was staged.
    pub term: Term,
    /// The serial of the last order of that term that was carried out.
    pub ordered: Serial,
    /// The versions that are held.
    pub releases: BTreeMap<VersionId, Release>,
}

impl<D: Disk> Site<D> {
    /// The site called `name` beneath the disk's root.
    pub fn open(disk: D, name: SitePart, options: Options) -> Self {
        Self {
            disk,
            name,
            options,
        }
    }

    /// The site's name.
    pub fn name(&self) -> &SitePart {
        &self.name
    }

    /// The disk.
    pub fn disk(&self) -> &D {
        &self.disk
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.options.clock)()
    }

    /// What the site is doing. Needs no lock and waits for nobody.
    pub fn status(&self) -> Result<Status, SiteError> {
        let layout = Layout::open(&self.disk, &self.name)?;
        let state = session::read_state(self, &layout)?;
        Ok(Status {
            live: session::read_live(self, &layout)?,
            staged: state.staged,
            previous: state.previous(),
            decided: state.intent,
            unswept: state.unswept || layout.is_building(&self.disk),
            serial: state.serial,
            term: state.term,
            ordered: state.ordered,
            releases: state.releases,
        })
    }

    /// The manifest of a held version. Needs no lock.
    pub fn manifest(&self, version: &VersionId) -> Result<Arc<Manifest>, SiteError> {
        let layout = Layout::open(&self.disk, &self.name)?;
        if !session::read_state(self, &layout)?
            .releases
            .contains_key(version)
        {
            return Err(SiteError::VersionNotHeld {
                site: self.name.clone(),
                version: *version,
            });
        }
        session::read_manifest(self, &layout, version)
    }

    /// Begins to build a version beside the live one; makes the site if there is none.
    pub fn stage(&self, request: StageRequest) -> Result<Staging<'_, D>, SiteError> {
        Staging::begin(self, request)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            threads: std::thread::available_parallelism().map_or(1, Into::into),
            clock: Arc::new(system_time),
            owners: Arc::new(|_| Ok(None)),
            hooks: Hooks::default(),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

fn system_time() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp {
        seconds: since.as_secs().cast_signed(),
        nanoseconds: since.subsec_nanos(),
    }
}
