//! `Idempotency-Key`: who asks for the same again, because the answer was lost, gets the first answer and no second act.
//!
//! ```text
//! begin ─ a new key ────────▶ Reservation ─ finish ▶ kept for KEPT, then forgotten
//!   │                              └─ dropped ▶ as if it had never been: nothing was done
//!   ├─ the same request ────▶ its answer (or: not answered yet)
//!   └─ another request ─────▶ a mismatch
//! ```
//!
//! Keys are each caller's own, and of nobody who gets the name later: a caller is a name and a revision. What is kept may have a new token's secret in it: therefore it is kept in memory alone, no
//! longer than ten minutes, and only so much of it.
//!
//! Always, each with a test of its name below:
//! - `the_same_gets_the_first_answer`, and only from the same caller.
//! - `an_answer_is_forgotten_in_time`, and its bytes with it.
//! - `what_is_kept_is_bounded`: a caller with many keys forgets their own oldest, then all forget the oldest.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use blake2::{Blake2s256, Digest};
use hyper::Method;
use hyper::body::Body;
use tokio::time::Instant;

use crate::problem::{Code, Problem};
use crate::reply::Reply;

/// With [`SWEEP`], ten minutes at most.
const KEPT: Duration = Duration::from_secs(9 * 60 + 30);

/// How often [`Replays::sweep`] is to be called.
pub(crate) const SWEEP: Duration = Duration::from_secs(30);

/// Requests of one caller that are remembered.
const CALLER_ENTRIES_MAX: usize = 512;

/// Requests of all callers that are remembered.
const ENTRIES_MAX: usize = 4096;

/// Bodies of all answers that are remembered.
const BYTES_MAX: usize = 8 * 1024 * 1024;

/// What a request is: its method, path, query, condition and body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fingerprint([u8; 32]);

impl Fingerprint {
    pub(crate) fn of(method: &Method, target: &str, condition: &str, body: &[u8]) -> Fingerprint {
        let mut hash = Blake2s256::new();
        for part in [
            method.as_str().as_bytes(),
            target.as_bytes(),
            condition.as_bytes(),
            body,
        ] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Fingerprint(hash.finalize().into())
    }
}

/// What is to be done with a request.
pub(crate) enum Begun {
    /// It is the first with its key: do it, then finish the reservation.
    First(Reservation),
    /// It was done.
    Again(Reply),
}

/// Answers by caller and key.
#[derive(Clone, Default)]
pub(crate) struct Replays(Arc<Mutex<Store>>);

type Key = (String, String);

#[derive(Default)]
struct Store {
    entries: HashMap<Key, Entry>,
    /// Finished entries, oldest first. What is not in `entries` any more with this number is passed over.
    finished: VecDeque<(u64, Key)>,
    next: u64,
    bytes: usize,
}

struct Entry {
    number: u64,
    fingerprint: Fingerprint,
    /// None: not answered yet.
    answer: Option<(Instant, Reply)>,
}

/// The right to do what a key stands for. Dropped unfinished, it frees the key: so it is finished also where nobody knows whether it was
/// done, and dropped only where it was not.
pub(crate) struct Reservation {
    replays: Replays,
    key: Key,
    finished: bool,
}

impl Replays {
    /// Looks up `key` of `caller`, and reserves it if it is new.
    ///
    /// # Errors
    /// It is of another request: 422. It is being answered: 409.
    pub(crate) fn begin(
        &self,
        caller: &str,
        key: &str,
        fingerprint: Fingerprint,
    ) -> Result<Begun, Problem> {
        let mut store = self.lock();
        store.sweep();
        let id = (caller.to_owned(), key.to_owned());
        match store.entries.get(&id) {
            Some(entry) if entry.fingerprint != fingerprint => Err(Problem::new(
                Code::IdempotencyMismatch,
                "this Idempotency-Key was used for another request",
            )),
            Some(Entry {
                answer: Some((_, kept)),
                ..
            }) => Ok(Begun::Again(kept.clone())),
            Some(_) => Err(Problem::new(
                Code::IdempotencyInProgress,
                "the first request with this Idempotency-Key is not answered yet",
            )),
            None => {
                let number = store.next;
                store.next += 1;
                let entry = Entry {
                    number,
                    fingerprint,
                    answer: None,
                };
                store.entries.insert(id.clone(), entry);
                Ok(Begun::First(Reservation {
                    replays: self.clone(),
                    key: id,
                    finished: false,
                }))
            }
        }
    }

