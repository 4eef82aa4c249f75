//! The engine's invariants, each under the name by which a module's first lines call it.

mod admin;
mod coming_back;
mod config;
mod consumers;
mod cut;
mod definitions;
mod giving_up;
mod history;
mod model;
mod random;
mod retained;
mod rig;
mod script;
mod sessions;
mod store;
mod subscriptions;
mod transient;
mod wills;
