//! Nodes that missed what is live elsewhere, and jobs that bring it to them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bellwether_scheduling::{Base, Ending, Kind, Moment, Step, View, behind};
use bellwether_store::{Actor, Command, Live, NewJob, StoreError};
use bellwether_types::{NodeId, SitePart};

use super::carrying::earlier;
use super::rules::catching_up;
use super::runner::Runner;
use crate::clock::moment;

/// When nodes were tried last.
#[derive(Debug, Default)]
pub(super) struct Catching {
    /// Not before this moment are all looked at again.
    due: Moment,
    tries: BTreeMap<(NodeId, SitePart), Try>,
}

/// So often it was tried, and the next time is then.
#[derive(Debug, Clone, Copy, Default)]
struct Try {
    count: u32,
    next: Moment,
    /// What the node had free then.
    free_bytes: u64,
}

impl Try {
    /// Before this it is not tried again, unless much room was made meanwhile.
    fn next(&self, free_bytes: u64) -> Moment {
        match self.count > 0 && free_bytes / 2 > self.free_bytes {
            true => Moment(0),
            false => self.next,
        }
    }
}

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Before the second try; doubled for each one after.
const AGAIN: Duration = Duration::from_secs(30);
const DOUBLINGS_MAX: u32 = 6;

impl Runner {
    /// Makes jobs for nodes that are behind, and notes who has caught up; when to look again.
    pub(super) async fn catch_up(&mut self) -> Result<Option<Moment>, StoreError> {
        let now = moment();
        if now < self.catching.due {
            return Ok(Some(self.catching.due));
        }
        self.catching.due = now + LOOK_EVERY;
        let mut wake = None;
        for live in self.lives.clone() {
            let view = self.view_of(&live);
            self.note_caught_up(&live, &view).await?;
            let Some(version) = live.version else {
                continue;
            };
            let mut nodes = behind(&live.site, version, &view);
            let key = |node: NodeId| (node, live.site.clone());
            for node in view.nodes.keys().filter(|node| !nodes.contains(node)) {
                let known = view.nodes.get(node).map(|known| known.base);
                if known == Some(Base::Known(live.version)) {
                    self.catching.tries.remove(&key(*node));
                }
            }
            let free = |node: &NodeId| view.nodes.get(node).map_or(0, |known| known.free_bytes);
            nodes.retain(|node| {
                let tried = self.catching.tries.get(&key(*node));
                let next = tried.map_or(Moment(0), |tried| tried.next(free(node)));
                if next > now {
                    wake = earlier(wake, Some(next));
                }
                next <= now
            });
            if !nodes.is_empty() {
                let nodes = nodes.into_iter().map(|node| (node, free(&node))).collect();
                self.ask_for(&live, nodes, now).await;
            }
        }
        Ok(wake)
    }

    async fn ask_for(&mut self, live: &Live, nodes: BTreeMap<NodeId, u64>, now: Moment) {
        for (node, free_bytes) in &nodes {
            let key = (*node, live.site.clone());
            let tried = self.catching.tries.entry(key).or_default();
            tried.next = now + AGAIN * (1 << tried.count.min(DOUBLINGS_MAX));
            tried.count += 1;
            tried.free_bytes = *free_bytes;
        }
        let (site, group) = (live.site.clone(), live.group.clone());
        let mut job = NewJob::new(Kind::Synchronize, site, group, live.version);
        job.nodes = Some(nodes.into_keys().collect());
        let job = job.with_policy(&catching_up());
        // Why not, is in the log; it is tried again.
        let _ = self
            .server
            .propose(Actor::Server, Command::CreateJob(job))
            .await;
    }

    /// Who was behind when the job that made this live was over, and is not any more.
    async fn note_caught_up(&mut self, live: &Live, view: &View) -> Result<(), StoreError> {
        let Some(job) = self.server.store.job(&live.job).await? else {
            return Ok(());
        };
        let endings = job.state.endings.iter();
        let missed = endings.filter(|(_, ending)| matches!(ending, Ending::Behind(_)));
        let caught: BTreeSet<NodeId> = missed
            .filter(|(node, _)| {
                let known = view.nodes.get(*node).map(|known| known.base);
                known == Some(Base::Known(live.version))
            })
            .map(|(node, _)| *node)
            .collect();
        if job.state.status.is_over() && !caught.is_empty() {
            let command = Command::keep_step(live.job.clone(), &Step::CaughtUp(caught));
            let _ = self.server.propose(Actor::Server, command).await;
        }
        Ok(())
    }

    /// What is known of the nodes on which this is live, but those on which something later is.
    fn view_of(&self, live: &Live) -> View {
        let mut nodes = self.fleet.selected(&live.group);
        for other in &self.lives {
            if other.site == live.site && other.number > live.number {
                let theirs = self.fleet.selected(&other.group);
                nodes.retain(|node| !theirs.contains(node));
            }
        }
        let jobs = self.jobs.values();
        let same = jobs.filter(|job| job.state.job.site == live.site);
        View {
            began: self.began,
            nodes: self.server.hub.look(nodes, &live.site),
            occupied: same.map(|job| self.occupies(job)).collect(),
            ..View::default()
        }
    }
}
