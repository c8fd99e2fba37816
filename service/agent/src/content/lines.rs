//! What waits to be done: a line for each site and part.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bellwether_content::assignment::{Action, Header};
use bellwether_disk::Mandate;
use bellwether_types::{Name, SitePart, Term, Time, VersionId};
use bellwether_wire::transfer::AssignmentId;
use bellwether_wire::uplink::{Failure, FailureKind};

use super::ledger::Ledger;
use super::order::Order;

/// Things that wait for one site. More are refused: whoever sends them says them again.
const TASKS_MAX: usize = 64;
/// Sites that wait for neighbours at once: the other workers are for who waits for nobody.
const GATHERINGS_MAX: usize = 2;
/// Files of split updates that are remembered until their rest has come.
const PARTS_MAX: usize = 65_536;

/// All lines, and who works at them.
#[derive(Default)]
pub(super) struct Lines {
    by_site: BTreeMap<SitePart, Line>,
    /// How many workers there are.
    pub(super) workers: usize,
    stopping: bool,
    /// Orders that took something away, the last of each site: what comes before them comes too late.
    fences: BTreeMap<SitePart, Mandate>,
    /// What lies on the shelf.
    pub(super) ledger: Ledger,
    /// Files of split updates, by update and part.
    parts: BTreeMap<Update, BTreeMap<u32, AssignmentId>>,
}

#[derive(Default)]
struct Line {
    tasks: VecDeque<Task>,
    /// What a worker is at.
    current: Option<Current>,
}

struct Current {
    task: Task,
    stages: Option<VersionId>,
    cancelled: Arc<AtomicBool>,
}

/// Something to be done for one site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Task {
    /// An assignment of these files in order, and the header of the first.
    Stage(Box<Header>, Vec<AssignmentId>),
    /// An order, and its instant.
    Obey(Order, Option<Time>),
}

/// A task that is begun.
pub(super) struct Begun {
    pub(super) site: SitePart,
    pub(super) task: Task,
    /// Is it wanted no more?
    pub(super) cancelled: Arc<AtomicBool>,
}

/// What all parts of a split update have in common.
pub(super) type Update = (SitePart, Term, u64, Option<VersionId>, Option<VersionId>);

impl Lines {
    /// Puts a task at the end of its site's line; why not, if it cannot be.
    pub(super) fn enqueue(&mut self, site: &SitePart, task: Task) -> Option<Failure> {
        if self.stopping {
            return Some(Failure::new(FailureKind::Busy, "the node is going down"));
        }
        if let (Some((_, by)), Some(fence)) = (task.stages(), self.fences.get(site))
            && by.term == fence.term
            && by.serial < fence.serial
        {
            let (serial, by) = (by.serial, fence.serial);
            let reason = format!("assignment {serial} of site {site} was called off by order {by}");
            return Some(Failure::new(FailureKind::Order, reason));
        }
        let line = self.by_site.entry(site.clone()).or_default();
        let current = line.current.as_ref();
        let is_current = current.is_some_and(|current| current.task == task);
        if is_current || line.tasks.contains(&task) {
            return None;
        }
        if line.tasks.len() >= TASKS_MAX {
            let reason = format!("{TASKS_MAX} things wait for site {site} already");
            return Some(Failure::new(FailureKind::Busy, reason));
        }
        let mut fence = None;
        if let Task::Obey(order, _) = &task
            && matches!(order.action, Action::Abort | Action::Remove)
        {
            fence = Some(order.by);
            if let Some(current) = &line.current
                && (order.action == Action::Remove || current.stages == order.version)
            {
                current.cancelled.store(true, Ordering::Relaxed);
            }
        }
        line.tasks.push_back(task);
        if let Some(by) = fence {
            let known = self.fences.entry(site.clone()).or_insert(by);
            *known = by.max(*known);
        }
        None
    }

    /// Remembers a part; all parts in order once they are there.
    pub(super) fn gather(
        &mut self,
        update: &Update,
        number: u32,
        count: u32,
        id: AssignmentId,
    ) -> Option<Vec<AssignmentId>> {
        if self.parts.values().map(BTreeMap::len).sum::<usize>() >= PARTS_MAX {
            self.parts.clear();
        }
        let parts = self.parts.entry(update.clone()).or_default();
        parts.insert(number, id);
        if parts.len() < count as usize {
            return None;
        }
        let parts = self.parts.remove(update)?;
        Some(parts.into_values().collect())
    }

