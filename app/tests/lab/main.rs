//! Agents as real processes on a network of the test's own making; what they say of themselves is what counts.

mod agents;
mod assignments;
mod faults;
mod forgery;
mod jobs;
mod keys;
mod neighbours;
mod office;
mod publish;
mod sites;
mod transfer;
