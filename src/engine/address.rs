//! Addresses and filters: names that have been checked once and are then passed on as types.
//!
//! ```text
//! address   orders/eu/new      ~0192…-uuid/replies      $SYS/broker/uptime
//! filter    orders/+/new       orders/#       orders/e#     (or any address: a filter without wildcards)
//! ```
//!
//! An address is a list of one to [`AddressLimits::segments_max`] strings, its segments, with `/` between them. Each list has
//! exactly one spelling, so names are compared byte by byte, and each door maps its own names onto the list and back. What
//! cannot stand for itself in a segment is written as `%` and two hex digits in capitals, and nothing else may be:
//!
//! | text of a segment | spelling |
//! |---|---|
//! | `/` `+` `#` `%` | `%2F` `%2B` `%23` `%25` |
//! | a control character, U+0001 to U+001F and U+007F | `%01` to `%1F`, `%7F` |
//! | `$` or `~` as the very first character of the address | `%24`, `%7E`: plain, they name the broker's and the temporary space |
//! | none at all | `%00`, alone in its segment: U+0000 is in no protocol's names, so the spelling is free |
//!
//! In a filter a whole segment may be `+`, any one segment, and the last one `#`: any number of segments, none included. Or the
//! last one is some text with `#` behind it: `orders/e#` matches every address whose spelling begins with `orders/e`, as
//! `orders/e`, `orders/eu` and `orders/east/new`. That text is spelled as the beginning of a segment is, its escapes whole; of
//! `%00` there is no beginning. A prefix is text, no wildcard: of the other spaces `$S#` matches what it names.
//!
//! Empty segments are thus never written: `a//b` is a slip of the pen for MBWS, and is refused. MQTT means it: its door
//! writes the topics `/a`, `a//b` and `/` as `%00/a`, `a/%00/b` and `%00/%00`. In a topic level a `%` is only text (`%25`), save in
//! front of `2F`, `2B` or `23` with any number of `25` between: there MQTT, which has no way to put those three characters
//! in a level, spells as we do. WAMP's `.` and an SP path are split and escaped with the same two functions,
//! [`escape_segment`] and [`unescape_segment`].
//!
//! Always, each with a test of its name below:
//! - `every_list_of_names_has_one_spelling`: escape, join, parse, split, unescape gives the list again.
//! - `a_prefix_is_of_the_spelled_text`: `TEXT#` matches what begins with `TEXT`, and nothing else.
//! - `a_leading_wildcard_leaves_the_other_spaces_alone`: `#` and `+/x` never match `$…` or `~…` (MQTT 5.0 §4.7.2-1).
//!
//! Not here: who may use an address (access), which queues it leads to (routing), a client's short form `~NAME` (session).

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// How long and how deep an address or a filter may be. From the config; the ceilings hold whatever it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressLimits {
    /// Bytes of the whole text, separators and escapes included; at most [`Self::BYTES_CEILING`].
    pub bytes_max: usize,
    /// Segments, a wildcard counted as one; at most [`Self::SEGMENTS_CEILING`].
    pub segments_max: usize,
}

impl AddressLimits {
    /// The longest address that any configuration allows: what MQTT's two-byte length can carry.
    pub const BYTES_CEILING: usize = 65_535;
    /// The deepest address that any configuration allows: routing keeps a bit for each level in a `u128`, and recurses once
    /// for each when it lets go of a filter.
    pub const SEGMENTS_CEILING: usize = 128;
    /// What no configuration exceeds.
    pub const CEILING: Self = Self {
        bytes_max: Self::BYTES_CEILING,
        segments_max: Self::SEGMENTS_CEILING,
    };
}

impl Default for AddressLimits {
    /// 1,024 bytes and 64 segments.
    fn default() -> Self {
        Self {
            bytes_max: 1024,
            segments_max: 64,
        }
    }
}

