//! From an assignment to what is served, and back.

use bellwether_content::assignment::Action;
use bellwether_disk::{Hook, Hooks};
use bellwether_types::{Serial, Term};
use bellwether_wire::uplink::{FailureKind, Outcome};
use std::time::Duration;

use crate::kit::{
    Node, Setting, assignment, failure, farms, header, node_key, order, receipt, seconds, shop,
    version,
};

/// COMMIT-01, REPORT-01, INTERP-09.
#[test]
fn what_was_brought_is_staged_then_live_by_order_and_signed_for() {
    let [a, b, _] = farms();
    let node = Node::new();
    let files = assignment(header(&shop(), 10), None, &a);
    assert_eq!(node.bring(&files), Outcome::Staged(version(&a)));
    assert_eq!(node.live(), None, "nothing is live before the order");
    assert_eq!(node.bring(&files), Outcome::Staged(version(&a)), "again");

    let commit = order(Action::Commit, 11, Some(version(&a)));
    let first = receipt(node.obey(&commit));
    assert!(first.holds(&node_key().public()));
    let served = &first.served;
    assert_eq!((served.site.clone(), served.version), (shop(), version(&a)));
    assert_eq!((served.term, served.serial), (Term(1), Serial(11)));
    assert_eq!(node.live(), Some(version(&a)));
    assert_eq!(receipt(node.obey(&commit)), first, "the same order again");
    assert_eq!(receipt(node.bring(&files)), first, "the assignment again");

    node.publish(12, Some(&a), &b);
    assert_eq!(node.custody.committed(), 13);
    let holdings = node.custody.holdings();
    assert_eq!(holdings.len(), 1);
    assert_eq!(holdings[0].version, version(&b));
}

/// JOB-06, JOB-07, COMMIT-08, COMMIT-14.
#[test]
fn a_rollback_leads_back_and_a_switch_leads_anywhere_that_is_held() {
    let [a, b, c] = farms();
    let node = Node::new();
    node.publish(1, None, &a);
    node.publish(3, Some(&a), &b);
    node.publish(5, Some(&b), &c);
    let back = receipt(node.obey(&order(Action::Rollback, 7, None)));
    assert_eq!(back.served.version, version(&b));
    let named = receipt(node.obey(&order(Action::Rollback, 8, Some(version(&a)))));
    assert_eq!(named.served.version, version(&a));
    let switched = receipt(node.obey(&order(Action::Switch, 9, Some(version(&c)))));
    assert_eq!(switched.served.version, version(&c));
    // To what was live before the rollbacks there is no way back by rollback alone.
    let node = Node::new();
    node.publish(1, None, &a);
    let refused = failure(node.obey(&order(Action::Rollback, 3, None)));
    assert_eq!(refused.kind, FailureKind::NotStaged);
    assert_eq!(node.live(), Some(version(&a)));
}

/// JOB-08.
#[test]
fn a_removal_takes_all_content_and_what_comes_late_stays_away() {
    let [a, b, _] = farms();
    let node = Node::new();
    node.publish(1, None, &a);
    let late = assignment(header(&shop(), 3), None, &b);
    assert_eq!(node.obey(&order(Action::Remove, 5, None)), Outcome::Removed);
    assert_eq!(node.obey(&order(Action::Remove, 5, None)), Outcome::Removed);
    assert_eq!(node.live(), None);
    assert_eq!(failure(node.bring(&late)).kind, FailureKind::Order);
    assert!(node.custody.holdings().is_empty());
    node.publish(7, None, &b);
}

/// JOB-12.
#[test]
fn an_abort_drops_what_is_staged_and_what_is_live_stays() {
    let [a, b, c] = farms();
    let node = Node::new();
    node.publish(1, None, &a);
    let files = assignment(header(&shop(), 3), Some(&a), &b);
    node.bring(&files);
    let abort = order(Action::Abort, 5, Some(version(&b)));
    assert_eq!(node.obey(&abort), Outcome::Aborted);
    assert_eq!(node.obey(&abort), Outcome::Aborted, "again");
    let status = node.site().status().unwrap();
    assert_eq!((status.live, status.staged), (Some(version(&a)), None));
    assert!(
        !status.releases.contains_key(&version(&b)),
        "nothing is left behind"
    );
    // Late, and after a restart: it was called off.
    assert_eq!(failure(node.bring(&files)).kind, FailureKind::Order);
    let node = node.killed();
    assert_eq!(failure(node.bring(&files)).kind, FailureKind::Order);
    let commit = order(Action::Commit, 4, Some(version(&b)));
    let refused = failure(node.obey(&commit));
    assert!(matches!(
        refused.kind,
        FailureKind::NotStaged | FailureKind::Order
    ));
    node.publish(6, Some(&a), &c);
}

