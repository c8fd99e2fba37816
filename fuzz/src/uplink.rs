//! What comes from the other end of an uplink, in pieces.

use bellwether_types::{Hash, Incarnation, NodeId, Serial, Term, VersionId};
use bellwether_wire::SigningKey;
use bellwether_wire::uplink::{
    Abort, Downward, Failure, FailureKind, Frames, Message, NodeOutcome, Order, Outcome, Outcomes,
    Ping, Pong, Receipt, Served, Upward, frame,
};

/// `direction and length of pieces · stream`. Every message that is taken is written and read again as it was, and it does
/// not matter in what pieces the stream came.
pub(crate) fn run(input: &[u8]) {
    let Some((&choice, stream)) = input.split_first() else {
        return;
    };
    let piece = usize::from(choice >> 1) + 1;
    if choice & 1 == 0 {
        read::<Upward>(stream, piece);
    } else {
        read::<Downward>(stream, piece);
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let node = NodeId::from_bytes([1; 16]);
    let job = || "shop-42".parse().expect("a name");
    let served = Served {
        node,
        incarnation: Incarnation(5),
        site: "shop".parse().expect("a name"),
        version: VersionId(Hash([2; 32])),
        term: Term(1),
        serial: Serial(8),
        seconds: 1_700_000_000,
        nanoseconds: 5,
    };
    let live = Outcome::Live(Receipt::sign(served, &SigningKey::from_seed([1; 32])));
    let failed = Outcome::Failed(Failure::new(FailureKind::Space, "no room"));
    let up = [live, failed].map(|outcome| {
        let nodes = vec![NodeOutcome { node, outcome }];
        Upward::Outcomes(Outcomes { job: job(), nodes })
    });
    let pong = Upward::Pong(Pong {
        number: 1,
        received_us: 2,
        sent_us: 3,
    });
    let down = [
        Downward::Ping(Ping {
            number: 1,
            sent_us: 2,
        }),
        Downward::Order(Order {
            job: job(),
            assignment: vec![1; 50],
            nodes: vec![node],
            at_us: Some(7),
        }),
        Downward::Abort(Abort {
            job: job(),
            assignment: vec![1; 50],
            nodes: vec![node],
        }),
    ];
    vec![
        seed(0, &[&up[..], &[pong]].concat()),
        seed(1, &down),
        seed(7, &down),
    ]
}

fn seed<M: Message>(choice: u8, messages: &[M]) -> Vec<u8> {
    let frames = messages
        .iter()
        .flat_map(|message| frame(message).expect("it can be meant"));
    std::iter::once(choice).chain(frames).collect()
}

fn read<M: Message + PartialEq + std::fmt::Debug>(stream: &[u8], piece: usize) {
    let (messages, sound) = take::<M>(stream, stream.len().max(1));
    let again = take::<M>(stream, piece);
    assert_eq!(
        (&messages, sound),
        (&again.0, again.1),
        "in pieces of {piece}"
    );
    for message in messages {
        let bytes = frame(&message).expect("what was taken can be sent");
        assert_eq!(take::<M>(&bytes, piece), (vec![message], true));
    }
}

/// The messages up to a fault, if there is one.
fn take<M: Message>(stream: &[u8], piece: usize) -> (Vec<M>, bool) {
    let mut frames = Frames::new();
    let mut messages = Vec::new();
    for bytes in stream.chunks(piece) {
        frames.push(bytes);
        loop {
            match frames.next() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(_) => return (messages, false),
            }
        }
    }
    (messages, true)
}
