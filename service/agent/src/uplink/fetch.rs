//! Files of assignments from the control server: resumed where they broke off, and proved before anybody sees them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bellwether_api::Code;
use bellwether_client::{CallError, Client};
use bellwether_transfer::take_in;
use bellwether_wire::uplink::{self, Failure, FailureKind};
use bytes::Bytes;
use tokio::task::spawn_blocking;

/// Where files lie until they are proved.
const FOLDER: &str = ".fetched";
/// Bytes that are written at once.
const BATCH_LEN: usize = 1 << 20;

/// Brings a file to the assignments in `folder`, unless it lies there. `progress` is told how many bytes came.
pub(crate) async fn fetch(
    client: &Client,
    folder: &Path,
    file: &uplink::File,
    progress: impl Fn(u64),
) -> Result<(), Failure> {
    let place = folder.join(file.id.0.to_string());
    if place.exists() {
        return Ok(());
    }
    let beside = folder.join(FOLDER).join(file.id.0.to_string());
    let (mut partial, mut held) = blocking({
        let beside = beside.clone();
        let len_max = file.len;
        move || begin(&beside, len_max)
    })
    .await?;
    while held < file.len {
        progress(held);
        let mut download = client
            .assignment(file.id, held)
            .await
            .map_err(|error| of_call(&error))?;
        if download.offset != held {
            held = download.offset;
            partial = blocking(move || cut(partial, held)).await?;
        }
        let mut batch: Vec<Bytes> = Vec::new();
        let mut waiting = 0;
        loop {
            let next = download.next().await;
            let is_over = !matches!(next, Ok(Some(_)));
            if let Ok(Some(bytes)) = &next {
                if held + (waiting + bytes.len()) as u64 > file.len {
                    let why = "there is more of it than the control server said";
                    return Err(Failure::new(FailureKind::Damaged, why));
                }
                waiting += bytes.len();
                batch.push(bytes.clone());
            }
            if waiting >= BATCH_LEN || is_over {
                let bytes = std::mem::take(&mut batch);
                held += std::mem::take(&mut waiting) as u64;
                partial = blocking(move || write(partial, &bytes)).await?;
                progress(held);
            }
            match next {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) => return Err(of_call(&error)),
            }
        }
        if held < file.len {
            let why = format!("it broke off after {held} of {} bytes", file.len);
            return Err(Failure::new(FailureKind::Silent, why));
        }
    }
    drop(partial);
    let (folder, id) = (folder.to_owned(), file.id);
    blocking(move || settle(&folder, &beside, id)).await
}

fn begin(beside: &Path, len_max: u64) -> io::Result<(File, u64)> {
    fs::create_dir_all(beside.parent().unwrap_or(beside))?;
    let mut options = OpenOptions::new();
    let file = options.create(true).append(true).mode(0o600).open(beside)?;
    let len = file.metadata()?.len();
    if len <= len_max {
        return Ok((file, len));
    }
    Ok((cut(file, 0)?, 0))
}

fn cut(file: File, len: u64) -> io::Result<File> {
    file.set_len(len)?;
    Ok(file)
}

fn write(mut file: File, batch: &[Bytes]) -> io::Result<File> {
    batch.iter().try_for_each(|bytes| file.write_all(bytes))?;
    Ok(file)
}

/// What is not the assignment that was meant is of no use to anybody.
fn settle(
    folder: &Path,
    beside: &PathBuf,
    id: bellwether_wire::transfer::AssignmentId,
) -> io::Result<()> {
    let taken = take_in(folder, beside, id);
    if taken
        .as_ref()
        .is_err_and(|error| error.kind() != io::ErrorKind::StorageFull)
    {
        let _ = fs::remove_file(beside);
    }
    taken
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    let done = spawn_blocking(work).await;
    let done = done.unwrap_or_else(|_| Err(io::Error::other("the process ends")));
    done.map_err(|error| {
        let kind = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FailureKind::Space,
            io::ErrorKind::PermissionDenied => FailureKind::Permission,
            io::ErrorKind::InvalidData | io::ErrorKind::Other => FailureKind::Damaged,
            _ => FailureKind::Machine,
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
