//! One thing after the other for a site, and sites side by side.

use bellwether_content::assignment::{Action, Header};
use bellwether_kit::farm::{Farm, Files, Making, make, noise};
use bellwether_types::{Serial, SitePart};
use bellwether_wire::uplink::Outcome;

use crate::kit::{
    Node, Setting, assignment, farms, header, order, receipt, sealed, seconds, server, shop,
    version,
};

fn docs() -> SitePart {
    "docs".parse().unwrap()
}

#[test]
fn while_one_site_waits_for_its_instant_another_goes_on() {
    let [a, b, _] = farms();
    let node = Node::new();
    node.publish(1, None, &a);
    node.bring(&assignment(header(&shop(), 3), Some(&a), &b));
    let commit = order(Action::Commit, 4, Some(version(&b)));
    node.custody.order(&commit, Some(seconds(5))).unwrap();
    node.clock.until_waiting(1);
    // What comes for the same site waits behind it.
    node.custody
        .order(&order(Action::Rollback, 5, None), None)
        .unwrap();
    for file in assignment(header(&docs(), 1), None, &a) {
        node.custody.arrived(node.shelf.put(&file));
    }
    let commit = Header {
        action: Action::Commit,
        target: Some(version(&a)),
        ..header(&docs(), 2)
    };
    node.custody
        .order(&sealed(commit), Some(seconds(9)))
        .unwrap();
    node.clock.until_waiting(2);
    assert_eq!(node.live(), Some(version(&a)));
    node.clock.move_to(seconds(9));
    let outcomes = node.outcomes();
    let live: Vec<_> = outcomes
        .into_iter()
        .filter(|outcome| matches!(outcome, Outcome::Live(_)))
        .map(|outcome| receipt(outcome).served)
        .collect();
    let of_shop: Vec<_> = live.iter().filter(|served| served.site == shop()).collect();
    assert_eq!(of_shop[0].version, version(&b));
    assert_eq!(of_shop[1].version, version(&a));
    assert_eq!(of_shop[1].serial, Serial(5));
    assert_eq!((live.len(), of_shop.len()), (3, 2));
}

#[test]
fn one_thread_does_for_all_sites() {
    let [a, ..] = farms();
    let node = Node::with(Setting {
        threads_max: 1,
        ..Setting::default()
    });
    for site in [shop(), docs()] {
        for file in assignment(header(&site, 1), None, &a) {
            node.custody.arrived(node.shelf.put(&file));
        }
    }
    assert_eq!(node.outcomes().len(), 2);
}

#[test]
fn a_line_takes_no_more_than_it_may_and_says_so() {
    let [a, ..] = farms();
    let node = Node::new();
    node.publish(1, None, &a);
    let commit = order(Action::Commit, 2, Some(version(&a)));
    node.custody.order(&commit, Some(seconds(5))).unwrap();
    node.clock.until_waiting(1);
    let mut refused = 0;
    for serial in 3..100 {
        let order = order(Action::Commit, serial, Some(version(&a)));
        refused += usize::from(node.custody.order(&order, None).is_err());
    }
    assert_eq!(refused, 97 - 64);
    node.clock.move_to(seconds(5));
    assert_eq!(node.outcomes().len(), 65);
}

/// COMMIT-12: of a split update all parts or nothing; they may come in any order.
#[test]
fn a_split_update_is_staged_when_its_last_part_has_come() {
    let large = Farm::new(&Files::from([
        ("a", noise(1, 900_000)),
        ("b", noise(2, 900_000)),
        ("c", noise(3, 900_000)),
    ]));
    let making = Making {
        signing: Some(&server()),
        header: Some(header(&shop(), 10)),
        size_max: Some(1 << 20),
        ..Making::default()
    };
    let files = make(&Farm::default(), &large, &making);
    assert!(files.len() > 1);
    let node = Node::new();
    let commit = order(Action::Commit, 20, Some(version(&large)));
    for file in files.iter().rev() {
        assert!(node.outcomes().is_empty());
        assert!(matches!(node.obey(&commit), Outcome::Behind(None, _)));
        node.custody.arrived(node.shelf.put(file));
    }
    assert_eq!(node.outcome(), Outcome::Staged(version(&large)));
    assert_eq!(receipt(node.obey(&commit)).served.version, version(&large));
    assert_eq!(
        node.site().status().unwrap().serial,
        Serial(9 + files.len() as u64)
    );
}
