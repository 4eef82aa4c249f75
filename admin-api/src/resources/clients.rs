//! Who is there: connections, sessions, consumers, and the addresses that somebody takes from.

use super::{AFTER, LIMIT, PREFIX, PRINCIPAL, REALM, is};
use crate::control::ControlError;
use crate::document::Grant;
use crate::page::{LIMIT_MAX, List, Page, Value, Wanted};
use crate::queue::{AddressInfo, ConnectionInfo, ConsumerInfo, SessionInfo};
use crate::reply;
use crate::routes::{Answer, Call, Need, Param, ParamKind, Route, shape};

const READ: Need = Need::Grant(Grant::Read);
const OPERATE: Need = Need::Grant(Grant::Operate);

const CONNECTION_SORTS: &[&str] = &["realm", "principal", "name", "protocol", "peer", "since"];
const SESSION_SORTS: &[&str] = &[
    "realm",
    "principal",
    "name",
    "consumers",
    "unsettled",
    "ends_at",
];
const CONSUMER_SORTS: &[&str] = &["principal", "session", "credit", "unsettled"];

const fn sort(fields: &'static [&'static str]) -> Param {
    Param {
        name: "sort",
        kind: ParamKind::Sort(fields),
        what: "What to sort by, with a `-` in front from the largest on.",
    }
}

const CLIENT_PREFIX: Param = Param {
    name: "prefix",
    kind: ParamKind::Text,
    what: "Only clients whose own name, or client id, begins so.",
};

pub(crate) const ROUTES: &[Route] = &[
    Route::get(
        "/api/v1/connections",
        READ,
        "listConnections",
        "Connections of clients",
        |call| Box::pin(connections(call)),
    )
    .params(&[
        LIMIT,
        AFTER,
        sort(CONNECTION_SORTS),
        REALM,
        PRINCIPAL,
        CLIENT_PREFIX,
        Param {
            name: "protocol",
            kind: ParamKind::Text,
            what: "Only connections of this protocol, such as `mbws`.",
        },
    ])
    .gives(shape::<Page<ConnectionInfo>>),
    Route::get(
        "/api/v1/connections/{connection}",
        READ,
        "getConnection",
        "A client's connection",
        |call| Box::pin(connection(call)),
    )
    .gives(shape::<ConnectionInfo>),
    Route::delete(
        "/api/v1/connections/{connection}",
        OPERATE,
        "kick",
        "Close a client's connection; its session goes on",
        |call| Box::pin(kick(call)),
    ),
    Route::get(
        "/api/v1/sessions",
        READ,
        "listSessions",
        "Sessions, of clients that are there or are expected back",
        |call| Box::pin(sessions(call)),
    )
    .params(&[
        LIMIT,
        AFTER,
        sort(SESSION_SORTS),
        REALM,
        PRINCIPAL,
        CLIENT_PREFIX,
        Param {
            name: "connected",
            kind: ParamKind::Flag,
            what: "Only sessions whose client is there, or only those whose client is away.",
        },
    ])
    .gives(shape::<Page<SessionInfo>>),
    Route::get(
        "/api/v1/sessions/{session}",
        READ,
        "getSession",
        "A session",
        |call| Box::pin(session(call)),
    )
    .gives(shape::<SessionInfo>),
    Route::delete(
        "/api/v1/sessions/{session}",
        OPERATE,
        "endSession",
        "End a session: what it has in hand is ready again",
        |call| Box::pin(release(call, true)),
    ),
    Route::post(
        "/api/v1/sessions/{session}:release",
        OPERATE,
        "releaseSession",
        "Take back all that a session has in hand; it goes on",
        |call| Box::pin(release(call, false)),
    ),
    Route::get(
        "/api/v1/consumers",
        READ,
        "listConsumers",
        "Consumers of queues and topics",
        |call| Box::pin(consumers(call)),
    )
    .params(&[
        LIMIT,
        AFTER,
        sort(CONSUMER_SORTS),
        REALM,
        Param {
            name: "queue",
            kind: ParamKind::Text,
            what: "Only consumers of this queue.",
        },
        PRINCIPAL,
        Param {
            name: "session",
            kind: ParamKind::Text,
            what: "Only consumers of this session.",
        },
    ])
    .gives(shape::<Page<ConsumerInfo>>),
    Route::get(
        "/api/v1/realms/{realm}/addresses",
        READ,
        "listAddresses",
        "Addresses and filters that a queue, a route or a listener takes from",
        |call| Box::pin(addresses(call)),
    )
    .params(&[LIMIT, AFTER, PREFIX])
    .gives(shape::<Page<AddressInfo>>),
];

static CONNECTIONS: List = List {
    name: "connections",
    key_parts: 1,
    limit_max: LIMIT_MAX,
    sorts: CONNECTION_SORTS,
};

static SESSIONS: List = List {
    name: "sessions",
    key_parts: 1,
    limit_max: LIMIT_MAX,
    sorts: SESSION_SORTS,
};

static CONSUMERS: List = List {
    name: "consumers",
    // Realm, queue, filter, session, name.
    key_parts: 5,
    limit_max: LIMIT_MAX,
    sorts: CONSUMER_SORTS,
};

static ADDRESSES: List = List {
    name: "addresses",
    key_parts: 1,
    limit_max: LIMIT_MAX,
    sorts: &[],
};

