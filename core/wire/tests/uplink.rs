//! What a leader and the control server tell each other: `docs/formats.md`, and streams of all kinds.

use bellwether_kit::document::{same, vector};
use bellwether_types::{Epoch, Hash, Incarnation, Name, NodeId, Serial, SitePart, Term, VersionId};
use bellwether_wire::SigningKey;
use bellwether_wire::control::{FormatRange, Formats, Record, Resources};
use bellwether_wire::transfer::AssignmentId;
use bellwether_wire::uplink::{
    Abort, Ask, ChangeKind, ClusterReport, Dismiss, Downward, Failure, FailureKind, File,
    FrameError, Frames, Hello, MESSAGE_LEN_MAX, MemberChange, Message, NodeOutcome, NodeProgress,
    Notify, Order, Outcome, Outcomes, Ping, Pong, Progress, Reason, Receipt, Report, ReportNumber,
    SegmentReport, Served, Upward, Variant, Welcome, frame,
};
use proptest::collection::vec;
use proptest::prelude::*;

fn node(byte: u8) -> NodeId {
    NodeId::from_bytes([byte; 16])
}

fn version(byte: u8) -> VersionId {
    VersionId(Hash([byte; 32]))
}

fn job() -> Name {
    "shop-42".parse().unwrap()
}

fn site() -> SitePart {
    "shop@media".parse().unwrap()
}

fn epoch() -> Epoch {
    Epoch {
        counter: 7,
        leader: node(0xaa),
    }
}

fn served() -> Served {
    Served {
        node: node(0xaa),
        incarnation: Incarnation(5),
        site: site(),
        version: version(0x22),
        term: Term(1),
        serial: Serial(8),
        seconds: 1_700_000_000,
        nanoseconds: 5,
    }
}

/// Every message, as the document has them.
fn upward() -> Vec<(&'static str, Upward)> {
    let number = ReportNumber {
        segment: "web".parse().unwrap(),
        epoch: epoch(),
        sequence: 3,
    };
    vec![
        (
            "uplink hello",
            Upward::Hello(Hello {
                segment: "web".parse().unwrap(),
                epoch: epoch(),
                incarnation: Incarnation(5),
                formats: Formats {
                    control: range(1, 1),
                    frame: range(1, 1),
                    assignment: range(1, 1),
                },
                settings: 4,
                jobs: vec![job()],
            }),
        ),
        (
            "uplink report",
            Upward::Segment(Report::Change(SegmentReport {
                number,
                changes: vec![MemberChange {
                    node: node(0xbb),
                    kind: ChangeKind::Failed,
                    record: record(),
                }],
            })),
        ),
        (
            "uplink progress",
            Upward::Progress(Progress {
                job: job(),
                bytes: 1_000,
                fetched: 1_000,
                received: 6_000,
                rate: 50_000_000,
                nodes: 8,
                complete: 5,
                staged: 3,
                failed: 0,
                slowest: vec![NodeProgress {
                    node: node(0xbb),
                    received: 200,
                    needed: 1_000,
                }],
                needed: 8_000,
            }),
        ),
        (
            "uplink outcomes",
            Upward::Outcomes(Outcomes {
                job: job(),
                nodes: vec![
                    outcome(0x0a, Outcome::Staged(version(0x22))),
                    outcome(
                        0x0b,
                        Outcome::Failed(Failure::new(FailureKind::Space, "no room")),
                    ),
                    outcome(
                        0xaa,
                        Outcome::Live(Receipt::sign(served(), &SigningKey::from_seed([1; 32]))),
                    ),
                ],
            }),
        ),
        (
            "uplink pong",
            Upward::Pong(Pong {
                number: 9,
                received_us: 5_000,
                sent_us: 5_040,
            }),
        ),
    ]
}

