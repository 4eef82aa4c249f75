//! The router, driven without sessions: what goes in, what comes out.

mod calls;
mod cancel;
mod meta;
mod model;
mod patterns;
mod progress;
mod reflection;
mod registrations;
mod rig;
mod sessions;
mod shared;
mod subscriptions;
mod testaments;
