//! What nodes of a segment give each other over HTTPS: the list of files of a version that one holds, and their contents by
//! hash. So whoever missed something has it from next door (JOB-04, VERSION-12).
//!
//! - [`serve`](mod@serve) answers neighbours: those whom the authority of the installation vouches for, who are members of
//!   the segment, and who show that they receive the same content, by the key of its group.
//! - [`gather`] asks those whose records say that they hold a version, and takes what comes from whoever gives it.
//!
//! On a thread of its own, as bytes of others are nothing that elections should wait for.

mod gather;
mod serve;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use bellwether_types::NodeId;
use bellwether_wire::control::{Holding, Record};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::content::Neighbourhood;
use crate::enrol::Standing;
use crate::run::RunError;
use gather::Around;

/// What this part is told at its start.
pub(crate) struct NeighboursSettings {
    /// This node.
    pub(crate) node: NodeId,
    /// The sites' root.
    pub(crate) sites: PathBuf,
    /// What the control server said last.
    pub(crate) standing: watch::Receiver<Arc<Standing>>,
}

/// This node's part among its neighbours.
#[derive(Debug)]
pub(crate) struct Neighbours {
    port: Option<u16>,
    circle: watch::Sender<Circle>,
    around: Around,
}

/// The members of the segment, this node among them.
pub(crate) type Circle = Arc<BTreeMap<NodeId, Neighbour>>;

/// What there is to know of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Neighbour {
    /// Where it serves others, if it does.
    pub(crate) at: Option<SocketAddr>,
    /// What is live on it.
    pub(crate) holds: Vec<Holding>,
}

/// Reads of files at once; others wait.
const READS_MAX: usize = 8;

/// Takes the port for neighbours.
pub(crate) fn listen(own: IpAddr, port: u16) -> Result<TcpListener, RunError> {
    let any = match own {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let address = SocketAddr::new(any, port);
    let fault = |source| RunError::Serve { address, source };
    let listener = TcpListener::bind(address).map_err(fault)?;
    listener.set_nonblocking(true).map_err(fault)?;
    Ok(listener)
}

impl Neighbours {
    /// Begins; nobody is known yet.
    pub(crate) fn start(
        settings: NeighboursSettings,
        listener: Option<TcpListener>,
    ) -> io::Result<Self> {
        let address = listener.as_ref().map(TcpListener::local_addr).transpose()?;
        if let Some(address) = address {
            info!(%address, "serves its neighbours");
        }
        let (circle, circles) = watch::channel(Circle::default());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(READS_MAX)
            .build()?;
        let around = Around {
            node: settings.node,
            circle: circles.clone(),
            standing: settings.standing.clone(),
            runtime: runtime.handle().clone(),
        };
        std::thread::Builder::new()
            .name("neighbours".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    if let Some(listener) = listener
                        && let Err(error) = serve::run(settings, circles, listener).await
                    {
                        warn!("neighbours get nothing from this node: {error}");
                    }
                    // For what this node gets from them.
                    std::future::pending::<()>().await;
                });
            })?;
        Ok(Self {
            port: address.map(|address| address.port()),
            circle,
            around,
        })
    }

    /// What this node can have from others.
    pub(crate) fn neighbourhood(&self) -> Arc<dyn Neighbourhood> {
        Arc::new(self.around.clone())
    }

    /// Where neighbours are served, if they are.
    pub(crate) const fn port(&self) -> Option<u16> {
        self.port
    }

    /// Who belongs to the segment has changed, or what they hold.
    pub(crate) fn follow<'r>(&self, members: impl Iterator<Item = (NodeId, &'r Record)>) {
        let members = members.map(|(node, record)| {
            let at = |port| SocketAddr::new(record.address.ip(), port);
            let neighbour = Neighbour {
                at: record.serve_port.map(at),
                holds: record.holdings.clone(),
            };
            (node, neighbour)
        });
        self.circle.send_replace(Arc::new(members.collect()));
    }
}
