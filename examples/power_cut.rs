//! Load on a broker whose power is cut, and the one who remembers what it confirmed: driven by `tests/power-cut`.
//!
//! ```text
//! power_cut URL KEY-FILE     one command a line on stdin, one line of answer each on stdout
//!     run      senders send and consumers settle, through as many restarts as there are, until the next command
//!     verify   waits until everything is confirmed and consumed, then checks
//!     end      as verify, then consumes what only ever waited, and checks that
//!     fill     sends until the broker refuses with `full`
//!     drain N  settles N messages of those
//!     refill   drains all, waits until the broker takes messages again, checks
//! ```
//!
//! Senders and consumers come in two kinds: those whose session goes on after a crash, where the client sends again what
//! was not confirmed, and those that begin a new one, which shows what the broker itself kept. Checked:
//! - every confirmed message is there, whole, once, in its sender's order; what was in doubt is there at most once;
//! - what was accepted, and the settlement confirmed, is not delivered again;
//! - an offset is always of the same message, and one consumer alone gets a queue in order.

#![expect(clippy::print_stdout, reason = "the answers")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use parking_lot::Mutex;
use restante::client::{
    Client, ClientError, ClientOptions, ConsumeOptions, Consumer, Credentials, Outgoing,
};
use restante_proto::mbws::Code;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// Each sender: where to, and whether its session goes on.
const SENDERS: [(&str, bool); 4] = [
    ("flow/a", true),
    ("flow/a", false),
    ("flow/b", false),
    (HOARD, false),
];
/// Each consumer: where from, and whether its session goes on.
const CONSUMERS: [(&str, bool); 3] = [("flow/a", true), ("flow/a", false), ("flow/b", false)];
/// Consumed only at the end, so that it lives through all cuts.
const HOARD: &str = "hoard";
/// The only consumer of this queue gets it in order.
const ALONE: &str = "flow/b";
const FULL: &str = "full";
/// What a broker sent is in its consumer's hands after this time.
const UNDER_WAY_MAX: Duration = Duration::from_secs(2);
/// Any wait that should end does so in this time.
const PATIENCE: Duration = Duration::from_secs(90);

