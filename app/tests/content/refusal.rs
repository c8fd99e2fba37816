//! What must not work: each with its exit code, a message that names the culprit, and no effect.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};

use crate::place::{Ended, Place};
use crate::tree;

const MALFORMED: i32 = 10;
const SIGNATURE: i32 = 11;
const WRONG_BASE: i32 = 12;
const LOWER_TERM: i32 = 13;
const UNSAFE_ENTRY: i32 = 15;
const SPECIAL_FILE: i32 = 16;
const BASE_DAMAGED: i32 = 18;
const NO_SPACE: i32 = 14;
const PERMISSION: i32 = 20;
const USAGE: i32 = 2;
const NOT_FOUND: i32 = 3;
const FORBIDDEN: i32 = 4;
const CONFLICT: i32 = 5;

/// `first`, which leads from nothing to `old`, is live; `update` leads from there to `new`.
fn published() -> Place {
    let place = Place::new();
    for (name, title) in [("old", "One"), ("new", "Two")] {
        tree::directory(&place.at("."), name, 0o755);
        tree::page(&place.at(name), "index.html", title, 1_700_000_000);
        tree::page(&place.at(name), "docs/page.html", "Same", 1_700_000_000);
        tree::file(
            &place.at(name),
            "docs/run",
            b"#!/bin/sh",
            0o755,
            1_700_000_000,
        );
    }
    place.done("keygen sign ops");
    place.done("keygen sign mallory");
    place.done("keygen encrypt group");
    place.done("keygen encrypt other");
    place.done("plan --new old --out first --sign ops.key");
    place.done("plan --old old --new new --out update --sign ops.key");
    place.publish("first");
    place
}

/// The refusal, and then that the same site still takes what is right.
fn refuses(place: &Place, line: &str, code: i32, words: &[&str]) {
    place.refused(line, code, words);
    place.assert_live("old");
}

/// INTERP-07.
#[test]
fn what_is_no_assignment_is_named_and_refused() {
    let place = published();
    fs::write(place.at("letter"), "Dear node, please install this.").unwrap();
    let stage = "stage letter --trust ops.pub";
    refuses(&place, stage, MALFORMED, &["letter", "not an assignment"]);
    fs::write(place.at("letter"), "").unwrap();
    refuses(&place, stage, MALFORMED, &["letter", "fetch it again"]);
    refuses(
        &place,
        "stage nowhere --trust ops.pub",
        NOT_FOUND,
        &["nowhere"],
    );
    refuses(&place, "stage old --trust ops.pub", 1, &["old"]);
}

/// INTERP-07, ASSIGN-05. Every byte of it is a test of the core; here are those of the glue.
#[test]
fn a_truncated_assignment_is_named_and_refused() {
    let place = published();
    let whole = fs::read(place.at("update")).unwrap();
    for part in 0..16 {
        fs::write(place.at("short"), &whole[..whole.len() * part / 16]).unwrap();
        let words = ["short", "fetch it again", "nothing was changed"];
        refuses(&place, "stage short --trust ops.pub", MALFORMED, &words);
    }
    fs::write(place.at("short"), &whole[..whole.len() - 1]).unwrap();
    refuses(&place, "stage short --trust ops.pub", MALFORMED, &["short"]);
    fs::write(place.at("long"), [&whole[..], b"!"].concat()).unwrap();
    refuses(&place, "stage long --trust ops.pub", MALFORMED, &["long"]);
    place.done("stage update --trust ops.pub");
}

/// CRYPT-02.
#[test]
fn a_flipped_bit_is_refused_wherever_it_is() {
    let place = published();
    let whole = fs::read(place.at("update")).unwrap();
    let before = place.held();
    for at in (0..whole.len()).step_by(whole.len() / 40) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        fs::write(place.at("flipped"), flipped).unwrap();
        let ended = place.run("stage flipped --trust ops.pub");
        assert!(
            [MALFORMED, SIGNATURE].contains(&ended.code),
            "byte {at}: {ended:?}"
        );
        assert!(ended.err.contains("flipped"), "byte {at}: {ended:?}");
    }
    place.held().assert_equal(&before, "before and after");
}

