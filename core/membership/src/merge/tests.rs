use bellwether_types::{Epoch, Incarnation};
use bellwether_wire::control::{Formats, Record, Resources};
use core::net::SocketAddr;

use super::*;

const fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 16])
}

const fn epoch(counter: u64) -> Epoch {
    Epoch {
        counter,
        leader: node(1),
    }
}

const RESULT: StateVersion = StateVersion {
    epoch: epoch(9),
    sequence: 50,
};

fn record(number: u8, incarnation: u64, port: u16) -> Value {
    Value::Member(Box::new(Record {
        incarnation: Incarnation(incarnation),
        name: format!("n{number}").parse().unwrap(),
        address: ([10, 0, 0, number], port).into(),
        location: String::new(),
        candidate: true,
        priority: 1,
        busy: false,
        formats: Formats::default(),
        resources: Resources::default(),
        holdings: Vec::new(),
        nonce: 0,
        joined: 1,
        data_port: None,
        serve_port: None,
    }))
}

fn side(counter: u64, sequence: u64, entries: Vec<(Key, Value)>) -> Option<SegmentState> {
    let mut state = SegmentState::default();
    for (key, value) in entries {
        let known = Known::new(&key, sequence, Some(value));
        state.put(key, known);
    }
    state.become_version(StateVersion {
        epoch: epoch(counter),
        sequence,
    });
    Some(state)
}

fn participant(number: u8, subgroup: u8) -> Participant {
    Participant {
        node: node(number),
        incarnation: Incarnation(1),
        subgroup,
        holds: true,
    }
}

fn member(number: u8, incarnation: u64, port: u16) -> (Key, Value) {
    (Key::Member(node(number)), record(number, incarnation, port))
}

fn group(channel: Option<&str>, places: &[u8]) -> Vec<(Key, Value)> {
    let name: Name = "shop".parse().unwrap();
    let channel: Option<SocketAddr> = channel.map(|channel| channel.parse().unwrap());
    let places = places
        .iter()
        .map(|number| (Key::Place(name.clone(), node(*number)), Value::Place));
    [(Key::Group(name.clone()), Value::Group(channel))]
        .into_iter()
        .chain(places)
        .collect()
}

fn lost(state: &SegmentState) -> Vec<Entry> {
    let conflicts = state.entries().filter_map(|(_, value)| match value {
        Value::Conflict(lost) => minicbor::decode(lost).ok(),
        _ => None,
    });
    conflicts.collect()
}

fn port(state: &SegmentState, number: u8) -> Option<u16> {
    state
        .record(node(number))
        .map(|record| record.address.port())
}

#[test]
fn the_highest_incarnation_of_a_member_prevails_then_the_word_of_its_own_subgroup() {
    let sides = [
        side(
            5,
            9,
            vec![member(1, 1, 11), member(2, 1, 12), member(3, 2, 13)],
        ),
        side(
            4,
            7,
            vec![member(1, 1, 21), member(2, 1, 22), member(3, 1, 23)],
        ),
    ];
    let participants = [participant(1, 0), participant(2, 1), participant(3, 1)];
    let merged = merge(&sides, &participants, &Bitmap::new(), RESULT);
    assert_eq!(
        [1, 2, 3].map(|number| port(&merged, number)),
        [Some(11), Some(22), Some(13)]
    );
    assert_eq!(
        lost(&merged).len(),
        2,
        "of 1 and 2 another address was known"
    );
}

#[test]
fn who_failed_is_gone_and_who_does_not_take_part_stays_with_the_first_side_only() {
    let sides = [
        side(
            5,
            9,
            vec![member(1, 1, 1), member(2, 1, 1), member(6, 1, 1)],
        ),
        side(4, 7, vec![member(3, 1, 1), member(7, 1, 1)]),
    ];
    let participants = [participant(1, 0), participant(2, 0), participant(3, 1)];
    let failed = [1].into_iter().collect();
    let merged = merge(&sides, &participants, &failed, RESULT);
    let members: Vec<NodeId> = merged.members().map(|(node, _)| node).collect();
    assert_eq!(members, [node(1), node(3), node(6)]);
}

#[test]
fn an_earlier_start_of_who_takes_part_is_not_taken_for_it() {
    let sides = [
        side(5, 9, vec![member(1, 1, 11), member(2, 1, 12)]),
        side(4, 7, vec![member(3, 1, 13)]),
    ];
    let again = Participant {
        incarnation: Incarnation(2),
        ..participant(2, 1)
    };
    let participants = [participant(1, 0), again, participant(3, 1)];
    let merged = merge(&sides, &participants, &Bitmap::new(), RESULT);
    assert_eq!(port(&merged, 2), None, "its registration comes next");
}

/// GROUP-15, hole d8.
#[test]
fn a_later_start_that_another_side_knows_is_not_forgotten_for_who_does_not_take_part() {
    let sides = [
        side(5, 9, vec![member(1, 1, 1), member(9, 1, 11)]),
        side(4, 7, vec![member(2, 1, 2), member(9, 2, 12)]),
    ];
    let participants = [participant(1, 0), participant(2, 1)];
    let merged = merge(&sides, &participants, &Bitmap::new(), RESULT);
    assert_eq!(port(&merged, 9), Some(12));
}

