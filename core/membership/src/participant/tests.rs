//! Table 9.1 of the requirements, row by row. Four nodes hold the leader's state (0 leads; by name 1 is the
//! lowest of the others), two come from another line.

use std::time::Duration;

use bellwether_machine::{Machine, Outbox, Random};
use bellwether_types::{Epoch, Fast, Incarnation, NodeId, Time, Timing};
use bellwether_wire::control::{
    Ack, Formats, GroupData, Key, MembershipMessage, MergeId, MergeRequest, Nack, Participant,
    Record, Register, Resources, Round, StateVersion, Value,
};

use crate::exchange::Stage;
use crate::input::{Identity, Input};
use crate::membership::{Membership, Timer};
use crate::output::{Event, Output};
use crate::settings::{Settings, Spans};
use crate::state::{Known, SegmentState};

const HERE: Epoch = Epoch {
    counter: 5,
    leader: id(0),
};
const THERE: Epoch = Epoch {
    counter: 4,
    leader: id(8),
};
const MERGE: MergeId = MergeId {
    epoch: HERE,
    number: 1,
};

const fn id(number: u8) -> NodeId {
    NodeId::from_bytes([number; 16])
}

fn record(number: u8) -> Record {
    Record {
        incarnation: Incarnation(1),
        name: format!("n{number}").parse().unwrap(),
        address: ([10, 0, 0, number], 7001).into(),
        location: String::new(),
        candidate: true,
        priority: 1,
        busy: false,
        formats: Formats::default(),
        resources: Resources::default(),
        holdings: Vec::new(),
        nonce: u64::from(number),
        joined: 1,
        data_port: None,
        serve_port: None,
    }
}

fn segment(version: StateVersion, members: &[u8]) -> SegmentState {
    let mut segment = SegmentState::default();
    for number in members {
        let key = Key::Member(id(*number));
        let value = Value::Member(Box::new(record(*number)));
        let known = Known::new(&key, version.sequence, Some(value));
        segment.put(key, known);
    }
    segment.become_version(version);
    segment
}

fn here() -> SegmentState {
    segment(
        StateVersion {
            epoch: HERE,
            sequence: 7,
        },
        &[0, 1, 2, 3],
    )
}

fn there() -> SegmentState {
    segment(
        StateVersion {
            epoch: THERE,
            sequence: 9,
        },
        &[8, 9],
    )
}

/// A node in the middle of its life, and what it wants done.
struct Subject {
    machine: Membership,
    out: Outbox<Output>,
    now: Time,
}

fn subject(number: u8, segment: SegmentState) -> Subject {
    let identity = Identity {
        node: id(number),
        incarnation: Incarnation(1),
        name: format!("n{number}").parse().unwrap(),
    };
    let timing = Timing::fast(Fast {
        heartbeat: Duration::from_millis(100),
        ..Fast::default()
    })
    .unwrap();
    let settings = Settings {
        segment: "lan".parse().unwrap(),
        channel: "239.1.1.1:7000".parse().unwrap(),
        spans: Spans::of(&timing),
        members_max: 100,
    };
    let mut machine = Membership::new(identity, settings, Random::new(1));
    machine.state.nonce = u64::from(number);
    machine.state.record = Some(record(number));
    machine.state.segment = segment;
    machine.state.trusted = true;
    let mut subject = Subject {
        machine,
        out: Outbox::new(),
        now: Time::ZERO,
    };
    match number {
        0 => subject.input(Input::Leading(HERE)),
        _ => subject.input(Input::Following(HERE)),
    };
    subject
}

impl Subject {
    fn input(&mut self, input: Input) -> Vec<Output> {
        self.machine.handle(self.now, input, &mut self.out);
        self.out.drain().collect()
    }

    fn hear(&mut self, from: u8, message: MembershipMessage) -> Vec<MembershipMessage> {
        let incarnation = Incarnation(1);
        sent(self.input(Input::Message {
            from: id(from),
            incarnation,
            message,
        }))
    }

