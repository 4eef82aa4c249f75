//! Queues and their bindings, and what can be done to a queue as a whole.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{AFTER, LIMIT, PREFIX, REALM, is, limit};
use crate::control::{Changed, QueuesWanted};
use crate::document::Grant;
use crate::page::{Key, LIMIT_MAX, List, Page, Value, Wanted};
use crate::params::Params;
use crate::queue::{Binding, QueueInfo, QueueSpec, Why};
use crate::reply;
use crate::routes::{Answer, Call, Need, Param, ParamKind, Route, shape};

const READ: Need = Need::Grant(Grant::Read);

/// A list of queues is what dashboards ask for: one page has to do for most brokers.
const QUEUES_MAX: usize = 1000;

const SORTS: &[&str] = &[
    "name",
    "messages_ready",
    "messages_unsettled",
    "bytes",
    "consumers",
    "oldest_timestamp",
];

const SORT: Param = Param {
    name: "sort",
    kind: ParamKind::Sort(SORTS),
    what: "What to sort by, with a `-` in front from the largest on. If not given: by realm and name.",
};

const DURABLE: Param = Param {
    name: "durable",
    kind: ParamKind::Flag,
    what: "Only queues that survive a restart, or only those that do not.",
};

const PAUSED: Param = Param {
    name: "paused",
    kind: ParamKind::Flag,
    what: "Only queues that are paused, or only those that are not.",
};

const QUEUE: Param = Param {
    name: "queue",
    kind: ParamKind::Text,
    what: "Only what is of this queue.",
};

const QUEUE_LIMIT: Param = limit(QUEUES_MAX as u64);

const PUT: &str = "A queue is made with its limits and bindings, or gets other ones; what waits in it stays. `bindings` are the \
    filters of the addresses whose messages it takes; not given, it takes what is sent to its own name. Queues are also made by \
    those who use them, if the rules let them.";

