//! Default, file, environment: three layers become one checked value for each key of the table.
//!
//! ```text
//! schema's default ─┐
//! file ─ yaml ──────┼─▶ check(kind) ─▶ Settings ─▶ Config
//! RESTANTE_… ───────┘         └─▶ faults, all of them
//! ```
//!
//! A later layer wins, but what it hides is checked too. Here stands what the three layers say; what the broker makes of
//! it, and what must hold between two keys, is in `config`.
//!
//! Tests: `config::tests`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::check;
use super::fault::{Fault, Problem, Source};
use super::nearest::nearest;
use super::places::Places;
use super::schema::{self, Default, KEYS, Key, Kind};
use super::yaml::{self, Node};

/// A checked value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Setting {
    /// `none`: no limit.
    None,
    Flag(bool),
    Count(u64),
    /// In bytes.
    Size(u64),
    Span(Duration),
    Text(String),
    Texts(Vec<String>),
    Sockets(Vec<SocketAddr>),
    Entries(Vec<Entry>),
}

/// A checked entry of a list: what was set in it or has a default there.
pub(super) type Entry = BTreeMap<&'static str, Setting>;

/// A value for each key of the table.
#[derive(Debug, Clone)]
pub(super) struct Settings(BTreeMap<&'static str, (Setting, Source)>);

/// Alike in every value, wherever each came from.
impl PartialEq for Settings {
    fn eq(&self, other: &Settings) -> bool {
        let values = |settings: &'_ Settings| -> Vec<_> {
            settings
                .0
                .iter()
                .map(|(path, (value, _))| (*path, value.clone()))
                .collect()
        };
        values(self) == values(other)
    }
}

impl Settings {
    /// The value of `path`.
    pub(super) fn get(&self, path: &'static str) -> &Setting {
        match self.0.get(path) {
            Some((setting, _)) => setting,
            None => unreachable!("{path} is not in the table of keys"),
        }
    }

    /// These settings, with `path` as it is in `other`.
    pub(super) fn with(mut self, path: &'static str, other: &Settings) -> Settings {
        if let Some(theirs) = other.0.get(path) {
            self.0.insert(path, theirs.clone());
        }
        self
    }

    /// Where the value of `path` came from.
    pub(super) fn source(&self, path: &'static str) -> Source {
        self.0
            .get(path)
            .map_or(Source::Default, |(_, source)| source.clone())
    }
}

/// Variables that are the command line's or the tests', not settings.
const OTHER_VARIABLES: &[&str] = &[
    "RESTANTE_URL",
    "RESTANTE_ADMIN_URL",
    "RESTANTE_KEY_FILE",
    "RESTANTE_CONFIG",
    "RESTANTE_CA",
    "RESTANTE_CERTIFICATE",
    "RESTANTE_KEY",
];
const TEST_VARIABLES: &str = "RESTANTE_TEST_";

/// Puts the layers on one another.
pub(super) struct Layers {
    settings: BTreeMap<&'static str, (Setting, Source)>,
    faults: Vec<Fault>,
}

impl Layers {
    /// The table's defaults.
    pub(super) fn new() -> Layers {
        let mut layers = Layers {
            settings: BTreeMap::new(),
            faults: Vec::new(),
        };
        for key in KEYS {
            layers.set(key, default_node(key), &Origin::Default);
        }
        assert!(
            layers.faults.is_empty(),
            "a default is out of its range: {:?}",
            layers.faults
        );
        layers
    }

    /// The file's text, which the caller has called `path`.
    ///
    /// # Errors
    /// The text is no YAML, so that there is nothing more to say about it.
    pub(super) fn file(&mut self, path: &Path, text: &str) -> Result<(), yaml::SyntaxError> {
        let tree = yaml::parse(text)?;
        let origin = Origin::File {
            path: Arc::from(path),
            places: Places::scan(text),
        };
        let mut leaves = Vec::new();
        self.flatten("", tree, &origin, &mut leaves);
        let mut seen: Vec<&str> = Vec::new();
        for (key, node) in leaves {
            if seen.contains(&key.path) {
                self.fault(&origin, key.path, Problem::Twice);
            }
            seen.push(key.path);
            self.set(key, node, &origin);
        }
        Ok(())
    }

