//! The engine's invariants.
