//! `consume`: prints messages, and settles each once it is written.
//!
//! ```text
//! Consumer ─▶ batch ─▶ Sink: write, flush (file: append, sync, state) ─▶ accept
//! ```
//!
//! To stdout a message is written once in the life of this process, whatever becomes of the broker. To a file
//! (`--output`) it is written once, whatever becomes of this process too.

mod output;
mod sink;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use restante_proto::mbws::Mode;
use tokio::time::{sleep, timeout};

use super::access::{
    Patience, check_address, check_filter, client_options, command_about, who_sees_why,
};
use super::notice::{interrupted, progress_bar, say, watch_connection};
use super::time::parse_duration;
use super::{Exit, Global, UsageError};
use crate::client::{Client, ClientOptions, Connection, ConsumeOptions, Consumer, Delivery};
use output::Output;
use sink::{Form, Sink};

/// The consumer's name in its session: there is one.
const NAME: &str = "cli";
/// Messages written and settled at once.
const BATCH_MAX: usize = 1024;
/// With nothing by then, a hint says where to look.
const HINT_AFTER: Duration = Duration::from_secs(3);
/// How long an interrupted command waits for its settlements to be confirmed.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// A killed command that wrote to a file is run again: until then what it had in hand is kept for it.
const EXPIRY_OF_FILE: Duration = Duration::from_secs(3600);
/// One that wrote to stdout is not: others should get soon what it had in hand. In a session that expired under a
/// living command, what it has written is still recognised by its offset.
const EXPIRY_OF_STDOUT: Duration = Duration::from_secs(30);

const EXAMPLES: &str = "\
Examples:
  restante consume orders/eu                  # what waits, then end
  restante consume orders/eu --count 10       # wait for ten
  restante consume orders/eu --follow --json | jq .body
  restante consume orders/eu --output got.txt # each message once in the file, even after kill -9";

/// `consume`.
#[derive(Debug, Args)]
#[command(before_help = EXAMPLES)]
pub struct Consume {
    /// Where to consume from
    #[arg(value_name = "ADDRESS")]
    address: String,
    /// End after this many messages; with --output, those that a killed command wrote count too
    #[arg(long, value_name = "N", conflicts_with = "follow")]
    count: Option<u64>,
    /// Go on for ever
    #[arg(long)]
    follow: bool,
    /// Without --count and --follow: end when nothing has come for this long
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "1s")]
    idle: Duration,
    /// Append to this file, syncing it before anything is settled; FILE.restante beside it remembers what a killed
    /// command had written. Run the same command again to go on
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Messages in hand at once
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    window: u32,
    /// How to consume
    #[arg(long, value_enum, default_value_t = How::Queue)]
    mode: How,
    /// Let no other consumer take from the queue meanwhile
    #[arg(long)]
    exclusive: bool,
    #[command(flatten)]
    patience: Patience,
}

/// How to consume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum How {
    /// Take each message from the queue
    Queue,
    /// Hear what is sent from now on to addresses that match ADDRESS, which may have wildcards
    Topic,
}

/// Whether ADDRESS is what the mode wants.
///
/// # Errors
/// It is not, and why.
fn check_place(args: &Consume) -> anyhow::Result<()> {
    let address = &args.address;
    if args.mode == How::Topic {
        return check_filter(address);
    }
    if address.contains(['+', '#']) && check_filter(address).is_ok() {
        let why = format!(
            "`{address}` has wildcards: name one queue, or hear what is sent from now on with --mode topic"
        );
        return Err(UsageError(why).into());
    }
    check_address(address)
}

