//! Messages that are kept at their addresses (MQTT's retained ones): by realm and address, where the log has each.
//!
//! ```text
//! Retain record ─▶ kept in place of the one before ─▶ rows `r/`          a filter ─▶ pages of what is kept and matches
//! ```
//!
//! A message's *revision* is the LSN of the record that it was first kept with: what names it, wherever its bytes are by now. The
//! log keeps its *home*, the oldest LSN that says that it is kept; when that is far behind, the message is written again.
//! Bodies stay in the log: an entry costs its address and some 60 bytes.
//!
//! Always, with tests of these names in `engine/tests/retained.rs`:
//! - `the_last_one_is_kept_and_one_without_a_body_takes_it_away`
//! - `a_message_that_is_written_again_is_the_same_message`
//! - `a_look_is_bounded_and_goes_on_where_it_stopped`
//! - `the_log_is_kept_for_what_a_recall_has_listed`
//!
//! Not here: records (`fold/retained.rs`), who is told of what (broker).

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use prost::Message;
use restante_storage::payload::{Envelope, Recalled};
use restante_storage::{Lsn, SessionNo, UnixMillis};
use sha2::{Digest, Sha256};

use super::address::{Filter, FilterSegment};
use super::{Engine, Errand};

/// What is kept at one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kept {
    /// The LSN of the record that it was first kept with.
    pub(super) revision: Lsn,
    /// Its record.
    pub(super) lsn: Lsn,
    /// The oldest LSN that the log must keep for it.
    pub(super) home: Lsn,
    /// Bytes of its record, less what names its other targets: so many it has when it is written again.
    pub(super) bytes: u32,
    /// When it is worthless.
    pub(super) expires: Option<UnixMillis>,
}

/// Realm and address.
type Key = (Arc<str>, Arc<str>);
type Addresses = BTreeMap<Arc<str>, Kept>;

/// All that is kept.
#[derive(Debug)]
pub(super) struct Retained {
    segment_bytes: u64,
    realms: BTreeMap<Arc<str>, Addresses>,

    // Derived from it.
    n: usize,
    bytes: u64,
    /// How many have their home in which segment.
    homes: BTreeMap<u64, u64>,
    /// Those that expire, and are not on their way out.
    expiring: BTreeSet<(UnixMillis, Arc<str>, Arc<str>)>,

    // While a log whose beginning is gone is replayed: what was taken away, up to which revision.
    gone: BTreeMap<Key, Lsn>,
    gone_realms: BTreeMap<String, Lsn>,

    // Live.
    /// Where the next sweep goes on.
    cursor: Option<Key>,
    /// What was listed for a session, until the record about it is applied.
    listed: BTreeMap<(SessionNo, Lsn), Listed>,

    /// What changed since the last checkpoint, and what the state store has there.
    changed: BTreeMap<Key, Option<Kept>>,
}

/// Messages that were listed for a session's own queue.
#[derive(Debug)]
struct Listed {
    /// The oldest of them.
    oldest: Lsn,
    /// The checkpoint at which its client was gone already, and the record, if there is one, on its way.
    left: Option<u64>,
}

/// What a look found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetainedPage {
    /// Messages that match, by address.
    pub found: Vec<Recalled>,
    /// Behind which address to go on; none: that is all.
    pub next: Option<Arc<str>>,
    /// As of when.
    pub as_of: Lsn,
}

/// How much one look may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LookMax {
    /// Addresses that are looked at.
    pub looked: usize,
    /// Messages that are found.
    pub found: usize,
}

/// A kept message that is to be written again, so that its segment may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetainAgain {
    /// Its realm.
    pub realm: Arc<str>,
    /// Its address.
    pub address: Arc<str>,
    /// What names it.
    pub revision: Lsn,
    /// Its record.
    pub lsn: Lsn,
    /// Bytes of that, less what names its other targets.
    pub bytes: u32,
    /// The LSN as of which it is kept.
    pub as_of: Lsn,
}

impl RetainAgain {
    /// What says that it is kept no more, where its bytes are lost.
    pub fn lost(&self) -> Envelope {
        gone(&self.realm, &self.address, self.revision)
    }
}

