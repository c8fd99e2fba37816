//! Files to a whole segment by `bellwether multicast`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bellwether_lab::{Fault, Host, Lab, Loss, Program, Shape, Traffic, in_lab};
use serde_json::Value;

use crate::agents::bellwether;

/// Bits a second of every link: what is sent takes a while then, and faults find it under way.
const RATE: u64 = 100_000_000;
const PATIENCE: Duration = Duration::from_secs(240);

/// A sender and its receivers.
struct Group<'l> {
    lab: &'l mut Lab,
    folder: PathBuf,
    sender: Host,
    receivers: Vec<Host>,
    programs: Vec<Program>,
}

impl<'l> Group<'l> {
    fn new(lab: &'l mut Lab, count: usize) -> Result<Self> {
        let segment = lab.segment()?;
        let mut receivers = lab.hosts(count + 1, segment)?;
        for host in &receivers {
            lab.shape(host, Shape::rate(RATE))?;
        }
        let sender = receivers.pop().context("one more was asked for")?;
        let folder = lab.folder().to_owned();
        let key = folder.join("key");
        let made = bellwether().args(["agent", "keygen"]).arg(&key).output()?;
        ensure!(made.status.success(), "{made:?}");
        let mut group = Self {
            lab,
            folder,
            sender,
            receivers,
            programs: Vec::new(),
        };
        for number in 0..count {
            let program = group.receive(number)?;
            group.programs.push(program);
        }
        Ok(group)
    }

    fn receive(&self, number: usize) -> Result<Program> {
        let mut command = self.command("receive", &format!("r{number}"), "key");
        command.arg("--once").arg("--out").arg(self.out(number));
        self.receivers[number].start(command)
    }

    fn send(&self, files: &[&Path], options: &[&str]) -> Result<Program> {
        let mut command = self.command("send", "sender", "key");
        // Headers apart, as much as the links take.
        command.args(["--rate", "95M", "--output", "json"]);
        command.args(files).args(options);
        self.sender.start(command)
    }

    fn command(&self, role: &str, name: &str, key: &str) -> Command {
        let mut command = bellwether();
        command.args([
            "multicast",
            role,
            "--group",
            "239.66.7.7:7707",
            "--interface",
            "eth0",
        ]);
        command
            .args(["--name", name, "--key-file"])
            .arg(self.folder.join(key));
        command
    }

    fn out(&self, number: usize) -> PathBuf {
        self.folder.join(format!("out{number}"))
    }

    /// Repeatable content that does not compress, in one file of this name.
    fn file(&self, name: &str, len: usize) -> Result<PathBuf> {
        let path = self.folder.join(name);
        let mut state = len as u64;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 56) as u8
        };
        fs::write(&path, (0..len).map(|_| next()).collect::<Vec<u8>>())?;
        Ok(path)
    }

    /// Every receiver has exactly this file, and nothing else lies about.
    fn arrived(&mut self, file: &Path) -> Result<()> {
        let expected = fs::read(file)?;
        let name = file.file_name().context("it has a name")?;
        for (number, program) in self.programs.iter_mut().enumerate() {
            let status = program.wait()?;
            ensure!(status.success(), "receiver {number}: {status}");
            let out = self.folder.join(format!("out{number}"));
            ensure!(
                fs::read(out.join(name))? == expected,
                "receiver {number} has something else"
            );
            let spools = fs::read_dir(out.join(".bellwether"))?.count();
            ensure!(spools == 0, "receiver {number} has a spool left");
        }
        Ok(())
    }
}

/// What the sender said at its end.
fn report(sender: &mut Program) -> Result<Value> {
    let status = sender.wait()?;
    let line = sender
        .transcript()
        .await_line(0, "multicast.sent", PATIENCE)?;
    let report: Value = serde_json::from_str(&line.text)?;
    ensure!(status.success(), "{status}: {report}");
    Ok(report)
}