/// Consumes.
///
/// # Errors
/// What kept it from going on.
pub(super) async fn run(args: Consume, global: &Global) -> anyhow::Result<Exit> {
    check_place(&args)?;
    let expiry = if args.output.is_some() {
        EXPIRY_OF_FILE
    } else {
        EXPIRY_OF_STDOUT
    };
    let mut options = client_options(global, &args.patience, expiry)?;
    options.name = Some(format!("restante consume {}", args.address));
    // Offsets never change, so what comes again in a new session is recognised by them.
    options.at_least_once = true;
    let form = if global.json { Form::Json } else { Form::Text };
    let (consuming, sink) = match &args.output {
        Some(path) => {
            if args.mode != How::Queue {
                let why = "--output goes with --mode queue only: nothing else is settled";
                return Err(UsageError(why.into()).into());
            }
            open_output(path.clone(), &args, form, options).await?
        }
        None => {
            let client = Client::connect(options).await?;
            let consumer = client.consume(consume_options(&args)).await?;
            (Consuming { client, consumer }, Sink::stdout(form))
        }
    };
    let work = Work {
        left: left(&args, sink.messages_before()),
        idle: (args.count.is_none() && !args.follow).then_some(args.idle),
        bar: if args.output.is_some() {
            progress_bar()
        } else {
            ProgressBar::hidden()
        },
        started: Instant::now(),
        n_written: 0,
        hint: has_a_reason(&args).then(|| hint(&args, global)),
        sink,
    };
    work.run(consuming).await
}

/// What `--count` wants beside the messages that killed commands wrote; none: no end.
fn left(args: &Consume, before: u64) -> Option<u64> {
    args.count.map(|count| count.saturating_sub(before))
}

/// Whether the broker can say why nothing comes: of topics and temporary queues it cannot.
fn has_a_reason(args: &Consume) -> bool {
    args.mode == How::Queue && !args.address.starts_with('~')
}

/// Where to look when nothing comes: there may be much in the queue, and something that keeps it there.
fn hint(args: &Consume, global: &Global) -> String {
    let why = command_about("queue why", &args.address, global);
    format!("nothing came; `{why}` says whether something keeps it back")
}

impl Consume {
    /// What to say if it is denied.
    pub(super) fn denied(&self, global: &Global) -> String {
        let (address, why) = (
            &self.address,
            who_sees_why("consume", &self.address, global),
        );
        format!("you may not consume from {address}; {why}")
    }
}

struct Consuming {
    client: Client,
    consumer: Consumer,
}

fn consume_options(args: &Consume) -> ConsumeOptions {
    let mut options = ConsumeOptions::new(&args.address);
    options.name = Some(NAME.into());
    options.window = args.window;
    options.at_most = args.count;
    options.mode = match args.mode {
        How::Queue => Mode::Queue,
        How::Topic => Mode::Topic,
    };
    options.exclusive = args.exclusive;
    options
}

/// Goes on where a killed command was, or begins.
async fn open_output(
    path: PathBuf,
    args: &Consume,
    form: Form,
    mut options: ClientOptions,
) -> anyhow::Result<(Consuming, Sink)> {
    let job = output::Job {
        url: options.url.clone(),
        address: args.address.clone(),
        json: form == Form::Json,
    };
    let mut output = Output::open(path, job)?;
    options.session = Some(output.session());
    let client = Client::connect(options).await?;
    let opening = client.opening();
    let existing = opening.resumed && output.has_consumer();
    output.opened(opening.session)?;
    let mut wish = consume_options(args);
    wish.at_most = left(args, output.messages());
    wish.processed = output.written().clone();
    wish.existing = existing;
    if opening.resumed && !existing {
        end_leftover(&client, args).await?;
    }
    let consumer = client.consume(wish).await?;
    output.has_begun()?;
    let consuming = Consuming { client, consumer };
    Ok((consuming, Sink::file(output, form)))
}

