use std::io;

use bellwether_machine::{Machine, Outbox};
use bellwether_types::Time;
use tokio::sync::mpsc::Receiver;

use crate::channel::{Channel, ChannelEvent, Datagram, NetworkChange};
use crate::clock::{self, Alarm};

/// Something that happened, and that a machine may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<O> {
    /// A datagram came.
    Datagram(Datagram),
    /// A deadline has passed.
    Wake,
    /// Something about the network has changed.
    Network(NetworkChange),
    /// Somebody on this machine wants something.
    Order(O),
}

/// What joins a machine to this world: how events become its inputs, and how its outputs are carried out.
pub trait Role {
    /// The protocol.
    type Machine: Machine;
    /// What people and other parts of the process ask.
    type Order;
    /// Why it cannot go on.
    type Error: From<io::Error>;

    /// The machine's input for an event, or `None` if it is none of its business: an order to look at the machine, say.
    fn input(
        &mut self,
        event: Event<Self::Order>,
        machine: &Self::Machine,
    ) -> Option<<Self::Machine as Machine>::Input>;

    /// Carries out one output. What is to be kept is durable on return, since the next output may be the message that
    /// depends on it; if it cannot be kept, the error ends the loop before anything else is said.
    fn carry_out(
        &mut self,
        output: <Self::Machine as Machine>::Output,
        channel: &mut Channel,
    ) -> Result<(), Self::Error>;
}

/// Drives a machine until nobody can give orders any longer, or it cannot go on.
///
/// No datagram is handed over while a deadline is due, so a flood makes nothing late: what the process has no time for
/// stays in the kernel's buffers, and is dropped there. Each datagram counts towards the runtime's budget, so other tasks
/// of the thread have their turn as well.
pub async fn drive<R: Role>(
    machine: &mut R::Machine,
    role: &mut R,
    channel: &mut Channel,
    orders: &mut Receiver<R::Order>,
) -> Result<(), R::Error> {
    let mut alarm = Alarm::new()?;
    let mut driver = Driver {
        machine,
        role,
        channel,
        outbox: Outbox::new(),
    };
    loop {
        alarm.set(driver.machine.wake_at())?;
        let event = tokio::select! {
            rung = alarm.ring() => rung.map(|()| None)?,
            order = orders.recv() => match order {
                Some(order) => Some(Event::Order(order)),
                None => return Ok(()),
            },
            event = driver.channel.next() => Some(match event? {
                ChannelEvent::Datagram(datagram) => Event::Datagram(datagram),
                ChannelEvent::Network(change) => Event::Network(change),
            }),
        };
        let now = clock::now();
        if driver.machine.wake_at().is_some_and(|at| at <= now) {
            driver.take(now, Event::Wake)?;
        }
        if let Some(event) = event {
            driver.take(now, event)?;
        }
    }
}

struct Driver<'a, R: Role> {
    machine: &'a mut R::Machine,
    role: &'a mut R,
    channel: &'a mut Channel,
    outbox: Outbox<<R::Machine as Machine>::Output>,
}

impl<R: Role> Driver<'_, R> {
    fn take(&mut self, now: Time, event: Event<R::Order>) -> Result<(), R::Error> {
        let Some(input) = self.role.input(event, self.machine) else {
            return Ok(());
        };
        self.machine.handle(now, input, &mut self.outbox);
        for output in self.outbox.drain() {
            self.role.carry_out(output, self.channel)?;
        }
        Ok(())
    }
}