fn sends(count: usize, len: usize, loss_permille: u16) {
    in_lab(|lab| {
        let mut group = Group::new(lab, count)?;
        if loss_permille > 0 {
            let fault = Fault::new(Loss::PerMille(loss_permille));
            group.lab.set_faults(&[fault])?;
        }
        let file = group.file("content", len)?;
        let expected = count.to_string();
        let mut sender = group.send(&[&file], &["--expect", &expected])?;
        let report = report(&mut sender)?;
        ensure!(
            report["receivers"].as_array().map(Vec::len) == Some(count),
            "{report}"
        );
        group.arrived(&file)
    });
}

/// MCTP-01, MCTP-19.
#[test]
fn a_file_comes_to_every_receiver_as_it_is() {
    sends(4, 8 << 20, 0);
}

/// MCTP-10, MCTP-12.
#[test]
fn a_file_comes_to_every_receiver_at_ten_per_cent_loss() {
    sends(4, 4 << 20, 100);
}

/// CRYPT-05: who has another key neither takes part nor disturbs.
#[test]
fn a_directory_comes_as_it_is_and_who_has_another_key_gets_nothing() {
    in_lab(|lab| {
        let mut group = Group::new(lab, 3)?;
        let stranger = group.programs.pop().context("the third")?;
        drop(stranger);
        let other = group.folder.join("other");
        let made = bellwether()
            .args(["agent", "keygen"])
            .arg(&other)
            .output()?;
        ensure!(made.status.success(), "{made:?}");
        let mut command = group.command("receive", "stranger", "other");
        let outside = group.folder.join("outside");
        command.arg("--out").arg(&outside);
        let mut stranger = group.receivers[2].start(command)?;
        let tree = group.folder.join("tree");
        fs::create_dir_all(tree.join("sub/deep"))?;
        for number in 0..300 {
            fs::write(
                tree.join(format!("sub/deep/{number}")),
                vec![number as u8; number * 7],
            )?;
        }
        let mut sender = group.send(&[&tree], &["--members", "r0,r1", "--encrypt"])?;
        report(&mut sender)?;
        for (number, program) in group.programs.iter_mut().enumerate() {
            ensure!(program.wait()?.success());
            for file in 0..300 {
                let path = group
                    .folder
                    .join(format!("out{number}/tree/sub/deep/{file}"));
                ensure!(fs::read(path)? == vec![file as u8; file * 7]);
            }
        }
        stranger.kill()?;
        ensure!(!outside.join("tree").exists());
        Ok(())
    });
}

/// MCTP-22: killed in the middle and started again, it goes on where it was.
#[test]
fn a_receiver_killed_in_the_middle_goes_on_where_it_was() {
    in_lab(|lab| {
        let mut group = Group::new(lab, 3)?;
        let file = group.file("content", 24 << 20)?;
        let before = group.sender.counters()?.sent_bytes;
        let mut sender = group.send(&[&file], &["--expect", "3"])?;
        bellwether_lab::until("a third of it came", PATIENCE, || {
            let sent = group
                .sender
                .counters()
                .map_or(0, |counters| counters.sent_bytes);
            sent - before > 8 << 20
        })?;
        group.programs[1].kill()?;
        group.programs[1] = group.receive(1)?;
        report(&mut sender)?;
        group.arrived(&file)
    });
}

/// Where multicast does not come through to one, it gets everything by unicast, and the others do not wait for it.
#[test]
fn a_receiver_that_multicast_does_not_reach_gets_it_by_unicast() {
    in_lab(|lab| {
        let mut group = Group::new(lab, 3)?;
        let file = group.file("content", 4 << 20)?;
        let mut sender = group.send(&[&file], &["--expect", "3"])?;
        bellwether_lab::until("it has begun", PATIENCE, || {
            sender
                .transcript()
                .since(0)
                .iter()
                .any(|line| line.text.contains("receivers"))
                || group
                    .sender
                    .counters()
                    .is_ok_and(|counters| counters.sent_bytes > 200_000)
        })?;
        let deaf = group.receivers[2].clone();
        let fault = Fault::new(Loss::All).of(Traffic::Multicast).to(&[&deaf]);
        group.lab.set_faults(&[fault])?;
        report(&mut sender)?;
        group.arrived(&file)
    });
}

