use bellwether_types::{Incarnation, Name, NodeId};
use minicbor::{Decoder, Encode};

use super::ControlMessage;
use super::header::{HEADER_LEN, Header, Sender, VERSION};
use super::key::{KeyRing, SenderKey, TAG_LEN};
use super::rejected::Rejected;
use super::replay::{ReplayWindow, Senders};

/// The longest control datagram, in bytes. Who wants each datagram to travel in one packet stays far below:
/// [`MESSAGE_LEN_WHOLE`].
pub const DATAGRAM_LEN_MAX: usize = 8_192;

/// The longest message, in encoded bytes, whose datagram travels in one packet on every network: it fits into the 1,280
/// bytes that IPv6 asks of each link, whatever the segment is called.
pub const MESSAGE_LEN_WHOLE: usize = 1_280 - 48 - HEADER_LEN - ENVELOPE_LEN_MAX - TAG_LEN;

/// An array's head, the longest segment name, and a node id.
const ENVELOPE_LEN_MAX: usize = 1 + (2 + 64) + (1 + 16);

/// Twice the largest segment that is planned for, so that members who come and go push out nobody who stays.
const SENDERS_MAX: usize = 4_096;

/// Seals what a node says on the control channel, and opens what others say.
///
/// What comes out of [`Self::open`] was said by a holder of the segment key, to this node or to all, and comes out once.
/// It is not proved that it was said *now*: a node that has just started, or has forgotten a sender, takes an old
/// recording for the sender's first word. So a protocol trusts a leader only after it answered a random number of the
/// member's own.
#[derive(Debug)]
pub struct DatagramSeal {
    segment: Name,
    own: Sender,
    counter: u64,
    keys: KeyRing,
    own_key: SenderKey,
    echoes: Option<ReplayWindow>,
    senders: Senders,
    /// What is being opened; kept so that opening allocates nothing.
    plain: Vec<u8>,
}

/// A message that is authentic, came for the first time, and is meant for this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Who said it.
    pub from: NodeId,
    /// In which of its starts.
    pub incarnation: Incarnation,
    /// What it said.
    pub message: ControlMessage,
}

/// A message that is too long to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a control datagram of {len} bytes cannot be sent: it may have {DATAGRAM_LEN_MAX}")]
pub struct MessageTooLong {
    /// Bytes that the datagram would have.
    pub len: usize,
}

#[derive(Encode)]
struct Envelope<'a> {
    #[n(0)]
    segment: &'a Name,
    /// All, if nobody is named.
    #[n(1)]
    to: Option<NodeId>,
    #[n(2)]
    message: &'a ControlMessage,
}

impl DatagramSeal {
    /// The seal of one start of one node in its segment.
    pub fn new(segment: Name, own: Sender, keys: KeyRing) -> Self {
        let own_key = keys.current().of_sender(&own);
        Self {
            segment,
            own,
            counter: 0,
            keys,
            own_key,
            echoes: None,
            senders: Senders::new(SENDERS_MAX),
            plain: Vec::new(),
        }
    }

    /// The keys it uses.
    pub const fn keys(&self) -> &KeyRing {
        &self.keys
    }

    /// Uses these keys from now on.
    pub fn set_keys(&mut self, keys: KeyRing) {
        self.keys = keys;
    }

    /// The datagram that says `message` to one node, or to all.
    pub fn seal(
        &mut self,
        to: Option<NodeId>,
        message: &ControlMessage,
    ) -> Result<Vec<u8>, MessageTooLong> {
        let current = self.keys.current();
        if !self.own_key.is_from(current.id()) {
            self.own_key = current.of_sender(&self.own);
        }
        self.counter += 1;
        let header = Header {
            key: current.id(),
            sender: self.own,
            counter: self.counter,
        };
        let mut datagram = Vec::with_capacity(DATAGRAM_LEN_USUAL);
        header.write(&mut datagram);
        let envelope = Envelope {
            segment: &self.segment,
            to,
            message,
        };
        minicbor::encode(envelope, &mut datagram).expect("memory takes what is written");
        let len = datagram.len() + TAG_LEN;
        if len > DATAGRAM_LEN_MAX {
            return Err(MessageTooLong { len });
        }
        self.own_key.seal(self.counter, &mut datagram);
        Ok(datagram)
    }