async fn connections(mut call: Call) -> Answer {
    let mut params = call.take_params();
    let wanted = Wanted::take(&mut params, &CONNECTIONS);
    let (realm, principal) = (params.text("realm"), params.text("principal"));
    let protocol = params.text("protocol");
    let prefix = params.text("prefix").unwrap_or_default();
    params.finish()?;
    let mut all = call.control.connections().await?;
    all.retain(|it| {
        is(&realm, &it.realm)
            && is(&principal, &it.principal)
            && is(&protocol, &it.protocol)
            && begins(&prefix, &it.name, it.client.as_deref())
    });
    let value = |it: &ConnectionInfo, field: &str| match field {
        "realm" => it.realm.as_str().into(),
        "principal" => it.principal.as_str().into(),
        "name" => it.name.as_str().into(),
        "protocol" => it.protocol.as_str().into(),
        "peer" => it.peer.as_str().into(),
        _ => Value::from(it.since),
    };
    reply::ok(&wanted.page(all, |it| vec![it.id.clone()], value))
}

async fn connection(mut call: Call) -> Answer {
    call.no_params()?;
    let id = call.name("connection");
    let all = call.control.connections().await?;
    let found = all.into_iter().find(|it| it.id == id);
    reply::ok(&found.ok_or_else(|| ControlError::NotFound("such connection".into()))?)
}

async fn kick(mut call: Call) -> Answer {
    call.no_params()?;
    let id = call.name("connection");
    let changed = call.control.kick(&call.caller, id, call.how).await?;
    Ok(reply::no_content().noted(changed))
}

async fn sessions(mut call: Call) -> Answer {
    let mut params = call.take_params();
    let wanted = Wanted::take(&mut params, &SESSIONS);
    let (realm, principal) = (params.text("realm"), params.text("principal"));
    let prefix = params.text("prefix").unwrap_or_default();
    let connected = params.maybe_flag("connected");
    params.finish()?;
    // Where all are shown by id, the broker looks up a page, and one more to tell whether there are more.
    let is_page = wanted.is_by_key()
        && realm.is_none()
        && principal.is_none()
        && prefix.is_empty()
        && connected.is_none();
    let limit = if is_page {
        wanted.limit + 1
    } else {
        usize::MAX
    };
    let after = wanted.after_key().and_then(|mut key| key.pop());
    let mut all = call.control.sessions(after, limit).await?;
    all.retain(|it| {
        is(&realm, &it.realm)
            && is(&principal, &it.principal)
            && begins(&prefix, &it.name, it.client.as_deref())
            && connected.is_none_or(|connected| it.connection.is_some() == connected)
    });
    let value = |it: &SessionInfo, field: &str| match field {
        "realm" => it.realm.as_str().into(),
        "principal" => it.principal.as_str().into(),
        "name" => it.name.as_str().into(),
        "consumers" => it.consumers.into(),
        "unsettled" => it.unsettled.into(),
        _ => Value::from(it.ends_at),
    };
    reply::ok(&wanted.page(all, |it| vec![it.id.clone()], value))
}

/// Whether a client calls itself so, or its id begins so.
fn begins(prefix: &str, name: &str, client: Option<&str>) -> bool {
    name.starts_with(prefix) || client.is_some_and(|client| client.starts_with(prefix))
}

async fn session(mut call: Call) -> Answer {
    call.no_params()?;
    let id = call.name("session");
    reply::ok(&call.control.session(id).await?)
}

async fn release(mut call: Call, end: bool) -> Answer {
    call.no_params()?;
    let id = call.name("session");
    let changed = call
        .control
        .release(&call.caller, id, end, call.how)
        .await?;
    Ok(reply::no_content().noted(changed))
}

async fn consumers(mut call: Call) -> Answer {
    let mut params = call.take_params();
    let wanted = Wanted::take(&mut params, &CONSUMERS);
    let (realm, queue) = (params.text("realm"), params.text("queue"));
    let (principal, session) = (params.text("principal"), params.text("session"));
    params.finish()?;
    let mut all = call.control.consumers(realm.clone(), queue.clone()).await?;
    all.retain(|it| {
        is(&realm, &it.realm)
            && queue
                .as_ref()
                .is_none_or(|queue| it.queue.as_ref() == Some(queue))
            && is(&principal, &it.principal)
            && is(&session, &it.session)
    });
    let text = |it: &Option<String>| it.clone().unwrap_or_default();
    let key = |it: &ConsumerInfo| {
        let (queue, filter) = (text(&it.queue), text(&it.filter));
        vec![
            it.realm.clone(),
            queue,
            filter,
            it.session.clone(),
            it.name.clone(),
        ]
    };
    let value = |it: &ConsumerInfo, field: &str| match field {
        "principal" => it.principal.as_str().into(),
        "session" => it.session.as_str().into(),
        "credit" => it.credit.into(),
        _ => Value::from(it.unsettled),
    };
    reply::ok(&wanted.page(all, key, value))
}

async fn addresses(mut call: Call) -> Answer {
    let mut params = call.take_params();
    let wanted = Wanted::take(&mut params, &ADDRESSES);
    let prefix = params.text("prefix").unwrap_or_default();
    params.finish()?;
    let mut all = call.control.addresses(call.name("realm")).await?;
    all.retain(|it| it.address.starts_with(&prefix));
    let key = |it: &AddressInfo| vec![it.address.clone()];
    reply::ok(&wanted.page(all, key, |_, _| Value::Nothing))
}
