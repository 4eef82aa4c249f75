//! What the program writes to standard error: one line an event, for people or as flat JSON, whose level can be changed while it runs.
//!
//! ```text
//! 2026-11-21T05:10:16.123Z  INFO restante::front::drive: attached realm=default conn=0193… session=0193…
//! {"timestamp":"2026-11-21T05:10:16.123Z","level":"INFO","target":"…","message":"attached","realm":"default",…}
//! ```
//!
//! Times are RFC 3339, UTC, milliseconds. The fields of a message's way have the same names everywhere: `realm`, `address`, `queue`,
//! `offset`, `attempt`, `lsn`, `session`, `conn`; of a request `request_id`, of a trace `trace_id` and `span_id`; `error` is
//! an error's text, `peer` an address. Spans are not written: an event carries what it is about.
//!
//! Always, each with a test of its name below:
//! - `nobody_can_forge_a_line`: whatever a field holds, it is one line, without escape sequences, in both formats.
//! - `the_level_can_be_changed_while_it_runs`.
//! - `a_field_cannot_pose_as_another`: the names of JSON's own fields are nobody else's.
//!
//! Not here: which events there are; the audit log (`audit`).

mod escape;
mod level;
mod line;
mod seldom;
mod time;

use std::io::{self, IsTerminal};
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::config::{self, LogFormat};
pub(crate) use escape::is_treacherous;
pub(crate) use seldom::{Seldom, seldom};
pub(crate) use time::Rfc3339;

/// What a level may be, for people.
pub(crate) const LEVELS_WORDS: &str = "off, error, warn, info, debug or trace; or one of these and target=level, between commas, as in info,restante::broker=debug";

/// Why logging cannot be as it is wanted.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// The text names no level.
    #[error("`{level}` names no level; write {LEVELS_WORDS}")]
    NoLevel {
        /// What was wanted.
        level: String,
    },
    /// There is a logger already.
    #[error("logging is started already")]
    Started,
}

/// The log, of which the level can be changed. Clones are the same log.
#[derive(Clone)]
pub struct Logs {
    filter: reload::Handle<EnvFilter, Registry>,
    level: Arc<Mutex<String>>,
}

impl Logs {
    /// Begins to write the program's events to standard error.
    ///
    /// # Errors
    /// [`LogsError`].
    pub fn start(log: &config::Log) -> Result<Logs, LogsError> {
        let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let (logs, subscriber) = Logs::make(log, colour, io::stderr)?;
        tracing::subscriber::set_global_default(subscriber).map_err(|_| LogsError::Started)?;
        Ok(logs)
    }

    fn make<W>(
        log: &config::Log,
        colour: bool,
        writer: W,
    ) -> Result<(Logs, impl Subscriber + Send + Sync + use<W>), LogsError>
    where
        W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
    {
        let (filter, handle) = reload::Layer::new(filter(&log.level)?);
        let format = line::Line {
            json: log.format == LogFormat::Json,
            colour: colour && log.format == LogFormat::Text,
        };
        let lines = tracing_subscriber::fmt::layer()
            .event_format(format)
            .with_ansi(false)
            .with_writer(writer);
        let logs = Logs {
            filter: handle,
            level: Arc::new(Mutex::new(log.level.clone())),
        };
        Ok((logs, Registry::default().with(filter).with(lines)))
    }

    /// A log that nobody sees.
    #[cfg(test)]
    pub(crate) fn detached(log: &config::Log) -> Logs {
        let (logs, subscriber) = Logs::make(log, false, io::sink).expect("a level");
        // The handle works for as long as the subscriber is there.
        Box::leak(Box::new(subscriber));
        logs
    }

    /// What is logged, as in the configuration's `log.level`.
    #[must_use]
    pub fn level(&self) -> String {
        self.level.lock().clone()
    }

    /// Whether `level` can be logged at.
    ///
    /// # Errors
    /// [`LogsError::NoLevel`].
    pub fn check_level(level: &str) -> Result<(), LogsError> {
        filter(level).map(drop)
    }

    /// Changes it, until the next start.
    ///
    /// # Errors
    /// [`LogsError::NoLevel`]; nothing is changed then.
    pub fn set_level(&self, level: &str) -> Result<(), LogsError> {
        let filter = filter(level)?;
        // Held over both, so that two callers leave what one of them wanted.
        let mut now = self.level.lock();
        self.filter.reload(filter).map_err(|_| LogsError::NoLevel {
            level: level.to_owned(),
        })?;
        level.clone_into(&mut now);
        Ok(())
    }
}

