use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use crate::echo::Echo;
use crate::interface::{Interface, family};
use crate::settings::{ChannelSettings, Everyone, OpenError};
use crate::socket::{UdpPort, scoped};
use crate::watch::InterfaceWatch;

/// To whom to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// All there are.
    Everyone,
    /// One node, or one group.
    Address(SocketAddr),
}

/// What came from the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// On which way.
    pub via: Via,
    /// The sender's unicast address, which nothing proves.
    pub from: SocketAddr,
    /// What it says, if its seal holds.
    pub bytes: Vec<u8>,
}

/// The way a datagram came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// To this node alone.
    Unicast,
    /// To a group that this node joined.
    Multicast,
}

/// What a channel notices about the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkChange {
    /// The interface is switched off or gone; the channel waits for it.
    InterfaceDown,
    /// It is there again, and the groups are heard again.
    InterfaceUp,
    /// Not even our own multicasts reach us.
    EchoLost,
    /// They do again.
    EchoBack,
}

/// What happened on a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChannelEvent {
    /// A datagram came.
    Datagram(Datagram),
    /// Something about the network has changed.
    Network(NetworkChange),
}

/// Counted since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Datagrams handed to the network; one to each peer counts as many.
    pub sent: u64,
    /// Their bytes, without headers of IP and UDP.
    pub sent_bytes: u64,
    /// Datagrams that the network did not take.
    pub send_errors: u64,
    /// Datagrams received.
    pub received: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Datagrams dropped unread because they are longer than any of ours.
    pub oversized: u64,
    /// Errors of receiving, for which nobody here is to blame.
    pub receive_errors: u64,
}

/// A node's sockets: one of its own, from which it sends everything, and one for each group that it listens to.
///
/// What cannot be sent is counted and lost, as it could be on the network; protocols live with that. The interface may
/// go and come back, also under another number.
#[derive(Debug)]
pub struct Channel {
    settings: ChannelSettings,
    ipv6: bool,
    /// As it was when we last looked; `None` while it is gone.
    interface: Option<Interface>,
    watch: InterfaceWatch,
    unicast: UdpPort,
    /// Without a socket while the interface is gone.
    groups: BTreeMap<SocketAddr, Option<UdpPort>>,
    echo: Echo,
    noticed: VecDeque<NetworkChange>,
    counters: Counters,
    buffer: Vec<u8>,
    /// Which socket is read first the next time, so that a flood on one leaves the others their turn.
    turn: usize,
}

impl Channel {
    /// Opens the sockets. Needs a tokio runtime around it.
    pub fn open(settings: ChannelSettings) -> Result<Self, OpenError> {
        let ipv6 = settings.everyone.family()?;
        let interface = Interface::find(&settings.interface)?;
        if let Everyone::Group(_) = settings.everyone {
            interface.require_multicast(ipv6)?;
        }
        let port = settings.port;
        let unicast =
            UdpPort::unicast(ipv6, port).map_err(|cause| OpenError::Port { port, cause })?;
        let mut channel = Self {
            ipv6,
            watch: InterfaceWatch::new()?,
            unicast,
            groups: BTreeMap::new(),
            echo: Echo::default(),
            noticed: VecDeque::new(),
            counters: Counters::default(),
            buffer: vec![0; settings.datagram_len_max + 1],
            turn: 0,
            interface: Some(interface),
            settings,
        };
        if let Everyone::Group(group) = channel.settings.everyone {
            channel.use_interface()?;
            channel.join(group)?;
        }
        Ok(channel)
    }

    /// Where others reach this node alone; nowhere while the interface has no address.
    pub fn address(&self) -> Option<SocketAddr> {
        let address = self.interface.as_ref()?.address(self.ipv6).ok()?;
        let port = self.unicast.local_address().ok()?.port();
        Some(SocketAddr::new(address, port))
    }

    /// What was counted so far.
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// Sends a datagram, or loses it.
    pub fn send(&mut self, to: Destination, bytes: &[u8]) {
        let Self {
            settings,
            interface,
            unicast,
            counters,
            ..
        } = self;
        let mut transmit = |address| {
            let scoped = interface
                .as_ref()
                .map_or(address, |interface| scoped(address, interface));
            match unicast.send(bytes, scoped) {
                Ok(()) => {
                    counters.sent += 1;
                    counters.sent_bytes += bytes.len() as u64;
                }
                Err(_) => counters.send_errors += 1,
            }
        };
        let address = match (to, &settings.everyone) {
            (Destination::Address(address), _) => address,
            (Destination::Everyone, Everyone::Group(group)) => *group,
            (Destination::Everyone, Everyone::Peers(peers)) => {
                return peers.iter().copied().for_each(transmit);
            }
        };
        transmit(address);
        if self.groups.contains_key(&address) && self.echo.sent(bytes) {
            self.noticed.push_back(NetworkChange::EchoLost);
        }
    }

    /// Who is meant by everyone from now on: another group, when the leader moves the control channel (CHAN-03), or
    /// other peers. Groups to listen to are joined and left apart, so that for a while both can be heard (CHAN-09).
    pub fn set_everyone(&mut self, everyone: Everyone) -> Result<(), OpenError> {
        if everyone.family()? != self.ipv6 {
            return Err(OpenError::Family(family(self.ipv6)));
        }
        self.settings.everyone = everyone;
        self.echo.forget();
        Ok(())
    }

