use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bellwether_scheduling::{Decision, Moment, Step, next};
use bellwether_store::{Actor, Command, KeptJob, Live, RECEIPTS_MAX, StoreError, kept};
use bellwether_types::Name;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::carrying::{Batch, Decided, Made, earlier};
use super::catching::Catching;
use crate::clock::moment;
use crate::problem;
use crate::server::Server;
use crate::uplink::Fleet;

/// Brings jobs to their end.
pub(super) struct Runner {
    pub(super) server: Arc<Server>,
    pub(super) began: Moment,
    /// Those that are not over, by their number.
    pub(super) jobs: BTreeMap<u64, KeptJob>,
    /// Up to which entry of the log jobs were read.
    read: u64,
    pub(super) fleet: Arc<Fleet>,
    pub(super) lives: Vec<Live>,
    pub(super) made: BTreeMap<Name, Made>,
    pub(super) makings: JoinSet<Batch>,
    pub(super) catching: Catching,
}

/// Of one job in a row, before others have their turn.
const DECISIONS_MAX: usize = 50;
/// After the store failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Brings jobs to their end, until the server ends.
pub(crate) async fn run(server: Arc<Server>) {
    let mut runner = Runner {
        server: Arc::clone(&server),
        began: moment(),
        jobs: BTreeMap::new(),
        read: 0,
        fleet: Arc::default(),
        lives: Vec::new(),
        made: BTreeMap::new(),
        makings: JoinSet::new(),
        catching: Catching::default(),
    };
    tokio::select! {
        () = server.ended() => {}
        () = runner.go() => {}
    }
}

impl Runner {
    async fn go(&mut self) {
        loop {
            let server = Arc::clone(&self.server);
            let news = server.hub.news.notified();
            tokio::pin!(news);
            // From now on no change is missed.
            news.as_mut().enable();
            let applied = server.store.applied();
            let wake = match self.pass().await {
                Ok(wake) => wake,
                Err(StoreError::Closing) => return,
                Err(error) => {
                    problem::of_store(&error);
                    sleep(PAUSE).await;
                    continue;
                }
            };
            let waits = async {
                match wake {
                    Some(at) => sleep(Duration::from_millis(at.0.saturating_sub(moment().0))).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = waits => {}
                () = news => {}
                () = server.board.reported.notified() => {}
                open = server.store.applied_after(applied) => if !open { return },
                Some(made) = self.makings.join_next() => match made {
                    Ok(batch) => self.take(batch),
                    Err(error) => self.take_panic(error),
                },
            }
        }
    }

    /// Has every job take the steps that it can take now; when to look again if nothing happens.
    async fn pass(&mut self) -> Result<Option<Moment>, StoreError> {
        self.read_jobs().await?;
        self.fleet = self.server.hub.fleet();
        if self.fleet.defined < self.server.store.defined() {
            // A job's group may not be there yet. News come when it is.
            return Ok(None);
        }
        let numbers: Vec<u64> = self.jobs.keys().copied().collect();
        let mut wake = None;
        for number in numbers {
            wake = earlier(wake, self.advance(number).await?);
        }
        self.keep_receipts().await;
        Ok(earlier(wake, self.catch_up().await?))
    }

    async fn read_jobs(&mut self) -> Result<(), StoreError> {
        let store = &self.server.store;
        let applied = store.applied();
        if applied == self.read {
            return Ok(());
        }
        let changed = match self.read {
            0 => self.begin().await?,
            read => store.jobs_changed(read).await?,
        };
        self.lives = store.lives(None).await?;
        self.read = applied;
        for job in changed {
            self.know(job);
        }
        Ok(())
    }

    /// The jobs that are not over. What was made for others stayed because the server was killed before it was removed.
    async fn begin(&self) -> Result<Vec<KeptJob>, StoreError> {
        let Server { store, works, .. } = &*self.server;
        let open = store.open_jobs().await?;
        let names = open.iter().map(|job| job.state.job.name.clone());
        if let Err(failure) = works.retain(names.collect()).await {
            tracing::warn!(%failure, "the files of jobs that are over stay");
        }
        Ok(open)
    }

    fn know(&mut self, job: KeptJob) {
        let name = &job.state.job.name;
        let over = job.state.status.is_over();
        self.server.board.step(name, over);
        if over {
            self.forget(name);
            self.jobs.remove(&job.number);
        } else {
            self.server.board.open(name, &job.state.job.site);
            self.jobs.insert(job.number, job);
        }
    }

    async fn advance(&mut self, number: u64) -> Result<Option<Moment>, StoreError> {
        for _ in 0..DECISIONS_MAX {
            let Some(job) = self.jobs.get(&number).cloned() else {
                return Ok(None);
            };
            let name = &job.state.job.name;
            let failed = self.made.get_mut(name).and_then(|made| made.failed.take());
            let decision = match failed {
                Some(failure) => Decision::Keep(Step::PlanFailed(failure)),
                None => next(&job.state, &self.view(&job), moment()),
            };
            #[cfg(test)]
            crate::tests::fuse::burn().await;
            match decision {
                Decision::Wait(at) => return Ok(at),
                Decision::Keep(step) => {
                    if !self.keep(&job, &step).await? {
                        return Ok(Some(moment() + PAUSE));
                    }
                }
                Decision::Plan(bases) => match self.plan(&job, bases) {
                    None => return Ok(None),
                    Some(plan) => {
                        if !self.keep(&job, &Step::Planned(plan)).await? {
                            return Ok(Some(moment() + PAUSE));
                        }
                    }
                },
                Decision::Notify(bases) => {
                    if !self.notify(&job, bases) {
                        return Ok(None);
                    }
                }
                Decision::Order {
                    kind,
                    serial,
                    version,
                    nodes,
                    lead,
                } => {
                    let decided = Decided {
                        kind,
                        serial,
                        version,
                        nodes,
                        lead,
                    };
                    self.order(&job, &decided);
                }
            }
            #[cfg(test)]
            crate::tests::fuse::burn().await;
        }
        Ok(Some(moment()))
    }

    /// Keeps a step; false if that cannot be now, or somebody was first. What is true then is read either way.
    async fn keep(&mut self, job: &KeptJob, step: &Step) -> Result<bool, StoreError> {
        if let Step::Finished(..) = step {
            self.keep_receipts().await;
        }
        let name = job.state.job.name.clone();
        let command = Command::keep_step(name, step);
        // The log tells why not.
        let kept = self.server.propose(Actor::Server, command).await.is_ok();
        self.read_jobs().await?;
        Ok(kept)
    }

    /// Keeps the receipts that came. What cannot be kept now is tried again.
    async fn keep_receipts(&mut self) {
        loop {
            let receipts = self.server.board.receipts(RECEIPTS_MAX);
            if receipts.is_empty() {
                return;
            }
            let command = Command::KeepReceipts(receipts.iter().map(kept).collect());
            if self.server.propose(Actor::Server, command).await.is_err() {
                return;
            }
            self.server.board.receipts_kept(&receipts);
        }
    }
}
