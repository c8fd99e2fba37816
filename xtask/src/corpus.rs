//! `cargo xtask corpus`: pairs of trees, (old, new), for the benchmarks to measure on, in the git-ignored `/corpus`.
//!
//! Real successive versions, from registries that keep old ones, by their own clients: whichever mirror the machine is
//! set up with serves. Everything fetched is pinned by name, version and SHA-256; what is made here is made by rule.
//! Pages of documentation are made from pinned sources by rustdoc, so their bytes depend on the toolchain too: the
//! digest printed says whether two machines measure on the same ones.

mod crates;
mod database;
pub(crate) mod model;
mod npm;
pub(crate) mod tree;
mod wheels;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::{packages, shell};

/// Old and new version of one thing.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) name: &'static str,
    pub(crate) old: PathBuf,
    pub(crate) new: PathBuf,
}

/// How a pair is filled, and the digests of both sides where they depend on nothing but the pins.
struct Recipe {
    name: &'static str,
    fill: fn(&Pair) -> Result<()>,
    digests: Option<[&'static str; 2]>,
}

const RECIPES: &[Recipe] = &[
    Recipe {
        name: "pages",
        fill: crates::pages,
        digests: None,
    },
    Recipe {
        name: "bundle",
        fill: npm::bundle,
        digests: Some(npm::DIGESTS),
    },
    Recipe {
        name: "binaries",
        fill: wheels::binaries,
        digests: Some(wheels::DIGESTS),
    },
    Recipe {
        name: "sources",
        fill: crates::sources,
        digests: Some(crates::DIGESTS_OF_SOURCES),
    },
    Recipe {
        name: "database",
        fill: database::database,
        digests: None,
    },
    Recipe {
        name: "model",
        fill: model::model,
        digests: Some(model::DIGESTS),
    },
];

pub(crate) fn run(names: &[String]) -> Result<()> {
    if let Some(unknown) = names
        .iter()
        .find(|name| RECIPES.iter().all(|recipe| recipe.name != *name))
    {
        bail!("no such pair: {unknown}");
    }
    packages::ensure(packages::FOR_CORPUS)?;
    for recipe in RECIPES
        .iter()
        .filter(|recipe| names.is_empty() || names.iter().any(|name| name == recipe.name))
    {
        fetch(recipe).with_context(|| format!("corpus {}", recipe.name))?;
    }
    Ok(())
}

/// The pairs asked for (all, if none is), fetched first where they are not there yet.
pub(crate) fn pairs(names: &[String]) -> Result<Vec<Pair>> {
    run(names)?;
    let recipes = RECIPES
        .iter()
        .filter(|recipe| names.is_empty() || names.iter().any(|name| name == recipe.name));
    Ok(recipes.map(|recipe| pair(recipe.name)).collect())
}

fn pair(name: &'static str) -> Pair {
    let folder = folder().join(name);
    Pair {
        name,
        old: folder.join("old"),
        new: folder.join("new"),
    }
}

fn folder() -> PathBuf {
    shell::root().join("corpus")
}

/// A folder that vanishes once the fetching of one pair is over.
fn scratch(name: &str) -> Result<PathBuf> {
    let scratch = folder().join(".scratch").join(name);
    empty(&scratch)?;
    Ok(scratch)
}

fn empty(folder: &Path) -> Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)
            .with_context(|| format!("cannot clear {}", folder.display()))?;
    }
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

fn fetch(recipe: &Recipe) -> Result<()> {
    let pair = pair(recipe.name);
    // Written last: a pair without it is half a pair.
    let seal = folder().join(recipe.name).join("digests");
    if !seal.exists() {
        empty(&pair.old)?;
        empty(&pair.new)?;
        (recipe.fill)(&pair)?;
        tree::set_times(&pair)?;
        let digests = [tree::digest(&pair.old)?, tree::digest(&pair.new)?];
        if let Some(pinned) = recipe.digests
            && digests != pinned
        {
            bail!("what came is not what was pinned: {digests:?} instead of {pinned:?}");
        }
        std::fs::write(&seal, digests.map(|digest| digest + "\n").concat())?;
        let _ = std::fs::remove_dir_all(folder().join(".scratch"));
    }
    let digests = std::fs::read_to_string(&seal)?;
    let digests: Vec<&str> = digests.lines().map(|digest| &digest[..12]).collect();
    eprintln!(
        "corpus {}: {} ({})",
        recipe.name,
        tree::summary(&pair)?,
        digests.join(" to ")
    );
    Ok(())
}