fn gone(realm: &str, address: &str, revision: Lsn) -> Envelope {
    Envelope {
        address: address.to_owned(),
        realm: realm.to_owned(),
        retain_of: revision.get(),
        ..Envelope::default()
    }
}

#[derive(Clone, PartialEq, Message)]
struct RetainedRow {
    #[prost(string, tag = "1")]
    realm: String,
    #[prost(string, tag = "2")]
    address: String,
    #[prost(uint64, tag = "3")]
    revision: u64,
    #[prost(uint64, tag = "4")]
    lsn: u64,
    #[prost(uint64, tag = "5")]
    home: u64,
    #[prost(uint32, tag = "6")]
    bytes: u32,
    #[prost(uint64, tag = "7")]
    expires: u64,
}

/// The key of an address's row. No realm has a zero byte in its name.
fn row_key(realm: &str, address: &str) -> Vec<u8> {
    let mut hash = Sha256::new();
    hash.update(realm.as_bytes());
    hash.update(b"\0");
    hash.update(address.as_bytes());
    let digest: [u8; 32] = hash.finalize().into();
    [b"r/".as_slice(), &digest[..16]].concat()
}

fn row(realm: &str, address: &str, kept: &Kept) -> Vec<u8> {
    RetainedRow {
        realm: realm.to_owned(),
        address: address.to_owned(),
        revision: kept.revision.get(),
        lsn: kept.lsn.get(),
        home: kept.home.get(),
        bytes: kept.bytes,
        expires: kept.expires.map_or(0, UnixMillis::get),
    }
    .encode_to_vec()
}

/// A row that changed: its key, what the state store has, and what it is to have.
pub(super) type ChangedRow = (Vec<u8>, Option<Vec<u8>>, Option<Vec<u8>>);

/// Entries that one sweep looks at.
const SWEEP_MAX: usize = 64 << 10;
/// Checkpoints for which the log keeps what was listed for a client that is gone.
const LEFT_CHECKPOINTS: u64 = 2;

impl Retained {
    pub(super) fn new(segment_bytes: u64) -> Self {
        Retained {
            segment_bytes,
            realms: BTreeMap::new(),
            n: 0,
            bytes: 0,
            homes: BTreeMap::new(),
            expiring: BTreeSet::new(),
            gone: BTreeMap::new(),
            gone_realms: BTreeMap::new(),
            cursor: None,
            listed: BTreeMap::new(),
            changed: BTreeMap::new(),
        }
    }

    pub(super) fn get(&self, realm: &str, address: &str) -> Option<&Kept> {
        self.realms.get(realm)?.get(address)
    }

    /// Keeps `new` at an address, or nothing, in place of what was there.
    pub(super) fn set(&mut self, realm: &str, address: &str, new: Option<Kept>) {
        let known = self.realms.get_key_value(realm);
        let realm = known.map_or_else(|| realm.into(), |(realm, _)| Arc::clone(realm));
        let addresses = self.realms.entry(Arc::clone(&realm)).or_default();
        let known = addresses.get_key_value(address);
        let address = known.map_or_else(|| address.into(), |(it, _)| Arc::clone(it));
        let old = match new {
            Some(new) => addresses.insert(Arc::clone(&address), new),
            None => addresses.remove(&address),
        };
        if addresses.is_empty() {
            self.realms.remove(&realm);
        }
        let key = (realm, address);
        if let Some(old) = &old {
            self.uncount(&key, old);
        }
        if let Some(new) = &new {
            self.count(&key, new);
        }
        if old != new {
            self.changed.entry(key).or_insert(old);
        }
    }

    fn count(&mut self, (realm, address): &Key, it: &Kept) {
        self.n += 1;
        self.bytes += u64::from(it.bytes);
        let home = self.segment(it.home);
        *self.homes.entry(home).or_default() += 1;
        if let Some(at) = it.expires {
            self.expiring
                .insert((at, Arc::clone(realm), Arc::clone(address)));
        }
    }

    fn uncount(&mut self, (realm, address): &Key, it: &Kept) {
        self.n -= 1;
        self.bytes -= u64::from(it.bytes);
        let home = self.segment(it.home);
        if let Some(n) = self.homes.get_mut(&home) {
            *n -= 1;
            if *n == 0 {
                self.homes.remove(&home);
            }
        }
        if let Some(at) = it.expires {
            self.expiring
                .remove(&(at, Arc::clone(realm), Arc::clone(address)));
        }
    }

