use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bellwether_wire::uplink::{Downward, FrameError, Frames, Hello, Upward, frame};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http2;
use hyper::header::CONTENT_TYPE;
use hyper_util::rt::TokioExecutor;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::client::{CallError, Client};

/// The connection of a segment's leader to its control server: messages go up and come down for as long as both keep it.
#[derive(Debug)]
pub struct Uplink {
    /// The way up.
    pub sender: UplinkSender,
    /// The way down.
    pub stream: UplinkStream,
}

/// The way up. Dropped, it ends the connection in order.
#[derive(Debug, Clone)]
pub struct UplinkSender(mpsc::Sender<Bytes>);

/// The way down.
#[derive(Debug)]
pub struct UplinkStream {
    body: Incoming,
    frames: Frames<Downward>,
}

/// Why nothing goes up or comes down any more.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// The server ended it.
    #[error("the control server ended the connection")]
    Ended,
    /// The connection broke.
    #[error("the connection to the control server broke")]
    Broken(#[source] hyper::Error),
    /// Nothing came for so long.
    #[error("the control server said nothing for {0:?}")]
    Silent(Duration),
    /// What came cannot be read, or what was to be sent not be said.
    #[error("what the control server says is not to be understood")]
    Fault(#[from] FrameError),
}

/// Messages that wait for the connection; who has more waits.
const WAITING_MAX: usize = 256;
/// A server that does not answer the first message for so long has gone.
const ANSWER: Duration = Duration::from_secs(10);

impl Client {
    /// Opens the uplink of a leader, on a connection of its own.
    ///
    /// # Errors
    /// If nobody answers, or the server says no.
    pub async fn uplink(&self, hello: Hello) -> Result<Uplink, CallError> {
        let (sender, waiting) = mpsc::channel(WAITING_MAX);
        let hello = frame(&Upward::Hello(hello)).expect("a greeting is short");
        sender
            .try_send(hello.into())
            .expect("there is room for the first");
        let request = self
            .begin("POST", "/v1/uplink")
            .header(CONTENT_TYPE, "application/octet-stream");
        let request = request.body(Waiting(waiting));
        let request = request.expect("a path of ours");
        let stream = self.dial().await?;
        let shaken = http2::handshake(TokioExecutor::new(), stream).await;
        let (mut requests, driven) = shaken.map_err(|fault| self.silent(Some(fault)))?;
        // How it ended shows in the stream.
        tokio::spawn(async move { drop(driven.await) });
        let answered = timeout(ANSWER, requests.send_request(request)).await;
        let response = answered
            .map_err(|_| self.silent(None))?
            .map_err(|fault| self.silent(Some(fault)))?;
        if !response.status().is_success() {
            return Err(self.refused(response).await);
        }
        Ok(Uplink {
            sender: UplinkSender(sender),
            stream: UplinkStream {
                body: response.into_body(),
                frames: Frames::new(),
            },
        })
    }
}

impl UplinkSender {
    /// Says something, in its turn.
    ///
    /// # Errors
    /// If the connection is gone, or it cannot be said.
    pub async fn send(&self, message: &Upward) -> Result<(), Lost> {
        let bytes = frame(message)?;
        self.0.send(bytes.into()).await.map_err(|_| Lost::Ended)
    }
}

impl UplinkStream {
    /// The next message, for which `silence` is waited. It can be given up at any time without losing one.
    ///
    /// # Errors
    /// If none will come.
    pub async fn next(&mut self, silence: Duration) -> Result<Downward, Lost> {
        loop {
            if let Some(message) = self.frames.next()? {
                return Ok(message);
            }
            let came = timeout(silence, self.body.frame()).await;
            let came = came.map_err(|_| Lost::Silent(silence))?;
            let came = came.ok_or(Lost::Ended)?.map_err(Lost::Broken)?;
            if let Ok(bytes) = came.into_data() {
                self.frames.push(&bytes);
            }
        }
    }
}

/// A request's body that goes on as long as somebody has something to say.
struct Waiting(mpsc::Receiver<Bytes>);

impl Body for Waiting {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = self.0.poll_recv(context);
        bytes.map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}
