//! Pairs of a publisher and a subscriber. One task is both: it publishes as long as not too much is under way, acknowledged
//! or not.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use restante_proto::wamp::{Dict, Message};

use super::super::pool::{Meter, Pool, Times, quiet};
use super::super::row::Row;
use super::Wamp;
use super::door::Door;
use super::pace::Pace;
use super::peer::{Offer, Peer};
use super::rpc::Task;
use super::template::{Template, time_of};

/// As many publishers as subscribers, in pairs.
///
/// # Errors
/// A client that ended.
pub(super) async fn measure(
    door: &Door,
    pool: &Pool,
    args: &Wamp,
    acknowledge: bool,
) -> anyhow::Result<Row> {
    let run = std::process::id();
    let topics = (0..args.clients).map(|it| format!("bench.{run}.topic.{it}"));
    let scenario = if acknowledge {
        "events, acknowledged"
    } else {
        "events"
    };
    run_events(door, pool, args, (scenario, acknowledge), topics.collect()).await
}

/// Has a pair for each topic exchange events for a while.
///
/// # Errors
/// A client that ended.
pub(super) async fn run_events(
    door: &Door,
    pool: &Pool,
    args: &Wamp,
    (scenario, acknowledge): (&'static str, bool),
    topics: Vec<String>,
) -> anyhow::Result<Row> {
    let meter = Meter::new();
    let n_pairs = topics.len() as u32;
    let mut pairs: Vec<Task<u64>> = Vec::new();
    for (number, topic) in topics.into_iter().enumerate() {
        let entrance = Arc::clone(&door.entrance);
        let (shared, size, window) = (Arc::clone(&meter), args.size, u64::from(args.window));
        let rate = args.rate;
        pairs.push(pool.spawn(number, async move {
            let mut subscriber = Peer::connect(&entrance).await?;
            let pattern = (topic.clone(), "exact");
            subscriber.offer(Offer::Subscription, &[pattern]).await?;
            let template = Template::new(&entrance, size, publish(topic, acknowledge))?;
            let pair = Pair {
                publisher: Peer::connect(&entrance).await?,
                subscriber,
                pace: Pace::new(rate, number, n_pairs as usize, shared.nanos()),
                acknowledge,
                n_sent: 0,
                n_acknowledged: 0,
                n_came: 0,
            };
            pair.run(template, window, shared).await
        }));
    }
    let counted = meter
        .count(args.warm_up, args.seconds, door.process)
        .await?;
    meter.stop();
    let mut n_missing = 0;
    for pair in pairs {
        n_missing += pair.await??;
    }
    let mut row = Row::new(scenario, args.size).counted(&counted);
    row.publishers = Some(n_pairs);
    row.subscribers = Some(n_pairs);
    row.window = Some(args.window);
    row.missing = Some(n_missing);
    row.times(&meter.latency());
    Ok(row)
}

/// What makes a PUBLISH.
pub(super) fn publish(
    topic: String,
    acknowledge: bool,
) -> impl FnOnce(u64, restante_proto::wamp::Payload) -> Message {
    move |request, payload| Message::Publish {
        request,
        options: if acknowledge {
            Dict::new().with("acknowledge", true)
        } else {
            Dict::new()
        },
        topic,
        payload,
    }
}

struct Pair {
    publisher: Peer,
    subscriber: Peer,
    pace: Pace,
    acknowledge: bool,
    n_sent: u64,
    n_acknowledged: u64,
    n_came: u64,
}

impl Pair {
    /// Until it is told to stop; how many events, or acknowledgements, never came.
    async fn run(
        mut self,
        mut template: Template,
        window: u64,
        meter: Arc<Meter>,
    ) -> anyhow::Result<u64> {
        let mut stop = meter.stopped();
        let mut times = Times::new();
        loop {
            let stopped = *stop.borrow();
            if !stopped {
                while self.n_sent - self.n_done() < window
                    && let Some(time) = self.pace.next(meter.nanos())
                {
                    self.publisher.put(&mut template, time);
                    self.n_sent += 1;
                }
                self.publisher.flush().await?;
            } else if self.n_sent == self.n_done() {
                break;
            }
            let has_room = self.n_sent - self.n_done() < window;
            if !has_room {
                self.pace.hold();
            }
            tokio::select! {
                heard = self.publisher.hear() => heard?,
                heard = self.subscriber.hear() => heard?,
                () = self.pace.due(&meter), if has_room && !stopped => continue,
                () = quiet(&mut stop) => break,
            }
            self.take(&meter, &mut times)?;
        }
        meter.add(&times);
        Ok(self.n_sent - self.n_done())
    }

    fn n_done(&self) -> u64 {
        if self.acknowledge {
            self.n_came.min(self.n_acknowledged)
        } else {
            self.n_came
        }
    }

    fn take(&mut self, meter: &Meter, times: &mut Times) -> anyhow::Result<()> {
        let counting = meter.is_counting();
        let now = meter.nanos();
        let (mut n_acknowledged, mut n_came) = (0, 0);
        while let Some(message) = self.publisher.take()? {
            n_acknowledged += u64::from(matches!(message, Message::Published { .. }));
        }
        while let Some(message) = self.subscriber.take()? {
            if let Message::Event { payload, .. } = message {
                n_came += 1;
                if counting {
                    times.record(now.saturating_sub(time_of(&payload)));
                }
            }
        }
        self.n_acknowledged += n_acknowledged;
        self.n_came += n_came;
        meter.published.fetch_add(n_acknowledged, Ordering::Relaxed);
        meter.delivered.fetch_add(n_came, Ordering::Relaxed);
        Ok(())
    }
}
