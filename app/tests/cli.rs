//! The real binary, as a script sees it: results, errors, exit codes, files.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// Runs a line of words, beneath `place`, which also is the home.
fn run(place: &Path, line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bellwether"))
        .args(line.split_whitespace())
        .current_dir(place)
        .env_clear()
        .env("HOME", place)
        .output()
        .unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| panic!("JSON: {}", text(bytes)))
}

fn sample() -> TempDir {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir_all(place.path().join("tree/docs")).unwrap();
    fs::write(place.path().join("tree/index.html"), "hello").unwrap();
    fs::write(place.path().join("tree/docs/a.txt"), "text").unwrap();
    symlink("docs", place.path().join("tree/d")).unwrap();
    place
}

#[test]
fn a_scan_tells_version_files_and_bytes() {
    let place = sample();
    let output = run(place.path(), "content scan tree --output json");
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let scan = json(&output.stdout);
    assert_eq!(
        (&scan["format"], &scan["kind"]),
        (&1.into(), &"content.scan".into())
    );
    assert_eq!(
        (
            &scan["files"],
            &scan["directories"],
            &scan["symlinks"],
            &scan["bytes"]
        ),
        (&2.into(), &1.into(), &1.into(), &9.into())
    );
    let version = scan["version"].as_str().unwrap();
    assert_eq!(version.len(), 64);

    let output = run(place.path(), "content scan tree");
    assert!(text(&output.stdout).contains(version));
    assert!(
        output.stderr.is_empty(),
        "a pipe sees no progress of a short scan"
    );
}

#[test]
fn equal_trees_have_equal_versions_and_others_do_not() {
    let place = sample();
    let version = || {
        let output = run(place.path(), "content scan tree -o json --no-cache");
        json(&output.stdout)["version"].clone()
    };
    let before = version();
    assert_eq!(version(), before);
    fs::write(place.path().join("tree/index.html"), "hullo").unwrap();
    assert_ne!(version(), before);
}

#[test]
fn each_fault_of_a_tree_has_its_exit_code_and_names_the_file() {
    let place = sample();
    let faulty = |path: &str, make: &dyn Fn(&Path), exit: i32| {
        let at = place.path().join("tree").join(path);
        make(&at);
        let output = run(place.path(), "content scan tree");
        let message = text(&output.stderr);
        assert_eq!(code(&output), exit, "{message}");
        assert!(
            message.contains(path) && message.contains("hint: "),
            "{message}"
        );
        assert!(output.stdout.is_empty());

        let output = run(place.path(), "content scan tree -o json");
        assert_eq!(code(&output), exit);
        let error = json(&output.stderr);
        assert_eq!(
            (&error["kind"], &error["exit_code"]),
            (&"error".into(), &exit.into())
        );
        fs::remove_file(&at).unwrap();
    };
    faulty("docs/out", &|at| symlink("../../x", at).unwrap(), 15);
    faulty(
        "docs/socket",
        &|at| drop(UnixListener::bind(at).unwrap()),
        16,
    );
    let set_id = |at: &Path| {
        fs::write(at, "").unwrap();
        fs::set_permissions(at, PermissionsExt::from_mode(0o4755)).unwrap();
    };
    faulty("docs/su", &set_id, 15);
    let output = run(place.path(), "content scan tree");
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
}

#[test]
fn what_is_wrong_with_the_line_is_told_in_the_form_that_was_asked_for() {
    let place = sample();
    let output = run(place.path(), "content scam tree");
    assert_eq!((code(&output), output.stdout.len()), (2, 0));
    assert!(
        text(&output.stderr).contains("scan"),
        "a similar command is suggested"
    );

    let output = run(place.path(), "content scam tree --output json");
    assert_eq!(code(&output), 2);
    assert_eq!(json(&output.stderr)["name"], "usage");

    let output = run(place.path(), "content stage x --root . --site s");
    assert_eq!(code(&output), 2, "whom to trust must be said");
}

#[test]
fn a_missing_tree_is_not_found() {
    let place = sample();
    let output = run(place.path(), "content scan nowhere -o json");
    assert_eq!(code(&output), 3);
    let error = json(&output.stderr);
    assert!(error["message"].as_str().unwrap().contains("nowhere"));
    assert_eq!(error["causes"].as_array().unwrap().len(), 1);
}

#[test]
fn keys_are_secret_and_never_overwritten() {
    let place = tempfile::tempdir().unwrap();
    let output = run(place.path(), "content keygen sign ops -o json");
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let secret = place.path().join("ops.key");
    let mode = |file: &Path| fs::metadata(file).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&secret), 0o600);
    let kept = fs::read_to_string(&secret).unwrap();
    assert!(kept.starts_with("bellwether-signing-key:"));
    let hex = kept.trim_end().rsplit(':').next().unwrap();
    for talk in [&output.stdout, &output.stderr] {
        assert!(!text(talk).contains(hex), "the secret is in its file only");
    }

    let again = run(place.path(), "content keygen sign ops");
    assert_eq!(code(&again), 5);
    assert_eq!(fs::read_to_string(&secret).unwrap(), kept);

    // With only the public file in the way, no half pair is left.
    fs::remove_file(&secret).unwrap();
    assert_eq!(code(&run(place.path(), "content keygen sign ops")), 5);
    assert!(!secret.exists());

    assert_eq!(
        code(&run(place.path(), "content keygen encrypt data.v1")),
        0
    );
    assert_eq!(mode(&place.path().join("data.v1.key")), 0o600);
    assert!(!place.path().join("data.v1.pub").exists());
}

#[test]
fn help_explains_commands_and_exit_codes() {
    let place = tempfile::tempdir().unwrap();
    let output = run(place.path(), "help exit-codes");
    assert_eq!(code(&output), 0);
    assert!(text(&output.stdout).contains("  12  wrong-base"));
    let output = run(place.path(), "help exit-codes -o json");
    assert_eq!(json(&output.stdout)["exit_codes"][0]["name"], "done");

    let output = run(place.path(), "help content plan");
    assert!(text(&output.stdout).contains("--max-size"));
    assert_eq!(code(&run(place.path(), "help content plum")), 2);
    assert_eq!(code(&run(place.path(), "--help")), 0);
}
