//! A long-poll client's transport: what its requests bring and fetch, and the wire that its session has.
//!
//! ```text
//! POST …/send    ─▶ channel, bounded ─▶ Polled::turn ─▶ session
//! POST …/receive ◀─ output, bounded  ◀─ Polled::write ◀─┘
//! ```
//!
//! The wire owns the transport: when it is dropped, the id is nobody's any more. It ends when the client has been without a request
//! for too long, or has said that it closes. A message is taken out of the output only for an answer that is given at once.
//!
//! Where the router ends it, the client hears so by its next request, and has others under way, or closes in its turn: the id is
//! remembered for some seconds, in a list that is looked through when it is used, so that these are no mistakes.
//!
//! Always, each with a test of its name in `front::tests`:
//! - `a_poll_without_a_message_ends_empty_at_its_time`.
//! - `a_client_without_a_request_is_gone_at_its_time`.
//! - `of_two_polls_the_older_ends`.
//! - `what_was_said_last_can_be_fetched`.
//! - `what_the_router_has_ended_may_be_closed_for_a_while`; below, `ended_ones_are_few_and_soon_forgotten`.
//!
//! Not here: HTTP (http).

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;

use super::Way;
use super::wire::{Lost, Turn, join};
use crate::access::random_letters;
use crate::front::accept::log_panic;
use crate::front::clock::{Alarm, down, now};
use crate::front::ration::STRANGER_BYTES_MAX;
use restante_proto::wamp::Batch;

/// 130 bits.
const ID_LETTERS: usize = 26;
/// Bodies that wait for the session.
const BODIES_MAX: usize = 4;
/// What may wait for the client, and one message more.
const OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// How long it is remembered that the router has ended a transport.
pub(in crate::front) const ENDED_WITHIN: Duration = Duration::from_secs(10);
/// Of how many; the oldest are forgotten first.
const ENDED_MAX: usize = 1024;

/// All transports of long-poll.
pub(in crate::front) struct LongPolls {
    ids: Mutex<Ids>,
    /// How many there are.
    n: watch::Sender<usize>,
    tasks: Mutex<JoinSet<()>>,
}

/// What ids stand for.
#[derive(Default)]
struct Ids {
    posts: HashMap<String, Arc<Post>>,
    ended: Ended,
}

/// Ids of transports that the router has ended, the oldest first, each with when it is forgotten.
#[derive(Default)]
struct Ended(VecDeque<(Instant, String)>);

/// What an id stands for.
pub(super) enum Found {
    /// A transport.
    Post(Arc<Post>),
    /// One that the router has ended not long ago.
    Ended,
    Nothing,
}

/// What requests see of a transport.
pub(super) struct Post {
    pub(super) way: Way,
    state: Mutex<State>,
    /// For requests that wait: look again.
    told: Notify,
    /// For the wire: look again.
    heard: Notify,
}

struct State {
    /// Where bodies go; none once the client has closed.
    input: Option<mpsc::Sender<Bytes>>,
    output: VecDeque<Bytes>,
    output_bytes: usize,
    /// How messages are put together; none: each goes alone.
    batch: Option<Batch>,
    /// Nothing more is written.
    over: bool,
    /// And that was the router's doing: what the client still says is nobody's, and no mistake.
    ended: bool,
    /// The latest poll.
    poll: u64,
    /// Requests that are under way.
    requests: usize,
    /// When the last one ended.
    idle_since: Instant,
    /// What may still be sent before the client is known; none: it is.
    ration: Option<usize>,
}

/// The wire's end of a transport.
pub(super) struct Polled {
    post: Arc<Post>,
    input: mpsc::Receiver<Bytes>,
    alarm: Alarm,
    session_within: Duration,
    blocked: bool,
    _registered: Registered,
}

/// In the list of transports, until it is dropped.
struct Registered {
    of: Arc<LongPolls>,
    id: String,
}

/// Why a body is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// The transport is gone.
    Gone,
    /// More than a client may send that is not known yet.
    TooMuch,
}

impl LongPolls {
    pub(in crate::front) fn new() -> Arc<Self> {
        Arc::new(LongPolls {
            ids: Mutex::default(),
            n: watch::Sender::new(0),
            tasks: Mutex::default(),
        })
    }

