//! The state table row by row, single rules, and a small network of elections under every kind of fault.

mod bench;
mod network;
mod one;
mod properties;
mod rules;
mod table;
