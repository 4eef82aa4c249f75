//! WAMP's URIs and patterns into addresses and filters and back, one to one.
//!
//! ```text
//! URI       com.shop.order   wamp.session.on_join    a%2Eb.c   50%      x/y.z     $SYS.x   %77amp.x
//! address   com/shop/order   $wamp/session/on_join   a.b/c     50%25    x%2Fy/z   $SYS/x   wamp/x
//! ```
//!
//! A component can hold all that a segment says, save for `.`, `#` and white space, and nothing at all. There it is spelled as in
//! an address, `%` and two hex digits (`%00`, alone, for no text); so a `%` in front of those digits, with any number of `25` between,
//! is not escaped once more (`engine/address.rs` has the other table, `session/mqtt/topic.rs` MQTT's). At the beginning of the first
//! component the same holds for `$` and `~`, which name other spaces there. What begins with `wamp` is the router's own, and the
//! address's first segment is `$wamp` then; an ordinary address that begins with `wamp` is `%77amp` here.
//!
//! | pattern | filter |
//! |---|---|
//! | wildcard `a..c` | `a/+/c` |
//! | prefix `com.foo` | `com/foo#`: by characters, `com.foobar` too |
//! | prefix `com.foo.`, and none | `com/foo/+/#`, `#` |
//!
//! Always, each with a test of its name below:
//! - `every_uri_has_an_address_of_its_own`.
//! - `every_address_has_a_uri_of_its_own`.
//!
//! Not here: whether a URI is well-formed (`restante_proto::wamp`), lengths and depths (broker).

use std::borrow::Cow;

use crate::engine::address::{escape_first_segment, escape_segment, unescape_segment};
use crate::router::Match;

/// The first component of what is the router's own (wamp-proto, "URIs").
const RESERVED: &str = "wamp";
/// The first segment that it stands for.
const RESERVED_SEGMENT: &str = "$wamp";
/// How an ordinary address that begins like that is written.
const ORDINARY: &str = "%77amp";

/// The address of a URI. None: it names the router's own space by the word that only addresses have for it.
pub(crate) fn to_address(uri: &str) -> Option<String> {
    let mut address = String::with_capacity(uri.len() + 8);
    for (n, component) in uri.split('.').enumerate() {
        push_component(component, n, &mut address)?;
    }
    Some(address)
}

/// The filter of a URI or a pattern. None: as for [`to_address`].
pub(crate) fn to_filter(pattern: &str, how: Match) -> Option<String> {
    match how {
        Match::Exact => to_address(pattern),
        Match::Wildcard => {
            let mut filter = String::with_capacity(pattern.len() + 8);
            for (n, component) in pattern.split('.').enumerate() {
                if component.is_empty() {
                    filter.push_str(if n > 0 { "/+" } else { "+" });
                } else {
                    push_component(component, n, &mut filter)?;
                }
            }
            Some(filter)
        }
        Match::Prefix => match pattern.strip_suffix('.') {
            None if pattern.is_empty() => Some("#".to_owned()),
            None => Some(to_address(pattern)? + "#"),
            Some(whole) => Some(to_address(whole)? + "/+/#"),
        },
    }
}

/// The URI of an address.
pub(crate) fn to_uri(address: &str) -> Cow<'_, str> {
    if !address.contains(['/', '%', '.', '#', '$', ' ']) && address != RESERVED {
        return Cow::Borrowed(address);
    }
    let mut uri = String::with_capacity(address.len());
    for (n, segment) in address.split('/').enumerate() {
        if n > 0 {
            uri.push('.');
        }
        match (n, segment) {
            (0, RESERVED_SEGMENT) => uri.push_str(RESERVED),
            (0, RESERVED) => uri.push_str(ORDINARY),
            (0, _) if segment.starts_with(['$', '~']) => {
                push_escaped(&unescape_segment(segment), false, &mut uri);
            }
            _ => push_escaped(&unescape_segment(segment), n == 0, &mut uri),
        }
    }
    Cow::Owned(uri)
}

