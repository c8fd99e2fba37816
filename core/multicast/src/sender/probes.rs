use std::time::Duration;

use bellwether_types::{NodeId, Time};
use bellwether_wire::transfer::Status;

use super::participants::{Participants, Standing};

/// Questions by which the rate learns of queues: to one participant at a time, for a while to the same one, because what
/// came through shows between two of its answers.
#[derive(Debug, Default)]
pub(super) struct Probes {
    /// Who is asked, and how many times it was.
    target: Option<(NodeId, u32)>,
    /// The question that waits for its answer.
    open: Option<(u32, Time)>,
    /// The last answer: when, and how many frames had come.
    last: Option<(Time, u64)>,
    /// When that was last looked at, and bytes that were sent by then.
    sent: Option<(Time, u64)>,
}

/// Questions to one participant in a row.
const IN_A_ROW: u32 = 5;

impl Probes {
    /// Whom to ask next: who loses most, and the others in turn.
    pub(super) fn choose(&mut self, participants: &Participants) -> Option<NodeId> {
        let takes_part = |node: NodeId| {
            let mut pending = participants.pending();
            pending.any(|(one, participant)| {
                one == node && *participant.standing() == Standing::Taking
            })
        };
        if let Some((node, asked)) = self.target
            && asked < IN_A_ROW
            && takes_part(node)
        {
            return Some(node);
        }
        let taking = || {
            let pending = participants.pending();
            pending.filter(|(_, participant)| *participant.standing() == Standing::Taking)
        };
        let last = self.target.map(|(node, _)| node);
        let worst = taking()
            .max_by_key(|(_, participant)| participant.loss)
            .map(|(node, _)| node);
        let after = taking()
            .map(|(node, _)| node)
            .find(|node| Some(*node) > last)
            .or_else(|| taking().map(|(node, _)| node).next());
        let next = worst.filter(|node| Some(*node) != last).or(after)?;
        self.target = Some((next, 0));
        self.last = None;
        Some(next)
    }

    /// It was asked.
    pub(super) const fn asked(&mut self, node: NodeId, round: u32, now: Time) {
        let times = match self.target {
            Some((_, times)) => times + 1,
            None => 1,
        };
        self.target = Some((node, times));
        self.open = Some((round, now));
    }

    /// If this is the answer: how long it took, the frames that came since the one before, and how long that is ago.
    pub(super) fn answered(
        &mut self,
        now: Time,
        from: NodeId,
        status: &Status,
    ) -> Option<(Duration, u64, Duration)> {
        let (round, asked) = self.open?;
        let is_answer = status.round == round && self.target.is_some_and(|(node, _)| node == from);
        if !is_answer {
            return None;
        }
        self.open = None;
        let before = self.last.replace((now, status.received));
        let (frames, span) = match before {
            Some((at, received)) => (status.received.saturating_sub(received), now.since(at)),
            None => (0, Duration::ZERO),
        };
        Some((now.since(asked), frames, span))
    }

    /// Bits a second that were sent since this was last asked, if that is some time ago.
    pub(super) fn sent_since(&mut self, now: Time, bytes: u64) -> Option<u64> {
        let (at, before) = self.sent.replace((now, bytes))?;
        let nanos = now.since(at).as_nanos();
        let bits = u128::from(bytes.saturating_sub(before)) * 8;
        let rate = (bits * 1_000_000_000).checked_div(nanos)?;
        u64::try_from(rate).ok()
    }
}
