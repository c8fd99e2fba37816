//! Steps and decisions one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bellwether_scheduling::{
    Base, Below, CommitMode, Decision, Ending, Job, JobState, Kind, Moment, NodeView, Occupied,
    OnConflict, OrderKind, Partial, Phase, Plan, Policy, Presence, Quorum, Refused, Reported,
    Status, Step, View, behind, next,
};
use bellwether_types::{Hash, NodeId, Serial, VersionId};
use bellwether_wire::uplink::{Failure, FailureKind, Outcome};

const T: Moment = Moment(1_000_000);

fn node(byte: u8) -> NodeId {
    NodeId::from_bytes([byte; 16])
}

fn version(byte: u8) -> VersionId {
    VersionId(Hash([byte; 32]))
}

fn failure() -> Failure {
    Failure::new(FailureKind::Space, "no room")
}

fn job(kind: Kind, policy: Policy) -> JobState {
    JobState::new(Job {
        name: "job".parse().unwrap(),
        kind,
        site: "shop".parse().unwrap(),
        group: "edge".parse().unwrap(),
        due: T,
        policy,
    })
}

fn plan() -> Plan {
    Plan {
        target: Some(version(2)),
        previous: Some(version(1)),
        serial: Serial(10),
        order: Serial(11),
        undo: Serial(12),
        bytes: 100,
        bases: BTreeSet::from([Some(version(1))]),
    }
}

/// So many nodes, all able, on version 1.
fn view(nodes: u8) -> View {
    let known = NodeView {
        presence: Presence::Up,
        busy: false,
        free_bytes: 1_000,
        base: Base::Known(Some(version(1))),
        signed: Some(version(1)),
        has_neighbour: false,
    };
    View {
        nodes: (1..=nodes)
            .map(|byte| (node(byte), known.clone()))
            .collect(),
        ..View::default()
    }
}

/// This node serves a version, and has signed for it.
fn serves(view: &mut View, byte: u8, number: u8) {
    let known = view.nodes.get_mut(&node(byte)).unwrap();
    known.base = Base::Known(Some(version(number)));
    known.signed = Some(version(number));
}

fn nodes(count: u8) -> BTreeSet<NodeId> {
    (1..=count).map(node).collect()
}

/// A job on three nodes, after these steps.
fn after(kind: Kind, policy: Policy, steps: &[Step]) -> JobState {
    let mut state = job(kind, policy);
    for step in steps {
        state.apply(step, T).unwrap();
    }
    state
}

fn sent(policy: Policy) -> JobState {
    let steps = [Step::Begun(nodes(3)), Step::Planned(plan()), Step::Sent];
    after(Kind::Publish, policy, &steps)
}

fn staged(view: &mut View, byte: u8, at: Moment) {
    let outcome = Outcome::Staged(version(2));
    view.reported.insert(node(byte), Reported { outcome, at });
}

/// SCHED-14.
#[test]
fn a_status_changes_only_as_it_may() {
    use Status::{
        Aborted, Cancelled, Completed, CompletedMissing, ConflictQueued, Deferred, Failed, Idle,
        RolledBack, Running,
    };
    let table: [(Status, &[Status]); 10] = [
        (Idle, &[ConflictQueued, Running, Deferred, Cancelled]),
        (
            ConflictQueued,
            &[ConflictQueued, Running, Deferred, Cancelled],
        ),
        (
            Running,
            &[
                Deferred,
                Completed,
                CompletedMissing,
                Failed,
                Cancelled,
                Aborted,
                RolledBack,
            ],
        ),
        (Deferred, &[ConflictQueued, Running, Cancelled]),
        (Completed, &[RolledBack]),
        (CompletedMissing, &[Completed, RolledBack]),
        (Failed, &[]),
        (Cancelled, &[]),
        (Aborted, &[]),
        (RolledBack, &[]),
    ];
    for (from, allowed) in table {
        for (to, _) in Status::ALL {
            assert_eq!(from.may_become(to), allowed.contains(&to), "{from} to {to}");
        }
    }
}

