use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bellwether_types::Hash;

use crate::plan::{Plan, Reduction};
use crate::process::Process;
use crate::property::{Broken, Property};
use crate::scenario::Scenario;
use crate::statistics::Statistics;
use crate::world::World;

/// What came of one run.
#[derive(Debug)]
pub struct Run {
    /// What it was drawn from.
    pub seed: u64,
    /// Equal for runs in which the same happened.
    pub trace: Hash,
    /// What happened, if it was to be told.
    pub story: Vec<String>,
    /// What was counted and measured.
    pub statistics: Statistics,
    /// The property that broke, if one did.
    pub broken: Option<Broken>,
}

/// Runs what `seed` draws from the scenario, less what the reduction leaves out.
pub fn run<P: Process>(
    scenario: &Scenario,
    seed: u64,
    reduction: &Reduction,
    with_story: bool,
) -> Run {
    let mut whole = Run {
        seed,
        trace: Hash([0; 32]),
        story: Vec::new(),
        statistics: Statistics::default(),
        broken: None,
    };
    for plan in Plan::draw(scenario, seed, reduction) {
        if with_story && scenario.segments > 1 {
            let (number, first) = (plan.number, plan.first);
            let line = format!("segment {number}, whose nodes are those from {first} on");
            whole.story.push(line);
        }
        let hours = whole.statistics.simulated_hours;
        let part = run_segment::<P>(plan, seed, with_story);
        whole.trace = Hash::of(&[whole.trace.0, part.trace.0].concat());
        whole.story.extend(part.story);
        whole.statistics.merge(part.statistics);
        // All live at the same time.
        whole.statistics.simulated_hours = hours.max(whole.statistics.simulated_hours - hours);
        whole.broken = part.broken;
        if whole.broken.is_some() {
            break;
        }
    }
    whole
}

fn run_segment<P: Process>(plan: Plan, seed: u64, with_story: bool) -> Run {
    let mut world = World::<P>::new(plan, with_story);
    // A panic is a finding like others. What it left half done is not used again: only looked at.
    let stepped = catch_unwind(AssertUnwindSafe(|| while world.step() {}));
    if let Err(panic) = stepped {
        let message = panic.downcast_ref::<String>().cloned();
        let message =
            message.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        world.fail(Property::Panicked(message.unwrap_or_default()));
    }
    let events = world.events();
    let (statistics, broken) = world.watch.finish(world.now, events);
    let (trace, story) = world.trace.finish();
    Run {
        seed,
        trace,
        story,
        statistics,
        broken,
    }
}

/// Events that shrinking may cost in all.
const SHRINKING_EVENTS_MAX: u64 = 30_000_000;

/// Leaves out of a run what its failure does not need: faults, then nodes. The run gets shorter by itself, as it ends
/// soon after its last fault.
pub fn shrink<P: Process>(scenario: &Scenario, seed: u64, broken: &Broken) -> (Reduction, Broken) {
    let mut plans = Plan::draw(scenario, seed, &Reduction::default()).into_iter();
    let Some(plan) = plans.find(|plan| plan.number == broken.segment) else {
        return (Reduction::default(), broken.clone());
    };
    let mut shrinker = Shrinker {
        run: &|reduction| run::<P>(scenario, seed, reduction, false),
        events: 0,
        best: (Reduction::default(), broken.clone()),
    };
    let before = plan.faults.iter().filter(|fault| fault.at <= broken.at);
    let faults = before.map(|fault| fault.number).collect();
    let faults = shrinker.minimise(faults, |faults| Reduction {
        faults: Some(faults),
        without: Vec::new(),
    });
    let nodes: Vec<u32> = plan.addresses().map(|node| plan.first + node).collect();
    let all = 0..scenario.nodes;
    shrinker.minimise(nodes, |kept| Reduction {
        faults: faults.clone(),
        without: all.clone().filter(|node| !kept.contains(node)).collect(),
    });
    shrinker.best
}

