use std::fmt;
use std::path::PathBuf;

use bellwether_transfer::{self as transfer, Received, Receiving};
use bellwether_types::ByteSize;
use clap::Args;
use serde::Serialize;

use super::{Group, block_on};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, Report};

/// Receive what is sent to a group, and put it into a directory when all of it is proved.
///
/// Receivers may start late and be killed at any time: they go on where they were.
#[derive(Debug, Args)]
pub(crate) struct Receive {
    #[command(flatten)]
    group: Group,
    /// The directory for what is received.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// End when the first transfer has come.
    #[arg(long)]
    once: bool,
}

impl Receive {
    pub(crate) fn run(self, output: &Output) -> Result<Exit, Failure> {
        let group = self.group.settings("")?;
        let mut unreported = None;
        let mut tell = |receiving| match receiving {
            Receiving::Listening => output.say("listening"),
            Receiving::Began { name, bytes } => {
                // The name is the sender's; the terminal is ours.
                output.say(format_args!(
                    "receiving {}, {}",
                    name.escape_debug(),
                    ByteSize(bytes)
                ));
            }
            Receiving::Received(received) => {
                if let Err(failure) = output.report(&Arrived(received)) {
                    unreported.get_or_insert(failure);
                }
            }
            Receiving::Failed(why) => output.say(format_args!("not received: {why}")),
            Receiving::Note(note) => output.detail(note),
        };
        let came = block_on(transfer::receive(group, &self.out, self.once, &mut tell))?;
        match (unreported, came) {
            (Some(failure), _) => Err(failure),
            (None, true) => Ok(Exit::Done),
            (None, false) => Ok(Exit::Failed),
        }
    }
}

struct Arrived(Received);

#[derive(Serialize)]
struct Fields<'a> {
    id: &'a str,
    files: usize,
    bytes: u64,
    seconds: f64,
}

impl Serialize for Arrived {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = Fields {
            id: &self.0.id,
            files: self.0.files,
            bytes: self.0.bytes,
            seconds: self.0.took.as_secs_f64(),
        };
        fields.serialize(serializer)
    }
}

impl Report for Arrived {
    const KIND: &'static str = "multicast.received";
}

impl fmt::Display for Arrived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Received {
            files, bytes, took, ..
        } = &self.0;
        write!(
            f,
            "received {files} files, {}, in {:.2} s",
            ByteSize(*bytes),
            took.as_secs_f64()
        )
    }
}
