//! Histories: what was published is told again to WAMP clients who ask for it (`wamp.subscription.get_events`).
//!
//! ```text
//! call ─▶ Attachment::get_events ─▶ a task: core, in slices ─▶ log (bodies, on threads that may wait) ─▶ outbox
//! ```
//!
//! A history is a queue whose definition says so, bound to the filter of a subscription. Its patterns are subscriptions that stay, so
//! that there is an id to ask with while nobody subscribes. What a publication's id names is found by going through the history, as ids are
//! random; where an answer ended is remembered, so that the next page costs no more than the first.
//!
//! Always, each with a test of its name in `broker/tests/history.rs`:
//! - `what_is_asked_for_is_told`
//! - `a_history_outlives_a_restart`
//! - `only_who_may_be_told_is_told`
//! - `an_answer_has_so_many_bytes_and_no_more`
//! - `nothing_is_read_for_who_has_left`
//! - `a_principal_has_so_many_calls_and_no_more`
//!
//! Not here: what is asked for, and how it looks (`wamp/history.rs`); what a history keeps (engine, `publish.rs`).

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use restante_proto::wamp::{Dict, Payload, Serializer, Value};
use restante_storage::{Offset, QueueId, UnixMillis};
use rustc_hash::FxHashMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::admin::browse::{groups, size};
use super::attachment::Attachment;
use super::outbox::Outbox;
use super::wamp::{Realm, WampCall, WampTold, refused, tell_late};
use super::{Shared, now};
use crate::engine::address::Filter;
use crate::engine::{QueueHandle, Sight, Standing, Wanted as Slice};
use crate::message::{Message, may_be_told};
use crate::router::SubscriptionId;
use crate::wamp::code;
use crate::wamp::event::{Refuse, invalid_argument};
use crate::wamp::history::{self, Bound, Wanted};
use crate::wamp::{publication_of, uri};

/// Bytes of an answer's events, and one event more if that alone is larger.
// Half of what RawSocket clients take that announce the 1 MiB that is usual.
const ANSWER_BYTES_MAX: usize = 512 << 10;
/// Messages that the engine gives in one go.
const SLICE_MAX: usize = 1024;
/// In the first one, where not all of them may be wanted.
const SLICE_MIN: usize = 32;
/// Messages that one call looks at.
const LOOKED_MAX: usize = 64 * SLICE_MAX;
/// Bytes of messages that one call reads, and one message more.
const READ_MAX: usize = 64 << 20;
/// Bytes of messages that are read in one go, and one message more.
const GROUP_BYTES: usize = 1 << 20;
/// Calls that are worked on at a time; the others wait.
const TURNS: usize = 2;
/// Calls of one realm that are worked on, or are the next to be: realms take turns, however many calls one of them has.
pub(super) const TURNS_PER_REALM: usize = 2;
/// Calls of one session that may wait.
pub(super) const CALLS_MAX: usize = 8;
/// Calls of one principal of a realm that may wait, of all its sessions.
const CALLS_PER_PRINCIPAL_MAX: usize = 64;
/// Places of publications that are remembered.
const PLACES_MAX: usize = 16_384;

/// What all calls share.
#[derive(Debug)]
pub(super) struct Histories {
    turns: Semaphore,
    /// Calls that are worked on or wait, by realm and principal, of those that have any.
    calls: Mutex<FxHashMap<Caller, usize>>,
    places: Mutex<Places>,
}

impl Default for Histories {
    fn default() -> Self {
        Histories {
            turns: Semaphore::new(TURNS),
            calls: Mutex::default(),
            places: Mutex::default(),
        }
    }
}

/// A realm, and a principal there.
type Caller = (Arc<str>, Arc<str>);

/// A call that counts as its principal's for as long as this is there.
struct Counted {
    shared: Arc<Shared>,
    caller: Caller,
}

