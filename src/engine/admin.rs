//! What administrators see of queues, consumers and sessions, and how they take messages out of consumers' reach.
//!
//! ```text
//! look ─▶ what waits, in slices        claim ─▶ nobody gets it ─▶ a record takes it out, or unclaim ─▶ ready again
//! why  ─▶ the one thing that keeps a queue from moving
//! ```
//!
//! Looking changes nothing that anybody could notice: references that it needs from the state store leave memory again.
//! A claim is live only: after a crash what was claimed is ready, unless its record is in the log.
//!
//! Always, each with a test of its name in `engine/tests/admin.rs`:
//! - `what_is_claimed_is_delivered_to_nobody_and_comes_back_in_its_place`
//! - `looking_changes_nothing`
//! - `why_names_the_one_thing`
//!
//! Not here: bodies (the broker reads the log), names of principals (the broker's core knows who is attached).

mod claim;
mod look;
mod who;
mod why;

pub use claim::{Claim, Wanted};
pub use look::{Looked, Sight, Standing};
pub use who::{ConsumerReport, SessionReport};
pub use why::Blocked;
