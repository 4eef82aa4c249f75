//! Calls in flight: what is known of one, and the tables it is in.
//!
//! A call is in its caller's table by the caller's request, and in its callee's by the invocation, until it is answered. A callee that
//! counts its calls (`concurrency`) and does not hear that one was canceled still works at it: such a call stays in the
//! callee's table, with nobody waiting, until the callee answers or leaves.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::output::{Disclosed, Ppt};
use super::policy::Ticket;
use super::session::{CalleeFeatures, Session};
use super::{Party, RegistrationId, Router, SessionId};

/// How many progressive calls that have ended a session is remembered for.
const FINISHED_MAX: usize = 32;

/// Bytes of one caller's calls that are kept while a callee has them, so that another can be asked. A call beyond goes to its callee
/// all the same, and what that says of it is the last word: else a callee that reads and never answers would have the broker hold
/// all that anybody calls it with.
const KEPT_PER_CALLER_MAX: usize = 4 << 20;
/// The same for all callers of the realm together: other doors are a caller for each call.
const KEPT_MAX: usize = 64 << 20;

/// Names a call of a realm.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct CallNo(pub(super) u64);

/// What a session or door has to do with calls.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// Its own, by its requests.
    pub(super) calls: BTreeMap<u64, CallNo>,
    /// Those it is to answer, by invocation.
    pub(super) invocations: BTreeMap<u64, CallNo>,
    /// Bytes of its own calls that are kept for other callees.
    pub(super) kept_bytes: usize,
    /// The last invocation that it got; a door's are counted by the router.
    pub(super) last_invocation: u64,
}

/// A call in flight.
#[derive(Debug)]
pub(super) struct Call<P> {
    /// None: nobody waits any more.
    pub(super) caller: Option<Party>,
    pub(super) request: u64,
    pub(super) procedure: Arc<str>,
    pub(super) callee: Party,
    pub(super) invocation: u64,
    /// None if a door has it without one.
    pub(super) registration: Option<RegistrationId>,
    /// The callee's entry there, if its calls are counted.
    pub(super) counted: Option<Ticket>,
    /// Whether the INVOCATION says what was called.
    pub(super) says_procedure: bool,
    /// Whether the caller takes results in pieces.
    pub(super) receive_progress: bool,
    /// Whether it came in pieces.
    pub(super) is_progressive: bool,
    /// Whether more of them are to come.
    pub(super) is_open: bool,
    /// Whether the caller has canceled it and waits for the callee's word.
    pub(super) is_killed: bool,
    /// For another callee, should this one be unavailable.
    pub(super) again: Option<Box<Draft<P>>>,
}

/// A call that is not with a callee yet.
#[derive(Debug, Clone)]
pub(super) struct Draft<P> {
    pub(super) caller: Party,
    pub(super) request: u64,
    pub(super) procedure: Arc<str>,
    pub(super) registration: Option<RegistrationId>,
    pub(super) says_procedure: bool,
    pub(super) options: CallOptions,
    /// Who calls, if that may be told.
    pub(super) identity: Option<Disclosed>,
    /// Whether it is told to a callee that did not ask.
    pub(super) is_disclosed: bool,
    pub(super) trustlevel: Option<u64>,
    pub(super) payload: P,
    pub(super) payload_bytes: usize,
    /// Who said that it is unavailable.
    pub(super) tried: Vec<SessionId>,
    /// Whether the caller's session runs a timer.
    pub(super) has_timer: bool,
}

impl<P> Draft<P> {
    /// About how many bytes it holds on to.
    fn weight(&self) -> usize {
        const REST: usize = 256;
        let len = |text: &Option<Arc<str>>| text.as_ref().map_or(0, |it| it.len());
        let options = &self.options;
        let ppt = options.ppt.as_ref().map_or(0, |it| {
            it.scheme.len() + len(&it.serializer) + len(&it.cipher) + len(&it.keyid)
        });
        self.payload_bytes + self.procedure.len() + ppt + len(&options.rkey) + REST
    }
}

/// CALL (48).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRequest<'a, P> {
    /// The caller's request.
    pub request: u64,
    /// What is called.
    pub procedure: &'a str,
    /// Of CALL.
    pub options: CallOptions,
    /// What the realm's configuration says.
    pub disclose: DisclosePolicy,
    /// Who is behind a door, if anybody is to know. Not looked at if the caller is a session.
    pub identity: Option<Disclosed>,
    /// The rules' word, for the callee.
    pub trustlevel: Option<u64>,
    /// The door that takes the call if no registration does.
    pub fallback: Option<u64>,
    /// Whether the id is one that was used before: then no new call begins, only one in flight goes on (wamp.md §7.2).
    pub continues_only: bool,
    /// Arguments.
    pub payload: P,
    /// How large they are.
    pub payload_bytes: usize,
}

