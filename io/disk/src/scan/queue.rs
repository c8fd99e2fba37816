use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Work for a fixed crew of threads, where doing one job may add others.
///
/// The newest job is handed out first: a tree is walked depth first, so that the queue stays about
/// as long as the tree is deep. Jobs that were put off come when there is nothing else.
#[derive(Debug)]
pub(super) struct Queue<J> {
    state: Mutex<State<J>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<J> {
    ready: Vec<J>,
    put_off: Vec<J>,
    /// Threads that are at work and may add jobs.
    busy: usize,
    stopped: bool,
}

impl<J> Queue<J> {
    pub(super) fn new(first: J) -> Self {
        Self {
            state: Mutex::new(State {
                ready: vec![first],
                put_off: Vec::new(),
                busy: 0,
                stopped: false,
            }),
            changed: Condvar::new(),
        }
    }

    /// Hands jobs to `work` until all are done, or someone called [`stop`](Self::stop).
    pub(super) fn run(&self, mut work: impl FnMut(J)) {
        while let Some(job) = self.take() {
            // Dropped also when the job panics: the others must not wait for it for ever.
            let _busy = Busy(self);
            work(job);
        }
    }

    pub(super) fn push(&self, job: J) {
        self.lock().ready.push(job);
        self.changed.notify_one();
    }

    pub(super) fn put_off(&self, job: J) {
        self.lock().put_off.push(job);
        self.changed.notify_one();
    }

    /// No further job is handed out.
    pub(super) fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    fn take(&self) -> Option<J> {
        let mut state = self.lock();
        loop {
            if state.stopped {
                return None;
            }
            if let Some(job) = state.next() {
                state.busy += 1;
                return Some(job);
            }
            if state.busy == 0 {
                return None;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<J>> {
        // No job runs under the lock, so a panic elsewhere cannot have left it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Busy<'a, J>(&'a Queue<J>);

impl<J> Drop for Busy<'_, J> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.busy -= 1;
        if state.busy == 0 {
            self.0.changed.notify_all();
        }
    }
}

impl<J> State<J> {
    fn next(&mut self) -> Option<J> {
        self.ready.pop().or_else(|| self.put_off.pop())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn work_that_makes_work_is_all_done_by_all_threads() {
        let queue = Queue::new(12);
        let leaves = AtomicU32::new(0);
        let crew = || {
            queue.run(|height: u32| match height.checked_sub(1) {
                Some(lower) => (0..2).for_each(|_| queue.push(lower)),
                None => _ = leaves.fetch_add(1, Ordering::Relaxed),
            });
        };
        std::thread::scope(|scope| (0..4).for_each(|_| _ = scope.spawn(crew)));
        assert_eq!(leaves.into_inner(), 1 << 12);
    }

    #[test]
    fn what_was_put_off_comes_last() {
        let queue = Queue::new(1);
        let mut order = Vec::new();
        queue.run(|job| {
            if job == 1 {
                queue.put_off(9);
                queue.push(2);
                queue.push(3);
            }
            order.push(job);
        });
        assert_eq!(order, [1, 3, 2, 9]);
    }

    #[test]
    fn nothing_is_handed_out_after_a_stop() {
        let queue = Queue::new(1);
        let mut jobs = 0;
        queue.run(|_| {
            jobs += 1;
            queue.push(2);
            queue.stop();
        });
        assert_eq!(jobs, 1);
    }
}