    /// Forgets what is old.
    pub(crate) fn sweep(&self) {
        self.lock().sweep();
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reservation {
    /// Keeps the answer.
    pub(crate) fn finish(mut self, kept: Reply) {
        self.finished = true;
        self.replays.clone().lock().finish(&self.key, kept);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.finished {
            self.replays.clone().lock().forget(&self.key);
        }
    }
}

impl Store {
    fn finish(&mut self, key: &Key, kept: Reply) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        self.bytes += body_bytes(&kept);
        entry.answer = Some((Instant::now(), kept));
        self.finished.push_back((entry.number, key.clone()));
        self.bound(&key.0);
    }

    /// A caller's own oldest go first, so that nobody's keys push out another's while there is room.
    fn bound(&mut self, caller: &str) {
        let of_caller = |(_, key): &&(u64, Key)| key.0 == caller;
        if self.finished.iter().filter(of_caller).count() > CALLER_ENTRIES_MAX {
            let oldest = self.finished.iter().find(of_caller).cloned();
            if let Some((_, key)) = oldest {
                self.forget(&key);
            }
        }
        while self.finished.len() > ENTRIES_MAX || self.bytes > BYTES_MAX {
            let Some((_, key)) = self.finished.front().cloned() else {
                return;
            };
            self.forget(&key);
        }
    }

    fn sweep(&mut self) {
        let now = Instant::now();
        while let Some((_, key)) = self.finished.front() {
            let answer = self
                .entries
                .get(key)
                .and_then(|entry| entry.answer.as_ref());
            if answer.is_some_and(|(at, _)| now.duration_since(*at) < KEPT) {
                return;
            }
            let key = key.clone();
            self.forget(&key);
        }
    }

    fn forget(&mut self, key: &Key) {
        let Some(entry) = self.entries.remove(key) else {
            return;
        };
        if let Some((_, kept)) = entry.answer {
            self.bytes -= body_bytes(&kept);
            self.finished.retain(|(number, _)| *number != entry.number);
        }
    }
}

fn body_bytes(reply: &Reply) -> usize {
    // All of an answer's body is in memory: its size is known, and fits.
    reply.body().size_hint().lower() as usize
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;
    use hyper::header::HeaderValue;

    use super::*;
    use crate::reply;

    fn print(text: &str) -> Fingerprint {
        Fingerprint::of(&Method::POST, text, "", b"")
    }

    fn kept(len: usize) -> Reply {
        let text = HeaderValue::from_static("text/plain");
        reply::with(StatusCode::CREATED, text, vec![b'x'; len])
    }

    fn first(replays: &Replays, caller: &str, key: &str) -> Reservation {
        match replays.begin(caller, key, print("a")) {
            Ok(Begun::First(reservation)) => reservation,
            _ => panic!("{caller} {key} is known"),
        }
    }

    fn is_again(replays: &Replays, caller: &str, key: &str) -> bool {
        matches!(replays.begin(caller, key, print("a")), Ok(Begun::Again(_)))
    }

    #[tokio::test]
    async fn the_same_gets_the_first_answer() {
        let replays = Replays::default();
        let code = |outcome: Result<Begun, Problem>| outcome.err().map(|it| it.code());
        let reservation = first(&replays, "alice", "1");
        let outcome = replays.begin("alice", "1", print("a"));
        assert_eq!(code(outcome), Some(Code::IdempotencyInProgress));
        reservation.finish(kept(3));
        assert!(is_again(&replays, "alice", "1"));
        let outcome = replays.begin("alice", "1", print("b"));
        assert_eq!(code(outcome), Some(Code::IdempotencyMismatch));
        drop(first(&replays, "bob", "1"));
        drop(first(&replays, "alice", "2"));
        drop(first(&replays, "alice", "2"));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_forgotten_in_time() {
        let replays = Replays::default();
        first(&replays, "alice", "1").finish(kept(3));
        tokio::time::advance(KEPT - Duration::from_secs(1)).await;
        first(&replays, "alice", "2").finish(kept(4));
        assert!(is_again(&replays, "alice", "1"));
        tokio::time::advance(Duration::from_secs(1)).await;
        replays.sweep();
        assert_eq!(replays.lock().bytes, 4);
        drop(first(&replays, "alice", "1"));
        assert!(is_again(&replays, "alice", "2"));
        assert!(KEPT + SWEEP <= Duration::from_mins(10));
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded() {
        let replays = Replays::default();
        first(&replays, "bob", "0").finish(kept(1));
        for n in 0..=CALLER_ENTRIES_MAX {
            first(&replays, "alice", &n.to_string()).finish(kept(1));
        }
        assert!(!is_again(&replays, "alice", "0"));
        assert!(is_again(&replays, "alice", "1"));
        assert!(is_again(&replays, "bob", "0"), "not at another's cost");
        first(&replays, "carol", "0").finish(kept(BYTES_MAX));
        let store = replays.lock();
        assert_eq!((store.bytes, store.finished.len()), (BYTES_MAX, 1));
        drop(store);
        first(&replays, "carol", "1").finish(kept(BYTES_MAX + 1));
        let store = replays.lock();
        assert_eq!((store.bytes, store.entries.len()), (0, 0));
    }

    #[test]
    fn parts_of_a_fingerprint_do_not_run_together() {
        let of = |a, b, c: &str| Fingerprint::of(&Method::POST, a, b, c.as_bytes());
        assert_eq!(of("a", "b", "c"), of("a", "b", "c"));
        assert_ne!(of("ab", "", "c"), of("a", "b", "c"));
        assert_ne!(of("a", "", "bc"), of("a", "b", "c"));
    }
}
