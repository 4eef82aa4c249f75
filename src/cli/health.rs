//! `health`: is the broker ready? For a container's HEALTHCHECK and for scripts: the exit code is the answer.

use clap::Args;

use super::access::tls;
use super::{Exit, Global, http, print, rest};
use crate::client::Credentials;

const EXAMPLES: &str = "\
Examples:
  restante health
  restante health --live
  restante health --admin-url http://10.0.0.5:7301

Exit codes: 0 yes; 1 no, and stderr says which check fails; 3 nothing listens there.";

/// `health`.
#[derive(Debug, Args)]
#[command(before_help = EXAMPLES)]
pub struct Health {
    /// Ask whether it lives or only a restart helps (`/livez`), not whether it is ready for clients (`/readyz`)
    #[arg(long)]
    live: bool,
}

/// Asks without credentials: a health check needs no secret, and must not fail for want of one.
///
/// # Errors
/// The broker is not ready, or not reachable.
pub(super) async fn run(args: Health, global: &Global) -> anyhow::Result<Exit> {
    let base = rest::admin_url(global);
    let path = if args.live {
        "/livez"
    } else {
        "/readyz?verbose"
    };
    let url = format!("{base}{path}");
    let answer = http::get(&url, &Credentials::None, &tls(global)).await?;
    if global.json {
        print(&format!("{}\n", String::from_utf8_lossy(&answer)))?;
    } else {
        print(if args.live { "live\n" } else { "ready\n" })?;
    }
    Ok(Exit::Ok)
}
