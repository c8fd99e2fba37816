//! Channels whose interface changes under them, in a network namespace of their own. Where the kernel forbids that to
//! ordinary users, or `ip` is missing, the tests say so and show nothing.

mod kit;

use std::process::Command;

use bellwether_net::{Channel, ChannelEvent, Destination, Everyone, Interface, NetworkChange, Via};

use kit::{heard, hears, in_time, new_group, noticed, on, peers, settings};

#[test]
fn an_interface_without_multicast_is_refused_and_those_with_it_are_named() {
    in_namespace(
        "an_interface_without_multicast_is_refused_and_those_with_it_are_named",
        async {
            veth_pair();
            ip("link set v0 multicast off");
            let group = Everyone::Group(new_group());
            let error = Channel::open(settings("v0", group.clone()))
                .unwrap_err()
                .to_string();
            assert!(error.contains("v0 cannot carry IPv4 multicast"), "{error}");
            assert!(
                error.contains("name the peers") && error.contains("v1"),
                "{error}"
            );
            assert!(!error.contains("v0 ("), "{error}");
            // By unicast it serves, and the loopback interface serves for either.
            let peer = "10.77.0.9:9".parse().unwrap();
            assert!(Channel::open(settings("v0", peers(&[peer]))).is_ok());
            assert!(Channel::open(settings("lo", group)).is_ok());
        },
    );
}

/// Two segments of one machine, each on its own network, and by accident with the same group.
#[test]
fn a_group_is_heard_on_its_own_interface_only() {
    in_namespace("a_group_is_heard_on_its_own_interface_only", async {
        veth_pair();
        let group = new_group();
        let [mut ann, mut ben] = [on("v0", group), on("lo", group)];
        ann.send(Destination::Everyone, b"on the cable");
        ben.send(Destination::Everyone, b"to myself");
        assert_eq!(heard(&mut ben).await.bytes, b"to myself");
        assert_eq!(heard(&mut ann).await.bytes, b"on the cable");
    });
}

/// CHAN-01, by IPv6: the addresses hold on one link only, and their users need not know its number.
#[test]
fn ipv6_works_as_ipv4_does() {
    in_namespace("ipv6_works_as_ipv4_does", async {
        veth_pair();
        ip("link set v0 addrgenmode none");
        ip("addr add fe80::77/64 dev v0 nodad");
        let group = "[ff02::7:7]:7777".parse().unwrap();
        let [mut ann, mut ben] = [on("v0", group), on("fe80::77", group)];
        // A new address is not ours at once: until it is, the kernel looks for its owner on the cable.
        while !is_local("fe80::77", "v0") {
            std::thread::yield_now();
        }
        ann.send(Destination::Everyone, b"to all");
        hears(&mut ben, Via::Multicast, &ann, "to all").await;
        let echo = heard(&mut ann).await;
        ben.send(Destination::Address(echo.from), b"to ann");
        hears(&mut ann, Via::Unicast, &ben, "to ann").await;
        // As the address stands in the member's record, without its link.
        ben.send(
            Destination::Address(ann.address().unwrap()),
            b"to ann again",
        );
        hears(&mut ann, Via::Unicast, &ben, "to ann again").await;
        let other = "[ff02::7:8]:7777".parse().unwrap();
        ben.join(other).unwrap();
        ann.send(Destination::Address(other), b"elsewhere");
        hears(&mut ben, Via::Multicast, &ann, "elsewhere").await;
    });
}

