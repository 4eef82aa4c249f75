//! WAMP as its clients see it: over every transport and in every serializer, with clients that break rules, do not read, and die.

pub(crate) mod client;
mod crowd;
pub(crate) mod fuzz;
mod refused;
mod told;
mod trials;
