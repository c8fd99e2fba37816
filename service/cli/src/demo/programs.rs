//! The processes of the demonstration: this very program, as a control server and as agents.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::exit::Exit;
use crate::failure::Failure;

/// Programs that end with the demonstration.
pub(super) struct Programs {
    place: PathBuf,
    program: PathBuf,
    running: Vec<(String, Child)>,
}

/// A node of the demonstration.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: String,
    /// What admits it to its segment.
    pub(super) token: String,
    /// How it hears its segment, as settings say it.
    pub(super) channel: String,
}

/// How nodes reach the control server.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) url: String,
    pub(super) ca: String,
    pub(super) admin: PathBuf,
}

impl Programs {
    pub(super) fn new(place: &Path) -> Result<Self, Failure> {
        let program = std::env::current_exe();
        let program = program.map_err(|error| Failure::new(Exit::of_io(&error), error))?;
        Ok(Self {
            place: place.to_owned(),
            program,
            running: Vec::new(),
        })
    }

    /// The file by which commands know the server.
    pub(super) fn context(&self) -> PathBuf {
        self.place.join("context.toml")
    }

    /// Starts the control server, and waits until it says where it listens.
    pub(super) fn serve(&mut self) -> Result<Server, Failure> {
        let mut command = self.command();
        command.args(["server", "--listen", "127.0.0.1:0", "--output", "json"]);
        command.arg("--data").arg(self.place.join("server"));
        command.stdout(Stdio::piped());
        let child = self.start("server", command)?;
        let told = child.stdout.take().map(|out| {
            let mut line = String::new();
            BufReader::new(out).read_line(&mut line).map(|_| line)
        });
        let line = told.unwrap_or_else(|| Ok(String::new()));
        let line = line.map_err(|error| Failure::new(Exit::of_io(&error), error))?;
        let started: Value = serde_json::from_str(&line).map_err(|_| self.died("server"))?;
        let field = |name: &str| started[name].as_str().unwrap_or_default().to_owned();
        Ok(Server {
            url: field("url"),
            ca: field("ca_fingerprint"),
            admin: field("admin_token").into(),
        })
    }

    /// Starts a node. What it was given before, it has still.
    pub(super) fn join(&mut self, node: &Node, server: &Server) -> Result<(), Failure> {
        let Node {
            name,
            token,
            channel,
        } = node;
        let config = self.place.join(format!("{name}.toml"));
        let text = format!(
            "interface = \"lo\"\n[channel]\nserve_port = 0\n{channel}\n[timing.fast]\nheartbeat_ms = 200\n"
        );
        fs::write(&config, text).map_err(|error| Failure::io("write", &config, error))?;
        let mut command = self.command();
        command.args(["agent", "run", "--name", name, "--server", &server.url]);
        command.args(["--ca", &server.ca, "--token", token]);
        command.arg("--config").arg(config);
        command.arg("--data").arg(self.place.join(name));
        self.start(name, command).map(drop)
    }

    /// Kills a node at once, as a power failure would.
    pub(super) fn kill(&mut self, name: &str) {
        let Some(at) = self.running.iter().position(|(other, _)| other == name) else {
            return;
        };
        let (_, mut child) = self.running.remove(at);
        // One that is gone already is as dead.
        let _ = child.kill();
        let _ = child.wait();
    }

    /// A command of this program that speaks with the server.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env("BELLWETHER_CONTEXT", self.context());
        command
    }

    /// Runs such a command to its end, and returns what it found out.
    pub(super) fn run(&self, words: &[&str]) -> Result<Value, Failure> {
        let ran = self
            .command()
            .args(words)
            .args(["--output", "json"])
            .output();
        let ran = ran.map_err(|error| Failure::new(Exit::of_io(&error), error))?;
        if !ran.status.success() {
            let told = String::from_utf8_lossy(&ran.stderr).into_owned();
            let told: Value = serde_json::from_str(&told).unwrap_or(Value::String(told));
            let why = told["message"]
                .as_str()
                .map_or_else(|| told.to_string(), str::to_owned);
            let line = words.join(" ");
            return Err(Failure::new(
                Exit::Failed,
                format!("bellwether {line}: {why}"),
            ));
        }
        Ok(serde_json::from_slice(&ran.stdout).unwrap_or_default())
    }

    fn start(&mut self, name: &str, mut command: Command) -> Result<&mut Child, Failure> {
        let log = self.log(name);
        let file = File::options().create(true).append(true).open(&log);
        let file = file.map_err(|error| Failure::io("write", &log, error))?;
        command.stdin(Stdio::null()).stderr(file);
        let child = command.spawn();
        let child = child.map_err(|error| Failure::io("run", &self.program, error))?;
        self.running.push((name.to_owned(), child));
        let (_, child) = self.running.last_mut().expect("it was pushed");
        Ok(child)
    }

    fn log(&self, name: &str) -> PathBuf {
        self.place.join(format!("{name}.log"))
    }

    fn died(&self, name: &str) -> Failure {
        let log = fs::read_to_string(self.log(name)).unwrap_or_default();
        let last = log.lines().last().unwrap_or("it left no word");
        Failure::new(Exit::Failed, format!("{name} has ended: {last}"))
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        while let Some((name, _)) = self.running.last() {
            let name = name.clone();
            self.kill(&name);
        }
    }
}

/// How each node hears its segment: by multicast on the loopback interface, or where that does not come through, by the
/// address of its segment's first node.
pub(super) fn channels(segments: usize, nodes: usize) -> Result<Vec<String>, Failure> {
    let fault = |error: io::Error| Failure::new(Exit::of_io(&error), error);
    let mut channels = Vec::new();
    let has_multicast = has_multicast();
    for segment in 1..=segments {
        let port = free_ports().map_err(fault)?;
        if has_multicast {
            let channel = format!("group = \"239.255.77.{segment}:{port}\"");
            channels.extend(std::iter::repeat_n(channel, nodes));
            continue;
        }
        for node in 0..nodes {
            let own = if node == 0 { port } else { 0 };
            channels.push(format!("port = {own}\npeers = [\"127.0.0.1:{port}\"]"));
        }
    }
    Ok(channels)
}

/// Does a multicast on the loopback interface come back?
fn has_multicast() -> bool {
    let probe = || -> io::Result<bool> {
        let group = Ipv4Addr::new(239, 255, 77, 254);
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST)?;
        rustix::net::sockopt::set_ip_multicast_if(&socket, &Ipv4Addr::LOCALHOST)?;
        socket.set_read_timeout(Some(PROBE))?;
        socket.send_to(PROBE_TEXT, (group, socket.local_addr()?.port()))?;
        let mut came = [0; PROBE_TEXT.len()];
        Ok(socket.recv(&mut came)? == came.len() && came == *PROBE_TEXT)
    };
    probe().unwrap_or(false)
}

/// A port that is free for datagrams, as the next one is, which frames take.
fn free_ports() -> io::Result<u16> {
    for _ in 0..TRIES {
        let first = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        let port = first.local_addr()?.port();
        let next = port.checked_add(1);
        if next.is_some_and(|next| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, next)).is_ok()) {
            return Ok(port);
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

const TRIES: usize = 100;
const PROBE: Duration = Duration::from_millis(500);
const PROBE_TEXT: &[u8; 4] = b"here";