#[test]
fn a_sender_without_receivers_says_so() {
    in_lab(|lab| {
        let group = Group::new(lab, 0)?;
        let file = group.file("content", 1_000)?;
        let mut sender = group.send(&[&file], &["--patience", "0.2"])?;
        let status = sender.wait()?;
        let said = sender.transcript().since(0);
        ensure!(status.code() == Some(7), "{status}: {said:?}");
        ensure!(
            said.iter()
                .any(|line| line.text.contains("nobody on 239.66.7.7:7707"))
        );
        Ok(())
    });
}

/// Without elections nobody is told to wait: each sender leads its own transfer.
#[test]
fn two_may_send_at_once() {
    in_lab(|lab| {
        let group = Group::new(lab, 0)?;
        let segment = group.lab.segment()?;
        let hosts = group.lab.hosts(3, segment)?;
        let [one, other, both] = hosts
            .try_into()
            .map_err(|_| anyhow::anyhow!("three hosts"))?;
        let mut command = group.command("receive", "r0", "key");
        command.arg("--out").arg(group.out(0));
        let _receiver = both.start(command)?;
        let files = [group.file("one", 3 << 20)?, group.file("other", 3 << 20)?];
        let mut senders = Vec::new();
        for (host, (file, name)) in [one, other].iter().zip(files.iter().zip(["s1", "s2"])) {
            let mut command = group.command("send", name, "key");
            command.args(["--rate", "20M", "--members", "r0", "--output", "json"]);
            senders.push(host.start({
                command.arg(file);
                command
            })?);
        }
        for sender in &mut senders {
            report(sender)?;
        }
        for file in &files {
            let name = file.file_name().context("it has a name")?;
            bellwether_lab::until("it is in its place", PATIENCE, || {
                fs::read(group.out(0).join(name)).ok() == fs::read(file).ok()
            })?;
        }
        Ok(())
    });
}

/// A rate that nobody gave may be more than the link takes: what waits at the sender is not sent again.
#[test]
fn a_sender_faster_than_its_link_sends_little_twice() {
    in_lab(|lab| {
        let mut group = Group::new(lab, 3)?;
        let file = group.file("content", 8 << 20)?;
        let mut command = group.command("send", "sender", "key");
        command
            .args(["--expect", "3", "--output", "json"])
            .arg(&file);
        let report = report(&mut group.sender.start(command)?)?;
        let sent = report["wire_bytes"].as_u64().context("a number")?;
        ensure!(sent < 8 * (1 << 20) * 13 / 10, "{report}");
        group.arrived(&file)
    });
}

/// One that cannot be put in its place leaves the receiver to the next.
#[test]
fn what_cannot_be_put_in_its_place_is_named_and_the_next_comes() {
    in_lab(|lab| {
        let mut group = Group::new(lab, 1)?;
        drop(group.programs.pop());
        let mut command = group.command("receive", "r0", "key");
        command.arg("--out").arg(group.out(0));
        let receiver = group.receivers[0].start(command)?;
        fs::create_dir_all(group.out(0).join("taken/by-a-directory"))?;
        for (name, len) in [("taken", 100_000), ("empty", 0), ("free", 100_000)] {
            let file = group.file(name, len)?;
            report(&mut group.send(&[&file], &["--members", "r0"])?)?;
        }
        receiver
            .transcript()
            .await_line(0, "cannot be put into", PATIENCE)?;
        for (name, len) in [("empty", 0), ("free", 100_000)] {
            bellwether_lab::until("it is in its place", PATIENCE, || {
                fs::metadata(group.out(0).join(name)).is_ok_and(|file| file.len() == len)
            })?;
        }
        Ok(())
    });
}
