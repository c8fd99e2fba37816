use std::any::TypeId;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bellwether_api::{Endpoint, Key, Octets, Problem};
use bellwether_types::{Hash, NodeId};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::header::{self, HeaderValue};
use hyper::http::request::Builder;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::address::ServerUrl;
use crate::pinned::Pinned;

/// A client of one control server, whose connection is made when it is needed, and again when it broke.
pub struct Client {
    url: ServerUrl,
    /// Where that is, if not where its name says.
    at: Option<SocketAddr>,
    tls: TlsConnector,
    token: Option<String>,
    connection: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

/// A connection on which TLS is agreed.
type Stream = TokioIo<TlsStream<TcpStream>>;

/// Whoever asks.
#[derive(Clone)]
pub enum Credential {
    /// Nobody in particular.
    Nobody,
    /// The bearer of a token.
    Token(String),
    /// A node.
    Node(Identity),
}

/// A node's certificate and key, PEM.
#[derive(Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// The key.
    pub key: String,
}

/// Why a request was not answered as it should be.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The certificate or the key to come with is none.
    #[error("the certificate to come with cannot be used")]
    Identity(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Nobody answers there.
    #[error("cannot reach the control server at {url}")]
    Unreachable {
        /// Where.
        url: ServerUrl,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Somebody answers who is not the one that is meant, or who does not take us for who we are.
    #[error(
        "the server at {url} is not the one with this fingerprint, or refuses this certificate"
    )]
    Untrusted {
        /// Where.
        url: ServerUrl,
        /// How that showed.
        #[source]
        source: io::Error,
    },
    /// The connection broke, or the answer took too long.
    #[error("the control server at {url} did not answer")]
    Silent {
        /// Where.
        url: ServerUrl,
        /// How that showed.
        #[source]
        source: Option<hyper::Error>,
    },
    /// It says no.
    #[error(transparent)]
    Problem(#[from] Problem),
    /// It says something else.
    #[error(
        "the server at {url} answers what no control server of this release does (status {status})"
    )]
    Foreign {
        /// Where.
        url: ServerUrl,
        /// The status.
        status: u16,
    },
}

const CONNECT: Duration = Duration::from_secs(10);
/// Longer than any wait that may be asked for.
const ANSWER: Duration = Duration::from_secs(90);
/// A tree is read, or made durable, before that is answered.
const TAKEN: Duration = Duration::from_secs(1_800);
const ANSWER_LEN_MAX: usize = 64 << 20;

impl Client {
    /// A client of the server there, which is known by the SHA-256 fingerprint of its authority.
    pub fn new(
        url: ServerUrl,
        fingerprint: Hash,
        credential: Credential,
    ) -> Result<Self, CallError> {
        let provider = Arc::new(default_provider());
        let verifier = Arc::new(Pinned {
            fingerprint,
            provider: Arc::clone(&provider),
        });
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|fault| CallError::Identity(fault.into()))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let (mut config, token) = match credential {
            Credential::Nobody => (builder.with_no_client_auth(), None),
            Credential::Token(token) => (builder.with_no_client_auth(), Some(token)),
            Credential::Node(identity) => {
                let (certificate, key) = identity.read()?;
                let config = builder.with_client_auth_cert(vec![certificate], key);
                (
                    config.map_err(|fault| CallError::Identity(fault.into()))?,
                    None,
                )
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let tls = TlsConnector::from(Arc::new(config));
        Ok(Self {
            url,
            at: None,
            tls,
            token,
            connection: Mutex::default(),
        })
    }

    /// A client of another node there, which the same authority vouches for.
    pub fn of_node(
        node: NodeId,
        at: SocketAddr,
        fingerprint: Hash,
        identity: Identity,
    ) -> Result<Self, CallError> {
        let url = ServerUrl {
            host: node.host_name(),
            port: at.port(),
        };
        let client = Self::new(url, fingerprint, Credential::Node(identity))?;
        Ok(Self {
            at: Some(at),
            ..client
        })
    }

    /// Where the server is.
    pub const fn url(&self) -> &ServerUrl {
        &self.url
    }

    /// Asks, and waits for the answer.
    pub async fn call<E: Endpoint>(
        &self,
        key: &E::Key,
        query: &E::Query,
        body: &E::Body,
    ) -> Result<E::Reply, CallError> {
        self.ask::<E>(self.request::<E>(key, query, body), ANSWER)
            .await
    }

    /// Asks with a body that is no JSON.
    pub async fn send<E: Endpoint<Body = Octets>>(
        &self,
        key: &E::Key,
        query: &E::Query,
        body: Bytes,
    ) -> Result<E::Reply, CallError> {
        let mut request = self.request::<E>(key, query, &Octets);
        *request.body_mut() = Full::new(body);
        let kind = HeaderValue::from_static("application/octet-stream");
        request.headers_mut().insert(header::CONTENT_TYPE, kind);
        self.ask::<E>(request, TAKEN).await
    }

    async fn ask<E: Endpoint>(
        &self,
        request: Request<Full<Bytes>>,
        patience: Duration,
    ) -> Result<E::Reply, CallError> {
        let answered = timeout(patience, self.exchange(request)).await;
        let (status, bytes) = answered.map_err(|_| self.silent(None))??;
        let foreign = || CallError::Foreign {
            url: self.url.clone(),
            status,
        };
        if status >= 300 {
            let problem: Problem = serde_json::from_slice(&bytes).map_err(|_| foreign())?;
            return Err(problem.into());
        }
        let bytes: &[u8] = match TypeId::of::<E::Reply>() == TypeId::of::<()>() {
            true => b"null",
            false => &bytes,
        };
        serde_json::from_slice(bytes).map_err(|_| foreign())
    }

    fn request<E: Endpoint>(
        &self,
        key: &E::Key,
        query: &E::Query,
        body: &E::Body,
    ) -> Request<Full<Bytes>> {
        let mut path = match (key.text(), E::PATH.split_once('{')) {
            (Some(key), Some((before, rest))) => {
                let after = rest.split_once('}').map_or("", |(_, after)| after);
                format!("{before}{key}{after}")
            }
            _ => E::PATH.to_owned(),
        };
        let query = serde_urlencoded::to_string(query).unwrap_or_default();
        if !query.is_empty() {
            path.push('?');
            path.push_str(&query);
        }
        let mut request = self.begin(E::METHOD.as_str(), &path);
        let body = match TypeId::of::<E::Body>() == TypeId::of::<()>() {
            true => Bytes::new(),
            false => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                let body = serde_json::to_vec(body);
                body.expect("bodies have text keys and finite numbers")
                    .into()
            }
        };
        request
            .body(Full::new(body))
            .expect("paths are ours, keys need no escapes")
    }

