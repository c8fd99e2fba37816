//! A node of a segment, and others that have the key and say what they like.

use std::net::SocketAddr;
use std::time::Duration;

use bellwether_election as election;
use bellwether_machine::{Machine, Outbox, Random};
use bellwether_membership::{self as membership, Spans};
use bellwether_segment::{Input, Kept, Output, Reach, Segment, Settings, Via};
use bellwether_types::{Fast, Incarnation, NodeId, Time, Timing};
use bellwether_wire::control::{
    ControlMessage, DatagramSeal, KeyRing, Rejected, SegmentKey, Sender,
};

const CONTROL: &str = "239.66.0.1:7400";
/// Who is fed is the first; the others speak.
const NODES: u8 = 4;
/// No message makes a node say more than this at once.
const OUTPUTS_MAX: usize = 4_096;
/// Kind, sender, milliseconds, length.
const STEP_LEN: usize = 6;

/// Whatever is a message is sealed, opened and said again as it was; whatever is not is refused, and refused again.
pub(crate) fn datagram(input: &[u8]) {
    let mut receiver = seal(0);
    if let Ok(opened) = receiver.open(input) {
        let again = receiver.open(input);
        assert!(
            matches!(again, Err(Rejected::Replayed { .. })),
            "{opened:?} took effect twice: {again:?}"
        );
    }
    if let Ok(message) = minicbor::decode::<ControlMessage>(input)
        && let Ok(datagram) = seal(1).seal(None, &message)
    {
        let opened = receiver.open(&datagram);
        if let Ok(opened) = opened {
            assert_eq!(opened.message, message);
        }
        for len in [0, 1, datagram.len() / 2, datagram.len() - 1] {
            let cut = receiver.open(&datagram[..len]);
            assert!(cut.is_err(), "{len} bytes of {} were taken", datagram.len());
        }
    }
}

pub(crate) fn datagrams() -> Vec<Vec<u8>> {
    let datagrams = recorded().into_iter().map(|(sender, message)| {
        let datagram = seal(sender).seal(None, &message);
        datagram.expect("it was sent before")
    });
    let messages = recorded().into_iter().map(|(_, message)| plain(&message));
    distinct(datagrams.chain(messages))
}

/// Whatever others say, in whatever order and time, a node obeys no lower epoch than before, says no more than it may,
/// and goes to sleep.
pub(crate) fn node(input: &[u8]) {
    let mut node = Node::new();
    let mut seals: Vec<DatagramSeal> = (0..NODES).map(seal).collect();
    let mut rest = input;
    while let Some((step, after)) = rest.split_at_checked(STEP_LEN) {
        let [kind, sender, ms, much, low, high] = *step else {
            unreachable!("a step has so many bytes");
        };
        let len = usize::from(u16::from_le_bytes([low, high])).min(after.len());
        let (payload, after) = after.split_at(len);
        rest = after;
        node.pass(Duration::from_millis(u64::from(ms) << (much % 12)));
        let sender = 1 + sender % (NODES - 1);
        let via = match kind & 1 {
            0 => Via::Multicast,
            _ => Via::Unicast,
        };
        let datagram = match kind >> 1 {
            0 | 1 => {
                let message = minicbor::decode::<ControlMessage>(payload).ok();
                let to = (kind & 1 != 0).then(|| id(0));
                let said = message.map(|message| seals[usize::from(sender)].seal(to, &message));
                said.and_then(Result::ok)
            }
            2 => Some(payload.to_vec()),
            3 => {
                node.give(Input::StepDown);
                None
            }
            4 => {
                node.restart(payload.to_vec());
                None
            }
            _ => None,
        };
        if let Some(bytes) = datagram {
            node.give(Input::Datagram {
                via,
                source: address(sender),
                bytes,
            });
        }
    }
    node.pass(Duration::from_secs(5));
}

/// Three honest nodes that start, elect and register, as the fourth hears them.
pub(crate) fn conversations() -> Vec<Vec<u8>> {
    let mut whole = Vec::new();
    let mut parts = Vec::new();
    for (sender, message) in recorded() {
        let payload = plain(&message);
        let len = u16::try_from(payload.len()).expect("datagrams are short");
        let mut step = vec![0, sender - 1, 3, 0];
        step.extend(len.to_le_bytes());
        step.extend(payload);
        whole.extend(&step);
        parts.push(step);
    }
    let restart = [8, 0, 0, 0, 0, 0];
    let after_restart = [whole.as_slice(), &restart, &whole].concat();
    distinct(parts.into_iter().chain([whole, after_restart]))
}

struct Node {
    now: Time,
    segment: Segment,
    starts: u64,
    memory: election::Memory,
}

impl Node {
    fn new() -> Self {
        let mut node = Self {
            now: Time::ZERO,
            segment: segment(0, 1, election::Memory::default()),
            starts: 1,
            memory: election::Memory::default(),
        };
        node.begin(Vec::new());
        node
    }

    /// Starts again with what the election kept, and with anything at all for membership.
    fn restart(&mut self, membership: Vec<u8>) {
        self.starts += 1;
        self.segment = segment(0, self.starts, self.memory);
        self.begin(membership);
    }

