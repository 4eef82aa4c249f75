//! Topics and filters into addresses and back, one to one.
//!
//! ```text
//! topic     /a      a//b       a\tb       50%       x%2Fy      $SYS/x    ~id/r
//! address   %00/a   a/%00/b    a%09b      50%25     x%2Fy      $SYS/x    ~id/r
//! ```
//!
//! An MQTT topic can hold all that an address says, save for `/`, `+` and `#` within a level, and `$` and `~` at the
//! beginning of an ordinary one. There it is spelled as an address is; so a `%` in front of such an escape, with any number
//! of `25` between, is not escaped once more (`engine/address.rs` has the table). Wildcards are the same on both sides.
//!
//! Always, each with a test of its name below:
//! - `every_topic_has_an_address_of_its_own`.
//! - `every_address_has_a_topic_of_its_own`.
//!
//! Not here: lengths and depths (codec, broker), `$share/NAME/` (codec).

use std::borrow::Cow;

use crate::engine::address::{escape_segment, unescape_segment};

/// The address of a topic, or the filter of a topic filter, as it is spelled inside.
pub(super) fn to_address(topic: &str) -> Cow<'_, str> {
    let plain = |level: &str| !level.is_empty() && !level.bytes().any(is_special);
    if topic.split('/').all(plain) {
        return Cow::Borrowed(topic);
    }
    let mut address = String::with_capacity(topic.len() + 8);
    for (n, level) in topic.split('/').enumerate() {
        if n > 0 {
            address.push('/');
        }
        match level {
            "" => address.push_str("%00"),
            "+" | "#" => address.push_str(level),
            _ => map_level(level, n == 0, &mut address, escape_segment),
        }
    }
    Cow::Owned(address)
}

/// The topic of an address, or the topic filter of a filter.
pub(super) fn to_topic(address: &str) -> Cow<'_, str> {
    if !address.contains('%') {
        return Cow::Borrowed(address);
    }
    let mut topic = String::with_capacity(address.len());
    for (n, segment) in address.split('/').enumerate() {
        if n > 0 {
            topic.push('/');
        }
        match segment {
            "%00" => {}
            _ => map_level(segment, n == 0, &mut topic, unescape_segment),
        }
    }
    Cow::Owned(topic)
}

/// A text as one level of a topic: what a level cannot hold is escaped as in an address.
pub(super) fn level_of(text: &str) -> Cow<'_, str> {
    if text.contains(['/', '+', '#', '%']) {
        Cow::Owned(to_topic(&escape_segment(text)).into_owned())
    } else {
        Cow::Borrowed(text)
    }
}

/// Appends `level`, what is spelled alike on both sides as it is, and the rest as `map` has it.
fn map_level(level: &str, is_first: bool, out: &mut String, map: impl Fn(&str) -> Cow<'_, str>) {
    let mut rest = level;
    let mut searched = 0;
    while let Some(at) = rest.get(searched..).and_then(|tail| tail.find('%')) {
        let at = searched + at;
        let at_start = is_first && at == 0 && rest.len() == level.len();
        let Some((before, from)) = rest.split_at_checked(at) else {
            break;
        };
        match shared_escape(from, at_start).and_then(|n| from.split_at_checked(n)) {
            Some((escape, behind)) => {
                push_mapped(before, out, &map);
                out.push_str(escape);
                (rest, searched) = (behind, 0);
            }
            None => searched = at + 1,
        }
    }
    push_mapped(rest, out, &map);
}

fn push_mapped(part: &str, out: &mut String, map: impl Fn(&str) -> Cow<'_, str>) {
    // No text at all has a spelling of its own, which is for whole levels.
    if !part.is_empty() {
        out.push_str(&map(part));
    }
}

/// The length of the escape at the front of `text` that topics and addresses spell alike: `%`, any number of `25`, and the
/// digits of `/`, `+` or `#`, or at the very start of `$` or `~`.
fn shared_escape(text: &str, at_start: bool) -> Option<usize> {
    let mut digits = text.strip_prefix('%')?;
    while let Some(rest) = digits.strip_prefix("25") {
        digits = rest;
    }
    let is_shared = match digits.get(..2)? {
        "2F" | "2B" | "23" => true,
        "24" | "7E" => at_start,
        _ => false,
    };
    is_shared.then(|| text.len() - digits.len() + 2)
}

