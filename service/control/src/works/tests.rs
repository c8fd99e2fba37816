use std::collections::BTreeMap;
use std::path::PathBuf;

use axum::body::Body;
use axum::http::{HeaderMap, Request, header};
use bellwether_api::Code;
use bellwether_content::Manifest;
use bellwether_content::assignment::{self, Trust};
use bellwether_disk::scan::{self, Fingerprints, ScanPolicy};
use bellwether_disk::stage::{Accepting, stage};
use bellwether_disk::{Options, Site};
use bellwether_wire::uplink::FailureKind;
use bytes::Bytes;
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::*;
use crate::tests::enrolment::enrolled;
use crate::tests::kit::{Bench, bench};

/// A control server with a site that has two versions, and room for nodes.
struct Yard {
    bench: Bench,
    versions: [VersionId; 2],
}

const TREES: [&[(&str, &str)]; 2] = [
    &[("index", "one"), ("same", "unchanged"), ("dir/old", "old")],
    &[
        ("index", "two"),
        ("same", "unchanged"),
        ("dir/new", "quite new"),
    ],
];

/// Text that begins with these words, and that nothing shortens.
fn long(words: &str) -> String {
    let hashes = (0..500).map(|n| Hash::of(format!("{words} {n}").as_bytes()).to_string());
    words.to_owned() + &hashes.collect::<String>()
}

async fn yard(policy: &str) -> Yard {
    let bench = bench().await;
    let site = format!(r#"{{"name":"shop","policy":{policy}}}"#);
    assert_eq!(bench.admin("POST /v1/sites", &site).await.status, 201);
    let group = r#"{"name":"shops","site":"shop"}"#;
    assert_eq!(bench.admin("POST /v1/groups", group).await.status, 201);
    let versions = TREES.map(|tree| {
        let staging = bench.home.path().join("staging");
        for (path, content) in tree {
            let path = staging.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, long(content)).unwrap();
        }
        let scan = scan::scan(
            &staging,
            &ScanPolicy::default(),
            Fingerprints::default(),
            &(),
        );
        let source = Source::scanned(&staging, scan.unwrap()).unwrap();
        let depot = &bench.server.works.depot;
        depot.import(&source, 1).unwrap();
        let kept = depot.keep(source.manifest()).unwrap();
        fs::remove_dir_all(staging).unwrap();
        kept
    });
    Yard { bench, versions }
}

impl Yard {
    fn works(&self) -> &Arc<Works> {
        &self.bench.server.works
    }

    fn making(&self, base: Option<VersionId>) -> Making {
        Making {
            job: "j-1".parse().unwrap(),
            site: "shop".parse().unwrap(),
            group: "shops".parse().unwrap(),
            term: Term(1),
            serial: Serial(1 << 20),
            base,
            target: self.versions[1],
        }
    }

    async fn make(&self, base: Option<VersionId>) -> Vec<File> {
        self.works().make(self.making(base)).await.unwrap()
    }

    fn path(&self, file: &File) -> PathBuf {
        self.folder().join(file.id.0.to_string())
    }

    fn folder(&self) -> PathBuf {
        self.bench.home.path().join("assignments")
    }

    /// What lies there, whole or in the making.
    fn lying(&self) -> Vec<String> {
        let names = |folder: PathBuf| {
            fs::read_dir(folder)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        };
        let mut lying: Vec<String> = names(self.folder())
            .filter(|name| !name.starts_with('.'))
            .chain(names(self.folder().join(".making")))
            .collect();
        lying.sort_unstable();
        lying
    }

    fn node(&self, name: &str) -> Site<RealDisk> {
        let root = self.bench.home.path().join(name);
        fs::create_dir_all(&root).unwrap();
        let disk = RealDisk::open(&root).unwrap();
        Site::open(disk, "shop".parse().unwrap(), Options::default())
    }

    fn trust(&self) -> Trust {
        Trust::Keys(vec![self.bench.server.signing.public()])
    }

