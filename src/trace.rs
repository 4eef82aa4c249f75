//! W3C Trace Context (Level 2): read from HTTP headers, carried in a message's properties `traceparent` and `tracestate`, shown in debug lines.
//!
//! ```text
//! headers ─▶ TraceContext::of_headers ─▶ properties ─▶ … ─▶ of_properties ─▶ trace_id, span_id in a line at debug
//! ```
//!
//! The broker carries contexts and makes none: what is invalid is left out, as the recommendation wants it, and never an error of the
//! message. A message's own properties are carried as they are, whether they are valid or not.
//!
//! Always, each with a test of its name below:
//! - `the_rules_of_traceparent`, `the_rules_of_tracestate`: a table of each.
//! - `a_bad_traceparent_takes_the_tracestate_with_it`, and not the other way round.
//! - `what_is_carried_on_is_valid_again`.
//!
//! Rules: W3C Trace Context Level 2, §3.2 (traceparent), §3.3 (tracestate).

use std::collections::BTreeMap;
use std::fmt;

/// The property, and header, of where in which trace something is.
pub const TRACEPARENT: &str = "traceparent";
/// The property, and header, of what tracing systems want to know of it.
pub const TRACESTATE: &str = "tracestate";

/// List members of a tracestate (§3.3.1.1).
const MEMBERS_MAX: usize = 32;
/// Bytes of a tracestate that are carried on. At least 512 are asked for (§3.3.1.5).
const STATE_BYTES_MAX: usize = 2048;
const KEY_BYTES_MAX: usize = 256;
const VALUE_BYTES_MAX: usize = 256;

/// `sampled` and `random-trace-id`; other flags are not carried on (§3.2.2.5).
const KNOWN_FLAGS: u8 = 0b11;

/// Where in which trace something is. `Display` is a header's value, of version 00.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    trace_id: u128,
    parent_id: u64,
    flags: u8,
}

impl TraceParent {
    /// Reads a header's value, surrounding whitespace already taken off. None: there is no trace here.
    ///
    /// A version that is not known yet is read as far as it is like version 00 (§4.2.1).
    #[must_use]
    pub fn parse(text: &str) -> Option<TraceParent> {
        let mut fields = text.splitn(5, '-');
        let version = hex(fields.next()?, 2)?;
        let trace_id = hex(fields.next()?, 32)?;
        let parent_id = u64::try_from(hex(fields.next()?, 16)?).ok()?;
        let flags = u8::try_from(hex(fields.next()?, 2)?).ok()?;
        let has_more = fields.next().is_some();
        let is_valid =
            version != 0xff && (version != 0 || !has_more) && trace_id != 0 && parent_id != 0;
        is_valid.then_some(TraceParent {
            trace_id,
            parent_id,
            flags: flags & KNOWN_FLAGS,
        })
    }

    /// The trace.
    #[must_use]
    pub fn trace_id(&self) -> impl fmt::Display + use<> {
        format_hex(self.trace_id, 32)
    }

    /// What of it this is a part of.
    #[must_use]
    pub fn span_id(&self) -> impl fmt::Display + use<> {
        format_hex(u128::from(self.parent_id), 16)
    }

    /// Whether the caller may have recorded it.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.flags & 1 == 1
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace, parent) = (self.trace_id, self.parent_id);
        write!(f, "00-{trace:032x}-{parent:016x}-{:02x}", self.flags)
    }
}

struct Hex(u128, usize);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0width$x}", self.0, width = self.1)
    }
}

fn format_hex(number: u128, digits: usize) -> Hex {
    Hex(number, digits)
}

/// So many hexadecimal digits, in lower case (§3.2.2).
fn hex(text: &str, digits: usize) -> Option<u128> {
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != digits || !text.bytes().all(is_hex) {
        return None;
    }
    u128::from_str_radix(text, 16).ok()
}

/// Reads a tracestate of one or more headers' values, in their order; gives it without empty members and whitespace. None: there is none, or it
/// is not valid, and then all of it counts as not there (§3.3).
#[must_use]
pub fn tracestate<'a>(values: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let mut members: Vec<(&str, &str)> = Vec::new();
    let mut bytes = 0;
    for value in values {
        for member in value.split(',') {
            let member = member.trim_matches([' ', '\t']);
            if member.is_empty() {
                continue;
            }
            let (key, value) = member.split_once('=')?;
            let is_new = members.iter().all(|(other, _)| *other != key);
            if !is_key(key) || !is_value(value) || !is_new || members.len() >= MEMBERS_MAX {
                return None;
            }
            bytes += member.len() + 1;
            if bytes > STATE_BYTES_MAX {
                return None;
            }
            members.push((key, value));
        }
    }
    let members: Vec<String> = members
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    (!members.is_empty()).then(|| members.join(","))
}

/// `( lcalpha / DIGIT ) 0*255( lcalpha / DIGIT / "_" / "-" / "*" / "/" / "@" )` (§3.3.1.3.1).
fn is_key(key: &str) -> bool {
    let begins = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    key.len() <= KEY_BYTES_MAX
        && key.as_bytes().first().is_some_and(begins)
        && key
            .bytes()
            .all(|byte| begins(&byte) || b"_-*/@".contains(&byte))
}

