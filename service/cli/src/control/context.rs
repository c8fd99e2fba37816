use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use bellwether_client::ServerUrl;
use bellwether_types::Hash;
use serde::{Deserialize, Serialize};

use crate::exit::Exit;
use crate::failure::Failure;

/// With which server to speak, and as whom: what `login` keeps.
pub(super) struct Context {
    pub(super) server: ServerUrl,
    pub(super) ca: Hash,
    pub(super) token: String,
}

/// The same as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    server: String,
    ca: String,
    token: String,
}

const FILE: &str = "context.toml";
const HINT: &str = "`bellwether login URL --ca FINGERPRINT` keeps how to reach a control server";

/// Where it is kept, unless somewhere else is named.
pub(super) fn place() -> Result<PathBuf, Failure> {
    let set = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let home = || set("HOME").map(|home| home.join(".config"));
    match set("XDG_CONFIG_HOME")
        .filter(|path| path.is_absolute())
        .or_else(home)
    {
        Some(folder) => Ok(folder.join("bellwether").join(FILE)),
        None => Err(
            Failure::new(Exit::Usage, "there is no home directory to look in")
                .hint("name the file with --context"),
        ),
    }
}

impl Context {
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(path).map_err(|error| {
            let missing = error.kind() == io::ErrorKind::NotFound;
            let failure = Failure::io("read", path, error);
            match missing {
                true => Failure {
                    exit: Exit::Forbidden,
                    ..failure
                }
                .hint(HINT),
                false => failure,
            }
        })?;
        let mode = fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
        if mode & 0o077 != 0 {
            let message = format!(
                "{} holds a token and others on this machine can read it",
                path.display()
            );
            return Err(Failure::new(Exit::Permission, message)
                .hint("chmod 600 it; if somebody may have read it, revoke the token"));
        }
        // What is wrong is not repeated: the text has a secret in it.
        let damaged = || {
            Failure::new(
                Exit::Usage,
                format!("{} is not as `login` writes it", path.display()),
            )
            .hint(HINT)
        };
        let written: Written = toml::from_str(&text).map_err(|_| damaged())?;
        Ok(Self {
            server: written.server.parse().map_err(|_| damaged())?,
            ca: written.ca.parse().map_err(|_| damaged())?,
            token: written.token,
        })
    }

    /// Keeps it, whole or not at all, for its owner alone.
    pub(super) fn write(&self, path: &Path) -> Result<(), Failure> {
        let written = Written {
            server: self.server.to_string(),
            ca: self.ca.to_string(),
            token: self.token.clone(),
        };
        let text = toml::to_string(&written).map_err(|fault| Failure::new(Exit::Failed, fault))?;
        let beside = path.with_extension("toml.new");
        let write = || {
            if let Some(folder) = path.parent() {
                fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(folder)?;
            }
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&beside)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&beside, path)
        };
        write().map_err(|error| Failure::io("write", path, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_is_kept_for_its_owner_alone() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("bellwether").join(FILE);
        let context = Context {
            server: "https://control:1".parse().unwrap(),
            ca: Hash([7; 32]),
            token: "secret".to_owned(),
        };
        context.write(&path).unwrap();
        let read = Context::read(&path).unwrap();
        assert_eq!(
            (read.server, read.ca, read.token.as_str()),
            (context.server, context.ca, "secret")
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let open = Context::read(&path).err().unwrap();
        assert_eq!(open.exit, Exit::Permission);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "token = \"secret\"").unwrap();
        let damaged = Context::read(&path).err().unwrap();
        assert!(
            !damaged
                .chain()
                .any(|error| error.to_string().contains("secret"))
        );
        let missing = Context::read(&home.path().join("nowhere")).err().unwrap();
        assert_eq!(missing.exit, Exit::Forbidden);
    }
}
