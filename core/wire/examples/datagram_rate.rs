//! What sealing and opening a heartbeat costs, on one core:
//! `cargo run --release -p bellwether-wire --example datagram_rate`.
#![expect(
    clippy::disallowed_methods,
    reason = "this is no part of the product, and measures"
)]

use std::hint::black_box;
use std::time::Instant;

use bellwether_types::{Epoch, Incarnation, NodeId};
use bellwether_wire::control::{
    Alive, ControlMessage, DatagramSeal, ElectionMessage, KeyRing, SegmentKey, Sender,
};

const DATAGRAMS: usize = 5_000;
/// The fastest counts: what else runs on the machine can only slow things down.
const ROUNDS: usize = 40;

fn main() {
    let message = alive();
    let sealed = || {
        let mut ann = member(1);
        let seal = |_| ann.seal(None, &message).expect("it is short");
        (0..DATAGRAMS).map(seal).collect::<Vec<_>>()
    };
    let datagrams = sealed();
    measure(
        "seal",
        1,
        |_| (),
        |ann, _| {
            drop(black_box(ann.seal(None, &message)));
        },
    );
    measure(
        "open",
        2,
        |_| (),
        |ben, n| {
            assert!(ben.open(&datagrams[n]).is_ok());
        },
    );
    measure(
        "open a recording",
        2,
        |ben| hear(ben, &datagrams),
        |ben, n| {
            assert!(ben.open(&datagrams[n]).is_err());
        },
    );
    let mut forged = datagrams.clone();
    for (n, datagram) in forged.iter_mut().enumerate() {
        datagram[45..53].copy_from_slice(&(1_000_000 + n as u64).to_be_bytes());
    }
    measure(
        "open a forged one of a known sender",
        2,
        |ben| hear(ben, &datagrams),
        |ben, n| {
            assert!(ben.open(&forged[n]).is_err());
        },
    );
    for (n, datagram) in forged.iter_mut().enumerate() {
        datagram[5..9].copy_from_slice(&(n as u32).to_be_bytes());
    }
    measure(
        "open a forged one of an unknown sender",
        2,
        |_| (),
        |ben, n| {
            assert!(ben.open(&forged[n]).is_err());
        },
    );
}

/// `act` on each datagram, by a member that starts anew each round and is prepared out of the count.
fn measure(
    what: &str,
    node: u8,
    prepare: impl Fn(&mut DatagramSeal),
    act: impl Fn(&mut DatagramSeal, usize),
) {
    let round = || {
        let mut member = member(node);
        prepare(&mut member);
        let start = Instant::now();
        (0..DATAGRAMS).for_each(|n| act(&mut member, n));
        start.elapsed()
    };
    let fastest = (0..ROUNDS).map(|_| round()).min().unwrap_or_default();
    println!("{what:40} {:6} ns", fastest.as_nanos() / DATAGRAMS as u128);
}

fn hear(ben: &mut DatagramSeal, datagrams: &[Vec<u8>]) {
    assert!(datagrams.iter().all(|datagram| ben.open(datagram).is_ok()));
}

fn member(node: u8) -> DatagramSeal {
    let sender = Sender {
        node: NodeId::from_bytes([node; 16]),
        incarnation: Incarnation(1),
        salt: [node; 16],
    };
    let keys = KeyRing::new(SegmentKey::from_bytes([1; 32]));
    DatagramSeal::new("web".parse().unwrap(), sender, keys)
}

fn alive() -> ControlMessage {
    ControlMessage::Election(ElectionMessage::Alive(Alive {
        epoch: Epoch {
            counter: 300,
            leader: NodeId::from_bytes([1; 16]),
        },
        name: "ann".parse().unwrap(),
        priority: 1_000,
        heartbeat_ms: 500,
        successor: None,
        carried: Vec::new(),
    }))
}
