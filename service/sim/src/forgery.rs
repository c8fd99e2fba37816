//! Somebody on the segment who hears every datagram but has no key: repeats, damages and invents.

use std::rc::Rc;
use std::time::Duration;

use bellwether_machine::Random;

use crate::plan::{Blow, Plan};
use crate::process::{Address, Datagram, Process};
use crate::world::{Event, World};

#[derive(Debug)]
pub(crate) struct Forger {
    /// What was heard, if it is ever used.
    heard: Option<Vec<Rc<Datagram>>>,
    random: Random,
}

/// Datagrams that are remembered, from any time.
const HEARD_MAX: usize = 1_000;

impl Forger {
    pub(crate) fn new(plan: &Plan, random: Random) -> Self {
        let mut blows = plan.faults.iter().map(|fault| &fault.blow);
        let forges = blows.any(|blow| matches!(blow, Blow::Forge { .. }));
        Self {
            heard: forges.then(Vec::new),
            random,
        }
    }

    pub(crate) fn hears(&mut self, datagram: &Rc<Datagram>) {
        let Some(heard) = &mut self.heard else {
            return;
        };
        if heard.len() < HEARD_MAX {
            heard.push(Rc::clone(datagram));
        } else {
            // Old ones stay for long, so that they come back after restarts and new reigns.
            let place = self.random.below(8 * HEARD_MAX as u64) as usize;
            if let Some(old) = heard.get_mut(place) {
                *old = Rc::clone(datagram);
            }
        }
    }

    fn forge(&mut self, nodes: std::ops::Range<u32>) -> Datagram {
        let random = &mut self.random;
        let heard = self.heard.as_deref().unwrap_or_default();
        let base = heard.get(random.below(heard.len() as u64) as usize);
        let anyone = Address(nodes.start + random.below(nodes.len() as u64) as u32);
        let mut forged = base.map_or_else(
            || Datagram {
                from: anyone,
                multicast: true,
                bytes: Vec::new(),
                forged: true,
            },
            |base| Datagram::clone(base),
        );
        if random.chance(300_000) {
            forged.from = anyone;
        }
        forged.multicast ^= random.chance(200_000);
        let bytes = &mut forged.bytes;
        let place = random.below(bytes.len() as u64) as usize;
        match random.below(5) {
            0 => bytes.truncate(place),
            1 => bytes.extend((0..random.below(64)).map(|byte| byte as u8)),
            2 => {
                *bytes = (0..random.below(1_500))
                    .map(|_| random.bits() as u8)
                    .collect()
            }
            3 => bytes
                .get_mut(place)
                .into_iter()
                .for_each(|byte| *byte ^= 1 << random.below(8)),
            _ => {}
        }
        forged.forged = base.is_none_or(|base| base.bytes != forged.bytes);
        forged
    }
}

impl<P: Process> World<P> {
    /// Sends one forged datagram, and goes on until the fault is over.
    pub(crate) fn forge(&mut self, index: u32) {
        let fault = &self.plan.faults[index as usize];
        let Blow::Forge { rate } = fault.blow else {
            return;
        };
        if self.now >= fault.at + fault.lasts {
            return;
        }
        let nodes = self.network.nodes();
        let datagram = Rc::new(self.forger.forge(nodes.clone()));
        let random = &mut self.forger.random;
        let next = self.now + random.span(Duration::from_secs(2) / rate);
        let one = nodes.start + random.below(nodes.len() as u64) as u32;
        let receivers = if datagram.multicast {
            nodes
        } else {
            one..one + 1
        };
        for to in receivers {
            let datagram = Rc::clone(&datagram);
            self.at(self.now, Event::Deliver { to, datagram });
        }
        self.at(next, Event::Forge(index));
    }
}
