//! Frames and messages of `docs/mctp.md`.

use bellwether_kit::document::{same, vector};
use bellwether_types::{Epoch, Hash, Incarnation, Name, NodeId};
use bellwether_wire::control::{KeyRing, SegmentKey};
use bellwether_wire::frame::{FRAME_OVERHEAD, FrameHeader, FrameKey, SessionId};
use bellwether_wire::transfer::{
    Announcement, Ask, AssignmentId, Divert, Flush, JobReport, Lack, Listed, Mend, NackTime, Order,
    ReportRequest, Small, Stage, Status, TransferMessage,
};
use bellwether_wire::uplink::{Failure, FailureKind, Outcome};

fn node(byte: u8) -> NodeId {
    NodeId::from_bytes([byte; 16])
}

fn keys() -> KeyRing {
    KeyRing::new(SegmentKey::from_bytes([2; 32]))
}

fn job() -> Name {
    "j-7".parse().unwrap()
}

fn assignment() -> AssignmentId {
    AssignmentId(Hash([0x11; 32]))
}

fn announcement() -> Announcement {
    Announcement {
        assignment: assignment(),
        name: "shop-42".to_owned(),
        group: Some("web".parse().unwrap()),
        epoch: Epoch {
            counter: 7,
            leader: node(0xaa),
        },
        sender: node(0xaa),
        incarnation: Incarnation(5),
        salt: *b"salt of session!",
        key: keys().current().id(),
        head_len: 1_300,
        data_len: 33_554_432,
        block_len: 262_144,
        symbol_len: 1_432,
        blocks_per_repair: 8,
        repairs: 512,
        repair_start: 167,
        rate: 50_000_000,
        ask: Ask::Complete,
        nack: NackTime::Block,
        spread_ms: 8,
        encrypted: false,
        participants: 8,
    }
}

/// MCTP-09, MCTP-16, MCTP-20.
#[test]
fn frames_are_as_documented() {
    for (name, encrypted) in [("frame", false), ("encrypted frame", true)] {
        let key = FrameKey::new(&keys(), &announcement().source()).unwrap();
        let header = FrameHeader {
            session: SessionId([0; 4]),
            sequence: 1_475,
            block: 1,
            symbol: 1_471,
            pass: 1,
            size: 0,
            encrypted,
        };
        let mut frame = [0; FRAME_OVERHEAD + 5];
        frame[FrameHeader::LEN..FrameHeader::LEN + 5].copy_from_slice(b"flock");
        key.seal(header, &mut frame);
        same(name, &frame);
        let mut read = vector(name);
        let (read, symbol) = key.open(&mut read).unwrap();
        assert_eq!(
            (read.sequence, read.block, read.symbol, read.pass),
            (1_475, 1, 1_471, 1)
        );
        assert_eq!((read.session, symbol), (SessionId(*b"salt"), &b"flock"[..]));
    }
}

/// MCTP-04, MCTP-11, MCTP-24, REPORT-05.
#[test]
fn messages_are_as_documented() {
    let session = announcement().session();
    let messages = [
        (
            "announce",
            TransferMessage::Announce(Box::new(announcement())),
        ),
        (
            "status",
            TransferMessage::Status(Status {
                assignment: assignment(),
                session,
                seen: 1_476,
                received: 1_440,
                stage: Stage::Receiving,
                lacking: 1_496,
                lacks: vec![
                    Lack::Any(1, 21),
                    Lack::Whole(2, 1),
                    Lack::These(3, vec![(3, 1), (7, 2)]),
                ],
                round: 0,
                joined: 0,
            }),
        ),
        (
            "flush",
            TransferMessage::Flush(Flush {
                session,
                sequence: 23_552,
                round: 1,
                more: false,
            }),
        ),
        (
            "mend",
            TransferMessage::Mend(Mend {
                session,
                repairs: vec![(1, 21)],
                whole: vec![(2, 1)],
            }),
        ),
        (
            "small",
            TransferMessage::Small(Small {
                assignment: assignment(),
                head_len: 40,
                len: 45,
                offset: 40,
                bytes: b"flock".to_vec(),
                round: 1,
                spread_ms: 8,
            }),
        ),
        (
            "divert",
            TransferMessage::Divert(Divert {
                assignment: assignment(),
                sources: vec![node(0xbb), node(0xaa)],
            }),
        ),
        ("fetch", TransferMessage::Fetch(assignment())),
        ("refuse", TransferMessage::Refuse(assignment())),
        ("close", TransferMessage::Close(session)),
        (
            "report",
            TransferMessage::Report(Box::new(JobReport {
                job: job(),
                order: Some(assignment()),
                outcome: Outcome::Failed(Failure::new(FailureKind::Space, "no space")),
            })),
        ),
        (
            "request",
            TransferMessage::Request(ReportRequest {
                job: job(),
                attempt: 1,
                spread_ms: 8,
                listed: Listed::Missing,
                nodes: vec![node(0xbb)],
            }),
        ),
        (
            "order",
            TransferMessage::Order(Order {
                assignment: b"flock".to_vec(),
                at_us: Some(1_500_000),
                attempt: 1,
                spread_ms: 8,
                listed: Listed::Reported,
                nodes: vec![node(0xbb)],
            }),
        ),
    ];
    for (name, message) in messages {
        same(name, &minicbor::to_vec(&message).unwrap());
        assert_eq!(
            minicbor::decode::<TransferMessage>(&vector(name)).unwrap(),
            message
        );
    }
}

/// Reading what was cut short or changed ends in an error, not in a panic.
#[test]
fn damaged_messages_are_refused_or_mean_something_else() {
    for name in ["announce", "status", "mend", "report", "request", "order"] {
        let bytes = vector(name);
        for len in 0..bytes.len() {
            assert!(
                minicbor::decode::<TransferMessage>(&bytes[..len]).is_err(),
                "{name} {len}"
            );
        }
        for at in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[at / 8] ^= 1 << (at % 8);
            drop(minicbor::decode::<TransferMessage>(&changed));
        }
    }
}
