//! Texts that strangers may have written, made fit for a log: one line, no escape sequences, not too long.
//!
//! Escaped as `\u{…}`: control characters (C0, DEL, C1), line and paragraph separators, and what turns or hides text (bidirectional
//! controls, zero-width characters, the byte-order mark). A backslash is doubled, so that nobody can write what looks escaped. A text that is too long ends in `…`.
//!
//! Always, each with a test of its name below: `nothing_that_moves_a_cursor_is_left`, `what_is_cut_says_so`,
//! `large_values_are_left_out`.

use std::fmt::Write as _;

use restante_admin_api::audit::{AuditEntry, AuditQuery};
use serde_json::{Map, Value};

use crate::logs::is_treacherous;

/// Bytes of `before` or `after` in JSON; a document with a thousand rules fits a few times over.
const VALUE_BYTES_MAX: usize = 16 << 10;

pub(super) const PRINCIPAL_CHARS_MAX: usize = 256;
pub(super) const TARGET_CHARS_MAX: usize = 1024;
const PEER_CHARS_MAX: usize = 64;
const DOOR_CHARS_MAX: usize = 32;
const ACT_CHARS_MAX: usize = 128;
const RESULT_CHARS_MAX: usize = 32;
pub(super) const DETAIL_CHARS_MAX: usize = 512;
const REQUEST_ID_CHARS_MAX: usize = 64;

/// The entry as it may be written; `times` is at least 1.
pub(super) fn entry(entry: AuditEntry) -> AuditEntry {
    AuditEntry {
        principal: text(&entry.principal, PRINCIPAL_CHARS_MAX),
        peer: text(&entry.peer, PEER_CHARS_MAX),
        door: text(&entry.door, DOOR_CHARS_MAX),
        act: text(&entry.act, ACT_CHARS_MAX),
        target: text(&entry.target, TARGET_CHARS_MAX),
        result: text(&entry.result, RESULT_CHARS_MAX),
        detail: text(&entry.detail, DETAIL_CHARS_MAX),
        request_id: entry.request_id.map(|id| text(&id, REQUEST_ID_CHARS_MAX)),
        times: entry.times.max(1),
        before: entry.before.map(value),
        after: entry.after.map(value),
        ..entry
    }
}

/// A query whose texts are as they stand in the log.
pub(super) fn query(query: &AuditQuery) -> AuditQuery {
    let clean = |it: &Option<String>, max| it.as_ref().map(|it| text(it, max));
    AuditQuery {
        principal: clean(&query.principal, PRINCIPAL_CHARS_MAX),
        target: clean(&query.target, TARGET_CHARS_MAX),
        ..query.clone()
    }
}

/// `from`, with at most `chars_max` characters of its own.
pub(super) fn text(from: &str, chars_max: usize) -> String {
    let mut clean = String::with_capacity(from.len().min(chars_max));
    for (index, c) in from.chars().enumerate() {
        if index == chars_max {
            clean.push('…');
            break;
        }
        if c == '\\' {
            clean.push_str("\\\\");
        } else if is_treacherous(c) {
            write!(clean, "\\u{{{:x}}}", u32::from(c)).ok();
        } else {
            clean.push(c);
        }
    }
    clean
}

/// A document; only told of, if it is too large.
fn value(from: Value) -> Value {
    match serde_json::to_vec(&from) {
        Ok(bytes) if bytes.len() <= VALUE_BYTES_MAX => strings(from),
        Ok(bytes) => Value::String(format!("left out: {} bytes", bytes.len())),
        Err(error) => Value::String(format!("left out: {error}")),
    }
}

fn strings(from: Value) -> Value {
    match from {
        Value::String(it) => Value::String(text(&it, VALUE_BYTES_MAX)),
        Value::Array(items) => Value::Array(items.into_iter().map(strings).collect()),
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .map(|(name, value)| (text(&name, DETAIL_CHARS_MAX), strings(value)))
                .collect::<Map<_, _>>(),
        ),
        plain => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[track_caller]
    fn check(from: &str, clean: &str) {
        assert_eq!(text(from, 100), clean);
    }

    #[test]
    fn nothing_that_moves_a_cursor_is_left() {
        check("orders/eu ä 字", "orders/eu ä 字");
        check("a\r\nb", "a\\u{d}\\u{a}b");
        check("\u{1b}[2J", "\\u{1b}[2J");
        check("\u{9b}31m\u{7f}", "\\u{9b}31m\\u{7f}");
        check("x\u{202e}y\u{2028}z", "x\\u{202e}y\\u{2028}z");
        check("\\u{a}", "\\\\u{a}");
    }

    #[test]
    fn what_is_cut_says_so() {
        assert_eq!(text("abcd", 4), "abcd");
        assert_eq!(text("abcde", 4), "abcd…");
        assert_eq!(text(&"\n".repeat(9), 2), "\\u{a}\\u{a}…");
    }

    #[test]
    fn large_values_are_left_out() {
        let large = json!({ "a": "x".repeat(VALUE_BYTES_MAX) });
        assert_eq!(value(large), json!("left out: 16392 bytes"));
        assert_eq!(
            value(json!({"a\n": ["b\u{1b}", 1, null]})),
            json!({"a\\u{a}": ["b\\u{1b}", 1, null]})
        );
    }

    proptest! {
        #[test]
        fn no_text_becomes_a_second_line(from in ".*", max in 0_usize..50) {
            let clean = text(&from, max);
            prop_assert!(!clean.chars().any(is_treacherous));
            prop_assert!(clean.chars().count() <= max * 10 + 1);
        }
    }
}
