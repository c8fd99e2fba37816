//! A protocol simple enough to be right at a glance, and three ways to get it wrong.

use std::time::Duration;

use bellwether_machine::{Deadlines, Machine, Outbox, Random};
use bellwether_sim::scenario::Protocol;
use bellwether_sim::{
    Birth, Channel, Datagram, Destination, Input, Kind, Order, Output, Phase, Process, View,
};
use bellwether_types::{Epoch, Hash, Incarnation, NodeId, Time};

/// Nothing is wrong with it.
pub(crate) const SOUND: u8 = 0;
/// Any heartbeat is obeyed, also that of an old reign.
pub(crate) const GULLIBLE: u8 = 1;
/// What was obeyed and claimed is not made durable.
pub(crate) const FORGETFUL: u8 = 2;
/// Panics at a heartbeat of somebody else while it leads.
pub(crate) const NERVOUS: u8 = 3;

/// The leader beats; whoever hears nothing for a while leads in the next reign; the latest reign is obeyed.
#[derive(Debug)]
pub(crate) struct Toy<const FLAW: u8> {
    disk: Disk,
    incarnation: Incarnation,
    phase: Phase,
    silence: Duration,
    deadlines: Deadlines<Timer>,
}

/// Who the node is, and the highest reign it ever obeyed.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    id: NodeId,
    starts: u64,
    obeyed: Option<Epoch>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Silence,
    Beat,
}

const BEAT: Duration = Duration::from_millis(100);

impl<const FLAW: u8> Process for Toy<FLAW> {
    type Disk = Disk;
    type Common = ();

    fn common(_: &Protocol, _: u64) {}

    fn start(now: Time, birth: Birth<'_, Self>) -> (Self, Disk) {
        let mut random = Random::new(birth.seed);
        let id = u128::from(random.bits()) << 64 | u128::from(random.bits());
        let fresh = Disk {
            id: NodeId::from_bytes(id.to_be_bytes()),
            starts: 0,
            obeyed: None,
        };
        let mut disk = birth.disk.unwrap_or(fresh);
        disk.starts += 1;
        let rank = u64::from(birth.node.0 - birth.segment.start);
        let mut toy = Self {
            incarnation: Incarnation(disk.starts),
            disk: disk.clone(),
            phase: Phase::Unknown,
            silence: 3 * BEAT + Duration::from_millis(10 * rank),
            deadlines: Deadlines::new(),
        };
        toy.deadlines.set(Timer::Silence, now + toy.silence);
        (toy, disk)
    }

    fn view(&self) -> View {
        View {
            id: self.disk.id,
            incarnation: self.incarnation,
            phase: self.phase,
            obeyed: self.disk.obeyed,
            registered: true,
            state: None,
        }
    }
}

impl<const FLAW: u8> Machine for Toy<FLAW> {
    type Input = Input;
    type Output = Output<Disk>;

    fn handle(&mut self, now: Time, input: Input, out: &mut Outbox<Output<Disk>>) {
        match input {
            Input::Datagram(datagram) => {
                if let Some(epoch) = decode(&datagram) {
                    self.hear(now, epoch, out);
                }
            }
            Input::Order(Order::StepDown | Order::Leave) if self.phase == Phase::Leading => {
                self.phase = Phase::Unknown;
                self.deadlines.cancel(Timer::Beat);
                self.deadlines.set(Timer::Silence, now + 3 * self.silence);
            }
            Input::Order(_) | Input::Start | Input::Wake => {}
        }
        while let Some(timer) = self.deadlines.pop_due(now) {
            match timer {
                Timer::Silence => self.claim(now, out),
                Timer::Beat => self.beat(now, out),
            }
        }
    }

    fn wake_at(&self) -> Option<Time> {
        self.deadlines.next()
    }
}

impl<const FLAW: u8> Toy<FLAW> {
    fn hear(&mut self, now: Time, epoch: Epoch, out: &mut Outbox<Output<Disk>>) {
        assert!(
            FLAW != NERVOUS || self.phase != Phase::Leading,
            "who is this?"
        );
        if epoch.leader == self.disk.id || (FLAW != GULLIBLE && Some(epoch) < self.disk.obeyed) {
            return;
        }
        self.phase = Phase::Known;
        self.obey(epoch, out);
        self.deadlines.cancel(Timer::Beat);
        self.deadlines.set(Timer::Silence, now + self.silence);
    }

    fn claim(&mut self, now: Time, out: &mut Outbox<Output<Disk>>) {
        let seen = self.disk.obeyed.map_or(0, |epoch| epoch.counter);
        let epoch = Epoch {
            counter: seen + 1,
            leader: self.disk.id,
        };
        self.obey(epoch, out);
        self.phase = Phase::Leading;
        self.beat(now, out);
    }

    fn obey(&mut self, epoch: Epoch, out: &mut Outbox<Output<Disk>>) {
        let before = self.disk.obeyed.replace(epoch);
        if FLAW != FORGETFUL && before != Some(epoch) {
            out.push(Output::Persist(self.disk.clone()));
        }
    }

    fn beat(&mut self, now: Time, out: &mut Outbox<Output<Disk>>) {
        let Some(epoch) = self.disk.obeyed else {
            return;
        };
        let bytes = encode(epoch);
        out.push(Output::Send {
            to: Destination::All(Channel::default()),
            kind: Kind::Alive,
            bytes,
        });
        self.deadlines.set(Timer::Beat, now + BEAT);
    }
}

fn encode(epoch: Epoch) -> Vec<u8> {
    let mut bytes = epoch.counter.to_le_bytes().to_vec();
    bytes.extend(epoch.leader.as_bytes());
    let seal = Hash::of(&bytes);
    bytes.extend(&seal.0[..8]);
    bytes
}

fn decode(datagram: &Datagram) -> Option<Epoch> {
    let (body, seal) = datagram.bytes.split_at_checked(24)?;
    if Hash::of(body).0[..8] != *seal {
        return None;
    }
    let (counter, leader) = body.split_first_chunk()?;
    Some(Epoch {
        counter: u64::from_le_bytes(*counter),
        leader: NodeId::from_bytes(leader.try_into().ok()?),
    })
}
