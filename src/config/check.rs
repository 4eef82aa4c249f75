//! One value against its line of the table: kind, unit, range.
//!
//! Tests: `config::tests`, which see these checks through the file and the environment, as operators do.

use std::net::SocketAddr;
use std::ops::RangeInclusive;

use super::fault::Problem;
use super::schema::{Default, Key, Kind};
use super::settings::{Setting, wrong_shape};
use super::units::{self, UnitError};
use super::yaml::Node;
use crate::access::Filter;
use crate::engine::address;

const SIZE_UNITS: &str = "a whole number with B, KiB, MiB, GiB or TiB";
const SPAN_UNITS: &str = "a whole number with ms, s, m, h or d";

/// Reads `node` as what `key` wants.
pub(super) fn value(key: &Key, node: Node) -> Result<Setting, Problem> {
    match (key.kind, node) {
        (Kind::Sockets, node) => texts(node, "an address")?
            .iter()
            .map(|t| socket(t))
            .collect::<Result<_, _>>()
            .map(Setting::Sockets),
        (Kind::Origins, node) => texts(node, "an origin")?
            .into_iter()
            .map(origin)
            .collect::<Result<_, _>>()
            .map(Setting::Texts),
        (Kind::Choices(words), node) => choices(words, texts(node, "a word")?).map(Setting::Texts),
        (_, Node::Text(text)) => scalar(key, text),
        (kind, other) => Err(wrong_shape(&expected(kind), &other)),
    }
}

/// What to write for `kind`, as the end of "write …".
pub(super) fn expected(kind: Kind) -> String {
    match kind {
        Kind::Folder => "a folder's path".to_owned(),
        Kind::Flag => "true or false".to_owned(),
        Kind::Choice(words) => format!("one of {}", words.join(", ")),
        Kind::Choices(words) => format!("a list of some of {}", words.join(", ")),
        Kind::Count { .. } => "a whole number".to_owned(),
        Kind::Size { .. } => SIZE_UNITS.to_owned(),
        Kind::Span { .. } => SPAN_UNITS.to_owned(),
        Kind::Sockets => "an IP address and a port, as 127.0.0.1:7300 or [::1]:7300".to_owned(),
        Kind::Origins => "scheme and host, as https://console.example".to_owned(),
        Kind::LogLevels => {
            "error, warn, info, debug or trace, or module=level between commas".to_owned()
        }
        Kind::Address => "an address, as dead/orders, without wildcards".to_owned(),
        Kind::Filter => "a filter, as orders/+/eu or orders/#".to_owned(),
        Kind::NameOrAny => "letters, digits, `-`, `_` and `.`, or \"*\" for any".to_owned(),
        Kind::Entries(_) => "a list".to_owned(),
    }
}

fn scalar(key: &Key, text: String) -> Result<Setting, Problem> {
    let wrong = |complaint: &str| wrong_value(&text, complaint, expected(key.kind));
    if text == "none" && matches!(key.default, Default::None | Default::Inherited) {
        return Ok(Setting::None);
    }
    match key.kind {
        Kind::Flag => text
            .parse()
            .map(Setting::Flag)
            .map_err(|_| wrong("is neither true nor false")),
        Kind::Choice(words) => choice(words, text).map(Setting::Text),
        Kind::Count { min, max } => {
            let count = text.parse().map_err(|_| wrong("is not a whole number"))?;
            in_range(&text, count, min..=max, |n| n.to_string()).map(Setting::Count)
        }
        Kind::Size { min, max } => {
            let size = units::read_size(&text).map_err(|error| wrong(complaint(error)))?;
            in_range(&text, size, min..=max, |n| units::write_size(*n)).map(Setting::Size)
        }
        Kind::Span { min, max } => {
            let span = units::read_span(&text).map_err(|error| wrong(complaint(error)))?;
            in_range(&text, span, min..=max, |span| units::write_span(*span)).map(Setting::Span)
        }
        Kind::Folder if text.is_empty() => Err(wrong("is empty")),
        Kind::LogLevels if tracing_subscriber::EnvFilter::try_new(&text).is_err() => {
            Err(wrong("names no level"))
        }
        Kind::NameOrAny if text != "*" && !is_name(&text) => Err(wrong("is no name")),
        Kind::Filter | Kind::Address => filter(key.kind, text),
        Kind::Folder | Kind::LogLevels | Kind::NameOrAny => Ok(Setting::Text(text)),
        Kind::Sockets | Kind::Origins | Kind::Choices(_) | Kind::Entries(_) => {
            Err(wrong("is no list"))
        }
    }
}

