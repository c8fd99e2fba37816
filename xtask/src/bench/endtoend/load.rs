//! A control server under the leaders of many segments, on this machine's loopback, where they take processors from it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::bench::Bench;
use crate::bench::table::{Table, Target};
use crate::shell;

const LEADERS: u64 = 500;
const MEMBERS: u64 = 20;
const SECONDS: &str = "30";

/// 500 leaders of 20 nodes report every 5 s, and four times a second how far the one job is that is under way.
pub(super) fn run(bench: &Bench) -> Result<Vec<Target>> {
    let crowd = shell::built("bellwether-crowd")?;
    let folder = bench.empty("load")?;
    let program = bench.ours.program();
    let mut server = Command::new(program);
    server.args([
        "server",
        "--listen",
        "127.0.0.1:0",
        "--output",
        "json",
        "--data",
    ]);
    let mut server = Running::start(server.arg(folder.join("server")))?;
    let told = server.line("server.started")?;
    let text = |field: &str| told[field].as_str().unwrap_or_default().to_owned();
    let (url, ca, token) = (text("url"), text("ca_fingerprint"), text("admin_token"));
    let context = folder.join("context.toml");
    let run = |words: &[&str]| -> Result<String> {
        let mut command = Command::new(program);
        command.env("BELLWETHER_CONTEXT", &context).args(words);
        shell::read(&mut command)
    };
    run(&["login", &url, "--ca", &ca, "--token-file", &token])?;
    run(&["site", "create", "shop", "--commit", "by-hand"])?;
    run(&["group", "create", "all-of-them", "--site", "shop"])?;
    let tree = folder.join("tree");
    std::fs::create_dir(&tree)?;
    std::fs::write(tree.join("index.html"), "what is published\n")?;
    let leaders = bench.scaled(LEADERS).to_string();
    let mut crowd = Command::new(crowd);
    crowd.args([&url, &ca, &token, &server.0.id().to_string()]);
    crowd.args([&leaders, &MEMBERS.to_string(), SECONDS]);
    let mut crowd = Running::start(&mut crowd)?;
    let heard = crowd.line("crowd.heard")?;
    run(&["publish", "shop", path(&tree)?, "--detach"])?;
    let done = crowd.line("crowd.done")?;
    let figure = |of: &Value, field: &str| of[field].as_f64().unwrap_or(f64::NAN);
    let mut table = Table::new(
        &format!("{leaders} leaders of {MEMBERS} nodes, a job under way"),
        &["", ""],
    );
    for (what, value) in [
        ("s for all nodes to enrol", figure(&heard, "enrolled_s")),
        ("cores of the server", figure(&done, "cores")),
        ("MiB resident", figure(&done, "resident_mib")),
        ("calls of the API", figure(&done, "calls")),
        ("ms, the median call", figure(&done, "p50_ms")),
        ("ms, p99", figure(&done, "p99_ms")),
    ] {
        table.row(&[what.to_owned(), format!("{value:.2}")]);
    }
    table.print();
    Ok(vec![
        Target::new("500 leaders, cores", figure(&done, "cores"), 1.0),
        Target::new("500 leaders, MiB", figure(&done, "resident_mib"), 512.0),
        Target::new("500 leaders, API p99 ms", figure(&done, "p99_ms"), 50.0),
    ])
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().context("a name in UTF-8")
}

/// A program that says what it has to say in lines of JSON, and ends with this.
struct Running(Child, BufReader<ChildStdout>);

impl Running {
    fn start(command: &mut Command) -> Result<Self> {
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().context("its output")?;
        Ok(Self(child, BufReader::new(output)))
    }

    /// The next line of a kind.
    fn line(&mut self, kind: &str) -> Result<Value> {
        loop {
            let mut line = String::new();
            ensure!(self.1.read_line(&mut line)? > 0, "it ended before {kind}");
            match serde_json::from_str::<Value>(&line) {
                Ok(told) if told["kind"] == kind => return Ok(told),
                _ => {}
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
