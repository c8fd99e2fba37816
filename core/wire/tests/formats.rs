//! The control datagram of `docs/formats.md`.

use bellwether_types::{Epoch, Incarnation, NodeId};
use bellwether_wire::control::{
    Alive, ControlMessage, DatagramSeal, ElectionMessage, KeyRing, SegmentKey, Sender,
};

use bellwether_kit::document::{same, vector};

/// CHAN-01, ELECT-07. The first word of node aa…aa: it leads segment `web`.
#[test]
fn a_heartbeat_is_as_documented() {
    same(
        "envelope",
        &minicbor::to_vec(("web", None::<NodeId>, &alive())).unwrap(),
    );
    same("datagram", &member(0xaa).seal(None, &alive()).unwrap());
    let opened = member(0xbb).open(&vector("datagram")).unwrap();
    assert_eq!(opened.message, alive());
}

fn member(node: u8) -> DatagramSeal {
    let sender = Sender {
        node: NodeId::from_bytes([node; 16]),
        incarnation: Incarnation(5),
        salt: [3; 16],
    };
    let keys = KeyRing::new(SegmentKey::from_bytes([2; 32]));
    DatagramSeal::new("web".parse().unwrap(), sender, keys)
}

fn alive() -> ControlMessage {
    ControlMessage::Election(ElectionMessage::Alive(Alive {
        epoch: Epoch {
            counter: 7,
            leader: NodeId::from_bytes([0xaa; 16]),
        },
        name: "ann".parse().unwrap(),
        priority: 1_000,
        heartbeat_ms: 500,
        successor: None,
        carried: Vec::new(),
    }))
}