    /// Opens a datagram from the network. One that is rejected before its seal was proved leaves no trace.
    pub fn open(&mut self, datagram: &[u8]) -> Result<Opened, Rejected> {
        let header = read_header(datagram)?;
        let sender = header.sender;
        let from = sender.node;
        let segment_key = self
            .keys
            .find(header.key)
            .ok_or(Rejected::UnknownKey(header.key))?;
        if from == self.own.node {
            return Err(self.open_own(&header, datagram));
        }

        let known = self.senders.get(from);
        let mut known_key = None;
        if let Some(known) = known {
            if sender == known.sender {
                refuse_replay(&header, Some(&known.window))?;
                known_key = Some(&known.key).filter(|key| key.is_from(header.key));
            }
            refuse_older(&sender, known.incarnation())?;
        }
        let new_key = known_key.is_none().then(|| segment_key.of_sender(&sender));
        let key = known_key.or(new_key.as_ref());
        if !key.is_some_and(|key| key.open(&header, datagram, &mut self.plain)) {
            return Err(Rejected::NotSealed { from });
        }

        let twins = known.is_some_and(|known| {
            known.incarnation() == sender.incarnation && known.sender != sender
        });
        if twins {
            let incarnation = sender.incarnation;
            return Err(Rejected::AnotherSalt { from, incarnation });
        }
        let malformed = |error: minicbor::decode::Error| Rejected::Malformed {
            from,
            detail: error.to_string(),
        };
        let mut decoder = Decoder::new(&self.plain);
        let fields = open_envelope(&mut decoder).map_err(malformed)?;
        let segment = decoder.str().map_err(malformed)?;
        if segment != self.segment.as_str() {
            let error = |_| malformed(minicbor::decode::Error::message("segment name"));
            let segment = segment.parse().map_err(error)?;
            return Err(Rejected::AnotherSegment { from, segment });
        }
        self.senders.prove(sender, header.counter, new_key);

        let to: Option<NodeId> = decoder.decode().map_err(malformed)?;
        if let Some(to) = to.filter(|to| *to != self.own.node) {
            return Err(Rejected::AnotherNode { from, to });
        }
        let message = decoder.decode().map_err(malformed)?;
        close_envelope(&mut decoder, fields).map_err(malformed)?;
        Ok(Opened {
            from,
            incarnation: sender.incarnation,
            message,
        })
    }

    /// A datagram in our own name: an echo, or somebody else's.
    fn open_own(&mut self, header: &Header, datagram: &[u8]) -> Rejected {
        let sender = header.sender;
        let from = sender.node;
        let echo = sender == self.own;
        let refused = refuse_older(&sender, self.own.incarnation)
            .and_then(|()| refuse_replay(header, self.echoes.as_ref().filter(|_| echo)));
        if let Err(rejected) = refused {
            return rejected;
        }
        let holds = if echo && self.own_key.is_from(header.key) {
            self.own_key.open(header, datagram, &mut self.plain)
        } else {
            self.keys.find(header.key).is_some_and(|key| {
                key.of_sender(&sender)
                    .open(header, datagram, &mut self.plain)
            })
        };
        match (holds, echo) {
            (false, _) => Rejected::NotSealed { from },
            (true, false) => Rejected::OwnIdTaken {
                incarnation: sender.incarnation,
            },
            (true, true) => {
                match &mut self.echoes {
                    Some(window) => window.mark(header.counter),
                    none => *none = Some(ReplayWindow::starting_with(header.counter)),
                }
                Rejected::OwnEcho
            }
        }
    }
}

/// What is allocated for a datagram at once: all but reports fit.
const DATAGRAM_LEN_USUAL: usize = 256;

fn read_header(datagram: &[u8]) -> Result<Header, Rejected> {
    let len = datagram.len();
    match datagram.first() {
        Some(&version) if version != VERSION => Err(Rejected::UnknownVersion(version)),
        _ if len > DATAGRAM_LEN_MAX => Err(Rejected::Oversized { len }),
        _ if len < HEADER_LEN + TAG_LEN => Err(Rejected::Truncated { len }),
        _ => Header::read(datagram).ok_or(Rejected::Truncated { len }),
    }
}

fn refuse_replay(header: &Header, window: Option<&ReplayWindow>) -> Result<(), Rejected> {
    let (from, counter) = (header.sender.node, header.counter);
    match window {
        Some(window) if window.has(counter) => Err(Rejected::Replayed { from, counter }),
        _ => Ok(()),
    }
}

