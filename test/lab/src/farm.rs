//! A control server and segments of enrolled agents, driven by the command line as an operator would.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::disk::{Disk, seen_by};
use crate::{Host, Lab, Program, Segment, until};

/// What does not happen in so long, on a machine however busy, does not happen.
pub const PATIENCE: Duration = Duration::from_secs(240);
/// A silence of 300 ms.
const FAST: &str = "[timing.fast]\nheartbeat_ms = 100\n";
/// What the site is called.
pub const SITE: &str = "shop";

/// A control server and its nodes; all end with it.
#[derive(Debug)]
pub struct Farm<'l> {
    pub lab: &'l mut Lab,
    pub control: Host,
    pub server: Program,
    pub nodes: Vec<Node>,
    program: PathBuf,
    folder: PathBuf,
    /// What nodes are set to, besides their interface: of each, in the order of `nodes`.
    settings: Vec<String>,
    /// The fingerprint of the server's authority, and a join token for each segment.
    ca: String,
    tokens: Vec<String>,
}

/// A node, and its program while it runs.
#[derive(Debug)]
pub struct Node {
    pub name: String,
    pub segment: usize,
    pub host: Host,
    pub program: Option<Program>,
    /// A small disk for what it keeps, from its next start on.
    pub disk: Option<Disk>,
    /// The steady clock that it has from its next start on: so many seconds ahead of others'.
    pub ahead_s: u32,
}

impl<'l> Farm<'l> {
    /// So many segments with so many nodes each, all of this program, enrolled, and heard by the control server.
    pub fn start(lab: &'l mut Lab, program: &Path, segments: usize, nodes: usize) -> Result<Self> {
        Self::set(lab, program, segments, nodes, |_| FAST.to_owned())
    }

    /// The same with nodes that are set as they are told, each by its place among all.
    pub fn set(
        lab: &'l mut Lab,
        program: &Path,
        segments: usize,
        nodes: usize,
        settings: impl Fn(usize) -> String,
    ) -> Result<Self> {
        let folder = lab.folder().to_owned();
        let networks: Vec<Segment> = (0..segments)
            .map(|_| lab.segment())
            .collect::<Result<_>>()?;
        let mut hosts = Vec::new();
        for network in &networks {
            hosts.push(lab.hosts(nodes, *network)?);
        }
        let control = lab.host("control", &networks)?;
        let server = serve(program, &control, &folder, None)?;
        let told = started(&server)?;
        let text = |field: &str| told[field].as_str().unwrap_or_default().to_owned();
        let mut farm = Self {
            lab,
            control,
            server,
            nodes: Vec::new(),
            program: program.to_owned(),
            folder,
            settings: (0..segments * nodes).map(settings).collect(),
            ca: text("ca_fingerprint"),
            tokens: Vec::new(),
        };
        let url = farm.url(0);
        let (ca, admin) = (farm.ca.clone(), text("admin_token"));
        farm.run(&["login", &url, "--ca", &ca, "--token-file", &admin])?;
        for (segment, hosts) in hosts.into_iter().enumerate() {
            let name = segment_name(segment);
            let words = [
                "token",
                "create",
                &name,
                "--role",
                "node",
                "--segment",
                &name,
            ];
            let given = farm.run(&words)?;
            let token = given["token"].as_str().context("a token")?;
            farm.tokens.push(token.to_owned());
            for (number, host) in hosts.into_iter().enumerate() {
                farm.nodes.push(Node {
                    name: format!("{name}-{number}"),
                    segment,
                    host,
                    program: None,
                    disk: None,
                    ahead_s: 0,
                });
            }
        }
        for index in 0..farm.nodes.len() {
            farm.start_node(index)?;
        }
        farm.heard()?;
        Ok(farm)
    }

    /// The site, served by all nodes.
    pub fn define(&self, words: &[&str]) -> Result<()> {
        self.run(&[&["site", "create", SITE], words].concat())?;
        self.run(&["group", "create", "all-of-them", "--site", SITE])?;
        Ok(())
    }

