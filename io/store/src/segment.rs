use std::str::FromStr;

use bellwether_types::{Name, NodeId};
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
    /// The entry of the log that gave it this place: settings of a lower number do not tell of it.
    pub placed: u64,
    /// Does nobody know it who was put out? What was made before is known to whoever was there.
    pub is_safe: bool,
}

/// A segment whose keys are to be replaced, or are being so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// Which.
    pub segment: Name,
    /// Its keys.
    pub keys: Vec<SegmentKey>,
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

/// Keys, and whether all who were put out since they were made never knew them; a condition follows.
macro_rules! select_keys {
    ($rest:literal) => {
        concat!(
            "SELECT *, NOT EXISTS (SELECT 1 FROM departed WHERE put_out \
             AND departed.segment = segment_keys.segment AND number > made) AS is_safe ",
            "FROM segment_keys ",
            $rest
        )
    };
}

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
    match next_key(applying, segment).await? {
        None => {}
        // Whoever was put out meanwhile was told of it.
        Some(is_safe) if !is_safe => drop(drop_key(applying, segment, "next").await?),
        Some(_) => {
            let name = segment.to_string();
            return Err(Refused::Exists {
                what: "announced key of segment",
                name,
            }
            .into());
        }
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
    if next_key(applying, segment).await?.is_none() {
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
            "UPDATE segment_keys SET place = $3, since_ms = $4, placed = $5 \
             WHERE segment = $1 AND place = $2",
        )
        .bind(segment.as_str())
        .bind(from)
        .bind(to)
        .bind(applying.at_ms)
        .bind(column(applying.number))
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
    // Who knew older keys only knows none now.
    sqlx::query(
        "DELETE FROM departed WHERE segment = $1 \
         AND number < (SELECT min(made) FROM segment_keys WHERE segment = $1)",
    )
    .bind(segment.as_str())
    .execute(&mut *applying.db)
    .await?;
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

/// A node belongs to a segment no longer, and knows its keys.
pub(crate) async fn depart(applying: &mut Applying<'_>, node: &str, segment: &str) -> Effect {
    sqlx::query("INSERT OR REPLACE INTO departed VALUES ($1, $2, $3, 0)")
        .bind(node)
        .bind(segment)
        .bind(column(applying.number))
        .execute(&mut *applying.db)
        .await?;
    Ok(())
}

/// A node is not to be heard any more, wherever its keys would let it.
pub(crate) async fn put_out(applying: &mut Applying<'_>, node: &str) -> Effect {
    let number = column(applying.number);
    sqlx::query("UPDATE departed SET put_out = 1, number = $2 WHERE node = $1")
        .bind(node)
        .bind(number)
        .execute(&mut *applying.db)
        .await?;
    sqlx::query(
        "UPDATE segments SET settings = $2 \
         WHERE name IN (SELECT segment FROM departed WHERE node = $1)",
    )
    .bind(node)
    .bind(number)
    .execute(&mut *applying.db)
    .await?;
    Ok(())
}

/// A node belongs to a segment: it may know whatever it knows.
pub(crate) async fn take_in(applying: &mut Applying<'_>, node: &str, segment: &str) -> Effect {
    let came_back = sqlx::query("DELETE FROM departed WHERE node = $1 AND segment = $2")
        .bind(node)
        .bind(segment)
        .execute(&mut *applying.db)
        .await?;
    if came_back.rows_affected() > 0 {
        applying.touch(segment).await?;
    }
    sqlx::query("UPDATE departed SET put_out = 0 WHERE node = $1")
        .bind(node)
        .execute(&mut *applying.db)
        .await?;
    Ok(())
}

/// Is there an announced key, and does nobody know it who was put out?
async fn next_key(applying: &mut Applying<'_>, segment: &Name) -> Result<Option<bool>, Halt> {
    let row = sqlx::query(select_keys!("WHERE segment = $1 AND place = 'next'"))
        .bind(segment.as_str())
        .fetch_optional(&mut *applying.db)
        .await?;
    Ok(row.map(|row| row.try_get("is_safe")).transpose()?)
}

async fn put_key(
    applying: &mut Applying<'_>,
    segment: &Name,
    place: &'static str,
    key: &NewKey,
) -> Effect {
    sqlx::query("INSERT INTO segment_keys VALUES ($1, $2, $3, $4, $5, $6, $6)")
        .bind(segment.as_str())
        .bind(place)
        .bind(&key.id)
        .bind(&key.sealed.0)
        .bind(applying.at_ms)
        .bind(column(applying.number))
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
        let rows = sqlx::query(select_keys!("WHERE segment = $1"))
            .bind(segment.as_str())
            .fetch_all(self.reader())
            .await?;
        rows.iter().map(read_key).collect()
    }

    /// Segments whose keys are to be replaced, in the order of names: somebody was put out who knows one, or the current
    /// one has been so since before `old_ms`; and those where that has begun.
    pub async fn rotations(&self, old_ms: i64) -> Result<Vec<Rotation>, StoreError> {
        let rows = sqlx::query(select_keys!(
            "WHERE segment IN (SELECT segment FROM segment_keys WHERE place <> 'current' \
             OR since_ms < $1 UNION SELECT segment FROM departed WHERE put_out) \
             ORDER BY segment, place"
        ))
        .bind(old_ms)
        .fetch_all(self.reader())
        .await?;
        let mut rotations: Vec<Rotation> = Vec::new();
        for row in &rows {
            let (segment, key): (Name, _) = (parsed(row, "segment")?, read_key(row)?);
            match rotations.last_mut() {
                Some(last) if last.segment == segment => last.keys.push(key),
                _ => rotations.push(Rotation {
                    segment,
                    keys: vec![key],
                }),
            }
        }
        Ok(rotations)
    }

    /// Nodes that were put out, and may know a key of the segment still.
    pub async fn put_out(&self, segment: &Name) -> Result<Vec<NodeId>, StoreError> {
        let rows =
            sqlx::query("SELECT node FROM departed WHERE segment = $1 AND put_out ORDER BY node")
                .bind(segment.as_str())
                .fetch_all(self.reader())
                .await?;
        rows.iter().map(|row| parsed(row, "node")).collect()
    }
}

fn read_key(row: &SqliteRow) -> Result<SegmentKey, StoreError> {
    Ok(SegmentKey {
        place: parsed(row, "place")?,
        id: row.try_get("id")?,
        sealed: Bytes(row.try_get("sealed")?),
        since_ms: row.try_get("since_ms")?,
        placed: number(row, "placed")?,
        is_safe: row.try_get("is_safe")?,
    })
}
