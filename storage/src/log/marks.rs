//! How far the log has got, and that no mark ever overtakes another.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::Lsn;

/// How far the log has got. Each mark is an end: it covers every record that begins before it. None overtakes the one
/// above it (`applied` may pass `durable` only where the sync policy says that a write is enough).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    /// Given a place by the writer.
    pub appended: Lsn,
    /// Taken by the kernel: survives our crash, not the machine's.
    pub written: Lsn,
    /// Covered by an fdatasync that returned Ok: the only mark that confirms look at.
    pub durable: Lsn,
    /// Folded into the engine's state.
    pub applied: Lsn,
}

/// The marks as the writer and the engine move them.
#[derive(Debug)]
pub(crate) struct MarksCell {
    appended: AtomicU64,
    written: AtomicU64,
    durable: AtomicU64,
    applied: AtomicU64,
    /// Whether `applied` may go as far as `written`.
    applies_unsynced: bool,
}

impl MarksCell {
    pub(crate) fn new(at: Lsn, applies_unsynced: bool) -> Self {
        let mark = || AtomicU64::new(at.get());
        MarksCell {
            appended: mark(),
            written: mark(),
            durable: mark(),
            applied: mark(),
            applies_unsynced,
        }
    }

    /// Reads the lowest first: what moves meanwhile can only make the gaps look larger.
    pub(crate) fn get(&self) -> Marks {
        let applied = self.applied.load(Ordering::Acquire);
        let durable = self.durable.load(Ordering::Acquire);
        let written = self.written.load(Ordering::Acquire);
        let appended = self.appended.load(Ordering::Acquire);
        Marks {
            appended: Lsn::new(appended),
            written: Lsn::new(written),
            durable: Lsn::new(durable),
            applied: Lsn::new(applied),
        }
    }

    pub(crate) fn durable(&self) -> Lsn {
        Lsn::new(self.durable.load(Ordering::Acquire))
    }

    pub(crate) fn set_appended(&self, to: Lsn) {
        raise(&self.appended, to, None, "appended");
    }

    pub(crate) fn set_written(&self, to: Lsn) {
        raise(&self.written, to, Some(&self.appended), "written");
    }

    pub(crate) fn set_durable(&self, to: Lsn) {
        raise(&self.durable, to, Some(&self.written), "durable");
    }

    pub(crate) fn set_applied(&self, to: Lsn) {
        let above = if self.applies_unsynced {
            &self.written
        } else {
            &self.durable
        };
        raise(&self.applied, to, Some(above), "applied");
    }
}

/// Moves one mark; a mark that would go back, or past the one above it, is our own bug and worth a crash.
fn raise(mark: &AtomicU64, to: Lsn, above: Option<&AtomicU64>, name: &str) {
    if let Some(above) = above {
        let above = above.load(Ordering::Acquire);
        assert!(
            to.get() <= above,
            "mark `{name}` would overtake: {to} > {above}"
        );
    }
    let before = mark.swap(to.get(), Ordering::AcqRel);
    assert!(
        before <= to.get(),
        "mark `{name}` would go back: {before} > {to}"
    );
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    fn panics(step: impl FnOnce()) -> bool {
        catch_unwind(AssertUnwindSafe(step)).is_err()
    }

    #[test]
    fn marks_never_overtake() {
        let at = Lsn::new;
        let marks = MarksCell::new(at(10), false);
        assert!(panics(|| marks.set_written(at(11))));
        marks.set_appended(at(20));
        assert!(panics(|| marks.set_durable(at(11))));
        marks.set_written(at(20));
        assert!(panics(|| marks.set_applied(at(11))));
        marks.set_durable(at(15));
        marks.set_applied(at(15));
        assert!(panics(|| marks.set_applied(at(16))));
        let expected = Marks {
            appended: at(20),
            written: at(20),
            durable: at(15),
            applied: at(15),
        };
        assert_eq!(marks.get(), expected);
    }

    #[test]
    fn no_mark_goes_back() {
        let marks = MarksCell::new(Lsn::new(10), false);
        assert!(panics(|| marks.set_appended(Lsn::new(9))));
    }

    #[test]
    fn with_a_lazy_policy_what_is_written_may_be_applied() {
        let marks = MarksCell::new(Lsn::new(10), true);
        marks.set_appended(Lsn::new(20));
        marks.set_written(Lsn::new(20));
        marks.set_applied(Lsn::new(20));
        assert!(panics(|| marks.set_applied(Lsn::new(21))));
    }
}
