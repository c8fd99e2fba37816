//! What refusals and faults are to whoever asked: the one place that knows.

use bellwether_api::{Code, Problem};
use bellwether_disk::ErrorKind;
use bellwether_disk::depot::DepotError;
use bellwether_disk::publish::SourceError;
use bellwether_disk::scan::ScanError;
use bellwether_store::{Refused, StoreError};

use crate::works::StagingError;

/// A command had no effect.
pub(crate) fn of_refused(refused: &Refused) -> Problem {
    let (code, hint) = match refused {
        Refused::Exists { .. } => (Code::Conflict, None),
        Refused::Missing { .. } => (Code::NotFound, None),
        Refused::InUse { .. } => (Code::Conflict, Some("change or remove that first")),
        Refused::Invalid(_) => (Code::Invalid, None),
        Refused::TooMany { .. } => (Code::Conflict, Some("remove what is not needed")),
        Refused::Token => (
            Code::Forbidden,
            Some("`bellwether token create --role node` gives a token that admits nodes"),
        ),
        Refused::NodeTaken { .. } => (
            Code::Conflict,
            Some("if that node is gone, `bellwether node remove` it first"),
        ),
        Refused::Job(_) => (
            Code::Conflict,
            Some("`bellwether job show` tells where it stands"),
        ),
        Refused::Begun => (Code::Conflict, None),
    };
    Problem {
        code,
        message: refused.to_string(),
        hint: hint.map(ToOwned::to_owned),
    }
}

/// Nothing could be kept, or found. The log has the whole story; whoever asked is not told of files and tables.
pub(crate) fn of_store(error: &StoreError) -> Problem {
    let (code, hint) = match error {
        StoreError::Full(_) => (Code::NoSpace, "make room on the disk of its data directory"),
        StoreError::Closing => (Code::Unavailable, "ask again in a moment"),
        StoreError::Database(_) | StoreError::Damaged(_) | StoreError::Gap { .. } => {
            (Code::Internal, "the log of the control server says more")
        }
    };
    tracing::error!(error = %chain(error), "the store failed");
    let message = match code {
        Code::Internal => "the control server's database failed".to_owned(),
        _ => error.to_string(),
    };
    Problem::new(code, message).hint(hint)
}

/// Contents cannot be taken in, or kept.
pub(crate) fn of_depot(error: &DepotError) -> Problem {
    let (code, hint) = match error {
        DepotError::Busy { .. } => (Code::Conflict, "ask again what is missing, in a moment"),
        DepotError::NotNext { .. } => (
            Code::Conflict,
            "`GET /v1/contents/HASH?size=N` tells how much came: go on there",
        ),
        DepotError::TooLong { .. } | DepotError::OtherContent { .. } => (
            Code::Invalid,
            "the size and the hash are those of the content as a whole",
        ),
        DepotError::Incomplete { .. } => (
            Code::Conflict,
            "`POST /v1/sites/SITE/missing` tells which: send them first",
        ),
        DepotError::NotHeld { .. } => (Code::NotFound, "publish it again"),
        DepotError::Source(error) => return of_source(error),
        error if error.kind() == ErrorKind::NoSpace => (
            Code::NoSpace,
            "make room on the disk of the control server's data directory",
        ),
        error => return internal(error),
    };
    Problem::new(code, chain(error)).hint(hint)
}

/// A staging source cannot be published. Its paths are the operator's own, and are told.
pub(crate) fn of_staging(error: &StagingError) -> Problem {
    let (code, hint) = match error {
        StagingError::Depot(error) => return of_depot(error),
        StagingError::Source(error) => return of_source(error),
        StagingError::Scan(ScanError::Root { .. }) => (
            Code::Conflict,
            "put the staging source back, or name another with `PUT /v1/sites/SITE`",
        ),
        StagingError::Scan(ScanError::Changing { .. } | ScanError::Io { .. }) => {
            (Code::Conflict, CHANGES)
        }
        StagingError::Scan(_) => (Code::Invalid, "remove it from the staging source"),
        StagingError::Entangled(_) => (Code::Invalid, "name a directory apart from it"),
    };
    Problem::new(code, chain(error)).hint(hint)
}

fn of_source(error: &SourceError) -> Problem {
    Problem::new(Code::Conflict, chain(error)).hint(CHANGES)
}

const CHANGES: &str =
    "publish again when nobody writes to the staging source, and all of it can be read";

/// There is none.
pub(crate) fn missing(what: &str, name: &str) -> Problem {
    Problem::new(Code::NotFound, format!("there is no {what} {name}"))
}

/// It is our own fault.
pub(crate) fn internal(error: &(dyn std::error::Error + 'static)) -> Problem {
    tracing::error!(error = %chain(error), "a request failed");
    Problem::new(Code::Internal, "the control server failed")
        .hint("the log of the control server says more")
}

/// The message and those of its causes, in a line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let errors = std::iter::successors(Some(error), |error| error.source());
    errors
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

#[cfg(test)]
mod tests {
    use bellwether_disk::Fault;
    use bellwether_types::{ByteSize, Hash};
    use rustix::io::Errno;

    use super::*;

    /// Whoever publishes is told what is wrong by a code, and what to do by a hint.
    #[test]
    fn what_stands_in_the_way_of_a_publish_has_a_code_and_a_hint() {
        let hash = Hash([1; 32]);
        let fault = |errno| {
            let (action, place) = ("write", "incoming".to_owned());
            DepotError::Disk(Fault {
                action,
                place,
                errno,
            })
        };
        let (needed, free) = (ByteSize(2), ByteSize(1));
        let changed = || SourceError::Changed {
            path: "/srv/shop/page".into(),
        };
        for (error, code) in [
            (DepotError::Busy { hash }, Code::Conflict),
            (DepotError::NoSpace { needed, free }, Code::NoSpace),
            (fault(Errno::NOSPC), Code::NoSpace),
            (fault(Errno::DQUOT), Code::NoSpace),
            (changed().into(), Code::Conflict),
            (fault(Errno::IO), Code::Internal),
        ] {
            let problem = of_depot(&error);
            assert_eq!(problem.code, code, "{error}");
            assert!(problem.hint.is_some(), "{error}");
        }
        let problem = of_staging(&changed().into());
        assert_eq!(problem.code, Code::Conflict);
        assert!(problem.message.contains("/srv/shop/page"));
    }
}