    /// Stages what was made and makes it live, as a node does.
    fn bring(&self, site: &Site<RealDisk>, files: &[File], key: Option<&ContentKey>) {
        let trust = self.trust();
        let accepting = Accepting {
            trust: &trust,
            content_key: key,
            allow_set_id: false,
            progress: &|_, _| {},
        };
        let parts = files
            .iter()
            .map(|file| fs::File::open(self.path(file)).unwrap());
        let staged = stage(site, parts, &accepting).unwrap();
        site.commit(Some(staged.version)).unwrap();
    }

    async fn group_key(&self) -> ContentKey {
        let server = &self.bench.server;
        let group = "shops".parse().unwrap();
        let sealed = server.store.group_key(&group).await.unwrap().unwrap();
        let key = server.vault.open_key(&group_key("shops"), &sealed).unwrap();
        ContentKey::from_bytes(key)
    }

    fn content(&self, hash: Hash) -> PathBuf {
        let name = hash.to_string();
        let objects = self.bench.home.path().join("depot/objects");
        objects.join(&name[..2]).join(&name)
    }
}

fn tree(root: &Path) -> BTreeMap<String, String> {
    let scan = scan::scan(root, &ScanPolicy::default(), Fingerprints::default(), &());
    let manifest = scan.unwrap().manifest;
    let files = manifest.files().map(|(path, _)| {
        let text = fs::read_to_string(root.join(path.to_string())).unwrap();
        (path.to_string(), text)
    });
    files.collect()
}

/// JOB-02, JOB-03.
#[tokio::test]
async fn what_is_made_brings_a_node_to_the_very_tree_from_any_base_and_from_none() {
    let yard = yard("{}").await;
    let expected: BTreeMap<String, String> = TREES[1]
        .iter()
        .map(|(path, content)| ((*path).to_owned(), long(content)))
        .collect();
    let first = Making {
        target: yard.versions[0],
        job: "j-0".parse().unwrap(),
        serial: Serial(7),
        ..yard.making(None)
    };
    let first = yard.works().make(first).await.unwrap();
    let unknown = VersionId(Hash([9; 32]));
    for (name, base) in [
        ("empty", None),
        ("old", Some(yard.versions[0])),
        ("strange", Some(unknown)),
    ] {
        let node = yard.node(name);
        // Who is on a version that is not kept any more has something, too.
        if name != "empty" {
            yard.bring(&node, &first, None);
        }
        let files = yard.make(base).await;
        yard.bring(&node, &files, None);
        assert_eq!(node.status().unwrap().live, Some(yard.versions[1]));
        let live = yard.bench.home.path().join(name).join("shop/live/");
        assert_eq!(tree(&live.canonicalize().unwrap()), expected, "{name}");
    }
    let [from_old, from_none] = [Some(yard.versions[0]), None].map(|base| yard.making(base));
    let len = async |making| yard.works().make(making).await.unwrap()[0].len;
    assert!(len(from_old).await < len(from_none).await);
}

/// A tree without files can be published: to who has some, and to who has none.
#[tokio::test]
async fn an_empty_tree_arrives_as_such() {
    let yard = yard("{}").await;
    let empty = yard.works().keep(Manifest::empty(), None).await.unwrap();
    let [full, none] = [("full", Some(yard.versions[1])), ("none", None)];
    for (name, base) in [full, none] {
        let node = yard.node(name);
        if base.is_some() {
            yard.bring(&node, &yard.make(None).await, None);
        }
        let making = Making {
            target: empty.version,
            serial: Serial(2 << 20),
            ..yard.making(base)
        };
        let files = yard.works().make(making).await.unwrap();
        yard.bring(&node, &files, None);
        assert_eq!(node.status().unwrap().live, Some(empty.version), "{name}");
    }
}

