//! Attempts that came to nothing, put together: a client that tries a thousand times a second is one line a minute. So is
//! what was done and changed nothing, and what a principal has done beyond its lines of a minute (`quota.rs`).
//!
//! The first of its kind is written at once. Equal ones within a minute (who, door, verb, realm, address, rule) are counted,
//! and written as one line with `times` when the minute is over. Who: the principal; for those who were not let in, the
//! address (IPv6: the network of 64 bits). Each has so many kinds at a time, and all of them together so many, strangers apart
//! from principals; what goes beyond is put together without verb and address, then without who, so that nobody can push
//! others' lines out of the log, and no stranger hides another one.
//!
//! What is counted and not written yet is lost if the process is killed: the first of each kind is on record.
//!
//! Always, each with a test of its name below:
//! - `strangers_are_told_apart_by_address`, and `a_network_of_strangers_is_one`.
//! - `the_first_is_written_at_once_and_the_rest_by_the_minute`.
//! - `one_principal_with_many_addresses_is_put_together`, and `the_table_is_bounded`.
//! - `what_is_done_beyond_is_put_together_with_its_last_revision`.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, SocketAddr};

use parking_lot::Mutex;
use restante_admin_api::audit::AuditEntry;
use restante_admin_api::network;
use restante_storage::UnixMillis;

use super::{Audit, clean};

const DENIED: &str = "denied";
/// The act of a line of which many kinds are put together.
pub(super) const TOGETHER: &str = "*";
/// How long equal ones are put together.
pub(super) const WINDOW_MS: u64 = 60_000;
/// Kinds of one principal in a window: nobody's mistake is about more addresses than these.
const PER_PRINCIPAL_MAX: usize = 32;
/// Kinds of one address of strangers: what they try to begin with is to log in.
const PER_ADDRESS_MAX: usize = 4;
/// Kinds in a window of all principals, and as many of all strangers: at about 400 bytes a line, rotation at its default
/// keeps 20 hours of both.
const ROWS_MAX: usize = 128;

/// Something that somebody wanted and the rules did not let them.
#[derive(Debug, Clone, Copy)]
pub struct Denied<'a> {
    /// Who; empty where nobody was let in.
    pub principal: &'a str,
    /// From where.
    pub peer: SocketAddr,
    /// Through which door: `mbws` …
    pub door: &'a str,
    /// What: `send` …
    pub verb: &'a str,
    /// In which realm.
    pub realm: &'a str,
    /// On which address or filter.
    pub address: &'a str,
    /// By which rule; empty: none allows it.
    pub rule: &'a str,
}

/// The audit log's door for denials; cheap to clone and to call.
#[derive(Clone)]
pub struct Denials {
    audit: Audit,
}

impl Denials {
    pub(super) fn new(audit: Audit) -> Denials {
        Denials { audit }
    }

    /// Writes or counts a denial. Never waits.
    pub fn denied(&self, denied: &Denied<'_>) {
        let shared = &self.audit.inner.shared;
        if let Some(entry) = shared.denials.denied((shared.clock)(), denied) {
            self.audit.put(entry, None);
        }
    }
}

/// What was denied within the last minute.
#[derive(Default)]
pub(super) struct Table {
    /// With a key of this process, so that nobody can make two kinds look like one.
    hasher: RandomState,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    rows: HashMap<u64, Row>,
    /// Rows of a principal or an address.
    per_owner: HashMap<u64, usize>,
    /// Rows of strangers.
    n_strangers: usize,
}

struct Row {
    /// The hash of its principal or address; none: it is put together.
    owner: Option<u64>,
    is_strangers: bool,
    since: UnixMillis,
    /// How many came since its last line.
    more: u64,
    entry: AuditEntry,
}

impl Table {
    /// The line to be written at once of an entry, which is clean, about what changed nothing: without details.
    pub(super) fn in_vain(&self, now: UnixMillis, it: &AuditEntry) -> Option<AuditEntry> {
        self.put(now, &as_denied(it), &it.result, || AuditEntry {
            before: None,
            after: None,
            ..it.clone()
        })
    }

