//! A control server under the leaders of many segments, on this machine's loopback, where they take processors from it.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::trial::milliseconds;
use crate::bench::Bench;
use crate::bench::spread::Spread;
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
    let (server, told) = serve(program, &folder)?;
    let operator = Operator::new(program, &folder, &told)?;
    operator.run(&["site", "create", "shop", "--commit", "by-hand"])?;
    operator.run(&["group", "create", "all-of-them", "--site", "shop"])?;
    let tree = folder.join("tree");
    std::fs::create_dir(&tree)?;
    std::fs::write(tree.join("index.html"), "what is published\n")?;
    let leaders = bench.scaled(LEADERS).to_string();
    let mut crowd = Command::new(crowd);
    crowd.args(["url", "ca_fingerprint", "admin_token"].map(|field| text(&told, field)));
    crowd.arg(server.0.id().to_string());
    crowd.args([&leaders, &MEMBERS.to_string(), SECONDS]);
    let mut crowd = Running::start(&mut crowd)?;
    let heard = crowd.line("crowd.heard")?;
    operator.run(&["publish", "shop", path(&tree)?, "--detach"])?;
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

/// A list of the latest of 100,000 jobs, as an operator asks for it.
pub(super) fn history(bench: &Bench) -> Result<Vec<Target>> {
    let jobs = bench.scaled(100_000).to_string();
    // Making so many on a disk would take long, and reading them is what counts.
    let folder = Path::new("/dev/shm/bellwether-history");
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    std::fs::create_dir(folder)?;
    let program = bench.ours.program();
    let (server, told) = serve(program, folder)?;
    let operator = Operator::new(program, folder, &told)?;
    operator.run(&["site", "create", "shop"])?;
    operator.run(&["group", "create", "all-of-them", "--site", "shop"])?;
    drop(server);
    let words = [
        "run",
        "--release",
        "--locked",
        "--package",
        "bellwether-store",
        "--example",
        "history",
        "--",
    ];
    let file = folder.join("server/store.db");
    shell::read(shell::cargo().args(words).args([path(&file)?, &jobs]))?;
    let (_server, told) = serve(program, folder)?;
    let operator = Operator::new(program, folder, &told)?;
    let times = |words: &[&str]| -> Result<Spread> {
        let mut times = Vec::new();
        for _ in 0..bench.runs {
            let began = Instant::now();
            operator.run(words)?;
            times.push(milliseconds(began.elapsed()));
        }
        Ok(Spread::new(times))
    };
    let (list, floor) = (times(&["job", "list"])?, times(&["site", "list"])?);
    let mut table = Table::new(
        &format!("`job list` with a history of {jobs} jobs, program start and TLS included"),
        &["", "runs", "ms", "p99 ms"],
    );
    for (what, spread) in [
        ("`job list`", &list),
        ("floor: `site list`, of one site", &floor),
    ] {
        let p99 = format!("{:.1}", spread.percentile(99));
        table.row(&[
            what.to_owned(),
            spread.len().to_string(),
            spread.to_string(),
            p99,
        ]);
    }
    table.print();
    std::fs::remove_dir_all(folder)?;
    Ok(vec![Target::new(
        "100,000 jobs listed, p99 ms",
        list.percentile(99),
        100.0,
    )])
}

fn serve(program: &Path, folder: &Path) -> Result<(Running, Value)> {
    let mut server = Command::new(program);
    server.args([
        "server",
        "--listen",
        "127.0.0.1:0",
        "--output",
        "json",
        "--data",
    ]);
    server.arg(folder.join("server"));
    server.stderr(File::create(folder.join("server.log"))?);
    let mut server = Running::start(&mut server)?;
    let told = server.line("server.started")?;
    Ok((server, told))
}

fn text<'t>(told: &'t Value, field: &str) -> &'t str {
    told[field].as_str().unwrap_or_default()
}

/// Somebody at the command line.
struct Operator<'b> {
    program: &'b Path,
    context: PathBuf,
}

impl<'b> Operator<'b> {
    fn new(program: &'b Path, folder: &Path, told: &Value) -> Result<Self> {
        let context = folder.join("context.toml");
        let operator = Self { program, context };
        let (url, ca) = (text(told, "url"), text(told, "ca_fingerprint"));
        let token = folder.join("server/admin.token");
        operator.run(&["login", url, "--ca", ca, "--token-file", path(&token)?])?;
        Ok(operator)
    }

    fn run(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new(self.program);
        command.env("BELLWETHER_CONTEXT", &self.context).args(words);
        shell::read(&mut command)
    }
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
