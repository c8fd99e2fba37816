//! The API without a network: requests as values, straight to the router.

mod enrolment;
mod events;
mod hostile;
mod kit;
mod roles;
mod stories;
