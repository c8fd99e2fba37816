//! Control datagrams from seal to seal, and everything that must have no effect.

use bellwether_types::{Epoch, Incarnation, Name, NodeId};
use bellwether_wire::control::{
    Alive, Claim, ControlMessage, DATAGRAM_LEN_MAX, DatagramSeal, ElectionMessage, KeyRing,
    MESSAGE_LEN_WHOLE, MessageTooLong, Rejected, SegmentKey, Sender,
};
use proptest::prelude::*;

const ANN: NodeId = NodeId::from_bytes([0xaa; 16]);
const BEN: NodeId = NodeId::from_bytes([0xbb; 16]);
const CAT: NodeId = NodeId::from_bytes([0xcc; 16]);

#[test]
fn what_is_said_to_one_or_to_all_is_heard_once_by_whom_it_is_meant_for() {
    let (mut ann, mut ben, mut cat) = (member(ANN), member(BEN), member(CAT));
    let to_all = ann.seal(None, &alive()).unwrap();
    for listener in [&mut ben, &mut cat] {
        let opened = listener.open(&to_all).unwrap();
        assert_eq!((opened.from, opened.incarnation), (ANN, Incarnation(1)));
        assert_eq!(opened.message, alive());
    }
    let to_ben = ann.seal(Some(BEN), &claim(7)).unwrap();
    assert_eq!(ben.open(&to_ben).unwrap().message, claim(7));
    let rejected = Rejected::AnotherNode { from: ANN, to: BEN };
    assert_eq!(cat.open(&to_ben), Err(rejected));
}

/// Printed with `--nocapture`: what a heartbeat costs on the wire.
#[test]
fn a_heartbeat_between_short_names_stays_below_150_bytes_on_the_wire() {
    const IPV4_AND_UDP: usize = 20 + 8;
    let sizes = [("heartbeat", alive()), ("claim", claim(u64::MAX))].map(|(name, message)| {
        let sealed = member(ANN).seal(None, &message).unwrap().len();
        let plain = minicbor::to_vec(&message).unwrap().len();
        println!(
            "{name}: message {plain} bytes, datagram {sealed}, on IPv4 {}",
            sealed + IPV4_AND_UDP
        );
        sealed + IPV4_AND_UDP
    });
    assert!(sizes.iter().all(|len| *len <= 150), "{sizes:?}");
}

#[test]
fn cut_short_anywhere_it_is_nothing() {
    let datagram = member(ANN).seal(None, &alive()).unwrap();
    let mut ben = member(BEN);
    for len in 0..datagram.len() {
        let rejected = ben.open(&datagram[..len]).unwrap_err();
        let expected = if len < 53 + 16 {
            Rejected::Truncated { len }
        } else {
            Rejected::NotSealed { from: ANN }
        };
        assert_eq!(rejected, expected);
    }
    assert!(ben.open(&datagram).is_ok());
}

#[test]
fn with_any_bit_flipped_it_is_nothing_and_leaves_no_trace() {
    let mut ann = member(ANN);
    let mut ben = member(BEN);
    for round in 0..2 {
        // In the second round Ben knows Ann.
        let datagram = ann.seal(None, &alive()).unwrap();
        for at in 0..8 * datagram.len() {
            let mut flipped = datagram.clone();
            flipped[at / 8] ^= 1 << (at % 8);
            let rejected = ben.open(&flipped).unwrap_err();
            let by_a_stranger = matches!(
                rejected,
                Rejected::UnknownVersion(_)
                    | Rejected::UnknownKey(_)
                    | Rejected::NotSealed { .. }
                    | Rejected::Replayed { .. }
                    | Rejected::OlderIncarnation { .. }
            );
            assert!(by_a_stranger, "round {round}, bit {at}: {rejected}");
        }
        assert!(ben.open(&datagram).is_ok());
    }
}

#[test]
fn other_formats_and_lengths_are_refused_by_name() {
    let mut ben = member(BEN);
    let mut newer = member(ANN).seal(None, &alive()).unwrap();
    newer[0] = 2;
    assert_eq!(ben.open(&newer), Err(Rejected::UnknownVersion(2)));
    assert_eq!(ben.open(&[]), Err(Rejected::Truncated { len: 0 }));
    let len = DATAGRAM_LEN_MAX + 1;
    assert_eq!(ben.open(&vec![1; len]), Err(Rejected::Oversized { len }));
}

