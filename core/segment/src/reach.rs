use core::iter;
use core::net::SocketAddr;
use std::collections::{BTreeMap, BTreeSet};

use bellwether_types::NodeId;

use crate::{Reach, Via};

/// How this node reaches others: their addresses, and whom multicast leaves out.
///
/// Whether multicast works cannot be seen from one end. Who hears the leader by unicast alone is left out, and so, for
/// others, is who keeps asking whether they are still there.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    reach: Reach,
    /// Where datagrams of a node came from last: nothing proves that, so a member's own word goes before.
    sources: BTreeMap<NodeId, Source>,
    /// Addresses that others told, where there is no multicast.
    told: BTreeSet<SocketAddr>,
    /// Who keeps asking, and for how many heartbeats it is sent everything by unicast.
    left_out: BTreeMap<NodeId, u8>,
    /// Heartbeats in a row that came by unicast alone.
    unicast_only: u8,
    /// Heartbeats that this node sent since it found multicast lost.
    served_deaf: u8,
}

/// Where datagrams of a node came from.
#[derive(Debug, Clone, Copy)]
struct Source {
    address: SocketAddr,
    /// For how many heartbeats it still counts among those who are here, member or not.
    fresh: u8,
}

const SOURCES_MAX: usize = 8_192;
const TOLD_MAX: usize = 1_024;
/// So many questions within as many heartbeats are no longer bad luck: at 20 % loss one in a few hundred.
const LEFT_OUT_AT: u8 = 6;
/// For so many heartbeats it then gets everything by unicast, before multicast is tried again.
const LEFT_OUT_FOR: u8 = u8::MAX;
const UNICAST_ONLY_AT: u8 = 8;
/// A leader hears no multicast of anybody. After so many heartbeats it takes for granted that multicast is back: whom it
/// does not reach asks, and is sent everything by unicast again.
const SERVED_DEAF_FOR: u8 = 100;

impl Paths {
    pub(crate) const fn new(reach: Reach) -> Self {
        Self {
            reach,
            sources: BTreeMap::new(),
            told: BTreeSet::new(),
            left_out: BTreeMap::new(),
            unicast_only: 0,
            served_deaf: 0,
        }
    }

    /// A proven datagram came. Returns whether multicast works for this node, if that has just changed.
    pub(crate) fn heard(&mut self, from: NodeId, source: SocketAddr, via: Via) -> Option<bool> {
        if self.sources.len() >= SOURCES_MAX && !self.sources.contains_key(&from) {
            self.sources.pop_first();
        }
        let address = source;
        let fresh = u8::MAX;
        self.sources.insert(from, Source { address, fresh });
        let works_again = via == Via::Multicast && self.is_deaf();
        if via == Via::Multicast {
            self.unicast_only = 0;
        }
        works_again.then_some(true)
    }

    /// A heartbeat of the leader came by unicast.
    pub(crate) fn heartbeat_by_unicast(&mut self) -> Option<bool> {
        let was_deaf = self.is_deaf();
        self.unicast_only = self.unicast_only.saturating_add(1);
        (self.is_deaf() && !was_deaf && self.reach == Reach::Group).then_some(false)
    }

    /// A node asked whether this one is still there.
    pub(crate) fn asked(&mut self, by: NodeId) {
        if self.left_out.len() < SOURCES_MAX || self.left_out.contains_key(&by) {
            let questions = self.left_out.entry(by).or_default();
            *questions = questions.saturating_add(2);
            if *questions >= LEFT_OUT_AT {
                *questions = LEFT_OUT_FOR;
            }
        }
    }

    /// The leader's heartbeat came, or this node sent one.
    pub(crate) fn beat(&mut self) {
        if self.needs_introduction() {
            for source in self.sources.values_mut() {
                source.fresh = source.fresh.saturating_sub(1);
            }
        }
    }

    /// This node sent everybody a heartbeat. Returns whether multicast works for it, if that has just changed.
    pub(crate) fn served(&mut self) -> Option<bool> {
        self.left_out.retain(|_, left| {
            *left -= 1;
            *left > 0
        });
        if !self.is_deaf() {
            self.served_deaf = 0;
            return None;
        }
        self.served_deaf += 1;
        if self.served_deaf < SERVED_DEAF_FOR {
            return None;
        }
        (self.served_deaf, self.unicast_only) = (0, 0);
        Some(true)
    }

    /// Addresses of others, where there is no multicast.
    pub(crate) fn learn(&mut self, addresses: impl IntoIterator<Item = SocketAddr>) {
        if matches!(self.reach, Reach::Peers(_)) {
            for address in addresses {
                if self.told.len() < TOLD_MAX {
                    self.told.insert(address);
                }
            }
        }
    }

    /// Is this node told where others are, because it cannot hear them?
    pub(crate) const fn needs_introduction(&self) -> bool {
        matches!(self.reach, Reach::Peers(_))
    }

    pub(crate) fn source(&self, node: NodeId) -> Option<SocketAddr> {
        self.sources.get(&node).map(|source| source.address)
    }

    /// Where a message to all goes, when the members are those. The group comes first: of two copies of a datagram only
    /// the one that arrives first counts, and those whom both reach must see that multicast works.
    pub(crate) fn everyone(
        &self,
        control: SocketAddr,
        members: impl Iterator<Item = (NodeId, SocketAddr)>,
    ) -> Vec<SocketAddr> {
        match &self.reach {
            Reach::Group => {
                let by_unicast = members.filter(|(node, _)| {
                    self.is_deaf() || self.left_out.get(node) >= Some(&LEFT_OUT_AT)
                });
                iter::once(control)
                    .chain(by_unicast.map(|(_, address)| address))
                    .collect()
            }
            Reach::Peers(first) => {
                let known = first.iter().chain(&self.told).copied();
                // Strangers too: parts of a segment that meet again are not each other's members yet.
                let heard = self.sources.values().filter(|source| source.fresh > 0);
                let known = known.chain(heard.map(|source| source.address));
                let all: BTreeSet<_> = members.map(|(_, address)| address).chain(known).collect();
                all.into_iter().collect()
            }
        }
    }

    const fn is_deaf(&self) -> bool {
        self.unicast_only >= UNICAST_ONLY_AT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CHAN: who hears both copies must hear that multicast is back.
    #[test]
    fn a_deaf_node_sends_to_the_group_before_it_sends_to_members() {
        let control = SocketAddr::from(([239, 192, 0, 1], 7_400));
        let member = (
            NodeId::from_bytes([7; 16]),
            SocketAddr::from(([10, 0, 0, 7], 7_401)),
        );
        let mut paths = Paths::new(Reach::Group);
        for _ in 0..UNICAST_ONLY_AT {
            paths.heartbeat_by_unicast();
        }
        let everyone = paths.everyone(control, iter::once(member));
        assert_eq!(everyone, [control, member.1]);
    }

    /// It took office deaf, and nobody multicasts to a leader.
    #[test]
    fn a_deaf_leader_tries_multicast_again_after_a_while() {
        let mut paths = Paths::new(Reach::Group);
        for _ in 0..UNICAST_ONLY_AT {
            paths.heartbeat_by_unicast();
        }
        let changes: Vec<_> = (0..=SERVED_DEAF_FOR).map(|_| paths.served()).collect();
        let (last, before) = changes.split_last().unwrap();
        assert_eq!(before.last(), Some(&Some(true)));
        assert_eq!(before.iter().flatten().count(), 1);
        assert_eq!(*last, None);
        assert!(!paths.is_deaf());
    }
}
