//! What strangers, broken nodes and insiders with the segment key may send.

mod world;

use std::time::Duration;

use bellwether_machine::{Machine, Outbox, Random};
use bellwether_multicast::sender::{self, Sender};
use bellwether_multicast::{
    Fate, Finish, Geometry, Identity, Input, Job, Rate, Settings, Way, receiver,
};
use bellwether_types::{Epoch, Hash, Incarnation, NodeId, Time};
use bellwether_wire::control::SegmentKeyId;
use bellwether_wire::frame::{FrameHeader, SessionId};
use bellwether_wire::transfer::{
    Announcement, Ask, AssignmentId, Divert, Flush, Lack, Mend, Small, Stage, Status,
    TransferMessage,
};
use proptest::prelude::*;
use world::{Content, Network, World};

const SECOND: Duration = Duration::from_secs(1);

fn settings() -> Settings {
    Settings {
        rate: Rate::Fixed(50_000_000),
        ..Settings::default()
    }
}

/// Two members and a leader that just began to send.
fn began(seed: u64) -> (World, std::rc::Rc<Content>, SessionId) {
    let mut world = World::new(4, seed, Network::default(), settings());
    let content = world.add(Content::new(seed, 400_000, 16 << 10, 1_000));
    world.lead(0);
    world.have(0, &content);
    let job = world.job(&content, Way::Group);
    world.send(job);
    world.run_for(Duration::from_millis(10));
    let station = world.nodes[0].station.as_ref().unwrap();
    let session = station.senders().next().unwrap().0;
    (world, content, session)
}

/// CRYPT-02, MCTP-19: a holder of the segment key sends content that was never signed. It reaches nobody, is asked for
/// again, and in the end the node says what is wrong.
#[test]
fn content_that_is_not_what_was_signed_never_counts() {
    let (mut world, content, session) = began(1);
    // Symbols with truthful headers and other bytes, over and over.
    for round in 0..40_u64 {
        for block in 0..content.geometry.repair_blocks() {
            let symbols = content.geometry.symbols(block);
            let frames: Vec<FrameHeader> = (0..symbols)
                .map(|symbol| FrameHeader {
                    session,
                    sequence: 1_000_000 + round,
                    block,
                    symbol,
                    pass: 1,
                    size: content.geometry.place(block, symbol).len as u16,
                    encrypted: false,
                })
                .collect();
            let forged: Vec<Vec<u8>> = frames
                .iter()
                .map(|frame| vec![0xEE; frame.size.into()])
                .collect();
            world.give_frames(1, frames, &forged);
        }
        world.run_for(Duration::from_millis(50));
    }
    world.run_for(100 * SECOND);
    let done = world.nodes[1].done[&content.id].clone();
    match done {
        Ok(_) => assert!(world.nodes[1].spools[&content.id].is_exact()),
        Err(reason) => assert!(reason.contains("is not what was signed"), "{reason}"),
    }
    assert!(world.is_complete(2, &content) && world.is_complete(3, &content));
}

/// Frames of no session, for no block, of lying size: no effect, and no memory.
#[test]
fn frames_for_nowhere_have_no_effect() {
    let (mut world, content, session) = began(2);
    let good = FrameHeader {
        session,
        sequence: 5,
        block: 1,
        symbol: 3,
        pass: 1,
        size: 1_000,
        encrypted: false,
    };
    let bad = [
        FrameHeader {
            session: SessionId([9; 4]),
            ..good
        },
        FrameHeader {
            block: u32::MAX,
            ..good
        },
        FrameHeader {
            block: content.geometry.repair_blocks(),
            ..good
        },
        FrameHeader {
            symbol: u16::MAX,
            ..good
        },
        FrameHeader { size: 999, ..good },
        FrameHeader { size: 0, ..good },
    ];
    for frame in bad {
        world.give_frames(1, vec![frame], &[vec![0; frame.size.into()]]);
    }
    world.run_to_end(20 * SECOND);
    assert!((1..=3).all(|number| world.is_complete(number, &content)));
}

