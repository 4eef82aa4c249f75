//! Realms, users, roles, rules and routes: documents that are set whole. Tokens, which have secrets, are next door.
//!
//! What is shown is the document with its name and revision; hashes are left out. What is set is the document alone.

use schemars::JsonSchema;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use tracing::error;

use super::{AFTER, LIMIT, PREFIX, REALM, ROLE, is};
use crate::control::Secret;
use crate::document::{
    Document, DocumentId, DocumentKind, Grant, Realm, Role, Route as RouteDocument, Rule, Stored,
    User,
};
use crate::page::{self, LIMIT_MAX, List, Page, Wanted};
use crate::params::Params;
use crate::problem::Problem;
use crate::reply;
use crate::routes::{Answer, Call, Handler, Need, Param, ParamKind, Route, shape};

const READ: Need = Need::Grant(Grant::Read);
const CONFIGURE: Need = Need::Grant(Grant::Configure);
const SECURE: Need = Need::Grant(Grant::Secure);

const DISABLED: Param = Param {
    name: "disabled",
    kind: ParamKind::Flag,
    what: "Only what is disabled, or only what is not.",
};

const PUT_USER: &str = "Without `password`, a user who is there keeps theirs, and a new one has none and logs in with a \
    certificate at best. A password is never shown again, in no form.";

const PUT_RULE: &str = "A rule lets a role do something with addresses, or forbids it. What no rule allows is denied, and a \
    rule that denies wins over all that allow. It counts at once, for live sessions too. In `filter`, `+` stands for one \
    segment of an address and `#`, at the end, for all the rest, or for whatever begins with the text before it (`orders/e#`); `${user}` and `${client}` are whoever asks.";

const PUT_ROUTE: &str = "A route sends what comes for the addresses that its `filter` matches to other addresses. Routes are \
    looked at in their `order`, then by name. `{1}`, `{2}` … in a target are what the filter's wildcards stand for.";

