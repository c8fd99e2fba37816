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

const ROUNDS: u32 = 200_000;

fn main() {
    let (mut ann, mut ben) = (member(1), member(2));
    let datagrams: Vec<_> = (0..ROUNDS)
        .map(|_| ann.seal(None, &alive()).unwrap())
        .collect();
    let message = alive();
    measure("seal", |_| drop(black_box(ann.seal(None, &message))));
    measure("open", |n| assert!(ben.open(&datagrams[n]).is_ok()));
    measure("open a recording", |n| {
        assert!(ben.open(&datagrams[n]).is_err())
    });
    let mut forged = datagrams;
    measure("open a forged one of a known sender", |n| {
        let datagram = &mut forged[n];
        datagram[45] = 1;
        datagram[60] ^= 1;
        assert!(ben.open(datagram).is_err());
    });
    measure("open a forged one of an unknown sender", |n| {
        let datagram = &mut forged[n];
        datagram[5..9].copy_from_slice(&(n as u32).to_be_bytes());
        assert!(ben.open(datagram).is_err());
    });
}

fn measure(what: &str, mut act: impl FnMut(usize)) {
    let start = Instant::now();
    for n in 0..ROUNDS as usize {
        act(n);
    }
    println!("{what:40} {:6} ns", (start.elapsed() / ROUNDS).as_nanos());
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
