use std::collections::BTreeMap;

use bellwether_api::routes::{ListSegments, ShowSegment, TitleSegment};
use bellwether_api::{List, Problem, SegmentInfo, SegmentLeader};
use bellwether_store::{Command, Segment};
use bellwether_types::Name;

use super::page;
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