/// The pattern of a filter, and how it is matched. None: WAMP has no pattern that matches exactly that.
pub(crate) fn of_filter(filter: &str) -> Option<(String, Match)> {
    let (pattern, how) = if let Some(rest) = filter.strip_suffix('#') {
        let pattern = match rest.strip_suffix("/+/") {
            _ if rest.is_empty() => String::new(),
            Some(whole) => format!("{}.", to_uri(whole)),
            None => to_uri(rest).into_owned(),
        };
        (pattern, Match::Prefix)
    } else if filter.split('/').any(|segment| segment == "+") {
        // Each segment is one component of the URI.
        let uri = to_uri(filter);
        let components = uri.split('.').zip(filter.split('/'));
        let components = components.map(|(component, segment)| match segment {
            "+" => "",
            _ => component,
        });
        (components.collect::<Vec<_>>().join("."), Match::Wildcard)
    } else {
        (to_uri(filter).into_owned(), Match::Exact)
    };
    let is_same = to_filter(&pattern, how).is_some_and(|it| it == filter);
    is_same.then_some((pattern, how))
}

/// Appends a component as the segment number `n`.
fn push_component(component: &str, n: usize, address: &mut String) -> Option<()> {
    if n > 0 {
        address.push('/');
        address.push_str(&escape_segment(&unescaped(component, false)));
        return Some(());
    }
    match component {
        RESERVED => address.push_str(RESERVED_SEGMENT),
        RESERVED_SEGMENT => return None,
        _ if component.starts_with(['$', '~']) => {
            address.push_str(&escape_segment(&unescaped(component, false)));
        }
        _ => address.push_str(&escape_first_segment(&unescaped(component, true))),
    }
    Some(())
}

/// What a component says. `is_first`: it is the first one, and does not name a space.
fn unescaped(component: &str, is_first: bool) -> Cow<'_, str> {
    if component == "%00" {
        return Cow::Borrowed("");
    }
    if !component.contains('%') {
        return Cow::Borrowed(component);
    }
    let mut raw = String::with_capacity(component.len());
    let mut rest = component;
    while let Some(at) = rest.find('%') {
        let (before, from) = rest.split_at(at);
        raw.push_str(before);
        let at_start = rest.len() == component.len() && at == 0;
        let digits = from.get(1..).unwrap_or_default();
        match escaped(digits, at_start, is_first) {
            Some((character, 0)) => {
                raw.push(character);
                rest = digits.get(2..).unwrap_or_default();
            }
            Some(_) => {
                raw.push('%');
                rest = digits.get(2..).unwrap_or_default();
            }
            None => {
                raw.push('%');
                rest = digits;
            }
        }
    }
    raw.push_str(rest);
    Cow::Owned(raw)
}

/// Appends what a segment says as a component.
fn push_escaped(raw: &str, is_first: bool, uri: &mut String) {
    if raw.is_empty() {
        return uri.push_str("%00");
    }
    for (at, character) in raw.char_indices() {
        match character {
            '.' | '#' | ' ' | '\t'..='\r' => push_escape(character, uri),
            '$' | '~' if at == 0 && is_first => push_escape(character, uri),
            '%' => {
                let digits = raw.get(at + 1..).unwrap_or_default();
                uri.push('%');
                if escaped(digits, at == 0, is_first).is_some() {
                    uri.push_str("25");
                }
            }
            _ => uri.push(character),
        }
    }
}

fn push_escape(character: char, uri: &mut String) {
    uri.push_str(&format!("%{:02X}", u32::from(character)));
}

