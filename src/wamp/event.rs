//! What is published by WAMP's words as a message: by a client's PUBLISH, and by a testament.

use restante_proto::wamp::Payload;
use restante_storage::payload::{WampPart, WampPeer};
use serde_json::{Map, Value as Json};

use super::options::PublishOptions;
use super::{body, uri};
use crate::message::{NewMessage, PRIORITY_DEFAULT, WampSend};
use crate::router::{Match, UriRules};

/// Why a request is refused: the error's URI, and why, for people.
pub(crate) type Refuse = (&'static str, String);

/// The message that is published so. `publisher`: who it is, if that is disclosed.
///
/// # Errors
/// What is wrong with payload and options together.
pub(crate) fn message(
    address: String,
    options: PublishOptions,
    payload: &Payload,
    publication: u64,
    publisher: Option<WampPeer>,
) -> Result<NewMessage, Refuse> {
    let body = match (options.retain_clear, &options.passthru) {
        (true, _) => body::Body::default(),
        (false, Some(_)) => body::of_opaque(payload).map_err(invalid_argument)?,
        (false, None) => body::of_payload(payload, options.retain).map_err(invalid_argument)?,
    };
    let reply_to = options.reply_to.as_deref().map(|to| {
        let is_uri = UriRules::Loose.allow(to, Match::Exact);
        let address = is_uri.then(|| uri::to_address(to)).flatten();
        address.ok_or_else(|| invalid_uri(to))
    });
    let mut wamp = WampSend {
        part: WampPart {
            publication,
            publisher,
            trust: 0,
            eligible_authids: options.eligible_authids,
            eligible_authroles: options.eligible_authroles,
            excluded_authids: options.excluded_authids,
            excluded_authroles: options.excluded_authroles,
            passthru: options.passthru,
        },
        to_self: options.to_self,
        eligible: options.eligible,
        excluded: options.excluded,
        rkey: options.rkey,
    };
    wamp.sort();
    let content_type = body.content_type.map(str::to_owned);
    Ok(NewMessage {
        address,
        message_id: options.message_id,
        correlation_id: options.correlation_id,
        reply_to: reply_to.transpose()?,
        content_type: content_type.or(options.content_type),
        key: options.key,
        priority: options.priority.unwrap_or(PRIORITY_DEFAULT),
        properties: options.properties,
        ttl_ms: options.ttl_ms,
        transient: !options.acknowledge,
        body: body.bytes,
        text: body.text,
        qos: None,
        packet: 0,
        retain: options.retain || options.retain_clear,
        ordered: Vec::new(),
        sp: None,
        wamp: Some(Box::new(wamp)),
    })
}

/// By this procedure a client says what is to be published when its session ends.
pub(crate) const ADD_TESTAMENT: &str = "wamp.session.add_testament";

/// The topic of a testament, and the options by which it is published; none: it has no topic, and is refused.
pub(crate) fn testament<'a>(
    args: &'a [Json],
    kwargs: &'a Map<String, Json>,
) -> Option<(&'a str, Option<&'a Map<String, Json>>)> {
    let topic = args.first().or_else(|| kwargs.get("topic"))?.as_str()?;
    let options = kwargs.get("publish_options").and_then(Json::as_object);
    Some((topic, options))
}

pub(crate) fn invalid_argument(why: impl std::fmt::Display) -> Refuse {
    ("wamp.error.invalid_argument", why.to_string())
}

pub(crate) fn invalid_uri(text: &str) -> Refuse {
    let why = format!("{text:?} is no URI that may be used here");
    ("wamp.error.invalid_uri", why)
}