    /// Lets time pass until one of its timers has run.
    fn pass(&mut self, timer: Timer) -> Vec<MembershipMessage> {
        let mut messages = Vec::new();
        for _ in 0..50 {
            let due = self.machine.deadlines.get(timer);
            self.now = due.or_else(|| self.machine.wake_at()).unwrap();
            messages.extend(sent(self.input(Input::Wake)));
            if due.is_some() {
                break;
            }
        }
        messages
    }

    fn stage(&self) -> Option<Stage> {
        self.machine.state.exchange.as_ref()?.stage()
    }

    fn indicator(&self) -> bool {
        self.machine.state.exchange.as_ref().unwrap().indicator()
    }
}

fn sent(outputs: Vec<Output>) -> Vec<MembershipMessage> {
    let messages = outputs.into_iter().filter_map(|output| match output {
        Output::Send { message, .. } => Some(message),
        _ => None,
    });
    messages.collect()
}

fn request() -> MembershipMessage {
    let participant = |number, subgroup| Participant {
        node: id(number),
        incarnation: Incarnation(1),
        subgroup,
        holds: true,
    };
    let ours = [0, 1, 2, 3].map(|number| participant(number, 0));
    let theirs = [8, 9].map(|number| participant(number, 1));
    MembershipMessage::Request(MergeRequest {
        merge: MERGE,
        subgroups: vec![here().version(), there().version()],
        number: 0,
        count: 1,
        participants: [ours.as_slice(), theirs.as_slice()].concat(),
    })
}

fn data(subgroup: u8) -> MembershipMessage {
    let state = if subgroup == 0 { here() } else { there() };
    let [page] = state.pages(None).try_into().unwrap();
    MembershipMessage::Data(GroupData {
        merge: MERGE,
        subgroup,
        page,
    })
}

fn round(round: u32, failed: &[u16], acked: &[u16]) -> MembershipMessage {
    MembershipMessage::Round(Round {
        merge: MERGE,
        round,
        failed: failed.iter().copied().collect(),
        acked: acked.iter().copied().collect(),
    })
}

const ALL: [u16; 6] = [0, 1, 2, 3, 4, 5];

fn is_data(message: &MembershipMessage) -> bool {
    matches!(message, MembershipMessage::Data(_))
}

fn acks(messages: &[MembershipMessage]) -> Vec<u32> {
    let acks = messages.iter().filter_map(|message| match message {
        MembershipMessage::Ack(ack) => Some(ack.round),
        _ => None,
    });
    acks.collect()
}

/// G1, GROUP-06.
#[test]
fn a_request_begins_round_1_with_the_indicator_cleared() {
    let mut member = subject(2, here());
    member.hear(0, request());
    let exchange = member.machine.state.exchange.as_ref().unwrap();
    assert_eq!((exchange.round(), exchange.indicator()), (1, false));
}

/// G1: what is not the obeyed leader's request is none.
#[test]
fn a_request_of_somebody_else_or_of_another_reign_begins_nothing() {
    let mut member = subject(2, here());
    member.hear(3, request());
    assert_eq!(member.stage(), None);
    let MembershipMessage::Request(mut other) = request() else {
        unreachable!()
    };
    other.merge.epoch = THERE;
    member.hear(8, MembershipMessage::Request(other));
    assert_eq!(member.stage(), None);
}

/// G2, GROUP-02, GROUP-03, GROUP-08: the lowest name, which is the first in the list, sends, then acknowledges.
#[test]
fn the_lowest_name_sends_its_subgroups_data_before_it_acknowledges() {
    let mut lowest = subject(8, there());
    let mut messages = lowest.hear(0, request());
    messages.extend(lowest.hear(0, data(0)));
    messages.extend(lowest.pass(Timer::Ack));
    messages.extend(lowest.pass(Timer::Ack));
    let kinds: Vec<bool> = messages.iter().map(is_data).collect();
    assert_eq!(kinds, [true, false]);
    assert_eq!(acks(&messages), [1]);
    assert!(lowest.indicator());
}

