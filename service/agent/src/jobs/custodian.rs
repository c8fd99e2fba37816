//! Custody on a thread of its own: what the disk holds up there holds up nothing else.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;

use bellwether_api::NodeSettings;
use bellwether_content::assignment::Trust;
use bellwether_disk::{Hooks, Options, RealDisk, Site};
use bellwether_fleet::CommitMode;
use bellwether_types::{Name, SitePart, Time};
use bellwether_wire::control::Holding;
use bellwether_wire::transfer::AssignmentId;
use bellwether_wire::uplink::Failure;
use bellwether_wire::{ContentKey, PublicKey};

use crate::content::{
    Custody, CustodySettings, FolderShelf, Neighbourhood, Order, Place, SteadyClock, Told, Witness,
};

/// The way to the thread. Dropped, it ends what is under way in order.
#[derive(Debug)]
pub(super) struct Custodian {
    commands: mpsc::Sender<Command>,
}

/// What custody tells, and what came of orders that it does not take.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "few are ever there at once, and most are the large one"
)]
pub(crate) enum Said {
    /// Custody's own words.
    Told(Told),
    /// An order was refused; with its job, if it is one of whom the node trusts.
    Refused(AssignmentId, Option<Name>, Failure),
    /// What is live, and the highest serial of an order that was carried out.
    Holds(Vec<Holding>, u64),
}

/// Where content is on this node.
#[derive(Debug, Clone)]
pub(super) struct Rooms {
    /// The sites' root.
    pub(super) sites: PathBuf,
    /// Where whole assignments lie.
    pub(super) assignments: PathBuf,
}

enum Command {
    Serve(Box<NodeSettings>),
    Coming {
        id: AssignmentId,
        len: u64,
        total: u64,
    },
    Lost(AssignmentId),
    Arrived(AssignmentId),
    Recall(Name),
    Obey(Vec<u8>, Option<Time>),
    Look,
}

/// Sites and parts that are at work at once.
const THREADS_MAX: usize = 4;

impl Custodian {
    /// Begins; nothing is in custody before it is told what to serve.
    pub(super) fn start(
        rooms: Rooms,
        witness: Witness,
        hooks: Hooks,
        neighbourhood: Arc<dyn Neighbourhood>,
        say: impl Fn(Said) + Clone + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let (commands, commanded) = mpsc::channel();
        let mut keeper = Keeper {
            rooms,
            witness,
            hooks,
            neighbourhood,
            say,
            custody: None,
        };
        thread::Builder::new()
            .name("custodian".to_owned())
            .spawn(move || {
                while let Ok(command) = commanded.recv() {
                    keeper.obey(command);
                }
            })?;
        Ok(Self { commands })
    }

    /// The control server says what this node serves.
    pub(super) fn serve(&self, settings: NodeSettings) {
        self.give(Command::Serve(Box::new(settings)));
    }

    /// So many bytes of an assignment that comes are proved, of so many.
    pub(super) fn coming(&self, id: AssignmentId, len: u64, total: u64) {
        self.give(Command::Coming { id, len, total });
    }

    /// An assignment that was coming will not come.
    pub(super) fn lost(&self, id: AssignmentId) {
        self.give(Command::Lost(id));
    }

    /// An assignment lies whole on the shelf.
    pub(super) fn arrived(&self, id: AssignmentId) {
        self.give(Command::Arrived(id));
    }

    /// What became of a job is to be told again.
    pub(super) fn recall(&self, job: Name) {
        self.give(Command::Recall(job));
    }

    /// A signed order is to be carried out, at that moment or at once.
    pub(super) fn obey(&self, assignment: Vec<u8>, at: Option<Time>) {
        self.give(Command::Obey(assignment, at));
    }

    /// What is live is to be told.
    pub(super) fn look(&self) {
        self.give(Command::Look);
    }

    fn give(&self, command: Command) {
        // It ends with the process only.
        let _ = self.commands.send(command);
    }
}

struct Keeper<S> {
    rooms: Rooms,
    witness: Witness,
    hooks: Hooks,
    neighbourhood: Arc<dyn Neighbourhood>,
    say: S,
    custody: Option<Kept>,
}

/// Custody, by what it was begun with.
struct Kept {
    custody: Custody<RealDisk>,
    settings: NodeSettings,
    trust: Trust,
}

