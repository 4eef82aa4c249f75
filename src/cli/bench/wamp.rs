//! `bench wamp`: WAMP load on a router, over RawSocket or WebSocket: ours, or any other that speaks it.
//!
//! ```text
//! plan ─▶ for each: clients on the threads of a pool ─▶ router ─▶ clients ─▶ row
//! ```
//!
//! A client writes all that its window allows with one call, and reads all that is there with one; a message is a copy of
//! a template with its request id and its time put in.

mod carrier;
mod door;
mod events;
mod fanout;
mod idle;
mod pace;
mod patterns;
mod peer;
mod rpc;
mod template;

use std::time::Duration;

use clap::{Args, ValueEnum};
use restante_proto::wamp;

use super::super::time::parse_duration;
use super::super::{Exit, Global};
use super::pool::Pool;
use super::row::{self, Row};
use crate::cli::notice::progress_bar;
use carrier::Carrier;
use door::Door;

const EXAMPLES: &str = "\
Examples:
  restante bench wamp                                          # every scenario, about a minute
  restante bench wamp --scenario rpc --clients 64 --window 16 --serializer json
  restante bench wamp --scenario rpc,events --rate 1000        # latency, under a load that leaves room
  restante bench wamp --url ws://127.0.0.1:7300/wamp --pid 4711
  restante bench wamp --url rs://127.0.0.1:8081 --realm realm1 --scenario rpc,events  # any router";

/// `bench wamp`.
#[derive(Debug, Args)]
#[command(before_help = EXAMPLES)]
#[command(after_help = "\
Without --url a broker of its own is started, in a folder made in --data [default: the working folder] and removed at
the end. With --url it may be any router of WAMP, without TLS: rs://HOST:PORT is RawSocket, ws://HOST:PORT/PATH is
WebSocket. Where there are credentials they are shown as a ticket; without any, or if the router has no use for a ticket,
clients are anonymous.

Without --rate, each client sends as soon as its window allows: that measures throughput, and the times are what waiting
in so many windows takes, rather than what the router takes. So times of two routers are comparable in two ways: with
the same windows, each at its own throughput; or with the same --rate, which the slower one must keep up with. What finds
its window full then counts from when it was due.")]
pub(super) struct Wamp {
    /// What to measure [default: all]
    #[arg(long, value_enum, value_name = "NAME", value_delimiter = ',')]
    scenario: Vec<Scenario>,
    /// How messages are written
    #[arg(long, value_enum, value_name = "NAME", default_value = "msgpack")]
    serializer: Serializer,
    /// How clients come to a broker of its own
    #[arg(long, value_enum, value_name = "NAME", default_value = "rawsocket")]
    transport: Carrier,
    /// Body bytes: the one argument of a call or an event
    #[arg(long, value_name = "BYTES", default_value_t = 64, value_parser = clap::value_parser!(u32).range(32..=524_288))]
    size: u32,
    /// Callers in `rpc`; publishers, and as many subscribers, in `events`
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    clients: u32,
    /// Callees in `rpc`
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    callees: u32,
    /// Calls of one caller without a result; events of one publisher that have not come
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=8192))]
    window: u32,
    /// Calls or events a second, of all clients together [default: as many as their windows allow]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    rate: Option<u32>,
    /// Subscribers in `fanout`
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    subscribers: u32,
    /// Sessions in `idle`
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    sessions: u32,
    /// Subscriptions and as many registrations in `patterns`, against 100
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1000..=10_000_000))]
    patterns: u32,
    /// How long each is measured, after its warm-up
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "5s")]
    seconds: Duration,
    /// Before it is measured
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "1s")]
    warm_up: Duration,
    /// Threads that make the load
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    threads: u32,
    /// With --url: the router's process, for its memory and processor time
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// Round trips from callers to callees that give back what they are given
    Rpc,
    /// Pairs of a publisher and a subscriber, without acknowledgement and with it
    Events,
    /// One publisher, many subscribers
    Fanout,
    /// What a call and a publish cost among many patterns, against few
    Patterns,
    /// Memory of sessions that do nothing
    Idle,
}

impl Scenario {
    const ALL: [Scenario; 5] = [
        Scenario::Rpc,
        Scenario::Events,
        Scenario::Fanout,
        Scenario::Patterns,
        Scenario::Idle,
    ];
}

/// A serializer that clients choose by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Serializer {
    Json,
    Msgpack,
    Cbor,
    Ubjson,
}

impl Serializer {
    fn of_wire(self) -> wamp::Serializer {
        match self {
            Serializer::Json => wamp::Serializer::Json,
            Serializer::Msgpack => wamp::Serializer::MsgPack,
            Serializer::Cbor => wamp::Serializer::Cbor,
            Serializer::Ubjson => wamp::Serializer::Ubjson,
        }
    }
}

/// Measures, and prints the rows.
///
/// # Errors
/// What kept it from measuring.
pub(super) async fn run(args: Wamp, global: &Global) -> anyhow::Result<Exit> {
    let plan = match args.scenario.as_slice() {
        [] => Scenario::ALL.to_vec(),
        some => some.to_vec(),
    };
    let door = door::open(&args, global).await?;
    let pool = Pool::start(args.threads)?;
    let bar = progress_bar();
    let mut rows = Vec::new();
    for (number, scenario) in plan.iter().enumerate() {
        bar.set_message(format!("{} of {}", number + 1, plan.len()));
        rows.extend(measure(*scenario, &door, &pool, &args).await?);
    }
    bar.finish_and_clear();
    super::show(global, &rows, row::table)?;
    drop(pool);
    door.close()?;
    Ok(Exit::Ok)
}

async fn measure(
    scenario: Scenario,
    door: &Door,
    pool: &Pool,
    args: &Wamp,
) -> anyhow::Result<Vec<Row>> {
    let mut rows = match scenario {
        Scenario::Rpc => vec![rpc::measure(door, pool, args).await?],
        Scenario::Events => vec![
            events::measure(door, pool, args, false).await?,
            events::measure(door, pool, args, true).await?,
        ],
        Scenario::Fanout => vec![fanout::measure(door, pool, args).await?],
        Scenario::Patterns => patterns::measure(door, pool, args).await?,
        Scenario::Idle => vec![idle::measure(door, pool, args).await?],
    };
    for row in &mut rows {
        row.by = Some(door.entrance.name());
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::{Cli, Command};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_name_that_is_no_url_is_refused() {
        for url in ["127.0.0.1:8080", "mqtt://127.0.0.1", "rs://", "wss://h/ws"] {
            let line = format!("restante bench wamp --scenario rpc --url {url}");
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            let Some(Command::Bench(args)) = cli.command else {
                panic!("{line}");
            };
            let error = super::super::run(args, &cli.global).await.unwrap_err();
            assert!(error.is::<crate::cli::UsageError>(), "{url}: {error}");
        }
    }
}
