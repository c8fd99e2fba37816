//! Core names nothing of the world outside: no file, socket, clock, thread, environment, randomness, waiting.
//!
//! Clippy watches the same with types resolved, by the `clippy.toml` in each core crate; this scan watches that every
//! crate has that fence, and catches whole modules of std that a list of functions must forget half of. It reads
//! paths as they are written; an alias (`use std as s`) would pass, and reviewers would ask.

use std::path::Path;

use anyhow::{Context, Result};

use super::no_faults;
use crate::shell;
use crate::source::{self, Token, tokens};

/// Modules of std that reach outside the process, or wait.
const MODULES: &[&str] = &["env", "fs", "net", "os", "process", "thread"];

/// Names that mean time, randomness or waiting wherever they come from.
const NAMES: &[&str] = &[
    "Instant",
    "OsRng",
    "SystemTime",
    "async",
    "await",
    "getrandom",
    "thread_rng",
    "tokio",
];

/// What each fence forbids at least.
const FENCED: &[&str] = &[
    "std::time::Instant::now",
    "std::time::SystemTime::now",
    "std::thread::spawn",
    "std::fs::File",
    "std::net::UdpSocket",
    "std::net::TcpStream",
    "std::collections::HashMap",
];

pub(super) fn check() -> Result<()> {
    let core = shell::root().join("core");
    let mut crates: Vec<_> = core
        .read_dir()?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    crates.retain(|folder| folder.join("Cargo.toml").is_file());
    crates.sort();
    let mut faults = Vec::new();
    for folder in &crates {
        faults.extend(faults_of_crate(folder)?);
    }
    no_faults(&faults)
}

fn faults_of_crate(folder: &Path) -> Result<Vec<String>> {
    let name = folder
        .strip_prefix(shell::root())
        .unwrap_or(folder)
        .display();
    let fence = std::fs::read_to_string(folder.join("clippy.toml")).unwrap_or_default();
    let mut faults: Vec<String> = missing_in_fence(&fence)
        .map(|path| format!("{name}/clippy.toml does not forbid {path}"))
        .collect();
    for file in source::files(&folder.join("src"))? {
        // A test module in a file of its own is no part of the product.
        if file.ends_with("tests.rs") || file.iter().any(|part| part == "tests") {
            continue;
        }
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        let shown = file.strip_prefix(shell::root()).unwrap_or(&file).display();
        faults.extend(
            offences(&text)
                .into_iter()
                .map(|(line, what)| format!("{shown}:{line} names {what}")),
        );
    }
    Ok(faults)
}

fn missing_in_fence(fence: &str) -> impl Iterator<Item = &'static str> {
    FENCED
        .iter()
        .copied()
        .filter(move |path| !fence.contains(&format!("path = \"{path}\"")))
}

/// (line, what) for every forbidden name in the source outside of tests.
fn offences(text: &str) -> Vec<(usize, String)> {
    let code = source::without_tests(&source::code_only(text));
    let tokens: Vec<_> = tokens(&code).collect();
    let mut found = Vec::new();
    for (index, &(line, token)) in tokens.iter().enumerate() {
        let Token::Word(word) = token else { continue };
        if NAMES.contains(&word) {
            found.push((line, word.to_owned()));
        }
        if word == "std" {
            let named = children(&tokens[index + 1..])
                .into_iter()
                .filter(|(_, module)| MODULES.contains(module));
            found.extend(named.map(|(line, module)| (line, format!("std::{module}"))));
        }
    }
    found
}

/// The names that follow a path directly: one, or all of the outer level of a group.
fn children<'a>(tokens: &[(usize, Token<'a>)]) -> Vec<(usize, &'a str)> {
    let [(_, Token::Mark(':')), (_, Token::Mark(':')), rest @ ..] = tokens else {
        return Vec::new();
    };
    match rest {
        [(line, Token::Word(word)), ..] => vec![(*line, *word)],
        [(_, Token::Mark('{')), group @ ..] => heads(group),
        _ => Vec::new(),
    }
}

/// First words of the parts of a group `{a::b, c::{d, e}, f}`: a, c and f.
fn heads<'a>(group: &[(usize, Token<'a>)]) -> Vec<(usize, &'a str)> {
    let (mut depth, mut at_head, mut found) = (0usize, true, Vec::new());
    for &(line, token) in group {
        match token {
            Token::Mark('}') if depth == 0 => break,
            Token::Mark('{') => depth += 1,
            Token::Mark('}') => depth -= 1,
            Token::Mark(',') if depth == 0 => at_head = true,
            Token::Word(word) if depth == 0 && at_head => {
                found.push((line, word));
                at_head = false;
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        offences(text).into_iter().map(|(_, what)| what).collect()
    }

    #[test]
    fn pure_code_passes() {
        let text = "use std::collections::BTreeMap;\n// std::fs is for io\nfn f() { g(\"tokio\"); env!(\"X\"); }";
        assert_eq!(names(text), Vec::<String>::new());
    }

    #[test]
    fn modules_of_the_outside_are_named_with_their_line() {
        assert_eq!(
            offences("fn f() {}\nuse std::fs::File;"),
            [(2, "std::fs".to_owned())]
        );
        assert_eq!(names("let x = ::std::thread::spawn(f);"), ["std::thread"]);
    }

    #[test]
    fn a_group_hides_nothing() {
        assert_eq!(
            names("use std::{collections::{BTreeMap, env}, io, net::TcpStream,\n  fs};"),
            ["std::net", "std::fs"]
        );
    }

    #[test]
    fn clocks_randomness_and_waiting_are_named() {
        let text = "use std::time::{Duration, Instant};\nasync fn f() { getrandom::fill(b) }";
        assert_eq!(names(text), ["Instant", "async", "getrandom"]);
    }

    #[test]
    fn tests_may_do_what_they_like() {
        assert_eq!(
            names("fn f() {}\n#[cfg(test)]\nmod tests { use std::fs; }"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_fence_with_a_gap_is_seen() {
        let fence = FENCED.map_lines();
        assert_eq!(missing_in_fence(&fence).count(), 0);
        let gap = fence.replace("std::thread::spawn", "std::thread::park");
        assert_eq!(
            missing_in_fence(&gap).collect::<Vec<_>>(),
            ["std::thread::spawn"]
        );
    }

    trait Lines {
        fn map_lines(&self) -> String;
    }

    impl Lines for [&str] {
        fn map_lines(&self) -> String {
            self.iter()
                .map(|path| format!("{{ path = \"{path}\", reason = \"\" }},\n"))
                .collect()
        }
    }
}