pub(crate) const ROUTES: &[Route] = &[
    Route::get("/api/v1/queues", READ, "listAllQueues", "The queues of all realms", |call| {
        Box::pin(list(call, true))
    })
    .params(&[QUEUE_LIMIT, AFTER, SORT, PREFIX, REALM, DURABLE, PAUSED])
    .also(&[404])
    .gives(shape::<Page<QueueInfo>>),
    Route::get("/api/v1/realms/{realm}/queues", READ, "listQueues", "The queues of a realm", |call| {
        Box::pin(list(call, false))
    })
    .params(&[QUEUE_LIMIT, AFTER, SORT, PREFIX, DURABLE, PAUSED])
    .gives(shape::<Page<QueueInfo>>),
    Route::get("/api/v1/realms/{realm}/queues/{queue}", READ, "getQueue", "A queue", |call| {
        Box::pin(get(call))
    })
    .gives(shape::<QueueInfo>)
    .tagged(),
    Route::put(
        "/api/v1/realms/{realm}/queues/{queue}",
        Need::Address,
        "putQueue",
        "Make or change a queue",
        |call| Box::pin(put(call)),
    )
    .details(PUT)
    .takes(
        shape::<QueueSpec>,
        r#"{"ttl_ms": 3600000, "max_messages": 100000, "max_attempts": 5, "dead_letter": "dead/orders", "bindings": ["orders/#"]}"#,
    )
    .gives(shape::<QueueInfo>)
    .creates()
    .tagged()
    .conditional(),
    Route::delete(
        "/api/v1/realms/{realm}/queues/{queue}",
        Need::Address,
        "deleteQueue",
        "Delete a queue with all that waits in it",
        |call| Box::pin(delete(call)),
    )
    .conditional(),
    Route::post(
        "/api/v1/realms/{realm}/queues/{queue}:pause",
        Need::Address,
        "pauseQueue",
        "Pause a queue: it takes messages and gives none",
        |call| Box::pin(pause(call)),
    )
    .may_take(shape::<Pause>, r#"{"reason": "the warehouse is being counted"}"#)
    .gives(shape::<QueueInfo>)
    .tagged()
    .conditional(),
    Route::post(
        "/api/v1/realms/{realm}/queues/{queue}:resume",
        Need::Address,
        "resumeQueue",
        "Let a paused queue go on",
        |call| Box::pin(resume(call)),
    )
    .gives(shape::<QueueInfo>)
    .tagged()
    .conditional(),
    Route::get(
        "/api/v1/realms/{realm}/queues/{queue}/why",
        READ,
        "whyQueue",
        "What keeps a queue from moving, in one sentence",
        |call| Box::pin(why(call)),
    )
    .gives(shape::<Why>),
    Route::get("/api/v1/bindings", READ, "listAllBindings", "The bindings of all realms", |call| {
        Box::pin(bindings(call, true))
    })
    .params(&[
        LIMIT,
        AFTER,
        REALM,
        QUEUE,
        Param {
            name: "prefix",
            kind: ParamKind::Text,
            what: "Only bindings whose filter begins so.",
        },
    ])
    .also(&[404])
    .gives(shape::<Page<Binding>>),
    Route::get(
        "/api/v1/realms/{realm}/queues/{queue}/bindings",
        READ,
        "listBindings",
        "The bindings of a queue",
        |call| Box::pin(bindings(call, false)),
    )
    .params(&[LIMIT, AFTER])
    .gives(shape::<Page<Binding>>),
    Route::put(
        "/api/v1/realms/{realm}/queues/{queue}/bindings/{filter}",
        Need::Address,
        "bind",
        "Bind a filter to a queue",
        |call| Box::pin(bind(call, true)),
    )
    .details("The filter's slashes are written `%2F` and its `#` is written `%23`, as in any name. The ETag is the queue's.")
    .gives(shape::<QueueInfo>)
    .creates()
    .tagged()
    .conditional(),
    Route::delete(
        "/api/v1/realms/{realm}/queues/{queue}/bindings/{filter}",
        Need::Address,
        "unbind",
        "Unbind a filter from a queue",
        |call| Box::pin(bind(call, false)),
    )
    .conditional(),
];

static QUEUES: List = List {
    name: "queues",
    key_parts: 2,
    limit_max: QUEUES_MAX,
    sorts: SORTS,
};

static BINDINGS: List = List {
    name: "bindings",
    key_parts: 3,
    limit_max: LIMIT_MAX,
    sorts: &[],
};

/// Why a queue is paused.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Pause {
    /// For whoever finds it paused.
    reason: String,
}

/// Which queues are shown, of those that the broker gives.
struct Filter {
    durable: Option<bool>,
    paused: Option<bool>,
}

impl Filter {
    fn take(params: &mut Params) -> Filter {
        Filter {
            durable: params.maybe_flag("durable"),
            paused: params.maybe_flag("paused"),
        }
    }

    fn is_none(&self) -> bool {
        self.durable.is_none() && self.paused.is_none()
    }

    fn keeps(&self, queue: &QueueInfo) -> bool {
        let is = |wanted: Option<bool>, value| wanted.is_none_or(|wanted| wanted == value);
        is(self.durable, queue.durable) && is(self.paused, queue.paused.is_some())
    }
}

async fn list(mut call: Call, all_realms: bool) -> Answer {
    let mut params = call.take_params();
    let wanted = Wanted::take(&mut params, &QUEUES);
    let prefix = params.text("prefix").unwrap_or_default();
    let realm = if all_realms {
        params.text("realm")
    } else {
        Some(call.name("realm"))
    };
    let filter = Filter::take(&mut params);
    params.finish()?;
    // Where the broker's order is the one that is wanted, it need not tell of more than a page.
    let is_cut = wanted.is_by_key() && filter.is_none();
    let asked = QueuesWanted {
        realm,
        prefix,
        after: wanted.after_key().and_then(pair).filter(|_| is_cut),
        limit: if is_cut { wanted.limit + 1 } else { usize::MAX },
    };
    let mut queues = call.control.queues(asked).await?;
    queues.retain(|queue| filter.keeps(queue));
    reply::ok(&wanted.page(queues, key, value))
}

