use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufReader};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use bellwether_content::assignment::{self, Action, Header, Part, Trust};
use bellwether_disk::{Disk, HookRun};
use bellwether_types::{Name, SitePart, Time};
use bellwether_wire::control::Holding;
use bellwether_wire::transfer::AssignmentId;
use bellwether_wire::uplink::{Failure, FailureKind, Outcome};

use super::failure;
use super::flow::{Flow, Late};
use super::lines::{Begun, Lines, Task};
use super::neighbourhood::Neighbourhood;
use super::order::Order;
use super::place::{Done, Place, Witness};
use super::shelf::Shelf;

/// What a node has in its custody. Dropped, it ends what is under way in order: what was staged counts, what was not is
/// staged at the next start.
pub struct Custody<D: Disk> {
    inner: Arc<Inner<D>>,
}

/// What custody is told at its start.
pub struct CustodySettings<D: Disk> {
    /// Whose assignments are accepted.
    pub trust: Trust,
    /// Who signs for what is served.
    pub witness: Witness,
    /// The sites and parts that this node serves.
    pub places: Vec<Place<D>>,
    /// Where assignments lie.
    pub shelf: Box<dyn Shelf>,
    /// Who may hold what is missing here.
    pub neighbourhood: Arc<dyn Neighbourhood>,
    /// The node's steady clock.
    pub clock: Box<dyn Clock>,
    /// How many sites and parts are at work at once.
    pub threads_max: usize,
}

/// What custody tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// What became of an assignment or an order (REPORT-01).
    Outcome {
        /// Its job, if it names one.
        job: Option<Name>,
        /// Whose content.
        site: SitePart,
        /// The order that it tells of; `None` if it is an assignment.
        order: Option<AssignmentId>,
        /// What became of it.
        outcome: Outcome,
    },
    /// Assignments that nobody here needs any more: what they brought was replaced, or called off.
    Spent(Vec<AssignmentId>),
    /// These orders are not carried out, because the node's settings change or it goes down: said again, they are new.
    Undone(Vec<AssignmentId>),
    /// A command ran after a switch.
    Hook(SitePart, HookRun),
    /// Something is not as it should be, for the log.
    Note(String),
}

/// A steady clock, and a way to wait for one of its moments.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Time;
    /// Returns at `at`, or at once if that has passed.
    fn wait_until(&self, at: Time);
}

/// The machine's.
#[derive(Debug, Clone, Copy, Default)]
pub struct SteadyClock;

/// No order lies further ahead than this: nothing else is done with a site while it waits.
const LEAD_MAX: Duration = Duration::from_secs(60);
const READ_LEN: usize = 256 << 10;
/// Assignments that come at once and are looked at.
const FLOWS_MAX: usize = 64;
type Tell = Box<dyn Fn(Told) + Send + Sync>;

struct Inner<D: Disk> {
    trust: Trust,
    witness: Witness,
    places: BTreeMap<SitePart, Place<D>>,
    shelf: Box<dyn Shelf>,
    neighbourhood: Arc<dyn Neighbourhood>,
    clock: Box<dyn Clock>,
    threads_max: usize,
    tell: Tell,
    lines: Mutex<Lines>,
    /// What is coming, and was looked at; what was given up is not begun again before it has arrived.
    flows: Mutex<BTreeMap<AssignmentId, Arc<Flow>>>,
    /// A worker has ended.
    ended: Condvar,
}

