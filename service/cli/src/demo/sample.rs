//! Two versions of a small site, the same on every machine: pages that change by a word, a bundle that is renamed and
//! edited, an image that stays, a directory that moves, and a film that is new.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

const PAGES: u32 = 400;
const IMAGE_LEN: usize = 1 << 20;
/// Long enough that something can happen while it is on its way.
const FILM_LEN: usize = 32 << 20;

/// The site as it is published first.
pub(super) fn write_first(root: &Path) -> io::Result<()> {
    write(root, "assets/app.1.js", &bundle("1.0"), "blog", "Spring")
}

/// The same site, updated.
pub(super) fn write_second(root: &Path) -> io::Result<()> {
    write(root, "assets/app.2.js", &bundle("1.1"), "news", "Summer")?;
    fs::write(root.join("assets/film.bin"), noise(FILM_LEN))
}

/// Bytes of all files in a directory and those in it.
pub(super) fn content_len(root: &Path) -> u64 {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    let lens = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => content_len(&entry.path()),
        Ok(metadata) if metadata.is_file() => metadata.len(),
        _ => 0,
    });
    lens.sum()
}

fn write(root: &Path, script: &str, bundle: &str, articles: &str, season: &str) -> io::Result<()> {
    for directory in ["assets", "pages", articles, "uploads"] {
        fs::create_dir_all(root.join(directory))?;
    }
    for number in 0..PAGES {
        // Only every tenth page names the season, so that most pages stay as they are.
        let word = if number % 10 == 0 { season } else { "The" };
        fs::write(
            root.join(format!("pages/{number}.html")),
            page(number, word),
        )?;
        fs::write(
            root.join(format!("{articles}/{number}.html")),
            page(number + PAGES, "The"),
        )?;
    }
    fs::write(root.join(script), bundle)?;
    fs::write(root.join("assets/photo.bin"), noise(IMAGE_LEN))?;
    fs::write(
        root.join("index.html"),
        format!("<script src={script}></script>\n"),
    )?;
    symlink("index.html", root.join("home.html"))
}

fn page(number: u32, word: &str) -> String {
    let mut text = format!("<!doctype html><title>Page {number}</title>\n");
    for line in 0..40 {
        let price = number.wrapping_mul(2_654_435_761).wrapping_add(line * 97) % 1000;
        text += &format!("<p>{word} offer {line} on page {number} costs {price}.</p>\n");
    }
    text
}

fn bundle(version: &str) -> String {
    let mut text = format!("export const version = \"{version}\";\n");
    for number in 0..5000_u32 {
        let constant = number.wrapping_mul(40_503) % 65_521;
        text += &format!("export function f{number}(x) {{ return x * {constant}; }}\n");
    }
    text
}

/// Bytes that do not compress, as those of a photograph: an xorshift generator.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes
}
