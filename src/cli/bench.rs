//! `bench`: what a broker does on this machine, and beside it what the same log does without a broker.
//!
//! ```text
//! plan ─▶ for each: load on the broker (client, sockets, sessions, log) ─┐
//!                   the same records straight into a log, same disk ─────┴▶ row, ratio
//! ```
//!
//! The raw figure has as many records outstanding, of the same size, in batches like a client's: the ratio is what
//! everything that is not the log costs. Figures of a shared machine are indicative; compare within one run.

mod bytes;
mod door;
mod idle;
mod load;
mod mqtt;
mod pace;
mod pool;
mod process;
mod raw;
mod report;
mod row;
mod scrape;
mod sp;
mod target;
mod wamp;

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use super::notice::progress_bar;
use super::time::parse_duration;
use super::{Exit, Global};
use load::{Load, Measured};
use raw::Raw;
use report::Row;
use scrape::Scrape;
use target::{Start, Target};

const EXAMPLES: &str = "\
Examples:
  restante bench                                        # everything, about three minutes
  restante bench --scenario publish --size 256 --connections 8
  restante bench --url ws://127.0.0.1:7300/mbws --json  # a broker that runs already
  restante bench mqtt --scenario qos1,fanout            # MQTT instead of MBWS, on any broker
  restante bench wamp --scenario rpc,events             # WAMP, on any router
  restante bench sp --scenario push,fanout              # SP, beside MBWS and beside nng";

/// `bench`.
#[derive(Debug, Args)]
#[command(before_help = EXAMPLES)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
Without --url a broker of its own is started, in a folder made in --data [default: the working folder] and removed at
the end: name a folder on the disk to be measured.")]
pub struct Bench {
    #[command(subcommand)]
    door: Option<Other>,
    /// What to measure [default: all]
    #[arg(long, value_enum, value_name = "NAME", value_delimiter = ',')]
    scenario: Vec<Scenario>,
    /// Body sizes in bytes [default: 16,256,4096]
    #[arg(long, value_name = "BYTES", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(8..=524_288))]
    size: Vec<u32>,
    /// Connections [default: 1,8,64]
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: Vec<u32>,
    /// Messages unconfirmed, or in hand, on each connection [default: 256]
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=8192))]
    window: Vec<u32>,
    /// How long each is measured
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "3s")]
    seconds: Duration,
    /// Messages a second in `latency`
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// Sessions in `idle`
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    sessions: u32,
    /// Let sessions outlive their sockets, as `send` does: the broker then stores each one's seq
    #[arg(long)]
    durable_sessions: bool,
    /// Do not measure the log alone
    #[arg(long)]
    no_raw: bool,
    /// With --url: the broker's process, for its memory
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
}

/// Another door than MBWS.
#[derive(Debug, Subcommand)]
enum Other {
    /// What a broker does for MQTT: ours, or any other one
    Mqtt(mqtt::Mqtt),
    /// What a router does for WAMP: ours, or any other one
    Wamp(wamp::Wamp),
    /// What a broker of ours does for SP, beside MBWS and beside nng
    Sp(sp::Sp),
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
enum Scenario {
    /// Durable sends, as fast as confirms come
    Publish,
    /// Taking and settling what waits
    Consume,
    /// Both at once, on one queue
    Both,
    /// From send to delivery, at a fixed rate
    Latency,
    /// Memory of sessions that do nothing
    Idle,
}

impl Scenario {
    const ALL: [Scenario; 5] = [
        Scenario::Publish,
        Scenario::Consume,
        Scenario::Both,
        Scenario::Latency,
        Scenario::Idle,
    ];

    fn name(self) -> &'static str {
        match self {
            Scenario::Publish => "publish",
            Scenario::Consume => "consume",
            Scenario::Both => "both",
            Scenario::Latency => "latency",
            Scenario::Idle => "idle",
        }
    }
}

/// One line of the table to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Case {
    scenario: Scenario,
    load: Load,
}

