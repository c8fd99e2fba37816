//! A control server that says what a test wants.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use aws_lc_rs::digest::{SHA256, digest};
use bellwether_api::{Certified, EnrolRequest, NodeSettings, ServedSite, SettingsKey};
use bellwether_fleet::CommitMode;
use bellwether_types::{Hash, NodeId, Term};
use bellwether_wire::control::SegmentKey;
use bellwether_wire::transfer::AssignmentId;
use bellwether_wire::uplink::{Downward, Frames, Upward, Welcome, frame};
use bellwether_wire::{PublicKey, SigningKey};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair,
    PublicKeyData, SanType,
};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use crate::PATIENCE;

pub(crate) struct Fake {
    pub(crate) url: String,
    pub(crate) ca: Hash,
    pub(crate) signing: SigningKey,
    said: Receiver<Upward>,
    enrolled: Receiver<(NodeId, PublicKey)>,
    settled: Receiver<u64>,
    shared: Arc<Shared>,
    _runtime: Runtime,
}

struct Shared {
    issuer: Issuer<'static, KeyPair>,
    authority: String,
    state: Mutex<State>,
    said: Sender<Upward>,
    enrolled: Sender<(NodeId, PublicKey)>,
    settled: Sender<u64>,
}

struct State {
    settings: NodeSettings,
    files: BTreeMap<AssignmentId, Vec<u8>>,
    /// The way down of the uplink that is open.
    down: Option<mpsc::UnboundedSender<Bytes>>,
    /// What was said last of a job.
    last: Option<Downward>,
    /// Does the next download end in the middle?
    breaks: bool,
    /// Where downloads began.
    ranges: Vec<u64>,
}

/// Whom nobody trusts.
pub(crate) fn stranger() -> SigningKey {
    SigningKey::from_seed([9; 32])
}

impl Fake {
    pub(crate) fn start(sites: &[&str]) -> Self {
        let runtime = Runtime::new().unwrap();
        let signing = SigningKey::from_seed([1; 32]);
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority = params.self_signed(&key).unwrap();
        let ca = Hash(
            digest(&SHA256, authority.der())
                .as_ref()
                .try_into()
                .unwrap(),
        );
        let issuer = Issuer::new(params, key);
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::IpAddress(Ipv4Addr::LOCALHOST.into())];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let chain = vec![certificate.der().clone(), authority.der().clone()];
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key.into())
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = runtime.block_on(TcpListener::bind(listen)).unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let (say, said) = channel();
        let (enrol, enrolled) = channel();
        let (settle, settled) = channel();
        let shared = Arc::new(Shared {
            issuer,
            authority: authority.pem(),
            state: Mutex::new(State {
                settings: NodeSettings {
                    put_out: Vec::new(),
                    number: 1,
                    segment: "net".parse().unwrap(),
                    keys: SettingsKey {
                        previous: None,
                        current: SegmentKey::from_bytes([2; 32]).to_text(),
                        next: None,
                    },
                    peers: Vec::new(),
                    signing_key: signing.public().to_text(),
                    sites: served(sites),
                    groups: Vec::new(),
                },
                files: BTreeMap::new(),
                down: None,
                last: None,
                breaks: false,
                ranges: Vec::new(),
            }),
            said: say,
            enrolled: enrol,
            settled: settle,
        });
        let serving = Arc::clone(&shared);
        runtime.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, shared) = (acceptor.clone(), Arc::clone(&serving));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let service = service_fn(move |request| {
                        let shared = Arc::clone(&shared);
                        async move { Ok::<_, Infallible>(shared.answer(request).await) }
                    });
                    let served = http2::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service);
                    let _ = served.await;
                });
            }
        });
        Self {
            url,
            ca,
            signing,
            said,
            enrolled,
            settled,
            shared,
            _runtime: runtime,
        }
    }

    /// The next message that a leader says. Whoever greets is welcomed, and told again what was said last of a job: on a
    /// slow machine the office may be lost and won at any time.
    pub(crate) fn next(&self) -> Upward {
        let message = self.said.recv_timeout(PATIENCE).expect("a message");
        if matches!(message, Upward::Hello(_)) {
            self.say(Downward::Welcome(Welcome {
                term: Term(1),
                title: None,
                settings: self.number(),
                silence_ms: 10_000,
            }));
            let last = self.shared.state.lock().unwrap().last.clone();
            last.into_iter().for_each(|last| self.say(last));
        }
        message
    }

    /// Who enrolled, with its key.
    pub(crate) fn enrolled(&self) -> (NodeId, PublicKey) {
        self.enrolled.recv_timeout(PATIENCE).expect("a node")
    }

    pub(crate) fn say(&self, message: Downward) {
        let bytes = frame(&message).unwrap().into();
        let mut state = self.shared.state.lock().unwrap();
        if matches!(message, Downward::Notify(_) | Downward::Order(_)) {
            state.last = Some(message);
        }
        // Whoever has gone does not hear it.
        if let Some(down) = &state.down {
            let _ = down.send(bytes);
        }
    }

    pub(crate) fn have(&self, id: AssignmentId, bytes: Vec<u8>) {
        self.shared.state.lock().unwrap().files.insert(id, bytes);
    }

    /// The next download ends in the middle.
    pub(crate) fn break_next(&self) {
        let mut state = self.shared.state.lock().unwrap();
        (state.breaks, state.ranges) = (true, Vec::new());
    }

    /// No download does.
    pub(crate) fn break_none(&self) {
        let mut state = self.shared.state.lock().unwrap();
        (state.breaks, state.ranges) = (false, Vec::new());
    }

    /// Where downloads began since then.
    pub(crate) fn ranges(&self) -> Vec<u64> {
        self.shared.state.lock().unwrap().ranges.clone()
    }

    /// Ends the uplink.
    pub(crate) fn cut(&self) {
        self.shared.state.lock().unwrap().down = None;
    }

    /// The number of the newest settings.
    pub(crate) fn number(&self) -> u64 {
        self.shared.state.lock().unwrap().settings.number
    }

    /// Nodes are to serve these sites.
    pub(crate) fn serve(&self, sites: &[&str]) {
        let mut state = self.shared.state.lock().unwrap();
        state.settings.number += 1;
        state.settings.sites = served(sites);
    }

    /// Waits until the node has asked for the newest settings.
    pub(crate) fn told_settings(&self) {
        let number = self.number();
        while self.settled.recv_timeout(PATIENCE).expect("a question") < number {}
    }
}

