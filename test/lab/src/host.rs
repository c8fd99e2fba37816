//! A machine on the network: a network namespace with one interface for each segment it is plugged into.

use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use rustix::net::{AddressFamily, SocketType};

use crate::namespace::{Lifeline, Namespace};
use crate::program::Program;
use crate::transcript::Transcript;

/// A host of the lab. Clones are the same host.
#[derive(Clone, Debug)]
pub struct Host(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    interfaces: Vec<Interface>,
    namespace: Arc<Namespace>,
    lifeline: Arc<Lifeline>,
    /// Those of all programs of the lab, for its report.
    transcripts: Arc<Mutex<Vec<Arc<Transcript>>>>,
}

/// One plug: `eth0` for the first segment, `eth1` for the next.
#[derive(Clone, Debug)]
pub(crate) struct Interface {
    pub(crate) name: String,
    /// The other end of the cable, at the switch.
    pub(crate) port: String,
    pub(crate) ipv4: Ipv4Addr,
    pub(crate) ipv6: Ipv6Addr,
    pub(crate) link_local: Ipv6Addr,
}

/// What passed an interface, Ethernet headers included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub received_bytes: u64,
    pub received_frames: u64,
    pub sent_bytes: u64,
    pub sent_frames: u64,
}

impl Host {
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its address in the first segment it is plugged into.
    pub fn ipv4(&self) -> Ipv4Addr {
        self.0.interfaces[0].ipv4
    }

    /// Its global address in the first segment, where the kernel has IPv6.
    pub fn ipv6(&self) -> Ipv6Addr {
        self.0.interfaces[0].ipv6
    }

    /// Its address in the nth segment, from 0.
    pub fn ipv4_in(&self, segment: usize) -> Ipv4Addr {
        self.0.interfaces[segment].ipv4
    }

    /// Starts a program here. Its output is kept, and shown if the test fails.
    pub fn start(&self, command: Command) -> Result<Program> {
        let program = command.get_program().to_string_lossy().into_owned();
        let name = program.rsplit('/').next().unwrap_or(&program);
        let program = Program::start(
            command,
            format!("{} {name}", self.0.name),
            Arc::clone(&self.0.namespace),
            Arc::clone(&self.0.lifeline),
        )?;
        let mut transcripts = self
            .0
            .transcripts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        transcripts.push(Arc::clone(program.transcript()));
        Ok(program)
    }

