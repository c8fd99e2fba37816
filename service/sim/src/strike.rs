//! Disturbances: how each begins, and what ends it.

use std::time::Duration;

use bellwether_types::Time;

use crate::network::CutId;
use crate::plan::{Blow, Target};
use crate::process::{Order, Process};
use crate::watch::Cause;
use crate::world::{Event, Fuse, World};

/// What ends a disturbance.
#[derive(Debug)]
pub(crate) enum Undo {
    Mend(Vec<CutId>),
    Start(Vec<u32>),
    Disarm { armed: Vec<u32>, dead: Vec<u32> },
    Hear(u32),
    Unmute,
    Loss,
    Delay,
}

/// From a node's farewell to the end of its process, if it does not end by itself.
const FAREWELL_MAX: Duration = Duration::from_secs(1);
/// Groups that are set at the same time have numbers of their own.
const LEADERS_MAX: u32 = 1_000;

impl<P: Process> World<P> {
    /// The fault begins.
    pub(crate) fn strike(&mut self, index: u32) {
        let fault = &self.plan.faults[index as usize];
        let end = fault.at + fault.lasts;
        let blow = fault.blow.clone();
        self.trace
            .record(self.now, 0, b'f', &fault.number.to_le_bytes());
        let number = fault.number;
        self.trace
            .tell(self.now, || format!("fault {number} until {end}: {blow:?}"));
        if let Some(undo) = self.begin(index, end, blow) {
            self.undo.insert(index, undo);
            self.at(end, Event::Lift(index));
        }
    }

    fn begin(&mut self, index: u32, end: Time, blow: Blow) -> Option<Undo> {
        match blow {
            Blow::Crash { who, wiped } => {
                let node = self.find(who)?;
                self.crash(node, wiped);
                Some(Undo::Start(vec![node]))
            }
            Blow::CrashMidway {
                who,
                merging,
                outputs,
                down,
                wiped,
            } => {
                let fuse = Fuse {
                    outputs,
                    merging,
                    down,
                    wiped,
                };
                let (dead, armed) = match who {
                    Some(who) => (vec![], vec![self.find(who)?]),
                    None if merging => (vec![], self.living()),
                    None => (
                        self.find(Target::Leader).into_iter().collect(),
                        self.living(),
                    ),
                };
                armed
                    .iter()
                    .for_each(|node| self.nodes[*node as usize].fuse = Some(fuse));
                dead.iter().for_each(|node| self.crash(*node, wiped));
                Some(Undo::Disarm { armed, dead })
            }
            Blow::Blackout { wiped } => {
                let nodes = self.living();
                nodes.iter().for_each(|node| self.crash(*node, wiped));
                Some(Undo::Start(nodes))
            }
            Blow::Pause { who } => {
                let node = self.find(who)?;
                self.pause(node, end);
                None
            }
            Blow::Cut(cuts) => {
                self.watch.hindered(1);
                let cuts = cuts.iter().filter_map(|cut| self.network.cut(cut));
                Some(Undo::Mend(cuts.collect()))
            }
            Blow::Deaf { who } => {
                let node = self.find(who)?;
                self.watch.hindered(1);
                self.network.deafen(node, true);
                Some(Undo::Hear(node))
            }
            Blow::Mute => {
                self.network.mute(true);
                Some(Undo::Unmute)
            }
            Blow::Loss { ppm } => {
                self.network.lose(ppm);
                Some(Undo::Loss)
            }
            Blow::Delay { added } => {
                self.network.slow(added);
                Some(Undo::Delay)
            }
            Blow::StepDown => {
                let leader = self.find(Target::Leader)?;
                self.watch.disturbed(self.now, Cause::StepDown);
                self.order(leader, Order::StepDown);
                None
            }
            Blow::Leave { who } => {
                let node = self.find(who)?;
                if self.watch.leader() == Some(node) {
                    self.watch.disturbed(self.now, Cause::StepDown);
                }
                self.order(node, Order::Leave);
                let half = end.since(self.now) / 2;
                self.at(self.now + half.min(FAREWELL_MAX), Event::Stop(node));
                Some(Undo::Start(vec![node]))
            }
            Blow::Move(channel) => {
                let leader = self.find(Target::Leader)?;
                self.order(leader, Order::Move(channel));
                None
            }
            Blow::SetGroup(number) => {
                for leader in self.watch.leaders() {
                    self.watch.ordered_group();
                    self.order(leader, Order::SetGroup(number * LEADERS_MAX + leader));
                }
                None
            }
            Blow::Forge { .. } => {
                self.at(self.now, Event::Forge(index));
                None
            }
        }
    }

    /// The fault is over.
    pub(crate) fn lift(&mut self, index: u32) {
        let number = self.plan.faults[index as usize].number;
        self.trace
            .tell(self.now, || format!("fault {number} is over"));
        match self.undo.remove(&index) {
            Some(Undo::Mend(cuts)) => {
                cuts.into_iter().for_each(|cut| self.network.mend(cut));
                self.watch.hindered(-1);
                self.watch.disturbed(self.now, Cause::Heal);
            }
            Some(Undo::Hear(node)) => {
                self.network.deafen(node, false);
                self.watch.hindered(-1);
                self.watch.disturbed(self.now, Cause::Heal);
            }
            Some(Undo::Start(nodes)) => nodes.into_iter().for_each(|node| self.start(node)),
            Some(Undo::Disarm { armed, dead }) => {
                armed
                    .into_iter()
                    .for_each(|node| self.nodes[node as usize].fuse = None);
                dead.into_iter().for_each(|node| self.start(node));
            }
            Some(Undo::Unmute) => {
                self.network.mute(false);
            }
            Some(Undo::Loss) => self.network.lose(0),
            Some(Undo::Delay) => self.network.slow(Duration::ZERO),
            None => {}
        }
    }

    /// A fuse burnt down: the node dies, and those that were armed with it are safe.
    pub(crate) fn burn(&mut self, address: u32, fuse: Fuse) {
        for node in self.network.nodes() {
            self.nodes[node as usize].fuse = None;
        }
        self.crash(address, fuse.wiped);
        self.at(self.now + fuse.down, Event::Start(address));
    }

    /// Who is struck, if he lives.
    fn find(&self, who: Target) -> Option<u32> {
        match who {
            Target::Node(node) => self.nodes[node as usize].process.is_some().then_some(node),
            Target::Leader => self.watch.leader(),
        }
    }

    fn living(&self) -> Vec<u32> {
        let mut nodes: Vec<u32> = self.network.nodes().collect();
        nodes.retain(|node| self.nodes[*node as usize].process.is_some());
        nodes
    }
}
