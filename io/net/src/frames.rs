use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};

use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use rustix::net::sockopt;
use tokio::io::Interest;

use crate::channel::Via;
use crate::interface::{Interface, InterfaceChoice};
use crate::settings::{ChannelSettings, OpenError};
use crate::socket::{UdpPort, scoped};

/// A node's sockets for data (CHAN-02): one of its own to send from, and one for each data channel that it listens to.
///
/// Frames go out and come in by batches: the kernel, or the network card, cuts a batch into datagrams and joins what
/// came. All frames of a batch are equally long but for the last.
#[derive(Debug)]
pub struct FrameChannel {
    choice: InterfaceChoice,
    hops: u32,
    interface: Interface,
    ipv6: bool,
    own: FramePort,
    groups: BTreeMap<SocketAddr, FramePort>,
    buffers: Vec<Vec<u8>>,
    metas: Vec<RecvMeta>,
    buffer: ReceiveBuffer,
    /// Which socket is read first the next time, so that a flood on one leaves the others their turn.
    turn: usize,
}

#[derive(Debug)]
struct FramePort {
    port: UdpPort,
    state: UdpSocketState,
}

/// Room in the kernel for frames that came while the process was busy, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiveBuffer {
    /// What was asked for.
    pub wanted: usize,
    /// What the system gives.
    pub granted: usize,
}

/// Frames that came together.
#[derive(Debug)]
pub struct Frames<'c> {
    via: Via,
    buffers: &'c mut [Vec<u8>],
    metas: &'c [RecvMeta],
}

/// At 1 Gbit/s a process may be held up for 60 ms before frames are lost.
const RECEIVE_BUFFER_BYTES: usize = 8 << 20;
/// What one system call takes in: so many batches of the longest there are.
const BATCHES: usize = 8;
const BATCH_LEN_MAX: usize = 65_535;
/// No datagram carries more, whatever the interface.
const DATAGRAM_LEN_MAX: usize = 65_507;
/// Errors of receiving in a row; more are none of the network's.
const ERRORS_MAX: u32 = 16;
/// Headers of IP and UDP.
const HEADERS_IPV4: u32 = 20 + 8;
const HEADERS_IPV6: u32 = 40 + 8;

impl FrameChannel {
    /// Opens the socket to send from. Needs a tokio runtime around it.
    pub fn open(settings: &ChannelSettings) -> Result<Self, OpenError> {
        let ipv6 = settings.everyone.family()?;
        let interface = Interface::find(&settings.interface)?;
        let port = settings.port;
        let own = UdpPort::unicast(ipv6, port).map_err(|cause| OpenError::Port { port, cause })?;
        own.multicast_by(&interface, ipv6, settings.hops)?;
        let own = FramePort::new(own)?;
        Ok(Self {
            buffer: own.buffer()?,
            choice: settings.interface.clone(),
            hops: settings.hops,
            interface,
            ipv6,
            own,
            groups: BTreeMap::new(),
            buffers: vec![vec![0; BATCH_LEN_MAX]; BATCHES],
            metas: vec![RecvMeta::default(); BATCHES],
            turn: 0,
        })
    }

    /// The interface may be another one under its name: sends and listens there from now on.
    ///
    /// # Errors
    /// As long as the interface is not there, or cannot be used.
    pub fn look_again(&mut self) -> Result<(), OpenError> {
        let interface = Interface::find(&self.choice)?;
        if interface == self.interface {
            return Ok(());
        }
        self.own
            .port
            .multicast_by(&interface, self.ipv6, self.hops)?;
        let is_another = interface.index != self.interface.index;
        self.interface = interface;
        if is_another {
            for group in std::mem::take(&mut self.groups).into_keys() {
                self.join(group)?;
            }
        }
        Ok(())
    }

    /// Where others reach this node's data socket alone.
    pub fn address(&self) -> Result<SocketAddr, OpenError> {
        let address = self.interface.address(self.ipv6)?;
        let port = self.own.port.local_address()?.port();
        Ok(SocketAddr::new(address, port))
    }

    /// The longest frame that goes to `to` without being cut up on the way out, bytes.
    pub fn frame_len_max(&self, to: SocketAddr) -> io::Result<usize> {
        // Only a connected socket knows its route; this one is for that alone.
        let probe = UdpPort::unicast(self.ipv6, 0)?;
        probe.multicast_by(&self.interface, self.ipv6, 1)?;
        let socket = probe.socket();
        rustix::net::connect(socket, &scoped(to, &self.interface))?;
        let len = match self.ipv6 {
            false => sockopt::ip_mtu(socket)?.saturating_sub(HEADERS_IPV4),
            true => sockopt::ipv6_mtu(socket)?.saturating_sub(HEADERS_IPV6),
        };
        // The loopback interface has room for more than a datagram may have.
        Ok(usize::try_from(len).map_or(DATAGRAM_LEN_MAX, |len| len.min(DATAGRAM_LEN_MAX)))
    }

    /// What the system gives of the room that was asked for.
    pub const fn receive_buffer(&self) -> ReceiveBuffer {
        self.buffer
    }

    /// How many frames of this length one batch may have.
    pub fn batch_frames_max(&self, frame_len: usize) -> usize {
        let fit = DATAGRAM_LEN_MAX / frame_len.max(1);
        fit.clamp(1, self.own.state.max_gso_segments())
    }

