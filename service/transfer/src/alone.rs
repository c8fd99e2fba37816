use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

use bellwether_multicast::Input;
use bellwether_multicast::sender::To;
use bellwether_net::Via;
use bellwether_types::{Epoch, NodeId};
use bellwether_wire::control::{ControlMessage, DatagramSeal, Introduction, Sender};
use bellwether_wire::transfer::{Announcement, TransferMessage};

use crate::carrier::{Carrier, Event};

/// A carrier in a group without elections: whoever sends leads, and messages go beside the frames.
pub(crate) struct Alone {
    pub(crate) carrier: Carrier,
    seal: DatagramSeal,
    own: Sender,
    group: SocketAddr,
    /// Does it obey whoever announces something? Who only sends follows nobody, so that several may send at once.
    obeys: bool,
    reign: Option<Epoch>,
    met: VecDeque<NodeId>,
}

/// What its user is told.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A node spoke for the first time.
    Met(NodeId),
    /// The carrier says something.
    Event(Event),
}

impl Alone {
    pub(crate) fn new(
        mut carrier: Carrier,
        seal: DatagramSeal,
        own: Sender,
        group: SocketAddr,
    ) -> Self {
        carrier.set_groups([(None, group)].into());
        Self {
            obeys: carrier.shelf().is_some(),
            carrier,
            seal,
            own,
            group,
            reign: None,
            met: VecDeque::new(),
        }
    }

    /// This start of this node.
    pub(crate) const fn incarnation(&self) -> u64 {
        self.own.incarnation.0
    }

    /// Asks who listens.
    pub(crate) fn call(&mut self) {
        let hello = ControlMessage::Introduction(Introduction::Hello);
        self.say(None, &hello);
    }

    /// Goes on until something happened that somebody may want to know. Nothing is lost if the waiting is given up.
    pub(crate) async fn next(&mut self) -> io::Result<Heard> {
        loop {
            if let Some(node) = self.met.pop_front() {
                return Ok(Heard::Met(node));
            }
            match self.carrier.next().await? {
                Event::Say(to, message) => {
                    let to = match to {
                        To::Node(node) => Some(node),
                        To::Segment | To::Group => None,
                    };
                    self.say(to, &ControlMessage::Transfer(Box::new(message)));
                }
                Event::Datagram(source, via, bytes) => self.open(source, via, &bytes),
                // There are no heartbeats for it to ride in.
                Event::Carry(..) => {}
                event => return Ok(Heard::Event(event)),
            }
        }
    }

    fn open(&mut self, source: SocketAddr, via: Via, bytes: &[u8]) {
        // Whatever is not sealed with the key has no effect.
        let Ok(opened) = self.seal.open(bytes) else {
            return;
        };
        let from = opened.from;
        if self.carrier.meet(from, source) {
            self.met.push_back(from);
        }
        match opened.message {
            ControlMessage::Transfer(message) => {
                if let TransferMessage::Announce(announcement) = &*message {
                    self.obey(from, announcement);
                }
                self.carrier.give(Input::Message {
                    from,
                    alone: via == Via::Unicast,
                    message: *message,
                });
            }
            // Who was asked by all answers alone, and who was answered is content.
            ControlMessage::Introduction(Introduction::Hello) if via == Via::Multicast => {
                let hello = ControlMessage::Introduction(Introduction::Hello);
                self.say(Some(from), &hello);
            }
            _ => {}
        }
    }

    /// Who announces with a higher epoch leads those that receive.
    fn obey(&mut self, from: NodeId, announcement: &Announcement) {
        let epoch = announcement.epoch;
        if self.obeys && epoch.leader == from && Some(epoch) > self.reign {
            self.reign = Some(epoch);
            self.carrier.give(Input::Reign(Some(epoch)));
        }
    }

    fn say(&mut self, to: Option<NodeId>, message: &ControlMessage) {
        let address = match to {
            Some(node) if node == self.own.node => None,
            Some(node) => self.carrier.address(node),
            None => Some(self.group),
        };
        // Messages that are too long are none of ours.
        if let (Some(address), Ok(datagram)) = (address, self.seal.seal(to, message)) {
            self.carrier.post(address, datagram);
        }
    }
}
