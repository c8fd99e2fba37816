//! What this node has of its control server: a certificate, and settings. They are asked for once, by a join token, and
//! kept; from then on the certificate speaks for the node.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bellwether_api::routes::{Enrol, Renew, ShowSettings};
use bellwether_api::{Certified, Code, EnrolRequest, NoQuery, NodeSettings, RenewRequest};
use bellwether_client::{CallError, Client, Credential, Identity, ServerUrl};
use bellwether_content::assignment::Trust;
use bellwether_net::{Interface, InterfaceChoice, InterfaceError};
use bellwether_types::{Hash, Name, NodeId};
use bellwether_wire::control::{KeyRing, SegmentKey};
use bellwether_wire::{ParseKeyError, SigningKey};
use rcgen::{CertificateParams, KeyPair};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

use crate::folder::{Folder, FolderError, Kept, random_bytes};

/// The control server that a node belongs to.
#[derive(Clone)]
pub struct ControlServer {
    /// Where it is.
    pub url: ServerUrl,
    /// The fingerprint of its authority.
    pub ca: Hash,
    /// What admits a node that has not enrolled yet.
    pub token: Option<String>,
}

/// What a node says of itself when it comes.
#[derive(Debug, Clone)]
pub struct Newcomer {
    /// What it is called.
    pub name: Name,
    /// The interface that leads to its segment.
    pub interface: InterfaceChoice,
}

/// A node that its control server knows.
pub struct Enrolled {
    /// The segment it belongs to.
    pub segment: Name,
    /// Whom it is to believe.
    pub admission: Admission,
    server: ControlServer,
    own: SigningKey,
    kept: Membership,
}

/// Whom a node is to believe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// The keys of its segment.
    pub keys: KeyRing,
    /// Nodes that were put out, and may know one of them still.
    pub put_out: BTreeSet<NodeId>,
}

/// Why a node cannot enrol. What it had before, it has still.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// Its data directory.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Its interface.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// It has not enrolled yet.
    #[error("this node has not enrolled with {0} yet, and has no token to do so")]
    Tokenless(ServerUrl),
    /// An operator put it out.
    #[error(
        "the control server at {0} has put this node out: it takes no part in its segment any more"
    )]
    PutOut(ServerUrl),
    /// The control server says no, or nothing.
    #[error("cannot enrol")]
    Call(#[from] CallError),
    /// No key can be made, or the one that was kept does not serve.
    #[error("this node's key cannot be used")]
    Key(#[from] rcgen::Error),
    /// What the control server says cannot be.
    #[error("the control server's settings cannot be used: {0}")]
    Settings(String),
    /// The machine denies something else.
    #[error("cannot start the runtime")]
    Runtime(#[source] std::io::Error),
}

/// How a node stands with its control server: what it was told last, and how it speaks with it.
pub(crate) struct Standing {
    pub(crate) url: ServerUrl,
    /// The fingerprint of its authority.
    pub(crate) ca: Hash,
    /// Its authority, PEM, as soon as that is known: it vouches for the nodes, too.
    pub(crate) authority: Option<String>,
    pub(crate) identity: Identity,
    pub(crate) settings: NodeSettings,
    pub(crate) admission: Admission,
}

/// What is kept, as it is written.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct Membership {
    ca: Hash,
    #[serde(default)]
    authority: Option<String>,
    certificate: String,
    ends_ms: i64,
    settings: NodeSettings,
}

const ANY: NoQuery = NoQuery {};
/// News of the control server that come within this are asked for once.
const TOGETHER: Duration = Duration::from_millis(20);
/// How often a node asks whether anything has changed, and looks at its certificate. Its leader tells it at once of what
/// changes; this is for whom no leader reaches.
const INTERVAL: Duration = Duration::from_secs(600);
/// When the control server was not reached; twice as long each time after that.
const AGAIN: Duration = Duration::from_secs(1);
const AGAIN_MAX: Duration = Duration::from_secs(60);
/// A certificate is replaced when so little of it is left: a third.
const LEFT_MS: i64 = 10 * 24 * 3_600 * 1_000;

/// Has the node that lives in `data` known to its control server, and tells what it needs to run.
///
/// Whenever this is cut short, it begins again where it was: the key is kept before it is shown, and whoever comes
/// again with it is the same node. A node that has enrolled runs on what it was told last if the server is silent.
pub fn enrol(
    data: &Path,
    server: ControlServer,
    newcomer: &Newcomer,
) -> Result<Enrolled, EnrolError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let folder = Folder::open(data)?;
    runtime.map_err(EnrolError::Runtime)?.block_on(async {
        let own = key(&folder)?;
        let known = read(&folder)?.filter(|known| known.ca == server.ca);
        let kept = match known {
            None => come(&folder, &server, newcomer, &own).await?,
            Some(known) => match ask(&server, &own, &known).await {
                Ok(settings) => Membership { settings, ..known },
                Err(CallError::Problem(problem)) if problem.code == Code::Unauthenticated => {
                    match server.token {
                        None => return Err(EnrolError::PutOut(server.url)),
                        Some(_) => come(&folder, &server, newcomer, &own).await?,
                    }
                }
                Err(_) if known.ends_ms <= now_ms() && server.token.is_some() => {
                    come(&folder, &server, newcomer, &own).await?
                }
                Err(error) => {
                    let since = known.settings.number;
                    warn!(server = %server.url, %error, settings = since, "running on what the control server said last");
                    known
                }
            },
        };
        write(&folder, &kept)?;
        let admission = Admission::of(&kept.settings)?;
        let segment = kept.settings.segment.clone();
        Ok(Enrolled { segment, admission, server, own, kept })
    })
}

