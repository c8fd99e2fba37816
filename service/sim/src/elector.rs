//! Elections alone on the nodes of a simulation. There is no registration: who lives, and how strong each is, the nodes
//! read from a list that all of them share, whenever they hear their leader. Datagrams are not sealed, so nobody may
//! forge any.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use bellwether_election::{
    self as election, Candidate, Election, Event, Memory, Ranking, Settings, To,
};
use bellwether_machine::{Machine, Outbox, Random};
use bellwether_types::{Incarnation, NodeId, Time, Timing};
use bellwether_wire::control::ElectionMessage;

use crate::process::{
    Address, Birth, Destination, Input, Kind, Order, Output, Phase, Process, View,
};
use crate::scenario::{self, Protocol};

/// A node that elects, and does nothing else.
#[derive(Debug)]
pub struct Elector {
    id: NodeId,
    starts: u64,
    segment: Range<u32>,
    address: u32,
    election: Election,
    inner: Outbox<election::Output>,
    /// The version of the list at which this node last read it.
    ranked_at: u64,
    shared: Rc<RefCell<Living>>,
}

/// What an [`Elector`] keeps on disk.
#[derive(Debug, Clone)]
pub struct Disk {
    id: NodeId,
    starts: u64,
    memory: Memory,
}

/// What all electors have in common.
#[derive(Debug)]
pub struct Common {
    timing: Timing,
    profile: election::Profile,
    living: Rc<RefCell<Living>>,
}

#[derive(Debug, Default)]
struct Living {
    /// Who lives in each segment, by the segment's first address.
    segments: BTreeMap<u32, Neighbours>,
    addresses: BTreeMap<NodeId, u32>,
}

#[derive(Debug, Default)]
struct Neighbours {
    candidates: BTreeMap<u32, Candidate>,
    /// Rises with each change.
    version: u64,
}

impl Process for Elector {
    type Disk = Disk;
    type Common = Common;

    fn common(protocol: &Protocol, _: u64) -> Common {
        Common {
            timing: protocol
                .spans()
                .expect("scenarios are checked when they are read"),
            profile: match protocol.profile {
                scenario::Profile::Claim => election::Profile::Claim,
                scenario::Profile::Quiet => election::Profile::Quiet,
            },
            living: Rc::default(),
        }
    }

    fn start(_: Time, birth: Birth<'_, Self>) -> (Self, Disk) {
        let mut random = Random::new(birth.seed);
        let id = u128::from(random.bits()) << 64 | u128::from(random.bits());
        let mut disk = birth.disk.unwrap_or_else(|| Disk {
            id: NodeId::from_bytes(id.to_be_bytes()),
            starts: 0,
            memory: Memory::default(),
        });
        disk.starts += 1;
        let name = format!("node-{:06}", birth.node.0);
        let name = name.parse().expect("letters, digits and a dash");
        let mut settings = Settings::new(disk.id, name, birth.common.timing);
        settings.profile = birth.common.profile;
        let mut election = Election::new(settings, disk.memory, random.bits());
        let mut inner = Outbox::new();
        // A thousandth of what can be measured, so that equal ones are rare but not unknown.
        let measured = election::Input::Measured(birth.priority * 1_000);
        election.handle(Time::ZERO, measured, &mut inner);
        let shared = Rc::clone(&birth.common.living);
        let address = birth.node.0;
        let mut living = shared.borrow_mut();
        living.addresses.insert(disk.id, address);
        let neighbours = living.segments.entry(birth.segment.start).or_default();
        neighbours.version += 1;
        neighbours.candidates.insert(address, election.candidate());
        drop(living);
        let elector = Self {
            id: disk.id,
            starts: disk.starts,
            segment: birth.segment,
            address,
            election,
            inner,
            ranked_at: 0,
            shared,
        };
        (elector, disk)
    }

    fn view(&self) -> View {
        View {
            id: self.id,
            incarnation: Incarnation(self.starts),
            phase: match self.election.state().phase {
                election::Phase::Known(_) => Phase::Known,
                election::Phase::Unknown { .. } => Phase::Unknown,
                election::Phase::Voting(_) => Phase::Voting,
                election::Phase::Leading(_) => Phase::Leading,
                election::Phase::Conceding(_) => Phase::Conceding,
            },
            obeyed: self
                .election
                .reign()
                .or_else(|| self.election.state().obeyed),
            state: None,
        }
    }
}

impl Machine for Elector {
    type Input = Input;
    type Output = Output<Disk>;

    fn handle(&mut self, now: Time, input: Input, out: &mut Outbox<Output<Disk>>) {
        let input = match input {
            Input::Start => election::Input::Start,
            Input::Wake => election::Input::Wake,
            Input::Order(Order::StepDown) => election::Input::StepDown,
            Input::Order(Order::Leave) if self.election.leads() => election::Input::StepDown,
            Input::Order(Order::Leave) => election::Input::Wake,
            Input::Datagram(datagram) => {
                let Ok((from, message)) =
                    minicbor::decode::<(NodeId, ElectionMessage)>(&datagram.bytes)
                else {
                    return;
                };
                if matches!(message, ElectionMessage::Alive(_)) {
                    self.rank(now);
                }
                election::Input::Message { from, message }
            }
        };
        self.election.handle(now, input, &mut self.inner);
        let mut crowned = false;
        let mut inner = std::mem::take(&mut self.inner);
        for output in inner.drain() {
            crowned |= matches!(output, election::Output::Told(Event::Leading { .. }));
            if let Some(output) = self.carried_out(output) {
                out.push(output);
            }
        }
        self.inner = inner;
        if crowned {
            self.rank(now);
        }
    }

    fn wake_at(&self) -> Option<Time> {
        self.election.wake_at()
    }
}

impl Elector {
    fn carried_out(&self, output: election::Output) -> Option<Output<Disk>> {
        match output {
            election::Output::Send { to, message } => {
                let to = match to {
                    To::All => Destination::All,
                    To::Node(node) => {
                        Destination::One(Address(*self.shared.borrow().addresses.get(&node)?))
                    }
                };
                let kind = match (&message, to) {
                    (ElectionMessage::Alive(_), Destination::All) => Kind::Alive,
                    (ElectionMessage::Claim(_), _) => Kind::Claim,
                    _ => Kind::Probe,
                };
                let bytes = minicbor::to_vec((self.id, message)).expect("memory takes everything");
                Some(Output::Send { to, kind, bytes })
            }
            election::Output::Persist(memory) => Some(Output::Persist(Disk {
                id: self.id,
                starts: self.starts,
                memory,
            })),
            election::Output::Told(_) => None,
        }
    }

    /// Reads where this node stands, if anybody came or went.
    fn rank(&mut self, now: Time) {
        let living = self.shared.borrow();
        let Some(neighbours) = living.segments.get(&self.segment.start) else {
            return;
        };
        if neighbours.version == self.ranked_at {
            return;
        }
        self.ranked_at = neighbours.version;
        let ranking = Ranking::of(&self.election.candidate(), neighbours.candidates.values());
        drop(living);
        let mut inner = std::mem::take(&mut self.inner);
        self.election
            .handle(now, election::Input::Ranked(ranking), &mut inner);
        self.inner = inner;
    }
}

impl Drop for Elector {
    fn drop(&mut self) {
        let mut living = self.shared.borrow_mut();
        if let Some(neighbours) = living.segments.get_mut(&self.segment.start) {
            neighbours.version += 1;
            neighbours.candidates.remove(&self.address);
        }
    }
}