    /// The variables called `RESTANTE_…`; all others are somebody else's.
    pub(super) fn environment(
        &mut self,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) {
        for (name, value) in variables {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("RESTANTE_")
                && !name.starts_with(TEST_VARIABLES)
                && !OTHER_VARIABLES.contains(&&*name)
            {
                self.variable(name, &value.to_string_lossy());
            }
        }
    }

    fn variable(&mut self, name: String, value: &str) {
        let Some(key) = KEYS.iter().find(|key| schema::variable(key.path) == name) else {
            let names: Vec<String> = KEYS.iter().map(|key| schema::variable(key.path)).collect();
            let nearest = nearest(&name, names.iter().map(String::as_str)).map(str::to_owned);
            self.fault(
                &Origin::Variable(name),
                "",
                Problem::UnknownVariable { nearest },
            );
            return;
        };
        match variable_node(key.kind, value) {
            Ok(node) => self.set(key, node, &Origin::Variable(name)),
            Err(error) => self.fault(
                &Origin::Variable(name),
                key.path,
                Problem::Syntax {
                    message: error.message,
                },
            ),
        }
    }

    /// All values, or all faults.
    pub(super) fn finish(self) -> (Settings, Vec<Fault>) {
        (Settings(self.settings), self.faults)
    }

    /// Splits a tree into the table's keys; what is not in the table is a fault.
    fn flatten(
        &mut self,
        prefix: &str,
        tree: Node,
        origin: &Origin,
        leaves: &mut Vec<(&'static Key, Node)>,
    ) {
        let entries = match tree {
            Node::Map(entries) => entries,
            Node::Nothing => return,
            other => {
                return self.fault(
                    origin,
                    prefix,
                    wrong_shape("keys with values, `key: value`", &other),
                );
            }
        };
        for (name, node) in entries {
            let path = if prefix.is_empty() {
                name
            } else {
                format!("{prefix}.{name}")
            };
            if let Some(key) = KEYS.iter().find(|key| key.path == path) {
                leaves.push((key, node));
            } else if KEYS.iter().any(|key| is_below(key.path, &path)) {
                self.flatten(&path, node, origin, leaves);
            } else {
                let nearest = meant(prefix, &path);
                self.fault(origin, &path, Problem::UnknownKey { nearest });
            }
        }
    }

    /// Checks a value and puts it on top of the layers below.
    fn set(&mut self, key: &'static Key, node: Node, origin: &Origin) {
        if node == Node::Nothing {
            return;
        }
        if let Some(setting) = self.value(key, key.path, node, origin) {
            self.settings
                .insert(key.path, (setting, origin.source(key.path)));
        }
    }

    fn value(&mut self, key: &Key, path: &str, node: Node, origin: &Origin) -> Option<Setting> {
        match key.kind {
            Kind::Entries(keys) => self.entries(keys, path, node, origin),
            _ => check::value(key, node)
                .map_err(|problem| self.fault(origin, path, problem))
                .ok(),
        }
    }

    fn entries(
        &mut self,
        keys: &'static [Key],
        path: &str,
        node: Node,
        origin: &Origin,
    ) -> Option<Setting> {
        let Node::List(items) = node else {
            self.fault(
                origin,
                path,
                wrong_shape("a list, each entry after a `- `", &node),
            );
            return None;
        };
        let mut entries = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            entries.push(self.entry(keys, &format!("{path}[{index}]"), item, origin));
        }
        Some(Setting::Entries(entries))
    }

