//! `bellwether multicast` without a rate: it has to find one, keep it where frames are lost at random, and share it.

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use bellwether_lab::{Fault, Host, Lab, Loss, Shape};

use super::Bench;
use super::multicast::{compare, noise};
use super::spread::Spread;
use super::table::{Table, Target};

/// A network, and who else is on it.
struct Case {
    title: &'static str,
    loss_permille: u16,
    /// The sender's link, in times of a receiver's.
    sender_link: u64,
    tcp: bool,
}

/// Bits a second of each receiver's link.
const RATE: u64 = 50_000_000;
const RECEIVERS: usize = 4;
const MIB: u64 = 32;
const CASES: [Case; 5] = [
    case("free", 0, 1, false),
    case("1 % lost at random", 10, 1, false),
    case("the sender's link twice as fast", 0, 2, false),
    case("one TCP flow from the same host", 0, 1, true),
    case("the same, its link twice as fast", 0, 2, true),
];
const PORT: u16 = 7_708;
/// With headers of Ethernet, IP and TCP or of a frame.
const TCP_WIRE: f64 = 1_514.0 / 1_448.0;
const FRAME_WIRE: f64 = 1_514.0 / 1_432.0;

const fn case(title: &'static str, loss_permille: u16, sender_link: u64, tcp: bool) -> Case {
    Case {
        title,
        loss_permille,
        sender_link,
        tcp,
    }
}

/// What one run came to.
struct Figures {
    /// Sender's bytes, those of TCP among them, in times of what was sent.
    bytes: f64,
    /// In times of what the link takes.
    time: f64,
    /// Parts of the link.
    tcp: f64,
    ours: f64,
}

pub(super) fn run(bench: &Bench) -> Result<Vec<Target>> {
    let mut targets = Vec::new();
    let title = format!("{MIB} MiB to {RECEIVERS} receivers on links of 50 Mbit/s, rate auto");
    let columns = ["", "bytes × S", "time × S/B", "ours", "TCP"];
    let mut table = Table::new(&title, &columns);
    for case in &CASES {
        let runs = (0..bench.runs).map(|_| once(bench, case));
        let runs = runs.collect::<Result<Vec<Figures>>>()?;
        let spread = |of: fn(&Figures) -> f64| Spread::new(runs.iter().map(of).collect());
        let (bytes, time) = (spread(|run| run.bytes), spread(|run| run.time));
        let (ours, tcp) = (spread(|run| run.ours), spread(|run| run.tcp));
        let [shown_bytes, shown_tcp] = match case.tcp {
            true => ["—".to_owned(), tcp.to_string()],
            false => [bytes.to_string(), "—".to_owned()],
        };
        table.row(&[
            case.title.to_owned(),
            shown_bytes,
            time.to_string(),
            ours.to_string(),
            shown_tcp,
        ]);
        let mut promise = |what: &str, value: f64, limit: f64| {
            targets.push(Target::new(
                format!("rate auto, {}: {what}", case.title),
                value,
                limit,
            ));
        };
        if case.tcp {
            promise("not of TCP", 1.0 - tcp.median(), 0.6);
            promise("not ours", 1.0 - ours.median(), 0.67);
            promise("of nobody", 1.0 - ours.median() - tcp.median(), 0.1);
        } else if case.sender_link > 1 {
            promise("bytes ÷ S", bytes.median(), 1.15);
            promise("time ÷ S/B", time.median(), 1.3);
        } else if case.loss_permille > 0 {
            promise("time ÷ S/B", time.median(), 1.11 / 0.9);
        }
    }
    table.print();
    Ok(targets)
}

fn once(bench: &Bench, case: &Case) -> Result<Figures> {
    let mut lab = Lab::open()?;
    let segment = lab.segment()?;
    let mut hosts = lab.hosts(RECEIVERS + 1, segment)?;
    let sender = hosts.pop().context("one more was asked for")?;
    for host in &hosts {
        lab.shape(host, Shape::rate(RATE))?;
    }
    lab.shape(&sender, Shape::rate(RATE * case.sender_link))?;
    if case.loss_permille > 0 {
        let to: Vec<&Host> = hosts.iter().collect();
        lab.set_faults(&[Fault::new(Loss::PerMille(case.loss_permille)).to(&to)])?;
    }
    let (folder, size) = (lab.folder().to_owned(), bench.scaled(MIB << 20));
    let file = folder.join("content");
    fs::write(&file, noise(size))?;
    let out = |number: usize| folder.join(format!("out{number}"));
    let mut receivers = Vec::new();
    for (number, host) in hosts.iter().enumerate() {
        let name = format!("r{number}");
        let mut command = bench.ours.multicast(&folder, "receive", &name)?;
        command.arg("--once").arg("--out").arg(out(number));
        receivers.push(host.start(command)?);
    }
    std::thread::sleep(std::time::Duration::from_secs(1));
    let flowed = match case.tcp {
        true => Some(flow(&sender, &hosts[0])?),
        false => None,
    };
    let came = || {
        flowed
            .as_ref()
            .map_or(0, |bytes| bytes.load(Ordering::Relaxed))
    };
    let (sent, tcp, began) = (sender.counters()?.sent_bytes, came(), Instant::now());
    let mut command = bench.ours.multicast(&folder, "send", "sender")?;
    command
        .arg(&file)
        .args(["--expect", &RECEIVERS.to_string()]);
    let mut program = sender.start(command)?;
    let status = program.wait()?;
    let (took, tcp) = (began.elapsed().as_secs_f64(), came() - tcp);
    let sent = sender.counters()?.sent_bytes - sent;
    let said = program.transcript().since(0);
    ensure!(status.success(), "{}: {status}: {said:?}", case.title);
    compare(&file, (0..RECEIVERS).map(out))?;
    let link = RATE as f64 / 8.0 * took;
    Ok(Figures {
        bytes: sent as f64 / size as f64,
        time: link / size as f64,
        tcp: tcp as f64 * TCP_WIRE / link,
        ours: size as f64 * FRAME_WIRE / link,
    })
}

/// A TCP flow that never ends, and has been there for two seconds; bytes that came.
fn flow(from: &Host, to: &Host) -> Result<Arc<AtomicU64>> {
    let listener = to.listen(PORT)?;
    let bytes = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&bytes);
    std::thread::spawn(move || -> std::io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        let mut buffer = vec![0; 1 << 16];
        loop {
            match stream.read(&mut buffer)? {
                0 => return Ok(()),
                len => drop(counted.fetch_add(len as u64, Ordering::Relaxed)),
            }
        }
    });
    let mut stream = from.connect(SocketAddrV4::new(to.ipv4(), PORT))?;
    // It ends with the lab, which takes its links away.
    std::thread::spawn(move || while stream.write_all(&[7; 1 << 16]).is_ok() {});
    std::thread::sleep(std::time::Duration::from_secs(2));
    Ok(bytes)
}