impl<D: Disk + 'static> Custody<D> {
    /// Finishes what was decided when the node went down, and takes up what lies on the shelf. `tell` is called from
    /// several threads, and must not wait.
    pub fn start(
        settings: CustodySettings<D>,
        tell: impl Fn(Told) + Send + Sync + 'static,
    ) -> Self {
        let CustodySettings {
            trust,
            witness,
            places,
            shelf,
            neighbourhood,
            clock,
            threads_max,
        } = settings;
        let places = places.into_iter();
        let inner = Inner {
            trust,
            witness,
            places: places
                .map(|place| (place.site.name().clone(), place))
                .collect(),
            shelf,
            neighbourhood,
            clock,
            threads_max: threads_max.max(1),
            tell: Box::new(tell),
            lines: Mutex::default(),
            flows: Mutex::default(),
            ended: Condvar::new(),
        };
        inner.recover();
        let custody = Self {
            inner: Arc::new(inner),
        };
        match custody.inner.shelf.list() {
            Ok(ids) => ids.into_iter().for_each(|id| custody.take_up(id)),
            Err(error) => custody
                .inner
                .note(format!("assignments cannot be listed: {error}")),
        }
        custody
    }

    /// So many bytes of an assignment that comes are proved, of so many. If it leads on from what is live here, and nothing
    /// else is under way, it is staged while the rest comes. Nothing is told of that before it has arrived: until then all
    /// may be in vain.
    pub fn coming(&self, id: AssignmentId, len: u64, total: u64) {
        if let Some(flow) = self.inner.advance(id, len, total) {
            let begun = self.inner.peek_coming(id).is_ok_and(|header| {
                let begins = self.inner.begins(&header);
                begins && self.begin_early(id, header)
            });
            if !begun {
                flow.give_up();
            }
        }
    }

    /// An assignment that was coming will not come, or not in one go.
    pub fn lost(&self, id: AssignmentId) {
        self.inner.give_up([id]);
    }

    /// An assignment lies whole on the shelf. It may be said again. One whose base is not held here is for others, and
    /// left alone.
    pub fn arrived(&self, id: AssignmentId) {
        if let Some(flow) = self.inner.flows().remove(&id) {
            flow.arrive();
        }
        match self.inner.peek(id) {
            Ok(header) => self.arrange(id, header, true),
            Err(failure) => self.inner.note(format!("assignment {}: {failure}", id.0)),
        }
    }

    /// Tells what became of the content of a job once more, or for the first time since the node started: from what lies
    /// on the shelf. If none of it can be used here, that is told. Nothing is told if nothing came.
    pub fn recall(&self, job: &Name) {
        let ids = self.inner.lines().ledger.of(job);
        let mut unfit = None;
        let mut is_fit = false;
        for id in ids {
            let Ok(header) = self.inner.peek(id) else {
                continue;
            };
            let place = header
                .site
                .as_ref()
                .and_then(|site| self.inner.places.get(site));
            match place {
                None => {}
                Some(place) if place.can_use(&header) => {
                    is_fit = true;
                    self.arrange(id, header, true);
                }
                Some(place) => unfit = place.unfit(&header),
            }
        }
        if let (false, Some((site, failure))) = (is_fit, unfit) {
            (self.inner.tell)(Told::Outcome {
                job: Some(job.clone()),
                site,
                order: None,
                outcome: Outcome::Failed(failure),
            });
        }
    }

    /// Carries out a signed order, at an instant of this node's steady clock or at once. What becomes of it is told.
    ///
    /// # Errors
    /// If it is none of whom the node trusts, or of a site that it does not serve: then nothing is told.
    pub fn order(&self, assignment: &[u8], at: Option<Time>) -> Result<(), Failure> {
        let order = Order::open(assignment, &self.inner.trust)?;
        if !self.inner.places.contains_key(&order.site) {
            let reason = format!("this node does not serve site {}", order.site);
            return Err(Failure::new(FailureKind::Unsupported, reason));
        }
        if at.is_some_and(|at| at > self.inner.clock.now() + LEAD_MAX) {
            let reason = "the order's instant is more than a minute ahead: clocks do not agree";
            return Err(Failure::new(FailureKind::Order, reason));
        }
        let site = order.site.clone();
        let refused = self.inner.lines().enqueue(&site, Task::Obey(order, at));
        refused.map_or(Ok(()), Err)?;
        // An order does not wait for what is still coming.
        let current = self.inner.lines().staged_at(&site);
        self.inner.give_up(current);
        self.dispatch();
        Ok(())
    }

    /// What is live, in the order of sites: what the node says of itself in its registration.
    pub fn holdings(&self) -> Vec<Holding> {
        let places = self.inner.places.iter();
        let live = places.filter_map(|(site, place)| {
            let status = place.status().ok()??;
            Some(Holding {
                site: site.site.clone(),
                part: site.part.clone(),
                version: status.live?,
            })
        });
        live.collect()
    }

    /// The highest serial of an order that was carried out here: below what the leader announces, something was missed.
    pub fn committed(&self) -> u64 {
        let places = self.inner.places.values();
        let ordered = places.filter_map(|place| Some(place.status().ok()??.ordered.0));
        ordered.max().unwrap_or(0)
    }

    /// Returns when nothing is under way and nothing waits.
    pub fn settle(&self) {
        let mut lines = self.inner.lines();
        while lines.workers > 0 {
            lines = self
                .inner
                .ended
                .wait(lines)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// An assignment that lay on the shelf when the node began: what has passed is left there.
    fn take_up(&self, id: AssignmentId) {
        if let Ok(header) = self.inner.peek(id) {
            self.arrange(id, header, false);
        }
    }

    /// Stages an assignment once all of its parts are there.
    fn arrange(&self, id: AssignmentId, header: Header, is_new: bool) {
        let Some(site) = header.site.clone() else {
            return self
                .inner
                .note(format!("assignment {} names no site", id.0));
        };
        let Some(place) = self.inner.places.get(&site) else {
            // It is for others, who fetch it here, until the next one comes.
            if let Some(job) = &header.job {
                let spent = self.inner.lines().ledger.enter(job, &site, id, true);
                self.inner.spent(spent);
            }
            return;
        };
        if let Some(job) = &header.job {
            self.inner.lines().ledger.enter(job, &site, id, false);
        }
        if header.target.is_none() {
            return self
                .inner
                .note(format!("assignment {} brings nothing", id.0));
        }
        if !place.can_use(&header) || (!is_new && place.has_passed(&header)) {
            return;
        }
        let Part { number, count } = header.part;
        let task = if count == 1 {
            Task::Stage(Box::new(header), vec![id])
        } else {
            let first = header.serial.0.saturating_sub(u64::from(number) - 1);
            let update = (site.clone(), header.term, first, header.base, header.target);
            let Some(parts) = self.inner.lines().gather(&update, number, count, id) else {
                return;
            };
            match self.inner.peek(parts[0]) {
                Ok(header) => Task::Stage(Box::new(header), parts),
                Err(failure) => return self.inner.note(failure.to_string()),
            }
        };
        let job = task.job();
        let refused = self.inner.lines().enqueue(&site, task);
        if let Some(failure) = refused {
            (self.inner.tell)(Told::Outcome {
                job,
                site,
                order: None,
                outcome: Outcome::Failed(failure),
            });
        }
        self.dispatch();
    }

    fn begin_early(&self, id: AssignmentId, header: Header) -> bool {
        let (Some(site), Some(job)) = (header.site.clone(), header.job.clone()) else {
            return false;
        };
        let mut lines = self.inner.lines();
        if !lines.is_idle(&site) || lines.workers >= self.inner.threads_max {
            return false;
        }
        lines.ledger.enter(&job, &site, id, false);
        let refused = lines.enqueue(&site, Task::Stage(Box::new(header), vec![id]));
        drop(lines);
        self.dispatch();
        refused.is_none()
    }

    /// Gives each line that waits a worker, as long as there are any. Who waits for what is coming makes room.
    fn dispatch(&self) {
        loop {
            let mut lines = self.inner.lines();
            if lines.next().is_none() {
                return;
            }
            if lines.workers >= self.inner.threads_max {
                let staged = lines.all_staged();
                drop(lines);
                return self.inner.give_up(staged);
            }
            lines.workers += 1;
            drop(lines);
            let inner = Arc::clone(&self.inner);
            let begun = thread::Builder::new()
                .name("custody".into())
                .spawn(move || inner.work());
            if let Err(error) = begun {
                self.inner.lines().workers -= 1;
                self.inner.ended.notify_all();
                return self.inner.note(format!("no thread to stage on: {error}"));
            }
        }
    }
}

impl<D: Disk> Inner<D> {
    fn recover(&self) {
        for (site, place) in &self.places {
            if let Ok(None) = place.status() {
                continue;
            }
            if let Err(error) = place.site.recover() {
                self.note(format!("site {site}: {}", failure::of_site(&error)));
            }
        }
    }

    /// Notes how far an assignment is; its flow, if that is new.
    fn advance(&self, id: AssignmentId, len: u64, total: u64) -> Option<Arc<Flow>> {
        let mut flows = self.flows();
        if let Some(flow) = flows.get(&id) {
            flow.advance(len, total);
            return None;
        }
        if len >= total {
            // It arrives in a moment.
            return None;
        }
        if flows.len() >= FLOWS_MAX {
            flows.retain(|_, flow| !flow.is_given_up());
        }
        if flows.len() >= FLOWS_MAX {
            return None;
        }
        let flow = Arc::new(Flow::new(len));
        flows.insert(id, Arc::clone(&flow));
        Some(flow)
    }

    /// Whoever waits for more of these is to do something else.
    fn give_up(&self, ids: impl IntoIterator<Item = AssignmentId>) {
        let flows = self.flows();
        for id in ids {
            if let Some(flow) = flows.get(&id) {
                flow.give_up();
            }
        }
    }

    /// Whether an assignment may be staged while it comes: it leads on from what is live.
    fn begins(&self, header: &Header) -> bool {
        let place = header.site.as_ref().and_then(|site| self.places.get(site));
        let Some(place) = place.filter(|_| header.part.count == 1 && header.target.is_some())
        else {
            return false;
        };
        let (live, staged) = match place.status() {
            Ok(Some(status)) => (status.live, status.staged),
            Ok(None) => (None, None),
            Err(_) => return false,
        };
        header.base == live
            && header.target != live
            && staged.is_none()
            && !place.has_passed(header)
    }

    fn peek_coming(&self, id: AssignmentId) -> Result<Header, Failure> {
        let file = self
            .shelf
            .open_coming(id)
            .map_err(|error| unreadable(&error))?;
        assignment::peek(BufReader::new(file)).map_err(|error| failure::of_open(&error))
    }

    fn peek(&self, id: AssignmentId) -> Result<Header, Failure> {
        let file = self.shelf.open(id).map_err(|error| unreadable(&error))?;
        assignment::peek(BufReader::new(file)).map_err(|error| failure::of_open(&error))
    }

    /// Does what waits, line by line, until nothing does.
    fn work(&self) {
        let mut shift = Shift {
            inner: self,
            site: None,
        };
        loop {
            let mut lines = self.lines();
            if let Some(site) = shift.site.take() {
                lines.end(&site);
            }
            let Some(begun) = lines.begin() else {
                // Under the same lock: nothing comes in between that nobody does.
                shift.end(lines);
                return;
            };
            drop(lines);
            let Begun {
                site,
                task,
                cancelled,
            } = begun;
            shift.site = Some(site.clone());
            let (job, order) = (task.job(), task.order());
            if let Some(place) = self.places.get(&site) {
                let flow = self.flow_of(&task);
                let mut done = self.carry_out(place, task.clone(), flow.as_ref(), &cancelled);
                let failed = matches!(done.outcome, Outcome::Failed(_));
                if let Some(flow) = flow.filter(|flow| failed && flow.give_up()) {
                    // What was in vain so far says nothing. Arrived meanwhile, it was taken for the task that ends here.
                    let mut lines = self.lines();
                    if !flow.has_arrived() {
                        lines.end(&site);
                        shift.site = None;
                        continue;
                    }
                    drop(lines);
                    done = self.carry_out(place, task, None, &cancelled);
                }
                let failed = matches!(done.outcome, Outcome::Failed(_));
                if failed && cancelled.load(Ordering::Relaxed) && self.lines().is_stopping() {
                    // It is staged at the next start.
                    if let Some(order) = order {
                        (self.tell)(Told::Undone(vec![order]));
                    }
                    continue;
                }
                for hook in done.hooks {
                    (self.tell)(Told::Hook(site.clone(), hook));
                }
                let spent = match (&job, order, &done.outcome) {
                    (Some(job), _, Outcome::Live(_)) => self.lines().ledger.before(job, &site),
                    (Some(job), Some(_), Outcome::Aborted) => self.lines().ledger.take(job, &site),
                    (_, _, Outcome::Removed) => self.lines().ledger.take_all(&site),
                    // A file that is not what was signed, or does not fit, is of no use: it may come again.
                    (Some(job), None, Outcome::Failed(failure))
                        if failure.kind == FailureKind::Damaged =>
                    {
                        self.lines().ledger.take(job, &site)
                    }
                    _ => Vec::new(),
                };
                (self.tell)(Told::Outcome {
                    job,
                    site,
                    order,
                    outcome: done.outcome,
                });
                self.spent(spent);
            }
        }
    }

    /// The flow of what a task stages, if that is still coming.
    fn flow_of(&self, task: &Task) -> Option<Arc<Flow>> {
        match task {
            Task::Stage(_, ids) => self.flows().get(ids.first()?).cloned(),
            Task::Obey(..) => None,
        }
    }

    fn carry_out(
        &self,
        place: &Place<D>,
        task: Task,
        flow: Option<&Arc<Flow>>,
        cancelled: &Arc<AtomicBool>,
    ) -> Done {
        match task {
            Task::Obey(order, _) if order.action == Action::Gather => {
                place.gather(&order, &*self.neighbourhood, &self.witness, cancelled)
            }
            Task::Obey(order, at) => place.obey(&order, &self.witness, || {
                if let Some(at) = at {
                    self.clock.wait_until(at);
                }
            }),
            Task::Stage(header, ids) => {
                let parts = ids.into_iter();
                let parts = parts.map(|id| {
                    let file = Late::new(&*self.shelf, id, flow.cloned());
                    BufReader::with_capacity(READ_LEN, file)
                });
                place.stage(&header, parts, &self.trust, &self.witness, cancelled)
            }
        }
    }

    fn spent(&self, ids: Vec<AssignmentId>) {
        if !ids.is_empty() {
            (self.tell)(Told::Spent(ids));
        }
    }

    fn note(&self, note: String) {
        (self.tell)(Told::Note(note));
    }

    fn flows(&self) -> MutexGuard<'_, BTreeMap<AssignmentId, Arc<Flow>>> {
        self.flows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        // Whole steps are made under the lock, so what a panic left behind is usable.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A worker's time at work: it ends however the worker ends.
struct Shift<'i, D: Disk> {
    inner: &'i Inner<D>,
    site: Option<SitePart>,
}

impl<D: Disk> Shift<'_, D> {
    fn end(self, mut lines: MutexGuard<'_, Lines>) {
        lines.workers -= 1;
        drop(lines);
        self.inner.ended.notify_all();
        std::mem::forget(self);
    }
}

