//! What a leader brings to others, over changes of members and of leaders.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bellwether_content::assignment;
use bellwether_multicast::receiver::{Prove, Receiver};
use bellwether_multicast::sender;
use bellwether_multicast::{Fate, Geometry, Input, Job, Outcome, Way};
use bellwether_types::{Epoch, Name, NodeId};
use bellwether_wire::control::KeyRing;
use bellwether_wire::frame::{FRAME_OVERHEAD, SessionId};
use bellwether_wire::transfer::{Announcement, Ask, AssignmentId};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Going, Order, Roster, Told, Transfers};
use crate::content::Proof;
use crate::send::SYMBOL_LEN_MAX;

/// An assignment that is to come to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Its file, or nothing if it lies with the others already.
    pub at: Whereabouts,
    /// What it is called, for people.
    pub name: String,
    /// The content group that is to have it; all members if there is none.
    pub group: Option<Name>,
    /// Of those, whose answer is waited for; all if nobody is named.
    pub members: BTreeSet<NodeId>,
}

/// Where an assignment is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whereabouts {
    /// In a file that lies anywhere: a copy of it is kept.
    File(PathBuf),
    /// With the others, under its id.
    Shelf(AssignmentId),
}

/// Why an assignment is not offered.
#[derive(Debug, thiserror::Error)]
pub enum OfferError {
    /// Somebody else leads, or nobody.
    #[error("this node does not lead its segment")]
    NotLeading,
    /// No such group.
    #[error("the segment has no group {0}")]
    NoGroup(Name),
    /// The file does not serve.
    #[error("the assignment cannot be used: {0}")]
    File(io::Error),
    /// It cannot be cut.
    #[error("the assignment cannot be sent: {0}")]
    Unfit(String),
}

/// An offer that is open.
#[derive(Debug)]
pub(super) struct Open {
    group: Option<Name>,
    members: BTreeSet<NodeId>,
    /// The reign in which it is sent.
    epoch: Epoch,
}

/// After so long without a byte from elsewhere, neighbours are asked.
const INFLOW_PATIENCE: Duration = Duration::from_secs(10);
/// Outcomes and names that are remembered.
const OUTCOMES_MAX: usize = 64;

impl<T: FnMut(Told)> Transfers<T> {
    /// A file is proved and copied on a thread; then the offer comes once more.
    pub(super) fn take_offer(
        &mut self,
        offer: Offer,
        tell: oneshot::Sender<Result<AssignmentId, OfferError>>,
    ) {
        match &offer.at {
            Whereabouts::Shelf(assignment) => {
                let _ = tell.send(self.offer(*assignment, &offer));
            }
            Whereabouts::File(path) => {
                let (path, shelf, orders) = (path.clone(), self.shelf.clone(), self.orders.clone());
                tokio::task::spawn_blocking(move || match shelf.adopt(&path) {
                    Err(error) => drop(tell.send(Err(OfferError::File(error)))),
                    Ok(assignment) => {
                        let at = Whereabouts::Shelf(assignment);
                        let _ = orders.send(Order::Offer(Offer { at, ..offer }, tell));
                    }
                });
            }
        }
    }

    fn offer(
        &mut self,
        assignment: AssignmentId,
        offer: &Offer,
    ) -> Result<AssignmentId, OfferError> {
        let epoch = self.leads().ok_or(OfferError::NotLeading)?;
        if let Some(group) = &offer.group
            && !self.roster.groups.contains_key(group)
        {
            return Err(OfferError::NoGroup(group.clone()));
        }
        // It may have come in another way than what is being sent already waits for. Or else it is on its way here.
        if self.shelf.path(assignment).exists() || self.geometry(assignment).is_none() {
            self.have(assignment).map_err(OfferError::File)?;
        }
        if self.join(assignment, offer, epoch) {
            return Ok(assignment);
        }
        if !offer.name.is_empty() {
            self.names.insert(assignment, offer.name.clone());
        }
        self.outcomes.remove(&assignment);
        let open = Open {
            group: offer.group.clone(),
            members: offer.members.clone(),
            epoch,
        };
        self.send(assignment, open);
        Ok(assignment)
    }