/// Why a text is no address, or no filter. Positions are in bytes from the start of the text.
///
/// Each door answers with its own code (MBWS `bad-address` or `bad-filter`, MQTT 0x90 or 0x8F).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// No text at all.
    #[error("nothing there: write at least one segment")]
    Empty,
    /// More bytes than the limit, escapes included.
    #[error("{bytes} bytes where {limit} are allowed: shorten it or raise the limit")]
    TooLong {
        /// What it has.
        bytes: usize,
        /// What it may have.
        limit: usize,
    },
    /// More segments than the limit; not counted to the end.
    #[error("more than {limit} segments: use fewer levels or raise the limit")]
    TooDeep {
        /// How many it may have.
        limit: usize,
    },
    /// Two separators in a row, or one at an end.
    #[error(
        "empty segment at byte {at}: drop the extra `/`, or write `%00` for a segment without text"
    )]
    EmptySegment {
        /// Where the segment would be.
        at: usize,
    },
    /// U+0000 to U+001F or U+007F, unescaped.
    #[error("control character U+{:04X} at byte {at}: drop it, or unless it is U+0000 escape it with `%`", u32::from(*character))]
    Control {
        /// Where it is.
        at: usize,
        /// Which it is.
        character: char,
    },
    /// `+` or `#` in an address.
    #[error("`{wildcard}` at byte {at} is a wildcard and has no place in an address: write `%{:02X}` if it is text", u32::from(*wildcard))]
    Wildcard {
        /// Where it is.
        at: usize,
        /// `+` or `#`.
        wildcard: char,
    },
    /// `+` beside other text in a filter's segment, or `#` with text behind it.
    #[error("`{wildcard}` at byte {at} has no place there: `+` is a whole segment, and `#` ends the filter; write `%{:02X}` if it is text", u32::from(*wildcard))]
    WildcardNotAlone {
        /// Where it is.
        at: usize,
        /// `+` or `#`.
        wildcard: char,
    },
    /// A segment that is `#`, or ends with it, and another after it.
    #[error(
        "`#` at byte {at} is not last: end the filter with it, or use `+` for a single segment"
    )]
    RestNotLast {
        /// Where it is.
        at: usize,
    },
    /// `%` without two hex digits in capitals after it.
    #[error(
        "`%` at byte {at} has no two hex digits in capitals after it: write `%25` if it is text"
    )]
    BadEscape {
        /// Where the `%` is.
        at: usize,
    },
    /// An escape of what can be written plainly there; with it an address would have two spellings.
    #[error("needless escape at byte {at}: write the character itself")]
    NeedlessEscape {
        /// Where the `%` is.
        at: usize,
    },
    /// `%00` beside other text.
    #[error("`%00` at byte {at} is not alone: it stands for a whole segment without text")]
    EmptyNotAlone {
        /// Where the `%` is.
        at: usize,
    },
}

/// Which of the three spaces an address is in: its first character tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// Everybody's, as far as the rules allow.
    Ordinary,
    /// `~SESSION-UUID/NAME`: a temporary queue of that session.
    Temporary,
    /// `$…`: the broker's own.
    Broker,
}

/// Where messages are sent to: a checked name, cheap to clone. Equal, ordered and hashed as its text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(Arc<str>);

impl Address {
    /// Checks `text` against the grammar (the module's head) and `limits`.
    ///
    /// # Errors
    /// [`AddressError`]: the first fault from the left, length before all others. The door answers with its code.
    pub fn parse(text: &str, limits: AddressLimits) -> Result<Self, AddressError> {
        check(text, limits, Wildcards::Refused)?;
        Ok(Self(text.into()))
    }

    /// The text, escapes and all.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The segments as spelled, from the left; never none. [`unescape_segment`] gives what each says.
    pub fn segments(&self) -> impl Iterator<Item = &str> + Clone {
        self.0.split('/')
    }

    /// The space that it is in.
    pub fn space(&self) -> Space {
        space(&self.0)
    }
}

/// What a binding or a subscription asks for: an address in which a whole segment may be `+` (any one segment) and the
/// last may be `#` (any number of segments, none included) or end with it (whatever begins so). Equal, ordered and hashed as
/// its text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Filter(Arc<str>);

