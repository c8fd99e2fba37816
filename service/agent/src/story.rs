//! What happened, as a log that a person reads at three in the morning.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bellwether_election as election;
use bellwether_membership as membership;
use bellwether_net::{NetworkChange, now};
use bellwether_segment::Event;
use bellwether_types::{Epoch, Name, Time};
use bellwether_wire::control::Rejected;
use tracing::{debug, error, info, warn};

use crate::metrics::{self, Metrics};
use crate::status::abstention;

/// Tells and counts what happens.
#[derive(Debug)]
pub(crate) struct Story {
    pub(crate) metrics: Metrics,
    name: Name,
    /// The reign that this node named to follow its own.
    successor: Option<Epoch>,
    /// When rejected datagrams were last told of, by reason, and how many had come by then.
    told: BTreeMap<&'static str, (Time, u64)>,
}

/// Rejected datagrams of one kind are told of at most once in so long, whatever the flood.
const QUIET: Duration = Duration::from_secs(10);

impl Story {
    pub(crate) fn new(name: Name) -> Self {
        Self {
            metrics: Metrics::default(),
            name,
            successor: None,
            told: BTreeMap::new(),
        }
    }

    pub(crate) fn event(&mut self, event: &Event) {
        match event {
            Event::Election(event) => self.election(event),
            Event::Membership(event) => self.membership(event),
            Event::Rejected { source, reason } => self.rejected(*source, reason),
            Event::MulticastLost => warn!(
                "multicast lost: the leader is heard by unicast alone; this node sends by unicast as well until multicast \
                 is back. Look at the switch (IGMP snooping without a querier?) and at firewalls"
            ),
            Event::MulticastBack => info!("multicast back"),
            Event::TooLong(len) => {
                error!(len, "a message was too long to be sent: please report this")
            }
        }
    }

    fn election(&mut self, event: &election::Event) {
        use election::Event as E;
        match event {
            E::LeaderKnown { epoch, name } => {
                self.metrics.leaders.inc();
                info!(leader = %name, %epoch, "following: {name} leads");
            }
            E::LeaderSilent { epoch, name } => {
                self.metrics.leader_silent.inc();
                warn!(lost = %name, %epoch, "leader silent: neither heartbeats nor answers from {name}; electing another");
            }
            E::Claimed { epoch, rank } => {
                self.metrics.claims.inc();
                match rank {
                    Some(rank) => {
                        info!(%epoch, rank, "claiming: this node bids for the office, {rank} are stronger")
                    }
                    None => {
                        info!(%epoch, "claiming: this node bids for the office; nobody is ranked yet")
                    }
                }
            }
            E::Conceded { to } => {
                info!(epoch = %to, "conceding: node {:?} has the better claim", to.leader)
            }
            E::NobodyCame { epoch } => {
                warn!(%epoch, "node {:?} claimed the office and did not take it; electing again", epoch.leader);
            }
            E::Leading { epoch } => {
                self.metrics.reigns.inc();
                let name = &self.name;
                info!(leader = %name, %epoch, "leading: this node leads the segment");
            }
            E::Contested { by } => {
                warn!("contested: node {by:?} claims this node's office; the vote is open again")
            }
            E::Lapsed { epoch } => {
                warn!(%epoch, "lapsed: this process stood still for longer than the threshold, and leads no longer");
            }
            E::Deposed { by } if self.successor == Some(*by) => {
                info!(epoch = %by, "succeeded: node {:?} leads as it was named to", by.leader);
            }
            E::Deposed { by } => {
                warn!(epoch = %by, "deposed: node {:?} leads with a higher epoch", by.leader)
            }
            E::SteppedDown { to } => {
                self.successor = Some(*to);
                info!(epoch = %to, "stepped down: node {:?} is named to lead next", to.leader);
            }
            E::NoSuccessor => warn!("not stepped down: no other candidate is known"),
            E::Abstains { why } => warn!("silent: {}", abstention(*why)),
            E::AbstainsNoMore => info!("silent no more"),
            E::Mismatch { node, heartbeat_ms } => error!(
                "node {node:?} beats every {heartbeat_ms} ms, which is not this node's timing: it is not listened to. Give \
                 both the same [timing], or segments of their own"
            ),
            E::Implausible { node, epoch } => warn!(
                %epoch,
                "node {node:?} speaks of an epoch that is too far from all that was ever heard to be true"
            ),
        }
    }