fn filter(level: &str) -> Result<EnvFilter, LogsError> {
    let no_level = || LogsError::NoLevel {
        level: level.to_owned(),
    };
    if !level::names_levels(level) {
        return Err(no_level());
    }
    EnvFilter::try_new(level).map_err(|_| no_level())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::fmt;
    use tracing::{debug, info, warn};

    /// What is written, in memory.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Written {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().clone()).unwrap()
        }
    }

    /// What `events` writes.
    fn written(format: LogFormat, events: impl FnOnce(&Logs)) -> String {
        let log = config::Log {
            level: "info".to_owned(),
            format,
        };
        let written = Written::default();
        let writer = written.clone();
        let (logs, subscriber) = Logs::make(&log, false, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || events(&logs));
        written.text()
    }

    /// Writes itself as it is, as an error's text or a `Display` of a stranger's does.
    struct Raw(&'static str);

    impl fmt::Display for Raw {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl fmt::Debug for Raw {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    const EVIL: &str = "x\n2026-01-01T00:00:00.000Z ERROR restante: forged\r\n{\"level\":\"ERROR\"}\u{1b}[2J\u{9b}1m\u{202e}\u{2028}\0";

    #[test]
    fn nobody_can_forge_a_line() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let text = written(format, |_| {
                let error: Box<dyn std::error::Error + Send + Sync> = EVIL.into();
                info!(name = EVIL, raw = %Raw(EVIL), debug = ?Raw(EVIL), error = error.as_ref() as &dyn std::error::Error, "message {EVIL}");
            });
            let line = text.strip_suffix('\n').unwrap();
            assert_eq!(text.lines().count(), 1, "{text}");
            assert!(!line.contains(char::is_control), "{line:?}");
            assert!(!line.contains(['\u{202e}', '\u{2028}']), "{line:?}");
            assert_eq!(line.matches("forged").count(), 5, "{line}");
        }
        let text = written(LogFormat::Json, |_| info!(raw = %Raw(EVIL), "hello"));
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["raw"], EVIL);
        assert_eq!(line["level"], "INFO");
    }

    #[test]
    fn the_level_can_be_changed_while_it_runs() {
        let text = written(LogFormat::Text, |logs| {
            debug!("one");
            assert_eq!(logs.level(), "info");
            logs.set_level("info,restante=debug").unwrap();
            debug!("two");
            logs.set_level("nonsense=1=2").unwrap_err();
            logs.set_level(" ").unwrap_err();
            logs.set_level("loud").unwrap_err();
            assert_eq!(logs.level(), "info,restante=debug");
            debug!("three");
            logs.clone().set_level("error").unwrap();
            warn!("four");
        });
        let words: Vec<&str> = text
            .lines()
            .filter_map(|it| it.rsplit(' ').next())
            .collect();
        assert_eq!(words, ["two", "three"], "{text}");
    }

    #[test]
    fn lines_of_json_are_flat() {
        let text = written(LogFormat::Json, |_| {
            info!(
                realm = "default",
                offset = 7_u64,
                late = -1.5,
                is = true,
                nothing = Option::<u64>::None,
                "delivered"
            );
        });
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["message"], "delivered");
        assert_eq!(line["target"], "restante::logs::tests");
        assert_eq!(
            (&line["realm"], &line["offset"]),
            (&"default".into(), &7.into())
        );
        assert_eq!((&line["late"], &line["is"]), (&(-1.5).into(), &true.into()));
        assert_eq!(line.get("nothing"), None);
        let time = line["timestamp"].as_str().unwrap();
        assert!(time.len() == 24 && time.ends_with('Z'), "{time}");
        let order: Vec<usize> = ["\"timestamp\"", "\"level\"", "\"target\"", "\"message\""]
            .iter()
            .map(|key| text.find(key).unwrap())
            .collect();
        assert!(order.is_sorted(), "{text}");
    }

    #[test]
    fn a_field_cannot_pose_as_another() {
        let text = written(LogFormat::Json, |_| {
            info!(level = "ERROR", timestamp = 1, target = "x", "hello");
        });
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&line["level"], &line["field.level"]),
            (&"INFO".into(), &"ERROR".into())
        );
        assert_eq!(line["field.timestamp"], 1);
        assert_eq!(text.matches("\"target\":").count(), 1);
    }

    #[test]
    fn lines_for_people_read_well() {
        let text = written(LogFormat::Text, |_| {
            info!(queue = "orders/eu", offset = 7, peer = %"127.0.0.1:1", "a message");
        });
        let line = text.get(24..).unwrap();
        assert_eq!(
            line,
            "  INFO restante::logs::tests: a message queue=\"orders/eu\" offset=7 peer=127.0.0.1:1\n"
        );
    }
}
