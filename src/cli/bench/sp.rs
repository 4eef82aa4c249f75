//! `bench sp`: load of SP over WebSocket on a broker of ours, and beside it what the same machine does by MBWS, and by nng alone.
//!
//! ```text
//! plan ─▶ for each, some rounds: one side, the other side … ─▶ rows: median, spread, ratio of each round
//! ```
//!
//! What is compared is measured in turn, a few seconds each, so that what else the machine does hits both. A client of SP writes
//! all that it may with one call, and reads all that is there with one; nothing of a message is looked at but its time.
//!
//! Not here: nng's own programs (`ops/bench/sp_nng.c`), which `--nng` names once they are built.

mod door;
mod fanout;
mod flow;
mod mbws;
mod nng;
mod peer;
mod push;
mod request;
mod row;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::super::time::parse_duration;
use super::super::{Exit, Global};
use super::pool::Pool;
use crate::cli::notice::progress_bar;
use door::Door;
use row::Row;

const EXAMPLES: &str = "\
Examples:
  restante bench sp                                  # push beside MBWS, fan-out, requests
  restante bench sp --scenario push --senders 16 --takers 16 --rounds 5
  cc -O2 -o sp_nng ops/bench/sp_nng.c -lnng
  restante bench sp --nng ./sp_nng                   # beside nng too
  restante bench sp --scenario fanout --nng ./sp_nng --rate 2000
  restante bench sp --scenario fanout --peer-pub ws://127.0.0.1:9000/in --peer-sub ws://127.0.0.1:9000/out";

/// `bench sp`.
#[derive(Debug, Args)]
#[command(before_help = EXAMPLES)]
#[command(after_help = "\
Without --url a broker of its own is started, in a folder made in --data [default: the working folder] and removed at
the end. --url is where a broker of ours speaks MBWS; it is to speak SP there too.

A PUSH hears nothing of what becomes of its messages: what counts is what the PULLs have got, which was durable before.
What all senders together have sent and no taker has yet is bounded by --window, of MBWS and of SP alike.")]
pub(super) struct Sp {
    /// What to measure [default: all]
    #[arg(long, value_enum, value_name = "NAME", value_delimiter = ',')]
    scenario: Vec<Scenario>,
    /// Body bytes
    #[arg(long, value_name = "BYTES", default_value_t = 256, value_parser = clap::value_parser!(u32).range(16..=60_000))]
    size: u32,
    /// PUSHes in `push`, and publishers of MBWS
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1000))]
    senders: u32,
    /// PULLs in `push`, and consumers of MBWS
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1000))]
    takers: u32,
    /// SUBs in `fanout`
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    subscribers: u32,
    /// Messages of each sender that are under way in `push`
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    window: u32,
    /// Messages that are under way in `fanout`: no more than nng keeps for a SUB
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=1000))]
    burst: u32,
    /// Deliveries on the way to a PULL [default: the broker's own number]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    credit: Option<u32>,
    /// Also `fanout` with so many messages a second, whatever becomes of them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    rate: Option<u32>,
    /// The program of `ops/bench/sp_nng.c`: measure nng alone as well
    #[arg(long, value_name = "PROGRAM")]
    nng: Option<PathBuf>,
    /// Where PUBs of `fanout` go to another hub, which runs already
    #[arg(
        long,
        value_name = "URL",
        requires = "peer_sub",
        conflicts_with = "nng"
    )]
    peer_pub: Option<String>,
    /// Where SUBs of `fanout` go to that hub
    #[arg(long, value_name = "URL", requires = "peer_pub")]
    peer_sub: Option<String>,
    /// Times that each is measured
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How long each is measured, after its warm-up
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "3s")]
    seconds: Duration,
    /// Before it is measured
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "1s")]
    warm_up: Duration,
    /// Threads that make the load of SP; that of MBWS has one for each processor
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    threads: u32,
    /// Do not measure the log alone
    #[arg(long)]
    no_raw: bool,
    /// With --url: the broker's process, for its processor time
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// PUSH to PULL over a durable queue, beside MBWS
    Push,
    /// One PUB, many SUBs, beside a hub of nng
    Fanout,
    /// One REQ and one REP, one question at a time, beside nng without a broker
    Request,
}

impl Scenario {
    const ALL: [Scenario; 3] = [Scenario::Push, Scenario::Fanout, Scenario::Request];
}

/// Measures, and prints the rows.
///
/// # Errors
/// What kept it from measuring.
pub(super) async fn run(args: Sp, global: &Global) -> anyhow::Result<Exit> {
    let plan = match args.scenario.as_slice() {
        [] => Scenario::ALL.to_vec(),
        some => some.to_vec(),
    };
    let door = Door::open(&args, global).await?;
    let pool = Pool::start(args.threads)?;
    let bar = progress_bar();
    let mut rows: Vec<Row> = Vec::new();
    for (number, scenario) in plan.iter().enumerate() {
        bar.set_message(format!("{} of {}", number + 1, plan.len()));
        rows.extend(match scenario {
            Scenario::Push => push::measure(&door, &pool, &args).await?,
            Scenario::Fanout => fanout::measure(&door, &pool, &args).await?,
            Scenario::Request => request::measure(&door, &pool, &args).await?,
        });
    }
    bar.finish_and_clear();
    super::show(global, &rows, row::table)?;
    drop(pool);
    door.close()?;
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::{Cli, Command};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_peer_that_is_no_url_is_refused() {
        for url in ["127.0.0.1:8080", "mqtt://127.0.0.1", "ws://", "wss://h/ws"] {
            let line = format!(
                "restante --url ws://127.0.0.1:1/mbws bench sp --scenario fanout --peer-pub {url} --peer-sub {url}"
            );
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            let Some(Command::Bench(args)) = cli.command else {
                panic!("{line}");
            };
            let error = super::super::run(args, &cli.global).await.unwrap_err();
            assert!(error.is::<crate::cli::UsageError>(), "{url}: {error}");
        }
    }

    #[test]
    fn a_hub_has_two_ends() {
        for line in [
            "restante bench sp --peer-pub ws://127.0.0.1:1/in",
            "restante bench sp --peer-sub ws://127.0.0.1:1/out",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
