//! The only place that knows of `serde_yaml`: text to a tree of maps, lists and texts.
//!
//! A scalar stays the text that it is (`10`, `true`, `64MiB`); the table in `schema` knows what kind it must have, so
//! that a value from the file and one from the environment go through the same check. Definitions (`crate::definitions`) have
//! typed values, and take the tree before that.
//!
//! Always, with tests of these names below: `a_syntax_error_has_its_line_and_column`, `anchors_cannot_blow_up`.

use std::fmt;

use serde_json::Value;

use super::tree;

/// Nobody writes more lists and maps in flow style into each other.
const OPEN_BRACKETS_MAX: usize = 1000;

/// What a piece of the file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    /// A key with nothing after it, `~` or `null`: as if it were left out.
    Nothing,
    /// A scalar, as text.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping.
    Map(Vec<(String, Node)>),
}

impl Node {
    /// What to call it in a message.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Node::Nothing => "nothing",
            Node::Text(_) => "a single value",
            Node::List(_) => "a list",
            Node::Map(_) => "a section with keys of its own",
        }
    }
}

/// Where and why a text is no YAML that the configuration can be written in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    /// From 1; 1 if unknown.
    pub(crate) line: usize,
    /// From 1; 1 if unknown.
    pub(crate) column: usize,
    /// One line, without the place.
    pub(crate) message: String,
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Reads one YAML document; an empty one is [`Node::Nothing`].
pub(super) fn parse(text: &str) -> Result<Node, SyntaxError> {
    tree(text).map(node)
}

/// Reads one YAML document with its numbers and truth values as such; an empty one is null.
///
/// # Errors
/// The first place that is no YAML, or means nothing here: see [`tree::read`].
pub(crate) fn tree(text: &str) -> Result<Value, SyntaxError> {
    too_deep(text)?;
    let parser = serde_yaml::Deserializer::from_str(text);
    tree::read(parser, text.len()).map_err(|error| syntax_error(&error))
}

/// Writes a tree as a YAML document in block style.
///
/// # Errors
/// None that a tree without tags could have.
pub(crate) fn write(tree: &Value) -> Result<String, SyntaxError> {
    serde_yaml::to_string(tree).map_err(|error| syntax_error(&error))
}

/// Refuses what would take the parser long: at each token it looks at every bracket that is open. Brackets in quotes count
/// as well, so that no trick with quotes gets past this; who has a thousand of them open in a text can escape them.
fn too_deep(text: &str) -> Result<(), SyntaxError> {
    let mut open = 0_usize;
    for (index, line) in text.lines().enumerate() {
        for byte in line.bytes() {
            match byte {
                b'[' | b'{' => open += 1,
                b']' | b'}' => open = open.saturating_sub(1),
                _ => {}
            }
            if open > OPEN_BRACKETS_MAX {
                return Err(SyntaxError {
                    line: index + 1,
                    column: 1,
                    message: format!("more than {OPEN_BRACKETS_MAX} brackets are open"),
                });
            }
        }
    }
    Ok(())
}

fn syntax_error(error: &serde_yaml::Error) -> SyntaxError {
    let (line, column) = error
        .location()
        .map_or((1, 1), |place| (place.line(), place.column()));
    let whole = error.to_string();
    // The parser appends the place; the fault says it once, in front.
    let message = whole.split(" at line ").next().unwrap_or(&whole).to_owned();
    SyntaxError {
        line,
        column,
        message,
    }
}

fn node(value: Value) -> Node {
    match value {
        Value::Null => Node::Nothing,
        Value::Bool(flag) => Node::Text(flag.to_string()),
        Value::Number(number) => Node::Text(number.to_string()),
        Value::String(text) => Node::Text(text),
        Value::Array(items) => Node::List(items.into_iter().map(node).collect()),
        Value::Object(entries) => {
            let entries = entries.into_iter().map(|(key, value)| (key, node(value)));
            Node::Map(entries.collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_stay_text() {
        let tree = parse("a: 10\nb: true\nc: [64MiB, ~]\n").unwrap();
        let text = |t: &str| Node::Text(t.to_owned());
        assert_eq!(
            tree,
            Node::Map(vec![
                ("a".to_owned(), text("10")),
                ("b".to_owned(), text("true")),
                (
                    "c".to_owned(),
                    Node::List(vec![text("64MiB"), Node::Nothing])
                ),
            ])
        );
    }

    #[test]
    fn a_syntax_error_has_its_line_and_column() {
        let error = parse("a: 1\nb: [1, 2\nc: 3\n").unwrap_err();
        assert!(error.line >= 2, "{error:?}");
        assert!(!error.message.contains("at line"), "{error:?}");
    }

    #[test]
    fn an_empty_file_is_nothing_and_two_documents_are_refused() {
        assert_eq!(parse(""), Ok(Node::Nothing));
        assert!(parse("a: 1\n---\nb: 2\n").is_err());
        assert!(parse("a: !secret b\n").is_err());
        assert!(parse("a: 1\na: 2\n").is_err());
    }

    #[test]
    fn anchors_cannot_blow_up() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..12 {
            let list = vec![format!("*a{}", i - 1); 10].join(", ");
            text.push_str(&format!("a{i}: &a{i} [{list}]\n"));
        }
        assert!(parse(&text).is_err());
    }

    #[test]
    fn a_long_list_named_often_is_refused() {
        let list = "x,".repeat(2000);
        let names = "*a,".repeat(2000);
        let error = parse(&format!("a: &a [{list}]\nb: [{names}]\n")).unwrap_err();
        assert!(error.message.contains("aliases"), "{error:?}");
        assert!(parse("a: &a [x, y]\nb: [*a, *a]\n").is_ok());
    }

    #[test]
    fn brackets_without_end_are_refused_unread() {
        for deep in ["[".repeat(1_000_000), "{a: ".repeat(1_000_000)] {
            assert!(parse(&deep).unwrap_err().message.contains("brackets"));
        }
        assert!(parse(&"[a], ".repeat(2000)).is_err());
        assert!(parse(&format!("a: [{}]", "[a], ".repeat(2000))).is_ok());
    }

    #[test]
    fn what_is_written_is_read_again() {
        let tree_of = serde_json::json!({"1": "1", "true": "yes", "a/#": ["~", "null", "- x", "", "a: b", "\n x"],
            "n": 18446744073709551615_u64, "m": -1, "f": false, "~": {}, "": []});
        assert_eq!(tree(&write(&tree_of).unwrap()).unwrap(), tree_of);
    }
}
