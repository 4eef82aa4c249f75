//! What can be asked for: each file has the routes of its resources, what they take and show, and the handlers.
//!
//! Handlers translate: names, parameters and bodies into a question to the broker, and its answer into JSON. What holds for all
//! requests is in `service`.

pub(crate) mod broker;
pub(crate) mod clients;
pub(crate) mod definitions;
pub(crate) mod documents;
pub(crate) mod messages;
pub(crate) mod queues;
pub(crate) mod tokens;
pub(crate) mod wamp;

use crate::page::LIMIT_MAX;
use crate::routes::{Param, ParamKind};

const LIMIT: Param = limit(LIMIT_MAX as u64);

const AFTER: Param = Param {
    name: "after",
    kind: ParamKind::Cursor,
    what: "The `next` of the page before: where this page begins.",
};

const PREFIX: Param = Param {
    name: "prefix",
    kind: ParamKind::Text,
    what: "Only what has a name that begins so.",
};

const REALM: Param = Param {
    name: "realm",
    kind: ParamKind::Text,
    what: "Only what is of this realm.",
};

const PRINCIPAL: Param = Param {
    name: "principal",
    kind: ParamKind::Text,
    what: "Only what is of this principal: a user's name, or `token:LABEL`.",
};

const ROLE: Param = Param {
    name: "role",
    kind: ParamKind::Text,
    what: "Only what names this role.",
};

const fn limit(high: u64) -> Param {
    Param {
        name: "limit",
        kind: ParamKind::Number { low: 1, high },
        what: "So many at most; 100 if not given.",
    }
}

/// Whether a filter, if it is given, is met.
fn is(filter: &Option<String>, value: &str) -> bool {
    filter.as_ref().is_none_or(|filter| filter == value)
}
