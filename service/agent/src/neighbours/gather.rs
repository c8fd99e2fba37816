//! What neighbours are asked for: a few pieces at a time, each of whoever's turn it is, and of the next if that one does not
//! give it.

use std::collections::VecDeque;
use std::error::Error;
use std::io::{self, Read};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bellwether_client::{Client, PIECE_LEN_MAX, Right};
use bellwether_content::Manifest;
use bellwether_types::{Hash, NodeId, SitePart, VersionId};
use bellwether_wire::control::Holding;
use bellwether_wire::uplink::{Failure, FailureKind};
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tracing::{debug, info};

use super::Circle;
use crate::content::{Neighbourhood, Refusal, Source, Wanted};
use crate::enrol::Standing;

/// The neighbours of this node, as somebody who lacks something sees them.
#[derive(Debug, Clone)]
pub(super) struct Around {
    pub(super) node: NodeId,
    pub(super) circle: watch::Receiver<Circle>,
    pub(super) standing: watch::Receiver<Arc<Standing>>,
    pub(super) runtime: Handle,
}

/// A neighbour that says it holds what is wanted.
#[derive(Debug)]
struct Peer {
    node: NodeId,
    client: Client,
    right: Right,
    /// How often it did not give what it was asked for.
    strikes: AtomicU32,
}

/// Neighbours that are asked for one version.
const PEERS_MAX: usize = 8;
/// Who did not give it so often is not asked any more.
const STRIKES_MAX: u32 = 3;
/// Each is asked so often for a piece, others in between.
const ROUNDS: usize = 2;
/// Pieces that are asked for at once; so much may wait in memory.
const PIECES_MAX: usize = 8;
/// How often it is looked whether all of it is wanted no more.
const LOOK: Duration = Duration::from_millis(100);

impl Neighbourhood for Around {
    fn ask(&self, wanted: &Wanted<'_>) -> Result<Box<dyn Source>, Failure> {
        let (site, version) = (wanted.site, wanted.version);
        let peers = self.peers(wanted)?;
        let mut why = "none says that it does".to_owned();
        for (turn, peer) in peers.iter().enumerate() {
            let asked = peer.client.manifest(site, version, &peer.right);
            let asked = wait(&self.runtime, wanted.cancelled, asked)
                .map_err(|error| Failure::new(FailureKind::Neighbours, error.to_string()))?;
            match asked
                .map_err(|error| chain(&error))
                .and_then(|bytes| read(&bytes, version))
            {
                Ok(manifest) => {
                    info!(%site, version = %version.short(), neighbours = peers.len(), "gathers from neighbours");
                    return Ok(Box::new(Gathering {
                        manifest: Arc::new(manifest),
                        puller: Arc::new(Mutex::new(Puller {
                            site: site.clone(),
                            asked: peers.clone(),
                            peers,
                            alone: None,
                            runtime: self.runtime.clone(),
                            cancelled: Arc::clone(wanted.cancelled),
                            turn,
                            contents: VecDeque::new(),
                            offset: 0,
                            coming: VecDeque::new(),
                        })),
                    }));
                }
                Err(fault) => {
                    debug!(neighbour = %peer.node, "does not give a list of files: {fault}");
                    why = format!("node {}: {fault}", peer.node);
                }
            }
        }
        let reason = format!(
            "no neighbour gives version {} of site {site}; {why}",
            version.short()
        );
        Err(Failure::new(FailureKind::Neighbours, reason))
    }
}

impl Around {
    /// Those whose records say that they hold it. Each node begins with another one.
    fn peers(&self, wanted: &Wanted<'_>) -> Result<Vec<Arc<Peer>>, Failure> {
        let standing = Arc::clone(&self.standing.borrow());
        let circle = Arc::clone(&self.circle.borrow());
        let holds = |held: &Holding| {
            held.site == wanted.site.site
                && held.part == wanted.site.part
                && held.version == wanted.version
        };
        let holders = circle
            .iter()
            .filter(|(node, neighbour)| **node != self.node && neighbour.holds.iter().any(holds));
        let mut peers = Vec::new();
        for (node, neighbour) in holders {
            let Some(at) = neighbour.at else { continue };
            let client = Client::of_node(*node, at, standing.ca, standing.identity.clone());
            let client =
                client.map_err(|error| Failure::new(FailureKind::Neighbours, chain(&error)))?;
            let group = wanted.group.clone();
            peers.push(Arc::new(Peer {
                node: *node,
                client,
                right: Right::new(self.node, *node, group, wanted.key),
                strikes: AtomicU32::new(0),
            }));
        }
        if !peers.is_empty() {
            let first = usize::from(self.node.as_bytes()[0]) % peers.len();
            peers.rotate_left(first);
        }
        peers.truncate(PEERS_MAX);
        Ok(peers)
    }
}

/// A version that is coming.
struct Gathering {
    manifest: Arc<Manifest>,
    puller: Arc<Mutex<Puller>>,
}

impl Source for Gathering {
    fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    fn expect(&mut self, contents: Vec<(Hash, u64)>) {
        let mut puller = lock(&self.puller);
        puller.stop();
        puller.contents = contents.into();
        puller.offset = 0;
    }

    fn fetch(&mut self, content: &Hash, size: u64) -> io::Result<Box<dyn Read>> {
        Ok(Box::new(Coming {
            puller: Arc::clone(&self.puller),
            content: *content,
            size,
            offset: 0,
            piece: Bytes::new(),
        }))
    }

    fn ask_others(&mut self, why: Refusal) -> bool {
        lock(&self.puller).ask_others(why)
    }
}

/// The bytes of one content, piece by piece.
struct Coming {
    puller: Arc<Mutex<Puller>>,
    content: Hash,
    size: u64,
    offset: u64,
    piece: Bytes,
}