    /// In a log whose beginning is gone: what was kept there, up to that revision, is kept no more.
    pub(super) fn bury(&mut self, realm: &str, address: &str, revision: Lsn) {
        let known = self.gone.entry((realm.into(), address.into()));
        let known = known.or_insert(revision);
        *known = revision.max(*known);
    }

    /// Whether a message that is not known was taken away since the log begins.
    pub(super) fn is_buried(&self, realm: &str, address: &str, revision: Lsn) -> bool {
        let of_realm = self.gone_realms.get(realm);
        let of_address = self.gone.get(&(Arc::from(realm), Arc::from(address)));
        [of_realm, of_address]
            .iter()
            .flatten()
            .any(|upto| revision <= **upto)
    }

    /// All of a realm goes.
    pub(super) fn forget_realm(&mut self, realm: &str, lsn: Lsn, past_is_gone: bool) {
        if past_is_gone {
            self.gone_realms.insert(realm.to_owned(), lsn);
        }
        let addresses = self.realms.get(realm).into_iter().flat_map(BTreeMap::keys);
        let addresses: Vec<Arc<str>> = addresses.cloned().collect();
        for address in addresses {
            self.set(realm, &address, None);
        }
    }

    /// The past is over: what was taken away is known by now.
    pub(super) fn past_is_over(&mut self) {
        self.gone.clear();
        self.gone_realms.clear();
    }

    fn segment(&self, lsn: Lsn) -> u64 {
        lsn.get() / self.segment_bytes
    }

    /// Where the oldest segment begins that is the home of one.
    fn first_home(&self) -> Option<Lsn> {
        let (segment, _) = self.homes.first_key_value()?;
        Some(Lsn::new(segment * self.segment_bytes))
    }

    /// Below this the log has nothing of what is kept, or was listed for a session.
    pub(super) fn needed(&self) -> Option<Lsn> {
        let listed = self.listed.values().map(|it| it.oldest);
        self.first_home().into_iter().chain(listed).min()
    }

    /// Up to where the log could go if all that is old by then is written again; none: nothing is kept.
    ///
    /// Old is what lies twice as far behind as all that is kept has bytes, and two segments: so that to write it all again costs
    /// no more than what else was written since, and what is written again does not make itself old.
    pub(super) fn could_go_to(&self, applied: Lsn) -> Option<Lsn> {
        let first = self.first_home()?;
        let recent = self
            .bytes
            .saturating_add(self.segment_bytes)
            .saturating_mul(2);
        let old = applied.get().saturating_sub(recent);
        Some(first.max(Lsn::new(old / self.segment_bytes * self.segment_bytes)))
    }

    /// Some of what has its home below `boundary`, at most `limit` and about a segment of it, to be written again. The next call
    /// goes on behind.
    pub(super) fn sweep(&mut self, boundary: Lsn, as_of: Lsn, limit: usize) -> Vec<RetainAgain> {
        let mut old = Vec::new();
        if self.first_home().is_none_or(|first| first >= boundary) {
            return old;
        }
        let (mut n_looked, mut bytes) = (0, 0);
        let cursor = self.cursor.take();
        let from = cursor.as_ref().map(|(realm, _)| Arc::clone(realm));
        let realms = (
            from.map_or(Bound::Unbounded, Bound::Included),
            Bound::Unbounded,
        );
        for (realm, addresses) in self.realms.range::<Arc<str>, _>(realms) {
            let behind = cursor.as_ref().filter(|(it, _)| it == realm);
            let behind = behind.map_or(Bound::Unbounded, |(_, address)| Bound::Excluded(address));
            for (address, kept) in addresses.range::<Arc<str>, _>((behind, Bound::Unbounded)) {
                n_looked += 1;
                if kept.home < boundary {
                    bytes += u64::from(kept.bytes);
                    old.push(RetainAgain {
                        realm: Arc::clone(realm),
                        address: Arc::clone(address),
                        revision: kept.revision,
                        lsn: kept.lsn,
                        bytes: kept.bytes,
                        as_of,
                    });
                }
                if n_looked >= SWEEP_MAX || old.len() >= limit || bytes >= self.segment_bytes {
                    self.cursor = Some((Arc::clone(realm), Arc::clone(address)));
                    return old;
                }
            }
        }
        old
    }

