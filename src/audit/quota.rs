//! What one principal may write in a minute: so many bytes of `before` and `after`, so many lines of their own. Who may change one
//! thing may change it a thousand times a second, and the audit log has an end: what is beyond stays without details, then
//! is put together as [`super::Denials`] are, so that nobody pushes others' lines out of the log.
//!
//! Always, with a test of its name below: `a_principal_has_so_much_a_minute`, and `principals_are_forgotten_in_time`.

use std::collections::HashMap;

use parking_lot::Mutex;
use restante_admin_api::audit::AuditEntry;
use restante_storage::UnixMillis;
use serde_json::Value;

use super::denials::WINDOW_MS;

/// Lines of a principal in a minute. Short ones have about 400 bytes, so that, with what follows, rotation at its default keeps five hours of
/// somebody who means harm, and all of a migration's thousands of queues within their limits of lines.
pub(super) const LINES_MAX: u32 = 300;
/// Bytes of `before` and `after` of a principal in a minute: eight of the largest lines, and all of ordinary ones.
const DETAIL_BYTES_MAX: usize = 256 << 10;
/// Principals that are looked after before those are forgotten whose minute is over.
const PRINCIPALS_MAX: usize = 1024;

/// What every principal has written within the minute.
#[derive(Default)]
pub(super) struct Quota {
    of: Mutex<HashMap<String, Spent>>,
}

struct Spent {
    since: UnixMillis,
    lines: u32,
    detail_bytes: usize,
}

impl Quota {
    /// The entry, if it has a line of its own: as it is, or without its details.
    pub(super) fn grant(
        &self,
        now: UnixMillis,
        mut entry: AuditEntry,
    ) -> Result<AuditEntry, Box<AuditEntry>> {
        let mut of = self.of.lock();
        if of.len() >= PRINCIPALS_MAX {
            of.retain(|_, spent| !spent.is_over(now));
        }
        let spent = of
            .entry(entry.principal.clone())
            .or_insert_with(|| Spent::new(now));
        if spent.is_over(now) {
            *spent = Spent::new(now);
        }
        if spent.lines >= LINES_MAX {
            return Err(Box::new(entry));
        }
        spent.lines += 1;
        let bytes = [&entry.before, &entry.after].map(|it| it.as_ref().map_or(0, len_bytes));
        let bytes = bytes.iter().sum::<usize>();
        if spent.detail_bytes + bytes > DETAIL_BYTES_MAX {
            let text = "left out: more in a minute than the log keeps of one principal";
            for value in [&mut entry.before, &mut entry.after].into_iter().flatten() {
                *value = Value::String(text.to_owned());
            }
        } else {
            spent.detail_bytes += bytes;
        }
        Ok(entry)
    }
}

impl Spent {
    fn new(since: UnixMillis) -> Spent {
        Spent {
            since,
            lines: 0,
            detail_bytes: 0,
        }
    }

    fn is_over(&self, now: UnixMillis) -> bool {
        // A clock that was set back must not keep it for ever.
        now < self.since || now.get() - self.since.get() >= WINDOW_MS
    }
}

fn len_bytes(value: &Value) -> usize {
    serde_json::to_vec(value).map_or(0, |bytes| bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> UnixMillis {
        UnixMillis::new(1_000_000 + ms)
    }

    fn by(principal: &str, detail_bytes: usize) -> AuditEntry {
        AuditEntry {
            principal: principal.to_owned(),
            after: Some(Value::String("x".repeat(detail_bytes))),
            ..AuditEntry::default()
        }
    }

    fn len_of(granted: Result<AuditEntry, Box<AuditEntry>>) -> Option<usize> {
        granted.ok()?.after.as_ref().map(len_bytes)
    }

    #[test]
    fn a_principal_has_so_much_a_minute() {
        let quota = Quota::default();
        let half = DETAIL_BYTES_MAX / 2;
        assert_eq!(len_of(quota.grant(at(0), by("ann", half - 2))), Some(half));
        assert_eq!(len_of(quota.grant(at(1), by("ann", half - 2))), Some(half));
        let third = len_of(quota.grant(at(2), by("ann", half))).unwrap();
        assert!(third < 100, "{third}");
        for _ in 3..LINES_MAX {
            assert!(quota.grant(at(3), by("ann", 1)).is_ok());
        }
        assert!(quota.grant(at(4), by("ann", 1)).is_err());
        assert!(
            quota.grant(at(4), by("bob", 1)).is_ok(),
            "each has their own"
        );
        assert_eq!(
            len_of(quota.grant(at(WINDOW_MS), by("ann", half - 2))),
            Some(half)
        );
    }

    #[test]
    fn principals_are_forgotten_in_time() {
        let quota = Quota::default();
        for n in 0..PRINCIPALS_MAX {
            quota.grant(at(0), by(&n.to_string(), 1)).unwrap();
        }
        quota.grant(at(WINDOW_MS), by("ann", 1)).unwrap();
        assert_eq!(quota.of.lock().len(), 1);
    }
}
