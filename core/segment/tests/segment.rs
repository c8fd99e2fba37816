//! A few nodes on a network without faults, but for those a test makes: what election and membership do together.

use core::net::SocketAddr;
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::rc::Rc;
use std::time::Duration;

use bellwether_election as election;
use bellwether_machine::{Machine, Outbox, Random};
use bellwether_membership::{self as membership, Spans};
use bellwether_segment::{Event, Input, Kept, Numbers, Output, Reach, Segment, Settings, Via};
use bellwether_types::{Fast, Hash, Incarnation, NodeId, Time, Timing};
use bellwether_wire::control::{KeyRing, Rejected, SegmentKey, Sender};
use bellwether_wire::frame::SessionId;
use bellwether_wire::transfer::{Announcement, Ask, AssignmentId, NackTime, TransferMessage};

const CONTROL: &str = "239.66.0.1:7400";
const HEARTBEAT: Duration = Duration::from_millis(100);
const SECOND: Duration = Duration::from_secs(1);

struct Network {
    now: Time,
    nodes: Vec<Node>,
    queue: BinaryHeap<Reverse<Arrival>>,
    sequence: u64,
    /// Is multicast carried?
    multicast: bool,
    /// Every datagram that was ever sent, with its sender.
    recorded: Vec<(SocketAddr, Rc<[u8]>)>,
    told: Vec<(usize, Event)>,
    /// What else went out: of transfers, and of heartbeats.
    others: Vec<(usize, Output)>,
}

/// When, in which order of those that come together, at whom, how, from where, what.
type Arrival = (Time, u64, usize, Via, SocketAddr, Rc<[u8]>);

struct Node {
    segment: Option<Segment>,
    settings: Settings,
    key: u8,
    memory: election::Memory,
    membership: Vec<u8>,
}

fn address(node: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, node as u8 + 1], 7401))
}

fn timing() -> Timing {
    Timing::fast(Fast {
        heartbeat: HEARTBEAT,
        one_way: Duration::from_millis(2),
        jitter: Duration::from_millis(3),
    })
    .unwrap()
}

impl Network {
    fn new(count: usize, reach: impl Fn(usize) -> Reach) -> Self {
        let node = |index: usize| {
            let node = NodeId::from_bytes([index as u8 + 1; 16]);
            let name = format!("node-{index}").parse().unwrap();
            let sender = Sender {
                node,
                incarnation: Incarnation(1),
                salt: [index as u8; 16],
            };
            Node {
                segment: None,
                settings: Settings {
                    sender,
                    election: election::Settings::new(node, name, timing()),
                    membership: membership::Settings {
                        segment: "lab".parse().unwrap(),
                        channel: CONTROL.parse().unwrap(),
                        spans: Spans::of(&timing()),
                        members_max: 100,
                    },
                    reach: reach(index),
                },
                key: 7,
                memory: election::Memory::default(),
                membership: Vec::new(),
            }
        };
        Self {
            now: Time::ZERO,
            nodes: (0..count).map(node).collect(),
            queue: BinaryHeap::new(),
            sequence: 0,
            multicast: true,
            recorded: Vec::new(),
            told: Vec::new(),
            others: Vec::new(),
        }
    }

    fn start(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let keys = KeyRing::new(SegmentKey::from_bytes([node.key; 32]));
        let random = Random::new(index as u64 + 99);
        let settings = node.settings.clone();
        node.segment = Some(Segment::new(settings, keys, node.memory, random));
        let membership = node.membership.clone();
        self.give(index, Input::Start { membership });
        let measured = membership::Measured {
            address: address(index),
            location: String::new(),
            candidate: true,
            priority: 1_000 - 100 * index as u32,
            busy: false,
            formats: Default::default(),
            resources: Default::default(),
            holdings: Vec::new(),
            data_port: None,
            serve_port: None,
        };
        self.give(index, Input::Measured(measured));
    }

    fn restart(&mut self, index: usize) {
        let sender = &mut self.nodes[index].settings.sender;
        sender.incarnation.0 += 1;
        sender.salt[1] += 1;
        self.start(index);
    }

    fn kill(&mut self, index: usize) {
        self.nodes[index].segment = None;
    }

