//! What the process tells its caller by its exit code. One table feeds the codes, the `help
//! exit-codes` command and `docs/exit-codes.md`.

use std::io;
use std::process::ExitCode;

use serde::Serialize;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Done,
    Failed,
    Usage,
    NotFound,
    Forbidden,
    Conflict,
    PartlyDone,
    TimedOut,
    RolledBack,
    Changes,
    Malformed,
    Signature,
    WrongBase,
    LowerTerm,
    NoSpace,
    UnsafeEntry,
    SpecialFile,
    TreeChanged,
    BaseDamaged,
    HookFailed,
    Permission,
    Interrupted,
}

/// A line of the table.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct ExitLine {
    #[serde(skip)]
    exit: Exit,
    pub(crate) code: u8,
    /// A stable word for programs.
    pub(crate) name: &'static str,
    pub(crate) meaning: &'static str,
}

const fn line(exit: Exit, code: u8, name: &'static str, meaning: &'static str) -> ExitLine {
    ExitLine {
        exit,
        code,
        name,
        meaning,
    }
}

/// Below 10: outcomes that every command may have. From 10: what is wrong with the content.
pub(crate) const TABLE: [ExitLine; 22] = [
    line(Exit::Done, 0, "done", "done, or nothing was to do"),
    line(
        Exit::Failed,
        1,
        "failed",
        "failed for a reason that has no code of its own",
    ),
    line(Exit::Usage, 2, "usage", "the command line is wrong"),
    line(
        Exit::NotFound,
        3,
        "not-found",
        "a file, site or version does not exist",
    ),
    line(
        Exit::Forbidden,
        4,
        "forbidden",
        "not authenticated, or not allowed to do this",
    ),
    line(
        Exit::Conflict,
        5,
        "conflict",
        "something else is at work, or the state does not allow it",
    ),
    line(
        Exit::PartlyDone,
        6,
        "partly-done",
        "done for some, failed for others",
    ),
    line(
        Exit::TimedOut,
        7,
        "timed-out",
        "took too long; it goes on without this command",
    ),
    line(
        Exit::RolledBack,
        8,
        "rolled-back",
        "failed and was rolled back",
    ),
    line(
        Exit::Changes,
        9,
        "changes",
        "a plan has changes, and `--detailed-exitcode` asked to be told so",
    ),
    line(
        Exit::Malformed,
        10,
        "malformed",
        "an assignment or manifest is damaged or malformed",
    ),
    line(
        Exit::Signature,
        11,
        "signature",
        "a signature is missing or wrong, or its key is not trusted",
    ),
    line(
        Exit::WrongBase,
        12,
        "wrong-base",
        "the assignment starts from a version that is not held",
    ),
    line(
        Exit::LowerTerm,
        13,
        "lower-term",
        "the assignment's term or serial is lower than one already accepted",
    ),
    line(
        Exit::NoSpace,
        14,
        "no-space",
        "there is no room on the disk",
    ),
    line(
        Exit::UnsafeEntry,
        15,
        "unsafe-entry",
        "a path, link or mode that no site may have",
    ),
    line(
        Exit::SpecialFile,
        16,
        "special-file",
        "a device, socket or FIFO in the tree",
    ),
    line(
        Exit::TreeChanged,
        17,
        "tree-changed",
        "the tree kept changing while it was read",
    ),
    line(
        Exit::BaseDamaged,
        18,
        "base-damaged",
        "content that is held differs from what it should be",
    ),
    line(
        Exit::HookFailed,
        19,
        "hook-failed",
        "a hook failed; what it guards was not done",
    ),
    line(
        Exit::Permission,
        20,
        "permission",
        "permission denied, or a read-only file system",
    ),
    line(
        Exit::Interrupted,
        130,
        "interrupted",
        "interrupted from the keyboard",
    ),
];

impl Exit {
    pub(crate) fn line(self) -> ExitLine {
        let line = TABLE.into_iter().find(|line| line.exit == self);
        line.expect("a test goes through all exits")
    }

    /// What a failed system call means to the caller.
    pub(crate) fn of_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::NotFound,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::Permission,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace,
            io::ErrorKind::AlreadyExists | io::ErrorKind::ResourceBusy => Self::Conflict,
            _ => Self::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.line().code.into()
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    #[test]
    fn every_exit_has_its_own_line_code_and_name() {
        for (index, line) in TABLE.iter().enumerate() {
            assert_eq!(line.exit as usize, index, "{}", line.name);
            let twins = TABLE
                .iter()
                .filter(|other| other.code == line.code || other.name == line.name);
            assert_eq!(twins.count(), 1, "{}", line.name);
        }
        assert_eq!(Exit::Interrupted as usize + 1, TABLE.len());
    }

    #[test]
    fn the_documentation_says_the_same() {
        let mut table = String::from("| code | name | meaning |\n| ---: | --- | --- |\n");
        for line in TABLE {
            writeln!(
                table,
                "| {} | {} | {} |",
                line.code, line.name, line.meaning
            )
            .unwrap();
        }
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/exit-codes.md");
        let documented = std::fs::read_to_string(file).unwrap();
        assert!(
            documented.contains(&table),
            "docs/exit-codes.md should have:\n{table}"
        );
    }
}