/// ELECT-31, REG-11.
#[test]
fn without_the_key_nobody_is_heard() {
    let mut stranger = DatagramSeal::new(name("web"), sender(ANN, 1, 0), KeyRing::new(key(9)));
    let datagram = stranger.seal(None, &alive()).unwrap();
    let mut ben = member(BEN);
    assert_eq!(ben.open(&datagram), Err(Rejected::UnknownKey(key(9).id())));
    let mut relabelled = datagram;
    relabelled[1..5].copy_from_slice(&key(1).id().0);
    assert_eq!(
        ben.open(&relabelled),
        Err(Rejected::NotSealed { from: ANN })
    );
}

#[test]
fn a_recording_has_no_effect_on_who_was_there() {
    let (mut ann, mut ben) = (member(ANN), member(BEN));
    let recorded: Vec<_> = (0..2_000)
        .map(|n| ann.seal(None, &claim(n)).unwrap())
        .collect();
    // Late and out of order is well, within the window.
    for at in [0, 1_023, 500, 1, 1_999] {
        assert!(ben.open(&recorded[at]).is_ok(), "{at}");
    }
    for at in [0, 1, 500, 975, 1_023, 1_999] {
        let counter = at as u64 + 1;
        assert_eq!(
            ben.open(&recorded[at]),
            Err(Rejected::Replayed { from: ANN, counter })
        );
    }
    assert!(ben.open(&recorded[976]).is_ok());
}

/// Not a wish but a fact that protocols have to know: only an answer to a random number of one's own proves freshness.
#[test]
fn who_has_just_started_takes_a_recording_for_the_first_word_until_a_later_start_is_heard() {
    let mut ann = member(ANN);
    let recorded = ann.seal(None, &alive()).unwrap();
    let later = ann.seal(None, &alive()).unwrap();
    let mut ben = member(BEN);
    assert!(ben.open(&recorded).is_ok());
    let mut ann = DatagramSeal::new(name("web"), sender(ANN, 2, 1), KeyRing::new(key(1)));
    assert!(ben.open(&ann.seal(None, &alive()).unwrap()).is_ok());
    let rejected = Rejected::OlderIncarnation {
        from: ANN,
        incarnation: Incarnation(1),
        known: Incarnation(2),
    };
    assert_eq!(ben.open(&later), Err(rejected));
}

#[test]
fn two_processes_that_run_as_one_node_are_named() {
    let mut twin = DatagramSeal::new(name("web"), sender(ANN, 1, 5), KeyRing::new(key(1)));
    let (mut ann, mut ben) = (member(ANN), member(BEN));
    assert!(ben.open(&ann.seal(None, &alive()).unwrap()).is_ok());
    let datagram = twin.seal(None, &alive()).unwrap();
    let incarnation = Incarnation(1);
    let rejected = Rejected::AnotherSalt {
        from: ANN,
        incarnation,
    };
    assert_eq!(ben.open(&datagram), Err(rejected));
    // The first is heard as before, and hears of the second itself.
    assert!(ben.open(&ann.seal(None, &alive()).unwrap()).is_ok());
    assert_eq!(
        ann.open(&datagram),
        Err(Rejected::OwnIdTaken { incarnation })
    );
    let mut forged = datagram;
    forged[60] ^= 1;
    assert_eq!(ann.open(&forged), Err(Rejected::NotSealed { from: ANN }));
}

/// ELECT-30.
#[test]
fn an_echo_is_known_once_and_an_earlier_start_is_over() {
    let mut ann = member(ANN);
    let before = ann.seal(None, &alive()).unwrap();
    let mut ann = DatagramSeal::new(name("web"), sender(ANN, 2, 1), KeyRing::new(key(1)));
    let echo = ann.seal(None, &alive()).unwrap();
    assert_eq!(ann.open(&echo), Err(Rejected::OwnEcho));
    assert_eq!(
        ann.open(&echo),
        Err(Rejected::Replayed {
            from: ANN,
            counter: 1
        })
    );
    let rejected = ann.open(&before).unwrap_err();
    assert!(
        matches!(rejected, Rejected::OlderIncarnation { .. }),
        "{rejected}"
    );
}

/// ELECT-30.
#[test]
fn another_segment_with_the_same_key_is_named() {
    let mut ann = DatagramSeal::new(name("shop"), sender(ANN, 1, 0), KeyRing::new(key(1)));
    let datagram = ann.seal(None, &alive()).unwrap();
    let rejected = Rejected::AnotherSegment {
        from: ANN,
        segment: name("shop"),
    };
    assert_eq!(member(BEN).open(&datagram), Err(rejected));
}

