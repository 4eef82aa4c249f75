//! Lines that a stranger can cause, so many a minute and no more; then one line says how many were left out.
//!
//! ```text
//! seldom!(60, info, %peer, reason, "upgrade refused");
//! ```
//!
//! Always, each with a test of its name below: `so_many_a_minute_and_then_how_many_were_left_out`.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

const MINUTE: Duration = Duration::from_mins(1);

/// Counts the lines of one place in the program.
pub(crate) struct Seldom {
    per_minute: u32,
    state: Mutex<State>,
}

struct State {
    /// When the minute at hand began.
    began: Option<Duration>,
    lines: u32,
    left_out: u64,
}

impl Seldom {
    /// At most `per_minute` lines in a minute.
    pub(crate) const fn new(per_minute: u32) -> Seldom {
        Seldom {
            per_minute,
            state: Mutex::new(State {
                began: None,
                lines: 0,
                left_out: 0,
            }),
        }
    }

    /// Whether a line may be written now; then, how many have been left out since the last one.
    pub(crate) fn may(&self) -> Option<u64> {
        static START: OnceLock<Instant> = OnceLock::new();
        self.may_at(START.get_or_init(Instant::now).elapsed())
    }

    fn may_at(&self, now: Duration) -> Option<u64> {
        let mut state = self.state.lock();
        let is_over = |began: Duration| now.saturating_sub(began) >= MINUTE;
        if state.began.is_none_or(is_over) {
            state.began = Some(now);
            state.lines = 0;
        }
        if state.lines >= self.per_minute {
            state.left_out += 1;
            return None;
        }
        state.lines += 1;
        Some(std::mem::take(&mut state.left_out))
    }
}

/// Writes an event at most so many times a minute: `seldom!(60, info, field = value, "message")`. If the level is off, nothing is counted.
macro_rules! seldom {
    ($per_minute:literal, $level:ident, $($event:tt)+) => {{
        static LINES: $crate::logs::Seldom = $crate::logs::Seldom::new($per_minute);
        if $crate::logs::seldom!(@enabled $level)
            && let Some(left_out) = LINES.may()
        {
            if left_out > 0 {
                tracing::$level!(left_out, "more lines like the next one were left out");
            }
            tracing::$level!($($event)+);
        }
    }};
    (@enabled info) => { tracing::enabled!(tracing::Level::INFO) };
    (@enabled warn) => { tracing::enabled!(tracing::Level::WARN) };
    (@enabled debug) => { tracing::enabled!(tracing::Level::DEBUG) };
}
pub(crate) use seldom;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_a_minute_and_then_how_many_were_left_out() {
        let lines = Seldom::new(2);
        let at = |seconds| lines.may_at(Duration::from_secs(seconds));
        assert_eq!([at(5), at(6)], [Some(0), Some(0)]);
        assert_eq!([at(7), at(64)], [None, None]);
        assert_eq!([at(65), at(66), at(67)], [Some(2), Some(0), None]);
        assert_eq!(at(1000), Some(1));
    }

    #[test]
    fn a_flood_is_a_few_lines() {
        use std::sync::Arc;
        use std::sync::atomic::{AtomicUsize, Ordering};
        use tracing_subscriber::layer::{Context, SubscriberExt};

        struct Count(Arc<AtomicUsize>);
        impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Count {
            fn on_event(&self, _: &tracing::Event<'_>, _: Context<'_, S>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let count = Arc::new(AtomicUsize::new(0));
        let subscriber = tracing_subscriber::registry().with(Count(count.clone()));
        tracing::subscriber::with_default(subscriber, || {
            for n in 0..1000 {
                seldom!(3, info, n, "a stranger did something");
            }
        });
        assert_eq!(count.load(Ordering::Relaxed), 3);
    }
}
