//! What options ask for: read once, with what is wrong in words.
//!
//! An option of another type than it should be is refused with `wamp.error.invalid_argument`; unknown ones mean nothing. Null is as if
//! it was not there. Beside the specification's there are our own, which begin with `_`, for what a message has in every other door;
//! and those of durable subscriptions, `x_durable` and `x_window`, which may begin with `_` too: one client library passes on no others.
//!
//! | option of PUBLISH, detail of EVENT | is |
//! |---|---|
//! | `_ttl` (PUBLISH only) | milliseconds that it may live |
//! | `_priority` | 0 to 9 |
//! | `_key` | the grouping key |
//! | `_message_id`, `_correlation_id` | the message's ids |
//! | `_reply_to` | where to reply to, as a URI |
//! | `_content_type` | what the body is, where the arguments do not say |
//! | `_properties` | a dict of strings |

use std::collections::BTreeMap;

use restante_proto::wamp::{Dict, Value, WrongType};
use restante_storage::payload::{WampNames, WampPassthru};

use crate::router::{Match, Ppt};

/// What is wrong with options, for people.
pub(crate) type Wrong = String;

/// PUBLISH.Options.
#[derive(Debug, Default)]
pub(crate) struct PublishOptions {
    pub(crate) acknowledge: bool,
    pub(crate) to_self: bool,
    pub(crate) disclose_me: bool,
    pub(crate) retain: bool,
    /// What is retained is to go.
    pub(crate) retain_clear: bool,
    pub(crate) eligible: Option<Vec<u64>>,
    pub(crate) eligible_authids: Option<WampNames>,
    pub(crate) eligible_authroles: Option<WampNames>,
    pub(crate) excluded: Vec<u64>,
    pub(crate) excluded_authids: Vec<String>,
    pub(crate) excluded_authroles: Vec<String>,
    pub(crate) passthru: Option<WampPassthru>,
    pub(crate) ttl_ms: Option<u64>,
    pub(crate) priority: Option<u8>,
    pub(crate) key: Option<String>,
    pub(crate) message_id: Option<String>,
    pub(crate) correlation_id: Option<String>,
    pub(crate) reply_to: Option<String>,
    pub(crate) content_type: Option<String>,
    pub(crate) properties: BTreeMap<String, String>,
    /// What it belongs to: of the subscribers that share a subscription, one gets it.
    pub(crate) rkey: Option<String>,
}

impl PublishOptions {
    pub(crate) fn read(options: &Dict) -> Result<Self, Wrong> {
        if options.is_empty() {
            return Ok(PublishOptions::default());
        }
        let flag = |key| flag(options, key);
        let own_text = |key| own_text(options, key);
        let priority = uint(options, "_priority")?.map(|it| it.min(9) as u8);
        Ok(PublishOptions {
            acknowledge: flag("acknowledge")?,
            to_self: options.flag("exclude_me").map_err(wrong)? == Some(false),
            disclose_me: flag("disclose_me")?,
            retain: flag("retain")?,
            retain_clear: flag("_retain_clear")?,
            eligible: ids(options, "eligible")?,
            eligible_authids: names(options, "eligible_authid")?,
            eligible_authroles: names(options, "eligible_authrole")?,
            excluded: ids(options, "exclude")?.unwrap_or_default(),
            excluded_authids: names(options, "exclude_authid")?.unwrap_or_default().names,
            excluded_authroles: names(options, "exclude_authrole")?
                .unwrap_or_default()
                .names,
            passthru: passthru(options)?,
            ttl_ms: uint(options, "_ttl")?,
            priority,
            key: own_text("_key")?,
            message_id: own_text("_message_id")?,
            correlation_id: own_text("_correlation_id")?,
            reply_to: own_text("_reply_to")?,
            content_type: own_text("_content_type")?,
            properties: properties(options)?,
            rkey: own_text("rkey")?,
        })
    }
}

/// SUBSCRIBE.Options.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SubscribeOptions {
    pub(crate) how: Match,
    pub(crate) get_retained: bool,
    /// The queue that keeps it.
    pub(crate) durable: Option<String>,
    /// Events of a durable subscription that may be unacknowledged.
    pub(crate) window: Option<u64>,
    /// The subscriber's name among those that share the subscription.
    pub(crate) nkey: Option<String>,
}

/// Bytes of `nkey`.
const NKEY_BYTES_MAX: usize = 256;