    /// What has expired, at most `limit`; each is given once.
    pub(super) fn take_expired(&mut self, now: UnixMillis, limit: usize) -> Vec<Envelope> {
        let mut expired = Vec::new();
        while expired.len() < limit
            && self.expiring.first().is_some_and(|(at, ..)| *at <= now)
            && let Some((_, realm, address)) = self.expiring.pop_first()
        {
            if let Some(kept) = self.get(&realm, &address) {
                expired.push(gone(&realm, &address, kept.revision));
            }
        }
        expired
    }

    /// Rows that changed since the last call.
    pub(super) fn take_changed(&mut self) -> Vec<ChangedRow> {
        let changed = std::mem::take(&mut self.changed).into_iter();
        changed
            .map(|((realm, address), stored)| {
                let old = stored.map(|kept| row(&realm, &address, &kept));
                let new = self.get(&realm, &address);
                let new = new.map(|kept| row(&realm, &address, kept));
                (row_key(&realm, &address), old, new)
            })
            .collect()
    }

    /// All of the realm `default`.
    #[cfg(test)]
    pub(super) fn all(&self) -> BTreeMap<String, Kept> {
        let addresses = self.realms.get("default").into_iter().flatten();
        addresses
            .map(|(it, kept)| (it.to_string(), *kept))
            .collect()
    }

    /// All rows.
    pub(super) fn rows(&self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> + '_ {
        self.realms.iter().flat_map(|(realm, addresses)| {
            let rows = addresses.iter();
            rows.map(move |(address, kept)| (row_key(realm, address), row(realm, address, kept)))
        })
    }

    /// Takes a row; none: it is something else.
    pub(super) fn load(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        let row = RetainedRow::decode(value).ok()?;
        (row_key(&row.realm, &row.address) == key).then_some(())?;
        let kept = Kept {
            revision: Lsn::new(row.revision),
            lsn: Lsn::new(row.lsn),
            home: Lsn::new(row.home),
            bytes: row.bytes,
            expires: (row.expires > 0).then(|| UnixMillis::new(row.expires)),
        };
        self.set(&row.realm, &row.address, Some(kept));
        // That is what the state store has.
        self.changed.clear();
        Some(())
    }

    /// The log keeps what was listed for a session until the record about it is applied.
    fn hold(&mut self, session: SessionNo, page: &RetainedPage) {
        let Some(oldest) = page.found.iter().map(|it| it.lsn).min() else {
            return;
        };
        let oldest = Lsn::new(oldest);
        self.listed
            .insert((session, page.as_of), Listed { oldest, left: None });
    }

    /// The record about what was listed is applied.
    pub(super) fn recalled(&mut self, session: SessionNo, as_of: Lsn) {
        self.listed.remove(&(session, as_of));
    }

    /// No record about what was listed for a session follows, but one may be on its way.
    fn leave(&mut self, session: SessionNo, checkpoint: u64) {
        let of_it = (session, Lsn::ZERO)..=(session, Lsn::new(u64::MAX));
        for (_, listed) in self.listed.range_mut(of_it) {
            listed.left.get_or_insert(checkpoint);
        }
    }

    /// A checkpoint is made: its number.
    pub(super) fn checkpointed(&mut self, checkpoint: u64) {
        self.listed.retain(|_, it| {
            let left = it.left;
            left.is_none_or(|left| checkpoint < left.saturating_add(LEFT_CHECKPOINTS))
        });
    }
}

impl Engine {
    /// How many messages are kept at their addresses.
    pub fn n_retained(&self) -> usize {
        self.retained.n
    }

    /// Whether a message is kept at that address.
    pub fn is_retained(&self, realm: &str, address: &str) -> bool {
        self.retained.get(realm, address).is_some()
    }

