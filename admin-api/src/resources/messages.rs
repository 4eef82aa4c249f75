//! Messages: looked at, published, and disposed of, one or many.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{AFTER, LIMIT};
use crate::control::{Browsed, ControlError, Invalid, Published};
use crate::page::{LIMIT_MAX, List, Page, Wanted};
use crate::params::Params;
use crate::problem::{Code, Problem};
use crate::queue::{Fate, MessageInfo, Outcome, PublishRequest, Selection};
use crate::reply;
use crate::routes::{Answer, Call, Need, Param, ParamKind, Route, shape};

const BROWSED_BODY_BYTES_MAX: usize = 16 * 1024;
/// A page has no more JSON than this, and one message: a byte of a body may be six in JSON.
const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
const BROWSED_BODY_BYTES: usize = 1024;

/// Of a single message.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
const BODY_BYTES: usize = 1024 * 1024;

const NUMBER: ParamKind = ParamKind::Number {
    low: 0,
    high: u64::MAX,
};

const fn number(name: &'static str, what: &'static str) -> Param {
    Param {
        name,
        kind: NUMBER,
        what,
    }
}

const fn text(name: &'static str, what: &'static str) -> Param {
    Param {
        name,
        kind: ParamKind::Text,
        what,
    }
}

const BROWSE: &[Param] = &[
    LIMIT,
    AFTER,
    Param {
        name: "body_bytes",
        kind: ParamKind::Number {
            low: 0,
            high: BROWSED_BODY_BYTES_MAX as u64,
        },
        what: "How much of each body to show; 1024 if not given.",
    },
    number("from", "From this offset on."),
    number("upto", "Up to this offset, included."),
    Param {
        name: "offsets",
        kind: ParamKind::Numbers,
        what: "Just these offsets.",
    },
    number("before", "Taken before: milliseconds since 1970 UTC."),
    number("since", "Taken at or after: milliseconds since 1970 UTC."),
    text("message_id", "With this message id."),
    text("address", "Sent to an address that this filter matches."),
    text("key", "With this key."),
    text(
        "reason",
        "Dead letters for this reason: `rejected`, `expired`, `max-attempts` …",
    ),
    Param {
        name: "properties",
        kind: ParamKind::Map,
        what: "With all of these properties, as `properties[NAME]=VALUE`.",
    },
];

const MANY: &str = "All that is given must hold; nothing given selects every message. Messages that a consumer has are left \
    alone. With `?dry_run=true`, they are only counted. If `next` is not null, the limit was reached: go on with `from` set to it.";

const NEVER_ALL: &str = "Something must be selected: to delete all, use `:purge`.";

pub(crate) const ROUTES: &[Route] = &[
    Route::get(
        "/api/v1/realms/{realm}/queues/{queue}/messages",
        Need::Address,
        "browse",
        "Look at messages in a queue, oldest first; looking changes nothing",
        |call| Box::pin(browse(call)),
    )
    .params(BROWSE)
    .heavy()
    .details(
        "A page ends early where it would have more than 4 MiB: `next` goes on behind it. Only `next` being null says that this is \
         the end.",
    )
    .gives(shape::<Page<MessageInfo>>)
    .also(&[409, 422]),
    Route::get(
        "/api/v1/realms/{realm}/queues/{queue}/messages/{offset}",
        Need::Address,
        "getMessage",
        "Look at a message",
        |call| Box::pin(get(call)),
    )
    .params(&[Param {
        name: "body_bytes",
        kind: ParamKind::Number {
            low: 0,
            high: BODY_BYTES_MAX as u64,
        },
        what: "How much of its body to show; 1048576 if not given.",
    }])
    .heavy()
    .gives(shape::<MessageInfo>)
    .also(&[409, 422]),
    Route::delete(
        "/api/v1/realms/{realm}/queues/{queue}/messages/{offset}",
        Need::Address,
        "deleteMessage",
        "Delete a message; 409 if a consumer has it",
        |call| Box::pin(delete_one(call)),
    ),
    Route::post(
        "/api/v1/realms/{realm}/queues/{queue}:purge",
        Need::Address,
        "purgeQueue",
        "Delete all messages of a queue that no consumer has",
        |call| Box::pin(purge(call)),
    )
    .gives(shape::<Outcome>),
    Route::post(
        "/api/v1/realms/{realm}/queues/{queue}:delete",
        Need::Address,
        "deleteMessages",
        "Delete selected messages",
        |call| Box::pin(delete(call)),
    )
    .details(NEVER_ALL)
    .takes(
        shape::<Disposal>,
        r#"{"select": {"address": "orders/#", "properties": {"test": "yes"}}, "limit": 1000}"#,
    )
    .gives(shape::<Outcome>),
    Route::post(
        "/api/v1/realms/{realm}/queues/{queue}:move",
        Need::Address,
        "moveMessages",
        "Send selected messages to another address, routes not looked at",
        |call| Box::pin(move_(call)),
    )
    .details(MANY)
    .takes(
        shape::<Move>,
        r#"{"to": "orders/again", "select": {"since": 1700000000000}}"#,
    )
    .gives(shape::<Outcome>),
    Route::post(
        "/api/v1/realms/{realm}/queues/{queue}:redrive",
        Need::Address,
        "redriveMessages",
        "Send selected dead letters back to the queues that gave them up",
        |call| Box::pin(redrive(call)),
    )
    .details(MANY)
    .may_take(
        shape::<Disposal>,
        r#"{"select": {"reason": "max-attempts"}, "limit": 100}"#,
    )
    .gives(shape::<Outcome>),
    Route::post(
        "/api/v1/realms/{realm}/messages",
        Need::Address,
        "publish",
        "Publish a message, under the same rules as through any door",
        |call| Box::pin(publish(call)),
    )
    .traffic()
    .details(
        "The body is text in `body`, or anything in base64 in `body_base64`. When this returns, the message is on disk in all \
         durable queues that take it. With an `Idempotency-Key`, sending it again stores it once.",
    )
    .takes(
        shape::<PublishRequest>,
        r#"{"address": "orders/eu", "body": "{\"item\": 7}", "content_type": "application/json"}"#,
    )
    .gives(shape::<Published>),
];