    /// A new transport: its id, and the wire's end of it. None: the system has no random numbers.
    pub(super) fn open(
        self: &Arc<Self>,
        way: Way,
        session_within: Duration,
    ) -> Option<(String, Polled)> {
        let id = match random_letters(ID_LETTERS) {
            Ok(id) => id,
            Err(error) => {
                tracing::error!(%error, "no random numbers for an id");
                return None;
            }
        };
        let (sender, input) = mpsc::channel(BODIES_MAX);
        let post = Arc::new(Post {
            way,
            state: Mutex::new(State {
                input: Some(sender),
                output: VecDeque::new(),
                output_bytes: 0,
                batch: None,
                over: false,
                ended: false,
                poll: 0,
                requests: 0,
                idle_since: now(),
                ration: Some(STRANGER_BYTES_MAX),
            }),
            told: Notify::new(),
            heard: Notify::new(),
        });
        self.ids.lock().posts.insert(id.clone(), post.clone());
        self.n.send_modify(|n| *n += 1);
        let registered = Registered {
            of: self.clone(),
            id: id.clone(),
        };
        let polled = Polled {
            post,
            input,
            alarm: Alarm::new(),
            session_within,
            blocked: false,
            _registered: registered,
        };
        Some((id, polled))
    }

    /// What that id stands for.
    pub(super) fn find(&self, id: &str) -> Found {
        let mut ids = self.ids.lock();
        if let Some(post) = ids.posts.get(id) {
            return Found::Post(post.clone());
        }
        if ids.ended.has(id, now()) {
            Found::Ended
        } else {
            Found::Nothing
        }
    }

    /// Runs a transport's session.
    pub(super) fn spawn(&self, session: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock();
        while let Some(ended) = tasks.try_join_next() {
            log_panic(ended);
        }
        tasks.spawn(session);
    }

    /// Waits until there is no transport.
    pub(in crate::front) async fn all_gone(&self) {
        let mut n = self.n.subscribe();
        if n.wait_for(|n| *n == 0).await.is_err() {
            tracing::debug!("nobody is left who could tell of transports");
        }
    }

    /// From the shutdown, waits as long as `patience` until there is no transport, and cuts those that there are then.
    pub(in crate::front) async fn drain(
        &self,
        mut shutdown: watch::Receiver<bool>,
        patience: Duration,
    ) {
        down(&mut shutdown).await;
        if tokio::time::timeout(patience, self.all_gone())
            .await
            .is_err()
        {
            tracing::warn!("long-poll clients cut at the end of the drain time");
        }
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        tasks.shutdown().await;
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut ids = self.of.ids.lock();
        let post = ids.posts.remove(&self.id);
        if let Some(post) = post {
            let mut state = post.state.lock();
            state.over = true;
            state.input = None;
            if state.ended {
                ids.ended.push(std::mem::take(&mut self.id), now());
            }
            drop(state);
            post.told.notify_waiters();
        }
        drop(ids);
        self.of.n.send_modify(|n| *n -= 1);
    }
}

impl Ended {
    fn push(&mut self, id: String, now: Instant) {
        self.forget(now);
        if self.0.len() >= ENDED_MAX {
            self.0.pop_front();
        }
        self.0.push_back((now + ENDED_WITHIN, id));
    }

    fn has(&mut self, id: &str, now: Instant) -> bool {
        self.forget(now);
        self.0.iter().any(|(_, it)| it == id)
    }

    fn forget(&mut self, now: Instant) {
        while self.0.front().is_some_and(|(at, _)| *at <= now) {
            self.0.pop_front();
        }
    }
}

impl Post {
    /// Whether it is known who the client is.
    pub(super) fn is_known(&self) -> bool {
        self.state.lock().ration.is_none()
    }

    /// A request of the client's, until it is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Request {
        self.state.lock().requests += 1;
        Request(self.clone())
    }

    /// The longest body that the client may send now, if that is less than for others.
    pub(super) fn ration(&self) -> Option<usize> {
        self.state.lock().ration
    }

    /// Takes a body that the client has sent. Once the router has ended the transport, nobody hears it.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub(super) async fn send(&self, body: Bytes) -> Result<(), NotTaken> {
        let input = {
            let mut state = self.state.lock();
            if state.ended {
                return Ok(());
            }
            if let Some(ration) = &mut state.ration {
                *ration = ration.checked_sub(body.len()).ok_or(NotTaken::TooMuch)?;
            }
            state.input.clone()
        };
        let is_taken = match input {
            Some(input) => input.send(body).await.is_ok(),
            None => false,
        };
        // The end may have come meanwhile.
        if is_taken || self.state.lock().ended {
            Ok(())
        } else {
            Err(NotTaken::Gone)
        }
    }

    /// What there is for the client: one message, or all that go together. Waits for `patience`, then there is nothing; and at once
    /// when there is a newer such request.
    ///
    /// # Errors
    /// Nothing more will come.
    pub(super) async fn receive(&self, patience: Duration) -> Result<Bytes, NotTaken> {
        let mine = {
            let mut state = self.state.lock();
            state.poll += 1;
            state.poll
        };
        self.told.notify_waiters();
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            let told = self.told.notified();
            let mut told = std::pin::pin!(told);
            told.as_mut().enable();
            if let Some(taken) = self.take(mine) {
                return taken;
            }
            if tokio::time::timeout_at(deadline, told).await.is_err() {
                return Ok(Bytes::new());
            }
        }
    }

    /// None: there is something to wait for.
    fn take(&self, poll: u64) -> Option<Result<Bytes, NotTaken>> {
        let mut state = self.state.lock();
        if state.poll != poll {
            return Some(Ok(Bytes::new()));
        }
        let Some(taken) = state.take() else {
            return state.over.then_some(Err(NotTaken::Gone));
        };
        drop(state);
        self.heard.notify_one();
        Some(Ok(taken))
    }

    /// The client closes.
    pub(super) fn close(&self) {
        self.state.lock().input = None;
    }
}

