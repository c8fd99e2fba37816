use std::time::Duration;

use bellwether_disk::{Hook, HookRun, Hooks};
use clap::Args;
use serde::Serialize;

use crate::output::Output;

/// What this node runs around a switch.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Hooks")]
pub(crate) struct HookArgs {
    /// Run this shell command first; if it fails, nothing is switched. Can be given several times.
    #[arg(long, value_name = "COMMAND")]
    before: Vec<String>,
    /// Run this shell command after the switch. Can be given several times.
    #[arg(long, value_name = "COMMAND")]
    after: Vec<String>,
    /// How long one command may run.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    hook_time_max: u64,
}

/// How a hook ended, in a report.
#[derive(Debug, Serialize)]
pub(crate) struct HookReport {
    command: String,
    outcome: String,
    succeeded: bool,
    output: String,
}

impl HookArgs {
    pub(crate) fn hooks(&self) -> Hooks {
        let hook = |command: &String| Hook {
            command: vec!["/bin/sh".into(), "-c".into(), command.clone()],
            time_max: Duration::from_secs(self.hook_time_max),
        };
        Hooks {
            before: self.before.iter().map(hook).collect(),
            after: self.after.iter().map(hook).collect(),
        }
    }
}

/// Tells of hooks that ran after a switch; failed ones are said aloud.
pub(crate) fn tell(runs: &[HookRun], output: &Output) -> Vec<HookReport> {
    let report = |run: &HookRun| {
        let command = run.command.last().cloned().unwrap_or_default();
        if !run.succeeded() {
            output.say(format_args!(
                "warning: the hook `{command}` {}; the switch stands: {}",
                run.outcome,
                run.output.trim_end()
            ));
        }
        HookReport {
            command,
            outcome: run.outcome.to_string(),
            succeeded: run.succeeded(),
            output: run.output.clone(),
        }
    };
    runs.iter().map(report).collect()
}