    /// Listens to a group as well (CHAN-05); while the interface is gone, as soon as it is back.
    pub fn join(&mut self, group: SocketAddr) -> Result<(), OpenError> {
        if Everyone::Group(group).family()? != self.ipv6 {
            return Err(OpenError::Family(family(self.ipv6)));
        }
        if self.groups.contains_key(&group) {
            return Ok(());
        }
        // It may have gone, and nobody waited for the news yet.
        self.look_again();
        let socket = match &self.interface {
            Some(interface) => Some(join(group, interface)?),
            None => None,
        };
        self.groups.insert(group, socket);
        Ok(())
    }

    /// Listens to a group no longer, so that the kernel drops its traffic unseen (CHAN-07).
    pub fn leave(&mut self, group: SocketAddr) {
        self.groups.remove(&group);
    }

    /// Waits for the next thing to happen. Nothing is lost if the waiting is given up.
    pub async fn next(&mut self) -> io::Result<ChannelEvent> {
        loop {
            if let Some(change) = self.noticed.pop_front() {
                return Ok(ChannelEvent::Network(change));
            }
            let Self {
                watch,
                unicast,
                groups,
                counters,
                buffer,
                turn,
                ..
            } = self;
            let mut receiver = Receiver {
                unicast,
                groups,
                counters,
                buffer,
                turn,
            };
            tokio::select! {
                biased;
                changed = watch.change() => {
                    changed?;
                    self.look_again();
                }
                datagram = poll_fn(|context| receiver.poll(context)) => {
                    if datagram.via == Via::Multicast && self.echo.heard(&datagram.bytes) {
                        self.noticed.push_back(NetworkChange::EchoBack);
                    }
                    return Ok(ChannelEvent::Datagram(datagram));
                }
            }
        }
    }

    /// Something about the interfaces changed; was it ours?
    fn look_again(&mut self) {
        let after = Interface::find(&self.settings.interface).ok();
        let before = std::mem::replace(&mut self.interface, after);
        let number = |interface: &Option<Interface>| interface.as_ref().map(|known| known.index);
        if number(&before) != number(&self.interface) {
            self.groups.values_mut().for_each(|socket| *socket = None);
        }
        if before != self.interface {
            // Other errors than those of sending have nobody to go to; the next change brings the next try.
            let _ = self.use_interface();
        }
        let is_up =
            |interface: &Option<Interface>| interface.as_ref().is_some_and(|known| known.up);
        match (is_up(&before), is_up(&self.interface)) {
            (false, true) => self.noticed.push_back(NetworkChange::InterfaceUp),
            (true, false) => self.noticed.push_back(NetworkChange::InterfaceDown),
            _ => {}
        }
    }

    /// Sends and listens by the interface as it is now. Memberships belong to its number and outlast all else; a socket
    /// that has one is kept, since what it has heard would go with it.
    fn use_interface(&mut self) -> io::Result<()> {
        let Some(interface) = &self.interface else {
            return Ok(());
        };
        for (group, socket) in &mut self.groups {
            if socket.is_none() {
                *socket = join(*group, interface).ok();
            }
        }
        self.unicast
            .multicast_by(interface, self.ipv6, self.settings.hops)
    }
}

fn join(group: SocketAddr, interface: &Interface) -> Result<UdpPort, OpenError> {
    UdpPort::group(group, interface).map_err(|cause| OpenError::Join {
        group,
        interface: interface.name.clone(),
        cause,
    })
}

/// The receiving half of a channel, apart from the watch that is waited for at the same time.
struct Receiver<'a> {
    unicast: &'a UdpPort,
    groups: &'a BTreeMap<SocketAddr, Option<UdpPort>>,
    counters: &'a mut Counters,
    buffer: &'a mut [u8],
    turn: &'a mut usize,
}

impl Receiver<'_> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Datagram> {
        let unicast = std::iter::once((Via::Unicast, self.unicast));
        let groups = self.groups.values().flatten();
        let sockets = unicast.chain(groups.map(|socket| (Via::Multicast, socket)));
        let count = 1 + self.groups.len();
        let sockets = sockets.cycle().skip(*self.turn % count).take(count);
        for (via, socket) in sockets {
            *self.turn = self.turn.wrapping_add(1);
            while let Poll::Ready(received) = socket.poll_receive(context, self.buffer) {
                let Ok((len, from)) = received else {
                    self.counters.receive_errors += 1;
                    continue;
                };
                if self.fits(len) {
                    let bytes = self.buffer[..len].to_vec();
                    return Poll::Ready(Datagram { via, from, bytes });
                }
            }
        }
        Poll::Pending
    }

    /// Counts what came; the buffer has room for one byte more than any of ours.
    fn fits(&mut self, len: usize) -> bool {
        let fits = len < self.buffer.len();
        self.counters.received += 1;
        self.counters.received_bytes += len as u64;
        self.counters.oversized += u64::from(!fits);
        fits
    }
}
