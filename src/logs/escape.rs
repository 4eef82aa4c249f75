//! A writer through which no control character gets: what is written may be a stranger's.

use std::fmt;

/// Passes everything on, with what could begin a line, move a cursor or turn text as `\u{…}`; in JSON strings as `\u…`, which
/// reads back to the same.
pub(super) struct Escape<'a> {
    to: &'a mut dyn fmt::Write,
    json: bool,
}

impl<'a> Escape<'a> {
    /// For a line of text.
    pub(super) fn text(to: &'a mut dyn fmt::Write) -> Escape<'a> {
        Escape { to, json: false }
    }

    /// For the inside of a JSON string.
    pub(super) fn json(to: &'a mut dyn fmt::Write) -> Escape<'a> {
        Escape { to, json: true }
    }

    fn escaped(&mut self, c: char) -> fmt::Result {
        match (self.json, c) {
            // All of them are in the first plane, so that one `\u` is enough.
            (true, '"' | '\\') => write!(self.to, "\\{c}"),
            (true, c) => write!(self.to, "\\u{:04x}", u32::from(c)),
            (false, c) => write!(self.to, "\\u{{{:x}}}", u32::from(c)),
        }
    }
}

impl fmt::Write for Escape<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let json = self.json;
        let is_bad = |c: char| is_treacherous(c) || (json && matches!(c, '"' | '\\'));
        let mut rest = text;
        while let Some(at) = rest.find(is_bad) {
            let (good, tail) = rest.split_at(at);
            self.to.write_str(good)?;
            let mut tail = tail.chars();
            if let Some(c) = tail.next() {
                self.escaped(c)?;
            }
            rest = tail.as_str();
        }
        self.to.write_str(rest)
    }
}

/// Whether a character does something to a line or a terminal instead of standing in it: controls (C0, DEL, C1), ends of lines and
/// paragraphs, what turns or hides text. All of them below U+FFFF.
pub(crate) fn is_treacherous(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
        )
}
