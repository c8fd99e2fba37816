//! One file from one to many, over links that are the limit and lose what they lose.
//!
//! Each contender runs on hosts of one segment, with every link shaped. A run takes from the start of the sender's command
//! to the word of the contender that all have it: of ours that each receiver has proved and synced it, of the others less.
//! Every copy is compared outside the clock. Bytes are those that left the sender's interface, as Ethernet frames.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bellwether_lab::{Fault, Host, Lab, Loss, Shape};

use super::ours::Ours;
use super::spread::Spread;
use super::table::{Table, Target, print_targets};
use super::{Bench, adaptive};
use crate::random::Random;

/// Receivers, and the rate of every link in bits a second: many hosts share two processors.
const SEGMENTS: [(usize, u64); 4] = [
    (8, 50_000_000),
    (4, 50_000_000),
    (24, 20_000_000),
    (30, 20_000_000),
];
const LOSSES_PERMILLE: [u16; 4] = [0, 10, 50, 100];
const MIB: u64 = 32;
const PATIENCE: Duration = Duration::from_secs(300);
const LOOK: Duration = Duration::from_millis(1);
/// With less of the machine idle, it and not the links was the limit.
const IDLE_MIN: f64 = 0.25;

pub(super) fn run(bench: &Bench) -> Result<()> {
    let movers: [&dyn Mover; 3] = [&Multicast { ours: &bench.ours }, &Uftp, &Udpcast];
    let mut targets = Vec::new();
    for (receivers, rate) in SEGMENTS {
        if !bench.wants(&receivers.to_string()) && !bench.only.is_empty() {
            continue;
        }
        let losses = match receivers {
            8 => &LOSSES_PERMILLE[..],
            _ => &LOSSES_PERMILLE[1..2],
        };
        let size = bench.scaled(MIB << 20);
        let mut table = Table::new(
            &format!(
                "{:.0} MiB to {receivers} receivers, links of {} Mbit/s",
                size as f64 / MEBI,
                rate / 1_000_000
            ),
            &["", "loss", "runs", "bytes × S", "time × S/B", "idle"],
        );
        for &loss in losses {
            for mover in movers {
                let Some(title) = mover.title() else {
                    continue;
                };
                let figures = measure(mover, bench.runs, receivers, rate, size, loss);
                let loss_shown = format!("{} %", f64::from(loss) / 10.0);
                match figures {
                    Ok((bytes, time, idle)) => {
                        table.row(&[
                            title.to_owned(),
                            loss_shown,
                            time.len().to_string(),
                            bytes.to_string(),
                            time.to_string(),
                            format!("{:.0} %", idle * 100.0),
                        ]);
                        if mover.is_ours() {
                            targets.extend(promises(receivers, loss, &bytes, &time));
                        }
                    }
                    Err(error) => table.row(&[
                        title.to_owned(),
                        loss_shown,
                        "—".to_owned(),
                        "—".to_owned(),
                        format!("{error:#}").replace(['|', '\n'], " "),
                        "—".to_owned(),
                    ]),
                }
            }
        }
        table.print();
    }
    if bench.only.is_empty() || bench.wants("auto") {
        targets.extend(adaptive::run(bench)?);
    }
    print_targets(&targets);
    Ok(())
}

const MEBI: f64 = 1_048_576.0;

fn promises(receivers: usize, loss: u16, bytes: &Spread, time: &Spread) -> Vec<Target> {
    let (bytes_max, time_max) = match (receivers, loss) {
        (8, 0) => (Some(1.06), Some(1.08)),
        (8, 10) => (Some(1.08), Some(1.11)),
        (8, 50) => (Some(1.13), Some(1.18)),
        (8, 100) => (Some(1.22), None),
        (30, 10) => (Some(1.10), None),
        _ => (None, None),
    };
    let percent = f64::from(loss) / 10.0;
    let promise = |what| format!("{receivers} receivers, {percent} % loss, {what}");
    let bytes =
        bytes_max.map(|max| Target::new(promise("sender's bytes ÷ S"), bytes.median(), max));
    let time = time_max.map(|max| Target::new(promise("time ÷ S/B"), time.median(), max));
    bytes.into_iter().chain(time).collect()
}

