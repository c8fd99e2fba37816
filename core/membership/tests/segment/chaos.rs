//! Anything may happen to the network; what must hold holds at every moment, and after a while of quiet all agree.

use std::collections::BTreeMap;
use std::time::Duration;

use bellwether_membership::{Event, Input};
use bellwether_types::Incarnation;
use bellwether_wire::control::{MergeId, StateVersion};
use proptest::prelude::*;

use crate::network::{Network, fast, measured, node_id};

const NODES: usize = 7;

#[derive(Debug, Clone)]
enum Act {
    Part(u8),
    Heal,
    Kill(usize),
    Restart(usize),
    Lead(usize),
    Change(usize),
    Loss(u32),
    Wait(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        2 => any::<u8>().prop_map(Act::Part),
        2 => Just(Act::Heal),
        2 => (0..NODES).prop_map(Act::Kill),
        2 => (0..NODES).prop_map(Act::Restart),
        3 => (0..NODES).prop_map(Act::Lead),
        1 => (0..NODES).prop_map(Act::Change),
        1 => (0_u32..200_000).prop_map(Act::Loss),
        6 => (1_u64..1_500).prop_map(Act::Wait),
    ]
}

/// What was seen so far, for what must never be otherwise.
#[derive(Default)]
struct Witness {
    digests: BTreeMap<StateVersion, u64>,
    incarnations: BTreeMap<(usize, usize), Incarnation>,
    merges: BTreeMap<MergeId, StateVersion>,
    merged: BTreeMap<(usize, u64, MergeId), usize>,
    events: Vec<usize>,
}

impl Witness {
    fn look(&mut self, network: &Network) {
        self.events.resize(network.nodes.len(), 0);
        for (number, node) in network.nodes.iter().enumerate() {
            let segment = node.machine.segment();
            if let Some(version) = segment.version() {
                let digest = *self
                    .digests
                    .entry(version)
                    .or_insert_with(|| segment.digest());
                assert_eq!(
                    digest,
                    segment.digest(),
                    "two states are called {version:?}"
                );
            }
            for (other, _) in network.nodes.iter().enumerate() {
                let Some(record) = segment.record(node_id(other)) else {
                    continue;
                };
                // A node that starts again begins anew; as long as it runs, it never learns what is older.
                let key = (number, other);
                let known = self.incarnations.get(&key).copied();
                assert!(
                    known <= Some(record.incarnation),
                    "{number} went back on {other}"
                );
                // Until it is in a report, what it heard may be a recording, and does not bind it.
                if node.machine.is_registered() {
                    self.incarnations.insert(key, record.incarnation);
                }
            }
            for (_, event) in &node.events[self.events[number]..] {
                if let Event::Merged(merge, version) = event {
                    let known = *self.merges.entry(*merge).or_insert(*version);
                    assert_eq!(known, *version, "a merge has two ends");
                    let key = (number, node.identity.incarnation.0, *merge);
                    let times = self.merged.entry(key).or_insert(0);
                    *times += 1;
                    assert_eq!(*times, 1, "{number} did {merge:?} twice");
                }
            }
            self.events[number] = node.events.len();
        }
    }
}

fn leader_of(network: &Network, side: u8) -> Option<usize> {
    let numbered = network.nodes.iter().enumerate();
    let mut able = numbered.filter(|(_, node)| node.alive && node.side == side);
    able.next().map(|(number, _)| number)
}

fn play(network: &mut Network, acts: &[Act], witness: &mut Witness) {
    for act in acts {
        match act {
            Act::Part(bits) => {
                for (number, node) in network.nodes.iter_mut().enumerate() {
                    node.side = bits >> number & 1;
                }
                for side in [0, 1] {
                    if let Some(leader) = leader_of(network, side) {
                        network.appoint(leader);
                    }
                }
            }
            Act::Heal => {
                for node in &mut network.nodes {
                    node.side = 0;
                }
                if let Some(leader) = leader_of(network, 0) {
                    network.appoint(leader);
                }
            }
            Act::Kill(number) => network.kill(*number),
            Act::Restart(number) => {
                witness.incarnations.retain(|(at, _), _| at != number);
                network.restart(*number);
            }
            Act::Lead(number) => {
                if network.nodes[*number].alive {
                    network.appoint(*number);
                }
            }
            Act::Change(number) => {
                let mut changed = measured(*number);
                changed.busy = network.now.as_nanos().is_multiple_of(2);
                if network.nodes[*number].alive {
                    network.input(*number, Input::Measured(changed));
                }
            }
            Act::Loss(loss) => network.loss_per_million = *loss,
            Act::Wait(millis) => {
                for _ in 0..millis / 20 {
                    network.run_for(Duration::from_millis(20));
                    witness.look(network);
                }
            }
        }
        witness.look(network);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Safety all along; in quiet, every live member in one and the same state.
    #[test]
    fn after_quiet_all_who_live_hold_one_state(
        seed in any::<u64>(),
        acts in prop::collection::vec(act(), 1..25),
    ) {
        let mut network = Network::new(NODES, fast(), 0, seed);
        let mut witness = Witness::default();
        network.appoint(0);
        play(&mut network, &acts, &mut witness);
        network.loss_per_million = 0;
        if network.alive().count() == 0 {
            network.restart(0);
        }
        play(&mut network, &[Act::Heal], &mut witness);
        for _ in 0..400 {
            network.run_for(Duration::from_millis(20));
            witness.look(&network);
        }
        prop_assert!(network.agrees(0), "{}", network.story());
        network.assert_equal_states(0);
    }
}

/// The same seed is the same run.
#[test]
fn a_run_repeats_itself_exactly() {
    let run = || {
        let mut network = Network::new(20, fast(), 100_000, 41);
        network.appoint(0);
        network.run_for(Duration::from_secs(5));
        (network.sent.clone(), network.bytes, network.story())
    };
    assert_eq!(run(), run());
}