fn refuse_older(sender: &Sender, known: Incarnation) -> Result<(), Rejected> {
    let (from, incarnation) = (sender.node, sender.incarnation);
    if incarnation < known {
        return Err(Rejected::OlderIncarnation {
            from,
            incarnation,
            known,
        });
    }
    Ok(())
}

/// How many fields the envelope has.
fn open_envelope(decoder: &mut Decoder) -> Result<u64, minicbor::decode::Error> {
    match decoder.array()? {
        Some(fields @ ENVELOPE_FIELDS..) => Ok(fields),
        _ => Err(minicbor::decode::Error::message("fields are missing")),
    }
}

/// Passes over fields that a later release added; nothing may follow them.
fn close_envelope(decoder: &mut Decoder, fields: u64) -> Result<(), minicbor::decode::Error> {
    for _ in ENVELOPE_FIELDS..fields {
        decoder.skip()?;
    }
    if decoder.position() == decoder.input().len() {
        Ok(())
    } else {
        Err(minicbor::decode::Error::message("bytes behind the message"))
    }
}

const ENVELOPE_FIELDS: u64 = 3;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::control::{ElectionMessage, ProbeReply, SegmentKey, Standing};

    #[test]
    fn fields_of_a_later_release_are_passed_over_and_nothing_else_is() {
        let envelope = minicbor::to_vec(Envelope {
            segment: &segment(),
            to: None,
            message: &message(),
        });
        let envelope = envelope.unwrap();
        assert!(opened(&envelope).is_ok());
        let extended = |fields: u8, more: &[u8]| [&[0x80 + fields], &envelope[1..], more].concat();
        assert!(opened(&extended(5, &[0x01, 0x82, 0x00, 0x00])).is_ok());
        let broken = [
            extended(2, &[]),
            extended(4, &[]),
            extended(3, &[0x00]),
            envelope[..envelope.len() - 1].to_vec(),
            Vec::new(),
            minicbor::to_vec(("a name with spaces", (), ())).unwrap(),
            minicbor::to_vec(("web", None::<NodeId>, 7)).unwrap(),
            minicbor::to_vec(("web", "ben", &message())).unwrap(),
        ];
        for plain in broken {
            let rejected = opened(&plain).unwrap_err();
            assert!(
                matches!(rejected, Rejected::Malformed { from, .. } if from == ANN),
                "{plain:02x?}: {rejected}"
            );
        }
    }

    #[test]
    fn another_segment_s_members_take_no_room() {
        let mut ben = seal(BEN);
        let mut stranger = DatagramSeal {
            segment: "shop".parse().unwrap(),
            ..seal(ANN)
        };
        let datagram = stranger.seal(None, &message()).unwrap();
        let rejected = ben.open(&datagram).unwrap_err();
        assert!(matches!(rejected, Rejected::AnotherSegment { .. }));
        assert!(ben.senders.get(ANN).is_none());
    }

    proptest! {
        /// What a holder of the key may send: it is understood or refused, and the next datagram is heard.
        #[test]
        fn any_sealed_bytes_are_survived(plain in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = opened(&plain);
            let inner = [&[0x83, 0x63, b'w', b'e', b'b', 0xf6], plain.as_slice()].concat();
            let _ = opened(&inner);
        }
    }

    /// What Ben makes of these bytes, truly sealed by Ann.
    fn opened(plain: &[u8]) -> Result<Opened, Rejected> {
        let (ann, mut ben) = (seal(ANN), seal(BEN));
        let header = Header {
            key: ann.keys.current().id(),
            sender: ann.own,
            counter: 1,
        };
        let mut datagram = Vec::new();
        header.write(&mut datagram);
        datagram.extend_from_slice(plain);
        ann.own_key.seal(1, &mut datagram);
        ben.open(&datagram)
    }

    const ANN: NodeId = NodeId::from_bytes([0xaa; 16]);
    const BEN: NodeId = NodeId::from_bytes([0xbb; 16]);

    fn seal(node: NodeId) -> DatagramSeal {
        let own = Sender {
            node,
            incarnation: Incarnation(1),
            salt: [0; 16],
        };
        let keys = KeyRing::new(SegmentKey::from_bytes([1; 32]));
        DatagramSeal::new(segment(), own, keys)
    }

    fn segment() -> Name {
        "web".parse().expect("it is a name")
    }

    fn message() -> ControlMessage {
        ControlMessage::Election(ElectionMessage::ProbeReply(ProbeReply {
            obeyed: None,
            standing: Standing::Waits,
        }))
    }
}
