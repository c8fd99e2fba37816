use axum::body::Body;
use bellwether_api::routes::{ListMissing, PutContent, ShowContent};
use bellwether_api::{Code, ContentReceived, Missing, MissingContent, Problem};
use bellwether_disk::depot::Content;
use bellwether_types::{Hash, Name};
use bytes::BytesMut;
use http_body_util::Limited;

use super::version;
use crate::door::{self, Call};
use crate::problem;

/// As much of a content is taken before it is written.
const PIECE_LEN: usize = 1 << 20;

pub(crate) async fn missing(call: Call<ListMissing>, body: Body) -> Result<Missing, Problem> {
    let server = &call.server;
    let site = version::site(server, &call.key).await?;
    // Before contents are sent that nobody would receive.
    version::groups(server, &site).await?;
    let manifest = version::read(server, body).await?;
    let missing = server.works.missing(manifest).await;
    let mut missing = missing.map_err(|error| problem::of_depot(&error))?;
    if let Some(after) = call.query.after {
        missing.drain(..missing.partition_point(|content| content.hash <= after));
    }
    let bytes = missing.iter().map(|content| content.size).sum();
    let more = missing.len() > Missing::CONTENTS_MAX;
    missing.truncate(Missing::CONTENTS_MAX);
    let contents = missing.into_iter();
    Ok(Missing {
        contents: contents
            .map(|Content { hash, size }| MissingContent { hash, size })
            .collect(),
        more,
        bytes,
    })
}

pub(crate) async fn show(call: Call<ShowContent>) -> Result<ContentReceived, Problem> {
    let content = Content {
        hash: hash(&call.key)?,
        size: call.query.size,
    };
    let received = call.server.works.received(content).await;
    let received = received.map_err(|error| problem::of_depot(&error))?;
    Ok(ContentReceived { received })
}

/// Writes what comes, piece by piece: what was written stays when the connection breaks, and the next attempt goes on
/// there.
pub(crate) async fn put(call: Call<PutContent>, body: Body) -> Result<ContentReceived, Problem> {
    let works = &call.server.works;
    let content = Content {
        hash: hash(&call.key)?,
        size: call.query.size,
    };
    let mut offset = call.query.offset;
    let rest = usize::try_from(content.size.saturating_sub(offset)).unwrap_or(usize::MAX);
    let mut body = Limited::new(body, rest);
    let mut piece = BytesMut::new();
    loop {
        let next = door::next_piece(&mut body, rest).await;
        let (mut received, mut due) = (offset, !piece.is_empty());
        match &next {
            Ok(Some(bytes)) => {
                piece.extend_from_slice(bytes);
                due = piece.len() >= PIECE_LEN;
            }
            // An empty content has no piece.
            Ok(None) => due |= offset == call.query.offset,
            Err(_) => {}
        }
        if due {
            let came = works.receive(content, offset, piece.split().freeze()).await;
            received = came.map_err(|error| problem::of_depot(&error))?;
        }
        // What came before it broke off is kept.
        if next?.is_none() {
            return Ok(ContentReceived { received });
        }
        offset = received;
    }
}

fn hash(key: &Name) -> Result<Hash, Problem> {
    let hash: Result<Hash, _> = key.as_str().parse();
    hash.map_err(|fault| Problem::new(Code::Malformed, fault.to_string()))
}
