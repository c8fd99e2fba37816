//! What is not done, and what is said of it. What is live is never touched.

use bellwether_agent::content::Told;
use bellwether_content::assignment::{Action, Encryption, Header};
use bellwether_disk::disk::MemoryOptions;
use bellwether_types::{Name, Serial, SitePart, Term};
use bellwether_wire::SigningKey;
use bellwether_wire::uplink::{FailureKind, Outcome};

use bellwether_kit::farm::{Making, make};

use crate::kit::{Node, assignment, failure, farms, header, order, sealed, shop, version};

/// ASSIGN-18: each starts from what the one before it left; a gap is named, and synchronising repairs it.
#[test]
fn a_gap_in_what_came_is_told_and_a_variant_from_what_is_held_repairs_it() {
    let [a, b, c] = farms();
    let node = Node::new();
    node.publish(1, None, &a);
    // Assignment 3 never came.
    let gap: Name = "gap".parse().unwrap();
    let unfit = Header {
        job: Some(gap.clone()),
        ..header(&shop(), 5)
    };
    let unfit = assignment(unfit, Some(&b), &c);
    unfit
        .iter()
        .for_each(|file| node.custody.arrived(node.shelf.put(file)));
    // As long as nobody asks, it may be for others.
    assert_eq!(node.outcomes(), []);
    node.custody.recall(&gap);
    let refused = failure(node.outcome());
    assert_eq!(refused.kind, FailureKind::Base);
    let base = version(&b).short();
    assert!(
        refused.reason.contains(&base) && refused.reason.contains("synchronise"),
        "{refused}"
    );
    let commit = order(Action::Commit, 6, Some(version(&c)));
    let Outcome::Behind(live, why) = node.obey(&commit) else {
        panic!("COMMIT-11")
    };
    assert_eq!(
        (live, why.kind),
        (Some(version(&a)), FailureKind::NotStaged)
    );
    node.publish(7, Some(&a), &c);
}

/// ASSIGN-18.
#[test]
fn what_a_later_term_or_serial_has_passed_is_refused() {
    let [a, b, c] = farms();
    let node = Node::new();
    node.publish(5, None, &a);
    let late = assignment(header(&shop(), 4), Some(&a), &b);
    assert_eq!(failure(node.bring(&late)).kind, FailureKind::Order);
    let next = Header {
        term: Term(2),
        ..header(&shop(), 1)
    };
    assert_eq!(
        node.bring(&assignment(next, Some(&a), &b)),
        Outcome::Staged(version(&b))
    );
    let deposed = assignment(header(&shop(), 9), Some(&a), &c);
    assert_eq!(failure(node.bring(&deposed)).kind, FailureKind::Order);
    let order = order(Action::Commit, 9, Some(version(&b)));
    assert_eq!(failure(node.obey(&order)).kind, FailureKind::Order);
    assert_eq!(node.live(), Some(version(&a)));
}

/// CRYPT-02, INTERP-07.
#[test]
fn only_what_the_control_server_signed_is_believed() {
    let [a, ..] = farms();
    let node = Node::new();
    let forger = SigningKey::from_seed([9; 32]);
    for signing in [None, Some(&forger)] {
        let making = Making {
            signing,
            header: Some(header(&shop(), 1)),
            ..Making::default()
        };
        let files = make(&Default::default(), &a, &making);
        assert_eq!(failure(node.bring(&files)).kind, FailureKind::Trust);
    }
    let mut flipped = order(Action::Remove, 9, None);
    let last = flipped.len() - 1;
    flipped[last] ^= 1;
    let refused = node.custody.order(&flipped, None).unwrap_err();
    assert_eq!(refused.kind, FailureKind::Trust);
    assert!(node.outcomes().is_empty());
}