/// SCHED-14, JOB-12, JOB-17: every step at every phase.
#[test]
fn a_step_follows_only_where_it_may() {
    let begun = || vec![Step::Begun(nodes(3))];
    let with = |more: &[Step]| {
        let mut steps = begun();
        steps.extend_from_slice(more);
        after(Kind::Publish, Policy::default(), &steps)
    };
    let (planned, sent, decided) = (Step::Planned(plan()), Step::Sent, Step::Decided);
    let states = [
        ("waiting", job(Kind::Publish, Policy::default())),
        ("planning", with(&[])),
        ("planned", with(std::slice::from_ref(&planned))),
        ("distributing", with(&[planned.clone(), sent.clone()])),
        (
            "committing",
            with(&[planned.clone(), sent.clone(), decided.clone()]),
        ),
        (
            "rolling back",
            with(&[
                planned.clone(),
                sent.clone(),
                decided.clone(),
                Step::RollbackDecided,
            ]),
        ),
        (
            "dropping",
            with(&[planned.clone(), sent.clone(), Step::Aborted]),
        ),
    ];
    let end = |status| Step::Finished(status, BTreeMap::new());
    let mut other = plan();
    other.target = Some(version(9));
    let table: [(Step, &[&str]); 19] = [
        (Step::Queued, &["waiting"]),
        (Step::Begun(nodes(3)), &["waiting"]),
        (
            Step::Deferred(failure()),
            &["waiting", "planning", "planned"],
        ),
        (planned, &["planning", "planned", "distributing"]),
        (Step::Planned(other), &["planning"]),
        (
            Step::PlanFailed(failure()),
            &["planning", "planned", "distributing"],
        ),
        (sent, &["planned"]),
        (Step::Missed(failure()), &["distributing"]),
        (decided, &["distributing"]),
        (Step::RollbackDecided, &["committing"]),
        (Step::Aborted, &["distributing"]),
        (
            Step::AbortAsked,
            &["waiting", "planning", "planned", "distributing", "dropping"],
        ),
        (end(Status::Cancelled), &["waiting"]),
        (end(Status::Aborted), &["planning", "planned", "dropping"]),
        (end(Status::Completed), &["committing"]),
        (end(Status::CompletedMissing), &["committing"]),
        (end(Status::Failed), &["committing"]),
        (end(Status::RolledBack), &["rolling back"]),
        (Step::CaughtUp(nodes(1)), &[]),
    ];
    for (step, allowed) in table {
        for (name, state) in &states {
            let mut changed = state.clone();
            let applied = changed.apply(&step, T);
            assert_eq!(
                applied.is_ok(),
                allowed.contains(name),
                "{step:?} while {name}"
            );
            if applied.is_err() {
                assert_eq!(changed, *state, "a refused step changes nothing");
            }
        }
    }
    let mut over = states[4].1.clone();
    over.apply(&end(Status::CompletedMissing), T).unwrap();
    let refused = over.apply(&Step::AbortAsked, T).unwrap_err();
    assert!(matches!(refused, Refused::Over { .. }), "{refused}");
    let refused = states[4].1.clone().apply(&Step::AbortAsked, T).unwrap_err();
    assert!(refused.to_string().contains("rolled back"), "{refused}");
}

/// SCHED-01.
#[test]
fn a_job_begins_when_it_is_due_and_not_before() {
    let state = job(Kind::Publish, Policy::default());
    let early = next(&state, &view(3), Moment(T.0 - 1));
    assert_eq!(early, Decision::Wait(Some(T)));
    assert_eq!(
        next(&state, &view(3), T),
        Decision::Keep(Step::Begun(nodes(3)))
    );
}

