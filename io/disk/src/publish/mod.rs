//! From two trees on disk to the files of an assignment.
//!
//! What manifests can tell is decided by [`Update`]. Here contents are read, groups are coded on
//! as many threads as there are, and the parts are written: first the data file, since the header
//! commits to its blocks, then all of it under its name in one step.

mod search;
mod source;
mod writing;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use bellwether_content::Manifest;
use bellwether_content::assignment::{BaseRange, Header};
use bellwether_content::command::{Command, WriteFile};
use bellwether_content::planner::Hints;
use bellwether_content::update::{Coding, Contents, PlanError, Update};
use bellwether_types::TreePath;
use bellwether_wire::{ContentKey, Salt, SigningKey};

pub use source::{Source, SourceError};

use search::Search;
use writing::Parts;

/// How an update is to be made.
pub struct Making<'k> {
    /// Work for few bytes, and the limit of an assignment's size.
    pub coding: Coding,
    /// The tree that tells when a content was first seen: what is live. The variants of one update
    /// for several bases need the same, to lead to the same version.
    pub first_seen: &'k Manifest,
    /// Whether a file's content is worth compressing (COMP-02).
    pub compressible: &'k dyn Fn(&TreePath) -> bool,
    /// What the header says of action, order, site, group and job; the rest is filled in. The
    /// parts of a split update have serials in a row.
    pub header: Header,
    /// Who signs.
    pub signing: Option<&'k SigningKey>,
    /// Who can read; with the randomness that makes each part's streams their own.
    pub sealing: Option<(&'k ContentKey, &'k dyn Fn() -> Salt)>,
    /// How many threads; as many as the machine has unless said otherwise, and in any case no more
    /// than [`Coding::coders_max`].
    pub threads: Option<NonZeroUsize>,
    /// Is told of bytes of content that were coded, of how many.
    pub progress: &'k (dyn Fn(u64, u64) + Sync),
}

/// An update that was made.
#[derive(Debug)]
pub struct Made {
    /// Its files and what their headers say, in order.
    pub parts: Vec<(PathBuf, Header, u64)>,
    /// What it does.
    pub commands: Vec<Command>,
    /// The tree it leads to: the target with the times at which its content was first seen.
    pub target: Manifest,
}

/// Why no update could be made. Files of an earlier one are as they were.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// A content could not be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The planner is at fault.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The assignment could not be written.
    #[error("{path} cannot be written")]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Makes the update that brings nodes from `base` to `target` and writes it to `out`; if it must
/// be split, to `out` with `.1`, `.2` and so on appended.
pub fn publish(
    base: &Source,
    target: &Source,
    making: &Making<'_>,
    out: &std::path::Path,
) -> Result<Made, PublishError> {
    let goal = target.manifest().clone().with_first_seen(making.first_seen);
    let threads = making
        .threads
        .or_else(|| thread::available_parallelism().ok())
        .map_or(1, NonZeroUsize::get)
        .min(making.coding.coders_max());
    let search = Search::new(base, making.coding.effort, threads);
    let hints = Hints {
        resemblances: search.resemblances(&goal, target)?,
        compressible: making.compressible,
    };
    let update = Update::plan(base.manifest(), &goal, &hints, making.coding)?;
    let mut header = making.header.clone();
    header.base = (!base.manifest().is_empty()).then(|| base.manifest().version());
    header.target = Some(goal.version());
    header.content_len = update.content_len();
    let pair = SourcePair {
        base,
        target,
        search: &search,
    };
    let mut parts = Parts::new(out, header, making);
    code_groups(&update, &pair, making, threads, &mut |group| {
        parts.group(&group)
    })?;
    let parts = parts.finish(update.body())?;
    let commands = update.commands().to_vec();
    Ok(Made {
        parts,
        commands,
        target: goal,
    })
}

/// Codes all groups on threads and hands them over in order.
fn code_groups(
    update: &Update<'_>,
    contents: &SourcePair<'_>,
    making: &Making<'_>,
    threads: usize,
    take: &mut dyn FnMut(Vec<u8>) -> Result<(), PublishError>,
) -> Result<(), PublishError> {
    let total = update.content_len();
    let done = std::sync::atomic::AtomicU64::new(0);
    let progress = |bytes| {
        let before = done.fetch_add(bytes, Ordering::Relaxed);
        (making.progress)(before + bytes, total);
    };
    let threads = threads.min(update.group_count());
    let next = AtomicUsize::new(0);
    let stopped = AtomicBool::new(false);
    let results = Results::new(update.group_count());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let _guard = ReleaseOnPanic(&results);
                let mut coder = update.coder();
                while !stopped.load(Ordering::Relaxed) {
                    let group = next.fetch_add(1, Ordering::Relaxed);
                    if group >= update.group_count() {
                        break;
                    }
                    // A thread that is far ahead waits, so that few results are held.
                    results.wait_for_turn(group, threads - 1);
                    results.put(group, coder.group(group, contents, &progress));
                }
            });
        }
        let mut groups = (0..update.group_count()).map_while(|group| results.take(group));
        let outcome = groups.try_for_each(|group| take(group?));
        stopped.store(true, Ordering::Relaxed);
        results.release();
        outcome
    })
}

/// Results of numbered tasks, taken in order.
struct Results<T> {
    state: Mutex<ResultsState<T>>,
    changed: Condvar,
}

struct ResultsState<T> {
    slots: Vec<Option<T>>,
    /// Which task's result is awaited.
    turn: usize,
    /// No more results will come.
    over: bool,
}

/// A thread that panics must not leave the others waiting; the scope passes its panic on.
struct ReleaseOnPanic<'r, T>(&'r Results<T>);

impl<T> Drop for ReleaseOnPanic<'_, T> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.release();
        }
    }
}

impl<T> Results<T> {
    fn new(count: usize) -> Self {
        let state = ResultsState {
            slots: (0..count).map(|_| None).collect(),
            turn: 0,
            over: false,
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, ResultsState<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for_turn(&self, task: usize, ahead: usize) {
        let waits = |state: &mut ResultsState<T>| !state.over && task > state.turn + ahead;
        drop(self.changed.wait_while(self.lock(), waits));
    }

    fn put(&self, task: usize, result: T) {
        self.lock().slots[task] = Some(result);
        self.changed.notify_all();
    }

    fn take(&self, task: usize) -> Option<T> {
        self.lock().turn = task;
        self.changed.notify_all();
        let waits = |state: &mut ResultsState<T>| !state.over && state.slots[task].is_none();
        let waited = self.changed.wait_while(self.lock(), waits);
        waited.unwrap_or_else(PoisonError::into_inner).slots[task].take()
    }

    fn release(&self) {
        self.lock().over = true;
        self.changed.notify_all();
    }
}

/// The contents of both trees.
struct SourcePair<'s> {
    base: &'s Source,
    target: &'s Source,
    search: &'s Search<'s>,
}

impl Contents for SourcePair<'_> {
    type Error = SourceError;

    fn read_base(&self, path: &TreePath, offset: u64, buf: &mut [u8]) -> Result<(), SourceError> {
        self.base.read_at(path, offset, buf)
    }

    fn read_target(&self, path: &TreePath, at: u64, buf: &mut [u8]) -> Result<(), SourceError> {
        self.target.read_at(path, at, buf)
    }

    fn search_base(
        &self,
        write: &WriteFile,
        offset: u64,
        new: &[u8],
        len_max: u64,
    ) -> Result<Vec<BaseRange>, SourceError> {
        self.search.ranges(write, offset, new, len_max)
    }
}

impl std::fmt::Debug for Making<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Making")
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}
