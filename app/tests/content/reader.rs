//! Readers that open `live` once and read beneath it, as a web server should.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bellwether_disk::{Options, RealDisk, Site};
use bellwether_types::VersionId;
use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::place::Place;
use crate::tree;

const SWITCHES: usize = 1000;

/// COMMIT-06, COMMIT-07: commits and rollbacks under a reader that never rests.
#[test]
fn no_reader_ever_misses_a_file_or_sees_two_versions_at_once() {
    let place = Place::new();
    for name in ["old", "new"] {
        tree::directory(&place.at("."), name, 0o755);
        for file in ["first", "deep/down/second"] {
            tree::file(&place.at(name), file, name.as_bytes(), 0o644, 1_700_000_000);
        }
    }
    let mut versions: Vec<VersionId> = Vec::new();
    for name in ["old", "new"] {
        let planned = place.done(&format!("plan --new {name} --out {name}.bwa"));
        place.publish(&format!("{name}.bwa"));
        versions.push(planned["target"].as_str().unwrap().parse().unwrap());
    }
    let disk = RealDisk::open(&place.at("root")).unwrap();
    let site = Site::open(disk, "shop".parse().unwrap(), Options::default());
    let live = place.at("root/shop/live");

    let over = AtomicBool::new(false);
    let readings = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut readings = Readings::default();
            // At least once after the last switch.
            loop {
                let last = over.load(Ordering::SeqCst);
                readings.add(read_pair(&live));
                if last {
                    return readings;
                }
            }
        });
        // Also when a switch fails, or nobody would ever hear of it.
        let end = End(&over);
        for _ in 0..SWITCHES / 2 {
            site.rollback(Some(versions[0])).unwrap();
            site.commit(Some(versions[1])).unwrap();
        }
        drop(end);
        reader.join().unwrap()
    });
    println!("{readings:?}");
    assert_eq!((readings.missing, readings.mixed), (0, 0), "{readings:?}");
    let both = BTreeSet::from(["old".to_owned(), "new".to_owned()]);
    assert_eq!(readings.seen, both, "the reader was there all the time");
}

struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[derive(Debug, Default)]
struct Readings {
    pairs: usize,
    missing: usize,
    mixed: usize,
    seen: BTreeSet<String>,
}

impl Readings {
    fn add(&mut self, pair: io::Result<[String; 2]>) {
        self.pairs += 1;
        match pair {
            Err(_) => self.missing += 1,
            Ok([first, second]) if first != second => self.mixed += 1,
            Ok([first, _]) => drop(self.seen.insert(first)),
        }
    }
}

fn read_pair(live: &Path) -> io::Result<[String; 2]> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let release = openat(CWD, live, flags | OFlags::DIRECTORY, Mode::empty())?;
    let read = |path: &str| {
        let mut text = String::new();
        let file = openat(&release, path, flags, Mode::empty())?;
        File::from(file).read_to_string(&mut text)?;
        Ok::<_, io::Error>(text)
    };
    Ok([read("first")?, read("deep/down/second")?])
}
