//! Content on one machine: from two trees to an assignment, and from an assignment to a live site.

mod commit;
mod fsck;
mod gc;
mod hooks;
mod inspect;
mod keygen;
mod pin;
mod plan;
mod recover;
mod rollback;
mod scan;
mod site;
mod stage;
mod status;
mod tree;
mod verify;

use clap::Subcommand;

pub(crate) use tree::TreeArgs;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;

#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one in a process")]
pub(crate) enum ContentCommand {
    Scan(scan::Scan),
    Plan(plan::Plan),
    Inspect(inspect::Inspect),
    Stage(stage::Stage),
    Commit(commit::Commit),
    Rollback(rollback::Rollback),
    Verify(verify::Verify),
    Status(status::Status),
    Recover(recover::Recover),
    Gc(gc::Gc),
    Fsck(fsck::Fsck),
    Pin(pin::Pin),
    Keygen(keygen::Keygen),
}

impl ContentCommand {
    pub(crate) fn run(self, output: &Output) -> Result<Exit, Failure> {
        match self {
            Self::Scan(command) => command.run(output),
            Self::Plan(command) => command.run(output),
            Self::Inspect(command) => command.run(output),
            Self::Stage(command) => command.run(output),
            Self::Commit(command) => command.run(output),
            Self::Rollback(command) => command.run(output),
            Self::Verify(command) => command.run(output),
            Self::Status(command) => command.run(output),
            Self::Recover(command) => command.run(output),
            Self::Gc(command) => command.run(output),
            Self::Fsck(command) => command.run(output),
            Self::Pin(command) => command.run(output),
            Self::Keygen(command) => command.run(output),
        }
    }
}
