//! What should work, from two trees to a site that was updated and taken back.

use std::path::Path;

use serde_json::Value;

use crate::place::Place;
use crate::tree;

/// Both trees, a pair of keys to sign with and one to encrypt with.
fn begun() -> Place {
    let place = Place::new();
    for (name, write) in [
        ("old", tree::write_old as fn(&Path)),
        ("new", tree::write_new),
    ] {
        std::fs::create_dir(place.at(name)).unwrap();
        write(&place.at(name));
    }
    place.done("keygen sign ops");
    place.done("keygen encrypt group");
    place
}

fn planned_files(plan: &Value, assignment: usize) -> String {
    let files = plan["assignments"][assignment]["files"].as_array();
    let files = files.unwrap().iter().map(|file| file.as_str().unwrap());
    files.collect::<Vec<_>>().join(" ")
}

/// Publishes `old`, updates it to `new` with what these words make and take, and goes back.
fn publish_update_and_return(place: &Place, plan: &str, stage: &str) {
    place.done(&format!("plan --new old --out first {plan}"));
    place.done(&format!("stage first {stage}"));
    assert!(
        !place.at("root/shop/live").exists(),
        "nothing is live before a commit"
    );
    place.done("commit");
    place.assert_live("old");

    let planned = place.done(&format!("plan --old old --new new --out update {plan}"));
    let update = planned_files(&planned, 0);
    let staged = place.done(&format!("stage {update} {stage}"));
    assert_eq!(staged["version"], planned["target"]);
    place.assert_live("old");
    let switched = place.done("commit");
    assert_eq!(switched["live"], planned["target"]);
    place.assert_live("new");
    assert_eq!(place.done("verify")["intact"], true);

    place.done("rollback");
    place.assert_live("old");
    assert_eq!(place.done("verify")["intact"], true);
    let checked = place.done("fsck");
    assert_eq!(checked["restored"].as_array().unwrap().len(), 0);
}

/// INTERP-01, INTERP-02, COMMIT-03, COMMIT-07, COMMIT-08, DELTA-02: bytes, permissions, times and
/// links; names that are not text; directories that are empty, closed, renamed or gone.
#[test]
fn a_signed_update_becomes_the_new_tree_and_returns_to_the_old_one() {
    let place = begun();
    publish_update_and_return(&place, "--sign ops.key", "--trust ops.pub");
}

/// CRYPT-01, INTERP-06.
#[test]
fn an_encrypted_update_becomes_the_new_tree_and_shows_nothing_of_it_on_the_way() {
    let place = begun();
    publish_update_and_return(
        &place,
        "--sign ops.key --encrypt group.key",
        "--trust ops.pub --decrypt group.key",
    );
    let sealed = std::fs::read(place.at("update")).unwrap();
    for plain in ["Welcome", "index.html", "archive"] {
        let shown = sealed
            .windows(plain.len())
            .any(|bytes| bytes == plain.as_bytes());
        assert!(!shown, "{plain}");
    }
}

/// ASSIGN-12.
#[test]
fn an_update_in_several_files_becomes_the_new_tree() {
    let place = begun();
    tree::file(
        &place.at("new"),
        "assets/more.bin",
        &tree::noise(3, 900_000),
        0o644,
        1_710_000_000,
    );
    publish_update_and_return(
        &place,
        "--no-compress *.bin --max-size 512K --sign ops.key",
        "--trust ops.pub",
    );
    assert!(
        place.at("update.2").exists(),
        "more than 1 MB does not fit in one file of 512 KiB"
    );
    assert!(std::fs::metadata(place.at("update.1")).unwrap().len() <= 512 << 10);
}

