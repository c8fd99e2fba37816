use std::collections::BTreeSet;

use bellwether_fleet::{Labels, Placement, Role};
use bellwether_types::{Hash, Name, NodeId};
use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::applying::{Applying, Effect, Halt};
use crate::outcome::{Refused, StoreError};
use crate::row::{bytes, json, parsed, to_json};
use crate::segment::{self, NewKey};
use crate::store::Store;
use crate::token;

/// A back-end server that enrolled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// What it calls itself; several may be called the same.
    pub name: Name,
    /// Where it belongs.
    pub segment: Name,
    /// The addresses it named, as `ADDRESS/PREFIX`.
    pub addresses: Vec<String>,
    /// What operators labelled it with.
    pub labels: Labels,
    /// Its Ed25519 public key: that of its certificate, which also signs for what it serves.
    pub key: [u8; 32],
    /// When it enrolled first, in milliseconds since 1970.
    pub enrolled_ms: i64,
    /// When its last certificate ends.
    pub certificate_ends_ms: i64,
    /// When it was observed to come or to go, in milliseconds since 1970; `None` if it was not seen yet.
    pub seen_ms: Option<i64>,
}

/// A node that comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolment {
    /// Its id.
    pub node: NodeId,
    /// What it calls itself.
    pub name: Name,
    /// Its addresses, as `ADDRESS/PREFIX`.
    pub addresses: Vec<String>,
    /// The token that admits it.
    pub token: Name,
    /// The segment to make, if there is none for it.
    pub segment: Name,
    /// The subnet that decides where it belongs, if its token leaves that open.
    pub subnet: Option<String>,
    /// The key of the segment, if it is made.
    pub segment_key: NewKey,
    /// Its Ed25519 public key: the same node has the same key.
    pub key: [u8; 32],
    /// Its certificate.
    pub certificate: Certificate,
}

/// A certificate that the authority gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// Its SHA-256 fingerprint.
    pub fingerprint: Hash,
    /// When it ends, in milliseconds since 1970.
    pub ends_ms: i64,
}

const NODES_MAX: u64 = 100_000;
/// Labels of one node.
const LABELS_MAX: usize = 64;
/// A node may have the one it uses, and the one that it was just sent.
const CERTIFICATES_MAX: i64 = 2;

pub(crate) async fn enrol(applying: &mut Applying<'_>, enrolment: &Enrolment) -> Effect {
    let token = token::find(applying, &enrolment.token)
        .await?
        .ok_or(Refused::Token)?;
    let token::Token {
        role: Role::Node,
        placement: Some(placement),
        ..
    } = token
    else {
        return Err(Refused::Token.into());
    };
    let id = enrolment.node.to_string();
    let known = sqlx::query("SELECT key, segment FROM nodes WHERE id = $1")
        .bind(&id)
        .fetch_optional(&mut *applying.db)
        .await?;
    match known {
        // It did not hear that it was taken in, or lost what it heard. It stays where it was put.
        Some(row) if row.try_get::<&[u8], _>("key")? == enrolment.key => {
            sqlx::query("UPDATE nodes SET name = $2, addresses = $3 WHERE id = $1")
                .bind(&id)
                .bind(enrolment.name.as_str())
                .bind(to_json(&enrolment.addresses))
                .execute(&mut *applying.db)
                .await?;
        }
        Some(_) => return Err(Refused::NodeTaken { node: id }.into()),
        None => {
            applying
                .room("nodes", "SELECT count(*) FROM nodes", NODES_MAX)
                .await?;
            let segment = place(applying, enrolment, placement).await?;
            sqlx::query(
                "INSERT INTO nodes (id, name, segment, addresses, key, enrolled_ms) \
                 VALUES ($1, $2, $3, $4, $5, $6)",
            )
            .bind(&id)
            .bind(enrolment.name.as_str())
            .bind(segment.as_str())
            .bind(to_json(&enrolment.addresses))
            .bind(enrolment.key.as_slice())
            .bind(applying.at_ms)
            .execute(&mut *applying.db)
            .await?;
            segment::take_in(applying, &id, segment.as_str()).await?;
            let text = format!("node {} ({id}) came to segment {segment}", enrolment.name);
            applying.tell("node.enrolled", &id, &text).await?;
        }
    }
    certify(applying, &id, &enrolment.certificate).await
}