    fn entry(&mut self, keys: &'static [Key], path: &str, node: Node, origin: &Origin) -> Entry {
        let mut entry = Entry::new();
        let Node::Map(given) = node else {
            self.fault(
                origin,
                path,
                wrong_shape("keys with values, `key: value`", &node),
            );
            return entry;
        };
        for key in keys {
            match (
                key.default,
                given
                    .iter()
                    .any(|(name, node)| *name == key.path && *node != Node::Nothing),
            ) {
                (Default::Required, false) => {
                    self.fault(origin, path, Problem::Missing { key: key.path })
                }
                (Default::Is(_), false) => entry.extend(
                    check::value(key, default_node(key))
                        .ok()
                        .map(|value| (key.path, value)),
                ),
                _ => {}
            }
        }
        for (name, node) in given {
            let at = format!("{path}.{name}");
            match keys.iter().find(|key| key.path == name) {
                Some(_) if node == Node::Nothing => {}
                Some(key) => entry.extend(
                    self.value(key, &at, node, origin)
                        .map(|value| (key.path, value)),
                ),
                None => {
                    let nearest =
                        nearest(&name, keys.iter().map(|key| key.path)).map(str::to_owned);
                    self.fault(origin, &at, Problem::UnknownKey { nearest });
                }
            }
        }
        entry
    }

    fn fault(&mut self, origin: &Origin, key: &str, problem: Problem) {
        self.faults.push(Fault {
            source: origin.source(key),
            key: key.to_owned(),
            problem,
        });
    }
}

/// A layer, which knows where its keys stand.
enum Origin {
    Default,
    File { path: Arc<Path>, places: Places },
    Variable(String),
}

impl Origin {
    fn source(&self, key: &str) -> Source {
        match self {
            Origin::Default => Source::Default,
            Origin::File { path, places } => {
                let place = places.of(key);
                Source::File {
                    path: path.clone(),
                    line: place.line,
                    column: place.column,
                }
            }
            Origin::Variable(variable) => Source::Environment {
                variable: variable.clone(),
            },
        }
    }
}

pub(super) fn wrong_shape(expected: &str, found: &Node) -> Problem {
    Problem::WrongShape {
        expected: expected.to_owned(),
        found: found.kind(),
    }
}

fn default_node(key: &Key) -> Node {
    match key.default {
        Default::Is(text) => Node::Text(text.to_owned()),
        Default::Empty => Node::List(Vec::new()),
        Default::Are(texts) => {
            let texts = texts.iter().map(|text| Node::Text((*text).to_owned()));
            Node::List(texts.collect())
        }
        Default::None => Node::Text("none".to_owned()),
        Default::Inherited | Default::Required => Node::Nothing,
    }
}

/// A variable holds one value; for lists, values between commas or a YAML list.
fn variable_node(kind: Kind, value: &str) -> Result<Node, yaml::SyntaxError> {
    match kind {
        Kind::Entries(_) => yaml::parse(value),
        Kind::Sockets | Kind::Origins | Kind::Paths | Kind::Choices(_) => {
            let parts = value
                .split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty());
            Ok(Node::List(
                parts.map(|part| Node::Text(part.to_owned())).collect(),
            ))
        }
        _ => Ok(Node::Text(value.to_owned())),
    }
}

fn is_below(path: &str, section: &str) -> bool {
    path.strip_prefix(section)
        .is_some_and(|rest| rest.starts_with('.'))
}

/// The key or section that `path` was probably meant to be: beside it, or of that name in another section.
fn meant(prefix: &str, path: &str) -> Option<String> {
    let name = path.rsplit('.').next().unwrap_or(path);
    let beside = KEYS.iter().filter_map(|key| match prefix {
        "" => Some(key.path),
        _ => key.path.strip_prefix(prefix)?.strip_prefix('.'),
    });
    let names = beside.filter_map(|rest| rest.split('.').next());
    if let Some(nearest) = nearest(name, names) {
        return Some(if prefix.is_empty() {
            nearest.to_owned()
        } else {
            format!("{prefix}.{nearest}")
        });
    }
    let elsewhere = KEYS
        .iter()
        .find(|key| key.path.rsplit('.').next() == Some(name));
    elsewhere.map(|key| key.path.to_owned())
}
