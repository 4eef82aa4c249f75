//! Whom a call goes to, and how it gets there (wamp.md §7.2, §7.5, §7.10).

use super::calls::{Call, CallNo, CallRequest, Called, Draft};
use super::output::{Invocation, Sink, ToSession};
use super::policy::Ticket;
use super::session::CalleeFeatures;
use super::{Party, Refused, RegistrationId, Router, Violation};

/// Whom a call goes to.
pub(super) struct Chosen {
    callee: Party,
    features: CalleeFeatures,
    counted: Option<Ticket>,
    disclose_caller: bool,
    forward_timeout: bool,
}

impl Chosen {
    /// # Errors
    /// [`Refused::FeatureNotSupported`]: what the call needs, this callee has not announced.
    fn check<P>(&self, draft: &Draft<P>) -> Result<(), Refused> {
        let can = self.features;
        if draft.options.ppt.is_some() && !can.payload_passthru_mode {
            return Err(Refused::FeatureNotSupported("payload_passthru_mode"));
        }
        if !draft.options.progress {
            return Ok(());
        }
        if !can.progressive_call_invocations {
            return Err(Refused::FeatureNotSupported("progressive_call_invocations"));
        }
        if !can.call_canceling {
            return Err(Refused::FeatureNotSupported("call_canceling"));
        }
        Ok(())
    }
}

impl<P: Clone> Router<P> {
    /// The callee whose turn it is, of those that have not said that they are unavailable.
    pub(super) fn choose(
        &mut self,
        id: RegistrationId,
        draft: &Draft<P>,
    ) -> Result<Chosen, Refused> {
        let Some(registration) = self.registrations.by_id.get_mut(&id) else {
            return Err(Refused::NoAvailableCallee);
        };
        let (sessions, n_max) = (&self.sessions, self.limits.invocations_per_callee_max);
        let shard = draft.options.shard();
        let entry = registration
            .callees
            .choose(shard, &mut self.chance, |entry| {
                let session = sessions.get(&entry.session);
                let is_full = session.is_none_or(|it| it.ends.invocations.len() >= n_max);
                is_full || draft.tried.contains(&entry.session)
            })?;
        let session = self.sessions.get(&entry.session);
        let features = session.map(|it| it.features.callee);
        Ok(Chosen {
            callee: Party::Session(entry.session),
            features: features.ok_or(Refused::NoAvailableCallee)?,
            counted: entry.concurrency.map(|_| entry.ticket),
            disclose_caller: entry.disclose_caller,
            forward_timeout: entry.forward_timeout,
        })
    }

    /// Gives a call that no registration matches to a door.
    pub(super) fn delegate(
        &mut self,
        door: Option<u64>,
        draft: Draft<P>,
        sink: &mut Sink<P>,
    ) -> Result<(), Refused> {
        let callee = Party::Door(door.ok_or(Refused::NoSuchProcedure)?);
        if self.n_invocations_of(callee) >= self.limits.invocations_per_callee_max {
            return Err(Refused::MaxConcurrencyReached);
        }
        let features = self.callee_features(callee);
        let chosen = Chosen {
            callee,
            features: features.ok_or(Refused::NoAvailableCallee)?,
            counted: None,
            disclose_caller: false,
            forward_timeout: false,
        };
        self.invoke(chosen, draft, sink)
    }

