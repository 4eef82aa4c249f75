//! The one place where a test waits by the clock, always up to a deadline.
//!
//! On a slow machine, `RESTANTE_TEST_DEADLINE_S` stretches the deadline: the seconds after which something that must
//! happen is taken not to.

use std::thread::sleep;
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(5);
const QUIET: Duration = Duration::from_millis(250);

/// How long what must happen may take.
pub(crate) fn deadline() -> Duration {
    let seconds = std::env::var("RESTANTE_TEST_DEADLINE_S").ok();
    seconds
        .and_then(|text| text.parse().ok())
        .map_or(DEADLINE, Duration::from_secs)
}

/// How long what must not happen is given.
pub(crate) fn quiet() -> Duration {
    QUIET
}

/// Before somebody who was sent away asks again.
pub(crate) fn a_moment() {
    sleep(POLL);
}

/// Asks again and again until there is an answer.
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let last = Instant::now() + deadline();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < last, "waited in vain until {what}");
        sleep(POLL);
    }
}

/// Asks again and again until the answer is yes or `most` is over; says which.
pub(crate) fn until_or_after(most: Duration, mut ask: impl FnMut() -> bool) -> bool {
    let last = Instant::now() + most;
    while Instant::now() < last {
        if ask() {
            return true;
        }
        sleep(POLL.min(most));
    }
    false
}
