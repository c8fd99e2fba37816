//! A program that runs in a host, with everything it starts.
//!
//! Each runs in a process namespace of its own, so that one signal ends it and all its descendants at once, wherever
//! they went, and so that nothing survives the lab. Three processes make that: a *keeper*, our child, forked but never
//! replaced, which waits for the program, and ends everything when the program ends, when the lifeline does, or when
//! time is up; the *first process* of the namespace, which does nothing but end with it; and the program.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, kill_process, kill_process_group, pidfd_open, waitpid,
};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::namespace::{Lifeline, Namespace, close_all_but, wait_for_either, wait_for_end};
use crate::transcript::Transcript;

/// A program that runs longer is killed: a test that hangs must not hold the machine for ever.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// A running program. Dropped, it is killed.
#[derive(Debug)]
pub struct Program {
    keeper: Child,
    first: Pid,
    main: Pid,
    transcript: Arc<Transcript>,
}

impl Program {
    pub(crate) fn start(
        mut command: Command,
        title: String,
        namespace: Arc<Namespace>,
        lifeline: Arc<Lifeline>,
    ) -> Result<Self> {
        let shown = format!("{title}: {}", command.get_program().to_string_lossy());
        let (output, input) = io::pipe()?;
        let (mut told, tell) = io::pipe()?;
        command
            .stdin(Stdio::null())
            .stdout(input.try_clone()?)
            .stderr(input);
        // SAFETY: the closure only makes system calls, and forks in a process that has one thread.
        unsafe { command.pre_exec(move || divide(&namespace, &lifeline, tell.as_fd())) };
        let keeper = command
            .spawn()
            .with_context(|| format!("cannot start {shown}"))?;
        // With it go our ends of the pipes.
        drop(command);
        let mut pids = [0; 8];
        told.read_exact(&mut pids)?;
        let pid = |bytes: &[u8]| Pid::from_raw(i32::from_ne_bytes(bytes.try_into().ok()?));
        let (Some(first), Some(main)) = (pid(&pids[..4]), pid(&pids[4..])) else {
            bail!("{shown} has no process id");
        };
        let transcript = Arc::new(Transcript::new(title));
        let keep = Arc::clone(&transcript);
        std::thread::spawn(move || keep.fill(output));
        Ok(Self {
            keeper,
            first,
            main,
            transcript,
        })
    }

    /// The program's process id, as this process sees it.
    pub fn id(&self) -> i32 {
        self.main.as_raw_nonzero().get()
    }

    /// Ends the program and all that it started, at once and without a word (SIGKILL).
    pub fn kill(&mut self) -> Result<ExitStatus> {
        if self.keeper.try_wait()?.is_none() {
            // The kernel kills the whole namespace with its first process, before any of the others can react.
            let _ = kill_process(self.first, Signal::KILL);
        }
        self.wait()
    }

    /// Asks the program to end (SIGTERM).
    pub fn terminate(&mut self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// Stops the program in its tracks (SIGSTOP), and whatever runs in its process group.
    pub fn pause(&mut self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets a paused program go on (SIGCONT).
    pub fn resume(&mut self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        if let Some(status) = self.keeper.try_wait()? {
            bail!("{} has ended ({status})", self.transcript.title());
        }
        Ok(kill_process_group(self.main, signal)?)
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.keeper.try_wait(), Ok(None))
    }

    /// Waits for the program to end by itself.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        Ok(self.keeper.wait()?)
    }

    /// What the program prints, standard output and errors together.
    pub fn transcript(&self) -> &Arc<Transcript> {
        &self.transcript
    }