impl Counted {
    /// None: the principal has as many as it may.
    fn new(shared: &Arc<Shared>, caller: Caller) -> Option<Counted> {
        let mut calls = shared.routers.histories.calls.lock();
        let n = calls.entry(caller.clone()).or_default();
        if *n >= CALLS_PER_PRINCIPAL_MAX {
            return None;
        }
        *n += 1;
        drop(calls);
        let shared = Arc::clone(shared);
        Some(Counted { shared, caller })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut calls = self.shared.routers.histories.calls.lock();
        let n = calls.get(&self.caller).map_or(0, |n| n.saturating_sub(1));
        match n {
            0 => calls.remove(&self.caller),
            _ => calls.insert(self.caller.clone(), n),
        };
    }
}

/// Where publications that were told last are: those at the ends of answers. An offset is never given again, so they stay true.
#[derive(Debug, Default)]
struct Places {
    of: FxHashMap<(QueueId, u64), Offset>,
    oldest: VecDeque<(QueueId, u64)>,
}

impl Places {
    fn insert(&mut self, queue: QueueId, publication: u64, offset: Offset) {
        let key = (queue, publication);
        if self.of.insert(key, offset).is_none() {
            self.oldest.push_back(key);
        }
        if self.oldest.len() > PLACES_MAX
            && let Some(oldest) = self.oldest.pop_front()
        {
            self.of.remove(&oldest);
        }
    }
}

impl Attachment {
    /// The patterns of the realm's histories are subscriptions that stay.
    pub(super) fn keep_histories(&self, realm: &mut Realm) {
        let routes = self.shared.routes.load();
        let Some(here) = routes.queues.get(&self.realm) else {
            return;
        };
        if here.histories.ptr_eq(&realm.histories) {
            return;
        }
        let defs = here.histories.values().filter_map(|it| it.def.as_ref());
        for filter in defs.flat_map(|def| &def.bindings) {
            if let Some((pattern, how)) = uri::of_filter(filter)
                && let Err(why) = realm.router.keep_subscription(&pattern, how, now())
            {
                tracing::warn!(realm = %self.realm, filter, %why, "a history's pattern is no subscription that stays");
            }
        }
        realm.histories = here.histories.clone();
    }

    /// Answers a call of `get_events`; later, where there is something to read.
    pub(super) fn get_events(&mut self, realm: &Mutex<Realm>, call: &WampCall) {
        if let Err((uri, why)) = self.begin_telling(realm, call) {
            self.tell_self(refused(code::CALL, call.request, uri, why));
        }
    }

    fn begin_telling(&mut self, realm: &Mutex<Realm>, call: &WampCall) -> Result<(), Refuse> {
        let args = call.payload.args().map_err(invalid_argument)?;
        let kwargs = call.payload.kwargs().map_err(invalid_argument)?;
        let (subscription, wanted) = Wanted::read(&args, &kwargs)?;
        let (filter, turns) = {
            let locked = realm.lock();
            let known = locked.router.pattern_of(SubscriptionId::new(subscription));
            let (pattern, how) = known.ok_or_else(|| {
                let why = format!("there is no subscription {subscription}");
                ("wamp.error.no_such_subscription", why)
            })?;
            let turns = Arc::clone(&locked.history_turns);
            (uri::to_filter(pattern, how), turns)
        };
        let filter = filter.and_then(|it| Filter::parse(&it, self.shared.settings.address).ok());
        let none = || {
            let why = "no history is kept of this subscription".to_owned();
            ("wamp.error.feature_not_supported", why)
        };
        let filter = filter.ok_or_else(none)?;
        if !self.may_listen(&filter) {
            let why = "no rule lets this client subscribe to that".to_owned();
            return Err(("wamp.error.not_authorized", why));
        }
        let history = self.history(&filter).ok_or_else(none)?;
        let busy = || {
            let why = "as many calls like this as may be are in progress".to_owned();
            ("wamp.error.unavailable", why)
        };
        let (Some(wamp), Ok(runtime)) = (&self.wamp, tokio::runtime::Handle::try_current()) else {
            return Err(busy());
        };
        let permit = Arc::clone(&wamp.asking).try_acquire_owned();
        let permit = permit.map_err(|_busy| busy())?;
        let caller = (Arc::clone(&self.realm), Arc::clone(&self.principal.name));
        let counted = Counted::new(&self.shared, caller).ok_or_else(busy)?;
        let stays = wamp.stays.subscribe();
        let teller = Teller {
            shared: Arc::clone(&self.shared),
            outbox: Arc::clone(&self.outbox),
            history,
            turns,
            authid: Arc::clone(&wamp.authid),
            authrole: Arc::clone(&wamp.authrole),
            request: call.request,
            subscription,
            serializer: call.serializer,
            wanted,
        };
        runtime.spawn(teller.run(stays, (permit, counted)));
        Ok(())
    }