    /// What is being brought to others in this reign already is brought to more of them; whether that is so.
    fn join(&mut self, assignment: AssignmentId, offer: &Offer, epoch: Epoch) -> bool {
        let is_sent = !self.sessions_of(assignment).is_empty();
        let open = self.offers.get_mut(&assignment);
        let Some(open) = open.filter(|open| is_sent && open.epoch == epoch) else {
            return false;
        };
        if open.group != offer.group {
            return false;
        }
        let mut came = BTreeSet::new();
        if !open.members.is_empty() {
            came = &offer.members - &open.members;
            open.members.extend(&came);
        }
        came.retain(|node| *node != self.own && self.roster.members.contains_key(node));
        for node in came {
            self.say_to_senders(assignment, &sender::Input::Joined(node));
        }
        true
    }

    /// An assignment lies here whole.
    pub(super) fn have(&mut self, assignment: AssignmentId) -> io::Result<()> {
        let known = self.carrier.station().receiver(assignment);
        if known.is_some_and(|receiver| receiver.is_complete()) {
            return Ok(());
        }
        let (content, outline) = self.shelf.take(assignment)?;
        let geometry = self.cut(assignment, outline.head_len, outline.header.data_len)?;
        self.carrier.add(assignment, content);
        self.carrier.give(Input::Have {
            assignment,
            geometry,
        });
        self.carrier.settle();
        Ok(())
    }

    /// Blocks of an assignment came from elsewhere than a neighbour.
    pub(super) fn came(
        &mut self,
        assignment: AssignmentId,
        head_len: u64,
        data_len: u64,
        end: u64,
    ) -> io::Result<()> {
        let geometry = self.cut(assignment, head_len, data_len)?;
        if self.carrier.content(assignment).is_none() {
            let content = self.shelf.open(assignment, head_len)?;
            self.carrier.add(assignment, content);
        }
        let Some(content) = self.carrier.content(assignment) else {
            return Ok(());
        };
        let (told, came) = self
            .inflows
            .entry(assignment)
            .or_insert_with(|| (0, Instant::now()));
        if *told == 0
            && let Proof::Useless(why) = content.prove(assignment, &geometry, Prove::Head)?
        {
            return Err(io::Error::other(why));
        }
        *came = Instant::now();
        let blocks = blocks_within(&geometry, *told)..blocks_within(&geometry, end);
        *told = end;
        self.carrier.give(Input::Came {
            assignment,
            geometry,
            blocks,
        });
        // An offer of it may follow at once, and asks the station how it is cut.
        self.carrier.settle();
        Ok(())
    }

    /// How an assignment is cut: as it was, or as suits this network.
    fn cut(
        &mut self,
        assignment: AssignmentId,
        head_len: u64,
        data_len: u64,
    ) -> io::Result<Geometry> {
        if let Some(geometry) = self.geometry(assignment) {
            return Ok(geometry);
        }
        let block_len = u32::try_from(assignment::block_len(data_len)).unwrap_or(u32::MAX);
        let cut = Geometry::suited(head_len, data_len, block_len, self.symbol_len());
        cut.map_err(|error| io::Error::other(error.to_string()))
    }

    /// What a frame carries on this network.
    fn symbol_len(&mut self) -> u16 {
        let to = self.everyone;
        let len = to
            .or_else(|| self.roster.neighbour(self.own))
            .and_then(|to| self.carrier.channel_mut().frame_len_max(to).ok());
        let len = len
            .unwrap_or(FRAME_LEN_USUAL)
            .saturating_sub(FRAME_OVERHEAD);
        u16::try_from(len).unwrap_or(u16::MAX).min(SYMBOL_LEN_MAX) & !1
    }

    fn send(&mut self, assignment: AssignmentId, open: Open) {
        let Some(geometry) = self.geometry(assignment) else {
            return;
        };
        let way = match self.everyone {
            Some(_) => Way::Group,
            None => Way::Chain,
        };
        let mut participants = self.roster.audience(open.group.as_ref());
        if !open.members.is_empty() {
            participants.retain(|node| open.members.contains(node));
        }
        participants.remove(&self.own);
        let job = Job {
            assignment,
            name: self.names.get(&assignment).cloned().unwrap_or_default(),
            group: open.group.clone(),
            epoch: open.epoch,
            geometry,
            participants,
            ask: Ask::All,
            is_new: false,
            // What is here whole or in part is known from its receiver.
            is_available: false,
            way,
        };
        self.offers.insert(assignment, open);
        self.carrier.give(Input::Send(Box::new(job)));
    }

