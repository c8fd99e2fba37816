//! What reads bytes from outside, made to read all kinds of them.
//!
//! A target is a plain function of bytes that panics when a promise is broken. The engine
//! (libFuzzer, on the stable toolchain: `cargo xtask fuzz TARGET`) looks for bytes that take new
//! paths through it; what it found once is kept in `corpus/`, and every run of the tests reads
//! it again.
//!
//! Random bytes do not get past a signature. So the targets that read assignments take a
//! draft: the parts of an assignment before they are hashed and signed, which is done for
//! whatever they became.

mod assignment;
mod body;
mod delta;
mod draft;
mod header;
mod interpreter;
mod manifest;
mod memory;
mod records;
mod segment;
mod settings;
mod text;
mod uplink;

use std::path::PathBuf;

/// Something that reads bytes from outside.
#[derive(Debug)]
pub struct Target {
    /// Its name, and that of its folder in `corpus/`.
    pub name: &'static str,
    /// What must hold of any input.
    run: fn(&[u8]),
    /// Good inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// The most memory, in bytes, that reading one input may take. zstd's own is not counted.
    memory_max: usize,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target {
        name: "assignment",
        run: assignment::run,
        seeds: draft::seeds,
        memory_max: 64 << 20,
    },
    Target {
        name: "body",
        run: body::run,
        seeds: body::seeds,
        memory_max: 4 << 20,
    },
    Target {
        name: "coding",
        run: delta::code,
        seeds: delta::texts,
        memory_max: 128 << 20,
    },
    Target {
        name: "datagram",
        run: segment::datagram,
        seeds: segment::datagrams,
        memory_max: 1 << 20,
    },
    Target {
        name: "header",
        run: header::run,
        seeds: header::seeds,
        memory_max: 1 << 20,
    },
    Target {
        name: "interpreter",
        run: interpreter::run,
        seeds: draft::seeds,
        memory_max: 64 << 20,
    },
    Target {
        name: "manifest",
        run: manifest::run,
        seeds: manifest::seeds,
        memory_max: 1 << 20,
    },
    Target {
        name: "mixing",
        run: delta::mixing,
        seeds: delta::seeds_of_mixing,
        memory_max: 64 << 20,
    },
    Target {
        name: "node",
        run: segment::node,
        seeds: segment::conversations,
        memory_max: 16 << 20,
    },
    Target {
        name: "parted",
        run: delta::parted,
        seeds: delta::seeds_of_parted,
        memory_max: 1 << 20,
    },
    Target {
        name: "records",
        run: records::run,
        seeds: records::seeds,
        memory_max: 64 << 20,
    },
    Target {
        name: "settings",
        run: settings::run,
        seeds: settings::seeds,
        memory_max: 1 << 20,
    },
    Target {
        name: "text",
        run: text::run,
        seeds: text::seeds,
        memory_max: 1 << 20,
    },
    Target {
        name: "uplink",
        run: uplink::run,
        seeds: uplink::seeds,
        memory_max: 4 << 20,
    },
];

impl Target {
    /// The target of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        TARGETS.iter().find(|target| target.name == name)
    }

    /// Reads one input, and holds the target to its promises.
    ///
    /// # Panics
    /// If one is broken.
    pub fn check(&self, input: &[u8]) {
        let bytes = memory::peak(|| (self.run)(input));
        assert!(
            bytes <= self.memory_max,
            "{} bytes of input took {bytes} bytes of memory",
            input.len()
        );
    }

    /// Where its corpus is kept.
    pub fn corpus(&self) -> PathBuf {
        [env!("CARGO_MANIFEST_DIR"), "corpus", self.name]
            .iter()
            .collect()
    }
}
