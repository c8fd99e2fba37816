use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use bellwether_types::Name;

/// An address of a node, and how much of it names its subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NodeAddress {
    pub(crate) address: IpAddr,
    prefix: u8,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("an address is written with its prefix, such as `10.0.0.7/24`")]
pub(crate) struct ParseNodeAddressError;

impl FromStr for NodeAddress {
    type Err = ParseNodeAddressError;

    fn from_str(text: &str) -> Result<Self, ParseNodeAddressError> {
        let (address, prefix) = text.split_once('/').ok_or(ParseNodeAddressError)?;
        let address: IpAddr = address.parse().map_err(|_| ParseNodeAddressError)?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        match prefix.parse() {
            Ok(prefix) if prefix <= longest => Ok(Self { address, prefix }),
            _ => Err(ParseNodeAddressError),
        }
    }
}

impl NodeAddress {
    /// The subnet, as `ADDRESS/PREFIX` with the rest zero.
    pub(crate) fn subnet(&self) -> String {
        format!("{}/{}", self.network(), self.prefix)
    }

    /// What a segment made for the subnet is called.
    pub(crate) fn segment(&self) -> Name {
        let text = format!("net-{}-{}", self.network(), self.prefix).replace(':', "_");
        text.parse()
            .expect("digits, dots, underscores and dashes, and short")
    }

    fn network(&self) -> IpAddr {
        let prefix = u32::from(self.prefix);
        match self.address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
                Ipv4Addr::from_bits(address.to_bits() & mask).into()
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
                Ipv6Addr::from_bits(address.to_bits() & mask).into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_of_one_subnet_come_to_one_segment() {
        for (text, subnet, segment) in [
            ("10.1.2.3/24", "10.1.2.0/24", "net-10.1.2.0-24"),
            ("10.1.2.200/24", "10.1.2.0/24", "net-10.1.2.0-24"),
            ("10.1.2.3/0", "0.0.0.0/0", "net-0.0.0.0-0"),
            ("10.1.2.3/32", "10.1.2.3/32", "net-10.1.2.3-32"),
            ("fd00::7/64", "fd00::/64", "net-fd00__-64"),
            ("fd00::7/0", "::/0", "net-__-0"),
        ] {
            let address: NodeAddress = text.parse().unwrap();
            assert_eq!(address.subnet(), subnet);
            assert_eq!(address.segment().as_str(), segment);
        }
        let longest = "1111:2222:3333:4444:5555:6666:7777:8888/128";
        longest.parse::<NodeAddress>().unwrap().segment();
    }

    #[test]
    fn what_is_no_address_with_a_prefix_is_refused() {
        for text in [
            "",
            "10.0.0.1",
            "10.0.0.1/33",
            "fd00::/129",
            "10.0.0.1/-1",
            "host/24",
            "/",
        ] {
            assert_eq!(
                text.parse::<NodeAddress>(),
                Err(ParseNodeAddressError),
                "{text}"
            );
        }
    }
}
