//! API tokens: made with a secret that is shown once, changed without it, rotated with a time of grace.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing::error;

use super::{AFTER, LIMIT, ROLE};
use crate::control::{Changed, ControlError, How, Invalid, Precondition, Secret};
use crate::document::{Document, DocumentId, DocumentKind, Grant, Stored, Token};
use crate::escape;
use crate::page::{LIMIT_MAX, List, Page, Value, Wanted};
use crate::problem::Problem;
use crate::reply;
use crate::routes::{Answer, Call, Need, Param, ParamKind, Route, shape};

const READ: Need = Need::Grant(Grant::Read);
const SECURE: Need = Need::Grant(Grant::Secure);

/// Longer, and it is no rotation.
const GRACE_SECONDS_MAX: u64 = 31 * 24 * 60 * 60;

/// Others who change the same token at the same time, before we say that it cannot be done.
const TRIES_MAX: u32 = 8;

pub(crate) const ROUTES: &[Route] = &[
    Route::get("/api/v1/tokens", READ, "listTokens", "All API tokens", |call| {
        Box::pin(list(call))
    })
    .params(&[
        LIMIT,
        AFTER,
        Param {
            name: "prefix",
            kind: ParamKind::Text,
            what: "Only tokens whose label begins so.",
        },
        ROLE,
        Param {
            name: "disabled",
            kind: ParamKind::Flag,
            what: "Only what is disabled, or only what is not.",
        },
    ])
    .gives(shape::<Page<TokenView>>),
    Route::post("/api/v1/tokens", SECURE, "createToken", "Make an API token", |call| {
        Box::pin(create(call))
    })
    .details(
        "The answer has the `secret`, this one time: it is used as `Authorization: Bearer SECRET`, and the broker keeps no more \
         than its hash. With an `Idempotency-Key`, who has lost the answer can ask for it again, for up to ten minutes; as long \
         it is kept in the broker's memory.",
    )
    .takes(
        shape::<TokenBody>,
        r#"{"label": "shop-backend", "roles": ["shop"], "expires_at": 4102444800000}"#,
    )
    .gives(shape::<IssuedToken>)
    .creates()
    .tagged(),
    Route::get("/api/v1/tokens/{token}", READ, "getToken", "An API token", |call| {
        Box::pin(get(call))
    })
    .gives(shape::<TokenView>)
    .steady(),
    Route::put(
        "/api/v1/tokens/{token}",
        SECURE,
        "putToken",
        "Change an API token: all but its secret",
        |call| Box::pin(put(call)),
    )
    .details("There must be one of this id: the broker chooses ids, when a token is made.")
    .takes(
        shape::<TokenBody>,
        r#"{"label": "shop-backend", "roles": ["shop"], "disabled": true}"#,
    )
    .gives(shape::<TokenView>)
    .tagged()
    .conditional(),
    Route::delete("/api/v1/tokens/{token}", SECURE, "deleteToken", "Remove an API token", |call| {
        Box::pin(delete(call))
    })
    .conditional(),
    Route::post(
        "/api/v1/tokens/{token}:rotate",
        SECURE,
        "rotateToken",
        "Give an API token a new secret",
        |call| Box::pin(rotate(call)),
    )
    .details("The old secret is taken for another `grace_seconds`, so that its users can be moved over.")
    .may_take(shape::<Rotation>, r#"{"grace_seconds": 3600}"#)
    .gives(shape::<IssuedToken>)
    .tagged()
    .conditional(),
];

static TOKENS: List = List {
    name: "tokens",
    key_parts: 1,
    limit_max: LIMIT_MAX,
    sorts: &[],
};

/// An API token, without any secret.
#[derive(Serialize, JsonSchema)]
struct TokenView {
    /// The part of it that may be shown.
    id: String,
    /// Changes with it; also the ETag.
    revision: u64,
    /// What it is for; principals and the audit log show it as `token:LABEL`.
    label: String,
    /// For people.
    description: String,
    /// What it may be used as.
    roles: Vec<String>,
    /// Whether it is refused.
    disabled: bool,
    /// From when on it is refused: milliseconds since 1970 UTC. Null: never.
    expires_at: Option<u64>,
    /// When its secret was made: milliseconds since 1970 UTC.
    created_at: u64,
    /// After a rotation, until when the secret before is taken: milliseconds since 1970 UTC.
    previous_until: Option<u64>,
    /// Whether it has a secret. Without one, such as after definitions without hashes, nobody is let in until it is rotated.
    has_secret: bool,
}

/// An API token, with its secret.
#[derive(Serialize, JsonSchema)]
struct IssuedToken {
    #[serde(flatten)]
    token: TokenView,
    /// The secret: shown now and never again. Null: this was a dry run.
    secret: Option<String>,
}

/// An API token, as it is set.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct TokenBody {
    /// What it is for; principals and the audit log show it as `token:LABEL`. Unique.
    label: String,
    /// For people.
    description: String,
    /// What it may be used as.
    roles: Vec<String>,
    /// Whether it is refused.
    disabled: bool,
    /// From when on it is refused: milliseconds since 1970 UTC. Null: never.
    expires_at: Option<u64>,
}

/// How a secret is replaced.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Rotation {
    /// How much longer the old secret is taken.
    #[schemars(range(max = 2_678_400))]
    grace_seconds: u64,
}

