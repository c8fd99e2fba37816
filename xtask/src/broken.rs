//! What happens if a rule of the protocols is left out: each variant is applied to a copy of the tree, and the
//! simulator must find it within a hundred seeds of its scenarios.
//!
//! Patches rot when the lines around them change, and nobody looks at them for months. A variant is therefore a text and
//! what stands in its place, and a test here says when the text is no longer there.

mod variant;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::shell;
use variant::{VARIANTS, Variant};

/// Seeds of each scenario, in each profile.
const SEEDS: &str = "100";

pub(crate) fn run(names: &[String]) -> Result<()> {
    let known: BTreeSet<&str> = VARIANTS.iter().map(|variant| variant.name).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(name.as_str())) {
        bail!("no such variant: {unknown}; there are {known:?}");
    }
    let tree = shell::root().join("target/broken");
    copy(&tree)?;
    let mut missed = Vec::new();
    for variant in VARIANTS {
        if !names.is_empty() && !names.iter().any(|name| name == variant.name) {
            continue;
        }
        let begin = Instant::now();
        let caught = variant.is_caught(&tree)?;
        let took = begin.elapsed().as_secs();
        println!(
            "{:<28} {:>4} s  {}",
            variant.name,
            took,
            caught.as_deref().unwrap_or("NOT CAUGHT")
        );
        missed.extend(caught.is_none().then_some(variant.name));
    }
    if missed.is_empty() {
        Ok(())
    } else {
        bail!("nobody noticed: {}", missed.join(", "))
    }
}

/// Brings the copy up to date; what is the same stays, so that little is built again.
fn copy(tree: &Path) -> Result<()> {
    let root = shell::root();
    let listed = shell::read(shell::command(["git", "ls-files"]).current_dir(root))?;
    for name in listed.lines() {
        let (from, to) = (root.join(name), tree.join(name));
        let Ok(content) = fs::read(&from) else {
            continue;
        };
        if fs::read(&to).is_ok_and(|there| there == content) {
            continue;
        }
        let folder = to.parent().context("a file lies in a folder")?;
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        fs::write(&to, content).with_context(|| format!("cannot write {}", to.display()))?;
    }
    Ok(())
}

impl Variant {
    /// What the simulator says to it, if it says anything.
    fn is_caught(&self, tree: &Path) -> Result<Option<String>> {
        let mut originals = Vec::new();
        for (file, old, new) in self.edits {
            let path = tree.join(file);
            let text = fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let broken = replaced(&text, old, new)
                .map_err(|why| anyhow::anyhow!("{} does not apply to {file}: {why}", self.name))?;
            fs::write(&path, broken)?;
            originals.push((path, text));
        }
        let outcome = test(tree);
        for (path, text) in originals.into_iter().rev() {
            fs::write(path, text)?;
        }
        outcome
    }
}

/// The tests that find most come first; a broken protocol makes the others long.
const TESTS: [&str; 4] = ["a_dead_leader", "seeds_that_found", "small_scenarios", ""];

fn test(tree: &Path) -> Result<Option<String>> {
    let cargo = |words: &[&str]| {
        let mut cargo = shell::cargo();
        cargo.current_dir(tree);
        cargo.args([
            "test",
            "--quiet",
            "-p",
            "bellwether-sim",
            "--test",
            "segment",
        ]);
        cargo.args(words);
        // A folder of its own: cargo takes crates at the same place in two workspaces for the same.
        cargo.env("CARGO_TARGET_DIR", tree.join("target"));
        cargo
            .env("BELLWETHER_SEEDS", SEEDS)
            .env("RUST_BACKTRACE", "0");
        cargo
    };
    let built = cargo(&["--no-run"]).stderr(Stdio::null()).status();
    if !built.context("cannot start cargo")?.success() {
        bail!("what was broken does not build");
    }
    for name in TESTS {
        let output = cargo(&[name]).output().context("cannot start cargo")?;
        if output.status.success() {
            continue;
        }
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let broken = said.lines().find(|line| line.contains(", seed "));
        let failed = said.lines().find(|line| line.contains("panicked at"));
        return Ok(broken.or(failed).map(|line| line.trim().to_owned()));
    }
    Ok(None)
}

/// The text with the one place changed that reads so.
fn replaced(text: &str, old: &str, new: &str) -> Result<String, String> {
    match text.matches(old).count() {
        1 => Ok(text.replace(old, new)),
        count => Err(format!("`{old}` stands there {count} times")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_still_applies() {
        for variant in VARIANTS {
            let mut texts = std::collections::BTreeMap::new();
            for (file, old, new) in variant.edits {
                let text = texts.entry(*file).or_insert_with(|| {
                    fs::read_to_string(shell::root().join(file)).unwrap_or_default()
                });
                match replaced(text, old, new) {
                    Ok(changed) => *text = changed,
                    Err(why) => panic!("{}, {file}: {why}", variant.name),
                }
            }
        }
    }
}