    /// Runs a tool here to its end; what it printed, if it succeeded.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        self.feed(words, "")
    }

    pub(crate) fn feed(&self, words: &[&str], input: &str) -> Result<String> {
        self.0
            .namespace
            .run(words, input)
            .with_context(|| format!("in host {}", self.0.name))
    }

    /// A UDP socket that is in this host and belongs to the test, bound to any address and this port (0: any);
    /// multicast goes out by the first interface.
    pub fn udp(&self, port: u16) -> Result<UdpSocket> {
        let socket = self.socket(SocketType::DGRAM)?;
        rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
        rustix::net::sockopt::set_ip_multicast_if(&socket, &self.ipv4())?;
        rustix::net::bind(&socket, &any(port))?;
        Ok(socket.into())
    }

    /// A TCP connection from this host.
    pub fn connect(&self, address: std::net::SocketAddrV4) -> Result<TcpStream> {
        let socket = self.socket(SocketType::STREAM)?;
        rustix::net::connect(&socket, &address)
            .with_context(|| format!("{} cannot connect to {address}", self.0.name))?;
        Ok(socket.into())
    }

    /// A TCP socket that listens in this host and belongs to the test.
    pub fn listen(&self, port: u16) -> Result<TcpListener> {
        let socket = self.socket(SocketType::STREAM)?;
        rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
        rustix::net::bind(&socket, &any(port))?;
        rustix::net::listen(&socket, 128)?;
        Ok(socket.into())
    }

    fn socket(&self, kind: SocketType) -> Result<OwnedFd> {
        self.0
            .namespace
            .socket(AddressFamily::INET, kind)
            .with_context(|| format!("host {} gives no socket", self.0.name))
    }

    /// What has passed all its interfaces since it was made.
    pub fn counters(&self) -> Result<Counters> {
        let file = format!("/proc/{}/net/dev", self.0.namespace.id());
        let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
        Ok(Counters::sum(&text))
    }

    /// Takes all its interfaces down, as its operator would: addresses of IPv6 and memberships are lost.
    pub fn take_down(&self) -> Result<()> {
        let line = |interface: &Interface| format!("link set {} down\n", interface.name);
        let lines: String = self.0.interfaces.iter().map(line).collect();
        self.feed(&["ip", "-batch", "-"], &lines).map(drop)
    }

    /// Brings its interfaces up, with their addresses.
    pub fn bring_up(&self) -> Result<()> {
        let mut lines = "link set lo up\n".to_owned();
        for interface in &self.0.interfaces {
            let Interface {
                name,
                ipv4,
                ipv6,
                link_local,
                ..
            } = interface;
            lines += &format!("link set {name} up\naddr replace {ipv4}/16 brd + dev {name}\n");
            if has_ipv6() {
                lines += &format!("addr replace {link_local}/64 dev {name} nodad\n");
                lines += &format!("addr replace {ipv6}/64 dev {name} nodad\n");
            }
        }
        self.feed(&["ip", "-batch", "-"], &lines).map(drop)
    }

    pub(crate) fn new(
        name: String,
        interfaces: Vec<Interface>,
        namespace: Namespace,
        lifeline: Arc<Lifeline>,
        transcripts: Arc<Mutex<Vec<Arc<Transcript>>>>,
    ) -> Self {
        Self(Arc::new(Inner {
            name,
            interfaces,
            namespace: Arc::new(namespace),
            lifeline,
            transcripts,
        }))
    }

    pub(crate) fn holder(&self) -> i32 {
        self.0.namespace.id()
    }

    pub(crate) fn interfaces(&self) -> &[Interface] {
        &self.0.interfaces
    }

    pub(crate) fn ports(&self) -> impl Iterator<Item = &str> {
        self.0.interfaces.iter().map(|interface| &*interface.port)
    }
}

fn any(port: u16) -> std::net::SocketAddrV4 {
    std::net::SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)
}

fn has_ipv6() -> bool {
    std::path::Path::new("/proc/net/if_inet6").exists()
}

impl Counters {
    /// Of the text of `/proc/net/dev`: two lines of heading, then `name: 8 received figures 8 sent figures`.
    fn sum(text: &str) -> Self {
        let mut sum = Self::default();
        for line in text.lines().skip(2) {
            let Some((name, figures)) = line.split_once(':') else {
                continue;
            };
            let figures: Vec<u64> = figures
                .split_whitespace()
                .filter_map(|figure| figure.parse().ok())
                .collect();
            if let (true, [rb, rf, _, _, _, _, _, _, sb, sf, ..]) = (name.trim() != "lo", &*figures)
            {
                sum.received_bytes += rb;
                sum.received_frames += rf;
                sum.sent_bytes += sb;
                sum.sent_frames += sf;
            }
        }
        sum
    }
}

impl std::ops::Sub for Counters {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            received_bytes: self.received_bytes - before.received_bytes,
            received_frames: self.received_frames - before.received_frames,
            sent_bytes: self.sent_bytes - before.sent_bytes,
            sent_frames: self.sent_frames - before.sent_frames,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_add_up_interfaces_without_loopback() {
        let text = "Inter-| Receive\n face |bytes\n    lo: 9 9 0 0 0 0 0 0 9 9 0 0 0 0 0 0\n  eth0: 100 2 0 0 0 0 0 0 \
                    300 4 0 0 0 0 0 0\n  eth1: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n";
        let sum = Counters {
            received_bytes: 101,
            received_frames: 3,
            sent_bytes: 301,
            sent_frames: 5,
        };
        assert_eq!(Counters::sum(text), sum);
    }
}