    fn give(&mut self, index: usize, input: Input) {
        let node = &mut self.nodes[index];
        let Some(segment) = &mut node.segment else {
            return;
        };
        let mut out = Outbox::new();
        segment.handle(self.now, input, &mut out);
        for output in out.drain() {
            match output {
                Output::Send { to, datagram, .. } => self.send(index, to, &datagram.into()),
                Output::Persist(Kept::Election(memory)) => self.nodes[index].memory = memory,
                Output::Persist(Kept::Membership(bytes)) => self.nodes[index].membership = bytes,
                Output::Told(event) => self.told.push((index, event)),
                Output::Transfer { .. } | Output::Heartbeat { .. } => {
                    self.others.push((index, output));
                }
                _ => {}
            }
        }
    }

    fn send(&mut self, index: usize, to: SocketAddr, datagram: &Rc<[u8]>) {
        self.recorded.push((address(index), datagram.clone()));
        for target in 0..self.nodes.len() {
            let via = match to.ip().is_multicast() {
                true if self.multicast && to == CONTROL.parse().unwrap() => Via::Multicast,
                false if to == address(target) => Via::Unicast,
                _ => continue,
            };
            self.sequence += 1;
            let at = self.now + Duration::from_micros(200 + 97 * (self.sequence % 8));
            let arrival = (
                at,
                self.sequence,
                target,
                via,
                address(index),
                datagram.clone(),
            );
            self.queue.push(Reverse(arrival));
        }
    }

    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let wakes = self.nodes.iter().enumerate();
            let wakes = wakes.filter_map(|(i, node)| Some((node.segment.as_ref()?.wake_at()?, i)));
            let wake = wakes.min();
            let arrival = self.queue.peek().map(|Reverse(arrival)| arrival.0);
            match (wake, arrival) {
                (Some((at, index)), _) if at <= end && arrival.is_none_or(|first| at <= first) => {
                    self.now = self.now.max(at);
                    self.give(index, Input::Wake);
                }
                (_, Some(at)) if at <= end => {
                    self.now = at;
                    let Reverse((_, _, index, via, source, bytes)) = self.queue.pop().unwrap();
                    let bytes = bytes.to_vec();
                    self.give(index, Input::Datagram { via, source, bytes });
                }
                _ => break,
            }
        }
        self.now = end;
    }

    fn alive(&self) -> impl Iterator<Item = (usize, &Segment)> {
        let nodes = self.nodes.iter().enumerate();
        nodes.filter_map(|(index, node)| Some((index, node.segment.as_ref()?)))
    }

    /// The one leader that all who are alive obey, if all hold the same state, and exactly they are in it.
    fn settled(&self) -> Option<usize> {
        let (_, first) = self.alive().next()?;
        let reign = first.election().reign()?;
        let state = first.membership().segment();
        let members: BTreeSet<NodeId> = state.members().map(|(node, _)| node).collect();
        let alive: BTreeSet<NodeId> = self
            .alive()
            .map(|(_, segment)| segment.election().settings().node)
            .collect();
        let same = self.alive().all(|(_, segment)| {
            segment.election().reign() == Some(reign)
                && segment.membership().is_registered()
                && segment.membership().segment().version() == state.version()
                && segment.membership().segment().digest() == state.digest()
        });
        let leader = self
            .alive()
            .find(|(_, segment)| segment.election().leads())?;
        (same && members == alive).then_some(leader.0)
    }
}

fn multicast(_: usize) -> Reach {
    Reach::Group
}

/// ELECT-01, REG-08, GROUP-14.
#[test]
fn nodes_that_start_together_end_with_one_leader_and_one_state() {
    let mut network = Network::new(8, multicast);
    (0..8).for_each(|index| network.start(index));
    network.run(10 * SECOND);
    assert_eq!(network.settled(), Some(0));
}

/// Without multicast: each of two knows the third alone, and leads; the third, once it is there, hears both. What the
/// two hold is merged, though they are not each other's members.
#[test]
fn who_hears_two_leaders_introduces_them_to_each_other() {
    let third = Reach::Peers([address(2)].into());
    let mut network = Network::new(3, |_| third.clone());
    network.multicast = false;
    network.start(0);
    network.start(1);
    network.run(5 * SECOND);
    assert_eq!(
        network
            .alive()
            .filter(|(_, node)| node.election().leads())
            .count(),
        2
    );
    network.start(2);
    network.run(5 * SECOND);
    assert_eq!(network.settled(), Some(0));
}

