//! A segment of agents, and what they say by `agent status`.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bellwether_agent::{Answer, Request, Status, ask};
use bellwether_lab::{Fault, Host, Lab, Program, until};

/// Heartbeats of 100 ms: a silence is 300 ms.
const HEARTBEAT_MS: u32 = 100;
/// What does not happen in so long, on a machine however busy, does not happen.
const PATIENCE: Duration = Duration::from_secs(180);

pub(crate) struct Agents<'a> {
    pub(crate) lab: &'a mut Lab,
    pub(crate) hosts: Vec<Host>,
    pub(crate) programs: Vec<Option<Program>>,
    folder: PathBuf,
    /// More settings, the same for all.
    settings: String,
}

impl<'a> Agents<'a> {
    /// `count` agents on hosts of their own.
    pub(crate) fn start(lab: &'a mut Lab, count: usize) -> Result<Self> {
        let segment = lab.segment()?;
        let hosts = lab.hosts(count, segment)?;
        Self::start_on(lab, hosts, String::new())
    }

    /// An agent for each of these, started at once; the first is the preferred leader, the next the second choice, …
    pub(crate) fn start_on(lab: &'a mut Lab, hosts: Vec<Host>, settings: String) -> Result<Self> {
        let (count, folder) = (hosts.len(), lab.folder().to_owned());
        let key = folder.join("segment.key");
        let made = bellwether().args(["agent", "keygen"]).arg(&key).output()?;
        ensure!(made.status.success(), "{made:?}");
        let mut agents = Self {
            lab,
            hosts,
            programs: (0..count).map(|_| None).collect(),
            folder,
            settings,
        };
        for index in 0..count {
            agents.run(index)?;
        }
        Ok(agents)
    }

    /// Starts an agent, or starts it again.
    pub(crate) fn run(&mut self, index: usize) -> Result<()> {
        let config = self.folder.join(format!("h{}.toml", index + 1));
        let text = format!(
            "segment = \"web\"\nkey_file = {:?}\ninterface = \"eth0\"\nname = \"h{}\"\ndata = {:?}\n[timing.fast]\n\
             heartbeat_ms = {HEARTBEAT_MS}\n[election]\npreference = {}\n{}\n",
            self.folder.join("segment.key"),
            index + 1,
            self.data(index),
            90 - 5 * index,
            self.settings,
        );
        std::fs::write(&config, text)?;
        let mut command = bellwether();
        command.args(["agent", "run", "--config"]).arg(&config);
        self.programs[index] = Some(self.hosts[index].start(command)?);
        Ok(())
    }

    pub(crate) fn program(&mut self, index: usize) -> Result<&mut Program> {
        self.programs[index].as_mut().context("it runs")
    }

    pub(crate) fn kill(&mut self, index: usize) -> Result<()> {
        self.program(index)?.kill()?;
        self.programs[index] = None;
        Ok(())
    }

    pub(crate) fn data(&self, index: usize) -> PathBuf {
        self.folder.join(format!("data{}", index + 1))
    }

    pub(crate) fn ask(&self, index: usize, request: Request) -> Result<Answer> {
        Ok(ask(&self.data(index), request)?)
    }

    pub(crate) fn status(&self, index: usize) -> Result<Status> {
        match self.ask(index, Request::Status)? {
            Answer::Status(status) => Ok(*status),
            other => bail!("{other:?}"),
        }
    }

    /// Indices of agents that run.
    pub(crate) fn running(&self) -> Vec<usize> {
        let all = 0..self.programs.len();
        all.filter(|index| self.programs[*index].is_some())
            .collect()
    }

    /// Waits until these, and nobody else, form one segment: all name the same leader and epoch, one of them leads, all
    /// are registered, and all hold the same state with exactly these members. Who leads, and the epoch.
    pub(crate) fn settle(&self, who: &[usize]) -> Result<(usize, String)> {
        let mut seen = Vec::new();
        let settled = until("one leader and a full report", PATIENCE, || {
            seen = who
                .iter()
                .filter_map(|index| self.status(*index).ok())
                .collect();
            is_settled(&seen, who)
        });
        settled.with_context(|| {
            let shown = seen.iter().map(brief);
            format!("agents {who:?}:\n{}", shown.collect::<Vec<_>>().join("\n"))
        })?;
        let leader = seen
            .iter()
            .position(|status| status.state == bellwether_agent::State::Leading);
        let leader = leader.context("one leads")?;
        let epoch = seen[leader].epoch.clone().context("it has an epoch")?;
        Ok((who[leader], epoch))
    }

    pub(crate) fn settle_all(&self) -> Result<(usize, String)> {
        self.settle(&self.running())
    }

    /// Nothing passes between these and all others.
    pub(crate) fn part(&mut self, some: &[usize]) -> Result<()> {
        let hosts = self.hosts.clone();
        let all = hosts.iter().enumerate();
        let (some, others): (Vec<_>, Vec<_>) = all.partition(|(index, _)| some.contains(index));
        let [some, others] =
            [some, others].map(|part| part.into_iter().map(|(_, host)| host).collect::<Vec<_>>());
        self.lab.set_faults(&Fault::partition(&some, &others))
    }
}

/// The part before the colon.
pub(crate) fn counter(epoch: &str) -> u64 {
    let counter = epoch.split(':').next();
    counter.and_then(|text| text.parse().ok()).unwrap_or(0)
}

pub(crate) fn bellwether() -> Command {
    Command::new(env!("CARGO_BIN_EXE_bellwether"))
}

/// Waits for something that one agent says of itself.
pub(crate) fn comes(what: &str, condition: impl FnMut() -> bool) -> Result<()> {
    until(what, PATIENCE, condition)
}

fn is_settled(seen: &[Status], who: &[usize]) -> bool {
    let Some(first) = seen.first().filter(|_| seen.len() == who.len()) else {
        return false;
    };
    let mut names: Vec<String> = who.iter().map(|index| format!("h{}", index + 1)).collect();
    names.sort();
    let leading = seen
        .iter()
        .filter(|status| status.state == bellwether_agent::State::Leading);
    leading.count() == 1
        && seen.iter().all(|status| {
            let members = status.members.iter().map(|member| &member.name);
            status.registered
                && status.epoch == first.epoch
                && status.leader.as_ref().map(|leader| &leader.id)
                    == first.leader.as_ref().map(|leader| &leader.id)
                && status.leader.is_some()
                && status.segment_state == first.segment_state
                && members.eq(&names)
        })
}

fn brief(status: &Status) -> String {
    let members: Vec<_> = status
        .members
        .iter()
        .map(|member| member.name.as_str())
        .collect();
    format!(
        "{}: {:?}, epoch {:?}, leader {:?}, registered {}, state {:?}, members {members:?}",
        status.node.name,
        status.state,
        status.epoch,
        status.leader.as_ref().map(|leader| &leader.name),
        status.registered,
        status.segment_state
    )
}
