//! One site in a node's custody, and what is done to it.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bellwether_content::assignment::{Action, Header, Trust};
use bellwether_disk::stage::{Accepting, stage};
use bellwether_disk::{AssembleError, Disk, HookRun, Mandate, Site, SiteError, Status, Switched};
use bellwether_types::{Incarnation, Name, NodeId, Serial, SitePart, VersionId};
use bellwether_wire::uplink::{Failure, FailureKind, Outcome, Receipt, Served};
use bellwether_wire::{ContentKey, SigningKey};

use super::failure;
use super::neighbourhood::{Neighbourhood, Refusal, Wanted};
use super::order::Order;

/// A site with what the node's settings say of it.
#[derive(Debug)]
pub struct Place<D: Disk> {
    /// The site on disk, with its hooks.
    pub site: Site<D>,
    /// The groups in which the node gets it, with their keys where content is encrypted.
    pub groups: BTreeMap<Name, Option<Arc<ContentKey>>>,
    /// Does what is staged become live at once, without an order (COMMIT-02)?
    pub autonomous: bool,
    /// May files set the user or group id of who runs them?
    pub allow_set_id: bool,
}

/// Who signs for what is served.
#[derive(Debug, Clone)]
pub struct Witness {
    /// The node.
    pub node: NodeId,
    /// Its start.
    pub incarnation: Incarnation,
    /// Its key.
    pub key: SigningKey,
}

/// What came of one thing that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// What the control server is to know.
    pub outcome: Outcome,
    /// Commands that ran after a switch, failed ones included.
    pub hooks: Vec<HookRun>,
}

impl<D: Disk> Place<D> {
    /// Stages an assignment; `parts` are its files in order, and `header` is the first one's, not proved yet. What is live
    /// or staged already is said to be so, and nothing is done (INTERP-09).
    pub fn stage<R: Read>(
        &self,
        header: &Header,
        parts: impl IntoIterator<Item = R>,
        trust: &Trust,
        witness: &Witness,
        cancelled: &AtomicBool,
    ) -> Done {
        let staged = self.try_stage(header, parts, trust, witness, cancelled);
        staged.unwrap_or_else(|failure| Done::of(Outcome::Failed(failure)))
    }

    fn try_stage<R: Read>(
        &self,
        header: &Header,
        parts: impl IntoIterator<Item = R>,
        trust: &Trust,
        witness: &Witness,
        cancelled: &AtomicBool,
    ) -> Result<Done, Failure> {
        if let Some(done) = self.has_already(header.target, witness)? {
            return Ok(done);
        }
        let key = self.key(header)?;
        let accepting = Accepting {
            trust,
            content_key: key.as_deref(),
            allow_set_id: self.allow_set_id,
            progress: &|_, _| {},
        };
        let parts = parts
            .into_iter()
            .map(|part| Cancellable { part, cancelled });
        let staged = stage(&self.site, parts, &accepting).map_err(|error| {
            let failure = failure::of_stage(&error);
            match failure.kind {
                FailureKind::Base => match self.status() {
                    Ok(status) => self.base_missing(header, status.as_ref()),
                    Err(failure) => failure,
                },
                _ => failure,
            }
        })?;
        let by = Mandate {
            term: header.term,
            serial: header.serial_of_part(header.part.count),
        };
        self.staged(staged.version, by, witness)
    }

    /// What there is to say of a version that is live or staged already.
    fn has_already(
        &self,
        target: Option<VersionId>,
        witness: &Witness,
    ) -> Result<Option<Done>, Failure> {
        let (Some(status), Some(target)) = (self.status()?, target) else {
            return Ok(None);
        };
        if status.live == Some(target) {
            return Ok(Some(Done::of(self.live(&status, witness))));
        }
        let is_staged = status.staged == Some(target) && !self.autonomous;
        Ok(is_staged.then(|| Done::of(Outcome::Staged(target))))
    }

    /// A version stands ready: it becomes live at once, or when that is ordered.
    fn staged(&self, version: VersionId, by: Mandate, witness: &Witness) -> Result<Done, Failure> {
        if !self.autonomous {
            return Ok(Done::of(Outcome::Staged(version)));
        }
        let switched = self.site.decide_commit(Some(version), Some(by));
        let switched = switched.and_then(|decided| decided.switch());
        self.switched(switched, witness)
    }