/// What clients were told.
#[derive(Default)]
struct Ledger {
    /// By sender and number: whether it was confirmed.
    sent: BTreeMap<(usize, u64), bool>,
    /// By queue and offset: which message it was.
    delivered: BTreeMap<(&'static str, u64), (usize, u64)>,
    /// Accepted, and when the settlement was confirmed.
    settled: BTreeMap<(&'static str, u64), Instant>,
    /// The highest offset delivered by queue.
    highest: BTreeMap<&'static str, u64>,
    n_again: u64,
    /// Senders that were told to stop and know of each message whether it is confirmed or will stay in doubt.
    resting: BTreeSet<usize>,
    faults: Vec<String>,
}

impl Ledger {
    fn fault(&mut self, what: String) {
        if self.faults.len() < 20 {
            self.faults.push(what);
        }
    }

    /// A message came over a connection that was opened after `since`.
    fn deliver(&mut self, queue: &'static str, offset: u64, body: &[u8], since: Instant) {
        let Some(message) = read(body) else {
            return self.fault(format!(
                "{queue} {offset} is not whole: {} bytes",
                body.len()
            ));
        };
        // Right after a crash it may be on its way to one consumer while another's settlement, made before, is confirmed.
        let settled = self.settled.get(&(queue, offset));
        if settled.is_some_and(|at| *at < since || at.elapsed() > UNDER_WAY_MAX) {
            self.fault(format!(
                "{queue} {offset} came again after its settlement was confirmed"
            ));
        }
        if !self.sent.contains_key(&message) {
            self.fault(format!(
                "{queue} {offset} is {message:?}, which nobody sent"
            ));
        }
        match self.delivered.insert((queue, offset), message) {
            Some(before) if before != message => {
                self.fault(format!(
                    "{queue} {offset} was {before:?} and is now {message:?}"
                ));
            }
            Some(_) => self.n_again += 1,
            None => {
                let highest = self.highest.entry(queue).or_default();
                if queue == ALONE && offset < *highest {
                    let highest = *highest;
                    self.fault(format!("{queue} {offset} came after {highest}"));
                } else {
                    *highest = offset.max(*highest);
                }
            }
        }
    }

    /// Confirmed messages for `queue` that nobody got yet.
    fn missing(&self, queue: &str) -> Vec<(usize, u64)> {
        let got: BTreeSet<_> = self
            .delivered
            .iter()
            .filter(|((of, _), _)| *of == queue)
            .map(|(_, it)| *it)
            .collect();
        let confirmed = self
            .sent
            .iter()
            .filter(|((sender, _), confirmed)| address(*sender) == queue && **confirmed);
        confirmed
            .map(|(message, _)| *message)
            .filter(|message| !got.contains(message))
            .collect()
    }

    /// In each queue, by offset, each sender's numbers ascend: no message twice, none out of order.
    fn check_order(&mut self) {
        let mut last: BTreeMap<(&str, usize), u64> = BTreeMap::new();
        let mut faults = Vec::new();
        for ((queue, offset), (sender, n)) in &self.delivered {
            let before = last.insert((queue, *sender), *n).unwrap_or(0);
            if before >= *n {
                faults.push(format!(
                    "{queue} {offset}: message {n} of sender {sender} lies behind {before}"
                ));
            }
        }
        faults.into_iter().for_each(|fault| self.fault(fault));
    }
}

fn address(sender: usize) -> &'static str {
    SENDERS.get(sender).map_or(FULL, |(address, _)| address)
}

/// A message's body: sender, number, and as many bytes as follow from them.
fn body(sender: usize, n: u64) -> Vec<u8> {
    let len = if n.is_multiple_of(97) {
        20_000
    } else {
        n * 7919 % 900
    };
    let mut body = [(sender as u64).to_le_bytes(), n.to_le_bytes()].concat();
    body.extend((0..len).map(|at| (at + n) as u8));
    body
}

fn read(bytes: &[u8]) -> Option<(usize, u64)> {
    let (sender, rest) = bytes.split_first_chunk()?;
    let (n, _) = rest.split_first_chunk()?;
    let (sender, n) = (
        usize::try_from(u64::from_le_bytes(*sender)).ok()?,
        u64::from_le_bytes(*n),
    );
    (bytes == body(sender, n)).then_some((sender, n))
}

/// How to reach the broker, and what all tasks share.
#[derive(Clone)]
struct Stage {
    url: String,
    key_file: PathBuf,
    ledger: Arc<Mutex<Ledger>>,
    /// Whether senders are to send.
    running: watch::Receiver<bool>,
}

impl Stage {
    /// Connects, as often as it takes until the broker is there.
    async fn connect(&self, goes_on: bool) -> Client {
        loop {
            match self.try_connect(goes_on).await {
                Ok(client) => return client,
                Err(error) if error.is::<ClientError>() && !is_unreachable(&error) => {
                    self.ledger
                        .lock()
                        .fault(format!("cannot connect: {error:#}"));
                }
                Err(_) => {}
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn try_connect(&self, goes_on: bool) -> Result<Client> {
        let mut options = ClientOptions::new(&self.url);
        let token = std::fs::read_to_string(&self.key_file)?;
        options.credentials = Credentials::Token(token.trim().to_owned());
        options.window = 128;
        options.reconnect.max = Duration::from_millis(200);
        if goes_on {
            options.expiry = Duration::from_secs(3600);
        }
        Ok(Client::connect(options).await?)
    }

    async fn send_for_ever(mut self, sender: usize) {
        let goes_on = SENDERS.get(sender).is_some_and(|(_, goes_on)| *goes_on);
        let mut n = 0;
        loop {
            let client = self.connect(goes_on).await;
            let base = n;
            let error = loop {
                if !*self.running.borrow() {
                    let confirmed = client.all_confirmed().await;
                    self.note(&client, sender, base);
                    if let Err(error) = confirmed {
                        break error;
                    }
                    self.ledger.lock().resting.insert(sender);
                    if self.running.wait_for(|running| *running).await.is_err() {
                        return;
                    }
                    self.ledger.lock().resting.remove(&sender);
                }
                n += 1;
                self.ledger.lock().sent.insert((sender, n), false);
                let sent = client
                    .send(Outgoing::bytes(address(sender), body(sender, n)))
                    .await;
                self.note(&client, sender, base);
                if let Err(error) = sent {
                    break error;
                }
                if n.is_multiple_of(16) {
                    sleep(Duration::from_millis(2)).await;
                }
            };
            if goes_on {
                self.ledger
                    .lock()
                    .fault(format!("sender {sender}: {error}"));
            }
        }
    }

    /// Writes down what is confirmed of what was sent after `base`.
    fn note(&self, client: &Client, sender: usize, base: u64) {
        let confirmed = client.progress().borrow().confirmed.number();
        let mut ledger = self.ledger.lock();
        for failure in client.take_failures() {
            ledger.fault(format!("sender {sender}: {failure:?}"));
        }
        let range = (
            Bound::Excluded((sender, base)),
            Bound::Included((sender, base + confirmed)),
        );
        let news = ledger.sent.range_mut(range);
        news.rev()
            .take_while(|(_, confirmed)| !**confirmed)
            .for_each(|(_, confirmed)| *confirmed = true);
    }

    async fn consume_for_ever(self, queue: &'static str, goes_on: bool) {
        loop {
            let since = Instant::now();
            let client = self.connect(goes_on).await;
            let error = match client.consume(ConsumeOptions::new(queue)).await {
                Ok(consumer) => self.consume(consumer, queue, since).await,
                Err(error) => error,
            };
            if goes_on {
                self.ledger
                    .lock()
                    .fault(format!("a consumer of {queue}: {error}"));
            }
        }
    }

    async fn consume(
        &self,
        mut consumer: Consumer,
        queue: &'static str,
        since: Instant,
    ) -> ClientError {
        let mut accepted = BTreeSet::new();
        loop {
            match timeout(Duration::from_millis(20), consumer.next_batch(32)).await {
                Ok(Ok(batch)) => {
                    let mut ledger = self.ledger.lock();
                    for delivery in &batch {
                        ledger.deliver(queue, delivery.offset, &delivery.body.bytes, since);
                    }
                    drop(ledger);
                    let (back, done): (Vec<u64>, Vec<u64>) = batch
                        .iter()
                        .map(|it| it.offset)
                        .partition(|offset| offset.is_multiple_of(61));
                    // Once is enough: the next time it is accepted.
                    let (back, again): (Vec<u64>, Vec<u64>) = back.into_iter().partition(|back| {
                        batch.iter().any(|it| it.offset == *back && it.attempt == 1)
                    });
                    consumer.release(back, None);
                    consumer.accept(done.iter().chain(&again).copied());
                    // Where the session is over, these are passed over in silence.
                    let unconfirmed = consumer.unconfirmed();
                    let taken = done.into_iter().chain(again);
                    accepted.extend(taken.filter(|offset| unconfirmed.contains(*offset)));
                }
                Ok(Err(error)) => return error,
                Err(_nothing) => {}
            }
            let unconfirmed = consumer.unconfirmed();
            let (open, mut confirmed): (BTreeSet<u64>, BTreeSet<u64>) = accepted
                .into_iter()
                .partition(|offset| unconfirmed.contains(*offset));
            // Refused ones are no longer unconfirmed either, so they are asked for afterwards.
            for failure in consumer.take_failures() {
                confirmed.retain(|offset| !failure.offsets.contains(*offset));
            }
            accepted = open;
            let now = Instant::now();
            self.ledger
                .lock()
                .settled
                .extend(confirmed.into_iter().map(|offset| ((queue, offset), now)));
        }
    }

    /// Waits until all that is confirmed was delivered.
    async fn verify(&self) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (missing, n_resting, faults) = {
                let ledger = self.ledger.lock();
                let missing: Vec<_> = ["flow/a", "flow/b"]
                    .into_iter()
                    .flat_map(|queue| ledger.missing(queue))
                    .collect();
                (missing, ledger.resting.len(), ledger.faults.join("\n"))
            };
            if !faults.is_empty() {
                bail!("{faults}");
            }
            if missing.is_empty() && n_resting == SENDERS.len() {
                break;
            }
            if Instant::now() > deadline {
                let some = missing.get(..10).unwrap_or(&missing);
                bail!(
                    "{n_resting} senders rest, {} confirmed messages did not come: {some:?}",
                    missing.len()
                );
            }
            sleep(Duration::from_millis(20)).await;
        }
        self.judge()
    }

    fn judge(&self) -> Result<String> {
        let mut ledger = self.ledger.lock();
        ledger.check_order();
        if !ledger.faults.is_empty() {
            bail!("{}", ledger.faults.join("\n"));
        }
        let n_confirmed = ledger.sent.values().filter(|confirmed| **confirmed).count();
        Ok(format!(
            "sent {}, confirmed {n_confirmed}, delivered {}, again {}, settled {}",
            ledger.sent.len(),
            ledger.delivered.len(),
            ledger.n_again,
            ledger.settled.len(),
        ))
    }

    /// Takes `at_most` messages of `queue`, or all that are confirmed.
    async fn drain(&self, queue: &'static str, at_most: Option<u64>) -> Result<()> {
        let since = Instant::now();
        let client = self.connect(false).await;
        let mut options = ConsumeOptions::new(queue);
        options.at_most = at_most;
        let mut consumer = client.consume(options).await?;
        let mut left = at_most.unwrap_or(u64::MAX);
        while left > 0 && (at_most.is_some() || !self.ledger.lock().missing(queue).is_empty()) {
            let batch = timeout(PATIENCE, consumer.next_batch(256))
                .await
                .with_context(|| {
                    let missing = self.ledger.lock().missing(queue);
                    let some = missing.get(..10).unwrap_or(&missing);
                    let n = missing.len();
                    format!("no more messages come, {n} confirmed ones are missing: {some:?}")
                })??;
            left -= batch.len() as u64;
            let offsets: Vec<u64> = batch.iter().map(|delivery| delivery.offset).collect();
            for delivery in &batch {
                self.ledger
                    .lock()
                    .deliver(queue, delivery.offset, &delivery.body.bytes, since);
            }
            consumer.accept(offsets.iter().copied());
            timeout(PATIENCE, consumer.all_settled())
                .await
                .context("settling hangs")??;
            let now = Instant::now();
            self.ledger
                .lock()
                .settled
                .extend(offsets.into_iter().map(|offset| ((queue, offset), now)));
        }
        client.close().await?;
        Ok(())
    }

    /// Sends until the broker says that it is full.
    async fn fill(&self) -> Result<String> {
        let client = self.connect(false).await;
        let sender = SENDERS.len();
        let first = self.ledger.lock().sent.len() as u64 + 1;
        for n in (first..).map(|n| n * 97) {
            self.ledger.lock().sent.insert((sender, n), false);
            let message = Outgoing::bytes(FULL, body(sender, n));
            match timeout(PATIENCE, client.send_confirmed(message))
                .await
                .context("sending hangs")?
            {
                Ok(()) => drop(self.ledger.lock().sent.insert((sender, n), true)),
                Err(ClientError::Refused(Code::Full)) => break,
                Err(error) => return Err(error.into()),
            }
        }
        self.judge()
    }

    /// Drains all, and waits until messages are taken again.
    async fn refill(&self) -> Result<String> {
        self.drain(FULL, None).await?;
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = self.fill_once().await {
            if Instant::now() > deadline {
                return Err(error.context("no messages are taken although there is space"));
            }
            sleep(Duration::from_millis(100)).await;
        }
        self.drain(FULL, None).await?;
        self.judge()
    }

    async fn fill_once(&self) -> Result<()> {
        let client = self.connect(false).await;
        let n = (self.ledger.lock().sent.len() as u64 + 1) * 97;
        let message = (SENDERS.len(), n);
        self.ledger.lock().sent.insert(message, false);
        client
            .send_confirmed(Outgoing::bytes(FULL, body(message.0, n)))
            .await?;
        self.ledger.lock().sent.insert(message, true);
        Ok(())
    }
}

fn is_unreachable(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ClientError::Unreachable { .. }))
}