/// Bytes and time by their bounds, and how idle the machine was in the busiest run.
fn measure(
    mover: &dyn Mover,
    runs: usize,
    receivers: usize,
    rate: u64,
    size: u64,
    loss: u16,
) -> Result<(Spread, Spread, f64)> {
    let (mut bytes, mut times, mut idle_least) = (Vec::new(), Vec::new(), 1.0_f64);
    let mut voided = 0;
    while times.len() < runs {
        let mut lab = Lab::open()?;
        let segment = lab.segment()?;
        let mut hosts = lab.hosts(receivers + 1, segment)?;
        for host in &hosts {
            lab.shape(host, Shape::rate(rate))?;
        }
        let sender = hosts.pop().context("one more was asked for")?;
        let file = lab.folder().join("content");
        fs::write(&file, noise(size))?;
        let scene = Scene {
            folder: lab.folder().to_owned(),
            receivers: hosts.clone(),
            sender,
            rate,
            file,
        };
        if loss > 0 {
            let to: Vec<&Host> = hosts.iter().collect();
            lab.set_faults(&[Fault::new(Loss::PerMille(loss)).to(&to)])?;
        }
        let (took, sent, idle) = once(mover, &scene)?;
        if idle < IDLE_MIN {
            voided += 1;
            ensure!(
                voided <= 2 * runs,
                "the machine is too busy: {:.0} % idle",
                idle * 100.0
            );
            eprintln!(
                "{:?}: void, the machine was {:.0} % idle",
                mover.title(),
                idle * 100.0
            );
            continue;
        }
        idle_least = idle_least.min(idle);
        times.push(took.as_secs_f64() / (size as f64 * 8.0 / rate as f64));
        bytes.push(sent as f64 / size as f64);
    }
    Ok((Spread::new(bytes), Spread::new(times), idle_least))
}

struct Scene {
    folder: PathBuf,
    sender: Host,
    receivers: Vec<Host>,
    rate: u64,
    file: PathBuf,
}

impl Scene {
    fn out(&self, number: usize) -> PathBuf {
        self.folder.join(format!("out{number}"))
    }
}

fn once(mover: &dyn Mover, scene: &Scene) -> Result<(Duration, u64, f64)> {
    let mut receivers = Vec::new();
    for (number, host) in scene.receivers.iter().enumerate() {
        fs::create_dir_all(scene.out(number))?;
        receivers.push(host.start(mover.receiver(scene, number)?)?);
    }
    // Until they listen; who is not ready then is waited for within the time that counts.
    std::thread::sleep(Duration::from_secs(1));
    let (sent, idle) = (scene.sender.counters()?.sent_bytes, Idle::now()?);
    let began = Instant::now();
    let mut sender = scene.sender.start(mover.sender(scene)?)?;
    let end = loop {
        let is_over = match mover.ends_with() {
            EndsWith::Sender => !sender.is_running(),
            EndsWith::Receivers => receivers.iter_mut().all(|receiver| !receiver.is_running()),
        };
        if is_over {
            break Instant::now();
        }
        if began.elapsed() > PATIENCE {
            bail!("not over after {PATIENCE:?}");
        }
        std::thread::sleep(LOOK);
    };
    let idle = Idle::now()?.share_since(&idle);
    let sent = scene.sender.counters()?.sent_bytes - sent;
    compare(
        &scene.file,
        (0..scene.receivers.len()).map(|number| scene.out(number)),
    )?;
    drop(receivers);
    Ok((end - began, sent, idle))
}

/// Every receiver has the file, or will in a moment: some tools say so before they are done.
pub(super) fn compare(file: &Path, outs: impl Iterator<Item = PathBuf>) -> Result<()> {
    let expected = fs::read(file)?;
    let deadline = Instant::now() + Duration::from_secs(5);
    for out in outs {
        let file = out.join("content");
        while fs::read(&file).ok().as_ref() != Some(&expected) {
            ensure!(
                Instant::now() < deadline,
                "{} is something else, or nothing",
                file.display()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}

/// What says that it is over.
enum EndsWith {
    Sender,
    Receivers,
}

trait Mover {
    /// Nothing if it is not here.
    fn title(&self) -> Option<&'static str>;

    fn is_ours(&self) -> bool {
        false
    }

    fn ends_with(&self) -> EndsWith {
        EndsWith::Sender
    }

    fn receiver(&self, scene: &Scene, number: usize) -> Result<Command>;

    fn sender(&self, scene: &Scene) -> Result<Command>;
}

struct Multicast<'a> {
    ours: &'a Ours,
}

impl Mover for Multicast<'_> {
    fn title(&self) -> Option<&'static str> {
        Some("**bellwether multicast**, fixed rate")
    }

    fn is_ours(&self) -> bool {
        true
    }

    fn receiver(&self, scene: &Scene, number: usize) -> Result<Command> {
        let mut command = self
            .ours
            .multicast(&scene.folder, "receive", &format!("r{number}"))?;
        command.arg("--once").arg("--out").arg(scene.out(number));
        Ok(command)
    }

    fn sender(&self, scene: &Scene) -> Result<Command> {
        let mut command = self.ours.multicast(&scene.folder, "send", "sender")?;
        command.arg(&scene.file);
        command.args(["--rate", &scene.rate.to_string()]);
        command.args(["--expect", &scene.receivers.len().to_string()]);
        Ok(command)
    }
}

