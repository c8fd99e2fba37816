use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::agent::AgentCommand;
use crate::content::ContentCommand;
use crate::control::{
    Audit, EventsCommand, GroupCommand, JobCommand, Login, NodeCommand, Plan, Publish, Rollback,
    SegmentCommand, Server, SiteCommand, Status, TokenCommand,
};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::multicast::MulticastCommand;
use crate::output::Output;
use crate::{demo, help, sim};

/// Content distribution: from two trees to a signed assignment, applied beside the live tree and
/// switched atomically.
#[derive(Debug, Parser)]
#[command(
    name = "bellwether",
    version,
    disable_help_subcommand = true,
    arg_required_else_help = true,
    after_help = "Exit codes: `bellwether help exit-codes`."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) talk: Talk,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How to talk to whoever called.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct Talk {
    /// The form of results and errors.
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        default_value_t,
        help_heading = "Output"
    )]
    pub(crate) output: Format,
    /// Say nothing but results and errors.
    #[arg(short, long, global = true, help_heading = "Output")]
    pub(crate) quiet: bool,
    /// Say more.
    #[arg(
        short,
        long,
        global = true,
        conflicts_with = "quiet",
        help_heading = "Output"
    )]
    pub(crate) verbose: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// One object with a `format` number, which changes when the meaning of a field does.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Plan, inspect and apply content on this machine.
    #[command(subcommand)]
    Content(ContentCommand),
    /// Run the control server.
    Server(Server),
    /// Keep how to reach a control server, and as whom.
    Login(Login),
    /// Give, list and revoke tokens.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Define, list, show and forget sites.
    #[command(subcommand)]
    Site(SiteCommand),
    /// Define, list, show and forget groups of nodes.
    #[command(subcommand)]
    Group(GroupCommand),
    /// Tell what publishing a tree would change, and for whom.
    Plan(Plan),
    /// Publish a tree as the next version of a site.
    Publish(Publish),
    /// List and name segments.
    #[command(subcommand)]
    Segment(SegmentCommand),
    /// List, label, move and put out nodes.
    #[command(subcommand)]
    Node(NodeCommand),
    /// Show who is there, and who serves what.
    Status(Status),
    /// List, show and watch jobs, call them off, let them go live.
    #[command(subcommand)]
    Job(JobCommand),
    /// Bring a site back to what was live before.
    Rollback(Rollback),
    /// Show what happened, and what happens.
    Events(EventsCommand),
    /// Show who wanted what, and what came of it.
    Audit(Audit),
    /// Run this node's agent, or speak with the one that runs.
    #[command(subcommand)]
    Agent(AgentCommand),
    /// Send files to many machines of a network at once, and receive them.
    #[command(subcommand)]
    Multicast(MulticastCommand),
    /// Publish, update and roll back a sample site in a temporary directory.
    Demo(demo::Demo),
    /// Simulate segments of nodes, from a seed.
    Sim(sim::Sim),
    /// Explain a command, or `exit-codes`.
    Help(help::Help),
}

impl Command {
    pub(crate) fn run(self, output: &Output) -> Result<Exit, Failure> {
        match self {
            Self::Content(command) => command.run(output),
            Self::Server(server) => server.run(output),
            Self::Login(login) => login.run(output),
            Self::Token(command) => command.run(output),
            Self::Site(command) => command.run(output),
            Self::Group(command) => command.run(output),
            Self::Plan(plan) => plan.run(output),
            Self::Publish(publish) => publish.run(output),
            Self::Segment(command) => command.run(output),
            Self::Node(command) => command.run(output),
            Self::Status(status) => status.run(output),
            Self::Job(command) => command.run(output),
            Self::Rollback(rollback) => rollback.run(output),
            Self::Events(events) => events.run(output),
            Self::Audit(audit) => audit.run(output),
            Self::Agent(command) => command.run(output),
            Self::Multicast(command) => command.run(output),
            Self::Demo(demo) => demo.run(output),
            Self::Sim(sim) => sim.run(output),
            Self::Help(help) => help.run(output),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_of_all_commands_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn talk_may_be_asked_for_before_and_after_the_command() {
        for line in [
            ["bellwether", "-o", "json", "content", "scan", "x"],
            ["bellwether", "content", "scan", "x", "--output", "json"],
        ] {
            let cli = Cli::try_parse_from(line).unwrap();
            assert_eq!(cli.talk.output, Format::Json);
        }
    }
}
