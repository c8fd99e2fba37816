mod page;
mod programs;
mod sample;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use bellwether_api::routes::{ListJobs, ListSegments, ShowJob, ShowStatus};
use bellwether_api::{JobInfo, JobsPage, Page, Presence, Since, StatusPage};
use bellwether_types::{ByteSize, Name, VersionId};
use clap::Args;
use clap::builder::RangedU64ValueParser;
use tempfile::TempDir;

use crate::control::{Access, Remote};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;
use page::Board;
use programs::{Node, Programs, Server, channels};

/// A control server and some nodes on this machine: publish a site, update it while a leader is killed, roll it back.
///
/// All of them are processes of this program that speak over the loopback interface, as they would over a network.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// End after the story, instead of leaving everything running to be looked at.
    #[arg(long)]
    exit: bool,
    /// Segments.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = RangedU64ValueParser::<usize>::new().range(1..=8))]
    segments: usize,
    /// Nodes of each segment.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = RangedU64ValueParser::<usize>::new().range(1..=8))]
    nodes: usize,
    /// Where everything is kept; a directory that is removed in the end unless given.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// More than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// From one look to the next.
const LOOK: Duration = Duration::from_millis(50);
const SITE: &str = "demo";

impl Demo {
    pub(crate) fn run(self, output: &Output) -> Result<Exit, Failure> {
        let (place, _temporary) = self.place()?;
        let mut story = Story::begin(&place, &self, output)?;
        story.tell()?;
        if self.exit {
            return Ok(Exit::Done);
        }
        story.leave_open()
    }

    fn place(&self) -> Result<(PathBuf, Option<TempDir>), Failure> {
        let temporary = |error| Failure::io("create", &std::env::temp_dir(), error);
        match &self.data {
            Some(data) => {
                if std::fs::read_dir(data).is_ok_and(|mut entries| entries.next().is_some()) {
                    let why = format!("{} is not empty", data.display());
                    let hint = "the demonstration begins anew: give it a directory of its own";
                    return Err(Failure::new(Exit::Conflict, why).hint(hint));
                }
                std::fs::create_dir_all(data)
                    .map_err(|error| Failure::io("create", data, error))?;
                let data = data.canonicalize();
                Ok((
                    data.map_err(|error| Failure::io("open", &PathBuf::from("."), error))?,
                    None,
                ))
            }
            None => {
                let place = TempDir::with_prefix("bellwether-demo-").map_err(temporary)?;
                Ok((place.path().to_owned(), Some(place)))
            }
        }
    }
}

struct Story<'o> {
    programs: Programs,
    server: Server,
    remote: Remote,
    nodes: Vec<Node>,
    segments: usize,
    place: PathBuf,
    output: &'o Output,
}

impl<'o> Story<'o> {
    /// The server, and its nodes as they come.
    fn begin(place: &Path, demo: &Demo, output: &'o Output) -> Result<Self, Failure> {
        let mut programs = Programs::new(place)?;
        let server = programs.serve()?;
        output.say(format_args!(
            "server     {} keeps everything in {}",
            server.url,
            place.display()
        ));
        let admin = server.admin.display().to_string();
        programs.run(&[
            "login",
            &server.url,
            "--ca",
            &server.ca,
            "--token-file",
            &admin,
        ])?;
        let remote = Access::of(programs.context()).open()?;
        let mut nodes = Vec::new();
        let mut channels = channels(demo.segments, demo.nodes)?.into_iter();
        for segment in SEGMENTS.iter().take(demo.segments) {
            let given = programs.run(&[
                "token",
                "create",
                segment,
                "--role",
                "node",
                "--segment",
                segment,
            ])?;
            let token = given["token"].as_str().unwrap_or_default().to_owned();
            for number in 1..=demo.nodes {
                nodes.push(Node {
                    name: format!("{segment}-{number}"),
                    token: token.clone(),
                    channel: channels.next().unwrap_or_default(),
                });
            }
        }
        let mut story = Self {
            programs,
            server,
            remote,
            nodes,
            segments: demo.segments,
            place: place.to_owned(),
            output,
        };
        for node in &story.nodes {
            story.programs.join(node, &story.server)?;
        }
        Ok(story)
    }

