//! Settings written as YAML: the effective configuration, and the example with every key explained.
//!
//! Always, each with a test of its name below: `what_is_written_loads_to_the_same` and
//! `the_example_in_ops_is_what_the_table_says`.

use std::fmt::Write as _;

use super::check::expected;
use super::schema::{Default, ENTRY_EXAMPLES, KEYS, Key, Kind, SECTIONS, variable};
use super::settings::{Entry, Setting, Settings};
use super::units::{write_size, write_span};

const COMMENT_CHARS: usize = 96;

/// All settings, without comments.
pub(super) fn effective(settings: &Settings) -> String {
    let mut page = Page::default();
    for key in KEYS {
        page.key(key, settings.get(key.path));
    }
    page.text
}

/// All settings, each below a comment that says what it does, its range and its variable.
pub(super) fn explained(settings: &Settings) -> String {
    let mut page = Page {
        with_comments: true,
        ..Page::default()
    };
    page.comment(
        0,
        "Every setting of Restante, with its default. Leave out what you do not change.",
    );
    page.comment(0, "The environment wins over this file: the variable of storage.sync is RESTANTE_STORAGE_SYNC.");
    for key in KEYS {
        page.key(key, settings.get(key.path));
    }
    page.text
}

#[derive(Default)]
struct Page {
    text: String,
    with_comments: bool,
    /// The section that the last key was in, `queues.defaults`.
    section: &'static str,
}

impl Page {
    fn key(&mut self, key: &'static Key, setting: &Setting) {
        let (section, name) = key.path.rsplit_once('.').unwrap_or(("", key.path));
        let depth = self.enter(section);
        if self.with_comments {
            self.gap();
            self.comment(depth, key.doc);
            self.comment(depth, &range(key));
            self.example(depth, key.path);
        }
        match setting {
            Setting::Entries(entries) if !entries.is_empty() => {
                self.line(depth, &format!("{name}:"));
                entries
                    .iter()
                    .for_each(|entry| self.entry(depth + 1, entry));
            }
            _ => self.line(depth, &format!("{name}: {}", inline(setting))),
        }
    }

    /// Writes the headings that `section` needs after the last key's; returns its depth.
    fn enter(&mut self, section: &'static str) -> usize {
        let mut depth = 0;
        let mut path = String::new();
        for name in section.split('.').filter(|name| !name.is_empty()) {
            if depth > 0 {
                path.push('.');
            }
            path.push_str(name);
            let open = self.section == path || self.section.starts_with(&format!("{path}."));
            if !open {
                self.heading(depth, &path, name);
            }
            depth += 1;
        }
        self.section = section;
        depth
    }

    fn heading(&mut self, depth: usize, path: &str, name: &str) {
        if self.with_comments {
            self.gap();
            let about = SECTIONS.iter().find(|(section, _)| *section == path);
            self.comment(depth, about.map_or("", |(_, doc)| doc));
        }
        self.line(depth, &format!("{name}:"));
    }

    fn entry(&mut self, depth: usize, entry: &Entry) {
        for (index, (name, setting)) in entry.iter().enumerate() {
            let lead = if index == 0 { "- " } else { "  " };
            self.line(depth, &format!("{lead}{name}: {}", inline(setting)));
        }
    }

    fn example(&mut self, depth: usize, path: &str) {
        if let Some((_, lines)) = ENTRY_EXAMPLES.iter().find(|(list, _)| *list == path) {
            lines
                .iter()
                .for_each(|line| self.line(depth, &format!("#   {line}")));
        }
    }

    /// An empty line, except at the top of a section.
    fn gap(&mut self) {
        if !self.text.ends_with(":\n") {
            self.text.push('\n');
        }
    }

    /// `text`, wrapped, behind `# `.
    fn comment(&mut self, depth: usize, text: &str) {
        let mut line = String::from("#");
        for word in text.split_whitespace() {
            if line.len() + word.len() > COMMENT_CHARS {
                self.line(depth, &line);
                line.truncate(1);
            }
            line.push(' ');
            line.push_str(word);
        }
        if line.len() > 1 {
            self.line(depth, &line);
        }
    }

    fn line(&mut self, depth: usize, line: &str) {
        let written = writeln!(self.text, "{:indent$}{line}", "", indent = depth * 2);
        debug_assert!(written.is_ok(), "writing to a string cannot fail");
    }
}

