//! The store from outside: what commands do, that a log determines its database, and that no crash leaves one half.

mod effects;
mod events;
mod jobs;
mod kill;
mod kit;
mod replay;
