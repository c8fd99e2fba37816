use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bellwether_http::{Connections, Host, Limits, Note};
use bellwether_store::{OpenError, Store};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::authority::fingerprint;
use crate::begin::{self, BeginError, Beginning};
use crate::door::Peer;
use crate::folder::{Folder, FolderError};
use crate::jobs::Board;
use crate::keys::Handed;
use crate::metrics::Metrics;
use crate::router::router;
use crate::server::{Server, WAITING_MAX};
use crate::tls::{FaceError, Faces};
use crate::uplink::Hub;
use crate::works::{Works, WorksError};

/// What a control server is set to.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// Its data directory, which is made if it is not there.
    pub data: PathBuf,
    /// Where it listens; port 0 is any that is free.
    pub listen: SocketAddr,
    /// The names and addresses under which nodes and people reach it, besides the addresses that it has itself.
    pub names: Vec<String>,
}

/// Why a control server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its data directory.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Its database.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// Its installation.
    #[error(transparent)]
    Begin(#[from] BeginError),
    /// Its contents and assignments.
    #[error(transparent)]
    Works(#[from] WorksError),
    /// Its certificate.
    #[error(transparent)]
    Face(#[from] FaceError),
    /// Its port.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The machine denies something else.
    #[error("cannot await signals")]
    Signals(#[source] io::Error),
}

/// A control server that listens.
#[derive(Debug)]
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// How others reach it.
    pub url: String,
    /// The fingerprint of its authority, by which others know it.
    pub ca_fingerprint: String,
    /// What is told at the first start.
    pub beginning: Option<Beginning>,
    listener: TcpListener,
    faces: Arc<Faces>,
    server: Arc<Server>,
    end: watch::Sender<bool>,
    terminated: Signal,
    interrupted: Signal,
    /// Locked until the server has ended.
    _folder: Folder,
}

/// How a control server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By SIGTERM.
    Terminated,
    /// From the keyboard.
    Interrupted,
}

const LIMITS: Limits = Limits {
    connections: 4_096,
    streams: 128,
};
/// How long an ending server waits for requests that have begun.
const FAREWELL: Duration = Duration::from_secs(10);

/// Starts a control server, which listens from now on.
pub async fn start(settings: ServerSettings) -> Result<Running, StartError> {
    let terminated = signal(SignalKind::terminate()).map_err(StartError::Signals)?;
    let interrupted = signal(SignalKind::interrupt()).map_err(StartError::Signals)?;
    let folder = Folder::open(&settings.data)?;
    let store = Arc::new(Store::open(&folder.path("store.db")).await?);
    let (identity, beginning) = begin::open(&folder, &store).await?;
    let (vault, signing) = (Arc::new(identity.vault), Arc::new(identity.signing));
    let works = Works::open(
        &folder,
        Arc::clone(&store),
        Arc::clone(&vault),
        Arc::clone(&signing),
    )?;
    let authority = Arc::new(identity.authority);
    let faces = Arc::new(Faces::new(Arc::clone(&authority), &settings.names));
    let fault = |source| StartError::Listen {
        address: settings.listen,
        source,
    };
    let listener = TcpListener::bind(settings.listen).await.map_err(fault)?;
    let address = listener.local_addr().map_err(fault)?;
    // A name that cannot stand in a certificate is found now.
    faces.show(address.ip())?;
    let (end, ending) = watch::channel(false);
    let ca_fingerprint = fingerprint(authority.certificate()).to_string();
    let board = Board::open_on(&store).await.map_err(BeginError::Store)?;
    let board = Arc::new(board);
    let hub = Hub::open_on(&store, Arc::clone(&board)).await;
    let hub = hub.map_err(BeginError::Store)?;
    let server = Arc::new(Server {
        store,
        vault,
        authority,
        signing,
        works: Arc::new(works),
        metrics: Metrics::new(),
        hub,
        board,
        handed: Handed::default(),
        ending,
        waiting: Arc::new(Semaphore::new(WAITING_MAX)),
    });
    let url = format!(
        "https://{}:{}",
        host(&settings.names, address),
        address.port()
    );
    info!(%address, url, data = %settings.data.display(), applied = server.store.applied(), "started");
    Ok(Running {
        address,
        url,
        ca_fingerprint,
        beginning,
        listener,
        faces,
        server,
        end,
        terminated,
        interrupted,
        _folder: folder,
    })
}

/// The name to tell others: one that was given, or what this machine calls itself.
fn host(names: &[String], address: SocketAddr) -> String {
    let own = || match address.ip() {
        ip if ip.is_unspecified() => rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned(),
        ip => ip.to_string(),
    };
    let name = names.first().cloned().unwrap_or_else(own);
    match name.contains(':') {
        true => format!("[{name}]"),
        false => name,
    }
}

impl Running {
    /// Serves until a signal ends it; requests that have begun are answered first.
    pub async fn run(mut self) -> Ended {
        let reception = Arc::new(Reception {
            faces: Arc::clone(&self.faces),
            server: Arc::clone(&self.server),
        });
        let router = router(Arc::clone(&self.server));
        let connections = Connections::new(reception, router, LIMITS);
        let mut tasks = self.server.work();
        let ended = tokio::select! {
            never = connections.accept(&self.listener) => match never {},
            _ = self.terminated.recv() => Ended::Terminated,
            _ = self.interrupted.recv() => Ended::Interrupted,
        };
        info!("asked to end: answering what has begun");
        drop(self.listener);
        self.end.send_replace(true);
        let farewell = async {
            connections.shutdown().await;
            while tasks.join_next().await.is_some() {}
        };
        if timeout(FAREWELL, farewell).await.is_err() {
            warn!("some requests were not answered within {FAREWELL:?}");
        }
        // Whoever is not done by now is cut off; what is committed stays.
        if let Some(server) = Arc::into_inner(self.server) {
            drop(server.works);
            if let Some(store) = Arc::into_inner(server.store) {
                store.close().await;
            }
        }
        info!("ended");
        ended
    }
}

/// How this server meets those who connect.
struct Reception {
    faces: Arc<Faces>,
    server: Arc<Server>,
}

impl Host for Reception {
    type Caller = Peer;

    fn face(&self, address: IpAddr) -> io::Result<Arc<ServerConfig>> {
        self.faces.show(address).map_err(io::Error::other)
    }

    fn caller(&self, certificate: Option<&CertificateDer<'_>>) -> Peer {
        Peer(certificate.map(fingerprint))
    }

    fn note(&self, note: Note) {
        let metrics = &self.server.metrics;
        match note {
            Note::Opened => drop(metrics.connections.inc()),
            Note::Closed => drop(metrics.connections.dec()),
            Note::NotAgreed => drop(metrics.handshakes_failed.inc()),
            Note::TurnedAway => drop(metrics.turned_away.inc()),
        }
    }
}