impl Read for Coming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() && self.offset < self.size {
            let piece = Piece::at(self.content, self.size, self.offset);
            self.piece = lock(&self.puller).take(piece)?;
            self.offset += piece.len;
        }
        let len = buffer.len().min(self.piece.len());
        buffer[..len].copy_from_slice(&self.piece.split_to(len));
        Ok(len)
    }
}

/// A range of a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    content: Hash,
    from: u64,
    len: u64,
}

impl Piece {
    fn at(content: Hash, size: u64, from: u64) -> Self {
        let len = (size - from).min(PIECE_LEN_MAX);
        Self { content, from, len }
    }
}

/// Asks for pieces before they are wanted.
struct Puller {
    site: SitePart,
    /// Who is asked.
    asked: Vec<Arc<Peer>>,
    /// All who could be.
    peers: Vec<Arc<Peer>>,
    /// One of them alone, since something came that was not what was asked for: so a liar spoils what it gave, and not
    /// what others did.
    alone: Option<usize>,
    runtime: Handle,
    cancelled: Arc<AtomicBool>,
    /// Whose turn it is.
    turn: usize,
    /// What will be wanted, and how much of the first is asked for.
    contents: VecDeque<(Hash, u64)>,
    offset: u64,
    coming: VecDeque<(Piece, Pulling)>,
}

type Pulling = JoinHandle<Result<Bytes, String>>;

impl Puller {
    /// A piece, once it has come.
    fn take(&mut self, piece: Piece) -> io::Result<Bytes> {
        while self.coming.len() < PIECES_MAX
            && let Some(next) = self.next()
        {
            let pulling = self.pull(next);
            self.coming.push_back((next, pulling));
        }
        // What was not expected is asked for alone.
        let expected = self.coming.front().is_some_and(|(next, _)| *next == piece);
        let pulling = match self.coming.pop_front_if(|_| expected) {
            Some((_, pulling)) => pulling,
            None => self.pull(piece),
        };
        let pulled = wait(&self.runtime, &self.cancelled, pulling)?;
        pulled.map_err(io::Error::other)?.map_err(io::Error::other)
    }

    /// The next piece to be asked for.
    fn next(&mut self) -> Option<Piece> {
        loop {
            let (content, size) = *self.contents.front()?;
            if self.offset < size {
                let piece = Piece::at(content, size, self.offset);
                self.offset += piece.len;
                return Some(piece);
            }
            self.contents.pop_front();
            self.offset = 0;
        }
    }

    fn pull(&mut self, piece: Piece) -> Pulling {
        self.turn = self.turn.wrapping_add(1);
        let pull = pull(self.asked.clone(), self.site.clone(), piece, self.turn);
        self.runtime.spawn(pull)
    }

    fn ask_others(&mut self, why: Refusal) -> bool {
        let next = self.alone.map_or(0, |alone| alone + 1);
        // As long as all are asked, what none of them gave is not to be had from one alone either.
        let all_asked = why == Refusal::Silent && self.alone.is_none();
        let none_left = self.peers.len() < 2 || next >= self.peers.len();
        if all_asked || none_left || self.cancelled.load(Ordering::Relaxed) {
            return false;
        }
        self.alone = Some(next);
        self.asked = vec![Arc::clone(&self.peers[next])];
        self.asked[0].strikes.store(0, Ordering::Relaxed);
        info!(neighbour = %self.asked[0].node, "what neighbours gave was something else: asks this one alone");
        true
    }

    fn stop(&mut self) {
        for (_, pulling) in self.coming.drain(..) {
            pulling.abort();
        }
    }
}

impl Drop for Puller {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Asks one after the other for a piece.
async fn pull(
    peers: Vec<Arc<Peer>>,
    site: SitePart,
    piece: Piece,
    turn: usize,
) -> Result<Bytes, String> {
    let mut why = "no neighbour is left to ask".to_owned();
    for attempt in 0..peers.len() * ROUNDS {
        let peer = &peers[turn.wrapping_add(attempt) % peers.len()];
        if peer.strikes.load(Ordering::Relaxed) >= STRIKES_MAX {
            continue;
        }
        let range = piece.from..piece.from + piece.len;
        match peer
            .client
            .piece(&site, &piece.content, range, &peer.right)
            .await
        {
            Ok(bytes) if bytes.len() as u64 == piece.len => return Ok(bytes),
            Ok(bytes) => {
                why = format!(
                    "node {} gives {} bytes of {}",
                    peer.node,
                    bytes.len(),
                    piece.len
                );
            }
            Err(error) => why = format!("node {}: {}", peer.node, chain(&error)),
        }
        debug!("a piece does not come: {why}");
        peer.strikes.fetch_add(1, Ordering::Relaxed);
    }
    Err(why)
}

/// Reads a list of files and compares it with the version that it should be.
fn read(bytes: &[u8], version: VersionId) -> Result<Manifest, String> {
    let manifest = Manifest::decode(bytes).map_err(|error| chain(&error))?;
    match manifest.version() == version {
        true => Ok(manifest),
        false => Err("what it gives is the list of another version".to_owned()),
    }
}

/// Waits for something that happens on the neighbours' thread.
fn wait<T>(
    runtime: &Handle,
    cancelled: &AtomicBool,
    work: impl Future<Output = T>,
) -> io::Result<T> {
    runtime.block_on(async {
        let mut work = pin!(work);
        loop {
            if cancelled.load(Ordering::Relaxed) {
                return Err(io::Error::other("it is wanted no more"));
            }
            tokio::select! {
                done = &mut work => return Ok(done),
                () = sleep(LOOK) => {}
            }
        }
    })
}

fn lock(puller: &Mutex<Puller>) -> MutexGuard<'_, Puller> {
    puller.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An error and its causes, in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
