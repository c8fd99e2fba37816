//! Reading Rust source just well enough to trust a word found in it.
//!
//! A parser crate would know more and take longer to build than everything else here. What the checks ask (is this
//! path named in code, which tests are there) needs only that comments and literals are out of the way, and that
//! braces can be counted.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Every `.rs` file under a folder, in order of path; none if there is no such folder.
pub(crate) fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if folder.is_dir() {
        collect(folder, &mut found)?;
    }
    found.sort();
    Ok(found)
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in folder
        .read_dir()
        .with_context(|| format!("cannot list {}", folder.display()))?
    {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

/// The source with comments and the insides of literals blanked out; every line keeps its number.
pub(crate) fn code_only(source: &str) -> String {
    let mut rest = source;
    let mut code = String::with_capacity(source.len());
    while let Some(first) = rest.chars().next() {
        let blank = comment_len(rest).or_else(|| literal_len(rest, code.chars().next_back()));
        let (len, keep) = blank.map_or_else(|| (first.len_utf8(), true), |len| (len, false));
        let (piece, tail) = rest.split_at(len);
        if keep {
            code.push_str(piece);
        } else {
            code.extend(piece.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        }
        rest = tail;
    }
    code
}

fn comment_len(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if !text.starts_with("/*") {
        return None;
    }
    let (mut depth, mut at) = (0usize, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if text[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return Some(at);
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    Some(text.len())
}

/// Length of the string or character literal that begins here. A lifetime is no literal, nor is the r of `for`.
fn literal_len(text: &str, before: Option<char>) -> Option<usize> {
    let in_word = before.is_some_and(is_word);
    let prefix = if in_word {
        0
    } else {
        text.find(|c| !matches!(c, 'b' | 'c' | 'r')).unwrap_or(0)
    };
    let raw = text[..prefix].contains('r');
    let body = &text[prefix..];
    if prefix > 2 {
        return None;
    }
    if raw {
        let hashes = body.len() - body.trim_start_matches('#').len();
        let opened = body[hashes..].strip_prefix('"')?;
        let close = format!("\"{}", "#".repeat(hashes));
        let inside = opened
            .find(&close)
            .map_or(opened.len(), |at| at + close.len());
        return Some(prefix + hashes + 1 + inside);
    }
    match body.chars().next()? {
        '"' => Some(prefix + quoted_len(body, '"')),
        '\'' => {
            let mut inside = body[1..].chars();
            let first = inside.next()?;
            (first == '\\' || inside.next() == Some('\'')).then(|| prefix + quoted_len(body, '\''))
        }
        _ => None,
    }
}

fn quoted_len(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

/// Blanks every item behind `#[cfg(test)]`: what follows it up to a semicolon, or to the brace that closes it.
pub(crate) fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find(MARK) {
        let end = at + MARK.len() + item_len(&rest[at + MARK.len()..]);
        out.push_str(&rest[..at]);
        out.extend(rest[at..end].chars().filter(|&c| c == '\n'));
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

fn item_len(code: &str) -> usize {
    let mut depth = 0usize;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth <= 1 => return at + 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// A piece of code as the checks see it: a word, or a single other character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    Word(&'a str),
    Mark(char),
}

/// The tokens of code without comments and literals, each with the number of its line.
pub(crate) fn tokens(code: &str) -> impl Iterator<Item = (usize, Token<'_>)> {
    code.lines()
        .enumerate()
        .flat_map(|(index, line)| words(line).map(move |token| (index + 1, token)))
}

fn words(line: &str) -> impl Iterator<Item = Token<'_>> {
    let mut rest = line;
    std::iter::from_fn(move || {
        rest = rest.trim_start();
        let first = rest.chars().next()?;
        let len = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (token, tail) = if len > 0 {
            (Token::Word(&rest[..len]), &rest[len..])
        } else {
            (Token::Mark(first), &rest[first.len_utf8()..])
        };
        rest = tail;
        Some(token)
    })
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_lines_keep_their_numbers() {
        let source = "a // std::fs\n/* x /* y */ std::net\n*/ b \"std::\\\"fs\n\" r#\"c \" d\"# '\"' e 'f: g b\"h\"";
        let code = code_only(source);
        assert_eq!(code.lines().count(), source.lines().count());
        let words: Vec<_> = code.split_whitespace().collect();
        assert_eq!(words, ["a", "b", "e", "'f:", "g"]);
    }

    #[test]
    fn the_last_letter_of_a_word_opens_no_raw_string() {
        assert_eq!(code_only("for\"x\"y").trim_end(), "for   y");
        assert_eq!(
            code_only("'a: &'b str, 'c', '\\''")
                .split_whitespace()
                .collect::<Vec<_>>(),
            ["'a:", "&'b", "str,", ","]
        );
    }

    #[test]
    fn test_items_are_cut_to_their_last_brace() {
        let code =
            "one\n#[cfg(test)]\nmod tests { fn a() { two } }\nthree\n#[cfg(test)]\nuse four;\nfive";
        let left = without_tests(code);
        assert_eq!(
            left.split_whitespace().collect::<Vec<_>>(),
            ["one", "three", "five"]
        );
        assert_eq!(left.lines().count(), code.lines().count());
    }

    #[test]
    fn tokens_carry_the_number_of_their_line() {
        let found: Vec<_> = tokens("a::b\n c").collect();
        let expected = [
            (1, Token::Word("a")),
            (1, Token::Mark(':')),
            (1, Token::Mark(':')),
            (1, Token::Word("b")),
            (2, Token::Word("c")),
        ];
        assert_eq!(found, expected);
    }
}
