use bellwether_api::routes::{LabelNode, ListNodes, MoveNode, RemoveNode, ShowNode};
use bellwether_api::{Code, List, NodeInfo, NodeReport, Page, Presence, Problem};
use bellwether_discovery::Presence as Known;
use bellwether_store::{Command, Node};
use bellwether_types::{Name, NodeId, SitePart};
use bellwether_wire::control::Holding;

use super::{page, segment};
use crate::door::Call;
use crate::problem;
use crate::server::Server;
use crate::uplink::Place;

pub(crate) async fn list(call: Call<ListNodes>) -> Result<List<NodeInfo>, Problem> {
    let limit = page::limit(call.query.limit)?;
    let store = &call.server.store;
    let of_store = |error| problem::of_store(&error);
    let group = match &call.query.group {
        None => None,
        Some(name) => {
            let group = store.group(name).await.map_err(of_store)?;
            Some(group.ok_or_else(|| problem::missing("group", name.as_str()))?)
        }
    };
    let place = match &call.query.segment {
        None => None,
        Some(name) => Some(segment::find(&call.server, name).await?.name),
    };
    let wanted = |node: &Node| {
        place.as_ref().is_none_or(|place| *place == node.segment)
            && group.as_ref().is_none_or(|group| {
                group
                    .selector
                    .selects(&node.id, &node.segment, &node.labels)
            })
    };
    let mut after = call.query.after.clone().unwrap_or_default();
    let mut found: Vec<Node> = Vec::new();
    loop {
        let nodes = store
            .nodes(&after, Page::LIMIT_MAX)
            .await
            .map_err(of_store)?;
        let last = nodes.last().map(|node| node.id.to_string());
        let end = nodes.len() < Page::LIMIT_MAX as usize;
        found.extend(nodes.into_iter().filter(wanted));
        match last {
            Some(last) if !end && found.len() <= limit as usize => after = last,
            _ => break,
        }
    }
    let server = &call.server;
    page::list(
        Ok(found),
        limit,
        |node| node.id.to_string(),
        |node| info(server, node),
    )
}

pub(crate) async fn show(call: Call<ShowNode>) -> Result<NodeInfo, Problem> {
    let server = &call.server;
    find(server, &call.key).await.map(|node| info(server, node))
}

pub(crate) async fn label(call: Call<LabelNode>) -> Result<NodeInfo, Problem> {
    let node = find(&call.server, &call.key).await?.id;
    let (set, unset) = (call.body.set.clone(), call.body.unset.clone());
    if let Some(label) = set.keys().find(|label| unset.contains(*label)) {
        let message = format!("label {label} is both set and unset");
        return Err(Problem::new(Code::Invalid, message));
    }
    call.server
        .propose(call.actor(), Command::LabelNode { node, set, unset })
        .await?;
    again(&call.server, node).await
}

pub(crate) async fn relocate(call: Call<MoveNode>) -> Result<NodeInfo, Problem> {
    let node = find(&call.server, &call.key).await?.id;
    let segment = segment::find(&call.server, &call.body.segment).await?.name;
    call.server
        .propose(call.actor(), Command::MoveNode { node, segment })
        .await?;
    again(&call.server, node).await
}

pub(crate) async fn remove(call: Call<RemoveNode>) -> Result<(), Problem> {
    let node = find(&call.server, &call.key).await?.id;
    call.server
        .propose(call.actor(), Command::RemoveNode { node })
        .await
        .map(drop)
}

/// A node by its name or by the beginning of its id, if there is one only.
pub(super) async fn find(server: &Server, text: &Name) -> Result<Node, Problem> {
    let mut found = server
        .store
        .nodes_like(text, 2)
        .await
        .map_err(|error| problem::of_store(&error))?;
    match (found.pop(), found.is_empty()) {
        (None, _) => Err(problem::missing("node", text.as_str())),
        (Some(node), true) => Ok(node),
        (Some(_), false) => {
            let message = format!("there are several nodes {text}");
            Err(Problem::new(Code::Conflict, message).hint("name it by its id"))
        }
    }
}

async fn again(server: &Server, node: NodeId) -> Result<NodeInfo, Problem> {
    let found = server
        .store
        .node(node)
        .await
        .map_err(|error| problem::of_store(&error))?;
    found
        .map(|node| info(server, node))
        .ok_or_else(|| problem::missing("node", &node.to_string()))
}

fn info(server: &Server, node: Node) -> NodeInfo {
    let says = server.hub.presence(node.id, &node.segment);
    let says = says.map(|Known { record, .. }| NodeReport {
        address: record.address.to_string(),
        location: record.location,
        incarnation: record.incarnation.0,
        busy: record.busy,
        disk_free_bytes: record.resources.disk_free_bytes,
        live: record
            .holdings
            .into_iter()
            .map(
                |Holding {
                     site,
                     part,
                     version,
                 }| (SitePart { site, part }.to_string(), version),
            )
            .collect(),
    });
    let leader = server.hub.leader(&node.segment);
    NodeInfo {
        presence: presence(server.hub.place(node.id, &node.segment)),
        seen_ms: node.seen_ms,
        leads: leader.is_some_and(|leader| leader.node == node.id),
        says,
        id: node.id,
        name: node.name,
        segment: node.segment,
        addresses: node.addresses,
        labels: node.labels,
        enrolled_ms: node.enrolled_ms,
        certificate_ends_ms: node.certificate_ends_ms,
    }
}

pub(super) const fn presence(place: Place) -> Presence {
    match place {
        Place::Up => Presence::Up,
        Place::Down => Presence::Down,
        Place::Unknown => Presence::Unknown,
    }
}