impl Shared {
    async fn answer(&self, request: Request<Incoming>) -> Response<Said> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().to_owned();
        match path.as_str() {
            "/v1/enrol" => {
                let bytes = body.collect().await.unwrap().to_bytes();
                self.enrol(&serde_json::from_slice(&bytes).unwrap())
            }
            "/v1/settings" => {
                let settings = self.state.lock().unwrap().settings.clone();
                let _ = self.settled.send(settings.number);
                json(&settings)
            }
            "/v1/uplink" => self.uplink(body),
            path => {
                let id = path.strip_prefix("/v1/assignments/").unwrap();
                let range = parts.headers.get("range").map(|range| {
                    let range = range.to_str().unwrap().strip_prefix("bytes=").unwrap();
                    range.strip_suffix('-').unwrap().parse().unwrap()
                });
                self.file(AssignmentId(id.parse().unwrap()), range)
            }
        }
    }

    fn enrol(&self, asked: &EnrolRequest) -> Response<Said> {
        let request = CertificateSigningRequestParams::from_pem(&asked.request).unwrap();
        let spki = request.public_key.subject_public_key_info();
        let key = PublicKey::from_spki(&spki).expect("an Ed25519 key");
        let certificate = request.signed_by(&self.issuer).unwrap();
        let _ = self.enrolled.send((asked.node, key));
        json(&Certified {
            certificate: certificate.pem(),
            authority: self.authority.clone(),
            ends_ms: i64::MAX,
            settings: self.state.lock().unwrap().settings.clone(),
        })
    }

    fn uplink(&self, mut body: Incoming) -> Response<Said> {
        let (down, said) = mpsc::unbounded_channel();
        self.state.lock().unwrap().down = Some(down);
        let say = self.said.clone();
        tokio::spawn(async move {
            let mut frames = Frames::<Upward>::new();
            while let Some(Ok(came)) = body.frame().await {
                frames.push(came.data_ref().unwrap());
                while let Some(message) = frames.next().unwrap() {
                    let _ = say.send(message);
                }
            }
        });
        Response::new(Said::Later(said))
    }

    fn file(&self, id: AssignmentId, range: Option<u64>) -> Response<Said> {
        let mut state = self.state.lock().unwrap();
        let from = range.unwrap_or(0);
        state.ranges.push(from);
        let file = &state.files[&id];
        let mut end = file.len();
        if state.breaks {
            end = (from as usize + end) / 2;
        }
        let bytes = Bytes::copy_from_slice(&file[from as usize..end]);
        state.breaks = false;
        let mut response = Response::new(Said::Now(Some(bytes)));
        if range.is_some() {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        }
        response
    }
}

/// What a response says: at once, or as it comes.
enum Said {
    Now(Option<Bytes>),
    Later(mpsc::UnboundedReceiver<Bytes>),
}

impl Body for Said {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = match &mut *self {
            Self::Now(bytes) => Poll::Ready(bytes.take()),
            Self::Later(said) => said.poll_recv(context),
        };
        bytes.map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

fn json<T: serde::Serialize>(value: &T) -> Response<Said> {
    let bytes = serde_json::to_vec(value).unwrap();
    Response::new(Said::Now(Some(bytes.into())))
}

fn served(sites: &[&str]) -> Vec<ServedSite> {
    let served = sites.iter().map(|site| ServedSite {
        site: site.parse().unwrap(),
        parts: BTreeSet::from(["all".parse().unwrap()]),
        rules: Vec::new(),
        commit: CommitMode::Together,
    });
    served.collect()
}
