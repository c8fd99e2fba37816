//! What a node measures of itself (ELECT-02, ELECT-03): slowly, and from a few small files of the kernel.
//!
//! What a kernel does not tell counts as unremarkable: a machine without pressure figures is not under pressure, and an
//! interface of unknown speed (as virtual ones are) has the usual one.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bellwether_net::{Interface, InterfaceChoice};
use bellwether_types::Time;

/// Takes samples. What is a rate is taken from one sample to the next.
#[derive(Debug)]
pub(crate) struct Sampler {
    choice: InterfaceChoice,
    /// Where this node takes what is for it alone, as it was at the start: the port stays.
    address: SocketAddr,
    /// The directory on whose disk content is kept.
    content: PathBuf,
    before: Option<(Time, Processors, Traffic)>,
}

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Where this node takes what is for it alone; `None` while the interface has no address.
    pub(crate) address: Option<SocketAddr>,
    pub(crate) interface_up: bool,
    pub(crate) processors_free_milli: u32,
    pub(crate) storage_free_bytes: u64,
    pub(crate) network_free_bps: u64,
    pub(crate) connections: u32,
}

/// From one sample to the next.
pub(crate) const INTERVAL: Duration = Duration::from_secs(10);

const SPEED_BPS: u64 = 1_000_000_000;
const PERMILLE: u64 = 1_000;

impl Sampler {
    pub(crate) const fn new(
        choice: InterfaceChoice,
        address: SocketAddr,
        content: PathBuf,
    ) -> Self {
        Self {
            choice,
            address,
            content,
            before: None,
        }
    }

    pub(crate) fn sample(&mut self, now: Time) -> Sample {
        let interface = Interface::find(&self.choice).ok();
        let address = interface
            .as_ref()
            .and_then(|interface| interface.address(self.address.is_ipv6()).ok());
        let name = interface.as_ref().map(|interface| interface.name.as_str());
        let processors = Processors::parse(&read("/proc/stat"));
        let traffic = Traffic::parse(&read("/proc/self/net/dev"), name.unwrap_or(""));
        let (then, processors_then, traffic_then) = self
            .before
            .replace((now, processors, traffic))
            .unwrap_or_else(|| (Time::ZERO, Processors::default(), Traffic::default()));
        let ease = ease_permille(
            &read("/proc/meminfo"),
            &["memory", "io"].map(|what| read(&format!("/proc/pressure/{what}"))),
        );
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
        let idle = processors.idle_permille_since(processors_then);
        let interface_up = interface.as_ref().is_some_and(|interface| interface.up);
        let speed = if interface_up {
            speed_bps(name.unwrap_or(""))
        } else {
            0
        };
        Sample {
            address: address.map(|ip| SocketAddr::new(ip, self.address.port())),
            interface_up,
            processors_free_milli: small(cores * idle * ease / PERMILLE),
            storage_free_bytes: storage_free(&self.content),
            network_free_bps: traffic.free_bps_since(traffic_then, now.since(then), speed),
            connections: connections(&read("/proc/self/net/sockstat")),
        }
    }
}

/// Time of all processors, in ticks since the machine started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Processors {
    idle: u64,
    all: u64,
}

impl Processors {
    /// Of `/proc/stat`: user, nice, system, idle, waiting for disks, interrupts, and what other guests of the host took.
    fn parse(text: &str) -> Self {
        let first = text.lines().next().unwrap_or("");
        let ticks: Vec<u64> = first
            .split_whitespace()
            .skip(1)
            .take(8)
            .filter_map(|ticks| ticks.parse().ok())
            .collect();
        Self {
            idle: ticks.iter().skip(3).take(2).sum(),
            all: ticks.iter().sum(),
        }
    }

    fn idle_permille_since(self, then: Self) -> u64 {
        let idle = self.idle.saturating_sub(then.idle);
        let all = self.all.saturating_sub(then.all);
        (idle * PERMILLE)
            .checked_div(all)
            .unwrap_or(0)
            .min(PERMILLE)
    }
}

/// What passed an interface since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Traffic {
    received_bytes: u64,
    sent_bytes: u64,
    frames: u64,
    /// Errors and drops.
    faults: u64,
}

impl Traffic {
    /// Of `/proc/net/dev`: `name: bytes frames errors drops …` received, eight figures, and as many sent.
    fn parse(text: &str, name: &str) -> Self {
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        let Some((_, figures)) = lines.into_iter().find(|(known, _)| known.trim() == name) else {
            return Self::default();
        };
        let figures: Vec<u64> = figures
            .split_whitespace()
            .map(|figure| figure.parse().unwrap_or(0))
            .collect();
        let figure = |index: usize| figures.get(index).copied().unwrap_or(0);
        Self {
            received_bytes: figure(0),
            sent_bytes: figure(8),
            frames: figure(1) + figure(9),
            faults: figure(2) + figure(3) + figure(10) + figure(11),
        }
    }

