//! One document out of a tree, with the place of what is wrong in it.
//!
//! serde says what is wrong with a tree, but not where. It does say the line of a text. So what was refused is written as
//! JSON with every value on a line of its own, and read once more: the line tells the place.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Where something is: keys and indexes, from the outside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Path(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Key(String),
    Index(usize),
}

impl Path {
    /// What `key` names in it.
    pub(super) fn key(&self, key: &str) -> Path {
        self.and(Part::Key(key.to_owned()))
    }

    fn index(&self, index: usize) -> Path {
        self.and(Part::Index(index))
    }

    fn and(&self, part: Part) -> Path {
        let mut parts = self.0.clone();
        parts.push(part);
        Path(parts)
    }

    /// As a JSON pointer.
    pub(super) fn pointer(&self) -> String {
        let part = |part: &Part| match part {
            Part::Key(key) => format!("/{}", super::faults::token(key)),
            Part::Index(index) => format!("/{index}"),
        };
        self.0.iter().map(part).collect()
    }

    /// As `config::places` names it.
    pub(super) fn dotted(&self) -> String {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Key(key) if text.is_empty() => text.push_str(key),
                Part::Key(key) => text.extend([".", key]),
                Part::Index(index) => text.push_str(&format!("[{index}]")),
            }
        }
        text
    }
}

/// What `tree`, which is at `at`, says as a `T`. Nulls in maps are as if they were left out.
///
/// # Errors
/// The first thing that is wrong, and where.
pub(super) fn read<T: DeserializeOwned>(mut tree: Value, at: &Path) -> Result<T, (Path, String)> {
    if tree.is_null() {
        tree = Value::Object(serde_json::Map::new());
    }
    drop_nulls(&mut tree);
    T::deserialize(&tree).map_err(|error| {
        let mut lines = Lines::default();
        lines.value(&tree, at, "");
        let Err(error) = serde_json::from_str::<T>(&lines.text) else {
            return (at.clone(), error.to_string());
        };
        let line = error.line().saturating_sub(1);
        let place = lines.places.get(line).unwrap_or(at).clone();
        let whole = error.to_string();
        let what = whole.rsplit_once(" at line ").map_or(&*whole, |it| it.0);
        (place, what.to_owned())
    })
}

fn drop_nulls(tree: &mut Value) {
    match tree {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// JSON, and what each of its lines is about.
#[derive(Default)]
struct Lines {
    text: String,
    places: Vec<Path>,
}

impl Lines {
    /// `before`: what stands on the value's first line in front of it.
    fn value(&mut self, tree: &Value, at: &Path, before: &str) {
        match tree {
            Value::Object(fields) => {
                self.line(at, &format!("{before}{{"));
                for (index, (key, value)) in fields.iter().enumerate() {
                    let name = Value::String(key.clone());
                    self.value(value, &at.key(key), &format!("{}{name}: ", comma(index)));
                }
                self.line(at, "}");
            }
            Value::Array(items) => {
                self.line(at, &format!("{before}["));
                for (index, item) in items.iter().enumerate() {
                    self.value(item, &at.index(index), comma(index));
                }
                self.line(at, "]");
            }
            scalar => self.line(at, &format!("{before}{scalar}")),
        }
    }

    fn line(&mut self, at: &Path, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
        self.places.push(at.clone());
    }
}

fn comma(index: usize) -> &'static str {
    if index == 0 { "" } else { "," }
}
