//! The REST admin API: resources, their JSON, their errors, and the `Control` trait that the broker answers.
//!
//! ```text
//! listener ─▶ serve ─▶ service ─▶ routes ─▶ guard ─▶ resources ─▶ Control (the broker)
//!             slots,   request    (method,  who may   documents,
//!             clocks   id, audit  path)     do this   queues …
//! ```
//!
//! Every answer that is not what was asked for is a problem (RFC 9457) whose `code` is in one table, [`Code`]. What can be
//! asked, by whom, with what and what comes of it is in another, `routes`; `openapi.json` is written from it. The broker is
//! only known as a [`Control`].
//!
//! Always, each with a test of its name in `tests/http`:
//! - `every_rule_has_its_answer`: the status, the headers and the code of each.
//! - `every_route_asks_for_its_grant`, and `every_answer_is_documented`.
//! - `every_change_and_every_refusal_is_audited`.
//! - `no_credentials_reach_the_log`, and `no_secret_is_shown_twice`.
//! - `a_silent_client_is_cut_off`, and `no_more_clients_than_slots`.
//! - `the_document_is_up_to_date`: the committed `openapi.json` is what the code says.
//!
//! Not here: who is let in, what the rules allow and what queues there are (the broker), TLS itself (whoever calls
//! [`serve_secured`] brings it).

mod accept;
pub mod audit;
mod body;
mod budget;
mod conditions;
mod control;
mod docs;
pub mod document;
mod escape;
mod guard;
mod health;
mod openapi;
mod page;
mod params;
mod path;
mod patience;
mod problem;
pub mod queue;
mod replay;
mod reply;
mod resources;
mod routes;
mod serve;
mod service;
mod slots;
mod strict;
pub mod wamp;
mod words;

pub use accept::{Duplex, Plain, Secure, Secured};
pub use audit::{AuditEntry, AuditQuery};
pub use control::{
    Admin, Asked, AuthError, BoxFuture, Browsed, Caller, Changed, Check, ConfigEntry, Control,
    ControlError, Exported, Health, How, Invalid, Overview, Peer, Plan, Precondition, Published,
    QueuesWanted, Secret, Step, StepAct,
};
pub use openapi::document as openapi;
pub use problem::Code;
pub use serve::{Options, serve, serve_secured};
pub use slots::network;
