//! Kill the leader: how long until there is another? Real processes on one segment of the lab.
//!
//! Each contender runs on five nodes. A run waits until they are settled, lets a random part of a heartbeat pass, so
//! that the age of the last heartbeat is like anybody's, kills the leader with SIGKILL and all it started, and takes
//! the time until the survivors say what they are to say. The killed one is started again before the next run.
//!
//! The mark is the line of the log that says so, stamped when it comes out of the program's pipe. For keepalived that
//! is the earliest there is: the line comes about a millisecond before the address is at the interface and before the
//! advertisement of the new master is on the wire (looked at once, with `ip monitor` and a raw socket beside it).

mod agent;
mod idle;
mod keepalived;
mod serf;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bellwether_lab::{Host, Lab, Program};

use super::Bench;
use super::simulated;
use super::spread::Spread;
use super::table::Table;
use crate::random::Random;
use agent::Agent;
use keepalived::Keepalived;
use serf::Serf;

const NODES: usize = 5;

/// Heartbeats of ours, advertisement intervals of keepalived's.
const HEARTBEATS_MS: [u64; 2] = [1000, 100];

/// After it nobody waits for a leader any more, or for nodes to settle.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at what was printed; the lines have stamps of their own.
const LOOK: Duration = Duration::from_millis(1);

pub(super) fn run(bench: &Bench) -> Result<()> {
    let mut table = Table::new(
        &format!("leader killed, {NODES} nodes"),
        &["", "runs", "s", "p90 s", "intervals", "× keepalived"],
    );
    for heartbeat_ms in HEARTBEATS_MS {
        let heartbeat = Duration::from_millis(heartbeat_ms);
        let mut measured = Vec::new();
        if bench.wants("agent") {
            let agent = Agent {
                ours: &bench.ours,
                heartbeat,
            };
            let times = failovers(&agent, bench.runs)?;
            measured.push((agent.title(), heartbeat, times));
        }
        if bench.wants("keepalived") {
            let keepalived = Keepalived { heartbeat };
            let times = failovers(&keepalived, bench.runs)?;
            measured.push((keepalived.title(), heartbeat, times));
        }
        // It has one speed for local networks, and probes once a second.
        if bench.wants("serf") && heartbeat_ms == 1000 {
            for profile in ["lan", "local"] {
                let serf = Serf { profile };
                let times = failovers(&serf, bench.runs.div_ceil(5))?;
                measured.push((serf.title(), heartbeat, times));
            }
        }
        let keepalived = measured
            .iter()
            .find(|(title, ..)| title.starts_with("keepalived"));
        let base = keepalived.map(|(_, _, times)| (times.median(), times.percentile(90)));
        for (title, interval, times) in &measured {
            table.row(&[
                title.clone(),
                times.len().to_string(),
                times.to_string(),
                format!("{:.4}", times.percentile(90)),
                format!("{:.2}", times.median() / interval.as_secs_f64()),
                base.map_or_else(
                    || "—".to_owned(),
                    |(median, p90)| {
                        format!(
                            "{:.2}, p90 {:.2}",
                            times.median() / median,
                            times.percentile(90) / p90
                        )
                    },
                ),
            ]);
        }
    }
    if bench.wants("agent") || bench.wants("keepalived") || bench.wants("serf") {
        table.print();
    }
    if bench.wants("idle") {
        idle::run(bench)?;
    }
    if bench.wants("simulated") {
        simulated::run(bench)?;
    }
    Ok(())
}

/// Nodes in whose eyes something holds: who leads, or who is alive.
type Belief = BTreeSet<usize>;

/// Somebody who notices that a node has died, and says so in its log.
trait Contender {
    fn title(&self) -> String;

    fn heartbeat(&self) -> Duration;

    /// What to run on the node; its files, if it wants any, lie in the folder.
    fn command(&self, node: usize, hosts: &[Host], folder: &Path) -> Result<Command>;

    /// What the node believes after it said this.
    fn hear(&self, node: usize, line: &str, belief: &mut Belief);

