//! Two nodes over real sockets: one that holds versions, and whoever asks it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};

use bellwether_api::{Code, GroupKey, NodeSettings, SettingsKey};
use bellwether_client::{CallError, Client, Identity, PIECE_LEN_MAX, Right};
use bellwether_content::assignment::Action;
use bellwether_disk::{Mandate, Options, RealDisk, Site};
use bellwether_kit::farm::{Farm, Files};
use bellwether_types::{Hash, Incarnation, NodeId, Serial, SitePart, Term, VersionId};
use bellwether_wire::control::{Holding, KeyRing, SegmentKey};
use bellwether_wire::transfer::AssignmentId;
use bellwether_wire::uplink::{FailureKind, Outcome};
use bellwether_wire::{ContentKey, SigningKey};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::{Circle, Neighbour, Neighbours, NeighboursSettings, listen};
use crate::content::{Order, Place, Witness};
use crate::enrol::{Admission, Standing};

/// Who vouches for nodes.
pub(super) struct Authority {
    pem: String,
    fingerprint: Hash,
    issuer: Issuer<'static, KeyPair>,
}

/// A node with its own disk and port.
pub(super) struct Host {
    pub(super) id: NodeId,
    pub(super) home: TempDir,
    pub(super) neighbours: Neighbours,
    standing: watch::Sender<Arc<Standing>>,
}

pub(super) static AUTHORITY: LazyLock<Authority> = LazyLock::new(Authority::new);

pub(super) fn id(byte: u8) -> NodeId {
    NodeId::from_bytes([byte; 16])
}

pub(super) fn shop() -> SitePart {
    "shop".parse().unwrap()
}

pub(super) fn key(byte: u8) -> ContentKey {
    ContentKey::from_bytes([byte; 32])
}