fn downward() -> Vec<(&'static str, Downward)> {
    vec![
        (
            "uplink welcome",
            Downward::Welcome(Welcome {
                term: Term(1),
                title: Some("Boston".to_owned()),
                settings: 5,
                silence_ms: 3_000,
            }),
        ),
        ("uplink settings", Downward::Settings(6)),
        (
            "uplink notify",
            Downward::Notify(Notify {
                job: job(),
                site: site(),
                group: Some("edge".parse().unwrap()),
                term: Term(1),
                serial: Serial(7),
                target: version(0x22),
                variants: vec![
                    variant(Some(version(0x11)), 0x33, &[0x0a, 0x0b]),
                    variant(None, 0x44, &[0xaa]),
                ],
                sources: Vec::new(),
                quorum: 2,
                patience_ms: 1_000,
            }),
        ),
        (
            "uplink order",
            Downward::Order(Order {
                job: job(),
                assignment: vec![1, 2, 3],
                nodes: vec![node(0x0a), node(0xaa)],
                at_us: Some(7_000_000),
            }),
        ),
        (
            "uplink abort",
            Downward::Abort(Abort {
                job: job(),
                assignment: vec![1, 2, 3],
                nodes: vec![node(0x0a)],
            }),
        ),
        (
            "uplink ask",
            Downward::Ask(Ask {
                segment: true,
                jobs: vec![job()],
            }),
        ),
        (
            "uplink ping",
            Downward::Ping(Ping {
                number: 9,
                sent_us: 4_000,
            }),
        ),
        (
            "uplink dismiss",
            Downward::Dismiss(Dismiss {
                reason: Reason::Superseded(epoch()),
                text: "another leads".to_owned(),
            }),
        ),
        ("uplink step-down", Downward::StepDown(Some(node(0xbb)))),
        (
            "uplink gather",
            Downward::Gather(Order {
                job: job(),
                assignment: vec![1, 2, 3],
                nodes: vec![node(0x0a)],
                at_us: None,
            }),
        ),
    ]
}

fn range(lowest: u16, highest: u16) -> FormatRange {
    FormatRange { lowest, highest }
}

fn record() -> Record {
    Record {
        incarnation: Incarnation(2),
        name: "ben".parse().unwrap(),
        address: "192.0.2.7:7400".parse().unwrap(),
        location: String::new(),
        candidate: true,
        priority: 900,
        busy: false,
        formats: Formats::default(),
        resources: Resources::default(),
        holdings: Vec::new(),
        nonce: 0,
        joined: 1,
        data_port: None,
        serve_port: None,
    }
}

fn outcome(byte: u8, outcome: Outcome) -> NodeOutcome {
    let node = node(byte);
    NodeOutcome { node, outcome }
}

fn variant(base: Option<VersionId>, id: u8, nodes: &[u8]) -> Variant {
    Variant {
        base,
        files: vec![File {
            id: AssignmentId(Hash([id; 32])),
            len: 1_000,
        }],
        nodes: nodes.iter().map(|byte| node(*byte)).collect(),
    }
}

/// REPORT-14: each kind of word is a message of its own.
#[test]
fn every_message_is_as_documented_and_reads_back() {
    for (name, message) in upward() {
        as_documented(name, &message);
    }
    for (name, message) in downward() {
        as_documented(name, &message);
    }
}

fn as_documented<M: Message + PartialEq + std::fmt::Debug>(name: &str, message: &M) {
    same(name, &frame(message).unwrap());
    assert_eq!(all::<M>(&vector(name), 1).unwrap().first(), Some(message));
}

/// All messages of a stream that comes in such pieces.
fn all<M: Message>(stream: &[u8], piece: usize) -> Result<Vec<M>, FrameError> {
    let mut frames = Frames::new();
    let mut messages = Vec::new();
    for piece in stream.chunks(piece.max(1)) {
        frames.push(piece);
        while let Some(message) = frames.next()? {
            messages.push(message);
        }
    }
    assert!(frames.is_whole());
    Ok(messages)
}

#[test]
fn a_receipt_holds_for_its_node_and_words_only() {
    let key = SigningKey::from_seed([1; 32]);
    let receipt = Receipt::sign(served(), &key);
    assert!(receipt.holds(&key.public()));
    assert!(!receipt.holds(&SigningKey::from_seed([2; 32]).public()));
    let changes: [fn(&mut Served); 8] = [
        |served| served.node = node(0xbb),
        |served| served.incarnation = Incarnation(6),
        |served| served.site = "shop".parse().unwrap(),
        |served| served.version = version(0x23),
        |served| served.term = Term(2),
        |served| served.serial = Serial(9),
        |served| served.seconds += 1,
        |served| served.nanoseconds = 6,
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut forged = receipt.clone();
        change(&mut forged.served);
        assert!(!forged.holds(&key.public()), "change {number}");
    }
}

fn refused<M: Message>(message: &M) -> String {
    let refused = frame(message).unwrap_err();
    // The reader refuses what the writer would: without its own check this is what would travel.
    let mut bytes = minicbor::to_vec(message).unwrap();
    let len = u32::try_from(bytes.len()).unwrap();
    bytes.splice(..0, len.to_be_bytes());
    let mut frames = Frames::<M>::new();
    frames.push(&bytes);
    let read = frames.next().err().expect("it is refused").to_string();
    assert_eq!(read, refused.to_string());
    assert!(matches!(frames.next(), Err(FrameError::Over)));
    read
}

