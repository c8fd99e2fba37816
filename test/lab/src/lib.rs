//! Real processes on real sockets in a network of the test's own making.
//!
//! ```no_run
//! use std::process::Command;
//! use std::time::Duration;
//! use bellwether_lab::{Fault, in_lab, until};
//!
//! in_lab(|lab| {
//!     let segment = lab.segment()?;
//!     let hosts = lab.hosts(5, segment)?;
//!     let agent = hosts[0].start(Command::new("bellwether"))?;
//!     lab.set_faults(&Fault::partition(&[&hosts[0]], &[&hosts[1], &hosts[2]]))?;
//!     until("the agent leads", Duration::from_secs(5), || agent.transcript().len() > 3)
//! });
//! ```
//!
//! A host is a network namespace, a segment is a bridge, and the bridges of all segments stand in one more namespace,
//! the *switch*, where faults are set. Interfaces send and receive without offloads, so that a frame on the wire is a
//! frame for every counter, queue and loss rule. There are no names outside and no files but in [`Lab::folder`]: when
//! the lab is dropped, or its process dies in whatever way, the kernel clears everything away.
//!
//! It wants Linux 5.9, and of it: namespaces of networks and processes, veth, bridge, nftables at bridges with
//! `numgen`, and tbf; `ip`, `tc`, `nft` and `ethtool`; and the capabilities of root, or leave to make user namespaces.
//! [`Lab::open`] tries each, and says what is missing. Delay also needs netem, which not every kernel has: a test
//! asks [`Lab::can_delay`]. Where there is no lab, tests that want one say so and count as passed, unless
//! `BELLWETHER_LAB=required` is set, as in CI.
//!
//! One lab stands at a time on a machine, so that tests do not take the processor from each other; a second one waits.
//!
//! Tests that want our binary stand in `app/tests/lab/`, because only there cargo says where it is
//! (`CARGO_BIN_EXE_bellwether`); their test binary must be called `lab`, so that the runner knows them
//! (`.config/nextest.toml`). The lab's own tests are here.
//!
//! Roads not taken: `ip netns` leaves names behind when a test is killed, and wants root. Speaking netlink ourselves
//! would save some milliseconds a host, and cost a file for each of what four tools do well. Control groups would
//! measure and confine programs, but differ between machines (version 1, version 2, delegated or not); `/proc` tells
//! what a program costs, and a process namespace ends it whole.

pub mod disk;
pub mod farm;
mod fault;
mod host;
mod lab;
mod namespace;
mod place;
mod program;
mod shape;
mod transcript;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

pub use fault::{Fault, Loss, Traffic};
pub use host::{Counters, Host};
pub use lab::{Lab, Segment, Unavailable, in_lab};
pub use namespace::Privilege;
pub use program::{Program, Usage};
pub use shape::Shape;
pub use transcript::{Line, Transcript};

/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(2);

/// Waits for the condition; says what it was waiting for if that does not come in time.
pub fn until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + limit;
    while !condition() {
        if Instant::now() >= deadline {
            bail!("waited {limit:?} in vain: {what}");
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}
