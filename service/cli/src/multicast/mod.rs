//! Files to a whole group with one copy of the bytes on the wire, without any server.

mod receive;
mod send;

use std::net::SocketAddr;
use std::path::PathBuf;

use bellwether_net::InterfaceChoice;
use bellwether_transfer::{GroupSettings, TransferError};
use bellwether_types::Name;
use clap::{Args, Subcommand};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::keys;
use crate::output::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum MulticastCommand {
    Send(send::Send),
    Receive(receive::Receive),
}

impl MulticastCommand {
    pub(crate) fn run(self, output: &Output) -> Result<Exit, Failure> {
        match self {
            Self::Send(command) => command.run(output),
            Self::Receive(command) => command.run(output),
        }
    }
}

/// The group of those that take part.
#[derive(Debug, Args)]
struct Group {
    /// The multicast group and port; senders and receivers must name the same.
    #[arg(long, value_name = "ADDR:PORT")]
    group: SocketAddr,
    /// The interface that leads there, by name or address.
    #[arg(long)]
    interface: InterfaceChoice,
    /// The key that all of them have (`agent keygen` makes one).
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
    /// What this node is called; the host name unless given.
    #[arg(long)]
    name: Option<Name>,
    /// Hops that multicasts may travel.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    hops: u8,
}

impl Group {
    fn settings(self, role: &str) -> Result<GroupSettings, Failure> {
        let key = keys::read_segment(&self.key_file)?;
        let name = match self.name {
            Some(name) => name,
            None => {
                // A sender may well run where a receiver does.
                let host = rustix::system::uname()
                    .nodename()
                    .to_string_lossy()
                    .into_owned();
                let fault = |error| {
                    Failure::new(
                        Exit::Usage,
                        format!("the host name {host} is no name for a node: {error}"),
                    )
                    .hint("give --name")
                };
                match role {
                    "" => host.parse().map_err(fault)?,
                    role => format!("{host}-{role}").parse().map_err(fault)?,
                }
            }
        };
        Ok(GroupSettings {
            group: self.group,
            interface: self.interface,
            hops: self.hops.into(),
            key,
            name,
        })
    }
}

impl From<TransferError> for Failure {
    fn from(error: TransferError) -> Self {
        let (exit, hint) = match &error {
            TransferError::Network(_) | TransferError::Unfit(_) => (Exit::Usage, None),
            TransferError::Source(_) => (Exit::NotFound, None),
            TransferError::Nobody { .. } | TransferError::Missing { .. } => (
                Exit::TimedOut,
                Some(
                    "start `bellwether multicast receive` there with the same group and key; then look at firewalls and at the switch",
                ),
            ),
            TransferError::Io { source, .. } => (Exit::of_io(source), None),
        };
        let failure = Self::new(exit, error);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

/// One thread does everything but what takes long.
fn block_on<T>(future: impl Future<Output = Result<T, TransferError>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| Failure::new(Exit::of_io(&error), error))?;
    let result = runtime.block_on(future);
    // What is still being worked on is for a transfer that has ended.
    runtime.shutdown_background();
    Ok(result?)
}
