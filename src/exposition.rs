//! Prometheus' text format 0.0.4, for what is not counted but looked up at each scrape: the queues, and the process.
//!
//! Time series of queues are not kept by the recorder: each would live until the broker stops, and a thousand queues would cost every
//! scrape and upkeep. Here they are written from what the broker says at that moment; a deleted queue is gone from the next scrape.
//!
//! Always, each with a test of its name below:
//! - `a_family_is_in_one_piece`, with its help and type once.
//! - `a_queue_can_be_called_anything`: values of labels are escaped.
//! - `queues_beyond_the_limit_are_only_counted`.
//! - `a_thousand_queues_are_no_work`.
//!
//! Rules: prometheus.io, "Exposition formats", text format.

use std::fmt::{self, Write as _};

use restante_storage::UnixMillis;

use crate::meters::table::{Kind, Metric};

/// What a queue's time series show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QueueFigures<'a> {
    pub(crate) realm: &'a str,
    pub(crate) queue: &'a str,
    /// Counted, and not shown: it goes with its session, each of which would leave a new name behind, or it is called as a
    /// client, a group or a filter is that a client has chosen.
    pub(crate) unnamed: bool,
    pub(crate) ready: u64,
    pub(crate) unsettled: u64,
    pub(crate) bytes: u64,
    pub(crate) consumers: u64,
    /// When the oldest message was taken; none: no message waits.
    pub(crate) oldest: Option<UnixMillis>,
    pub(crate) paused: bool,
}

/// Appends what the definitions are known by: one time series, of those in force.
pub(crate) fn append_definitions(text: &mut String, checksum: &str) {
    let mut families = Families::new(text);
    let mut family = families.begin("restante_definitions_info");
    family.line(&[("checksum", checksum)], Value::Whole(1));
}

/// Appends the families of queues: time series for the first `max` that may be named, and how many the others are. Those of one realm come
/// together.
pub(crate) fn append<'a>(
    text: &mut String,
    max: usize,
    queues: impl IntoIterator<Item = QueueFigures<'a>, IntoIter: Clone>,
) {
    let queues = queues.into_iter();
    let mut families = Families::new(text);
    let n_queues = count_by_realm(&mut families, queues.clone());
    let shown = queues.filter(|queue| !queue.unnamed).take(max);
    let left_out = n_queues - shown.clone().count() as u64;
    families.one("restante_queues_left_out", Value::Whole(left_out));

    let mut messages = families.begin("restante_queue_messages");
    for queue in shown.clone() {
        for (state, n) in [("ready", queue.ready), ("unsettled", queue.unsettled)] {
            messages.line(
                &[name(&queue)[0], name(&queue)[1], ("state", state)],
                Value::Whole(n),
            );
        }
    }
    let mut each = |family, value: fn(&QueueFigures<'_>) -> Option<Value>| {
        let mut family = families.begin(family);
        for queue in shown.clone() {
            if let Some(value) = value(&queue) {
                family.line(&name(&queue), value);
            }
        }
    };
    each("restante_queue_bytes", |it| Some(Value::Whole(it.bytes)));
    each("restante_queue_consumers", |it| {
        Some(Value::Whole(it.consumers))
    });
    each("restante_queue_oldest_message_timestamp_seconds", |it| {
        Some(Value::Millis(it.oldest?))
    });
    each("restante_queue_paused", |it| {
        Some(Value::Whole(u64::from(it.paused)))
    });
}

fn name<'a>(queue: &QueueFigures<'a>) -> [(&'static str, &'a str); 2] {
    [("realm", queue.realm), ("queue", queue.queue)]
}

/// Writes how many queues each realm has; gives the sum.
fn count_by_realm<'a>(
    families: &mut Families<'_>,
    queues: impl Iterator<Item = QueueFigures<'a>>,
) -> u64 {
    let mut realms = std::collections::BTreeMap::<&str, u64>::new();
    for queue in queues {
        *realms.entry(queue.realm).or_default() += 1;
    }
    let mut family = families.begin("restante_queues");
    for (realm, n) in &realms {
        family.line(&[("realm", realm)], Value::Whole(*n));
    }
    realms.values().sum()
}

/// A sample's value.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value {
    Whole(u64),
    Real(f64),
    /// A time of day, in seconds.
    Millis(UnixMillis),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Whole(number) => write!(f, "{number}"),
            Value::Real(number) => write!(f, "{number}"),
            Value::Millis(time) => write!(f, "{}.{:03}", time.get() / 1000, time.get() % 1000),
        }
    }
}

/// Writes families, each in one piece.
pub(crate) struct Families<'t> {
    text: &'t mut String,
}

impl<'t> Families<'t> {
    /// Behind what `text` has.
    pub(crate) fn new(text: &'t mut String) -> Families<'t> {
        Families { text }
    }

    /// A family of one sample without labels.
    pub(crate) fn one(&mut self, name: &'static str, value: Value) {
        self.begin(name).line(&[], value);
    }

    /// A family, whose lines follow.
    fn begin(&mut self, name: &'static str) -> Family<'_> {
        let metric = Metric::named(name);
        debug_assert!(metric.is_some(), "{name} is not in the table of metrics");
        let kind = metric.map_or(Kind::Gauge, |it| it.kind).as_str();
        let help = metric.map(Metric::help).unwrap_or_default();
        write!(
            self.text,
            "# HELP {name} {}\n# TYPE {name} {kind}\n",
            Help(&help)
        )
        .ok();
        Family {
            text: self.text,
            name,
        }
    }
}

struct Family<'t> {
    text: &'t mut String,
    name: &'static str,
}

impl Family<'_> {
    fn line(&mut self, labels: &[(&str, &str)], value: Value) {
        self.text.push_str(self.name);
        for (index, (label, value)) in labels.iter().enumerate() {
            self.text.push(if index == 0 { '{' } else { ',' });
            self.text.push_str(label);
            self.text.push_str("=\"");
            escape(self.text, value, true);
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        writeln!(self.text, " {value}").ok();
    }
}

struct Help<'a>(&'a str);