/// JOB-01: what is updated, where it goes, when, and by which rules: kept as it was said.
#[test]
fn a_job_reads_back_with_all_that_it_says() {
    let policy = Policy {
        quorum_before: Quorum::Count(2),
        quorum_after: Quorum::Percent(75),
        below: Below::Cancel,
        on_conflict: OnConflict::Cancel,
        commit: CommitMode::ByHand,
        partial: Partial::RollBack,
        retries: 7,
        retry_after: Duration::from_secs(11),
        patience: Duration::from_secs(12),
        distribute_max: Duration::from_secs(13),
        commit_max: Duration::from_secs(14),
        lead: Duration::from_millis(15),
        repeat: Duration::from_secs(16),
        renew: Duration::from_secs(17),
    };
    for kind in Kind::ALL {
        let job = Job {
            name: "night".parse().unwrap(),
            kind,
            site: "shop@media".parse().unwrap(),
            group: "edge".parse().unwrap(),
            due: Moment(T.0 + 1),
            policy: policy.clone(),
        };
        let bytes = minicbor::to_vec(&job).unwrap();
        assert_eq!(minicbor::decode::<Job>(&bytes).unwrap(), job);
    }
}

/// CGRP-06, CGRP-07: who belongs to the group when the job begins takes part; who joins it later is behind by itself.
#[test]
fn a_job_is_for_those_whom_its_group_has_when_it_begins() {
    let mut state = job(Kind::Publish, Policy::default());
    let early = next(&state, &view(3), Moment(T.0 - 1));
    assert_eq!(early, Decision::Wait(Some(T)));
    let mut view = view(4);
    view.nodes.remove(&node(1));
    let members = BTreeSet::from([2, 3, 4].map(node));
    let begun = Step::Begun(members.clone());
    assert_eq!(next(&state, &view, T), Decision::Keep(begun.clone()));

    for step in [begun, Step::Planned(plan()), Step::Sent, Step::Decided] {
        state.apply(&step, T).unwrap();
    }
    (2..=4).for_each(|byte| serves(&mut view, byte, 2));
    let mut newcomer = view.nodes[&node(2)].clone();
    (newcomer.base, newcomer.signed) = (Base::Known(None), None);
    view.nodes.insert(node(5), newcomer);
    let Decision::Keep(Step::Finished(Status::Completed, endings)) = next(&state, &view, T) else {
        panic!("{:?}", next(&state, &view, T));
    };
    assert_eq!(endings.into_keys().collect::<BTreeSet<_>>(), members);
    let late = behind(&"shop".parse().unwrap(), version(2), &view);
    assert_eq!(late, BTreeSet::from([node(5)]));
}

/// CLUSTER-11: who is busy with other work is left out, and is taken in again as soon as it is not.
#[test]
fn a_busy_node_is_left_out_until_it_has_time() {
    let state = sent(Policy::default());
    let mut view = view(3);
    view.nodes.get_mut(&node(3)).unwrap().busy = true;
    let others = BTreeMap::from([(Some(version(1)), nodes(2))]);
    assert_eq!(next(&state, &view, T), Decision::Notify(others));
    let site = "shop".parse().unwrap();
    (1..=2).for_each(|byte| serves(&mut view, byte, 2));
    assert!(behind(&site, version(2), &view).is_empty());
    view.nodes.get_mut(&node(3)).unwrap().busy = false;
    let free = BTreeSet::from([node(3)]);
    assert_eq!(behind(&site, version(2), &view), free);
    let told = BTreeMap::from([(Some(version(1)), free)]);
    assert_eq!(next(&state, &view, T), Decision::Notify(told));
}

/// SCHED-03, SCHED-05.
#[test]
fn a_conflict_queues_or_cancels_by_policy() {
    let mut view = view(3);
    view.occupied.push(Occupied {
        job: "other".parse().unwrap(),
        site: "shop".parse().unwrap(),
        nodes: nodes(1),
    });
    let mut state = job(Kind::Publish, Policy::default());
    assert_eq!(next(&state, &view, T), Decision::Keep(Step::Queued));
    state.apply(&Step::Queued, T).unwrap();
    assert_eq!(next(&state, &view, T), Decision::Wait(None));
    view.occupied.clear();
    assert_eq!(
        next(&state, &view, T),
        Decision::Keep(Step::Begun(nodes(3)))
    );

    view.occupied.push(Occupied {
        job: "other".parse().unwrap(),
        site: "shop".parse().unwrap(),
        nodes: nodes(1),
    });
    let policy = Policy {
        on_conflict: OnConflict::Cancel,
        ..Policy::default()
    };
    let cancelled = Decision::Keep(Step::Finished(Status::Cancelled, BTreeMap::new()));
    assert_eq!(next(&job(Kind::Publish, policy), &view, T), cancelled);
}

