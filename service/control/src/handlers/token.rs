use bellwether_api::routes::{CreateToken, ListTokens, RevokeToken};
use bellwether_api::{Code, List, Problem, TokenGiven, TokenInfo};
use bellwether_fleet::{Placement, Role};
use bellwether_store::{Command, NewToken, Token};

use super::page;
use crate::clock::now_ms;
use crate::door::Call;
use crate::token;

const DAY_S: u64 = 24 * 3600;
const LASTS_MAX_S: u64 = 10 * 365 * DAY_S;
const NAME_MAX: usize = 100;

pub(crate) async fn create(call: Call<CreateToken>) -> Result<TokenGiven, Problem> {
    let wanted = &call.body;
    let length = wanted.name.chars().count();
    if !(1..=NAME_MAX).contains(&length) || wanted.name.contains(char::is_control) {
        let message =
            format!("a token's name has 1 to {NAME_MAX} characters, none of them control");
        return Err(Problem::new(Code::Invalid, message));
    }
    let lasts_s = wanted.lasts_s.unwrap_or(match wanted.role {
        Role::Node => DAY_S,
        Role::Viewer | Role::Operator | Role::Admin => 90 * DAY_S,
    });
    if !(1..=LASTS_MAX_S).contains(&lasts_s) {
        let message = format!("a token lasts between 1 and {LASTS_MAX_S} seconds");
        return Err(Problem::new(Code::Invalid, message));
    }
    let placement = match (wanted.role, &wanted.segment) {
        (Role::Node, segment) => Some(segment.clone().unwrap_or(Placement::Auto)),
        (_, None) => None,
        (_, Some(_)) => {
            let message = "only a token for nodes says to which segment they come";
            return Err(Problem::new(Code::Invalid, message));
        }
    };
    let (made, now) = (token::make(), now_ms());
    let ends_ms = now + i64::try_from(lasts_s * 1000).unwrap_or(i64::MAX);
    let new = NewToken {
        id: made.id,
        hash: made.hash,
        name: wanted.name.clone(),
        role: wanted.role,
        placement,
        ends_ms: Some(ends_ms),
    };
    let info = TokenInfo {
        id: new.id.clone(),
        name: new.name.clone(),
        role: new.role,
        segment: new.placement.clone(),
        created_ms: now,
        ends_ms: new.ends_ms,
    };
    call.server
        .propose(call.actor(), Command::CreateToken(new))
        .await?;
    Ok(TokenGiven {
        token: made.text,
        info,
    })
}

pub(crate) async fn list(call: Call<ListTokens>) -> Result<List<TokenInfo>, Problem> {
    let limit = page::limit(call.query.limit)?;
    let after = call.query.after.as_deref().unwrap_or_default();
    let found = call.server.store.tokens(after, limit + 1).await;
    page::list(found, limit, |token| token.id.to_string(), show)
}

pub(crate) async fn revoke(call: Call<RevokeToken>) -> Result<(), Problem> {
    let command = Command::RevokeToken {
        id: call.key.clone(),
    };
    call.server.propose(call.actor(), command).await.map(drop)
}

fn show(token: Token) -> TokenInfo {
    TokenInfo {
        id: token.id,
        name: token.name,
        role: token.role,
        segment: token.placement,
        created_ms: token.created_ms,
        ends_ms: token.ends_ms,
    }
}
