use std::fmt;
use std::path::PathBuf;

use bellwether_wire::control::SegmentKey;
use clap::Args;
use serde::Serialize;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::keys;
use crate::output::{Output, Report};

/// Make a segment's key: each of its nodes is given a copy.
#[derive(Debug, Args)]
pub(crate) struct Keygen {
    /// Where to write it. An existing file is never overwritten.
    file: PathBuf,
}

#[derive(Debug, Serialize)]
struct Generated {
    secret: PathBuf,
    key_id: String,
}

impl Report for Generated {
    const KIND: &'static str = "agent.keygen";
}

impl fmt::Display for Generated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "secret  {}\nkey id  {}",
            self.secret.display(),
            self.key_id
        )
    }
}

const SECRET_MODE: u32 = 0o600;

impl Keygen {
    pub(crate) fn run(self, output: &Output) -> Result<Exit, Failure> {
        let key = SegmentKey::from_bytes(keys::random_bytes()?);
        keys::write_new(&self.file, &key.to_text(), SECRET_MODE)?;
        output.report(&Generated {
            secret: self.file,
            key_id: key.id().to_string(),
        })?;
        Ok(Exit::Done)
    }
}