static MESSAGES: List = List {
    name: "messages",
    key_parts: 0,
    limit_max: LIMIT_MAX,
    sorts: &[],
};

/// Which messages, and how many.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Disposal {
    /// Which messages.
    select: Selection,
    /// The first so many of them. Null: as many as one call may.
    #[schemars(range(min = 1))]
    limit: Option<u64>,
}

/// Which messages, how many, and where to.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Move {
    /// The address that they go to.
    to: String,
    /// Which messages.
    #[serde(default)]
    select: Selection,
    /// The first so many of them. Null: as many as one call may.
    #[serde(default)]
    #[schemars(range(min = 1))]
    limit: Option<u64>,
}

async fn browse(mut call: Call) -> Answer {
    let mut params = call.take_params();
    let wanted = Wanted::take(&mut params, &MESSAGES);
    let bytes_max = params.number("body_bytes", 0..=BROWSED_BODY_BYTES_MAX, BROWSED_BODY_BYTES);
    let mut selection = selection(&mut params);
    params.finish()?;
    // The cursor is the offset to go on from; it is never before `from`.
    selection.from = wanted.after_number().max(selection.from);
    let (realm, name) = call.queue();
    let browsed = call
        .control
        .browse(
            &call.caller,
            realm,
            name,
            selection,
            wanted.limit,
            bytes_max,
        )
        .await?;
    let browsed = cut(browsed, PAGE_BYTES_MAX)?;
    reply::ok(&wanted.numbered(browsed.messages, browsed.next))
}

/// As many of the messages as have `bytes_max` of JSON, at least one; the rest is behind `next`.
fn cut(mut browsed: Browsed, bytes_max: usize) -> Result<Browsed, Problem> {
    let mut bytes = 0;
    for (index, message) in browsed.messages.iter().enumerate() {
        bytes += reply::json_bytes(message)?;
        if bytes > bytes_max && index > 0 {
            browsed.next = Some(message.offset);
            browsed.messages.truncate(index);
            break;
        }
    }
    Ok(browsed)
}

fn selection(params: &mut Params) -> Selection {
    Selection {
        from: params.maybe_number("from"),
        upto: params.maybe_number("upto"),
        offsets: params.numbers("offsets"),
        before: params.maybe_number("before"),
        since: params.maybe_number("since"),
        message_id: params.text("message_id"),
        address: params.text("address"),
        key: params.text("key"),
        properties: params.map("properties"),
        reason: params.text("reason"),
    }
}

async fn get(mut call: Call) -> Answer {
    let mut params = call.take_params();
    let bytes_max = params.number("body_bytes", 0..=BODY_BYTES_MAX, BODY_BYTES);
    params.finish()?;
    let selection = at(&call)?;
    let (realm, name) = call.queue();
    let browsed = call
        .control
        .browse(&call.caller, realm, name, selection, 1, bytes_max)
        .await?;
    match browsed.messages.into_iter().next() {
        Some(message) => reply::ok(&message),
        None => Err(no_message()),
    }
}

