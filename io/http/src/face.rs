use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};

/// Whom TLS lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visitors {
    /// Whoever comes without a certificate, too: the request says who asks.
    Anyone,
    /// Those alone for whom the authority vouches.
    Certified,
}

/// Why there is nothing to show to whoever connects.
#[derive(Debug, thiserror::Error)]
pub enum FaceError {
    /// The certificate or its key does not serve.
    #[error("the certificate cannot be used")]
    Tls(#[from] rustls::Error),
    /// The authority does not serve.
    #[error("nodes cannot be told from others by their certificates")]
    Verifier(#[from] VerifierBuilderError),
}

/// What to show to whoever connects. The authority comes along, so that whoever knows its fingerprint needs nothing else.
///
/// # Errors
/// If the certificate, its key or the authority is none.
pub fn face(
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    authority: &CertificateDer<'static>,
    visitors: Visitors,
) -> Result<ServerConfig, FaceError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone())?;
    let nodes = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider));
    let nodes = match visitors {
        Visitors::Anyone => nodes.allow_unauthenticated(),
        Visitors::Certified => nodes,
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(nodes.build()?)
        .with_single_cert(vec![certificate, authority.clone()], key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