/// CCM-05, CCM-06: nothing leaves below the quorum, whatever makes nodes unable.
#[test]
fn below_the_quorum_before_a_job_is_deferred_or_cancelled() {
    type Spoil = fn(&mut NodeView);
    let spoil: [(&str, Spoil); 3] = [
        ("does not answer", |known| known.presence = Presence::Down),
        ("busy", |known| known.busy = true),
        ("bytes free", |known| known.free_bytes = 99),
    ];
    for (reason, spoil) in spoil {
        for below in [Below::Defer, Below::Cancel] {
            let policy = Policy {
                below,
                quorum_before: Quorum::Count(2),
                retries: 1,
                ..Policy::default()
            };
            let steps = [Step::Begun(nodes(3)), Step::Planned(plan())];
            let mut state = after(Kind::Publish, policy, &steps);
            let mut view = view(3);
            spoil(view.nodes.get_mut(&node(1)).unwrap());
            assert_eq!(
                next(&state, &view, T),
                Decision::Keep(Step::Sent),
                "{reason}"
            );
            spoil(view.nodes.get_mut(&node(2)).unwrap());
            let Decision::Keep(Step::Deferred(why)) = next(&state, &view, T) else {
                panic!("{reason}: {:?}", next(&state, &view, T));
            };
            assert!(why.reason.contains(reason), "{why}");
            state.apply(&Step::Deferred(why.clone()), T).unwrap();
            if below == Below::Cancel {
                assert_eq!(state.status, Status::Cancelled);
                continue;
            }
            assert_eq!((state.status, &state.plan), (Status::Deferred, &None));
            assert_eq!(next(&state, &view, T), Decision::Wait(Some(state.due)));
            assert!(state.due > T);
            // The last time.
            let due = state.due;
            state.apply(&Step::Deferred(why), due).unwrap();
            assert_eq!(state.status, Status::Cancelled);
        }
    }
}

/// CCM-05: a job waits for its quorum, and not for the next time that it is tried.
#[test]
fn a_deferred_job_begins_as_soon_as_its_quorum_is_back() {
    let policy = Policy {
        quorum_before: Quorum::Count(2),
        retries: 1,
        ..Policy::default()
    };
    let mut state = job(Kind::Publish, policy);
    let (some, mut none) = (view(3), view(3));
    for known in none.nodes.values_mut() {
        known.presence = Presence::Down;
    }
    let defer = |view: &View, state: &mut JobState, at: Moment| {
        let Decision::Keep(step) = next(state, view, at) else {
            panic!("{:?}", next(state, view, at));
        };
        assert!(matches!(step, Step::Deferred(_)), "{step:?}");
        state.apply(&step, at).unwrap();
    };
    defer(&none, &mut state, T);
    let due = state.due;
    let soon = T + Duration::from_secs(5);
    assert_eq!(next(&state, &none, soon), Decision::Wait(Some(due)));
    let begun = Decision::Keep(Step::Begun(nodes(3)));
    assert_eq!(next(&state, &some, soon), begun);
    let mut taken = view(3);
    taken.occupied = vec![Occupied {
        job: "other".parse().unwrap(),
        site: "shop".parse().unwrap(),
        nodes: nodes(1),
    }];
    assert_eq!(next(&state, &taken, soon), Decision::Wait(Some(due)));
    // Gone again before anything left: that costs it none of its tries, and does not put them off.
    state.apply(&Step::Begun(nodes(3)), soon).unwrap();
    state.apply(&Step::Planned(plan()), soon).unwrap();
    defer(&none, &mut state, soon);
    assert_eq!((state.attempt, state.due), (1, due));
    assert_eq!(state.status, Status::Deferred);
    // What was found out on the way counts: without room nobody begins in vain.
    let mut full = view(3);
    for known in full.nodes.values_mut() {
        known.free_bytes = 99;
    }
    assert_eq!(next(&state, &full, soon), Decision::Wait(Some(due)));
    assert_eq!(next(&state, &some, soon), begun);
    defer(&none, &mut state, due);
    assert_eq!(state.status, Status::Cancelled);
}