    /// Puts a version together from what neighbours hold, and stages it.
    pub fn gather(
        &self,
        order: &Order,
        neighbourhood: &dyn Neighbourhood,
        witness: &Witness,
        cancelled: &Arc<AtomicBool>,
    ) -> Done {
        let gathered = self.try_gather(order, neighbourhood, witness, cancelled);
        gathered.unwrap_or_else(|failure| Done::of(Outcome::Failed(failure)))
    }

    fn try_gather(
        &self,
        order: &Order,
        neighbourhood: &dyn Neighbourhood,
        witness: &Witness,
        cancelled: &Arc<AtomicBool>,
    ) -> Result<Done, Failure> {
        let (Some(version), Some(group)) = (order.version, &order.group) else {
            let reason = "an order to gather names no version or no group";
            return Err(Failure::new(FailureKind::Damaged, reason));
        };
        if let Some(done) = self.has_already(Some(version), witness)? {
            return Ok(done);
        }
        let Some(Some(key)) = self.groups.get(group) else {
            let site = self.site.name();
            let reason = format!("this node does not get site {site} in group {group}");
            return Err(Failure::new(FailureKind::Trust, reason));
        };
        let mut source = neighbourhood.ask(&Wanted {
            site: self.site.name(),
            version,
            group,
            key,
            cancelled,
        })?;
        let manifest = Arc::clone(source.manifest());
        loop {
            let lacking = self.site.lacking(&manifest);
            let lacking = lacking.map_err(|error| failure::of_site(&error))?;
            source.expect(lacking.iter().map(|file| (file.hash, file.size)).collect());
            let mut fetch = |content: &_, size| source.fetch(content, size);
            let (by, allow) = (order.by, self.allow_set_id);
            match self.site.assemble(&manifest, by, allow, &mut fetch) {
                Ok(version) => return self.staged(version, order.by, witness),
                Err(AssembleError::Content { .. }) if source.ask_others(Refusal::Lied) => {}
                Err(AssembleError::Fetch { .. }) if source.ask_others(Refusal::Silent) => {}
                Err(error) => return Err(failure::of_assemble(&error)),
            }
        }
    }

    /// Carries out an order. `wait` is called when it is durable that it will be carried out, and returns at its instant:
    /// the rename is the first thing after that (COMMIT-01).
    pub fn obey(&self, order: &Order, witness: &Witness, wait: impl FnOnce()) -> Done {
        let done = self.try_obey(order, witness, wait);
        done.unwrap_or_else(|failure| Done::of(Outcome::Failed(failure)))
    }

    fn try_obey(
        &self,
        order: &Order,
        witness: &Witness,
        wait: impl FnOnce(),
    ) -> Result<Done, Failure> {
        let (site, by) = (&self.site, Some(order.by));
        let Some(status) = self.status()? else {
            return Ok(Done::of(match order.action {
                Action::Remove => Outcome::Removed,
                Action::Abort => Outcome::Aborted,
                _ => Outcome::Behind(None, self.not_staged(order, None)),
            }));
        };
        let decided = match (order.action, order.version) {
            (Action::Remove, _) => {
                site.remove(by).map_err(|error| failure::of_site(&error))?;
                return Ok(Done::of(Outcome::Removed));
            }
            (Action::Abort, Some(version)) => {
                let aborted = site.abort(version, by);
                aborted.map_err(|error| failure::of_site(&error))?;
                return Ok(Done::of(Outcome::Aborted));
            }
            (_, Some(version)) if !knows(&status, version) => {
                let failure = self.not_staged(order, Some(&status));
                return Ok(Done::of(Outcome::Behind(status.live, failure)));
            }
            // What stands ready was verified when it was staged.
            (Action::Commit, Some(version))
                if [status.staged, status.live].contains(&Some(version)) =>
            {
                site.decide_commit(Some(version), by)
            }
            (_, version) => site.decide_rollback(version, by),
        };
        let switched = decided.and_then(|decided| {
            wait();
            decided.switch()
        });
        match switched {
            Err(SiteError::NothingBefore { .. } | SiteError::VersionNotHeld { .. }) => {
                let failure = self.not_staged(order, Some(&status));
                Ok(Done::of(Outcome::Behind(status.live, failure)))
            }
            switched => self.switched(switched, witness),
        }
    }

