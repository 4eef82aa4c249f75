//! How an event becomes a line, for people or as JSON.

use std::fmt::{self, Debug, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::escape::Escape;
use super::time::Rfc3339;

/// JSON's own fields; an event's of the same name is written with `field.` in front.
const OWN: [&str; 4] = ["timestamp", "level", "target", "message"];

/// The format of lines.
pub(super) struct Line {
    pub(super) json: bool,
    /// Levels in colour; for people only.
    pub(super) colour: bool,
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if self.json {
            json(&mut writer, event)
        } else {
            self.text(&mut writer, event)
        }
    }
}

impl Line {
    fn text(&self, writer: &mut Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let (level, target) = (*event.metadata().level(), event.metadata().target());
        let (on, off) = match (self.colour, level) {
            (false, _) => ("", ""),
            (true, Level::ERROR) => ("\u{1b}[31m", "\u{1b}[0m"),
            (true, Level::WARN) => ("\u{1b}[33m", "\u{1b}[0m"),
            (true, Level::INFO) => ("\u{1b}[32m", "\u{1b}[0m"),
            (true, _) => ("\u{1b}[2m", "\u{1b}[0m"),
        };
        write!(writer, "{} {on}{level:>5}{off} {target}:", Rfc3339::now())?;
        // The message first, wherever it was named.
        for part in [Part::Message, Part::Fields] {
            let mut fields = Text {
                writer: &mut *writer,
                part,
                written: Ok(()),
            };
            event.record(&mut fields);
            fields.written?;
        }
        writeln!(writer)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Message,
    Fields,
}

struct Text<'a> {
    writer: &'a mut dyn fmt::Write,
    part: Part,
    written: fmt::Result,
}

impl Visit for Text<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if self.written.is_err() {
            return;
        }
        let name = field.name();
        self.written = match (self.part, name) {
            (Part::Message, "message") => write!(Escape::text(self.writer), " {value:?}"),
            (Part::Message, _) | (Part::Fields, "message") => Ok(()),
            (Part::Fields, name) => write!(Escape::text(self.writer), " {name}={value:?}"),
        };
    }
}

fn json(writer: &mut Writer<'_>, event: &Event<'_>) -> fmt::Result {
    let metadata = event.metadata();
    write!(
        writer,
        "{{\"timestamp\":\"{}\",\"level\":\"{}\",\"target\":",
        Rfc3339::now(),
        metadata.level()
    )?;
    string(writer, format_args!("{}", metadata.target()))?;
    for part in [Part::Message, Part::Fields] {
        let mut fields = Json {
            writer: &mut *writer,
            part,
            written: Ok(()),
        };
        event.record(&mut fields);
        fields.written?;
    }
    writeln!(writer, "}}")
}

fn string(writer: &mut dyn fmt::Write, text: fmt::Arguments<'_>) -> fmt::Result {
    writer.write_char('"')?;
    Escape::json(writer).write_fmt(text)?;
    writer.write_char('"')
}

struct Json<'a> {
    writer: &'a mut dyn fmt::Write,
    part: Part,
    written: fmt::Result,
}

impl Json<'_> {
    fn field(&mut self, field: &Field, value: impl FnOnce(&mut dyn fmt::Write) -> fmt::Result) {
        let is_message = field.name() == "message";
        if self.written.is_err() || is_message != (self.part == Part::Message) {
            return;
        }
        self.written = self.pair(field.name(), is_message, value);
    }

    fn pair(
        &mut self,
        name: &str,
        is_message: bool,
        value: impl FnOnce(&mut dyn fmt::Write) -> fmt::Result,
    ) -> fmt::Result {
        let lead = if OWN.contains(&name) && !is_message {
            "field."
        } else {
            ""
        };
        self.writer.write_char(',')?;
        string(self.writer, format_args!("{lead}{name}"))?;
        self.writer.write_char(':')?;
        value(self.writer)
    }
}

impl Visit for Json<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.field(field, |to| {
            if value.is_finite() {
                write!(to, "{value:?}")
            } else {
                // JSON has no such numbers.
                write!(to, "\"{value}\"")
            }
        });
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.field(field, |to| write!(to, "{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.field(field, |to| write!(to, "{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.field(field, |to| write!(to, "{value}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.field(field, |to| string(to, format_args!("{value}")));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.field(field, |to| string(to, format_args!("{value}")));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.field(field, |to| string(to, format_args!("{value:?}")));
    }
}