    /// Messages of `realm` that are kept and match, by address, behind `after`; at most so much work at once.
    pub fn retained(
        &self,
        realm: &str,
        filter: &Filter,
        after: Option<&str>,
        now: UnixMillis,
        max: LookMax,
    ) -> RetainedPage {
        let mut page = RetainedPage {
            found: Vec::new(),
            next: None,
            as_of: self.applied,
        };
        let Some(addresses) = self.retained.realms.get(realm) else {
            return page;
        };
        let range = Range::of(filter);
        if let Some(exact) = range.exact.filter(|_| after.is_none()) {
            page.find(exact, addresses.get(exact), now);
        }
        let Some((first, end)) = &range.below else {
            return page;
        };
        if !page.found.is_empty() {
            page.next = Some(first.as_str().into());
        }
        let from = match after {
            Some(after) if after >= first.as_str() => Bound::Excluded(after),
            _ => Bound::Included(first.as_str()),
        };
        let end = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let in_range = addresses.range::<str, _>((from, end));
        for (n_looked, (address, kept)) in in_range.enumerate() {
            if n_looked >= max.looked || page.found.len() >= max.found {
                return page;
            }
            if filter.matches_text(address) {
                page.find(address, Some(kept), now);
            }
            page.next = Some(Arc::clone(address));
        }
        page.next = None;
        page
    }

    /// As [`retained`](Self::retained), for a session's own queue: the log keeps what is found until the `Recall` record about it
    /// is applied, or [`leave_recall`](Self::leave_recall) is called.
    pub fn list_for_recall(
        &mut self,
        session: SessionNo,
        realm: &str,
        filter: &Filter,
        after: Option<&str>,
        now: UnixMillis,
        max: LookMax,
    ) -> RetainedPage {
        self.leave_recall(session);
        let page = self.retained(realm, filter, after, now, max);
        self.retained.hold(session, &page);
        page
    }

    /// No record about what was listed for that session will be written any more.
    pub fn leave_recall(&mut self, session: SessionNo) {
        self.retained.leave(session, self.dirty.generation());
    }

    pub(super) fn retained_errands(
        &mut self,
        now: UnixMillis,
        limit: usize,
        errands: &mut Vec<Errand>,
    ) {
        let expired = self.retained.take_expired(now, limit).into_iter();
        errands.extend(expired.map(Errand::Unretain));
    }
}

impl RetainedPage {
    fn find(&mut self, address: &str, kept: Option<&Kept>, now: UnixMillis) {
        let kept = kept.filter(|it| it.expires.is_none_or(|at| at > now));
        self.found.extend(kept.map(|kept| Recalled {
            address: address.to_owned(),
            revision: kept.revision.get(),
            lsn: kept.lsn.get(),
            bytes: kept.bytes,
            expires: kept.expires.map_or(0, UnixMillis::get),
        }));
    }
}

/// Which addresses a filter can match.
struct Range<'a> {
    /// This one by itself.
    exact: Option<&'a str>,
    /// Those from the first on, up to the second, which is not one of them; none: to the end.
    below: Option<(String, Option<String>)>,
}

impl<'a> Range<'a> {
    fn of(filter: &'a Filter) -> Self {
        let text = filter.as_str();
        if filter.is_exact() {
            return Range {
                exact: Some(text),
                below: None,
            };
        }
        let literals = filter.segments().map_while(|it| match it {
            FilterSegment::Literal(text) => Some(text.len() + 1),
            FilterSegment::One | FilterSegment::Rest | FilterSegment::Prefix(_) => None,
        });
        let (prefix, rest) = text.split_at(literals.sum());
        if let Some(begins) = text.strip_suffix('#')
            && rest.len() > 1
            && !rest.contains('/')
        {
            return Range {
                exact: None,
                below: Some((begins.to_owned(), behind(begins))),
            };
        }
        let parent = prefix.strip_suffix('/');
        Range {
            // `a/#` matches `a` too, between which and `a/b` others may stand.
            exact: parent.filter(|_| rest == "#"),
            below: Some(match parent {
                // `0` follows on `/`.
                Some(parent) => (prefix.to_owned(), Some(format!("{parent}0"))),
                None => (String::new(), None),
            }),
        }
    }
}

/// The first text behind all that begin with `text`; none: there is no such text.
fn behind(text: &str) -> Option<String> {
    let mut front = text.chars();
    while let Some(last) = front.next_back() {
        if let Some(next) = (last..=char::MAX).nth(1) {
            return Some(format!("{}{next}", front.as_str()));
        }
    }
    None
}
