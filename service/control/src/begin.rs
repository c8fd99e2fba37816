use std::path::PathBuf;

use bellwether_fleet::{Placement, Role};
use bellwether_store::{self as store, Actor, Bytes, Command, Entry, NewToken, Store, StoreError};
use bellwether_types::Hash;
use bellwether_wire::{ContentKey, SigningKey};
use time::OffsetDateTime;

use crate::authority::{Authority, AuthorityError};
use crate::clock::now_ms;
use crate::folder::{Folder, FolderError};
use crate::token;
use crate::vault::{Vault, random};

/// What the first start tells, this once.
#[derive(Debug)]
pub struct Beginning {
    /// Admits nodes for a day, each to the segment of its subnet.
    pub join_token: String,
    /// Where the first token of an administrator stands.
    pub admin_token: PathBuf,
}

/// Why an installation cannot begin, or go on.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// Its data directory.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Its database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its authority.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// There is a database, and no key for its secrets, or another one.
    #[error("{path} does not open the secrets in the database: put the right one back from a copy", path = path.display())]
    Vault {
        /// The file of the key.
        path: PathBuf,
    },
    /// Somebody else began it at the same moment.
    #[error("the installation was begun by somebody else")]
    Taken(#[source] store::Refused),
}

/// Who this server is, opened.
pub(crate) struct Identity {
    pub(crate) vault: Vault,
    pub(crate) authority: Authority,
    pub(crate) signing: SigningKey,
}

const VAULT: &str = "vault.key";
const ADMIN: &str = "admin.token";
const AUTHORITY_KEY: &str = "vault authority key";
const SIGNING_KEY: &str = "vault signing key";
const DAY_MS: i64 = 24 * 3600 * 1000;

/// Opens the installation, which is begun if it is not there.
///
/// What is begun is one command; the files that go with it are there before it, and a start that was cut short between
/// goes on with them.
pub(crate) async fn open(
    folder: &Folder,
    store: &Store,
) -> Result<(Identity, Option<Beginning>), BeginError> {
    let mut beginning = None;
    let kept = match store.authority().await? {
        Some(kept) => kept,
        None => {
            beginning = Some(begin(folder, store).await?);
            let kept = store.authority().await?;
            kept.ok_or_else(|| StoreError::Damaged("it has no authority".to_owned()))?
        }
    };
    let unopened = || BeginError::Vault {
        path: folder.path(VAULT),
    };
    let line = folder.secret(VAULT)?.ok_or_else(unopened)?;
    let vault = Vault::new(vault_key(folder, &line)?);
    let key = vault
        .open(AUTHORITY_KEY, &kept.sealed_key)
        .map_err(|_| unopened())?;
    let seed = vault
        .open_key(SIGNING_KEY, &kept.sealed_signing)
        .map_err(|_| unopened())?;
    let authority = Authority::open(kept.certificate.0, key)?;
    let signing = SigningKey::from_seed(seed);
    Ok((
        Identity {
            vault,
            authority,
            signing,
        },
        beginning,
    ))
}

async fn begin(folder: &Folder, store: &Store) -> Result<Beginning, BeginError> {
    let line = match folder.secret(VAULT)? {
        Some(line) => line,
        None => {
            let line = Hash(random()).to_string();
            folder.keep_secret(VAULT, &line)?;
            line
        }
    };
    let vault = Vault::new(vault_key(folder, &line)?);
    let admin = match folder.secret(ADMIN)? {
        Some(text) => token::remake(&text).ok_or_else(|| FolderError::Damaged {
            path: folder.path(ADMIN),
        })?,
        None => {
            let admin = token::make();
            folder.keep_secret(ADMIN, &admin.text)?;
            admin
        }
    };
    let (certificate, key) =
        Authority::make(OffsetDateTime::now_utc()).map_err(AuthorityError::Unusable)?;
    let seed: [u8; 32] = random();
    let signing = SigningKey::from_seed(seed);
    let authority = store::Authority {
        certificate: Bytes(certificate.into_bytes()),
        sealed_key: vault.seal(AUTHORITY_KEY, &key),
        signing_public: Bytes(signing.public().to_bytes().to_vec()),
        sealed_signing: vault.seal(SIGNING_KEY, &seed),
    };
    let (join, now) = (token::make(), now_ms());
    let tokens = vec![
        NewToken {
            id: admin.id,
            hash: admin.hash,
            name: "first administrator".to_owned(),
            role: Role::Admin,
            placement: None,
            ends_ms: None,
        },
        NewToken {
            id: join.id,
            hash: join.hash,
            name: "first nodes".to_owned(),
            role: Role::Node,
            placement: Some(Placement::Auto),
            ends_ms: Some(now + DAY_MS),
        },
    ];
    let command = Command::Begin { authority, tokens };
    let begun = store
        .propose(Entry::new(now, Actor::Server, command))
        .await?;
    begun.map_err(BeginError::Taken)?;
    Ok(Beginning {
        join_token: join.text,
        admin_token: folder.path(ADMIN),
    })
}

fn vault_key(folder: &Folder, line: &str) -> Result<ContentKey, FolderError> {
    let bytes: Hash = line.parse().map_err(|_| FolderError::Damaged {
        path: folder.path(VAULT),
    })?;
    Ok(ContentKey::from_bytes(bytes.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn store(folder: &Folder) -> Store {
        Store::open(&folder.path("store.db")).await.unwrap()
    }

    #[tokio::test]
    async fn an_installation_begins_once_and_is_the_same_after_a_restart() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::open(home.path()).unwrap();
        let (first, beginning) = open(&folder, &store(&folder).await).await.unwrap();
        assert!(beginning.is_some());
        let (again, beginning) = open(&folder, &store(&folder).await).await.unwrap();
        assert!(beginning.is_none());
        assert_eq!(first.authority.pem(), again.authority.pem());
        assert_eq!(first.signing.public(), again.signing.public());
    }

    #[tokio::test]
    async fn a_beginning_that_was_cut_short_goes_on_with_the_files_that_are_there() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::open(home.path()).unwrap();
        let store = store(&folder).await;
        let line = Hash([7; 32]).to_string();
        folder.keep_secret(VAULT, &line).unwrap();
        let admin = token::make();
        folder.keep_secret(ADMIN, &admin.text).unwrap();
        open(&folder, &store).await.unwrap();
        assert_eq!(folder.secret(VAULT).unwrap(), Some(line));
        assert_eq!(
            store.token(&admin.hash).await.unwrap().unwrap().role,
            Role::Admin
        );
    }

    #[tokio::test]
    async fn without_the_right_vault_key_nothing_opens_and_nothing_is_changed() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::open(home.path()).unwrap();
        let store = store(&folder).await;
        open(&folder, &store).await.unwrap();
        let before = store.dump().await.unwrap();
        std::fs::remove_file(folder.path(VAULT)).unwrap();
        let missing = open(&folder, &store).await.err();
        assert!(matches!(missing, Some(BeginError::Vault { .. })));
        assert_eq!(folder.secret(VAULT).unwrap(), None, "no other key is made");
        folder
            .keep_secret(VAULT, &Hash([8; 32]).to_string())
            .unwrap();
        let wrong = open(&folder, &store).await.err();
        assert!(matches!(wrong, Some(BeginError::Vault { .. })));
        assert_eq!(store.dump().await.unwrap(), before);
    }
}