impl<'a, P> CallRequest<'a, P> {
    /// A plain call, without a word of how large its arguments are.
    #[must_use]
    pub fn new(request: u64, procedure: &'a str, payload: P) -> Self {
        Self {
            request,
            procedure,
            options: CallOptions::default(),
            disclose: DisclosePolicy::default(),
            identity: None,
            trustlevel: None,
            fallback: None,
            continues_only: false,
            payload,
            payload_bytes: 0,
        }
    }
}

/// The options of CALL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallOptions {
    /// Results may come in pieces.
    pub receive_progress: bool,
    /// More CALLs of the same request are to come.
    pub progress: bool,
    /// Milliseconds; 0: for ever.
    pub timeout_ms: u64,
    /// The callee is to know who calls.
    pub disclose_me: bool,
    /// Of a payload that is passed through.
    pub ppt: Option<Ppt>,
    /// What the call belongs to; means something with `is_partition` only.
    pub rkey: Option<Arc<str>>,
    /// Whether `runmode` is `partition`: of the callees, the one that `rkey` belongs to. Our reading of an option without a
    /// specification (wamp.md §7.11).
    pub is_partition: bool,
}

impl CallOptions {
    pub(super) fn shard(&self) -> Option<&str> {
        self.rkey.as_deref().filter(|_| self.is_partition)
    }
}

/// Whether callees are told who calls (wamp.md §7.6).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DisclosePolicy {
    /// If the caller or the callee wants it.
    #[default]
    Asked,
    /// Always.
    Always,
    /// Never: a caller that wants it is refused, a callee that does is not told.
    Never,
}

/// What became of a CALL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Called {
    /// It is with a callee.
    Started,
    /// It goes on with the callee that has it.
    Continued,
    /// The caller's error is in the sink, unless the caller is not here.
    Refused,
    /// The id was used before, and no call of that id is in flight. Not answered (wamp.md §7.2).
    NothingToContinue {
        /// Whether a progressive call of that id ended not long ago: what is late is no violation.
        is_late: bool,
    },
}

/// The options of YIELD.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct YieldOptions {
    /// More are to come.
    pub progress: bool,
    /// Of a payload that is passed through.
    pub ppt: Option<Ppt>,
}

/// What a door can do as a callee.
const DOOR: CalleeFeatures = CalleeFeatures {
    progressive_call_results: true,
    progressive_call_invocations: false,
    call_canceling: true,
    call_timeout: false,
    call_reroute: false,
    payload_passthru_mode: true,
    registration_revocation: false,
};

impl Ends {
    fn is_idle(&self) -> bool {
        self.calls.is_empty() && self.invocations.is_empty()
    }
}

impl Session {
    /// Remembers that a progressive call has ended.
    fn remember(&mut self, request: u64) {
        if self.finished.len() == FINISHED_MAX {
            self.finished.pop_front();
        }
        self.finished.push_back(request);
    }
}

impl<P: Clone> Router<P> {
    /// How many calls a party has that are not answered.
    #[must_use]
    pub fn n_calls_of(&self, caller: Party) -> usize {
        self.ends(caller).map_or(0, |ends| ends.calls.len())
    }

    /// How many calls a party has not answered.
    #[must_use]
    pub fn n_invocations_of(&self, callee: Party) -> usize {
        self.ends(callee).map_or(0, |ends| ends.invocations.len())
    }

    pub(super) fn ends(&self, party: Party) -> Option<&Ends> {
        match party {
            Party::Session(id) => self.sessions.get(&id).map(|session| &session.ends),
            Party::Door(number) => self.doors.get(&number),
        }
    }

    pub(super) fn ends_mut(&mut self, party: Party) -> Option<&mut Ends> {
        match party {
            Party::Session(id) => self.sessions.get_mut(&id).map(|session| &mut session.ends),
            Party::Door(number) => self.doors.get_mut(&number),
        }
    }

    /// What the callee can do; none if it has left.
    pub(super) fn callee_features(&self, callee: Party) -> Option<CalleeFeatures> {
        match callee {
            Party::Session(id) => self.sessions.get(&id).map(|it| it.features.callee),
            Party::Door(_) => Some(DOOR),
        }
    }

    /// Whether a caller takes payloads that are passed through; none if it has left.
    pub(super) fn caller_takes_ppt(&self, caller: Party) -> Option<bool> {
        match caller {
            Party::Session(id) => {
                let session = self.sessions.get(&id);
                session.map(|it| it.features.caller.payload_passthru_mode)
            }
            Party::Door(_) => Some(true),
        }
    }

    /// The call that a caller has in flight by that request.
    pub(super) fn call_of(&self, caller: Party, request: u64) -> Option<CallNo> {
        self.ends(caller)?.calls.get(&request).copied()
    }

    /// The call that a callee has by that invocation.
    pub(super) fn invocation_of(&self, callee: Party, invocation: u64) -> Option<CallNo> {
        self.ends(callee)?.invocations.get(&invocation).copied()
    }

