//! What is staged while it comes.

use bellwether_content::assignment::Action;
use bellwether_kit::farm::{Farm, Files, noise};
use bellwether_types::SitePart;
use bellwether_wire::transfer::AssignmentId;
use bellwether_wire::uplink::{FailureKind, Outcome};

use crate::kit::{
    Node, Setting, assignment, failure, farms, header, order, receipt, shop, version,
};

/// A version with a file that nothing makes small, and the assignment that leads to it.
struct Large {
    farm: Farm,
    bytes: Vec<u8>,
}

impl Large {
    fn new(base: Option<&Farm>, serial: u64) -> Self {
        let farm = Farm::new(&Files::from([
            ("film", noise(3, 2_000_000)),
            ("index", b"two".to_vec()),
        ]));
        let [bytes] = <[_; 1]>::try_from(assignment(header(&shop(), serial), base, &farm)).unwrap();
        Self { farm, bytes }
    }

    const fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The first half is there, and read as far as that.
    fn half(&self, node: &Node) -> AssignmentId {
        let half = self.bytes.len() / 2;
        let id = node.shelf.put_part(&self.bytes, half);
        node.custody.coming(id, half as u64, self.len());
        node.shelf.until_read(id, half);
        id
    }

    fn arrive(&self, node: &Node) {
        node.custody.arrived(node.shelf.put(&self.bytes));
    }

    fn staged(&self) -> Outcome {
        Outcome::Staged(version(&self.farm))
    }
}

#[test]
fn what_leads_on_from_what_is_live_is_staged_on_the_way() {
    let [a, ..] = farms();
    let node = Node::new();
    node.publish(1, None, &a);
    let large = Large::new(Some(&a), 3);
    let id = large.half(&node);
    assert!(node.told().is_empty(), "nothing is told of a half");
    node.shelf.put_part(&large.bytes, large.bytes.len());
    node.custody.coming(id, large.len(), large.len());
    assert_eq!(
        node.outcome(),
        large.staged(),
        "before it lies on the shelf"
    );
    large.arrive(&node);
    assert_eq!(node.outcome(), large.staged());
    let commit = order(Action::Commit, 4, Some(version(&large.farm)));
    receipt(node.obey(&commit));
    assert_eq!(node.live(), Some(version(&large.farm)));
}

/// The word that all of it is there may be lost: that it has arrived is enough.
#[test]
fn what_has_arrived_is_read_to_its_end() {
    let node = Node::new();
    let large = Large::new(None, 1);
    large.half(&node);
    large.arrive(&node);
    assert_eq!(node.outcomes().last(), Some(&large.staged()));
}

#[test]
fn what_does_not_lead_on_from_what_is_live_waits_until_it_has_arrived() {
    let [a, b, _] = farms();
    let node = Node::new();
    node.publish(1, None, &a);
    for base in [None, Some(&b)] {
        let large = Large::new(base, 3);
        let id = node.shelf.put_part(&large.bytes, large.bytes.len() - 1);
        node.custody.coming(id, large.len() - 1, large.len());
        node.custody.coming(id, large.len(), large.len());
        assert!(node.outcomes().is_empty());
        assert_eq!(node.site().status().unwrap().staged, None);
    }
}

#[test]
fn what_is_lost_on_the_way_leaves_nothing_and_may_come_again() {
    let [a, ..] = farms();
    let node = Node::new();
    node.publish(1, None, &a);
    let large = Large::new(Some(&a), 3);
    let id = large.half(&node);
    node.custody.lost(id);
    assert!(node.outcomes().is_empty());
    assert_eq!(node.site().status().unwrap().staged, None);
    large.arrive(&node);
    assert_eq!(node.outcome(), large.staged());
}

/// Whoever reads it may not have noticed yet that it is to end.
#[test]
fn what_arrives_as_soon_as_it_is_lost_is_staged() {
    let node = Node::new();
    let large = Large::new(None, 1);
    let id = large.half(&node);
    node.custody.lost(id);
    large.arrive(&node);
    assert_eq!(node.outcome(), large.staged());
}

#[test]
fn an_order_does_not_wait_for_what_is_still_coming() {
    let [a, b, _] = farms();
    let node = Node::new();
    node.publish(1, None, &a);
    node.publish(3, Some(&a), &b);
    let large = Large::new(Some(&b), 6);
    large.half(&node);
    let served = receipt(node.obey(&order(Action::Rollback, 5, None))).served;
    assert_eq!(served.version, version(&a));
    large.arrive(&node);
    assert_eq!(node.outcome(), large.staged(), "its base is held");
}

/// JOB-12.
#[test]
fn what_is_called_off_on_the_way_leaves_nothing() {
    let [a, ..] = farms();
    let node = Node::new();
    node.publish(1, None, &a);
    let large = Large::new(Some(&a), 3);
    large.half(&node);
    let abort = order(Action::Abort, 4, Some(version(&large.farm)));
    assert_eq!(node.obey(&abort), Outcome::Aborted);
    let status = node.site().status().unwrap();
    assert!(!status.releases.contains_key(&version(&large.farm)));
    large.arrive(&node);
    assert_eq!(failure(node.outcome()).kind, FailureKind::Order);
}

#[test]
fn other_sites_do_not_wait_for_what_is_still_coming() {
    let [a, ..] = farms();
    let node = Node::with(Setting {
        threads_max: 1,
        ..Setting::default()
    });
    let large = Large::new(None, 1);
    large.half(&node);
    let docs: SitePart = "docs".parse().unwrap();
    for file in assignment(header(&docs, 1), None, &a) {
        node.custody.arrived(node.shelf.put(&file));
    }
    assert_eq!(node.outcome(), Outcome::Staged(version(&a)));
    large.arrive(&node);
    assert_eq!(node.outcome(), large.staged());
}

#[test]
fn a_node_that_ends_does_not_wait_for_what_is_still_coming() {
    let node = Node::new();
    let large = Large::new(None, 1);
    large.half(&node);
    let next = node.killed();
    drop(node);
    large.arrive(&next);
    assert_eq!(next.outcome(), large.staged());
}
