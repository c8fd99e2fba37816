use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bellwether_http::{Visitors, face};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use time::OffsetDateTime;

use crate::authority::{Authority, SERVER_LASTS};

/// What this server shows to whoever connects.
///
/// It vouches for itself under the names it was given and, for each connection, under the address that the connection
/// came to: so nobody lists addresses, and none is forgotten when one changes.
#[derive(Debug)]
pub(crate) struct Faces {
    authority: Arc<Authority>,
    names: Vec<String>,
    made: Mutex<BTreeMap<IpAddr, Face>>,
}

#[derive(Debug, Clone)]
struct Face {
    config: Arc<ServerConfig>,
    made: Instant,
}

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub enum FaceError {
    /// A name is none.
    #[error("no certificate can be made for this server: look at the names it was given")]
    Certificate(#[from] rcgen::Error),
    /// It does not serve, or the authority does not.
    #[error("the certificate of this server cannot be used")]
    Tls(#[from] bellwether_http::FaceError),
}

/// Addresses of one machine that are remembered.
const FACES_MAX: usize = 64;
const RENEWED: Duration = SERVER_LASTS.checked_div(3).expect("3 is not 0");

impl Faces {
    pub(crate) fn new(authority: Arc<Authority>, names: &[String]) -> Self {
        let mut names = names.to_vec();
        names.push("localhost".to_owned());
        Self {
            authority,
            names,
            made: Mutex::default(),
        }
    }

    /// What to show to a connection that came to this address.
    pub(crate) fn show(&self, address: IpAddr) -> Result<Arc<ServerConfig>, FaceError> {
        let address = address.to_canonical();
        // Nothing is half done if a thread panics here.
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(face) = made
            .get(&address)
            .filter(|face| face.made.elapsed() < RENEWED)
        {
            return Ok(Arc::clone(&face.config));
        }
        let config = Arc::new(self.make(address)?);
        if made.len() >= FACES_MAX {
            made.clear();
        }
        made.insert(
            address,
            Face {
                config: Arc::clone(&config),
                made: Instant::now(),
            },
        );
        Ok(config)
    }

    fn make(&self, address: IpAddr) -> Result<ServerConfig, FaceError> {
        let now = OffsetDateTime::now_utc();
        let (certificate, key) = self.authority.server(&self.names, &[address], now)?;
        let authority = self.authority.certificate();
        let config = face(
            certificate,
            PrivateKeyDer::Pkcs8(key),
            authority,
            Visitors::Anyone,
        )?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use bellwether_types::NodeId;
    use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};
    use rustls::crypto::aws_lc_rs;
    use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
    use rustls::{
        CertificateError, ClientConfig, ClientConnection, Error, RootCertStore, ServerConnection,
    };

    use super::*;
    use crate::authority::Request;

    fn authority(now: OffsetDateTime) -> Authority {
        let (pem, key) = Authority::make(now).unwrap();
        Authority::open(pem.into_bytes(), key).unwrap()
    }

    /// What a server says of a node whose certificate this authority made at that time.
    fn meet(faces: &Faces, of: &Authority, at: OffsetDateTime) -> Result<(), Error> {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let request = CertificateParams::default()
            .serialize_request(&key)
            .unwrap();
        let request = Request::read(&request.pem().unwrap()).unwrap();
        let issued = of.node(NodeId::from_bytes([7; 16]), &request, at).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(faces.authority.certificate().clone()).unwrap();
        let chain = vec![CertificateDer::from(issued.der.to_vec())];
        let secret = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        let node = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, secret)
            .unwrap();
        let mut node =
            ClientConnection::new(Arc::new(node), "localhost".try_into().unwrap()).unwrap();
        let face = faces.show(Ipv4Addr::LOCALHOST.into()).unwrap();
        let mut server = ServerConnection::new(face).unwrap();
        while server.is_handshaking() {
            let (mut there, mut back) = (Vec::new(), Vec::new());
            node.write_tls(&mut there).unwrap();
            server.read_tls(&mut there.as_slice()).unwrap();
            server.process_new_packets()?;
            server.write_tls(&mut back).unwrap();
            node.read_tls(&mut back.as_slice()).unwrap();
            node.process_new_packets().unwrap();
        }
        Ok(())
    }

    #[test]
    fn a_node_is_known_by_a_certificate_of_this_authority_that_has_not_ended() {
        let now = OffsetDateTime::now_utc();
        let faces = Faces::new(Arc::new(authority(now)), &[]);
        let own = &faces.authority;
        meet(&faces, own, now).unwrap();
        let ended = meet(&faces, own, now - time::Duration::days(400)).unwrap_err();
        assert!(
            matches!(
                ended,
                Error::InvalidCertificate(CertificateError::ExpiredContext { .. })
            ),
            "{ended}"
        );
        let early = meet(&faces, own, now + time::Duration::days(2)).unwrap_err();
        assert!(
            matches!(
                early,
                Error::InvalidCertificate(CertificateError::NotValidYetContext { .. })
            ),
            "{early}"
        );
        let foreign = meet(&faces, &authority(now), now).unwrap_err();
        assert!(matches!(foreign, Error::InvalidCertificate(_)), "{foreign}");
    }
}
