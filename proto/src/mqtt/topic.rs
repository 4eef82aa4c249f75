//! The grammar of topics and filters (MQTT 5.0 §4.7, §4.8.2).

use super::{Limits, Rule};

/// What a filter says: which topics, and whether it is one share of a shared subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filter<'a> {
    /// The share name of `$share/NAME/FILTER`; none for a subscription of one's own.
    pub share: Option<&'a str>,
    /// The filter itself, without what makes it shared.
    pub filter: &'a str,
}

/// Checks a topic name: not empty, without wildcards, within the limits.
///
/// # Errors
/// The rule that it breaks.
pub fn check_topic(topic: &str, limits: &Limits) -> Result<(), Rule> {
    if topic.is_empty() {
        return Err(Rule::EmptyTopicName);
    }
    let mut n_levels = 1;
    for byte in topic.bytes() {
        match byte {
            b'+' | b'#' => return Err(Rule::WildcardInTopic),
            b'/' => n_levels += 1,
            _ => {}
        }
    }
    if topic.len() > limits.topic_bytes_max {
        return Err(Rule::TopicTooLong);
    }
    if n_levels > limits.topic_levels_max {
        return Err(Rule::TopicTooDeep);
    }
    Ok(())
}

/// Reads a filter as 5.0 does, `$share/NAME/FILTER` among them. A server that shares with 3.x clients too reads theirs
/// so; the decoder itself holds 3.x filters to wildcards alone: to them `$share` is a level as any other.
///
/// # Errors
/// The rule that it breaks.
pub fn parse_filter<'a>(filter: &'a str, limits: &Limits) -> Result<Filter<'a>, Rule> {
    let Some(shared) = filter.strip_prefix("$share/") else {
        check_filter(filter, limits)?;
        return Ok(Filter {
            share: None,
            filter,
        });
    };
    let (share, filter) = match shared.split_once('/') {
        Some(("", _)) => return Err(Rule::ShareNameEmpty),
        None if shared.is_empty() => return Err(Rule::ShareNameEmpty),
        None | Some((_, "")) => return Err(Rule::ShareNameInvalid),
        Some(parts) => parts,
    };
    if share.contains(['+', '#']) {
        return Err(Rule::ShareNameInvalid);
    }
    if share.len() > limits.topic_bytes_max {
        return Err(Rule::FilterTooLong);
    }
    check_filter(filter, limits)?;
    Ok(Filter {
        share: Some(share),
        filter,
    })
}

/// Checks a filter: not empty, wildcards as whole levels and `#` last, within the limits.
pub(super) fn check_filter(filter: &str, limits: &Limits) -> Result<(), Rule> {
    if filter.is_empty() {
        return Err(Rule::EmptyTopicName);
    }
    let mut n_levels: usize = 0;
    let mut ended = false;
    for level in filter.split('/') {
        if ended {
            return Err(Rule::MultiLevelWildcard);
        }
        n_levels += 1;
        match level {
            "#" => ended = true,
            "+" => {}
            _ if level.contains('#') => return Err(Rule::MultiLevelWildcard),
            _ if level.contains('+') => return Err(Rule::SingleLevelWildcard),
            _ => {}
        }
    }
    if filter.len() > limits.topic_bytes_max {
        return Err(Rule::FilterTooLong);
    }
    if n_levels > limits.topic_levels_max {
        return Err(Rule::FilterTooDeep);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(filter: &str) -> Result<(Option<&str>, &str), Rule> {
        parse_filter(filter, &Limits::default()).map(|parsed| (parsed.share, parsed.filter))
    }

    #[test]
    fn a_wildcard_is_a_whole_level_and_the_multi_level_one_is_last() {
        for good in [
            "#", "+", "/", "//", "a", "a/#", "a/+/b", "+/+", "/+", "+/#", "$SYS/#", " ", "$share",
            "$sharea",
        ] {
            assert_eq!(parse(good), Ok((None, good)), "{good}");
        }
        for (bad, rule) in [
            ("", Rule::EmptyTopicName),
            // Inside, these are prefixes: not MQTT's.
            ("a#", Rule::MultiLevelWildcard),
            ("a/b#", Rule::MultiLevelWildcard),
            ("+/b#", Rule::MultiLevelWildcard),
            ("$SYS#", Rule::MultiLevelWildcard),
            ("#/a", Rule::MultiLevelWildcard),
            ("a/#/b", Rule::MultiLevelWildcard),
            ("##", Rule::MultiLevelWildcard),
            ("#/", Rule::MultiLevelWildcard),
            ("a+", Rule::SingleLevelWildcard),
            ("+a/b", Rule::SingleLevelWildcard),
            ("a/++", Rule::SingleLevelWildcard),
        ] {
            assert_eq!(parse(bad), Err(rule), "{bad}");
        }
    }

    #[test]
    fn a_shared_filter_has_a_name_and_a_filter() {
        assert_eq!(parse("$share/g/a/+/#"), Ok((Some("g"), "a/+/#")));
        assert_eq!(parse("$share/g//a"), Ok((Some("g"), "/a")));
        assert_eq!(parse("$share/g/$share/g"), Ok((Some("g"), "$share/g")));
        for (bad, rule) in [
            ("$share/", Rule::ShareNameEmpty),
            ("$share//a", Rule::ShareNameEmpty),
            ("$share/g", Rule::ShareNameInvalid),
            ("$share/g/", Rule::ShareNameInvalid),
            ("$share/+/a", Rule::ShareNameInvalid),
            ("$share/g#/a", Rule::ShareNameInvalid),
            ("$share/g/a#", Rule::MultiLevelWildcard),
        ] {
            assert_eq!(parse(bad), Err(rule), "{bad}");
        }
    }

    #[test]
    fn limits_are_inclusive() {
        let limits = Limits {
            topic_bytes_max: 5,
            topic_levels_max: 3,
            ..Limits::default()
        };
        assert_eq!(check_topic("a/b/c", &limits), Ok(()));
        assert_eq!(check_topic("a/b/cd", &limits), Err(Rule::TopicTooLong));
        assert_eq!(check_topic("a///", &limits), Err(Rule::TopicTooDeep));
        assert_eq!(check_filter("+/b/#", &limits), Ok(()));
        assert_eq!(check_filter("+/b/cd", &limits), Err(Rule::FilterTooLong));
        assert_eq!(check_filter("+///", &limits), Err(Rule::FilterTooDeep));
        // Each part of a shared filter for itself.
        assert!(parse_filter("$share/group/a/b/c", &limits).is_ok());
        let long = parse_filter("$share/groups/a/b/c", &limits);
        assert_eq!(long, Err(Rule::FilterTooLong));
    }
}
