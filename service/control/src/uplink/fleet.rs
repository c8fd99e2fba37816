use std::collections::BTreeMap;

use bellwether_store::{Store, StoreError};
use bellwether_types::{Name, NodeId};

/// The nodes that enrolled and the segments that there are, as the store had them at one time.
#[derive(Debug, Default)]
pub(crate) struct Fleet {
    /// Up to which entry of the log.
    pub(crate) defined: u64,
    pub(crate) nodes: BTreeMap<NodeId, Known>,
    /// With the number of the newest settings for their nodes.
    pub(crate) segments: BTreeMap<Name, u64>,
}

/// What jobs need to know of a node.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) segment: Name,
}

const PAGE: u32 = 1_000;

impl Fleet {
    pub(crate) async fn read(store: &Store) -> Result<Self, StoreError> {
        let mut fleet = Self {
            // Before the rest: what changes meanwhile is read again.
            defined: store.defined(),
            ..Self::default()
        };
        let mut after = String::new();
        loop {
            let nodes = store.nodes(&after, PAGE).await?;
            let Some(last) = nodes.last() else { break };
            after = last.id.to_string();
            fleet.nodes.extend(nodes.into_iter().map(|node| {
                let known = Known {
                    segment: node.segment,
                };
                (node.id, known)
            }));
        }
        after.clear();
        loop {
            let segments = store.segments(&after, PAGE).await?;
            let Some(last) = segments.last() else { break };
            after = last.name.to_string();
            let numbers = segments.into_iter();
            fleet
                .segments
                .extend(numbers.map(|segment| (segment.name, segment.settings)));
        }
        Ok(fleet)
    }

    /// Whether a node belongs to a segment.
    pub(crate) fn belongs(&self, node: NodeId, segment: &Name) -> bool {
        self.nodes
            .get(&node)
            .is_some_and(|known| known.segment == *segment)
    }
}
