use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bellwether_api::{Code, Problem};
use bellwether_types::NodeId;
use bellwether_wire::uplink::{Dismiss, Downward, Frames, Outcome, Reason, Upward, frame};
use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::hub::{Greeting, MESSAGES_MAX, Opened};
use crate::door;
use crate::problem;
use crate::server::Server;
use crate::stream::stream;

/// A connection whose leader has not said who it is by then is none.
const HELLO: Duration = Duration::from_secs(10);

/// A leader's connection: messages up in the body of the request, down in that of the answer (`docs/formats.md`).
pub(crate) async fn uplink(server: Arc<Server>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let node = match door::admit_node(&server, &parts).await {
        Ok(node) => node,
        Err(problem) => return door::of_problem(&problem),
    };
    if *server.ending.borrow() {
        let problem = Problem::new(Code::Unavailable, "the control server is ending");
        return door::of_problem(&problem);
    }
    let (messages, answer) = stream(MESSAGES_MAX);
    let reading = Reading {
        body,
        frames: Frames::new(),
    };
    tokio::spawn(hear(server, node, reading, messages));
    Response::new(Body::new(answer))
}

async fn hear(
    server: Arc<Server>,
    node: NodeId,
    mut reading: Reading,
    messages: mpsc::Sender<Bytes>,
) {
    let greeted = tokio::select! {
        greeted = timeout(HELLO, greet(&server, node, &mut reading)) => greeted,
        () = server.ended() => return,
    };
    let greeting = match greeted {
        Ok(Ok(greeted)) => greeted,
        Ok(Err((reason, text))) => return dismiss(&messages, reason, text).await,
        Err(_) => return dismiss(&messages, Reason::Fault, "no greeting came in time").await,
    };
    let Opened { link, mut end } = server.hub.open(node, greeting, messages.clone());
    let why = loop {
        tokio::select! {
            next = reading.next() => match next {
                Ok(Some(message)) => server.hub.said(link, proved(&server, message)),
                Ok(None) => break None,
                Err(text) => break Some((Reason::Fault, text)),
            },
            _ = &mut end => break None,
            () = server.ended() => break Some((Reason::Later, "the control server is ending".to_owned())),
        }
    };
    server.hub.closed(link);
    if let Some((reason, text)) = why {
        dismiss(&messages, reason, text).await;
    }
}

/// The message without receipts that are not signed by the nodes that they are of.
fn proved(server: &Server, message: Upward) -> Upward {
    let Upward::Outcomes(mut outcomes) = message else {
        return message;
    };
    let fleet = server.hub.fleet();
    outcomes.nodes.retain(|told| match &told.outcome {
        Outcome::Live(receipt) => {
            let holds = fleet.key(told.node).is_some_and(|key| receipt.holds(&key));
            if !holds {
                tracing::warn!(node = %told.node, job = %outcomes.job, "a receipt is not signed by its node");
            }
            holds
        }
        _ => true,
    });
    Upward::Outcomes(outcomes)
}

/// The first message, of a node that may speak for the segment that it names.
async fn greet(
    server: &Server,
    node: NodeId,
    reading: &mut Reading,
) -> Result<Greeting, (Reason, String)> {
    let fault = |text: &str| (Reason::Fault, text.to_owned());
    let hello = match reading.next().await {
        Ok(Some(Upward::Hello(hello))) => hello,
        Ok(Some(_)) => return Err(fault("the first message is a greeting")),
        Ok(None) => return Err(fault("the connection ended before its greeting")),
        Err(text) => return Err((Reason::Fault, text)),
    };
    let later = |error| (Reason::Later, problem::of_store(&error).message);
    let known = server.store.node(node).await.map_err(later)?;
    if known.is_none_or(|known| known.segment != hello.segment) {
        let text = format!("node {node} does not belong to segment {}", hello.segment);
        return Err((Reason::NotAllowed, text));
    }
    let segment = server.store.segment(&hello.segment).await.map_err(later)?;
    let segment = segment.ok_or_else(|| fault("there is no such segment"))?;
    Ok(Greeting {
        hello,
        title: segment.title.map(|title| title.to_string()),
        settings: segment.settings,
        // After all that was read.
        defined: server.store.defined(),
    })
}

async fn dismiss(messages: &mpsc::Sender<Bytes>, reason: Reason, text: impl Into<String>) {
    let mut text = text.into();
    text.truncate(text.floor_char_boundary(Dismiss::TEXT_LEN_MAX));
    let farewell = Downward::Dismiss(Dismiss { reason, text });
    if let Ok(bytes) = frame(&farewell) {
        // Whoever reads no more is not told; whoever has much to read yet is not waited for.
        let _ = messages.try_send(bytes.into());
    }
}

/// What a leader says, message by message.
struct Reading {
    body: Body,
    frames: Frames<Upward>,
}

impl Reading {
    /// The next message; `None` when the connection has ended. May be given up and called again: nothing is lost.
    async fn next(&mut self) -> Result<Option<Upward>, String> {
        loop {
            match self.frames.next() {
                Ok(Some(message)) => return Ok(Some(message)),
                Ok(None) => {}
                Err(error) => return Err(error.to_string()),
            }
            match self.body.frame().await {
                None | Some(Err(_)) => return Ok(None),
                Some(Ok(piece)) => {
                    if let Some(bytes) = piece.data_ref() {
                        self.frames.push(bytes);
                    }
                }
            }
        }
    }
}
