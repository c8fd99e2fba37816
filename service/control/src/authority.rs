use std::net::IpAddr;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use bellwether_types::{Hash, NodeId};
use bellwether_wire::PublicKey;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;

/// The certificate authority of an installation: it vouches for its servers and nodes, and for nobody else.
#[derive(Debug)]
pub(crate) struct Authority {
    certificate: CertificateDer<'static>,
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// Why the authority that is kept cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Its certificate is none.
    #[error("the authority's certificate in the database is damaged")]
    Certificate,
    /// Its certificate or its key does not serve.
    #[error("the authority in the database cannot be used")]
    Unusable(#[source] rcgen::Error),
}

/// A certificate that was made.
pub(crate) struct Issued {
    pub(crate) der: CertificateDer<'static>,
    pub(crate) pem: String,
    pub(crate) ends_ms: i64,
}

/// What a node asks a certificate for.
#[derive(Debug)]
pub(crate) struct Request {
    request: CertificateSigningRequestParams,
}

const DAY: Duration = Duration::from_secs(24 * 3600);
const AUTHORITY_LASTS: Duration = DAY.saturating_mul(20 * 365);
/// A server makes itself a new one whenever it starts, and in time.
pub(crate) const SERVER_LASTS: Duration = DAY.saturating_mul(90);
pub(crate) const NODE_LASTS: Duration = DAY.saturating_mul(30);
/// Clocks that are behind do not take a new certificate for one of the future.
const BACKDATED: Duration = DAY;

impl Authority {
    /// Makes one: its certificate, PEM, and its key, to be kept.
    pub(crate) fn make(now: OffsetDateTime) -> Result<(String, Vec<u8>), rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = params(now, AUTHORITY_LASTS, "Bellwether authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let certificate = params.self_signed(&key)?;
        Ok((certificate.pem(), key.serialize_der()))
    }

    /// The authority that was made before.
    pub(crate) fn open(pem: Vec<u8>, key: Vec<u8>) -> Result<Self, AuthorityError> {
        let pem = String::from_utf8(pem).map_err(|_| AuthorityError::Certificate)?;
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes());
        let certificate = certificate.map_err(|_| AuthorityError::Certificate)?;
        let key = KeyPair::try_from(&PrivatePkcs8KeyDer::from(key));
        let issuer = key.and_then(|key| Issuer::from_ca_cert_der(&certificate, key));
        let issuer = issuer.map_err(AuthorityError::Unusable)?;
        Ok(Self {
            certificate,
            pem,
            issuer,
        })
    }

    pub(crate) const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate and key for this server, under these names and addresses.
    pub(crate) fn server(
        &self,
        names: &[String],
        addresses: &[IpAddr],
        now: OffsetDateTime,
    ) -> Result<(CertificateDer<'static>, PrivatePkcs8KeyDer<'static>), rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = params(now, SERVER_LASTS, "Bellwether control server");
        for name in names {
            let name = match name.parse() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(name.as_str().try_into()?),
            };
            params.subject_alt_names.push(name);
        }
        let addresses = addresses.iter().copied().map(SanType::IpAddress);
        params.subject_alt_names.extend(addresses);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok((certificate.der().clone(), key.serialize_der().into()))
    }

    /// A certificate for a node. Nodes also serve each other, under a name that none but this node has and no control
    /// server.
    pub(crate) fn node(
        &self,
        node: NodeId,
        request: &Request,
        now: OffsetDateTime,
    ) -> Result<Issued, rcgen::Error> {
        let mut params = params(now, NODE_LASTS, &node.to_string());
        let name = node.host_name();
        params.subject_alt_names = vec![SanType::DnsName(name.as_str().try_into()?)];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        let ends = params.not_after;
        let certificate = params.signed_by(&request.request.public_key, &self.issuer)?;
        Ok(Issued {
            der: certificate.der().clone(),
            pem: certificate.pem(),
            ends_ms: i64::try_from(ends.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX),
        })
    }
}

impl Request {
    /// Reads a request, whose maker must have the key; whatever else it says is not looked at.
    pub(crate) fn read(pem: &str) -> Result<Self, rcgen::Error> {
        CertificateSigningRequestParams::from_pem(pem).map(|request| Self { request })
    }

    /// The key: that of the certificate, which the node also signs with. `None` if it is not Ed25519.
    pub(crate) fn key(&self) -> Option<PublicKey> {
        PublicKey::from_spki(&self.request.public_key.subject_public_key_info())
    }
}

/// The SHA-256 fingerprint of a certificate.
pub(crate) fn fingerprint(certificate: &CertificateDer<'_>) -> Hash {
    let digest = digest(&SHA256, certificate);
    Hash(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
}

fn params(now: OffsetDateTime, lasts: Duration, name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = now - BACKDATED;
    params.not_after = now + lasts;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_opens_again_and_with_its_own_key_only() {
        let now = OffsetDateTime::now_utc();
        let (pem, key) = Authority::make(now).unwrap();
        let authority = Authority::open(pem.clone().into_bytes(), key).unwrap();
        assert_eq!(authority.pem(), pem);
        assert!(Authority::open(pem.into_bytes(), b"no key".to_vec()).is_err());
        assert!(Authority::open(b"no certificate".to_vec(), Vec::new()).is_err());
    }

    #[test]
    fn a_request_is_read_if_its_maker_has_the_key() {
        let key = KeyPair::generate().unwrap();
        let request = CertificateParams::default()
            .serialize_request(&key)
            .unwrap();
        let pem = request.pem().unwrap();
        Request::read(&pem).unwrap();
        for forged in [
            "",
            "-----BEGIN CERTIFICATE REQUEST-----",
            &pem[..pem.len() / 2],
        ] {
            assert!(Request::read(forged).is_err());
        }
        let mut der = request.der().to_vec();
        let last = der.len() - 1;
        der[last] ^= 1;
        assert!(CertificateSigningRequestParams::from_der(&der.as_slice().into()).is_err());
    }
}
