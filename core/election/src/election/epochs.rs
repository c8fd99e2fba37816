//! Which reigns are believed, remembered and kept on disk.

use super::*;

/// Counters above this are nobody's: 2^48 reigns of a millisecond each last 9,000 years.
const COUNTER_MAX: u64 = 1 << 48;
/// How far a counter may lie above all that were seen before. Restarts that lead to no reign raise counters too.
const COUNTER_LEAP_MAX: u64 = 1 << 32;
/// So many counters above the highest seen are kept on disk in advance, so that a claim need not wait for the disk.
const COUNTERS_AHEAD: u64 = 4;

impl Election {
    /// Is a claim or heartbeat to be taken seriously?
    pub(super) fn listens_to(
        &mut self,
        now: Time,
        from: NodeId,
        epoch: Epoch,
        heartbeat_ms: u32,
        out: &mut Outbox<Output>,
    ) -> bool {
        if epoch.leader != from {
            return false;
        }
        if heartbeat_ms != self.timing().heartbeat_ms() {
            self.mismatch(now, from, heartbeat_ms, out);
            return false;
        }
        self.plausible(from, epoch, out)
    }

    /// A counter that is far above all others is an error or an attack, and believing it would leave no room for more.
    pub(super) fn plausible(&self, node: NodeId, epoch: Epoch, out: &mut Outbox<Output>) -> bool {
        let seen = self.state.counter_seen;
        let bound = if seen == 0 {
            COUNTER_MAX
        } else {
            seen.saturating_add(COUNTER_LEAP_MAX)
        };
        let plausible = epoch.counter <= bound.min(COUNTER_MAX);
        if !plausible {
            out.push(Output::Told(Event::Implausible { node, epoch }));
        }
        plausible
    }

    /// Two timings on one channel: the other one is not obeyed, and as long as it is heard and there is no leader of
    /// ours, we do not claim either, for it is as likely that this node is the one set wrongly.
    pub(super) fn mismatch(
        &mut self,
        now: Time,
        node: NodeId,
        heartbeat_ms: u32,
        out: &mut Outbox<Output>,
    ) {
        if self.state.mismatch != Some((node, heartbeat_ms)) {
            self.state.mismatch = Some((node, heartbeat_ms));
            out.push(Output::Told(Event::Mismatch { node, heartbeat_ms }));
        }
        if matches!(self.state.phase, Phase::Unknown { .. }) && self.settings.is_candidate() {
            self.abstain(Abstention::OtherTiming, out);
            self.await_claim(now, self.timing().silence());
        }
    }

    /// Tells whoever speaks of an old reign of the newer one. The leader does; and who has lost its leader does as
    /// well, for else it would stay alone for ever beside a leader whose counters are lower.
    pub(super) fn correct(&self, now: Time, from: NodeId, out: &mut Outbox<Output>) {
        match self.state.phase {
            Phase::Leading(epoch) => self.send(To::Node(from), self.heartbeat(epoch, None), out),
            Phase::Unknown { .. } => self.send(To::Node(from), self.reply(now), out),
            _ => {}
        }
    }

    pub(super) fn see(&mut self, counter: u64) {
        self.state.counter_seen = self.state.counter_seen.max(counter);
    }

    /// Puts on disk that nothing below `obeyed` is obeyed, and that the next few counters may be claimed.
    pub(super) fn keep(&mut self, obeyed: Epoch, out: &mut Outbox<Output>) {
        let next = self.state.counter_seen + 1;
        let memory = Memory {
            obeyed: Some(obeyed),
            counter: granted(self.state.kept.counter, next),
        };
        self.persist(memory, out);
    }

    /// Puts on disk that `counter` is claimed, unless it was foreseen.
    pub(super) fn keep_counter(&mut self, counter: u64, out: &mut Outbox<Output>) {
        let memory = Memory {
            counter: granted(self.state.kept.counter, counter),
            ..self.state.kept
        };
        self.persist(memory, out);
    }

    fn persist(&mut self, memory: Memory, out: &mut Outbox<Output>) {
        if self.state.kept != memory {
            self.state.kept = memory;
            out.push(Output::Persist(memory));
        }
    }
}

/// What is granted to claims once `counter` is, without going to the disk for each.
const fn granted(kept: u64, counter: u64) -> u64 {
    if kept >= counter {
        kept
    } else {
        counter + COUNTERS_AHEAD
    }
}