    /// Who comes to lead goes on with what earlier leaders did not bring to an end, itself among them.
    pub(super) fn succeed(&mut self) {
        let Some(epoch) = self.leads() else {
            return;
        };
        // The machine ends what it sent in earlier reigns before it sends anew.
        self.carrier.settle();
        let unfinished = self.carrier.station().unfinished();
        let unfinished = unfinished.map(|session| (session.assignment, session.clone()));
        let unfinished: Vec<(AssignmentId, Announcement)> = unfinished.collect();
        for (assignment, session) in unfinished {
            if !session.name.is_empty() {
                self.names.insert(assignment, session.name);
            }
            self.offers.entry(assignment).or_insert_with(|| Open {
                group: session.group,
                members: BTreeSet::new(),
                epoch,
            });
        }
        let mut open = std::mem::take(&mut self.offers);
        while let Some((assignment, offer)) = open.pop_first() {
            self.send(assignment, Open { epoch, ..offer });
        }
        self.tend();
    }

    /// Segment keys have changed. A session that is open goes on with the key that it began with as long as that is
    /// accepted: then whoever comes later could not hear it, and it begins anew with what is missing.
    pub(super) fn seal_with(&mut self, keys: KeyRing) {
        self.carrier.give(Input::Key(keys.current().id()));
        let senders = self.carrier.station().senders();
        let retired = senders.filter(|(_, sender)| {
            sender.served().is_none() && !keys.accepts(sender.announcement().key)
        });
        let retired: Vec<(SessionId, AssignmentId)> = retired
            .map(|(session, sender)| (session, sender.job().assignment))
            .collect();
        self.carrier.set_keys(keys);
        for (session, assignment) in retired {
            let Some(open) = self.offers.remove(&assignment) else {
                continue;
            };
            self.renewed.insert(assignment);
            self.carrier
                .give(Input::Sender(session, sender::Input::Deposed));
            self.carrier.settle();
            self.send(assignment, open);
        }
    }

    /// An offer whose session ended while its reign lasts is over; otherwise whoever leads next goes on with it.
    pub(super) fn conclude(&mut self, assignment: AssignmentId, epoch: Epoch, outcome: &Outcome) {
        let open = self.offers.get(&assignment);
        let is_of_this = open.is_some_and(|open| open.epoch == epoch);
        if !is_of_this || self.reign != Some(epoch) {
            return;
        }
        self.offers.remove(&assignment);
        if self.outcomes.len() >= OUTCOMES_MAX {
            self.outcomes.pop_first();
        }
        self.outcomes.insert(assignment, outcome.clone());
    }

    /// Members who came are to have what is sent, and nobody waits for those who went.
    pub(super) fn follow_roster(&mut self, before: &Roster) {
        let assignments: Vec<AssignmentId> = self.offers.keys().copied().collect();
        for assignment in assignments {
            let Some(open) = self.offers.get(&assignment) else {
                continue;
            };
            let group = open.group.as_ref();
            let (then, now) = (before.audience(group), self.roster.audience(group));
            let is_meant = |node: &&NodeId| {
                **node != self.own && (open.members.is_empty() || open.members.contains(*node))
            };
            let came: Vec<NodeId> = now.difference(&then).filter(is_meant).copied().collect();
            let went: Vec<NodeId> = then.difference(&now).filter(is_meant).copied().collect();
            for node in came {
                self.say_to_senders(assignment, &sender::Input::Joined(node));
            }
            for node in went {
                self.say_to_senders(assignment, &sender::Input::Departed(node));
            }
        }
        self.tend();
    }

    /// A leader that lacks something of what it is to send fetches it from whoever may have it.
    pub(super) fn tend(&mut self) {
        if self.leads().is_none() {
            return;
        }
        let station = self.carrier.station();
        let lacking: Vec<AssignmentId> = self
            .offers
            .keys()
            .filter(|assignment| {
                let receiver = station.receiver(**assignment);
                let lacks = |one: &Receiver| !one.is_complete() && one.source().is_none();
                let inflow = self.inflows.get(*assignment);
                let comes = inflow.is_some_and(|(_, came)| came.elapsed() < INFLOW_PATIENCE);
                receiver.is_some_and(lacks) && !comes
            })
            .copied()
            .collect();
        for assignment in lacking {
            let members = self.roster.members.keys();
            let sources = members.filter(|node| **node != self.own);
            self.carrier.give(Input::Fetch {
                assignment,
                sources: sources.copied().collect(),
            });
        }
    }