    /// Sends a call to a callee.
    pub(super) fn invoke(
        &mut self,
        chosen: Chosen,
        mut draft: Draft<P>,
        sink: &mut Sink<P>,
    ) -> Result<(), Refused> {
        chosen.check(&draft)?;
        let invocation = self.next_invocation(chosen.callee);
        let timeout_ms = watch_time(&chosen, &mut draft, sink);
        let is_disclosed = draft.is_disclosed || chosen.disclose_caller;
        let options = &draft.options;
        let message = Invocation {
            request: invocation,
            registration: draft.registration,
            procedure: draft.says_procedure.then(|| draft.procedure.clone()),
            caller: draft.identity.clone().filter(|_| is_disclosed),
            receive_progress: options.receive_progress && chosen.features.progressive_call_results,
            progress: options.progress.then_some(true),
            timeout_ms,
            trustlevel: draft.trustlevel,
            ppt: options.ppt.clone(),
            payload: draft.payload.clone(),
        };
        sink.tell(chosen.callee, ToSession::Invocation(message));
        let may_ask_others = chosen.features.call_reroute && !options.progress;
        self.insert_call(Call {
            caller: Some(draft.caller),
            request: draft.request,
            procedure: draft.procedure.clone(),
            callee: chosen.callee,
            invocation,
            registration: draft.registration,
            counted: chosen.counted,
            says_procedure: draft.says_procedure,
            receive_progress: options.receive_progress,
            is_progressive: options.progress,
            is_open: options.progress,
            is_killed: false,
            again: may_ask_others.then(|| Box::new(draft)),
        });
        Ok(())
    }

    /// After one callee has said that it is unavailable: as if it had not registered (wamp.md §7.5).
    pub(super) fn route_elsewhere(
        &mut self,
        callee: Party,
        mut draft: Draft<P>,
        sink: &mut Sink<P>,
    ) {
        let (caller, request) = (draft.caller, draft.request);
        let Some(id) = draft.registration else {
            return sink.refuse_call(caller, request, Refused::NoAvailableCallee);
        };
        let mut unavailable = callee;
        let chosen = loop {
            if let Party::Session(id) = unavailable {
                draft.tried.push(id);
            }
            match self.choose(id, &draft) {
                Ok(chosen) if chosen.check(&draft).is_ok() => break Some(chosen),
                Ok(unable) => unavailable = unable.callee,
                Err(_) => break None,
            }
        };
        let sent = match chosen {
            Some(chosen) => self.invoke(chosen, draft, sink),
            None => Err(Refused::NoAvailableCallee),
        };
        if let Err(why) = sent {
            sink.refuse_call(caller, request, why);
        }
    }

    /// The next piece of a call that comes in pieces; what its first CALL asked for holds for all (wamp.md §7.2).
    pub(super) fn continue_call(
        &mut self,
        no: CallNo,
        piece: CallRequest<'_, P>,
        sink: &mut Sink<P>,
    ) -> Result<Called, Violation> {
        let Some(call) = self.calls.get_mut(&no) else {
            return Ok(Called::Refused);
        };
        if !call.is_open {
            return Err(Violation::NotProgressive(piece.request));
        }
        if *call.procedure != *piece.procedure {
            return Err(Violation::OtherProcedure(piece.request));
        }
        call.is_open = piece.options.progress;
        if call.is_killed {
            return Ok(Called::Continued);
        }
        let message = Invocation {
            request: call.invocation,
            registration: call.registration,
            procedure: call.says_procedure.then(|| call.procedure.clone()),
            caller: None,
            receive_progress: false,
            progress: Some(piece.options.progress),
            timeout_ms: None,
            trustlevel: None,
            ppt: None,
            payload: piece.payload,
        };
        sink.tell(call.callee, ToSession::Invocation(message));
        Ok(Called::Continued)
    }
}

/// Who watches the time: the callee, if it can and has asked for it; else the caller's session, which is told once. Returns what the
/// callee is told.
fn watch_time<P>(chosen: &Chosen, draft: &mut Draft<P>, sink: &mut Sink<P>) -> Option<u64> {
    let timeout_ms = draft.options.timeout_ms;
    if timeout_ms == 0 || draft.has_timer {
        return None;
    }
    if chosen.forward_timeout && chosen.features.call_timeout {
        return Some(timeout_ms);
    }
    draft.has_timer = true;
    let request = draft.request;
    sink.tell(
        draft.caller,
        ToSession::Timer {
            request,
            timeout_ms,
        },
    );
    None
}
