use bellwether_wire::control::Record;

/// How soon the leader should hear what a node newly says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    None,
    /// With the next sign of life.
    Patient,
    Urgent,
}

impl News {
    pub(crate) fn of(known: &Record, record: &Record) -> Self {
        let loads = |record: &Record| {
            [
                u64::from(record.priority),
                record.resources.disk_free_bytes,
                u64::from(record.resources.cpu_millicores),
                u64::from(record.resources.connections),
            ]
        };
        let unloaded = |record: &Record| Record {
            priority: 0,
            resources: Default::default(),
            ..record.clone()
        };
        // Loads move all the time. What moves by less than an eighth is not worth a report to all.
        let moved = |(before, after): (u64, u64)| before.abs_diff(after) > before / 8;
        if unloaded(known) != unloaded(record) {
            Self::Urgent
        } else if loads(known).into_iter().zip(loads(record)).any(moved) {
            Self::Patient
        } else {
            Self::None
        }
    }
}