    /// The same of what was done beyond what its principal has lines for. The line's revision is the last one that was made.
    pub(super) fn beyond(&self, now: UnixMillis, it: &AuditEntry) -> Option<AuditEntry> {
        let together = Denied {
            verb: TOGETHER,
            realm: "*",
            address: "*",
            rule: "more acts in a minute than have lines of their own",
            ..as_denied(it)
        };
        let owner = self.hasher.hash_one(&it.principal);
        let mut state = self.state.lock();
        self.put_together(&mut state, now, owner, &together, &it.result, it.revision)
    }

    /// The line to be written at once, if it is the first of its kind.
    fn denied(&self, now: UnixMillis, denied: &Denied<'_>) -> Option<AuditEntry> {
        self.put(now, denied, DENIED, || entry(denied, DENIED))
    }

    /// `own`: what is written of it, if it has a line of its own.
    fn put(
        &self,
        now: UnixMillis,
        denied: &Denied<'_>,
        result: &str,
        own: impl FnOnce() -> AuditEntry,
    ) -> Option<AuditEntry> {
        let is_strangers = denied.principal.is_empty();
        let (owner, owner_max) = match is_strangers {
            true => (
                self.hasher.hash_one(network(denied.peer.ip())),
                PER_ADDRESS_MAX,
            ),
            false => (self.hasher.hash_one(denied.principal), PER_PRINCIPAL_MAX),
        };
        let mut state = self.state.lock();
        let key = self.key(Some(owner), denied, result);
        if state.counted(key, None) {
            return None;
        }
        let of_owner = state.per_owner.get(&owner).copied().unwrap_or(0);
        let has_room = state.n_rows(is_strangers) < ROWS_MAX;
        if has_room && of_owner < owner_max {
            *state.per_owner.entry(owner).or_default() += 1;
            return Some(state.insert(key, Some(owner), is_strangers, now, own()));
        }
        let together = Denied {
            verb: TOGETHER,
            realm: "*",
            address: "*",
            rule: "more kinds of denials than are told apart",
            ..*denied
        };
        self.put_together(&mut state, now, owner, &together, result, None)
    }

    /// The line of what is not told apart, by owner or, where there are too many of those, at all.
    fn put_together(
        &self,
        state: &mut State,
        now: UnixMillis,
        owner: u64,
        together: &Denied<'_>,
        result: &str,
        revision: Option<u64>,
    ) -> Option<AuditEntry> {
        let is_strangers = together.principal.is_empty();
        let key = self.key(Some(owner), together, result);
        if state.counted(key, revision) {
            return None;
        }
        if state.n_rows(is_strangers) < ROWS_MAX {
            let entry = AuditEntry {
                revision,
                ..entry(together, result)
            };
            return Some(state.insert(key, None, is_strangers, now, entry));
        }
        let whole = Denied {
            principal: "",
            door: "*",
            ..*together
        };
        let key = self.key(None, &whole, result) ^ u64::from(is_strangers);
        if state.counted(key, revision) {
            return None;
        }
        let entry = AuditEntry {
            peer: "*".to_owned(),
            revision,
            ..entry(&whole, result)
        };
        Some(state.insert(key, None, is_strangers, now, entry))
    }

    fn key(&self, owner: Option<u64>, it: &Denied<'_>, result: &str) -> u64 {
        self.hasher.hash_one((
            owner, it.door, it.verb, it.realm, it.address, it.rule, result,
        ))
    }

    /// The lines of those whose minute is over.
    pub(super) fn due(&self, now: UnixMillis) -> Vec<AuditEntry> {
        let is_over = |row: &Row| {
            // A clock that was set back must not keep a row for ever.
            now < row.since || now.get() - row.since.get() >= WINDOW_MS
        };
        self.state.lock().take(now, is_over)
    }

    /// The lines of all.
    pub(super) fn rest(&self) -> Vec<AuditEntry> {
        self.state.lock().take(UnixMillis::new(0), |_| true)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.state.lock().rows.is_empty()
    }
}

impl State {
    fn n_rows(&self, of_strangers: bool) -> usize {
        match of_strangers {
            true => self.n_strangers,
            false => self.rows.len() - self.n_strangers,
        }
    }