    fn membership(&mut self, event: &membership::Event) {
        use membership::Event as E;
        match event {
            E::Registered(version) => {
                info!(epoch = %version.epoch, sequence = version.sequence, "registered: this node is in the leader's report");
            }
            E::Missing(version) => {
                info!(epoch = %version.epoch, sequence = version.sequence, "missing in the leader's report; registering again");
            }
            E::BadPage(node, why) => {
                warn!("a page of node {node:?} cannot be what it meant: {why}")
            }
            E::Reported(version, members) => {
                self.metrics.reports.inc();
                info!(epoch = %version.epoch, sequence = version.sequence, members, "reported: {members} members");
            }
            E::Silent(node, name) => warn!("removed {name} ({node:?}): it did not answer"),
            E::PutOut(node, name) => {
                info!("removed {name} ({node:?}): an operator put it out");
            }
            E::Refused(node, why) => warn!("registration of node {node:?} not taken: {why}"),
            E::NameTwice(name, one, other) => {
                error!("nodes {one:?} and {other:?} are both called {name}: give one another name")
            }
            E::NoCommonFormat => {
                error!("there is a format of which the members share no version: update the oldest")
            }
            E::Merging(merge, groups, nodes) => {
                info!(epoch = %merge.epoch, groups, nodes, "merging: {groups} subgroups bring together what they know");
            }
            E::Failed(merge, round) => {
                warn!(epoch = %merge.epoch, round, "merging: participants failed, another round begins");
            }
            E::Merged(_, version) => {
                self.metrics.merges.inc();
                info!(epoch = %version.epoch, sequence = version.sequence, "merged");
            }
            E::Abandoned(merge) => warn!(epoch = %merge.epoch, "merge given up: nothing changed"),
            E::Excluded(merge) => {
                info!(epoch = %merge.epoch, "excluded from a merge: registering again");
            }
            E::Moved(channel) => info!(%channel, "the control channel moved"),
            E::FellBack(channel) => {
                warn!(%channel, "nobody leads on the moved control channel: back to the configured one")
            }
            E::NotDone(why) => warn!("an order was not carried out: {why}"),
            E::Left => info!("left the segment"),
        }
    }

    fn rejected(&mut self, source: SocketAddr, rejected: &Rejected) {
        let reason = metrics::reason(rejected);
        let count = self.metrics.reject(reason);
        // Every multicast of our own comes back.
        if matches!(rejected, Rejected::OwnEcho) {
            return;
        }
        let now = now();
        let since = match self.told.get(reason) {
            Some((at, _)) if now.since(*at) < QUIET => return,
            Some((_, before)) => count - before,
            None => count,
        };
        self.told.insert(reason, (now, count));
        let ours = matches!(
            rejected,
            Rejected::Replayed { .. } | Rejected::AnotherNode { .. }
        );
        if ours {
            debug!(%source, reason, since, "datagram from {source} not taken: {rejected}");
        } else {
            warn!(%source, reason, since, "datagram from {source} not taken: {rejected}");
        }
    }

    pub(crate) fn network(&self, change: NetworkChange) {
        match change {
            NetworkChange::InterfaceDown => warn!("the interface is down or gone: waiting for it"),
            NetworkChange::InterfaceUp => info!("the interface is up again"),
            NetworkChange::EchoLost => warn!(
                "not even this node's own multicasts come back: look at the interface and at this machine's firewall"
            ),
            NetworkChange::EchoBack => info!("this node's own multicasts come back again"),
        }
    }
}