/// What an address does not hold as it is, and a topic level does.
fn is_special(byte: u8) -> bool {
    matches!(byte, b'%' | 0x01..=0x1F | 0x7F)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::address::{Address, Filter};

    #[test]
    fn a_topic_and_its_address() {
        for (topic, address) in [
            ("a", "a"),
            ("a/b c/é", "a/b c/é"),
            ("/", "%00/%00"),
            ("/a", "%00/a"),
            ("a//b/", "a/%00/b/%00"),
            ("a\tb/\u{7F}", "a%09b/%7F"),
            ("50%", "50%25"),
            ("%00", "%2500"),
            ("%41", "%2541"),
            ("x%2Fy", "x%2Fy"),
            ("x%252Fy%2Bz%23", "x%252Fy%2Bz%23"),
            ("%%2F", "%25%2F"),
            ("%2f", "%252f"),
            ("%25", "%2525"),
            ("$SYS/x", "$SYS/x"),
            ("~id/replies", "~id/replies"),
            ("%24SYS", "%24SYS"),
            ("%2524SYS", "%2524SYS"),
            ("%7Ex", "%7Ex"),
            ("a/%24b", "a/%2524b"),
            ("+/a/#", "+/a/#"),
            ("/+", "%00/+"),
        ] {
            assert_eq!(to_address(topic), address, "{topic:?}");
            assert_eq!(to_topic(address), topic, "{address:?}");
        }
    }

    #[test]
    fn a_plain_name_is_not_copied() {
        assert!(matches!(to_address("orders/eu/new"), Cow::Borrowed(_)));
        assert!(matches!(to_topic("orders/eu/new"), Cow::Borrowed(_)));
    }

    #[test]
    fn any_text_is_one_level() {
        assert_eq!(level_of("till 4"), "till 4");
        assert_eq!(level_of("a/b+c#d"), "a%2Fb%2Bc%23d");
        assert_eq!(level_of("a%2Fb"), "a%252Fb");
        assert_eq!(level_of("50%"), "50%");
    }

    proptest! {
        #[test]
        fn every_topic_has_an_address_of_its_own(topic in "[ab/%$~\u{1}\u{7F}é0-57BEF]{1,12}") {
            let address = to_address(&topic);
            prop_assert!(address.parse::<Address>().is_ok(), "{address:?}");
            prop_assert_eq!(to_topic(&address), topic.as_str());
        }

        #[test]
        fn every_filter_has_a_spelling_of_its_own(
            levels in prop::collection::vec("\\+|[ab%$~\u{1}0-57BEF]{0,6}", 1..5), rest in any::<bool>(),
        ) {
            let mut filter = levels.join("/");
            prop_assume!(!filter.is_empty());
            if rest {
                filter.push_str("/#");
            }
            let spelled = to_address(&filter);
            prop_assert!(spelled.parse::<Filter>().is_ok(), "{spelled:?}");
            prop_assert_eq!(to_topic(&spelled), filter.as_str());
        }

        #[test]
        fn every_address_has_a_topic_of_its_own(
            segments in prop::collection::vec("(a|%25|%2F|%2B|%23|%01|%7F|2|5|F|3|B|4|7E|\\$|~){1,5}|%00", 1..4),
            mark in "(%24|%7E|%2524)?",
        ) {
            let address = format!("{mark}{}", segments.join("/"));
            let Ok(_) = address.parse::<Address>() else { return Ok(()) };
            let topic = to_topic(&address);
            prop_assert!(!topic.contains(['+', '#', '\0']) && !topic.is_empty() || address == "%00");
            prop_assert_eq!(to_address(&topic), address.as_str());
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            to_address(&text);
            to_topic(&text);
            level_of(&text);
        }
    }
}