/// One command, and its answer.
async fn obey(stage: &Stage, running: &watch::Sender<bool>, line: &str) -> Result<String> {
    running.send_replace(line == "run");
    match line.split_once(' ').unwrap_or((line, "")) {
        ("run", _) => Ok("running".to_owned()),
        ("verify", _) => stage.verify().await,
        ("end", _) => {
            stage.verify().await?;
            stage.drain(HOARD, None).await?;
            stage.judge()
        }
        ("fill", _) => stage.fill().await,
        ("drain", n) => {
            stage.drain(FULL, Some(n.parse()?)).await?;
            stage.judge()
        }
        ("refill", _) => stage.refill().await,
        (other, _) => bail!("there is no command {other}"),
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, key_file] = arguments.as_slice() else {
        bail!("power_cut URL KEY-FILE")
    };
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::exit(1);
    }));
    let (running, watched) = watch::channel(false);
    let stage = Stage {
        url: url.clone(),
        key_file: Path::new(key_file).to_owned(),
        ledger: Arc::default(),
        running: watched,
    };
    let (send, mut lines) = tokio::sync::mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if send.blocking_send(line).is_err() {
                break;
            }
        }
    });
    let mut tasks = Vec::new();
    while let Some(line) = lines.recv().await {
        if line == "run" && tasks.is_empty() {
            for sender in 0..SENDERS.len() {
                tasks.push(tokio::spawn(stage.clone().send_for_ever(sender)));
            }
            for (queue, goes_on) in CONSUMERS {
                tasks.push(tokio::spawn(stage.clone().consume_for_ever(queue, goes_on)));
            }
        }
        match obey(&stage, &running, &line).await {
            Ok(answer) => println!("ok {line}: {answer}"),
            Err(error) => {
                println!("FAILED {line}: {error:#}");
                // Whoever drives looks at the broker first, with all that is connected to it.
                while lines.recv().await.is_some() {}
                std::process::exit(1);
            }
        }
    }
    Ok(())
}
