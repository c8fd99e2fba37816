//! A control server's hand (it signs), a shelf, and a node.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bellwether_agent::content::{
    Clock, Custody, CustodySettings, Neighbourhood, Place, Shelf, Source, Told, Wanted, Witness,
};
use bellwether_content::assignment::{Action, DataWriter, Head, Header, Trust};
use bellwether_delta::Effort;
use bellwether_disk::{Hooks, MemoryDisk, Options, Site};
use bellwether_kit::farm::{Farm, Files, Making, make};
use bellwether_types::{Hash, Incarnation, Name, NodeId, Serial, SitePart, Term, Time, VersionId};
use bellwether_wire::transfer::AssignmentId;
use bellwether_wire::uplink::{Failure, FailureKind, Outcome, Receipt};
use bellwether_wire::{ContentKey, SigningKey};

pub(crate) fn server() -> SigningKey {
    SigningKey::from_seed([1; 32])
}

pub(crate) fn node_key() -> SigningKey {
    SigningKey::from_seed([2; 32])
}

pub(crate) fn group_key() -> ContentKey {
    ContentKey::from_bytes([3; 32])
}

pub(crate) fn node() -> NodeId {
    NodeId::from_bytes([7; 16])
}

pub(crate) fn shop() -> SitePart {
    "shop".parse().unwrap()
}

/// Three versions of a site.
pub(crate) fn farms() -> [Farm; 3] {
    let farm = |index: &str, more: &str| {
        Farm::new(&Files::from([
            ("index", index.into()),
            ("same", b"unchanged ".repeat(90)),
            ("dir/more", more.into()),
        ]))
    };
    [farm("one", "a"), farm("two", "b"), farm("three", "b")]
}

pub(crate) fn version(farm: &Farm) -> VersionId {
    farm.manifest.version()
}

pub(crate) fn header(site: &SitePart, serial: u64) -> Header {
    Header {
        site: Some(site.clone()),
        job: Some("job".parse().unwrap()),
        ..Header::new(Action::Publish, Serial(serial), Term(1))
    }
}

/// The files of an assignment from one version to another, signed by the control server.
pub(crate) fn assignment(header: Header, base: Option<&Farm>, target: &Farm) -> Vec<Vec<u8>> {
    let key = group_key();
    let making = Making {
        signing: Some(&server()),
        content_key: header.group.is_some().then_some(&key),
        header: Some(header),
        ..Making::default()
    };
    let empty = Farm::default();
    make(base.unwrap_or(&empty), target, &making)
}

/// A signed order about `shop`.
pub(crate) fn order(action: Action, serial: u64, version: Option<VersionId>) -> Vec<u8> {
    let target = version;
    sealed(Header {
        action,
        target,
        ..header(&shop(), serial)
    })
}

pub(crate) fn sealed(mut header: Header) -> Vec<u8> {
    let head = Head {
        blocks: DataWriter::new(None).finish(&mut header, &mut Vec::new()),
        header,
        body: Vec::new(),
    };
    head.encode(Effort::Default, Some(&server()), None).1
}

#[derive(Debug, Clone, Default)]
pub(crate) struct MemoryShelf(Arc<Mutex<BTreeMap<AssignmentId, Lying>>>);

#[derive(Debug, Default)]
struct Lying {
    bytes: Vec<u8>,
    is_whole: bool,
    /// How far it was read.
    read: usize,
}

impl MemoryShelf {
    pub(crate) fn put(&self, bytes: &[u8]) -> AssignmentId {
        self.lay(bytes, bytes.len(), true)
    }

    /// An assignment comes, of which so much is there.
    pub(crate) fn put_part(&self, bytes: &[u8], len: usize) -> AssignmentId {
        self.lay(bytes, len, false)
    }

    fn lay(&self, bytes: &[u8], len: usize, is_whole: bool) -> AssignmentId {
        let id = AssignmentId(Hash::of(bytes));
        let mut shelf = self.0.lock().unwrap();
        let lying = shelf.entry(id).or_default();
        lying.bytes = bytes.to_vec();
        lying.bytes[len..].fill(0xaa);
        lying.is_whole = is_whole;
        lying.read = 0;
        id
    }

