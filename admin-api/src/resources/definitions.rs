//! Definitions: all that administrators have set, as one document.

use schemars::JsonSchema;
use serde::Serialize;

use crate::control::{Changed, How, Plan};
use crate::document::{Definitions, Grant};
use crate::guard;
use crate::problem::Problem;
use crate::reply;
use crate::routes::{Answer, Call, Need, Param, ParamKind, Route, shape};

const SECURE: Need = Need::Grant(Grant::Secure);

const PRUNE: Param = Param {
    name: "prune",
    kind: ParamKind::Flag,
    what: "Whether what is set and not in the definitions is removed.",
};

const EXAMPLE: &str = r#"{
  "version": 1,
  "realms": {"default": {"queues": {"orders": {"bindings": ["orders/#"]}}}},
  "roles": {"shop": {}},
  "rules": {"shop": {"role": "shop", "verbs": ["send"], "filter": "orders/#"}}
}"#;

pub(crate) const ROUTES: &[Route] = &[
    Route::get(
        "/api/v1/definitions",
        Need::Grant(Grant::Read),
        "getDefinitions",
        "All that administrators have set, as one document",
        |call| Box::pin(get(call)),
    )
    .heavy()
    .details(
        "`definitions` of the answer is what `:plan` and `:apply` take. Secrets are never in it in the clear; their hashes are \
         with `?hashes=true`, which needs the grant `secure` as well and goes into the audit log. Without hashes, applying it \
         leaves the secrets of users and tokens that are there as they are.",
    )
    .params(&[Param {
        name: "hashes",
        kind: ParamKind::Flag,
        what: "Whether to have the hashes of secrets, so that users and tokens work where this is applied.",
    }])
    .gives(shape::<ExportedView>)
    .steady(),
    Route::post(
        "/api/v1/definitions:plan",
        SECURE,
        "planDefinitions",
        "What applying definitions would change",
        |call| Box::pin(plan(call)),
    )
    .params(&[PRUNE])
    .takes_large(shape::<Definitions>, EXAMPLE)
    .gives(shape::<Plan>)
    .also(&[404, 507])
    .looks(),
    Route::post(
        "/api/v1/definitions:apply",
        SECURE,
        "applyDefinitions",
        "Make what is set be these definitions, all or nothing",
        |call| Box::pin(apply(call)),
    )
    .details("The body is the document itself. `If-Match` takes the ETag of `GET /api/v1/definitions`.")
    .params(&[PRUNE])
    .takes_large(shape::<Definitions>, EXAMPLE)
    .gives(shape::<Plan>)
    .also(&[404])
    .conditional(),
];

/// All that administrators have set, and what it is known by.
#[derive(Serialize, JsonSchema)]
struct ExportedView {
    /// The definitions.
    definitions: Definitions,
    /// SHA-256 over their canonical form, hashes of secrets included whether they are shown or not.
    checksum: String,
    /// Changes with any of them; also the ETag.
    revision: u64,
}

async fn get(mut call: Call) -> Answer {
    let mut params = call.take_params();
    let with_hashes = params.flag("hashes");
    params.finish()?;
    if with_hashes {
        guard::check(SECURE, &call.caller.admin)?;
    }
    let mut exported = call.control.definitions(with_hashes).await?;
    if !with_hashes {
        strip(&mut exported.definitions);
    }
    let revision = exported.revision;
    let done = reply::ok(&ExportedView {
        definitions: exported.definitions,
        checksum: exported.checksum,
        revision,
    })?
    .tagged(revision);
    Ok(if with_hashes { done.audited() } else { done })
}

/// The broker has left them out; that no hash gets out by its mistake is worth a second look.
fn strip(definitions: &mut Definitions) {
    for user in definitions.users.values_mut() {
        user.clear_password();
    }
    for token in definitions.tokens.values_mut() {
        token.hash.clear();
        token.previous = None;
    }
}

async fn plan(call: Call) -> Answer {
    let how = How {
        dry_run: true,
        ..call.how
    };
    reply::ok(&change(call, how).await?.now)
}

async fn apply(call: Call) -> Answer {
    let how = call.how;
    let changed = change(call, how).await?;
    Ok(reply::ok(&changed.now)?.noted(changed))
}

async fn change(mut call: Call, how: How) -> Result<Changed<Plan>, Problem> {
    let mut params = call.take_params();
    let prune = params.flag("prune");
    params.finish()?;
    let definitions: Definitions = call.json()?;
    let apply = call.control.apply(&call.caller, definitions, prune, how);
    Ok(apply.await?)
}
