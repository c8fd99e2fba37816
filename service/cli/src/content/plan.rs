use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use bellwether_content::assignment::{Action, Header};
use bellwether_content::command::Command;
use bellwether_content::diff::{Change, diff};
use bellwether_content::update::Coding;
use bellwether_delta as delta;
use bellwether_disk::publish::{Made, Making, Source, publish};
use bellwether_disk::scan::Filter;
use bellwether_types::{ByteSize, Serial, SitePart, Term};
use bellwether_wire::{ContentKey, SigningKey};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::site::{SiteArgs, held_version};
use super::tree::TreeArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::keys;
use crate::output::{Output, Report};
use crate::progress::Progress;

/// Write the assignment that turns old trees into a new one.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// A tree, or a version of the site, that nodes may have; without any, nodes have nothing.
    #[arg(long, value_name = "DIR|VERSION", num_args = 1..)]
    old: Vec<String>,
    /// The tree they shall have.
    #[arg(long, value_name = "DIR")]
    new: PathBuf,
    /// Where to write the assignment; a set of several is numbered.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// How much work to spend on few bytes.
    #[arg(long, value_enum, default_value_t)]
    effort: Effort,
    /// Do not try to compress files that this pattern names; can be given several times.
    #[arg(long, value_name = "GLOB", num_args = 1..)]
    no_compress: Vec<String>,
    /// Sign with this key.
    #[arg(long, value_name = "KEY")]
    sign: Option<PathBuf>,
    /// Encrypt the data with this key.
    #[arg(long, value_name = "KEYFILE")]
    encrypt: Option<PathBuf>,
    /// Split into assignments of at most so many bytes, such as 512M.
    #[arg(long, value_name = "BYTES")]
    max_size: Option<ByteSize>,
    /// The directory that holds the site whose versions are named by --old.
    #[arg(long, requires = "site")]
    root: Option<PathBuf>,
    /// The site the assignment is for, or SITE@PART.
    #[arg(long)]
    site: Option<SitePart>,
    /// Its place in the order of the site's assignments; 0 is outside the order.
    #[arg(long, default_value = "0", value_parser = parse_serial)]
    serial: Serial,
    /// The reign of the control group's master.
    #[arg(long, default_value = "1", value_parser = parse_term)]
    term: Term,
    #[command(flatten)]
    tree: TreeArgs,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Effort {
    /// Least time.
    Fast,
    /// Few bytes in reasonable time.
    #[default]
    Default,
    /// Fewest bytes.
    Max,
}

fn parse_serial(text: &str) -> Result<Serial, std::num::ParseIntError> {
    text.parse().map(Serial)
}

fn parse_term(text: &str) -> Result<Term, std::num::ParseIntError> {
    text.parse().map(Term)
}

impl From<Effort> for delta::Effort {
    fn from(effort: Effort) -> Self {
        match effort {
            Effort::Fast => Self::Fast,
            Effort::Default => Self::Default,
            Effort::Max => Self::Max,
        }
    }
}

#[derive(Debug, Serialize)]
struct Planned {
    target: String,
    assignments: Vec<Assignment>,
}

/// What was made for one base.
#[derive(Debug, Serialize)]
struct Assignment {
    base: Option<String>,
    files: Vec<PathBuf>,
    bytes: u64,
    content_bytes: u64,
    commands: usize,
    changes: BTreeMap<&'static str, usize>,
}

impl Report for Planned {
    const KIND: &'static str = "content.plan";
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "version  {}", self.target)?;
        for assignment in &self.assignments {
            let changes = &assignment.changes;
            let changes: Vec<_> = changes
                .iter()
                .map(|(kind, count)| format!("{count} {kind}"))
                .collect();
            let changes = match changes.is_empty() {
                true => "no change".to_owned(),
                false => changes.join(", "),
            };
            write!(
                f,
                "\nfrom     {}",
                assignment.base.as_deref().unwrap_or("nothing")
            )?;
            write!(f, "\nchanges  {changes}")?;
            let content = ByteSize(assignment.content_bytes);
            write!(
                f,
                "\nsize     {} bytes for {content} of content",
                assignment.bytes
            )?;
            for file in &assignment.files {
                write!(f, "\nfile     {}", file.display())?;
            }
        }
        Ok(())
    }
}

