//! Those who fetch by unicast: all where there is no multicast, otherwise whom it does not reach, or not well.

use bellwether_machine::Outbox;
use bellwether_types::NodeId;
use bellwether_wire::transfer::{Divert, TransferMessage};

use super::participants::Standing;
use super::{Output, Sender, To};
use crate::job::{Fate, Slow};

/// Sources that a diverted participant is given.
const SOURCES: usize = 4;

impl Sender {
    /// Each fetches from the one before it, and if that fails from one further up.
    pub(super) fn chain(&mut self, out: &mut Outbox<Output>) {
        let chain: Vec<NodeId> = std::iter::once(self.announcement.sender)
            .chain(self.participants.nodes())
            .collect();
        for (place, node) in chain.iter().enumerate().skip(1) {
            let before = chain[..place].iter().rev().take(SOURCES - 1);
            let mut sources: Vec<NodeId> = before.copied().collect();
            if sources.last() != chain.first() {
                sources.push(self.announcement.sender);
            }
            self.divert(*node, &sources, out);
            self.diverted.push((*node, sources));
            if let Some(participant) = self.participants.get_mut(*node) {
                participant.stand(Standing::Fetching);
            }
        }
    }

    pub(super) fn divert(&self, node: NodeId, sources: &[NodeId], out: &mut Outbox<Output>) {
        let divert = Divert {
            assignment: self.job.assignment,
            sources: sources.to_vec(),
        };
        let announce = TransferMessage::Announce(Box::new(self.announcement.clone()));
        for message in [announce, TransferMessage::Divert(divert)] {
            let to = To::Node(node);
            out.push(Output::Send { to, message });
        }
    }

    /// Whom multicast does not reach fetches by unicast; who loses far more than the others does by policy what they need
    /// not wait for.
    pub(super) fn drop_out(&mut self, node: NodeId, is_deaf: bool, out: &mut Outbox<Output>) {
        let standing = match self.settings.slow {
            Slow::Wait if !is_deaf => return,
            Slow::Leave => Standing::Over(Fate::LeftBehind),
            Slow::Wait | Slow::Unicast => {
                // Those who have much in front; then in a chain, so that nobody waits for who waits for it.
                let mut sources = self.participants.by_merit();
                sources.retain(|source| *source != node);
                sources.truncate(SOURCES / 2);
                let diverted = self.diverted.iter().rev().map(|(other, _)| *other);
                sources.extend(diverted.take(SOURCES / 2));
                sources.push(self.announcement.sender);
                self.divert(node, &sources, out);
                self.diverted.push((node, sources));
                Standing::Fetching
            }
        };
        if let Some(participant) = self.participants.get_mut(node) {
            participant.stand(standing);
        }
    }
}