/// JOB-12: before anything of it has come.
#[test]
fn an_abort_may_come_before_what_it_is_for() {
    let [a, ..] = farms();
    let node = Node::new();
    let abort = order(Action::Abort, 3, Some(version(&a)));
    assert_eq!(node.obey(&abort), Outcome::Aborted);
    let files = assignment(header(&shop(), 1), None, &a);
    let refused = failure(node.bring(&files));
    assert_eq!(refused.kind, FailureKind::Order);
    assert!(refused.reason.contains("called off"), "{refused}");
}

/// COMMIT-02.
#[test]
fn where_each_commits_by_itself_no_order_is_needed() {
    let [a, b, _] = farms();
    let node = Node::with(Setting {
        autonomous: true,
        ..Setting::default()
    });
    let files = assignment(header(&shop(), 1), None, &a);
    assert_eq!(receipt(node.bring(&files)).served.serial, Serial(1));
    let next = assignment(header(&shop(), 2), Some(&a), &b);
    assert_eq!(receipt(node.bring(&next)).served.version, version(&b));
    assert_eq!(node.live(), Some(version(&b)));
}

/// COMMIT-01, COMMIT-10: it is durable that it will happen before it happens, and it happens at the instant.
#[test]
fn a_commit_waits_for_its_instant_with_its_intent_on_disk() {
    let [a, b, _] = farms();
    let node = Node::new();
    node.publish(1, None, &a);
    node.bring(&assignment(header(&shop(), 3), Some(&a), &b));
    let commit = order(Action::Commit, 4, Some(version(&b)));
    node.custody.order(&commit, Some(seconds(7))).unwrap();
    node.clock.until_waiting(1);
    for seed in 0..20 {
        let disk = node.disk.crashed(seed);
        let status = Node::with(Setting {
            disk: disk.restarted(),
            ..Setting::default()
        });
        assert_eq!(
            status.live(),
            Some(version(&b)),
            "it is finished at the next start"
        );
    }
    assert_eq!(node.live(), Some(version(&a)));
    node.clock.move_to(seconds(7));
    assert_eq!(receipt(node.outcome()).served.version, version(&b));
    // An instant that has passed is at once.
    let back = order(Action::Rollback, 5, None);
    node.custody.order(&back, Some(seconds(1))).unwrap();
    assert_eq!(receipt(node.outcome()).served.version, version(&a));
    let far = node.custody.order(&commit, Some(seconds(70)));
    assert!(far.unwrap_err().reason.contains("minute"));
}

#[test]
fn hooks_run_after_the_switch_and_may_forbid_it_before() {
    let [a, ..] = farms();
    let hook = |command: &[&str]| Hook {
        command: command.iter().map(ToString::to_string).collect(),
        time_max: Duration::from_secs(20),
    };
    let with = |before: &[&str]| {
        Node::with(Setting {
            hooks: Hooks {
                before: vec![hook(before)],
                after: vec![hook(&["false"])],
            },
            ..Setting::default()
        })
    };
    let node = with(&["true"]);
    node.bring(&assignment(header(&shop(), 1), None, &a));
    let commit = order(Action::Commit, 2, Some(version(&a)));
    node.custody.order(&commit, None).unwrap();
    node.custody.settle();
    let told = format!("{:?}", node.told());
    assert!(
        told.contains("Exited(1)") && told.contains("Live"),
        "{told}"
    );

    let node = with(&["false"]);
    node.bring(&assignment(header(&shop(), 1), None, &a));
    assert_eq!(failure(node.obey(&commit)).kind, FailureKind::Hook);
    assert_eq!(node.live(), None);
}

/// The path of a small change, from the assignment to what is served: what a disk takes its time for.
#[test]
fn a_small_change_is_made_durable_few_times() {
    let [a, b, _] = farms();
    let node = Node::new();
    node.publish(1, None, &a);
    let before = node.disk.syncs();
    node.publish(3, Some(&a), &b);
    let syncs = node.disk.syncs() - before;
    assert!(syncs <= SYNCS_MAX, "{syncs} syncs");
}

/// The tree; that it is staged; that it will be live; that it is.
const SYNCS_MAX: u64 = 4;