pub(crate) const ROUTES: &[Route] = &[
    list("/api/v1/realms", READ, "listRealms", "All realms", |call| {
        Box::pin(get_all::<Realms>(call))
    })
    .params(&[LIMIT, AFTER, PREFIX])
    .gives(shape::<Page<Named<Realm>>>),
    one("/api/v1/realms/{realm}", READ, "getRealm", "A realm", |call| {
        Box::pin(get::<Realms>(call))
    })
    .gives(shape::<Named<Realm>>),
    set("/api/v1/realms/{realm}", CONFIGURE, "putRealm", "Make or change a realm", |call| {
        Box::pin(put::<Realms>(call))
    })
    .details("A realm is a name space of its own: addresses, queues, routes and sessions of one are unknown in another.")
    .takes(shape::<Realm>, r#"{"description": "the shop", "max_queues": 1000}"#)
    .gives(shape::<Named<Realm>>),
    gone("/api/v1/realms/{realm}", CONFIGURE, "deleteRealm", "Remove a realm that has no queues", |call| {
        Box::pin(delete::<Realms>(call))
    }),
    list("/api/v1/users", READ, "listUsers", "All users", |call| {
        Box::pin(get_all::<Users>(call))
    })
    .params(&[LIMIT, AFTER, PREFIX, ROLE, DISABLED])
    .gives(shape::<Page<UserView>>),
    one("/api/v1/users/{user}", READ, "getUser", "A user", |call| {
        Box::pin(get::<Users>(call))
    })
    .gives(shape::<UserView>),
    set("/api/v1/users/{user}", SECURE, "putUser", "Make or change a user", |call| {
        Box::pin(put::<Users>(call))
    })
    .details(PUT_USER)
    .takes(shape::<UserBody>, r#"{"roles": ["shop"], "password": "correct horse battery"}"#)
    .gives(shape::<UserView>),
    gone("/api/v1/users/{user}", SECURE, "deleteUser", "Remove a user, and close their connections", |call| {
        Box::pin(delete::<Users>(call))
    }),
    list("/api/v1/roles", READ, "listRoles", "All roles", |call| {
        Box::pin(get_all::<Roles>(call))
    })
    .params(&[LIMIT, AFTER, PREFIX])
    .gives(shape::<Page<Named<Role>>>),
    one("/api/v1/roles/{role}", READ, "getRole", "A role", |call| {
        Box::pin(get::<Roles>(call))
    })
    .gives(shape::<Named<Role>>),
    set("/api/v1/roles/{role}", SECURE, "putRole", "Make or change a role", |call| {
        Box::pin(put::<Roles>(call))
    })
    .details("`grants` are rights over the broker itself; what a role may do with messages is in rules.")
    .takes(shape::<Role>, r#"{"description": "on call", "grants": ["monitor", "read", "operate"]}"#)
    .gives(shape::<Named<Role>>),
    gone("/api/v1/roles/{role}", SECURE, "deleteRole", "Remove a role", |call| {
        Box::pin(delete::<Roles>(call))
    }),
    list("/api/v1/rules", READ, "listRules", "All rules", |call| {
        Box::pin(get_all::<Rules>(call))
    })
    .params(&[LIMIT, AFTER, PREFIX, REALM, ROLE])
    .gives(shape::<Page<Named<Rule>>>),
    one("/api/v1/rules/{rule}", READ, "getRule", "A rule", |call| {
        Box::pin(get::<Rules>(call))
    })
    .gives(shape::<Named<Rule>>),
    set("/api/v1/rules/{rule}", SECURE, "putRule", "Make or change a rule", |call| {
        Box::pin(put::<Rules>(call))
    })
    .details(PUT_RULE)
    .takes(
        shape::<Rule>,
        r#"{"role": "shop", "verbs": ["send", "consume"], "realm": "default", "filter": "orders/#", "effect": "allow"}"#,
    )
    .gives(shape::<Named<Rule>>),
    gone("/api/v1/rules/{rule}", SECURE, "deleteRule", "Remove a rule", |call| {
        Box::pin(delete::<Rules>(call))
    }),
    list("/api/v1/realms/{realm}/routes", READ, "listRoutes", "All routes of a realm", |call| {
        Box::pin(get_all::<Routes>(call))
    })
    .params(&[LIMIT, AFTER, PREFIX, DISABLED])
    .gives(shape::<Page<RouteView>>),
    one("/api/v1/realms/{realm}/routes/{route}", READ, "getRoute", "A route", |call| {
        Box::pin(get::<Routes>(call))
    })
    .gives(shape::<RouteView>),
    set("/api/v1/realms/{realm}/routes/{route}", CONFIGURE, "putRoute", "Make or change a route", |call| {
        Box::pin(put::<Routes>(call))
    })
    .details(PUT_ROUTE)
    .takes(
        shape::<RouteDocument>,
        r#"{"filter": "orders/+/new", "to": [{"address": "work/{1}"}], "keep": true}"#,
    )
    .gives(shape::<RouteView>),
    gone("/api/v1/realms/{realm}/routes/{route}", CONFIGURE, "deleteRoute", "Remove a route", |call| {
        Box::pin(delete::<Routes>(call))
    }),
];

const fn list(
    pattern: &'static str,
    need: Need,
    id: &'static str,
    summary: &'static str,
    handler: Handler,
) -> Route {
    Route::get(pattern, need, id, summary, handler)
}

const fn one(
    pattern: &'static str,
    need: Need,
    id: &'static str,
    summary: &'static str,
    handler: Handler,
) -> Route {
    Route::get(pattern, need, id, summary, handler).steady()
}

const fn set(
    pattern: &'static str,
    need: Need,
    id: &'static str,
    summary: &'static str,
    handler: Handler,
) -> Route {
    let route = Route::put(pattern, need, id, summary, handler);
    route.creates().tagged().conditional()
}

const fn gone(
    pattern: &'static str,
    need: Need,
    id: &'static str,
    summary: &'static str,
    handler: Handler,
) -> Route {
    Route::delete(pattern, need, id, summary, handler).conditional()
}

/// A document with its name.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "{T}View")]
struct Named<T> {
    /// Its name, unique among its kind.
    name: String,
    /// Changes with it; also the ETag.
    revision: u64,
    #[serde(flatten)]
    document: T,
}

/// A route with its name.
#[derive(Serialize, JsonSchema)]
struct RouteView {
    /// Its realm.
    realm: String,
    /// Its name, unique in the realm.
    name: String,
    /// Changes with it; also the ETag.
    revision: u64,
    #[serde(flatten)]
    document: RouteDocument,
}

/// A user, without any secret.
#[derive(Serialize, JsonSchema)]
struct UserView {
    /// Their name.
    name: String,
    /// Changes with it; also the ETag.
    revision: u64,
    /// For people.
    description: String,
    /// What they are; rules and grants are given to roles.
    roles: Vec<String>,
    /// Whether they are refused.
    disabled: bool,
    /// Names in client certificates that are this user's.
    certificates: Vec<String>,
    /// Ed25519 public keys that are this user's, for WAMP's method `cryptosign`.
    public_keys: Vec<String>,
    /// Whether they can log in with a password.
    has_password: bool,
}

/// A user, as they are set.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
struct UserBody {
    /// For people.
    description: String,
    /// What they are; rules and grants are given to roles.
    roles: Vec<String>,
    /// Whether they are refused, and their connections closed.
    disabled: bool,
    /// Names in client certificates that are this user's: `cn:NAME`, `dns:NAME`, `uri:URI`, `email:ADDRESS` or
    /// `sha256:HEX`, the certificate's fingerprint.
    certificates: Vec<String>,
    /// Ed25519 public keys that are this user's and nobody else's, 64 hexadecimal digits in lower case each, for WAMP's method
    /// `cryptosign`; at most 8.
    public_keys: Vec<String>,
    /// A new password: connections that were opened with the old one are closed. Not given: the one that is set stays.
    #[serde(deserialize_with = "secret")]
    #[schemars(with = "Option<String>", extend("writeOnly" = true, "format" = "password"))]
    password: Option<Secret>,
}

/// A fault in a secret must not be told with the secret in it.
fn secret<'de, D: Deserializer<'de>>(json: D) -> Result<Option<Secret>, D::Error> {
    match Value::deserialize(json)? {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(Secret::new(text))),
        _ => Err(D::Error::custom("is no text")),
    }
}

/// A kind of documents: where they are, how they are shown, and how they are set.
trait Kind {
    const KIND: DocumentKind;
    /// The capture in the path that has the name.
    const CAPTURE: &'static str;
    const LIST: &'static List;
    type View: Serialize + Send;
    type Body: DeserializeOwned + Send;

    /// None: it is of another kind.
    fn view(stored: Stored) -> Option<Self::View>;

    fn document(body: Self::Body) -> (Document, Option<Secret>);

    /// Takes its own filters.
    fn filter(params: &mut Params) -> Filter {
        _ = params;
        Box::new(|_| true)
    }

    fn id(call: &Call) -> DocumentId {
        let realm = if Self::KIND == DocumentKind::Route {
            call.name("realm")
        } else {
            String::new()
        };
        DocumentId {
            kind: Self::KIND,
            realm,
            name: call.name(Self::CAPTURE),
        }
    }
}

type Filter = Box<dyn Fn(&Document) -> bool + Send>;

const fn by_name(name: &'static str) -> List {
    List {
        name,
        key_parts: 1,
        limit_max: LIMIT_MAX,
        sorts: &[],
    }
}

struct Realms;

impl Kind for Realms {
    const KIND: DocumentKind = DocumentKind::Realm;
    const CAPTURE: &'static str = "realm";
    const LIST: &'static List = &by_name("realms");
    type View = Named<Realm>;
    type Body = Realm;

    fn view(stored: Stored) -> Option<Named<Realm>> {
        match stored.document {
            Document::Realm(document) => Some(Named {
                name: stored.id.name,
                revision: stored.revision,
                document,
            }),
            _ => None,
        }
    }

    fn document(body: Realm) -> (Document, Option<Secret>) {
        (Document::Realm(body), None)
    }
}

struct Users;

impl Kind for Users {
    const KIND: DocumentKind = DocumentKind::User;
    const CAPTURE: &'static str = "user";
    const LIST: &'static List = &by_name("users");
    type View = UserView;
    type Body = UserBody;

    fn view(stored: Stored) -> Option<UserView> {
        match stored.document {
            Document::User(user) => Some(UserView {
                name: stored.id.name,
                revision: stored.revision,
                description: user.description,
                roles: user.roles,
                disabled: user.disabled,
                certificates: user.certificates,
                public_keys: user.public_keys,
                has_password: user.password_hash.is_some(),
            }),
            _ => None,
        }
    }

    fn document(body: UserBody) -> (Document, Option<Secret>) {
        let user = User {
            description: body.description,
            roles: body.roles,
            disabled: body.disabled,
            certificates: body.certificates,
            public_keys: body.public_keys,
            ..User::default()
        };
        (Document::User(user), body.password)
    }

    fn filter(params: &mut Params) -> Filter {
        let role = params.text("role");
        let disabled = params.maybe_flag("disabled");
        Box::new(move |document| match document {
            Document::User(user) => {
                role.as_ref().is_none_or(|role| user.roles.contains(role))
                    && disabled.is_none_or(|disabled| user.disabled == disabled)
            }
            _ => false,
        })
    }
}

struct Roles;

impl Kind for Roles {
    const KIND: DocumentKind = DocumentKind::Role;
    const CAPTURE: &'static str = "role";
    const LIST: &'static List = &by_name("roles");
    type View = Named<Role>;
    type Body = Role;

    fn view(stored: Stored) -> Option<Named<Role>> {
        match stored.document {
            Document::Role(document) => Some(Named {
                name: stored.id.name,
                revision: stored.revision,
                document,
            }),
            _ => None,
        }
    }

    fn document(body: Role) -> (Document, Option<Secret>) {
        (Document::Role(body), None)
    }
}

struct Rules;

impl Kind for Rules {
    const KIND: DocumentKind = DocumentKind::Rule;
    const CAPTURE: &'static str = "rule";
    const LIST: &'static List = &by_name("rules");
    type View = Named<Rule>;
    type Body = Rule;

    fn view(stored: Stored) -> Option<Named<Rule>> {
        match stored.document {
            Document::Rule(document) => Some(Named {
                name: stored.id.name,
                revision: stored.revision,
                document,
            }),
            _ => None,
        }
    }

    fn document(body: Rule) -> (Document, Option<Secret>) {
        (Document::Rule(body), None)
    }

    fn filter(params: &mut Params) -> Filter {
        let (realm, role) = (params.text("realm"), params.text("role"));
        Box::new(move |document| match document {
            Document::Rule(rule) => is(&realm, &rule.realm) && is(&role, &rule.role),
            _ => false,
        })
    }
}

struct Routes;

impl Kind for Routes {
    const KIND: DocumentKind = DocumentKind::Route;
    const CAPTURE: &'static str = "route";
    const LIST: &'static List = &by_name("routes");
    type View = RouteView;
    type Body = RouteDocument;

    fn view(stored: Stored) -> Option<RouteView> {
        match stored.document {
            Document::Route(document) => Some(RouteView {
                realm: stored.id.realm,
                name: stored.id.name,
                revision: stored.revision,
                document,
            }),
            _ => None,
        }
    }

    fn document(body: RouteDocument) -> (Document, Option<Secret>) {
        (Document::Route(body), None)
    }

    fn filter(params: &mut Params) -> Filter {
        let disabled = params.maybe_flag("disabled");
        Box::new(move |document| match document {
            Document::Route(route) => disabled.is_none_or(|disabled| route.disabled == disabled),
            _ => false,
        })
    }
}

async fn get_all<K: Kind>(mut call: Call) -> Answer {
    let mut params = call.take_params();
    let wanted = Wanted::take(&mut params, K::LIST);
    let prefix = params.text("prefix").unwrap_or_default();
    let filter = K::filter(&mut params);
    params.finish()?;
    let id = K::id(&call);
    let realm = (K::KIND == DocumentKind::Route).then_some(id.realm);
    let mut all = call.control.documents(K::KIND, realm).await?;
    all.retain(|stored| stored.id.name.starts_with(&prefix) && filter(&stored.document));
    let page = wanted.page(
        all,
        |stored| vec![stored.id.name.clone()],
        |_, _| page::Value::Nothing,
    );
    reply::ok(&page.try_map(view::<K>)?)
}

async fn get<K: Kind>(mut call: Call) -> Answer {
    call.no_params()?;
    let stored = call.control.document(K::id(&call)).await?;
    let revision = stored.revision;
    Ok(reply::ok(&view::<K>(stored)?)?.tagged(revision))
}

async fn put<K: Kind>(mut call: Call) -> Answer {
    call.no_params()?;
    let (document, password) = K::document(call.json()?);
    let changed = call
        .control
        .put(&call.caller, K::id(&call), document, password, call.how)
        .await?;
    let revision = changed.now.revision;
    let done = reply::set(changed.created, &view::<K>(changed.now.clone())?)?;
    Ok(done.tagged(revision).noted(changed))
}

async fn delete<K: Kind>(mut call: Call) -> Answer {
    call.no_params()?;
    let changed = call
        .control
        .remove(&call.caller, K::id(&call), call.how)
        .await?;
    Ok(reply::no_content().noted(changed))
}

fn view<K: Kind>(stored: Stored) -> Result<K::View, Problem> {
    K::view(stored).ok_or_else(|| {
        error!(
            kind = K::KIND.as_str(),
            "the broker gave a document of another kind"
        );
        Problem::internal()
    })
}
