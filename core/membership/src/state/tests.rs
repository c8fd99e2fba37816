use bellwether_types::Incarnation;
use bellwether_wire::control::{Formats, GroupData, MembershipMessage, MergeId, Resources};
use proptest::prelude::*;

use super::*;
use crate::ahead::Ahead;

const EPOCH: Epoch = Epoch {
    counter: 3,
    leader: node(1),
};
const OWN: Key = Key::Member(node(0));

const fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 16])
}

fn version(sequence: u64) -> StateVersion {
    StateVersion {
        epoch: EPOCH,
        sequence,
    }
}

fn record(number: u8, name_len: usize) -> Record {
    Record {
        incarnation: Incarnation(1),
        name: "n".repeat(name_len).parse().unwrap(),
        address: ([10, 0, 0, number], 1).into(),
        location: "x".repeat(Record::LOCATION_LEN_MAX),
        candidate: true,
        priority: 9,
        busy: false,
        formats: Formats::default(),
        resources: Resources::default(),
        holdings: Vec::new(),
        nonce: u64::MAX,
        joined: 1,
        data_port: None,
        serve_port: None,
    }
}

fn member(number: u8) -> (Key, Value) {
    (
        Key::Member(node(number)),
        Value::Member(Box::new(record(number, 8))),
    )
}

/// The next state, with these entries changed (`true`) or removed.
fn next(state: &SegmentState, changes: &[(u8, bool)]) -> SegmentState {
    let mut state = state.clone();
    let sequence = state.version().map_or(0, |version| version.sequence) + 1;
    for (number, present) in changes {
        let (key, mut value) = member(*number);
        if let Value::Member(record) = &mut value {
            record.joined = sequence;
        }
        let known = Known::new(&key, sequence, present.then_some(value));
        state.put(key, known);
    }
    state.become_version(version(sequence));
    state
}

fn holds_the_same(left: &SegmentState, right: &SegmentState) -> bool {
    left.version() == right.version()
        && left.digest() == right.digest()
        && left.entries().eq(right.entries())
}

fn take_all(ahead: &mut Ahead, state: &SegmentState, pages: &[Page]) {
    for page in pages {
        ahead.take(state, page, &OWN).unwrap();
    }
}

#[test]
fn changes_since_any_state_lead_to_the_latest() {
    let mut states = vec![next(
        &SegmentState::default(),
        &[(1, true), (2, true), (3, true)],
    )];
    for changes in [
        &[(2, false)][..],
        &[(4, true), (1, true)],
        &[(2, true), (3, false)],
    ] {
        states.push(next(states.last().unwrap(), changes));
    }
    let last = states.last().unwrap();
    for mut state in states.clone() {
        let pages = last.pages(state.version());
        let mut ahead = Ahead::over(&state);
        take_all(&mut ahead, &state, &pages);
        assert!(ahead.is_complete() && ahead.descends(&state, version(4)));
        ahead.settle(&mut state, version(4));
        assert!(holds_the_same(&state, last));
        assert_eq!(state.member_count(), 3);
    }
}

/// b2: every page fits a datagram, whatever is in it.
#[test]
fn the_longest_entries_fit_their_pages_and_pages_their_datagrams() {
    let mut state = SegmentState::default();
    for number in 0..20 {
        let mut record = record(number, 64);
        while record.encoded_len() <= Record::LEN_MAX {
            record.holdings.push(bellwether_wire::control::Holding {
                site: "s".repeat(64).parse().unwrap(),
                part: "all".parse().unwrap(),
                version: bellwether_types::VersionId(Hash::of(b"v")),
            });
        }
        record.shorten();
        assert!(record.encoded_len() > 750);
        let key = Key::Member(node(number));
        let value = Value::Member(Box::new(record));
        let lost = Entry {
            key: key.clone(),
            since: u64::MAX,
            value: Some(value.clone()),
        };
        let lost = minicbor::to_vec(lost).unwrap();
        assert!(lost.len() <= Value::CONFLICT_LEN_MAX);
        let conflict = Key::Conflict(u64::MAX, u16::from(number));
        state.put(
            conflict.clone(),
            Known::new(&conflict, u64::MAX, Some(Value::Conflict(lost))),
        );
        state.put(key.clone(), Known::new(&key, u64::MAX, Some(value)));
    }
    state.become_version(version(u64::MAX));
    let pages = state.pages(None);
    assert!(pages.len() > 10);
    for page in pages {
        let merge = MergeId {
            epoch: EPOCH,
            number: u64::MAX,
        };
        let data = GroupData {
            merge,
            subgroup: u8::MAX,
            page,
        };
        let message =
            bellwether_wire::control::ControlMessage::Membership(MembershipMessage::Data(data));
        let len = minicbor::to_vec(message).unwrap().len();
        assert!(len <= 1_200, "{len}");
    }
}

