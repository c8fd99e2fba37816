use std::ops::Range;
use std::time::Duration;

use bellwether_machine::Random;
use bellwether_types::Time;

use crate::clock::Clock;
use crate::network::Cut;
use crate::process::Channel;
use crate::scenario::{DiskFate, FaultKind, Percent, Rule, Scenario, Who};

/// A run of one segment, drawn from a scenario by a seed: everything but what happens. Its nodes are numbered from 0.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// The segment among those of the scenario.
    pub(crate) number: u32,
    /// The number of its first node among all of the scenario.
    pub(crate) first: u32,
    /// The scenario with what the seed chose of it.
    pub(crate) scenario: Scenario,
    pub(crate) nodes: Vec<NodePlan>,
    pub(crate) faults: Vec<Fault>,
    /// When the last disturbance is over.
    pub(crate) quiet_at: Time,
}

#[derive(Debug)]
pub(crate) struct NodePlan {
    pub(crate) clock: Clock,
    pub(crate) priority: u32,
    /// When it first starts, if ever.
    pub(crate) start: Option<Time>,
}

/// One disturbance.
#[derive(Debug)]
pub(crate) struct Fault {
    /// Its number in the plan before any were left out.
    pub(crate) number: u32,
    pub(crate) at: Time,
    pub(crate) lasts: Duration,
    pub(crate) blow: Blow,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Blow {
    Crash {
        who: Target,
        wiped: bool,
    },
    /// Who is struck dies after some more outputs; if there is nobody to strike, the leader dies now and whoever is the
    /// first after him to do so many outputs, which is in the middle of taking over.
    CrashMidway {
        who: Option<Target>,
        /// Merge datagrams count alone; everybody is armed, and whoever sends so many first dies of it.
        merging: bool,
        outputs: u32,
        down: Duration,
        wiped: bool,
    },
    Blackout {
        wiped: bool,
    },
    Pause {
        who: Target,
    },
    Cut(Vec<Cut>),
    Deaf {
        who: Target,
    },
    Mute,
    Loss {
        ppm: u32,
    },
    Delay {
        added: Duration,
    },
    StepDown,
    Leave {
        who: Target,
    },
    Move(Channel),
    SetGroup(u32),
    Forge {
        rate: u32,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Node(u32),
    /// Who leads when it happens.
    Leader,
}

/// What is left out of a plan, to find out what a failure needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reduction {
    /// The only faults that happen, by number; all, if none is given.
    pub faults: Option<Vec<u32>>,
    /// Nodes that never start.
    pub without: Vec<u32>,
}

/// Faults that one segment may have.
const FAULTS_MAX: usize = 1_000_000;

impl Plan {
    /// One plan for each segment. No datagram leaves its own, so they can be carried out one after the other, and what is
    /// at work lies close together in memory.
    pub(crate) fn draw(scenario: &Scenario, seed: u64, reduction: &Reduction) -> Vec<Self> {
        let mut random = Random::new(seed);
        let scenario = if scenario.swarm {
            swarm(scenario, &mut random)
        } else {
            scenario.clone()
        };
        let mut fault_count = 0;
        let numbered = (0..).zip(segments(&scenario));
        let plans = numbered.map(|(number, addresses)| {
            let mut random = Random::new(random.bits());
            let mut nodes = nodes(&scenario, addresses.len(), &mut random);
            for (address, node) in addresses.clone().zip(&mut nodes) {
                node.start = node.start.filter(|_| !reduction.without.contains(&address));
            }
            let mut faults = faults(&scenario, 0..nodes.len() as u32, &mut random);
            for fault in &mut faults {
                fault.number = fault_count;
                fault_count += 1;
            }
            if let Some(kept) = &reduction.faults {
                faults.retain(|fault| kept.contains(&fault.number));
            }
            let started = Time::ZERO + scenario.start.0;
            let excused = !scenario.expect.without_multicast;
            let ends = faults.iter().map(|fault| fault.end(excused));
            let quiet_at = ends.fold(started, Time::max);
            Self {
                seed: random.bits(),
                number,
                first: addresses.start,
                scenario: scenario.clone(),
                nodes,
                faults,
                quiet_at,
            }
        });
        plans.collect()
    }

