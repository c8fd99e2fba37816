//! Content in a node's custody: assignments are staged, orders are carried out, and what is served is
//! signed for. Nothing here speaks with anybody; what became of things is told to whoever started it.
//!
//! - [`Custody`] has a line for each site and part: in a line one thing after the other, lines side by side, on a bounded
//!   number of threads.
//! - [`Place`] is a site with what the node's settings say of it; what is done to it stands there.
//! - [`Order`] is a signed assignment of a header alone.
//! - [`Neighbourhood`] is whoever holds versions that are missing here.
//! - [`Shelf`] is where assignments lie, whole or still coming: what leads on from what is live is staged on the way.
//! - A [`Receipt`](bellwether_wire::uplink::Receipt) says what is served, under the node's own key.
//!
//! Recovery needs no journal of its own: what was decided stands in the site's state, what was not staged yet stands on
//! the shelf, and orders that were missed are given again.

mod custody;
mod failure;
mod flow;
mod ledger;
mod lines;
mod neighbourhood;
mod order;
mod place;
mod shelf;

pub use custody::{Clock, Custody, CustodySettings, SteadyClock, Told};
pub use neighbourhood::{Neighbourhood, Refusal, Source, Wanted};
pub use order::Order;
pub use place::{Done, Place, Witness};
pub use shelf::{FolderShelf, Shelf};
