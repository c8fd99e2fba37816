//! What neighbours are given.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::net::{IpAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bellwether_api::{Code, NodeSettings, Problem};
use bellwether_client::{PIECE_LEN_MAX, Right};
use bellwether_disk::{Inventory, Options, RealDisk, Site, SiteError};
use bellwether_http::{Connections, Host, Limits, Visitors, Wanted, face};
use bellwether_types::{Hash, NodeId, SitePart, VersionId};
use bellwether_wire::ContentKey;
use rustls::ServerConfig;
use rustls::client::verify_server_name;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tracing::{debug, warn};

use super::{Circle, NeighboursSettings};
use crate::enrol::Standing;

const LIMITS: Limits = Limits {
    connections: 64,
    streams: 16,
};

/// Serves neighbours for as long as the process lives.
pub(super) async fn run(
    settings: NeighboursSettings,
    circle: watch::Receiver<Circle>,
    listener: TcpListener,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let door = Arc::new(Door {
        node: settings.node,
        standing: settings.standing,
        circle,
        shown: Mutex::default(),
    });
    let pantry = Arc::new(Pantry {
        door: Arc::clone(&door),
        sites: settings.sites,
        inventories: Mutex::default(),
    });
    let router = Router::new()
        .route("/v1/sites/{site}/versions/{version}", get(manifest))
        .route("/v1/sites/{site}/objects/{content}", get(piece))
        .fallback(nothing)
        .with_state(pantry);
    match Connections::new(door, router, LIMITS)
        .accept(&listener)
        .await {}
}

/// Who is let in.
struct Door {
    node: NodeId,
    standing: watch::Receiver<Arc<Standing>>,
    circle: watch::Receiver<Circle>,
    /// What is shown to whoever connects, and the standing that it was made of.
    shown: Mutex<Option<(Arc<Standing>, Arc<ServerConfig>)>>,
}

/// The certificate that a connection came with.
#[derive(Debug, Clone)]
struct Peer(Option<Arc<CertificateDer<'static>>>);

impl Host for Door {
    type Caller = Peer;

    fn face(&self, _: IpAddr) -> io::Result<Arc<ServerConfig>> {
        let standing = Arc::clone(&self.standing.borrow());
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, face)) = &*shown
            && Arc::ptr_eq(of, &standing)
        {
            return Ok(Arc::clone(face));
        }
        let read =
            |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).map_err(io::Error::other);
        let authority = standing
            .authority
            .as_deref()
            .ok_or(io::ErrorKind::NotFound)?;
        let key = PrivateKeyDer::from_pem_slice(standing.identity.key.as_bytes());
        let made = face(
            read(&standing.identity.certificate)?,
            key.map_err(io::Error::other)?,
            &read(authority)?,
            Visitors::Certified,
        );
        let made = Arc::new(made.map_err(io::Error::other)?);
        *shown = Some((standing, Arc::clone(&made)));
        Ok(made)
    }

    fn caller(&self, certificate: Option<&CertificateDer<'_>>) -> Peer {
        Peer(certificate.map(|der| Arc::new(der.clone().into_owned())))
    }
}

impl Door {
    /// Whether whoever came with this certificate may have content of a site.
    fn admit(&self, peer: &Peer, headers: &HeaderMap, site: &SitePart) -> Result<(), Problem> {
        let refuse = |code, why: String| Err(Problem::new(code, why));
        let right = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| Right::read(value.to_str().ok()?));
        let Some(right) = right else {
            return refuse(
                Code::Unauthenticated,
                "this needs `authorization: Group NODE GROUP PROOF`".to_owned(),
            );
        };
        let node = right.node;
        if !peer.is(node) {
            let why = format!("the certificate is not that of node {node}");
            return refuse(Code::Unauthenticated, why);
        }
        let is_member = self.circle.borrow().contains_key(&node);
        if !is_member {
            let why = format!("node {node} is no member of this segment");
            return refuse(Code::Forbidden, why);
        }
        if !receives(&self.standing.borrow().settings, &right, self.node, site) {
            let why = format!(
                "node {node} does not show that it receives site {site} in a group of this node"
            );
            return refuse(Code::Forbidden, why);
        }
        Ok(())
    }
}

/// Whether this node receives a site in the group that a neighbour names, and the neighbour has its key.
fn receives(settings: &NodeSettings, right: &Right, own: NodeId, site: &SitePart) -> bool {
    let of_site = settings.groups.iter().filter(|group| {
        let has_part = group.parts.is_empty() || group.parts.contains(&site.part);
        group.group == right.group && group.site.as_ref() == Some(&site.site) && has_part
    });
    let mut keys = of_site.filter_map(|group| group.key.parse::<ContentKey>().ok());
    keys.any(|key| right.holds(own, &key))
}

impl Peer {
    /// Whether the certificate is that of a node.
    fn is(&self, node: NodeId) -> bool {
        let (Some(der), Ok(name)) = (&self.0, ServerName::try_from(node.host_name())) else {
            return false;
        };
        let parsed = ParsedCertificate::try_from(&**der);
        parsed.is_ok_and(|certificate| verify_server_name(&certificate, &name).is_ok())
    }
}

/// What there is to give.
struct Pantry {
    door: Arc<Door>,
    sites: PathBuf,
    /// What each site held when that was looked up.
    inventories: Mutex<BTreeMap<SitePart, Known>>,
}

/// The versions that a site held, and their contents.
type Known = (Vec<VersionId>, Arc<Inventory>);

