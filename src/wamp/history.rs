//! What `wamp.subscription.get_events` asks for, and how its answer looks (the WAMP specification, "Event History").
//!
//! | keyword | is |
//! |---|---|
//! | `reverse` | newest first |
//! | `limit` | so many events at most, from 1 |
//! | `from_time`, `after_time`, `before_time`, `until_time` | RFC 3339; ≥, >, <, ≤ |
//! | `from_publication`, `after_publication`, `before_publication`, `until_publication` | what is kept at and behind, behind, ahead of, and up to that publication |
//! | `topic` | of this topic only |
//!
//! Each is optional, and an event must fulfil all. One of another type than it should be is refused; unknown ones mean nothing.

use restante_proto::wamp::{Dict, EncodeError, Payload, Serializer, Value};
use restante_storage::UnixMillis;

use super::details::details;
use super::event::{Refuse, invalid_argument};
use super::{body, publication_of, uri};
use crate::logs::Rfc3339;
use crate::message::Message;

/// The procedure.
pub(crate) const GET_EVENTS: &str = "wamp.subscription.get_events";

/// What is wanted of a history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Newest first.
    pub(crate) reverse: bool,
    /// The most events.
    pub(crate) limit: Option<usize>,
    /// The first millisecond.
    pub(crate) since: Option<u64>,
    /// The first millisecond that is too late.
    pub(crate) before: Option<u64>,
    /// Of this address only.
    pub(crate) address: Option<String>,
    /// Behind these publications.
    pub(crate) lower: Vec<Bound>,
    /// Ahead of these.
    pub(crate) upper: Vec<Bound>,
}

/// A publication that is an end of what is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bound {
    /// Which.
    pub(crate) publication: u64,
    /// Whether it is wanted itself.
    pub(crate) included: bool,
}

impl Wanted {
    /// Reads the arguments of a call: the subscription, and what is wanted of its history.
    pub(crate) fn read(args: &[Value], kwargs: &Dict) -> Result<(u64, Wanted), Refuse> {
        let subscription = args.first().or_else(|| kwargs.get("subscription"));
        let subscription = subscription.and_then(Value::as_id);
        let Some(subscription) = subscription else {
            return Err(invalid_argument(
                "the first argument is a subscription's id",
            ));
        };
        let limit = kwargs.int("limit").map_err(invalid_argument)?;
        let limit = limit.map(|it| usize::try_from(it).ok().filter(|it| *it > 0));
        if limit == Some(None) {
            return Err(invalid_argument("limit is 1 or more"));
        }
        let topic = kwargs.text("topic").map_err(invalid_argument)?;
        let address = topic.map(|topic| {
            uri::to_address(topic).ok_or_else(|| invalid_argument(format!("{topic:?} is no topic")))
        });
        let after = time(kwargs, "after_time")?.map(|it| it.saturating_add(1));
        let until = time(kwargs, "until_time")?.map(|it| it.saturating_add(1));
        let wanted = Wanted {
            reverse: kwargs.flag("reverse").map_err(invalid_argument)? == Some(true),
            limit: limit.flatten(),
            since: time(kwargs, "from_time")?.max(after),
            before: (time(kwargs, "before_time")?.into_iter().chain(until)).min(),
            address: address.transpose()?,
            lower: bounds(kwargs, "from_publication", "after_publication")?,
            upper: bounds(kwargs, "until_publication", "before_publication")?,
        };
        Ok((subscription, wanted))
    }

    /// Whether what came at that time may be meant.
    pub(crate) fn is_in_time(&self, time: UnixMillis) -> bool {
        let time = time.get();
        self.since.is_none_or(|since| time >= since)
            && self.before.is_none_or(|before| time < before)
    }
}

fn time(kwargs: &Dict, key: &str) -> Result<Option<u64>, Refuse> {
    let text = kwargs.text(key).map_err(invalid_argument)?;
    let time = text.map(|text| {
        Rfc3339::parse(text)
            .ok_or_else(|| invalid_argument(format!("{key} is a time as RFC 3339 writes it")))
    });
    time.transpose()
}