/// G2: who is to lead and is behind catches up first.
#[test]
fn a_lowest_name_without_the_data_decides_only_once_it_has_them() {
    let mut late = subject(0, here());
    late.machine.state.segment = segment(
        StateVersion {
            epoch: HERE,
            sequence: 6,
        },
        &[0, 1],
    );
    late.machine.state.exchange = None;
    let messages = late.hear(0, request());
    assert!(messages.is_empty(), "{messages:?}");
    assert_eq!(late.stage(), Some(Stage::Decide));
}

/// G3, GROUP-01, GROUP-02.
#[test]
fn whoever_is_not_the_lowest_sends_no_data() {
    for number in [2, 3] {
        let mut member = subject(number, here());
        assert!(!member.hear(0, request()).iter().any(is_data));
        assert_eq!(member.stage(), Some(Stage::Acknowledge));
    }
}

/// G4, GROUP-07, GROUP-17, GROUP-18: an acknowledgement says that all data is here, in whatever order it came.
#[test]
fn nobody_acknowledges_before_it_holds_the_data_of_all() {
    let mut member = subject(2, here());
    member.hear(0, data(1));
    member.hear(0, request());
    assert_eq!(
        acks(&member.pass(Timer::Ack)),
        [1],
        "data before the request counts"
    );

    let mut member = subject(2, here());
    member.hear(0, request());
    assert_eq!(member.machine.deadlines.get(Timer::Ack), None);
    member.hear(8, data(1));
    assert_eq!(acks(&member.pass(Timer::Ack)), [1]);
    assert_eq!(member.stage(), Some(Stage::AwaitAcks));
}

/// G5, GROUP-05, GROUP-06.
#[test]
fn data_of_the_own_subgroup_sets_the_indicator_and_a_successor_does_not_send_again() {
    let mut second = subject(9, there());
    second.hear(0, request());
    second.hear(8, data(1));
    assert!(second.indicator());
    let messages = second.hear(0, round(2, &[4], &[]));
    assert!(!messages.iter().any(is_data), "{messages:?}");
}

/// G6, GROUP-09.
#[test]
fn data_of_another_subgroup_is_stored_and_changes_nothing_yet() {
    let mut member = subject(2, here());
    member.hear(0, request());
    member.hear(8, data(1));
    assert!(!member.indicator());
    assert_eq!(*member.machine.segment(), here());
}

/// Data that is not what the request names is not taken.
#[test]
fn data_of_another_state_is_refused() {
    let mut member = subject(2, here());
    member.hear(0, request());
    let other = segment(
        StateVersion {
            epoch: THERE,
            sequence: 8,
        },
        &[8],
    );
    let [page] = other.pages(None).try_into().unwrap();
    let wrong = GroupData {
        merge: MERGE,
        subgroup: 1,
        page,
    };
    let told = member.input(Input::Message {
        from: id(8),
        incarnation: Incarnation(1),
        message: MembershipMessage::Data(wrong),
    });
    assert!(
        matches!(told[..], [Output::Told(Event::BadPage(..))]),
        "{told:?}"
    );
    assert_eq!(member.machine.deadlines.get(Timer::Ack), None);
}

/// G7, G8, GROUP-07: with one acknowledgement withheld nobody goes on; with the last one all do.
#[test]
fn the_last_acknowledgement_and_no_earlier_one_puts_the_merge_in_force() {
    let mut leader = leading_a_merge();
    for number in [1, 2, 3, 8] {
        leader.hear(number, ack(1));
        assert_eq!(leader.machine.segment().version(), here_at(leader.base));
    }
    let messages = leader.hear(9, ack(1));
    let Some(MembershipMessage::Round(last)) = messages.first() else {
        panic!("{messages:?}")
    };
    assert_eq!(last.acked.count(), 6);
    assert_eq!(leader.machine.segment().member_count(), 6);
}

