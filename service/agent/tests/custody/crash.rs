//! A node that is killed, or loses power, at any step.

use std::sync::atomic::{AtomicBool, Ordering};

use bellwether_agent::content::Order;
use bellwether_content::assignment::{self, Action};
use bellwether_disk::{Disk, Hooks, MemoryDisk, Stopping};
use bellwether_wire::uplink::{FailureKind, Outcome};

use crate::kit::{
    Node, Setting, assignment, failure, farms, header, order, place, receipt, shop, trust, version,
    witness,
};

const SEEDS: u64 = 8;

/// What a node does with one assignment and the orders that follow it; its last word.
fn life<D: Disk>(disk: D, files: &[Vec<u8>], orders: &[Vec<u8>]) -> Outcome {
    let place = place(disk, &shop(), Hooks::default());
    let header = assignment::peek(files[0].as_slice()).unwrap();
    let parts = files.iter().map(Vec::as_slice);
    let cancelled = AtomicBool::new(false);
    let mut done = place.stage(&header, parts, &trust(), &witness(), &cancelled);
    for bytes in orders {
        let order = Order::open(bytes, &trust()).unwrap();
        done = place.obey(&order, &witness(), || {});
    }
    done.outcome
}

/// Stops a life before each of its steps, forgets in many ways, and demands: what is live is one of these versions, a
/// receipt that was given holds afterwards, and the same life begun again ends as if nothing had happened.
fn check(before: &MemoryDisk, files: &[Vec<u8>], orders: &[Vec<u8>]) -> u64 {
    let whole = before.restarted();
    let counting = Stopping::at(u64::MAX, whole.clone());
    let steps = counting.steps();
    let end = life(counting, files, orders);
    let after = served(&whole);
    let total = steps.load(Ordering::SeqCst);
    for step in 0..=total {
        let stopped = before.restarted();
        let said = life(Stopping::at(step, stopped.clone()), files, orders);
        let mut disks = vec![stopped.restarted()];
        disks.extend((0..SEEDS).map(|seed| stopped.crashed(seed)));
        for (number, disk) in disks.into_iter().enumerate() {
            let when = format!("stopped before step {step} of {total}, memory {number}");
            let node = Node::with(Setting {
                disk: disk.clone(),
                ..Setting::default()
            });
            let live = node.live_or_none();
            assert!([served(before), after].contains(&live), "{when}: {live:?}");
            if said == end {
                assert_eq!(live, after, "{when}: what was said holds");
            }
            drop(node);
            let again = life(disk.clone(), files, orders);
            assert!(alike(&again, &end), "{when}: {again:?}");
            assert_eq!(served(&disk), after, "{when}");
        }
    }
    total
}

/// Apart from the time by the wall.
fn alike(a: &Outcome, b: &Outcome) -> bool {
    match (a, b) {
        (Outcome::Live(a), Outcome::Live(b)) => {
            let (a, b) = (&a.served, &b.served);
            (a.version, a.serial, a.term) == (b.version, b.serial, b.term)
        }
        _ => a == b,
    }
}

fn served(disk: &MemoryDisk) -> Option<bellwether_types::VersionId> {
    Node::with(Setting {
        disk: disk.restarted(),
        ..Setting::default()
    })
    .live_or_none()
}

impl Node {
    fn live_or_none(&self) -> Option<bellwether_types::VersionId> {
        self.custody.holdings().first().map(|held| held.version)
    }
}

/// COMMIT-10, INTERP-08, INTERP-09.
#[test]
fn a_publish_can_be_cut_short_anywhere() {
    let [a, b, _] = farms();
    let node = Node::new();
    let first = assignment(header(&shop(), 1), None, &a);
    let commit = |serial, farm| order(Action::Commit, serial, Some(version(farm)));
    let steps = check(&node.disk, &first, &[commit(2, &a)]);
    node.publish(1, None, &a);
    let next = assignment(header(&shop(), 3), Some(&a), &b);
    let more = check(&node.disk, &next, &[commit(4, &b)]);
    println!("{steps} and {more} steps, each killed once and without power {SEEDS} times");
}

/// JOB-06, JOB-08, JOB-12.
#[test]
fn an_abort_a_rollback_and_a_removal_can_be_cut_short_anywhere() {
    let [a, b, _] = farms();
    let node = Node::new();
    node.publish(1, None, &a);
    let next = assignment(header(&shop(), 3), Some(&a), &b);
    let commit = order(Action::Commit, 4, Some(version(&b)));
    let abort = order(Action::Abort, 5, Some(version(&b)));
    // What was aborted cannot be staged again: so a life that begins again after its end ends the same.
    check(&node.disk, &next, &[abort]);
    check(&node.disk, &next, &[order(Action::Remove, 5, None)]);
    node.bring(&next);
    node.obey(&commit);
    check(
        &node.disk,
        &next,
        &[order(Action::Rollback, 5, Some(version(&a)))],
    );
}

/// REPORT-01, CCM-12.
#[test]
fn what_lay_on_the_shelf_when_the_node_died_is_staged_at_its_next_start() {
    let [a, b, _] = farms();
    let node = Node::new();
    node.publish(1, None, &a);
    for file in assignment(header(&shop(), 3), Some(&a), &b) {
        node.shelf.put(&file);
    }
    let node = node.killed();
    assert_eq!(node.outcome(), Outcome::Staged(version(&b)));
    let commit = order(Action::Commit, 4, Some(version(&b)));
    assert_eq!(receipt(node.obey(&commit)).served.version, version(&b));
    // And what is done is not done again.
    let node = node.killed();
    assert!(node.outcomes().is_empty());
    assert_eq!(node.custody.committed(), 4);
    let again = receipt(node.obey(&commit));
    assert_eq!(again.served.version, version(&b));
    let passed = order(Action::Commit, 2, Some(version(&a)));
    assert_eq!(failure(node.obey(&passed)).kind, FailureKind::Order);
}

/// A node that goes down in order says nothing of what it did not finish, and takes it up again.
#[test]
fn a_stage_that_is_cut_by_the_nodes_end_is_taken_up_at_the_next_start() {
    let [a, ..] = farms();
    let node = Node::new();
    for file in assignment(header(&shop(), 1), None, &a) {
        let id = node.shelf.put(&file);
        node.custody.arrived(id);
    }
    let (disk, shelf, told) = (node.disk.clone(), node.shelf.clone(), node.told_later());
    drop(node);
    let before = told.lock().unwrap().len();
    let node = Node::with(Setting {
        disk,
        shelf,
        ..Setting::default()
    });
    let after = node.outcomes().len();
    assert_eq!(before + after, 1, "it is told once, before or after");
    let staged = node.site().status().unwrap().staged;
    assert_eq!(staged, Some(version(&a)));
}