struct Shrinker<'a> {
    run: &'a dyn Fn(&Reduction) -> Run,
    events: u64,
    /// The least that failed so far, and how.
    best: (Reduction, Broken),
}

impl Shrinker<'_> {
    /// Leaves out halves, quarters and so on down to single ones, as long as it still fails; the faults of what is left.
    fn minimise(
        &mut self,
        mut kept: Vec<u32>,
        reduction: impl Fn(Vec<u32>) -> Reduction,
    ) -> Option<Vec<u32>> {
        if !self.fails(reduction(kept.clone())) {
            return self.best.0.faults.clone();
        }
        if self.fails(reduction(Vec::new())) {
            kept.clear();
        }
        let mut size = kept.len().div_ceil(2);
        while size > 0 {
            let mut begin = 0;
            while begin < kept.len() {
                let end = (begin + size).min(kept.len());
                let fewer = [&kept[..begin], &kept[end..]].concat();
                if self.fails(reduction(fewer.clone())) {
                    kept = fewer;
                } else {
                    begin = end;
                }
            }
            size /= 2;
        }
        self.best.0.faults.clone()
    }

    fn fails(&mut self, reduction: Reduction) -> bool {
        if self.events > SHRINKING_EVENTS_MAX {
            return false;
        }
        let run = (self.run)(&reduction);
        self.events += run.statistics.events;
        match run.broken {
            Some(broken) if broken.resembles(&self.best.1) => {
                self.best = (reduction, broken);
                true
            }
            _ => false,
        }
    }
}

/// Many runs of one scenario.
#[derive(Debug)]
pub struct Runs {
    /// How many there were.
    pub count: u64,
    /// What they had in common.
    pub statistics: Statistics,
    /// A hash over their traces, in the order of their seeds.
    pub trace: Hash,
    /// The first that broke a property, by seed.
    pub failure: Option<Run>,
    /// Runs of later seeds that were done first.
    early: BTreeMap<u64, Run>,
}

/// Runs the seeds from `first` on, on all processors, and stops soon after a property broke. `told` hears how many are
/// done, now and then.
pub fn run_seeds<P: Process>(
    scenario: &Scenario,
    first: u64,
    count: u64,
    told: impl Fn(u64) + Sync,
) -> Runs {
    let next = AtomicU64::new(0);
    let failed = AtomicU64::new(u64::MAX);
    let runs = Mutex::new(Runs {
        count: 0,
        statistics: Statistics::default(),
        trace: Hash([0; 32]),
        failure: None,
        early: BTreeMap::new(),
    });
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            // Earlier seeds are still run, so that the same one is reported each time.
            if number >= count.min(failed.load(Ordering::Relaxed)) {
                return;
            }
            let run = run::<P>(
                scenario,
                first.wrapping_add(number),
                &Reduction::default(),
                false,
            );
            if run.broken.is_some() {
                failed.fetch_min(number, Ordering::Relaxed);
            }
            let mut runs = runs.lock().expect("nobody panics while holding it");
            runs.add(number, run);
            told(runs.count);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        (0..threads as u64).take(count as usize).for_each(|_| {
            scope.spawn(work);
        });
    });
    runs.into_inner().expect("nobody panics while holding it")
}

impl Runs {
    /// Takes in the runs in the order of their seeds, whenever they come.
    fn add(&mut self, number: u64, run: Run) {
        self.early.insert(number, run);
        while self.failure.is_none()
            && let Some(run) = self.early.remove(&self.count)
        {
            self.count += 1;
            self.trace = Hash::of(&[self.trace.0, run.trace.0].concat());
            if run.broken.is_some() {
                self.failure = Some(run);
            } else {
                self.statistics.merge(run.statistics);
            }
        }
    }
}

/// How many times faster than life, and how many events a second.
pub fn speed(statistics: &Statistics, took: Duration) -> (f64, f64) {
    let secs = took.as_secs_f64().max(1e-9);
    (
        statistics.simulated_hours * 3_600.0 / secs,
        statistics.events as f64 / secs,
    )
}
