//! A node that missed versions, and neighbours that hold them.

mod kit;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io::{self, Read};
use std::sync::Arc;

use bellwether_disk::{AssembleError, Disk, Mandate, MemoryDisk, Site, SiteError};
use bellwether_types::{Hash, Serial, Term};
use kit::{
    Job, Matrix, Tree, assert_sound, memory, release_path, site, summary, trees, with_versions,
};

fn by(serial: u64) -> Mandate {
    Mandate {
        term: Term(1),
        serial: Serial(serial),
    }
}

/// Puts a version together from what a neighbour has.
struct CatchUp<'a> {
    tree: &'a Tree,
    neighbour: &'a MemoryDisk,
    fetched: Cell<u64>,
}

impl<'a> CatchUp<'a> {
    fn new(tree: &'a Tree, neighbour: &'a MemoryDisk) -> Self {
        let fetched = Cell::new(0);
        Self {
            tree,
            neighbour,
            fetched,
        }
    }

    fn fetch(&self, content: &Hash) -> io::Result<Vec<u8>> {
        let neighbour = site(self.neighbour.clone());
        let inventory = neighbour.inventory().unwrap();
        let object = neighbour.object(&inventory, content).unwrap();
        let mut object = object.ok_or(io::ErrorKind::NotFound)?;
        let mut bytes = Vec::new();
        object.read_to_end(&mut bytes)?;
        assert_eq!(object.size(), bytes.len() as u64);
        self.fetched.set(self.fetched.get() + object.size());
        Ok(bytes)
    }

    fn assemble<D: Disk>(&self, site: &Site<D>) -> Result<(), AssembleError> {
        let target = Arc::new(self.tree.manifest());
        let mut fetch = |content: &Hash, _| -> io::Result<Box<dyn Read>> {
            Ok(Box::new(io::Cursor::new(self.fetch(content)?)))
        };
        let version = site.assemble(&target, by(9), false, &mut fetch)?;
        assert_eq!(version, self.tree.version());
        Ok(())
    }
}

impl Job for CatchUp<'_> {
    fn run<D: Disk>(&self, site: &Site<D>) -> Result<(), SiteError> {
        match self.assemble(site) {
            Ok(()) => site.commit(Some(self.tree.version())).map(drop),
            Err(AssembleError::Site(error)) => Err(error),
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// JOB-04, VERSION-12: only what is lacking comes, and it comes from the neighbour.
#[test]
fn a_node_that_missed_versions_catches_up_from_a_neighbour() {
    let [a, b, c] = trees();
    let (late, neighbour) = (memory(), memory());
    with_versions(&late, &[&a]);
    with_versions(&neighbour, &[&a, &b, &c]);
    let lacking = site(late.clone()).lacking(&c.manifest()).unwrap();
    let bytes: u64 = lacking.iter().map(|file| file.size).sum();
    let hashes: BTreeSet<Hash> = lacking.iter().map(|file| file.hash).collect();
    assert_eq!(hashes.len(), lacking.len(), "each once");
    let job = CatchUp::new(&c, &neighbour);
    job.run(&site(late.clone())).unwrap();
    assert_eq!(job.fetched.get(), bytes);
    assert_eq!(summary(&late).live, Some(c.version()));
    assert_sound(&late, "caught up");
    assert!(site(late).lacking(&c.manifest()).unwrap().is_empty());
}

/// JOB-03: one that holds nothing.
#[test]
fn a_node_that_holds_nothing_gets_it_all_from_a_neighbour() {
    let [a, b, _] = trees();
    let (new, neighbour) = (memory(), memory());
    with_versions(&neighbour, &[&a, &b]);
    CatchUp::new(&b, &neighbour)
        .run(&site(new.clone()))
        .unwrap();
    assert_eq!(summary(&new).live, Some(b.version()));
    assert_sound(&new, "replicated");
}

/// COMMIT-10.
#[test]
fn catching_up_can_be_cut_short_anywhere() {
    let [a, b, c] = trees();
    let (late, neighbour) = (memory(), memory());
    with_versions(&late, &[&a]);
    with_versions(&neighbour, &[&b, &c]);
    let matrix = Matrix {
        before: &late,
        seeds: 8,
        damaged: false,
    };
    matrix.check(&CatchUp::new(&c, &neighbour));
}

#[test]
fn what_is_not_what_was_asked_for_is_refused_and_changes_nothing() {
    let [a, b, _] = trees();
    let (late, neighbour) = (memory(), memory());
    with_versions(&late, &[&a]);
    with_versions(&neighbour, &[&b]);
    // Somebody wrote into the neighbour's release.
    let root = neighbour.root().unwrap();
    let at = neighbour.open_dir(&root, release_path(&b, "closed").as_bytes());
    let file = neighbour.open_to_write(&at.unwrap(), b"in").unwrap();
    neighbour.write_at(&file, b"WITHIN", 0).unwrap();
    let before = summary(&late);
    let refused = CatchUp::new(&b, &neighbour).assemble(&site(late.clone()));
    assert!(
        matches!(refused, Err(AssembleError::Content { .. })),
        "{refused:?}"
    );
    assert_eq!(summary(&late), before);
    assert_sound(&late, "refused");
    // Longer, shorter, and not at all.
    let target = Arc::new(b.manifest());
    let asked = RefCell::new(0);
    for bytes in [Some(vec![0; 9_000]), Some(Vec::new()), None] {
        let mut fetch = |_: &Hash, _: u64| -> io::Result<Box<dyn Read>> {
            *asked.borrow_mut() += 1;
            let bytes = bytes.clone().ok_or(io::ErrorKind::NotFound)?;
            Ok(Box::new(io::Cursor::new(bytes)))
        };
        let site = site(late.clone());
        site.assemble(&target, by(9), false, &mut fetch)
            .unwrap_err();
        assert_sound(&late, "refused");
    }
    assert_eq!(*asked.borrow(), 3, "the first that is wrong is the last");
}

#[test]
fn a_later_order_and_a_mode_that_is_not_allowed_stop_it_before_anything_is_fetched() {
    let [a, b, _] = trees();
    let late = memory();
    with_versions(&late, &[&a]);
    let site = site(late);
    site.decide_commit(Some(a.version()), Some(by(12))).unwrap();
    let mut never =
        |_: &Hash, _: u64| -> io::Result<Box<dyn Read>> { panic!("nothing is asked for") };
    let passed = site.assemble(&Arc::new(b.manifest()), by(11), false, &mut never);
    assert!(matches!(
        passed,
        Err(AssembleError::Site(SiteError::SerialPassed { .. }))
    ));
    let set_id = b.file_with_mode("run", "program", 0o4755);
    let refused = site.assemble(&Arc::new(set_id.manifest()), by(13), false, &mut never);
    assert!(matches!(refused, Err(AssembleError::SetId { .. })));
}
