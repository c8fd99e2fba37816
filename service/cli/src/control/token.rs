use std::fmt;
use std::time::Duration;

use bellwether_api::routes::{CreateToken, ListTokens, RevokeToken};
use bellwether_api::{NoQuery, TokenGiven, TokenInfo, TokenWanted};
use bellwether_fleet::{Placement, Role};
use bellwether_types::Name;
use clap::{Subcommand, ValueEnum};
use serde::Serialize;

use super::access::Access;
use super::moment::moment;
use super::shown::{Done, Row, all};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, Report};

/// Tokens: give, list and revoke them.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Give a token. It is printed this once.
    Create {
        /// Whose it is, or what for.
        name: String,
        /// What its bearer may do.
        #[arg(long, value_enum)]
        role: RoleArg,
        /// Of a token for nodes: the segment they come to, or `auto`, which is that of their subnet.
        #[arg(long, value_name = "SEGMENT|auto")]
        segment: Option<Placement>,
        /// How long it lasts, such as `12h` or `30d`: a day for nodes and 90 days for people unless given.
        #[arg(long, value_name = "SPAN", value_parser = span)]
        lasts: Option<Duration>,
        #[command(flatten)]
        access: Access,
    },
    /// List the tokens that were given.
    List {
        #[command(flatten)]
        access: Access,
    },
    /// Take a token away, at once.
    Revoke {
        /// Its id.
        id: Name,
        #[command(flatten)]
        access: Access,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum RoleArg {
    /// Enrol nodes, and nothing else.
    Node,
    /// See everything that is no secret.
    Viewer,
    /// Also define, publish and roll back.
    Operator,
    /// Also give and take tokens.
    Admin,
}

#[derive(Serialize)]
#[serde(transparent)]
struct Given(TokenGiven);

impl Report for Given {
    const KIND: &'static str = "token.create";
}

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.token)
    }
}

impl Row for TokenInfo {
    const ONE: &'static str = "token.show";
    const LIST: &'static str = "token.list";
    const HEADINGS: &'static [&'static str] = &["id", "role", "segment", "ends", "name"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.to_string(),
            self.role.to_string(),
            self.segment
                .as_ref()
                .map_or_else(|| "-".to_owned(), ToString::to_string),
            self.ends_ms.map_or_else(|| "never".to_owned(), moment),
            self.name.clone(),
        ]
    }
}

impl TokenCommand {
    pub(crate) fn run(self, output: &Output) -> Result<Exit, Failure> {
        match self {
            Self::Create {
                name,
                role,
                segment,
                lasts,
                access,
            } => {
                let role = match role {
                    RoleArg::Node => Role::Node,
                    RoleArg::Viewer => Role::Viewer,
                    RoleArg::Operator => Role::Operator,
                    RoleArg::Admin => Role::Admin,
                };
                let lasts_s = lasts.map(|span| span.as_secs());
                let wanted = TokenWanted {
                    name,
                    role,
                    segment,
                    lasts_s,
                };
                let given = access
                    .open()?
                    .call::<CreateToken>(&(), &NoQuery {}, &wanted)?;
                output.report(&Given(given))?;
            }
            Self::List { access } => output.report(&all::<ListTokens, _>(&access.open()?)?)?,
            Self::Revoke { id, access } => {
                access.open()?.call::<RevokeToken>(&id, &NoQuery {}, &())?;
                output.report(&Done {
                    done: format!("token {id} counts no more"),
                })?;
            }
        }
        Ok(Exit::Done)
    }
}

/// `30s`, `15m`, `12h` or `30d`.
fn span(text: &str) -> Result<Duration, String> {
    let fault = || "a span is a number with s, m, h or d, such as `12h`".to_owned();
    let unit = text.chars().last().ok_or_else(fault)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(fault()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| fault())?;
    number
        .checked_mul(seconds)
        .map(Duration::from_secs)
        .ok_or_else(fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_numbers_with_a_unit() {
        assert_eq!(span("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(span("2d"), Ok(Duration::from_secs(172_800)));
        for text in [
            "",
            "s",
            "9",
            "9w",
            "-1h",
            "1.5h",
            "99999999999999999999d",
            "9999999999999999999d",
            "9é",
        ] {
            assert!(span(text).is_err(), "{text}");
        }
    }
}