    /// Counts one more of a kind, if there is a row of it.
    fn counted(&mut self, key: u64, revision: Option<u64>) -> bool {
        let Some(row) = self.rows.get_mut(&key) else {
            return false;
        };
        row.more += 1;
        row.entry.revision = row.entry.revision.max(revision);
        true
    }

    fn insert(
        &mut self,
        key: u64,
        owner: Option<u64>,
        is_strangers: bool,
        since: UnixMillis,
        entry: AuditEntry,
    ) -> AuditEntry {
        let row = Row {
            owner,
            is_strangers,
            since,
            more: 0,
            entry: entry.clone(),
        };
        self.rows.insert(key, row);
        self.n_strangers += usize::from(is_strangers);
        entry
    }

    /// The lines of rows that are over. Those of which more came begin a new minute; the others are forgotten.
    fn take(&mut self, now: UnixMillis, is_over: impl Fn(&Row) -> bool) -> Vec<AuditEntry> {
        let State {
            rows,
            per_owner,
            n_strangers,
        } = self;
        let mut entries = Vec::new();
        rows.retain(|_, row| {
            if !is_over(row) {
                return true;
            }
            let times = std::mem::take(&mut row.more);
            row.since = now;
            if times > 0 {
                entries.push(AuditEntry {
                    times,
                    ..row.entry.clone()
                });
                return true;
            }
            if let Some(owner) = row.owner
                && let Some(n) = per_owner.get_mut(&owner)
            {
                *n -= 1;
                if *n == 0 {
                    per_owner.remove(&owner);
                }
            }
            *n_strangers -= usize::from(row.is_strangers);
            false
        });
        entries
    }
}

fn as_denied(it: &AuditEntry) -> Denied<'_> {
    let peer = it.peer.parse().ok();
    Denied {
        principal: &it.principal,
        peer: peer.unwrap_or_else(|| (Ipv4Addr::UNSPECIFIED, 0).into()),
        door: &it.door,
        verb: &it.act,
        realm: "",
        address: &it.target,
        rule: &it.detail,
    }
}