/// The segment of a new node, which is made if need be.
async fn place(
    applying: &mut Applying<'_>,
    enrolment: &Enrolment,
    placement: Placement,
) -> Result<Name, Halt> {
    let (name, subnet) = match (placement, &enrolment.subnet) {
        (Placement::Segment(name), _) => (name, None),
        (Placement::Auto, None) => {
            let fault = "the node names no subnet, and its token no segment";
            return Err(Refused::Invalid(fault.to_owned()).into());
        }
        (Placement::Auto, Some(subnet)) => match segment::of_subnet(applying, subnet).await? {
            Some(name) => (name, None),
            None => (enrolment.segment.clone(), Some(subnet.as_str())),
        },
    };
    segment::ensure(applying, &name, subnet, &enrolment.segment_key).await?;
    Ok(name)
}

pub(crate) async fn renew(
    applying: &mut Applying<'_>,
    node: NodeId,
    key: &[u8; 32],
    certificate: &Certificate,
) -> Effect {
    segment_of(applying, node).await?;
    let id = node.to_string();
    sqlx::query("UPDATE nodes SET key = $2 WHERE id = $1")
        .bind(&id)
        .bind(key.as_slice())
        .execute(&mut *applying.db)
        .await?;
    certify(applying, &id, certificate).await
}

async fn certify(applying: &mut Applying<'_>, node: &str, certificate: &Certificate) -> Effect {
    sqlx::query("INSERT OR IGNORE INTO certificates VALUES ($1, $2, $3)")
        .bind(certificate.fingerprint.0.as_slice())
        .bind(node)
        .bind(certificate.ends_ms)
        .execute(&mut *applying.db)
        .await?;
    // The latest count, and not what has ended: clocks of servers may differ.
    sqlx::query(
        "DELETE FROM certificates WHERE node = $1 AND fingerprint NOT IN \
         (SELECT fingerprint FROM certificates WHERE node = $1 ORDER BY ends_ms DESC, fingerprint LIMIT $2)",
    )
    .bind(node)
    .bind(CERTIFICATES_MAX)
    .execute(&mut *applying.db)
    .await?;
    Ok(())
}

pub(crate) async fn label(
    applying: &mut Applying<'_>,
    node: NodeId,
    set: &Labels,
    unset: &BTreeSet<Name>,
) -> Effect {
    let segment = segment_of(applying, node).await?;
    let id = node.to_string();
    for label in unset {
        sqlx::query("DELETE FROM node_labels WHERE node = $1 AND label = $2")
            .bind(&id)
            .bind(label.as_str())
            .execute(&mut *applying.db)
            .await?;
    }
    for (label, value) in set {
        sqlx::query("INSERT OR REPLACE INTO node_labels VALUES ($1, $2, $3)")
            .bind(&id)
            .bind(label.as_str())
            .bind(value.as_str())
            .execute(&mut *applying.db)
            .await?;
    }
    let row = sqlx::query("SELECT count(*) FROM node_labels WHERE node = $1")
        .bind(&id)
        .fetch_one(&mut *applying.db)
        .await?;
    if row.try_get::<i64, _>(0)? > LABELS_MAX as i64 {
        return Err(Refused::TooMany {
            what: "labels of a node",
            max: LABELS_MAX as u64,
        }
        .into());
    }
    applying.touch(&segment).await?;
    applying
        .tell("node.labelled", &id, &format!("node {id} was labelled"))
        .await
}

pub(crate) async fn relocate(applying: &mut Applying<'_>, node: NodeId, segment: &Name) -> Effect {
    let former = segment_of(applying, node).await?;
    segment::require(applying, segment).await?;
    let id = node.to_string();
    sqlx::query("UPDATE nodes SET segment = $2 WHERE id = $1")
        .bind(&id)
        .bind(segment.as_str())
        .execute(&mut *applying.db)
        .await?;
    if former != segment.as_str() {
        segment::depart(applying, &id, &former).await?;
    }
    segment::take_in(applying, &id, segment.as_str()).await?;
    applying.touch(&former).await?;
    applying.touch(segment.as_str()).await?;
    let text = format!("node {id} belongs to segment {segment} now, and no more to {former}");
    applying.tell("node.moved", &id, &text).await
}

