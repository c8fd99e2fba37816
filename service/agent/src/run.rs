use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bellwether_content::assignment::Trust;
use bellwether_election::Memory;
use bellwether_machine::{Machine, Outbox, Random};
use bellwether_net::{Channel, OpenError, Role, Skew, drive, now, skew};
use bellwether_segment::{Input, Segment};
use bellwether_transfer::TransferError;
use bellwether_wire::control::{KeyRing, SegmentKey, Sender};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use crate::enrol::{Admission, ControlServer, EnrolError, Enrolled, Newcomer, Standing, enrol};
use crate::folder::{Folder, FolderError, Kept, random_bytes};
use crate::jobs::{Jobs, JobsSettings};
use crate::measure::{self, Sampler};
use crate::neighbours::{Neighbours, NeighboursSettings};
use crate::node::{Node, NodeError, Order, Signals, from_hex};
use crate::record::{Record, parse_memory};
use crate::settings::Settings;
use crate::transfers::Transfers;
use crate::{admin, http, log, neighbours};

/// How an agent ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It left its segment in order, by request or by SIGTERM.
    Left,
    /// From the keyboard; it left in order all the same, unless asked twice.
    Interrupted,
}

/// Why an agent cannot run, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Its data directory.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Its control server.
    #[error(transparent)]
    Enrol(#[from] EnrolError),
    /// Its network.
    #[error(transparent)]
    Network(#[from] OpenError),
    /// What brings content to it.
    #[error("transfers cannot begin")]
    Transfers(#[from] TransferError),
    /// Its interface has no address that others could answer to.
    #[error(
        "interface {0} has no address that others could answer to: give it one, or name another interface"
    )]
    Unaddressed(String),
    /// Its port for neighbours.
    #[error(
        "cannot listen on {address} for neighbours: free it, or set another `channel.serve_port`"
    )]
    Serve {
        /// The address.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The machine denies something else.
    #[error("cannot {action}")]
    Io {
        /// What was tried.
        action: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// Orders that may wait; who has more waits.
const ORDERS_MAX: usize = 2_048;
/// How long an ending agent waits for its last answers to be read.
const FAREWELL: Duration = Duration::from_secs(1);

/// Runs an agent until it has left its segment.
pub fn run(settings: Settings, key: SegmentKey) -> Result<Ended, RunError> {
    log::begin(settings.log, settings.level);
    let admission = Admission {
        keys: KeyRing::new(key),
        put_out: BTreeSet::new(),
    };
    start(settings, admission, None)
}

/// The same for a node whose control server says where it belongs: what the settings say of segment and key is not
/// looked at.
pub fn run_enrolled(mut settings: Settings, server: ControlServer) -> Result<Ended, RunError> {
    log::begin(settings.log, settings.level);
    let newcomer = Newcomer {
        name: settings.name.clone(),
        interface: settings.channel.interface.clone(),
    };
    let enrolled = enrol(&settings.data, server, &newcomer)?;
    settings.segment = enrolled.segment.clone();
    let admission = enrolled.admission.clone();
    start(settings, admission, Some(enrolled))
}

fn start(
    settings: Settings,
    admission: Admission,
    enrolled: Option<Enrolled>,
) -> Result<Ended, RunError> {
    if settings.skew != Skew::default() {
        skew(settings.skew);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(io_fault("start the runtime"))?;
    runtime.block_on(live(settings, admission, enrolled))
}

async fn live(
    settings: Settings,
    admission: Admission,
    enrolled: Option<Enrolled>,
) -> Result<Ended, RunError> {
    let mut terminated = signal(SignalKind::terminate()).map_err(io_fault("await signals"))?;
    let mut interrupted = signal(SignalKind::interrupt()).map_err(io_fault("await signals"))?;
    let folder = Folder::open(&settings.data)?;
    let kept = Remembered::read(&folder)?;
    let mut record = kept.record;
    let mut channel = Channel::open(settings.channel.clone())?;
    let address = channel
        .address()
        .ok_or_else(|| RunError::Unaddressed(settings.channel.interface.to_string()))?;
    let listener = admin::listen(&settings.data)
        .map_err(io_fault("listen on admin.sock in the data directory"))?;
    let web = match settings.metrics {
        None => None,
        Some(address) => Some(http::listen(address).await.map_err(|source| RunError::Io {
            action: format!("serve metrics at {address}"),
            source,
        })?),
    };
    let serving = match enrolled.as_ref().map(Enrolled::serves) {
        Some(true) => Some(neighbours::listen(address.ip(), settings.serve_port)?),
        _ => None,
    };
    // From here on this start counts.
    let (node, incarnation) = folder.begin()?;
    record.begin();
    folder.replace(Kept::Record, &record.to_text())?;
    let sender = Sender {
        node,
        incarnation,
        salt: random_bytes(),
    };
    info!(
        node = %node, %incarnation, segment = %settings.segment, name = %settings.name, %address, key = %admission.keys.current().id(),
        heartbeat_ms = settings.timing.heartbeat_ms(), "started"
    );
    let random = Random::new(u64::from_ne_bytes(random_bytes()));
    let (orders, mut ordered) = mpsc::channel(ORDERS_MAX);
    let trust = match &enrolled {
        // Whoever applies an assignment looks at that again.
        None => Trust::Anyone,
        Some(enrolled) => enrolled.trust()?,
    };
    let keys = admission.keys.clone();
    let transfers = Transfers::start(&settings, &sender, keys.clone(), trust, orders.clone())?;
    let mut machine = Segment::new(settings.segment(sender), keys, kept.memory, random);
    let signals = Arc::new(Signals::default());
    let server = enrolled.as_ref().map(|enrolled| enrolled.url().clone());
    let enrolled = match enrolled {
        None => (None, None),
        Some(enrolled) => {
            let (standing, stands) = watch::channel(Arc::new(enrolled.standing()?));
            let refresh = Arc::clone(&signals.refresh);
            let neighbours = NeighboursSettings {
                node,
                sites: settings.data.join("sites"),
                standing: stands.clone(),
            };
            let neighbours = Neighbours::start(neighbours, serving);
            let neighbours = neighbours.map_err(io_fault("start a thread"))?;
            let jobs = JobsSettings {
                node,
                incarnation,
                segment: settings.segment.clone(),
                key: enrolled.own().clone(),
                data: settings.data.clone(),
                standing: stands.clone(),
                refresh: Arc::clone(&refresh),
                hooks: settings.hooks(),
                transfers: transfers.member().clone(),
                neighbourhood: neighbours.neighbourhood(),
                seed: u64::from_ne_bytes(random_bytes()),
            };
            let wishes = orders.clone();
            // What there is no room for is lost, as on a network that takes no more, and said again.
            let wish = move |wish| drop(wishes.try_send(Order::Jobs(wish)));
            let jobs = Jobs::start(jobs, wish).map_err(io_fault("start a thread"))?;
            tokio::spawn(admit(stands, orders.clone()));
            let (folder, orders) = (folder.another()?, orders.clone());
            tokio::spawn(async move {
                enrolled.renew_often(folder, refresh, standing).await;
                orders.send(Order::PutOut).await
            });
            (Some(jobs), Some(neighbours))
        }
    };
    let interface = settings.channel.interface.clone();
    let sampler = Sampler::new(interface, address, settings.data.clone());
    let patience = settings.timing.silence() * 4;
    let mut role = Node::new(
        folder,
        settings,
        sender,
        record,
        Arc::clone(&signals),
        transfers,
        enrolled,
    );
    let mut outbox = Outbox::new();
    let start = Input::Start {
        membership: kept.membership,
    };
    machine.handle(now(), start, &mut outbox);
    let admit = Input::Admit {
        keys: Box::new(admission.keys),
        put_out: admission.put_out,
    };
    machine.handle(now(), admit, &mut outbox);
    for output in outbox.drain() {
        role.carry_out(output, &mut channel)
            .map_err(RunError::from)?;
    }
    tokio::spawn(measure_often(sampler, orders.clone(), Arc::clone(&signals)));
    let desk = admin::desk();
    let admin = tokio::spawn(admin::serve(listener, orders.clone(), desk.clone()));
    if let Some(web) = web {
        tokio::spawn(http::serve(web, orders.clone()));
    }
    let mut ended = Ended::Left;
    let mut leaving = false;
    {
        let mut driving = pin!(drive(&mut machine, &mut role, &mut channel, &mut ordered));
        let mut late = pin!(tokio::time::sleep(patience));
        loop {
            tokio::select! {
                result = &mut driving => {
                    result.map_err(RunError::from)?;
                    break;
                }
                () = signals.left.notified() => break,
                () = &mut late, if leaving => {
                    warn!("leaving without farewell: nobody took note in {patience:?}");
                    break;
                }
                () = signals.leaving.notified() => {}
                _ = terminated.recv(), if !leaving => {
                    info!("asked to end (SIGTERM): leaving the segment");
                    leave(&orders);
                }
                _ = interrupted.recv() => {
                    ended = Ended::Interrupted;
                    if leaving {
                        warn!("asked twice: ending at once");
                        break;
                    }
                    info!("interrupted: leaving the segment; once more to end at once");
                    leave(&orders);
                }
            }
            if !leaving {
                leaving = true;
                late.as_mut().reset(tokio::time::Instant::now() + patience);
            }
        }
    }
    let is_put_out = role.is_put_out();
    role.finish()?;
    admin.abort();
    drop(ordered);
    desk.all_told(FAREWELL).await;
    info!("ended");
    match server.filter(|_| is_put_out) {
        Some(server) => Err(EnrolError::PutOut(server).into()),
        None => Ok(ended),
    }
}

fn leave(orders: &mpsc::Sender<Order>) {
    let orders = orders.clone();
    tokio::spawn(async move { orders.send(Order::Leave).await });
}

/// Tells the node whom to believe whenever its control server says something new.
async fn admit(mut standing: watch::Receiver<Arc<Standing>>, orders: mpsc::Sender<Order>) {
    while standing.changed().await.is_ok() {
        let admission = Box::new(standing.borrow_and_update().admission.clone());
        if orders.send(Order::Admit(admission)).await.is_err() {
            return;
        }
    }
}

async fn measure_often(mut sampler: Sampler, orders: mpsc::Sender<Order>, signals: Arc<Signals>) {
    while orders
        .send(Order::Measured(sampler.sample(now())))
        .await
        .is_ok()
    {
        tokio::select! {
            () = signals.changed.notified() => {}
            () = tokio::time::sleep(measure::INTERVAL) => {}
        }
    }
}

/// What was kept of earlier starts.
struct Remembered {
    memory: Memory,
    membership: Vec<u8>,
    record: Record,
}

impl Remembered {
    /// All or nothing: a node that forgot what it promised would be worse than none.
    fn read(folder: &Folder) -> Result<Self, FolderError> {
        fn one<T: Default>(
            folder: &Folder,
            kept: Kept,
            parse: fn(&str) -> Option<T>,
        ) -> Result<T, FolderError> {
            match folder.read(kept)? {
                None => Ok(T::default()),
                Some(body) => parse(&body).ok_or_else(|| folder.damaged(kept)),
            }
        }
        Ok(Self {
            memory: one(folder, Kept::Election, parse_memory)?,
            membership: one(folder, Kept::Membership, from_hex)?,
            record: one(folder, Kept::Record, Record::parse)?,
        })
    }
}

impl From<NodeError> for RunError {
    fn from(error: NodeError) -> Self {
        match error {
            NodeError::Keep(error) => Self::Folder(error),
            NodeError::Network(source) => Self::Io {
                action: "use the network any longer".to_owned(),
                source,
            },
        }
    }
}

fn io_fault(action: &'static str) -> impl FnOnce(io::Error) -> RunError {
    move |source| RunError::Io {
        action: action.to_owned(),
        source,
    }
}
