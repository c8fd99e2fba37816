//! What a process is promised: by a process that writes down what happens to it.

use std::sync::Mutex;
use std::time::Duration;

use bellwether_machine::{Machine, Outbox};
use bellwether_sim::scenario::Protocol;
use bellwether_sim::{
    Address, Birth, Destination, Input, Kind, Output, Phase, Process, Reduction, Scenario, View,
    run,
};
use bellwether_types::{Epoch, Incarnation, NodeId, Time};

/// Counts: persists a number, then sends it to the other node, ten times a second.
#[derive(Debug)]
struct Scribe {
    node: u32,
    number: u64,
    next: Time,
    starts: u64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Entry {
    Started { found: u64 },
    Woken { late: Duration },
    Heard { number: u64 },
}

/// One test at a time writes here; a process has no other way out.
static DIARY: Mutex<Vec<(u32, Entry)>> = Mutex::new(Vec::new());
static TURN: Mutex<()> = Mutex::new(());

const PERIOD: Duration = Duration::from_millis(100);

impl Process for Scribe {
    type Disk = u64;
    type Common = ();

    fn common(_: &Protocol, _: u64) {}

    fn start(now: Time, birth: Birth<'_, Self>) -> (Self, Self::Disk) {
        let number = birth.disk.unwrap_or_default();
        write(birth.node.0, Entry::Started { found: number });
        let scribe = Self {
            node: birth.node.0,
            number,
            next: now + PERIOD,
            starts: birth.starts + 1,
        };
        (scribe, number)
    }

    /// Node 0 leads, so that runs come to their end.
    fn view(&self) -> View {
        let id = |node: u32| NodeId::from_bytes([node as u8; 16]);
        View {
            id: id(self.node),
            incarnation: Incarnation(self.starts),
            phase: if self.node == 0 {
                Phase::Leading
            } else {
                Phase::Known
            },
            obeyed: Some(Epoch {
                counter: if self.node == 0 { self.starts } else { 1 },
                leader: id(0),
            }),
            registered: true,
            state: None,
        }
    }
}

impl Machine for Scribe {
    type Input = Input;
    type Output = Output<u64>;

    fn handle(&mut self, now: Time, input: Input, out: &mut Outbox<Self::Output>) {
        if let Input::Datagram(datagram) = input {
            let number = u64::from_le_bytes(datagram.bytes[..].try_into().unwrap());
            write(self.node, Entry::Heard { number });
        }
        if self.next <= now {
            write(
                self.node,
                Entry::Woken {
                    late: now.since(self.next),
                },
            );
            self.number += 1;
            self.next = now + PERIOD;
            out.push(Output::Persist(self.number));
            let to = Destination::One(Address(1 - self.node));
            let bytes = self.number.to_le_bytes().to_vec();
            out.push(Output::Send {
                to,
                kind: Kind::Other,
                bytes,
            });
        }
    }

    fn wake_at(&self) -> Option<Time> {
        Some(self.next)
    }
}

fn write(node: u32, entry: Entry) {
    DIARY.lock().unwrap().push((node, entry));
}

/// What two nodes wrote under these disturbances, over several seeds.
fn diaries(scenario: &str) -> Vec<Vec<(u32, Entry)>> {
    let _turn = TURN.lock();
    let text = format!("nodes = 2\ntroubled = \"20s\"\nexpect.members = false\n{scenario}");
    let scenario = Scenario::parse("test", &text).unwrap();
    let one = |seed| {
        DIARY.lock().unwrap().clear();
        run::<Scribe>(&scenario, seed, &Reduction::default(), false);
        std::mem::take(&mut *DIARY.lock().unwrap())
    };
    (1..=20).map(one).collect()
}

#[test]
fn what_was_heard_from_a_node_is_on_its_disk_when_it_starts_again() {
    let crash = "[machine]\ndisk = [\"1ms\", \"50ms\"]\n[faults.crash-midway]\nevery = \"1s\"\nlasts = [\"100ms\", \"500ms\"]";
    let (mut restarts, mut ahead) = (0, 0);
    for diary in diaries(crash) {
        let mut heard_by = [0; 2];
        for (node, entry) in diary {
            match entry {
                Entry::Heard { number } => heard_by[node as usize] = number,
                Entry::Started { found } => {
                    let heard = heard_by[1 - node as usize];
                    assert!(found >= heard, "{found} on disk, and {heard} was heard");
                    restarts += u32::from(found > 0);
                    // Durable, and the crash came before it was sent.
                    ahead += u32::from(found > heard);
                }
                Entry::Woken { .. } => {}
            }
        }
    }
    assert!(
        restarts > 100 && ahead > 10,
        "{restarts} restarts, {ahead} of them between disk and network"
    );
}

#[test]
fn a_wiped_disk_is_empty() {
    let crash = "[faults.crash]\nevery = \"1s\"\nlasts = \"500ms\"\ndisk = \"wiped\"";
    let diaries = diaries(crash);
    let starts = diaries
        .iter()
        .flatten()
        .filter_map(|(_, entry)| match entry {
            Entry::Started { found } => Some(found),
            _ => None,
        });
    assert!(starts.clone().count() > 100);
    assert!(starts.clone().all(|found| *found == 0));
}

#[test]
fn a_stopped_process_is_late_and_then_hears_what_came_meanwhile_in_its_order() {
    let pause = "[network]\njitter = \"0ms\"\n[machine]\ndisk = \"0ms\"\n[faults.pause]\nevery = \"2s\"\nlasts = \"700ms\"\nwho = \"anyone\"";
    let mut latest = Duration::ZERO;
    for diary in diaries(pause) {
        let mut heard_by = [0; 2];
        for (node, entry) in diary {
            match entry {
                Entry::Heard { number } => {
                    let before = std::mem::replace(&mut heard_by[node as usize], number);
                    assert_eq!(number, before + 1);
                }
                Entry::Woken { late } => latest = latest.max(late),
                Entry::Started { .. } => {}
            }
        }
    }
    assert!((500..700).contains(&latest.as_millis()), "{latest:?}");
}

#[test]
fn nobody_is_woken_early_or_much_too_late() {
    let diaries = diaries("[machine]\ndrift = 5\ndisk = \"0ms\"");
    let late = diaries
        .iter()
        .flatten()
        .filter_map(|(_, entry)| match entry {
            Entry::Woken { late } => Some(*late),
            _ => None,
        });
    let most = late.max().unwrap();
    assert!((100..250).contains(&most.as_micros()), "{most:?}");
}