    /// Says of each offer how far its receivers are.
    pub(super) fn tell_how_they_get_on(&mut self) {
        let senders = self.carrier.station().senders();
        let going: Vec<(AssignmentId, Going)> = senders
            .filter(|(_, sender)| sender.served().is_none())
            .filter(|(_, sender)| self.offers.contains_key(&sender.job().assignment))
            .map(|(_, sender)| (sender.job().assignment, going(sender)))
            .collect();
        for (assignment, going) in going {
            (self.tell)(Told::Going(assignment, going));
        }
    }

    /// Who has it, of those whom an offer is for.
    pub(super) fn fates(&self, assignment: AssignmentId) -> Vec<(NodeId, Option<Fate>, u64)> {
        let senders = self.carrier.station().senders();
        let mut of_assignment = senders.filter(|(_, sender)| {
            sender.job().assignment == assignment && sender.served().is_none()
        });
        if let Some((_, sender)) = of_assignment.next() {
            let progress = sender.progress();
            return progress
                .map(|(node, fate, lacking)| (node, fate.cloned(), lacking))
                .collect();
        }
        let outcome = self.outcomes.get(&assignment);
        let fates = outcome.into_iter().flat_map(|outcome| &outcome.fates);
        fates
            .map(|(node, fate)| (*node, Some(fate.clone()), 0))
            .collect()
    }
}

fn going(sender: &sender::Sender) -> Going {
    let geometry = &sender.job().geometry;
    let bytes = geometry.head_len() + geometry.data_len();
    let received = sender.progress().map(|(node, fate, lacking)| {
        let lacking = lacking.saturating_mul(geometry.symbol_len().into());
        let received = match fate {
            Some(Fate::Complete) => bytes,
            _ => bytes.saturating_sub(lacking.max(1)),
        };
        (node, received)
    });
    Going {
        rate: if sender.is_sending() {
            sender.rate()
        } else {
            0
        },
        received: received.collect(),
    }
}

/// The blocks that lie wholly within the first `end` bytes of head and data.
fn blocks_within(geometry: &Geometry, end: u64) -> u32 {
    let (head, data) = (geometry.head_len(), geometry.data_len());
    match end.checked_sub(head) {
        None => 0,
        Some(end) if end >= data => geometry.blocks(),
        Some(end) => geometry.head_blocks() + (end / u64::from(geometry.block_len())) as u32,
    }
}

/// An Ethernet's packet without headers of IPv4 and UDP.
const FRAME_LEN_USUAL: usize = 1_472;

impl Roster {
    /// Where some other member takes frames: the way to a node itself takes longer ones than any network.
    fn neighbour(&self, own: NodeId) -> Option<SocketAddr> {
        let mut others = self.members.iter().filter(|(node, _)| **node != own);
        others.find_map(|(_, address)| *address)
    }

    /// Members of a content group who are up, or all members.
    fn audience(&self, group: Option<&Name>) -> BTreeSet<NodeId> {
        let members = self.members.keys().copied();
        match group {
            None => members.collect(),
            Some(group) => {
                let places = self.groups.get(group).map(|(_, places)| places);
                let is_in = |node: &NodeId| places.is_some_and(|places| places.contains(node));
                members.filter(is_in).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_node_is_its_own_neighbour() {
        let [first, second, third] = [1, 2, 3].map(|number| NodeId::from_bytes([number; 16]));
        let address = |port| SocketAddr::from(([10, 0, 0, 1], port));
        let members = [
            (first, Some(address(1))),
            (second, None),
            (third, Some(address(3))),
        ];
        let roster = Roster {
            members: members.into(),
            ..Roster::default()
        };
        assert_eq!(roster.neighbour(first), Some(address(3)));
        assert_eq!(roster.neighbour(third), Some(address(1)));
        let alone = Roster {
            members: [(first, Some(address(1)))].into(),
            ..Roster::default()
        };
        assert_eq!(alone.neighbour(first), None);
    }
}
