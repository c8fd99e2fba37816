use std::io;
use std::os::fd::OwnedFd;

use tokio::io::unix::AsyncFd;

/// A descriptor for whose input the runtime waits.
pub(crate) fn watched(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open and names one descriptor all its life, and from here on it belongs to the `AsyncFd`,
    // which nobody asks to change it.
    let watched = unsafe { AsyncFd::register(descriptor) };
    Ok(watched?)
}
