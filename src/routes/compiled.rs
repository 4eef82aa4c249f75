//! One route, made ready to be asked: its filter, its conditions, its targets as templates.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use smallvec::SmallVec;

use super::Sent;
use crate::engine::address::{Address, AddressLimits, Filter, FilterSegment, Space};
use crate::registry::{Choose, Condition, Route};

/// A route. Two are the same if order and name are: names are unique in a realm.
#[derive(Debug)]
pub(super) struct Compiled {
    order: i32,
    pub(super) name: Arc<str>,
    pub(super) filter: Filter,
    conditions: Vec<When>,
    targets: Vec<Aim>,
    choice: Choice,
    pub(super) keep: bool,
    pub(super) last: bool,
    limits: AddressLimits,
}

/// A target.
#[derive(Debug)]
struct Aim {
    pieces: Vec<Piece>,
    weight: u64,
}

/// A part of an address in the making.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// What the filter's `n`th wildcard captured, from 0.
    Capture(usize),
}

#[derive(Debug)]
enum Choice {
    All,
    Weight,
    Shard(Field),
}

/// A condition.
#[derive(Debug)]
struct When {
    field: Field,
    is: Vec<String>,
    not: bool,
}

/// Something that a message may have.
#[derive(Debug)]
enum Field {
    Key,
    ContentType,
    MessageId,
    CorrelationId,
    ReplyTo,
    Priority,
    Property(String),
}

/// What a route made of a message.
#[derive(Debug)]
pub(super) enum Passed {
    /// It goes to these addresses; none: it is dropped, unless it is kept.
    Taken(SmallVec<[String; 2]>),
    /// A condition does not hold.
    Unmet(String),
    /// What a target became is no address: the route does not take the message.
    NoAddress(String),
}

/// Whether a condition or `shard_by` may name `field`.
pub fn field_is_known(field: &str) -> bool {
    Field::parse(field).is_some()
}

impl Compiled {
    /// None: the filter is none, a capture is not in it, or a field is unknown.
    pub(super) fn new(name: &str, route: &Route, limits: AddressLimits) -> Option<Compiled> {
        let filter = Filter::parse(&route.filter, limits).ok()?;
        let wildcards = filter
            .segments()
            .filter(|it| !matches!(it, FilterSegment::Literal(_)));
        let n_captures = wildcards.count();
        let targets = route.to.iter().map(|target| {
            Some(Aim {
                pieces: pieces(&target.address, n_captures)?,
                weight: u64::from(target.weight),
            })
        });
        let choice = match route.choose {
            Choose::All => Choice::All,
            Choose::Weight => Choice::Weight,
            Choose::Shard => Choice::Shard(Field::parse(route.shard_by.as_deref()?)?),
        };
        Some(Compiled {
            order: route.order,
            name: name.into(),
            conditions: route.when.iter().map(When::new).collect::<Option<_>>()?,
            targets: targets.collect::<Option<_>>()?,
            filter,
            choice,
            keep: route.keep,
            last: route.last,
            limits,
        })
    }

    pub(super) fn pass(&self, sent: &Sent<'_>) -> Passed {
        if let Some(unmet) = self.conditions.iter().find(|it| !it.holds(sent)) {
            return Passed::Unmet(unmet.to_string());
        }
        let captures = self.captures(sent.address);
        let mut to = SmallVec::new();
        for aim in self.chosen(sent) {
            let text = aim.fill(&captures);
            let ordinary = Address::parse(&text, self.limits)
                .is_ok_and(|address| address.space() == Space::Ordinary);
            if !ordinary {
                return Passed::NoAddress(text);
            }
            to.push(text);
        }
        Passed::Taken(to)
    }

    /// What each wildcard of the filter stands for in an address that it matches; a prefix for all from its own beginning on.
    fn captures<'a>(&self, address: &'a str) -> SmallVec<[&'a str; 4]> {
        let mut captures = SmallVec::new();
        let mut rest = Some(address);
        for segment in self.filter.segments() {
            if matches!(segment, FilterSegment::Rest | FilterSegment::Prefix(_)) {
                captures.push(rest.unwrap_or_default());
                break;
            }
            let (first, after) = match rest.map(|rest| rest.split_once('/')) {
                Some(Some((first, after))) => (first, Some(after)),
                Some(None) => (rest.unwrap_or_default(), None),
                None => ("", None),
            };
            if segment == FilterSegment::One {
                captures.push(first);
            }
            rest = after;
        }
        captures
    }

    fn chosen(&self, sent: &Sent<'_>) -> SmallVec<[&Aim; 2]> {
        match &self.choice {
            Choice::All => self.targets.iter().collect(),
            Choice::Weight => self.by_weight(sent.id).into_iter().collect(),
            Choice::Shard(field) => {
                let value = field.of(sent);
                let chosen = match value.as_deref() {
                    Some(value) => self.by_shard(value.as_bytes()),
                    None => self.targets.first(),
                };
                chosen.into_iter().collect()
            }
        }
    }

    fn by_weight(&self, id: &[u8]) -> Option<&Aim> {
        let total: u64 = self.targets.iter().map(|it| it.weight).sum();
        let mut at = hash(id, 0).checked_rem(total)?;
        self.targets.iter().find(|it| {
            let here = at < it.weight;
            at = at.saturating_sub(it.weight);
            here
        })
    }

    /// Rendezvous hashing: the target that scores highest for the value. One that comes or goes takes along only its own.
    fn by_shard(&self, value: &[u8]) -> Option<&Aim> {
        let score = |aim: &&Aim| {
            let seed = aim.pieces.iter().fold(0, |seed, piece| match piece {
                Piece::Text(text) => hash(text.as_bytes(), seed),
                Piece::Capture(n) => hash(&n.to_le_bytes(), seed),
            });
            hash(value, seed)
        };
        self.targets.iter().max_by_key(score)
    }
}

