//! What happens to a call: CALL, CANCEL, YIELD, ERROR, its time, and the end of either side (wamp.md §5, §7).

use std::borrow::Cow;
use std::sync::Arc;

use super::calls::{CallNo, CallRequest, Called, DisclosePolicy, Draft, Ends, YieldOptions};
use super::output::{CallError, CallResult, CancelMode, Interrupt, Ppt, Sink, ToSession};
use super::session::SessionDetails;
use super::uri::is_reserved;
use super::{Match, Party, Refused, RegistrationId, Router, Violation};

/// A callee's word for: ask another (wamp.md §7.5).
const UNAVAILABLE: &str = "wamp.error.unavailable";

/// Where a call leads.
struct Found {
    /// None if a door takes it.
    registration: Option<RegistrationId>,
    procedure: Arc<str>,
    /// Whether the INVOCATION says what was called.
    is_said: bool,
}

impl<P: Clone> Router<P> {
    /// CALL: to a callee, or an error to the caller. With a request that is in flight, the next piece of a progressive call.
    ///
    /// Calls to the router's own procedures are not for here: see [`meta_call`](Self::meta_call).
    ///
    /// # Errors
    /// [`Violation::NotAnnounced`], [`Violation::NotProgressive`], [`Violation::OtherProcedure`]: the session is to be aborted. Nothing
    /// has changed: call [`leave`](Self::leave).
    pub fn call(
        &mut self,
        caller: Party,
        call: CallRequest<'_, P>,
        sink: &mut Sink<P>,
    ) -> Result<Called, Violation> {
        let mut is_late = false;
        if let Party::Session(id) = caller {
            let Some(session) = self.sessions.get(&id) else {
                return Ok(Called::Refused);
            };
            let features = session.features.caller;
            if call.options.progress && !features.progressive_call_invocations {
                return Err(Violation::NotAnnounced("progressive_call_invocations"));
            }
            if call.options.ppt.is_some() && !features.payload_passthru_mode {
                return Err(Violation::NotAnnounced("payload_passthru_mode"));
            }
            is_late = session.finished.contains(&call.request);
        }
        if let Some(no) = self.call_of(caller, call.request) {
            return self.continue_call(no, call, sink);
        }
        if call.continues_only || is_late {
            return Ok(Called::NothingToContinue { is_late });
        }
        let request = call.request;
        match self.start_call(caller, call, sink) {
            Ok(()) => Ok(Called::Started),
            Err(why) => {
                sink.refuse_call(caller, request, why);
                Ok(Called::Refused)
            }
        }
    }

    /// YIELD: a result, or a piece of one. What comes late is dropped.
    ///
    /// # Errors
    /// [`Violation::UnknownInvocation`], [`Violation::NotAnnounced`]: the session is to be aborted.
    pub fn yield_(
        &mut self,
        callee: Party,
        invocation: u64,
        options: YieldOptions,
        payload: P,
        sink: &mut Sink<P>,
    ) -> Result<(), Violation> {
        self.check_answer(callee, invocation, options.ppt.as_ref())?;
        let Some(no) = self.invocation_of(callee, invocation) else {
            return Ok(());
        };
        let Some(call) = self.calls.get(&no) else {
            return Ok(());
        };
        let (caller, request) = (call.caller, call.request);
        let is_unwanted = options.progress && !call.receive_progress;
        if options.progress {
            // What has begun to answer is not asked elsewhere.
            self.forget_draft(no);
        }
        if is_unwanted {
            return Ok(());
        }
        let Some(caller) = caller else {
            if !options.progress {
                self.remove_call(no);
            }
            return Ok(());
        };
        if options.ppt.is_some() && self.caller_takes_ppt(caller) == Some(false) {
            self.refuse_yield(no, options.progress, sink);
            return Ok(());
        }
        let result = CallResult {
            request,
            progress: options.progress,
            ppt: options.ppt,
            payload,
        };
        sink.tell(caller, ToSession::Result(result));
        if !options.progress {
            self.remove_call(no);
        }
        Ok(())
    }

