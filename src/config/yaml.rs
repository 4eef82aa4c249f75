//! The only place that knows of `serde_yaml`: text to a tree of maps, lists and texts.
//!
//! A scalar stays the text that it is (`10`, `true`, `64MiB`); the table in `schema` knows what kind it must have, so
//! that a value from the file and one from the environment go through the same check.
//!
//! Always, with tests of these names below: `a_syntax_error_has_its_line_and_column`, `anchors_cannot_blow_up`.

use std::fmt;

use serde_yaml::Value;

/// What a piece of the file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    /// A key with nothing after it, `~` or `null`: as if it were left out.
    Nothing,
    /// A scalar, as text.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the file's order.
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
pub(super) struct SyntaxError {
    /// From 1; 1 if unknown.
    pub(super) line: usize,
    /// From 1; 1 if unknown.
    pub(super) column: usize,
    /// One line, without the place.
    pub(super) message: String,
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Reads one YAML document; an empty one is [`Node::Nothing`].
pub(super) fn parse(text: &str) -> Result<Node, SyntaxError> {
    let value: Value = serde_yaml::from_str(text).map_err(|error| syntax_error(&error))?;
    node(value).map_err(|message| SyntaxError {
        line: 1,
        column: 1,
        message,
    })
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

fn node(value: Value) -> Result<Node, String> {
    Ok(match value {
        Value::Null => Node::Nothing,
        Value::Bool(flag) => Node::Text(flag.to_string()),
        Value::Number(number) => Node::Text(number.to_string()),
        Value::String(text) => Node::Text(text),
        Value::Sequence(items) => {
            Node::List(items.into_iter().map(node).collect::<Result<_, _>>()?)
        }
        Value::Mapping(entries) => {
            Node::Map(entries.into_iter().map(entry).collect::<Result<_, _>>()?)
        }
        Value::Tagged(tagged) => return Err(format!("the tag {} means nothing here", tagged.tag)),
    })
}

fn entry((key, value): (Value, Value)) -> Result<(String, Node), String> {
    match node(key)? {
        Node::Text(key) => Ok((key, node(value)?)),
        other => Err(format!("a key is {}, and must be a name", other.kind())),
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
}