/// Announcements that contradict each other, make no sense, or come from nobody who may.
#[test]
fn absurd_announcements_are_refused() {
    let (mut world, content, _) = began(3);
    let leader = world.nodes[0].id;
    let station = world.nodes[0].station.as_ref().unwrap();
    let good = station.senders().next().unwrap().1.announcement().clone();
    let changes: [fn(&mut Announcement); 9] = [
        |it| it.block_len = u32::MAX,
        |it| it.symbol_len = 0,
        |it| it.symbol_len = u16::MAX,
        |it| it.head_len = u64::MAX,
        |it| it.data_len = u64::MAX,
        |it| it.blocks_per_repair = u16::MAX,
        |it| it.repairs = u16::MAX,
        |it| it.data_len += 1,
        |it| it.spread_ms = u32::MAX,
    ];
    for (number, change) in changes.iter().enumerate() {
        let mut announcement = good.clone();
        announcement.salt = [number as u8; 16];
        change(&mut announcement);
        let message = TransferMessage::Announce(Box::new(announcement));
        for from in [leader, world.nodes[2].id] {
            let input = Input::Message {
                from,
                alone: false,
                message: message.clone(),
            };
            world.give(1, input);
        }
    }
    world.run_to_end(30 * SECOND);
    assert!((1..=3).all(|number| world.is_complete(number, &content)));
}

fn sender_alone(participants: u8) -> (Sender, Announcement) {
    let node = |number: u8| NodeId::from_bytes([number; 16]);
    let job = Job {
        assignment: AssignmentId(Hash::of(b"content")),
        name: "content".to_owned(),
        group: None,
        epoch: Epoch {
            counter: 1,
            leader: node(0),
        },
        geometry: Geometry::suited(1_000, 4 << 20, 256 << 10, 1_432).unwrap(),
        participants: (1..=participants).map(node).collect(),
        ask: Ask::Complete,
        is_new: true,
        is_available: true,
        way: Way::Group,
    };
    let identity = Identity {
        node: node(0),
        incarnation: Incarnation(1),
        key: SegmentKeyId([1; 4]),
        salt: [7; 16],
    };
    let settings = Settings {
        finish: Finish::All { quorum: 1 },
        ..settings()
    };
    let sender = Sender::new(job, &identity, settings);
    let announcement = sender.announcement().clone();
    (sender, announcement)
}

fn status(announcement: &Announcement, seen: u64, lacks: Vec<Lack>) -> Status {
    Status {
        assignment: announcement.assignment,
        session: announcement.session(),
        seen,
        received: seen,
        stage: Stage::Receiving,
        lacking: 1,
        lacks,
        joined: 0,
        round: 0,
    }
}

/// One broken receiver asks for everything all the time: it is given up, and what it cost is bounded.
#[test]
fn whoever_asks_for_everything_all_the_time_is_given_up() {
    let (mut sender, announcement) = sender_alone(2);
    let geometry = sender.job().geometry;
    let mut out = Outbox::new();
    let mut now = Time::ZERO;
    sender.handle(now, sender::Input::Start, &mut out);
    let (mut frames, mut outcome) = (0_u64, None);
    for step in 0..2_000_000_u64 {
        if let Some(at) = sender.wake_at() {
            now = at.max(now);
        }
        sender.handle(now, sender::Input::Wake, &mut out);
        for output in out.drain() {
            match output {
                sender::Output::Frames(burst) => frames += u64::from(burst.count),
                sender::Output::Encode { block } => {
                    let mut more = Outbox::new();
                    sender.handle(now, sender::Input::Encoded { block }, &mut more);
                }
                sender::Output::Ended(ended) => outcome = Some(ended),
                _ => {}
            }
        }
        if outcome.is_some() {
            break;
        }
        let lacks = vec![Lack::Whole(0, geometry.repair_blocks())];
        let status = status(&announcement, frames, lacks);
        if step % 3 == 0 {
            let from = NodeId::from_bytes([1; 16]);
            sender.handle(now, sender::Input::Status { from, status }, &mut out);
        }
    }
    let outcome = outcome.expect("it ends");
    assert!(
        matches!(
            outcome.fates[&NodeId::from_bytes([1; 16])],
            Fate::Stuck { .. }
        ),
        "{outcome:?}"
    );
    let symbols = geometry.symbols_in_all();
    assert!(
        frames <= 12 * symbols,
        "{frames} frames for {symbols} symbols"
    );
}

