use std::path::Path;
use std::time::Duration;

use bellwether_multicast::{Input, Settings};
use bellwether_net::now;
use bellwether_types::Time;
use bellwether_wire::transfer::AssignmentId;
use tokio::time::timeout;

use crate::alone::Heard;
use crate::carrier::{Carrier, Event};
use crate::group::{GroupSettings, TransferError};
use crate::shelf::Shelf;

/// Something that was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Its id, which the sender's log names as well.
    pub id: String,
    /// Files, below the place for what is received.
    pub files: usize,
    /// Bytes of all files.
    pub bytes: u64,
    /// From the announcement on.
    pub took: Duration,
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Receiving {
    /// It listens.
    Listening,
    /// Something comes: its name for people, and bytes.
    Began {
        /// What the sender calls it.
        name: String,
        /// Bytes of content.
        bytes: u64,
    },
    /// It is in its place.
    Received(Received),
    /// It did not come; why.
    Failed(String),
    /// For whoever looks after the network.
    Note(String),
}

/// How long one who has what it came for stays, for the sender to ask again.
const LINGER: Duration = Duration::from_secs(3);

/// Takes what senders of a group send, and puts it below `out`; until the first has come if `once`, for ever otherwise.
/// Whether something came.
pub async fn receive(
    group: GroupSettings,
    out: &Path,
    once: bool,
    tell: &mut dyn FnMut(Receiving),
) -> Result<bool, TransferError> {
    let reach = |action: &str| format!("{action} {}", out.display());
    std::fs::create_dir_all(out).map_err(TransferError::io(&reach("create")))?;
    let shelf = Shelf::parcels(out);
    let kept = shelf.kept().map_err(TransferError::io(&reach("read")))?;
    let mut alone = group.join(Settings::default(), Some(shelf.clone()))?;
    for (assignment, bytes) in kept {
        let content = shelf.open(assignment, 0);
        let content = content.map_err(TransferError::io(&reach("read")))?;
        alone.carrier.add(assignment, content);
        alone.carrier.give(Input::Kept { assignment, bytes });
    }
    tell(Receiving::Listening);
    let mut began: Option<Time> = None;
    let mut is_done = false;
    loop {
        let next = alone.next();
        let event = match is_done && once {
            false => next.await,
            true => match timeout(LINGER, next).await {
                Ok(event) => event,
                Err(_) => return Ok(true),
            },
        };
        let event = event.map_err(TransferError::io("use the network any longer"))?;
        let Heard::Event(event) = event else {
            continue;
        };
        match event {
            Event::Began(announcement) => {
                began.get_or_insert_with(now);
                tell(Receiving::Began {
                    name: announcement.name.clone(),
                    bytes: announcement.data_len,
                });
            }
            Event::Complete(assignment) => {
                let took = began
                    .take()
                    .map_or(Duration::ZERO, |began| now().since(began));
                match place(&alone.carrier, assignment, out, took) {
                    Ok(Some(received)) => tell(Receiving::Received(received)),
                    Ok(None) => continue,
                    // It stays in its spool, and the next start tries again.
                    Err(error) => {
                        let why = format!(
                            "all of it came, and cannot be put into {}: {error}",
                            out.display()
                        );
                        tell(Receiving::Failed(why));
                        if once {
                            return Ok(false);
                        }
                        continue;
                    }
                }
                is_done = true;
            }
            Event::Failed(_, why) => {
                tell(Receiving::Failed(why));
                if once {
                    return Ok(false);
                }
            }
            Event::Closed if is_done && once => return Ok(true),
            Event::Note(note) => tell(Receiving::Note(note)),
            _ => {}
        }
    }
}

fn place(
    carrier: &Carrier,
    assignment: AssignmentId,
    out: &Path,
    took: Duration,
) -> std::io::Result<Option<Received>> {
    let content = carrier.content(assignment);
    let parts = content.and_then(|content| Some((content.spool()?, content.parcel()?)));
    let Some((spool, parcel)) = parts else {
        return Ok(None);
    };
    spool.place(out, parcel)?;
    Ok(Some(Received {
        id: assignment.0.to_string(),
        files: parcel.files.len(),
        bytes: parcel.data_len(),
        took,
    }))
}