fn key(queue: &QueueInfo) -> Key {
    vec![queue.realm.clone(), queue.name.clone()]
}

fn pair(key: Key) -> Option<(String, String)> {
    let [realm, name] = <[String; 2]>::try_from(key).ok()?;
    Some((realm, name))
}

fn value(queue: &QueueInfo, field: &str) -> Value {
    match field {
        "messages_ready" => queue.messages_ready.into(),
        "messages_unsettled" => queue.messages_unsettled.into(),
        "bytes" => queue.bytes.into(),
        "consumers" => queue.consumers.into(),
        "oldest_timestamp" => queue.oldest_timestamp.into(),
        _ => queue.name.as_str().into(),
    }
}

async fn get(mut call: Call) -> Answer {
    call.no_params()?;
    let (realm, name) = call.queue();
    let queue = call.control.queue(realm, name).await?;
    Ok(reply::ok(&queue)?.tagged(queue.revision))
}

async fn put(mut call: Call) -> Answer {
    call.no_params()?;
    let spec = call.json()?;
    let (realm, name) = call.queue();
    let changed = call
        .control
        .put_queue(&call.caller, realm, name, spec, call.how)
        .await?;
    shown(changed)
}

async fn delete(mut call: Call) -> Answer {
    call.no_params()?;
    let (realm, name) = call.queue();
    let changed = call
        .control
        .remove_queue(&call.caller, realm, name, call.how)
        .await?;
    Ok(reply::no_content().noted(changed))
}

async fn pause(mut call: Call) -> Answer {
    call.no_params()?;
    let Pause { reason } = call.json_or_default()?;
    set_paused(call, Some(reason)).await
}

async fn resume(mut call: Call) -> Answer {
    call.no_params()?;
    set_paused(call, None).await
}

async fn set_paused(call: Call, paused: Option<String>) -> Answer {
    let (realm, name) = call.queue();
    let changed = call
        .control
        .pause(&call.caller, realm, name, paused, call.how)
        .await?;
    let queue = &changed.now;
    Ok(reply::ok(queue)?.tagged(queue.revision).noted(changed))
}

async fn why(mut call: Call) -> Answer {
    call.no_params()?;
    let (realm, name) = call.queue();
    reply::ok(&call.control.why(realm, name).await?)
}

async fn bindings(mut call: Call, all: bool) -> Answer {
    let mut params = call.take_params();
    let wanted = Wanted::take(&mut params, &BINDINGS);
    let (realm, queue, prefix) = if all {
        let prefix = params.text("prefix").unwrap_or_default();
        (params.text("realm"), params.text("queue"), prefix)
    } else {
        let (realm, queue) = call.queue();
        (Some(realm), Some(queue), String::new())
    };
    params.finish()?;
    let mut bindings = call.control.bindings(realm.clone(), queue.clone()).await?;
    bindings.retain(|it| {
        is(&realm, &it.realm) && is(&queue, &it.queue) && it.filter.starts_with(&prefix)
    });
    let key = |it: &Binding| vec![it.realm.clone(), it.filter.clone(), it.queue.clone()];
    reply::ok(&wanted.page(bindings, key, |_, _| Value::Nothing))
}

async fn bind(mut call: Call, bound: bool) -> Answer {
    call.no_params()?;
    let (realm, queue) = call.queue();
    let binding = Binding {
        realm,
        filter: call.name("filter"),
        queue,
    };
    let changed = call
        .control
        .bind(&call.caller, binding, bound, call.how)
        .await?;
    if bound {
        shown(changed)
    } else {
        Ok(reply::no_content().noted(changed))
    }
}

fn shown(changed: Changed<QueueInfo>) -> Answer {
    let queue = &changed.now;
    let done = reply::set(changed.created, queue)?.tagged(queue.revision);
    Ok(done.noted(changed))
}
