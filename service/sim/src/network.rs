use std::ops::Range;
use std::time::Duration;

use bellwether_machine::Random;
use bellwether_types::Time;

use crate::process::{Address, Channel, Destination};
use crate::scenario;

/// What lies between the nodes: who hears whom, when, and how often.
#[derive(Debug)]
pub(crate) struct Network {
    settings: scenario::Network,
    ports: Vec<Port>,
    /// Cuts in force, one bit each.
    cuts: u64,
    loss_ppm: u32,
    added: Duration,
    /// Faults that keep all multicast from being carried.
    mute: u32,
    /// Draws each pair's own delay.
    pairs: u64,
    random: Random,
}

/// Where a node is connected.
#[derive(Debug, Clone, Copy, Default)]
struct Port {
    /// Cuts that keep back what the node sends, one bit each.
    cut_from: u64,
    /// Cuts that keep back what is sent to it. A datagram is kept back by a cut that has both.
    cut_to: u64,
    /// Faults that keep multicast away from it.
    deaf: u32,
    channel: Channel,
}

/// What keeps some nodes from hearing others: what any of `from` sends does not come to any of `to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) from: Vec<u32>,
    pub(crate) to: Vec<u32>,
}

/// A cut in force.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CutId(u32);

/// The greatest datagram there is.
const PAYLOAD_LEN_MAX: usize = 65_507;
/// Headers of IPv4 and UDP.
const HEADER_LEN: usize = 28;
/// Header and checksum of Ethernet.
const FRAME_LEN: usize = 18;

impl Network {
    pub(crate) fn new(settings: scenario::Network, nodes: Range<u32>, mut random: Random) -> Self {
        Self {
            settings,
            ports: nodes.map(|_| Port::default()).collect(),
            cuts: 0,
            loss_ppm: 0,
            added: Duration::ZERO,
            mute: 0,
            pairs: random.bits(),
            random,
        }
    }

    /// All nodes.
    pub(crate) fn nodes(&self) -> Range<u32> {
        0..self.ports.len() as u32
    }

    /// Carries a datagram of `len` bytes: `deliver` is told who gets it, and when.
    pub(crate) fn carry(
        &mut self,
        now: Time,
        from: u32,
        to: Destination,
        len: usize,
        mut deliver: impl FnMut(u32, Time),
    ) {
        if len > PAYLOAD_LEN_MAX {
            return;
        }
        let port = self.ports[from as usize];
        let nodes = self.nodes();
        let fragments = self.fragments(len);
        match to {
            Destination::All(channel) => {
                if self.mute > 0 || port.deaf > 0 {
                    return;
                }
                for node in nodes.filter(|node| *node != from) {
                    let target = &self.ports[node as usize];
                    let listens = channel == target.channel || channel == Channel::default();
                    if listens && target.deaf == 0 {
                        self.cross(now, from, node, fragments, &mut deliver);
                    }
                }
            }
            Destination::One(Address(node)) if nodes.contains(&node) => {
                self.cross(now, from, node, fragments, &mut deliver);
            }
            Destination::One(_) => {}
        }
    }

    /// What a datagram of `len` bytes takes on the wire, with the headers of UDP, IPv4 and Ethernet for each fragment.
    pub(crate) fn wire_len(&self, len: usize) -> usize {
        let fragments = self.fragments(len);
        let frame_min = 64;
        (len + fragments * (HEADER_LEN + FRAME_LEN)).max(fragments * frame_min)
    }

    fn cross(
        &mut self,
        now: Time,
        from: u32,
        to: u32,
        fragments: usize,
        deliver: &mut impl FnMut(u32, Time),
    ) {
        let port = &self.ports[from as usize];
        if port.cut_from & self.ports[to as usize].cut_to != 0 {
            return;
        }
        let loss_ppm = self.loss_ppm.max(self.settings.loss.ppm());
        let added = self.added;
        if loss_ppm > 0 && (0..fragments).any(|_| self.random.chance(loss_ppm)) {
            return;
        }
        let delay = self.delay(from, to) + added;
        deliver(to, now + delay);
        let duplicate_ppm = self.settings.duplicate.ppm();
        if duplicate_ppm > 0 && self.random.chance(duplicate_ppm) {
            let delay = self.delay(from, to) + added;
            deliver(to, now + delay);
        }
    }

    fn delay(&mut self, from: u32, to: u32) -> Duration {
        let settings = &self.settings;
        let pair = u64::from(from) << 32 | u64::from(to);
        let own = settings.delay.draw(&mut Random::new(self.pairs ^ pair));
        let delay = own + self.random.span(settings.jitter.0);
        if settings.reorder > scenario::Percent::ZERO && self.random.chance(settings.reorder.ppm())
        {
            let held_max = 10 * (settings.delay.max.0 + settings.jitter.0);
            return delay + self.random.span(held_max);
        }
        delay
    }

    fn fragments(&self, len: usize) -> usize {
        let room = usize::from(self.settings.mtu) - HEADER_LEN;
        len.div_ceil(room).max(1)
    }

    /// Puts a cut in force; nothing happens when too many are already.
    pub(crate) fn cut(&mut self, cut: &Cut) -> Option<CutId> {
        let bit = self.cuts.trailing_ones();
        if bit == u64::BITS {
            return None;
        }
        self.cuts |= 1 << bit;
        for node in &cut.from {
            self.ports[*node as usize].cut_from |= 1 << bit;
        }
        for node in &cut.to {
            self.ports[*node as usize].cut_to |= 1 << bit;
        }
        Some(CutId(bit))
    }

    /// Ends a cut.
    pub(crate) fn mend(&mut self, CutId(bit): CutId) {
        let others = !(1 << bit);
        self.cuts &= others;
        for port in &mut self.ports {
            port.cut_from &= others;
            port.cut_to &= others;
        }
    }