/// CRYPT-02.
#[test]
fn only_what_a_trusted_key_signed_is_staged() {
    let place = published();
    place.done("plan --old old --new new --out unsigned");
    let words = ["unsigned", "not signed"];
    refuses(&place, "stage unsigned --trust ops.pub", SIGNATURE, &words);
    place.done("plan --old old --new new --out forged --sign mallory.key");
    let words = ["forged", "signed with key"];
    refuses(&place, "stage forged --trust ops.pub", SIGNATURE, &words);
    place.done("stage forged --trust ops.pub --trust mallory.pub");
}

#[test]
fn whom_to_trust_must_be_said() {
    let place = published();
    refuses(
        &place,
        "stage update",
        USAGE,
        &["--trust", "--allow-unsigned"],
    );
    let both = "stage update --trust ops.pub --allow-unsigned";
    refuses(&place, both, USAGE, &["--allow-unsigned"]);
    let absent = "stage update --trust nobody.pub";
    refuses(&place, absent, NOT_FOUND, &["nobody.pub"]);
    let secret = "stage update --trust ops.key";
    refuses(&place, secret, USAGE, &["ops.key"]);
}

/// CRYPT-01, CRYPT-06.
#[test]
fn what_is_encrypted_needs_its_key() {
    let place = published();
    place.done("plan --old old --new new --out sealed --sign ops.key --encrypt group.key");
    let stage = "stage sealed --trust ops.pub";
    refuses(&place, stage, FORBIDDEN, &["encrypted", "--decrypt"]);
    let wrong = "stage sealed --trust ops.pub --decrypt other.key";
    refuses(&place, wrong, FORBIDDEN, &["sealed"]);
    place.done("stage sealed --trust ops.pub --decrypt group.key");
}

/// DELTA-08.
#[test]
fn an_update_from_a_version_that_is_not_held_is_refused() {
    let place = published();
    let planned = place.done("plan --old new --new old --out back --sign ops.key");
    let base = planned["assignments"][0]["base"].as_str().unwrap();
    let words = [base, "not held", "stage it first"];
    refuses(&place, "stage back --trust ops.pub", WRONG_BASE, &words);

    let ended = place.run("stage update --trust ops.pub --site empty");
    ended.assert_refused("a node without anything", WRONG_BASE, &["not held"]);
    assert!(!place.at("root/empty/live").exists());
}

/// ASSIGN-14: a master that was succeeded, and an assignment that comes late.
#[test]
fn what_a_later_term_or_serial_has_passed_is_refused() {
    let place = published();
    let plan = |order: &str, out: &str| {
        place.done(&format!("plan --new new --out {out} {order}"));
        format!("stage {out} --allow-unsigned")
    };
    place.done(&plan("--term 5 --serial 20", "now"));
    let words = ["term 4", "term 5"];
    refuses(
        &place,
        &plan("--term 4 --serial 99", "deposed"),
        LOWER_TERM,
        &words,
    );
    let words = ["serial 19", "serial 20"];
    refuses(
        &place,
        &plan("--term 5 --serial 19", "late"),
        LOWER_TERM,
        &words,
    );
    place.done(&plan("--term 6 --serial 1", "succeeded"));
}

/// ASSIGN-17.
#[test]
fn an_assignment_for_another_site_is_refused() {
    let place = published();
    place.done("plan --old old --new new --out theirs --site blog");
    let words = ["site blog", "shop"];
    refuses(&place, "stage theirs --allow-unsigned", CONFLICT, &words);
    let ended = place.run("stage theirs --allow-unsigned --site blog@part");
    ended.assert_refused("another part", CONFLICT, &["site blog"]);
}

