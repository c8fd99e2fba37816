//! `docs/coverage.md` says for every requirement which test shows it, or which later step will; here it is held to that.
//!
//! A line reads
//! ```text
//! - DELTA-01: `bellwether_content::diff::tests::equal_trees_differ_in_nothing`
//! - DELTA-09: later: the control server — the shadow is kept there
//! ```
//! and may name several tests. A test counts when the source has it under that very path and does not ignore it. The
//! source is asked and not the test runner, because then the check takes a moment and nothing has to be built.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{metadata, no_faults};
use crate::shell;
use crate::source::{self, Token, tokens};

/// The areas claimed so far, and how many requirements each has.
const AREAS: &[(&str, u32)] = &[
    ("DELTA", 10),
    ("ASSIGN", 18),
    ("COMP", 5),
    ("CRYPT", 6),
    ("VERSION", 12),
    ("INTERP", 10),
    ("COMMIT", 14),
    ("STAGE", 5),
    ("ELECT", 34),
    ("CHAN", 9),
    ("REG", 14),
    ("CLUSTER", 14),
    ("GROUP", 21),
    ("MCTP", 25),
    ("REPORT", 15),
    ("ARCH", 17),
    ("JOB", 18),
    ("CGRP", 8),
    ("CCM", 12),
    ("TREE", 26),
    ("DB", 9),
];

pub(super) fn check() -> Result<()> {
    let list = shell::root().join("docs/coverage.md");
    let list = std::fs::read_to_string(&list)
        .with_context(|| format!("cannot read {}", list.display()))?;
    let ids: BTreeSet<String> = AREAS
        .iter()
        .flat_map(|(area, last)| (1..=*last).map(move |number| format!("{area}-{number:02}")))
        .collect();
    no_faults(&faults(&list, &ids, &tests_of_workspace()?))
}

fn faults(list: &str, ids: &BTreeSet<String>, tests: &BTreeSet<String>) -> Vec<String> {
    let mut faults = Vec::new();
    let mut seen = BTreeMap::new();
    for (index, line) in list.lines().enumerate() {
        let Some((id, claim)) = entry(line) else {
            continue;
        };
        let at = index + 1;
        if !ids.contains(id) {
            faults.push(format!(
                "line {at}: {id} is no requirement of the areas claimed"
            ));
        }
        if let Some(before) = seen.insert(id, at) {
            faults.push(format!("line {at}: {id} stands already in line {before}"));
        }
        faults.extend(fault_of_claim(claim, tests).map(|fault| format!("line {at}: {id} {fault}")));
    }
    faults.extend(
        ids.iter()
            .filter(|id| !seen.contains_key(id.as_str()))
            .map(|id| format!("{id} is missing")),
    );
    faults
}

/// `- ID: claim`, where an id is capital letters, a hyphen and digits.
fn entry(line: &str) -> Option<(&str, &str)> {
    let (id, claim) = line.strip_prefix("- ")?.split_once(':')?;
    let (area, number) = id.split_once('-')?;
    let is_id = !area.is_empty()
        && area.bytes().all(|b| b.is_ascii_uppercase())
        && !number.is_empty()
        && number.bytes().all(|b| b.is_ascii_digit());
    is_id.then(|| (id, claim.trim()))
}

fn fault_of_claim(claim: &str, tests: &BTreeSet<String>) -> Option<String> {
    if let Some(later) = claim.strip_prefix("later:") {
        let (step, reason) = later.split_once('—').unwrap_or((later, ""));
        let complete = !step.trim().is_empty() && !reason.trim().is_empty();
        return (!complete).then(|| "must say `later: STEP — REASON`".to_owned());
    }
    // Text between backquotes; whatever stands outside explains.
    let named: Vec<&str> = claim.split('`').skip(1).step_by(2).collect();
    if named.is_empty() {
        return Some("names no test and no later step".to_owned());
    }
    named
        .iter()
        .find(|name| !tests.contains(**name))
        .map(|name| format!("names {name}, and there is no such test"))
}

fn tests_of_workspace() -> Result<BTreeSet<String>> {
    let metadata = metadata()?;
    let mut tests = BTreeSet::new();
    let members = metadata["workspace_members"]
        .as_array()
        .context("cargo metadata names no members")?;
    for package in metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|p| members.contains(&p["id"]))
    {
        let manifest = PathBuf::from(
            package["manifest_path"]
                .as_str()
                .context("a package without a manifest")?,
        );
        let folder = manifest.parent().context("a manifest without a folder")?;
        let name = package["name"]
            .as_str()
            .context("a package without a name")?
            .replace('-', "_");
        for part in ["src", "tests"] {
            let part = folder.join(part);
            for file in source::files(&part)? {
                let text = std::fs::read_to_string(&file)?;
                let module = module_of(&file, &part);
                let path = if module.is_empty() {
                    name.clone()
                } else {
                    format!("{name}::{module}")
                };
                tests.extend(tests_in(&text, &path));
            }
        }
    }
    Ok(tests)
}