    /// The addresses of its nodes.
    pub(crate) fn addresses(&self) -> Range<u32> {
        0..self.nodes.len() as u32
    }
}

impl Fault {
    /// When nothing of it is left that excuses unrest; whether a cut of multicast does, the scenario says.
    fn end(&self, cut_excuses: bool) -> Time {
        match self.blow {
            Blow::CrashMidway { down, .. } => self.at + self.lasts + down,
            Blow::Mute if !cut_excuses => self.at,
            _ => self.at + self.lasts,
        }
    }
}

/// What a seed chooses of a scenario: testing with everything at once finds less, because faults hide each other.
fn swarm(scenario: &Scenario, random: &mut Random) -> Scenario {
    let mut chosen = scenario.clone();
    let per_segment = scenario.nodes / scenario.segments;
    chosen.nodes = scenario.segments * (1 + random.below(per_segment.into()) as u32);
    chosen.faults.retain(|_, _| random.chance(500_000));
    for rule in chosen.faults.values_mut() {
        let slower = 1 << random.below(3);
        let rule: &mut Rule = rule.as_mut();
        rule.every.min.0 *= slower;
        rule.every.max.0 *= slower;
    }
    let network = &mut chosen.network;
    let drift = &mut chosen.machine.drift;
    for share in [
        &mut network.loss,
        &mut network.duplicate,
        &mut network.reorder,
        drift,
    ] {
        if random.chance(500_000) {
            *share = Percent::ZERO;
        }
    }
    chosen.equal_priorities |= random.chance(200_000);
    chosen
}

fn segments(scenario: &Scenario) -> Vec<Range<u32>> {
    let boundary = |number: u32| {
        (u64::from(number) * u64::from(scenario.nodes) / u64::from(scenario.segments)) as u32
    };
    (0..scenario.segments)
        .map(|number| boundary(number)..boundary(number + 1))
        .collect()
}

fn nodes(scenario: &Scenario, count: usize, random: &mut Random) -> Vec<NodePlan> {
    let drift = i64::from(scenario.machine.drift.ppm());
    let hour = Duration::from_secs(3_600);
    let node = |_| {
        let gain = random.below(2 * drift as u64 + 1) as i64 - drift;
        let priority = random.below(1_000) as u32;
        let start = Time::ZERO + random.span(scenario.start.0);
        NodePlan {
            clock: Clock::new(Time::ZERO + random.span(hour), gain as i32),
            priority: if scenario.equal_priorities {
                100
            } else {
                priority
            },
            start: Some(start),
        }
    };
    (0..count).map(node).collect()
}

fn faults(scenario: &Scenario, nodes: Range<u32>, random: &mut Random) -> Vec<Fault> {
    let begin = Time::ZERO + scenario.start.0;
    let end = begin + scenario.troubled.0;
    let mut faults = Vec::new();
    for (kind, rule) in &scenario.faults {
        // Each rule has randomness of its own, so that one rule more does not change the others.
        let mut random = Random::new(random.bits());
        let mut at = begin;
        while faults.len() < FAULTS_MAX {
            at += rule.get_ref().every.draw(&mut random);
            if at >= end {
                break;
            }
            faults.push(Fault {
                number: 0,
                at,
                lasts: rule.get_ref().lasts.draw_evenly(&mut random),
                blow: blow(*kind, rule.get_ref(), &nodes, &mut random),
            });
        }
    }
    faults.sort_by_key(|fault| fault.at);
    faults
}

fn blow(kind: FaultKind, rule: &Rule, nodes: &Range<u32>, random: &mut Random) -> Blow {
    let node = nodes.start + random.below(nodes.len() as u64) as u32;
    let who = match rule.who {
        Who::Leader => Target::Leader,
        Who::Either if random.chance(500_000) => Target::Leader,
        Who::Either | Who::Anyone => Target::Node(node),
    };
    let wiped = match rule.disk {
        DiskFate::Kept => false,
        DiskFate::Wiped => true,
        DiskFate::Either => random.chance(300_000),
    };
    match kind {
        FaultKind::Crash => Blow::Crash { who, wiped },
        FaultKind::CrashMidway => {
            let who = random.chance(500_000).then_some(who);
            let outputs = random.below(if who.is_some() { 8 } else { 4 }) as u32;
            let down = rule.lasts.draw_evenly(random);
            Blow::CrashMidway {
                who,
                merging: false,
                outputs,
                down,
                wiped,
            }
        }
        FaultKind::CrashMerging => Blow::CrashMidway {
            who: None,
            merging: true,
            outputs: random.below(16) as u32,
            down: rule.lasts.draw_evenly(random),
            wiped,
        },
        FaultKind::Blackout => Blow::Blackout { wiped },
        FaultKind::Pause => Blow::Pause { who },
        FaultKind::Partition => {
            let parts = shares(nodes, rule.parts.unwrap_or(2), random);
            let cut = |part: &Vec<u32>| Cut {
                from: part.clone(),
                to: nodes.clone().filter(|node| !part.contains(node)).collect(),
            };
            Blow::Cut(parts.iter().map(cut).collect())
        }
        FaultKind::OneWay => {
            let parts = shares(nodes, 2, random);
            let [from, to] = parts.try_into().expect("two parts");
            Blow::Cut(vec![Cut { from, to }])
        }
        FaultKind::Bridge => {
            let parts = shares(nodes, 3, random);
            let [from, to, _] = parts.try_into().expect("three parts");
            let back = Cut {
                from: to.clone(),
                to: from.clone(),
            };
            Blow::Cut(vec![Cut { from, to }, back])
        }
        FaultKind::Deaf => Blow::Deaf { who },
        FaultKind::Loss => Blow::Loss {
            ppm: rule.percent.unwrap_or_default().ppm(),
        },
        FaultKind::Delay => Blow::Delay {
            added: rule.added.unwrap_or_default().draw(random),
        },
        FaultKind::MulticastCut => Blow::Mute,
        FaultKind::Move => Blow::Move(Channel(1 + random.below(4) as u8)),
        FaultKind::SetGroup => Blow::SetGroup(random.below(1_000) as u32),
        FaultKind::StepDown => Blow::StepDown,
        FaultKind::Leave => Blow::Leave { who },
        FaultKind::Forge => Blow::Forge {
            rate: rule.rate.unwrap_or(1),
        },
    }
}

/// Deals the nodes out at random; to two or three, in shares of all sizes and not only equal ones.
fn shares(nodes: &Range<u32>, parts: u8, random: &mut Random) -> Vec<Vec<u32>> {
    let mut shares = vec![Vec::new(); parts.into()];
    let first_ppm = 100_000 + random.below(800_000) as u32;
    for node in nodes.clone() {
        let others = u64::from(parts) - 1;
        let share = if parts > 3 {
            random.below(parts.into()) as usize
        } else if random.chance(first_ppm) {
            0
        } else {
            1 + random.below(others) as usize
        };
        shares[share].push(node);
    }
    shares
}
