//! Two nodes of one segment: content and orders go through the leader, and go on when it leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use bellwether_agent::{Request, ask};
use bellwether_content::assignment::Action;
use bellwether_types::{NodeId, VersionId};
use bellwether_wire::uplink::{Ask, Downward, Outcome, Ping, Report, Upward};
use tempfile::TempDir;

use crate::fake::Fake;
use crate::{Agent, farm, free_port, greet, live, notify, order, run, site, version};

struct Pair {
    fake: Fake,
    /// Where each lives, and its thread.
    nodes: BTreeMap<NodeId, (TempDir, Agent)>,
    leader: NodeId,
}

impl Pair {
    fn new() -> Self {
        let fake = Fake::start(&["shop"]);
        let port = free_port();
        let mut nodes = BTreeMap::new();
        for _ in 0..2 {
            let home = TempDir::new().unwrap();
            let agent = run(home.path(), &fake, port);
            nodes.insert(fake.enrolled().0, (home, agent));
        }
        let leader = greet(&fake).epoch.leader;
        let mut pair = Self {
            fake,
            nodes,
            leader,
        };
        pair.until_both_belong();
        pair
    }

    fn ids(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().collect()
    }

    /// Until the leader of both says that both are there; who leads may change until then.
    fn until_both_belong(&mut self) {
        let mut members = BTreeSet::new();
        while members.len() < self.nodes.len() {
            self.fake.say(Downward::Ask(Ask {
                segment: true,
                jobs: Vec::new(),
            }));
            match self.fake.next() {
                Upward::Hello(hello) => self.leader = hello.epoch.leader,
                Upward::Segment(Report::Cluster(report)) => {
                    members = report.members.iter().map(|(node, _)| *node).collect();
                }
                _ => {}
            }
        }
    }

    /// The last word of all of these for a job.
    fn outcomes(
        &mut self,
        job: &str,
        is_it: impl Fn(&Outcome) -> bool,
    ) -> BTreeMap<NodeId, Outcome> {
        let mut said = BTreeMap::new();
        while said.len() < self.nodes.len() {
            match self.fake.next() {
                Upward::Hello(hello) => self.leader = hello.epoch.leader,
                Upward::Outcomes(outcomes) if outcomes.job.as_str() == job => {
                    let nodes = outcomes.nodes.into_iter();
                    let nodes = nodes.filter(|one| is_it(&one.outcome));
                    said.extend(nodes.map(|one| (one.node, one.outcome)));
                }
                _ => {}
            }
        }
        said
    }

    fn all_live(&mut self, job: &str, version: VersionId) {
        let live = self.outcomes(job, |outcome| matches!(outcome, Outcome::Live(_)));
        for (node, outcome) in live {
            assert!(
                matches!(&outcome, Outcome::Live(receipt) if receipt.served.version == version),
                "{node}: {outcome:?}"
            );
        }
    }

    fn clock_us(&self) -> u64 {
        self.fake.say(Downward::Ping(Ping {
            number: 1,
            sent_us: 0,
        }));
        loop {
            if let Upward::Pong(pong) = self.fake.next() {
                break pong.received_us;
            }
        }
    }

    fn data(&self, node: NodeId) -> PathBuf {
        self.nodes[&node].0.path().join("node")
    }

    fn leave(&mut self, node: NodeId) {
        ask(&self.data(node), Request::Leave).unwrap();
        let (_, agent) = self.nodes.remove(&node).unwrap();
        agent.join().unwrap().unwrap();
    }
}

/// COMMIT-09, INTERP-04, TREE-20: the leader fetches once, members get it from the leader; a leader that goes takes
/// nothing with it.
#[test]
fn content_and_orders_reach_members_through_the_leader_and_the_next_one() {
    let mut pair = Pair::new();
    let (shop, one, two) = (site("shop"), farm("one"), farm("second"));
    pair.fake.break_none();
    notify(&pair.fake, "j-1", &shop, (None, &one), pair.ids());
    let staged = |outcome: &Outcome| matches!(outcome, Outcome::Staged(_));
    pair.outcomes("j-1", staged);
    assert!(
        pair.fake.ranges().iter().all(|from| *from == 0),
        "each leader fetches it, and nobody else"
    );
    let at_us = Some(pair.clock_us() + 200_000);
    let first = version(&one);
    order(
        &pair.fake,
        (Action::Commit, "j-1"),
        &shop,
        first,
        pair.ids(),
        at_us,
    );
    pair.all_live("j-1", first);
    for node in pair.ids() {
        assert_eq!(live(&pair.data(node), "shop")["index"], b"one");
    }
    // The leader goes with an update staged; the next one is told again.
    let all = pair.ids();
    notify(&pair.fake, "j-2", &shop, (Some(&one), &two), all.clone());
    pair.outcomes("j-2", staged);
    let former = pair.leader;
    pair.leave(former);
    let hello = loop {
        let hello = greet(&pair.fake);
        if hello.epoch.leader != former {
            break hello;
        }
    };
    assert_eq!(hello.jobs, []);
    notify(&pair.fake, "j-2", &shop, (Some(&one), &two), all);
    pair.outcomes("j-2", staged);
    let second = version(&two);
    order(
        &pair.fake,
        (Action::Commit, "j-2"),
        &shop,
        second,
        pair.ids(),
        None,
    );
    pair.all_live("j-2", second);
    let last = pair.ids()[0];
    assert_eq!(live(&pair.data(last), "shop")["index"], b"second");
    pair.leave(last);
}