impl<S: Fn(Said) + Clone + Send + Sync + 'static> Keeper<S> {
    fn obey(&mut self, command: Command) {
        match (command, &self.custody) {
            (Command::Serve(settings), _) => self.serve(*settings),
            (_, None) => {}
            (Command::Coming { id, len, total }, Some(kept)) => {
                kept.custody.coming(id, len, total);
            }
            (Command::Lost(id), Some(kept)) => kept.custody.lost(id),
            (Command::Arrived(id), Some(kept)) => kept.custody.arrived(id),
            (Command::Recall(job), Some(kept)) => kept.custody.recall(&job),
            (Command::Obey(assignment, at), Some(kept)) => {
                if let Err(failure) = kept.custody.order(&assignment, at) {
                    let order = Order::open(&assignment, &kept.trust);
                    let job = order.ok().map(|order| order.job);
                    let id = AssignmentId::of(&assignment);
                    (self.say)(Said::Refused(id, job, failure));
                }
            }
            (Command::Look, Some(kept)) => {
                let (holdings, committed) = (kept.custody.holdings(), kept.custody.committed());
                (self.say)(Said::Holds(holdings, committed));
            }
        }
    }

    /// Begins anew, if what is to be served is not what was; nothing of what is live changes by that.
    fn serve(&mut self, settings: NodeSettings) {
        if self
            .custody
            .as_ref()
            .is_some_and(|kept| is_same(&kept.settings, &settings))
        {
            return;
        }
        // One after the other: both would take up the same assignments.
        self.custody = None;
        match self.begin(&settings) {
            Ok((custody, trust)) => {
                (self.say)(Said::Holds(custody.holdings(), custody.committed()));
                self.custody = Some(Kept {
                    custody,
                    settings,
                    trust,
                });
            }
            Err(why) => {
                let note = format!("this node serves nothing: {why}");
                (self.say)(Said::Told(Told::Note(note)));
            }
        }
    }

    fn begin(&self, settings: &NodeSettings) -> Result<(Custody<RealDisk>, Trust), String> {
        let root = &self.rooms.sites;
        let made = DirBuilder::new().recursive(true).mode(0o755).create(root);
        made.map_err(|error| format!("cannot create {}: {error}", root.display()))?;
        let trust = trust(settings)?;
        let settings = CustodySettings {
            trust: trust.clone(),
            witness: self.witness.clone(),
            places: places(settings, root, &self.hooks)?,
            shelf: Box::new(FolderShelf(self.rooms.assignments.clone())),
            neighbourhood: Arc::clone(&self.neighbourhood),
            clock: Box::new(SteadyClock),
            threads_max: THREADS_MAX,
        };
        let say = self.say.clone();
        let custody = Custody::start(settings, move |told| say(Said::Told(told)));
        Ok((custody, trust))
    }
}

/// Whose assignments count.
pub(super) fn trust(settings: &NodeSettings) -> Result<Trust, String> {
    let key: Result<PublicKey, _> = settings.signing_key.parse();
    let key = key.map_err(|fault| format!("the control server's key is {fault}"))?;
    Ok(Trust::Keys(vec![key]))
}

/// The sites and parts that a node serves.
fn places(
    settings: &NodeSettings,
    root: &Path,
    hooks: &Hooks,
) -> Result<Vec<Place<RealDisk>>, String> {
    let groups = settings.groups.iter().map(|group| {
        let key = group.key.parse::<ContentKey>();
        let key = key.map_err(|fault| format!("the key of group {}: {fault}", group.group))?;
        Ok((group.group.clone(), Some(Arc::new(key))))
    });
    let groups: BTreeMap<Name, Option<Arc<ContentKey>>> = groups.collect::<Result<_, String>>()?;
    let mut places = Vec::new();
    for served in &settings.sites {
        for part in &served.parts {
            let name = SitePart {
                site: served.site.clone(),
                part: part.clone(),
            };
            let disk = RealDisk::open(root)
                .map_err(|errno| format!("cannot open {}: {errno}", root.display()))?;
            let options = Options {
                hooks: hooks.clone(),
                ..Options::default()
            };
            places.push(Place {
                site: Site::open(disk, name, options),
                groups: groups.clone(),
                autonomous: served.commit == CommitMode::Each,
                allow_set_id: false,
            });
        }
    }
    Ok(places)
}

/// Whether custody under both would be the same.
fn is_same(one: &NodeSettings, other: &NodeSettings) -> bool {
    (&one.sites, &one.groups, &one.signing_key) == (&other.sites, &other.groups, &other.signing_key)
}
