use std::io;
use std::path::Path;
use std::time::Duration;

use bellwether_multicast::{Input, Settings};
use bellwether_net::now;
use bellwether_types::Time;
use bellwether_wire::transfer::AssignmentId;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::alone::Heard;
use crate::carrier::Event;
use crate::content::Content;
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
    let (mut is_done, mut is_closed) = (false, false);
    // Files go to their places on threads: the sender's questions must not wait for that.
    let mut placing: JoinSet<io::Result<Option<Received>>> = JoinSet::new();
    loop {
        let is_last = is_done && once && placing.is_empty();
        if is_last && is_closed {
            return Ok(true);
        }
        let heard = tokio::select! {
            heard = alone.next() => heard.map_err(TransferError::io("use the network any longer"))?,
            Some(placed) = placing.join_next() => {
                match placed.unwrap_or_else(|error| Err(io::Error::other(error))) {
                    Ok(Some(received)) => {
                        tell(Receiving::Received(received));
                        is_done = true;
                    }
                    Ok(None) => {}
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
                    }
                }
                continue;
            }
            () = sleep(LINGER), if is_last => return Ok(true),
        };
        let Heard::Event(event) = heard else {
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
                if let Some(content) = alone.carrier.content(assignment).cloned() {
                    let out = out.to_owned();
                    placing.spawn_blocking(move || place(&content, assignment, &out, took));
                }
            }
            Event::Failed(_, why) => {
                tell(Receiving::Failed(why));
                if once {
                    return Ok(false);
                }
            }
            Event::Closed => is_closed = true,
            Event::Note(note) => tell(Receiving::Note(note)),
            _ => {}
        }
    }
}

fn place(
    content: &Content,
    assignment: AssignmentId,
    out: &Path,
    took: Duration,
) -> io::Result<Option<Received>> {
    let Some((spool, parcel)) = content.spool().zip(content.parcel()) else {
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