/// CCM-12: a server that has just begun has heard nobody, and concludes nothing from it.
#[test]
fn silence_means_nothing_until_the_server_has_listened_for_a_while() {
    let policy = Policy::default();
    let mut blind = view(3);
    blind.began = T;
    for known in blind.nodes.values_mut() {
        (known.presence, known.base) = (Presence::Unknown, Base::Unknown);
    }
    let settled = T + policy.patience;
    let committing = {
        let mut state = sent(policy.clone());
        state.apply(&Step::Decided, T).unwrap();
        state
    };
    for state in [job(Kind::Publish, policy.clone()), sent(policy.clone())] {
        assert_eq!(next(&state, &blind, T), Decision::Wait(Some(settled)));
        assert!(matches!(next(&state, &blind, settled), Decision::Keep(_)));
    }
    let end = T + policy.commit_max;
    assert_eq!(next(&committing, &blind, T), Decision::Wait(Some(end)));
}

/// CCM-11, COMMIT-01.
#[test]
fn together_means_that_nothing_is_ordered_before_the_quorum_has_staged() {
    let policy = Policy::default();
    let mut state = sent(policy.clone());
    let mut view = view(3);
    let Decision::Notify(told) = next(&state, &view, T) else {
        panic!("the content goes out first");
    };
    assert_eq!(told, BTreeMap::from([(Some(version(1)), nodes(3))]));
    view.notified = nodes(3).into_iter().map(|node| (node, T)).collect();
    assert_eq!(
        next(&state, &view, T),
        Decision::Wait(Some(T + policy.renew))
    );
    // Who did not answer is told again.
    let later = T + policy.renew;
    assert!(matches!(next(&state, &view, later), Decision::Notify(_)));
    view.notified = nodes(3).into_iter().map(|node| (node, later)).collect();

    staged(&mut view, 1, later);
    assert!(matches!(next(&state, &view, later), Decision::Wait(_)));
    staged(&mut view, 2, later);
    // The quorum has it; the third is waited for, but not for ever.
    assert!(matches!(next(&state, &view, later), Decision::Wait(_)));
    let patient = later + policy.patience;
    view.notified.insert(node(3), patient);
    assert_eq!(next(&state, &view, patient), Decision::Keep(Step::Decided));
    staged(&mut view, 3, later);
    assert_eq!(next(&state, &view, later), Decision::Keep(Step::Decided));

    state.apply(&Step::Decided, later).unwrap();
    let order = |nodes, lead| Decision::Order {
        kind: OrderKind::Commit,
        serial: Serial(11),
        version: Some(version(2)),
        nodes,
        lead,
    };
    let first = order(nodes(3), Some(policy.lead));
    assert_eq!(next(&state, &view, later), first);
    view.ordered = nodes(3).into_iter().map(|node| (node, later)).collect();
    let again = later + policy.repeat;
    assert_eq!(next(&state, &view, later), Decision::Wait(Some(again)));
    // The instant has passed: at once.
    assert_eq!(next(&state, &view, again), order(nodes(3), None));
}

#[test]
fn what_is_said_of_another_version_counts_for_nothing() {
    let mut view = view(3);
    for byte in 1..=3 {
        staged(&mut view, byte, T);
    }
    assert_eq!(
        next(&sent(Policy::default()), &view, T),
        Decision::Keep(Step::Decided)
    );
    for reported in view.reported.values_mut() {
        reported.outcome = Outcome::Staged(version(9));
    }
    assert!(matches!(
        next(&sent(Policy::default()), &view, T),
        Decision::Notify(_)
    ));
}