/// What cannot be meant is not even counted.
#[test]
fn statuses_of_another_time_place_or_size_change_nothing() {
    let (mut sender, announcement) = sender_alone(2);
    let mut out = Outbox::new();
    sender.handle(Time::ZERO, sender::Input::Start, &mut out);
    drop(out.drain().collect::<Vec<_>>());
    let good = status(&announcement, 0, Vec::new());
    let bad = [
        Status {
            seen: u64::MAX,
            ..good.clone()
        },
        Status {
            round: 9,
            ..good.clone()
        },
        Status {
            session: SessionId([9; 4]),
            ..good.clone()
        },
        Status {
            assignment: AssignmentId(Hash::of(b"other")),
            ..good.clone()
        },
        Status {
            lacks: vec![Lack::Whole(u32::MAX, 2)],
            ..good.clone()
        },
        Status {
            lacks: vec![Lack::Whole(0, u32::MAX)],
            ..good.clone()
        },
        Status {
            lacks: vec![Lack::Any(0, u16::MAX)],
            ..good.clone()
        },
        Status {
            lacks: vec![Lack::Any(u32::MAX, 1)],
            ..good.clone()
        },
        Status {
            lacks: vec![Lack::These(1, vec![(u16::MAX, 2)])],
            ..good.clone()
        },
        Status {
            lacks: vec![Lack::These(1, vec![(9, u16::MAX)])],
            ..good.clone()
        },
    ];
    for status in bad {
        for from in [NodeId::from_bytes([1; 16]), NodeId::from_bytes([99; 16])] {
            let status = status.clone();
            sender.handle(Time::ZERO, sender::Input::Status { from, status }, &mut out);
        }
    }
    let messages = out
        .drain()
        .filter(|output| matches!(output, sender::Output::Send { .. }));
    assert_eq!(messages.count(), 0);
}

fn lacks() -> impl Strategy<Value = Vec<Lack>> {
    let number = prop_oneof![0_u32..8, any::<u32>()];
    let small = prop_oneof![0_u16..900, any::<u16>()];
    let lack = prop_oneof![
        (number.clone(), number.clone()).prop_map(|(first, count)| Lack::Whole(first, count)),
        (number.clone(), small.clone()).prop_map(|(block, count)| Lack::Any(block, count)),
        (number, prop::collection::vec((small.clone(), small), 0..9))
            .prop_map(|(block, ranges)| Lack::These(block, ranges)),
    ];
    prop::collection::vec(lack, 0..6)
}

/// Messages of which the numbers are near enough to what is true to be taken seriously.
fn message(known: Announcement) -> impl Strategy<Value = TransferMessage> {
    let (session, assignment) = (known.session(), known.assignment);
    let number = prop_oneof![0_u64..2_000, any::<u64>()];
    let block = prop_oneof![0_u32..8, any::<u32>()];
    let stage = prop_oneof![
        Just(Stage::Receiving),
        Just(Stage::Held),
        Just(Stage::Complete),
        Just(Stage::Fetching),
        Just(Stage::Failed("broken".to_owned())),
    ];
    let status = (
        number.clone(),
        number.clone(),
        stage,
        number.clone(),
        lacks(),
        0_u32..9,
    )
        .prop_map(move |(seen, received, stage, lacking, lacks, round)| {
            TransferMessage::Status(Status {
                assignment,
                session,
                seen,
                received,
                stage,
                lacking,
                lacks,
                joined: received,
                round,
            })
        });
    let flush = (number, 0_u32..9, any::<bool>()).prop_map(move |(sequence, round, more)| {
        TransferMessage::Flush(Flush {
            session,
            sequence,
            round,
            more,
        })
    });
    let mend = (
        prop::collection::vec((block.clone(), any::<u16>()), 0..5),
        prop::collection::vec((block.clone(), block), 0..5),
    )
        .prop_map(move |(repairs, whole)| {
            TransferMessage::Mend(Mend {
                session,
                repairs,
                whole,
            })
        });
    let small = (any::<u16>(), 0_u16..9_000, any::<u16>(), 0_usize..1_100).prop_map(
        move |(head_len, len, offset, size)| {
            TransferMessage::Small(Small {
                assignment: AssignmentId(Hash::of(b"small")),
                head_len,
                len,
                offset,
                bytes: vec![1; size],
                round: 1,
                spread_ms: 1,
            })
        },
    );
    let divert = prop::collection::vec(0_u8..5, 0..20).prop_map(move |sources| {
        TransferMessage::Divert(Divert {
            assignment,
            sources: sources
                .into_iter()
                .map(|byte| NodeId::from_bytes([byte; 16]))
                .collect(),
        })
    });
    let announce = (
        any::<u64>(),
        any::<u32>(),
        any::<u16>(),
        any::<u16>(),
        any::<[u8; 16]>(),
    )
        .prop_map(move |(len, block_len, symbol_len, repairs, salt)| {
            let mut announcement = known.clone();
            announcement.salt = salt;
            match len % 4 {
                0 => announcement.data_len = len,
                1 => announcement.block_len = block_len,
                2 => announcement.symbol_len = symbol_len,
                _ => announcement.repairs = repairs,
            }
            TransferMessage::Announce(Box::new(announcement))
        });
    prop_oneof![
        4 => status,
        2 => flush,
        2 => mend,
        1 => small,
        1 => divert,
        1 => announce,
        1 => Just(TransferMessage::Close(session)),
        1 => Just(TransferMessage::Fetch(assignment)),
        1 => Just(TransferMessage::Refuse(assignment)),
    ]
}