impl State {
    /// Takes one message out of the output, or all as one batch.
    fn take(&mut self) -> Option<Bytes> {
        let Some(batch) = &self.batch else {
            let taken = self.output.pop_front()?;
            self.output_bytes -= taken.len();
            return Some(taken);
        };
        let mut together = BytesMut::with_capacity(self.output_bytes + 8 * self.output.len());
        for message in self.output.drain(..) {
            join(batch, &message, &mut together);
        }
        self.output_bytes = 0;
        (!together.is_empty()).then(|| together.freeze())
    }
}

/// A request that is under way: its client is not silent.
pub(super) struct Request(Arc<Post>);

impl Drop for Request {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.requests -= 1;
        state.idle_since = now();
        drop(state);
        self.0.heard.notify_one();
    }
}

impl Polled {
    pub(super) fn admit(&mut self) {
        self.post.state.lock().ration = None;
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Waits until the client has fetched enough and, if `read`, for a body. Cancel-safe.
    pub(super) async fn turn(&mut self, read: bool) -> Turn {
        loop {
            if self.blocked && self.has_room() {
                self.blocked = false;
                return Turn::Written;
            }
            let silent_at = self.silent_at();
            if silent_at.is_some_and(|at| at <= now()) {
                return Turn::Ended(Lost::Silent);
            }
            let wake = async {
                match silent_at {
                    Some(at) => self.alarm.reach(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                body = self.input.recv(), if read => return came(body),
                () = self.post.heard.notified() => {}
                () = wake => {}
            }
        }
    }

    /// A body that is there already.
    pub(super) fn turn_now(&mut self) -> Option<Turn> {
        match self.input.try_recv() {
            Ok(body) => Some(came(Some(body))),
            Err(mpsc::error::TryRecvError::Empty) => None,
            Err(mpsc::error::TryRecvError::Disconnected) => Some(came(None)),
        }
    }

    /// Has messages wait for the client, as many as there is room for; `batch` is how they are put together, if they go together.
    pub(super) fn write(
        &mut self,
        batch: Option<&Batch>,
        mut next: impl FnMut(&mut BytesMut) -> Option<Bytes>,
    ) {
        let mut room = BytesMut::new();
        while !self.blocked {
            let Some(message) = next(&mut room) else {
                return;
            };
            let mut state = self.post.state.lock();
            state.batch = batch.cloned();
            state.output_bytes += message.len();
            state.output.push_back(message);
            self.blocked = state.output_bytes >= OUTPUT_BYTES_MAX;
            drop(state);
            self.post.told.notify_waiters();
        }
    }

    /// The router ends it: nothing more is written or taken. Waits until the client has fetched all that was written.
    pub(super) async fn close(mut self) {
        {
            let mut state = self.post.state.lock();
            state.over = true;
            state.ended = true;
        }
        self.input.close();
        self.post.told.notify_waiters();
        while !self.post.state.lock().output.is_empty() {
            self.post.heard.notified().await;
        }
    }

    fn has_room(&self) -> bool {
        self.post.state.lock().output_bytes < OUTPUT_BYTES_MAX
    }

    /// When the client has been silent for too long; none: a request of its is under way.
    fn silent_at(&self) -> Option<Instant> {
        let state = self.post.state.lock();
        (state.requests == 0).then(|| state.idle_since + self.session_within)
    }
}

/// None: the client has closed.
fn came(body: Option<Bytes>) -> Turn {
    match body {
        Some(body) => Turn::Message(body),
        None => Turn::Ended(Lost::Closed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ended_ones_are_few_and_soon_forgotten() {
        let mut ended = Ended::default();
        let began = Instant::now();
        for n in 0..=ENDED_MAX {
            ended.push(n.to_string(), began);
        }
        assert_eq!(ended.0.len(), ENDED_MAX);
        let last = ENDED_MAX.to_string();
        assert!(!ended.has("0", began) && ended.has("1", began) && ended.has(&last, began));
        let soon = began + ENDED_WITHIN - Duration::from_millis(1);
        ended.push("new".to_owned(), soon);
        assert!(ended.has(&last, soon));
        let later = began + ENDED_WITHIN;
        assert!(!ended.has(&last, later) && ended.has("new", later));
        assert_eq!(ended.0.len(), 1);
    }
}