#[test]
fn by_hand_waits_for_somebody_and_can_be_aborted_until_then() {
    let mut state = sent(Policy {
        commit: CommitMode::ByHand,
        ..Policy::default()
    });
    let mut view = view(3);
    for byte in 1..=3 {
        staged(&mut view, byte, T);
    }
    assert_eq!(next(&state, &view, T), Decision::Wait(None));
    let mut aborted = state.clone();
    aborted.apply(&Step::AbortAsked, T).unwrap();
    assert_eq!(next(&aborted, &view, T), Decision::Keep(Step::Aborted));
    aborted.apply(&Step::Aborted, T).unwrap();
    assert_eq!(
        next(&aborted, &view, T),
        Decision::Order {
            kind: OrderKind::Abort,
            serial: Serial(12),
            version: Some(version(2)),
            nodes: nodes(3),
            lead: None
        }
    );
    state.apply(&Step::CommitAsked, T).unwrap();
    assert_eq!(next(&state, &view, T), Decision::Keep(Step::Decided));
}

/// SCHED-08.
#[test]
fn a_job_that_missed_its_quorum_is_tried_again_and_then_dropped() {
    let policy = Policy {
        retries: 1,
        ..Policy::default()
    };
    let mut state = sent(policy.clone());
    let mut view = view(3);
    let fail = |view: &mut View, at| {
        for byte in 1..=3 {
            let outcome = Outcome::Failed(failure());
            view.reported.insert(node(byte), Reported { outcome, at });
        }
    };
    fail(&mut view, T);
    let Decision::Keep(Step::Missed(why)) = next(&state, &view, T) else {
        panic!("{:?}", next(&state, &view, T));
    };
    assert!(
        why.reason.contains("0 of 3") && why.reason.contains("no room"),
        "{why}"
    );
    state.apply(&Step::Missed(why.clone()), T).unwrap();
    let later = T + policy.retry_after;
    assert_eq!(next(&state, &view, T), Decision::Wait(Some(later)));
    // What failed before does not count any more.
    assert!(matches!(next(&state, &view, later), Decision::Notify(_)));
    fail(&mut view, later);
    state.apply(&Step::Missed(why), later).unwrap();
    assert_eq!(state.phase, Phase::Dropping(later, Status::Failed));
}

/// JOB-03, JOB-04: a node on another base gets another variant; one that is there already gets nothing.
#[test]
fn each_base_has_its_variant() {
    let state = sent(Policy::default());
    let mut view = view(3);
    view.nodes.get_mut(&node(2)).unwrap().base = Base::Known(None);
    serves(&mut view, 3, 2);
    let lacking = Decision::Plan(BTreeSet::from([None]));
    assert_eq!(next(&state, &view, T), lacking);
    let mut state = state;
    let mut more = plan();
    more.bases = BTreeSet::from([None]);
    state.apply(&Step::Planned(more), T).unwrap();
    let told = BTreeMap::from([
        (None, BTreeSet::from([node(2)])),
        (Some(version(1)), BTreeSet::from([node(1)])),
    ]);
    assert_eq!(next(&state, &view, T), Decision::Notify(told));
}

/// REPORT-09: what a node serves without having signed for it is not counted: it is asked for its receipt.
#[test]
fn a_node_that_did_not_sign_is_asked_to() {
    let state = sent(Policy::default());
    let mut state_of_commit = state.clone();
    state_of_commit.apply(&Step::Decided, T).unwrap();
    let mut view = view(3);
    (1..=3).for_each(|byte| serves(&mut view, byte, 2));
    view.nodes.get_mut(&node(3)).unwrap().signed = Some(version(1));
    let lacking = Decision::Plan(BTreeSet::from([Some(version(2))]));
    assert_eq!(next(&state, &view, T), lacking);
    let Decision::Order { nodes, .. } = next(&state_of_commit, &view, T) else {
        panic!("{:?}", next(&state_of_commit, &view, T));
    };
    assert_eq!(nodes, BTreeSet::from([node(3)]));
    let live = version(2);
    let late = behind(&"shop".parse().unwrap(), live, &view);
    assert_eq!(late, BTreeSet::from([node(3)]));
}