    /// A request before its body.
    pub(crate) fn begin(&self, method: &str, path: &str) -> Builder {
        let agent = concat!("bellwether/", env!("CARGO_PKG_VERSION"));
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header(header::USER_AGENT, agent);
        match &self.token {
            Some(token) => request.header(header::AUTHORIZATION, format!("Bearer {token}")),
            None => request,
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<(u16, Bytes), CallError> {
        let mut sender = self.connected().await?;
        let response = sender.send_request(request).await;
        let response = response.map_err(|fault| self.silent(Some(fault)))?;
        let status = response.status().as_u16();
        Ok((status, self.whole(response).await?))
    }

    /// The body of an answer, all of it.
    async fn whole(&self, response: Response<Incoming>) -> Result<Bytes, CallError> {
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), ANSWER_LEN_MAX)
            .collect()
            .await;
        let body = body.map_err(|fault| match fault.downcast::<hyper::Error>() {
            Ok(fault) => self.silent(Some(*fault)),
            Err(_) => CallError::Foreign {
                url: self.url.clone(),
                status,
            },
        })?;
        Ok(body.to_bytes())
    }

    /// What an answer with a status that is none of success says.
    pub(crate) async fn refused(&self, response: Response<Incoming>) -> CallError {
        let status = response.status().as_u16();
        match self.whole(response).await {
            Err(error) => error,
            Ok(bytes) => match serde_json::from_slice::<Problem>(&bytes) {
                Ok(problem) => problem.into(),
                Err(_) => CallError::Foreign {
                    url: self.url.clone(),
                    status,
                },
            },
        }
    }

    /// The connection there is, or another.
    pub(crate) async fn connected(&self) -> Result<SendRequest<Full<Bytes>>, CallError> {
        let mut connection = self.connection.lock().await;
        if let Some(sender) = connection.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        let shaken = http2::handshake(TokioExecutor::new(), self.dial().await?).await;
        let (sender, driven) = shaken.map_err(|fault| self.silent(Some(fault)))?;
        // How it ended shows in the requests that it carried.
        tokio::spawn(async move { drop(driven.await) });
        *connection = Some(sender.clone());
        Ok(sender)
    }

    /// Another connection, before any request.
    pub(crate) async fn dial(&self) -> Result<Stream, CallError> {
        let unreachable = |source| CallError::Unreachable {
            url: self.url.clone(),
            source,
        };
        let place = (self.url.host.as_str(), self.url.port);
        let dialled = timeout(CONNECT, async {
            match self.at {
                Some(at) => TcpStream::connect(at).await,
                None => TcpStream::connect(place).await,
            }
        });
        let late = |_| io::Error::from(io::ErrorKind::TimedOut);
        let stream = dialled.await.map_err(late).flatten().map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let shaken = timeout(CONNECT, self.tls.connect(self.url.server_name(), stream)).await;
        let stream = shaken
            .map_err(late)
            .flatten()
            .map_err(|source| match source.kind() {
                io::ErrorKind::InvalidData => CallError::Untrusted {
                    url: self.url.clone(),
                    source,
                },
                _ => unreachable(source),
            })?;
        Ok(TokioIo::new(stream))
    }

    pub(crate) fn silent(&self, source: Option<hyper::Error>) -> CallError {
        CallError::Silent {
            url: self.url.clone(),
            source,
        }
    }
}

impl Identity {
    fn read(&self) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), CallError> {
        let fault = |fault: rustls::pki_types::pem::Error| CallError::Identity(fault.into());
        Ok((
            CertificateDer::from_pem_slice(self.certificate.as_bytes()).map_err(fault)?,
            PrivateKeyDer::from_pem_slice(self.key.as_bytes()).map_err(fault)?,
        ))
    }
}

/// Not what it comes with: that is secret.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nobody => "nobody",
            Self::Token(_) => "a token",
            Self::Node(_) => "a node",
        })
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(certificate and key)")
    }
}