/// COMMIT-12.
#[test]
fn a_set_that_is_not_complete_and_in_order_is_refused() {
    let place = published();
    for (name, seed) in [("new", 1), ("third", 2)] {
        let noise = tree::noise(seed, 900_000);
        tree::file(&place.at(name), "large", &noise, 0o644, 1_700_000_000);
    }
    place.done("plan --old old --new new --out set --max-size 512K");
    place.done("plan --old old --new third --out set3 --max-size 512K");
    for (files, said) in [
        ("set.1", "part 2 of 2 was expected"),
        ("set.2", "part 1 of 2 was expected"),
        ("set.2 set.1", "part 1 of 2 was expected"),
        ("set.1 set.1", "part 2 of 2 was expected"),
        ("set.1 set.2 set.2", "was expected"),
        ("set.1 set3.2", "another update"),
    ] {
        let stage = format!("stage {files} --allow-unsigned");
        refuses(&place, &stage, CONFLICT, &[said, "nothing was changed"]);
    }
    place.publish("set.1 set.2");
    place.assert_live("new");
}

/// ASSIGN-16.
#[test]
fn set_id_bits_are_refused_by_who_sends_and_by_who_receives() {
    let place = published();
    tree::file(&place.at("new"), "docs/su", b"root!", 0o4755, 1_700_000_000);
    let plan = "plan --old old --new new --out su";
    refuses(&place, plan, UNSAFE_ENTRY, &["docs/su", "--allow-set-id"]);
    assert!(!place.at("su").exists());
    place.done(&format!("{plan} --allow-set-id"));
    let stage = "stage su --allow-unsigned";
    refuses(
        &place,
        stage,
        UNSAFE_ENTRY,
        &["docs/su", "4755", "--allow-set-id"],
    );
    place.done(&format!("{stage} --allow-set-id"));
    place.done("commit");
    place.assert_live("new");
}

#[test]
fn special_files_are_refused_by_name_or_left_out_by_name() {
    let place = published();
    let _listener = UnixListener::bind(place.at("new/docs/socket")).unwrap();
    let plan = "plan --old old --new new --out update2";
    refuses(
        &place,
        plan,
        SPECIAL_FILE,
        &["docs/socket", "--special skip"],
    );
    fs::remove_file(place.at("new/docs/socket")).unwrap();
    fifo(&place.at("new/docs/pipe"));
    refuses(&place, plan, SPECIAL_FILE, &["docs/pipe", "--special skip"]);
    let ended = place.run(&format!("{plan} --special skip"));
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.err.contains("docs/pipe"), "{ended:?}");
    place.publish("update2");
    fs::remove_file(place.at("new/docs/pipe")).unwrap();
    place.assert_live("new");
}

/// ASSIGN-16.
#[test]
fn links_that_leave_the_tree_are_refused_by_name() {
    let place = published();
    for target in ["/etc/passwd", "../../x", "docs/../../x", "../.."] {
        symlink(target, place.at("new/docs/out")).unwrap();
        let plan = "plan --old old --new new --out update2";
        refuses(&place, plan, UNSAFE_ENTRY, &["docs/out"]);
        fs::remove_file(place.at("new/docs/out")).unwrap();
    }
    symlink("../index.html", place.at("new/docs/in")).unwrap();
    place.done("plan --old old --new new --out update2");
    place.publish("update2");
    place.assert_live("new");
}

#[test]
fn the_longest_name_there_is_works() {
    let place = published();
    let name = "n".repeat(255);
    let path = format!("{name}/{}", "m".repeat(255));
    tree::file(&place.at("new"), &path, b"far", 0o644, 1_700_000_000);
    place.done("plan --old old --new new --out update2");
    place.publish("update2");
    place.assert_live("new");
}