fn bounds(kwargs: &Dict, including: &str, excluding: &str) -> Result<Vec<Bound>, Refuse> {
    let mut bounds = Vec::new();
    for (key, included) in [(including, true), (excluding, false)] {
        let publication = kwargs.id(key).map_err(invalid_argument)?;
        bounds.extend(publication.map(|publication| Bound {
            publication,
            included,
        }));
    }
    Ok(bounds)
}

/// An event as it is told later. `time`: when it came.
///
/// # Errors
/// As [`body::to_payload`].
pub(crate) fn event(
    message: &Message,
    time: UnixMillis,
    subscription: u64,
    serializer: Serializer,
) -> Result<Value, EncodeError> {
    let payload = body::to_payload(message, serializer)?;
    let mut details = details(message, true);
    details.insert("topic", &*uri::to_uri(&message.address));
    let event = Dict::new()
        .with("timestamp", Rfc3339::of(time.get()).to_string())
        .with("subscription", subscription)
        .with("publication", publication_of(message))
        .with("details", details)
        .with("args", Value::List(payload.args()?))
        .with("kwargs", Value::Dict(payload.kwargs()?));
    Ok(Value::Dict(event))
}

/// The answer to a call. `is_limit_reached`: there is more than these events.
///
/// # Errors
/// As [`Payload::from_values`].
pub(crate) fn answer(
    serializer: Serializer,
    events: &[Value],
    is_limit_reached: bool,
) -> Result<Payload, EncodeError> {
    let kwargs = Dict::new().with("is_limit_reached", is_limit_reached);
    Payload::from_values(serializer, events, &kwargs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kwargs: Dict) -> Result<Wanted, String> {
        let read = Wanted::read(&[7.into()], &kwargs);
        read.map(|(subscription, wanted)| {
            assert_eq!(subscription, 7);
            wanted
        })
        .map_err(|(uri, _)| uri.to_owned())
    }

    #[test]
    fn what_is_wanted_is_read() {
        assert_eq!(read(Dict::new()), Ok(Wanted::default()));
        let bound = |publication, included| Bound {
            publication,
            included,
        };
        let all = Dict::new()
            .with("reverse", true)
            .with("limit", 5)
            .with("from_time", "1970-01-01T00:00:01Z")
            .with("after_time", "1970-01-01T00:00:01Z")
            .with("before_time", "1970-01-01T00:00:02Z")
            .with("until_time", "1970-01-01T00:00:03Z")
            .with("topic", "a.b")
            .with("from_publication", 1)
            .with("after_publication", 2.0)
            .with("before_publication", 3)
            .with("until_publication", 4)
            .with("unknown", "x");
        let wanted = Wanted {
            reverse: true,
            limit: Some(5),
            since: Some(1001),
            before: Some(2000),
            address: Some("a/b".into()),
            lower: vec![bound(1, true), bound(2, false)],
            upper: vec![bound(4, true), bound(3, false)],
        };
        assert_eq!(read(all), Ok(wanted));
    }

    #[test]
    fn what_is_of_another_type_is_refused() {
        let wrong = || Err("wamp.error.invalid_argument".to_owned());
        for kwargs in [
            Dict::new().with("reverse", 1),
            Dict::new().with("limit", 0),
            Dict::new().with("limit", -1),
            Dict::new().with("limit", "1"),
            Dict::new().with("from_time", 5),
            Dict::new().with("until_time", "yesterday"),
            Dict::new().with("after_publication", "x"),
            Dict::new().with("topic", "$wamp.x"),
        ] {
            assert_eq!(read(kwargs.clone()), wrong(), "{kwargs:?}");
        }
        for args in [vec![], vec![Value::Null], vec!["x".into()]] {
            assert!(Wanted::read(&args, &Dict::new()).is_err(), "{args:?}");
        }
    }
}