    /// What the program has cost until now, without children it did not wait for.
    pub fn usage(&self) -> Result<Usage> {
        let read = |file| std::fs::read_to_string(format!("/proc/{}/{file}", self.id()));
        Usage::parse(&read("stat")?, &read("status")?)
            .context("/proc has another form than expected")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// What a program cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// User and system time, in steps of the kernel's tick (10 ms as a rule).
    pub processor: Duration,
    /// Resident memory now, shared pages included.
    pub resident_bytes: u64,
}

impl Usage {
    fn parse(stat: &str, status: &str) -> Option<Self> {
        // The name of the program stands in parentheses and may hold anything; own and awaited children's times are
        // the 14th to 17th field.
        let (_, fields) = stat.rsplit_once(')')?;
        let mut times = fields.split_whitespace().skip(11);
        let mut ticks = 0u64;
        for _ in 0..4 {
            ticks += times.next()?.parse::<u64>().ok()?;
        }
        let kilobytes: u64 = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?
            .trim()
            .strip_suffix("kB")?
            .trim()
            .parse()
            .ok()?;
        let second = rustix::param::clock_ticks_per_second();
        Some(Self {
            processor: Duration::from_secs_f64(ticks as f64 / second as f64),
            resident_bytes: kilobytes * 1024,
        })
    }
}

/// In the forked process: becomes keeper, and returns only in the process that is to be the program.
fn divide(namespace: &Namespace, lifeline: &Lifeline, tell: BorrowedFd<'_>) -> io::Result<()> {
    namespace.enter()?;
    // SAFETY: file descriptors stay shared as they are.
    unsafe { unshare_unsafe(UnshareFlags::NEWPID)? };
    let first = fork()?;
    let Some(first) = first else {
        // Children whose parents have ended become ours: the kernel is to clear them away.
        // SAFETY: no handler is installed.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
        close_all_but(lifeline.end());
        wait_for_end(lifeline.end());
        end(0)
    };
    let main = match fork() {
        Ok(Some(main)) => main,
        Ok(None) => {
            rustix::process::setpgid(None, None)?;
            return Ok(());
        }
        Err(error) => {
            let _ = kill_process(first, Signal::KILL);
            return Err(error);
        }
    };
    let mut pids = [0; 8];
    pids[..4].copy_from_slice(&first.as_raw_nonzero().get().to_ne_bytes());
    pids[4..].copy_from_slice(&main.as_raw_nonzero().get().to_ne_bytes());
    let _ = rustix::io::write(tell, &pids);
    close_all_but(lifeline.end());
    keep(first, main, lifeline)
}

fn keep(first: Pid, main: Pid, lifeline: &Lifeline) -> ! {
    if let Ok(program) = pidfd_open(main, PidfdFlags::empty()) {
        wait_for_either(program.as_fd(), lifeline.end(), LIMIT);
    }
    let _ = kill_process(first, Signal::KILL);
    let status = waitpid(Some(main), WaitOptions::empty());
    let _ = waitpid(Some(first), WaitOptions::empty());
    let Ok(Some((_, status))) = status else {
        end(libc::EXIT_FAILURE)
    };
    if let Some(signal) = status.terminating_signal() {
        // Ends as the program did, so that whoever waits for us learns it; one core file is enough.
        // SAFETY: plain system calls with values of this frame.
        unsafe {
            let none = libc::rlimit {
                rlim_cur: 0,
                rlim_max: 0,
            };
            libc::setrlimit(libc::RLIMIT_CORE, &none);
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
        }
    }
    end(status.exit_status().unwrap_or(libc::EXIT_FAILURE))
}

/// The child's id in the parent, nothing in the child.
fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: called in a process with one thread.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        child => Ok(Pid::from_raw(child)),
    }
}

fn end(code: i32) -> ! {
    // SAFETY: ends this process without touching anything of the parent's.
    unsafe { libc::_exit(code) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_read_past_a_name_with_parentheses() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 9 0 0 0 100 20 3 4 20 0 1 0 5 6 7";
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        assert_eq!(
            Usage::parse(stat, "VmHWM:\t9 kB\nVmRSS:\t  12 kB\n"),
            Some(Usage {
                processor: Duration::from_secs_f64(127.0 / ticks),
                resident_bytes: 12 * 1024,
            })
        );
        assert_eq!(Usage::parse("7 (a) S 1", "VmRSS: 1 kB"), None);
    }
}