/// COMMIT-11, SCHED-12, VERSION-05: who missed the commit is behind, with a reason, until a job of its own brings it back.
#[test]
fn a_node_that_missed_the_commit_is_behind_and_caught_up_later() {
    let mut state = sent(Policy::default());
    state.apply(&Step::Decided, T).unwrap();
    let mut view = view(3);
    view.nodes.get_mut(&node(3)).unwrap().presence = Presence::Down;
    for byte in 1..=2 {
        serves(&mut view, byte, 2);
    }
    let Decision::Keep(finished) = next(&state, &view, T) else {
        panic!("{:?}", next(&state, &view, T));
    };
    state.apply(&finished, T).unwrap();
    assert_eq!(state.status, Status::CompletedMissing);
    assert_eq!(state.endings[&node(1)], Ending::Done);
    let Ending::Behind(why) = &state.endings[&node(3)] else {
        panic!()
    };
    assert_eq!(why.kind, FailureKind::Silent);

    let site = "shop".parse().unwrap();
    assert!(
        behind(&site, version(2), &view).is_empty(),
        "it is not there"
    );
    view.nodes.get_mut(&node(3)).unwrap().presence = Presence::Up;
    let late = BTreeSet::from([node(3)]);
    assert_eq!(behind(&site, version(2), &view), late);
    view.occupied.push(Occupied {
        job: "sync".parse().unwrap(),
        site: site.clone(),
        nodes: late.clone(),
    });
    assert!(
        behind(&site, version(2), &view).is_empty(),
        "it is being caught up"
    );
    state.apply(&Step::CaughtUp(late), T).unwrap();
    assert_eq!(state.status, Status::Completed);
}

#[test]
fn moments_end_and_do_not_wrap() {
    assert_eq!(Moment(u64::MAX) + Duration::MAX, Moment(u64::MAX));
    assert_eq!(Moment(1) + Duration::from_secs(1), Moment(1_001));
}

/// A segment that elects a leader is away for a moment: that costs a moment, and not the pause before the next attempt.
#[test]
fn who_staged_and_was_away_makes_up_the_quorum_once_it_is_back() {
    let mut state = sent(Policy::default());
    let mut view = view(3);
    (1..=3).for_each(|byte| staged(&mut view, byte, T));
    let all = view.clone();
    for known in view.nodes.values_mut() {
        known.presence = Presence::Unknown;
    }
    let Decision::Keep(missed @ Step::Missed(_)) = next(&state, &view, T) else {
        panic!("{:?}", next(&state, &view, T));
    };
    let Step::Missed(why) = &missed else {
        unreachable!()
    };
    assert!(why.reason.contains("3 that have it do not answer"), "{why}");
    state.apply(&missed, T).unwrap();
    let later = T + state.job.policy.retry_after;
    assert_eq!(next(&state, &view, T), Decision::Wait(Some(later)));
    assert_eq!(next(&state, &all, T), Decision::Keep(Step::Decided));
}

/// What waits for an operator's word has no attempts to lose by nodes that come and go meanwhile.
#[test]
fn a_job_that_waits_for_a_word_waits_for_nodes_that_staged_it_and_are_away() {
    let policy = Policy {
        commit: CommitMode::ByHand,
        ..Policy::default()
    };
    let mut state = sent(policy);
    let mut view = view(3);
    (1..=3).for_each(|byte| staged(&mut view, byte, T));
    assert_eq!(next(&state, &view, T), Decision::Wait(None));
    let away = view.nodes.get_mut(&node(1)).unwrap();
    away.presence = Presence::Down;
    view.nodes.get_mut(&node(2)).unwrap().presence = Presence::Down;
    assert_eq!(next(&state, &view, T), Decision::Wait(None));
    // Now they are missed.
    state.apply(&Step::CommitAsked, T).unwrap();
    assert!(matches!(
        next(&state, &view, T),
        Decision::Keep(Step::Missed(_))
    ));
}

