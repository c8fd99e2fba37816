use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use bellwether_lab::farm::{Farm, PATIENCE, SITE};
use serde_json::Value;

use super::switches::Switches;
use crate::random::Random;

/// How `publish` ends when nodes are missing.
const MISSING: i32 = 6;

/// A farm whose site changes.
pub(super) struct Trial<'l> {
    pub(super) farm: Farm<'l>,
    pub(super) tree: PathBuf,
    random: Random,
    /// The last event that was read.
    event: u64,
}

/// A job from the operator's command on.
pub(super) struct Round {
    pub(super) began: Instant,
    /// The same by the clock of the control server, which is this machine's.
    began_ms: f64,
    /// When it took its steps, in milliseconds of the control server's clock; the first of each kind.
    steps: BTreeMap<String, i64>,
}

impl<'l> Trial<'l> {
    /// One site, served by all nodes.
    pub(super) fn new(farm: Farm<'l>, options: &[&str]) -> Result<Self> {
        farm.define(options)?;
        Self::of(farm)
    }

    /// Of a farm that has its site. Some of its pages never change.
    pub(super) fn of(farm: Farm<'l>) -> Result<Self> {
        let tree = farm.lab.folder().join("tree");
        fs::create_dir_all(&tree)?;
        let mut trial = Self {
            farm,
            tree,
            random: Random(1),
            event: 0,
        };
        for page in 0..20 {
            trial.write(&format!("page-{page}.html"), 4 << 10)?;
        }
        Ok(trial)
    }

    /// Gives a file of the site new content, in which no compressor finds anything.
    pub(super) fn write(&mut self, name: &str, len: usize) -> Result<()> {
        let mut content = vec![0; len.next_multiple_of(8)];
        self.random.fill(&mut content);
        content.truncate(len);
        fs::write(self.tree.join(name), content)?;
        Ok(())
    }

    /// Changes a file in place, from an offset on.
    pub(super) fn patch(&mut self, name: &str, at: usize, len: usize) -> Result<()> {
        let path = self.tree.join(name);
        let mut content = fs::read(&path)?;
        self.random.fill(&mut content[at..at + len]);
        fs::write(path, content)?;
        Ok(())
    }

    /// Notices what becomes live from now on. Each node must have had something live before.
    pub(super) fn switches(&self) -> Result<Switches> {
        let nodes = self.farm.nodes.iter();
        let sites: Vec<PathBuf> = nodes
            .filter_map(|node| self.farm.live(node).parent().map(Path::to_owned))
            .collect();
        Switches::watch(&sites)
    }

    pub(super) fn publish(&mut self) -> Result<Round> {
        let tree = self.tree.to_str().context("a name in UTF-8")?.to_owned();
        self.job(&["publish", SITE, &tree, "--wait"])
    }

    /// The same while somebody is away, as the exit code says.
    pub(super) fn publish_to_others(&self) -> Result<()> {
        let tree = self.tree.to_str().context("a name in UTF-8")?;
        let ended = self.farm.begin(&["publish", SITE, tree])?.wait()?;
        ensure!(ended.code() == Some(MISSING), "publish: {ended}");
        Ok(())
    }

    /// Bytes of all files.
    pub(super) fn len(&self) -> Result<u64> {
        let files = fs::read_dir(&self.tree)?;
        files.map(|file| Ok(file?.metadata()?.len())).sum()
    }

    pub(super) fn rollback(&mut self) -> Result<Round> {
        self.job(&["rollback", SITE])
    }

    fn job(&mut self, words: &[&str]) -> Result<Round> {
        let (began, began_ms) = (Instant::now(), now_ms());
        self.farm.run(words)?;
        let steps = self.events("job.finished")?;
        let created = steps.iter().find(|event| event["kind"] == "job.created");
        let name = created.context("a job was created")?["subject"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let mut round = Round {
            began,
            began_ms,
            steps: BTreeMap::new(),
        };
        for event in steps.iter().filter(|event| event["subject"] == *name) {
            let (kind, at) = (event["kind"].as_str(), event["at_ms"].as_i64());
            if let (Some(kind), Some(at)) = (kind, at) {
                round.steps.entry(kind.to_owned()).or_insert(at);
            }
        }
        Ok(round)
    }

    /// What happened since this was asked last, up to an event of this kind.
    fn events(&mut self, last: &str) -> Result<Vec<Value>> {
        let after = self.event.to_string();
        let mut told = self.farm.begin(&["events", "--after", &after])?;
        let status = told.wait()?;
        ensure!(status.success(), "events: {status}");
        told.transcript().await_line(0, last, PATIENCE)?;
        let lines = told.transcript().since(0);
        let events: Vec<Value> = lines
            .iter()
            .map(|line| serde_json::from_str(&line.text))
            .collect::<Result<_, _>>()?;
        let numbers = events.iter().filter_map(|event| event["number"].as_u64());
        self.event = numbers.max().unwrap_or(self.event);
        Ok(events)
    }
}

impl Round {
    /// Milliseconds between two steps of the job.
    pub(super) fn between(&self, one: &str, other: &str) -> Result<f64> {
        Ok(self.at(other)? - self.at(one)?)
    }

    /// Milliseconds from a step to a moment.
    pub(super) fn until(&self, step: &str, moment: Instant) -> Result<f64> {
        Ok(self.began_ms + milliseconds(moment - self.began) - self.at(step)?)
    }

    fn at(&self, step: &str) -> Result<f64> {
        let known = self.steps.get(&format!("job.{step}"));
        let known = known.with_context(|| format!("no {step} in {:?}", self.steps));
        Ok(*known? as f64)
    }
}

fn now_ms() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64() * 1e3
}

pub(super) fn milliseconds(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}
