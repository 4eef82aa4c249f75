//! From a file's text, YAML or JSON, to definitions; every fault of its form at once, with its place.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::read::{Path, read};
use super::{Definitions, RealmDefinitions, VERSION};
use crate::config::places::Places;
use crate::config::{tree, yaml};
use crate::registry::Realm;

/// Larger texts are refused unread: a hundred thousand documents have room in this.
pub const FILE_BYTES_MAX: usize = 16 << 20;

/// What is wrong with a text's form. `Display` is one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// From 1. None: not known, as in JSON that is well formed.
    pub line: Option<usize>,
    /// A JSON pointer (RFC 6901); empty for the whole.
    pub pointer: String,
    /// What.
    pub detail: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.pointer.is_empty() {
            write!(f, "{}: ", self.pointer)?;
        }
        f.write_str(&self.detail)
    }
}

/// Reads definitions. What is in them makes sense only once [`check`](super::check()) says so.
///
/// # Errors
/// All that is wrong with the form: no YAML and no JSON, fields that there are not, values of the wrong type. Never none.
pub fn parse(text: &str) -> Result<Definitions, Vec<Fault>> {
    if text.len() > FILE_BYTES_MAX {
        let limit = FILE_BYTES_MAX >> 20;
        return Err(vec![Fault {
            line: None,
            pointer: String::new(),
            detail: format!("it is larger than {limit} MiB: are these definitions?"),
        }]);
    }
    let is_json = text.trim_start().starts_with('{');
    let tree = if is_json { json(text) } else { yaml(text) }?;
    let mut reader = Reader {
        places: (!is_json).then(|| Places::scan(text)),
        faults: Vec::new(),
    };
    let definitions = reader.definitions(tree);
    if reader.faults.is_empty() {
        Ok(definitions)
    } else {
        Err(reader.faults)
    }
}

/// JSON or, if it is none, a map in YAML's flow style.
fn json(text: &str) -> Result<Value, Vec<Fault>> {
    let mut parser = serde_json::Deserializer::from_str(text);
    let read = tree::read(&mut parser, text.len()).and_then(|tree| parser.end().map(|()| tree));
    read.or_else(|error| {
        let whole = error.to_string();
        let detail = whole.rsplit_once(" at line ").map_or(&*whole, |it| it.0);
        yaml::tree(text).map_err(|_| {
            vec![Fault {
                line: Some(error.line()),
                pointer: String::new(),
                detail: format!("not valid JSON ({detail})"),
            }]
        })
    })
}

fn yaml(text: &str) -> Result<Value, Vec<Fault>> {
    yaml::tree(text).map_err(|error| {
        vec![Fault {
            line: Some(error.line),
            pointer: String::new(),
            detail: format!("not valid YAML ({})", error.message),
        }]
    })
}

struct Reader {
    places: Option<Places>,
    faults: Vec<Fault>,
}

impl Reader {
    fn fault(&mut self, at: &Path, detail: impl Into<String>) {
        let places = self.places.as_ref();
        self.faults.push(Fault {
            line: places.map(|places| places.of(&at.dotted()).line),
            pointer: at.pointer(),
            detail: detail.into(),
        });
    }

    fn definitions(&mut self, tree: Value) -> Definitions {
        let root = Path::default();
        let mut sections = self.map(tree, &root);
        let version = sections.remove("version");
        if version != Some(Value::from(VERSION)) {
            let text =
                format!("this must be `version: {VERSION}`, the form that this program knows");
            self.fault(&root.key("version"), text);
        }
        let mut section = |name: &str| (sections.remove(name).unwrap_or_default(), root.key(name));
        let (realms, roles, users) = (section("realms"), section("roles"), section("users"));
        let (tokens, rules) = (section("tokens"), section("rules"));
        let definitions = Definitions {
            version: VERSION,
            realms: self.realms(realms),
            roles: self.documents(roles),
            users: self.documents(users),
            tokens: self.documents(tokens),
            rules: self.documents(rules),
        };
        for name in sections.keys() {
            let known = "there are version, realms, roles, users, tokens and rules";
            self.fault(
                &root.key(name),
                format!("there is no such section; {known}"),
            );
        }
        definitions
    }

    fn realms(&mut self, (tree, at): (Value, Path)) -> BTreeMap<String, RealmDefinitions> {
        let realms = self.map(tree, &at).into_iter();
        realms
            .map(|(name, tree)| {
                let realm = self.realm(tree, &at.key(&name));
                (name, realm)
            })
            .collect()
    }

    fn realm(&mut self, tree: Value, at: &Path) -> RealmDefinitions {
        let mut fields = self.map(tree, at);
        let mut section = |name: &str| (fields.remove(name).unwrap_or_default(), at.key(name));
        let (routes, queues) = (section("routes"), section("queues"));
        let mut definitions = RealmDefinitions {
            routes: self.documents(routes),
            queues: self.documents(queues),
            ..RealmDefinitions::default()
        };
        if let Some(realm) = self.document::<Realm>(Value::Object(fields), at) {
            super::export::set_realm(&mut definitions, &realm);
        }
        definitions
    }

    fn documents<T: DeserializeOwned>(&mut self, (tree, at): (Value, Path)) -> BTreeMap<String, T> {
        let documents = self.map(tree, &at).into_iter();
        documents
            .filter_map(|(name, tree)| {
                let document = self.document(tree, &at.key(&name))?;
                Some((name, document))
            })
            .collect()
    }

    fn document<T: DeserializeOwned>(&mut self, tree: Value, at: &Path) -> Option<T> {
        match read(tree, at) {
            Ok(document) => Some(document),
            Err((place, detail)) => {
                self.fault(&place, detail);
                None
            }
        }
    }

    /// A map, or nothing at all.
    fn map(&mut self, tree: Value, at: &Path) -> Map<String, Value> {
        match tree {
            Value::Object(map) => map,
            Value::Null => Map::new(),
            _ => {
                self.fault(at, "this is no map of names to documents");
                Map::new()
            }
        }
    }
}