#[test]
fn an_interface_goes_down_and_comes_back() {
    in_namespace("an_interface_goes_down_and_comes_back", async {
        veth_pair();
        let group = new_group();
        let [mut ann, mut ben] = [on("v0", group), on("10.77.0.1", group)];
        ann.send(Destination::Everyone, b"one");
        hears(&mut ben, Via::Multicast, &ann, "one").await;
        heard(&mut ann).await;

        ip("link set v0 down");
        assert_eq!(noticed(&mut ann).await, NetworkChange::InterfaceDown);
        assert_eq!(noticed(&mut ben).await, NetworkChange::InterfaceDown);
        for n in 0..4 {
            ann.send(Destination::Everyone, &[n; 20]);
        }
        assert_eq!(noticed(&mut ann).await, NetworkChange::EchoLost);
        assert_eq!(ann.counters().send_errors, 4);

        ip("link set v0 up");
        assert_eq!(noticed(&mut ann).await, NetworkChange::InterfaceUp);
        settled(&mut ben).await;
        ann.send(Destination::Everyone, b"a message longer than its end");
        assert_eq!(noticed(&mut ann).await, NetworkChange::EchoBack);
        hears(
            &mut ben,
            Via::Multicast,
            &ann,
            "a message longer than its end",
        )
        .await;
    });
}

/// What was already heard stays heard while addresses come and go, as they do where a router hands them out.
#[test]
fn a_new_address_costs_no_datagram() {
    in_namespace("a_new_address_costs_no_datagram", async {
        veth_pair();
        let group = new_group();
        let [mut ann, mut ben] = [on("v0", group), on("v0", group)];
        ann.send(Destination::Everyone, b"before");
        ip("addr add 10.77.0.2/24 dev v0");
        hears(&mut ben, Via::Multicast, &ann, "before").await;
    });
}

/// As a virtual machine's or a tunnel's does: same name, another number.
#[test]
fn an_interface_is_removed_and_another_takes_its_name() {
    in_namespace(
        "an_interface_is_removed_and_another_takes_its_name",
        async {
            veth_pair();
            let group = new_group();
            let [mut ann, mut ben] = [on("v0", group), on("v0", group)];
            let before = number("v0");
            ip("link delete v0");
            assert_eq!(noticed(&mut ann).await, NetworkChange::InterfaceDown);
            assert_eq!(ann.address(), None);
            let later = new_group();
            ben.join(later).unwrap();
            veth_pair();
            assert!(number("v0") != before);
            settled(&mut ann).await;
            settled(&mut ben).await;
            ann.send(Destination::Everyone, b"here we are");
            hears(&mut ben, Via::Multicast, &ann, "here we are").await;
            ann.send(Destination::Address(later), b"joined in between");
            hears(&mut ben, Via::Multicast, &ann, "joined in between").await;
        },
    );
}

/// Waits until the channel has seen its interface up, and with its address.
async fn settled(channel: &mut Channel) {
    while noticed(channel).await != NetworkChange::InterfaceUp {}
    while channel.address().is_none() {
        let event = in_time(channel.next()).await.unwrap();
        assert!(matches!(event, ChannelEvent::Network(_)), "{event:?}");
    }
}

fn is_local(address: &str, interface: &str) -> bool {
    let words = ["-6", "route", "get", address, "oif", interface];
    let output = Command::new("ip").args(words).output().unwrap();
    output.stdout.starts_with(b"local ")
}

fn number(interface: &str) -> u32 {
    let Ok(choice) = interface.parse();
    Interface::find(&choice).unwrap().index
}

/// Two ends of a cable, both ours; the first has an address.
fn veth_pair() {
    ip("link add v0 type veth peer name v1");
    ip("addr add 10.77.0.1/24 dev v0");
    ip("link set v1 up");
    ip("link set v0 up");
}

fn ip(words: &str) {
    let status = Command::new("ip").args(words.split(' ')).status().unwrap();
    assert!(status.success(), "ip {words}");
}

/// Runs a test of this name again, alone in new user and network namespaces, and there its body.
fn in_namespace(test: &str, body: impl Future<Output = ()>) {
    if std::env::var_os(INSIDE).is_some() {
        ip("link set lo up");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        return runtime.unwrap().block_on(body);
    }
    let allowed = Command::new("unshare")
        .args(["-Urn", "ip", "link"])
        .output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        println!("skipped: no network namespaces for this user, or no `unshare` and `ip`");
        return;
    }
    let ours = std::env::current_exe().unwrap();
    let output = Command::new("unshare")
        .arg("-Urn")
        .arg(ours)
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "yes")
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
}

const INSIDE: &str = "BELLWETHER_TEST_NAMESPACE";
