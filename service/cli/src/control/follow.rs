//! How jobs get on, as it is told until they are over: drawn as a tree on a terminal, else in a line now and then.

use std::time::{Duration, Instant};

use bellwether_api::routes::ShowJob;
use bellwether_api::{JobInfo, JobLine, JobNode, JobProgress, Since};
use bellwether_types::{ByteSize, Name};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::access::Remote;
use super::job::exit_of;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Liveliness, Output};

/// How long the server may keep a watcher waiting.
const WAIT: &str = "30s";
/// Numbers that grow are told no more often than this in lines that stay.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Nodes that are named of a segment, and segments that are drawn.
const SLOWEST_MAX: usize = 3;
const SEGMENTS_MAX: usize = 16;

/// Waits until a job is over, and tells how it gets on.
pub(super) fn follow(remote: &Remote, name: &Name, output: &Output) -> Result<JobInfo, Failure> {
    let mut since = Since::default();
    let mut telling = Telling::default();
    let drawn = (output.liveliness() == Liveliness::Drawn).then(drawing);
    let started = Instant::now();
    loop {
        let job = remote.call::<ShowJob>(name, &since, &())?;
        if let Some(line) = telling.line(started.elapsed(), &job, drawn.is_some()) {
            match &drawn {
                Some(drawn) => drawn.suspend(|| output.say(line)),
                None => output.say(line),
            }
        }
        if let Some(drawn) = &drawn {
            drawn.set_message(tree(&job));
        }
        if job.over {
            drawn.iter().for_each(ProgressBar::finish_and_clear);
            return Ok(job);
        }
        since = Since {
            revision: Some(job.revision),
            wait: Some(WAIT.to_owned()),
        };
    }
}

/// Waits until jobs are over; what the caller is told if not all of them ended well.
pub(super) fn see_through(
    remote: &Remote,
    jobs: &mut [JobInfo],
    output: &Output,
) -> Result<Exit, Failure> {
    let mut exit = Exit::Done;
    for job in jobs {
        *job = follow(remote, &job.line.name, output)?;
        exit = match exit_of(job) {
            Exit::Done => exit,
            other => other,
        };
    }
    Ok(exit)
}

/// Which lines stay: one for each turn that a job takes, and between them one now and then.
#[derive(Debug, Default)]
struct Telling {
    turn: String,
    told: String,
    at: Duration,
}

impl Telling {
    /// The line to be told now, if any. What is drawn need not be told now and then.
    fn line(&mut self, now: Duration, job: &JobInfo, is_drawn: bool) -> Option<String> {
        let turn = turn(job);
        let line = match is_drawn {
            true => with_reason(turn.clone(), job),
            false => line(job),
        };
        let is_turn = turn != self.turn;
        let is_due = !is_drawn && now >= self.at + LINE_EVERY;
        if line == self.told || !(is_turn || is_due) {
            return None;
        }
        self.turn = turn;
        self.told.clone_from(&line);
        self.at = now;
        Some(line)
    }
}

/// How far a job is, in a line.
pub(super) fn line(job: &JobInfo) -> String {
    let mut line = turn(job);
    let (mut received, mut needed, mut rate, mut left) = (0, 0, 0, Some(0));
    for one in &job.segments {
        received += one.received;
        needed += one.needed;
        rate += one.rate;
        left = left.zip(one.left_ms).map(|(one, other)| one.max(other));
    }
    if needed > 0 && !job.over {
        line = format!("{line}, {}", pace(received, needed, rate, left));
    }
    with_reason(line, job)
}

/// The same as a tree of segments, with those who are waited for.
fn tree(job: &JobInfo) -> String {
    let mut tree = line(job);
    let segments = &job.segments;
    let last = segments.len().min(SEGMENTS_MAX + 1);
    for (number, one) in segments.iter().take(SEGMENTS_MAX).enumerate() {
        let branch = if number + 1 == last {
            "└─"
        } else {
            "├─"
        };
        tree += &format!("\n{branch} {}", segment(one));
    }
    if segments.len() > SEGMENTS_MAX {
        tree += &format!("\n└─ and {} more", segments.len() - SEGMENTS_MAX);
    }
    tree
}

/// How far a job is in a segment, in a line.
pub(super) fn segment(one: &JobProgress) -> String {
    let JobProgress {
        segment,
        staged,
        nodes,
        ..
    } = one;
    let mut line = format!("segment {segment}: {staged} of {nodes} staged");
    if one.failed > 0 {
        line = format!("{line}, {} failed", one.failed);
    }
    if one.received < one.needed {
        let pace = pace(one.received, one.needed, one.rate, one.left_ms);
        line = format!("{line}, {pace}");
    }
    if one.fetched < one.bytes {
        let (fetched, bytes) = (ByteSize(one.fetched), ByteSize(one.bytes));
        line = format!("{line}, the leader has {fetched} of {bytes}");
    }
    let slowest = one.slowest.iter().take(SLOWEST_MAX);
    let slowest: Vec<String> = slowest.map(slow).collect();
    match slowest.is_empty() {
        true => line,
        false => format!("{line}; slowest: {}", slowest.join(", ")),
    }
}

fn slow(one: &JobNode) -> String {
    let share = u128::from(one.received) * 100;
    match share.checked_div(one.needed.into()) {
        Some(share) if share < 100 => format!("{} {share}%", one.name),
        _ => format!("{} stages", one.name),
    }
}

fn pace(received: u64, needed: u64, rate: u64, left_ms: Option<u64>) -> String {
    let mut pace = format!("{} of {}", ByteSize(received), ByteSize(needed));
    if rate > 0 {
        pace = format!("{pace}, {}/s", ByteSize(rate));
    }
    match left_ms {
        Some(left_ms) if left_ms > 0 => format!("{pace}, {} left", span(left_ms.div_ceil(1_000))),
        _ => pace,
    }
}