impl Aim {
    fn fill(&self, captures: &[&str]) -> String {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(it) => text.push_str(it),
                Piece::Capture(n) => text.push_str(captures.get(*n).copied().unwrap_or_default()),
            }
        }
        // `#` may stand for nothing: then the slash before it goes too.
        if text.ends_with('/') && matches!(self.pieces.last(), Some(Piece::Capture(_))) {
            text.pop();
        }
        text
    }
}

/// Takes `{1}`, `{2}` … out of a target. None: there is no such capture.
fn pieces(template: &str, n_captures: usize) -> Option<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some((before, number, after)) = next_capture(rest) {
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        let at = number.checked_sub(1).filter(|at| *at < n_captures)?;
        pieces.push(Piece::Capture(at));
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    Some(pieces)
}

/// Only `{DIGITS}` is a capture; any other brace is a brace.
fn next_capture(text: &str) -> Option<(&str, usize, &str)> {
    for (at, _) in text.match_indices('{') {
        let (before, inside) = text.split_at(at);
        let inside = inside.get(1..)?;
        if let Some((digits, after)) = inside.split_once('}')
            && !digits.is_empty()
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && let Ok(number) = digits.parse()
        {
            return Some((before, number, after));
        }
    }
    None
}

impl When {
    fn new(condition: &Condition) -> Option<When> {
        Some(When {
            field: Field::parse(&condition.field)?,
            is: condition.is.clone(),
            not: condition.not,
        })
    }

    fn holds(&self, sent: &Sent<'_>) -> bool {
        let value = self.field.of(sent);
        let is = value.is_some_and(|value| {
            self.is.is_empty() || self.is.iter().any(|wanted| *wanted == *value)
        });
        is != self.not
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not = if self.not { "not " } else { "" };
        if self.is.is_empty() {
            write!(f, "{} is {not}there", self.field)
        } else {
            write!(f, "{} is {not}one of: {}", self.field, self.is.join(", "))
        }
    }
}

impl Field {
    fn parse(text: &str) -> Option<Field> {
        Some(match text {
            "key" => Field::Key,
            "content-type" => Field::ContentType,
            "message-id" => Field::MessageId,
            "correlation-id" => Field::CorrelationId,
            "reply-to" => Field::ReplyTo,
            "priority" => Field::Priority,
            other => {
                let name = other.strip_prefix("property.")?;
                (!name.is_empty()).then(|| Field::Property(name.to_owned()))?
            }
        })
    }

    fn of<'a>(&self, sent: &Sent<'a>) -> Option<std::borrow::Cow<'a, str>> {
        let message = sent.message;
        let text = match self {
            Field::Key => message.key.as_deref(),
            Field::ContentType => message.content_type.as_deref(),
            Field::MessageId => message.message_id.as_deref(),
            Field::CorrelationId => message.correlation_id.as_deref(),
            Field::ReplyTo => message.reply_to.as_deref(),
            Field::Priority => return Some(message.priority.to_string().into()),
            Field::Property(name) => message.properties.get(name).map(String::as_str),
        };
        text.map(Into::into)
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Field::Key => f.write_str("key"),
            Field::ContentType => f.write_str("content-type"),
            Field::MessageId => f.write_str("message-id"),
            Field::CorrelationId => f.write_str("correlation-id"),
            Field::ReplyTo => f.write_str("reply-to"),
            Field::Priority => f.write_str("priority"),
            Field::Property(name) => write!(f, "property.{name}"),
        }
    }
}

/// FNV-1a with 64 bits, stirred at the end: the same on every machine and in every version, as shards must be.
fn hash(bytes: &[u8], seed: u64) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325 ^ seed;
    let hash = bytes.iter().fold(start, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

impl Compiled {
    fn rank(&self) -> (i32, &str) {
        (self.order, &self.name)
    }
}

impl PartialEq for Compiled {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}

impl Eq for Compiled {}

impl PartialOrd for Compiled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Compiled {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}