    /// ERROR to an invocation: the caller's error, or the next callee's turn. What comes late is dropped.
    ///
    /// # Errors
    /// [`Violation::UnknownInvocation`], [`Violation::NotAnnounced`]: the session is to be aborted.
    pub fn error(
        &mut self,
        callee: Party,
        invocation: u64,
        uri: impl Into<Cow<'static, str>>,
        ppt: Option<Ppt>,
        payload: P,
        sink: &mut Sink<P>,
    ) -> Result<(), Violation> {
        self.check_answer(callee, invocation, ppt.as_ref())?;
        let Some(call) = self
            .invocation_of(callee, invocation)
            .and_then(|no| self.remove_call(no))
        else {
            return Ok(());
        };
        let Some(caller) = call.caller else {
            return Ok(());
        };
        let uri = uri.into();
        if uri == UNAVAILABLE
            && let Some(draft) = call.again.filter(|_| !call.is_killed)
        {
            self.route_elsewhere(callee, *draft, sink);
            return Ok(());
        }
        if ppt.is_some() && self.caller_takes_ppt(caller) == Some(false) {
            let why = Refused::FeatureNotSupported("payload_passthru_mode");
            sink.refuse_call(caller, call.request, why);
            return Ok(());
        }
        let error = CallError {
            request: call.request,
            uri,
            ppt,
            payload: Some(payload),
            message: None,
        };
        sink.tell(caller, ToSession::CallError(error));
        Ok(())
    }

    /// CANCEL. Nothing happens if the caller has no such call, or has canceled it before (wamp.md §7.4).
    pub fn cancel(&mut self, caller: Party, request: u64, mode: CancelMode, sink: &mut Sink<P>) {
        let Some(no) = self.call_of(caller, request) else {
            return;
        };
        if self.calls.get(&no).is_none_or(|call| call.is_killed) {
            return;
        }
        if mode == CancelMode::Kill && self.interrupt(no, mode, Refused::Canceled, sink) {
            if let Some(call) = self.calls.get_mut(&no) {
                call.is_killed = true;
            }
            return;
        }
        self.give_up(no, Refused::Canceled, mode != CancelMode::Skip, sink);
    }

    /// The call's time is over (wamp.md §7.3). Nothing happens if the caller has no such call.
    pub fn expire(&mut self, caller: Party, request: u64, sink: &mut Sink<P>) {
        if let Some(no) = self.call_of(caller, request) {
            self.give_up(no, Refused::Timeout, true, sink);
        }
    }

    /// A door is gone: its calls are canceled, and those it had are answered with an error.
    pub fn leave_door(&mut self, door: u64, sink: &mut Sink<P>) {
        if let Some(ends) = self.doors.remove(&door) {
            self.end_calls(ends, sink);
        }
    }

    /// Ends all that somebody who is out of the tables already has to do with calls.
    pub(super) fn end_calls(&mut self, ends: Ends, sink: &mut Sink<P>) {
        for no in ends.calls.into_values() {
            let is_told = self.interrupt(no, CancelMode::KillNoWait, Refused::Canceled, sink);
            self.abandon_call(no, is_told);
        }
        for no in ends.invocations.into_values() {
            let Some(call) = self.remove_call(no) else {
                continue;
            };
            if let Some(caller) = call.caller {
                sink.refuse_call(caller, call.request, Refused::CalleeGone);
            }
        }
    }

    fn start_call(
        &mut self,
        caller: Party,
        call: CallRequest<'_, P>,
        sink: &mut Sink<P>,
    ) -> Result<(), Refused> {
        self.check_call(caller, &call)?;
        let found = self.find_procedure(&call)?;
        let identity = match caller {
            _ if call.disclose == DisclosePolicy::Never => None,
            Party::Session(id) => self.session(id).map(SessionDetails::disclosed),
            Party::Door(_) => call.identity,
        };
        let draft = Draft {
            caller,
            request: call.request,
            procedure: found.procedure,
            registration: found.registration,
            says_procedure: found.is_said,
            is_disclosed: call.options.disclose_me || call.disclose == DisclosePolicy::Always,
            identity,
            trustlevel: call.trustlevel,
            options: call.options,
            payload: call.payload,
            payload_bytes: call.payload_bytes,
            tried: Vec::new(),
            has_timer: false,
        };
        match draft.registration {
            Some(id) => {
                let chosen = self.choose(id, &draft)?;
                self.invoke(chosen, draft, sink)
            }
            None => self.delegate(call.fallback, draft, sink),
        }
    }

