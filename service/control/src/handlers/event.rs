use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use bellwether_api::routes::ListEvents;
use bellwether_api::{Code, EventInfo, Events, Problem};
use bellwether_store::Event;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::door::{self, Call};
use crate::problem;
use crate::server::Server;
use crate::stream::stream;

/// Events in one answer, and in one go of a stream.
const EVENTS_MAX: u32 = 500;
/// Of a stream whose reader is slow; the next one waits.
const PIECES_MAX: usize = 16;
const WAIT_MAX: Duration = Duration::from_secs(60);
/// A stream says at least this often that it is still there.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// What happened, at once or as it happens.
pub(crate) async fn list(call: Call<ListEvents>) -> Result<Response, Problem> {
    let wait = call
        .query
        .wait
        .as_deref()
        .map_or(Ok(Duration::ZERO), span)?;
    let streamed = wants_stream(&call.headers);
    let resumed = call.headers.get("last-event-id").map(|value| {
        let number = value.to_str().ok().and_then(|text| text.parse().ok());
        number.ok_or_else(|| Problem::new(Code::Malformed, "`Last-Event-ID` is a number"))
    });
    let after = resumed.transpose()?.or(call.query.after);
    let after = after.unwrap_or_else(|| call.server.store.last_event());
    if !streamed && (wait.is_zero() || after != call.server.store.last_event()) {
        return poll(&call.server, after).await;
    }
    let place = Arc::clone(&call.server.waiting).try_acquire_owned();
    let place = place.map_err(|_| {
        Problem::new(Code::TooMany, "too many wait for events").hint("ask again in a moment")
    })?;
    call.server.metrics.waiting.inc();
    if !streamed {
        tokio::select! {
            _ = timeout(wait, call.server.store.event_after(after)) => {}
            () = call.server.ended() => {}
        }
        call.server.metrics.waiting.dec();
        return poll(&call.server, after).await;
    }
    let (pieces, body) = stream(PIECES_MAX);
    tokio::spawn(async move {
        tell(&call.server, after, &pieces).await;
        call.server.metrics.waiting.dec();
        drop(place);
    });
    let mut response = Response::new(Body::new(body));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

async fn poll(server: &Server, after: u64) -> Result<Response, Problem> {
    let found = server.store.events(after, EVENTS_MAX).await;
    let events = match found.map_err(|error| problem::of_store(&error))? {
        None => Events {
            events: Vec::new(),
            last: server.store.last_event(),
            reset: true,
        },
        Some(events) => Events {
            last: events.last().map_or(after, |event| event.number),
            events: events.into_iter().map(info).collect(),
            reset: false,
        },
    };
    Ok(door::json(&events))
}

/// Tells a stream what happens, until its reader has gone or the server ends.
async fn tell(server: &Server, mut after: u64, pieces: &mpsc::Sender<Bytes>) {
    let mut next = Some("retry: 1000\n\n".to_owned());
    loop {
        if let Some(piece) = next.take()
            && pieces.send(piece.into()).await.is_err()
        {
            return;
        }
        if server.store.last_event() == after {
            tokio::select! {
                happened = timeout(HEARTBEAT, server.store.event_after(after)) => match happened {
                    Err(_) => {
                        next = Some(": still here\n\n".to_owned());
                        continue;
                    }
                    Ok(false) => return,
                    Ok(true) => {}
                },
                () = server.ended() => return,
                () = pieces.closed() => return,
            }
        }
        next = match server.store.events(after, EVENTS_MAX).await {
            Err(error) => {
                problem::of_store(&error);
                return;
            }
            Ok(None) => {
                after = server.store.last_event();
                Some(format!(
                    "id: {after}\nevent: reset\ndata: {{\"last\":{after}}}\n\n"
                ))
            }
            Ok(Some(events)) => {
                after = events.last().map_or(after, |event| event.number);
                Some(events.into_iter().map(written).collect())
            }
        };
    }
}

/// An event as a stream has it. Nothing in it has a line's end: kinds are words of ours, and JSON escapes the rest.
fn written(event: Event) -> String {
    let event = info(event);
    let data = serde_json::to_string(&event).expect("events have text keys and finite numbers");
    format!(
        "id: {}\nevent: {}\ndata: {data}\n\n",
        event.number, event.kind
    )
}

fn wants_stream(headers: &HeaderMap) -> bool {
    let accepted = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    accepted.is_some_and(|accepted| accepted.contains("text/event-stream"))
}

/// `30s` or `500ms`, at most a minute.
pub(super) fn span(text: &str) -> Result<Duration, Problem> {
    let span = match text.strip_suffix("ms") {
        Some(digits) => digits.parse().map(Duration::from_millis),
        None => text
            .strip_suffix('s')
            .unwrap_or("")
            .parse()
            .map(Duration::from_secs),
    };
    match span {
        Ok(span) if span <= WAIT_MAX => Ok(span),
        _ => {
            let message = "`wait` is a span such as `30s` or `500ms`, at most `60s`";
            Err(Problem::new(Code::Invalid, message))
        }
    }
}

fn info(event: Event) -> EventInfo {
    EventInfo {
        number: event.number,
        at_ms: event.at_ms,
        kind: event.kind,
        subject: event.subject,
        text: event.text,
    }
}
