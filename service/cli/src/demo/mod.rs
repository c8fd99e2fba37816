mod sample;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

use bellwether_content::assignment::{Action, Header, Trust};
use bellwether_content::update::Coding;
use bellwether_delta::Effort;
use bellwether_disk::publish::{Making, Source, publish};
use bellwether_disk::scan::{self, Fingerprints, ScanPolicy};
use bellwether_disk::stage::{Accepting, stage};
use bellwether_disk::{Options, RealDisk, Site, SiteError, Switched};
use bellwether_types::{ByteSize, Serial, Term, VersionId};
use bellwether_wire::SigningKey;
use clap::Args;
use tempfile::TempDir;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::keys;
use crate::output::Output;

/// Publish, update and roll back a sample site in a temporary directory.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Leave everything there to look at, and say where.
    #[arg(long)]
    keep: bool,
}

impl Demo {
    pub(crate) fn run(self, output: &Output) -> Result<Exit, Failure> {
        let place = TempDir::with_prefix("bellwether-demo-");
        let place = place.map_err(|error| Failure::io("create", &std::env::temp_dir(), error))?;
        let told = story(place.path(), output);
        if self.keep {
            output.say(format_args!("kept in {}", place.keep().display()));
        }
        told.map(|()| Exit::Done)
    }
}

/// The steps that anybody can repeat by hand, in the same order.
fn story(place: &Path, output: &Output) -> Result<(), Failure> {
    let (first, second) = (place.join("staging-1"), place.join("staging-2"));
    sample::write_first(&first).map_err(|error| Failure::io("write", &first, error))?;
    sample::write_second(&second).map_err(|error| Failure::io("write", &second, error))?;
    let signing = SigningKey::from_seed(keys::random_bytes()?);
    let story = Story {
        place,
        root: place.join("root"),
        signing,
    };
    std::fs::create_dir(&story.root).map_err(|error| Failure::io("create", &story.root, error))?;

    let first = story.scan("sample", &first, output)?;
    let second = story.scan("update", &second, output)?;
    let full = story.plan("publish", &Source::empty(), &first, output)?;
    let staged = story.stage(&full, output)?;
    story.switch("commit", |site| site.commit(Some(staged)), output)?;
    let delta = story.plan("update", &first, &second, output)?;
    let staged = story.stage(&delta, output)?;
    story.switch("commit", |site| site.commit(Some(staged)), output)?;
    story.switch("rollback", |site| site.rollback(None), output)?;
    let differences = story.site()?.verify(None)?.len();
    output.say(format_args!(
        "verify    {differences} differences between live and its manifest"
    ));
    Ok(())
}

struct Story<'p> {
    place: &'p Path,
    root: PathBuf,
    signing: SigningKey,
}

impl Story<'_> {
    fn site(&self) -> Result<Site<RealDisk>, Failure> {
        let disk = RealDisk::open(&self.root);
        let disk = disk.map_err(|errno| Failure::io("open", &self.root, errno.into()))?;
        let name = "demo".parse().expect("a name");
        Ok(Site::open(disk, name, Options::default()))
    }

    fn scan(&self, what: &str, tree: &Path, output: &Output) -> Result<Source, Failure> {
        let scan = scan::scan(tree, &ScanPolicy::default(), Fingerprints::default(), &())?;
        let (entries, len) = (scan.manifest.len(), ByteSize(scan.manifest.content_len()));
        let version = scan.manifest.version().short();
        output.say(format_args!(
            "{what:9} {entries} entries, {len}: version {version}"
        ));
        Ok(Source::scanned(tree, scan)?)
    }

    fn plan(
        &self,
        what: &str,
        base: &Source,
        target: &Source,
        output: &Output,
    ) -> Result<PathBuf, Failure> {
        let out = self.place.join(format!("{what}.bwa"));
        let making = Making {
            coding: Coding {
                effort: Effort::Default,
                size_max: None,
            },
            first_seen: base.manifest(),
            compressible: &|_| true,
            header: Header::new(Action::Publish, Serial(0), Term(1)),
            signing: Some(&self.signing),
            sealing: None,
            threads: None,
            progress: &|_, _| {},
        };
        let made = publish(base, target, &making, &out)?;
        let (commands, target) = (made.commands.len(), ByteSize(made.target.content_len()));
        let len: u64 = made.parts.iter().map(|(_, _, len)| len).sum();
        output.say(format_args!(
            "plan      {commands} commands, {} signed bytes for a site of {target}",
            ByteSize(len)
        ));
        Ok(out)
    }

    fn stage(&self, file: &Path, output: &Output) -> Result<VersionId, Failure> {
        let opened = File::open(file).map_err(|error| Failure::io("open", file, error))?;
        let accepting = Accepting {
            trust: &Trust::Keys(vec![self.signing.public()]),
            content_key: None,
            allow_set_id: false,
            progress: &|_, _| {},
        };
        let started = Instant::now();
        let staged = stage(&self.site()?, [opened], &accepting);
        let staged = staged.map_err(|error| Failure::of_stage(error, &[file.to_owned()]))?;
        output.say(format_args!(
            "stage     {} beside the live tree: {} files, {} written in {} ms",
            staged.version.short(),
            staged.files_written,
            ByteSize(staged.bytes_written),
            started.elapsed().as_millis()
        ));
        Ok(staged.version)
    }

    fn switch(
        &self,
        what: &str,
        switch: impl FnOnce(&Site<RealDisk>) -> Result<Switched, SiteError>,
        output: &Output,
    ) -> Result<(), Failure> {
        let site = self.site()?;
        let started = Instant::now();
        let switched = switch(&site)?;
        output.say(format_args!(
            "{what:9} {} is live, {} ms",
            switched.to.short(),
            started.elapsed().as_millis()
        ));
        Ok(())
    }
}
