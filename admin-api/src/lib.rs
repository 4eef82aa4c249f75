//! The REST admin API: resources, their JSON, their errors, and the `Control` trait that the broker answers.
//!
//! ```text
//! listener ─▶ serve ─▶ service ─▶ routes ─▶ guard ─▶ handler ─▶ Control (the broker)
//!             slots,   request    (method,  who may   queues,
//!             clocks   id, HEAD   path)     do this   health …
//! ```
//!
//! Every answer that is not what was asked for is a problem (RFC 9457) whose `code` is in one table, [`Code`]. Whoever may
//! ask for what is in another, `routes`. The broker is only known as a [`Control`].
//!
//! Always, each with a test of its name in `tests/http`:
//! - `every_rule_has_its_answer`: the status, the headers and the code of each.
//! - `no_credentials_reach_the_log`.
//! - `a_silent_client_is_cut_off`, and `no_more_clients_than_slots`.
//!
//! Not here: who is let in and what queues there are (the broker), TLS (a proxy in front).

mod accept;
mod body;
mod control;
mod guard;
mod health;
mod page;
mod params;
mod problem;
mod queues;
mod reply;
mod routes;
mod serve;
mod service;

pub use control::{Admin, AuthError, BoxFuture, Check, Control, Health, Policy, QueueInfo};
pub use problem::Code;
pub use serve::{Options, serve};
