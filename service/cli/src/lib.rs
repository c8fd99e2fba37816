//! The command line.

/// Parses the arguments and runs the command.
pub fn main() {}
