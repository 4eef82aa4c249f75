//! The broker itself: overview, who asks, configuration, log level, audit log, `explain`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AFTER, LIMIT, PRINCIPAL};
use crate::audit::{AuditEntry, AuditQuery};
use crate::control::{ConfigEntry, Overview};
use crate::document::Grant;
use crate::page::{LIMIT_MAX, List, Page, Wanted};
use crate::queue::{ExplainRequest, Explanation};
use crate::reply;
use crate::routes::{Answer, Call, Need, Param, ParamKind, Route, shape};

const READ: Need = Need::Grant(Grant::Read);

pub(crate) const ROUTES: &[Route] = &[
    Route::get(
        "/api/v1/overview",
        READ,
        "overview",
        "What the broker is and how it does",
        |call| Box::pin(overview(call)),
    )
    .gives(shape::<Overview>),
    Route::get(
        "/api/v1/whoami",
        Need::Credentials,
        "whoami",
        "Who you are, and what you may do with the broker itself",
        |call| Box::pin(whoami(call)),
    )
    .gives(shape::<WhoAmI>),
    Route::get(
        "/api/v1/config",
        READ,
        "config",
        "The configuration in force, secrets masked",
        |call| Box::pin(config(call)),
    )
    .gives(shape::<Config>),
    Route::get(
        "/api/v1/log-level",
        READ,
        "getLogLevel",
        "What of the program's doings is logged",
        |call| Box::pin(log_level(call)),
    )
    .gives(shape::<LogLevel>),
    Route::put(
        "/api/v1/log-level",
        Need::Grant(Grant::Operate),
        "putLogLevel",
        "Change what is logged, until the next start",
        |call| Box::pin(set_log_level(call)),
    )
    .takes(shape::<LogLevel>, r#"{"level": "info"}"#)
    .gives(shape::<LogLevel>),
    Route::get(
        "/api/v1/audit",
        Need::Grant(Grant::Secure),
        "audit",
        "The audit log, newest first",
        |call| Box::pin(audit(call)),
    )
    .details(
        "Every change that was made or tried over REST, every administrative act through another door, and everything that \
         was refused.",
    )
    .params(&[
        LIMIT,
        AFTER,
        PRINCIPAL,
        Param {
            name: "result",
            kind: ParamKind::Word(RESULTS),
            what: "Only lines with this result.",
        },
        Param {
            name: "target",
            kind: ParamKind::Text,
            what: "Only lines whose target begins so.",
        },
        Param {
            name: "since",
            kind: ParamKind::Number {
                low: 0,
                high: u64::MAX,
            },
            what: "Only lines from then on: milliseconds since 1970 UTC.",
        },
    ])
    .gives(shape::<Page<AuditEntry>>),
    Route::post(
        "/api/v1/explain",
        READ,
        "explain",
        "Ask whether somebody may, and where a message would land",
        |call| Box::pin(explain(call)),
    )
    .details(
        "Nothing is stored or sent. The answer names the rule that decides, the routes that match, the queues that would take \
         the message and whether they have room. Only `message.address` must be given.",
    )
    .takes(
        shape::<ExplainRequest>,
        r#"{"principal": "alice", "message": {"address": "orders/eu", "properties": {"vip": "yes"}}}"#,
    )
    .gives(shape::<Explanation>)
    .also(&[404])
    .looks(),
];

static AUDIT: List = List {
    name: "audit",
    key_parts: 0,
    limit_max: LIMIT_MAX,
    sorts: &[],
};

/// Whoever asks.
#[derive(Serialize, JsonSchema)]
struct WhoAmI {
    /// The principal's name: a user's, or `token:LABEL`.
    name: String,
    /// Their roles.
    roles: Vec<String>,
    /// What these roles may do with the broker itself.
    grants: Vec<Grant>,
}

/// The configuration in force.
#[derive(Serialize, JsonSchema)]
struct Config {
    /// A line for each key.
    items: Vec<ConfigEntry>,
}

/// What of the program's doings is logged.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LogLevel {
    /// `off`, `error`, `warn`, `info`, `debug` or `trace`; perhaps other ones for parts of the program, as in
    /// `info,restante::broker=debug`. A bare word that is no level is refused.
    level: String,
}

async fn overview(mut call: Call) -> Answer {
    call.no_params()?;
    reply::ok(&call.control.overview().await?)
}

async fn whoami(mut call: Call) -> Answer {
    call.no_params()?;
    let admin = call.caller.admin;
    reply::ok(&WhoAmI {
        name: admin.name,
        roles: admin.roles,
        grants: admin.grants,
    })
}

async fn config(mut call: Call) -> Answer {
    call.no_params()?;
    let items = call.control.config();
    reply::ok(&Config { items })
}

async fn log_level(mut call: Call) -> Answer {
    call.no_params()?;
    let level = call.control.log_level();
    reply::ok(&LogLevel { level })
}

/// What becomes of an act, as [`crate::AuditEntry::result`] has it.
const RESULTS: &[&str] = &[
    "done",
    "denied",
    "failed",
    "dry-run",
    "unchanged",
    "in-part",
    "unknown",
    "recovered",
];

async fn set_log_level(mut call: Call) -> Answer {
    call.no_params()?;
    let LogLevel { level } = call.json()?;
    let changed = call.control.set_log_level(&call.caller, level, call.how);
    let changed = changed.await?;
    let level = changed.now.clone();
    Ok(reply::ok(&LogLevel { level })?.noted(changed))
}

async fn audit(mut call: Call) -> Answer {
    let mut params = call.take_params();
    let wanted = Wanted::take(&mut params, &AUDIT);
    let query = AuditQuery {
        before: wanted.after_number(),
        // One more tells whether there is more.
        limit: wanted.limit + 1,
        principal: params.text("principal"),
        result: params.word("result", RESULTS),
        target: params.text("target"),
        since: params.maybe_number("since"),
    };
    params.finish()?;
    let mut entries = call.control.audited(query).await?;
    let more = entries.len() > wanted.limit;
    entries.truncate(wanted.limit);
    let next = entries.last().filter(|_| more).map(|entry| entry.number);
    reply::ok(&wanted.numbered(entries, next))
}

async fn explain(mut call: Call) -> Answer {
    call.no_params()?;
    let request = call.json()?;
    let explained = call.control.explain(&call.caller, request);
    reply::ok(&explained.await?)
}