    /// Sends a batch; `false` if the system takes nothing now, and [`FrameChannel::writable`] says when it will again.
    ///
    /// # Errors
    /// What the network says. The batch is lost then, as it could be on the way.
    pub fn send(&mut self, to: SocketAddr, frames: &[u8], frame_len: usize) -> io::Result<bool> {
        let transmit = Transmit {
            destination: scoped(to, &self.interface),
            ecn: None,
            contents: frames,
            segment_size: (frames.len() > frame_len).then_some(frame_len),
            src_ip: None,
        };
        let FramePort { port, state } = &self.own;
        let socket = port.socket();
        let sent = socket.try_io(Interest::WRITABLE, || {
            state.try_send(socket.into(), &transmit)
        });
        match sent {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Waits until the system takes a batch again.
    pub async fn writable(&self) -> io::Result<()> {
        self.own.port.socket().writable().await
    }

    /// Listens to a data channel (CHAN-05).
    pub fn join(&mut self, group: SocketAddr) -> Result<(), OpenError> {
        if self.groups.contains_key(&group) {
            return Ok(());
        }
        let join = |cause| OpenError::Join {
            group,
            interface: self.interface.name.clone(),
            cause,
        };
        let port = UdpPort::group(group, &self.interface).map_err(join)?;
        self.groups.insert(group, FramePort::new(port)?);
        Ok(())
    }

    /// Listens to it no longer, so that the kernel drops its traffic unseen (CHAN-07).
    pub fn leave(&mut self, group: SocketAddr) {
        self.groups.remove(&group);
    }

    /// Waits for frames. Nothing is lost if the waiting is given up.
    pub async fn receive(&mut self) -> io::Result<Frames<'_>> {
        let (via, count) = poll_fn(|context| self.poll(context)).await?;
        Ok(self.received(via, count))
    }

    /// Waits for frames, and if something `is_waiting` to be sent also until the system takes a batch again: nothing came
    /// then.
    pub async fn next(&mut self, is_waiting: bool) -> io::Result<Option<Frames<'_>>> {
        let came = poll_fn(|context| {
            if let Poll::Ready(received) = self.poll(context) {
                return Poll::Ready(received.map(Some));
            }
            match is_waiting {
                true => self
                    .own
                    .port
                    .socket()
                    .poll_send_ready(context)
                    .map_ok(|()| None),
                false => Poll::Pending,
            }
        });
        let came = came.await?;
        Ok(came.map(|(via, count)| self.received(via, count)))
    }

    fn received(&mut self, via: Via, count: usize) -> Frames<'_> {
        Frames {
            via,
            buffers: &mut self.buffers[..count],
            metas: &self.metas[..count],
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<(Via, usize)>> {
        let own = std::iter::once((Via::Unicast, &self.own));
        let groups = self.groups.values().map(|port| (Via::Multicast, port));
        let count = 1 + self.groups.len();
        let ports = own.chain(groups).cycle().skip(self.turn % count);
        for (via, port) in ports.take(count) {
            self.turn = self.turn.wrapping_add(1);
            if let Poll::Ready(received) = port.poll(context, &mut self.buffers, &mut self.metas) {
                return Poll::Ready(received.map(|count| (via, count)));
            }
        }
        Poll::Pending
    }
}

impl FramePort {
    fn new(port: UdpPort) -> io::Result<Self> {
        let socket = port.socket();
        // Whoever may goes beyond what the system gives to everybody.
        if sockopt::set_socket_recv_buffer_size_force(socket, RECEIVE_BUFFER_BYTES).is_err() {
            sockopt::set_socket_recv_buffer_size(socket, RECEIVE_BUFFER_BYTES)?;
        }
        let state = UdpSocketState::new(socket.into())?;
        Ok(Self { port, state })
    }

    fn buffer(&self) -> io::Result<ReceiveBuffer> {
        // Linux tells twice of what it was asked for, because it counts its own bookkeeping.
        let granted = sockopt::socket_recv_buffer_size(self.port.socket())? / 2;
        Ok(ReceiveBuffer {
            wanted: RECEIVE_BUFFER_BYTES,
            granted,
        })
    }

    fn poll(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [Vec<u8>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let socket = self.port.socket();
        let mut slices: Vec<IoSliceMut<'_>> =
            buffers.iter_mut().map(|b| IoSliceMut::new(b)).collect();
        let mut errors = 0;
        loop {
            ready!(socket.poll_recv_ready(context))?;
            let received = socket.try_io(Interest::READABLE, || {
                self.state.recv(socket.into(), &mut slices, metas)
            });
            match received {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // An interface that went, a host that refuses: told once, and nobody's fault here.
                Err(_) if errors < ERRORS_MAX => errors += 1,
                other => return Poll::Ready(other),
            }
        }
    }
}

impl ReceiveBuffer {
    /// What to do if frames will be lost for want of room; nothing if there is enough.
    pub fn advice(&self) -> Option<String> {
        let Self { wanted, granted } = *self;
        (granted < wanted).then(|| {
            format!(
                "the system gives {granted} of {wanted} bytes for frames that came while the process is busy; at high \
                 rates some will be lost and sent again: sysctl -w net.core.rmem_max={wanted}"
            )
        })
    }
}

impl Frames<'_> {
    /// On which way they came.
    pub const fn via(&self) -> Via {
        self.via
    }

    /// Each frame, and the address it names as its sender's, which nothing proves.
    pub fn each(&mut self, mut frame: impl FnMut(SocketAddr, &mut [u8])) {
        for (buffer, meta) in self.buffers.iter_mut().zip(self.metas) {
            for bytes in buffer[..meta.len].chunks_mut(meta.stride.max(1)) {
                frame(meta.addr, bytes);
            }
        }
    }
}
