//! Exclusive use of a site: the lock, the open directories and the state.

use std::sync::Arc;

use bellwether_content::Manifest;
use bellwether_types::{Hash, VersionId};

use crate::disk::{Disk, Errno, TryLock};
use crate::error::{During, SiteError};
use crate::hook::HookRun;
use crate::layout::{self, Durability, LIVE, LIVE_NEXT, LOCK, Layout, STATE};
use crate::site::Site;
use crate::state::{Mandate, STATE_LEN_MAX, State, Switch};

/// The largest manifest that is read: some 10 million entries.
const MANIFEST_LEN_MAX: u64 = 2 << 30;

#[derive(Debug)]
pub(crate) struct Session<'s, D: Disk> {
    pub(crate) site: &'s Site<D>,
    pub(crate) layout: Arc<Layout<D>>,
    pub(crate) state: State,
    /// A switch that had been cut short, and was finished when this session began.
    pub(crate) switch_finished: Option<Switch>,
    _lock: D::Lock,
}

impl<'s, D: Disk> Session<'s, D> {
    /// Takes the lock for `purpose`, and finishes a switch that was decided and cut short.
    pub(crate) fn begin(site: &'s Site<D>, purpose: &str) -> Result<Self, SiteError> {
        let disk = site.disk();
        let layout = Arc::new(Layout::open(disk, site.name())?);
        let holder = format!("process {}: {purpose}", std::process::id());
        let lock = match disk.try_lock(&layout.private, LOCK, holder.as_bytes()) {
            Ok(TryLock::Held(lock)) => lock,
            Ok(TryLock::Busy(holder)) => {
                return Err(SiteError::Busy {
                    site: site.name().clone(),
                    holder: holder.escape_ascii().to_string(),
                });
            }
            Err(errno) => return Err(errno).during("lock", site.name()).map_err(Into::into),
        };
        let state = read_state(site, &layout)?;
        let mut session = Self {
            site,
            layout,
            state,
            switch_finished: None,
            _lock: lock,
        };
        if session.state.removing {
            session.finish_removal()?;
        }
        if let Some(switch) = session.state.intent {
            session.finish_switch(switch)?;
            session.switch_finished = Some(switch);
        }
        Ok(session)
    }

    pub(crate) fn disk(&self) -> &'s D {
        self.site.disk()
    }

    pub(crate) fn live(&self) -> Result<Option<VersionId>, SiteError> {
        read_live(self.site, &self.layout)
    }

    /// Makes the state durable.
    pub(crate) fn save(&self) -> Result<(), SiteError> {
        let bytes = self.state.encode();
        let disk = self.disk();
        Ok(layout::replace(
            disk,
            &self.layout.private,
            STATE,
            &bytes,
            Durability::Synced,
        )?)
    }

    /// The manifest of a held version.
    pub(crate) fn manifest(&self, version: &VersionId) -> Result<Arc<Manifest>, SiteError> {
        read_manifest(self.site, &self.layout, version)
    }

    /// Fails unless `version` is held.
    pub(crate) fn check_held(&self, version: VersionId) -> Result<(), SiteError> {
        if self.state.releases.contains_key(&version) {
            Ok(())
        } else {
            Err(SiteError::VersionNotHeld {
                site: self.site.name().clone(),
                version,
            })
        }
    }

    /// Fails if a later order was carried out.
    pub(crate) fn check_order(&self, by: Mandate) -> Result<(), SiteError> {
        let state = &self.state;
        if by.term < state.term {
            return Err(SiteError::TermPassed {
                given: by.term,
                known: state.term,
            });
        }
        if by.term == state.term && by.serial < state.ordered {
            return Err(SiteError::SerialPassed {
                given: by.serial,
                known: state.ordered,
            });
        }
        Ok(())
    }

    /// Decides a switch: from here on it happens, whatever comes between.
    pub(crate) fn decide(&mut self, switch: Switch, by: Option<Mandate>) -> Result<(), SiteError> {
        let before = self.state.clone();
        self.state.intent = Some(switch);
        by.map(|by| self.state.obey(by));
        let saved = self.save();
        if saved.is_err() {
            self.state = before;
        }
        saved
    }

    /// Makes a decided switch happen; may be repeated. The rename comes first and is the moment
    /// at which readers see the new version; the state comes last, so that hooks run even if the
    /// machine fails meanwhile.
    pub(crate) fn finish_switch(&mut self, switch: Switch) -> Result<Vec<HookRun>, SiteError> {
        let (disk, at) = (self.disk(), &self.layout.site);
        if self.live()? != Some(switch.to) {
            layout::remove(disk, at, LIVE_NEXT)?;
            let target = format!("releases/{}", switch.to);
            disk.symlink(target.as_bytes(), at, LIVE_NEXT)
                .during("create", "live.next")?;
            disk.rename(at, LIVE_NEXT, at, LIVE)
                .during("switch", "live")?;
        }
        // Also when it is live already: that may be a rename that is not durable yet.
        disk.sync_dir(at).during("sync", "live")?;
        let runs = self.run_hooks(&self.site.options().hooks.after, switch, false);
        self.state.switched(switch);
        self.save()?;
        Ok(runs)
    }
}

/// Reads the state; readers may, without the lock, because it is replaced whole.
pub(crate) fn read_state<D: Disk>(site: &Site<D>, layout: &Layout<D>) -> Result<State, SiteError> {
    let damaged = |reason| SiteError::StateDamaged {
        site: site.name().clone(),
        place: format!("{}/.bellwether/state", site.name()),
        reason,
    };
    match layout::read(site.disk(), &layout.private, STATE, STATE_LEN_MAX)? {
        Some(bytes) => State::decode(&bytes).map_err(damaged),
        // Nothing is live before the first state was written.
        None if read_live(site, layout)?.is_some() => Err(damaged("is missing")),
        None => Ok(State::default()),
    }
}

pub(crate) fn read_live<D: Disk>(
    site: &Site<D>,
    layout: &Layout<D>,
) -> Result<Option<VersionId>, SiteError> {
    let foreign = || SiteError::LiveForeign {
        place: format!("{}/live", site.name()),
    };
    match site.disk().read_link(&layout.site, LIVE) {
        Ok(target) => {
            let version = target.strip_prefix(b"releases/").ok_or_else(foreign)?;
            let version = std::str::from_utf8(version).map_err(|_| foreign())?;
            version.parse().map(Some).map_err(|_| foreign())
        }
        Err(Errno::NOENT) => Ok(None),
        Err(Errno::INVAL) => Err(foreign()),
        Err(errno) => Err(errno).during("read", "live").map_err(Into::into),
    }
}

pub(crate) fn read_manifest<D: Disk>(
    site: &Site<D>,
    layout: &Layout<D>,
    version: &VersionId,
) -> Result<Arc<Manifest>, SiteError> {
    let damaged = || SiteError::ManifestDamaged { version: *version };
    let name = version.to_string();
    let bytes = layout::read(
        site.disk(),
        &layout.manifests,
        name.as_bytes(),
        MANIFEST_LEN_MAX,
    )?;
    let bytes = bytes.ok_or_else(damaged)?;
    if VersionId(Hash::of(&bytes)) != *version {
        return Err(damaged());
    }
    Manifest::decode(&bytes)
        .map(Arc::new)
        .map_err(|_| damaged())
}
