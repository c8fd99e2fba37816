//! Orders to get a version from neighbours.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use bellwether_agent::content::{Neighbourhood, Refusal, Source, Told, Wanted};
use bellwether_content::Manifest;
use bellwether_content::assignment::{Action, Header};
use bellwether_kit::farm::Farm;
use bellwether_types::Hash;
use bellwether_wire::transfer::AssignmentId;
use bellwether_wire::uplink::{Failure, FailureKind, Outcome};

use crate::kit::{
    Node, Setting, assignment, failure, farms, header, order, receipt, sealed, shop, version,
};

/// Neighbours, some of whom give something else; and all of whom may wait until they are let go.
#[derive(Default)]
struct Neighbours {
    held: Vec<Farm>,
    liars: usize,
    waits: Mutex<(usize, bool)>,
    changed: Condvar,
    fetched: Mutex<BTreeSet<Hash>>,
}

#[derive(Clone)]
struct Around(Arc<Neighbours>);

struct Held {
    around: Around,
    manifest: Arc<Manifest>,
    contents: BTreeMap<Hash, Vec<u8>>,
    liars: usize,
    cancelled: Arc<AtomicBool>,
}

impl Neighbourhood for Around {
    fn ask(&self, wanted: &Wanted<'_>) -> Result<Box<dyn Source>, Failure> {
        assert_eq!((wanted.site, wanted.group.as_str()), (&shop(), "edge"));
        let held = self.0.held.iter();
        let mut held = held.filter(|farm| version(farm) == wanted.version);
        let farm = held
            .next()
            .ok_or_else(|| Failure::new(FailureKind::Neighbours, "no neighbour holds it"))?;
        let contents = farm.files.values();
        Ok(Box::new(Held {
            around: self.clone(),
            manifest: Arc::new(farm.manifest.clone()),
            contents: contents
                .map(|bytes| (Hash::of(bytes), bytes.clone()))
                .collect(),
            liars: self.0.liars,
            cancelled: Arc::clone(wanted.cancelled),
        }))
    }
}

impl Source for Held {
    fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    fn expect(&mut self, contents: Vec<(Hash, u64)>) {
        let all = contents
            .iter()
            .all(|(content, _)| self.contents.contains_key(content));
        assert!(all);
    }

    fn fetch(&mut self, content: &Hash, _: u64) -> io::Result<Box<dyn Read>> {
        let neighbours = &self.around.0;
        let mut waits = neighbours.waits.lock().unwrap();
        waits.0 += 1;
        neighbours.changed.notify_all();
        while waits.1 {
            if self.cancelled.load(Ordering::Relaxed) {
                return Err(io::Error::other("it is wanted no more"));
            }
            let wait = std::time::Duration::from_millis(1);
            waits = neighbours.changed.wait_timeout(waits, wait).unwrap().0;
        }
        neighbours.fetched.lock().unwrap().insert(*content);
        let mut bytes = self.contents[content].clone();
        if self.liars > 0 {
            bytes.reverse();
        }
        Ok(Box::new(io::Cursor::new(bytes)))
    }

    fn ask_others(&mut self, why: Refusal) -> bool {
        if why == Refusal::Silent {
            return false;
        }
        self.liars = self.liars.saturating_sub(1);
        self.liars < 2
    }
}

fn node(neighbours: Neighbours, autonomous: bool) -> (Node, Arc<Neighbours>) {
    let neighbours = Arc::new(neighbours);
    let node = Node::with(Setting {
        neighbourhood: Arc::new(Around(Arc::clone(&neighbours))),
        autonomous,
        ..Setting::default()
    });
    (node, neighbours)
}

fn gather(serial: u64, target: &Farm) -> Vec<u8> {
    sealed(Header {
        action: Action::Gather,
        target: Some(version(target)),
        group: Some("edge".parse().unwrap()),
        ..header(&shop(), serial)
    })
}

fn holding(farms: &[Farm]) -> Neighbours {
    Neighbours {
        held: farms.to_vec(),
        ..Neighbours::default()
    }
}

/// JOB-04: what is lacking comes from neighbours and is staged; again, it is said to be so; then it goes live by order.
#[test]
fn a_version_is_gathered_staged_and_made_live_by_order() {
    let farms = farms();
    let [a, _, c] = &farms;
    let (node, neighbours) = node(holding(&farms), false);
    node.publish(1, None, a);
    let gather = gather(5, c);
    assert_eq!(node.obey(&gather), Outcome::Staged(version(c)));
    assert_eq!(
        node.live(),
        Some(version(a)),
        "nothing is live before the order"
    );
    let fetched = neighbours.fetched.lock().unwrap().len();
    assert_eq!(fetched, 2, "what did not change did not come");
    assert_eq!(node.obey(&gather), Outcome::Staged(version(c)), "again");
    let served = receipt(node.obey(&order(Action::Commit, 6, Some(version(c)))));
    assert_eq!(served.served.version, version(c));
    assert_eq!(receipt(node.obey(&gather)), served, "and later");
}

