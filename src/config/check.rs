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
use crate::access;
use crate::engine::address::{AddressError, AddressLimits, Filter};
use crate::logs::{self, Logs};
use crate::registry::DocumentKind;

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
        (Kind::Paths, node) => paths(texts(node, "a path")?).map(Setting::Texts),
        (Kind::Choices(words), node) => choices(words, texts(node, "a word")?).map(Setting::Texts),
        (_, Node::Text(text)) => scalar(key, text),
        (kind, other) => Err(wrong_shape(&expected(kind), &other)),
    }
}

/// What to write for `kind`, as the end of "write …".
pub(super) fn expected(kind: Kind) -> String {
    match kind {
        Kind::Folder => "a folder's path".to_owned(),
        Kind::File => "a file's path".to_owned(),
        Kind::Text => "some text".to_owned(),
        Kind::Role => "a role's name, and not that of a built-in one".to_owned(),
        Kind::Flag => "true or false".to_owned(),
        Kind::Choice(words) => format!("one of {}", words.join(", ")),
        Kind::Choices(words) => format!("a list of some of {}", words.join(", ")),
        Kind::Count { .. } => "a whole number".to_owned(),
        Kind::Size { .. } => SIZE_UNITS.to_owned(),
        Kind::Span { .. } => SPAN_UNITS.to_owned(),
        Kind::Sockets => "an IP address and a port, as 127.0.0.1:7300 or [::1]:7300".to_owned(),
        Kind::Origins => "scheme and host, as https://console.example".to_owned(),
        Kind::Paths => "a path, as /mqtt, without a slash at its end".to_owned(),
        Kind::LogLevels => logs::LEVELS_WORDS.to_owned(),
        Kind::Address => "an address, as dead/orders, without wildcards".to_owned(),
        Kind::Filter => "a filter, as orders/+/eu or orders/#".to_owned(),
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
        Kind::Folder | Kind::File | Kind::Text if text.is_empty() => Err(wrong("is empty")),
        Kind::Text if text.chars().any(char::is_control) => Err(wrong("has a control character")),
        Kind::Role => match access::check_name(DocumentKind::Role, &text) {
            Ok(()) => Ok(Setting::Text(text)),
            Err(_) => Err(wrong("cannot be the role of strangers")),
        },
        Kind::LogLevels if Logs::check_level(&text).is_err() => Err(wrong("names no level")),
        Kind::Filter | Kind::Address => filter(key.kind, text),
        Kind::Folder | Kind::File | Kind::Text | Kind::LogLevels => Ok(Setting::Text(text)),
        Kind::Sockets | Kind::Origins | Kind::Paths | Kind::Choices(_) | Kind::Entries(_) => {
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

fn paths(texts: Vec<String>) -> Result<Vec<String>, Problem> {
    if texts.is_empty() {
        return Err(wrong_value("[]", "is empty", expected(Kind::Paths)));
    }
    texts.into_iter().map(path).collect()
}

/// A path that means itself in every spelling of a URL, and that no other door has.
fn path(text: String) -> Result<String, Problem> {
    let wrong = |complaint: &str| wrong_value(&text, complaint, expected(Kind::Paths));
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
    let mut segments = text.split('/');
    let begins_with_slash = segments.next() == Some("");
    let is_segment = |it: &str| !matches!(it, "" | "." | "..") && it.chars().all(plain);
    if text != "/" && !(begins_with_slash && segments.all(is_segment)) {
        return Err(wrong("is no path"));
    }
    if text == "/mbws" || text.starts_with("/mbws/") {
        return Err(wrong("is MBWS's"));
    }
    Ok(text)
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
    let wrong = |complaint: &str| wrong_value(&text, complaint, expected(kind));
    match Filter::parse(&text, AddressLimits::default()) {
        Ok(filter) if matches!(kind, Kind::Address) && !filter.is_exact() => {
            Err(wrong("has wildcards"))
        }
        Ok(_) => Ok(Setting::Text(text)),
        Err(error) => Err(wrong(complaint_of_address(error).as_str())),
    }
}

fn complaint_of_address(error: AddressError) -> String {
    match error {
        AddressError::Empty => "is empty".to_owned(),
        AddressError::RestNotLast { .. } => "has a `#` before its end".to_owned(),
        AddressError::WildcardNotAlone { .. } => "has a `+` or `#` where none may stand".to_owned(),
        AddressError::Control { .. } => "has a control character".to_owned(),
        other => format!("breaks the grammar of addresses ({other})"),
    }
}

fn wrong_value(found: &str, complaint: &str, expected: String) -> Problem {
    Problem::WrongValue {
        found: found.to_owned(),
        complaint: complaint.to_owned(),
        expected,
    }
}
