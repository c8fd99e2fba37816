//! What a site keeps on disk for itself: found damaged, it may be refused, but nothing more.

use std::sync::{Arc, LazyLock};

use bellwether_content::assignment::Trust;
use bellwether_disk::stage::{Accepting, stage};
use bellwether_disk::{Disk, MemoryDisk, Options, Retention, Site};
use bellwether_kit::farm::{Farm, Files, Making, make};
use bellwether_types::Hash;

use crate::draft;

/// `which file · its content`, whose check is made to hold unless bit 7 says otherwise. Each
/// operation then ends, one way or the other.
pub(crate) fn run(input: &[u8]) {
    let Some((&choice, content)) = input.split_first() else {
        return;
    };
    let Published { disk, files, next } = &*PUBLISHED;
    let disk = disk.restarted();
    let (place, name) = &files[usize::from(choice & 0x7f) % files.len()];
    let mut content = content.to_vec();
    if choice & 0x80 == 0 {
        match name.as_slice() {
            b"state.0" | b"state.1" => {
                let check = Hash::of(&content);
                content.extend(format!("check {check}\n").bytes());
            }
            b"fingerprints" => {
                let check = Hash::of(&content);
                content.extend(check.0);
            }
            _ => {}
        }
    }
    let dir = disk.root().and_then(|root| disk.open_dir(&root, place));
    let dir = dir.expect("the site is there");
    disk.unlink(&dir, name).expect("the file is there");
    let file = disk.create_file(&dir, name, 0o600).expect("it is gone");
    disk.write_at(&file, &content, 0).expect("there is room");

    for order in [[0, 1, 2, 3], [2, 0, 3, 1]] {
        let site = site(disk.restarted());
        for step in order {
            match step {
                0 => {
                    let _ = site.status();
                    let _ = site.verify(None);
                }
                1 => {
                    let accepting = Accepting {
                        trust: &Trust::Anyone,
                        content_key: None,
                        allow_set_id: false,
                        progress: &|_, _| {},
                    };
                    let _ = stage(&site, [next.as_slice()], &accepting);
                    let _ = site.commit(None);
                    let _ = site.rollback(None);
                }
                2 => drop(site.recover()),
                _ => {
                    let _ = site.fsck();
                    let all = Retention {
                        keep: 0,
                        grace: std::time::Duration::ZERO,
                    };
                    let _ = site.collect(all, &mut |_| {});
                }
            }
        }
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let Published { disk, files, .. } = &*PUBLISHED;
    let seed = |(index, (place, name)): (usize, &(Vec<u8>, Vec<u8>))| {
        let root = disk.root().expect("there is a root");
        let file = disk.open_file(&root, &[place, b"/".as_slice(), name].concat());
        let file = file.expect("it is there");
        let mut content = vec![0; 1 << 16];
        let len = disk.read_at(&file, &mut content, 0).expect("it is a file");
        content.truncate(len);
        // The check is made anew.
        match name.as_slice() {
            b"state.0" | b"state.1" => content.truncate(len.saturating_sub("check \n".len() + 64)),
            b"fingerprints" => content.truncate(len.saturating_sub(32)),
            _ => {}
        }
        [&[index as u8], &content[..]].concat()
    };
    files.iter().enumerate().map(seed).collect()
}

struct Published {
    disk: MemoryDisk,
    /// The records: directory and name.
    files: Vec<(Vec<u8>, Vec<u8>)>,
    /// An update of what is live.
    next: Vec<u8>,
}

/// A site with two versions, one of them live and the other staged.
static PUBLISHED: LazyLock<Published> = LazyLock::new(|| {
    let disk = MemoryDisk::new(Default::default());
    let site = site(disk.clone());
    let target = Farm::new(&Files::from([("a", b"0123".to_vec()), ("b", vec![1; 99])]));
    let parts = [
        make(&Farm::default(), draft::base(), &Making::default()),
        make(draft::base(), &target, &Making::default()),
    ];
    let accepting = Accepting {
        trust: &Trust::Anyone,
        content_key: None,
        allow_set_id: false,
        progress: &|_, _| {},
    };
    for part in &parts {
        stage(&site, part.iter().map(Vec::as_slice), &accepting).expect("a good update");
        if site.status().expect("a status").live.is_none() {
            site.commit(None).expect("what is staged can be live");
        }
    }
    let private = b"shop/.bellwether".to_vec();
    let manifests = b"shop/.bellwether/manifests".to_vec();
    let mut files = vec![
        (private.clone(), b"state.0".to_vec()),
        (private.clone(), b"state.1".to_vec()),
        (private, b"fingerprints".to_vec()),
    ];
    for version in site.status().expect("a status").releases.keys() {
        files.push((manifests.clone(), version.to_string().into_bytes()));
    }
    let next = parts[1][0].clone();
    Published { disk, files, next }
});

fn site(disk: MemoryDisk) -> Site<MemoryDisk> {
    let options = Options {
        threads: 1,
        clock: Arc::new(Default::default),
        ..Options::default()
    };
    Site::open(disk, "shop".parse().expect("a name"), options)
}
