//! The life of content as an operator sees it: the real binary on real trees.

mod inspect;
mod kill;
mod place;
mod reader;
mod refusal;
mod story;
mod tree;
