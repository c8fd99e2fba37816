//! Every input that ever was worth keeping, read again: nothing panics, no promise is broken, no
//! memory is taken beyond the target's bound.

use bellwether_fuzz::Target;

fn replay(name: &str) {
    let target = Target::named(name).expect("there is such a target");
    for seed in (target.seeds)() {
        target.check(&seed);
    }
    let folder = target.corpus();
    let files =
        std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut count = 0;
    for file in files {
        let path = file.unwrap().path();
        // Names which, should it fail.
        eprintln!("{}", path.display());
        target.check(&std::fs::read(&path).unwrap());
        count += 1;
    }
    assert!(count > 0, "{} is empty", folder.display());
}

#[test]
fn assignments_are_refused_or_bring_what_they_announce() {
    replay("assignment");
}

#[test]
fn commands_are_refused_or_read_again_as_they_were() {
    replay("body");
}

#[test]
fn any_content_comes_back_as_it_was() {
    replay("coding");
}

#[test]
fn parted_segments_are_refused_or_as_long_as_they_say() {
    replay("parted");
}

#[test]
fn mixed_segments_are_refused_or_as_long_as_they_say() {
    replay("mixing");
}

#[test]
fn headers_are_refused_or_read_again_as_they_were() {
    replay("header");
}

#[test]
fn what_is_interpreted_is_staged_exactly_or_has_no_effect() {
    replay("interpreter");
}

#[test]
fn manifests_are_refused_or_have_one_encoding() {
    replay("manifest");
}

#[test]
fn damaged_records_of_a_site_do_no_harm() {
    replay("records");
}

#[test]
fn text_is_refused_or_read_again_as_it_was() {
    replay("text");
}

#[test]
fn datagrams_take_effect_once_or_are_refused() {
    replay("datagram");
}

#[test]
fn a_node_survives_whatever_others_with_the_key_say() {
    replay("node");
}

#[test]
fn settings_are_taken_or_refused_with_a_reason() {
    replay("settings");
}

#[test]
fn messages_of_an_uplink_are_refused_or_read_again_as_they_were() {
    replay("uplink");
}