    /// Returns when so much of an assignment was read.
    pub(crate) fn until_read(&self, id: AssignmentId, len: usize) {
        while self.0.lock().unwrap()[&id].read < len {
            std::thread::yield_now();
        }
    }

    fn reader(&self, id: AssignmentId, is_it: impl Fn(&Lying) -> bool) -> io::Result<Reader> {
        let shelf = self.0.lock().unwrap();
        shelf
            .get(&id)
            .filter(|lying| is_it(lying))
            .ok_or(io::ErrorKind::NotFound)?;
        Ok(Reader {
            shelf: self.clone(),
            id,
            offset: 0,
        })
    }
}

/// A file that is open: it goes on where it was, whatever becomes of its name.
struct Reader {
    shelf: MemoryShelf,
    id: AssignmentId,
    offset: usize,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut shelf = self.shelf.0.lock().unwrap();
        let lying = shelf.get_mut(&self.id).ok_or(io::ErrorKind::NotFound)?;
        let read = (&lying.bytes[self.offset..]).read(buffer)?;
        self.offset += read;
        lying.read = lying.read.max(self.offset);
        Ok(read)
    }
}

impl Shelf for MemoryShelf {
    fn list(&self) -> io::Result<Vec<AssignmentId>> {
        let shelf = self.0.lock().unwrap();
        let whole = shelf.iter().filter(|(_, lying)| lying.is_whole);
        Ok(whole.map(|(id, _)| *id).collect())
    }

    fn open(&self, id: AssignmentId) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(self.reader(id, |lying| lying.is_whole)?))
    }

    fn open_coming(&self, id: AssignmentId) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(self.reader(id, |lying| !lying.is_whole)?))
    }
}

/// A clock that stands until it is moved.
#[derive(Debug, Clone, Default)]
pub(crate) struct Standing(Arc<(Mutex<Moved>, Condvar)>);

#[derive(Debug, Default)]
struct Moved {
    now: Time,
    waiting: usize,
}

impl Standing {
    pub(crate) fn move_to(&self, now: Time) {
        self.0.0.lock().unwrap().now = now;
        self.0.1.notify_all();
    }

    /// Returns once so many wait.
    pub(crate) fn until_waiting(&self, count: usize) {
        let moved = self.0.0.lock().unwrap();
        let waits = |moved: &mut Moved| moved.waiting < count;
        drop(self.0.1.wait_while(moved, waits).unwrap());
    }
}

impl Clock for Standing {
    fn now(&self) -> Time {
        self.0.0.lock().unwrap().now
    }

    fn wait_until(&self, at: Time) {
        let mut moved = self.0.0.lock().unwrap();
        moved.waiting += 1;
        self.0.1.notify_all();
        let mut moved = self.0.1.wait_while(moved, |moved| moved.now < at).unwrap();
        moved.waiting -= 1;
    }
}

/// A node with custody of `shop` and of `docs`.
pub(crate) struct Node {
    pub(crate) disk: MemoryDisk,
    pub(crate) shelf: MemoryShelf,
    pub(crate) clock: Standing,
    pub(crate) custody: Custody<MemoryDisk>,
    told: Arc<Mutex<Vec<Told>>>,
}

pub(crate) struct Setting {
    pub(crate) disk: MemoryDisk,
    pub(crate) shelf: MemoryShelf,
    pub(crate) autonomous: bool,
    pub(crate) hooks: Hooks,
    pub(crate) neighbourhood: Arc<dyn Neighbourhood>,
    pub(crate) threads_max: usize,
}

/// No neighbour holds anything.
pub(crate) struct Nobody;

impl Neighbourhood for Nobody {
    fn ask(&self, _: &Wanted<'_>) -> Result<Box<dyn Source>, Failure> {
        Err(Failure::new(FailureKind::Neighbours, "nobody is here"))
    }
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            disk: MemoryDisk::new(Default::default()),
            shelf: MemoryShelf::default(),
            autonomous: false,
            hooks: Hooks::default(),
            neighbourhood: Arc::new(Nobody),
            threads_max: 2,
        }
    }
}

pub(crate) fn trust() -> Trust {
    Trust::Keys(vec![server().public()])
}

pub(crate) fn witness() -> Witness {
    Witness {
        node: node(),
        incarnation: Incarnation(5),
        key: node_key(),
    }
}