impl Plan {
    pub(crate) fn run(self, output: &Output) -> Result<Exit, Failure> {
        let signing = self
            .sign
            .as_deref()
            .map(|file| keys::read_secret(file, output));
        let signing: Option<SigningKey> = signing.transpose()?;
        let sealing = self
            .encrypt
            .as_deref()
            .map(|file| keys::read_secret(file, output));
        let sealing: Option<ContentKey> = sealing.transpose()?;
        let stored = Filter::new(&self.no_compress, &[], &[])?;
        if self.max_size.is_some_and(|size| size.0 < Coding::SIZE_MIN) {
            let error = format!("--max-size is less than {}", ByteSize(Coding::SIZE_MIN));
            return Err(Failure::new(Exit::Usage, error));
        }
        // Known before anything is read.
        let bases = self.old.iter().map(|old| self.base(old, output));
        let bases = bases.collect::<Result<Vec<_>, _>>()?;
        let scan = self.tree.scan(&self.new, output)?;
        let target = Source::scanned(&self.new, scan)?;
        let mut planned = Planned {
            target: String::new(),
            assignments: Vec::new(),
        };
        let bases = if bases.is_empty() {
            vec![Source::empty()]
        } else {
            bases
        };
        for (number, base) in bases.iter().enumerate() {
            let version = (!base.manifest().is_empty()).then(|| base.manifest().version());
            // The first base's assignment has the name that was asked for; others add theirs.
            let out = match (number, version) {
                (0, _) => self.out.clone(),
                (_, Some(version)) => with_suffix(&self.out, &format!("from-{}", version.short())),
                (_, None) => with_suffix(&self.out, "from-nothing"),
            };
            let progress = Progress::new(output, "coding");
            let made = publish(
                base,
                &target,
                &Making {
                    coding: Coding {
                        effort: self.effort.into(),
                        size_max: self.max_size.map(|size| size.0),
                    },
                    first_seen: bases[0].manifest(),
                    compressible: &|path| self.no_compress.is_empty() || !stored.names(path),
                    header: self.header(),
                    signing: signing.as_ref(),
                    sealing: sealing.as_ref().map(|key| (key, &keys::random_salt as _)),
                    threads: None,
                    progress: &|done, total| progress.reach(done, total),
                },
                &out,
            );
            drop(progress);
            let made = made?;
            planned.target = made.target.version().to_string();
            planned.assignments.push(Assignment::of(base, &made));
        }
        output.report(&planned)?;
        Ok(Exit::Done)
    }

    fn header(&self) -> Header {
        Header {
            site: self.site.clone(),
            ..Header::new(Action::Publish, self.serial, self.term)
        }
    }

    /// A directory, or else a version that the site holds.
    fn base(&self, old: &str, output: &Output) -> Result<Source, Failure> {
        let directory = Path::new(old);
        if directory.is_dir() {
            return Ok(Source::scanned(
                directory,
                self.tree.scan(directory, output)?,
            )?);
        }
        let (Some(root), Some(site)) = (&self.root, &self.site) else {
            let error = format!("--old {old}: there is no such directory");
            let hint = "to name a version, say with --root and --site where it is held";
            return Err(Failure::new(Exit::NotFound, error).hint(hint));
        };
        let place = SiteArgs {
            root: root.clone(),
            site: site.clone(),
        };
        let held = place.open()?;
        let version = held_version(&held, old)?;
        let manifest = held.manifest(&version)?;
        let tree = root
            .join(site.to_string())
            .join("releases")
            .join(version.to_string());
        Ok(Source::kept(&tree, manifest.as_ref().clone())?)
    }
}

impl Assignment {
    fn of(base: &Source, made: &Made) -> Self {
        let mut changes = BTreeMap::new();
        for (_, change) in diff(base.manifest(), &made.target) {
            let kind = match change {
                Change::New => "new",
                Change::Changed => "changed",
                Change::Moved { .. } => "moved",
                Change::Copied { .. } => "copied",
                Change::Attributes => "attributes",
                Change::Deleted => "deleted",
            };
            *changes.entry(kind).or_default() += 1;
        }
        let written = made.commands.iter().map(|command| match command {
            Command::WriteFile(write) => write.size,
            _ => 0,
        });
        Self {
            base: made
                .parts
                .first()
                .and_then(|part| part.1.base)
                .map(|base| base.to_string()),
            files: made.parts.iter().map(|(path, ..)| path.clone()).collect(),
            bytes: made.parts.iter().map(|(_, _, len)| len).sum(),
            content_bytes: written.sum(),
            commands: made.commands.len(),
            changes,
        }
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    keys::beside(path, &format!(".{suffix}"))
}
