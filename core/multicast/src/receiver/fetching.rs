//! By unicast, from one source after the other.

use bellwether_machine::Outbox;
use bellwether_types::{NodeId, Time};
use bellwether_wire::transfer::{Divert, TransferMessage};

use super::{Output, Progress, Receiver, Timer};

/// Fetching by unicast.
#[derive(Debug)]
pub(super) struct Fetch {
    sources: Vec<NodeId>,
    at: usize,
    tried: u32,
    /// Words of the source since it last brought something.
    idle: u32,
}

/// Words of a source that brings nothing before another one is asked.
const IDLE_MAX: u32 = 40;

impl Receiver {
    pub(super) fn divert(&mut self, now: Time, mut sources: Vec<NodeId>, out: &mut Outbox<Output>) {
        if let Progress::Failed(_) = self.progress {
            // Other sources are a new chance.
            self.progress = Progress::Receiving;
            self.proofs_failed = 0;
        }
        if sources.is_empty() || self.progress != Progress::Receiving {
            return;
        }
        sources.truncate(Divert::SOURCES_MAX);
        match &self.fetch {
            Some(fetch) if fetch.sources == sources => return,
            Some(_) => {}
            None => out.push(Output::Quit),
        }
        self.fetch = Some(Fetch {
            sources,
            at: 0,
            tried: 0,
            idle: 0,
        });
        self.ask_source(now, out);
    }

    /// The next one is asked at once; when all refused, after a while.
    pub(super) fn refused(&mut self, now: Time, node: NodeId, out: &mut Outbox<Output>) {
        let Some(fetch) = &mut self.fetch else {
            return;
        };
        if fetch.source() != node {
            return;
        }
        if fetch.at % fetch.sources.len() + 1 < fetch.sources.len() {
            fetch.at += 1;
            self.ask_source(now, out);
        } else {
            let later = now + self.settings.source_patience / 4;
            self.deadlines.set(Timer::Source, later);
        }
    }

    pub(super) fn next_source(&mut self, now: Time, out: &mut Outbox<Output>) {
        let Some(fetch) = &mut self.fetch else {
            return;
        };
        fetch.at += 1;
        fetch.tried += 1;
        fetch.idle = 0;
        if fetch.tried > self.settings.sources_tried_max {
            let reason = "multicast does not reach this node, and none of its neighbours serves it";
            return self.fail(now, reason.to_owned(), out);
        }
        self.ask_source(now, out);
    }

    fn ask_source(&mut self, now: Time, out: &mut Outbox<Output>) {
        let Some(to) = self.source() else {
            return;
        };
        let message = TransferMessage::Fetch(self.assignment);
        out.push(Output::Send { to, message });
        let patience = self.settings.source_patience;
        self.deadlines.set(Timer::Source, now + patience);
    }

    /// A sender is alive. A source that only says so, and sends nothing, is believed for a while.
    pub(super) fn hear_of(&mut self, now: Time, sender: NodeId, brings: bool) {
        if self.progress != Progress::Receiving {
            return;
        }
        let patience = now + self.settings.patience;
        self.deadlines.set(Timer::Patience, patience);
        let Some(fetch) = &mut self.fetch else {
            return;
        };
        if fetch.source() != sender {
            return;
        }
        fetch.idle = if brings { 0 } else { fetch.idle + 1 };
        if brings {
            fetch.tried = 0;
        }
        if fetch.idle < IDLE_MAX {
            let patience = now + self.settings.source_patience;
            self.deadlines.set(Timer::Source, patience);
        }
    }
}

impl Fetch {
    pub(super) fn source(&self) -> NodeId {
        self.sources[self.at % self.sources.len()]
    }
}
