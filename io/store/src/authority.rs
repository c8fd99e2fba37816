use serde::{Deserialize, Serialize};
use sqlx::Row;

use crate::applying::{Applying, Effect};
use crate::bytes::Bytes;
use crate::outcome::{Refused, StoreError};
use crate::store::Store;
use crate::token::{self, NewToken};

/// Whom the nodes of an installation trust: who vouches for certificates, and who signs assignments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authority {
    /// The certificate of the certificate authority, PEM.
    pub certificate: Bytes,
    /// Its key, sealed.
    pub sealed_key: Bytes,
    /// The public half of the signing key.
    pub signing_public: Bytes,
    /// The other half, sealed.
    pub sealed_signing: Bytes,
}

pub(crate) async fn begin(
    applying: &mut Applying<'_>,
    authority: &Authority,
    tokens: &[NewToken],
) -> Effect {
    let begun = sqlx::query("SELECT 1 FROM authority")
        .fetch_optional(&mut *applying.db)
        .await?;
    if begun.is_some() {
        return Err(Refused::Begun.into());
    }
    sqlx::query("INSERT INTO authority VALUES (1, $1, $2, $3, $4, $5)")
        .bind(&authority.certificate.0)
        .bind(&authority.sealed_key.0)
        .bind(&authority.signing_public.0)
        .bind(&authority.sealed_signing.0)
        .bind(applying.at_ms)
        .execute(&mut *applying.db)
        .await?;
    for token in tokens {
        token::create(applying, token).await?;
    }
    applying
        .tell("server.begun", "", "the installation was begun")
        .await
}

impl Store {
    /// The authority; `None` before the first command.
    pub async fn authority(&self) -> Result<Option<Authority>, StoreError> {
        let row = sqlx::query("SELECT * FROM authority")
            .fetch_optional(self.reader())
            .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(Authority {
            certificate: Bytes(row.try_get("certificate")?),
            sealed_key: Bytes(row.try_get("sealed_key")?),
            signing_public: Bytes(row.try_get("signing_public")?),
            sealed_signing: Bytes(row.try_get("sealed_signing")?),
        }))
    }
}