/// What is known before the commit need not be waited for after it.
#[test]
fn who_could_not_stage_the_content_is_not_waited_for_in_the_commit() {
    let mut state = sent(Policy::default());
    let mut view = view(3);
    (1..=2).for_each(|byte| staged(&mut view, byte, T));
    let outcome = Outcome::Failed(failure());
    view.reported.insert(node(3), Reported { outcome, at: T });
    assert_eq!(next(&state, &view, T), Decision::Keep(Step::Decided));
    let later = Moment(T.0 + 1);
    state.apply(&Step::Decided, later).unwrap();
    for byte in 1..=2 {
        view.reported.remove(&node(byte));
        serves(&mut view, byte, 2);
    }
    let Decision::Keep(Step::Finished(status, endings)) = next(&state, &view, later) else {
        panic!("{:?}", next(&state, &view, later));
    };
    assert_eq!(status, Status::CompletedMissing);
    assert_eq!(endings[&node(3)], Ending::Behind(failure()));
}

/// A job to synchronise that was sent, on three nodes of which the first two have a neighbour that serves its target.
fn near() -> (JobState, View) {
    let policy = Policy {
        quorum_after: Quorum::Count(1),
        ..Policy::default()
    };
    let plan = Plan {
        bases: BTreeSet::new(),
        ..plan()
    };
    let steps = [Step::Begun(nodes(3)), Step::Planned(plan), Step::Sent];
    let state = after(Kind::Synchronize, policy, &steps);
    let mut view = view(3);
    for byte in 1..=2 {
        view.nodes.get_mut(&node(byte)).unwrap().has_neighbour = true;
    }
    (state, view)
}

/// JOB-04: who has a neighbour that serves it is ordered to get it there, and nothing is planned for it.
#[test]
fn who_has_a_neighbour_gathers_and_the_rest_is_planned_for() {
    let (mut state, mut view) = near();
    let base = Some(version(1));
    assert_eq!(
        next(&state, &view, T),
        Decision::Plan(BTreeSet::from([base])),
        "for the third"
    );
    state.apply(&Step::Planned(plan()), T).unwrap();
    let gather = Decision::Order {
        kind: OrderKind::Gather,
        serial: Serial(10),
        version: Some(version(2)),
        nodes: nodes(2),
        lead: None,
    };
    assert_eq!(next(&state, &view, T), gather);
    view.gathering = nodes(2).into_iter().map(|node| (node, T)).collect();
    let notify = BTreeMap::from([(base, BTreeSet::from([node(3)]))]);
    assert_eq!(next(&state, &view, T), Decision::Notify(notify));
    view.notified.insert(node(3), T);
    assert!(matches!(next(&state, &view, T), Decision::Wait(Some(at)) if at > T));

    // One gets nothing from its neighbour: it has it from here, and is not asked again.
    let why = Failure::new(FailureKind::Neighbours, "nobody gives it");
    let said = |outcome| Reported { outcome, at: T };
    view.reported.insert(node(1), said(Outcome::Failed(why)));
    let notify = BTreeMap::from([(base, BTreeSet::from([node(1)]))]);
    assert_eq!(next(&state, &view, T), Decision::Notify(notify));
    view.notified.insert(node(1), T);
    // Another has no room: that is as final as ever.
    view.reported
        .insert(node(2), said(Outcome::Failed(failure())));
    staged(&mut view, 1, T);
    staged(&mut view, 3, T);
    assert_eq!(next(&state, &view, T), Decision::Keep(Step::Decided));
}

/// Only what was missed is asked of neighbours: while something new is published, nobody serves it by right.
#[test]
fn who_is_to_get_something_new_gathers_nothing() {
    let (_, view) = near();
    let state = sent(Policy::default());
    assert!(matches!(next(&state, &view, T), Decision::Notify(_)));
}
