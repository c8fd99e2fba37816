//! The lab's own promises, on this machine's kernel.

mod clearing;
mod network;
mod program;
