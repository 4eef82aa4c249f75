//! `bench mqtt`: MQTT load on a broker, over plain TCP: ours, or any other that speaks it.
//!
//! ```text
//! plan ─▶ for each: clients on the threads of a pool ─▶ broker ─▶ clients ─▶ row
//! ```
//!
//! A client writes all that its window allows with one call, and reads all that is there with one; a message is a copy of
//! a template with its number and its time put in. What the broker's process spends, if it is known, is part of the row: of
//! a machine that does other things too, processor time says more than the clock does.

mod door;
mod fanout;
mod flow;
mod idle;
mod matching;
mod offline;
mod peer;
mod retained;

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::super::time::parse_duration;
use super::super::{Exit, Global};
use super::pool::Pool;
use super::row::{self, Row};
use crate::cli::notice::progress_bar;
use door::Door;

const EXAMPLES: &str = "\
Examples:
  restante bench mqtt                                          # every scenario, some minutes
  restante bench mqtt --scenario qos1 --clients 64 --window 100
  restante bench mqtt --url mqtt://127.0.0.1:1883 --pid 4711   # any broker that runs already
  restante bench mqtt --url mqtt://127.0.0.1:1883 --scenario fill --messages 200000
  restante bench mqtt --url mqtt://127.0.0.1:1883 --scenario drain --messages 200000";

/// `bench mqtt`.
#[derive(Debug, Args)]
#[command(before_help = EXAMPLES)]
#[command(after_help = "\
Without --url a broker of its own is started, in a folder made in --data [default: the working folder] and removed at
the end. With --url it may be any broker of MQTT, over TCP without TLS. `fill` and `drain` are the halves of `offline`,
for whoever kills the broker in between; of a broker of its own, `offline` kills it itself.")]
pub(super) struct Mqtt {
    /// What to measure [default: all but fill and drain]
    #[arg(long, value_enum, value_name = "NAME", value_delimiter = ',')]
    scenario: Vec<Scenario>,
    /// Body bytes
    #[arg(long, value_name = "BYTES", default_value_t = 256, value_parser = clap::value_parser!(u32).range(16..=524_288))]
    size: u32,
    /// Publishers, and as many subscribers, in `qos1`
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    clients: u32,
    /// Messages of one publisher that are not acknowledged, or, in `fanout`, not delivered yet
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=32_767))]
    window: u32,
    /// Subscribers in `fanout`
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    subscribers: u32,
    /// Messages in `offline` and `retained` [default: 100,000 and 1,000,000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    messages: Option<u64>,
    /// Connections in `idle`
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connections: u32,
    /// Subscriptions in `match`, against 1000
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1000..=10_000_000))]
    subscriptions: u32,
    /// How long each is measured, after its warm-up
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "5s")]
    seconds: Duration,
    /// Before it is measured
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "1s")]
    warm_up: Duration,
    /// Speak 3.1.1 instead of 5.0
    #[arg(long)]
    v3: bool,
    /// Threads that make the load
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    threads: u32,
    /// With --url: the broker's process, for its memory and processor time
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// As many publishers as subscribers with durable sessions, in pairs, QoS 1 both ways
    Qos1,
    /// One publisher, many subscribers, QoS 0
    Fanout,
    /// A durable session whose client is away is filled, and drained
    Offline,
    /// The first half of that
    Fill,
    /// The second
    Drain,
    /// Memory of connections that do nothing
    Idle,
    /// What a publish costs among many subscriptions, against few
    Match,
    /// Many retained messages: memory, and whether a look at all of them stalls others
    Retained,
}

impl Scenario {
    const ALL: [Scenario; 6] = [
        Scenario::Qos1,
        Scenario::Fanout,
        Scenario::Offline,
        Scenario::Idle,
        Scenario::Match,
        Scenario::Retained,
    ];
}

/// Measures, and prints the rows.
///
/// # Errors
/// What kept it from measuring.
pub(super) async fn run(args: Mqtt, global: &Global) -> anyhow::Result<Exit> {
    let plan = match args.scenario.as_slice() {
        [] => Scenario::ALL.to_vec(),
        some => some.to_vec(),
    };
    let mut door = door::open(&args, global).await?;
    let pool = Pool::start(args.threads)?;
    let bar = progress_bar();
    let mut rows = Vec::new();
    for (number, scenario) in plan.iter().enumerate() {
        bar.set_message(format!("{} of {}", number + 1, plan.len()));
        rows.extend(measure(*scenario, &mut door, &pool, &args).await?);
    }
    bar.finish_and_clear();
    super::show(global, &rows, row::table)?;
    drop(pool);
    door.close()?;
    Ok(Exit::Ok)
}

async fn measure(
    scenario: Scenario,
    door: &mut Door,
    pool: &Pool,
    args: &Mqtt,
) -> anyhow::Result<Vec<Row>> {
    match scenario {
        Scenario::Qos1 => flow::measure(door, pool, args).await.map(one),
        Scenario::Fanout => fanout::measure(door, pool, args).await.map(one),
        Scenario::Offline => offline::measure(door, pool, args).await,
        Scenario::Fill => offline::fill(door, pool, args).await.map(one),
        Scenario::Drain => offline::drain(door, pool, args).await.map(one),
        Scenario::Idle => idle::measure(door, pool, args).await.map(one),
        Scenario::Match => matching::measure(door, pool, args).await,
        Scenario::Retained => retained::measure(door, pool, args).await,
    }
}

fn one(row: Row) -> Vec<Row> {
    vec![row]
}