impl Authority {
    pub(super) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let certificate = params.self_signed(&key).unwrap();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate.der());
        Self {
            pem: certificate.pem(),
            fingerprint: Hash(digest.as_ref().try_into().unwrap()),
            issuer: Issuer::new(params, key),
        }
    }

    /// What a node shows of itself.
    pub(super) fn vouch(&self, node: NodeId) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::DnsName(node.host_name().try_into().unwrap())];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        Identity {
            certificate: params.signed_by(&key, &self.issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

/// A node's settings: it receives `shop` in the group `edge`.
fn settings() -> NodeSettings {
    NodeSettings {
        number: 1,
        segment: "net".parse().unwrap(),
        keys: SettingsKey {
            previous: None,
            current: SegmentKey::from_bytes([2; 32]).to_text(),
            next: None,
        },
        peers: Vec::new(),
        signing_key: String::new(),
        sites: Vec::new(),
        groups: vec![
            GroupKey {
                group: "edge".parse().unwrap(),
                key: key(1).to_text(),
                site: Some("shop".parse().unwrap()),
                parts: BTreeSet::new(),
            },
            GroupKey {
                group: "music".parse().unwrap(),
                key: key(2).to_text(),
                site: Some("radio".parse().unwrap()),
                parts: BTreeSet::new(),
            },
        ],
        put_out: Vec::new(),
    }
}

impl Host {
    pub(super) fn start(node: NodeId) -> Self {
        let home = TempDir::new().unwrap();
        let ring = KeyRing::new(SegmentKey::from_bytes([2; 32]));
        let (standing, stands) = watch::channel(Arc::new(Standing {
            url: "https://control".parse().unwrap(),
            ca: AUTHORITY.fingerprint,
            authority: Some(AUTHORITY.pem.clone()),
            identity: AUTHORITY.vouch(node),
            settings: settings(),
            admission: Admission {
                keys: ring,
                put_out: BTreeSet::new(),
            },
        }));
        let listener = listen(IpAddr::V4(Ipv4Addr::LOCALHOST), 0).unwrap();
        let settings = NeighboursSettings {
            node,
            sites: home.path().to_owned(),
            standing: stands,
        };
        let neighbours = Neighbours::start(settings, Some(listener)).unwrap();
        Self {
            id: node,
            home,
            neighbours,
            standing,
        }
    }

    pub(super) fn site(&self) -> Site<RealDisk> {
        let options = Options {
            threads: 1,
            ..Options::default()
        };
        Site::open(RealDisk::open(self.home.path()).unwrap(), shop(), options)
    }

    /// Stages a version, and makes it live.
    pub(super) fn hold(&self, farm: &Farm, serial: u64) {
        let by = Mandate {
            term: Term(1),
            serial: Serial(serial),
        };
        let contents: BTreeMap<Hash, Vec<u8>> = farm
            .files
            .values()
            .map(|content| (Hash::of(content), content.clone()))
            .collect();
        let mut fetch = |content: &Hash, _| -> io::Result<Box<dyn Read>> {
            Ok(Box::new(io::Cursor::new(contents[content].clone())))
        };
        let (site, manifest) = (self.site(), Arc::new(farm.manifest.clone()));
        let version = site.assemble(&manifest, by, false, &mut fetch).unwrap();
        site.commit(Some(version)).unwrap();
    }

    pub(super) fn at(&self) -> SocketAddr {
        let port = self.neighbours.port().unwrap();
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }

    /// Has it know these, who hold these versions.
    pub(super) fn know(&self, others: &[(&Self, Option<VersionId>)]) {
        let circle = others.iter().map(|(host, version)| {
            let holds = version.map(|version| Holding {
                site: shop().site,
                part: shop().part,
                version,
            });
            let neighbour = Neighbour {
                at: Some(host.at()),
                holds: holds.into_iter().collect(),
            };
            (host.id, neighbour)
        });
        self.neighbours
            .circle
            .send_replace(Circle::new(circle.collect()));
    }

    /// Has it be somebody of whom the neighbours know that alone.
    pub(super) fn know_id(&self, node: NodeId) {
        let neighbour = Neighbour {
            at: None,
            holds: Vec::new(),
        };
        let circle = BTreeMap::from([(node, neighbour)]);
        self.neighbours.circle.send_replace(Arc::new(circle));
    }

    /// Somebody who asks it.
    pub(super) fn client(&self, identity: Identity) -> Client {
        Client::of_node(self.id, self.at(), AUTHORITY.fingerprint, identity).unwrap()
    }
}

pub(super) fn farm(index: &str) -> Farm {
    let large: Vec<u8> = (0..(5 << 19)).map(|at| (at % 251) as u8).collect();
    Farm::new(&Files::from([
        ("index", index.into()),
        ("empty", Vec::new()),
        ("dir/same", b"unchanged ".repeat(90)),
        ("dir/again", b"unchanged ".repeat(90)),
        ("large", large),
    ]))
}

fn code<T: std::fmt::Debug>(answered: Result<T, CallError>) -> Code {
    match answered.unwrap_err() {
        CallError::Problem(problem) => problem.code,
        error => panic!("{error:?}"),
    }
}

/// Whoever is a member and has the group's key gets the list of files and ranges of contents; what is not there, or is
/// asked for as it should not be, is refused by name.
#[test]
fn a_neighbour_gets_lists_and_ranges_and_nothing_else() {
    let farm = farm("one");
    let host = Host::start(id(1));
    host.hold(&farm, 1);
    host.know(&[(&Host::start(id(2)), None)]);
    let client = host.client(AUTHORITY.vouch(id(2)));
    let right = Right::new(id(2), id(1), "edge".parse().unwrap(), &key(1));
    let large = &farm
        .files
        .values()
        .max_by_key(|content| content.len())
        .unwrap()[..];
    let content = Hash::of(large);
    Runtime::new().unwrap().block_on(async {
        let version = farm.manifest.version();
        let list = client.manifest(&shop(), version, &right).await.unwrap();
        assert_eq!(list, farm.manifest.encode());
        let len = large.len() as u64;
        for (from, to) in [
            (0, PIECE_LEN_MAX),
            (PIECE_LEN_MAX, len.min(2 * PIECE_LEN_MAX)),
            (len - 1, len),
        ] {
            let piece = client.piece(&shop(), &content, from..to, &right).await;
            assert_eq!(piece.unwrap(), large[from as usize..to as usize]);
        }
        let many = client
            .piece(&shop(), &content, 0..PIECE_LEN_MAX + 1, &right)
            .await;
        assert_eq!(code(many), Code::Range);
        let beyond = client.piece(&shop(), &content, len..len + 1, &right).await;
        assert_eq!(code(beyond), Code::Range);
        let other = Hash::of(b"nowhere");
        let piece = client.piece(&shop(), &other, 0..1, &right).await;
        assert_eq!(code(piece), Code::NotFound);
        let list = client.manifest(&shop(), VersionId(other), &right).await;
        assert_eq!(code(list), Code::NotFound);
        let elsewhere: SitePart = "radio".parse().unwrap();
        let list = client.manifest(&elsewhere, version, &right).await;
        assert_eq!(code(list), Code::Forbidden);
    });
}

/// CRYPT-05: no stranger, nobody of another group, nobody whom the authority does not vouch for, and nobody in another's
/// name.
#[test]
fn whoever_has_no_right_gets_nothing() {
    let farm = farm("one");
    let version = farm.manifest.version();
    let host = Host::start(id(1));
    host.hold(&farm, 1);
    host.know_id(id(2));
    let right =
        |node, group: &str, of: u8| Right::new(node, id(1), group.parse().unwrap(), &key(of));
    Runtime::new().unwrap().block_on(async {
        let client = host.client(AUTHORITY.vouch(id(2)));
        for (right, refused) in [
            (right(id(2), "edge", 2), Code::Forbidden),
            (right(id(2), "music", 2), Code::Forbidden),
            (right(id(2), "none", 1), Code::Forbidden),
            (right(id(3), "edge", 1), Code::Unauthenticated),
        ] {
            let list = client.manifest(&shop(), version, &right).await;
            assert_eq!(code(list), refused, "{right:?}");
        }
        let stranger = host.client(AUTHORITY.vouch(id(3)));
        let list = stranger
            .manifest(&shop(), version, &right(id(3), "edge", 1))
            .await;
        assert_eq!(code(list), Code::Forbidden);
        let own = right(id(2), "edge", 1);
        let forged = host.client(Authority::new().vouch(id(2)));
        forged.manifest(&shop(), version, &own).await.unwrap_err();
        let place = format!("https://{}", host.at()).parse().unwrap();
        let nobody = bellwether_client::Credential::Nobody;
        let nobody = Client::new(place, AUTHORITY.fingerprint, nobody).unwrap();
        nobody.manifest(&shop(), version, &own).await.unwrap_err();
        client.manifest(&shop(), version, &own).await.unwrap();
        // The group's key is another, or the node belongs to it no longer.
        host.standing.send_modify(|standing| {
            let mut settings = standing.settings.clone();
            settings.groups.remove(0);
            let Standing {
                url,
                ca,
                authority,
                identity,
                admission,
                ..
            } = &**standing;
            *standing = Arc::new(Standing {
                url: url.clone(),
                ca: *ca,
                authority: authority.clone(),
                identity: identity.clone(),
                settings,
                admission: admission.clone(),
            });
        });
        let list = client.manifest(&shop(), version, &own).await;
        assert_eq!(code(list), Code::Forbidden);
    });
}

/// Whoever lacks a version, and those around.
struct Gatherer {
    host: Host,
    place: Place<RealDisk>,
}

impl Gatherer {
    fn new(around: &[(&Host, Option<VersionId>)]) -> Self {
        let host = Host::start(id(9));
        for (other, _) in around {
            other.know_id(host.id);
        }
        host.know(around);
        let groups = BTreeMap::from([("edge".parse().unwrap(), Some(Arc::new(key(1))))]);
        let place = Place {
            site: host.site(),
            groups,
            autonomous: false,
            allow_set_id: false,
        };
        Self { host, place }
    }

    fn gather(&self, target: &Farm) -> Outcome {
        let order = Order {
            id: AssignmentId(Hash::of(b"order")),
            job: "job".parse().unwrap(),
            site: shop(),
            action: Action::Gather,
            version: Some(target.manifest.version()),
            group: Some("edge".parse().unwrap()),
            by: Mandate {
                term: Term(1),
                serial: Serial(9),
            },
        };
        let witness = Witness {
            node: self.host.id,
            incarnation: Incarnation(1),
            key: SigningKey::from_seed([1; 32]),
        };
        let neighbourhood = self.host.neighbours.neighbourhood();
        let done = self
            .place
            .gather(&order, &*neighbourhood, &witness, &Arc::default());
        done.outcome
    }

    /// Gathers, and serves exactly that.
    fn gathers(&self, target: &Farm) {
        let version = target.manifest.version();
        assert_eq!(self.gather(target), Outcome::Staged(version));
        self.host.site().commit(Some(version)).unwrap();
        let live = self.host.home.path().join("shop/live");
        for (path, content) in &target.files {
            let path = std::str::from_utf8(path.as_bytes()).unwrap();
            assert_eq!(std::fs::read(live.join(path)).unwrap(), *content, "{path}");
        }
    }
}

/// JOB-04, VERSION-12: over real sockets, from several who hold it.
#[test]
fn what_is_lacking_comes_from_those_who_hold_it() {
    let (old, new) = (farm("one"), farm("two"));
    let [one, two] = [1, 2].map(|byte| {
        let host = Host::start(id(byte));
        host.hold(&new, 5);
        host
    });
    let version = new.manifest.version();
    let gatherer = Gatherer::new(&[(&one, Some(version)), (&two, Some(version))]);
    gatherer.host.hold(&old, 1);
    gatherer.gathers(&new);
    // One that has nothing.
    Gatherer::new(&[(&one, Some(version)), (&two, Some(version))]).gathers(&new);
}

/// One that says it holds what it does not, one whose files were written into, one that refuses: as long as there is
/// another, it does not matter; and if there is none, that is said.
#[test]
fn a_neighbour_that_gives_nothing_or_something_else_is_left_for_the_next() {
    let new = farm("two");
    let version = new.manifest.version();
    let [lacks, spoilt, good] = [2, 3, 4].map(|byte| Host::start(id(byte)));
    lacks.hold(&farm("one"), 5);
    for host in [&spoilt, &good] {
        host.hold(&new, 5);
    }
    let live = spoilt.home.path().join("shop/live/index");
    std::fs::write(live, "six").unwrap();
    let bad = [(&lacks, Some(version)), (&spoilt, Some(version))];
    let all = [bad[0], bad[1], (&good, Some(version))];
    Gatherer::new(&all).gathers(&new);
    let refusing = Gatherer::new(&all);
    lacks.know_id(id(0));
    refusing.gathers(&new);
    for few in [&bad[..], &[(&good, None)], &[]] {
        let failed = match Gatherer::new(few).gather(&new) {
            Outcome::Failed(failure) => failure,
            other => panic!("{other:?}"),
        };
        assert_eq!(failed.kind, FailureKind::Neighbours, "{failed}");
    }
}
