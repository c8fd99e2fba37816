//! Programs start, speak, stop, and end with all that they started.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bellwether_lab::{Host, Lab, Program, in_lab, until};

const SOON: Duration = Duration::from_secs(20);

fn one_host(lab: &mut Lab) -> Result<Host> {
    let segment = lab.segment()?;
    lab.host("one", &[segment])
}

fn shell(host: &Host, script: &str) -> Result<Program> {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    host.start(command)
}

/// The one letter by which /proc tells what a process does; none if it is gone.
fn state(process: i32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

#[test]
fn a_program_runs_in_its_host_and_what_it_says_is_kept() {
    in_lab(|lab| {
        let host = one_host(lab)?;
        let mut program = shell(
            &host,
            "ip -4 -brief addr show eth0; echo trouble >&2; exit 7",
        )?;
        program
            .transcript()
            .await_line(0, &host.ipv4().to_string(), SOON)?;
        program.transcript().await_line(0, "trouble", SOON)?;
        ensure!(program.wait()?.code() == Some(7));
        ensure!(!program.is_running());
        let line = program.transcript().await_line(0, "never said", SOON);
        ensure!(line.is_err_and(|error| error.to_string().contains("one sh ended without saying")));
        Ok(())
    });
}

#[test]
fn a_program_that_is_not_there_is_named() {
    in_lab(|lab| {
        let failed = one_host(lab)?.start(Command::new("/no/such/program"));
        let error = format!("{:#}", failed.err().context("it started")?);
        ensure!(
            error.contains("/no/such/program") && error.contains("No such file"),
            "{error}"
        );
        Ok(())
    });
}

#[test]
fn a_kill_reaches_descendants_that_went_their_own_ways() {
    in_lab(|lab| {
        let host = one_host(lab)?;
        let mut program = shell(
            &host,
            "setsid sleep 1000 & (setsid sleep 1000 &) ; echo up; wait",
        )?;
        program.transcript().await_line(0, "up", SOON)?;
        let family =
            || descendants(program.id()).len() + usize::from(state(program.id()).is_some());
        until("both sleepers are there", SOON, || sleepers() == 2)?;
        ensure!(family() >= 2);
        let status = program.kill()?;
        ensure!(
            std::os::unix::process::ExitStatusExt::signal(&status) == Some(9),
            "{status}"
        );
        // Nothing of them is left when the call returns: one who was asleep does not wake up later and speak.
        ensure!(sleepers() == 0);
        Ok(())
    });
}

fn descendants(process: i32) -> Vec<i32> {
    let file = format!("/proc/{process}/task/{process}/children");
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect()
}

/// Of this test, among all processes of the machine.
fn sleepers() -> usize {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let command = |entry: std::fs::DirEntry| std::fs::read(entry.path().join("cmdline")).ok();
    processes
        .filter_map(command)
        .filter(|command| command == b"sleep\x001000\x00")
        .count()
}

#[test]
fn a_paused_program_goes_on_when_resumed() {
    in_lab(|lab| {
        let host = one_host(lab)?;
        // Without a child for each tick: who is stopped while it waits for one to begin is in no state of its own.
        let mut ticking = Command::new("bash");
        ticking.args([
            "-c",
            "exec 3< <(exec sleep 1000); while :; do echo tick; read -t 0.01 -u 3; done",
        ]);
        let mut program = host.start(ticking)?;
        program.transcript().await_line(0, "tick", SOON)?;
        program.pause()?;
        until("it has stopped", SOON, || state(program.id()) == Some('T'))?;
        ensure!(program.is_running());
        program.resume()?;
        program
            .transcript()
            .await_line(program.transcript().len(), "tick", SOON)?;
        program.terminate()?;
        ensure!(std::os::unix::process::ExitStatusExt::signal(&program.wait()?) == Some(15));
        ensure!(program.pause().is_err());
        Ok(())
    });
}

#[test]
fn what_a_program_costs_is_told() {
    in_lab(|lab| {
        let host = one_host(lab)?;
        let idle = shell(&host, "echo up; read forever < /dev/zero")?;
        until("a busy program has used processor time", SOON, || {
            idle.usage()
                .is_ok_and(|usage| usage.processor >= Duration::from_millis(50))
        })?;
        ensure!(idle.usage()?.resident_bytes > 0);
        Ok(())
    });
}
