//! What WAMP clients have: registrations, subscriptions, calls in flight.

use super::{AFTER, LIMIT, REALM};
use crate::control::ControlError;
use crate::document::Grant;
use crate::page::{Key, LIMIT_MAX, List, Page, Value, Wanted};
use crate::params::Params;
use crate::reply;
use crate::routes::{Answer, Call, Need, Param, ParamKind, Route, shape};
use crate::wamp::{CallInfo, NumberedWanted, RegistrationInfo, Shared, WampSubscriptionInfo};

const READ: Need = Need::Grant(Grant::Read);
const OPERATE: Need = Need::Grant(Grant::Operate);

const REGISTRATION_SORTS: &[&str] = &["uri", "created_at", "callees", "calls"];
const SUBSCRIPTION_SORTS: &[&str] = &["uri", "created_at", "subscribers"];
const CALL_SORTS: &[&str] = &["procedure"];

const REVOKED: &str = "Clients that understand it are told; those that do not find out. Their sessions go on, calls on their way are \
    answered, and a client may do the same again: to keep one from it, change the rules, or end its session.";

const fn sort(fields: &'static [&'static str]) -> Param {
    Param {
        name: "sort",
        kind: ParamKind::Sort(fields),
        what: "What to sort by, with a `-` in front from the largest on. If not given: by realm and number.",
    }
}

const URI_PREFIX: Param = Param {
    name: "prefix",
    kind: ParamKind::Text,
    what: "Only what has a URI that begins so.",
};

pub(crate) const ROUTES: &[Route] = &[
    Route::get(
        "/api/v1/registrations",
        READ,
        "listRegistrations",
        "Procedures that WAMP clients have registered",
        |call| Box::pin(registrations(call)),
    )
    .params(&[LIMIT, AFTER, sort(REGISTRATION_SORTS), URI_PREFIX, REALM])
    .gives(shape::<Page<RegistrationInfo>>),
    Route::get(
        "/api/v1/realms/{realm}/registrations/{registration}",
        READ,
        "getRegistration",
        "A registration",
        |call| Box::pin(registration(call)),
    )
    .gives(shape::<RegistrationInfo>),
    Route::delete(
        "/api/v1/realms/{realm}/registrations/{registration}",
        OPERATE,
        "revokeRegistration",
        "Take a registration from all its callees",
        |call| Box::pin(revoke(call, Shared::Registration)),
    )
    .details(REVOKED),
    Route::get(
        "/api/v1/subscriptions",
        READ,
        "listSubscriptions",
        "Topics that WAMP clients have subscribed to",
        |call| Box::pin(subscriptions(call)),
    )
    .params(&[LIMIT, AFTER, sort(SUBSCRIPTION_SORTS), URI_PREFIX, REALM])
    .gives(shape::<Page<WampSubscriptionInfo>>),
    Route::get(
        "/api/v1/realms/{realm}/subscriptions/{subscription}",
        READ,
        "getSubscription",
        "A subscription of WAMP clients",
        |call| Box::pin(subscription(call)),
    )
    .gives(shape::<WampSubscriptionInfo>),
    Route::delete(
        "/api/v1/realms/{realm}/subscriptions/{subscription}",
        OPERATE,
        "revokeSubscription",
        "Take a subscription from all its subscribers",
        |call| Box::pin(revoke(call, Shared::Subscription)),
    )
    .details(REVOKED),
    Route::get(
        "/api/v1/calls",
        READ,
        "listCalls",
        "Calls of WAMP clients that are not answered",
        |call| Box::pin(calls(call)),
    )
    .params(&[LIMIT, AFTER, sort(CALL_SORTS), URI_PREFIX, REALM])
    .gives(shape::<Page<CallInfo>>),
];

static REGISTRATIONS: List = List {
    name: "registrations",
    // Realm and id.
    key_parts: 2,
    limit_max: LIMIT_MAX,
    sorts: REGISTRATION_SORTS,
};

static SUBSCRIPTIONS: List = List {
    name: "subscriptions",
    sorts: SUBSCRIPTION_SORTS,
    ..REGISTRATIONS
};

static CALLS: List = List {
    name: "calls",
    sorts: CALL_SORTS,
    ..REGISTRATIONS
};