async fn delete_one(mut call: Call) -> Answer {
    call.no_params()?;
    let selection = at(&call)?;
    let (realm, name) = call.queue();
    let changed = call
        .control
        .dispose(
            &call.caller,
            realm,
            name,
            selection,
            Some(1),
            Fate::Delete,
            call.how,
        )
        .await?;
    let outcome = &changed.now;
    if outcome.matched == 0 {
        return Err(no_message());
    }
    if outcome.left > 0 {
        let detail = "a consumer has this message, or it is leaving already";
        return Err(Problem::new(Code::Conflict, detail));
    }
    Ok(reply::no_content().noted(changed))
}

/// The message that the path names.
fn at(call: &Call) -> Result<Selection, Problem> {
    let offset: u64 = call.name("offset").parse().map_err(|_| no_message())?;
    Ok(Selection {
        offsets: Some(vec![offset]),
        ..Selection::default()
    })
}

fn no_message() -> Problem {
    ControlError::NotFound("message at this offset".into()).into()
}

async fn purge(mut call: Call) -> Answer {
    call.no_params()?;
    dispose(call, Disposal::default(), Fate::Delete).await
}

async fn delete(mut call: Call) -> Answer {
    call.no_params()?;
    let disposal: Disposal = call.json()?;
    if disposal.select == Selection::default() {
        return Err(Problem::body(vec![Invalid {
            pointer: "/select".into(),
            detail: "selects nothing in particular: to delete all, use `:purge`".into(),
        }]));
    }
    dispose(call, disposal, Fate::Delete).await
}

async fn move_(mut call: Call) -> Answer {
    call.no_params()?;
    let Move { to, select, limit } = call.json()?;
    dispose(call, Disposal { select, limit }, Fate::Move { address: to }).await
}

async fn redrive(mut call: Call) -> Answer {
    call.no_params()?;
    let disposal = call.json_or_default()?;
    dispose(call, disposal, Fate::Redrive).await
}

async fn dispose(call: Call, disposal: Disposal, fate: Fate) -> Answer {
    let Disposal { select, limit } = disposal;
    if limit == Some(0) {
        return Err(Problem::body(vec![Invalid {
            pointer: "/limit".into(),
            detail: "is 1 or more".into(),
        }]));
    }
    let (realm, name) = call.queue();
    let changed = call
        .control
        .dispose(&call.caller, realm, name, select, limit, fate, call.how)
        .await?;
    Ok(reply::ok(&changed.now)?.noted(changed))
}

async fn publish(mut call: Call) -> Answer {
    call.no_params()?;
    let message = call.json()?;
    let realm = call.name("realm");
    let published = call
        .control
        .publish(&call.caller, realm, message, call.how)
        .await?;
    reply::ok(&published)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(offset: u64) -> MessageInfo {
        MessageInfo {
            offset,
            state: crate::queue::MessageState::Ready,
            acquired: 0,
            failed: 0,
            timestamp: 0,
            expires_at: None,
            bytes: 0,
            message_id: String::new(),
            address: String::new(),
            key: None,
            priority: 4,
            correlation_id: None,
            reply_to: None,
            content_type: None,
            properties: std::collections::BTreeMap::new(),
            body: Some("\u{1}".repeat(100)),
            body_base64: None,
            truncated: false,
        }
    }

    #[test]
    fn a_page_ends_early_by_bytes_and_pages_together_are_all() {
        let all: Vec<MessageInfo> = (0..10).map(message).collect();
        let each = reply::json_bytes(&message(0)).unwrap();
        assert!(each > 600, "escapes count");
        for (bytes_max, n_pages) in [(1, 10), (each, 10), (each * 3, 4), (each * 10, 1)] {
            let (mut at, mut seen, mut pages) = (Some(0), Vec::new(), 0);
            while let Some(from) = at {
                let rest = all.iter().skip(usize::try_from(from).unwrap()).cloned();
                let browsed = Browsed {
                    messages: rest.collect(),
                    next: None,
                };
                let page = cut(browsed, bytes_max).unwrap();
                seen.extend(page.messages.iter().map(|it| it.offset));
                (at, pages) = (page.next, pages + 1);
            }
            assert_eq!(seen, (0..10).collect::<Vec<u64>>(), "{bytes_max}");
            assert_eq!(pages, n_pages, "{bytes_max}");
        }
    }
}