impl Admission {
    fn of(settings: &NodeSettings) -> Result<Self, EnrolError> {
        let key = |line: &String| {
            let key = line.parse::<SegmentKey>();
            key.map_err(|fault| EnrolError::Settings(fault.to_string()))
        };
        let keys = &settings.keys;
        let (previous, next) = (keys.previous.as_ref(), keys.next.as_ref());
        let ring = KeyRing::new(key(&keys.current)?);
        Ok(Self {
            keys: ring.with(previous.map(key).transpose()?, next.map(key).transpose()?),
            put_out: settings.put_out.iter().copied().collect(),
        })
    }
}

impl Enrolled {
    /// The node's key.
    pub(crate) const fn own(&self) -> &SigningKey {
        &self.own
    }

    /// Who may have signed assignments.
    pub(crate) fn trust(&self) -> Result<Trust, EnrolError> {
        let key = self.kept.settings.signing_key.parse();
        let key = key.map_err(|fault: ParseKeyError| EnrolError::Settings(fault.to_string()))?;
        Ok(Trust::Keys(vec![key]))
    }

    /// Whether it knows who vouches for nodes, and can serve others.
    pub(crate) const fn serves(&self) -> bool {
        self.kept.authority.is_some()
    }

    /// Where its control server is.
    pub(crate) const fn url(&self) -> &ServerUrl {
        &self.server.url
    }

    /// How the node stands with its control server.
    pub(crate) fn standing(&self) -> Result<Standing, EnrolError> {
        Ok(Standing {
            url: self.server.url.clone(),
            ca: self.server.ca,
            authority: self.kept.authority.clone(),
            identity: identity(&self.own, &self.kept)?,
            settings: self.kept.settings.clone(),
            admission: Admission::of(&self.kept.settings)?,
        })
    }

    /// Replaces the certificate before it ends, and asks whether anything has changed, often and whenever `refresh` says
    /// so, for as long as the node belongs to its control server.
    pub(crate) async fn renew_often(
        mut self,
        folder: Folder,
        refresh: Arc<Notify>,
        standing: watch::Sender<Arc<Standing>>,
    ) {
        let (mut next, mut patience) = (Instant::now() + INTERVAL, AGAIN);
        loop {
            tokio::select! {
                () = sleep_until(next) => {}
                // What is said to have changed within a moment is asked for once.
                () = refresh.notified() => sleep(TOGETHER).await,
            }
            let Self {
                server, own, kept, ..
            } = &self;
            let is_due = kept.authority.is_none() || kept.ends_ms - now_ms() < LEFT_MS;
            let renewed = match is_due {
                true => renew(server, own, kept).await,
                false => ask(server, own, kept)
                    .await
                    .map(|settings| Membership {
                        settings,
                        ..kept.clone()
                    })
                    .map_err(EnrolError::from),
            };
            match renewed {
                Err(EnrolError::Call(CallError::Problem(problem)))
                    if problem.code == Code::Unauthenticated =>
                {
                    return;
                }
                Err(error) => {
                    warn!(server = %server.url, %error, "the control server was not reached");
                    next = Instant::now() + patience;
                    patience = (patience * 2).min(AGAIN_MAX);
                    continue;
                }
                Ok(renewed) if renewed == *kept => {}
                Ok(renewed) => self.take(&folder, renewed, &standing),
            }
            (next, patience) = (Instant::now() + INTERVAL, AGAIN);
        }
    }