    /// The history that is bound to that very filter.
    fn history(&self, filter: &Filter) -> Option<Arc<QueueHandle>> {
        let routes = self.shared.routes.load();
        let here = routes.queues.get(&self.realm)?;
        here.bindings
            .bound_to(filter)
            .find(|it| it.history)
            .cloned()
    }
}

/// Reads a history for one call.
struct Teller {
    shared: Arc<Shared>,
    outbox: Arc<Outbox>,
    history: Arc<QueueHandle>,
    /// The realm's.
    turns: Arc<Semaphore>,
    authid: Arc<str>,
    authrole: Arc<str>,
    request: u64,
    subscription: u64,
    serializer: Serializer,
    wanted: Wanted,
}

impl Teller {
    /// For as long as the session `stays`: when it has left, nothing more is waited for or read.
    async fn run(self, mut stays: watch::Receiver<()>, counts: (OwnedSemaphorePermit, Counted)) {
        let told = tokio::select! {
            told = self.tell() => told,
            _ = stays.changed() => return,
        };
        let told = match told {
            Ok(payload) => WampTold::Result {
                request: self.request,
                payload,
            },
            Err((uri, why)) => refused(code::CALL, self.request, uri, why),
        };
        tell_late(&self.outbox, told);
        drop(counts);
    }

    async fn tell(&self) -> Result<Payload, Refuse> {
        let unavailable = || {
            let why = "the broker is shutting down".to_owned();
            ("wamp.error.unavailable", why)
        };
        let histories = &self.shared.routers.histories;
        let _of_realm = (self.turns.acquire().await).map_err(|_closed| unavailable())?;
        let _turn = histories
            .turns
            .acquire()
            .await
            .map_err(|_closed| unavailable())?;
        let (mut course, mut telling) = self.begin();
        if self.wanted.reverse {
            // Where it begins is where it ends.
            let first = Slice::Range(course.first, course.last, 1);
            let looked = self.shared.look(self.history.id, first).await;
            let looked = looked.map_err(|_ending| unavailable())?;
            let first = looked.sights.first().map(|sight| sight.offset);
            course.first = first.unwrap_or(course.last.next());
        }
        let whole = self.walk(&mut course, &mut telling).await;
        let ended = whole.map_err(|_ending| unavailable())?;
        telling.check(ended)?;
        let mut places = histories.places.lock();
        for (publication, offset) in telling.ends.into_iter().flatten() {
            places.insert(self.history.id, publication, offset);
        }
        drop(places);
        let answer = history::answer(
            self.serializer,
            &telling.events,
            matches!(ended, Ended::Limit | Ended::Work),
        );
        answer.map_err(invalid_argument)
    }

