//! Assignments made and read in memory: what arrives is what was meant, or it is refused.

mod hostile;
mod large;
mod round_trip;
