//! An assignment that is staged while it comes.

use std::io::{self, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bellwether_wire::transfer::AssignmentId;

use super::shelf::Shelf;

/// How far an assignment is that somebody reads already.
#[derive(Debug)]
pub(super) struct Flow {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// Bytes that are proved, from the beginning.
    len: u64,
    stage: Stage,
    /// It lies whole on the shelf.
    has_arrived: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Coming,
    Whole,
    /// Whoever reads it is to end: it is staged once it has arrived.
    GivenUp,
}

impl Flow {
    pub(super) const fn new(len: u64) -> Self {
        Self {
            state: Mutex::new(State {
                len,
                stage: Stage::Coming,
                has_arrived: false,
            }),
            changed: Condvar::new(),
        }
    }

    /// So many bytes are there now, of so many.
    pub(super) fn advance(&self, len: u64, total: u64) {
        let mut state = self.state();
        state.len = state.len.max(len);
        if state.stage == Stage::Coming && len >= total {
            state.stage = Stage::Whole;
        }
        self.changed.notify_all();
    }

    /// Whoever reads it is to end, unless all of it is there; whether it is to.
    pub(super) fn give_up(&self) -> bool {
        let mut state = self.state();
        if state.stage == Stage::Coming {
            state.stage = Stage::GivenUp;
        }
        self.changed.notify_all();
        state.stage == Stage::GivenUp
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.state().stage == Stage::GivenUp
    }

    /// It lies on the shelf.
    pub(super) fn arrive(&self) {
        let mut state = self.state();
        state.has_arrived = true;
        if state.stage == Stage::Coming {
            state.stage = Stage::Whole;
        }
        self.changed.notify_all();
    }

    pub(super) fn has_arrived(&self) -> bool {
        self.state().has_arrived
    }

    /// Waits until there is more than `offset` bytes; how far can be read then.
    fn wait(&self, offset: u64) -> io::Result<u64> {
        let waits = |state: &mut State| state.stage == Stage::Coming && state.len <= offset;
        let state = self.changed.wait_while(self.state(), waits);
        let state = state.unwrap_or_else(PoisonError::into_inner);
        match state.stage {
            Stage::Coming => Ok(state.len),
            Stage::Whole => Ok(u64::MAX),
            Stage::GivenUp => Err(io::Error::other("it is read once it has come")),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file of an assignment, opened when it is read: of a split update there may be more than a process may have open. One
/// that is still coming is read as far as it is proved.
pub(super) struct Late<'s> {
    shelf: &'s dyn Shelf,
    id: AssignmentId,
    flow: Option<Arc<Flow>>,
    file: Option<Box<dyn Read + Send>>,
    offset: u64,
}

impl<'s> Late<'s> {
    pub(super) const fn new(
        shelf: &'s dyn Shelf,
        id: AssignmentId,
        flow: Option<Arc<Flow>>,
    ) -> Self {
        Self {
            shelf,
            id,
            flow,
            file: None,
            offset: 0,
        }
    }

    fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        match (self.shelf.open(self.id), &self.flow) {
            (Err(error), Some(_)) if error.kind() == io::ErrorKind::NotFound => {
                self.shelf.open_coming(self.id)
            }
            (opened, _) => opened,
        }
    }
}

impl Read for Late<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let end = match &self.flow {
            Some(flow) => flow.wait(self.offset)?,
            None => u64::MAX,
        };
        let mut file = match self.file.take() {
            Some(file) => file,
            None => self.open()?,
        };
        let left = usize::try_from(end - self.offset).unwrap_or(usize::MAX);
        let len = left.min(buffer.len());
        let read = file.read(&mut buffer[..len])?;
        self.file = Some(file);
        self.offset += read as u64;
        Ok(read)
    }
}
