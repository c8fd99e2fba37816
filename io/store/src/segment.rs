use std::str::FromStr;

use bellwether_types::Name;
use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::applying::{Applying, Effect, Halt};
use crate::bytes::Bytes;
use crate::outcome::{Refused, StoreError};
use crate::row::{column, number, parsed, parsed_or_none};
use crate::store::Store;

/// Nodes that share a LAN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// What its nodes call it. It never changes, whoever leads.
    pub name: Name,
    /// What people call it (CLUSTER-07).
    pub title: Option<Name>,
    /// The subnet whose nodes come here by themselves.
    pub subnet: Option<String>,
    /// Changes whenever something changes that its nodes are told.
    pub settings: u64,
    /// How many nodes belong to it.
    pub nodes: u64,
}

/// A key that a segment is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// What datagrams call it.
    pub id: String,
    /// The key, sealed.
    pub sealed: Bytes,
}

/// A key that a segment has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentKey {
    /// Its place in the rotation.
    pub place: KeyPlace,
    /// What datagrams call it.
    pub id: String,
    /// The key, sealed.
    pub sealed: Bytes,
    /// Since when it has this place, in milliseconds since 1970.
    pub since_ms: i64,
}

/// The place of a key in its segment's rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyPlace {
    /// Accepted still.
    Previous,
    /// What nodes seal with.
    Current,
    /// Accepted already.
    Next,
}

const SEGMENTS_MAX: u64 = 10_000;

/// Makes a segment unless it is there.
pub(crate) async fn ensure(
    applying: &mut Applying<'_>,
    name: &Name,
    subnet: Option<&str>,
    key: &NewKey,
) -> Effect {
    if exists(applying, name).await? {
        return Ok(());
    }
    applying
        .room("segments", "SELECT count(*) FROM segments", SEGMENTS_MAX)
        .await?;
    sqlx::query("INSERT INTO segments (name, subnet, settings) VALUES ($1, $2, $3)")
        .bind(name.as_str())
        .bind(subnet)
        .bind(column(applying.number))
        .execute(&mut *applying.db)
        .await?;
    put_key(applying, name, "current", key).await?;
    let text = match subnet {
        Some(subnet) => format!("segment {name} was made for the subnet {subnet}"),
        None => format!("segment {name} was made"),
    };
    applying.tell("segment.created", name.as_str(), &text).await
}

/// The segment of a subnet.
pub(crate) async fn of_subnet(
    applying: &mut Applying<'_>,
    subnet: &str,
) -> Result<Option<Name>, Halt> {
    let row = sqlx::query("SELECT name FROM segments WHERE subnet = $1")
        .bind(subnet)
        .fetch_optional(&mut *applying.db)
        .await?;
    Ok(row.map(|row| parsed(&row, "name")).transpose()?)
}

pub(crate) async fn title(applying: &mut Applying<'_>, segment: &Name, title: &Name) -> Effect {
    require(applying, segment).await?;
    let taken =
        sqlx::query("SELECT 1 FROM segments WHERE (name = $2 OR title = $2) AND name <> $1")
            .bind(segment.as_str())
            .bind(title.as_str())
            .fetch_optional(&mut *applying.db)
            .await?;
    if taken.is_some() {
        return Err(Refused::Exists {
            what: "segment",
            name: title.to_string(),
        }
        .into());
    }
    sqlx::query("UPDATE segments SET title = $2 WHERE name = $1")
        .bind(segment.as_str())
        .bind(title.as_str())
        .execute(&mut *applying.db)
        .await?;
    applying.touch(segment.as_str()).await?;
    let text = format!("segment {segment} is called {title} now");
    applying
        .tell("segment.renamed", segment.as_str(), &text)
        .await
}

pub(crate) async fn announce(applying: &mut Applying<'_>, segment: &Name, key: &NewKey) -> Effect {
    require(applying, segment).await?;
    if has_key(applying, segment, "next").await? {
        let name = segment.to_string();
        return Err(Refused::Exists {
            what: "announced key of segment",
            name,
        }
        .into());
    }
    put_key(applying, segment, "next", key).await?;
    applying.touch(segment.as_str()).await?;
    let text = format!("segment {segment} was told its next key");
    applying
        .tell("segment.key-announced", segment.as_str(), &text)
        .await
}

pub(crate) async fn advance(applying: &mut Applying<'_>, segment: &Name) -> Effect {
    require(applying, segment).await?;
    if !has_key(applying, segment, "next").await? {
        let name = segment.to_string();
        return Err(Refused::Missing {
            what: "announced key of segment",
            name,
        }
        .into());
    }
    drop_key(applying, segment, "previous").await?;
    for (from, to) in [("current", "previous"), ("next", "current")] {
        sqlx::query(
            "UPDATE segment_keys SET place = $3, since_ms = $4 WHERE segment = $1 AND place = $2",
        )
        .bind(segment.as_str())
        .bind(from)
        .bind(to)
        .bind(applying.at_ms)
        .execute(&mut *applying.db)
        .await?;
    }
    applying.touch(segment.as_str()).await?;
    let text = format!("segment {segment} seals with another key now");
    applying
        .tell("segment.key-advanced", segment.as_str(), &text)
        .await
}