fn frames(session: SessionId) -> impl Strategy<Value = Vec<FrameHeader>> {
    let frame = (0_u64..3_000, 0_u32..5, 0_u16..700, 0_u16..4, 0_u8..3).prop_map(
        move |(sequence, block, symbol, pass, kind)| FrameHeader {
            session,
            sequence,
            block,
            symbol,
            pass,
            size: [1_000, 384, 7][usize::from(kind)],
            encrypted: false,
        },
    );
    prop::collection::vec(frame, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever comes, to sender, receiver and neighbour alike: nothing panics, nothing unproved is handed out (the
    /// world sees to that), and sessions end.
    #[test]
    fn any_messages_in_any_order_are_borne(
        seed in 0_u64..1_000,
        picks in prop::collection::vec((0_usize..4, 0_usize..4, any::<prop::sample::Index>(), 0_u64..40), 0..60),
        messages in {
            let (_, announcement) = sender_alone(1);
            prop::collection::vec(message(announcement), 1..30)
        },
        headers in prop::collection::vec(frames(SessionId([0; 4])), 1..10),
    ) {
        let (mut world, content, session) = began(seed);
        let station = world.nodes[0].station.as_ref().unwrap();
        let truth = station.senders().next().unwrap().1.announcement().clone();
        let mut random = Random::new(seed);
        for (to, from, index, ms) in picks {
            if random.chance(300_000) {
                let mut frames = index.get(&headers).clone();
                frames.iter_mut().for_each(|frame| frame.session = session);
                let symbols: Vec<Vec<u8>> =
                    frames.iter().map(|frame| vec![3; frame.size.into()]).collect();
                world.give_frames(to, frames, &symbols);
            } else {
                let message = truthful(index.get(&messages).clone(), &truth);
                let from = world.nodes[from].id;
                // What the segment key does not protect against: an insider in anybody's name.
                let alone = random.chance(500_000);
                if !matches!(message, TransferMessage::Small(_)) {
                    world.give(to, Input::Message { from, alone, message });
                }
            }
            world.run_for(Duration::from_millis(ms));
        }
        world.run_for(400 * SECOND);
        for node in &world.nodes {
            let station = node.station.as_ref().unwrap();
            prop_assert!(station.senders().next().is_none(), "a session goes on");
        }
        let _ = content;
    }
}

/// The message as if it were about the session that runs.
fn truthful(mut message: TransferMessage, truth: &Announcement) -> TransferMessage {
    let (id, assignment) = (truth.session(), truth.assignment);
    match &mut message {
        TransferMessage::Status(status) => {
            status.session = id;
            status.assignment = assignment;
        }
        TransferMessage::Flush(flush) => flush.session = id,
        TransferMessage::Mend(mend) => mend.session = id,
        TransferMessage::Close(session) => *session = id,
        TransferMessage::Divert(divert) => divert.assignment = assignment,
        TransferMessage::Fetch(of) | TransferMessage::Refuse(of) => *of = assignment,
        TransferMessage::Announce(announcement) => {
            announcement.assignment = assignment;
            announcement.sender = truth.sender;
            announcement.epoch = truth.epoch;
        }
        _ => {}
    }
    message
}

/// What was kept may be damaged: it is read whole or not at all.
#[test]
fn damaged_state_is_forgotten() {
    let mut random = Random::new(1);
    for _ in 0..2_000 {
        let len = random.below(80) as usize;
        let kept: Vec<u8> = (0..len).map(|_| random.bits() as u8).collect();
        let id = AssignmentId(Hash::of(b"content"));
        let mut receiver =
            receiver::Receiver::new(id, receiver::Settings::default(), Random::new(1));
        receiver.handle(
            Time::ZERO,
            receiver::Input::Start { kept },
            &mut Outbox::new(),
        );
        assert!(!receiver.is_complete());
    }
}