impl fmt::Display for Help<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        escape(&mut text, self.0, false);
        f.write_str(&text)
    }
}

/// In a label's value `\`, `"` and line feeds are escaped; in a help, only the first and the last.
fn escape(to: &mut String, text: &str, quotes: bool) {
    for c in text.chars() {
        match c {
            '\\' => to.push_str("\\\\"),
            '\n' => to.push_str("\\n"),
            '"' if quotes => to.push_str("\\\""),
            c => to.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn figures<'a>(realm: &'a str, queue: &'a str) -> QueueFigures<'a> {
        QueueFigures {
            realm,
            queue,
            unnamed: false,
            ready: 3,
            unsettled: 1,
            bytes: 400,
            consumers: 2,
            oldest: Some(UnixMillis::new(1_700_000_000_007)),
            paused: false,
        }
    }

    fn text(max: usize, queues: &[QueueFigures<'_>]) -> String {
        let mut text = String::new();
        append(&mut text, max, queues.iter().copied());
        text
    }

    #[test]
    fn a_family_is_in_one_piece() {
        let empty = QueueFigures {
            oldest: None,
            paused: true,
            ..figures("b", "y")
        };
        let text = text(10, &[figures("a", "x"), empty]);
        let mut names: Vec<&str> = text
            .lines()
            .map(|line| {
                line.trim_start_matches("# HELP ")
                    .trim_start_matches("# TYPE ")
            })
            .filter_map(|line| line.split(['{', ' ']).next())
            .collect();
        names.dedup();
        let unique: std::collections::BTreeSet<&str> = names.iter().copied().collect();
        assert_eq!(names.len(), unique.len(), "{text}");
        assert_eq!(names.len(), 7, "{text}");
        for name in names {
            assert_eq!(text.matches(&format!("# HELP {name} ")).count(), 1);
            assert_eq!(text.matches(&format!("# TYPE {name} gauge\n")).count(), 1);
        }
        for line in [
            "restante_queue_messages{realm=\"a\",queue=\"x\",state=\"ready\"} 3\n",
            "restante_queue_messages{realm=\"a\",queue=\"x\",state=\"unsettled\"} 1\n",
            "restante_queue_oldest_message_timestamp_seconds{realm=\"a\",queue=\"x\"} 1700000000.007\n",
            "restante_queue_paused{realm=\"b\",queue=\"y\"} 1\n",
            "restante_queues{realm=\"b\"} 1\n",
            "restante_queues_left_out 0\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(!text.contains("timestamp_seconds{realm=\"b\""), "{text}");
    }

    #[test]
    fn a_queue_can_be_called_anything() {
        let text = text(1, &[figures("a", "x\"} 1\n# \\")]);
        assert!(
            text.contains("restante_queue_bytes{realm=\"a\",queue=\"x\\\"} 1\\n# \\\\\"} 400\n"),
            "{text}"
        );
    }

    #[test]
    fn queues_beyond_the_limit_are_only_counted() {
        let temporary = QueueFigures {
            unnamed: true,
            ..figures("a", "~1")
        };
        let queues = [
            temporary,
            figures("a", "x"),
            figures("a", "y"),
            figures("b", "z"),
        ];
        let check = |max, shown: usize, left_out: usize| {
            let text = text(max, &queues);
            assert_eq!(
                text.matches("restante_queue_bytes{").count(),
                shown,
                "{text}"
            );
            assert!(
                text.contains(&format!("restante_queues_left_out {left_out}\n")),
                "{text}"
            );
            assert!(text.contains("restante_queues{realm=\"a\"} 3\n"), "{text}");
            assert!(!text.contains("~1"), "{text}");
        };
        check(0, 0, 4);
        check(2, 2, 2);
        check(10, 3, 1);
    }

    #[test]
    fn a_thousand_queues_are_no_work() {
        let names: Vec<String> = (0..1000)
            .map(|n| format!("orders/region-{n}/new"))
            .collect();
        let queues: Vec<QueueFigures<'_>> =
            names.iter().map(|name| figures("default", name)).collect();
        let best = (0..5)
            .map(|_| {
                let begun = std::time::Instant::now();
                assert!(text(1000, &queues).lines().count() > 6000);
                begun.elapsed()
            })
            .min()
            .unwrap();
        // Without optimization, on a machine that does other things too; a scrape has 50 ms in all.
        assert!(best.as_millis() < 250, "{best:?}");
    }

    proptest! {
        #[test]
        fn what_is_escaped_reads_back(name in ".*") {
            let text = text(1, &[figures("r", &name)]);
            let line = text.lines().find(|line| line.starts_with("restante_queue_bytes{")).unwrap();
            let value = line.strip_prefix("restante_queue_bytes{realm=\"r\",queue=\"").unwrap();
            let value = value.strip_suffix("\"} 400").unwrap();
            let mut read = String::new();
            let mut chars = value.chars();
            while let Some(c) = chars.next() {
                prop_assert_ne!(c, '"');
                read.push(match c {
                    '\\' => match chars.next() { Some('n') => '\n', Some(c) => c, None => unreachable!() },
                    c => c,
                });
            }
            // `lines` takes a carriage return at the end for a part of it.
            prop_assert_eq!(read, name);
        }
    }
}
