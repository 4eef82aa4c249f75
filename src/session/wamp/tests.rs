//! The session, driven by a script: messages and events in, messages and wishes out.

mod authorize;
mod calls;
mod events;
mod invariants;
mod opening;
mod rig;
mod violations;