/// A segment of a [`Filter`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilterSegment<'a> {
    /// This very segment, as spelled.
    Literal(&'a str),
    /// `+`: any one segment.
    One,
    /// `#`, always the last: any number of segments, none included.
    Rest,
    /// `TEXT#`, always the last: a segment whose spelling begins with this text, never empty, and whatever is below it.
    Prefix(&'a str),
}

impl Filter {
    /// Checks `text` against the grammar (the module's head) and `limits`.
    ///
    /// # Errors
    /// [`AddressError`]: the first fault from the left, length before all others. The door answers with its code.
    pub fn parse(text: &str, limits: AddressLimits) -> Result<Self, AddressError> {
        check(text, limits, Wildcards::Allowed)?;
        Ok(Self(text.into()))
    }

    /// A filter of a text that was a filter before.
    pub(super) fn known(text: Arc<str>) -> Self {
        Self(text)
    }

    /// The text, escapes and wildcards and all.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, shared and not copied.
    pub(super) fn text(&self) -> &Arc<str> {
        &self.0
    }

    /// The segments from the left; never none.
    pub fn segments(&self) -> impl Iterator<Item = FilterSegment<'_>> + Clone {
        self.0.split('/').map(|segment| match segment {
            "+" => FilterSegment::One,
            "#" => FilterSegment::Rest,
            text => match text.strip_suffix('#') {
                Some(prefix) => FilterSegment::Prefix(prefix),
                None => FilterSegment::Literal(text),
            },
        })
    }

    /// The space that it is in: of one with a wildcard in front, [`Space::Ordinary`], which is all that it matches.
    pub fn space(&self) -> Space {
        space(&self.0)
    }

    /// Whether it has no wildcard and so matches the one address of its own text.
    pub fn is_exact(&self) -> bool {
        !self.0.contains(['+', '#']) // literals never hold either: they are escaped there
    }

    /// The one address that it matches, if it has no wildcard.
    pub fn as_address(&self) -> Option<Address> {
        self.is_exact().then(|| Address(Arc::clone(&self.0)))
    }

    /// Whether a message to `address` is asked for. `#` matches the level above it too: `a/#` matches `a`. A wildcard as
    /// first segment matches only addresses of [`Space::Ordinary`].
    ///
    /// Plain on purpose: it is what [`Router`](super::routing::Router) is tested against, and good for one filter at a time.
    pub fn matches(&self, address: &Address) -> bool {
        self.matches_text(address.as_str())
    }

    /// The same of a text that was an address before.
    pub(super) fn matches_text(&self, address: &str) -> bool {
        let first_is_wild = self.0.starts_with(['+', '#']);
        if first_is_wild && address.starts_with(['$', '~']) {
            return false;
        }
        let mut rest = Some(address);
        for wanted in self.segments() {
            let (segment, below) = match rest.map(|rest| rest.split_once('/')) {
                Some(Some((segment, below))) => (Some(segment), Some(below)),
                Some(None) => (rest, None),
                None => (None, None),
            };
            let found = match wanted {
                FilterSegment::Rest => return true,
                FilterSegment::Prefix(prefix) => {
                    return segment.is_some_and(|segment| segment.starts_with(prefix));
                }
                FilterSegment::One => segment.is_some(),
                FilterSegment::Literal(literal) => segment == Some(literal),
            };
            if !found {
                return false;
            }
            rest = below;
        }
        rest.is_none()
    }
}

impl From<Address> for Filter {
    /// The filter that matches this address alone.
    fn from(address: Address) -> Self {
        Self(address.0)
    }
}

/// What both types are besides: their text.
macro_rules! is_its_text {
    ($name:ident) => {
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, formatter)
            }
        }

        impl FromStr for $name {
            type Err = AddressError;

            /// Checks against the default limits.
            fn from_str(text: &str) -> Result<Self, AddressError> {
                Self::parse(text, AddressLimits::default())
            }
        }
    };
}
is_its_text!(Address);
is_its_text!(Filter);

