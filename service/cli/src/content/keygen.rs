use std::fmt;
use std::fs;
use std::path::PathBuf;

use bellwether_wire::{ContentKey, SigningKey};
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::keys;
use crate::output::{Output, Report};

/// Make a key: to sign assignments, or to encrypt their data.
#[derive(Debug, Args)]
pub(crate) struct Keygen {
    /// What the key is for.
    #[arg(value_enum)]
    purpose: Purpose,
    /// Where to write it: PREFIX.key holds the secret, PREFIX.pub what nodes are given to trust.
    /// Existing files are never overwritten.
    prefix: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Purpose {
    /// An Ed25519 pair: PREFIX.key signs, PREFIX.pub verifies.
    Sign,
    /// One secret in PREFIX.key, for those who write and those who read.
    Encrypt,
}

#[derive(Debug, Serialize)]
struct Generated {
    secret: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    public: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<String>,
}

impl Report for Generated {
    const KIND: &'static str = "content.keygen";
}

impl fmt::Display for Generated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "secret  {}", self.secret.display())?;
        if let (Some(public), Some(id)) = (&self.public, &self.key_id) {
            write!(f, "\npublic  {}\nkey id  {id}", public.display())?;
        }
        Ok(())
    }
}

const SECRET_MODE: u32 = 0o600;
const PUBLIC_MODE: u32 = 0o644;

impl Keygen {
    pub(crate) fn run(self, output: &Output) -> Result<Exit, Failure> {
        let secret = keys::beside(&self.prefix, ".key");
        let report = match self.purpose {
            Purpose::Encrypt => {
                let key = ContentKey::from_bytes(keys::random_bytes()?);
                keys::write_new(&secret, &key.to_text(), SECRET_MODE)?;
                Generated {
                    secret,
                    public: None,
                    key_id: None,
                }
            }
            Purpose::Sign => {
                let key = SigningKey::from_seed(keys::random_bytes()?);
                let public = keys::beside(&self.prefix, ".pub");
                keys::write_new(&secret, &key.to_text(), SECRET_MODE)?;
                if let Err(failure) = keys::write_new(&public, &key.public().to_text(), PUBLIC_MODE)
                {
                    // Half a pair would only be in the way; the secret was made a moment ago.
                    let _ = fs::remove_file(&secret);
                    return Err(failure);
                }
                Generated {
                    secret,
                    public: Some(public),
                    key_id: Some(key.public().id().to_string()),
                }
            }
        };
        output.report(&report)?;
        Ok(Exit::Done)
    }
}