fn span(seconds: u64) -> String {
    match (seconds / 3_600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

/// What a job is at, without what grows all the time.
fn turn(job: &JobInfo) -> String {
    let JobLine {
        name, site, nodes, ..
    } = &job.line;
    let at = match job.over {
        true => job.line.status.to_string(),
        false => job.phase.to_string(),
    };
    match nodes {
        0 => format!("{name} {site}: {at}"),
        _ => format!(
            "{name} {site}: {at}, {} staged, {} live of {nodes}",
            job.staged, job.live
        ),
    }
}

fn with_reason(line: String, job: &JobInfo) -> String {
    match &job.why {
        Some(why) => format!("{line}: {why}"),
        None => line,
    }
}

fn drawing() -> ProgressBar {
    let target = ProgressDrawTarget::stderr_with_hz(8);
    let style = ProgressStyle::with_template("{msg}").expect("the template is well formed");
    ProgressBar::with_draw_target(None, target).with_style(style)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bellwether_api::JobStatus;
    use serde_json::json;

    /// 2 of 6 nodes have staged 40 MiB; in the second segment one lags, and one is not there.
    fn job() -> JobInfo {
        const MIB: u64 = 1 << 20;
        let segment = |name: &str, received: u64, rate: u64, left_ms: Option<u64>| {
            json!({
                "segment": name, "bytes": 40 * MIB, "fetched": 40 * MIB, "received": received * MIB,
                "needed": 120 * MIB, "rate": rate * MIB, "wire_rate": 50_000_000, "left_ms": left_ms,
                "nodes": 3, "complete": 0, "staged": 0, "failed": 0, "slowest": [],
            })
        };
        let node = |byte: u8, name: &str, received: u64| {
            let node = bellwether_types::NodeId::from_bytes([byte; 16]);
            json!({"node": node, "name": name, "received": received * MIB, "needed": 40 * MIB})
        };
        let mut fast = segment("north", 120, 0, Some(0));
        fast["staged"] = json!(2);
        fast["slowest"] = json!([node(3, "web-3", 40)]);
        let mut slow = segment("south", 60, 2, Some(31_000));
        slow["fetched"] = json!(39 * MIB);
        slow["slowest"] = json!([node(6, "web-6", 0), node(5, "web-5", 25)]);
        serde_json::from_value(json!({
            "name": "j-7", "kind": "publish", "site": "shop", "group": "web", "status": "running",
            "target": null, "created_ms": 1, "changed_ms": 1, "nodes": 6, "done": 0, "over": false,
            "phase": "distributing", "decided": false, "previous": null, "attempt": 0, "why": null,
            "staged": 2, "live": 0, "segments": [fast, slow], "faults": [], "revision": 9,
        }))
        .unwrap()
    }

    #[test]
    fn a_tree_tells_segments_bytes_rate_time_left_and_the_slowest_nodes() {
        let lines = [
            "j-7 shop: distributing, 2 staged, 0 live of 6, 180.0 MiB of 240.0 MiB, 2.0 MiB/s, 31 s left",
            "├─ segment north: 2 of 3 staged; slowest: web-3 stages",
            "└─ segment south: 0 of 3 staged, 60.0 MiB of 120.0 MiB, 2.0 MiB/s, 31 s left, \
             the leader has 39.0 MiB of 40.0 MiB; slowest: web-6 0%, web-5 62%",
        ];
        assert_eq!(tree(&job()), lines.join("\n"));
    }

    #[test]
    fn time_left_is_that_of_the_slowest_segment_and_unknown_while_one_stands() {
        let mut job = job();
        job.segments[0].left_ms = Some(4_000_000);
        assert!(line(&job).ends_with("1 h 6 min left"), "{}", line(&job));
        job.segments[0].left_ms = Some(90_000);
        assert!(line(&job).ends_with("1 min 30 s left"), "{}", line(&job));
        job.segments[1].left_ms = None;
        assert!(line(&job).ends_with("2.0 MiB/s"), "{}", line(&job));
    }

    #[test]
    fn a_tree_of_many_segments_ends() {
        let mut job = job();
        job.segments = vec![job.segments[0].clone(); 40];
        let tree = tree(&job);
        assert_eq!(tree.lines().count(), 18);
        assert!(tree.ends_with("└─ and 24 more"), "{tree}");
    }

    #[test]
    fn lines_that_stay_come_with_each_turn_and_else_now_and_then() {
        let second = Duration::from_secs(1);
        let mut job = job();
        let mut telling = Telling::default();
        assert_eq!(telling.line(second, &job, false), Some(line(&job)));
        job.segments[1].received += 1 << 20;
        assert_eq!(telling.line(second * 2, &job, false), None);
        assert_eq!(telling.line(second * 11, &job, false), Some(line(&job)));
        assert_eq!(telling.line(second * 30, &job, false), None, "nothing new");
        job.staged = 3;
        assert_eq!(telling.line(second * 30, &job, false), Some(line(&job)));
    }

    #[test]
    fn what_is_drawn_is_told_only_when_a_job_takes_a_turn() {
        let second = Duration::from_secs(1);
        let mut job = job();
        let mut telling = Telling::default();
        let turn = "j-7 shop: distributing, 2 staged, 0 live of 6".to_owned();
        assert_eq!(telling.line(second, &job, true), Some(turn));
        job.segments[1].received += 1 << 20;
        assert_eq!(telling.line(second * 60, &job, true), None);
        job.over = true;
        job.line.status = JobStatus::Completed;
        job.live = 6;
        let turn = "j-7 shop: completed, 2 staged, 6 live of 6".to_owned();
        assert_eq!(telling.line(second * 60, &job, true), Some(turn));
    }
}
