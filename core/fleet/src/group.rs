use std::collections::{BTreeMap, BTreeSet};

use bellwether_types::{Name, NodeId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Labels that operators give to nodes: a word for each of some questions, such as `tier: gold`.
pub type Labels = BTreeMap<Name, Name>;

/// Nodes that receive the same content of one site (CGRP-01).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// What it is called.
    #[schema(value_type = String)]
    pub name: Name,
    /// Whose content its nodes receive (CGRP-04).
    #[schema(value_type = String)]
    pub site: Name,
    /// Which parts of it; all of them unless named.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub parts: BTreeSet<Name>,
    /// Who belongs to it.
    #[serde(default)]
    pub selector: Selector,
}

/// Who belongs to a group: a node that satisfies each kind of condition that is there. Without any, every node does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Selector {
    /// It has all of these labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, String>)]
    pub labels: Labels,
    /// It is in one of these segments.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub segments: BTreeSet<Name>,
    /// It is one of these.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub nodes: BTreeSet<NodeId>,
}

/// Why a group cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a group names at most {max} {what}: give its nodes a label instead")]
pub struct GroupFault {
    /// What it names too many of.
    pub what: &'static str,
    max: usize,
}

impl Group {
    /// Labels, segments, or parts that a group may name.
    pub const CONDITIONS_MAX: usize = 64;
    /// Nodes that a group may name.
    pub const NODES_MAX: usize = 1_024;

    /// Whether it can be.
    pub fn check(&self) -> Result<(), GroupFault> {
        let Selector {
            labels,
            segments,
            nodes,
        } = &self.selector;
        let few = Self::CONDITIONS_MAX;
        for (what, count, max) in [
            ("parts", self.parts.len(), few),
            ("labels", labels.len(), few),
            ("segments", segments.len(), few),
            ("nodes", nodes.len(), Self::NODES_MAX),
        ] {
            if count > max {
                return Err(GroupFault { what, max });
            }
        }
        Ok(())
    }
}

impl Selector {
    /// Whether a node satisfies it.
    pub fn selects(&self, node: &NodeId, segment: &Name, labels: &Labels) -> bool {
        let labelled = |(key, value)| labels.get(key) == Some(value);
        self.labels.iter().all(labelled)
            && (self.segments.is_empty() || self.segments.contains(segment))
            && (self.nodes.is_empty() || self.nodes.contains(node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn node(byte: u8) -> NodeId {
        NodeId::from_bytes([byte; 16])
    }

    fn selects(selector: &str) -> bool {
        let selector: Selector = serde_json::from_str(selector).unwrap();
        let labels = Labels::from([(name("tier"), name("gold")), (name("os"), name("debian"))]);
        selector.selects(&node(1), &name("boston"), &labels)
    }

    /// CGRP-02.
    #[test]
    fn a_node_belongs_if_it_satisfies_every_kind_of_condition() {
        let (one, two) = (node(1), node(2));
        for selector in [
            "{}".to_owned(),
            r#"{"labels":{"tier":"gold"}}"#.to_owned(),
            r#"{"labels":{"tier":"gold","os":"debian"},"segments":["london","boston"]}"#.to_owned(),
            format!(r#"{{"nodes":["{one}","{two}"]}}"#),
        ] {
            assert!(selects(&selector), "{selector}");
        }
        for selector in [
            r#"{"labels":{"tier":"silver"}}"#.to_owned(),
            r#"{"labels":{"tier":"gold","rack":"1"}}"#.to_owned(),
            r#"{"labels":{"tier":"gold"},"segments":["london"]}"#.to_owned(),
            format!(r#"{{"segments":["boston"],"nodes":["{two}"]}}"#),
        ] {
            assert!(!selects(&selector), "{selector}");
        }
    }

    #[test]
    fn a_group_that_names_too_many_is_refused() {
        let mut group: Group =
            serde_json::from_str(r#"{"name":"all-shops","site":"shop"}"#).unwrap();
        assert_eq!(group.check(), Ok(()));
        group.selector.segments = (0..65).map(|n| name(&format!("s{n}"))).collect();
        assert!(group.check().is_err());
        assert!(serde_json::from_str::<Group>(r#"{"name":"a","site":"b","select":{}}"#).is_err());
    }
}