#[test]
fn more_removals_than_are_remembered_lead_to_everything_being_told() {
    let mut state = next(&SegmentState::default(), &[(1, true), (2, true)]);
    let early = state.clone();
    for sequence in 2..=1_200 {
        let key = Key::Place(
            "g".parse().unwrap(),
            NodeId::from_bytes(u128::from(sequence).to_be_bytes()),
        );
        state.put(key.clone(), Known::new(&key, sequence, None));
        state.become_version(version(sequence));
    }
    assert!(state.entries.len() < 1_030, "{}", state.entries.len());
    assert_eq!(state.pages(early.version())[0].from, None);
    assert_eq!(
        state.pages(Some(version(1_199)))[0].from,
        Some(version(1_199))
    );
}

/// A removal that nobody remembers shows as a gap in the whole.
#[test]
fn what_the_whole_passes_over_is_gone() {
    let mut old = next(&SegmentState::default(), &[(1, true), (2, true), (3, true)]);
    let mut new = next(&old, &[(1, false), (3, false)]);
    new.forget_removals(2);
    let mut ahead = Ahead::over(&old);
    take_all(&mut ahead, &old, &new.pages(old.version()));
    assert!(ahead.is_complete());
    ahead.settle(&mut old, version(2));
    assert!(holds_the_same(&old, &new));
}

/// Pages come in any order, also late, or again from somebody who recorded them.
#[test]
fn what_a_late_page_told_is_gone_when_the_whole_passes_over_it() {
    let old = next(&SegmentState::default(), &[(2, true), (4, true), (6, true)]);
    let new = next(&old, &[(4, false), (5, true)]);
    for order in [[&old, &new], [&new, &old]] {
        let nothing = SegmentState::default();
        let mut ahead = Ahead::over(&nothing);
        for state in order {
            take_all(&mut ahead, &nothing, &state.pages(None));
        }
        // Whoever asks again gets the whole again.
        take_all(&mut ahead, &nothing, &new.pages(None));
        assert!(ahead.is_complete());
        let mut state = nothing.clone();
        ahead.settle(&mut state, version(2));
        assert!(holds_the_same(&state, &new));
    }
}

#[test]
fn a_state_of_another_line_does_not_descend_from_this_one() {
    let ours = next(&SegmentState::default(), &[(1, true)]);
    let theirs = next(&ours, &[(2, true)]);
    let other = StateVersion {
        epoch: Epoch {
            counter: 9,
            leader: node(2),
        },
        sequence: 2,
    };
    let mut fork = next(&ours, &[(3, true)]);
    let reign = Key::Reign(EPOCH);
    fork.put(reign.clone(), Known::new(&reign, 2, Some(Value::Reign(1))));
    fork.become_version(other);
    assert!(fork.descends_from(version(1)) && !fork.descends_from(version(2)));
    let mut ahead = Ahead::over(&theirs);
    take_all(&mut ahead, &theirs, &fork.pages(None));
    assert!(!ahead.descends(&theirs, other));
    assert!(Ahead::over(&ours).descends(&ours, version(5)));
}

