//! Scripts: what the client says, what the broker says, what each must hear.

mod auth;
mod deliver;
mod ends;
mod handshake;
mod invariants;
mod publish;
mod rig;
mod subscribe;
