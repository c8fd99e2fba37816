use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::{InterfaceFlags, if_nametoindex};

/// Which of this machine's networks a segment lives on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InterfaceChoice {
    /// The interface of this name.
    Named(String),
    /// The interface that has this address.
    Having(IpAddr),
}

/// A network interface as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// What the system calls it.
    pub name: String,
    /// Its number; one that vanished and came back has another.
    pub index: u32,
    /// Its addresses, those first that other networks know.
    pub addresses: Vec<IpAddr>,
    /// Whether it is switched on.
    pub up: bool,
    prefixes: Vec<(IpAddr, u8)>,
    multicast: bool,
    loopback: bool,
}

/// No interface to work with.
#[derive(Debug, thiserror::Error)]
pub enum InterfaceError {
    /// The system does not tell.
    #[error("the network interfaces of this machine cannot be listed")]
    Unknown(#[source] io::Error),
    /// None has that name or address.
    #[error("no network interface has the name or address {choice}; there are: {known}")]
    Missing {
        /// What was looked for.
        choice: InterfaceChoice,
        /// What there is, with addresses.
        known: String,
    },
    /// It has no address of the family that is needed.
    #[error(
        "network interface {name} has no {family} address: give it one, or choose a group of the other family"
    )]
    Unaddressed {
        /// The interface.
        name: String,
        /// `IPv4` or `IPv6`.
        family: &'static str,
    },
    /// It cannot multicast.
    #[error(
        "network interface {name} cannot carry {family} multicast: name the peers, to work by unicast, or choose \
         another interface{others}"
    )]
    NoMulticast {
        /// The interface.
        name: String,
        /// `IPv4` or `IPv6`.
        family: &'static str,
        /// Those that can, after a colon.
        others: String,
    },
}

impl Interface {
    /// Finds the interface as it is now.
    pub fn find(choice: &InterfaceChoice) -> Result<Self, InterfaceError> {
        let mut all = list().map_err(InterfaceError::Unknown)?;
        match all.iter().position(|interface| interface.is(choice)) {
            Some(index) => Ok(all.swap_remove(index)),
            None => Err(InterfaceError::Missing {
                choice: choice.clone(),
                known: joined(all.iter()),
            }),
        }
    }

    /// Its first address of the family, which others can answer to.
    pub fn address(&self, ipv6: bool) -> Result<IpAddr, InterfaceError> {
        let mut addresses = self.addresses.iter().copied();
        addresses
            .find(|address| address.is_ipv6() == ipv6)
            .ok_or_else(|| InterfaceError::Unaddressed {
                name: self.name.clone(),
                family: family(ipv6),
            })
    }

    /// Its addresses as `ADDRESS/PREFIX`, in their order.
    pub fn subnets(&self) -> impl Iterator<Item = String> {
        self.addresses.iter().filter_map(|address| {
            let (_, prefix) = self.prefixes.iter().find(|(known, _)| known == address)?;
            Some(format!("{address}/{prefix}"))
        })
    }

    /// Refuses an interface that multicasts of the family never leave. The loopback interface does without the flag, but
    /// Linux has no route for IPv6 multicasts there.
    pub fn require_multicast(&self, ipv6: bool) -> Result<(), InterfaceError> {
        if self.can_multicast(ipv6) {
            return Ok(());
        }
        let all = list().map_err(InterfaceError::Unknown)?;
        let others = joined(all.iter().filter(|other| other.can_multicast(ipv6)));
        Err(InterfaceError::NoMulticast {
            name: self.name.clone(),
            family: family(ipv6),
            others: match others.as_str() {
                "" => " (none here can)".to_owned(),
                _ => format!(": {others}"),
            },
        })
    }

    fn can_multicast(&self, ipv6: bool) -> bool {
        self.multicast || (self.loopback && !ipv6)
    }

    fn is(&self, choice: &InterfaceChoice) -> bool {
        match choice {
            InterfaceChoice::Named(name) => self.name == *name,
            InterfaceChoice::Having(address) => self.addresses.contains(address),
        }
    }

