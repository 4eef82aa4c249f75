//! Calls, over any order of events: each is answered once, and nothing is left when all have gone.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use proptest::prelude::*;

use super::rig::{NOW, Rig, id, party};
use crate::router::{
    CallOptions, CallRequest, Called, CancelMode, Features, Invoke, Match, Party, RegisterOptions,
    RegistrationId, ToSession, YieldOptions,
};

const SESSIONS: u64 = 4;
const PROCEDURES: [&str; 3] = ["a", "a.b", "c"];
const POLICIES: [Invoke; 5] = [
    Invoke::Single,
    Invoke::First,
    Invoke::Last,
    Invoke::RoundRobin,
    Invoke::Random,
];

/// Something that happens; numbers are reduced to what there is.
#[derive(Debug, Clone)]
enum Event {
    Join {
        session: u64,
        features: u8,
    },
    Leave {
        session: u64,
    },
    LeaveDoor {
        door: u64,
    },
    Register {
        session: u64,
        what: usize,
        concurrency: u32,
        policy: usize,
        is_forced: bool,
    },
    Unregister {
        session: u64,
        registration: u64,
    },
    Call {
        caller: usize,
        what: usize,
        bits: u8,
    },
    Piece {
        which: usize,
        is_last: bool,
    },
    Cancel {
        which: usize,
        mode: usize,
    },
    Expire {
        which: usize,
    },
    Yield {
        which: usize,
        is_progress: bool,
    },
    Error {
        which: usize,
        is_unavailable: bool,
    },
}

fn event() -> impl Strategy<Value = Event> {
    let session = || 1..=SESSIONS;
    prop_oneof![
        2 => (session(), any::<u8>()).prop_map(|(session, features)| Event::Join { session, features }),
        1 => session().prop_map(|session| Event::Leave { session }),
        1 => (1..3_u64).prop_map(|door| Event::LeaveDoor { door }),
        4 => (session(), 0..9_usize, 0..3_u32, 0..POLICIES.len(), any::<bool>()).prop_map(
            |(session, what, concurrency, policy, forced)| Event::Register { session, what, concurrency, policy, is_forced: forced && policy == 0 },
        ),
        1 => (session(), 1..8_u64).prop_map(|(session, registration)| Event::Unregister { session, registration }),
        8 => (any::<usize>(), 0..PROCEDURES.len(), any::<u8>()).prop_map(|(caller, what, bits)| Event::Call { caller, what, bits }),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(which, is_last)| Event::Piece { which, is_last }),
        3 => (any::<usize>(), 0..3_usize).prop_map(|(which, mode)| Event::Cancel { which, mode }),
        1 => any::<usize>().prop_map(|which| Event::Expire { which }),
        5 => (any::<usize>(), any::<bool>()).prop_map(|(which, is_progress)| Event::Yield { which, is_progress }),
        3 => (any::<usize>(), any::<bool>()).prop_map(|(which, is_unavailable)| Event::Error { which, is_unavailable }),
    ]
}

/// What whoever looks on knows.
struct Model {
    rig: Rig,
    /// Calls without an answer, and what was called.
    open: BTreeMap<(Party, u64), &'static str>,
    /// What callees were asked; they may answer again and again.
    asked: Vec<(Party, u64)>,
    /// The highest invocation of each callee.
    invocations: BTreeMap<Party, u64>,
    last_request: u64,
}

impl Model {
    fn new() -> Self {
        Self {
            rig: Rig::new(),
            open: BTreeMap::new(),
            asked: Vec::new(),
            invocations: BTreeMap::new(),
            last_request: 0,
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Join { session, features } => self.join(session, features),
            Event::Leave { session } => self.leave(session),
            Event::LeaveDoor { door } => self.leave_door(door),
            Event::Register {
                session,
                what,
                concurrency,
                policy,
                is_forced,
            } => {
                let how = [Match::Exact, Match::Prefix, Match::Wildcard][what / 3];
                let options = RegisterOptions {
                    how,
                    invoke: POLICIES[policy],
                    concurrency: NonZeroU32::new(concurrency),
                    force_reregister: is_forced,
                    ..RegisterOptions::default()
                };
                let (router, sink) = (&mut self.rig.router, &mut self.rig.sink);
                let uri = PROCEDURES[what % 3];
                router.register(id(session), uri, options, NOW, sink).ok();
            }
            Event::Unregister {
                session,
                registration,
            } => {
                let registration = RegistrationId::new(registration);
                let (router, sink) = (&mut self.rig.router, &mut self.rig.sink);
                router.unregister(id(session), registration, sink).ok();
            }
            Event::Call { caller, what, bits } => self.call(caller, what, bits),
            Event::Piece { which, is_last } => self.piece(which, is_last),
            Event::Cancel { which, mode } => {
                let mode = [CancelMode::Skip, CancelMode::Kill, CancelMode::KillNoWait][mode];
                if let Some((caller, request)) = self.any_open(which) {
                    self.rig
                        .router
                        .cancel(caller, request, mode, &mut self.rig.sink);
                }
            }
            Event::Expire { which } => {
                if let Some((caller, request)) = self.any_open(which) {
                    self.rig.router.expire(caller, request, &mut self.rig.sink);
                }
            }
            Event::Yield { which, is_progress } => self.yields(which, is_progress),
            Event::Error {
                which,
                is_unavailable,
            } => self.error(which, is_unavailable),
        }
        self.look();
    }