    /// Where to go, as far as the places of publications are known, and what is told on the way.
    fn begin(&self) -> (Course, Telling<'_>) {
        let places = self.shared.routers.histories.places.lock();
        let place = |it: &Bound| places.of.get(&(self.history.id, it.publication)).copied();
        let (mut first, mut last) = (Offset::ZERO.next(), Offset::new(u64::MAX - 1));
        let (mut lower, mut upper) = (self.wanted.lower.clone(), self.wanted.upper.clone());
        lower.retain(|bound| {
            let Some(at) = place(bound) else { return true };
            first = first.max(if bound.included { at } else { at.next() });
            false
        });
        upper.retain(|bound| {
            let Some(at) = place(bound) else { return true };
            let before = Offset::new(at.get().saturating_sub(1));
            last = last.min(if bound.included { at } else { before });
            false
        });
        let next = self
            .history
            .gauges
            .next
            .load(std::sync::atomic::Ordering::Relaxed);
        if self.wanted.reverse {
            last = last.min(Offset::new(next.saturating_sub(1)));
            std::mem::swap(&mut lower, &mut upper);
        }
        let course = Course {
            reverse: self.wanted.reverse,
            at: Some(if self.wanted.reverse { last } else { first }),
            first,
            last,
        };
        let telling = Telling {
            teller: self,
            now: now(),
            start: lower,
            stop: upper,
            events: Vec::new(),
            bytes: 0,
            ends: [None; 2],
        };
        (course, telling)
    }

    /// Goes through the history until nothing more is wanted, or that has been enough.
    async fn walk(
        &self,
        course: &mut Course,
        telling: &mut Telling<'_>,
    ) -> Result<Ended, super::AdminError> {
        let (mut left, mut bytes_left) = (LOOKED_MAX, READ_MAX);
        let mut n = self
            .wanted
            .limit
            .unwrap_or(SLICE_MAX)
            .clamp(SLICE_MIN, SLICE_MAX);
        while let Some((first, last)) = course.window(n) {
            if left == 0 {
                return Ok(Ended::Work);
            }
            let slice = Slice::Range(first, last, n);
            let looked = self.shared.look(self.history.id, slice).await?;
            left = left.saturating_sub(looked.sights.len().max(SLICE_MIN));
            course.looked(first, looked.next);
            n = (4 * n).min(SLICE_MAX);
            let mut groups = groups(
                looked.sights.into_iter().filter(|it| telling.may_be(it)),
                GROUP_BYTES,
            );
            if course.reverse {
                groups.reverse();
            }
            for group in groups {
                if bytes_left == 0 {
                    return Ok(Ended::Work);
                }
                bytes_left = bytes_left.saturating_sub(group.iter().map(size).sum());
                let mut found = self.shared.read(self.history.id, group).await?;
                if course.reverse {
                    found.reverse();
                }
                for (sight, message) in &found {
                    let ended = message.as_ref().and_then(|it| telling.take(sight, it));
                    if let Some(ended) = ended {
                        return Ok(ended);
                    }
                }
            }
        }
        Ok(Ended::Whole)
    }
}

/// Why a walk is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// There is no more.
    Whole,
    /// No more is wanted.
    Met,
    /// The answer is full.
    Limit,
    /// So much is not looked at for one call.
    Work,
}

/// A way through a history.
struct Course {
    reverse: bool,
    /// Where it goes on; none: it is over.
    at: Option<Offset>,
    first: Offset,
    last: Offset,
}

impl Course {
    /// What to look at next, for at most `n` messages.
    fn window(&self, n: usize) -> Option<(Offset, Offset)> {
        let at = self.at.filter(|at| self.first <= *at && *at <= self.last)?;
        if !self.reverse {
            return Some((at, self.last));
        }
        let first = at.get().saturating_sub(n as u64 - 1);
        Some((Offset::new(first).max(self.first), at))
    }

    /// A window was looked at; going forwards, up to `next`.
    fn looked(&mut self, first: Offset, next: Option<Offset>) {
        self.at = match self.reverse {
            true => first.get().checked_sub(1).map(Offset::new),
            false => next,
        };
    }
}

/// What is told.
struct Telling<'a> {
    teller: &'a Teller,
    now: UnixMillis,
    /// Publications that must be met before anything is told.
    start: Vec<Bound>,
    /// Publications after which nothing is told.
    stop: Vec<Bound>,
    events: Vec<Value>,
    bytes: usize,
    /// The first and the last publication that was told, and where they are.
    ends: [Option<(u64, Offset)>; 2],
}

