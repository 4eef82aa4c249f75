//! `$SYS` topics, as mosquitto names them: what dashboards read.
//!
//! Names, units and meanings are those of `mosquitto(8)`, "Broker status". Counts of clients, subscriptions and stored messages are about
//! all doors; those of packets and bytes about MQTT. Not told is what has no meaning here: the heap (see
//! `process_resident_memory_bytes` in `/metrics`).
//!
//! Comes before: `broker/news.rs`, which says who hears it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::time::MissedTickBehavior;

use crate::broker::Broker;
use crate::front::Traffic;

/// Product and version, as `$SYS/broker/version` says.
const VERSION: &str = concat!("restante version ", env!("CARGO_PKG_VERSION"));

/// Tells the broker's clients of it, every `interval`, for ever.
pub(crate) async fn tell(broker: Broker, traffic: Arc<Traffic>, interval: Duration) {
    let began = Instant::now();
    let mut tick = tokio::time::interval(interval);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut loads = Loads::new(&counts(&traffic, &broker));
    let mut last = began;
    loop {
        tick.tick().await;
        let now = Instant::now();
        let counts = counts(&traffic, &broker);
        loads.advance(&counts, now - last);
        last = now;
        let mut values = state(&broker, &traffic, now - began);
        values.extend(counts.iter().filter_map(|it| {
            let name = it.total?;
            Some((name.to_owned(), it.value.to_string()))
        }));
        values.extend(loads.values());
        let at = |(name, value)| (format!("$SYS/broker/{name}"), value);
        // There may be thousands who hear of it, and connections are not to wait for that.
        let broker = broker.clone();
        let told =
            tokio::task::spawn_blocking(move || broker.tell_news(values.into_iter().map(at)));
        told.await.ok();
    }
}

/// What is as it is.
fn state(broker: &Broker, traffic: &Traffic, up: Duration) -> Vec<(String, String)> {
    let (connected, away) = (broker.n_attached(), broker.n_away());
    let (subscriptions, shared) = broker.n_subscriptions();
    let (messages, bytes) = broker.stored();
    let most = traffic.most.load(Ordering::Relaxed);
    [
        ("version", VERSION.to_owned()),
        ("uptime", format!("{} seconds", up.as_secs())),
        ("clients/connected", connected.to_string()),
        ("clients/active", connected.to_string()),
        ("clients/disconnected", away.to_string()),
        ("clients/inactive", away.to_string()),
        ("clients/total", (connected + away).to_string()),
        ("clients/maximum", most.to_string()),
        ("subscriptions/count", subscriptions.to_string()),
        ("shared_subscriptions/count", shared.to_string()),
        ("retained messages/count", broker.n_retained().to_string()),
        ("messages/stored", messages.to_string()),
        ("store/messages/count", messages.to_string()),
        ("store/messages/bytes", bytes.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// Something that only grows.
struct Count {
    /// Under which name its value is told.
    total: Option<&'static str>,
    /// Under which name it is told how much it grows in a minute.
    load: &'static str,
    value: u64,
}

fn counts(traffic: &Traffic, broker: &Broker) -> [Count; 11] {
    let (received, sent) = (&traffic.received, &traffic.sent);
    let count = |total, load, value: &AtomicU64| Count {
        total,
        load,
        value: value.load(Ordering::Relaxed),
    };
    [
        count(
            Some("messages/received"),
            "messages/received",
            &received.packets,
        ),
        count(Some("messages/sent"), "messages/sent", &sent.packets),
        count(
            Some("publish/messages/received"),
            "publish/received",
            &received.publishes,
        ),
        count(
            Some("publish/messages/sent"),
            "publish/sent",
            &sent.publishes,
        ),
        Count {
            total: Some("publish/messages/dropped"),
            load: "publish/dropped",
            value: broker.n_missed(),
        },
        count(Some("publish/bytes/received"), "", &received.payload_bytes),
        count(Some("publish/bytes/sent"), "", &sent.payload_bytes),
        count(Some("bytes/received"), "bytes/received", &received.bytes),
        count(Some("bytes/sent"), "bytes/sent", &sent.bytes),
        count(None, "sockets", &traffic.sockets),
        count(None, "connections", &traffic.attached),
    ]
}

/// How much each count grows in a minute, as moving averages over one, five and fifteen minutes.
struct Loads(Vec<Load>);

struct Load {
    name: &'static str,
    last: u64,
    averages: [f64; 3],
}

/// Their names, and over how many minutes they are.
const SPANS: [(&str, f64); 3] = [("1min", 1.0), ("5min", 5.0), ("15min", 15.0)];

impl Loads {
    fn new(counts: &[Count]) -> Self {
        let named = counts.iter().filter(|it| !it.load.is_empty());
        let load = |it: &Count| Load {
            name: it.load,
            last: it.value,
            averages: [0.0; 3],
        };
        Loads(named.map(load).collect())
    }

    /// So much time has passed since the last call.
    fn advance(&mut self, counts: &[Count], passed: Duration) {
        let minutes = passed.as_secs_f64() / 60.0;
        if minutes <= 0.0 {
            return;
        }
        let named = counts.iter().filter(|it| !it.load.is_empty());
        for (load, count) in self.0.iter_mut().zip(named) {
            let rate = count.value.saturating_sub(load.last) as f64 / minutes;
            load.last = count.value;
            for (average, (_, span)) in load.averages.iter_mut().zip(SPANS) {
                let old = (-minutes / span).exp();
                *average = *average * old + rate * (1.0 - old);
            }
        }
    }

    fn values(&self) -> impl Iterator<Item = (String, String)> + '_ {
        self.0.iter().flat_map(|load| {
            load.averages.iter().zip(SPANS).map(|(average, (span, _))| {
                let name = format!("load/{}/{span}", load.name);
                (name, format!("{average:.2}"))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(value: u64) -> [Count; 2] {
        let count = |load, value| Count {
            total: None,
            load,
            value,
        };
        [count("", 0), count("x", value)]
    }

    #[test]
    fn a_load_gets_to_what_a_minute_brings_and_forgets() {
        let mut loads = Loads::new(&count(100));
        let told = |loads: &Loads| -> Vec<(String, f64)> {
            let values = loads.values();
            values
                .map(|(name, value)| (name, value.parse().unwrap()))
                .collect()
        };
        // Ten a second.
        let mut value = 100;
        for _ in 0..600 {
            value += 100;
            loads.advance(&count(value), Duration::from_secs(10));
        }
        for (name, load) in told(&loads) {
            assert!((load - 600.0).abs() < 2.0, "{name}: {load}");
        }
        for _ in 0..6 {
            loads.advance(&count(value), Duration::from_secs(10));
        }
        let after = told(&loads);
        let names: Vec<&str> = after.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["load/x/1min", "load/x/5min", "load/x/15min"]);
        assert!((after[0].1 - 220.7).abs() < 2.0, "{after:?}");
        assert!(after[0].1 < after[1].1 && after[1].1 < after[2].1);
        // A look at the same moment changes nothing.
        loads.advance(&count(value + 9), Duration::ZERO);
        assert_eq!(told(&loads), after);
    }
}
