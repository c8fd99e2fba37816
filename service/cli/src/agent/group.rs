use std::net::SocketAddr;

use bellwether_agent::{GroupRequest, Request};
use clap::Args;

use super::Running;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;

/// Let the leader say who belongs to a content group, and which data channel it has.
#[derive(Debug, Args)]
pub(crate) struct GroupCommand {
    #[command(flatten)]
    agent: Running,
    /// The group.
    group: String,
    /// The multicast address and port of its data channel.
    #[arg(long)]
    channel: SocketAddr,
    /// Its members in the segment, by name.
    #[arg(long, value_delimiter = ',')]
    members: Vec<String>,
}

impl GroupCommand {
    pub(crate) fn run(self, output: &Output) -> Result<Exit, Failure> {
        let request = GroupRequest {
            group: self.group,
            channel: self.channel,
            members: self.members,
        };
        self.agent.order(Request::Group(request), output)
    }
}