    /// A line in which something waits and nobody works.
    pub(super) fn next(&self) -> Option<SitePart> {
        let currents = self
            .by_site
            .values()
            .filter_map(|line| line.current.as_ref());
        let gathering = currents.filter(|current| current.task.gathers()).count();
        let mut lines = self.by_site.iter();
        let waits = |line: &Line| {
            let next = line.tasks.front().filter(|_| line.current.is_none());
            next.is_some_and(|task| gathering < GATHERINGS_MAX || !task.gathers())
        };
        lines
            .find(|(_, line)| waits(line))
            .map(|(site, _)| site.clone())
    }

    /// Whether nothing waits for a site and nobody works for it.
    pub(super) fn is_idle(&self, site: &SitePart) -> bool {
        let line = self.by_site.get(site);
        line.is_none_or(|line| line.current.is_none() && line.tasks.is_empty())
    }

    /// What is being staged for a site.
    pub(super) fn staged_at(&self, site: &SitePart) -> Vec<AssignmentId> {
        self.by_site.get(site).map_or_else(Vec::new, Line::staged)
    }

    /// What is being staged.
    pub(super) fn all_staged(&self) -> Vec<AssignmentId> {
        self.by_site.values().flat_map(Line::staged).collect()
    }

    /// Begins with what is next, unless all is to end.
    pub(super) fn begin(&mut self) -> Option<Begun> {
        let site = self.next().filter(|_| !self.stopping)?;
        let line = self.by_site.get_mut(&site)?;
        let task = line.tasks.pop_front()?;
        let stages = task.stages().map(|(version, _)| version);
        let aborts = |waiting: &Task| match waiting {
            Task::Obey(order, _) => order.action == Action::Abort && Some(order.version) == stages,
            Task::Stage(..) => false,
        };
        let called_off = line.tasks.iter().any(aborts);
        let cancelled = Arc::new(AtomicBool::new(called_off));
        line.current = Some(Current {
            task: task.clone(),
            stages: stages.flatten(),
            cancelled: Arc::clone(&cancelled),
        });
        Some(Begun {
            site,
            task,
            cancelled,
        })
    }

    /// What a worker was at is done.
    pub(super) fn end(&mut self, site: &SitePart) {
        if let Some(line) = self.by_site.get_mut(site) {
            line.current = None;
        }
    }

    /// Nothing is begun any more, and what is being staged is wanted no more. The orders that nobody will carry out.
    pub(super) fn stop(&mut self) -> Vec<AssignmentId> {
        self.stopping = true;
        let mut undone = Vec::new();
        for line in self.by_site.values_mut() {
            undone.extend(line.tasks.drain(..).filter_map(|task| task.order()));
            if let Some(current) = &line.current
                && current.stages.is_some()
            {
                current.cancelled.store(true, Ordering::Relaxed);
            }
        }
        undone
    }

    /// Whether all is to end.
    pub(super) const fn is_stopping(&self) -> bool {
        self.stopping
    }
}

impl Line {
    fn staged(&self) -> Vec<AssignmentId> {
        match self.current.as_ref().map(|current| &current.task) {
            Some(Task::Stage(_, ids)) => ids.clone(),
            _ => Vec::new(),
        }
    }
}

impl Task {
    /// The job that it belongs to.
    pub(super) fn job(&self) -> Option<Name> {
        match self {
            Self::Stage(header, _) => header.job.clone(),
            Self::Obey(order, _) => Some(order.job.clone()),
        }
    }

    /// The version that it stages, and its place in the order of the site and part.
    fn stages(&self) -> Option<(Option<VersionId>, Mandate)> {
        match self {
            Self::Stage(header, _) => {
                let (term, serial) = (header.term, header.serial);
                Some((header.target, Mandate { term, serial }))
            }
            Self::Obey(order, _) => self.gathers().then_some((order.version, order.by)),
        }
    }

    /// Whether it waits for neighbours.
    fn gathers(&self) -> bool {
        matches!(self, Self::Obey(order, _) if order.action == Action::Gather)
    }

    /// The order that it is.
    pub(super) const fn order(&self) -> Option<AssignmentId> {
        match self {
            Self::Stage(..) => None,
            Self::Obey(order, _) => Some(order.id),
        }
    }
}
