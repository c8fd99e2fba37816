//! A database file that a running application has edited in place.

use anyhow::{Result, ensure};

use super::{Pair, fetch, pair};
use crate::shell;

const SCRIPT: &str = include_str!("database.py");

/// Made of the pages: each a row. So they are fetched first.
pub(super) fn database(target: &Pair) -> Result<()> {
    let recipe = super::RECIPES
        .iter()
        .find(|recipe| recipe.name == "pages")
        .expect("pages are a recipe");
    fetch(recipe)?;
    let pages = pair("pages");
    let mut python = shell::command(["python3", "-c", SCRIPT]);
    python
        .args([&pages.old, &pages.new])
        .args([target.old.join("site.db"), target.new.join("site.db")]);
    shell::read(&mut python)?;
    ensure!(
        target.new.join("site.db").metadata()?.len() > 0,
        "the database is empty"
    );
    Ok(())
}
