//! What the server knows, as results: lists as tables, one thing as lines, and JSON of both as the API has it.

use std::fmt;

use bellwether_api::{Endpoint, List, Page};
use serde::Serialize;

use super::access::Remote;
use crate::failure::Failure;
use crate::output::Report;

/// Something of which there may be many.
pub(super) trait Row: Serialize {
    /// Names the shape of one.
    const ONE: &'static str;
    /// Names the shape of a list.
    const LIST: &'static str;
    /// What the columns are.
    const HEADINGS: &'static [&'static str];

    /// What stands in them.
    fn cells(&self) -> Vec<String>;
}

/// One of them.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct One<R>(pub(super) R);

/// All that were asked for.
#[derive(Serialize)]
pub(super) struct Listing<R> {
    pub(super) items: Vec<R>,
}

/// Something was done; what, in a sentence.
#[derive(Serialize)]
pub(super) struct Done {
    pub(super) done: String,
}

impl<R: Row> Report for One<R> {
    const KIND: &'static str = R::ONE;
}

impl<R: Row> Report for Listing<R> {
    const KIND: &'static str = R::LIST;
}

impl Report for Done {
    const KIND: &'static str = "done";
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.done)
    }
}

impl<R: Row> fmt::Display for One<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = R::HEADINGS
            .iter()
            .map(|heading| heading.len())
            .max()
            .unwrap_or(0);
        let lines = R::HEADINGS.iter().zip(self.0.cells());
        for (number, (heading, cell)) in lines.enumerate() {
            let end = if number == 0 { "" } else { "\n" };
            write!(f, "{end}{heading:<width$}  {cell}")?;
        }
        Ok(())
    }
}

impl<R: Row> fmt::Display for Listing<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.items.is_empty() {
            return f.write_str("none");
        }
        let headings = R::HEADINGS.iter().map(|heading| heading.to_uppercase());
        let mut rows: Vec<Vec<String>> = vec![headings.collect()];
        rows.extend(self.items.iter().map(R::cells));
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..R::HEADINGS.len()).map(width).collect();
        for (number, row) in rows.iter().enumerate() {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(&format!("{cell:<width$}  "));
            }
            let end = if number == 0 { "" } else { "\n" };
            write!(f, "{end}{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// All there are, page after page.
pub(super) fn all<E, R>(remote: &Remote) -> Result<Listing<R>, Failure>
where
    E: Endpoint<Key = (), Query = Page, Body = (), Reply = List<R>>,
{
    let mut items = Vec::new();
    let mut after = None;
    loop {
        let page = Page {
            after,
            limit: Some(Page::LIMIT_MAX),
        };
        let mut list = remote.call::<E>(&(), &page, &())?;
        items.append(&mut list.items);
        after = list.next;
        if after.is_none() {
            return Ok(Listing { items });
        }
    }
}

/// Words separated by commas, or a dash.
pub(super) fn words(words: impl IntoIterator<Item = impl fmt::Display>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| word.to_string()).collect();
    match words.is_empty() {
        true => "-".to_owned(),
        false => words.join(","),
    }
}