/// Spells `raw` as a segment. As the first of an address it needs [`escape_first_segment`].
///
/// U+0000 has no spelling and is left as it is: [`Address::parse`] then refuses it.
pub fn escape_segment(raw: &str) -> Cow<'_, str> {
    if raw.is_empty() {
        return Cow::Borrowed("%00");
    }
    if !raw.bytes().any(needs_escape) {
        return Cow::Borrowed(raw);
    }
    let mut spelled = String::with_capacity(raw.len() + 8);
    for character in raw.chars() {
        match u8::try_from(character) {
            Ok(byte) if needs_escape(byte) => push_escape(&mut spelled, byte),
            _ => spelled.push(character),
        }
    }
    Cow::Owned(spelled)
}

/// Spells `raw` as the first segment of an ordinary address: as [`escape_segment`], and a leading `$` or `~` is escaped.
pub fn escape_first_segment(raw: &str) -> Cow<'_, str> {
    let escaped = escape_segment(raw);
    match escaped.as_bytes() {
        [mark @ (b'$' | b'~'), ..] => {
            let mut spelled = String::with_capacity(escaped.len() + 2);
            push_escape(&mut spelled, *mark);
            spelled.extend(escaped.chars().skip(1));
            Cow::Owned(spelled)
        }
        _ => escaped,
    }
}

/// What a segment of an [`Address`] says: [`escape_segment`] the other way round, for a first segment too.
///
/// A `%` that begins no escape, which no checked segment has, stays as it is.
pub fn unescape_segment(segment: &str) -> Cow<'_, str> {
    if segment == "%00" {
        return Cow::Borrowed("");
    }
    let mut parts = segment.split('%');
    let plain = parts.next().unwrap_or_default();
    if plain.len() == segment.len() {
        return Cow::Borrowed(segment);
    }
    let mut raw = String::from(plain);
    for part in parts {
        match escaped_byte(part.as_bytes()) {
            Some(byte) if byte.is_ascii() => {
                raw.push(char::from(byte));
                raw.push_str(part.get(2..).unwrap_or_default());
            }
            _ => {
                raw.push('%');
                raw.push_str(part);
            }
        }
    }
    Cow::Owned(raw)
}

/// The space of an address or, by its first segment, of a filter without a leading wildcard.
pub(super) fn space(text: &str) -> Space {
    match text.as_bytes().first() {
        Some(b'~') => Space::Temporary,
        Some(b'$') => Space::Broker,
        _ => Space::Ordinary,
    }
}

/// Whether `+` and `#` may be segments.
#[derive(Clone, Copy)]
enum Wildcards {
    Allowed,
    Refused,
}

/// The grammar. One pass, nothing allocated; gives up as soon as a limit is passed.
fn check(text: &str, limits: AddressLimits, wildcards: Wildcards) -> Result<(), AddressError> {
    let bytes_max = limits.bytes_max.min(AddressLimits::BYTES_CEILING);
    let segments_max = limits.segments_max.min(AddressLimits::SEGMENTS_CEILING);
    if text.is_empty() {
        return Err(AddressError::Empty);
    }
    if text.len() > bytes_max {
        return Err(AddressError::TooLong {
            bytes: text.len(),
            limit: bytes_max,
        });
    }
    let mut at = 0;
    for (level, segment) in text.split('/').enumerate() {
        if level == segments_max {
            return Err(AddressError::TooDeep {
                limit: segments_max,
            });
        }
        match (wildcards, segment) {
            (_, "") => return Err(AddressError::EmptySegment { at }),
            (Wildcards::Allowed, "+") => {}
            (Wildcards::Allowed, "#") if at + 1 == text.len() => {}
            (Wildcards::Allowed, "#") => return Err(AddressError::RestNotLast { at }),
            (Wildcards::Allowed, _) if segment.ends_with('#') => {
                check_prefix(segment, at, at + segment.len() == text.len())?;
            }
            _ => check_literal(segment, at, wildcards)?,
        }
        at += segment.len() + 1;
    }
    Ok(())
}

