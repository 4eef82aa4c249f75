//! The engine's invariants, each under the name by which a module's first lines call it.

mod coming_back;
mod model;
mod random;
mod rig;
mod script;