    fn tell(&mut self) -> Result<(), Failure> {
        self.elect()?;
        let (first, second) = (self.place.join("site-1"), self.place.join("site-2"));
        sample::write_first(&first).map_err(|error| Failure::io("write", &first, error))?;
        sample::write_second(&second).map_err(|error| Failure::io("write", &second, error))?;
        self.command(&["site", "create", SITE, "--quorum-after", "60%"])?;
        self.command(&["group", "create", "everybody", "--site", SITE])?;

        let started = Instant::now();
        self.command(&["publish", SITE, &first.display().to_string(), "--wait"])?;
        let version = self.everywhere(None)?;
        self.say(
            "publish",
            format_args!(
                "{} is live on {} nodes after {}",
                version.short(),
                self.nodes.len(),
                took(started)
            ),
        );

        self.update(&second)?;
        let started = Instant::now();
        self.command(&["rollback", SITE])?;
        self.everywhere(Some(version))?;
        self.say(
            "rollback",
            format_args!(
                "{} is live on {} nodes again after {}, without a byte of content",
                version.short(),
                self.nodes.len(),
                took(started)
            ),
        );
        Ok(())
    }

    /// Each segment finds its own leader.
    fn elect(&mut self) -> Result<(), Failure> {
        let started = Instant::now();
        let per_segment = self.nodes.len() / self.segments;
        let leaders = self.until("every segment has a leader and all its nodes", |story| {
            let segments = story
                .remote
                .call::<ListSegments>(&(), &Page::default(), &())?
                .items;
            let whole = segments.iter().filter(|one| one.up as usize == per_segment);
            let leaders: Vec<(Name, Name)> = whole
                .filter_map(|one| Some((one.name.clone(), one.leader.as_ref()?.name.clone())))
                .collect();
            Ok((leaders.len() == story.segments).then_some(leaders))
        })?;
        for (segment, leader) in leaders {
            self.say(
                "segment",
                format_args!("{segment}: {per_segment} nodes elected {leader}"),
            );
        }
        self.say("segment", format_args!("all of it took {}", took(started)));
        Ok(())
    }

    /// A leader is killed while content is on its way.
    fn update(&mut self, tree: &Path) -> Result<(), Failure> {
        let started = Instant::now();
        let mut publish = self.programs.command();
        publish
            .args(["publish", SITE])
            .arg(tree)
            .args(["--wait", "--output", "json"]);
        publish
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let publish = publish.spawn();
        let mut publish = publish.map_err(|error| Failure::new(Exit::of_io(&error), error))?;
        let job = self.until("the update is on its way", |story| {
            let page = JobsPage {
                open: Some(true),
                ..JobsPage::default()
            };
            let jobs = story.remote.call::<ListJobs>(&(), &page, &())?.items;
            let Some(line) = jobs.first() else {
                return Ok(None);
            };
            let job = story
                .remote
                .call::<ShowJob>(&line.name, &Since::default(), &())?;
            let is_under_way = job.segments.iter().any(|one| one.fetched > 0);
            Ok((is_under_way || job.over).then_some(job))
        })?;
        let segments = self
            .remote
            .call::<ListSegments>(&(), &Page::default(), &())?
            .items;
        let led = segments
            .into_iter()
            .find_map(|one| Some((one.name, one.leader?.name)));
        let Some((segment, leader)) = led else {
            return Err(Failure::new(Exit::Failed, "no segment has a leader"));
        };
        self.programs.kill(leader.as_str());
        self.say(
            "kill",
            format_args!(
                "{leader} led {segment}, and is killed while job {} is {}",
                job.line.name, job.phase
            ),
        );
        let bytes = job.segments.iter().map(|one| one.bytes).max().unwrap_or(0);
        let job = self.over(&job.line.name)?;
        let _ = publish.wait();
        let Some(version) = job.line.target.filter(|_| job.live > 0) else {
            let why = format!("job {} is {}", job.line.name, job.line.status);
            return Err(Failure::new(Exit::Failed, why));
        };
        self.say(
            "update",
            format_args!(
                "{} nodes are live with {} after {}: {} to each segment for a site of {}",
                job.live,
                version.short(),
                took(started),
                ByteSize(bytes),
                ByteSize(sample::content_len(tree))
            ),
        );
        let started = Instant::now();
        let node = self.nodes.iter().find(|node| node.name == leader.as_str());
        if let Some(node) = node {
            self.programs.join(node, &self.server)?;
        }
        self.everywhere(Some(version))?;
        self.say(
            "return",
            format_args!(
                "{leader} came back, and caught up by itself within {}",
                took(started)
            ),
        );
        Ok(())
    }