/// GROUP-15, hole d8.
#[test]
fn the_first_side_prevails_in_what_differs_and_what_lost_is_kept() {
    let title = |text: &str| (Key::Title, Value::Title(text.into()));
    let ours = [vec![title("ours")], group(Some("239.1.2.1:1"), &[1, 2])].concat();
    let theirs = [vec![title("theirs")], group(Some("239.1.2.2:1"), &[2, 3])].concat();
    let merged = merge(
        &[side(5, 9, ours), side(4, 7, theirs)],
        &[],
        &Bitmap::new(),
        RESULT,
    );
    assert_eq!(merged.get(&Key::Title), Some(&title("ours").1));
    let kept = group(Some("239.1.2.1:1"), &[1, 2]);
    assert!(
        kept.iter()
            .all(|(key, value)| merged.get(key) == Some(value))
    );
    assert_eq!(merged.place_count(), 2);
    let lost: BTreeSet<Key> = lost(&merged).into_iter().map(|entry| entry.key).collect();
    let group = |number| Key::Place("shop".parse().unwrap(), node(number));
    assert_eq!(
        lost,
        [Key::Title, Key::Group("shop".parse().unwrap()), group(3)].into()
    );
}

#[test]
fn a_group_that_the_first_side_gave_up_does_not_come_back() {
    let theirs = group(Some("239.1.2.2:1"), &[2, 3]);
    let sides = [side(5, 9, group(None, &[])), side(4, 7, theirs)];
    let merged = merge(&sides, &[], &Bitmap::new(), RESULT);
    assert_eq!((merged.groups().count(), merged.place_count()), (0, 0));
    assert_eq!(lost(&merged).len(), 3);
}

#[test]
fn a_group_that_only_one_side_knows_stays() {
    let theirs = group(Some("239.1.2.2:1"), &[2, 3]);
    let sides = [side(5, 9, Vec::new()), None, side(4, 7, theirs)];
    let merged = merge(&sides, &[], &Bitmap::new(), RESULT);
    assert_eq!((merged.groups().count(), merged.place_count()), (1, 2));
    assert!(lost(&merged).is_empty());
}

#[test]
fn the_result_descends_from_all_sides_and_their_ancestors() {
    let sides = [
        side(9, 9, vec![(Key::Reign(epoch(3)), Value::Reign(4))]),
        side(4, 49, vec![(Key::Reign(epoch(3)), Value::Reign(6))]),
    ];
    let merged = merge(&sides, &[], &Bitmap::new(), RESULT);
    let descends = |counter, sequence| {
        merged.descends_from(StateVersion {
            epoch: epoch(counter),
            sequence,
        })
    };
    assert!(descends(9, 9) && descends(4, 49) && descends(3, 6));
    assert!(!descends(4, 50) && !descends(3, 7) && !descends(2, 1));
}

/// What a merge repeated under the next leader takes in once more is not a conflict with itself.
#[test]
fn merging_with_what_came_of_a_merge_changes_nothing_but_the_version() {
    let ours = [vec![member(1, 1, 1)], group(Some("239.1.2.1:1"), &[1])].concat();
    let theirs = [vec![member(2, 1, 1)], group(Some("239.1.2.2:1"), &[2])].concat();
    let participants = [participant(1, 0), participant(2, 1)];
    let sides = [side(5, 9, ours.clone()), side(4, 7, theirs)];
    let once = merge(&sides, &participants, &Bitmap::new(), RESULT);
    let again = StateVersion {
        epoch: epoch(10),
        sequence: 60,
    };
    let sides = [side(5, 9, ours), Some(once.clone())];
    let twice = merge(&sides, &participants, &Bitmap::new(), again);
    let plain = |state: &SegmentState| -> Vec<(Key, Value)> {
        let entries = state
            .entries()
            .filter(|(key, _)| !matches!(key, Key::Reign(_)));
        entries
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    };
    assert_eq!(plain(&once), plain(&twice));
}

#[test]
fn conflicts_and_reigns_are_bounded() {
    let many = |from: u16| {
        (from..from + 60)
            .map(|number| {
                (
                    Key::Conflict(1, number),
                    Value::Conflict(number.to_be_bytes().into()),
                )
            })
            .chain((0..60).map(|counter| (Key::Reign(epoch(counter)), Value::Reign(1))))
            .collect()
    };
    let sides = [side(5, 9, many(0)), side(70, 7, many(30))];
    let merged = merge(&sides, &[], &Bitmap::new(), RESULT);
    let count = |wanted: fn(&Key) -> bool| merged.entries().filter(|(key, _)| wanted(key)).count();
    assert_eq!(count(|key| matches!(key, Key::Conflict(..))), CONFLICTS_MAX);
    assert_eq!(count(|key| matches!(key, Key::Reign(_))), REIGNS_MAX);
    let own = StateVersion {
        epoch: epoch(70),
        sequence: 7,
    };
    assert!(merged.descends_from(own), "the latest reigns stay");
}
