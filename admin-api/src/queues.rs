//! `/api/v1/queues`.

use hyper::StatusCode;

use crate::control::{Control, QueueInfo};
use crate::page::{Key, Wanted};
use crate::params::Params;
use crate::reply;
use crate::routes::Answer;

/// A page of the queues of all realms or of `realm`, whose names begin with `prefix`, by realm and name.
pub(crate) async fn list(control: &dyn Control, mut params: Params) -> Answer {
    let wanted = Wanted::take(&mut params);
    let realm = params.text("realm");
    let prefix = params.text("prefix").unwrap_or_default();
    params.finish()?;
    let mut queues = control.queues().await;
    queues.retain(|queue| {
        realm.as_ref().is_none_or(|realm| queue.realm == *realm) && queue.name.starts_with(&prefix)
    });
    reply::json(StatusCode::OK, &wanted.page(queues, key))
}

fn key(queue: &QueueInfo) -> Key<'_> {
    (&queue.realm, &queue.name)
}
