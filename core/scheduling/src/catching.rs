use std::collections::BTreeSet;

use bellwether_types::{NodeId, SitePart, VersionId};

use crate::view::View;

/// Nodes that did not sign for the version that is live elsewhere, can take it now, and that no job is at work on: a job to
/// synchronise is made for them (JOB-04, SCHED-12). Asked again while that job runs, it names none of them.
pub fn behind(site: &SitePart, live: VersionId, view: &View) -> BTreeSet<NodeId> {
    let occupied = |node: &NodeId| {
        let mut others = view.occupied.iter();
        others.any(|other| other.site == *site && other.nodes.contains(node))
    };
    let nodes = view.nodes.iter().filter(|(node, known)| {
        !known.serves(live) && view.hindrance(**node, 0).is_none() && !occupied(node)
    });
    nodes.map(|(node, _)| *node).collect()
}