    /// Publishes a tree, and waits until the job is over.
    pub fn publish(&self, tree: &Path) -> Result<Value> {
        let tree = tree.to_str().context("a name in UTF-8")?;
        self.run(&["publish", SITE, tree, "--wait"])
    }

    /// A command that goes on by itself.
    pub fn begin(&self, words: &[&str]) -> Result<Program> {
        let mut command = self.command();
        command.args(words).args(["--output", "json"]);
        self.control.start(command)
    }

    /// What a command of the operator found out.
    pub fn run(&self, words: &[&str]) -> Result<Value> {
        let mut program = self.begin(words)?;
        let status = program.wait()?;
        // What it printed may be on its way through the pipe still.
        let last = program
            .transcript()
            .await_line(0, "\"kind\":", PATIENCE)?
            .text;
        ensure!(status.success(), "{words:?}: {last}");
        Ok(serde_json::from_str(&last).unwrap_or_default())
    }

    /// Waits until all nodes that run serve exactly this tree.
    pub fn serves(&self, tree: &Path) -> Result<()> {
        let mut differences = BTreeMap::new();
        let same = until("every node serves it", PATIENCE, || {
            let running = self.nodes.iter().filter(|node| node.program.is_some());
            differences = running
                .filter_map(|node| {
                    let live = self.live(node);
                    Some((node.name.clone(), difference(tree, &live)?))
                })
                .collect();
            differences.is_empty()
        });
        same.with_context(|| format!("{differences:#?}"))
    }

    /// Whether a node serves exactly this tree now.
    pub fn serves_on(&self, node: &Node, tree: &Path) -> bool {
        difference(tree, &self.live(node)).is_none()
    }

    pub fn live(&self, node: &Node) -> PathBuf {
        self.data_of(node).join("sites").join(SITE).join("live")
    }

    /// What a node keeps, wherever it lies while it runs.
    pub fn data_of(&self, node: &Node) -> PathBuf {
        let data = self.data(&node.name);
        match (&node.program, node.disk) {
            (Some(program), Some(_)) => seen_by(program, &data),
            _ => data,
        }
    }

    /// What the control server keeps, as it sees it.
    pub fn data_of_server(&self) -> PathBuf {
        seen_by(&self.server, &self.folder.join("server"))
    }

