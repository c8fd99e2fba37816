use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tower::ServiceExt;
use tracing::debug;

/// Whoever serves.
pub trait Host: Send + Sync + 'static {
    /// Who asks, as handlers are told by an extension of each request.
    type Caller: Clone + Send + Sync + 'static;

    /// What to show to a connection that came to this address.
    ///
    /// # Errors
    /// If there is nothing to show: the connection is closed.
    fn face(&self, address: IpAddr) -> io::Result<Arc<ServerConfig>>;

    /// Who came with this certificate, for which the authority vouches; `None` came without.
    fn caller(&self, certificate: Option<&CertificateDer<'_>>) -> Self::Caller;

    /// Something happened, for whoever counts.
    fn note(&self, _: Note) {}
}

/// What happens to connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// One is agreed.
    Opened,
    /// One that was agreed is over.
    Closed,
    /// No TLS was agreed, or not in time.
    NotAgreed,
    /// There were too many.
    TurnedAway,
}

/// How many are let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once; whoever comes then is turned away.
    pub connections: usize,
    /// Requests at once on one of them.
    pub streams: u32,
}

/// Those who are connected.
pub struct Connections<H> {
    host: Arc<H>,
    router: Router,
    streams: u32,
    places: Arc<Semaphore>,
    graceful: GracefulShutdown,
}

const HANDSHAKE: Duration = Duration::from_secs(10);
const HEADERS: Duration = Duration::from_secs(10);
const PING: Duration = Duration::from_secs(20);
const HEADERS_LEN_MAX: u32 = 16 << 10;
/// For want of file descriptors, say, nobody can be let in: others may free some meanwhile.
const PAUSE: Duration = Duration::from_millis(100);

impl<H: Host> Connections<H> {
    /// Nobody is let in yet.
    pub fn new(host: Arc<H>, router: Router, limits: Limits) -> Self {
        Self {
            host,
            router,
            streams: limits.streams,
            places: Arc::new(Semaphore::new(limits.connections)),
            graceful: GracefulShutdown::new(),
        }
    }

    /// Lets in whoever comes, for as long as this is waited for.
    pub async fn accept(&self, listener: &TcpListener) -> Infallible {
        loop {
            let Ok((stream, from)) = listener.accept().await else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
                self.host.note(Note::TurnedAway);
                continue;
            };
            let connection = Connection {
                host: Arc::clone(&self.host),
                router: self.router.clone(),
                streams: self.streams,
                from,
                _place: place,
            };
            tokio::spawn(connection.serve(stream, self.graceful.watcher()));
        }
    }

    /// Returns when the requests that have begun are answered.
    pub async fn shutdown(self) {
        drop(self.router);
        self.graceful.shutdown().await;
    }
}

impl<H> fmt::Debug for Connections<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").finish_non_exhaustive()
    }
}

/// Somebody who connected.
struct Connection<H> {
    host: Arc<H>,
    router: Router,
    streams: u32,
    from: SocketAddr,
    _place: OwnedSemaphorePermit,
}

impl<H: Host> Connection<H> {
    async fn serve(self, stream: TcpStream, watcher: Watcher) {
        let shaken = timeout(HANDSHAKE, self.shake(stream)).await;
        let stream = match shaken.map_err(io::Error::from).flatten() {
            Ok(stream) => stream,
            Err(error) => {
                self.host.note(Note::NotAgreed);
                debug!(from = %self.from, %error, "no handshake");
                return;
            }
        };
        self.host.note(Note::Opened);
        let certificates = stream.get_ref().1.peer_certificates();
        let caller = self.host.caller(certificates.and_then(<[_]>::first));
        let router = self.router.clone();
        let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let mut request: Request = request.map(Body::new);
            request.extensions_mut().insert(caller.clone());
            router.clone().oneshot(request)
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING)
            .max_concurrent_streams(self.streams)
            .max_header_list_size(HEADERS_LEN_MAX);
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        if let Err(error) = watcher.watch(connection).await {
            debug!(from = %self.from, %error, "connection broke");
        }
        self.host.note(Note::Closed);
    }

    async fn shake(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        stream.set_nodelay(true)?;
        let face = self.host.face(stream.local_addr()?.ip())?;
        TlsAcceptor::from(face).accept(stream).await
    }
}