fn entry(denied: &Denied<'_>, result: &str) -> AuditEntry {
    clean::entry(AuditEntry {
        principal: denied.principal.to_owned(),
        peer: denied.peer.to_string(),
        door: denied.door.to_owned(),
        act: denied.verb.to_owned(),
        target: format!("{}/{}", denied.realm, denied.address),
        result: result.to_owned(),
        detail: denied.rule.to_owned(),
        ..AuditEntry::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied<'a>(principal: &'a str, address: &'a str) -> Denied<'a> {
        Denied {
            principal,
            peer: "127.0.0.1:5".parse().unwrap(),
            door: "mbws",
            verb: "send",
            realm: "default",
            address,
            rule: "",
        }
    }

    fn at(ms: u64) -> UnixMillis {
        UnixMillis::new(1_000_000 + ms)
    }

    fn times(entries: &[AuditEntry]) -> Vec<u64> {
        entries.iter().map(|it| it.times).collect()
    }

    #[test]
    fn the_first_is_written_at_once_and_the_rest_by_the_minute() {
        let table = Table::default();
        let first = table.denied(at(0), &denied("ann", "a")).unwrap();
        assert_eq!((first.target.as_str(), first.times), ("default/a", 1));
        for ms in 1..100 {
            assert_eq!(table.denied(at(ms), &denied("ann", "a")), None);
        }
        assert!(table.denied(at(100), &denied("ann", "b")).is_some());
        assert!(table.denied(at(100), &denied("bob", "a")).is_some());
        assert!(table.due(at(WINDOW_MS - 1)).is_empty());
        assert_eq!(times(&table.due(at(WINDOW_MS))), [99]);
        // It goes on: one line a minute.
        assert_eq!(table.denied(at(WINDOW_MS + 1), &denied("ann", "a")), None);
        assert_eq!(times(&table.due(at(2 * WINDOW_MS))), [1]);
        // It is over: the next one is a first one again.
        assert!(table.due(at(3 * WINDOW_MS)).is_empty());
        assert!(table.is_empty());
        assert!(
            table
                .denied(at(3 * WINDOW_MS), &denied("ann", "a"))
                .is_some()
        );
    }

    #[test]
    fn one_principal_with_many_addresses_is_put_together() {
        let table = Table::default();
        let mut written = 0;
        for n in 0..1000 {
            written += table
                .denied(at(n), &denied("eve", &format!("a/{n}")))
                .iter()
                .count();
        }
        assert_eq!(written, PER_PRINCIPAL_MAX + 1);
        assert!(table.denied(at(1000), &denied("ann", "a")).is_some());
        let due = table.due(at(2 * WINDOW_MS));
        assert_eq!(times(&due), [1000 - PER_PRINCIPAL_MAX as u64 - 1]);
        assert_eq!(due[0].principal, "eve");
        assert_eq!(due[0].target, "*/*");
        assert!(table.due(at(4 * WINDOW_MS)).is_empty());
        assert!(table.is_empty());
        assert!(table.state.lock().per_owner.is_empty());
    }

    fn stranger(peer: &str) -> Denied<'static> {
        Denied {
            peer: (peer.parse::<std::net::IpAddr>().unwrap(), 7).into(),
            ..denied("", "a")
        }
    }

    #[test]
    fn strangers_are_told_apart_by_address() {
        let table = Table::default();
        for n in 0..1000 {
            let address = format!("a/{n}");
            let many = Denied {
                address: &address,
                ..stranger("10.0.0.1")
            };
            table.denied(at(n), &many);
        }
        let other = table.denied(at(1000), &stranger("10.0.0.2")).unwrap();
        assert_eq!((&*other.peer, &*other.target), ("10.0.0.2:7", "default/a"));
        assert!(table.denied(at(1000), &denied("ann", "a")).is_some());
        // So many strangers that they are not told apart any more: principals still are.
        let many = (0..1000_u16).map(|n| format!("10.1.{}.{}", n / 256, n % 256));
        let lines = many.filter_map(|peer| table.denied(at(1000), &stranger(&peer)));
        let peers: Vec<String> = lines.map(|it| it.peer).collect();
        assert_eq!(peers.last().map(String::as_str), Some("*"));
        assert!(peers.len() <= ROWS_MAX);
        assert!(table.denied(at(1000), &denied("bob", "a")).is_some());
        table.rest();
        table.rest();
        assert!(table.is_empty());
        assert_eq!(table.state.lock().n_strangers, 0);
    }

    #[test]
    fn a_network_of_strangers_is_one() {
        let table = Table::default();
        assert!(table.denied(at(0), &stranger("2001:db8::1")).is_some());
        assert_eq!(table.denied(at(0), &stranger("2001:db8::2")), None);
        assert!(table.denied(at(0), &stranger("2001:db8:1::1")).is_some());
    }

    #[test]
    fn the_table_is_bounded() {
        let table = Table::default();
        for n in 0..5000 {
            table.denied(at(0), &denied(&format!("user{n}"), "a"));
        }
        assert_eq!(table.state.lock().rows.len(), ROWS_MAX + 1);
        assert_eq!(
            times(&table.rest()),
            [5000 - ROWS_MAX as u64 - 1],
            "what was not told apart is counted"
        );
    }

    #[test]
    fn what_is_done_beyond_is_put_together_with_its_last_revision() {
        let table = Table::default();
        let done = |principal: &str, revision| AuditEntry {
            principal: principal.to_owned(),
            peer: "127.0.0.1:5".to_owned(),
            result: "done".to_owned(),
            revision,
            ..AuditEntry::default()
        };
        let first = table.beyond(at(0), &done("ann", Some(7))).unwrap();
        assert_eq!((&*first.act, first.revision), (TOGETHER, Some(7)));
        assert_eq!(table.beyond(at(1), &done("ann", Some(9))), None);
        assert_eq!(table.beyond(at(1), &done("ann", None)), None);
        assert!(table.beyond(at(1), &done("bob", None)).is_some());
        let due = table.due(at(WINDOW_MS));
        assert_eq!((times(&due), due[0].revision), (vec![2], Some(9)));
    }

    #[test]
    fn a_clock_that_is_set_back_keeps_nothing_for_ever() {
        let table = Table::default();
        table.denied(at(0), &denied("ann", "a"));
        table.denied(at(0), &denied("ann", "a"));
        assert_eq!(times(&table.due(UnixMillis::new(5))), [1]);
    }
}