/// DELTA-04, STAGE-05: the base is too large to be held in memory, so that the place must be found.
#[test]
fn one_byte_in_a_hundred_million_sends_few_bytes() {
    let place = Place::new();
    let mut content = tree::noise(1, 100_000_000);
    for name in ["old", "new"] {
        tree::directory(&place.at("."), name, 0o755);
        tree::file(&place.at(name), "large", &content, 0o644, 1_700_000_000);
        content[60_000_000] ^= 1;
    }
    place.done("plan --old old --new new --out update");
    let len = std::fs::metadata(place.at("update")).unwrap().len();
    assert!(len < 1500, "{len}");
    place.done("plan --new old --out first --no-compress *");
    place.publish("first");
    place.publish("update");
    place.assert_live("new");
}

/// One target, whatever a node has.
#[test]
fn each_base_gets_its_own_assignment_to_the_same_tree() {
    let place = begun();
    std::fs::create_dir(place.at("other")).unwrap();
    tree::page(&place.at("other"), "index.html", "Another", 1_690_000_000);
    std::fs::create_dir(place.at("nothing")).unwrap();
    let planned = place.done("plan --old old other nothing --new new --out update");
    assert_eq!(planned["assignments"].as_array().unwrap().len(), 3);

    for (base, assignment) in [("old", 0), ("other", 1)] {
        std::fs::remove_dir_all(place.at("root")).unwrap();
        std::fs::create_dir(place.at("root")).unwrap();
        place.done(&format!("plan --new {base} --out {base}.bwa"));
        place.publish(&format!("{base}.bwa"));
        place.publish(&planned_files(&planned, assignment));
        place.assert_live("new");
    }
    std::fs::remove_dir_all(place.at("root")).unwrap();
    std::fs::create_dir(place.at("root")).unwrap();
    place.publish(&planned_files(&planned, 2));
    place.assert_live("new");
}

#[test]
fn a_version_that_is_held_serves_as_the_base_of_a_plan() {
    let place = begun();
    let old = place.done("plan --new old --out first")["target"].clone();
    place.publish("first");
    // The tree it came from is not needed any more, and its first digits are name enough.
    std::fs::remove_dir_all(place.at("old")).unwrap();
    let digits = &old.as_str().unwrap()[..8];
    let planned = place.done(&format!(
        "plan --old {digits} --new new --out update --root root --site shop"
    ));
    assert_eq!(planned["assignments"][0]["base"], old);
    place.publish("update");
    place.assert_live("new");
}

/// INTERP-09.
#[test]
fn staging_and_committing_twice_has_the_effect_of_once() {
    let place = begun();
    place.done("plan --new old --out first");
    place.publish("first");
    place.done("plan --old old --new new --out update");
    place.done("stage update --allow-unsigned");
    let held = |place: &Place| {
        let mut held = place.held();
        // It tells when a version was staged.
        held.forget(|path| path.ends_with(b"/state.0") || path.ends_with(b"/state.1"));
        held
    };
    let once = held(&place);
    place.done("stage update --allow-unsigned");
    held(&place).assert_equal(&once, "the first and the second stage");
    place.done("commit");
    let switched = place.done(&format!(
        "commit {}",
        place.done("status")["live"].as_str().unwrap()
    ));
    assert_eq!(switched["changed"], false);
    place.assert_live("new");
}

/// What is kept is shared with what is live, and removing one leaves the other whole.
#[test]
fn collection_leaves_what_is_live_and_what_a_rollback_needs() {
    let place = begun();
    place.done("plan --new old --out first");
    place.publish("first");
    place.done("plan --old old --new new --out update");
    place.publish("update");
    std::fs::create_dir(place.at("third")).unwrap();
    tree::page(&place.at("third"), "index.html", "Third", 1_720_000_000);
    let third = place.done("plan --old new --new third --out third.bwa");
    place.publish("third.bwa");

    let collected = place.done("gc --keep 1 --grace 0");
    assert_eq!(collected["versions"].as_array().unwrap().len(), 1);
    place.assert_live("third");
    place.done("rollback");
    place.assert_live("new");
    assert_eq!(place.done("verify")["intact"], true);
    place.done(&format!("commit {}", third["target"].as_str().unwrap()));
    place.assert_live("third");
}