/// `a/b.rs` and `a/b/mod.rs` are both `a::b`; the crate's own file is no module.
fn module_of(file: &Path, part: &Path) -> String {
    let inside = file.strip_prefix(part).unwrap_or(file).with_extension("");
    let mut names: Vec<String> = inside
        .iter()
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    if matches!(
        names.last().map(String::as_str),
        Some("mod" | "lib" | "main")
    ) {
        names.pop();
    }
    names.join("::")
}

/// Paths of the tests in a file, inner modules included; one that is ignored shows nothing and is left out.
fn tests_in(text: &str, top: &str) -> Vec<String> {
    let code = source::code_only(text);
    let mut found = Vec::new();
    let mut modules: Vec<(&str, usize)> = Vec::new();
    let (mut depth, mut named_by, mut is_test, mut ignored) = (0usize, None, false, false);
    let mut attribute: Option<Vec<Token<'_>>> = None;
    let mut before = Token::Mark(' ');
    for (_, token) in tokens(&code) {
        if let Some(inside) = &mut attribute {
            match token {
                Token::Mark(']') => {
                    is_test |= inside.contains(&Token::Word("test"))
                        && !inside.contains(&Token::Word("cfg"));
                    ignored |= inside.contains(&Token::Word("ignore"));
                    attribute = None;
                }
                token => inside.push(token),
            }
            continue;
        }
        match (before, token) {
            (Token::Mark('#'), Token::Mark('[')) => attribute = Some(Vec::new()),
            (Token::Word("mod"), Token::Word(name)) => named_by = Some(name),
            (Token::Word("fn"), Token::Word(name)) => {
                if is_test && !ignored {
                    let path = modules.iter().map(|(name, _)| *name).chain([name]);
                    found.push(path.fold(top.to_owned(), |path, name| path + "::" + name));
                }
                (is_test, ignored) = (false, false);
            }
            (_, Token::Mark('{')) => {
                depth += 1;
                modules.extend(named_by.take().map(|name| (name, depth)));
            }
            (_, Token::Mark('}')) => {
                modules.pop_if(|(_, opened)| *opened == depth);
                depth = depth.saturating_sub(1);
            }
            (_, Token::Mark(';')) => named_by = None,
            _ => {}
        }
        before = token;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(list: &str) -> Vec<String> {
        let ids = ["A-01", "A-02"].map(str::to_owned).into();
        let tests = ["x::tests::works", "x::tests::holds"]
            .map(str::to_owned)
            .into();
        faults(list, &ids, &tests)
    }

    #[test]
    fn a_list_that_is_true_passes() {
        let list = "# Coverage\n- A-01: `x::tests::works`, `x::tests::holds` (both)\n- A-02: later: the server — none yet\n- b\n";
        assert_eq!(check(list), Vec::<String>::new());
    }

    #[test]
    fn a_test_that_does_not_exist_is_a_fault() {
        assert_eq!(
            check("- A-01: `x::tests::works` `x::tests::wrks`\n- A-02: later: s — r").len(),
            1
        );
    }

    #[test]
    fn a_requirement_left_out_is_a_fault() {
        assert_eq!(check("- A-01: `x::tests::works`"), ["A-02 is missing"]);
    }

    #[test]
    fn a_requirement_listed_twice_is_a_fault() {
        assert_eq!(
            check("- A-01: `x::tests::works`\n- A-02: `x::tests::works`\n- A-01: later: s — r")
                .len(),
            1
        );
    }

    #[test]
    fn a_requirement_nobody_made_is_a_fault() {
        assert_eq!(
            check("- A-01: `x::tests::works`\n- A-02: `x::tests::works`\n- A-03: later: s — r")
                .len(),
            1
        );
    }

    #[test]
    fn a_claim_must_name_a_test_or_say_when_and_why() {
        for empty in [
            "- A-02:",
            "- A-02: surely",
            "- A-02: later:",
            "- A-02: later: the server",
            "- A-02: later: — why",
        ] {
            assert_eq!(
                check(&format!("- A-01: `x::tests::works`\n{empty}")).len(),
                1,
                "{empty}"
            );
        }
    }

    #[test]
    fn tests_are_found_under_their_modules() {
        let text = "
            #[test] fn top() {}
            fn helper() {} // #[test]
            mod tests {
                mod deep { #[test] #[should_panic(expected = \"}\")] fn low() { if true {} } }
                proptest! { #[test] fn random(x in 0..9u8) { let _ = x; } }
                #[test]
                #[ignore = \"slow\"]
                fn ignored() {}
            }
            #[cfg(test)] fn no_test() {}
            #[test] fn last() {}";
        assert_eq!(
            tests_in(text, "c::m"),
            [
                "c::m::top",
                "c::m::tests::deep::low",
                "c::m::tests::random",
                "c::m::last"
            ]
        );
    }

    #[test]
    fn modules_follow_the_files() {
        let module = |file| module_of(Path::new(file), Path::new("src"));
        let modules = ["src/lib.rs", "src/a.rs", "src/a/b.rs", "src/a/mod.rs"].map(module);
        assert_eq!(modules, ["", "a", "a::b", "a"]);
    }
}