/// The grammar of a segment that is text with `#` behind it and starts at byte `start` of the whole.
fn check_prefix(segment: &str, start: usize, is_last: bool) -> Result<(), AddressError> {
    let prefix = segment.strip_suffix('#').unwrap_or(segment);
    check_literal(prefix, start, Wildcards::Allowed)?;
    if prefix == "%00" {
        return Err(AddressError::EmptyNotAlone { at: start });
    }
    if !is_last {
        let at = start + prefix.len();
        return Err(AddressError::RestNotLast { at });
    }
    Ok(())
}

/// The grammar of a segment that is no wildcard and starts at byte `start` of the whole.
fn check_literal(segment: &str, start: usize, wildcards: Wildcards) -> Result<(), AddressError> {
    for (index, character) in segment.char_indices() {
        let at = start + index;
        match (character, wildcards) {
            ('\0'..='\x1F' | '\x7F', _) => return Err(AddressError::Control { at, character }),
            ('+' | '#', Wildcards::Refused) => {
                return Err(AddressError::Wildcard {
                    at,
                    wildcard: character,
                });
            }
            ('+' | '#', Wildcards::Allowed) => {
                return Err(AddressError::WildcardNotAlone {
                    at,
                    wildcard: character,
                });
            }
            ('%', _) => check_escape(segment, index, at)?,
            _ => {}
        }
    }
    Ok(())
}

/// The grammar of an escape: `index` is the place of its `%` in the segment, `at` in the whole.
fn check_escape(segment: &str, index: usize, at: usize) -> Result<(), AddressError> {
    let digits = segment.as_bytes().get(index + 1..).unwrap_or_default();
    match escaped_byte(digits) {
        None => Err(AddressError::BadEscape { at }),
        Some(0) if segment == "%00" => Ok(()),
        Some(0) => Err(AddressError::EmptyNotAlone { at }),
        Some(b'$' | b'~') if at == 0 => Ok(()),
        Some(byte) if needs_escape(byte) => Ok(()),
        Some(_) => Err(AddressError::NeedlessEscape { at }),
    }
}

/// The byte that the two digits at the start of `digits` stand for, if they are hex digits in capitals.
fn escaped_byte(digits: &[u8]) -> Option<u8> {
    let [high, low, ..] = digits else { return None };
    Some(hex_digit(*high)? << 4 | hex_digit(*low)?)
}

/// The value of a hex digit; none for lower case, which would be a second spelling.
fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// What must be escaped wherever it is in a segment. U+0000 is not among it: it has no spelling.
fn needs_escape(byte: u8) -> bool {
    matches!(byte, b'/' | b'+' | b'#' | b'%' | 0x01..=0x1F | 0x7F)
}

