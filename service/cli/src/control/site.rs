use std::collections::BTreeSet;
use std::path::PathBuf;

use bellwether_api::routes::{CreateSite, ListSites, ListVersions, RemoveSite, ShowSite};
use bellwether_api::{Before, NoQuery, Page, VersionInfo};
use bellwether_fleet::{CommitMode, FileType, Part, Partial, Policy, Quorum, Shortfall, Site};
use bellwether_types::{ByteSize, Name};
use clap::{Args, Subcommand, ValueEnum};

use super::access::Access;
use super::moment::moment;
use super::shown::{Done, Listing, One, Row, all, words};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;

/// Sites: define, list, show and forget them; and their versions.
#[derive(Debug, Subcommand)]
pub(crate) enum SiteCommand {
    /// Define a site.
    Create(Create),
    /// List the sites.
    List {
        #[command(flatten)]
        access: Access,
    },
    /// Show a site.
    Show {
        /// Which.
        site: Name,
        #[command(flatten)]
        access: Access,
    },
    /// List the versions of a site that the control server keeps, the latest first.
    Versions {
        /// Which.
        site: Name,
        /// How many at most.
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=i64::from(Page::LIMIT_MAX)))]
        limit: u32,
        #[command(flatten)]
        access: Access,
    },
    /// Forget a site that no group names. Its content stays on the nodes.
    Remove {
        /// Which.
        site: Name,
        #[command(flatten)]
        access: Access,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// What it is called.
    site: Name,
    /// The directory of the control server that it is published from.
    #[arg(long, value_name = "DIR")]
    source: Option<PathBuf>,
    /// A part with a `live` of its own: its name, and what it takes, such as `media=*.mp4,*.jpg,films`. May be given
    /// several times; a file belongs to the first that takes it.
    #[arg(long = "part", value_name = "NAME=RULES", value_parser = part)]
    parts: Vec<Part>,
    /// When what is staged goes live.
    #[arg(long, value_enum, default_value_t)]
    commit: CommitArg,
    /// How many nodes, or what share of them, must be able to take an update before it begins.
    #[arg(long, value_name = "N|N%", default_value_t = Policy::default().quorum_before)]
    quorum_before: Quorum,
    /// How many of those must have staged before it is committed.
    #[arg(long, value_name = "N|N%", default_value_t = Policy::default().quorum_after)]
    quorum_after: Quorum,
    /// What becomes of an update that has not enough nodes.
    #[arg(long, value_enum, default_value_t)]
    shortfall: ShortfallArg,
    /// What becomes of nodes that are live when too many others are not.
    #[arg(long, value_enum, default_value_t)]
    partial: PartialArg,
    /// Let nobody but the group's nodes read what travels.
    #[arg(long)]
    encrypt: bool,
    /// How often a failed update is tried again.
    #[arg(long, value_name = "N", default_value_t = Policy::default().retries)]
    retries: u8,
    #[command(flatten)]
    access: Access,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum CommitArg {
    /// On all nodes at the same instant.
    #[default]
    Together,
    /// On each node as soon as it has staged.
    Each,
    /// When an operator says so.
    ByHand,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum ShortfallArg {
    /// It waits for them.
    #[default]
    Defer,
    /// It is cancelled.
    Cancel,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum PartialArg {
    /// They stay, and the others are brought to the same.
    #[default]
    Keep,
    /// All go back to what was live before.
    RollBack,
}

impl Row for Site {
    const ONE: &'static str = "site.show";
    const LIST: &'static str = "site.list";
    const HEADINGS: &'static [&'static str] = &["site", "parts", "commit", "quorum", "source"];

    fn cells(&self) -> Vec<String> {
        let Policy {
            commit,
            quorum_before,
            quorum_after,
            ..
        } = &self.policy;
        let commit = match commit {
            CommitMode::Together => "together",
            CommitMode::Each => "each",
            CommitMode::ByHand => "by-hand",
        };
        vec![
            self.name.to_string(),
            words(self.parts.iter().map(|part| &part.name)),
            commit.to_owned(),
            format!("{quorum_before} {quorum_after}"),
            self.source.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    }
}

impl Row for VersionInfo {
    const ONE: &'static str = "site.version";
    const LIST: &'static str = "site.versions";
    const HEADINGS: &'static [&'static str] = &["version", "site", "files", "size", "kept"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.version.to_string(),
            self.site.to_string(),
            self.files.to_string(),
            ByteSize(self.bytes).to_string(),
            moment(self.kept_ms),
        ]
    }
}

impl SiteCommand {
    pub(crate) fn run(self, output: &Output) -> Result<Exit, Failure> {
        match self {
            Self::Create(create) => create.run(output)?,
            Self::List { access } => output.report(&all::<ListSites, _>(&access.open()?)?)?,
            Self::Show { site, access } => {
                output.report(&One(access.open()?.call::<ShowSite>(
                    &site,
                    &NoQuery {},
                    &(),
                )?))?;
            }
            Self::Versions {
                site,
                limit,
                access,
            } => {
                let latest = Before {
                    before: None,
                    limit: Some(limit),
                };
                let list = access.open()?.call::<ListVersions>(&site, &latest, &())?;
                output.report(&Listing { items: list.items })?;
            }
            Self::Remove { site, access } => {
                access.open()?.call::<RemoveSite>(&site, &NoQuery {}, &())?;
                output.report(&Done {
                    done: format!("site {site} is forgotten"),
                })?;
            }
        }
        Ok(Exit::Done)
    }
}

impl Create {
    fn run(self, output: &Output) -> Result<(), Failure> {
        let source = self.source.map(|path| {
            let path = path.into_os_string().into_string();
            path.map_err(|_| Failure::new(Exit::Usage, "the staging source's path is not UTF-8"))
        });
        let site = Site {
            name: self.site,
            source: source.transpose()?,
            parts: self.parts,
            policy: Policy {
                commit: match self.commit {
                    CommitArg::Together => CommitMode::Together,
                    CommitArg::Each => CommitMode::Each,
                    CommitArg::ByHand => CommitMode::ByHand,
                },
                quorum_before: self.quorum_before,
                quorum_after: self.quorum_after,
                shortfall: match self.shortfall {
                    ShortfallArg::Defer => Shortfall::Defer,
                    ShortfallArg::Cancel => Shortfall::Cancel,
                },
                partial: match self.partial {
                    PartialArg::Keep => Partial::Keep,
                    PartialArg::RollBack => Partial::RollBack,
                },
                encrypt: self.encrypt,
                retries: self.retries,
            },
        };
        output.report(&One(self.access.open()?.call::<CreateSite>(
            &(),
            &NoQuery {},
            &site,
        )?))
    }
}

/// `NAME=RULE,RULE…`, where a rule is `*.TYPE` or a path.
fn part(text: &str) -> Result<Part, String> {
    let (name, rules) = text
        .split_once('=')
        .ok_or("a part is written as `media=*.mp4,films`")?;
    let name: Name = name
        .parse()
        .map_err(|fault: bellwether_types::NameError| fault.to_string())?;
    let (mut types, mut paths) = (BTreeSet::new(), BTreeSet::new());
    for rule in rules.split(',').filter(|rule| !rule.is_empty()) {
        match rule.strip_prefix("*.") {
            Some(kind) => {
                let kind: Result<FileType, _> = kind.parse();
                types.insert(kind.map_err(|fault| format!("`{rule}`: {fault}"))?);
            }
            None => {
                paths.insert(rule.trim_end_matches('/').to_owned());
            }
        }
    }
    Ok(Part { name, types, paths })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_written_as_a_name_with_types_and_paths() {
        let part = part("media=*.mp4,*.JPG,films/").unwrap();
        assert_eq!(words(&part.types), "jpg,mp4");
        assert_eq!(words(&part.paths), "films");
        for text in ["media", "a/b=*.mp4", "media=*.m p", "media=*."] {
            assert!(super::part(text).is_err(), "{text}");
        }
    }
}