    /// The control server says something else than before.
    fn take(
        &mut self,
        folder: &Folder,
        renewed: Membership,
        standing: &watch::Sender<Arc<Standing>>,
    ) {
        if let Err(error) = write(folder, &renewed) {
            return warn!(%error, "what the control server says cannot be kept");
        }
        info!(
            settings = renewed.settings.number,
            certificate_ends_ms = renewed.ends_ms,
            "the control server told something new"
        );
        if renewed.settings.segment != self.segment {
            warn!(
                segment = %renewed.settings.segment,
                "this node belongs to another segment from its next start on"
            );
        }
        self.kept = renewed;
        match self.standing() {
            Ok(new) => drop(standing.send(Arc::new(new))),
            Err(error) => warn!(%error, "what the control server says cannot be used"),
        }
    }
}

/// Not the token.
impl fmt::Debug for ControlServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlServer")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// Not the keys.
impl fmt::Debug for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Standing")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// Not the keys.
impl fmt::Debug for Enrolled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enrolled")
            .field("segment", &self.segment)
            .finish_non_exhaustive()
    }
}

/// Enrols by the token.
async fn come(
    folder: &Folder,
    server: &ControlServer,
    newcomer: &Newcomer,
    own: &SigningKey,
) -> Result<Membership, EnrolError> {
    let token = server
        .token
        .clone()
        .ok_or_else(|| EnrolError::Tokenless(server.url.clone()))?;
    let interface = Interface::find(&newcomer.interface)?;
    let client = Client::new(server.url.clone(), server.ca, Credential::Token(token))?;
    let request = EnrolRequest {
        node: folder.identity()?,
        name: newcomer.name.clone(),
        addresses: interface.subnets().take(ADDRESSES_MAX).collect(),
        request: request(own)?,
    };
    let certified = client.call::<Enrol>(&(), &ANY, &request).await?;
    info!(server = %server.url, segment = %certified.settings.segment, "enrolled");
    Ok(membership(server, certified))
}

const ADDRESSES_MAX: usize = 16;

async fn ask(
    server: &ControlServer,
    own: &SigningKey,
    known: &Membership,
) -> Result<NodeSettings, CallError> {
    client(server, own, known)?
        .call::<ShowSettings>(&(), &ANY, &())
        .await
}

async fn renew(
    server: &ControlServer,
    own: &SigningKey,
    known: &Membership,
) -> Result<Membership, EnrolError> {
    let request = RenewRequest {
        request: request(own)?,
    };
    let certified = client(server, own, known)?
        .call::<Renew>(&(), &ANY, &request)
        .await?;
    Ok(membership(server, certified))
}

fn membership(server: &ControlServer, certified: Certified) -> Membership {
    Membership {
        ca: server.ca,
        authority: Some(certified.authority),
        certificate: certified.certificate,
        ends_ms: certified.ends_ms,
        settings: certified.settings,
    }
}

fn client(
    server: &ControlServer,
    own: &SigningKey,
    known: &Membership,
) -> Result<Client, CallError> {
    let identity = identity(own, known).map_err(|fault| CallError::Identity(fault.into()))?;
    Client::new(server.url.clone(), server.ca, Credential::Node(identity))
}

/// What the node shows of itself.
fn identity(own: &SigningKey, known: &Membership) -> Result<Identity, rcgen::Error> {
    Ok(Identity {
        certificate: known.certificate.clone(),
        key: pair(own)?.serialize_pem(),
    })
}

/// A request for a certificate, which says nothing but the key.
fn request(own: &SigningKey) -> Result<String, rcgen::Error> {
    CertificateParams::default()
        .serialize_request(&pair(own)?)?
        .pem()
}

/// The node's key, which is made once: with it the node shows who it is, and signs for what it serves.
fn key(folder: &Folder) -> Result<SigningKey, FolderError> {
    match folder.read(Kept::Key)? {
        Some(line) => line.parse().map_err(|_| folder.damaged(Kept::Key)),
        None => {
            let key = SigningKey::from_seed(random_bytes());
            folder.replace(Kept::Key, &format!("{}\n", key.to_text()))?;
            Ok(key)
        }
    }
}

/// The same key for certificates.
fn pair(own: &SigningKey) -> Result<KeyPair, rcgen::Error> {
    KeyPair::try_from(own.to_pkcs8())
}

fn read(folder: &Folder) -> Result<Option<Membership>, FolderError> {
    let Some(text) = folder.read(Kept::Enrolment)? else {
        return Ok(None);
    };
    let known = serde_json::from_str(&text);
    known.map(Some).map_err(|_| folder.damaged(Kept::Enrolment))
}

fn write(folder: &Folder, kept: &Membership) -> Result<(), FolderError> {
    let text = serde_json::to_string(kept).expect("it has text keys and finite numbers");
    folder.replace(Kept::Enrolment, &format!("{text}\n"))
}

fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
