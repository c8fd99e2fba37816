use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use rustls::pki_types::ServerName;

/// Where a control server is: `https://HOST[:PORT]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerUrl {
    /// A name or an address, without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Text that is not where a control server is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not where a control server is: `https://HOST` or `https://HOST:PORT` is expected"
)]
pub struct ParseServerUrlError(String);

impl ServerUrl {
    /// The port of a control server unless another is said.
    pub const PORT: u16 = 7443;

    pub(crate) fn server_name(&self) -> ServerName<'static> {
        let name = ServerName::try_from(self.host.clone());
        name.expect("it was one when it was read")
    }
}

impl FromStr for ServerUrl {
    type Err = ParseServerUrlError;

    fn from_str(text: &str) -> Result<Self, ParseServerUrlError> {
        let error = || ParseServerUrlError(text.chars().take(200).collect());
        let rest = text.strip_prefix("https://").ok_or_else(error)?;
        let place = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match place.strip_prefix('[') {
            Some(rest) => rest.split_once(']').ok_or_else(error)?,
            None => place.split_at(place.find(':').unwrap_or(place.len())),
        };
        let port = match port.strip_prefix(':') {
            Some(digits) => digits.parse().map_err(|_| error())?,
            None if port.is_empty() => Self::PORT,
            None => return Err(error()),
        };
        ServerName::try_from(host).map_err(|_| error())?;
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.parse() {
            Ok(IpAddr::V6(address)) => write!(f, "https://[{address}]:{}", self.port),
            _ => write!(f, "https://{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_read_and_show() {
        for (text, shown) in [
            ("https://control", "https://control:7443"),
            ("https://control.example:1/", "https://control.example:1"),
            ("https://10.0.0.1:8443", "https://10.0.0.1:8443"),
            ("https://[fd00::1]", "https://[fd00::1]:7443"),
            ("https://[fd00::1]:9", "https://[fd00::1]:9"),
        ] {
            let url: ServerUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!(shown.parse(), Ok(url));
        }
        for text in [
            "",
            "control",
            "http://control",
            "https://",
            "https://a:b",
            "https://a/b",
            "https://a b",
        ] {
            assert!(text.parse::<ServerUrl>().is_err(), "{text}");
        }
    }
}