/// JOB-03, COMMIT-02: a node that has nothing, and makes live by itself what is staged.
#[test]
fn a_node_that_has_nothing_gathers_all_and_serves_it_if_it_may() {
    let farms = farms();
    let (node, _) = node(holding(&farms), true);
    let served = receipt(node.obey(&gather(5, &farms[1])));
    assert_eq!(served.served.version, version(&farms[1]));
    assert_eq!(node.live(), Some(version(&farms[1])));
}

/// Who lies is left for the next; if all do, or nobody has it, the control server is told so, and its assignment counts.
#[test]
fn what_neighbours_do_not_give_is_said_to_come_from_elsewhere() {
    let farms = farms();
    let [a, b, _] = &farms;
    let lying = |liars| Neighbours {
        liars,
        ..holding(&farms)
    };
    let (node, _) = node(lying(1), false);
    assert_eq!(node.obey(&gather(5, b)), Outcome::Staged(version(b)));
    for neighbours in [lying(3), holding(std::slice::from_ref(a))] {
        let (node, _) = self::node(neighbours, false);
        let failed = failure(node.obey(&gather(5, b)));
        assert_eq!(failed.kind, FailureKind::Neighbours, "{failed}");
        let brought = node.bring(&assignment(header(&shop(), 5), None, b));
        assert_eq!(brought, Outcome::Staged(version(b)));
    }
}

/// Of a group that this node is not in, or of nobody who may order it: nobody is asked.
#[test]
fn an_order_that_does_not_fit_asks_nobody() {
    let farms = farms();
    let (node, neighbours) = node(holding(&farms), false);
    let other = |group: Option<&str>| {
        sealed(Header {
            action: Action::Gather,
            target: Some(version(&farms[0])),
            group: group.map(|group| group.parse().unwrap()),
            ..header(&shop(), 5)
        })
    };
    for group in ["none", "plain"] {
        let failed = failure(node.obey(&other(Some(group))));
        assert_eq!(failed.kind, FailureKind::Trust, "{failed}");
    }
    let refused = node.custody.order(&other(None), None).unwrap_err();
    assert_eq!(refused.kind, FailureKind::Damaged);
    assert!(neighbours.fetched.lock().unwrap().is_empty());
}

/// While it waits for neighbours it is not begun twice, and what is called off ends at once.
#[test]
fn a_gathering_that_is_called_off_ends_and_leaves_nothing() {
    let farms = farms();
    let (node, neighbours) = node(holding(&farms), false);
    neighbours.waits.lock().unwrap().1 = true;
    let gather = gather(5, &farms[0]);
    node.custody.order(&gather, None).unwrap();
    let waits = neighbours.waits.lock().unwrap();
    drop(
        neighbours
            .changed
            .wait_while(waits, |waits| waits.0 == 0)
            .unwrap(),
    );
    node.custody.order(&gather, None).unwrap();
    let abort = order(Action::Abort, 7, Some(version(&farms[0])));
    node.custody.order(&abort, None).unwrap();
    let outcomes = node.outcomes();
    assert_eq!(outcomes.len(), 2, "{outcomes:?}");
    assert_eq!(outcomes[1], Outcome::Aborted);
    assert_eq!(neighbours.waits.lock().unwrap().0, 1);
    assert_eq!(node.site().status().unwrap().staged, None);
    // What comes after that, comes too late.
    let late = node.custody.order(&gather, None).unwrap_err();
    assert_eq!(late.kind, FailureKind::Order);
}

/// Whoever orders it says it again: so it is told which orders nobody carries out.
#[test]
fn a_gathering_that_is_cut_short_may_be_ordered_again() {
    let farms = farms();
    let (node, neighbours) = node(holding(&farms), false);
    neighbours.waits.lock().unwrap().1 = true;
    let gathers = [gather(5, &farms[0]), gather(6, &farms[1])];
    node.custody.order(&gathers[0], None).unwrap();
    let waits = neighbours.waits.lock().unwrap();
    drop(
        neighbours
            .changed
            .wait_while(waits, |waits| waits.0 == 0)
            .unwrap(),
    );
    node.custody.order(&gathers[1], None).unwrap();
    let told = node.told_later();
    drop(node);
    let undone: BTreeSet<AssignmentId> = std::mem::take(&mut *told.lock().unwrap())
        .into_iter()
        .flat_map(|told| match told {
            Told::Undone(orders) => orders,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        undone,
        gathers.iter().map(|one| AssignmentId::of(one)).collect()
    );
}
