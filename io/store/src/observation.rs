use std::collections::BTreeMap;

use bellwether_types::{Name, NodeId};
use serde::{Deserialize, Serialize};
use sqlx::Row;

use crate::applying::{Applying, Effect};
use crate::outcome::StoreError;
use crate::row::{parsed, parsed_or_none};
use crate::store::Store;

/// What was seen of nodes and segments since the observation before, and is not as it was then. Nobody wished for it, so
/// that it leaves no line in the audit.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Observation {
    /// Nodes that came or went.
    pub nodes: BTreeMap<NodeId, Seen>,
    /// Segments that are led by another node than before; by `None` if nobody speaks for them.
    pub segments: BTreeMap<Name, Option<NodeId>>,
}

/// How a node was seen last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seen {
    /// Its segment counts it.
    Present,
    /// It said farewell.
    Left,
    /// It answers no more.
    Lost,
}

impl Observation {
    /// The most nodes that one command tells of.
    pub const NODES_MAX: usize = 1_000;

    /// Is there nothing to tell?
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.segments.is_empty()
    }
}

pub(crate) async fn observe(applying: &mut Applying<'_>, observation: &Observation) -> Effect {
    for (node, seen) in &observation.nodes {
        see(applying, *node, *seen).await?;
    }
    for (segment, leader) in &observation.segments {
        lead(applying, segment, *leader).await?;
    }
    Ok(())
}

/// Whoever is not enrolled is not told of.
async fn see(applying: &mut Applying<'_>, node: NodeId, seen: Seen) -> Effect {
    let id = node.to_string();
    let row = sqlx::query(
        "UPDATE nodes SET present = $2, seen_ms = $3 WHERE id = $1 AND present <> $2 \
         RETURNING name, segment",
    )
    .bind(&id)
    .bind(seen == Seen::Present)
    .bind(applying.at_ms)
    .fetch_optional(&mut *applying.db)
    .await?;
    let Some(row) = row else { return Ok(()) };
    let (name, segment): (&str, &str) = (row.try_get("name")?, row.try_get("segment")?);
    let (kind, what) = match seen {
        Seen::Present => ("node.up", "is there"),
        Seen::Left => ("node.down", "said farewell"),
        Seen::Lost => ("node.down", "answers no more"),
    };
    let text = format!("node {name} ({id}) of segment {segment} {what}");
    applying.tell(kind, &id, &text).await
}

async fn lead(applying: &mut Applying<'_>, segment: &Name, leader: Option<NodeId>) -> Effect {
    let changed =
        sqlx::query("UPDATE segments SET leader = $2 WHERE name = $1 AND leader IS NOT $2")
            .bind(segment.as_str())
            .bind(leader.map(|leader| leader.to_string()))
            .execute(&mut *applying.db)
            .await?;
    if changed.rows_affected() == 0 {
        return Ok(());
    }
    let (kind, text) = match leader {
        Some(leader) => (
            "segment.led",
            format!("segment {segment} is led by node {leader}"),
        ),
        None => (
            "segment.silent",
            format!("nobody speaks for segment {segment}"),
        ),
    };
    applying.tell(kind, segment.as_str(), &text).await
}

impl Store {
    /// What was observed last: who was present, and who led each segment.
    pub async fn observed(
        &self,
    ) -> Result<(BTreeMap<NodeId, bool>, BTreeMap<Name, Option<NodeId>>), StoreError> {
        let mut nodes = BTreeMap::new();
        for row in &sqlx::query("SELECT id, present FROM nodes")
            .fetch_all(self.reader())
            .await?
        {
            nodes.insert(parsed(row, "id")?, row.try_get("present")?);
        }
        let mut segments = BTreeMap::new();
        for row in &sqlx::query("SELECT name, leader FROM segments")
            .fetch_all(self.reader())
            .await?
        {
            segments.insert(parsed(row, "name")?, parsed_or_none(row, "leader")?);
        }
        Ok((nodes, segments))
    }
}