/// Gives the list of files of a version.
async fn manifest(
    State(pantry): State<Arc<Pantry>>,
    Extension(peer): Extension<Peer>,
    Path((site, version)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let given = async {
        let site: SitePart = read(&site, "a site")?;
        let version: VersionId = read(&version, "a version")?;
        pantry.door.admit(&peer, &headers, &site)?;
        let bytes = blocking(move || pantry.manifest(&site, version)).await?;
        Ok(octets(StatusCode::OK, bytes))
    };
    given.await.unwrap_or_else(|problem| answer(&problem))
}

/// Gives a range of a content.
async fn piece(
    State(pantry): State<Arc<Pantry>>,
    Extension(peer): Extension<Peer>,
    Path((site, content)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let given = async {
        let site: SitePart = read(&site, "a site")?;
        let content: Hash = read(&content, "a hash")?;
        pantry.door.admit(&peer, &headers, &site)?;
        let (bytes, range) = blocking(move || pantry.piece(&site, &content, &headers)).await?;
        let mut response = octets(StatusCode::PARTIAL_CONTENT, bytes);
        let range = HeaderValue::from_str(&range).expect("digits");
        response.headers_mut().insert(header::CONTENT_RANGE, range);
        Ok(response)
    };
    given.await.unwrap_or_else(|problem| answer(&problem))
}

async fn nothing() -> Response {
    answer(&Problem::new(Code::NotFound, "nodes have no such route"))
}

impl Pantry {
    fn manifest(&self, site: &SitePart, version: VersionId) -> Result<Vec<u8>, Problem> {
        let manifest = self.site(site)?.manifest(&version);
        Ok(manifest.map_err(|error| of_site(&error))?.encode())
    }

    fn piece(
        &self,
        name: &SitePart,
        content: &Hash,
        headers: &HeaderMap,
    ) -> Result<(Vec<u8>, String), Problem> {
        let site = self.site(name)?;
        let inventory = self.inventory(&site)?;
        let object = site.object(&inventory, content);
        let missing = || Problem::new(Code::NotFound, format!("content {content} is not here"));
        let mut object = object
            .map_err(|error| of_site(&error))?
            .ok_or_else(missing)?;
        let size = object.size();
        let (from, to) = match Wanted::of(headers, size) {
            Wanted::Range(from, to) if to - from <= PIECE_LEN_MAX => (from, to),
            Wanted::Range(..) | Wanted::Whole | Wanted::Beyond => {
                let why = format!(
                    "the content has {size} bytes: name a range of at most {PIECE_LEN_MAX} of them"
                );
                return Err(Problem::new(Code::Range, why));
            }
        };
        object.seek(from);
        let mut bytes = Vec::with_capacity((to - from) as usize);
        let came = object.take(to - from).read_to_end(&mut bytes);
        if came.map_err(|error| internal(&error))? as u64 != to - from {
            // It was cut off since: as good as none.
            return Err(missing());
        }
        Ok((bytes, format!("bytes {from}-{}/{size}", to - 1)))
    }

    fn site(&self, name: &SitePart) -> Result<Site<RealDisk>, Problem> {
        let disk = RealDisk::open(&self.sites).map_err(|errno| internal(&errno))?;
        Ok(Site::open(disk, name.clone(), Options::default()))
    }

    /// What a site holds, looked up again when that has changed.
    fn inventory(&self, site: &Site<RealDisk>) -> Result<Arc<Inventory>, Problem> {
        let status = site.status().map_err(|error| of_site(&error))?;
        let held: Vec<VersionId> = status.releases.into_keys().collect();
        // Others wait, instead of doing the same.
        let mut known = self
            .inventories
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((of, inventory)) = known.get(site.name())
            && *of == held
        {
            return Ok(Arc::clone(inventory));
        }
        let inventory = Arc::new(site.inventory().map_err(|error| of_site(&error))?);
        known.insert(site.name().clone(), (held, Arc::clone(&inventory)));
        Ok(inventory)
    }
}

fn read<T: std::str::FromStr>(text: &str, what: &str) -> Result<T, Problem> {
    let malformed = |_| {
        Problem::new(
            Code::Malformed,
            format!("the path names {what} that is none"),
        )
    };
    text.parse().map_err(malformed)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let done = spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(internal(&error)))
}

fn of_site(error: &SiteError) -> Problem {
    match error {
        SiteError::SiteMissing { .. } | SiteError::VersionNotHeld { .. } => {
            Problem::new(Code::NotFound, error.to_string())
        }
        error => internal(error),
    }
}

/// The log has the whole story; whoever asked is not told of files.
fn internal(error: &(dyn std::error::Error + 'static)) -> Problem {
    warn!("a neighbour gets nothing: {error}");
    Problem::new(Code::Internal, "this node cannot read what it holds")
}

fn octets(status: StatusCode, bytes: Vec<u8>) -> Response {
    let kind = HeaderValue::from_static("application/octet-stream");
    (status, [(header::CONTENT_TYPE, kind)], Body::from(bytes)).into_response()
}

fn answer(problem: &Problem) -> Response {
    debug!(code = ?problem.code, "a neighbour is refused: {}", problem.message);
    let status = StatusCode::from_u16(problem.code.status());
    let kind = HeaderValue::from_static("application/json");
    let body = serde_json::to_vec(problem).expect("it has text keys");
    let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, kind)], body).into_response()
}
