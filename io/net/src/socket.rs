use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::{Context, Poll, ready};

use rustix::net::SendFlags;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;

use crate::interface::Interface;

/// A UDP socket that never waits: what cannot be sent now is lost, as on any network.
#[derive(Debug)]
pub(crate) struct UdpPort(UdpSocket);

/// Asked of the system, which gives what its limits allow: room for what comes while the process is held up.
const RECEIVE_BUFFER_BYTES: usize = 1 << 20;

impl UdpPort {
    /// The socket of one agent: its port is its own, whatever else runs on the machine. It sends everything, so that
    /// each datagram, also to a group, comes from the address to answer to.
    pub(crate) fn unicast(ipv6: bool, port: u16) -> io::Result<Self> {
        let any = if ipv6 {
            IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        } else {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        };
        Self::bound(new_socket(ipv6)?, SocketAddr::new(any, port))
    }

    /// A socket that hears one multicast group on one interface, as do all agents of the machine that ask for it.
    ///
    /// `SO_REUSEADDR` and not `SO_REUSEPORT`: on Linux either lets all of them hear a multicast, but the latter asks
    /// that one user owns them. Bound to the group's address it hears no unicast to that port, and without
    /// `MULTICAST_ALL` nothing that others of the machine joined on other interfaces.
    pub(crate) fn group(group: SocketAddr, interface: &Interface) -> io::Result<Self> {
        let socket = new_socket(group.is_ipv6())?;
        socket.set_reuse_address(true)?;
        match group.ip() {
            IpAddr::V4(address) => {
                socket.set_multicast_all_v4(false)?;
                let on = InterfaceIndexOrAddress::Index(interface.index);
                socket.join_multicast_v4_n(&address, &on)?;
            }
            IpAddr::V6(address) => {
                socket.set_multicast_all_v6(false)?;
                socket.join_multicast_v6(&address, interface.index)?;
            }
        }
        Self::bound(socket, scoped(group, interface))
    }

    fn bound(socket: Socket, address: SocketAddr) -> io::Result<Self> {
        socket.bind(&address.into())?;
        UdpSocket::from_std(socket.into()).map(Self)
    }

    /// From now on multicasts leave by this interface, with its address, for as many hops, and come back to the agents
    /// of this machine.
    pub(crate) fn multicast_by(
        &self,
        interface: &Interface,
        ipv6: bool,
        hops: u32,
    ) -> io::Result<()> {
        let socket = &self.0;
        if ipv6 {
            rustix::net::sockopt::set_ipv6_multicast_if(socket, interface.index)?;
            rustix::net::sockopt::set_ipv6_multicast_hops(socket, hops)?;
            rustix::net::sockopt::set_ipv6_multicast_loop(socket, true)?;
            return Ok(());
        }
        let source = match interface.address(false) {
            Ok(IpAddr::V4(address)) => address,
            _ => Ipv4Addr::UNSPECIFIED,
        };
        rustix::net::sockopt::set_ip_multicast_if_with_ifindex(
            socket,
            &Ipv4Addr::UNSPECIFIED,
            &source,
            interface.index,
        )?;
        rustix::net::sockopt::set_ip_multicast_ttl(socket, hops)?;
        rustix::net::sockopt::set_ip_multicast_loop(socket, true)?;
        Ok(())
    }

    pub(crate) const fn socket(&self) -> &UdpSocket {
        &self.0
    }

    pub(crate) fn local_address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    pub(crate) fn send(&self, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        // Past the runtime, which would make a socket wait until it was seen to be writable.
        rustix::net::sendto(&self.0, bytes, SendFlags::empty(), &to)?;
        Ok(())
    }

    /// The next datagram; as many bytes of it as `buffer` takes.
    pub(crate) fn poll_receive(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        let mut buffer = ReadBuf::new(buffer);
        let from = ready!(self.0.poll_recv_from(context, &mut buffer))?;
        Poll::Ready(Ok((buffer.filled().len(), from)))
    }
}

fn new_socket(ipv6: bool) -> io::Result<Socket> {
    let domain = if ipv6 { Domain::IPV6 } else { Domain::IPV4 };
    let socket = Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    if ipv6 {
        socket.set_only_v6(true)?;
    }
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
    Ok(socket)
}

/// An address that holds on one link only is nothing without the link.
pub(crate) fn scoped(address: SocketAddr, interface: &Interface) -> SocketAddr {
    match address {
        SocketAddr::V6(mut v6) if is_of_one_link(*v6.ip()) && v6.scope_id() == 0 => {
            v6.set_scope_id(interface.index);
            v6.into()
        }
        other => other,
    }
}

fn is_of_one_link(address: Ipv6Addr) -> bool {
    let multicast_scope = address.octets()[1] & 0x0f;
    address.is_unicast_link_local() || (address.is_multicast() && multicast_scope <= 2)
}
