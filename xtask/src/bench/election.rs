//! Kill the leader: how long until there is another? Real processes on one segment of the lab.
//!
//! Each contender runs on five nodes. A run waits until they are settled, lets a random part of a heartbeat pass, so
//! that the age of the last heartbeat is like anybody's, kills the leader with SIGKILL and all it started, and takes
//! the time until the survivors say what they are to say. The killed one is started again before the next run.
//!
//! The mark is the line of the log that says so, stamped when it comes out of the program's pipe. For keepalived that
//! is the earliest there is: the line comes about a millisecond before the address is at the interface and before the
//! advertisement of the new master is on the wire (looked at once, with `ip monitor` and a raw socket beside it).

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bellwether_lab::{Host, Lab, Program};

use super::Bench;
use super::spread::Spread;
use super::table::Table;
use crate::random::Random;

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
        let base = bench.wants("keepalived").then(|| measured[0].2.median());
        for (title, interval, times) in &measured {
            table.row(&[
                title.clone(),
                times.len().to_string(),
                times.to_string(),
                format!("{:.4}", times.percentile(90)),
                format!("{:.2}", times.median() / interval.as_secs_f64()),
                base.map_or_else(
                    || "—".to_owned(),
                    |base| format!("{:.2}", times.median() / base),
                ),
            ]);
        }
    }
    table.print();
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

/// VRRP version 3, priorities 100, 99, …; a master that comes back does not take over.
struct Keepalived {
    heartbeat: Duration,
}

impl Contender for Keepalived {
    fn title(&self) -> String {
        format!("keepalived, advert {} s", self.heartbeat.as_secs_f64())
    }

    fn heartbeat(&self) -> Duration {
        self.heartbeat
    }

    fn command(&self, node: usize, hosts: &[Host], folder: &Path) -> Result<Command> {
        let file = |suffix: &str| folder.join(format!("{}.{suffix}", hosts[node].name()));
        let text = format!(
            "global_defs {{\n vrrp_version 3\n}}\nvrrp_instance bench {{\n state BACKUP\n nopreempt\n interface eth0\n \
             virtual_router_id 7\n priority {}\n advert_int {}\n virtual_ipaddress {{\n  10.1.99.99/16 dev eth0\n \
             }}\n}}\n",
            100 - node,
            self.heartbeat.as_secs_f64()
        );
        std::fs::write(file("conf"), text)?;
        // One that was killed has left them.
        for left in ["pid", "vrrp"] {
            let _ = std::fs::remove_file(file(left));
        }
        let mut command = Command::new("keepalived");
        command.args(["--dont-fork", "--log-console", "--vrrp", "--use-file"]);
        command.arg(file("conf")).arg("--pid").arg(file("pid"));
        command.arg("--vrrp_pid").arg(file("vrrp"));
        Ok(command)
    }

    fn hear(&self, node: usize, line: &str, belief: &mut Belief) {
        if line.ends_with("(bench) Entering MASTER STATE") {
            belief.insert(node);
        } else if line.contains("(bench) Entering BACKUP STATE") {
            belief.clear();
        }
    }

    fn victim(&self, _run: usize, beliefs: &[Belief]) -> Option<usize> {
        let mut masters = beliefs.iter().flatten();
        masters.next().copied().filter(|_| masters.next().is_none())
    }

    fn is_over(&self, _victim: usize, beliefs: &[Belief]) -> bool {
        beliefs.iter().any(|belief| !belief.is_empty())
    }
}

/// Detects failures and elects nobody; over when every survivor has declared the victim failed.
struct Serf {
    profile: &'static str,
}

impl Contender for Serf {
    fn title(&self) -> String {
        format!("serf, profile {}, all know of the failure", self.profile)
    }

    fn heartbeat(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn command(&self, node: usize, hosts: &[Host], _folder: &Path) -> Result<Command> {
        let mut command = Command::new("serf");
        command.args(["agent", "-log-level=info", "-rpc-addr=127.0.0.1:7373"]);
        command.arg(format!("-node={}", hosts[node].name()));
        command.arg(format!("-bind={}", hosts[node].ipv4()));
        command.arg(format!("-profile={}", self.profile));
        let others = hosts
            .iter()
            .filter(|host| host.name() != hosts[node].name());
        command.args(others.map(|host| format!("-retry-join={}", host.ipv4())));
        command.arg("-retry-interval=1s");
        Ok(command)
    }

    fn hear(&self, _node: usize, line: &str, belief: &mut Belief) {
        let named = |event: &str| {
            let (_, rest) = line.split_once(event)?;
            let number = rest.split_whitespace().next()?.strip_prefix('h')?;
            number.parse::<usize>().ok()?.checked_sub(1)
        };
        if let Some(member) = named("EventMemberJoin: ") {
            belief.insert(member);
        } else if let Some(member) = named("EventMemberFailed: ") {
            belief.remove(&member);
        }
    }

    fn victim(&self, run: usize, beliefs: &[Belief]) -> Option<usize> {
        let complete = beliefs.iter().all(|belief| belief.len() == beliefs.len());
        complete.then_some(run % beliefs.len())
    }

    fn is_over(&self, victim: usize, beliefs: &[Belief]) -> bool {
        let survivors = beliefs
            .iter()
            .enumerate()
            .filter(|(node, _)| *node != victim);
        survivors
            .map(|(_, belief)| belief)
            .all(|belief| !belief.contains(&victim))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "Sat Nov 21 11:48:56 2026: ";

    #[test]
    fn keepalived_is_settled_with_one_master_and_over_with_another() {
        let keepalived = Keepalived {
            heartbeat: Duration::from_secs(1),
        };
        let mut beliefs = vec![Belief::new(); 3];
        assert_eq!(keepalived.victim(0, &beliefs), None);
        let say = |beliefs: &mut Vec<Belief>, node: usize, state: &str| {
            let line = format!("{NOW}(bench) Entering {state}");
            keepalived.hear(node, &line, &mut beliefs[node]);
        };
        say(&mut beliefs, 0, "BACKUP STATE (init)");
        say(&mut beliefs, 1, "MASTER STATE");
        assert_eq!(keepalived.victim(0, &beliefs), Some(1));
        say(&mut beliefs, 2, "MASTER STATE");
        assert_eq!(keepalived.victim(0, &beliefs), None);
        say(&mut beliefs, 2, "BACKUP STATE");
        beliefs[1].clear();
        assert!(!keepalived.is_over(1, &beliefs));
        say(&mut beliefs, 0, "MASTER STATE");
        assert!(keepalived.is_over(1, &beliefs));
    }

    #[test]
    fn serf_is_over_when_every_survivor_has_noticed() {
        let serf = Serf { profile: "lan" };
        let mut beliefs = vec![Belief::from([0, 1, 2]); 3];
        assert_eq!(serf.victim(4, &beliefs), Some(1));
        let failed = format!("{NOW}[INFO] serf: EventMemberFailed: h2 10.1.0.3");
        serf.hear(0, &failed, &mut beliefs[0]);
        assert!(!serf.is_over(1, &beliefs));
        serf.hear(2, &failed, &mut beliefs[2]);
        assert!(serf.is_over(1, &beliefs));
        assert_eq!(serf.victim(4, &beliefs), None);
        for belief in &mut beliefs {
            serf.hear(0, "serf: EventMemberJoin: h2 10.1.0.3", belief);
        }
        assert_eq!(serf.victim(4, &beliefs), Some(1));
    }
}