fn page() -> Page {
    let state = next(&SegmentState::default(), &[(1, true), (2, true)]);
    state.pages(None).remove(0)
}

fn encoded_entries(entries: &[Entry]) -> Vec<u8> {
    entries
        .iter()
        .flat_map(|entry| minicbor::to_vec(entry).unwrap())
        .collect()
}

#[test]
fn pages_that_cannot_be_are_refused_and_change_nothing() {
    let entry = |number, since| {
        let (key, value) = member(number);
        Entry {
            key,
            since,
            value: Some(value),
        }
    };
    let mismatch = Entry {
        key: Key::Title,
        since: 1,
        value: Some(Value::Place),
    };
    let cases = [
        Page {
            number: 1,
            ..page()
        },
        Page {
            after: Some(Key::Member(node(1))),
            ..page()
        },
        Page {
            entries: vec![0xff],
            ..page()
        },
        Page {
            entries: encoded_entries(&[entry(2, 1), entry(1, 1)]),
            ..page()
        },
        Page {
            entries: encoded_entries(&[entry(1, 1), entry(1, 1)]),
            ..page()
        },
        Page {
            entries: encoded_entries(&[entry(1, 2)]),
            ..page()
        },
        Page {
            entries: encoded_entries(&[mismatch]),
            ..page()
        },
    ];
    let state = SegmentState::default();
    for case in cases {
        let mut ahead = Ahead::over(&state);
        assert!(ahead.take(&state, &case, &OWN).is_err(), "{case:?}");
        assert_eq!(ahead, Ahead::over(&state));
    }
}

#[test]
fn a_set_of_pages_that_is_not_what_it_promises_is_no_state() {
    let good = page();
    assert!(SegmentState::from_pages([&good].into_iter()).is_some());
    let bad = Page {
        digest: good.digest ^ 1,
        ..good
    };
    assert_eq!(SegmentState::from_pages([&bad].into_iter()), None);
}

proptest! {
    /// Whatever pages of whatever reports come, in whatever order, and as often as they like: what is
    /// complete is the leader's state, and once all of the last report's pages came it is complete.
    #[test]
    fn pages_in_any_order_lead_to_the_leaders_state_or_to_none(
        steps in prop::collection::vec(prop::collection::vec((1_u8..60, any::<bool>()), 0..30), 1..6),
        order in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..40),
    ) {
        let mut states = vec![next(&SegmentState::default(), &[(1, true), (70, true)])];
        for step in &steps {
            states.push(next(states.last().unwrap(), step));
        }
        let pages: Vec<Vec<Page>> = (0..states.len())
            .map(|at| states[at].pages(at.checked_sub(1).and_then(|before| states[before].version())))
            .collect();
        let own = states[0].clone();
        let mut ahead = Ahead::over(&own);
        let complete = |ahead: &Ahead| {
            let (sequence, _) = ahead.target().unwrap();
            let mut settled = own.clone();
            ahead.clone().settle(&mut settled, version(sequence));
            let meant = &states[usize::try_from(sequence).unwrap() - 1];
            assert!(holds_the_same(&settled, meant));
        };
        for (report, number) in order {
            let report: &Vec<Page> = report.get(&pages);
            let page = number.get(report);
            ahead.take(&own, page, &OWN).unwrap();
            if ahead.is_complete() {
                complete(&ahead);
            }
        }
        take_all(&mut ahead, &own, &states.last().unwrap().pages(own.version()));
        prop_assert!(ahead.is_complete());
        complete(&ahead);
    }

    #[test]
    fn no_bytes_in_a_page_do_harm(
        entries in prop::collection::vec(any::<u8>(), 0..300),
        number in any::<u16>(),
        count in any::<u16>(),
    ) {
        let state = next(&SegmentState::default(), &[(1, true)]);
        let page = Page { entries, number, count, ..page() };
        let _ = Ahead::over(&state).take(&state, &page, &OWN);
        let _ = SegmentState::from_pages([&page].into_iter());
    }
}
