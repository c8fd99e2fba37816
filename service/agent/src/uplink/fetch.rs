//! Files of assignments from the control server: each goes on where it broke off, and to the members as it comes.

use std::io;
use std::path::Path;

use bellwether_api::Code;
use bellwether_client::{CallError, Client};
use bellwether_content::assignment::Trust;
use bellwether_transfer::{Inflow, InflowError, Member};
use bellwether_wire::uplink::{Failure, FailureKind, File};
use tokio::task::spawn_blocking;

/// How far a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fetching {
    /// Proved bytes that are here.
    pub(crate) bytes: u64,
    /// Is its head?
    pub(crate) has_head: bool,
}

/// What came of a fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fetched {
    /// The file lay here already.
    Lay,
    /// All of it came, and will be durable in a moment.
    Comes,
}

/// Bytes that are taken in at once.
const BATCH_LEN: usize = 64 << 10;

/// Brings a file to the assignments in `folder`, unless it lies there. `progress` is told how far it is.
pub(crate) async fn fetch(
    client: &Client,
    transfers: &Member,
    folder: &Path,
    file: &File,
    trust: Trust,
    progress: impl Fn(Fetching),
) -> Result<Fetched, Failure> {
    if folder.join(file.id.0.to_string()).exists() {
        return Ok(Fetched::Lay);
    }
    let (transfers, folder, id, len) = (transfers.clone(), folder.to_owned(), file.id, file.len);
    let mut inflow = blocking(move || transfers.inflow(&folder, id, len, trust)).await?;
    progress(so_far(&inflow));
    if inflow.is_whole() {
        return Ok(Fetched::Comes);
    }
    let mut download = client
        .assignment(id, inflow.offset())
        .await
        .map_err(|error| of_call(&error))?;
    // Of a server that begins anew, what is here is passed over.
    let mut known = inflow.offset().saturating_sub(download.offset);
    let mut batch = Vec::new();
    loop {
        let next = download.next().await.map_err(|error| of_call(&error))?;
        let is_over = next.is_none();
        if let Some(bytes) = next {
            let passed = known.min(bytes.len() as u64);
            known -= passed;
            batch.extend_from_slice(&bytes[passed as usize..]);
        }
        if batch.len() >= BATCH_LEN || is_over {
            let bytes = std::mem::take(&mut batch);
            inflow = blocking(move || inflow.take(&bytes).map(|()| inflow)).await?;
            progress(so_far(&inflow));
        }
        if inflow.is_whole() {
            return Ok(Fetched::Comes);
        }
        if is_over {
            let (offset, len) = (inflow.offset(), file.len);
            let why = format!("it broke off after {offset} of {len} bytes");
            return Err(Failure::new(FailureKind::Silent, why));
        }
    }
}

const fn so_far(inflow: &Inflow) -> Fetching {
    Fetching {
        bytes: inflow.offset(),
        has_head: inflow.has_head(),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, InflowError> + Send + 'static,
) -> Result<T, Failure> {
    let done = spawn_blocking(work).await;
    let done = done.unwrap_or_else(|_| Err(io::Error::other("the process ends").into()));
    done.map_err(|error| {
        let kind = match &error {
            InflowError::Untrusted(_) => FailureKind::Trust,
            InflowError::Damaged(_) => FailureKind::Damaged,
            InflowError::Disk(error) => match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FailureKind::Space,
                io::ErrorKind::PermissionDenied => FailureKind::Permission,
                _ => FailureKind::Machine,
            },
        };
        Failure::new(kind, format!("the file of an assignment: {error}"))
    })
}

fn of_call(error: &CallError) -> Failure {
    let kind = match error {
        CallError::Problem(problem) if problem.code == Code::NotFound => FailureKind::Damaged,
        CallError::Problem(_) | CallError::Foreign { .. } => FailureKind::Machine,
        CallError::Identity(_) | CallError::Untrusted { .. } => FailureKind::Trust,
        CallError::Unreachable { .. } | CallError::Silent { .. } => FailureKind::Silent,
    };
    Failure::new(kind, error.to_string())
}
