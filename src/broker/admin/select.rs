//! Which messages of a queue are meant, and a walk over them in slices.

use restante_admin_api::queue::Selection;
use restante_storage::{Offset, UnixMillis};

use super::AdminError;
use crate::engine::address::{Address, AddressLimits, Filter};
use crate::engine::{Sight, Wanted};
use crate::message::Message;

/// Messages that are looked at in one go.
pub(super) const SLICE: usize = 1024;

/// A selection, checked.
#[derive(Debug)]
pub(super) struct Selected {
    from: Offset,
    upto: Offset,
    offsets: Option<Vec<Offset>>,
    before: Option<UnixMillis>,
    since: Option<UnixMillis>,
    message_id: Option<String>,
    address: Option<Filter>,
    key: Option<String>,
    properties: Vec<(String, String)>,
    reason: Option<String>,
}

/// Offsets that a selection may name.
const OFFSETS_MAX: usize = 10_000;
/// Any address that is stored.
const ANY: AddressLimits = AddressLimits {
    bytes_max: AddressLimits::BYTES_CEILING,
    segments_max: AddressLimits::BYTES_CEILING,
};

impl Selected {
    pub(super) fn new(selection: &Selection) -> Result<Self, AdminError> {
        let offsets = selection.offsets.as_ref().map(|offsets| {
            let mut offsets: Vec<Offset> = offsets.iter().copied().map(Offset::new).collect();
            offsets.sort_unstable();
            offsets.dedup();
            offsets
        });
        if offsets.as_ref().is_some_and(|it| it.len() > OFFSETS_MAX) {
            let why = format!("more than {OFFSETS_MAX}");
            return Err(AdminError::invalid("offsets", why));
        }
        let address = selection.address.as_deref();
        let address = address.map(|text| Filter::parse(text, ANY)).transpose();
        Ok(Selected {
            from: Offset::new(selection.from.unwrap_or(0)),
            upto: Offset::new(selection.upto.unwrap_or(u64::MAX - 1)),
            offsets,
            before: selection.before.map(UnixMillis::new),
            since: selection.since.map(UnixMillis::new),
            message_id: selection.message_id.clone(),
            address: address.map_err(AdminError::address("address"))?,
            key: selection.key.clone(),
            properties: selection.properties.clone().into_iter().collect(),
            reason: selection.reason.clone(),
        })
    }

    /// Nothing behind that offset.
    pub(super) fn not_behind(mut self, last: Offset) -> Self {
        self.upto = self.upto.min(last);
        self
    }

    /// Whether it says all by a first and a last offset.
    pub(super) fn range(&self) -> Option<(Offset, Offset)> {
        let is_range = self.offsets.is_none()
            && self.before.is_none()
            && self.since.is_none()
            && !self.needs_message();
        is_range.then_some((self.from, self.upto))
    }

    /// Whether messages must be read to know.
    pub(super) fn needs_message(&self) -> bool {
        self.message_id.is_some()
            || self.address.is_some()
            || self.key.is_some()
            || !self.properties.is_empty()
            || self.reason.is_some()
    }

    /// Whether it may be meant, as far as can be told without reading it.
    pub(super) fn may_be(&self, sight: &Sight) -> bool {
        self.before.is_none_or(|before| sight.time < before)
            && self.since.is_none_or(|since| sight.time >= since)
    }

    /// Whether a message that may be meant is.
    pub(super) fn is(&self, message: &Message) -> bool {
        let same = |wanted: &Option<String>, is: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| Some(wanted) == is)
        };
        let property = |name: &str| message.properties.get(name).map(String::as_str);
        same(&self.message_id, Some(&message.message_id))
            && same(&self.key, message.key.as_deref())
            && same(&self.reason, property("dead-letter-reason"))
            && self
                .properties
                .iter()
                .all(|(name, value)| property(name) == Some(value))
            && self.address.as_ref().is_none_or(|filter| {
                let address = Address::parse(&message.address, ANY);
                address.is_ok_and(|address| filter.matches(&address))
            })
    }
}

/// A walk over what may be meant.
#[derive(Debug)]
pub(super) struct Walk {
    /// Where it goes on; none: it is over.
    at: Option<Offset>,
}

impl Walk {
    pub(super) fn new(selected: &Selected) -> Self {
        Walk {
            at: Some(selected.from),
        }
    }

    /// The next slice to look at; none: it is over.
    pub(super) fn wanted(&self, selected: &Selected, limit: usize) -> Option<Wanted> {
        let at = self.at.filter(|at| *at <= selected.upto)?;
        let Some(offsets) = &selected.offsets else {
            return Some(Wanted::Range(at, selected.upto, limit));
        };
        let within = offsets.iter().copied();
        let within = within.filter(|it| *it >= at && *it <= selected.upto);
        let some: Vec<Offset> = within.take(limit).collect();
        (!some.is_empty()).then_some(Wanted::These(some))
    }

    /// That slice was looked at, or some of it; `next`: where it goes on.
    pub(super) fn looked(&mut self, wanted: &Wanted, next: Option<Offset>) {
        self.at = match wanted {
            Wanted::Range(..) => next,
            Wanted::These(offsets) => next.or_else(|| offsets.last().map(|last| last.next())),
        };
    }

    /// It is to go on behind that offset.
    pub(super) fn stop_at(&mut self, at: Offset) {
        self.at = Some(at);
    }

    /// Where another walk would go on; none: all was looked at.
    pub(super) fn next(&self, selected: &Selected) -> Option<u64> {
        self.wanted(selected, 1)?;
        self.at.map(Offset::get)
    }
}