    fn begin(&mut self, membership: Vec<u8>) {
        self.give(Input::Start { membership });
        self.give(Input::Measured(measured(0)));
    }

    fn give(&mut self, input: Input) {
        let obeyed = self.segment.election().state().obeyed;
        let mut out = Outbox::new();
        self.segment.handle(self.now, input, &mut out);
        let outputs: Vec<Output> = out.drain().collect();
        assert!(outputs.len() <= OUTPUTS_MAX, "{} outputs", outputs.len());
        for output in outputs {
            if let Output::Persist(Kept::Election(memory)) = output {
                self.memory = memory;
            }
        }
        assert!(self.segment.election().state().obeyed >= obeyed);
    }

    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        // A timer that is due again at once would keep the node awake for ever.
        let mut wakes = 0;
        while let Some(at) = self.segment.wake_at().filter(|at| *at <= end) {
            assert!(
                at > self.now || wakes < 64,
                "it wakes {wakes} times at {at}"
            );
            wakes = if at > self.now { 0 } else { wakes + 1 };
            self.now = self.now.max(at);
            self.give(Input::Wake);
        }
        self.now = end;
    }
}

/// What three nodes say to each other in their first second, as the protocol has it.
fn recorded() -> Vec<(u8, ControlMessage)> {
    let mut observer = seal(0);
    let mut nodes: Vec<(u8, Segment)> = (1..NODES)
        .map(|node| (node, segment(node, 1, election::Memory::default())))
        .collect();
    let mut now = Time::ZERO;
    let mut waiting = Vec::new();
    let mut said = Vec::new();
    for (node, segment) in &mut nodes {
        let start = Input::Start {
            membership: Vec::new(),
        };
        for input in [start, Input::Measured(measured(*node))] {
            waiting.extend(sent(*node, segment, now, input));
        }
    }
    let end = Time::ZERO + Duration::from_secs(3);
    while now < end {
        for (sender, to, bytes) in std::mem::take(&mut waiting) {
            if let Ok(opened) = observer.open(&bytes) {
                said.push((sender, opened.message));
            }
            for (node, segment) in &mut nodes {
                let via = match to.ip().is_multicast() {
                    true => Via::Multicast,
                    false if to == address(*node) => Via::Unicast,
                    false => continue,
                };
                let (source, bytes) = (address(sender), bytes.clone());
                let input = Input::Datagram { via, source, bytes };
                waiting.extend(sent(*node, segment, now, input));
            }
        }
        let wakes = nodes.iter().filter_map(|(_, segment)| segment.wake_at());
        let next = wakes.min().unwrap_or(end);
        if waiting.is_empty() {
            now = now.max(next);
        }
        for (node, segment) in &mut nodes {
            if segment.wake_at().is_some_and(|at| at <= now) {
                waiting.extend(sent(*node, segment, now, Input::Wake));
            }
        }
    }
    said
}

type Sent = (u8, SocketAddr, Vec<u8>);

fn sent(node: u8, segment: &mut Segment, now: Time, input: Input) -> Vec<Sent> {
    let mut out = Outbox::new();
    segment.handle(now, input, &mut out);
    let sends = out.drain().filter_map(|output| match output {
        Output::Send { to, datagram, .. } => Some((node, to, datagram)),
        _ => None,
    });
    sends.collect()
}

fn segment(node: u8, incarnation: u64, memory: election::Memory) -> Segment {
    let timing = Timing::fast(Fast {
        heartbeat: Duration::from_millis(100),
        ..Fast::default()
    });
    let timing = timing.expect("within the ranges");
    let name = format!("node-{node}").parse().expect("a name");
    let settings = Settings {
        sender: sender(node, incarnation),
        election: election::Settings::new(id(node), name, timing),
        membership: membership::Settings {
            segment: "fuzz".parse().expect("a name"),
            channel: CONTROL.parse().expect("an address"),
            spans: Spans::of(&timing),
            members_max: 64,
        },
        reach: Reach::Group,
    };
    Segment::new(settings, keys(), memory, Random::new(node.into()))
}

fn measured(node: u8) -> membership::Measured {
    membership::Measured {
        address: address(node),
        location: String::new(),
        candidate: true,
        priority: 100 * u32::from(node),
        busy: false,
        formats: Default::default(),
        resources: Default::default(),
        holdings: Vec::new(),
        data_port: None,
        serve_port: None,
    }
}

fn seal(node: u8) -> DatagramSeal {
    DatagramSeal::new("fuzz".parse().expect("a name"), sender(node, 1), keys())
}

fn keys() -> KeyRing {
    KeyRing::new(SegmentKey::from_bytes([7; 32]))
}

fn sender(node: u8, incarnation: u64) -> Sender {
    Sender {
        node: id(node),
        incarnation: Incarnation(incarnation),
        salt: [node; 16],
    }
}

fn id(node: u8) -> NodeId {
    NodeId::from_bytes([node + 1; 16])
}

fn address(node: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, node + 1], 7401))
}

fn plain(message: &ControlMessage) -> Vec<u8> {
    minicbor::to_vec(message).expect("memory takes what is written")
}

fn distinct(inputs: impl Iterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
    let mut inputs: Vec<_> = inputs.collect();
    inputs.sort();
    inputs.dedup();
    inputs
}
