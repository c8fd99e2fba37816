//! The shape that all protocols share.
//!
//! A protocol is a value. What it knows came in through [`Machine::handle`], what it does goes out
//! through the [`Outbox`], and when it wants to be woken it says through [`Machine::wake_at`]. It has
//! no clock, no socket and no randomness of its own, so that the same code runs under real sockets,
//! in the simulator and in the model checker, and so that any run can be repeated from its inputs.
//!
//! Whoever drives a machine carries out the outputs in their order, and has made durable what is to
//! be kept before it sends anything that comes after it.
#![warn(missing_docs)]

mod deadlines;
mod outbox;
mod random;

use bellwether_types::Time;

pub use deadlines::Deadlines;
pub use outbox::Outbox;
pub use random::Random;

/// A protocol: inputs and time in, outputs and a wake-up time out.
pub trait Machine {
    /// A message that came, an order, an answer to an earlier output, or that time has passed.
    type Input;
    /// A message to send, something to keep, something to tell.
    type Output;

    /// Takes one input at the moment `now`, which is never before that of an earlier call.
    fn handle(&mut self, now: Time, input: Self::Input, out: &mut Outbox<Self::Output>);

    /// When to wake the machine if nothing comes before; waking early or twice does no harm.
    fn wake_at(&self) -> Option<Time>;
}