#[test]
fn what_is_no_order_is_not_obeyed() {
    let node = Node::new();
    let refused = |header: Header| {
        node.custody
            .order(&sealed(header), None)
            .unwrap_err()
            .reason
    };
    let publish = refused(header(&shop(), 1));
    assert!(publish.contains("no order"), "{publish}");
    let commit = |header: Header| Header {
        action: Action::Commit,
        ..header
    };
    assert!(refused(commit(header(&shop(), 1))).contains("COMMIT-12"));
    let nowhere = Header {
        site: None,
        ..header(&shop(), 1)
    };
    assert!(refused(nowhere).contains("no site"));
    let elsewhere: SitePart = "elsewhere".parse().unwrap();
    let [a, ..] = farms();
    let other = Header {
        target: Some(version(&a)),
        ..commit(header(&elsewhere, 1))
    };
    assert!(refused(other).contains("does not serve"));
    assert!(node.custody.order(b"BWA1", None).is_err());
    let [file] = &assignment(header(&shop(), 1), None, &a)[..] else {
        panic!("one part")
    };
    assert!(node.custody.order(file, None).is_err());
}

/// CRYPT-01, CGRP-01.
#[test]
fn content_is_opened_with_the_key_of_its_group() {
    let [a, ..] = farms();
    let group = |name: &str| Header {
        group: Some(name.parse().unwrap()),
        encryption: Some(Encryption { salt: [1; 16] }),
        ..header(&shop(), 1)
    };
    let node = Node::new();
    let other = failure(node.bring(&assignment(group("other"), None, &a)));
    assert_eq!(other.kind, FailureKind::Trust);
    assert!(other.reason.contains("other"), "{other}");
    let keyless = failure(node.bring(&assignment(group("plain"), None, &a)));
    assert!(keyless.reason.contains("no key"), "{keyless}");
    assert_eq!(
        node.bring(&assignment(group("edge"), None, &a)),
        Outcome::Staged(version(&a))
    );
}

/// INTERP-03, INTERP-08.
#[test]
fn a_disk_that_is_full_or_read_only_is_told_and_nothing_is_changed() {
    let [a, b, _] = farms();
    let full = (0..4_000).step_by(100).map(|capacity| {
        let options = MemoryOptions {
            capacity,
            ..MemoryOptions::default()
        };
        (options, FailureKind::Space)
    });
    let read_only = MemoryOptions {
        read_only: true,
        ..MemoryOptions::default()
    };
    let mut refused = 0;
    for (options, kind) in full.chain([(read_only, FailureKind::Permission)]) {
        let node = Node::new();
        node.publish(1, None, &a);
        node.disk.set_options(options.clone());
        let outcome = node.bring(&assignment(header(&shop(), 3), Some(&a), &b));
        if outcome != Outcome::Staged(version(&b)) {
            assert_eq!(failure(outcome).kind, kind, "{options:?}");
            refused += 1;
        }
        assert_eq!(node.live(), Some(version(&a)));
        node.disk.set_options(MemoryOptions::default());
        node.publish(4, Some(&a), &b);
    }
    assert!(refused > 2, "{refused}");
}

#[test]
fn damaged_files_are_refused_and_fetched_again() {
    let [a, ..] = farms();
    let [file] = &assignment(header(&shop(), 1), None, &a)[..] else {
        panic!("one part")
    };
    let node = Node::new();
    for cut in [file.len() - 1, file.len() / 2] {
        let refused = failure(node.bring(&[file[..cut].to_vec()]));
        assert!(
            matches!(refused.kind, FailureKind::Damaged | FailureKind::Trust),
            "{refused}"
        );
    }
    let mut flipped = file.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let id = node.shelf.put(&flipped);
    node.custody.arrived(id);
    node.custody.settle();
    let told = node.told();
    assert!(
        matches!(&told[..], [Told::Outcome { outcome: Outcome::Failed(why), .. }, Told::Spent(ids)]
            if why.kind == FailureKind::Damaged && *ids == [id]),
        "{told:?}"
    );
    assert_eq!(
        node.bring(std::slice::from_ref(file)),
        Outcome::Staged(version(&a))
    );
    // Of another site, or of none: nobody's business here.
    let elsewhere: SitePart = "elsewhere".parse().unwrap();
    for other in [Some(elsewhere), None] {
        let other = Header {
            site: other,
            ..header(&shop(), 1)
        };
        for file in assignment(other, None, &a) {
            node.custody.arrived(node.shelf.put(&file));
        }
    }
    assert!(node.outcomes().is_empty());
    assert_eq!(node.site().status().unwrap().serial, Serial(1));
}