    /// Keeps multicast away from a node, or no longer. Faults may overlap.
    pub(crate) fn deafen(&mut self, node: u32, deaf: bool) {
        let count = &mut self.ports[node as usize].deaf;
        *count = if deaf { *count + 1 } else { *count - 1 };
    }

    /// Keeps all multicast from being carried, or no longer. Faults may overlap.
    pub(crate) fn mute(&mut self, mute: bool) {
        self.mute = if mute { self.mute + 1 } else { self.mute - 1 };
    }

    /// A node listens to this channel from now on; to number 0 always.
    pub(crate) fn listen(&mut self, node: u32, channel: Channel) {
        self.ports[node as usize].channel = channel;
    }

    /// From now on at least so many datagrams are lost.
    pub(crate) fn lose(&mut self, loss_ppm: u32) {
        self.loss_ppm = loss_ppm;
    }

    /// From now on datagrams take so much longer.
    pub(crate) fn slow(&mut self, added: Duration) {
        self.added = added;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Between, Percent, Span};

    const ALL: Destination = Destination::All(Channel(0));

    fn network(settings: scenario::Network) -> Network {
        Network::new(settings, 0..4, Random::new(1))
    }

    fn heard(network: &mut Network, from: u32, to: Destination) -> Vec<u32> {
        let mut heard = Vec::new();
        network.carry(Time::ZERO, from, to, 100, |node, _| heard.push(node));
        heard
    }

    #[test]
    fn multicast_reaches_all_others_and_unicast_one() {
        let mut network = network(scenario::Network::default());
        assert_eq!(heard(&mut network, 1, ALL), [0, 2, 3]);
        assert_eq!(heard(&mut network, 1, Destination::One(Address(3))), [3]);
        assert!(heard(&mut network, 1, Destination::One(Address(4))).is_empty());
    }

    #[test]
    fn cuts_overlap_and_keep_back_one_direction_each() {
        let mut network = network(scenario::Network::default());
        let one_way = network
            .cut(&Cut {
                from: vec![0],
                to: vec![1, 2],
            })
            .unwrap();
        let other = network
            .cut(&Cut {
                from: vec![0, 1],
                to: vec![2],
            })
            .unwrap();
        assert_eq!(heard(&mut network, 0, ALL), [3]);
        assert_eq!(heard(&mut network, 1, ALL), [0, 3]);
        assert_eq!(heard(&mut network, 2, ALL), [0, 1, 3]);
        network.mend(one_way);
        assert_eq!(heard(&mut network, 0, ALL), [1, 3]);
        network.mend(other);
        assert_eq!(heard(&mut network, 0, ALL), [1, 2, 3]);
    }

    #[test]
    fn the_deaf_hear_unicast() {
        let mut network = network(scenario::Network::default());
        network.deafen(2, true);
        assert_eq!(heard(&mut network, 0, ALL), [1, 3]);
        assert_eq!(heard(&mut network, 0, Destination::One(Address(2))), [2]);
        network.deafen(2, false);
        assert_eq!(heard(&mut network, 0, ALL), [1, 2, 3]);
    }

    #[test]
    fn multicast_is_carried_to_those_who_listen_on_its_channel_unless_the_segment_is_mute() {
        let mut network = network(scenario::Network::default());
        network.listen(3, Channel(1));
        assert_eq!(heard(&mut network, 0, ALL), [1, 2, 3]);
        assert_eq!(heard(&mut network, 0, Destination::All(Channel(1))), [3]);
        assert!(heard(&mut network, 0, Destination::All(Channel(2))).is_empty());
        network.mute(true);
        assert!(heard(&mut network, 0, ALL).is_empty());
        assert_eq!(heard(&mut network, 0, Destination::One(Address(2))), [2]);
        network.mute(false);
        assert_eq!(heard(&mut network, 0, ALL), [1, 2, 3]);
    }

    #[test]
    fn loss_strikes_every_fragment_and_each_receiver_for_itself() {
        let settings = scenario::Network {
            loss: Percent::from_ppm(100_000),
            ..scenario::Network::default()
        };
        let mut network = network(settings);
        let mut arrived = |len| {
            let mut arrived = [0_u32; 4];
            for _ in 0..10_000 {
                network.carry(Time::ZERO, 0, ALL, len, |node, _| {
                    arrived[node as usize] += 1
                });
            }
            arrived
        };
        let near = |expected: u32| move |count: &u32| count.abs_diff(expected) < 150;
        assert!(arrived(1_472)[1..].iter().all(near(9_000)));
        assert!(arrived(1_473)[1..].iter().all(near(8_100)));
        assert_eq!(arrived(70_000), [0; 4]);
    }

    #[test]
    fn each_pair_has_its_own_delay_and_jitter_comes_on_top() {
        let millis = Span::from_millis;
        let settings = scenario::Network {
            delay: Between {
                min: millis(10),
                max: millis(50),
            },
            jitter: millis(1),
            ..scenario::Network::default()
        };
        let mut network = network(settings);
        let mut delays = Vec::new();
        for to in [1, 2, 3, 1, 2, 3] {
            network.carry(Time::ZERO, 0, Destination::One(Address(to)), 10, |_, at| {
                delays.push(at.as_nanos() / 1_000_000);
            });
        }
        assert!(
            delays.iter().all(|delay| (10..=51).contains(delay)),
            "{delays:?}"
        );
        assert!(
            (0..3).all(|pair| delays[pair].abs_diff(delays[pair + 3]) <= 1),
            "{delays:?}"
        );
        assert!(
            delays[..3]
                .iter()
                .any(|delay| delay.abs_diff(delays[0]) > 2),
            "{delays:?}"
        );
    }
}