    fn check_call(&self, caller: Party, call: &CallRequest<'_, P>) -> Result<(), Refused> {
        if call.disclose == DisclosePolicy::Never && call.options.disclose_me {
            return Err(Refused::DiscloseMe);
        }
        if call.options.is_partition && call.options.rkey.is_none() {
            return Err(Refused::NoShardKey);
        }
        if self.n_calls_of(caller) >= self.limits.calls_per_caller_max {
            return Err(Refused::TooMany("calls in flight"));
        }
        Ok(())
    }

    /// # Errors
    /// [`Refused::NoSuchProcedure`], if no door takes the call either; [`Refused::InvalidUri`].
    fn find_procedure(&self, call: &CallRequest<'_, P>) -> Result<Found, Refused> {
        let uri = call.procedure;
        let (limits, how) = (&self.limits, Match::Exact);
        if uri.len() > limits.uri_bytes_max || !limits.uri_rules.allow(uri, how) {
            return Err(Refused::InvalidUri);
        }
        if is_reserved(uri) {
            return Err(Refused::NoSuchProcedure);
        }
        let id = self.registrations.index.best(uri);
        match id.and_then(|id| self.registrations.by_id.get(&id)) {
            Some(registration) if registration.how == Match::Exact => Ok(Found {
                registration: id,
                procedure: Arc::clone(&registration.uri),
                is_said: false,
            }),
            None if call.fallback.is_none() => Err(Refused::NoSuchProcedure),
            _ => Ok(Found {
                registration: id,
                procedure: uri.into(),
                is_said: true,
            }),
        }
    }

    /// Whether a callee may answer that invocation, now or too late.
    fn check_answer(
        &self,
        callee: Party,
        invocation: u64,
        ppt: Option<&Ppt>,
    ) -> Result<(), Violation> {
        let Party::Session(id) = callee else {
            return Ok(());
        };
        let Some(session) = self.sessions.get(&id) else {
            return Ok(());
        };
        if !(1..=session.ends.last_invocation).contains(&invocation) {
            return Err(Violation::UnknownInvocation(invocation));
        }
        if ppt.is_some() && !session.features.callee.payload_passthru_mode {
            return Err(Violation::NotAnnounced("payload_passthru_mode"));
        }
        Ok(())
    }

    /// A result that the caller cannot take: both are told (wamp.md §12).
    fn refuse_yield(&mut self, no: CallNo, is_progress: bool, sink: &mut Sink<P>) {
        let why = Refused::FeatureNotSupported("payload_passthru_mode");
        if let Some(call) = self.calls.get(&no) {
            let request = call.invocation;
            sink.tell(call.callee, ToSession::YieldRefused { request, why });
        }
        if is_progress {
            self.give_up(no, why, true, sink);
        } else if let Some(call) = self.remove_call(no)
            && let Some(caller) = call.caller
        {
            sink.refuse_call(caller, call.request, why);
        }
    }

    /// Answers the caller with an error while the callee still works, which is told so if it `may_interrupt` and understands. A door
    /// is always told: it has something to forget.
    fn give_up(&mut self, no: CallNo, why: Refused, may_interrupt: bool, sink: &mut Sink<P>) {
        let callee = self.calls.get(&no).map(|call| call.callee);
        let may_interrupt = may_interrupt || matches!(callee, Some(Party::Door(_)));
        let is_told = may_interrupt && self.interrupt(no, CancelMode::KillNoWait, why, sink);
        if let Some(call) = self.calls.get(&no)
            && let Some(caller) = call.caller
        {
            sink.refuse_call(caller, call.request, why);
        }
        self.abandon_call(no, is_told);
    }

    /// Whether the callee knows now that the call is canceled.
    fn interrupt(
        &mut self,
        no: CallNo,
        mode: CancelMode,
        why: Refused,
        sink: &mut Sink<P>,
    ) -> bool {
        let Some(call) = self.calls.get(&no) else {
            return false;
        };
        let features = self.callee_features(call.callee);
        if !features.is_some_and(|it| it.call_canceling) {
            return false;
        }
        if !call.is_killed {
            let interrupt = Interrupt {
                request: call.invocation,
                mode,
                reason: why.uri(),
            };
            sink.tell(call.callee, ToSession::Interrupt(interrupt));
        }
        true
    }
}