/// ELECT-24, REG-12: the strongest that is left leads, and nobody has to register again.
#[test]
fn the_next_leader_begins_with_what_all_know() {
    let mut network = Network::new(5, multicast);
    (0..5).for_each(|index| network.start(index));
    network.run(10 * SECOND);
    network.kill(0);
    network.run(SECOND);
    let obeyed = network
        .alive()
        .map(|(_, segment)| segment.election().reign().map(|reign| reign.leader));
    let leaders: BTreeSet<_> = obeyed.collect();
    assert_eq!(leaders, [Some(NodeId::from_bytes([2; 16]))].into());
    network.run(10 * SECOND);
    assert_eq!(network.settled(), Some(1));
    network.restart(0);
    network.run(10 * SECOND);
    assert_eq!(network.settled(), Some(1), "no preemption (ELECT-29)");
}

#[test]
fn a_leader_that_steps_down_is_followed_by_the_next_at_once() {
    let mut network = Network::new(4, multicast);
    (0..4).for_each(|index| network.start(index));
    network.run(10 * SECOND);
    network.give(0, Input::StepDown);
    network.run(2 * HEARTBEAT);
    assert!(network.alive().all(|(_, segment)| {
        segment.election().reign().map(|reign| reign.leader) == Some(NodeId::from_bytes([2; 16]))
    }));
    network.run(10 * SECOND);
    assert_eq!(network.settled(), Some(1));
}

/// ELECT-31, REG-11: without the key nobody takes part, and nobody is disturbed.
#[test]
fn a_node_with_another_key_changes_nothing() {
    let mut network = Network::new(4, multicast);
    network.nodes[0].key = 8;
    (1..4).for_each(|index| network.start(index));
    network.run(10 * SECOND);
    let (version, memory) = {
        let (_, segment) = network.alive().next().unwrap();
        let version = segment.membership().segment().version();
        (version, network.nodes[1].memory)
    };
    network.start(0);
    network.run(10 * SECOND);
    network.kill(0);
    assert_eq!(network.settled(), Some(1));
    assert_eq!(network.nodes[1].memory, memory);
    let (_, segment) = network.alive().next().unwrap();
    assert_eq!(segment.membership().segment().version(), version);
    let refused = |(_, event): &(usize, Event)| {
        matches!(
            event,
            Event::Rejected {
                reason: Rejected::UnknownKey(_),
                ..
            }
        )
    };
    assert!(network.told.iter().any(refused));
}

fn admit(keys: KeyRing, put_out: &[usize]) -> Input {
    let node = |index: &usize| NodeId::from_bytes([*index as u8 + 1; 16]);
    Input::Admit {
        keys: Box::new(keys),
        put_out: put_out.iter().map(node).collect(),
    }
}

/// CRYPT-06: nodes are told one after the other, far apart; nobody is missed for a moment, and no reign ends.
#[test]
fn keys_are_replaced_in_a_running_segment_without_anybody_being_lost() {
    let mut network = Network::new(5, multicast);
    (0..5).for_each(|index| network.start(index));
    network.run(10 * SECOND);
    let reign = network.nodes[0].memory;
    network.told.clear();
    let key = |byte| SegmentKey::from_bytes([byte; 32]);
    let steps = [
        KeyRing::new(key(7)).with(None, Some(key(8))),
        KeyRing::new(key(8)).with(Some(key(7)), None),
        KeyRing::new(key(8)),
    ];
    for ring in steps {
        for index in [2, 0, 4, 1, 3] {
            network.give(index, admit(ring.clone(), &[]));
            network.run(SECOND);
        }
        assert_eq!(network.settled(), Some(0));
    }
    assert_eq!(network.nodes[0].memory, reign);
    let disturbed = network.told.iter().find(|(_, event)| match event {
        Event::Rejected { reason, .. } => *reason != Rejected::OwnEcho,
        Event::Election(_) => true,
        event => matches!(
            event,
            Event::Membership(membership::Event::Silent(..) | membership::Event::Missing(_))
        ),
    });
    assert_eq!(disturbed, None);
}