#[test]
fn what_cannot_be_meant_is_refused_by_both_ends_with_a_reason() {
    let notify = |change: fn(&mut Notify)| {
        let Downward::Notify(mut notify) = downward().swap_remove(2).1 else {
            unreachable!()
        };
        change(&mut notify);
        refused(&Downward::Notify(notify))
    };
    assert!(notify(|n| n.variants.clear()).contains("no variant"));
    assert!(notify(|n| n.variants[0].files.clear()).contains("no file"));
    assert!(notify(|n| n.variants[0].nodes.reverse()).contains("not in order"));
    assert!(notify(|n| n.variants[1].nodes = vec![node(0x0a)]).contains("two variants"));
    assert!(notify(|n| n.sources = vec!["x".repeat(513)]).contains("512"));

    let outcomes = |nodes| {
        let job = job();
        refused(&Upward::Outcomes(Outcomes { job, nodes }))
    };
    let twice = vec![outcome(1, Outcome::Aborted), outcome(1, Outcome::Removed)];
    assert!(outcomes(twice).contains("order"));
    let receipt = Receipt::sign(served(), &SigningKey::from_seed([1; 32]));
    assert!(outcomes(vec![outcome(1, Outcome::Live(receipt))]).contains("another node"));
    let failure = Failure {
        kind: FailureKind::Hook,
        reason: "x".repeat(513),
    };
    assert!(outcomes(vec![outcome(1, Outcome::Failed(failure))]).contains("512"));

    let long = Downward::Order(Order {
        job: job(),
        assignment: vec![0; Order::LEN_MAX + 1],
        nodes: Vec::new(),
        at_us: None,
    });
    assert!(refused(&long).contains("longer"));
    let jobs = vec![job(); Ask::JOBS_MAX + 1];
    assert!(
        refused(&Downward::Ask(Ask {
            segment: false,
            jobs
        }))
        .contains("1,024")
    );
    let backwards = Pong {
        number: 1,
        received_us: 2,
        sent_us: 1,
    };
    assert!(refused(&Upward::Pong(backwards)).contains("before"));
    let mut far = record();
    far.location = "x".repeat(65);
    let report = ClusterReport {
        number: ReportNumber {
            segment: "web".parse().unwrap(),
            epoch: epoch(),
            sequence: 1,
        },
        title: None,
        leader: "ann".parse().unwrap(),
        address: "[::1]:7400".parse().unwrap(),
        location: String::new(),
        members: vec![(node(1), far)],
    };
    assert!(refused(&Upward::Segment(Report::Cluster(report))).contains("64"));
}

#[test]
fn a_length_that_no_message_has_is_refused_before_anything_is_kept_for_it() {
    let mut frames = Frames::<Upward>::new();
    let len = u32::try_from(MESSAGE_LEN_MAX + 1).unwrap();
    frames.push(&len.to_be_bytes());
    assert!(matches!(frames.next(), Err(FrameError::TooLong { .. })));
    frames.push(&[0; 100]);
    assert!(matches!(frames.next(), Err(FrameError::Over)));
}

#[test]
fn messages_of_a_later_program_are_skipped_and_fields_ignored() {
    let (_, pong) = upward().pop().unwrap();
    let mut stream = vec![0, 0, 0, 4, 0x82, 0x18, 99, 0x80];
    stream.extend(frame(&pong).unwrap());
    // The same, with one field more.
    let mut longer = frame(&pong).unwrap();
    assert_eq!(longer[7], 0x83);
    (longer[3], longer[7]) = (longer[3] + 1, 0x84);
    longer.push(1);
    stream.extend(longer);
    let mut frames = Frames::<Upward>::new();
    frames.push(&stream);
    assert_eq!(frames.next().unwrap(), Some(pong.clone()));
    assert_eq!(frames.next().unwrap(), Some(pong));
    assert_eq!((frames.next().unwrap(), frames.skipped()), (None, 1));
}

#[test]
fn bytes_behind_a_message_are_refused() {
    let mut bytes = frame(&upward().pop().unwrap().1).unwrap();
    bytes[3] += 1;
    bytes.push(0);
    let read = all::<Upward>(&bytes, 3);
    assert!(matches!(read, Err(FrameError::Trailing(1))));
}

fn any_name() -> impl Strategy<Value = Name> {
    "[a-zA-Z0-9_][a-zA-Z0-9._-]{0,63}".prop_map(|text| text.parse().unwrap())
}

prop_compose! {
    fn any_nodes()(bytes in proptest::collection::btree_set(any::<[u8; 16]>(), 0..20)) -> Vec<NodeId> {
        bytes.into_iter().map(NodeId::from_bytes).collect()
    }
}

fn any_version() -> impl Strategy<Value = VersionId> {
    any::<[u8; 32]>().prop_map(|bytes| VersionId(Hash(bytes)))
}

