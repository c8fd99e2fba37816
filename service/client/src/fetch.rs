use std::time::Duration;

use bellwether_wire::transfer::AssignmentId;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::RANGE;
use tokio::time::timeout;

use crate::address::ServerUrl;
use crate::client::{CallError, Client};

/// Bytes of a file, as they come. Nothing of them is proved yet.
#[derive(Debug)]
pub struct Download {
    url: ServerUrl,
    body: Incoming,
    /// Where the next byte stands in the file.
    pub offset: u64,
}

/// A server that says nothing for so long has gone.
const SILENCE: Duration = Duration::from_secs(20);

impl Client {
    /// The file of an assignment, from `offset` on. A server that has no ranges begins at the beginning: look at
    /// [`Download::offset`].
    ///
    /// # Errors
    /// If nobody answers, or nobody has it.
    pub async fn assignment(&self, id: AssignmentId, offset: u64) -> Result<Download, CallError> {
        let mut request = self.begin("GET", &format!("/v1/assignments/{}", id.0));
        if offset > 0 {
            request = request.header(RANGE, format!("bytes={offset}-"));
        }
        let request = request.body(Full::new(Bytes::new()));
        let request = request.expect("digits need no escapes");
        let mut sender = self.connected().await?;
        let answered = timeout(SILENCE, sender.send_request(request)).await;
        let response = answered
            .map_err(|_| self.silent(None))?
            .map_err(|fault| self.silent(Some(fault)))?;
        let offset = match response.status() {
            StatusCode::PARTIAL_CONTENT => offset,
            StatusCode::OK => 0,
            _ => return Err(self.refused(response).await),
        };
        Ok(Download {
            url: self.url().clone(),
            body: response.into_body(),
            offset,
        })
    }
}

impl Download {
    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// If the connection broke, or says nothing any more: what came before counts.
    pub async fn next(&mut self) -> Result<Option<Bytes>, CallError> {
        let silent = |source| CallError::Silent {
            url: self.url.clone(),
            source,
        };
        loop {
            let frame = timeout(SILENCE, self.body.frame()).await;
            let Some(frame) = frame.map_err(|_| silent(None))? else {
                return Ok(None);
            };
            if let Ok(bytes) = frame.map_err(|fault| silent(Some(fault)))?.into_data() {
                self.offset += bytes.len() as u64;
                return Ok(Some(bytes));
            }
        }
    }
}
