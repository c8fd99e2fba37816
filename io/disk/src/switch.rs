//! Making a held version live: commit and rollback, which are the same switch.
//!
//! The switch is one rename of a link. Its cost does not depend on the tree: nothing here reads
//! a manifest, except that a rollback first makes sure that what it returns to is intact.

use bellwether_types::VersionId;

use crate::disk::{Disk, Kind};
use crate::error::{During, SiteError};
use crate::hook::{Hook, HookRun};
use crate::mend;
use crate::session::Session;
use crate::site::Site;
use crate::state::{Mandate, Switch};
use crate::store::Store;

/// A switch that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switched {
    /// What was live.
    pub from: Option<VersionId>,
    /// What is live now; the same if there was nothing to do.
    pub to: VersionId,
    /// The hooks that ran afterwards, failed ones included.
    pub after: Vec<HookRun>,
}

/// A switch that is decided: [`Decided::switch`] makes it happen at once, and so does whatever
/// uses the site next. There is no way back from here but a rollback.
#[derive(Debug)]
pub struct Decided<'s, D: Disk> {
    session: Session<'s, D>,
    switch: Switch,
}

impl<D: Disk> Site<D> {
    /// Makes `version`, or what is staged, live.
    pub fn commit(&self, version: Option<VersionId>) -> Result<Switched, SiteError> {
        self.decide_commit(version, None)?.switch()
    }

    /// Makes the version before the live one, or `to`, live.
    pub fn rollback(&self, to: Option<VersionId>) -> Result<Switched, SiteError> {
        self.decide_rollback(to, None)?.switch()
    }

    /// The first half of a commit, for a switch at an agreed instant: runs the hooks that may
    /// still call it off, and puts the decision on disk. `by` is the order that it is done by, if it is by one; the same
    /// one may be carried out again, and none that came before it.
    pub fn decide_commit(
        &self,
        version: Option<VersionId>,
        by: Option<Mandate>,
    ) -> Result<Decided<'_, D>, SiteError> {
        let session = Session::begin(self, "commit")?;
        by.map_or(Ok(()), |by| session.check_order(by))?;
        // A commit that was cut short, and is repeated, was finished just now.
        let finished = session.switch_finished.map(|switch| switch.to);
        let version = version
            .or(session.state.staged)
            .or(finished)
            .ok_or_else(|| SiteError::NothingStaged {
                site: self.name().clone(),
            })?;
        Decided::new(session, version, by)
    }

    /// The first half of a rollback.
    pub fn decide_rollback(
        &self,
        to: Option<VersionId>,
        by: Option<Mandate>,
    ) -> Result<Decided<'_, D>, SiteError> {
        let session = Session::begin(self, "rollback")?;
        by.map_or(Ok(()), |by| session.check_order(by))?;
        let version =
            to.or_else(|| session.state.previous())
                .ok_or_else(|| SiteError::NothingBefore {
                    site: self.name().clone(),
                })?;
        session.check_held(version)?;
        let store = Store::open(&session);
        let mended = mend::release(&session, &store, &version)?;
        let restored = !mended.restored.is_empty();
        mended.into_result()?;
        store.save_fingerprints()?;
        if restored {
            self.disk().sync_all().during("sync", version)?;
        }
        drop(store);
        Decided::new(session, version, by)
    }

    /// Keeps a held version until it is unpinned.
    pub fn pin(&self, version: VersionId, pinned: bool) -> Result<(), SiteError> {
        let mut session = Session::begin(self, "pin")?;
        session.check_held(version)?;
        if let Some(release) = session.state.releases.get_mut(&version) {
            release.pinned = pinned;
        }
        session.save()
    }
}

impl<'s, D: Disk> Decided<'s, D> {
    fn new(
        mut session: Session<'s, D>,
        to: VersionId,
        by: Option<Mandate>,
    ) -> Result<Self, SiteError> {
        session.check_held(to)?;
        let switch = Switch {
            from: session.live()?,
            to,
            decided: session.site.now(),
        };
        if switch.from != Some(to) {
            let tree = session
                .disk()
                .stat(&session.layout.releases, to.to_string().as_bytes());
            if tree.during("find the release", to)?.kind != Kind::Directory {
                return Err(SiteError::VersionNotHeld {
                    site: session.site.name().clone(),
                    version: to,
                });
            }
            let hooks = &session.site.options().hooks.before;
            let runs = session.run_hooks(hooks, switch, true);
            if let Some(failed) = runs.into_iter().find(|run| !run.succeeded()) {
                return Err(SiteError::HookFailed(failed));
            }
            session.prepare_switch(to)?;
            session.decide(switch, by)?;
        } else if by.is_some_and(|by| session.state.obey(by)) {
            session.save()?;
        }
        Ok(Self { session, switch })
    }

    /// What will be switched.
    pub fn planned(&self) -> Switch {
        self.switch
    }

    /// Switches.
    pub fn switch(mut self) -> Result<Switched, SiteError> {
        let Switch { from, to, .. } = self.switch;
        let after = if from == Some(to) {
            Vec::new()
        } else {
            self.session.switch_prepared(self.switch)?
        };
        Ok(Switched { from, to, after })
    }
}

impl<D: Disk> Session<'_, D> {
    /// Runs hooks in order, to the first failure if `stop` says so.
    pub(crate) fn run_hooks(&self, hooks: &[Hook], switch: Switch, stop: bool) -> Vec<HookRun> {
        let environment = [
            ("BELLWETHER_SITE", self.site.name().to_string()),
            ("BELLWETHER_VERSION", switch.to.to_string()),
            (
                "BELLWETHER_PREVIOUS",
                switch
                    .from
                    .map_or_else(String::new, |from| from.to_string()),
            ),
            ("BELLWETHER_ROOT", self.disk().path().display().to_string()),
        ];
        let mut runs: Vec<HookRun> = Vec::new();
        for hook in hooks {
            runs.push(hook.run(&environment));
            if stop && !runs[runs.len() - 1].succeeded() {
                break;
            }
        }
        runs
    }
}