impl Telling<'_> {
    /// Whether a message may be wanted, as far as can be told without reading it.
    fn may_be(&self, sight: &Sight) -> bool {
        let seeks = !self.start.is_empty() || !self.stop.is_empty();
        seeks || self.is_there(sight)
    }

    /// Whether a message is there to be told, and came when it is wanted.
    fn is_there(&self, sight: &Sight) -> bool {
        let ttl = (self.teller.history.def.as_ref()).map_or(0, |def| def.ttl_ms);
        let is_over = |at: UnixMillis| at <= self.now;
        let is_over = sight.expires.is_some_and(is_over)
            || (ttl > 0 && is_over(sight.time.saturating_add(ttl)));
        sight.standing != Standing::Leaving && !is_over && self.teller.wanted.is_in_time(sight.time)
    }

    fn is_wanted(&self, sight: &Sight, message: &Message) -> bool {
        let address = self.teller.wanted.address.as_ref();
        let part = message.wamp.as_ref();
        self.is_there(sight)
            && address.is_none_or(|it| *it == message.address)
            && part.is_none_or(|it| may_be_told(it, &self.teller.authid, &self.teller.authrole))
    }

    /// Looks at a message; whether, and why, that was the last one.
    fn take(&mut self, sight: &Sight, message: &Message) -> Option<Ended> {
        let publication = publication_of(message);
        let mut is_in = true;
        if !self.start.is_empty() {
            self.start.retain(|bound| {
                let is_met = bound.publication == publication;
                is_in &= !is_met || bound.included;
                !is_met
            });
            if !self.start.is_empty() {
                return None;
            }
        }
        let mut met = self.stop.iter().filter(|it| it.publication == publication);
        let ended = met.clone().next().map(|_| Ended::Met);
        is_in &= met.all(|bound| bound.included);
        if is_in && self.is_wanted(sight, message) && !self.push(sight, message) {
            return Some(Ended::Limit);
        }
        ended
    }

    /// Tells one more; `false`: the answer is full.
    fn push(&mut self, sight: &Sight, message: &Message) -> bool {
        let teller = self.teller;
        if teller
            .wanted
            .limit
            .is_some_and(|it| self.events.len() >= it)
        {
            return false;
        }
        let event = history::event(message, sight.time, teller.subscription, teller.serializer);
        let encoded = event.and_then(|event| {
            let alone = std::slice::from_ref(&event);
            let bytes = Payload::from_values(teller.serializer, alone, &Dict::new())?.len();
            Ok((event, bytes))
        });
        // What the serializer has no words for is not told, as it was not when it was published.
        let Ok((event, bytes)) = encoded else {
            return true;
        };
        if !self.events.is_empty() && self.bytes + bytes > ANSWER_BYTES_MAX {
            return false;
        }
        self.bytes += bytes;
        self.events.push(event);
        let place = Some((publication_of(message), sight.offset));
        let [first, last] = &mut self.ends;
        (*first, *last) = (first.or(place), place);
        true
    }

    /// Whether what was to be met was, or may be.
    fn check(&self, ended: Ended) -> Result<(), Refuse> {
        let missed = match ended {
            Ended::Whole => self.start.iter().chain(&self.stop).next(),
            Ended::Work => self.start.first(),
            Ended::Met | Ended::Limit => None,
        };
        let Some(Bound { publication, .. }) = missed else {
            return Ok(());
        };
        let why = match ended {
            Ended::Work => format!("publication {publication} is further than one call goes"),
            _ => format!("the history has no publication {publication}"),
        };
        Err(invalid_argument(why))
    }
}

/// What tests of the broker see of the calls that wait.
#[cfg(test)]
pub(in crate::broker) mod tests {
    use super::*;

    /// No call is worked on while this is there.
    pub(in crate::broker) fn stop(shared: &Shared) -> tokio::sync::SemaphorePermit<'_> {
        let turns = u32::try_from(TURNS).unwrap();
        let turns = shared.routers.histories.turns.try_acquire_many(turns);
        turns.expect("nobody is at it")
    }

    /// Calls that are worked on or wait.
    pub(in crate::broker) fn n_calls(shared: &Shared) -> usize {
        shared.routers.histories.calls.lock().values().sum()
    }
}