/// GROUP-20.
#[test]
fn a_late_acknowledgement_of_an_earlier_round_does_not_count() {
    let mut leader = leading_a_merge();
    for number in [1, 2, 3, 8] {
        leader.hear(number, ack(1));
    }
    // 9 never answers: a new round without it.
    let mut messages = Vec::new();
    while !messages
        .iter()
        .any(|message| matches!(message, MembershipMessage::Round(round) if round.round == 2))
    {
        messages.extend(leader.pass(Timer::Tick));
    }
    for number in [1, 2, 3, 8] {
        leader.hear(number, ack(1));
    }
    assert_eq!(leader.machine.segment().version(), here_at(leader.base));
    for number in [1, 2, 3, 8] {
        leader.hear(number, ack(2));
    }
    let members: Vec<NodeId> = leader.machine.members().map(|(node, _)| node).collect();
    assert_eq!(members, [0, 1, 2, 3, 8].map(id));
}

/// G9, GROUP-04, GROUP-10, GROUP-11.
#[test]
fn when_the_leader_of_a_subgroup_fails_the_next_name_sends_and_acknowledges_again() {
    let mut second = subject(9, there());
    second.hear(0, request());
    second.hear(0, data(0));
    assert_eq!(acks(&second.pass(Timer::Ack)), [1]);
    let mut messages = second.hear(0, round(2, &[4], &[]));
    assert!(messages.iter().any(is_data));
    messages.extend(second.pass(Timer::Ack));
    messages.extend(second.pass(Timer::Ack));
    assert_eq!(acks(&messages), [2]);
    assert_eq!(second.machine.state.exchange.as_ref().unwrap().round(), 2);
}

/// GROUP-19.
#[test]
fn a_subgroup_of_which_all_failed_is_dropped() {
    let mut member = subject(2, here());
    member.hear(0, request());
    member.hear(0, round(2, &[4, 5], &[]));
    assert_eq!(
        acks(&member.pass(Timer::Ack)),
        [2],
        "their data is not waited for"
    );
    member.hear(0, round(2, &[4, 5], &[0, 1, 2, 3]));
    let members: Vec<NodeId> = member.machine.members().map(|(node, _)| node).collect();
    assert_eq!(members, [0, 1, 2, 3].map(id));
    assert_eq!(member.stage(), None);
}

/// G10: all at once, and only once.
#[test]
fn all_data_is_processed_together_once_all_have_acknowledged() {
    let mut member = subject(2, here());
    member.hear(0, request());
    member.hear(8, data(1));
    member.pass(Timer::Ack);
    member.hear(0, round(1, &[], &ALL[..5]));
    assert_eq!(*member.machine.segment(), here());
    member.hear(0, round(1, &[], &ALL));
    let merged = member.machine.segment().clone();
    assert_eq!(
        merged.version(),
        Some(StateVersion {
            epoch: HERE,
            sequence: 10
        })
    );
    assert_eq!(merged.member_count(), 6);
    assert!(merged.descends_from(there().version().unwrap()));
    // Whatever of this merge still comes has no effect.
    for late in [request(), data(1), round(1, &[], &ALL), round(2, &[2], &[])] {
        member.hear(0, late);
        assert_eq!(*member.machine.segment(), merged);
        assert_eq!(member.machine.state.exchange, None);
    }
}

/// G10 at both sides: whatever a participant brought, it ends with the same.
#[test]
fn participants_of_all_subgroups_end_with_the_same_state() {
    let mut ends = Vec::new();
    for (number, own, other) in [(2, here(), 1), (9, there(), 0)] {
        let mut member = subject(number, own);
        member.hear(0, request());
        member.hear(0, data(other));
        member.pass(Timer::Ack);
        member.hear(0, round(1, &[], &ALL));
        ends.push(member.machine.segment().clone());
    }
    assert_eq!(ends[0], ends[1]);
}

/// G11: without an exchange a failure is the report's business.
#[test]
fn a_failure_outside_of_an_exchange_begins_none() {
    let mut member = subject(2, here());
    member.hear(0, round(3, &[4], &[]));
    assert_eq!(member.stage(), None);
    assert_eq!(*member.machine.segment(), here());
}