pub(crate) fn place<D: bellwether_disk::Disk>(disk: D, site: &SitePart, hooks: Hooks) -> Place<D> {
    let edge: Name = "edge".parse().unwrap();
    let plain: Name = "plain".parse().unwrap();
    let options = Options {
        threads: 1,
        hooks,
        ..Options::default()
    };
    Place {
        site: Site::open(disk, site.clone(), options),
        groups: BTreeMap::from([(edge, Some(Arc::new(group_key()))), (plain, None)]),
        autonomous: false,
        allow_set_id: false,
    }
}

impl Node {
    pub(crate) fn new() -> Self {
        Self::with(Setting::default())
    }

    pub(crate) fn with(setting: Setting) -> Self {
        let clock = Standing::default();
        let told: Arc<Mutex<Vec<Told>>> = Arc::default();
        let sites = [shop(), "docs".parse().unwrap()];
        let settings = CustodySettings {
            trust: trust(),
            witness: witness(),
            places: sites
                .iter()
                .map(|site| Place {
                    autonomous: setting.autonomous,
                    ..place(setting.disk.clone(), site, setting.hooks.clone())
                })
                .collect(),
            shelf: Box::new(setting.shelf.clone()),
            neighbourhood: setting.neighbourhood,
            clock: Box::new(clock.clone()),
            threads_max: setting.threads_max,
        };
        let telling = Arc::clone(&told);
        let custody = Custody::start(settings, move |one| telling.lock().unwrap().push(one));
        Self {
            disk: setting.disk,
            shelf: setting.shelf,
            clock,
            custody,
            told,
        }
    }

    /// Brings the files of an assignment, and what became of it.
    pub(crate) fn bring(&self, files: &[Vec<u8>]) -> Outcome {
        for file in files {
            self.custody.arrived(self.shelf.put(file));
        }
        self.outcome()
    }

    /// Gives an order, and what became of it.
    pub(crate) fn obey(&self, order: &[u8]) -> Outcome {
        self.custody.order(order, None).unwrap();
        self.outcome()
    }

    /// Publishes a version as assignment `serial`, and commits it by order `serial + 1`.
    pub(crate) fn publish(&self, serial: u64, base: Option<&Farm>, target: &Farm) -> Receipt {
        let files = assignment(header(&shop(), serial), base, target);
        assert_eq!(self.bring(&files), Outcome::Staged(version(target)));
        receipt(self.obey(&order(Action::Commit, serial + 1, Some(version(target)))))
    }

    /// The only outcome since the last time.
    pub(crate) fn outcome(&self) -> Outcome {
        let mut outcomes = self.outcomes();
        assert_eq!(outcomes.len(), 1, "{outcomes:?}");
        outcomes.remove(0)
    }

    pub(crate) fn outcomes(&self) -> Vec<Outcome> {
        self.custody.settle();
        let outcome = |told| match told {
            Told::Outcome { outcome, .. } => Some(outcome),
            _ => None,
        };
        self.told().into_iter().filter_map(outcome).collect()
    }

    pub(crate) fn told(&self) -> Vec<Told> {
        std::mem::take(&mut *self.told.lock().unwrap())
    }

    /// What will have been told when the node is no more.
    pub(crate) fn told_later(&self) -> Arc<Mutex<Vec<Told>>> {
        Arc::clone(&self.told)
    }

    pub(crate) fn live(&self) -> Option<VersionId> {
        self.site().status().unwrap().live
    }

    pub(crate) fn site(&self) -> Site<MemoryDisk> {
        Site::open(self.disk.clone(), shop(), Options::default())
    }

    /// A node that starts on what this one leaves behind when it is killed now.
    pub(crate) fn killed(&self) -> Self {
        Self::with(Setting {
            disk: self.disk.restarted(),
            shelf: self.shelf.clone(),
            ..Setting::default()
        })
    }
}

pub(crate) fn receipt(outcome: Outcome) -> Receipt {
    match outcome {
        Outcome::Live(receipt) => receipt,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn failure(outcome: Outcome) -> Failure {
    match outcome {
        Outcome::Failed(failure) | Outcome::Behind(_, failure) => failure,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn seconds(seconds: u64) -> Time {
    Time::ZERO + Duration::from_secs(seconds)
}