/// A list's parameters.
struct Asked {
    wanted: Wanted,
    prefix: String,
    broker: NumberedWanted,
}

impl Asked {
    /// Where the broker's order is the one that is wanted, it need not tell of more than a page, and one more to tell whether there are
    /// more.
    fn take(params: &mut Params, list: &'static List) -> Asked {
        let wanted = Wanted::take(params, list);
        let prefix = params.text("prefix").unwrap_or_default();
        let is_page = wanted.is_by_key() && prefix.is_empty();
        let after = wanted.after_key().filter(|_| is_page);
        Asked {
            broker: NumberedWanted {
                realm: params.text("realm"),
                after: after.and_then(pair),
                limit: match is_page {
                    true => wanted.limit + 1,
                    false => usize::MAX,
                },
            },
            prefix,
            wanted,
        }
    }
}

/// Numbers have as many digits, so that their order is that of their texts.
fn key(realm: &str, number: u64) -> Key {
    vec![realm.to_owned(), format!("{number:020}")]
}

fn pair(key: Key) -> Option<(String, u64)> {
    let [realm, number] = <[String; 2]>::try_from(key).ok()?;
    // What is no number is where somebody who made a cursor up says to begin: behind it there is nothing.
    Some((realm, number.parse().unwrap_or(u64::MAX)))
}

async fn registrations(mut call: Call) -> Answer {
    let mut params = call.take_params();
    let asked = Asked::take(&mut params, &REGISTRATIONS);
    params.finish()?;
    let mut all = call.control.registrations(asked.broker).await?;
    all.retain(|it| it.uri.starts_with(&asked.prefix));
    let value = |it: &RegistrationInfo, field: &str| match field {
        "uri" => it.uri.as_str().into(),
        "created_at" => it.created_at.into(),
        "callees" => it.callees.into(),
        _ => Value::from(it.calls),
    };
    reply::ok(&asked.wanted.page(all, |it| key(&it.realm, it.id), value))
}

async fn registration(mut call: Call) -> Answer {
    call.no_params()?;
    let (realm, id) = numbered(&call, "registration")?;
    reply::ok(&call.control.registration(realm, id).await?)
}

async fn subscriptions(mut call: Call) -> Answer {
    let mut params = call.take_params();
    let asked = Asked::take(&mut params, &SUBSCRIPTIONS);
    params.finish()?;
    let mut all = call.control.subscriptions(asked.broker).await?;
    all.retain(|it| it.uri.starts_with(&asked.prefix));
    let value = |it: &WampSubscriptionInfo, field: &str| match field {
        "uri" => it.uri.as_str().into(),
        "created_at" => it.created_at.into(),
        _ => Value::from(it.subscribers),
    };
    reply::ok(&asked.wanted.page(all, |it| key(&it.realm, it.id), value))
}

async fn subscription(mut call: Call) -> Answer {
    call.no_params()?;
    let (realm, id) = numbered(&call, "subscription")?;
    reply::ok(&call.control.subscription(realm, id).await?)
}

async fn revoke(mut call: Call, what: Shared) -> Answer {
    call.no_params()?;
    let (realm, id) = match what {
        Shared::Registration => numbered(&call, "registration")?,
        Shared::Subscription => numbered(&call, "subscription")?,
    };
    let (caller, how) = (&call.caller, call.how);
    let changed = call.control.revoke(caller, what, realm, id, how).await?;
    Ok(reply::no_content().noted(changed))
}

async fn calls(mut call: Call) -> Answer {
    let mut params = call.take_params();
    let asked = Asked::take(&mut params, &CALLS);
    params.finish()?;
    let mut all = call.control.calls(asked.broker).await?;
    all.retain(|it| it.procedure.starts_with(&asked.prefix));
    let value = |it: &CallInfo, _: &str| it.procedure.as_str().into();
    reply::ok(
        &asked
            .wanted
            .page(all, |it| key(&it.realm, it.number), value),
    )
}

/// The realm and the number in the path.
fn numbered(call: &Call, what: &'static str) -> Result<(String, u64), ControlError> {
    let id = call.name(what);
    let number = id.parse();
    let number = number.map_err(|_| ControlError::NotFound(format!("{what} {id}")))?;
    Ok((call.name("realm"), number))
}
