use std::collections::BTreeSet;

use bellwether_types::{Name, NodeId, SitePart};

/// What a job has for itself while it runs: its site on its nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occupied {
    /// The job.
    pub job: Name,
    /// Its site and part.
    pub site: SitePart,
    /// Its nodes.
    pub nodes: BTreeSet<NodeId>,
}

/// Two jobs that want the same site on the same nodes (SCHED-06).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The job that is in the way.
    pub job: Name,
    /// The site and part of both.
    pub site: SitePart,
    /// The nodes of both.
    pub nodes: BTreeSet<NodeId>,
}

/// The first of `occupied` that is in the way of a job on `site` and `nodes` (SCHED-03, SCHED-04): parts of a site have a
/// `live` each, and so do not disturb each other.
pub fn conflict<'o>(
    site: &SitePart,
    nodes: &BTreeSet<NodeId>,
    occupied: impl IntoIterator<Item = &'o Occupied>,
) -> Option<Conflict> {
    occupied
        .into_iter()
        .filter(|other| other.site == *site)
        .find_map(|other| {
            let common: BTreeSet<NodeId> = other.nodes.intersection(nodes).copied().collect();
            (!common.is_empty()).then(|| Conflict {
                job: other.job.clone(),
                site: other.site.clone(),
                nodes: common,
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(bytes: &[u8]) -> BTreeSet<NodeId> {
        let node = |byte: &u8| NodeId::from_bytes([*byte; 16]);
        bytes.iter().map(node).collect()
    }

    /// SCHED-03, SCHED-04, SCHED-06, SCHED-11.
    #[test]
    fn the_same_site_on_a_common_node_is_a_conflict_and_nothing_else_is() {
        let occupied = |site: &str, at: &[u8]| Occupied {
            job: "running".parse().unwrap(),
            site: site.parse().unwrap(),
            nodes: nodes(at),
        };
        let shop = "shop".parse().unwrap();
        for (site, at, common) in [
            ("shop", &[1, 2, 3][..], &[2, 3][..]),
            ("shop", &[2], &[2]),
            ("shop", &[1, 4], &[]),
            ("shop", &[], &[]),
            ("shop@media", &[2, 3], &[]),
            ("other", &[2, 3], &[]),
        ] {
            let found = conflict(&shop, &nodes(&[2, 3]), [&occupied(site, at)]);
            let expected = (!common.is_empty()).then(|| Conflict {
                job: "running".parse().unwrap(),
                site: shop.clone(),
                nodes: nodes(common),
            });
            assert_eq!(found, expected, "{site} {at:?}");
        }
    }
}