/// CRYPT-01.
#[tokio::test]
async fn what_is_sealed_opens_with_the_key_of_its_group() {
    let yard = yard(r#"{"encrypt":true}"#).await;
    let files = yard.make(None).await;
    let node = yard.node("node");
    let (trust, wrong) = (yard.trust(), ContentKey::from_bytes([0; 32]));
    for key in [None, Some(&wrong)] {
        let accepting = Accepting {
            trust: &trust,
            content_key: key,
            allow_set_id: false,
            progress: &|_, _| {},
        };
        let file = fs::File::open(yard.path(&files[0])).unwrap();
        stage(&node, [file], &accepting).unwrap_err();
    }
    yard.bring(&node, &files, Some(&yard.group_key().await));
    assert_eq!(node.status().unwrap().live, Some(yard.versions[1]));
}

#[tokio::test]
async fn the_same_is_made_once_whoever_asks_and_however_often() {
    let yard = yard(r#"{"encrypt":true}"#).await;
    let (one, two) = tokio::join!(yard.make(None), yard.make(None));
    assert_eq!(one, two, "at the same time");
    assert_eq!(yard.lying(), [one[0].id.0.to_string()]);
    // Nothing is read of what it was made of.
    fs::remove_dir_all(yard.bench.home.path().join("depot/objects")).unwrap();
    assert_eq!(yard.make(None).await, one, "later");
    let other = yard.works().make(yard.making(Some(yard.versions[0]))).await;
    assert_eq!(other.unwrap_err().kind, FailureKind::Disk);
}

#[tokio::test]
async fn nothing_that_was_cut_short_counts() {
    let yard = yard("{}").await;
    let files = yard.make(None).await;
    let whole = yard.path(&files[0]);
    // As a kill between any two steps leaves it.
    let half = yard.folder().join(".making").join("abc");
    fs::create_dir(&half).unwrap();
    fs::write(half.join("part.data-1.tmp"), "half").unwrap();
    let orphan = yard.folder().join(Hash([3; 32]).to_string());
    fs::copy(&whole, &orphan).unwrap();
    let shelf = Shelf::open(&yard.folder()).unwrap();
    assert_eq!(yard.lying(), [files[0].id.0.to_string()]);
    let (job, key) = (yard.making(None).job, yard.making(None).key());
    assert_eq!(shelf.made(&job, key).unwrap(), Some(files.clone()));
    // What is damaged is made again.
    fs::write(&whole, "half").unwrap();
    assert_eq!(shelf.made(&job, key).unwrap(), None);
    assert_eq!(yard.make(None).await, files);
    assert_eq!(fs::metadata(&whole).unwrap().len(), files[0].len);
}

#[tokio::test]
async fn a_making_that_fails_says_why_and_leaves_nothing() {
    let yard = yard("{}").await;
    let manifest = yard.works().depot.manifest(&yard.versions[1]).unwrap();
    let (_, file) = manifest.files().next().unwrap();
    fs::write(yard.content(file.hash), "short").unwrap();
    let failure = yard.works().make(yard.making(None)).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Disk, "{failure:?}");
    assert!(
        failure.reason.contains(&file.hash.to_string()),
        "{failure:?}"
    );
    assert_eq!(yard.lying(), [""; 0]);
    let target = VersionId(Hash([8; 32]));
    let making = Making {
        target,
        ..yard.making(None)
    };
    let failure = yard.works().make(making).await.unwrap_err();
    assert!(failure.reason.contains(&target.to_string()), "{failure:?}");
}

#[tokio::test]
async fn a_job_that_is_over_leaves_no_files() {
    let yard = yard("{}").await;
    let files = yard.make(None).await;
    let other = Making {
        job: "j-2".parse().unwrap(),
        ..yard.making(None)
    };
    let kept = yard.works().make(other).await.unwrap();
    assert_ne!(files[0].id, kept[0].id, "a job's files are its own");
    for _ in 0..2 {
        yard.works().forget("j-1".parse().unwrap()).await.unwrap();
        assert_eq!(yard.lying(), [kept[0].id.0.to_string()]);
    }
    // A server that was killed before it removed them does so when it begins again.
    yard.make(None).await;
    let open = ["j-2".parse().unwrap()];
    for _ in 0..2 {
        yard.works().retain(open.clone().into()).await.unwrap();
        assert_eq!(yard.lying(), [kept[0].id.0.to_string()]);
    }
    yard.works().retain([].into()).await.unwrap();
    assert_eq!(yard.lying(), [""; 0]);
}

#[tokio::test]
async fn an_order_is_read_by_nodes_as_it_was_meant() {
    let yard = yard("{}").await;
    let job: Name = "j-1".parse().unwrap();
    for (action, version) in [
        (Action::Commit, Some(yard.versions[1])),
        (Action::Rollback, None),
        (Action::Abort, Some(yard.versions[1])),
        (Action::Gather, Some(yard.versions[1])),
        (Action::Remove, None),
    ] {
        let bytes = yard.works().order(OrderMaking {
            job: job.clone(),
            site: "shop@media".parse().unwrap(),
            term: Term(3),
            serial: Serial(5),
            action,
            version,
            group: (action == Action::Gather).then(|| "edge".parse().unwrap()),
        });
        let opened = assignment::open(&*bytes, &yard.trust(), None).unwrap();
        let header = opened.header;
        assert_eq!((header.action, header.target), (action, version));
        assert_eq!(header.job, Some(job.clone()));
        assert_eq!(header.site, Some("shop@media".parse().unwrap()));
        assert_eq!((header.term, header.serial), (Term(3), Serial(5)));
        assert_eq!((header.body_len, header.data_len), (0, 0));
        assert!(bytes.len() <= bellwether_wire::uplink::Order::LEN_MAX);
        let stranger = Trust::Keys(vec![SigningKey::from_seed([5; 32]).public()]);
        assert!(assignment::open(&*bytes, &stranger, None).is_err());
    }
}

/// CCM-04.
#[tokio::test]
async fn the_room_that_is_asked_for_is_as_large_as_what_is_stored() {
    let yard = yard("{}").await;
    let stored = |tree: &[(&str, &str)], known: &[(&str, &str)]| -> usize {
        let new = tree.iter().filter(|entry| !known.contains(entry));
        new.map(|(_, text)| long(text).len()).sum()
    };
    for (base, known) in [(None, &[][..]), (Some(yard.versions[0]), TREES[0])] {
        let files = yard.make(base).await;
        let brought: u64 = files.iter().map(|file| file.len).sum();
        let room = yard.works().room(&files).await.unwrap();
        let stored = stored(TREES[1], known) as u64;
        assert!(stored > 0 && brought < stored, "it is sent compressed");
        assert!(room >= stored + brought, "{room} of {stored} and {brought}");
    }
}

/// CCM-04: leaders fetch what was made, from where they stopped.
#[tokio::test]
async fn a_node_fetches_an_assignment_whole_or_in_ranges_and_nobody_else_does() {
    let yard = yard("{}").await;
    let file = &yard.make(None).await[0];
    let whole = fs::read(yard.path(file)).unwrap();
    let peer = enrolled(&yard.bench, 1).await;
    let path = format!("/v1/assignments/{}", file.id.0);
    let fetch = async |method: &str, range: &str| -> (u16, HeaderMap, Bytes) {
        let request = Request::builder()
            .method(method)
            .uri(&path)
            .header(header::RANGE, range)
            .extension(peer)
            .body(Body::empty());
        let router = yard.bench.router.clone();
        let response = router.oneshot(request.unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (parts.status.as_u16(), parts.headers, body)
    };
    let len = whole.len();
    let (status, headers, body) = fetch("GET", "").await;
    assert_eq!((status, &*body), (200, &*whole));
    assert_eq!(headers[header::ACCEPT_RANGES], "bytes");
    let (status, headers, body) = fetch("GET", "bytes=1000-").await;
    assert_eq!((status, &*body), (206, &whole[1000..]));
    assert_eq!(
        headers[header::CONTENT_RANGE],
        format!("bytes 1000-{}/{len}", len - 1)
    );
    let (status, headers, body) = fetch("HEAD", "").await;
    assert_eq!((status, body.len()), (200, 0));
    assert_eq!(headers[header::CONTENT_LENGTH], len.to_string());
    let (status, headers, _) = fetch("GET", &format!("bytes={len}-")).await;
    assert_eq!(status, 416);
    assert_eq!(headers[header::CONTENT_RANGE], format!("bytes */{len}"));
    let line = format!("GET {path}");
    let refused = yard.bench.admin(&line, "").await.problem();
    assert_eq!(refused.code, Code::Unauthenticated);
    for (id, code) in [
        (Hash([1; 32]).to_string(), Code::NotFound),
        ("..%2F..%2Fvault.key".to_owned(), Code::Malformed),
        (".made".to_owned(), Code::Malformed),
    ] {
        let line = format!("GET /v1/assignments/{id}");
        let refused = yard.bench.node(peer, &line, "").await.problem();
        assert_eq!(refused.code, code, "{id}");
    }
}