/// Printable ASCII without `,` and `=`, no space at the end (§3.3.1.3.2).
fn is_value(value: &str) -> bool {
    let is_char = |byte: u8| matches!(byte, 0x20..=0x7e) && byte != b',' && byte != b'=';
    (1..=VALUE_BYTES_MAX).contains(&value.len())
        && value.bytes().all(is_char)
        && !value.ends_with(' ')
}

/// A trace context, valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    /// Where in which trace.
    pub parent: TraceParent,
    /// What tracing systems have said about it.
    pub state: Option<String>,
}

impl TraceContext {
    /// From a request's headers: all values of `traceparent`, and all of `tracestate`. Of two traceparents neither counts.
    #[must_use]
    pub fn of_headers<'a>(
        parents: impl IntoIterator<Item = &'a [u8]>,
        states: impl IntoIterator<Item = &'a [u8]>,
    ) -> Option<TraceContext> {
        let mut parents = parents.into_iter();
        let parent = std::str::from_utf8(parents.next()?).ok()?;
        if parents.next().is_some() {
            return None;
        }
        let parent = TraceParent::parse(parent.trim_matches([' ', '\t']))?;
        let states: Result<Vec<&str>, _> = states.into_iter().map(std::str::from_utf8).collect();
        let state = states.ok().and_then(tracestate);
        Some(TraceContext { parent, state })
    }

    /// From what was read elsewhere: a traceparent, and perhaps a tracestate.
    #[must_use]
    pub fn parse(parent: &str, state: Option<&str>) -> Option<TraceContext> {
        let parent = TraceParent::parse(parent)?;
        let state = state.and_then(|state| tracestate([state]));
        Some(TraceContext { parent, state })
    }

    /// Into a message's properties, unless the message has a traceparent of its own: the sender knows better what it belongs to
    /// than the request that carries it.
    pub fn put(&self, properties: &mut BTreeMap<String, String>) {
        if properties.contains_key(TRACEPARENT) {
            return;
        }
        properties.insert(TRACEPARENT.to_owned(), self.parent.to_string());
        match &self.state {
            Some(state) => properties.insert(TRACESTATE.to_owned(), state.clone()),
            None => properties.remove(TRACESTATE),
        };
    }
}