/// DELTA-08: with hard links an edit of a live file is an edit of everything that shares it; with
/// reflinks there is an intact copy.
#[test]
fn a_base_file_that_was_edited_is_restored_or_refused_by_name() {
    // One is what the delta is made from, one only stays.
    for edited in ["index.html", "docs/page.html"] {
        let place = published();
        let at = place.at("root/shop/live").join(edited);
        let modified = fs::metadata(&at).unwrap().modified().unwrap();
        // Of the same length and time, as if to hide it.
        let mut file = OpenOptions::new().write(true).open(&at).unwrap();
        file.write_all(b"?").unwrap();
        file.set_modified(modified).unwrap();

        let verified = place.run("verify");
        assert_eq!(verified.code, BASE_DAMAGED);
        assert!(verified.out.contains(edited), "{verified:?}");
        let before = place.held();
        let staged = place.run("stage update --trust ops.pub");
        if staged.code == 0 {
            place.done("commit");
            place.assert_live("new");
        } else {
            let words = [edited, "send it in full"];
            staged.assert_refused(edited, BASE_DAMAGED, &words);
            place.held().assert_equal(&before, edited);
            // What it says is what helps.
            place.done("plan --new new --out full");
            place.publish("full");
            place.assert_live("new");
        }
        assert_eq!(place.done("verify")["intact"], true);
    }
}

#[test]
fn a_base_file_that_vanished_is_refused_by_name_and_comes_back_in_full() {
    let place = published();
    let before = place.held();
    let kept = place.at("kept");
    let file = place.at("root/shop/live/docs/page.html");
    fs::rename(&file, &kept).unwrap();
    let staged = place.run("stage update --trust ops.pub");
    staged.assert_refused("vanished", BASE_DAMAGED, &["docs/page.html", "in full"]);
    fs::rename(&kept, &file).unwrap();
    place.held().assert_equal(&before, "before and after");
    place.done("plan --new new --out full");
    place.publish("full");
    place.assert_live("new");
}

/// Whoever runs the tests as the super-user is held by no permission, so then another user tries.
#[test]
fn a_root_that_may_not_be_written_to_is_said() {
    let place = published();
    let open = |path: &Path, mode| {
        fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    };
    fs::create_dir(place.at("root2")).unwrap();
    open(&place.at("root2"), 0o555);
    let is_super = fs::metadata("/proc/self").unwrap().uid() == 0;
    let line = "stage first --allow-unsigned --root root2";
    let ended: Ended = if is_super {
        open(&place.at("."), 0o755);
        let binary = place.at("bellwether");
        fs::copy(env!("CARGO_BIN_EXE_bellwether"), &binary).unwrap();
        let mut command = Command::new(binary);
        command.arg("content").args(line.split_whitespace());
        command.args(["--site", "shop"]).current_dir(place.at("."));
        command.uid(65534).gid(65534).output().unwrap().into()
    } else {
        place.run(line)
    };
    ended.assert_refused(line, PERMISSION, &["shop", "denied"]);
    assert_eq!(fs::read_dir(place.at("root2")).unwrap().count(), 0);
}

/// INTERP-03. Needs the right to mount a disk that is as small as that.
#[test]
fn a_full_disk_is_said_with_what_is_needed_and_what_is_there() {
    let place = published();
    let noise = tree::noise(1, 3_000_000);
    tree::file(&place.at("new"), "large", &noise, 0o644, 1_700_000_000);
    place.done("plan --new new --out large");
    fs::create_dir(place.at("small")).unwrap();
    let words = ["-t", "tmpfs", "-o", "size=1m", "tmpfs"];
    let mounted = Command::new("mount")
        .args(words)
        .arg(place.at("small"))
        .output();
    if !mounted.is_ok_and(|mounted| mounted.status.success()) {
        eprintln!("no disk can be mounted here, so none is full");
        return;
    }
    let ended = place.run("stage large --allow-unsigned --root small");
    let unmounted = Command::new("umount").arg(place.at("small")).status();
    assert!(unmounted.unwrap().success());
    ended.assert_refused("full", NO_SPACE, &["2.9 MiB are needed", "free"]);
}

