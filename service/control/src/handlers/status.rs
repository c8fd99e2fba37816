use std::collections::BTreeMap;

use bellwether_api::routes::ShowStatus;
use bellwether_api::{List, NodeStatus, Problem, Served};
use bellwether_types::{NodeId, SitePart, VersionId};

use super::node::presence;
use super::page;
use crate::door::Call;
use crate::problem;

/// Who serves what.
pub(crate) async fn show(call: Call<ShowStatus>) -> Result<List<NodeStatus>, Problem> {
    let limit = page::limit(call.query.limit)?;
    let server = &call.server;
    let after = call.query.after.as_deref().unwrap_or_default();
    let site = call.query.site.as_ref();
    let of_store = |error| problem::of_store(&error);
    let rows = server
        .store
        .serving(after, limit + 1, site)
        .await
        .map_err(of_store)?;
    let mut live: BTreeMap<(NodeId, SitePart), Option<VersionId>> = BTreeMap::new();
    let fleet = server.hub.fleet();
    let mut lives = server.store.lives(site).await.map_err(of_store)?;
    // Of several groups of a node the one counts that something was decided for last.
    lives.sort_by_key(|live| live.number);
    for one in lives {
        for node in fleet.selected(&one.group) {
            live.insert((node, one.site.clone()), one.version);
        }
    }
    let leaders = server.hub.leaders();
    let mut nodes: Vec<NodeStatus> = Vec::new();
    for row in rows {
        if nodes.last().is_none_or(|last| last.node != row.node) {
            nodes.push(NodeStatus {
                node: row.node,
                presence: presence(server.hub.place(row.node, &row.segment)),
                leads: leaders.get(&row.segment) == Some(&Some(row.node)),
                name: row.name,
                segment: row.segment,
                serves: Vec::new(),
            });
        }
        if let (Some((site, version, live_ms)), Some(node)) = (row.served, nodes.last_mut()) {
            let should = live.get(&(row.node, site.clone()));
            node.serves.push(Served {
                site: site.to_string(),
                version,
                live_ms,
                behind: should.is_some_and(|should| *should != Some(version)),
            });
        }
    }
    page::list(Ok(nodes), limit, |node| node.node.to_string(), |node| node)
}