async fn list(mut call: Call) -> Answer {
    let mut params = call.take_params();
    let wanted = Wanted::take(&mut params, &TOKENS);
    let prefix = params.text("prefix").unwrap_or_default();
    let role = params.text("role");
    let disabled = params.maybe_flag("disabled");
    params.finish()?;
    let all = call.control.documents(DocumentKind::Token, None).await?;
    let tokens: Result<Vec<TokenView>, Problem> = all.into_iter().map(view).collect();
    let mut tokens = tokens?;
    tokens.retain(|token| {
        token.label.starts_with(&prefix)
            && role.as_ref().is_none_or(|role| token.roles.contains(role))
            && disabled.is_none_or(|disabled| token.disabled == disabled)
    });
    let key = |token: &TokenView| vec![token.id.clone()];
    reply::ok(&wanted.page(tokens, key, |_, _| Value::Nothing))
}

async fn create(mut call: Call) -> Answer {
    call.no_params()?;
    let token = call.json::<TokenBody>()?.over(Token::default());
    let changed = call
        .control
        .issue_token(&call.caller, token, call.how)
        .await?;
    let path = format!("/api/v1/tokens/{}", escape::encode(&changed.now.0.id.name));
    Ok(issued(changed, &call.how, true)?.at(&path))
}

async fn get(mut call: Call) -> Answer {
    call.no_params()?;
    let stored = call.control.document(id(&call)).await;
    let stored = stored.map_err(named_by_id)?;
    let revision = stored.revision;
    Ok(reply::ok(&view(stored)?)?.tagged(revision))
}

/// The token's secret stays, whoever sets its document: it is got first, and set only if it is still the same.
async fn put(mut call: Call) -> Answer {
    call.no_params()?;
    let body: TokenBody = call.json()?;
    for _ in 0..TRIES_MAX {
        let stored = call.control.document(id(&call)).await;
        let stored = stored.map_err(named_by_id)?;
        let revision = stored.revision;
        if !holds(call.how.only, revision) {
            let revision = Some(revision);
            return Err(ControlError::Changed { revision }.into());
        }
        let how = How {
            only: Precondition::Revision(revision),
            ..call.how
        };
        let document = Document::Token(body.over(token(stored)?));
        let put = call
            .control
            .put(&call.caller, id(&call), document, None, how);
        match put.await {
            Ok(changed) => {
                let revision = changed.now.revision;
                let done = reply::ok(&view(changed.now.clone())?)?;
                return Ok(done.tagged(revision).noted(changed));
            }
            // Somebody was faster: if that is none of the caller's conditions, it is done on what they made.
            Err(ControlError::Changed { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(ControlError::Conflict("others change this token all the time".into()).into())
}

async fn delete(mut call: Call) -> Answer {
    call.no_params()?;
    let removed = call.control.remove(&call.caller, id(&call), call.how).await;
    let changed = removed.map_err(named_by_id)?;
    Ok(reply::no_content().noted(changed))
}

async fn rotate(mut call: Call) -> Answer {
    call.no_params()?;
    let Rotation { grace_seconds } = call.json_or_default()?;
    if grace_seconds > GRACE_SECONDS_MAX {
        return Err(Problem::body(vec![Invalid {
            pointer: "/grace_seconds".into(),
            detail: format!("is no more than {GRACE_SECONDS_MAX}"),
        }]));
    }
    let grace = Duration::from_secs(grace_seconds);
    let changed = call
        .control
        .rotate_token(&call.caller, call.name("token"), grace, call.how)
        .await
        .map_err(named_by_id)?;
    issued(changed, &call.how, false)
}

impl TokenBody {
    /// `token`, with what the body says.
    fn over(&self, token: Token) -> Token {
        Token {
            label: self.label.clone(),
            description: self.description.clone(),
            roles: self.roles.clone(),
            disabled: self.disabled,
            expires_at: self.expires_at,
            ..token
        }
    }
}

fn id(call: &Call) -> DocumentId {
    DocumentId {
        kind: DocumentKind::Token,
        realm: String::new(),
        name: call.name("token"),
    }
}

/// Says to whom a token is not found how tokens are named: a label is no id.
fn named_by_id(error: ControlError) -> ControlError {
    match error {
        ControlError::NotFound(what) => ControlError::NotFound(format!(
            "{what}; tokens are named by id, and GET /api/v1/tokens lists them"
        )),
        other => other,
    }
}

/// Whether a condition holds of something that has `revision`.
fn holds(only: Precondition, revision: u64) -> bool {
    match only {
        Precondition::None | Precondition::Present => true,
        Precondition::Absent => false,
        Precondition::Revision(wanted) => wanted == revision,
    }
}

fn issued(changed: Changed<(Stored, Secret)>, how: &How, created: bool) -> Answer {
    let (stored, secret) = &changed.now;
    let revision = stored.revision;
    let issued = IssuedToken {
        token: view(stored.clone())?,
        // That of a dry run opens nothing, and looks as if it did.
        secret: (!how.dry_run).then(|| secret.expose().to_owned()),
    };
    let done = reply::set(created, &issued)?.tagged(revision);
    Ok(done.noted(changed))
}

fn token(stored: Stored) -> Result<Token, Problem> {
    match stored.document {
        Document::Token(token) => Ok(token),
        _ => {
            error!("the broker gave a document of another kind than `token`");
            Err(Problem::internal())
        }
    }
}

fn view(stored: Stored) -> Result<TokenView, Problem> {
    let (id, revision) = (stored.id.name.clone(), stored.revision);
    let token = token(stored)?;
    Ok(TokenView {
        has_secret: !token.hash.is_empty(),
        id,
        revision,
        label: token.label,
        description: token.description,
        roles: token.roles,
        disabled: token.disabled,
        expires_at: token.expires_at,
        created_at: token.created_at,
        previous_until: token.previous.map(|previous| previous.until),
    })
}
