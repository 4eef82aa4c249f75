//! What serde says of a body that does not fit, in the words of whoever wrote the body.
//!
//! serde names Rust's types (`expected struct Route`, `expected u8`) and repeats values, which may be secrets. Its sentences
//! have no form but text; one that is not known here is left as it is.
//!
//! Always, with a test of its name in `body`: `what_does_not_fit_is_said_in_plain_words`.

/// The sentence in plain words.
pub(crate) fn plain(said: &str) -> String {
    let known = wrong_type(said)
        .or_else(|| missing(said))
        .or_else(|| unknown(said))
        .or_else(|| no_variant(said));
    known.unwrap_or_else(|| said.to_owned())
}

/// The member that nobody knows, where it is about one.
pub(crate) fn unknown_field(said: &str) -> Option<&str> {
    let rest = said.strip_prefix("unknown field `")?;
    let end = rest.find("`, expected").or_else(|| rest.find("`, there"))?;
    rest.get(..end)
}

/// `invalid type: GIVEN, expected WANTED`, or `invalid value:`, where the type is right and the range is not.
fn wrong_type(said: &str) -> Option<String> {
    let (rest, of_type) = match said.strip_prefix("invalid type: ") {
        Some(rest) => (rest, true),
        None => (said.strip_prefix("invalid value: ")?, false),
    };
    // What is given may have these words in it, what is wanted has not.
    let (given, wanted) = rest.rsplit_once(", expected ")?;
    let wanted = wanted_as(wanted)?;
    Some(match given_as(given).filter(|_| of_type) {
        Some(given) => format!("this must be {wanted}, not {given}"),
        None => format!("this must be {wanted}"),
    })
}

fn wanted_as(wanted: &str) -> Option<String> {
    let range = |low: i128, high: i128| Some(format!("a whole number from {low} to {high}"));
    match wanted {
        "u8" => range(0, u8::MAX.into()),
        "u16" => range(0, u16::MAX.into()),
        "u32" => range(0, u32::MAX.into()),
        "u64" | "usize" => range(0, u64::MAX.into()),
        "i32" => range(i32::MIN.into(), i32::MAX.into()),
        "i64" => range(i64::MIN.into(), i64::MAX.into()),
        "a string" | "string" => Some("text".to_owned()),
        "a boolean" => Some("true or false".to_owned()),
        "a sequence" => Some("a list".to_owned()),
        "a map" => Some("an object".to_owned()),
        // A word out of a few: serde takes also an object for it.
        "string or map" | "variant identifier" => Some("one of a few words".to_owned()),
        other if other.starts_with("struct ") => Some("an object".to_owned()),
        other if other.starts_with("enum ") => Some("one of a few words".to_owned()),
        _ => None,
    }
}

fn given_as(given: &str) -> Option<&'static str> {
    const KINDS: [(&str, &str); 8] = [
        ("integer ", "a number"),
        ("floating point ", "a number with a fraction"),
        ("string ", "text"),
        ("boolean ", "true or false"),
        ("sequence", "a list"),
        ("map", "an object"),
        ("null", "null"),
        ("unit value", "null"),
    ];
    let kind = KINDS.iter().find(|(begin, _)| given.starts_with(begin));
    kind.map(|(_, kind)| *kind)
}

fn missing(said: &str) -> Option<String> {
    let name = said.strip_prefix("missing field `")?.strip_suffix('`')?;
    Some(format!("`{name}` is missing"))
}

fn unknown(said: &str) -> Option<String> {
    let name = unknown_field(said)?;
    let (_, known) = said.rsplit_once("`, expected ").unzip();
    Some(match known {
        Some(known) => format!("there is no `{name}` here; there is {}", listed(known)),
        None => format!("there is no `{name}` here"),
    })
}

fn no_variant(said: &str) -> Option<String> {
    let rest = said.strip_prefix("unknown variant `")?;
    let (given, known) = rest.rsplit_once("`, expected ")?;
    let known = listed(known);
    let one_of = if known.contains(", ") { "one of " } else { "" };
    Some(format!("this must be {one_of}{known}, not `{given}`"))
}

/// Names between commas: serde says "one of `a`, `b`, `c`", "`a` or `b`", "`a`".
fn listed(known: &str) -> String {
    let known = known.strip_prefix("one of ").unwrap_or(known);
    known.replace("` or `", "`, `")
}
