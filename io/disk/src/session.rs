//! Exclusive use of a site: the lock, the open directories and the state.

use std::sync::Arc;

use bellwether_content::Manifest;
use bellwether_types::{Hash, VersionId};

use crate::disk::{Disk, Errno, TryLock};
use std::fmt::Display;

use crate::error::{During, Fault, SiteError};
use crate::hook::HookRun;
use crate::layout::{self, Durability, LIVE, LIVE_NEXT, LOCK, Layout, STATES};
use crate::site::Site;
use crate::state::{Mandate, STATE_LEN_MAX, State, Switch};

/// The largest manifest that is read: some 10 million entries.
const MANIFEST_LEN_MAX: u64 = 2 << 30;
/// Looks of a reader at the state's files before it believes that both are damaged.
const READ_TRIES_MAX: u32 = 100;

#[derive(Debug)]
pub(crate) struct Session<'s, D: Disk> {
    pub(crate) site: &'s Site<D>,
    pub(crate) layout: Arc<Layout<D>>,
    pub(crate) state: State,
    /// Which of the state's files has it as it was last written.
    pub(crate) slot: usize,
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
        let (slot, state) = read_slot(site, &layout)?;
        let mut session = Self {
            site,
            layout,
            state,
            slot,
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
    pub(crate) fn save(&mut self) -> Result<(), SiteError> {
        Ok(self.write_state(Durability::Synced)?)
    }

    /// Makes everything on this disk durable.
    pub(crate) fn sync_all(&mut self, place: impl Display) -> Result<(), Fault> {
        self.disk().sync_all().during("sync", place)?;
        self.state.lazy = false;
        Ok(())
    }

    /// Writes the state into the file that has the older one. What the newer one says stays until this is whole.
    fn write_state(&mut self, durability: Durability) -> Result<(), Fault> {
        let (disk, at) = (self.disk(), &self.layout.private);
        if self.state.lazy {
            let name = STATES[self.slot];
            let file = disk.open_to_write(at, name);
            let synced = file.and_then(|file| disk.sync_file(&file));
            synced.during("sync", name.escape_ascii())?;
        }
        let mut state = self.state.clone();
        state.number += 1;
        state.lazy = durability == Durability::Lazy;
        let slot = 1 - self.slot;
        let written = write_slot(disk, at, STATES[slot], &state.encode(), durability);
        if let Err(fault) = written {
            // It does not count: nobody may find it. Should this fail too, either may be found after a crash.
            let emptied = disk.open_to_write(at, STATES[slot]);
            let _ = emptied.and_then(|file| disk.set_len(&file, 0));
            return Err(fault);
        }
        (self.state.number, self.state.lazy) = (state.number, state.lazy);
        self.slot = slot;
        Ok(())
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
            // The first failure is the one to tell; the next stage or recovery sweeps the rest.
            let _ = layout::remove(self.disk(), &self.layout.site, LIVE_NEXT);
        }
        saved
    }

    /// Makes the link that a switch will put in the place of `live`.
    pub(crate) fn prepare_switch(&self, to: VersionId) -> Result<(), SiteError> {
        let (disk, at) = (self.disk(), &self.layout.site);
        layout::remove(disk, at, LIVE_NEXT)?;
        let target = format!("releases/{to}");
        let made = disk.symlink(target.as_bytes(), at, LIVE_NEXT);
        Ok(made.during("create", "live.next")?)
    }

    /// Makes a decided switch happen that was cut short; may be repeated.
    pub(crate) fn finish_switch(&mut self, switch: Switch) -> Result<Vec<HookRun>, SiteError> {
        if self.live()? == Some(switch.to) {
            return self.conclude_switch(switch);
        }
        self.prepare_switch(switch.to)?;
        self.switch_prepared(switch)
    }

    /// Makes a decided switch happen for which all is prepared. The rename comes first and is the moment at which readers
    /// see the new version; the state comes last, so that hooks run even if the machine fails meanwhile.
    pub(crate) fn switch_prepared(&mut self, switch: Switch) -> Result<Vec<HookRun>, SiteError> {
        let (disk, at) = (self.disk(), &self.layout.site);
        disk.rename(at, LIVE_NEXT, at, LIVE)
            .during("switch", "live")?;
        self.conclude_switch(switch)
    }

    fn conclude_switch(&mut self, switch: Switch) -> Result<Vec<HookRun>, SiteError> {
        let (disk, at) = (self.disk(), &self.layout.site);
        // Also when it is live already: that may be a rename that is not durable yet.
        disk.sync_dir(at).during("sync", "live")?;
        let runs = self.run_hooks(&self.site.options().hooks.after, switch, false);
        self.state.switched(switch);
        // Should it be forgotten, the switch is finished once more, and hooks run again.
        self.write_state(Durability::Lazy)?;
        Ok(runs)
    }
}