impl SubscribeOptions {
    pub(crate) fn read(options: &Dict) -> Result<Self, Wrong> {
        let nkey = own_text(options, "nkey")?;
        if nkey.as_ref().is_some_and(|it| it.len() > NKEY_BYTES_MAX) {
            return Err(format!("nkey has more than {NKEY_BYTES_MAX} bytes"));
        }
        Ok(SubscribeOptions {
            how: how(options)?,
            get_retained: flag(options, "get_retained")?,
            durable: own_text(options, "x_durable")?.or(own_text(options, "_durable")?),
            window: uint(options, "x_window")?.or(uint(options, "_window")?),
            nkey,
        })
    }
}

/// `match`.
pub(crate) fn how(options: &Dict) -> Result<Match, Wrong> {
    match options.text("match").map_err(wrong)? {
        None => Ok(Match::Exact),
        Some(name) => Match::named(name)
            .ok_or_else(|| format!("match is {name:?}, and should be exact, prefix or wildcard")),
    }
}

/// The attributes of payload passthru mode; none: it is not on.
pub(crate) fn passthru(options: &Dict) -> Result<Option<WampPassthru>, Wrong> {
    let Some(scheme) = own_text(options, "ppt_scheme")?.filter(|it| !it.is_empty()) else {
        return Ok(None);
    };
    Ok(Some(WampPassthru {
        scheme,
        serializer: own_text(options, "ppt_serializer")?,
        cipher: own_text(options, "ppt_cipher")?,
        keyid: own_text(options, "ppt_keyid")?,
    }))
}

/// The same as the router has them.
pub(crate) fn ppt(options: &Dict) -> Result<Option<Ppt>, Wrong> {
    let given = passthru(options)?;
    let shared = |text: Option<String>| text.map(Into::into);
    Ok(given.map(|it| Ppt {
        scheme: it.scheme.into(),
        serializer: shared(it.serializer),
        cipher: shared(it.cipher),
        keyid: shared(it.keyid),
    }))
}

/// Puts them into details.
pub(crate) fn tell_ppt(details: &mut Dict, ppt: Option<&Ppt>) {
    let Some(ppt) = ppt else { return };
    details.insert("ppt_scheme", &*ppt.scheme);
    for (key, value) in [
        ("ppt_serializer", &ppt.serializer),
        ("ppt_cipher", &ppt.cipher),
        ("ppt_keyid", &ppt.keyid),
    ] {
        if let Some(value) = value {
            details.insert(key, &**value);
        }
    }
}

pub(crate) fn flag(options: &Dict, key: &str) -> Result<bool, Wrong> {
    Ok(options.flag(key).map_err(wrong)?.unwrap_or(false))
}

/// An integer that is not negative.
pub(crate) fn uint(options: &Dict, key: &str) -> Result<Option<u64>, Wrong> {
    let found = options.int(key).map_err(wrong)?;
    found
        .map(|it| u64::try_from(it).map_err(|_| format!("{key} is negative")))
        .transpose()
}

pub(crate) fn own_text(options: &Dict, key: &str) -> Result<Option<String>, Wrong> {
    Ok(options.text(key).map_err(wrong)?.map(str::to_owned))
}

fn ids(options: &Dict, key: &str) -> Result<Option<Vec<u64>>, Wrong> {
    let Some(list) = options.list(key).map_err(wrong)? else {
        return Ok(None);
    };
    let ids: Option<Vec<u64>> = list.iter().map(Value::as_id).collect();
    ids.map(Some)
        .ok_or_else(|| format!("{key} has something that is no id of a session"))
}

fn names(options: &Dict, key: &str) -> Result<Option<WampNames>, Wrong> {
    let Some(list) = options.list(key).map_err(wrong)? else {
        return Ok(None);
    };
    let names = list.iter().map(|it| it.as_str().map(str::to_owned));
    let names: Option<Vec<String>> = names.collect();
    names
        .map(|names| Some(WampNames { names }))
        .ok_or_else(|| format!("{key} has something that is no string"))
}

fn properties(options: &Dict) -> Result<BTreeMap<String, String>, Wrong> {
    let Some(dict) = options.dict("_properties").map_err(wrong)? else {
        return Ok(BTreeMap::new());
    };
    let pairs = dict.iter().map(|(name, value)| {
        let value = value.as_str()?;
        Some((name.to_owned(), value.to_owned()))
    });
    let pairs: Option<BTreeMap<String, String>> = pairs.collect();
    pairs.ok_or_else(|| "_properties has something that is no string".to_owned())
}

fn wrong(error: WrongType) -> Wrong {
    error.to_string()
}
