//! Trees made by rule, for what depends on shape and not on content.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::Result;

use crate::random::Random;

/// Files of these names (with `/` for folders), each of `size` bytes that occur nowhere else and compress about by half.
pub(super) fn small_files(tree: &Path, names: &[String], size: usize, seed: u64) -> Result<()> {
    std::fs::create_dir_all(tree)?;
    let mut random = Random(seed);
    let mut folder_before = None;
    // The same in every tree, as content that did not change has it.
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_704_067_200);
    for name in names {
        let path = tree.join(name);
        let folder = path.parent().map(Path::to_owned);
        if folder != folder_before {
            folder.as_deref().map(std::fs::create_dir_all).transpose()?;
            folder_before = folder;
        }
        let mut file = File::create(&path)?;
        file.write_all(&text(&mut random, size))?;
        file.set_modified(time)?;
    }
    Ok(())
}

/// Hexadecimal digits: half of their bits say nothing.
pub(super) fn text(random: &mut Random, size: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(size + 16);
    while text.len() < size {
        let _ = write!(text, "{:016x}", random.next());
    }
    text.truncate(size);
    text
}

/// `count` different names in folders of a hundred, of which none can be guessed from another.
pub(super) fn random_names(count: u64, seed: u64) -> Vec<String> {
    let mut random = Random(seed);
    (0..count)
        .map(|n| format!("{:03}/{:016x}.txt", n / 100, random.next()))
        .collect()
}

/// Names as a site has them, in folders of a hundred.
pub(super) fn plain_names(count: u64) -> Vec<String> {
    (0..count)
        .map(|n| format!("section-{:04}/page-{:03}.html", n / 100, n % 100))
        .collect()
}

/// One large file; `edited` rewrites 64 KiB in every 4 MiB, and puts a few bytes before all others.
pub(super) fn large_file(path: &Path, size: u64, seed: u64, edited: bool) -> Result<()> {
    const PIECE: usize = 64 << 10;
    let mut file = std::io::BufWriter::with_capacity(1 << 20, File::create(path)?);
    if edited {
        file.write_all(b"a later edition\n")?;
    }
    let (mut random, mut edit) = (Random(seed), Random(!seed));
    // Half of the pieces compress, the other half is as dense as media are.
    let mut dense = vec![0; PIECE];
    for piece in 0..size.div_ceil(PIECE as u64) {
        let source = if edited && piece % 64 == 7 {
            &mut edit
        } else {
            &mut random
        };
        if piece % 2 == 0 {
            source.fill(&mut dense);
            file.write_all(&dense)?;
        } else {
            let line = text(source, 128);
            for number in 0..PIECE / 128 {
                file.write_all(&line[..120])?;
                writeln!(file, "{number:07}")?;
            }
        }
    }
    Ok(file.flush()?)
}