    fn without_addresses(entry: &InterfaceAddress, index: u32) -> Self {
        Self {
            name: entry.interface_name.clone(),
            index,
            addresses: Vec::new(),
            prefixes: Vec::new(),
            up: entry.flags.contains(InterfaceFlags::IFF_UP),
            multicast: entry.flags.contains(InterfaceFlags::IFF_MULTICAST),
            loopback: entry.flags.contains(InterfaceFlags::IFF_LOOPBACK),
        }
    }
}

fn list() -> io::Result<Vec<Interface>> {
    let mut all: Vec<Interface> = Vec::new();
    for entry in getifaddrs()? {
        let at = match all
            .iter()
            .position(|known| known.name == entry.interface_name)
        {
            Some(at) => at,
            // It may vanish while we look.
            None => match if_nametoindex(entry.interface_name.as_str()) {
                Ok(index) => {
                    all.push(Interface::without_addresses(&entry, index));
                    all.len() - 1
                }
                Err(_) => continue,
            },
        };
        if let Some(address) = address_of(&entry) {
            all[at].addresses.push(address);
            all[at]
                .prefixes
                .extend(prefix_of(&entry).map(|prefix| (address, prefix)));
        }
    }
    for interface in &mut all {
        interface.addresses.sort_by_key(is_link_local);
    }
    Ok(all)
}

fn address_of(entry: &InterfaceAddress) -> Option<IpAddr> {
    let address = entry.address.as_ref()?;
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    let v6 = || address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip()));
    v4.or_else(v6)
}

/// How much of its address names its subnet.
fn prefix_of(entry: &InterfaceAddress) -> Option<u8> {
    let mask = entry.netmask.as_ref()?;
    let v4 = mask
        .as_sockaddr_in()
        .map(|v4| v4.ip().to_bits().count_ones());
    let v6 = || {
        mask.as_sockaddr_in6()
            .map(|v6| v6.ip().to_bits().count_ones())
    };
    v4.or_else(v6).and_then(|ones| u8::try_from(ones).ok())
}

fn is_link_local(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => Ipv4Addr::is_link_local(address),
        IpAddr::V6(address) => Ipv6Addr::is_unicast_link_local(address),
    }
}

fn joined<'a>(interfaces: impl Iterator<Item = &'a Interface>) -> String {
    let shown = interfaces.map(|interface| {
        let addresses: Vec<_> = interface.addresses.iter().map(IpAddr::to_string).collect();
        match addresses.as_slice() {
            [] => interface.name.clone(),
            _ => format!("{} ({})", interface.name, addresses.join(", ")),
        }
    });
    shown.collect::<Vec<_>>().join(", ")
}

pub(crate) const fn family(ipv6: bool) -> &'static str {
    if ipv6 { "IPv6" } else { "IPv4" }
}

impl FromStr for InterfaceChoice {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let address = text.parse().map(Self::Having);
        Ok(address.unwrap_or_else(|_| Self::Named(text.to_owned())))
    }
}

impl fmt::Display for InterfaceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => f.write_str(name),
            Self::Having(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_is_found_by_name_or_address() {
        let by_address = find("127.0.0.1").unwrap();
        assert_eq!(find(&by_address.name).unwrap(), by_address);
        assert!(by_address.up && by_address.index > 0);
        assert_eq!(
            by_address.address(false).unwrap(),
            IpAddr::V4(Ipv4Addr::LOCALHOST)
        );
        assert!(by_address.require_multicast(false).is_ok());
        let refused = by_address.require_multicast(true).unwrap_err().to_string();
        assert!(refused.contains("name the peers"), "{refused}");
    }

    #[test]
    fn what_is_not_there_is_answered_with_what_is() {
        let missing = find("nosuch0").unwrap_err().to_string();
        assert!(
            missing.contains("nosuch0") && missing.contains("127.0.0.1"),
            "{missing}"
        );
        assert!(find("192.0.2.200").is_err());
    }

    fn find(text: &str) -> Result<Interface, InterfaceError> {
        let Ok(choice) = text.parse();
        Interface::find(&choice)
    }
}
