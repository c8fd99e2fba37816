use std::collections::{BTreeMap, BTreeSet};

use bellwether_fleet::{Group, Labels};
use bellwether_store::{Store, StoreError};
use bellwether_types::{Name, NodeId};
use bellwether_wire::PublicKey;

/// The nodes that enrolled and the segments that there are, as the store had them at one time.
#[derive(Debug, Default)]
pub(crate) struct Fleet {
    /// Up to which entry of the log.
    pub(crate) defined: u64,
    pub(crate) nodes: BTreeMap<NodeId, Known>,
    /// With the number of the newest settings for their nodes.
    pub(crate) segments: BTreeMap<Name, u64>,
    groups: BTreeMap<Name, Group>,
}

/// What jobs need to know of a node.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    /// What it calls itself.
    pub(crate) name: Name,
    pub(crate) segment: Name,
    labels: Labels,
    key: PublicKey,
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
                    name: node.name,
                    segment: node.segment,
                    labels: node.labels,
                    key: PublicKey::from_bytes(node.key),
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
        after.clear();
        loop {
            let groups = store.groups(&after, PAGE).await?;
            let Some(last) = groups.last() else { break };
            after = last.name.to_string();
            let groups = groups.into_iter();
            fleet
                .groups
                .extend(groups.map(|group| (group.name.clone(), group)));
        }
        Ok(fleet)
    }

    /// The nodes of a group; nobody if there is no such group.
    pub(crate) fn selected(&self, group: &Name) -> BTreeSet<NodeId> {
        let Some(group) = self.groups.get(group) else {
            return BTreeSet::new();
        };
        let nodes = self
            .nodes
            .iter()
            .filter(|(node, known)| group.selector.selects(node, &known.segment, &known.labels));
        nodes.map(|(node, _)| *node).collect()
    }

    /// The key by which a node signs.
    pub(crate) fn key(&self, node: NodeId) -> Option<PublicKey> {
        self.nodes.get(&node).map(|known| known.key)
    }

    /// Nodes by where they belong, in the order of ids.
    pub(crate) fn by_segment(&self, nodes: &BTreeSet<NodeId>) -> BTreeMap<Name, Vec<NodeId>> {
        let mut segments: BTreeMap<Name, Vec<NodeId>> = BTreeMap::new();
        for node in nodes {
            if let Some(known) = self.nodes.get(node) {
                segments
                    .entry(known.segment.clone())
                    .or_default()
                    .push(*node);
            }
        }
        segments
    }

    /// Whether a node belongs to a segment.
    pub(crate) fn belongs(&self, node: NodeId, segment: &Name) -> bool {
        self.nodes
            .get(&node)
            .is_some_and(|known| known.segment == *segment)
    }
}