fn write_slot<D: Disk>(
    disk: &D,
    at: &D::Dir,
    name: &[u8],
    bytes: &[u8],
    durability: Durability,
) -> Result<(), Fault> {
    let place = || name.escape_ascii();
    let (file, is_new) = match disk.open_to_write(at, name) {
        Err(Errno::NOENT) => (disk.create_file(at, name, 0o600), true),
        opened => (opened, false),
    };
    let file = file.during("open", place())?;
    disk.write_at(&file, bytes, 0).during("write", place())?;
    let len = bytes.len() as u64;
    disk.set_len(&file, len).during("write", place())?;
    if durability == Durability::Synced {
        disk.sync_file(&file).during("sync", place())?;
    }
    if is_new {
        disk.sync_dir(at).during("sync", place())?;
    }
    Ok(())
}

/// Reads the state. Readers may, without the lock: one of its files is whole at any moment.
pub(crate) fn read_state<D: Disk>(site: &Site<D>, layout: &Layout<D>) -> Result<State, SiteError> {
    let mut tries = 0;
    loop {
        match read_slot(site, layout) {
            Ok((_, state)) => return Ok(state),
            // Both may have been written between two looks.
            Err(SiteError::StateDamaged { .. }) if tries < READ_TRIES_MAX => tries += 1,
            Err(error) => return Err(error),
        }
    }
}

/// The state, and which file has it.
pub(crate) fn read_slot<D: Disk>(
    site: &Site<D>,
    layout: &Layout<D>,
) -> Result<(usize, State), SiteError> {
    let damaged = |reason| SiteError::StateDamaged {
        site: site.name().clone(),
        place: format!("{}/.bellwether/state.0 and state.1", site.name()),
        reason,
    };
    let mut newest: Option<(usize, State)> = None;
    let mut fault = None;
    for (slot, name) in STATES.into_iter().enumerate() {
        let bytes = layout::read(site.disk(), &layout.private, name, STATE_LEN_MAX)?;
        // Not written yet.
        let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) else {
            continue;
        };
        match State::decode(&bytes) {
            Ok(state) => {
                let newer = newest.as_ref().is_none_or(|(_, n)| state.number > n.number);
                if newer {
                    newest = Some((slot, state));
                }
            }
            Err(reason) => fault = Some(reason),
        }
    }
    let live = read_live(site, layout)?;
    match (newest, fault, live) {
        // If the other cannot be read, it was being written when the machine failed, unless it knew what this one does not.
        (Some((slot, state)), fault, live) => match live {
            Some(live) if !state.removing && !state.releases.contains_key(&live) => {
                Err(damaged(fault.unwrap_or("does not know what is live")))
            }
            _ => Ok((slot, state)),
        },
        // A first state that was being written: nothing was ever staged.
        (None, Some(_), None) if releases_are_empty(site, layout)? => Ok((0, State::default())),
        (None, Some(reason), _) => Err(damaged(reason)),
        (None, None, Some(_)) => Err(damaged("is missing")),
        (None, None, None) => Ok((0, State::default())),
    }
}

fn releases_are_empty<D: Disk>(site: &Site<D>, layout: &Layout<D>) -> Result<bool, SiteError> {
    let listed = site
        .disk()
        .list(&layout.releases)
        .during("list", "releases")?;
    Ok(listed.len() <= 1)
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
