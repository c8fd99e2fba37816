use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bellwether_types::NodeId;

/// The newest settings that each node was handed since this server's start.
#[derive(Debug, Default)]
pub(crate) struct Handed(Mutex<BTreeMap<NodeId, u64>>);

impl Handed {
    /// A node was handed settings of this number.
    pub(crate) fn note(&self, node: NodeId, number: u64) {
        let mut handed = self.lock();
        let known = handed.entry(node).or_default();
        *known = number.max(*known);
    }

    /// The number of the newest settings that a node was handed; 0 if it was handed none.
    pub(crate) fn number(&self, node: NodeId) -> u64 {
        self.lock().get(&node).copied().unwrap_or(0)
    }

    /// Forgets all other nodes.
    pub(crate) fn keep(&self, is_known: impl Fn(NodeId) -> bool) {
        self.lock().retain(|node, _| is_known(*node));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, u64>> {
        // Each change is one insertion: nothing is half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
