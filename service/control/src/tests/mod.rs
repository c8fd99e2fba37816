//! The API without a network: requests as values, straight to the router.

mod enrolment;
mod events;
mod hostile;
pub(crate) mod kit;
mod roles;
mod stories;