    /// What is left of the busier direction; an interface that loses frames is worth as much less.
    fn free_bps_since(self, then: Self, span: Duration, speed: u64) -> u64 {
        let received = self.received_bytes.saturating_sub(then.received_bytes);
        let sent = self.sent_bytes.saturating_sub(then.sent_bytes);
        let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1);
        let used = u128::from(received.max(sent)) * 8 * 1_000 / u128::from(millis);
        let free = speed.saturating_sub(u64::try_from(used).unwrap_or(u64::MAX));
        let frames = self.frames.saturating_sub(then.frames);
        let faults = self.faults.saturating_sub(then.faults);
        let whole = PERMILLE
            - (faults * PERMILLE)
                .checked_div(frames + faults)
                .unwrap_or(0);
        free / PERMILLE * whole
    }
}

/// How far the machine is from running out of memory and from waiting for it and for disks, in thousandths: what of its
/// processors can be used.
fn ease_permille(meminfo: &str, pressures: &[String]) -> u64 {
    let kilobytes = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
    };
    // A twentieth of the memory is enough to be at ease.
    let memory = match (kilobytes("MemAvailable:"), kilobytes("MemTotal:")) {
        (Some(available), Some(total)) if total > 0 => {
            (available * 20 * PERMILLE / total).min(PERMILLE)
        }
        _ => PERMILLE,
    };
    let stalled = pressures.iter().filter_map(|text| stalled_permille(text));
    memory * (PERMILLE - stalled.max().unwrap_or(0).min(PERMILLE)) / PERMILLE
}

/// The share of the last ten seconds in which nothing got on, in thousandths: `full avg10=1.50 …` is 15.
fn stalled_permille(text: &str) -> Option<u64> {
    let full = text
        .lines()
        .find_map(|line| line.strip_prefix("full avg10="))?;
    let percent: f64 = full.split_whitespace().next()?.parse().ok()?;
    Some((percent.clamp(0.0, 100.0) * 10.0) as u64)
}

fn connections(sockstat: &str) -> u32 {
    let tcp = sockstat
        .lines()
        .find_map(|line| line.strip_prefix("TCP: inuse "));
    tcp.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

fn storage_free(folder: &Path) -> u64 {
    rustix::fs::statvfs(folder).map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Megabits, or -1 where there is no telling.
fn speed_bps(name: &str) -> u64 {
    let text = read(&format!("/sys/class/net/{name}/speed"));
    let megabits: Option<u64> = text.trim().parse().ok();
    megabits.map_or(SPEED_BPS, |megabits| megabits.saturating_mul(1_000_000))
}

/// The text of a file of the kernel; nothing where there is none.
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn small(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_free_as_far_as_they_were_idle() {
        let before = Processors::parse("cpu  100 0 100 700 100 0 0 0 50 0\ncpu0 1 2 3\n");
        assert_eq!(
            before,
            Processors {
                idle: 800,
                all: 1_000
            }
        );
        let after = Processors::parse("cpu  150 0 150 1000 200 0 0 0 50 0\n");
        assert_eq!(after.idle_permille_since(before), 800);
        assert_eq!(Processors::parse("").idle_permille_since(before), 0);
    }

    #[test]
    fn want_of_memory_and_stalls_make_processors_useless() {
        let memory =
            |available| format!("MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: {available} kB\n");
        let stall = |percent| vec![format!("some avg10=9.00 x\nfull avg10={percent} avg60=1\n")];
        assert_eq!(ease_permille(&memory(900), &[]), 1_000);
        assert_eq!(ease_permille(&memory(25), &[]), 500);
        assert_eq!(ease_permille(&memory(900), &stall("12.50")), 875);
        assert_eq!(ease_permille(&memory(25), &stall("50.00")), 250);
        assert_eq!(ease_permille("", &[String::new()]), 1_000);
    }

    #[test]
    fn a_busy_or_faulty_interface_has_less_to_spare() {
        let text = "Inter-|\n face |\n    lo: 9 9 9 9 0 0 0 0 9 9 9 9 0 0 0 0\n  eth0: 125000000 60 5 5 0 0 0 0 1000 30 0 0 0 0 0 0\n";
        let traffic = Traffic::parse(text, "eth0");
        let second = Duration::from_secs(1);
        let none = Traffic::default();
        // All of a gigabit, and a tenth of the frames lost.
        assert_eq!(traffic.free_bps_since(none, second, 1_000_000_000), 0);
        assert_eq!(
            traffic.free_bps_since(none, second, 2_000_000_000),
            900_000_000
        );
        assert_eq!(Traffic::parse(text, "eth1"), none);
        assert_eq!(none.free_bps_since(traffic, second, 7_000), 7_000);
    }

    #[test]
    fn this_machine_can_be_measured() {
        let choice = InterfaceChoice::Named("lo".to_owned());
        let address = "127.0.0.1:7".parse().unwrap();
        let mut sampler = Sampler::new(choice, address, PathBuf::from("/"));
        let sample = sampler.sample(bellwether_net::now());
        assert_eq!(sample.address, Some(address));
        assert!(
            sample.interface_up && sample.network_free_bps > 0,
            "{sample:?}"
        );
        assert!(sample.storage_free_bytes > 0, "{sample:?}");
    }
}