/// The second comes while the first waits for the last byte of its assignment.
#[test]
fn of_two_stages_at_once_the_second_is_told_who_is_at_work() {
    let place = published();
    let (mut first, mut pipe) = stage_that_waits(&place);
    for line in [
        "stage update --trust ops.pub",
        "commit",
        "rollback",
        "gc",
        "recover",
        "fsck",
    ] {
        let ended = place.run(line);
        let holder = format!("process {}: stage", first.id());
        ended.assert_refused(line, CONFLICT, &["busy", &holder, "try again"]);
        place.assert_live("old");
    }
    // Readers wait for nobody.
    place.done("status");
    place.done("verify");
    let whole = fs::read(place.at("update")).unwrap();
    pipe.write_all(&whole[whole.len() - 1..]).unwrap();
    drop(pipe);
    assert!(first.wait().unwrap().success());
    place.done("commit");
    place.assert_live("new");
}

/// What it had made goes with it.
#[test]
fn a_sender_that_hangs_up_leaves_nothing_behind() {
    let place = published();
    let before = place.held();
    let (first, pipe) = stage_that_waits(&place);
    drop(pipe);
    let ended: Ended = first.wait_with_output().unwrap().into();
    ended.assert_refused("hung up", MALFORMED, &["data file", "fetch it again"]);
    place.held().assert_equal(&before, "before and after");
}

#[test]
fn a_stage_during_a_commit_is_told_to_wait_and_changes_nothing() {
    let place = published();
    place.done("stage update --trust ops.pub");
    fifo(&place.at("go"));
    fifo(&place.at("here"));
    let mut command = place.command("commit");
    command.args(["--before", "echo >here; read line <go"]);
    let mut commit = command.spawn().unwrap();
    // Returns when the hook writes, which it does with the lock held.
    let mut said = String::new();
    File::open(place.at("here"))
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    let words = ["busy", "commit"];
    refuses(&place, "stage first --trust ops.pub", CONFLICT, &words);
    fs::write(place.at("go"), "\n").unwrap();
    assert!(commit.wait().unwrap().success());
    place.assert_live("new");
}

/// COMMIT-11, COMMIT-14.
#[test]
fn there_must_be_something_to_commit_or_to_return_to() {
    let place = published();
    refuses(&place, "commit", NOT_FOUND, &["nothing is staged", "shop"]);
    refuses(&place, "rollback", NOT_FOUND, &["before the live one"]);
    let unknown = "ab".repeat(32);
    for line in [
        format!("commit {unknown}"),
        format!("rollback --to {unknown}"),
        format!("verify {unknown}"),
        format!("pin {unknown}"),
    ] {
        refuses(&place, &line, NOT_FOUND, &[&unknown, "not held"]);
    }
    refuses(&place, "commit ababab", NOT_FOUND, &["ababab"]);
    refuses(&place, "commit ab", USAGE, &["at least the first six"]);
    let elsewhere = place.run("commit --site nowhere");
    elsewhere.assert_refused(
        "elsewhere",
        NOT_FOUND,
        &["nowhere", "stage a version first"],
    );
    assert!(!place.at("root/nowhere").exists());
}

/// A hook that fails calls the switch off.
#[test]
fn a_failing_hook_keeps_what_is_live() {
    let place = published();
    place.done("stage update --trust ops.pub");
    let before = place.held();
    let mut command = place.command("commit");
    command.args(["--before", "echo the balancer said no; exit 3"]);
    let ended: Ended = command.output().unwrap().into();
    ended.assert_refused("hook", 19, &["the balancer said no"]);
    place.held().assert_equal(&before, "before and after");
    place.done("commit");
    place.assert_live("new");
}

/// A stage that holds the site's lock and waits for the last byte of its assignment.
fn stage_that_waits(place: &Place) -> (Child, File) {
    let whole = fs::read(place.at("update")).unwrap();
    fifo(&place.at("pipe"));
    let mut command = place.command("stage pipe --trust ops.pub");
    let mut first = command.spawn().unwrap();
    let mut pipe = OpenOptions::new()
        .write(true)
        .open(place.at("pipe"))
        .unwrap();
    pipe.write_all(&whole[..whole.len() - 1]).unwrap();
    while place.done("status")["needs_recovery"] == false {
        let ended = first.try_wait().unwrap();
        assert!(ended.is_none(), "it waits for a byte, and ended: {ended:?}");
        std::thread::yield_now();
    }
    (first, pipe)
}

fn fifo(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}
