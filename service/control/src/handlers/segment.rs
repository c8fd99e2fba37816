use std::collections::BTreeMap;

use bellwether_api::routes::{ChangeLeader, ListSegments, ShowSegment, TitleSegment};
use bellwether_api::{Code, List, Problem, SegmentInfo, SegmentLeader};
use bellwether_store::{Command, Segment};
use bellwether_types::Name;
use bellwether_wire::uplink::Downward;

use super::{node, page};
use crate::door::Call;
use crate::problem;
use crate::server::Server;

pub(crate) async fn list(call: Call<ListSegments>) -> Result<List<SegmentInfo>, Problem> {
    let limit = page::limit(call.query.limit)?;
    let after = call.query.after.as_deref().unwrap_or_default();
    let server = &call.server;
    let found = server.store.segments(after, limit + 1).await;
    let up = server.hub.up();
    page::list(
        found,
        limit,
        |segment| segment.name.to_string(),
        |segment| info(server, &up, segment),
    )
}

pub(crate) async fn show(call: Call<ShowSegment>) -> Result<SegmentInfo, Problem> {
    shown(&call.server, &call.key).await
}

pub(crate) async fn title(call: Call<TitleSegment>) -> Result<SegmentInfo, Problem> {
    let segment = find(&call.server, &call.key).await?.name;
    let command = Command::TitleSegment {
        segment,
        title: call.body.title.clone(),
    };
    call.server.propose(call.actor(), command).await?;
    shown(&call.server, &call.body.title).await
}

/// Asks for another leader. What becomes of it is seen when that one speaks.
pub(crate) async fn change_leader(call: Call<ChangeLeader>) -> Result<SegmentInfo, Problem> {
    let server = &call.server;
    let segment = find(server, &call.key).await?;
    let conflict = |why: String| Err(Problem::new(Code::Conflict, why));
    let Some(leader) = server.hub.leader(&segment.name) else {
        return conflict(format!("nobody speaks for segment {}", segment.name));
    };
    let to = match &call.body.node {
        None => None,
        Some(name) => {
            let node = node::find(server, name).await?;
            let presence = server.hub.presence(node.id, &segment.name);
            match presence {
                Some(presence) if presence.record.candidate => Some(node.id),
                Some(_) => return conflict(format!("node {name} is set not to lead")),
                None => {
                    let segment = &segment.name;
                    return conflict(format!("node {name} is not there in segment {segment}"));
                }
            }
        }
    };
    if to != Some(leader.node) {
        let name = segment.name.clone();
        let command = Command::ChangeLeader { segment: name, to };
        server.propose(call.actor(), command).await?;
        tracing::info!(segment = %segment.name, who = %call.actor(), "another leader is wanted");
        let message = Downward::StepDown(to);
        server.hub.tell(segment.name.clone(), message);
    }
    Ok(info(server, &server.hub.up(), segment))
}

/// A segment by its name, or by what people call it (CLUSTER-08).
pub(super) async fn find(server: &Server, name: &Name) -> Result<Segment, Problem> {
    let segment = server
        .store
        .segment(name)
        .await
        .map_err(|error| problem::of_store(&error))?;
    segment.ok_or_else(|| problem::missing("segment", name.as_str()))
}

async fn shown(server: &Server, name: &Name) -> Result<SegmentInfo, Problem> {
    let segment = find(server, name).await?;
    Ok(info(server, &server.hub.up(), segment))
}

fn info(server: &Server, up: &BTreeMap<Name, u64>, segment: Segment) -> SegmentInfo {
    let leader = server.hub.leader(&segment.name);
    SegmentInfo {
        up: up.get(&segment.name).copied().unwrap_or(0),
        leader: leader.map(|leader| SegmentLeader {
            node: leader.node,
            name: leader.name,
            address: leader.address.to_string(),
            location: leader.location,
        }),
        name: segment.name,
        title: segment.title,
        subnet: segment.subnet,
        nodes: segment.nodes,
    }
}
