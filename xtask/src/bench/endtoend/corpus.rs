//! The pairs of the corpus as versions of a site: what every node serves is what was published, and then what was before.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bellwether_lab::Lab;
use bellwether_lab::farm::{Farm, SITE};

use super::large::sent_bytes;
use crate::bench::Bench;
use crate::bench::table::{Table, Target};
use crate::corpus::{self, Pair, tree};

const SEGMENTS: usize = 4;
const NODES: usize = 4;
const MB: f64 = 1e6;

/// 4 × 4 for each pair, or those that are named beside `corpus`. Any difference on any node is a failure.
pub(super) fn run(bench: &Bench) -> Result<Vec<Target>> {
    let pairs = corpus::pairs(&[])?;
    let is_named = |pair: &Pair| bench.only.iter().any(|name| name == pair.name);
    let all = !pairs.iter().any(is_named);
    let title = format!("the corpus, {SEGMENTS} × {NODES}: every node's tree is the source's");
    let headings = [
        "pair",
        "files",
        "MB",
        "`publish` of the new one … live everywhere, s",
        "sent by the control server, MB",
        "sent by all nodes, MB",
        "`rollback`, s",
    ];
    let mut table = Table::new(&title, &headings);
    for pair in pairs.iter().filter(|pair| all || is_named(pair)) {
        let cells = of_pair(bench, pair).with_context(|| format!("pair {}", pair.name))?;
        table.row(&cells);
    }
    table.print();
    Ok(Vec::new())
}

fn of_pair(bench: &Bench, pair: &Pair) -> Result<Vec<String>> {
    let mut lab = Lab::open()?;
    let farm = Farm::start(&mut lab, bench.ours.program(), SEGMENTS, NODES)?;
    farm.define(&[])?;
    farm.publish(&pair.old)?;
    farm.serves(&pair.old)?;
    let before = sent(&farm)?;
    let published = timed(|| farm.publish(&pair.new).map(drop))?;
    farm.serves(&pair.new)?;
    let after = sent(&farm)?;
    let rolled_back = timed(|| farm.run(&["rollback", SITE]).map(drop))?;
    farm.serves(&pair.old)?;
    let mb = |bytes: u64| format!("{:.2}", bytes as f64 / MB);
    let files = tree::files(&pair.new)?;
    Ok(vec![
        pair.name.to_owned(),
        files.len().to_string(),
        mb(bytes_of(&pair.new, &files)?),
        seconds(published),
        mb(after.0 - before.0),
        mb(after.1 - before.1),
        seconds(rolled_back),
    ])
}

/// By the control server, and by all nodes.
fn sent(farm: &Farm<'_>) -> Result<(u64, u64)> {
    Ok((farm.control.counters()?.sent_bytes, sent_bytes(farm)?))
}

fn bytes_of(tree: &Path, files: &[std::path::PathBuf]) -> Result<u64> {
    let lens = files
        .iter()
        .map(|file| Ok(tree.join(file).metadata()?.len()));
    lens.sum()
}

fn timed(work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let began = Instant::now();
    work()?;
    Ok(began.elapsed())
}

fn seconds(span: Duration) -> String {
    format!("{:.2}", span.as_secs_f64())
}
