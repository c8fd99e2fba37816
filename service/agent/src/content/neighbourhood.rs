use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bellwether_content::Manifest;
use bellwether_types::{Hash, Name, SitePart, VersionId};
use bellwether_wire::ContentKey;
use bellwether_wire::uplink::Failure;

/// Other nodes of the segment, some of which may hold what is missing here.
pub trait Neighbourhood: Send + Sync {
    /// Somebody who holds a version.
    ///
    /// # Errors
    /// If nobody does, or gives it.
    fn ask(&self, wanted: &Wanted<'_>) -> Result<Box<dyn Source>, Failure>;
}

/// What is wanted of neighbours.
#[derive(Debug)]
pub struct Wanted<'w> {
    /// Whose content.
    pub site: &'w SitePart,
    /// The version.
    pub version: VersionId,
    /// The group in which this node gets it.
    pub group: &'w Name,
    /// Its key, by which neighbours know that.
    pub key: &'w ContentKey,
    /// Is it wanted no more?
    pub cancelled: &'w Arc<AtomicBool>,
}

/// What was wrong with what neighbours gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It was something else.
    Lied,
    /// Nobody who was asked gave it.
    Silent,
}

/// A version that neighbours hold.
pub trait Source {
    /// Its list of files, compared with the version.
    fn manifest(&self) -> &Arc<Manifest>;

    /// These contents, by hash and size, will be fetched in this order.
    fn expect(&mut self, contents: Vec<(Hash, u64)>);

    /// The bytes of a content. Nothing of them is proved.
    ///
    /// # Errors
    /// If nobody gives it; the same for what is read then.
    fn fetch(&mut self, content: &Hash, size: u64) -> io::Result<Box<dyn Read>>;

    /// What came was not what was asked for, or it did not come: ask others from now on. False if there are none.
    fn ask_others(&mut self, why: Refusal) -> bool;
}