/// G12.
#[test]
fn whoever_is_told_that_it_was_removed_drops_the_exchange_and_registers_again() {
    let mut member = subject(9, there());
    member.hear(0, request());
    member.hear(0, data(0));
    member.hear(0, round(2, &[5], &[]));
    assert_eq!(member.machine.state.exchange, None);
    assert_eq!(
        *member.machine.segment(),
        there(),
        "what it holds stays with it"
    );
    let messages = member.pass(Timer::Register);
    let held = messages.iter().find_map(|message| match message {
        MembershipMessage::Register(Register { held, .. }) => *held,
        _ => None,
    });
    assert_eq!(held, there().version());
}

/// The last words of a merge are repeated: who registered after it takes no part in it any more.
#[test]
fn whoever_holds_a_later_state_of_the_reign_takes_no_part_in_a_merge_that_is_over() {
    let later = StateVersion {
        epoch: HERE,
        sequence: 11,
    };
    let mut member = subject(9, segment(later, &[0, 1, 2, 3, 8, 9]));
    member.hear(0, round(2, &[5], &[]));
    member.hear(0, request());
    member.hear(0, round(2, &[5], &[]));
    assert!(member.machine.is_registered());
    assert_eq!(member.machine.state.exchange, None);
}

/// A request and a round that were lost are asked for, and pages are sent again by whoever leads.
#[test]
fn what_is_missing_is_asked_for_and_sent_again() {
    let mut member = subject(2, here());
    member.hear(0, round(1, &[], &[]));
    let messages = member.pass(Timer::Nack);
    assert!(
        matches!(
            &messages[..],
            [MembershipMessage::Nack(Nack { subgroup: None, .. })]
        ),
        "{messages:?}"
    );
    member.hear(0, request());
    let messages = member.pass(Timer::Nack);
    let [MembershipMessage::Nack(nack)] = &messages[..] else {
        panic!("{messages:?}")
    };
    assert_eq!(nack.subgroup, Some(1));

    let mut lowest = subject(8, there());
    lowest.hear(0, request());
    lowest.pass(Timer::Pace);
    let again = lowest.hear(2, MembershipMessage::Nack(nack.clone()));
    assert!(again.iter().any(is_data), "{again:?}");
}

/// A state of neither subgroup would be lost if its holder acknowledged.
#[test]
fn whoever_was_taken_for_a_member_of_the_wrong_subgroup_does_not_acknowledge() {
    let stray = segment(
        StateVersion {
            epoch: THERE,
            sequence: 2,
        },
        &[2, 3],
    );
    let mut member = subject(2, stray);
    member.hear(0, request());
    member.hear(8, data(1));
    member.hear(1, data(0));
    assert_eq!(member.machine.deadlines.get(Timer::Ack), None);
}

struct Leading {
    subject: Subject,
    base: u64,
}

impl std::ops::Deref for Leading {
    type Target = Subject;
    fn deref(&self) -> &Subject {
        &self.subject
    }
}

impl std::ops::DerefMut for Leading {
    fn deref_mut(&mut self) -> &mut Subject {
        &mut self.subject
    }
}

fn here_at(sequence: u64) -> Option<StateVersion> {
    Some(StateVersion {
        epoch: HERE,
        sequence,
    })
}

fn ack(round: u32) -> MembershipMessage {
    MembershipMessage::Ack(Ack {
        merge: MERGE,
        round,
    })
}

/// The leader, having ordered a merge with 8 and 9 and holding all data.
fn leading_a_merge() -> Leading {
    let before = segment(
        StateVersion {
            epoch: Epoch {
                counter: 3,
                leader: id(3),
            },
            sequence: 7,
        },
        &[0, 1, 2, 3],
    );
    let mut leader = subject(0, before);
    leader.pass(Timer::Report);
    for number in [8, 9] {
        let register = Register {
            epoch: HERE,
            held: there().version(),
            record: record(number),
        };
        leader.hear(number, MembershipMessage::Register(register));
    }
    let messages = leader.pass(Timer::Merge);
    assert!(
        messages
            .iter()
            .any(|message| matches!(message, MembershipMessage::Request(_)))
    );
    let base = leader.machine.segment().version().unwrap().sequence;
    // Its own subgroup's data, which node 0 sends as the lowest name, is its own echo.
    leader.hear(8, data(1));
    Leading {
        subject: leader,
        base,
    }
}
