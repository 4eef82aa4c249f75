//! The session, driven by a script: messages and events in, messages and wishes out.

mod invariants;
mod opening;
mod rig;
mod violations;