    fn join(&mut self, session: u64, bits: u8) {
        let mut features = Features::default();
        features.caller.progressive_call_invocations = bits & 1 > 0;
        features.callee.progressive_call_results = bits & 2 > 0;
        features.callee.progressive_call_invocations = bits & 4 > 0;
        features.callee.call_canceling = bits & 8 > 0;
        features.callee.call_reroute = bits & 16 > 0;
        features.callee.registration_revocation = bits & 32 > 0;
        let details = super::rig::details(session, "guest");
        if self.rig.router.join(details, features, &mut self.rig.sink) {
            self.invocations.remove(&party(session));
            self.asked.retain(|(callee, _)| *callee != party(session));
        }
    }

    fn leave(&mut self, session: u64) {
        self.rig.leave(session);
        self.open.retain(|(caller, _), _| *caller != party(session));
    }

    fn leave_door(&mut self, door: u64) {
        self.rig.router.leave_door(door, &mut self.rig.sink);
        self.open
            .retain(|(caller, _), _| *caller != Party::Door(door));
    }

    fn call(&mut self, caller: usize, what: usize, bits: u8) {
        let callers = [party(1), party(2), party(3), party(4), Party::Door(1)];
        let caller = callers[caller % callers.len()];
        self.last_request += 1;
        let mut call = CallRequest::new(self.last_request, PROCEDURES[what], "in");
        call.payload_bytes = 1000;
        call.options = CallOptions {
            receive_progress: bits & 1 > 0,
            progress: bits & 2 > 0,
            timeout_ms: u64::from(bits & 4),
            rkey: Some("k".into()),
            is_partition: bits & 8 > 0,
            ..CallOptions::default()
        };
        call.fallback = (bits & 16 > 0).then_some(2);
        let is_here = match caller {
            Party::Session(id) => self.rig.router.session(id).is_some(),
            Party::Door(_) => true,
        };
        let called = self.rig.try_call(caller, call);
        if is_here && called.is_ok() {
            self.open
                .insert((caller, self.last_request), PROCEDURES[what]);
        }
    }

    fn piece(&mut self, which: usize, is_last: bool) {
        let Some((caller, request)) = self.any_open(which) else {
            return;
        };
        let procedure = self.open[&(caller, request)];
        let mut call = CallRequest::new(request, procedure, "piece");
        call.options.progress = !is_last;
        // A violation where the call is not in pieces, or at its end; else it goes on.
        let called = self.rig.try_call(caller, call);
        assert!(
            called.is_err() || called == Ok(Called::Continued),
            "{called:?}"
        );
    }

    fn yields(&mut self, which: usize, progress: bool) {
        if let Some((callee, invocation)) = self.any_asked(which) {
            let options = YieldOptions {
                progress,
                ppt: None,
            };
            let sink = &mut self.rig.sink;
            self.rig
                .router
                .yield_(callee, invocation, options, "out", sink)
                .unwrap();
        }
    }

    fn error(&mut self, which: usize, is_unavailable: bool) {
        let uri = if is_unavailable {
            "wamp.error.unavailable"
        } else {
            "x.y"
        };
        if let Some((callee, invocation)) = self.any_asked(which) {
            let sink = &mut self.rig.sink;
            self.rig
                .router
                .error(callee, invocation, uri, None, "why", sink)
                .unwrap();
        }
    }

    fn any_open(&self, which: usize) -> Option<(Party, u64)> {
        self.open
            .keys()
            .nth(which % self.open.len().max(1))
            .copied()
    }

    /// Recent ones more often, for these are not answered yet.
    fn any_asked(&self, which: usize) -> Option<(Party, u64)> {
        let n = if which.is_multiple_of(4) {
            self.asked.len()
        } else {
            self.asked.len().min(3)
        };
        self.asked.iter().rev().nth(which / 4 % n.max(1)).copied()
    }

    /// Each answer is to a call without one; each invocation is the next, or another piece.
    fn look(&mut self) {
        for (to, message) in std::mem::take(&mut self.rig.sink.messages) {
            match message {
                ToSession::Invocation(it) => self.invoked(to, it.request, it.progress.is_some()),
                ToSession::Result(it) if it.progress => {
                    assert!(self.open.contains_key(&(to, it.request)), "{to:?} {it:?}");
                }
                ToSession::Result(it) => self.answered(to, it.request),
                ToSession::CallError(it) => self.answered(to, it.request),
                _ => {}
            }
        }
        let router = &self.rig.router;
        let waiting = router.calls(None, usize::MAX).into_iter();
        let waiting: BTreeSet<_> = waiting
            .filter_map(|row| Some((row.caller?, row.request)))
            .collect();
        assert!(
            waiting.iter().eq(self.open.keys()),
            "{waiting:?} {:?}",
            self.open
        );
    }

    fn invoked(&mut self, callee: Party, invocation: u64, is_piece: bool) {
        let last = self.invocations.entry(callee).or_insert(0);
        if invocation == *last + 1 {
            *last = invocation;
            self.asked.push((callee, invocation));
        } else {
            assert!(
                is_piece && invocation <= *last,
                "{callee:?} {invocation} after {last}"
            );
        }
    }

    fn answered(&mut self, caller: Party, request: u64) {
        let known = self.open.remove(&(caller, request));
        assert!(known.is_some(), "{caller:?} {request} is answered again");
    }
}

proptest! {
    #[test]
    fn every_call_is_answered_once_and_nothing_is_left(events in prop::collection::vec(event(), 1..120)) {
        let mut model = Model::new();
        for session in 1..=SESSIONS {
            model.join(session, 0xff);
        }
        for event in events {
            model.happen(event);
        }
        for session in 1..=SESSIONS {
            model.leave(session);
            model.look();
        }
        for door in 1..=2 {
            model.leave_door(door);
            model.look();
        }
        prop_assert!(model.open.is_empty(), "{:?}", model.open);
        model.rig.assert_empty();
    }
}