/// The range of a key, and whether it takes `none`.
fn range(key: &Key) -> String {
    let range = match key.kind {
        Kind::Count { min, max: u64::MAX } => format!("{min} or more"),
        Kind::Size { min, max: u64::MAX } => format!("{} or more", write_size(min)),
        Kind::Count { min, max } => format!("{min} to {max}"),
        Kind::Size { min, max } => format!("{} to {}", write_size(min), write_size(max)),
        Kind::Span { min, max } => format!("{} to {}", write_span(min), write_span(max)),
        Kind::Choice(_) | Kind::Flag => expected(key.kind),
        _ => String::new(),
    };
    let none = match (key.default, key.kind) {
        (Default::None, Kind::File) => "a file's path, or none",
        (Default::None, Kind::Address) => "an address, or none",
        (Default::None, Kind::Text) => "a name, or none",
        (Default::None, Kind::Role) => "a role's name, or none",
        (Default::None, _) => "none for no limit",
        _ => "",
    };
    let parts = [range, none.to_owned(), variable(key.path)];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    format!("({})", parts.join("; "))
}

/// On one line, as in YAML's flow style.
pub(super) fn inline(setting: &Setting) -> String {
    match setting {
        Setting::None => "none".to_owned(),
        Setting::Flag(flag) => flag.to_string(),
        Setting::Count(count) => count.to_string(),
        Setting::Size(bytes) => write_size(*bytes),
        Setting::Span(span) => write_span(*span),
        Setting::Text(text) => quoted(text),
        Setting::Texts(texts) => list(texts.iter().map(|text| quoted(text))),
        Setting::Sockets(sockets) => match sockets.as_slice() {
            [socket] => quoted(&socket.to_string()),
            several => list(several.iter().map(|socket| quoted(&socket.to_string()))),
        },
        Setting::Entries(entries) => list(entries.iter().map(|entry| {
            let fields = entry
                .iter()
                .map(|(name, setting)| format!("{name}: {}", inline(setting)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        })),
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

/// `text` as a YAML scalar: bare if nobody could take it for something else.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=".contains(c);
    let looks_plain = text.chars().all(|c| plain(c) || c == ':' || c == ',')
        && !text.ends_with(':')
        && !text.contains(',');
    let begins_well = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '.' || c == '/');
    let is_a_word_of_yaml = matches!(
        text.to_ascii_lowercase().as_str(),
        "true" | "false" | "null" | "none" | "yes" | "no"
    );
    if looks_plain && begins_well && !is_a_word_of_yaml {
        return text.to_owned();
    }
    serde_json::to_string(text).unwrap_or_else(|_| format!("{text:?}"))
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use std::path::Path;

    fn load(name: &str, text: &str) -> Config {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        Config::load(Some(&path), []).unwrap_or_else(|faults| panic!("{faults}\n{text}"))
    }

    #[test]
    fn what_is_written_loads_to_the_same() {
        let config = load(
            "some.yaml",
            "data: 'true'\nlisten: ['[::1]:1', '127.0.0.1:2']\nlog: {level: 'info,restante=debug'}\n\
             mbws: {origins: ['https://a.example']}\nlimits: {window: 7}\nqueues:\n  defaults: {ttl: 90s}\n  policies:\n  \
             - {filter: 'a/#', ttl: none}\n  - {filter: 'b/+', max-bytes: 3KiB, dead-letter: \"d: e\"}\n\
             access: {jwt: [{issuer: 'https://a.example', audience: '*', algorithms: [RS256, EdDSA], jwks-file: /k, leeway: 1m}]}\n",
        );
        let again = load("again.yaml", &config.effective_yaml());
        assert_eq!(again, config);
        assert_eq!(again.effective_yaml(), config.effective_yaml());
    }

    #[test]
    fn the_examples_of_entries_load() {
        for (path, lines) in super::ENTRY_EXAMPLES {
            let config = load("entry.yaml", &format!("{path}:\n{}\n", lines.join("\n")));
            assert_eq!(
                config.queues.policies.len() + config.access.issuers.len(),
                1,
                "{path}"
            );
        }
    }

    #[test]
    fn the_example_in_ops_is_what_the_table_says() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("ops/restante.example.yaml");
        let wanted = Config::example_yaml();
        assert_eq!(load("example.yaml", &wanted), Config::default());
        if std::env::var_os("RESTANTE_TEST_WRITE").is_some() {
            std::fs::write(&path, &wanted).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == wanted,
            "ops/restante.example.yaml is not what the table of keys says; run RESTANTE_TEST_WRITE=1 cargo test the_example_in_ops"
        );
    }
}
