//! The main job as its users have it: `publish` and `rollback` by the command line, a control server and enrolled agents
//! as processes on the hosts of a lab, each with its own network.
//!
//! When a job took its steps is read from the control server's events; when content became live is the kernel's word for
//! the rename, of which nobody in the program knows. Sixteen agents, a server and a reader share this machine's
//! processors: what they wait for each other is in the figures.

mod change;
mod corpus;
mod fleet;
mod large;
mod load;
mod needs;
mod switches;
mod trial;

use anyhow::Result;

use super::Bench;
use super::table::print_targets;

pub(super) fn run(bench: &Bench) -> Result<()> {
    let mut targets = Vec::new();
    for (name, case) in CASES {
        if bench.wants(name) {
            targets.extend(case(bench)?);
        }
    }
    print_targets(&targets);
    Ok(())
}

type Case = fn(&Bench) -> Result<Vec<super::table::Target>>;

const CASES: [(&str, Case); 8] = [
    ("change", change::run),
    ("fleet", fleet::run),
    ("large", large::run),
    ("variants", needs::variants),
    ("return", needs::catch_up),
    ("load", load::run),
    ("history", load::history),
    ("corpus", corpus::run),
];