    /// The next invocation's number, for a callee that is here.
    pub(super) fn next_invocation(&mut self, callee: Party) -> u64 {
        let last = match callee {
            Party::Door(_) => &mut self.last_door_invocation,
            Party::Session(id) => match self.sessions.get_mut(&id) {
                Some(session) => &mut session.ends.last_invocation,
                None => return 0,
            },
        };
        *last = *last % super::ID_MAX + 1;
        *last
    }

    /// Puts a call into all tables; not for another callee, where too much is kept so already.
    pub(super) fn insert_call(&mut self, mut call: Call<P>) {
        self.last_call.0 += 1;
        let no = self.last_call;
        for party in [call.callee].into_iter().chain(call.caller) {
            if let Party::Door(number) = party {
                self.doors.entry(number).or_default();
            }
        }
        if let Some(ends) = self.ends_mut(call.callee) {
            ends.invocations.insert(call.invocation, no);
        }
        if let Some(ends) = call.caller.and_then(|caller| self.ends_mut(caller)) {
            ends.calls.insert(call.request, no);
        }
        let again = call.again.take();
        call.again = again.filter(|draft| self.keep(draft));
        self.count(&call, true);
        self.calls.insert(no, call);
    }

    /// Takes a call out of all tables.
    pub(super) fn remove_call(&mut self, no: CallNo) -> Option<Call<P>> {
        let call = self.calls.remove(&no)?;
        if let Some(draft) = &call.again {
            self.no_longer_kept(draft);
        }
        if let Some(ends) = self.ends_mut(call.callee) {
            ends.invocations.remove(&call.invocation);
        }
        self.tidy(call.callee);
        if let Some(caller) = call.caller {
            self.forget_caller(caller, &call);
        }
        self.count(&call, false);
        Some(call)
    }

    /// The caller waits no more. The callee was told, or not: if not, and its calls are counted, it keeps the call.
    pub(super) fn abandon_call(&mut self, no: CallNo, is_told: bool) {
        let Some(call) = self.calls.get_mut(&no) else {
            return;
        };
        if is_told || call.counted.is_none() {
            self.remove_call(no);
            return;
        }
        let callee = call.callee;
        let (request, is_progressive) = (call.request, call.is_progressive);
        let (draft, caller) = (call.again.take(), call.caller.take());
        if let Some(draft) = draft {
            self.no_longer_kept(&draft);
        }
        let Some(caller) = caller else {
            return;
        };
        self.forget_request(caller, request, is_progressive);
        if self.ends(callee).is_none() {
            self.remove_call(no);
        }
    }

    /// A call is not for another callee any more.
    pub(super) fn forget_draft(&mut self, no: CallNo) {
        let call = self.calls.get_mut(&no);
        if let Some(draft) = call.and_then(|call| call.again.take()) {
            self.no_longer_kept(&draft);
        }
    }

    /// Whether there is room to keep a call for another callee, of which from now on there is less.
    fn keep(&mut self, draft: &Draft<P>) -> bool {
        let (weight, all) = (draft.weight(), self.kept_bytes);
        let Some(ends) = self.ends_mut(draft.caller) else {
            return false;
        };
        if ends.kept_bytes + weight > KEPT_PER_CALLER_MAX || all + weight > KEPT_MAX {
            return false;
        }
        ends.kept_bytes += weight;
        self.kept_bytes += weight;
        true
    }

    fn no_longer_kept(&mut self, draft: &Draft<P>) {
        let weight = draft.weight();
        self.kept_bytes = self.kept_bytes.saturating_sub(weight);
        if let Some(ends) = self.ends_mut(draft.caller) {
            ends.kept_bytes = ends.kept_bytes.saturating_sub(weight);
        }
    }

    fn forget_caller(&mut self, caller: Party, call: &Call<P>) {
        self.forget_request(caller, call.request, call.is_progressive);
    }

    fn forget_request(&mut self, caller: Party, request: u64, is_progressive: bool) {
        if let Some(ends) = self.ends_mut(caller) {
            ends.calls.remove(&request);
        }
        if let Party::Session(id) = caller
            && is_progressive
            && let Some(session) = self.sessions.get_mut(&id)
        {
            session.remember(request);
        }
        self.tidy(caller);
    }

    /// Forgets a door that has nothing to do with calls any more.
    fn tidy(&mut self, party: Party) {
        if let Party::Door(number) = party
            && self.doors.get(&number).is_some_and(Ends::is_idle)
        {
            self.doors.remove(&number);
        }
    }

    fn count(&mut self, call: &Call<P>, is_more: bool) {
        let found = call.registration;
        let found = found.and_then(|id| self.registrations.by_id.get_mut(&id));
        let Some(registration) = found else { return };
        let n_calls = &mut registration.n_calls;
        *n_calls = match is_more {
            true => *n_calls + 1,
            false => n_calls.saturating_sub(1),
        };
        if let Some(ticket) = call.counted {
            registration.callees.count(ticket, is_more);
        }
    }
}