    pub fn data(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The node that leads a segment, as the control server hears it.
    pub fn leader(&self, segment: usize) -> Result<usize> {
        let mut leader = None;
        until("the segment is heard", PATIENCE, || {
            let listed = self.run(&["segment", "list"]).unwrap_or_default();
            let mut segments = listed["items"].as_array().into_iter().flatten();
            let shown = segments.find(|shown| shown["name"] == segment_name(segment));
            let name = shown.and_then(|shown| Some(shown["leader"]["name"].as_str()?.to_owned()));
            leader = name.and_then(|name| self.nodes.iter().position(|node| node.name == name));
            leader.is_some_and(|index| self.nodes[index].program.is_some())
        })?;
        leader.context("it has a leader")
    }

    /// Waits until the control server knows that it does not hear a segment.
    pub fn silent(&self, segment: usize) -> Result<()> {
        until("the segment is silent", PATIENCE, || {
            let listed = self.run(&["segment", "list"]).unwrap_or_default();
            let mut segments = listed["items"].as_array().into_iter().flatten();
            let shown = segments.find(|shown| shown["name"] == segment_name(segment));
            shown.is_some_and(|shown| shown["leader"].is_null())
        })
    }

    pub fn kill(&mut self, index: usize) -> Result<()> {
        let program = self.nodes[index].program.take();
        program.context("it runs")?.kill().map(drop)
    }

    pub fn start_node(&mut self, index: usize) -> Result<()> {
        let node = &self.nodes[index];
        let config = self.folder.join(format!("{}.toml", node.name));
        let settings = &self.settings[index];
        fs::write(&config, format!("interface = \"eth0\"\n{settings}"))?;
        let mut command = Command::new(&self.program);
        command
            .args(["agent", "run", "--name", &node.name, "--config"])
            .arg(&config);
        command.args(["--server", &self.url(node.segment), "--ca", &self.ca]);
        command.args(["--token", &self.tokens[node.segment], "--data"]);
        command.arg(self.data(&node.name));
        if let Some(disk) = node.disk {
            command = disk.under(&self.data(&node.name), &command);
        }
        if node.ahead_s > 0 {
            command = ahead(&command, node.ahead_s);
        }
        let program = node.host.start(command)?;
        self.nodes[index].program = Some(program);
        Ok(())
    }

    /// The control server dies at once, and starts again.
    pub fn restart_server(&mut self) -> Result<()> {
        self.restart_server_on(None)
    }

    /// The same, on a small disk.
    pub fn restart_server_on(&mut self, disk: Option<Disk>) -> Result<()> {
        self.server.kill()?;
        self.server = serve(&self.program, &self.control, &self.folder, disk)?;
        started(&self.server).map(drop)
    }

    /// Waits until the control server knows that all nodes that run are up, and nobody else.
    pub fn heard(&self) -> Result<()> {
        let mut seen = Value::Null;
        let running = self
            .nodes
            .iter()
            .filter(|node| node.program.is_some())
            .count();
        let heard = until("the control server hears all nodes", PATIENCE, || {
            seen = self.run(&["node", "list"]).unwrap_or_default();
            let up = |node: &&Value| node["presence"] == "up";
            let items = seen["items"].as_array();
            items.is_some_and(|items| items.iter().filter(up).count() == running)
        });
        heard.with_context(|| format!("{seen:#}"))
    }

    fn url(&self, segment: usize) -> String {
        format!("https://{}:7443", self.control.ipv4_in(segment))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env("BELLWETHER_CONTEXT", self.folder.join("context.toml"));
        command
    }
}

fn segment_name(segment: usize) -> String {
    format!("s{}", segment + 1)
}

fn serve(program: &Path, control: &Host, folder: &Path, disk: Option<Disk>) -> Result<Program> {
    let mut command = Command::new(program);
    command.args([
        "server",
        "--listen",
        "0.0.0.0:7443",
        "--output",
        "json",
        "--data",
    ]);
    let data = folder.join("server");
    command.arg(&data);
    if let Some(disk) = disk {
        command = disk.under(&data, &command);
    }
    control.start(command)
}

/// The command with steady clocks of its own.
fn ahead(command: &Command, seconds: u32) -> Command {
    let mut wrapped = Command::new("unshare");
    wrapped.args(["--time", "--fork", "--kill-child"]);
    for clock in ["--monotonic", "--boottime"] {
        wrapped.args([clock, &seconds.to_string()]);
    }
    wrapped.arg(command.get_program()).args(command.get_args());
    wrapped
}

/// What a server tells when it listens.
fn started(server: &Program) -> Result<Value> {
    let line = server
        .transcript()
        .await_line(0, "server.started", PATIENCE)?;
    Ok(serde_json::from_str(&line.text)?)
}

/// What two trees differ in, if they do: names, kinds, content, what links name, and modes of all but the root.
fn difference(one: &Path, other: &Path) -> Option<String> {
    // `live` is a link, and what it names is meant.
    let other = other.join("");
    let mut command = Command::new("diff");
    command.args(["-r", "--no-dereference"]).arg(one);
    match command.arg(&other).output() {
        Ok(ran) if ran.status.success() => {
            other_mode(one, &other).unwrap_or_else(|error| Some(error.to_string()))
        }
        Ok(ran) => Some(String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()).into_owned()),
        Err(error) => Some(error.to_string()),
    }
}

/// Something that has another mode in two trees that are the same otherwise.
fn other_mode(one: &Path, other: &Path) -> io::Result<Option<String>> {
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(one.join(&folder))? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            let (is, metadata) = (other.join(&path).symlink_metadata()?, entry.metadata()?);
            if metadata.is_symlink() {
                continue;
            }
            if is.mode() != metadata.mode() {
                let (is, mode) = (is.mode(), metadata.mode());
                return Ok(Some(format!(
                    "{} has mode {is:o} instead of {mode:o}",
                    path.display()
                )));
            }
            if metadata.is_dir() {
                folders.push(path);
            }
        }
    }
    Ok(None)
}
