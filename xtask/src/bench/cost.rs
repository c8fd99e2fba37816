//! What a process cost, told by the kernel when it ends.

use std::io;
use std::ops::Add;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Processor time counts children the process waited for; anonymous memory is that of the process alone.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Cost {
    pub(super) cpu_s: f64,
    pub(super) wall_s: f64,
    /// The most seen; 0 when nobody looked.
    pub(super) anon_bytes_max: u64,
}

impl Add for Cost {
    type Output = Self;

    fn add(self, next: Self) -> Self {
        Self {
            cpu_s: self.cpu_s + next.cpu_s,
            wall_s: self.wall_s + next.wall_s,
            anon_bytes_max: self.anon_bytes_max.max(next.anon_bytes_max),
        }
    }
}

/// Runs the command to its end, its output thrown away.
pub(super) fn of(command: &mut Command) -> Result<Cost> {
    measure(command.stdout(Stdio::null()), None)
}

/// The same, with a look at its memory every 2 ms: a peak shorter than that may be missed.
pub(super) fn of_memory(command: &mut Command) -> Result<Cost> {
    measure(
        command.stdout(Stdio::null()),
        Some(Duration::from_millis(2)),
    )
}

fn measure(command: &mut Command, look: Option<Duration>) -> Result<Cost> {
    let began = Instant::now();
    let child = command
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))?;
    let status_file = format!("/proc/{}/status", child.id());
    let mut anon_bytes_max = 0;
    let (status, cpu_s) = loop {
        if look.is_some() {
            let status = std::fs::read_to_string(&status_file).unwrap_or_default();
            anon_bytes_max = anon_bytes(&status).unwrap_or(0).max(anon_bytes_max);
        }
        if let Some(end) = wait(child.id(), look.is_none())? {
            break end;
        }
        std::thread::sleep(look.unwrap_or_default());
    };
    let wall_s = began.elapsed().as_secs_f64();
    if status != 0 {
        bail!("{command:?} failed (wait status {status:#x})");
    }
    Ok(Cost {
        cpu_s,
        wall_s,
        anon_bytes_max,
    })
}

/// Wait status and processor time of the child; none if it still runs and we are not to block.
fn wait(pid: u32, block: bool) -> io::Result<Option<(i32, f64)>> {
    let pid = pid.cast_signed();
    let options = if block { 0 } else { libc::WNOHANG };
    loop {
        let mut status = 0;
        let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: both pointers are to values of ours that live through the call, and all-zero is a valid rusage.
        let (ended, usage) = unsafe {
            (
                libc::wait4(pid, &mut status, options, usage.as_mut_ptr()),
                usage.assume_init(),
            )
        };
        let error = io::Error::last_os_error();
        match ended {
            0 => return Ok(None),
            -1 if error.kind() == io::ErrorKind::Interrupted => {}
            -1 => return Err(error),
            _ => {
                return Ok(Some((
                    status,
                    seconds(usage.ru_utime) + seconds(usage.ru_stime),
                )));
            }
        }
    }
}

fn seconds(time: libc::timeval) -> f64 {
    time.tv_sec as f64 + time.tv_usec as f64 / 1e6
}

fn anon_bytes(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::command;

    #[test]
    fn processor_time_of_grandchildren_counts() {
        let work = "i=0; while [ $i -lt 200000 ]; do i=$((i + 1)); done";
        let alone = of(&mut command(["sh", "-c", work])).expect("sh runs");
        let below = of(&mut command([
            "sh",
            "-c",
            &format!("(sh -c '{work}'); true"),
        ]))
        .expect("sh runs");
        assert!(
            below.cpu_s > alone.cpu_s / 2.0 && below.cpu_s > 0.01,
            "{below:?} against {alone:?}"
        );
    }

    #[test]
    fn a_failing_command_has_no_cost() {
        assert!(of(&mut command(["false"])).is_err());
    }

    #[test]
    fn memory_is_that_of_anonymous_pages() {
        assert_eq!(
            anon_bytes("VmRSS:\t 9 kB\nRssAnon:\t   12 kB\nRssFile:\t 3 kB\n"),
            Some(12 * 1024)
        );
        let cost = of_memory(&mut command(["sleep", "0.05"])).expect("sleep runs");
        assert!(cost.anon_bytes_max > 0);
    }
}
