use std::io;
use std::os::fd::OwnedFd;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType};
use tokio::io::unix::AsyncFd;

use crate::readiness::watched;

/// Hears from the kernel that something about the network interfaces has changed. What, one looks up: an event that was
/// lost, or that nobody here understands, then does no harm.
#[derive(Debug)]
pub(crate) struct InterfaceWatch(AsyncFd<OwnedFd>);

/// It is number 0, which is also how one asks for no protocol in particular.
const NETLINK_ROUTE: Option<Protocol> = None;

/// Links, IPv4 addresses, IPv6 addresses (`RTMGRP_*` of `linux/rtnetlink.h`).
const GROUPS: u32 = 0x1 | 0x10 | 0x100;

impl InterfaceWatch {
    pub(crate) fn new() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            flags,
            NETLINK_ROUTE,
        )?;
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
        watched(socket).map(Self)
    }

    /// Waits until something changed.
    pub(crate) async fn change(&mut self) -> io::Result<()> {
        loop {
            let mut ready = self.0.readable().await?;
            let mut heard = false;
            let drained = ready.try_io(|socket| {
                let mut ignored = [0; 1];
                loop {
                    match rustix::net::recv(socket, &mut ignored, RecvFlags::TRUNC) {
                        // More was lost than waited for: also a change.
                        Ok(_) | Err(rustix::io::Errno::NOBUFS) => heard = true,
                        Err(errno) => return Err::<(), _>(errno.into()),
                    }
                }
            });
            match drained {
                Ok(Err(error)) => return Err(error),
                _ if heard => return Ok(()),
                _ => {}
            }
        }
    }
}
