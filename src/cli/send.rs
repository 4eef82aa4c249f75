//! `send`: each line a message, done when every one is on the broker's disk.
//!
//! ```text
//! stdin or file ─▶ thread `lines` ─▶ batches ─▶ Client (window, resume) ─▶ confirms ─▶ exit 0
//! ```
//!
//! The session goes on through restarts of the broker; with `--resume-file` also through a kill of this process.

mod lines;
mod resume;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::ProgressBar;
use restante_proto::mbws::Code;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::access::{Patience, check_address, client_options, who_sees_why};
use super::notice::{interrupted, progress_bar, say, watch_connection};
use super::{Exit, Global};
use crate::client::{Client, ClientError, Progress};
use lines::{Batches, Form};
use resume::{Job, Resume};

/// Refused messages that are named; the summary counts all.
const NAMED_FAILURES_MAX: u64 = 10;
/// How long an interrupted command waits for what is under way.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How long the broker keeps the session: a line that was sent is stored once within that time.
const EXPIRY: Duration = Duration::from_secs(3600);
/// A command that goes on with a job waits for its broker as long as it takes.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 86400);

const EXAMPLES: &str = "\
Examples:
  restante send orders/eu < lines.txt
  echo '{\"body\":\"hi\",\"key\":\"k1\",\"ttl\":\"1h\"}' | restante send orders/eu --json
  restante send orders/eu --file big.txt --resume-file big.state    # may be killed and run again";

/// `send`.
#[derive(Debug, Args)]
#[command(before_help = EXAMPLES)]
pub struct Send {
    /// Where to send to
    #[arg(value_name = "ADDRESS")]
    address: String,
    /// Read lines from this file [default: stdin]. A line is a text message, or bytes where it is not UTF-8; its
    /// newline is not part of it. With --json a line is a message:
    /// {"body" or "body_base64", "message_id", "correlation_id", "reply_to", "content_type", "key", "priority",
    /// "ttl" (ms or "1h"), "properties": {}}
    #[arg(long, value_name = "FILE", verbatim_doc_comment)]
    file: Option<PathBuf>,
    /// Messages that may be unconfirmed at once
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    window: u32,
    /// Keep the session's id here, to go on after this command was killed: run it again with the same options, and
    /// each line is stored once. Removed when all is sent
    #[arg(long, value_name = "STATE", requires = "file")]
    resume_file: Option<PathBuf>,
    #[command(flatten)]
    patience: Patience,
}

/// Sends.
///
/// # Errors
/// What kept it from sending everything; refused messages are [`Exit::Failed`].
pub(super) async fn run(args: Send, global: &Global) -> anyhow::Result<Exit> {
    check_address(&args.address)?;
    let mut options = client_options(global, &args.patience, EXPIRY)?;
    options.name = Some(format!("restante send {}", args.address));
    options.window = args.window;
    let mut resume = load_resume(&args, &options.url, global.json)?;
    if let Some(resume) = &resume {
        options.session = Some(resume.session());
        if resume.goes_on() && args.patience.timeout.is_none() {
            options.connect_timeout = Some(FOR_EVER);
        }
    }
    let client = Client::connect(options).await?;
    let skip = match &mut resume {
        Some(resume) => resume.opened(client.opening())?,
        None => 0,
    };
    let form = Form {
        address: args.address.clone(),
        json: global.json,
    };
    let batches = lines::start(args.file.as_deref(), skip, form)?;
    let bar = progress_bar();
    if skip > 0 {
        say(&bar, &format!("going on at line {}", skip + 1));
    }
    let watching = watch_connection(&client, &bar);
    let mut sending = Sending {
        base: client.opening().confirmed,
        client,
        why: who_sees_why("send", &args.address, global),
        address: args.address,
        bar,
        resume,
        started: Instant::now(),
        named: 0,
        denied: 0,
    };
    let outcome = sending.send_all(batches).await;
    drop(watching);
    sending.finish(outcome).await
}

fn load_resume(args: &Send, url: &str, json: bool) -> anyhow::Result<Option<Resume>> {
    let (Some(path), Some(file)) = (&args.resume_file, &args.file) else {
        return Ok(None);
    };
    let job = Job {
        url: url.to_owned(),
        address: args.address.clone(),
        file: file.clone(),
        json,
    };
    Resume::load(path, job).map(Some)
}

