//! How an operator speaks with a running agent: a Unix socket in its data directory, one JSON object a line each way.
//!
//! Whoever may open the socket may do all of it; that is the directory's owner. Requests are short, answers come within
//! a bounded time, and only so many ask at once.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

use crate::desk::Desk;
use crate::node::Order;
use crate::status::Status;
use crate::transfers::{GroupRequest, OfferRequest, TransferStatus};

/// What an operator wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// To know how it stands.
    Status,
    /// The leader to hand its office over.
    StepDown,
    /// The node to leave its segment, and the agent to end.
    Leave,
    /// The leader to bring an assignment to others; the answer is its id.
    Offer(OfferRequest),
    /// To know how transfers stand.
    Transfers,
    /// The leader to set who belongs to a content group.
    Group(GroupRequest),
}

/// A request as it is written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    request: Request,
}

/// What the agent says to that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Reply {
    Status(Box<Status>),
    Transfers(Vec<TransferStatus>),
    Done(String),
    Refused(String),
}

/// What a request came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// How it stands.
    Status(Box<Status>),
    /// How transfers stand.
    Transfers(Vec<TransferStatus>),
    /// It is done; how, in a sentence.
    Done(String),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens.
    #[error("no agent runs on {path}", path = path.display())]
    Nobody {
        /// The data directory.
        path: PathBuf,
        /// What says so.
        #[source]
        source: io::Error,
    },
    /// The agent says no.
    #[error("{0}")]
    Refused(String),
    /// It took too long, or the agent ended meanwhile.
    #[error("the agent on {path} did not answer", path = path.display())]
    Silent {
        /// The data directory.
        path: PathBuf,
        /// How that showed.
        #[source]
        source: io::Error,
    },
}

const SOCKET: &str = "admin.sock";
const REQUEST_LEN_MAX: u64 = 64 << 10;
const REPLY_LEN_MAX: u64 = 64 << 20;
const ASKERS_MAX: u32 = 16;
/// Stepping down and leaving may take an election.
const PATIENCE: Duration = Duration::from_secs(90);

/// Asks the agent that runs on a data directory.
pub fn ask(data: &Path, request: Request) -> Result<Answer, AskError> {
    let nobody = |source| AskError::Nobody {
        path: data.to_owned(),
        source,
    };
    let silent = |source| AskError::Silent {
        path: data.to_owned(),
        source,
    };
    let directory = std::fs::File::open(data).map_err(nobody)?;
    let stream = BlockingStream::connect(by_handle(&directory)).map_err(nobody)?;
    let exchange = || {
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut line = serde_json::to_vec(&Asked { request })?;
        line.push(b'\n');
        (&stream).write_all(&line)?;
        let mut reply = String::new();
        BufReader::new((&stream).take(REPLY_LEN_MAX)).read_line(&mut reply)?;
        if reply.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_str(&reply)?)
    };
    match exchange().map_err(silent)? {
        Reply::Status(status) => Ok(Answer::Status(status)),
        Reply::Transfers(transfers) => Ok(Answer::Transfers(transfers)),
        Reply::Done(what) => Ok(Answer::Done(what)),
        Reply::Refused(why) => Err(AskError::Refused(why)),
    }
}

/// The socket by way of the open directory, because a socket's path may have 107 bytes only.
fn by_handle(directory: &std::fs::File) -> PathBuf {
    use std::os::fd::AsRawFd;
    PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd()))
}

/// Listens in a data directory that is locked: a socket that is still there belongs to nobody.
pub(crate) fn listen(data: &Path) -> io::Result<UnixListener> {
    let directory = std::fs::File::open(data)?;
    let path = by_handle(&directory);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Where operators ask.
pub(crate) fn desk() -> Desk {
    Desk::new(ASKERS_MAX, PATIENCE)
}

/// Answers for as long as the agent lives.
pub(crate) async fn serve(listener: UnixListener, orders: mpsc::Sender<Order>, desk: Desk) {
    desk.serve(listener, |stream| answer(stream, orders.clone()))
        .await;
}

async fn answer(mut stream: UnixStream, orders: mpsc::Sender<Order>) -> io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut line = Vec::new();
    let mut reader = tokio::io::BufReader::new(reader.take(REQUEST_LEN_MAX));
    reader.read_until(b'\n', &mut line).await?;
    let reply = match serde_json::from_slice::<Asked>(&line) {
        Err(fault) => Reply::Refused(format!("not a request: {fault}")),
        Ok(Asked { request }) => {
            let (tell, told) = oneshot::channel();
            let ending = || Reply::Refused("the agent is ending".to_owned());
            match orders.send(Order::Asked(request, tell)).await {
                Err(_) => ending(),
                Ok(()) => told.await.unwrap_or_else(|_| ending()),
            }
        }
    };
    let mut bytes = serde_json::to_vec(&reply)?;
    bytes.push(b'\n');
    writer.write_all(&bytes).await?;
    writer.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An agent that obeys, and what is written to it by hand.
    async fn said(line: &'static [u8]) -> String {
        let home = tempfile::tempdir().unwrap();
        let listener = listen(home.path()).unwrap();
        let (orders, mut ordered) = mpsc::channel(1);
        tokio::spawn(serve(listener, orders, desk()));
        tokio::spawn(async move {
            while let Some(Order::Asked(request, tell)) = ordered.recv().await {
                let _ = tell.send(Reply::Done(format!("{request:?}")));
            }
        });
        let path = home.path().join(SOCKET);
        let mut stream = UnixStream::connect(path).await.unwrap();
        stream.write_all(line).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut reply = String::new();
        // A stranger that said too much may be cut off instead of answered.
        let _ = stream.read_to_string(&mut reply).await;
        reply
    }

    #[tokio::test]
    async fn requests_are_lines_of_json_and_anything_else_is_refused() {
        assert_eq!(
            said(b"{\"request\":\"step-down\"}\n").await,
            "{\"done\":\"StepDown\"}\n"
        );
        for line in [
            b"\n".as_slice(),
            b"",
            b"\xff\xff\n",
            b"{\"request\":\"reboot\"}\n",
            b"{\"request\":\"leave\",\"now\":true}\n",
            b"{\"request\":\"leave\"",
        ] {
            let reply = said(line).await;
            assert!(reply.starts_with("{\"refused\":\"not a request"), "{reply}");
        }
        let long: &'static [u8] = vec![b' '; 100_000].leak();
        let reply = said(long).await;
        assert!(!reply.contains("done"), "{reply}");
    }

    #[tokio::test]
    async fn the_socket_is_its_owners_alone_and_one_left_over_is_replaced() {
        let home = tempfile::tempdir().unwrap();
        drop(listen(home.path()).unwrap());
        let _listener = listen(home.path()).unwrap();
        let mode = std::fs::metadata(home.path().join(SOCKET))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_directory_without_an_agent_is_told_apart() {
        let home = tempfile::tempdir().unwrap();
        let error = ask(home.path(), Request::Status).unwrap_err();
        assert!(matches!(error, AskError::Nobody { .. }), "{error}");
    }
}
