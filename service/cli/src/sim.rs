use std::fmt;
use std::time::Instant;

use bellwether_sim::scenario::NAMES;
use bellwether_sim::{
    Broken, Member, Reduction, Run, Scenario, ScenarioError, Statistics, run, run_seeds, shrink,
    speed,
};
use clap::Args;
use serde::Serialize;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, Report};

/// Simulate segments: how they elect, what that costs, and whether any seed breaks them.
///
/// A scenario says how many nodes there are, what network lies between them and what happens to them; a seed draws one
/// run from it, the same each time. If a property breaks, the run is cut down to what that needs, and the command
/// printed that repeats it.
#[derive(Debug, Args)]
pub(crate) struct Sim {
    /// What is simulated: a file, or one of those that come with the program (see --list).
    #[arg(long, default_value = "failover", value_name = "FILE|NAME")]
    scenario: String,
    /// List the scenarios that come with the program.
    #[arg(long, exclusive = true)]
    list: bool,
    /// The seed, or the first of several.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds, one after the other.
    #[arg(long, default_value_t = 1, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// Nodes in all, instead of the scenario's.
    #[arg(long, value_name = "N")]
    nodes: Option<u32>,
    /// Segments, instead of the scenario's.
    #[arg(long, value_name = "N")]
    segments: Option<u32>,
    /// Let these disturbances alone happen, by number; `none` for none.
    #[arg(long, value_name = "NUMBERS", value_parser = numbers, conflicts_with = "seeds")]
    only_faults: Option<Numbers>,
    /// Never start these nodes, by number.
    #[arg(long, value_name = "NUMBERS", value_parser = numbers, conflicts_with = "seeds")]
    without_nodes: Option<Numbers>,
    /// Tell on standard error what happens to the nodes and what they think, the last 10,000 lines of it.
    #[arg(long, conflicts_with = "seeds")]
    story: bool,
}

/// Numbers separated by commas.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Numbers(Vec<u32>);

/// What the runs of a scenario had in common.
#[derive(Debug, Serialize)]
struct Simulation {
    scenario: String,
    first_seed: u64,
    seeds: u64,
    /// Equal whenever the same happened.
    trace: String,
    statistics: Statistics,
    took_s: f64,
    /// Simulated seconds in a second.
    times_real: f64,
    events_per_s: f64,
}

/// The scenarios that come with the program.
#[derive(Debug, Serialize)]
struct Scenarios {
    scenarios: [&'static str; NAMES.len()],
}

impl Sim {
    pub(crate) fn run(self, output: &Output) -> Result<Exit, Failure> {
        if self.list {
            output.report(&Scenarios { scenarios: NAMES })?;
            return Ok(Exit::Done);
        }
        let scenario = self.load()?;
        let begin = Instant::now();
        let (seeds, trace, statistics, failure) = if self.seeds > 1 {
            let runs = run_seeds::<Member>(&scenario, self.seed, self.seeds, |_| {});
            (runs.count, runs.trace, runs.statistics, runs.failure)
        } else {
            let run = run::<Member>(&scenario, self.seed, &self.reduction(), self.story);
            run.story.iter().for_each(|line| output.say(line));
            let failure = run.broken.is_some();
            (1, run.trace, run.statistics.clone(), failure.then_some(run))
        };
        if let Some(failed) = failure {
            return Err(self.failure(&scenario, failed, output));
        }
        let took = begin.elapsed();
        let (times_real, events_per_s) = speed(&statistics, took);
        output.report(&Simulation {
            scenario: self.scenario,
            first_seed: self.seed,
            seeds,
            trace: trace.to_string(),
            statistics,
            took_s: took.as_secs_f64(),
            times_real,
            events_per_s,
        })?;
        Ok(Exit::Done)
    }

    fn load(&self) -> Result<Scenario, Failure> {
        let mut scenario = Scenario::load(&self.scenario)?;
        scenario.nodes = self.nodes.unwrap_or(scenario.nodes);
        scenario.segments = self.segments.unwrap_or(scenario.segments);
        let checked = scenario.check();
        checked.map_err(|message| Failure::new(Exit::Usage, message))?;
        Ok(scenario)
    }

    fn reduction(&self) -> Reduction {
        Reduction {
            faults: self.only_faults.clone().map(|numbers| numbers.0),
            without: self
                .without_nodes
                .clone()
                .map(|numbers| numbers.0)
                .unwrap_or_default(),
        }
    }

    /// What broke, and the least that still breaks it. What was left out already is not tried again.
    fn failure(&self, scenario: &Scenario, failed: Run, output: &Output) -> Failure {
        let seed = failed.seed;
        let Some(broken) = failed.broken else {
            unreachable!("only a run that broke something is a failure");
        };
        let (reduction, least) = if self.reduction() == Reduction::default() {
            output.say(format_args!(
                "seed {seed} breaks a property; looking for the least that does"
            ));
            shrink::<Member>(scenario, seed, &broken)
        } else {
            (self.reduction(), broken)
        };
        Failure::new(Exit::Failed, describe(seed, &least)).hint(format!(
            "to see it again: {}",
            self.replay(seed, &reduction)
        ))
    }

    fn replay(&self, seed: u64, reduction: &Reduction) -> String {
        let mut line = format!("bellwether sim --scenario {} --seed {seed}", self.scenario);
        for (name, value) in [("nodes", self.nodes), ("segments", self.segments)] {
            if let Some(value) = value {
                line += &format!(" --{name} {value}");
            }
        }
        if let Some(faults) = &reduction.faults {
            line += &format!(" --only-faults {}", Numbers(faults.clone()));
        }
        if !reduction.without.is_empty() {
            line += &format!(" --without-nodes {}", Numbers(reduction.without.clone()));
        }
        line + " --story"
    }
}

fn describe(seed: u64, broken: &Broken) -> String {
    format!("seed {seed}: {broken}")
}

fn numbers(text: &str) -> Result<Numbers, std::num::ParseIntError> {
    if text == NONE {
        return Ok(Numbers(Vec::new()));
    }
    text.split(',')
        .map(str::parse)
        .collect::<Result<_, _>>()
        .map(Numbers)
}

const NONE: &str = "none";

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str(NONE);
        }
        let texts: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&texts.join(","))
    }
}

impl From<ScenarioError> for Failure {
    fn from(error: ScenarioError) -> Self {
        match &error {
            ScenarioError::Read { source, .. } => Self::new(Exit::of_io(source), error)
                .hint("name a file, or one of those that `bellwether sim --list` shows"),
            ScenarioError::Wrong { .. } => Self::new(Exit::Usage, error),
        }
    }
}

impl Report for Simulation {
    const KIND: &'static str = "simulation";
}

impl Report for Scenarios {
    const KIND: &'static str = "scenarios";
}

impl fmt::Display for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            scenario,
            seeds,
            first_seed,
            statistics,
            trace,
            ..
        } = self;
        writeln!(
            f,
            "{scenario}: {seeds} seeds from {first_seed}, no property broken"
        )?;
        writeln!(f, "{statistics}")?;
        let (took, times, events) = (self.took_s, self.times_real, self.events_per_s);
        write!(
            f,
            "took {took:.2} s, {times:.0} x real time, {events:.0} events/s\ntrace {trace}"
        )
    }
}

impl fmt::Display for Scenarios {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.scenarios.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_they_are_written() {
        for text in ["none", "7", "1,2,30"] {
            assert_eq!(numbers(text).unwrap().to_string(), text);
        }
        assert!(numbers("1,,2").is_err() && numbers("").is_err() && numbers("x").is_err());
    }
}