    fn switched(
        &self,
        switched: Result<Switched, SiteError>,
        witness: &Witness,
    ) -> Result<Done, Failure> {
        let switched = switched.map_err(|error| failure::of_site(&error))?;
        let outcome = match self.status()? {
            Some(status) => self.live(&status, witness),
            None => Outcome::Failed(Failure::new(FailureKind::Disk, "the site has vanished")),
        };
        Ok(Done {
            outcome,
            hooks: switched.after,
        })
    }

    /// The site's status; `None` if there was never anything of it.
    pub(super) fn status(&self) -> Result<Option<Status>, Failure> {
        match self.site.status() {
            Ok(status) => Ok(Some(status)),
            Err(SiteError::SiteMissing { .. }) => Ok(None),
            Err(error) => Err(failure::of_site(&error)),
        }
    }

    /// What is served, signed for. The same again as long as it is served.
    fn live(&self, status: &Status, witness: &Witness) -> Outcome {
        let release = status.live.and_then(|live| status.releases.get(&live));
        let (Some(version), Some(release)) = (status.live, release) else {
            let reason = "nothing is live, or it is not known since when";
            return Outcome::Failed(Failure::new(FailureKind::Disk, reason));
        };
        let since = release.committed.unwrap_or(release.staged);
        let served = Served {
            node: witness.node,
            incarnation: witness.incarnation,
            site: self.site.name().clone(),
            version,
            term: status.term,
            serial: match status.ordered {
                Serial(0) => release.serial,
                ordered => ordered,
            },
            seconds: since.seconds,
            nanoseconds: since.nanoseconds,
        };
        Outcome::Live(Receipt::sign(served, &witness.key))
    }

    fn key(&self, header: &Header) -> Result<Option<Arc<ContentKey>>, Failure> {
        let refuse = |reason| Err(Failure::new(FailureKind::Trust, reason));
        let known = header.group.as_ref().map(|group| self.groups.get(group));
        match (known, &header.encryption) {
            (Some(None), _) => refuse(format!(
                "the assignment is for group {}, in which this node does not get site {}",
                header.group.as_ref().map_or("", Name::as_str),
                self.site.name(),
            )),
            (_, None) => Ok(None),
            (Some(Some(Some(key))), Some(_)) => Ok(Some(Arc::clone(key))),
            (_, Some(_)) => refuse(
                "the assignment is encrypted, and this node has no key for its group: the settings give it".to_owned(),
            ),
        }
    }

    /// ASSIGN-18.
    pub(super) fn base_missing(&self, header: &Header, status: Option<&Status>) -> Failure {
        let site = self.site.name();
        let base = header.base.map_or_else(nothing, |base| base.short());
        let has = match status {
            Some(Status {
                live: Some(live),
                serial,
                ..
            }) => {
                format!("{} since assignment {serial}", live.short())
            }
            _ => nothing(),
        };
        let reason = format!(
            "assignment {} of site {site} starts from version {base}, which is not held here; live is {has}: synchronise the node",
            header.serial
        );
        Failure::new(FailureKind::Base, reason)
    }

    /// COMMIT-11, COMMIT-12.
    fn not_staged(&self, order: &Order, status: Option<&Status>) -> Failure {
        let site: &SitePart = self.site.name();
        let version = order
            .version
            .map_or_else(|| "before".to_owned(), |v| v.short());
        let live = status.and_then(|status| status.live);
        let live = live.map_or_else(nothing, |live| live.short());
        let reason = format!(
            "{} {} of site {site} names version {version}, which is not staged here; live is {live}: synchronise the node",
            order.action, order.by.serial
        );
        Failure::new(FailureKind::NotStaged, reason)
    }
}

impl Done {
    const fn of(outcome: Outcome) -> Self {
        let hooks = Vec::new();
        Self { outcome, hooks }
    }
}

fn nothing() -> String {
    "nothing".to_owned()
}

/// Whether a version is held whole, or a switch to it is decided already.
fn knows(status: &Status, version: VersionId) -> bool {
    let decided = status.decided.map(|switch| switch.to);
    status.releases.contains_key(&version) || decided == Some(version)
}

/// What is read until somebody wants no more of it.
struct Cancellable<'c, R> {
    part: R,
    cancelled: &'c AtomicBool,
}

impl<R: Read> Read for Cancellable<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(io::Error::other("its job was called off"));
        }
        self.part.read(buffer)
    }
}