/// Appends `%` and the two digits of `byte`.
fn push_escape(spelled: &mut String, byte: u8) {
    spelled.push('%');
    for nibble in [byte >> 4, byte & 0x0F] {
        let digit = if nibble < 10 {
            b'0' + nibble
        } else {
            b'A' + nibble - 10
        };
        spelled.push(char::from(digit));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The fault of `text` as an address, and as a filter.
    fn faults(text: &str) -> (Option<AddressError>, Option<AddressError>) {
        (text.parse::<Address>().err(), text.parse::<Filter>().err())
    }

    #[test]
    fn what_the_grammar_allows_is_an_address_and_a_filter() {
        for text in [
            "a",
            "orders/eu",
            "a b/c.d/é/日本/😀",
            "a/%00/b",
            "%00",
            "%00/%00",
            "a%2Fb/%2B/%23/100%25",
            "%01%1F%7F",
            "%24SYS",
            "%7Ex/y",
            "$SYS/broker",
            "~0192f0c1-7c1e-7000-8000-000000000001/replies",
            "a/$b/~c",
            "a/..",
            "\u{FEFF}a\u{0085}",
        ] {
            assert_eq!(faults(text), (None, None), "{text:?}");
        }
    }

    #[test]
    fn wildcards_are_whole_segments_of_filters_only() {
        for text in ["+", "#", "+/+", "a/+/b", "a/#", "+/#", "$SYS/#", "~x/+"] {
            assert!(text.parse::<Filter>().is_ok(), "{text:?}");
            assert!(
                matches!(text.parse::<Address>(), Err(AddressError::Wildcard { .. })),
                "{text:?}"
            );
        }
        for text in [
            "a#", "a/b#", "a/+/b#", "+/a#", "$SYS#", "$#", "~#", "%24#", "a/x%2F#", "é#",
        ] {
            assert!(text.parse::<Filter>().is_ok(), "{text:?}");
            let address = text.parse::<Address>();
            assert!(
                matches!(address, Err(AddressError::Wildcard { .. })),
                "{text:?}"
            );
        }
        let not_alone = |at, wildcard| Some(AddressError::WildcardNotAlone { at, wildcard });
        assert_eq!(faults("a/b+").1, not_alone(3, '+'));
        assert_eq!(faults("++").1, not_alone(0, '+'));
        assert_eq!(faults("a/#b").1, not_alone(2, '#'));
        assert_eq!(faults("##").1, not_alone(0, '#'));
        assert_eq!(faults("#/a").1, Some(AddressError::RestNotLast { at: 0 }));
        assert_eq!(faults("a/#/#").1, Some(AddressError::RestNotLast { at: 2 }));
        assert_eq!(faults("a/#b#").1, not_alone(2, '#'));
        assert_eq!(faults("a/b+#").1, not_alone(3, '+'));
        assert_eq!(faults("a#/b").1, Some(AddressError::RestNotLast { at: 1 }));
        assert_eq!(faults("a#/#").1, Some(AddressError::RestNotLast { at: 1 }));
    }

    #[test]
    fn the_text_of_a_prefix_is_the_beginning_of_a_segment() {
        use AddressError::*;
        for (text, fault) in [
            ("a/%00#", EmptyNotAlone { at: 2 }),
            ("%00#", EmptyNotAlone { at: 0 }),
            ("a%00#", EmptyNotAlone { at: 1 }),
            ("a/%#", BadEscape { at: 2 }),
            ("a/%2#", BadEscape { at: 2 }),
            ("a/%2f#", BadEscape { at: 2 }),
            ("a/%24#", NeedlessEscape { at: 2 }),
            ("a/%41#", NeedlessEscape { at: 2 }),
            (
                "a\n#",
                Control {
                    at: 1,
                    character: '\n',
                },
            ),
        ] {
            assert_eq!(faults(text).1, Some(fault), "{text:?}");
        }
    }

    #[test]
    fn what_the_grammar_forbids_is_refused_with_its_place() {
        use AddressError::*;
        for (text, fault) in [
            ("", Empty),
            ("/", EmptySegment { at: 0 }),
            ("/a", EmptySegment { at: 0 }),
            ("a/", EmptySegment { at: 2 }),
            ("a//b", EmptySegment { at: 2 }),
            (
                "a/\0",
                Control {
                    at: 2,
                    character: '\0',
                },
            ),
            (
                "é\n",
                Control {
                    at: 2,
                    character: '\n',
                },
            ),
            (
                "\x7F",
                Control {
                    at: 0,
                    character: '\x7F',
                },
            ),
            ("a%", BadEscape { at: 1 }),
            ("a%2", BadEscape { at: 1 }),
            ("%2/F", BadEscape { at: 0 }),
            ("a/%2f", BadEscape { at: 2 }),
            ("%zz", BadEscape { at: 0 }),
            ("%é", BadEscape { at: 0 }),
            ("%%25", BadEscape { at: 0 }),
            ("%+1", BadEscape { at: 0 }),
            ("%41", NeedlessEscape { at: 0 }),
            ("a%20b", NeedlessEscape { at: 1 }),
            ("%C3%A9", NeedlessEscape { at: 0 }),
            ("a/%24b", NeedlessEscape { at: 2 }),
            ("a%7E", NeedlessEscape { at: 1 }),
            ("a%00", EmptyNotAlone { at: 1 }),
            ("%00%00", EmptyNotAlone { at: 0 }),
        ] {
            assert_eq!(faults(text), (Some(fault), Some(fault)), "{text:?}");
        }
    }

    #[test]
    fn limits_are_inclusive_and_cannot_pass_the_ceilings() {
        let limits = AddressLimits {
            bytes_max: 8,
            segments_max: 3,
        };
        let parse = |text| Address::parse(text, limits).map(drop);
        assert_eq!(parse("aaaaaaaa"), Ok(()));
        assert_eq!(
            parse("aaaaaaaaa"),
            Err(AddressError::TooLong { bytes: 9, limit: 8 })
        );
        assert_eq!(parse("a/b/c"), Ok(()));
        assert_eq!(parse("a/b/c/d"), Err(AddressError::TooDeep { limit: 3 }));

        let limits = AddressLimits {
            bytes_max: usize::MAX,
            segments_max: usize::MAX,
        };
        let deepest = ["a"; AddressLimits::SEGMENTS_CEILING].join("/");
        assert!(Filter::parse(&deepest, limits).is_ok());
        assert!(Filter::parse(&format!("{deepest}/a"), limits).is_err());
        assert!(Filter::parse(&"a".repeat(AddressLimits::BYTES_CEILING + 1), limits).is_err());
    }

    #[test]
    fn a_fault_is_one_line_that_says_what_to_do() {
        let says = |text: &str| text.parse::<Address>().unwrap_err().to_string();
        assert_eq!(
            says("a/+"),
            "`+` at byte 2 is a wildcard and has no place in an address: write `%2B` if it is text"
        );
        assert_eq!(
            says("a//b"),
            "empty segment at byte 2: drop the extra `/`, or write `%00` for a segment without text"
        );
        assert_eq!(
            says("a\tb"),
            "control character U+0009 at byte 1: drop it, or unless it is U+0000 escape it with `%`"
        );
    }

    #[test]
    fn a_filter_matches_what_mqtt_says() {
        for (filter, address, expected) in [
            ("sport/tennis/#", "sport/tennis", true),
            ("sport/tennis/#", "sport/tennis/player1/ranking", true),
            ("sport/#", "sport", true),
            ("sport/#", "sports", false),
            ("#", "a/b/c", true),
            ("+", "a", true),
            ("+", "a/b", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/%00", true),
            ("+/+", "%00/finance", true),
            ("%00/+", "%00/finance", true),
            ("+", "%00/finance", false),
            ("a/+/c", "a/b/c", true),
            ("a/+/c", "a/b/d", false),
            ("a/+/#", "a", false),
            ("a/+/#", "a/b", true),
            ("a/b", "a/b", true),
            ("a/b", "a/b/c", false),
            ("a/b/c", "a/b", false),
            ("a", "A", false),
        ] {
            let matched = filter
                .parse::<Filter>()
                .unwrap()
                .matches(&address.parse().unwrap());
            assert_eq!(matched, expected, "{filter} on {address}");
        }
    }

    #[test]
    fn a_prefix_is_of_the_spelled_text() {
        for (filter, address, expected) in [
            ("com/foo#", "com/foo", true),
            ("com/foo#", "com/foobar", true),
            ("com/foo#", "com/foo/x/y", true),
            ("com/foo#", "com/foo%2Fx", true),
            ("com/foo#", "com/fo", false),
            ("com/foo#", "com", false),
            ("com/foo#", "com/x/foo", false),
            ("com/foo#", "com/Foo", false),
            ("com#", "com", true),
            ("com#", "community/x", true),
            ("com#", "$com", false),
            ("com#", "~com/x", false),
            ("+/foo#", "com/foobar/x", true),
            ("+/foo#", "com", false),
            ("+/foo#", "$com/foo", false),
            ("$SYS#", "$SYS/uptime", true),
            ("$SYS#", "$SYSTEM", true),
            ("$SYS#", "%24SYS", false),
            ("%24S#", "%24SYS", true),
            ("é#", "éa/b", true),
            ("a/😀#", "a/😀😀", true),
        ] {
            let matched = filter
                .parse::<Filter>()
                .unwrap()
                .matches(&address.parse().unwrap());
            assert_eq!(matched, expected, "{filter} on {address}");
        }
    }

    #[test]
    fn a_leading_wildcard_leaves_the_other_spaces_alone() {
        for (filter, address, expected) in [
            ("#", "$SYS/uptime", false),
            ("+/uptime", "$SYS/uptime", false),
            ("+", "$SYS", false),
            ("$SYS/#", "$SYS", true),
            ("$SYS/+", "$SYS/uptime", true),
            ("#", "~id/replies", false),
            ("+/replies", "~id/replies", false),
            ("~id/#", "~id/replies", true),
            ("#", "%24SYS/uptime", true),
            ("+/replies", "%7Eid/replies", true),
            ("a/#", "a/$b", true),
            ("a/+", "a/~b", true),
        ] {
            let matched = filter
                .parse::<Filter>()
                .unwrap()
                .matches(&address.parse().unwrap());
            assert_eq!(matched, expected, "{filter} on {address}");
        }
    }

    #[test]
    fn a_filter_without_wildcards_is_an_address() {
        let address: Address = "a/b%2Bc".parse().unwrap();
        let filter = Filter::from(address.clone());
        assert!(filter.is_exact());
        assert_eq!(filter.as_address(), Some(address));
        assert_eq!("a/#".parse::<Filter>().unwrap().as_address(), None);
        assert_eq!("a/b#".parse::<Filter>().unwrap().as_address(), None);
    }

    #[test]
    fn the_first_character_tells_the_space() {
        let space = |text: &str| text.parse::<Address>().unwrap().space();
        assert_eq!(space("a/$b"), Space::Ordinary);
        assert_eq!(space("%7Ea"), Space::Ordinary);
        assert_eq!(space("~a/b"), Space::Temporary);
        assert_eq!(space("$a"), Space::Broker);
    }

    /// Characters that the grammar cares about, and some others.
    const TELLING: &str = "[a-b/+#%$~.é😀\u{1}-\u{1F}\u{7F}0-9A-F]{0,6}";

    proptest! {
        #[test]
        fn every_list_of_names_has_one_spelling(names in prop::collection::vec(TELLING, 1..6)) {
            let mut spelled: Vec<_> = names.iter().map(|name| escape_segment(name)).collect();
            spelled[0] = escape_first_segment(&names[0]);
            let address: Address = spelled.join("/").parse().unwrap();
            let again: Vec<_> = address.segments().map(unescape_segment).collect();
            prop_assert_eq!(again, names);
            prop_assert_eq!(address.space(), Space::Ordinary);
        }

        #[test]
        fn every_ordinary_address_is_the_spelling_of_its_names(text in "[ab$~/%02345BEF]{1,9}") {
            let Ok(address) = text.parse::<Address>() else { return Ok(()) };
            prop_assume!(address.space() == Space::Ordinary);
            let names: Vec<_> = address.segments().map(unescape_segment).collect();
            let mut spelled: Vec<_> = names.iter().map(|name| escape_segment(name)).collect();
            spelled[0] = escape_first_segment(&names[0]);
            prop_assert_eq!(spelled.join("/"), text);
        }

        #[test]
        fn every_beginning_with_whole_escapes_is_a_prefix(address in "[ab/%$~é0-57BEF]{1,9}", at in 1..9_usize) {
            let Ok(address) = address.parse::<Address>() else { return Ok(()) };
            let Some(front) = address.as_str().get(..at) else { return Ok(()) };
            let Ok(filter) = format!("{front}#").parse::<Filter>() else { return Ok(()) };
            // `a/#` is the other wildcard.
            prop_assert!(filter.matches(&address), "{}", filter);
            prop_assert!(!filter.is_exact());
        }

        #[test]
        fn no_text_makes_the_checks_panic(text in any::<String>()) {
            let (address, filter) = faults(&text);
            prop_assert!(address.is_some() || filter.is_none());
            prop_assert!(unescape_segment(&text).len() <= text.len());
        }
    }
}