    /// Until Ctrl-C.
    fn leave_open(self) -> Result<Exit, Failure> {
        let board = Board::open(self.programs.context())?;
        let context = self.programs.context();
        self.output
            .say(format_args!("\nlook       http://{}", board.address()));
        self.output.say(format_args!(
            "try        export BELLWETHER_CONTEXT={}",
            context.display()
        ));
        for words in [
            "segment list",
            "node list",
            "status",
            "job list",
            "events --after 0",
            "publish demo DIR",
        ] {
            self.output
                .say(format_args!("           bellwether {words}"));
        }
        self.output.say("end        Ctrl-C");
        board.serve()?;
        Ok(Exit::Done)
    }

    /// Waits until every node serves the same, and if it is known which version, that.
    fn everywhere(&mut self, version: Option<VersionId>) -> Result<VersionId, Failure> {
        self.until("every node serves the same", |story| {
            let status = story
                .remote
                .call::<ShowStatus>(&(), &StatusPage::default(), &())?
                .items;
            let up = status.iter().filter(|node| node.presence == Presence::Up);
            let served = up.flat_map(|node| node.serves.iter().filter(|one| !one.behind));
            let served: Vec<VersionId> = served.map(|one| one.version).collect();
            let expected = version.or_else(|| served.first().copied());
            let all = served.len() == story.nodes.len()
                && served.iter().all(|one| Some(*one) == expected);
            Ok(expected.filter(|_| all))
        })
    }

    fn over(&mut self, job: &Name) -> Result<JobInfo, Failure> {
        self.until("the job is over", |story| {
            let job = story.remote.call::<ShowJob>(job, &Since::default(), &())?;
            Ok(job.over.then_some(job))
        })
    }

    fn until<T>(
        &mut self,
        what: &str,
        mut look: impl FnMut(&mut Self) -> Result<Option<T>, Failure>,
    ) -> Result<T, Failure> {
        let started = Instant::now();
        loop {
            if let Some(found) = look(self)? {
                return Ok(found);
            }
            if started.elapsed() > PATIENCE {
                let why = format!("waited {} in vain until {what}", took(started));
                return Err(Failure::new(Exit::TimedOut, why).hint(format!(
                    "logs are in {}, if --data says where",
                    self.place.display()
                )));
            }
            sleep(LOOK);
        }
    }

    /// A command that anybody could type.
    fn command(&self, words: &[&str]) -> Result<(), Failure> {
        self.output
            .say(format_args!("$ bellwether {}", words.join(" ")));
        self.programs.run(words).map(drop)
    }

    fn say(&self, what: &str, line: impl std::fmt::Display) {
        self.output.say(format_args!("{what:10} {line}"));
    }
}

const SEGMENTS: [&str; 8] = [
    "north", "south", "east", "west", "hill", "shore", "mill", "port",
];

fn took(started: Instant) -> String {
    format!("{:.1} s", started.elapsed().as_secs_f64())
}