fn complaint(error: UnitError) -> &'static str {
    match error {
        UnitError::NotANumber => "does not begin with a whole number",
        UnitError::NoUnit => "has no unit",
        UnitError::UnknownUnit => "has a unit that is not known here",
        UnitError::TooBig => "is too large for a number",
    }
}

fn in_range<T: PartialOrd>(
    text: &str,
    value: T,
    range: RangeInclusive<T>,
    write: impl Fn(&T) -> String,
) -> Result<T, Problem> {
    let expected = || {
        format!(
            "something from {} to {}",
            write(range.start()),
            write(range.end())
        )
    };
    if value < *range.start() {
        return Err(wrong_value(text, "is too little", expected()));
    }
    if value > *range.end() {
        return Err(wrong_value(text, "is too much", expected()));
    }
    Ok(value)
}

/// A list of single values, or one alone.
fn texts(node: Node, what: &str) -> Result<Vec<String>, Problem> {
    match node {
        Node::Text(text) => Ok(vec![text]),
        Node::List(items) => items.into_iter().map(|item| text(item, what)).collect(),
        other => Err(wrong_shape(&format!("{what}, or a list of them"), &other)),
    }
}

fn text(node: Node, what: &str) -> Result<String, Problem> {
    match node {
        Node::Text(text) => Ok(text),
        other => Err(wrong_shape(what, &other)),
    }
}

fn socket(text: &str) -> Result<SocketAddr, Problem> {
    text.parse()
        .map_err(|_| wrong_value(text, "is no IP address and port", expected(Kind::Sockets)))
}

/// An origin as browsers send it: no path, no slash at the end.
fn origin(text: String) -> Result<String, Problem> {
    let host = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    match host {
        Some(host)
            if !host.is_empty()
                && !host.contains(|c: char| c == '/' || c == '*' || c.is_whitespace()) =>
        {
            Ok(text.to_ascii_lowercase())
        }
        _ => Err(wrong_value(&text, "is no origin", expected(Kind::Origins))),
    }
}

fn choice(words: &'static [&'static str], text: String) -> Result<String, Problem> {
    if words.contains(&&*text) {
        return Ok(text);
    }
    Err(wrong_value(
        &text,
        "is not one of the words for this",
        expected(Kind::Choice(words)),
    ))
}

fn choices(words: &'static [&'static str], texts: Vec<String>) -> Result<Vec<String>, Problem> {
    if texts.is_empty() {
        return Err(wrong_value(
            "[]",
            "is empty",
            expected(Kind::Choices(words)),
        ));
    }
    texts.into_iter().map(|text| choice(words, text)).collect()
}

fn filter(kind: Kind, text: String) -> Result<Setting, Problem> {
    let wildcards = matches!(kind, Kind::Filter);
    match Filter::parse(&text) {
        Ok(filter) if !wildcards && filter.has_wildcards() => {
            Err(wrong_value(&text, "has wildcards", expected(kind)))
        }
        // The broker's own grammar: what breaks it would match nothing, and nobody would hear of it.
        Ok(_) => match address::Filter::parse(&text, address::AddressLimits::default()) {
            Ok(_) => Ok(Setting::Text(text)),
            Err(error) => Err(wrong_value(
                &text,
                &format!("breaks the grammar of addresses ({error})"),
                expected(kind),
            )),
        },
        Err(error) => Err(wrong_value(&text, &error.to_string(), expected(kind))),
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

fn wrong_value(found: &str, complaint: &str, expected: String) -> Problem {
    Problem::WrongValue {
        found: found.to_owned(),
        complaint: complaint.to_owned(),
        expected,
    }
}
