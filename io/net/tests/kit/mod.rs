//! What the tests with real sockets share.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeSet;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use bellwether_net::{
    Channel, ChannelEvent, ChannelSettings, Datagram, Everyone, InterfaceChoice, NetworkChange, Via,
};

pub(crate) const LEN_MAX: usize = 1_000;

/// A group that no other test uses, also none that runs at the same time.
pub(crate) fn new_group() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let process = std::process::id().to_be_bytes();
    let address = Ipv4Addr::new(239, 255 - number[0], process[3], number[1]);
    let port = 20_000 + u16::from_be_bytes([process[2], 0]) % 8_192;
    SocketAddr::new(IpAddr::V4(address), port)
}

pub(crate) fn settings(interface: &str, everyone: Everyone) -> ChannelSettings {
    let Ok(interface) = interface.parse::<InterfaceChoice>();
    ChannelSettings {
        interface,
        port: 0,
        hops: 1,
        everyone,
        datagram_len_max: LEN_MAX,
    }
}

pub(crate) fn on(interface: &str, group: SocketAddr) -> Channel {
    Channel::open(settings(interface, Everyone::Group(group))).unwrap()
}

/// On the loopback interface, in this group.
pub(crate) fn member(group: SocketAddr) -> Channel {
    on("127.0.0.1", group)
}

pub(crate) fn peers(addresses: &[SocketAddr]) -> Everyone {
    Everyone::Peers(BTreeSet::from_iter(addresses.iter().copied()))
}

/// The next datagram, whatever else is noticed meanwhile.
pub(crate) async fn heard(channel: &mut Channel) -> Datagram {
    loop {
        if let ChannelEvent::Datagram(datagram) = in_time(channel.next()).await.unwrap() {
            return datagram;
        }
    }
}

/// The next change of the network, whatever is heard meanwhile.
pub(crate) async fn noticed(channel: &mut Channel) -> NetworkChange {
    loop {
        if let ChannelEvent::Network(change) = in_time(channel.next()).await.unwrap() {
            return change;
        }
    }
}

pub(crate) async fn hears(channel: &mut Channel, via: Via, from: &Channel, text: &str) {
    let datagram = heard(channel).await;
    let (seen, said) = (datagram.bytes.as_slice(), text.as_bytes());
    assert_eq!((datagram.via, seen), (via, said));
    assert_eq!(
        Some(datagram.from.ip()),
        from.address().map(|from| from.ip())
    );
    assert_eq!(
        Some(datagram.from.port()),
        from.address().map(|from| from.port())
    );
}

/// What never happens fails the test instead of holding it up for ever.
pub(crate) async fn in_time<F: Future>(future: F) -> F::Output {
    let patience = Duration::from_secs(60);
    tokio::time::timeout(patience, future)
        .await
        .expect("it happens within a minute")
}
