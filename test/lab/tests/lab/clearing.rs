//! Whatever happens to a test, nothing of its lab is left; and a failed test tells what its programs said.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bellwether_lab::{Lab, in_lab, until};

const SOON: Duration = Duration::from_secs(20);

fn is_there(process: &i32) -> bool {
    std::path::Path::new(&format!("/proc/{process}")).exists()
}

/// A lab with a program in it; all of their processes.
fn busy(lab: &mut Lab) -> Result<Vec<i32>> {
    let segment = lab.segment()?;
    let hosts = lab.hosts(2, segment)?;
    let mut command = Command::new("sh");
    command.args(["-c", "echo here I am; sleep 1000"]);
    let program = hosts[1].start(command)?;
    program.transcript().await_line(0, "here I am", SOON)?;
    let mut processes = lab.holders();
    processes.push(program.id());
    // As a test that holds it on when it fails.
    std::mem::forget(program);
    Ok(processes)
}

#[test]
fn nothing_is_left_after_a_panic() {
    let mut processes = Vec::new();
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        in_lab(|lab| {
            processes = busy(lab)?;
            ensure!(processes.iter().all(is_there));
            panic!("as any test may");
        });
    }));
    if processes.is_empty() {
        return assert!(outcome.is_ok(), "skipped, or it panicked as asked");
    }
    assert!(outcome.is_err());
    until("all processes are gone", SOON, || {
        !processes.iter().any(is_there)
    })
    .expect("they go");
}

/// A test in a process of its own, with what it prints.
fn victim(name: &str, settings: &[(&str, &str)]) -> Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--ignored", "--exact", "--nocapture", name]);
    command
        .env_remove("BELLWETHER_LAB")
        .envs(settings.iter().copied());
    Ok(command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?)
}

#[test]
fn nothing_is_left_when_the_test_is_killed() {
    let check = || -> Result<()> {
        let mut victim = victim("clearing::victim_that_hangs", &[])?;
        let output = BufReader::new(victim.stdout.take().context("it is piped")?);
        let processes = output
            .lines()
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("processes: ").map(str::to_owned));
        victim.kill()?;
        victim.wait()?;
        let Some(processes) = processes else {
            eprintln!("skipped: there is no lab here");
            return Ok(());
        };
        let processes: Vec<i32> = processes
            .split(' ')
            .filter_map(|id| id.parse().ok())
            .collect();
        ensure!(processes.len() == 4, "{processes:?}");
        until("all processes are gone", SOON, || {
            !processes.iter().any(is_there)
        })?;
        // And the next lab stands at once, with nothing of the last one's files.
        in_lab(|lab| {
            ensure!(std::fs::read_dir(lab.folder())?.count() == 0);
            busy(lab).map(drop)
        });
        Ok(())
    };
    check().expect("the kernel clears away");
}

#[test]
#[ignore = "the other tests run it to kill it"]
fn victim_that_hangs() {
    in_lab(|lab| {
        let words: Vec<_> = busy(lab)?.iter().map(i32::to_string).collect();
        std::fs::write(lab.folder().join("file"), "of a test that was killed")?;
        println!("processes: {}", words.join(" "));
        // Until it is killed, or whoever started it is gone.
        std::io::stdin().read_to_string(&mut String::new())?;
        Ok(())
    });
}

#[test]
fn a_failed_test_shows_what_its_programs_said() {
    let check = || -> Result<()> {
        let output = victim("clearing::victim_that_fails", &[])?.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stderr);
        if text.contains("skipped: ") {
            eprintln!("skipped: there is no lab here");
            return Ok(());
        }
        ensure!(!output.status.success());
        ensure!(
            text.contains("--- h2 sh\n") && text.contains("  here I am\n"),
            "{text}"
        );
        ensure!(
            text.contains("the leader was not who it should be"),
            "{text}"
        );
        Ok(())
    };
    check().expect("the report is whole");
}

#[test]
#[ignore = "the other tests run it to see it fail"]
fn victim_that_fails() {
    in_lab(|lab| {
        busy(lab)?;
        anyhow::bail!("the leader was not who it should be")
    });
}

#[test]
fn without_tools_a_test_is_skipped_or_fails_as_the_setting_says() {
    let check = || -> Result<()> {
        let path = ("PATH", "/nowhere");
        let skipped = victim("clearing::victim_that_fails", &[path])?.wait_with_output()?;
        let text = String::from_utf8_lossy(&skipped.stderr);
        ensure!(
            skipped.status.success() && text.contains("skipped: no network lab"),
            "{text}"
        );
        let settings = [path, ("BELLWETHER_LAB", "required")];
        let failed = victim("clearing::victim_that_fails", &settings)?.wait_with_output()?;
        let text = String::from_utf8_lossy(&failed.stderr);
        ensure!(
            !failed.status.success() && text.contains("BELLWETHER_LAB=required"),
            "{text}"
        );
        Ok(())
    };
    check().expect("it says so");
}