/// Whoever was put out is no member any more as soon as the leader knows, though it holds the key and goes on speaking.
#[test]
fn a_node_that_was_put_out_is_refused_at_once_and_stays_out() {
    let mut network = Network::new(4, multicast);
    (0..4).for_each(|index| network.start(index));
    network.run(10 * SECOND);
    let ring = KeyRing::new(SegmentKey::from_bytes([7; 32]));
    network.told.clear();
    for index in 0..3 {
        network.give(index, admit(ring.clone(), &[3]));
    }
    network.run(HEARTBEAT);
    let left = |network: &Network| {
        let of = |(_, segment): (usize, &Segment)| {
            let members = segment.membership().members();
            members
                .map(|(node, _)| node.as_bytes()[0])
                .collect::<Vec<_>>()
        };
        network.alive().take(3).map(of).collect::<Vec<_>>()
    };
    assert_eq!(left(&network), vec![vec![1, 2, 3]; 3]);
    let told = |network: &Network, wanted: fn(&Event) -> bool| {
        network
            .told
            .iter()
            .any(|(index, event)| *index == 0 && wanted(event))
    };
    network.run(10 * SECOND);
    // It starts again and registers; it is stronger than all others, and would lead.
    network.restart(3);
    network.run(10 * SECOND);
    assert_eq!(left(&network), vec![vec![1, 2, 3]; 3]);
    assert!(told(&network, |event| matches!(
        event,
        Event::Membership(membership::Event::PutOut(..))
    )));
    assert!(told(&network, |event| matches!(
        event,
        Event::Rejected {
            reason: Rejected::PutOut { .. },
            ..
        }
    )));
}

/// A leader that was put out and does not care is leader no more to whoever knows.
#[test]
fn a_leader_that_was_put_out_is_replaced() {
    let mut network = Network::new(4, multicast);
    (0..4).for_each(|index| network.start(index));
    network.run(10 * SECOND);
    assert_eq!(network.settled(), Some(0));
    let ring = KeyRing::new(SegmentKey::from_bytes([7; 32]));
    for index in 1..4 {
        network.give(index, admit(ring.clone(), &[0]));
    }
    network.run(2 * SECOND);
    let second = NodeId::from_bytes([2; 16]);
    assert!(network.alive().skip(1).all(|(_, segment)| {
        segment.election().reign().map(|reign| reign.leader) == Some(second)
            && segment.membership().segment().member_count() == 3
    }));
    network.kill(0);
    network.run(SECOND);
    assert_eq!(network.settled(), Some(1));
}

/// All that was ever said is said again, to all: not one node changes what it obeys or holds.
#[test]
fn what_is_replayed_has_no_effect() {
    let mut network = Network::new(4, multicast);
    (0..4).for_each(|index| network.start(index));
    network.run(5 * SECOND);
    network.kill(0);
    network.run(5 * SECOND);
    assert_eq!(network.settled(), Some(1));
    let before: Vec<_> = network
        .alive()
        .map(|(_, segment)| segment.election().state().clone())
        .collect();
    for (source, datagram) in network.recorded.clone() {
        for target in 1..4 {
            let bytes = datagram.to_vec();
            let via = Via::Multicast;
            network.give(target, Input::Datagram { via, source, bytes });
        }
    }
    let after = network
        .alive()
        .map(|(_, segment)| segment.election().state().clone());
    assert!(after.eq(before));
    network.run(5 * SECOND);
    assert_eq!(network.settled(), Some(1));
}

/// MCTP-06, ELECT-33: what the leader announces and knows of comes with its heartbeats, and from nobody else.
#[test]
fn heartbeats_of_the_leader_announce_its_sessions_and_say_what_it_knows_of() {
    let mut network = Network::new(3, multicast);
    (0..3).for_each(|index| network.start(index));
    network.run(5 * SECOND);
    for index in [0, 1] {
        let announcement = announcement(NodeId::from_bytes([index as u8 + 1; 16]));
        network.give(index, Input::Announce(vec![announcement]));
        network.give(
            index,
            Input::Numbers(Numbers {
                settings: 10 + index as u64,
                committed: 7,
            }),
        );
    }
    network.others.clear();
    let before = network.now;
    network.run(2 * HEARTBEAT);
    for member in [1, 2] {
        let mut announced = 0;
        for (_, output) in network.others.iter().filter(|(index, _)| *index == member) {
            match output {
                Output::Transfer { from, message, .. } => {
                    let TransferMessage::Announce(said) = &**message else {
                        panic!("{message:?}");
                    };
                    assert_eq!(
                        (said.sender, *from),
                        (NodeId::from_bytes([1; 16]), said.sender)
                    );
                    announced += 1;
                }
                Output::Heartbeat { numbers, sent_us } => {
                    assert_eq!((numbers.settings, numbers.committed), (10, 7));
                    assert!(*sent_us >= before.as_nanos() / 1_000);
                }
                _ => {}
            }
        }
        assert!(announced > 0, "member {member} heard of no session");
    }
    assert!(network.others.iter().all(|(index, _)| *index != 0));
}