/// Measures, and prints a row as soon as it is known.
///
/// # Errors
/// What kept it from measuring.
pub(super) async fn run(mut args: Bench, global: &Global) -> anyhow::Result<Exit> {
    match args.door.take() {
        Some(Other::Mqtt(args)) => return mqtt::run(args, global).await,
        Some(Other::Wamp(args)) => return wamp::run(args, global).await,
        Some(Other::Sp(args)) => return sp::run(args, global).await,
        None => {}
    }
    let plan = plan(&args);
    let start = Start {
        pid: args.pid,
        durable_sessions: args.durable_sessions,
        settings: Vec::new(),
    };
    let target = Target::start(start, global).await?;
    let bar = progress_bar();
    let mut rows = Vec::new();
    for (number, case) in plan.iter().enumerate() {
        bar.set_message(format!("{} of {}", number + 1, plan.len()));
        let with_raw = !args.no_raw && case.scenario == Scenario::Publish;
        let raw_before = raw_half(with_raw, &target, case.load).await?;
        let before = Scrape::take(&target).await;
        let measured = measure(&target, &args, *case, number).await?;
        let after = Scrape::take(&target).await;
        let raw_after = raw_half(with_raw, &target, case.load).await?;
        let mut row = Row::new(case.scenario.name(), case.load, &measured);
        row.add_syncs(before, after, measured.whole_seconds);
        if let (Some(raw), Some(more)) = (raw_before, raw_after) {
            row.add_raw(&raw.and(&more), &measured);
        }
        rows.push(row);
    }
    bar.finish_and_clear();
    show(global, &rows, report::table)?;
    target.stop()?;
    Ok(Exit::Ok)
}

/// Half of the raw measurement. It is cut in two, before and after the broker's, for a shared disk changes its mood.
async fn raw_half(wanted: bool, target: &Target, load: Load) -> anyhow::Result<Option<Raw>> {
    if !wanted {
        return Ok(None);
    }
    let time = load.time / 2;
    let half = Load { time, ..load };
    raw::measure(target.folder(), half).await.map(Some)
}

fn plan(args: &Bench) -> Vec<Case> {
    let or = |given: &[u32], default: &[u32]| {
        let chosen = if given.is_empty() { default } else { given };
        chosen.to_vec()
    };
    let sizes = or(&args.size, &[16, 256, 4096]);
    let connections = or(&args.connections, &[1, 8, 64]);
    let windows = or(&args.window, &[256]);
    let scenarios = match args.scenario.as_slice() {
        [] => Scenario::ALL.to_vec(),
        some => some.to_vec(),
    };
    let mut plan = Vec::new();
    for scenario in scenarios {
        for size in &sizes {
            for n in &connections {
                for window in &windows {
                    let load = Load {
                        size: *size,
                        connections: *n,
                        window: *window,
                        time: args.seconds,
                    };
                    let case = narrowed(scenario, load, args);
                    if !plan.contains(&case) {
                        plan.push(case);
                    }
                }
            }
        }
    }
    plan
}

/// What does not depend on a number is not measured for each value of it.
fn narrowed(scenario: Scenario, mut load: Load, args: &Bench) -> Case {
    match scenario {
        Scenario::Publish | Scenario::Consume | Scenario::Both => {}
        Scenario::Latency => load.connections = 1,
        Scenario::Idle => {
            load.connections = args.sessions;
            load.size = 0;
            load.window = 0;
        }
    }
    Case { scenario, load }
}

async fn measure(
    target: &Target,
    args: &Bench,
    case: Case,
    number: usize,
) -> anyhow::Result<Measured> {
    let address = format!("bench/{}/{number}", std::process::id());
    match case.scenario {
        Scenario::Publish => load::publish(target, case.load, &address).await,
        Scenario::Consume => load::consume(target, case.load, &address).await,
        Scenario::Both => load::both(target, case.load, &address).await,
        Scenario::Latency => load::latency(target, case.load, args.rate, &address).await,
        Scenario::Idle => idle::measure(target, case.load).await,
    }
}

/// Prints what was measured: as JSON, or for people.
fn show<R: Serialize>(
    global: &Global,
    rows: &[R],
    table: impl Fn(&[R]) -> String,
) -> anyhow::Result<()> {
    if global.json {
        println!("{}", serde_json::to_string_pretty(rows)?);
    } else {
        print!("{}", table(rows));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn cases(line: &str) -> Vec<Case> {
        match Cli::try_parse_from(line.split(' ')).unwrap().command {
            Some(Command::Bench(args)) => plan(&args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_combination_is_measured_once() {
        assert_eq!(cases("restante bench --scenario publish").len(), 9);
        let all = cases("restante bench");
        assert_eq!(all.len(), 9 * 3 + 3 + 1);
        let few = cases("restante bench --scenario both,latency --size 16 --connections 1,8");
        assert_eq!(few.len(), 3);
    }
}
