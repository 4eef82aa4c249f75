//! What a call and its answer cost in the router, by how much is registered: `cargo bench --bench router`.
//!
//! Of each kind as many are there as the argument says; the calls go to those of one kind, in no order that a cache likes.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use restante::router::{
    CallRequest, Features, Limits, Match, Party, RegisterOptions, Router, SessionDetails,
    SessionId, Sink, YieldOptions,
};
use restante_storage::UnixMillis;

const SIZES: [u64; 2] = [100, 100_000];
const CALLER: SessionId = SessionId::new(1);
const CALLEE: SessionId = SessionId::new(2);

fn main() {
    divan::main();
}

fn uri(how: Match, at: u64) -> String {
    match how {
        Match::Exact => format!("com.exact.p{at}.get"),
        Match::Prefix => format!("com.prefix.p{at}."),
        Match::Wildcard => format!("com.wildcard.p{at}..get"),
    }
}

fn called(how: Match, at: u64) -> String {
    match how {
        Match::Exact => uri(how, at),
        Match::Prefix => format!("com.prefix.p{at}.get"),
        Match::Wildcard => format!("com.wildcard.p{at}.x.get"),
    }
}

/// A caller, and a callee with `n` registrations of each kind.
fn realm(n: u64) -> Router<u64> {
    let limits = Limits {
        registrations_per_session_max: usize::MAX,
        ..Limits::default()
    };
    let (mut router, mut sink) = (Router::new(limits, 1), Sink::new());
    for session in [CALLER, CALLEE] {
        let details = SessionDetails {
            session,
            authid: "user".into(),
            authrole: "role".into(),
            authmethod: "ticket".into(),
            authprovider: "static".into(),
            transport: None,
        };
        assert!(router.join(details, Features::default(), &mut sink));
    }
    for how in [Match::Exact, Match::Prefix, Match::Wildcard] {
        let options = RegisterOptions {
            how,
            ..RegisterOptions::default()
        };
        for at in 0..n {
            let registered = router.register(
                CALLEE,
                &uri(how, at),
                options,
                UnixMillis::new(0),
                &mut sink,
            );
            registered.expect("nothing is in its way");
        }
    }
    router
}

/// Calls and answers, again and again.
fn calls(bencher: Bencher<'_, '_>, n: u64, how: Match) {
    let mut router = realm(n);
    let stride = 611_953; // a prime, so no size is a multiple of it
    let procedures: Vec<String> = (0..n).map(|at| called(how, at * stride % n)).collect();
    let mut turn = procedures.iter().cycle();
    let (mut sink, mut request) = (Sink::new(), 0);
    bencher.counter(ItemsCount::new(1_u64)).bench_local(|| {
        request += 1;
        let procedure = turn.next().expect("a cycle has no end");
        let call = CallRequest::new(request, black_box(procedure), request);
        let caller = Party::Session(CALLER);
        router.call(caller, call, &mut sink).expect("a plain call");
        let (callee, options) = (Party::Session(CALLEE), YieldOptions::default());
        let answered = router.yield_(callee, request, options, request, &mut sink);
        answered.expect("the invocation was just sent");
        let n_messages = sink.messages.len();
        sink.messages.clear();
        n_messages
    });
}

#[divan::bench(args = SIZES, sample_size = 1_000, sample_count = 200)]
fn call_exact(bencher: Bencher<'_, '_>, n: u64) {
    calls(bencher, n, Match::Exact);
}

#[divan::bench(args = SIZES, sample_size = 1_000, sample_count = 200)]
fn call_prefix(bencher: Bencher<'_, '_>, n: u64) {
    calls(bencher, n, Match::Prefix);
}

#[divan::bench(args = SIZES, sample_size = 1_000, sample_count = 200)]
fn call_wildcard(bencher: Bencher<'_, '_>, n: u64) {
    calls(bencher, n, Match::Wildcard);
}