fn any_failure() -> impl Strategy<Value = Failure> {
    let kind = proptest::sample::select(FailureKind::ALL.to_vec());
    (kind, ".{0,600}").prop_map(|(kind, reason)| Failure::new(kind, reason))
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        any_version().prop_map(Outcome::Staged),
        any_failure().prop_map(Outcome::Failed),
        (proptest::option::of(any_version()), any_failure())
            .prop_map(|(held, failure)| Outcome::Behind(held, failure)),
        Just(Outcome::Aborted),
        Just(Outcome::Removed),
    ]
}

prop_compose! {
    fn any_receipt(node: NodeId)(
        numbers in any::<(u64, u64, u64, i64, u32)>(),
        site in any_name(),
        part in any_name(),
        version in any_version(),
        seed in any::<[u8; 32]>(),
    ) -> Outcome {
        let (incarnation, term, serial, seconds, nanoseconds) = numbers;
        Outcome::Live(Receipt::sign(Served {
            node,
            incarnation: Incarnation(incarnation),
            site: SitePart { site, part },
            version,
            term: Term(term),
            serial: Serial(serial),
            seconds,
            nanoseconds,
        }, &SigningKey::from_seed(seed)))
    }
}

fn any_upward() -> impl Strategy<Value = Upward> {
    let outcomes = (any_name(), any_nodes()).prop_flat_map(|(job, nodes)| {
        let nodes: Vec<_> = nodes
            .into_iter()
            .map(|node| {
                let outcome = prop_oneof![4 => any_outcome(), 1 => any_receipt(node)];
                outcome.prop_map(move |outcome| NodeOutcome { node, outcome })
            })
            .collect();
        nodes.prop_map(move |nodes| {
            let job = job.clone();
            Upward::Outcomes(Outcomes { job, nodes })
        })
    });
    let pong = any::<(u64, u32, u32)>().prop_map(|(number, received, took)| {
        Upward::Pong(Pong {
            number,
            received_us: received.into(),
            sent_us: u64::from(received) + u64::from(took),
        })
    });
    let known = proptest::sample::select(upward()).prop_map(|(_, message)| message);
    prop_oneof![outcomes, pong, known]
}

fn any_downward() -> impl Strategy<Value = Downward> {
    let order = (
        any_name(),
        vec(any::<u8>(), 0..300),
        any_nodes(),
        any::<Option<u64>>(),
    )
        .prop_map(|(job, assignment, nodes, at_us)| {
            Downward::Order(Order {
                job,
                assignment,
                nodes,
                at_us,
            })
        });
    let notify = (
        any_name(),
        any_nodes(),
        any_nodes(),
        vec("[a-z:/.]{0,40}", 0..4),
    )
        .prop_map(|(job, first, mut second, sources)| {
            second.retain(|node| !first.contains(node));
            let mut variants = [variant(None, 1, &[]), variant(Some(version(1)), 2, &[])];
            (variants[0].nodes, variants[1].nodes) = (first, second);
            let Downward::Notify(notify) = downward().swap_remove(2).1 else {
                unreachable!()
            };
            Downward::Notify(Notify {
                job,
                variants: variants.to_vec(),
                sources,
                ..notify
            })
        });
    let known = proptest::sample::select(downward()).prop_map(|(_, message)| message);
    prop_oneof![order, notify, known]
}

proptest! {
    #[test]
    fn a_stream_of_messages_reads_back_whatever_pieces_it_comes_in(
        up in vec(any_upward(), 0..8),
        down in vec(any_downward(), 0..8),
        piece in 1_usize..400,
    ) {
        let stream: Vec<u8> = up.iter().flat_map(|message| frame(message).unwrap()).collect();
        prop_assert_eq!(all::<Upward>(&stream, piece).unwrap(), up);
        let stream: Vec<u8> = down.iter().flat_map(|message| frame(message).unwrap()).collect();
        prop_assert_eq!(all::<Downward>(&stream, piece).unwrap(), down);
    }

    #[test]
    fn a_stream_that_is_cut_yields_what_was_whole_and_no_more(
        up in vec(any_upward(), 1..4),
        cut in any::<proptest::sample::Index>(),
    ) {
        let stream: Vec<u8> = up.iter().flat_map(|message| frame(message).unwrap()).collect();
        let cut = cut.index(stream.len());
        let mut frames = Frames::<Upward>::new();
        frames.push(&stream[..cut]);
        let mut read = Vec::new();
        while let Some(message) = frames.next().unwrap() {
            read.push(message);
        }
        prop_assert_eq!(&read[..], &up[..read.len()]);
        let len: usize = read.iter().map(|message| frame(message).unwrap().len()).sum();
        prop_assert_eq!(frames.is_whole(), len == cut);
    }
}
