//! A machine's way to the network: sockets and multicast groups, the steady clock, and the one loop that drives any
//! machine.
//!
//! One task on one thread reads, decides and sends, in that order, with nothing in between: a protocol has no locks, and
//! what it must keep is on disk before it speaks. The runtime is tokio's, because the agent's other parts (the admin
//! socket, HTTP) live on the same thread; the clock is not, because the runtime's stands still while the machine is
//! suspended.
#![warn(missing_docs)]

mod channel;
mod clock;
mod driver;
mod echo;
mod frames;
mod interface;
mod readiness;
mod settings;
mod socket;
mod watch;

pub use channel::{Channel, ChannelEvent, Counters, Datagram, Destination, NetworkChange, Via};
pub use clock::{Alarm, Skew, now, skew};
pub use driver::{Event, Role, drive};
pub use frames::{FrameChannel, Frames, ReceiveBuffer};
pub use interface::{Interface, InterfaceChoice, InterfaceError};
pub use settings::{ChannelSettings, Everyone, OpenError};
