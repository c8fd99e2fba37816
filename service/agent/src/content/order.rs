use bellwether_content::assignment::{self, Action, Trust};
use bellwether_disk::Mandate;
use bellwether_types::{Name, SitePart, VersionId};
use bellwether_wire::transfer::AssignmentId;
use bellwether_wire::uplink::{Failure, FailureKind};

use super::failure;

/// A signed order of the control group, read and proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Its name among assignments.
    pub id: AssignmentId,
    /// The job that it belongs to.
    pub job: Name,
    /// Whose content.
    pub site: SitePart,
    /// What is to be done: commit, rollback, switch, remove, abort or gather.
    pub action: Action,
    /// The version that it is about.
    pub version: Option<VersionId>,
    /// The group in which the node gets it, if that matters.
    pub group: Option<Name>,
    /// Its place in the order of the site and part.
    pub by: Mandate,
}

impl Order {
    /// Reads an assignment of a header alone.
    ///
    /// # Errors
    /// If it is not signed by whom `trust` names, or is no order.
    pub fn open(bytes: &[u8], trust: &Trust) -> Result<Self, Failure> {
        let opened = assignment::open(bytes, trust, None);
        let opened = opened.map_err(|error| failure::of_open(&error))?;
        let header = &opened.header;
        let refuse = |reason: &str| Err(Failure::new(FailureKind::Damaged, reason));
        if header.body_len > 0 || header.data_len > 0 {
            return refuse(
                "an order has commands or content: it is to be brought as an assignment",
            );
        }
        if let Err(error) = opened.data.finish() {
            return Err(failure::of_open(&error));
        }
        let (Some(site), Some(job)) = (&header.site, &header.job) else {
            return refuse("an order names no site or no job");
        };
        match (header.action, header.target) {
            (Action::Commit | Action::Switch | Action::Abort, Some(_))
            | (Action::Rollback | Action::Remove, _) => {}
            (Action::Gather, Some(_)) if header.group.is_some() => {}
            (Action::Gather, Some(_)) => return refuse("an order to gather names no group"),
            (Action::Commit | Action::Switch | Action::Abort | Action::Gather, None) => {
                return refuse("an order names no version (COMMIT-12)");
            }
            (action, _) => return refuse(&format!("a {action} is no order")),
        }
        Ok(Self {
            id: AssignmentId::of(bytes),
            job: job.clone(),
            site: site.clone(),
            action: header.action,
            version: header.target,
            group: header.group.clone(),
            by: Mandate {
                term: header.term,
                serial: header.serial,
            },
        })
    }
}