/// At the best settings that were found: a fixed rate a little below the link's.
struct Uftp;

impl Mover for Uftp {
    fn title(&self) -> Option<&'static str> {
        is_there("uftp").then_some("uftp -R 95 % of the link, -b 1400, -r 0.1:0.05:1.0")
    }

    fn receiver(&self, scene: &Scene, number: usize) -> Result<Command> {
        let mut command = Command::new("uftpd");
        command
            .args(["-d", "-q", "-I", "eth0", "-B", "4194304", "-D"])
            .arg(scene.out(number));
        Ok(command)
    }

    fn sender(&self, scene: &Scene) -> Result<Command> {
        let rate = (scene.rate / 1_000 * 95 / 100).to_string();
        let ids = scene
            .receivers
            .iter()
            .map(|host| format!("0x{:08X}", u32::from(host.ipv4())));
        let ids = ids.collect::<Vec<_>>().join(",");
        let mut command = Command::new("uftp");
        command.args(["-I", "eth0", "-R", &rate, "-b", "1400", "-B", "4194304"]);
        command
            .args(["-r", "0.1:0.05:1.0", "-s", "20", "-H", &ids])
            .arg(&scene.file);
        Ok(command)
    }
}

struct Udpcast;

impl Mover for Udpcast {
    fn title(&self) -> Option<&'static str> {
        is_there("udp-sender").then_some("udpcast --full-duplex")
    }

    fn ends_with(&self) -> EndsWith {
        EndsWith::Receivers
    }

    fn receiver(&self, scene: &Scene, number: usize) -> Result<Command> {
        let mut command = Command::new("udp-receiver");
        command.args([
            "--nokbd",
            "--no-progress",
            "--interface",
            "eth0",
            "--rcvbuf",
            "4194304",
            "--file",
        ]);
        command.arg(scene.out(number).join("content"));
        Ok(command)
    }

    fn sender(&self, scene: &Scene) -> Result<Command> {
        let mut command = Command::new("udp-sender");
        command.args([
            "--nokbd",
            "--no-progress",
            "--interface",
            "eth0",
            "--full-duplex",
        ]);
        command.args(["--rexmit-hello-interval", "500", "--min-receivers"]);
        command
            .arg(scene.receivers.len().to_string())
            .arg("--file")
            .arg(&scene.file);
        Ok(command)
    }
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Repeatable bytes without pattern.
pub(super) fn noise(len: u64) -> Vec<u8> {
    let mut random = Random(len);
    let words = (0..len.div_ceil(8)).flat_map(|_| random.next().to_le_bytes());
    let mut bytes: Vec<u8> = words.collect();
    bytes.truncate(usize::try_from(len).expect("it fits into memory"));
    bytes
}

/// Time of all processors since the machine started.
struct Idle {
    idle: u64,
    all: u64,
}

impl Idle {
    fn now() -> Result<Self> {
        let text = fs::read_to_string(Path::new("/proc/stat"))?;
        let line = text.lines().next().context("/proc/stat is empty")?;
        let ticks: Vec<u64> = line
            .split_whitespace()
            .skip(1)
            .filter_map(|word| word.parse().ok())
            .collect();
        ensure!(
            ticks.len() >= 8,
            "/proc/stat has another form than expected"
        );
        Ok(Self {
            idle: ticks[3] + ticks[4],
            all: ticks[..8].iter().sum(),
        })
    }

    fn share_since(&self, before: &Self) -> f64 {
        (self.idle - before.idle) as f64 / (self.all - before.all).max(1) as f64
    }
}