pub(crate) async fn retire(applying: &mut Applying<'_>, segment: &Name) -> Effect {
    require(applying, segment).await?;
    if !drop_key(applying, segment, "previous").await? {
        let name = segment.to_string();
        return Err(Refused::Missing {
            what: "former key of segment",
            name,
        }
        .into());
    }
    applying.touch(segment.as_str()).await?;
    let text = format!("the former key of segment {segment} counts no more");
    applying
        .tell("segment.key-retired", segment.as_str(), &text)
        .await
}

/// Refuses a segment that is not there.
pub(crate) async fn require(applying: &mut Applying<'_>, segment: &Name) -> Effect {
    match exists(applying, segment).await? {
        true => Ok(()),
        false => Err(Refused::Missing {
            what: "segment",
            name: segment.to_string(),
        }
        .into()),
    }
}

async fn exists(applying: &mut Applying<'_>, segment: &Name) -> Result<bool, Halt> {
    let row = sqlx::query("SELECT 1 FROM segments WHERE name = $1")
        .bind(segment.as_str())
        .fetch_optional(&mut *applying.db)
        .await?;
    Ok(row.is_some())
}

async fn has_key(
    applying: &mut Applying<'_>,
    segment: &Name,
    place: &'static str,
) -> Result<bool, Halt> {
    let row = sqlx::query("SELECT 1 FROM segment_keys WHERE segment = $1 AND place = $2")
        .bind(segment.as_str())
        .bind(place)
        .fetch_optional(&mut *applying.db)
        .await?;
    Ok(row.is_some())
}

async fn put_key(
    applying: &mut Applying<'_>,
    segment: &Name,
    place: &'static str,
    key: &NewKey,
) -> Effect {
    sqlx::query("INSERT INTO segment_keys VALUES ($1, $2, $3, $4, $5)")
        .bind(segment.as_str())
        .bind(place)
        .bind(&key.id)
        .bind(&key.sealed.0)
        .bind(applying.at_ms)
        .execute(&mut *applying.db)
        .await?;
    Ok(())
}

async fn drop_key(
    applying: &mut Applying<'_>,
    segment: &Name,
    place: &'static str,
) -> Result<bool, Halt> {
    let dropped = sqlx::query("DELETE FROM segment_keys WHERE segment = $1 AND place = $2")
        .bind(segment.as_str())
        .bind(place)
        .execute(&mut *applying.db)
        .await?;
    Ok(dropped.rows_affected() > 0)
}

impl FromStr for KeyPlace {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "previous" => Ok(Self::Previous),
            "current" => Ok(Self::Current),
            "next" => Ok(Self::Next),
            _ => Err("no place of a key"),
        }
    }
}

fn read(row: &SqliteRow) -> Result<Segment, StoreError> {
    Ok(Segment {
        name: parsed(row, "name")?,
        title: parsed_or_none(row, "title")?,
        subnet: row.try_get("subnet")?,
        settings: number(row, "settings")?,
        nodes: number(row, "nodes")?,
    })
}

impl Store {
    /// A segment by its name, or by what people call it.
    pub async fn segment(&self, name: &Name) -> Result<Option<Segment>, StoreError> {
        let row = sqlx::query(
            "SELECT *, (SELECT count(*) FROM nodes WHERE segment = segments.name) AS nodes \
             FROM segments WHERE name = $1 OR title = $1",
        )
        .bind(name.as_str())
        .fetch_optional(self.reader())
        .await?;
        row.as_ref().map(read).transpose()
    }

    /// Segments, after one of them in the order of names.
    pub async fn segments(&self, after: &str, limit: u32) -> Result<Vec<Segment>, StoreError> {
        let rows = sqlx::query(
            "SELECT *, (SELECT count(*) FROM nodes WHERE segment = segments.name) AS nodes \
             FROM segments WHERE name > $1 ORDER BY name LIMIT $2",
        )
        .bind(after)
        .bind(limit)
        .fetch_all(self.reader())
        .await?;
        rows.iter().map(read).collect()
    }

    /// The keys of a segment.
    pub async fn segment_keys(&self, segment: &Name) -> Result<Vec<SegmentKey>, StoreError> {
        let rows = sqlx::query("SELECT * FROM segment_keys WHERE segment = $1")
            .bind(segment.as_str())
            .fetch_all(self.reader())
            .await?;
        let key = |row: &SqliteRow| {
            Ok(SegmentKey {
                place: parsed(row, "place")?,
                id: row.try_get("id")?,
                sealed: Bytes(row.try_get("sealed")?),
                since_ms: row.try_get("since_ms")?,
            })
        };
        rows.iter().map(key).collect()
    }
}