#[test]
fn keys_rotate_without_a_word_lost() {
    let (mut ann, mut ben) = (member(ANN), member(BEN));
    let hears = |ben: &mut DatagramSeal, ann: &mut DatagramSeal| {
        let datagram = ann.seal(None, &alive()).unwrap();
        let heard = ben.open(&datagram).is_ok();
        assert_eq!(ann.open(&datagram), Err(Rejected::OwnEcho));
        heard
    };
    let announced = KeyRing::new(key(1)).with(None, Some(key(2)));
    let advanced = KeyRing::new(key(2)).with(Some(key(1)), None);
    assert!(hears(&mut ben, &mut ann));
    ann.set_keys(announced.clone());
    ben.set_keys(announced);
    ann.set_keys(advanced.clone());
    assert!(hears(&mut ben, &mut ann));
    let recorded = ben.seal(None, &alive()).unwrap();
    assert!(ann.open(&recorded).is_ok());
    let recorded = ben.seal(None, &alive()).unwrap();
    ben.set_keys(advanced);
    assert!(hears(&mut ben, &mut ann));
    ann.set_keys(KeyRing::new(key(2)));
    assert_eq!(ann.open(&recorded), Err(Rejected::UnknownKey(key(1).id())));
    assert!(hears(&mut ben, &mut ann));
}

#[test]
fn what_is_too_long_is_not_sent_and_what_should_travel_whole_does() {
    let long = |len| {
        let ControlMessage::Election(ElectionMessage::Alive(alive)) = alive() else {
            unreachable!("it is one")
        };
        ControlMessage::Election(ElectionMessage::Alive(Alive {
            carried: vec![0; len],
            ..alive
        }))
    };
    let mut ann = member(ANN);
    let overhead = ann.seal(None, &long(1_000)).unwrap().len() - 1_000;
    assert!(ann.seal(None, &long(DATAGRAM_LEN_MAX - overhead)).is_ok());
    let len = DATAGRAM_LEN_MAX + 1;
    let refused = ann.seal(None, &long(len - overhead));
    assert_eq!(refused, Err(MessageTooLong { len }));
    let mut message = long(0);
    for carried in 0.. {
        let next = long(carried);
        if minicbor::to_vec(&next).unwrap().len() > MESSAGE_LEN_WHOLE {
            break;
        }
        message = next;
    }
    let longest_name = name(&"n".repeat(64));
    let mut ann = DatagramSeal::new(longest_name, sender(ANN, 1, 0), KeyRing::new(key(1)));
    const IPV6_AND_UDP: usize = 40 + 8;
    let on_the_wire = ann.seal(Some(BEN), &message).unwrap().len() + IPV6_AND_UDP;
    assert_eq!(on_the_wire, 1_280);
}

proptest! {
    /// Bytes as they come, and bytes behind a header that a member could have sent.
    #[test]
    fn any_bytes_are_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), dressed: bool) {
        let mut ben = member(BEN);
        let header = member(ANN).seal(None, &alive()).unwrap();
        if dressed {
            let clear = bytes.len().min(53);
            bytes[..clear].copy_from_slice(&header[..clear]);
        }
        prop_assert!(ben.open(&bytes).is_err());
        prop_assert!(ben.open(&header).is_ok());
    }
}

fn member(node: NodeId) -> DatagramSeal {
    DatagramSeal::new(name("web"), sender(node, 1, 0), KeyRing::new(key(1)))
}

fn sender(node: NodeId, incarnation: u64, salt: u8) -> Sender {
    Sender {
        node,
        incarnation: Incarnation(incarnation),
        salt: [salt; 16],
    }
}

fn key(byte: u8) -> SegmentKey {
    SegmentKey::from_bytes([byte; 32])
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn alive() -> ControlMessage {
    ControlMessage::Election(ElectionMessage::Alive(Alive {
        epoch: EPOCH,
        name: name("ann"),
        priority: 1_000,
        heartbeat_ms: 500,
        successor: None,
        carried: Vec::new(),
    }))
}

fn claim(counter: u64) -> ControlMessage {
    ControlMessage::Election(ElectionMessage::Claim(Claim {
        epoch: Epoch {
            counter,
            leader: ANN,
        },
        name: "ann".parse().unwrap(),
        priority: 1_000,
        heartbeat_ms: 500,
        office_ms: Some(14),
    }))
}

const EPOCH: Epoch = Epoch {
    counter: 300,
    leader: ANN,
};
