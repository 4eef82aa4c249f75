//! Where in the file each key stands, so that every fault can name its line, not only the first.
//!
//! The YAML parser tells places only of syntax errors. This is a scan of the same text that follows indentation, `- ` and
//! `key:`; it need not understand YAML, because a key that it misses is reported at the line of the nearest one around
//! it. So a list in flow style (`[…]`, `{…}`) has one place: that of its key.
//!
//! Always, with a test of its name below: `a_key_that_was_not_seen_has_its_parents_place`.

use std::collections::HashMap;

/// A line and a column of the file, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LineColumn {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// The places of all keys (`storage.sync`) and list items (`access.jwt[2].issuer`, from 0).
#[derive(Debug, Default)]
pub(crate) struct Places(HashMap<String, LineColumn>);

impl Places {
    /// Finds the keys of a YAML text in block style.
    pub(crate) fn scan(text: &str) -> Places {
        let mut scan = Scan::default();
        for (index, line) in text.lines().enumerate() {
            scan.line(index + 1, line);
        }
        Places(scan.found)
    }

    /// The place of `path`, or of the nearest key around it, or the file's first line.
    pub(crate) fn of(&self, path: &str) -> LineColumn {
        let mut path = path;
        loop {
            if let Some(place) = self.0.get(path) {
                return *place;
            }
            match path.rfind(['.', '[']).and_then(|end| path.get(..end)) {
                Some(parent) => path = parent,
                None => return LineColumn { line: 1, column: 1 },
            }
        }
    }
}

/// A key or list item that the lines below may belong to.
struct Level {
    indent: usize,
    path: String,
    /// `Some`: an item of a list, and which.
    item: Option<usize>,
}

#[derive(Default)]
struct Scan {
    found: HashMap<String, LineColumn>,
    levels: Vec<Level>,
    /// Brackets that are still open.
    flow_depth: usize,
    /// Inside a `|` or `>` text whose key has this indent.
    block_text: Option<usize>,
}

impl Scan {
    fn line(&mut self, number: usize, line: &str) {
        let body = line.trim_start();
        let indent = line.len() - body.len();
        if body.is_empty() || self.block_text.is_some_and(|parent| indent > parent) {
            return;
        }
        self.block_text = None;
        if self.flow_depth > 0 {
            self.flow_depth = brackets(self.flow_depth, body);
            return;
        }
        let says_nothing = body.starts_with(['#', '%']) || (indent == 0 && body.starts_with("---"));
        if !says_nothing {
            let (indent, rest) = self.items(number, indent, body);
            self.key(number, indent, rest);
        }
    }

    /// Takes the `- ` off the front, each of which begins an item.
    fn items<'a>(&mut self, line: usize, mut indent: usize, mut rest: &'a str) -> (usize, &'a str) {
        while let Some(after) = rest
            .strip_prefix('-')
            .filter(|after| after.is_empty() || after.starts_with(' '))
        {
            self.pop_while(|level| level.indent > indent);
            let before = self
                .levels
                .last()
                .filter(|level| level.indent == indent)
                .and_then(|level| level.item);
            if before.is_some() {
                self.levels.pop();
            }
            let item = before.map_or(0, |before| before + 1);
            let parent = self.levels.last().map_or("", |level| level.path.as_str());
            let path = format!("{parent}[{item}]");
            self.push(
                line,
                Level {
                    indent,
                    path,
                    item: Some(item),
                },
            );
            let trimmed = after.trim_start();
            indent += 1 + after.len() - trimmed.len();
            rest = trimmed;
        }
        (indent, rest)
    }

    fn key(&mut self, line: usize, indent: usize, rest: &str) {
        let (key, value) = match split_key(rest) {
            Some((key, value)) => (Some(key), value),
            None => (None, rest),
        };
        if let Some(key) = key {
            self.pop_while(|level| level.indent >= indent);
            let path = match self.levels.last() {
                Some(parent) => format!("{}.{key}", parent.path),
                None => key.to_owned(),
            };
            self.push(
                line,
                Level {
                    indent,
                    path,
                    item: None,
                },
            );
        }
        if value.starts_with(['|', '>']) {
            self.block_text = self.levels.last().map(|level| level.indent);
        } else if value.starts_with(['[', '{']) {
            self.flow_depth = brackets(0, value);
        }
    }

    fn push(&mut self, line: usize, level: Level) {
        self.found.entry(level.path.clone()).or_insert(LineColumn {
            line,
            column: level.indent + 1,
        });
        self.levels.push(level);
    }

    fn pop_while(&mut self, ended: impl Fn(&Level) -> bool) {
        while self.levels.last().is_some_and(&ended) {
            self.levels.pop();
        }
    }
}

/// `key: value`, `"key": value` or `key:`; `None` for anything else.
fn split_key(text: &str) -> Option<(&str, &str)> {
    let (key, rest) = match text.chars().next()? {
        quote @ ('"' | '\'') => text.get(1..)?.split_once(quote)?,
        '[' | '{' => return None,
        _ => text.split_at(text.find(": ").or_else(|| {
            text.trim_end()
                .ends_with(':')
                .then(|| text.trim_end().len() - 1)
        })?),
    };
    let value = rest.trim_start().strip_prefix(':')?;
    Some((key.trim_end(), value.trim()))
}

/// How many brackets are open after `text`, if `depth` were before. Those in quotes do not count.
fn brackets(mut depth: usize, text: &str) -> usize {
    let mut quote = None;
    for c in text.chars() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '[' | '{') => depth += 1,
            (None, ']' | '}') => depth = depth.saturating_sub(1),
            (None, '#') => break,
            (None, _) => {}
        }
    }
    depth
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FILE: &str = "\
# a comment: with a colon
data: /srv/restante
storage:
  sync: always
  'segment-bytes': 1GiB

queues:
  defaults: {ttl: 1d,
    max-attempts: 3}
  policies:
  - filter: a/#
    ttl: 1h
  -
    filter: b
notes: |
  listen: not a key
listen:
    - 127.0.0.1:1
    - 127.0.0.1:2
";

    #[track_caller]
    fn check(path: &str, line: usize, column: usize) {
        assert_eq!(
            Places::scan(FILE).of(path),
            LineColumn { line, column },
            "{path}"
        );
    }

    #[test]
    fn keys_and_items_are_found() {
        check("data", 2, 1);
        check("storage.sync", 4, 3);
        check("storage.segment-bytes", 5, 3);
        check("queues.policies[0]", 11, 3);
        check("queues.policies[0].ttl", 12, 5);
        check("queues.policies[1].filter", 14, 5);
        check("listen", 17, 1);
        check("listen[1]", 19, 5);
    }

    #[test]
    fn a_key_that_was_not_seen_has_its_parents_place() {
        check("queues.defaults.max-attempts", 8, 3);
        check("listen[7]", 17, 1);
        check("nowhere.at.all", 1, 1);
    }

    proptest! {
        #[test]
        fn any_text_can_be_scanned(text in "[ \\-:#a-c\\[\\]{}\"'|>\néß\t]{0,200}") {
            let _places = Places::scan(&text);
        }
    }
}