/// What the digits behind a `%` escape, and how many `25` stand before: only those that a component cannot hold.
fn escaped(digits: &str, at_start: bool, is_first: bool) -> Option<(char, usize)> {
    let mut rest = digits;
    let mut n_more = 0;
    while let Some(behind) = rest.strip_prefix("25") {
        (rest, n_more) = (behind, n_more + 1);
    }
    let character = match rest.get(..2)? {
        "2E" => '.',
        "23" => '#',
        "20" => ' ',
        "09" => '\t',
        "0A" => '\n',
        "0B" => '\u{B}',
        "0C" => '\u{C}',
        "0D" => '\r',
        "24" if at_start && is_first => '$',
        "7E" if at_start && is_first => '~',
        "77" if at_start && is_first && rest == "77amp" => 'w',
        // Nothing at all: only in the place of a whole component.
        "00" if at_start && rest == "00" => '\0',
        _ => return None,
    };
    Some((character, n_more))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::address::{Address, Filter};

    #[test]
    fn a_uri_and_its_address() {
        for (uri, address) in [
            ("a", "a"),
            ("com.shop.order", "com/shop/order"),
            ("wamp.session.on_join", "$wamp/session/on_join"),
            ("wamp", "$wamp"),
            ("%77amp.x", "wamp/x"),
            ("%2577amp.x", "%2577amp/x"),
            ("a.wamp", "a/wamp"),
            ("a%2Eb.c", "a.b/c"),
            ("a%252Eb", "a%252Eb"),
            ("a%20b", "a b"),
            ("50%", "50%25"),
            ("50%25", "50%2525"),
            ("x/y+z", "x%2Fy%2Bz"),
            ("a%23", "a%23"),
            ("a%2F", "a%252F"),
            ("%00.a.%00", "%00/a/%00"),
            ("%2500", "%2500"),
            ("$SYS.x", "$SYS/x"),
            ("%24x", "%24x"),
            ("%2524x", "%2524x"),
            ("a.$x", "a/$x"),
            ("é.ü", "é/ü"),
        ] {
            assert_eq!(to_address(uri).as_deref(), Some(address), "{uri:?}");
            assert_eq!(to_uri(address), uri, "{address:?}");
            assert!(address.parse::<Address>().is_ok(), "{address:?}");
        }
        assert_eq!(to_address("$wamp.x"), None);
    }

    #[test]
    fn a_pattern_and_its_filter() {
        for (pattern, how, filter) in [
            ("a.b", Match::Exact, "a/b"),
            ("a..c", Match::Wildcard, "a/+/c"),
            ("", Match::Wildcard, "+"),
            ("..", Match::Wildcard, "+/+/+"),
            ("a.b", Match::Wildcard, "a/b"),
            ("wamp..x", Match::Wildcard, "$wamp/+/x"),
            ("", Match::Prefix, "#"),
            ("com.foo", Match::Prefix, "com/foo#"),
            ("com.foo.", Match::Prefix, "com/foo/+/#"),
            ("wamp.", Match::Prefix, "$wamp/+/#"),
        ] {
            let found = to_filter(pattern, how);
            assert_eq!(found.as_deref(), Some(filter), "{pattern:?} {how:?}");
            assert!(filter.parse::<Filter>().is_ok(), "{filter:?}");
        }
    }

    #[test]
    fn a_filter_and_its_pattern() {
        for (filter, expected) in [
            ("a/b", Some(("a.b", Match::Exact))),
            ("a/+/c", Some(("a..c", Match::Wildcard))),
            ("+/a.b/+", Some((".a%2Eb.", Match::Wildcard))),
            ("+", Some(("", Match::Wildcard))),
            ("#", Some(("", Match::Prefix))),
            ("com/foo#", Some(("com.foo", Match::Prefix))),
            ("com/foo/+/#", Some(("com.foo.", Match::Prefix))),
            // The address itself, or one below it, but not `com.foobar`.
            ("com/foo/#", None),
            ("+/foo#", None),
            ("+/+/#", None),
        ] {
            let found = of_filter(filter);
            let expected = expected.map(|(pattern, how)| (pattern.to_owned(), how));
            assert_eq!(found, expected, "{filter:?}");
        }
    }

    proptest! {
        #[test]
        fn every_uri_has_an_address_of_its_own(
            components in prop::collection::vec("[a%/+$~é0-57EBCDmpw]{1,8}", 1..4),
            mark in "(wamp\\.|%77amp\\.|%24|%7E|%2524)?",
        ) {
            let uri = format!("{mark}{}", components.join("."));
            prop_assume!(!uri.starts_with("$wamp"));
            let address = to_address(&uri).unwrap();
            prop_assert!(address.parse::<Address>().is_ok(), "{address:?}");
            prop_assert_eq!(to_uri(&address), uri.as_str());
        }

        #[test]
        fn every_address_has_a_uri_of_its_own(
            segments in prop::collection::vec("(a|\\.| |%25|%2F|%2B|%23|%01|%09|%7F|2|5|E|3|B|4|7|00|\\$|~){1,5}|%00", 1..4),
            mark in "(%24|%7E|%2524|wamp/|\\$wamp/|%2577amp/)?",
        ) {
            let address = format!("{mark}{}", segments.join("/"));
            let Ok(_) = address.parse::<Address>() else { return Ok(()) };
            let uri = to_uri(&address);
            let back = to_address(&uri);
            prop_assert_eq!(back.as_deref(), Some(address.as_str()), "{}", uri);
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            to_address(&text);
            to_uri(&text);
        }
    }
}
