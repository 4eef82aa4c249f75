//! `bench`: what a broker does on this machine, beside what its disk allows.

use clap::Args;

use super::{Exit, Global};

/// `bench`.
#[derive(Debug, Args)]
pub struct Bench {}

/// Measures.
///
/// # Errors
/// What kept it from measuring.
pub(super) async fn run(_args: Bench, _global: &Global) -> anyhow::Result<Exit> {
    Ok(Exit::Failed)
}
