use std::path::PathBuf;

use bellwether_multicast::{Fate, Outcome};
use bellwether_types::NodeId;
use bellwether_wire::transfer::AssignmentId;

use super::{Told, Transfers};

/// How one transfer stands on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// What.
    pub assignment: AssignmentId,
    /// What it is called, as far as somebody said.
    pub name: String,
    /// Bytes of it.
    pub bytes: u64,
    /// Bytes of it that are proved here.
    pub proved: u64,
    /// Its file, once it is whole.
    pub path: Option<PathBuf>,
    /// Why it will not come, if so.
    pub failure: Option<String>,
    /// Does this node bring it to others at present?
    pub is_sent: bool,
    /// Those to whom this node brings it, or brought it: what became of each, and the symbols it lacks.
    pub receivers: Vec<(NodeId, Option<Fate>, u64)>,
    /// How that ended.
    pub outcome: Option<Outcome>,
}

impl<T: FnMut(Told)> Transfers<T> {
    pub(super) fn status(&self) -> Vec<Transfer> {
        let station = self.carrier.station();
        let all = station.receivers().map(|receiver| {
            let assignment = receiver.assignment();
            let geometry = receiver.geometry();
            let len = |block| geometry.map_or(0, |cut| u64::from(cut.block(block).len));
            Transfer {
                assignment,
                name: self.names.get(&assignment).cloned().unwrap_or_default(),
                bytes: geometry.map_or(0, |cut| cut.head_len() + cut.data_len()),
                proved: receiver.proved().flatten().map(len).sum(),
                path: receiver.is_complete().then(|| self.shelf.path(assignment)),
                failure: receiver.failure().map(str::to_owned),
                is_sent: !self.sessions_of(assignment).is_empty(),
                receivers: self.fates(assignment),
                outcome: self.outcomes.get(&assignment).cloned(),
            }
        });
        all.collect()
    }
}
