use bellwether_types::{Name, SitePart};
use bellwether_wire::transfer::AssignmentId;

/// Which assignments lie on the shelf, by the jobs that brought them, the oldest in front.
#[derive(Debug, Default)]
pub(super) struct Ledger(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    job: Name,
    site: SitePart,
    ids: Vec<AssignmentId>,
}

/// Jobs that are remembered; files of older ones stay until the node starts again.
const JOBS_MAX: usize = 256;
const FILES_MAX: usize = 65_536;

impl Ledger {
    /// Enters a file; those of earlier jobs of the site, if they are spent by that.
    pub(super) fn enter(
        &mut self,
        job: &Name,
        site: &SitePart,
        id: AssignmentId,
        spends: bool,
    ) -> Vec<AssignmentId> {
        let known = self.0.iter_mut();
        let mut known = known.filter(|entry| entry.job == *job && entry.site == *site);
        match known.next() {
            Some(entry) if entry.ids.contains(&id) || entry.ids.len() >= FILES_MAX => {}
            Some(entry) => entry.ids.push(id),
            None => {
                if self.0.len() >= JOBS_MAX {
                    self.0.remove(0);
                }
                self.0.push(Entry {
                    job: job.clone(),
                    site: site.clone(),
                    ids: vec![id],
                });
            }
        }
        match spends {
            true => self.before(job, site),
            false => Vec::new(),
        }
    }

    /// The files of a job.
    pub(super) fn of(&self, job: &Name) -> Vec<AssignmentId> {
        let entries = self.0.iter().filter(|entry| entry.job == *job);
        entries.flat_map(|entry| entry.ids.clone()).collect()
    }

    /// Takes out the files of jobs of the site before this one.
    pub(super) fn before(&mut self, job: &Name, site: &SitePart) -> Vec<AssignmentId> {
        let is_it = |entry: &Entry| entry.job == *job && entry.site == *site;
        let Some(end) = self.0.iter().position(is_it) else {
            return Vec::new();
        };
        let mut at = 0;
        self.extract(|entry| {
            at += 1;
            at <= end && entry.site == *site
        })
    }

    /// Takes out the files of a job.
    pub(super) fn take(&mut self, job: &Name, site: &SitePart) -> Vec<AssignmentId> {
        self.extract(|entry| entry.job == *job && entry.site == *site)
    }

    /// Takes out the files of a site.
    pub(super) fn take_all(&mut self, site: &SitePart) -> Vec<AssignmentId> {
        self.extract(|entry| entry.site == *site)
    }

    fn extract(&mut self, mut is_it: impl FnMut(&Entry) -> bool) -> Vec<AssignmentId> {
        let taken = self.0.extract_if(.., |entry| is_it(entry));
        taken.flat_map(|entry| entry.ids).collect()
    }
}
