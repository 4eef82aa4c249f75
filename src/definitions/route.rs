//! Whether a route makes sense: its filter, its conditions, its targets and what they capture.

use super::check::{LIST_MAX, Limits, description, ordinary_address, said, unique};
use super::faults::Faults;
use crate::engine::address::{Filter, FilterSegment};
use crate::registry::Route;
use restante_admin_api::document::{Choose, Condition, Target};

/// Fields of a message that conditions are about, besides `property.NAME`.
const FIELDS: [&str; 6] = [
    "key",
    "content-type",
    "message-id",
    "correlation-id",
    "reply-to",
    "priority",
];
/// What shards are told by, besides `property.NAME`.
const SHARD_FIELDS: [&str; 3] = ["key", "message-id", "correlation-id"];
/// Targets of a route: one message is then that many records.
const TARGETS_MAX: usize = 64;

/// Looks at a route, whose name is somebody else's to look at.
pub(super) fn check(faults: &mut Faults, route: &Route, limits: &Limits) {
    description(faults, &route.description);
    let captures = match Filter::parse(&route.filter, limits.address) {
        Ok(_) if route.filter.starts_with(['$', '~']) => {
            faults.field("filter", "a route begins with neither `$` nor `~`");
            None
        }
        Ok(filter) => Some(n_captures(&filter)),
        Err(error) => {
            faults.field("filter", said(&error));
            None
        }
    };
    faults.each("when", &route.when, condition);
    if route.when.len() > LIST_MAX {
        faults.field("when", format!("this has {LIST_MAX} items at most"));
    }
    if route.to.len() > TARGETS_MAX {
        faults.field("to", format!("a route has {TARGETS_MAX} targets at most"));
        return;
    }
    unique(faults, "to", &route.to, |target| target.address.clone());
    faults.each("to", &route.to, |faults, target| {
        faults.within("address", |faults| {
            address(faults, &target.address, captures, limits);
        });
    });
    choice(faults, route);
}

/// How many of a filter's segments stand for something: one that is a prefix for all from its own beginning on.
fn n_captures(filter: &Filter) -> usize {
    let wild = |segment: &FilterSegment<'_>| !matches!(segment, FilterSegment::Literal(_));
    filter.segments().filter(wild).count()
}

fn condition(faults: &mut Faults, condition: &Condition) {
    if !is_field(&condition.field, &FIELDS) {
        let known = FIELDS.join("`, `");
        faults.field(
            "field",
            format!("this is one of `{known}` or `property.NAME`"),
        );
    }
    let digit = |text: &String| matches!(text.as_bytes(), [b'0'..=b'9']);
    if condition.field == "priority" && !condition.is.iter().all(digit) {
        faults.field("is", "a priority is from 0 to 9");
    }
    unique(faults, "is", &condition.is, Clone::clone);
}

fn is_field(field: &str, known: &[&str]) -> bool {
    let property = field.strip_prefix("property.");
    known.contains(&field) || property.is_some_and(|name| !name.is_empty())
}

fn choice(faults: &mut Faults, route: &Route) {
    let one = |target: &Target| target.weight == 1;
    match route.choose {
        Choose::All => {}
        Choose::Weight | Choose::Shard if route.to.is_empty() => {
            faults.field("choose", "there is no target to choose");
        }
        Choose::Weight if route.to.iter().all(|target| target.weight == 0) => {
            faults.field("to", "all weights are 0: no target would ever be chosen");
        }
        Choose::Weight | Choose::Shard => {}
    }
    if route.choose != Choose::Weight && !route.to.iter().all(one) {
        faults.field("to", "weights count only with `choose: weight`");
    }
    match (route.choose, &route.shard_by) {
        (Choose::Shard, None) => faults.field("choose", "say with `shard_by` what decides"),
        (Choose::Shard, Some(by)) if !is_field(by, &SHARD_FIELDS) => {
            let known = SHARD_FIELDS.join("`, `");
            faults.field(
                "shard_by",
                format!("this is one of `{known}` or `property.NAME`"),
            );
        }
        (Choose::All | Choose::Weight, Some(_)) => {
            faults.field("shard_by", "this counts only with `choose: shard`");
        }
        _ => {}
    }
}

/// A target's address. `captures`: how many there are; none: the filter is wrong, and nobody knows.
fn address(faults: &mut Faults, text: &str, captures: Option<usize>, limits: &Limits) {
    match fill(text, captures) {
        Ok(filled) => ordinary_address(faults, &filled, limits),
        Err(said) => faults.here(said),
    }
}

/// The address with something for each capture.
fn fill(text: &str, captures: Option<usize>) -> Result<String, String> {
    let mut parts = text.split('{');
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (number, rest) = part
            .split_once('}')
            .filter(|(number, _)| is_number(number))
            .ok_or("`{` begins a capture, as in `{1}`; nothing else can follow it")?;
        let index: usize = number.parse().unwrap_or(usize::MAX);
        if captures.is_some_and(|most| index > most) {
            let count = captures.unwrap_or_default();
            let s = if count == 1 { "" } else { "s" };
            return Err(format!(
                "there is no `{{{number}}}`: the filter has {count} wildcard{s}"
            ));
        }
        filled.push('x');
        filled.push_str(rest);
    }
    Ok(filled)
}

/// A whole number from 1, with one spelling.
fn is_number(text: &str) -> bool {
    !text.starts_with('0') && !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