    /// Whom to kill in this run, once the nodes are settled.
    fn victim(&self, run: usize, beliefs: &[Belief]) -> Option<usize>;

    /// Whether the survivors have got over it.
    fn is_over(&self, victim: usize, beliefs: &[Belief]) -> bool;
}

/// Seconds from the kill until it is over, of so many runs.
fn failovers(contender: &dyn Contender, runs: usize) -> Result<Spread> {
    let mut lab = Lab::open()?;
    let segment = lab.segment()?;
    let hosts = lab.hosts(NODES, segment)?;
    let mut cluster = Cluster {
        contender,
        folder: lab.folder(),
        hosts: &hosts,
        nodes: Vec::new(),
        beliefs: vec![Belief::new(); NODES],
    };
    for node in 0..NODES {
        cluster.start(node)?;
    }
    let mut random = Random(1);
    let mut times = Vec::new();
    for run in 0..runs {
        let victim = cluster
            .settle(run)
            .with_context(|| format!("{}, run {run}", contender.title()))?;
        std::thread::sleep(
            contender
                .heartbeat()
                .mul_f64(random.next() as f64 / u64::MAX as f64),
        );
        let took = cluster
            .kill(victim)
            .with_context(|| format!("{}, run {run}", contender.title()))?;
        eprintln!("{}: run {run}: {took:?}", contender.title());
        times.push(took.as_secs_f64());
        cluster.start(victim)?;
    }
    Ok(Spread::new(times))
}

struct Cluster<'a> {
    contender: &'a dyn Contender,
    folder: &'a Path,
    hosts: &'a [Host],
    /// Program, and how many of its lines were read.
    nodes: Vec<(Program, usize)>,
    beliefs: Vec<Belief>,
}

impl Cluster<'_> {
    fn start(&mut self, node: usize) -> Result<()> {
        let command = self.contender.command(node, self.hosts, self.folder)?;
        let started = (self.hosts[node].start(command)?, 0);
        match self.nodes.get_mut(node) {
            Some(place) => *place = started,
            None => self.nodes.push(started),
        }
        Ok(())
    }

    /// Waits until it is clear whom to kill, and stays so for some heartbeats.
    fn settle(&mut self, run: usize) -> Result<usize> {
        let deadline = Instant::now() + PATIENCE;
        let mut since: Option<(usize, Instant)> = None;
        loop {
            self.read(|_| false);
            let now = Instant::now();
            let victim = self.contender.victim(run, &self.beliefs);
            match (victim, since) {
                (Some(victim), Some((same, first))) if victim == same => {
                    if now - first >= 3 * self.contender.heartbeat() {
                        return Ok(victim);
                    }
                }
                (Some(victim), _) => since = Some((victim, now)),
                (None, _) => since = None,
            }
            if now > deadline {
                bail!("the nodes do not settle: {:?}", self.beliefs);
            }
            std::thread::sleep(LOOK);
        }
    }

    fn kill(&mut self, victim: usize) -> Result<Duration> {
        let contender = self.contender;
        let killed = Instant::now();
        self.nodes[victim].0.kill()?;
        self.beliefs[victim].clear();
        let deadline = killed + PATIENCE;
        while Instant::now() < deadline {
            if let Some(over) = self.read(|beliefs| contender.is_over(victim, beliefs)) {
                return Ok(over - killed);
            }
            std::thread::sleep(LOOK);
        }
        bail!(
            "nobody got over the death of node {victim}: {:?}",
            self.beliefs
        )
    }

    /// Takes in what the nodes said, in the order of time; when the condition first held.
    fn read(&mut self, condition: impl Fn(&[Belief]) -> bool) -> Option<Instant> {
        let mut lines = Vec::new();
        for (node, (program, read)) in self.nodes.iter_mut().enumerate() {
            let new = program.transcript().since(*read);
            *read += new.len();
            lines.extend(new.into_iter().map(|line| (line.at, node, line.text)));
        }
        lines.sort();
        for (at, node, line) in lines {
            self.contender.hear(node, &line, &mut self.beliefs[node]);
            if condition(&self.beliefs) {
                return Some(at);
            }
        }
        None
    }
}
