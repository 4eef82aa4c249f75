//! The API's own description, and a viewer for it. Both are in the program and open to everybody: they say what is in the
//! source anyhow, and the viewer asks whoever uses it for their credentials.
//!
//! The viewer's page runs its own scripts and no others, loads nothing from elsewhere, and talks to this port alone.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CONTENT_SECURITY_POLICY, HeaderValue};
use tracing::error;
use utoipa_swagger_ui::Config;

use crate::problem::{Code, Problem};
use crate::routes::{Answer, Call, Need, Route};
use crate::{openapi, reply};

/// Where the viewer is.
const VIEWER: &str = "/api/docs/";

pub(crate) const ROUTES: &[Route] = &[
    Route::get(
        "/",
        Need::Nothing,
        "root",
        "Leads to the viewer for this document",
        |call| Box::pin(to_viewer(call)),
    )
    .moved(VIEWER),
    Route::get(
        "/api/docs",
        Need::Nothing,
        "docsWithoutSlash",
        "Leads to the viewer for this document",
        |call| Box::pin(to_viewer(call)),
    )
    .moved(VIEWER),
    Route::get(
        "/api/v1/openapi.json",
        Need::Nothing,
        "openapi",
        "This document",
        |call| Box::pin(document(call)),
    )
    .gives(any_object),
    Route::get(
        VIEWER,
        Need::Nothing,
        "docs",
        "A viewer for this document",
        |call| Box::pin(viewer(call)),
    )
    .gives_kind("text/html"),
    Route::get(
        "/api/docs/{file}",
        Need::Nothing,
        "docsFile",
        "A file that the viewer needs",
        |call| Box::pin(viewer(call)),
    )
    .gives_kind("*/*"),
];

const VIEWER_ONLY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| {
    // Made of strings, numbers and maps with strings for keys.
    Bytes::from(serde_json::to_vec(&openapi::document()).expect("the document is JSON"))
});

/// `validator_url`: without it, the page would ask a stranger's site about our document.
static CONFIG: LazyLock<Arc<Config<'static>>> = LazyLock::new(|| {
    let config = Config::new(["/api/v1/openapi.json"])
        .validator_url("none")
        .doc_expansion("none")
        .default_models_expand_depth(0)
        .filter(true)
        .try_it_out_enabled(false)
        .query_config_enabled(false);
    Arc::new(config)
});

fn any_object(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "object" })
}

async fn document(mut call: Call) -> Answer {
    call.no_params()?;
    let json = HeaderValue::from_static("application/json");
    Ok(reply::with(StatusCode::OK, json, DOCUMENT.clone()).into())
}

async fn to_viewer(mut call: Call) -> Answer {
    call.no_params()?;
    Ok(reply::moved(VIEWER).into())
}

async fn viewer(mut call: Call) -> Answer {
    call.no_params()?;
    let file = utoipa_swagger_ui::serve(&call.name("file"), Arc::clone(&CONFIG));
    let file = file.map_err(|fault| {
        error!(%fault, "the viewer of the admin API's document is broken");
        Problem::internal()
    })?;
    let mut file = file.ok_or_else(|| Problem::new(Code::NotFound, "there is no such file"))?;
    if file.content_type.starts_with("text/html") && !file.gzpipped {
        let page = String::from_utf8_lossy(&file.bytes);
        let page = page.replace(
            "<title>Swagger UI</title>",
            "<title>Restante admin API</title>",
        );
        file.bytes = page.into_bytes().into();
    }
    let kind = HeaderValue::try_from(file.content_type)
        .unwrap_or(HeaderValue::from_static("application/octet-stream"));
    let mut reply = reply::with(StatusCode::OK, kind, file.bytes.into_owned());
    let headers = reply.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, VIEWER_ONLY);
    Ok(reply.into())
}