/// Only if the worker panicked.
impl<D: Disk> Drop for Shift<'_, D> {
    fn drop(&mut self) {
        let mut lines = self.inner.lines();
        if let Some(site) = self.site.take() {
            lines.end(&site);
        }
        lines.workers -= 1;
        drop(lines);
        self.inner.ended.notify_all();
    }
}

impl<D: Disk> Place<D> {
    /// Whether what an assignment brings is here, or the version that it starts from.
    fn can_use(&self, header: &Header) -> bool {
        let Some(base) = header.base else {
            return true;
        };
        match self.status() {
            Ok(Some(status)) => {
                let is_here = [status.live, status.staged].contains(&header.target);
                is_here || status.releases.contains_key(&base)
            }
            Ok(None) => false,
            // Why not is told by whoever tries.
            Err(_) => true,
        }
    }

    /// Why an assignment is of no use here.
    fn unfit(&self, header: &Header) -> Option<(SitePart, Failure)> {
        let status = self.status().ok()?;
        let failure = self.base_missing(header, status.as_ref());
        Some((self.site.name().clone(), failure))
    }

    /// Whether an assignment is live or staged here, or something later is.
    fn has_passed(&self, header: &Header) -> bool {
        let Ok(Some(status)) = self.status() else {
            return false;
        };
        let is_here = [status.live, status.staged].contains(&header.target);
        let last = header.serial_of_part(header.part.count);
        let later = header.term < status.term || last < status.serial.max(status.ordered);
        is_here || later
    }
}

impl<D: Disk> Drop for Custody<D> {
    fn drop(&mut self) {
        let undone = self.inner.lines().stop();
        if !undone.is_empty() {
            (self.inner.tell)(Told::Undone(undone));
        }
        for flow in self.inner.flows().values() {
            flow.give_up();
        }
        let mut lines = self.inner.lines();
        while lines.workers > 0 {
            let waited = self.inner.ended.wait(lines);
            lines = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Clock for SteadyClock {
    fn now(&self) -> Time {
        bellwether_net::now()
    }

    fn wait_until(&self, at: Time) {
        loop {
            let left = at.since(self.now());
            if left.is_zero() {
                return;
            }
            thread::sleep(left);
        }
    }
}

fn unreadable(error: &io::Error) -> Failure {
    Failure::new(FailureKind::Machine, format!("it cannot be read: {error}"))
}

impl<D: Disk> fmt::Debug for Custody<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Custody").finish_non_exhaustive()
    }
}

impl<D: Disk> fmt::Debug for CustodySettings<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CustodySettings").finish_non_exhaustive()
    }
}