struct Sending {
    client: Client,
    address: String,
    /// Where to see why nothing got through.
    why: String,
    bar: ProgressBar,
    resume: Option<Resume>,
    started: Instant,
    /// The session's last confirmed frame before this process.
    base: u64,
    /// Failures named so far.
    named: u64,
    /// Failures that were about who sends.
    denied: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Ended {
    AllConfirmed,
    Interrupted,
}

impl Sending {
    async fn send_all(&mut self, batches: Batches) -> anyhow::Result<Ended> {
        let client = self.client.clone();
        let work = async {
            feed(&client, batches).await?;
            client.all_confirmed().await?;
            anyhow::Ok(())
        };
        tokio::pin!(work);
        let interrupted = interrupted();
        tokio::pin!(interrupted);
        let mut ticks = interval(Duration::from_millis(500));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                outcome = &mut work => return outcome.map(|()| Ended::AllConfirmed),
                () = &mut interrupted => return Ok(Ended::Interrupted),
                _ = ticks.tick() => self.tick()?,
            }
        }
    }

    /// Shows and notes how far it has got.
    fn tick(&mut self) -> anyhow::Result<()> {
        let progress = *self.client.progress().borrow();
        let number = progress.confirmed.number();
        self.bar.set_position(number.saturating_sub(self.base));
        self.name_failures();
        if let Some(resume) = &mut self.resume {
            resume.note(progress.confirmed.number())?;
        }
        Ok(())
    }

    fn name_failures(&mut self) {
        for failure in self.client.take_failures() {
            self.named += 1;
            self.denied += u64::from(failure.code == Code::Denied);
            let number = failure.ticket.number();
            if self.named <= NAMED_FAILURES_MAX {
                say(
                    &self.bar,
                    &format!("message {number} was refused: {}", failure.code),
                );
            } else if self.named == NAMED_FAILURES_MAX + 1 {
                say(&self.bar, "more were refused");
            }
        }
    }

    async fn finish(mut self, outcome: anyhow::Result<Ended>) -> anyhow::Result<Exit> {
        let ended = match outcome {
            Ok(ended) => ended,
            Err(error) => {
                self.summary();
                return Err(self.explain(error));
            }
        };
        if ended == Ended::Interrupted {
            let waited = timeout(LAST_WORDS, self.client.all_confirmed()).await;
            self.summary();
            if let Some(mut resume) = self.resume.take() {
                resume.note(self.client.progress().borrow().confirmed.number())?;
                self.client.detach().await;
                eprintln!("interrupted; run the same command again to go on");
            } else if matches!(waited, Ok(Ok(()))) {
                eprintln!("interrupted; what was sent is confirmed");
            } else {
                eprintln!("interrupted; what is not confirmed may or may not be stored");
            }
            return Ok(Exit::Failed);
        }
        let progress = self.summary();
        let sent = self.sent();
        // First the file, then the session: a kill between the two leaves nothing that looks unfinished.
        if let Some(resume) = self.resume.take() {
            resume.finish()?;
        }
        if timeout(LAST_WORDS, self.client.close()).await.is_err() {
            eprintln!("the broker did not answer the end of the session; it ends by itself");
        }
        // Nothing at all got through, and for one reason.
        let all_denied = progress.failed > 0 && [self.denied, sent] == [progress.failed; 2];
        if all_denied {
            eprintln!("you may not send to {}; {}", self.address, self.why);
        }
        Ok(match progress.failed {
            0 => Exit::Ok,
            _ if all_denied => Exit::Denied,
            _ => Exit::Failed,
        })
    }

    /// Messages of this process.
    fn sent(&self) -> u64 {
        self.client.last_ticket().number() - self.base
    }

    fn summary(&mut self) -> Progress {
        self.name_failures();
        self.bar.finish_and_clear();
        let progress = *self.client.progress().borrow();
        let sent = self.sent();
        let answered = progress.confirmed.number().saturating_sub(self.base);
        let confirmed = answered.saturating_sub(progress.failed);
        let seconds = self.started.elapsed().as_secs_f64();
        let rate = answered as f64 / seconds.max(1e-9);
        let failed = progress.failed;
        eprintln!(
            "sent {sent}, confirmed {confirmed}, failed {failed} in {seconds:.2} s ({rate:.0} messages/s)"
        );
        progress
    }

    fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        match (&self.resume, error.downcast_ref()) {
            (Some(resume), Some(ClientError::SessionLost { .. })) => resume.lost(),
            (Some(_), _) => error.context("not done; run the same command again to go on"),
            (None, _) => error,
        }
    }
}

async fn feed(client: &Client, mut batches: Batches) -> anyhow::Result<()> {
    while let Some(batch) = batches.recv().await {
        client.send_batch(batch?).await?;
    }
    Ok(())
}