/// The trace that a message belongs to by its properties, for a debug line.
#[must_use]
pub fn of_properties(properties: &BTreeMap<String, String>) -> Option<TraceParent> {
    TraceParent::parse(properties.get(TRACEPARENT)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const T: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const P: &str = "00f067aa0ba902b7";

    #[test]
    fn the_rules_of_traceparent() {
        let good = |text: &str, again: &str| {
            let parent = TraceParent::parse(text);
            assert_eq!(
                parent.map(|it| it.to_string()).as_deref(),
                Some(again),
                "{text}"
            );
        };
        good(&format!("00-{T}-{P}-01"), &format!("00-{T}-{P}-01"));
        good(&format!("00-{T}-{P}-00"), &format!("00-{T}-{P}-00"));
        // Level 2: random-trace-id is carried on, flags that nobody knows are not.
        good(&format!("00-{T}-{P}-03"), &format!("00-{T}-{P}-03"));
        good(&format!("00-{T}-{P}-ff"), &format!("00-{T}-{P}-03"));
        // A later version: what is like version 00 counts, and goes on as that.
        good(&format!("01-{T}-{P}-01"), &format!("00-{T}-{P}-01"));
        good(
            &format!("cc-{T}-{P}-01-what-ever"),
            &format!("00-{T}-{P}-01"),
        );
        good(&format!("cc-{T}-{P}-01-"), &format!("00-{T}-{P}-01"));
        let zeros = "0".repeat(32);
        for bad in [
            String::new(),
            "00".to_owned(),
            format!("00-{T}-{P}"),
            format!("00-{T}-{P}-"),
            format!("00-{T}-{P}-1"),
            format!("00-{T}-{P}-001"),
            format!("00-{T}-{P}-0g"),
            format!("00-{T}-{P}-01-"),
            format!("00-{T}-{P}-01-more"),
            format!("00-{T}-{P}-01."),
            format!("cc-{T}-{P}-01.more"),
            format!("ff-{T}-{P}-01"),
            format!("0-{T}-{P}-01"),
            format!("000-{T}-{P}-01"),
            format!("0x-{T}-{P}-01"),
            format!("FE-{T}-{P}-01"),
            format!("00-{zeros}-{P}-01"),
            format!("00-{T}-{}-01", &zeros[..16]),
            format!("00-{}-{P}-01", T.to_uppercase()),
            format!("00-{T}-{}-01", P.to_uppercase()),
            format!("00-{}-{P}-01", &T[1..]),
            format!("00-{T}0-{P}-01"),
            format!("00-{T}-{P}0-01"),
            format!("00-+{}-{P}-01", &T[1..]),
            format!("00_{T}_{P}_01"),
            format!(" 00-{T}-{P}-01"),
            format!("00-{T}-{P}-01\n"),
            format!("00-{}-{P}-01", "ä".repeat(16)),
        ] {
            assert_eq!(TraceParent::parse(&bad), None, "{bad}");
        }
        let parent = TraceParent::parse(&format!("00-{T}-{P}-02")).unwrap();
        assert_eq!(
            (parent.trace_id().to_string(), parent.span_id().to_string()),
            (T.to_owned(), P.to_owned())
        );
        assert!(!parent.is_sampled());
    }

    #[test]
    fn the_rules_of_tracestate() {
        let good = |text: &str, again: &str| {
            assert_eq!(tracestate([text]).as_deref(), Some(again), "{text}");
        };
        good("congo=t61rcWkgMzE", "congo=t61rcWkgMzE");
        good("rojo=00f067,congo=t61", "rojo=00f067,congo=t61");
        good(" a=1 \t,\t b=2 ", "a=1,b=2");
        good(",,a=1, ,b=2,", "a=1,b=2");
        good("1a@b*c/d_e-f=x", "1a@b*c/d_e-f=x");
        good("a= leading and inner spaces", "a= leading and inner spaces");
        good("a=!\"#~", "a=!\"#~");
        let long = |n: usize| format!("{}={}", "k".repeat(n), "v".repeat(n));
        good(&long(256), &long(256));
        let many = |n: usize| {
            (0..n)
                .map(|n| format!("k{n}=v"))
                .collect::<Vec<_>>()
                .join(",")
        };
        good(&many(32), &many(32));
        for bad in [
            "", " ", ",", "a", "a=", "=a", "a=1,b", "A=1", "aB=1", "_a=1", "a b=1", "a =1",
            "a=b=c", "a=1,a=2", "a=ä", "a=\u{7f}", "a=\x01", "a=1\nb=2", "ä=1", "a.b=1",
        ] {
            assert_eq!(tracestate([bad]), None, "{bad:?}");
        }
        for bad in [
            format!("{}=v", "k".repeat(257)),
            format!("k={}", "v".repeat(257)),
            many(33),
            (0..12)
                .map(|n| format!("k{n}={}", "v".repeat(200)))
                .collect::<Vec<_>>()
                .join(","),
        ] {
            assert_eq!(tracestate([&*bad]), None, "{bad:?}");
        }
        // Several headers are one list, in their order.
        assert_eq!(tracestate(["b=2", "", "a=1"]).as_deref(), Some("b=2,a=1"));
        assert_eq!(tracestate(["a=2", "a=1"]), None);
    }

    #[test]
    fn a_bad_traceparent_takes_the_tracestate_with_it() {
        let parent = format!("00-{T}-{P}-01");
        let of = |parents: &[&str], states: &[&str]| {
            let bytes = |texts: &[&str]| {
                texts
                    .iter()
                    .map(|it| it.as_bytes().to_vec())
                    .collect::<Vec<_>>()
            };
            let (parents, states) = (bytes(parents), bytes(states));
            TraceContext::of_headers(
                parents.iter().map(Vec::as_slice),
                states.iter().map(Vec::as_slice),
            )
        };
        assert_eq!(of(&["nonsense"], &["a=1"]), None);
        assert_eq!(of(&[], &["a=1"]), None);
        assert_eq!(of(&[&parent, &parent], &["a=1"]), None);
        let context = of(&[&parent], &["a=1", "b=2"]).unwrap();
        assert_eq!(context.state.as_deref(), Some("a=1,b=2"));
        let context = of(&[&format!(" {parent} ")], &["A=1"]).unwrap();
        assert_eq!((context.parent.to_string(), context.state), (parent, None));
    }

    #[test]
    fn a_message_keeps_the_context_that_it_has() {
        let context = TraceContext::parse(&format!("00-{T}-{P}-01"), Some("a=1")).unwrap();
        let mut properties = BTreeMap::from([("x".to_owned(), "y".to_owned())]);
        context.put(&mut properties);
        assert_eq!(properties.len(), 3);
        assert_eq!(of_properties(&properties), Some(context.parent));
        let own = BTreeMap::from([(TRACEPARENT.to_owned(), "my own".to_owned())]);
        let mut properties = own.clone();
        context.put(&mut properties);
        assert_eq!(properties, own);
        assert_eq!(of_properties(&own), None);
        // A state without its parent says nothing.
        let mut properties = BTreeMap::from([(TRACESTATE.to_owned(), "b=2".to_owned())]);
        TraceContext {
            state: None,
            ..context
        }
        .put(&mut properties);
        assert_eq!(properties.get(TRACESTATE), None);
    }

    proptest! {
        #[test]
        fn what_is_carried_on_is_valid_again(parent in ".{0,60}|[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?", state in "([a-z0-9@]{0,3}=[ -~]{0,4},?){0,5}") {
            if let Some(context) = TraceContext::parse(&parent, Some(&state)) {
                let again = TraceContext::parse(&context.parent.to_string(), context.state.as_deref());
                prop_assert_eq!(again, Some(context));
            }
        }
    }
}