/// A command killed between starting its consumer and noting it left one that never got anything: it is ended.
async fn end_leftover(client: &Client, args: &Consume) -> anyhow::Result<()> {
    let mut wish = consume_options(args);
    wish.existing = true;
    wish.window = 1;
    wish.at_most = Some(0);
    let leftover = client.consume(wish).await?;
    match leftover.cancel().await {
        Ok(()) | Err(crate::client::ClientError::Refused(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

struct Work {
    /// Messages still to be written; none: no end.
    left: Option<u64>,
    /// End when nothing came for this long.
    idle: Option<Duration>,
    bar: ProgressBar,
    started: Instant,
    n_written: u64,
    /// Said once, where nothing comes.
    hint: Option<String>,
    sink: Sink,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Done,
    Interrupted,
    /// Whoever read our output has gone.
    Unread,
}

impl Work {
    async fn run(mut self, consuming: Consuming) -> anyhow::Result<Exit> {
        let Consuming {
            client,
            mut consumer,
        } = consuming;
        let watching = watch_connection(&client, &self.bar);
        let outcome = self.consume(&client, &mut consumer).await;
        drop(watching);
        self.bar.finish_and_clear();
        let ended = match outcome {
            Ok(ended) => ended,
            Err(error) => {
                // What is in hand goes back now, but for a file's, which the next command goes on with.
                if !self.sink.is_file() {
                    drop(timeout(LAST_WORDS, client.close()).await);
                }
                return Err(error);
            }
        };
        let all_settled = match ended {
            Ended::Interrupted => timeout(LAST_WORDS, consumer.all_settled()).await.ok(),
            Ended::Done | Ended::Unread => Some(consumer.all_settled().await),
        };
        let settled = matches!(all_settled, Some(Ok(())));
        if settled {
            self.sink.finish(consumer.unconfirmed())?;
            if timeout(LAST_WORDS, client.close()).await.is_err() {
                eprintln!("the broker did not answer the end of the session; it ends by itself");
            }
        } else {
            client.detach().await;
        }
        self.report(ended, settled);
        if let Some(Err(error)) = all_settled {
            return Err(error.into());
        }
        Ok(match ended {
            Ended::Unread => Exit::Failed,
            Ended::Done | Ended::Interrupted if settled => Exit::Ok,
            Ended::Done | Ended::Interrupted => Exit::Failed,
        })
    }

    async fn consume(&mut self, client: &Client, consumer: &mut Consumer) -> anyhow::Result<Ended> {
        let interrupted = interrupted();
        tokio::pin!(interrupted);
        let quiet = sleep(HINT_AFTER);
        tokio::pin!(quiet);
        while self.left != Some(0) {
            let n_max = self.left.map_or(BATCH_MAX, |left| {
                usize::try_from(left).unwrap_or(BATCH_MAX).min(BATCH_MAX)
            });
            let batch = tokio::select! {
                batch = consumer.next_batch(n_max) => batch?,
                () = idle_for(client, self.idle) => {
                    self.say_hint();
                    return Ok(Ended::Done);
                }
                () = &mut interrupted => return Ok(Ended::Interrupted),
                () = &mut quiet, if self.hint.is_some() && self.idle.is_none() => {
                    self.say_hint();
                    continue;
                }
            };
            self.hint = None;
            if !self.write(consumer, &batch)? {
                return Ok(Ended::Unread);
            }
        }
        Ok(Ended::Done)
    }

    fn say_hint(&mut self) {
        if let Some(hint) = self.hint.take() {
            say(&self.bar, &hint);
        }
    }

    /// Writes, then settles. False: nobody reads what is written; nothing was settled.
    fn write(&mut self, consumer: &Consumer, batch: &[Delivery]) -> anyhow::Result<bool> {
        if !self.sink.write(batch, &consumer.unconfirmed())? {
            return Ok(false);
        }
        consumer.accept(batch.iter().map(|delivery| delivery.offset));
        let n = batch.len() as u64;
        self.n_written += n;
        self.left = self.left.map(|left| left.saturating_sub(n));
        self.bar.set_position(self.n_written);
        Ok(true)
    }

    fn report(&self, ended: Ended, settled: bool) {
        let n = self.n_written;
        let seconds = self.started.elapsed().as_secs_f64();
        let word = if n == 1 {
            "message was"
        } else {
            "messages were"
        };
        match ended {
            Ended::Unread => eprintln!("nobody reads stdout any more; {n} {word} written"),
            Ended::Done | Ended::Interrupted if !settled => {
                eprintln!("{n} {word} written; not all settlements are confirmed");
            }
            Ended::Done | Ended::Interrupted => {
                eprintln!("{} in {seconds:.2} s", super::show::count(n, "message"));
            }
        }
    }
}

/// Waits until nothing has happened for `idle` on a connection that was up all the time; for ever if none.
async fn idle_for(client: &Client, idle: Option<Duration>) {
    let Some(idle) = idle else {
        return std::future::pending().await;
    };
    let mut connection = client.connection();
    loop {
        connection.mark_unchanged();
        let up = matches!(&*connection.borrow(), Connection::Up { .. });
        let changed = connection.changed();
        if !up {
            if changed.await.is_err() {
                return;
            }
        } else if timeout(idle, changed).await.is_err() {
            return;
        }
    }
}
