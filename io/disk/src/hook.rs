//! Commands of the node's own configuration, run before and after a switch: to warm a cache, to
//! reload a server, to say no.

use std::io::{PipeReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

/// The commands around a switch.
#[derive(Debug, Clone, Default)]
pub struct Hooks {
    /// Run first, in order; the first that fails calls the switch off.
    pub before: Vec<Hook>,
    /// Run after the switch, in order; a failure is reported and changes nothing. After a crash
    /// they are run again, because nobody knows how far they came.
    pub after: Vec<Hook>,
}

/// One command. It runs without a shell, and learns what happens from `BELLWETHER_SITE`,
/// `BELLWETHER_VERSION`, `BELLWETHER_PREVIOUS` (empty if nothing was live) and `BELLWETHER_ROOT`.
#[derive(Debug, Clone)]
pub struct Hook {
    /// Program and arguments.
    pub command: Vec<String>,
    /// How long it may run before it and all it started are killed.
    pub time_max: Duration,
}

/// How a hook ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookRun {
    /// Program and arguments.
    pub command: Vec<String>,
    /// How it ended.
    pub outcome: HookOutcome,
    /// What it printed on either output, at most the first 64 KiB.
    pub output: String,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HookOutcome {
    /// By itself: 0 is success.
    #[error("exited with {0}")]
    Exited(i32),
    /// By a signal from elsewhere.
    #[error("was ended by signal {0}")]
    Signalled(i32),
    /// By us, at its limit.
    #[error("was killed after {0:?}")]
    TimedOut(Duration),
    /// It never began.
    #[error("could not be run: {0}")]
    NotRun(String),
}

const OUTPUT_LEN_MAX: usize = 64 << 10;

impl Hook {
    /// Runs the command to its end or its limit.
    pub fn run(&self, environment: &[(&str, String)]) -> HookRun {
        let mut output = Vec::new();
        let outcome = self
            .supervise(environment, &mut output)
            .unwrap_or_else(|error| HookOutcome::NotRun(error.to_string()));
        HookRun {
            command: self.command.clone(),
            outcome,
            output: String::from_utf8_lossy(&output).into_owned(),
        }
    }

    fn supervise(
        &self,
        environment: &[(&str, String)],
        output: &mut Vec<u8>,
    ) -> std::io::Result<HookOutcome> {
        let [program, arguments @ ..] = &self.command[..] else {
            return Ok(HookOutcome::NotRun("the command is empty".into()));
        };
        let deadline = Instant::now() + self.time_max;
        let (mut reader, writer) = std::io::pipe()?;
        // A group of its own, so that what it starts can be killed with it. The command is
        // dropped at once: its copies of the pipe would keep the pipe open.
        let mut child = Command::new(program)
            .args(arguments)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .process_group(0)
            .spawn()?;
        let outcome = attend(&mut child, &mut reader, deadline, output);
        if !matches!(outcome, Ok(Some(_))) {
            // Out of time, or of means to watch: nothing of ours may run on.
            let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
            child.wait()?;
        }
        Ok(match outcome? {
            Some(status) => match status.signal() {
                Some(signal) => HookOutcome::Signalled(signal),
                None => HookOutcome::Exited(status.code().unwrap_or(-1)),
            },
            None => HookOutcome::TimedOut(self.time_max),
        })
    }
}

impl HookRun {
    /// Whether the command did what it should.
    pub fn succeeded(&self) -> bool {
        self.outcome == HookOutcome::Exited(0)
    }
}

/// Collects output until the child ends. `None` when the deadline came first.
fn attend(
    child: &mut Child,
    reader: &mut PipeReader,
    deadline: Instant,
    output: &mut Vec<u8>,
) -> std::io::Result<Option<ExitStatus>> {
    let ended = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let mut piece = [0; 4096];
    let mut open = true;
    loop {
        let rest = deadline.saturating_duration_since(Instant::now());
        let (printed, exited) = {
            let mut fds = [
                PollFd::new(&ended, PollFlags::IN),
                PollFd::new(&*reader, PollFlags::IN),
            ];
            // A closed pipe is always ready, so it is no longer asked.
            let asked = if open { 2 } else { 1 };
            poll(
                &mut fds[..asked],
                Some(&Timespec::try_from(rest).unwrap_or_default()),
            )?;
            (!fds[1].revents().is_empty(), !fds[0].revents().is_empty())
        };
        if printed {
            let len = reader.read(&mut piece)?;
            let room = OUTPUT_LEN_MAX - output.len();
            output.extend_from_slice(&piece[..len.min(room)]);
            open = len > 0;
        } else if exited {
            // Everything it printed has been read. What it left running may print to nobody.
            return child.wait().map(Some);
        }
        if rest.is_zero() {
            return Ok(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str, time_max: Duration) -> HookRun {
        let command = ["sh", "-c", script].map(String::from).to_vec();
        Hook { command, time_max }.run(&[("BELLWETHER_SITE", "shop".into())])
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn both_outputs_the_environment_and_the_exit_code_are_seen() {
        let ran = run("echo out $BELLWETHER_SITE; echo err >&2; exit 3", LONG);
        assert_eq!(ran.output, "out shop\nerr\n");
        assert_eq!(ran.outcome, HookOutcome::Exited(3));
        assert!(!ran.succeeded());
    }

    #[test]
    fn endless_output_is_read_and_cut() {
        let ran = run("head -c 10000000 /dev/zero", LONG);
        assert!(ran.succeeded());
        assert_eq!(ran.output.len(), OUTPUT_LEN_MAX);
    }

    #[test]
    fn at_its_limit_a_hook_is_killed_with_all_it_started() {
        // On a machine so busy that the inner shell had no time to say who it is, it gets more.
        let inner = (0..10).find_map(|doubled| {
            let limit = Duration::from_millis(300 << doubled);
            let ran = run("sh -c 'echo $$; exec sleep 1000' & wait", limit);
            assert_eq!(ran.outcome, HookOutcome::TimedOut(limit));
            ran.output.trim().parse::<u32>().ok()
        });
        let stat = format!("/proc/{}/stat", inner.unwrap());
        // Killed with its group, it dies in its own time: then it is gone, or waits as a zombie for
        // its new parent.
        let killed = Instant::now();
        while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            assert!(killed.elapsed() < LONG, "the inner shell lives on");
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_a_hook_leaves_running_is_not_waited_for() {
        let begun = Instant::now();
        assert!(run("sleep 20 & echo started", LONG).succeeded());
        assert!(begun.elapsed() < Duration::from_secs(15));
    }

    #[test]
    fn a_missing_program_is_named() {
        let hook = Hook {
            command: vec!["/no/such/program".into()],
            time_max: LONG,
        };
        assert!(matches!(hook.run(&[]).outcome, HookOutcome::NotRun(_)));
    }
}
