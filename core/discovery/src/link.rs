use std::collections::BTreeMap;

use bellwether_types::{Epoch, Name, NodeId, Time};
use bellwether_wire::uplink::{Downward, Exchange, Offset, Order, Ping, Pong};

/// A connection of a leader.
#[derive(Debug)]
pub struct Link {
    /// The leader.
    pub node: NodeId,
    /// For which segment it speaks.
    pub segment: Name,
    /// In which reign.
    pub epoch: Epoch,
    /// When it was last heard.
    pub heard_at: Time,
    pub(crate) ping_at: Time,
    pings: u64,
    /// Those without an answer, and when each was sent, in microseconds.
    open: BTreeMap<u64, u64>,
    offset: Offset,
}

/// A leader that answers none of so many is as good as silent.
const OPEN_MAX: usize = 64;

impl Link {
    pub(crate) fn new(now: Time, node: NodeId, segment: Name, epoch: Epoch) -> Self {
        Self {
            node,
            segment,
            epoch,
            heard_at: now,
            ping_at: now,
            pings: 0,
            open: BTreeMap::new(),
            offset: Offset::default(),
        }
    }

    /// How far the leader's clock is from this machine's.
    pub const fn offset(&self) -> &Offset {
        &self.offset
    }

    pub(crate) fn ping(&mut self, now: Time) -> Downward {
        self.pings += 1;
        if self.open.len() == OPEN_MAX {
            self.open.pop_first();
        }
        let sent_us = micros(now);
        self.open.insert(self.pings, sent_us);
        let number = self.pings;
        Downward::Ping(Ping { number, sent_us })
    }

    /// An answer counts once.
    pub(crate) fn pong(&mut self, now: Time, pong: Pong) {
        if let Some(asked_us) = self.open.remove(&pong.number) {
            self.offset.observe(Exchange {
                asked_us,
                received_us: pong.received_us,
                answered_us: pong.sent_us,
                back_us: micros(now),
            });
        }
    }

    /// A message with its instants by the leader's clock; `None` if it has one, and it is not known how far the clocks are
    /// apart.
    pub(crate) fn translate(&self, message: &Downward) -> Option<Downward> {
        let mut message = message.clone();
        if let Downward::Order(Order {
            at_us: Some(at_us), ..
        }) = &mut message
        {
            *at_us = self.offset.to_other_us(*at_us)?;
        }
        Some(message)
    }
}

fn micros(time: Time) -> u64 {
    time.as_nanos() / 1_000
}
