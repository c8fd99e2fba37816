//! Jobs: brought to their end, step by step.
//!
//! - `bellwether_scheduling::next` decides; [`runner`] carries out and keeps each step before the next is decided.
//! - [`Board`] has what nodes reported and were told since the server began. It is lost with the process: leaders are asked
//!   to say it again.
//! - `pace` makes of what leaders say how fast a job gets on.
//! - `rules` makes of a site's policy what the decisions go by; `works` makes assignments and orders.

mod board;
mod carrying;
mod catching;
mod pace;
mod rules;
mod runner;

pub(crate) use board::{Board, Reach, Sight};
pub(crate) use rules::rules;
pub(crate) use runner::run;
