use bellwether_api::routes::{ListSegments, ShowSegment, TitleSegment};
use bellwether_api::{List, Problem, SegmentInfo};
use bellwether_store::{Command, Segment};
use bellwether_types::Name;

use super::page;
use crate::door::Call;
use crate::problem;
use crate::server::Server;

pub(crate) async fn list(call: Call<ListSegments>) -> Result<List<SegmentInfo>, Problem> {
    let limit = page::limit(call.query.limit)?;
    let after = call.query.after.as_deref().unwrap_or_default();
    let found = call.server.store.segments(after, limit + 1).await;
    page::list(found, limit, |segment| segment.name.to_string(), info)
}

pub(crate) async fn show(call: Call<ShowSegment>) -> Result<SegmentInfo, Problem> {
    find(&call.server, &call.key).await.map(info)
}

pub(crate) async fn title(call: Call<TitleSegment>) -> Result<SegmentInfo, Problem> {
    let segment = find(&call.server, &call.key).await?.name;
    let command = Command::TitleSegment {
        segment,
        title: call.body.title.clone(),
    };
    call.server.propose(call.actor(), command).await?;
    find(&call.server, &call.body.title).await.map(info)
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

fn info(segment: Segment) -> SegmentInfo {
    SegmentInfo {
        name: segment.name,
        title: segment.title,
        subnet: segment.subnet,
        nodes: segment.nodes,
    }
}
