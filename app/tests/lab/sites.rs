//! What tests of publishing share: a farm, versions of a site, and jobs on their way.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use bellwether_kit::farm::noise;
use bellwether_lab::farm::{Farm, PATIENCE, SITE};
use bellwether_lab::{Lab, Shape, until};
use serde_json::Value;

/// Bits a second of nodes' links: what is sent takes a while then, and faults find it under way.
const RATE: u64 = 50_000_000;
pub(crate) const MIB: usize = 1 << 20;

pub(crate) fn start(lab: &mut Lab, segments: usize, nodes: usize) -> Result<Farm<'_>> {
    let program = Path::new(env!("CARGO_BIN_EXE_bellwether"));
    Farm::start(lab, program, segments, nodes)
}

/// A small site, of which each version changes a part, with a film of that many bytes.
pub(crate) fn site(folder: &Path, version: u64, film: usize) -> Result<PathBuf> {
    let root = folder.join(format!("site-{version}"));
    fs::create_dir_all(root.join("pages/deep"))?;
    for page in 0..40 {
        let of = if page % 8 == 0 { version } else { 0 };
        fs::write(
            root.join(format!("pages/{page}.html")),
            format!("page {page} of {of}\n").repeat(40),
        )?;
    }
    fs::write(root.join("pages/deep/logo.png"), noise(7, 64 << 10))?;
    if film > 0 {
        fs::write(root.join("film.mp4"), noise(version, film))?;
    }
    std::os::unix::fs::symlink("pages/0.html", root.join("index.html"))?;
    Ok(root)
}

pub(crate) fn slow(farm: &Farm<'_>) -> Result<()> {
    for node in &farm.nodes {
        farm.lab.shape(&node.host, Shape::rate(RATE))?;
    }
    Ok(())
}

/// Publishes a tree without waiting; the job.
pub(crate) fn launch(farm: &Farm<'_>, tree: &Path) -> Result<String> {
    let tree = tree.to_str().context("a name in UTF-8")?;
    let published = farm.run(&["publish", SITE, tree, "--detach"])?;
    let name = published["jobs"][0]["name"].as_str();
    Ok(name.context("a job")?.to_owned())
}

/// Waits until a job is as it should be; how it is then.
pub(crate) fn job_is(
    farm: &Farm<'_>,
    job: &str,
    what: &str,
    mut is_so: impl FnMut(&Value) -> bool,
) -> Result<Value> {
    let mut shown = Value::Null;
    let is = until(what, PATIENCE, || {
        shown = farm.run(&["job", "show", job]).unwrap_or_default()["job"].take();
        is_so(&shown)
    });
    is.with_context(|| format!("{shown:#}"))?;
    Ok(shown)
}

/// Waits until bytes of a job are on their way to nodes.
pub(crate) fn under_way(farm: &Farm<'_>, job: &str) -> Result<()> {
    let fetched = |segment: &Value| segment["fetched"].as_u64() > Some(0);
    job_is(farm, job, "bytes are on their way", |job| {
        let segments = job["segments"].as_array();
        segments.is_some_and(|all| all.iter().any(fetched))
    })
    .map(drop)
}

/// Waits until so many nodes at least have staged a job and wait for the word to make it live.
pub(crate) fn staged(farm: &Farm<'_>, job: &str, nodes: u64) -> Result<()> {
    let enough = |job: &Value| job["staged"].as_u64() >= Some(nodes);
    job_is(farm, job, "it is staged", enough).map(drop)
}

/// Waits until a job is over; how it ended.
pub(crate) fn over(farm: &Farm<'_>, job: &str) -> Result<Value> {
    job_is(farm, job, "the job is over", |job| job["over"] == true)
}

/// What every node serves is one of these trees, whole.
pub(crate) fn unmixed(farm: &Farm<'_>, trees: &[&Path]) -> Result<()> {
    for node in &farm.nodes {
        let is_whole = trees.iter().any(|tree| farm.serves_on(node, tree));
        ensure!(is_whole, "{} serves a mixture", node.name);
    }
    Ok(())
}