/// What is said of transfers comes to whom it is for, with who said it.
#[test]
fn words_of_transfers_pass_through_to_one_or_to_all() {
    let mut network = Network::new(3, multicast);
    (0..3).for_each(|index| network.start(index));
    network.run(5 * SECOND);
    network.others.clear();
    let fetch = TransferMessage::Fetch(AssignmentId(Hash([1; 32])));
    let close = TransferMessage::Close(SessionId([2; 4]));
    let to = Some(NodeId::from_bytes([3; 16]));
    for (to, message) in [(to, fetch.clone()), (None, close.clone())] {
        let message = Box::new(message);
        network.give(1, Input::Transfer { to, message });
    }
    network.run(HEARTBEAT);
    let came = |to: usize, alone: bool, message: &TransferMessage| {
        let expected = Output::Transfer {
            from: NodeId::from_bytes([2; 16]),
            alone,
            message: Box::new(message.clone()),
        };
        network.others.contains(&(to, expected))
    };
    assert!(came(2, true, &fetch) && !came(0, true, &fetch));
    assert!(came(0, false, &close) && came(2, false, &close));
}

fn announcement(sender: NodeId) -> Announcement {
    Announcement {
        assignment: AssignmentId(Hash([1; 32])),
        name: "shop".to_owned(),
        group: None,
        epoch: bellwether_types::Epoch {
            counter: 1,
            leader: sender,
        },
        sender,
        incarnation: Incarnation(1),
        salt: [1; 16],
        key: SegmentKey::from_bytes([7; 32]).id(),
        head_len: 100,
        data_len: 100,
        block_len: 1_024,
        symbol_len: 1_024,
        blocks_per_repair: 1,
        repairs: 0,
        repair_start: 0,
        rate: 1,
        ask: Ask::All,
        nack: NackTime::Block,
        spread_ms: 1,
        encrypted: false,
        participants: 2,
    }
}

/// Where there is no multicast, one address is enough to find everybody.
#[test]
fn without_multicast_a_first_address_leads_to_all() {
    let first = |index: usize| match index {
        0 => Reach::Peers(BTreeSet::from([address(1)])),
        _ => Reach::Peers(BTreeSet::from([address(index - 1)])),
    };
    let mut network = Network::new(6, first);
    network.multicast = false;
    for index in 0..6 {
        network.start(index);
        network.run(2 * SECOND);
    }
    network.run(10 * SECOND);
    let leader = network.settled().expect("one segment");
    network.kill(leader);
    network.run(10 * SECOND);
    let next = network.settled().expect("one segment again");
    assert_ne!(leader, next);
}

/// Multicast dies, unicast lives: the leader stays, and when it dies the others still agree on the next.
#[test]
fn multicast_may_die_while_unicast_lives() {
    let mut network = Network::new(5, multicast);
    (0..5).for_each(|index| network.start(index));
    network.run(10 * SECOND);
    network.multicast = false;
    network.told.clear();
    network.run(20 * SECOND);
    assert_eq!(network.settled(), Some(0));
    let lost = network
        .told
        .iter()
        .filter(|(_, event)| *event == Event::MulticastLost);
    assert_eq!(lost.count(), 4);
    network.kill(0);
    network.run(20 * SECOND);
    assert_eq!(network.settled(), Some(1));
    network.told.clear();
    network.multicast = true;
    network.run(40 * SECOND);
    assert_eq!(network.settled(), Some(1));
    let back = network
        .told
        .iter()
        .filter(|(_, event)| *event == Event::MulticastBack);
    assert!(back.count() >= 3);
}

/// A node that was wiped comes back under its id with a lower start: it is not taken for the old one.
#[test]
fn an_older_start_never_replaces_a_newer_one() {
    let mut network = Network::new(3, multicast);
    (0..3).for_each(|index| network.start(index));
    network.run(5 * SECOND);
    network.kill(2);
    network.restart(2);
    network.run(5 * SECOND);
    assert_eq!(network.settled(), Some(0));
    network.kill(2);
    network.nodes[2].settings.sender.incarnation.0 -= 1;
    network.nodes[2].settings.sender.salt[2] += 1;
    network.start(2);
    network.run(5 * SECOND);
    let (_, leader) = network.alive().next().unwrap();
    let record = leader
        .membership()
        .segment()
        .record(NodeId::from_bytes([3; 16]));
    assert!(record.is_none_or(|record| record.incarnation == Incarnation(2)));
    let refused = |(_, event): &(usize, Event)| {
        matches!(
            event,
            Event::Rejected {
                reason: Rejected::OlderIncarnation { .. },
                ..
            }
        )
    };
    assert!(network.told.iter().any(refused));
}