pub(crate) async fn remove(applying: &mut Applying<'_>, node: NodeId) -> Effect {
    let segment = segment_of(applying, node).await?;
    let id = node.to_string();
    sqlx::query("DELETE FROM nodes WHERE id = $1")
        .bind(&id)
        .execute(&mut *applying.db)
        .await?;
    segment::depart(applying, &id, &segment).await?;
    segment::put_out(applying, &id).await?;
    applying
        .tell("node.removed", &id, &format!("node {id} was put out"))
        .await
}

async fn segment_of(applying: &mut Applying<'_>, node: NodeId) -> Result<String, Halt> {
    let row = sqlx::query("SELECT segment FROM nodes WHERE id = $1")
        .bind(node.to_string())
        .fetch_optional(&mut *applying.db)
        .await?;
    match row {
        Some(row) => Ok(row.try_get(0)?),
        None => Err(Refused::Missing {
            what: "node",
            name: node.to_string(),
        }
        .into()),
    }
}

fn read(row: &SqliteRow) -> Result<Node, StoreError> {
    Ok(Node {
        id: parsed(row, "id")?,
        name: parsed(row, "name")?,
        segment: parsed(row, "segment")?,
        addresses: json(row, "addresses")?,
        labels: json(row, "labels")?,
        key: bytes(row, "key")?,
        enrolled_ms: row.try_get("enrolled_ms")?,
        certificate_ends_ms: row.try_get("ends_ms")?,
        seen_ms: row.try_get("seen_ms")?,
    })
}

/// All that is known of nodes; a condition follows.
macro_rules! select_nodes {
    ($rest:literal) => {
        concat!(
            "SELECT *, ",
            "(SELECT json_group_object(label, value) FROM node_labels WHERE node = id) AS labels, ",
            "(SELECT coalesce(max(ends_ms), 0) FROM certificates WHERE node = id) AS ends_ms ",
            "FROM nodes ",
            $rest
        )
    };
}

impl Store {
    /// A node by its id.
    pub async fn node(&self, id: NodeId) -> Result<Option<Node>, StoreError> {
        let row = sqlx::query(select_nodes!("WHERE id = $1"))
            .bind(id.to_string())
            .fetch_optional(self.reader())
            .await?;
        row.as_ref().map(read).transpose()
    }

    /// Nodes, after one of them in the order of ids.
    pub async fn nodes(&self, after: &str, limit: u32) -> Result<Vec<Node>, StoreError> {
        let rows = sqlx::query(select_nodes!("WHERE id > $1 ORDER BY id LIMIT $2"))
            .bind(after)
            .bind(limit)
            .fetch_all(self.reader())
            .await?;
        rows.iter().map(read).collect()
    }

    /// Nodes that are called so, or whose ids begin so, at most so many.
    pub async fn nodes_like(&self, text: &Name, limit: u32) -> Result<Vec<Node>, StoreError> {
        let rows = sqlx::query(select_nodes!(
            "WHERE name = $1 OR substr(id, 1, length($1)) = $1 ORDER BY id LIMIT $2"
        ))
        .bind(text.as_str())
        .bind(limit)
        .fetch_all(self.reader())
        .await?;
        rows.iter().map(read).collect()
    }

    /// The nodes of a segment, in the order of ids, at most so many.
    pub async fn nodes_of(&self, segment: &Name, limit: u32) -> Result<Vec<Node>, StoreError> {
        let rows = sqlx::query(select_nodes!("WHERE segment = $1 ORDER BY id LIMIT $2"))
            .bind(segment.as_str())
            .bind(limit)
            .fetch_all(self.reader())
            .await?;
        rows.iter().map(read).collect()
    }

    /// Whose certificate this is. A node that was put out has none.
    pub async fn holder(&self, fingerprint: &Hash) -> Result<Option<NodeId>, StoreError> {
        let row = sqlx::query("SELECT node FROM certificates WHERE fingerprint = $1")
            .bind(fingerprint.0.as_slice())
            .fetch_optional(self.reader())
            .await?;
        row.map(|row| parsed(&row, "node")).transpose()
    }
}
