//! What the header promises.

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU64, Ordering};

use restante_storage::sim::{Keep, SimDisk};

use super::files::{Name, list};
use super::verify::verify_on;
use super::*;

const AT: u64 = 1_700_000_000_000;

/// A log on a disk in memory, with a clock that goes on a millisecond a look.
struct Rig {
    disk: SimDisk,
    settings: Settings,
    time: Arc<AtomicU64>,
}

impl Rig {
    fn new() -> Rig {
        Rig {
            disk: SimDisk::new(),
            settings: Settings::default(),
            time: Arc::new(AtomicU64::new(AT)),
        }
    }

    fn folder() -> &'static Path {
        Path::new("data/audit")
    }

    fn open(&self) -> Audit {
        let time = self.time.clone();
        let clock: Clock = Arc::new(move || UnixMillis::new(time.fetch_add(1, Ordering::Relaxed)));
        let disk = Arc::new(self.disk.clone());
        Audit::open_on(disk, Rig::folder(), self.settings, clock).unwrap()
    }

    /// Records acts of `names`, and closes the log.
    fn write(&self, names: &[&str]) {
        let audit = self.open();
        names.iter().for_each(|name| audit.record(act(name)));
        audit.close();
    }

    fn verify(&self) -> Verified {
        verify_on(&self.disk, Rig::folder()).unwrap()
    }

    fn newest(&self) -> PathBuf {
        let names = list(&self.disk, Rig::folder()).unwrap();
        names.last().unwrap().path(Rig::folder())
    }

    /// Changes the newest file's text.
    fn change(&self, change: impl FnOnce(String) -> String) {
        let path = self.newest();
        let text = String::from_utf8(self.disk.bytes(&path).unwrap()).unwrap();
        self.disk
            .set_bytes(&path, change(text).into_bytes())
            .unwrap();
    }
}

fn act(name: &str) -> AuditEntry {
    AuditEntry {
        principal: "ann".to_owned(),
        peer: "127.0.0.1:9".to_owned(),
        door: "rest".to_owned(),
        act: "PUT /api/v1/queues/{name}".to_owned(),
        target: name.to_owned(),
        result: "done".to_owned(),
        ..AuditEntry::default()
    }
}

fn all() -> AuditQuery {
    AuditQuery {
        limit: 1000,
        ..AuditQuery::default()
    }
}

fn targets(entries: &[AuditEntry]) -> Vec<&str> {
    entries.iter().map(|it| it.target.as_str()).collect()
}

fn numbers(entries: &[AuditEntry]) -> Vec<u64> {
    entries.iter().map(|it| it.number).collect()
}

#[test]
fn what_was_recorded_is_read_newest_first() {
    let rig = Rig::new();
    let audit = rig.open();
    for name in ["a", "b", "c"] {
        audit.record(act(name));
    }
    let found = audit.read(&all()).unwrap();
    assert_eq!(targets(&found), ["c", "b", "a"]);
    assert_eq!(numbers(&found), [3, 2, 1]);
    assert!(found.iter().all(|it| it.time >= AT && it.times == 1));
    audit.close();
    audit.record(act("too late"));
    assert_eq!(audit.read(&all()).unwrap().len(), 3);
    assert!(rig.verify().is_sound());
}

#[test]
fn a_query_takes_what_it_asks_for() {
    let rig = Rig::new();
    let audit = rig.open();
    for n in 0..10 {
        audit.record(AuditEntry {
            principal: if n % 2 == 0 { "ann" } else { "bob" }.to_owned(),
            result: if n < 5 { "done" } else { "denied" }.to_owned(),
            ..act(&format!("/queues/{n}"))
        });
    }
    let check = |query: AuditQuery, wanted: &[u64]| {
        assert_eq!(numbers(&audit.read(&query).unwrap()), wanted, "{query:?}");
    };
    let ann = Some("ann".to_owned());
    check(AuditQuery { limit: 2, ..all() }, &[10, 9]);
    check(
        AuditQuery {
            limit: 2,
            before: Some(9),
            ..all()
        },
        &[8, 7],
    );
    check(
        AuditQuery {
            principal: ann.clone(),
            result: Some("denied".to_owned()),
            ..all()
        },
        &[9, 7],
    );
    check(
        AuditQuery {
            target: Some("/queues/3".to_owned()),
            ..all()
        },
        &[4],
    );
    let eighth = audit.read(&all()).unwrap()[2].time;
    check(
        AuditQuery {
            since: Some(eighth),
            ..all()
        },
        &[10, 9, 8],
    );
    check(AuditQuery { limit: 0, ..all() }, &[]);
}

#[test]
fn record_never_waits() {
    let rig = Rig::new();
    let audit = rig.open();
    audit.record(act("first"));
    assert_eq!(audit.read(&all()).unwrap().len(), 1);
    // Nothing can be written: the writer keeps a megabyte, the channel its thousand, and the rest is counted.
    rig.disk.set_capacity(Some(0));
    let large = AuditEntry {
        after: Some(serde_json::Value::String("x".repeat(16_000))),
        ..act("large")
    };
    for n in 0..3000 {
        let principal = format!("user{n}");
        audit.record(AuditEntry {
            principal,
            ..large.clone()
        });
    }
    let missing = audit.inner.shared.missing.load(Ordering::Relaxed);
    assert!((1000..=3000).contains(&missing), "{missing}");
    rig.disk.set_capacity(None);
    audit.close();
    let audit = rig.open();
    audit.record(act("last"));
    audit.close();
    assert!(rig.verify().is_sound(), "{}", rig.verify());
}

#[test]
fn what_is_missing_is_told_by_the_next_line() {
    let rig = Rig::new();
    let audit = rig.open();
    audit.inner.shared.missing.store(7, Ordering::Relaxed);
    audit.record(act("next"));
    let found = audit.read(&all()).unwrap();
    assert_eq!(targets(&found), ["next", "audit"]);
    assert_eq!(found[1].times, 7);
    assert_eq!(found[1].result, "failed");
    assert_eq!(audit.inner.shared.missing.load(Ordering::Relaxed), 0);
}

#[test]
fn a_full_disk_loses_nothing_that_fits_the_queue() {
    let rig = Rig::new();
    let audit = rig.open();
    audit.record(act("before"));
    assert_eq!(audit.read(&all()).unwrap().len(), 1);
    rig.disk.set_capacity(Some(0));
    audit.record(act("during"));
    assert_eq!(targets(&audit.read(&all()).unwrap()), ["before"]);
    rig.disk.set_capacity(None);
    audit.record(act("after"));
    audit.close();
    let found = audit.read(&all()).unwrap();
    assert_eq!(targets(&found), ["after", "during", "before"]);
    assert!(rig.verify().is_sound());
}

#[test]
fn what_was_closed_survives_a_power_cut() {
    use restante_storage::sim::{Keep, Op};
    let rig = Rig::new();
    let audit = rig.open();
    rig.disk.ignore(|op, _| op == Op::SyncData);
    audit.record(act("a"));
    audit.close();
    rig.disk.heed();
    let lost = rig.disk.crash(0, Keep::Nothing);
    let found = super::query::read(&lost, Rig::folder(), &all()).unwrap();
    assert_eq!(found, [], "the test would notice a sync that is left out");

    let rig = Rig::new();
    rig.write(&["a", "b"]);
    let kept = rig.disk.crash(0, Keep::Nothing);
    let found = super::query::read(&kept, Rig::folder(), &all()).unwrap();
    assert_eq!(targets(&found), ["b", "a"]);
}

#[test]
fn what_a_failed_sync_may_have_lost_is_written_again() {
    use restante_storage::sim::{Fault, Op, Why};
    let rig = Rig {
        settings: Settings {
            file_bytes: 1,
            files: 8,
        },
        ..Rig::new()
    };
    let audit = rig.open();
    rig.disk.fail(Fault {
        op: Op::SyncData,
        path: String::new(),
        after: 0,
        times: 1,
        why: Why::Broken,
    });
    audit.record(act("a"));
    assert_eq!(targets(&audit.read(&all()).unwrap()), ["a"]);
    // The next line wants a new file, and for that the old one is synced: in vain.
    audit.record(act("b"));
    audit.read(&all()).unwrap();
    // As the kernel does it: what a failed sync did not get down is forgotten.
    rig.disk.set_bytes(&rig.newest(), Vec::new()).unwrap();
    audit.close();
    assert_eq!(targets(&audit.read(&all()).unwrap()), ["b", "a"]);
    assert!(rig.verify().is_sound());
}

#[test]
fn numbers_ascend_over_restarts() {
    let rig = Rig::new();
    for name in ["a", "b", "c"] {
        rig.write(&[name]);
    }
    let audit = rig.open();
    let found = audit.read(&all()).unwrap();
    assert_eq!(numbers(&found), [3, 2, 1]);
    assert!(found.is_sorted_by(|a, b| a.time > b.time));
    let verified = rig.verify();
    assert!(verified.is_sound(), "{verified}");
    assert_eq!(
        (verified.lines, verified.first, verified.last),
        (3, Some(1), Some(3))
    );
}

#[test]
fn a_torn_last_line_is_cut_and_noted() {
    let rig = Rig::new();
    rig.write(&["a", "b"]);
    for cut in [1, 2, 40] {
        let torn = Rig {
            disk: rig.disk.fork(),
            ..Rig::new()
        };
        torn.change(|text| text[..text.len() - cut].to_owned());
        assert!(torn.verify().torn_bytes > 0);
        torn.write(&["c"]);
        let found = torn.open().read(&all()).unwrap();
        assert_eq!(targets(&found), ["c", "audit", "a"], "cut {cut}");
        assert_eq!(numbers(&found), [3, 2, 1]);
        assert_eq!(found[1].act, "audit mend");
        assert!(torn.verify().is_sound(), "{}", torn.verify());
    }
}

#[test]
fn a_crash_at_any_operation_leaves_a_sound_log() {
    use restante_storage::sim::Keep;
    let whole = Rig {
        settings: Settings {
            file_bytes: 600,
            files: 3,
        },
        ..Rig::new()
    };
    let names: Vec<String> = (0..12).map(|n| format!("queue-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    whole.write(&names);
    for n in 0..=whole.disk.n_operations() {
        let rig = Rig {
            settings: whole.settings,
            ..Rig::new()
        };
        rig.disk.halt_at(n);
        let audit = Audit::open_on(
            Arc::new(rig.disk.clone()),
            Rig::folder(),
            rig.settings,
            Arc::new(|| UnixMillis::new(AT)),
        );
        if let Ok(audit) = audit {
            names.iter().for_each(|name| audit.record(act(name)));
            audit.close();
        }
        for keep in [Keep::Nothing, Keep::All, Keep::TornLast, Keep::Some] {
            let rig = Rig {
                disk: rig.disk.crash(n, keep),
                settings: whole.settings,
                ..Rig::new()
            };
            rig.write(&["afterwards"]);
            let verified = rig.verify();
            // A power cut may damage any of what was not synced yet, and no line is ever removed for that.
            let may_be_damaged = matches!(keep, Keep::Some);
            assert!(
                verified.is_sound() || may_be_damaged,
                "halted at {n}, {keep:?}: {verified}"
            );
            let found = rig.open().read(&all()).unwrap();
            assert_eq!(found.first().map(|it| &*it.target), Some("afterwards"));
        }
    }
}

#[test]
fn files_are_rotated_and_the_oldest_go() {
    let rig = Rig {
        settings: Settings {
            file_bytes: 1000,
            files: 3,
        },
        ..Rig::new()
    };
    for n in 0..40 {
        rig.write(&[&format!("queue-{n}")]);
    }
    let names = list(&rig.disk, Rig::folder()).unwrap();
    assert_eq!(names.len(), 3);
    for name in &names {
        let bytes = rig.disk.bytes(&name.path(Rig::folder())).unwrap().len();
        assert!(bytes < 1000 + 500, "{bytes}");
    }
    let verified = rig.verify();
    assert!(verified.is_sound(), "{verified}");
    assert_eq!(verified.last, Some(40));
    assert_eq!(verified.first, Some(names[0].first));
    let found = rig.open().read(&all()).unwrap();
    assert_eq!(found.len() as u64, verified.lines);
    assert_eq!(
        numbers(&found),
        (names[0].first..=40).rev().collect::<Vec<_>>()
    );
}

#[test]
fn a_change_in_the_middle_is_found() {
    let rig = Rig::new();
    rig.write(&["a", "b", "c"]);
    assert!(rig.verify().is_sound());
    rig.change(|text| text.replace("\"target\":\"b\"", "\"target\":\"x\""));
    let verified = rig.verify();
    let whats: Vec<&What> = verified.faults.iter().map(|it| &it.what).collect();
    assert_eq!(whats, [&What::Chain], "{verified}");
    rig.change(|text| text.replace("{\"number\":2", "nonsense"));
    let verified = rig.verify();
    let whats: Vec<&What> = verified.faults.iter().map(|it| &it.what).collect();
    assert_eq!(whats, [&What::Unreadable, &What::Chain], "{verified}");
}

#[test]
fn a_removed_line_is_found() {
    let rig = Rig::new();
    rig.write(&["a", "b", "c"]);
    let without = |n: usize| {
        let rig = Rig {
            disk: rig.disk.fork(),
            ..Rig::new()
        };
        rig.change(|text| {
            let lines = text.lines().enumerate().filter(|(index, _)| *index != n);
            lines.map(|(_, line)| format!("{line}\n")).collect()
        });
        rig.verify()
    };
    assert_eq!(
        without(0).n_faults,
        1,
        "line 2 has the name of line 1's file"
    );
    assert_eq!(without(1).n_faults, 2, "number and chain");
    let cut = without(2);
    assert!(cut.is_sound());
    assert_ne!(cut.head, rig.verify().head, "only the head tells of it");
}

#[test]
fn a_removed_file_is_found() {
    let rig = Rig {
        settings: Settings {
            file_bytes: 300,
            files: 9,
        },
        ..Rig::new()
    };
    rig.write(&["a", "b", "c", "d", "e", "f", "g", "h"]);
    let names: Vec<Name> = list(&rig.disk, Rig::folder()).unwrap();
    assert!(names.len() > 3);
    rig.disk.remove(&names[1].path(Rig::folder())).unwrap();
    assert!(!rig.verify().is_sound());
}

#[test]
fn what_strangers_wrote_stays_on_its_line() {
    let rig = Rig::new();
    let audit = rig.open();
    let forged = "x\"}\n{\"number\":2,\"principal\":\"root\",\"prev\":\"\"}\n\u{1b}[2J";
    audit.record(AuditEntry {
        principal: forged.to_owned(),
        target: forged.repeat(500),
        detail: forged.to_owned(),
        ..act("")
    });
    audit.close();
    let text = rig.disk.bytes(&rig.newest()).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert_eq!(text.lines().count(), 1);
    assert!(!text.trim_end().contains(char::is_control), "{text}");
    let found = audit.read(&all()).unwrap();
    assert_eq!(found.len(), 1);
    assert!(found[0].target.chars().count() < 4 * clean::TARGET_CHARS_MAX);
    // And it is found by what it was.
    let query = AuditQuery {
        principal: Some(forged.to_owned()),
        ..all()
    };
    assert_eq!(audit.read(&query).unwrap().len(), 1);
}

#[test]
fn one_denier_cannot_flood_the_log() {
    let rig = Rig::new();
    let audit = rig.open();
    let denials = audit.denials();
    for n in 0..100_000 {
        denials.denied(&Denied {
            principal: "eve",
            peer: "127.0.0.1:5".parse().unwrap(),
            door: "mbws",
            verb: "send",
            realm: "default",
            address: if n % 2 == 0 { "orders" } else { "payroll" },
            rule: "",
        });
    }
    audit.close();
    let found = audit.read(&all()).unwrap();
    assert!(found.len() <= 8, "{found:#?}");
    let times: u64 = found.iter().map(|it| it.times).sum();
    assert_eq!(times, 100_000);
    assert!(
        found
            .iter()
            .all(|it| it.result == "denied" && it.time >= AT)
    );
}

#[test]
fn strangers_at_the_admin_api_cannot_flood_the_log() {
    let rig = Rig::new();
    let audit = rig.open();
    audit.record(act("mine"));
    for n in 0..20_000 {
        audit.record(AuditEntry {
            principal: String::new(),
            result: if n % 2 == 0 { "denied" } else { "failed" }.to_owned(),
            request_id: Some(n.to_string()),
            ..act(&format!("q{n}"))
        });
    }
    audit.close();
    let found = audit.read(&all()).unwrap();
    assert!(found.len() <= 100, "{} lines", found.len());
    let times: u64 = found.iter().map(|it| it.times).sum();
    assert_eq!(times, 20_001, "all are counted");
    assert_eq!(found.last().map(|it| it.target.as_str()), Some("mine"));
    let first = found.iter().find(|it| it.target == "q0").unwrap();
    assert_eq!(first.request_id.as_deref(), Some("0"));
    assert!(found.iter().all(|it| it.peer == "127.0.0.1:9"));
}

#[tokio::test]
async fn what_was_recorded_durably_survives_a_power_cut() {
    let rig = Rig::new();
    let audit = rig.open();
    let acts = (0..50).map(|n| audit.record_durably(act(&format!("q{n}"))));
    futures_util::future::join_all(acts).await;
    // The writer is still there: nothing but the syncs that were waited for has made them durable.
    let left = Rig {
        disk: rig.disk.crash(1, Keep::Nothing),
        ..Rig::new()
    };
    audit.close();
    let after = left.open();
    assert_eq!(after.read(&all()).unwrap().len(), 50);
    after.close();
}

#[tokio::test]
async fn a_disk_that_says_no_is_not_waited_for() {
    let rig = Rig::new();
    let audit = rig.open();
    rig.disk.set_capacity(Some(0));
    // Whoever comes first sees the disk say no, and the next one does not even ask.
    for name in ["a", "b"] {
        let told = timeout(DURABLE_WITHIN / 2, audit.record_durably(act(name)));
        told.await.expect("no wait for what cannot be");
    }
    rig.disk.set_capacity(None);
    audit.close();
    assert_eq!(targets(&audit.read(&all()).unwrap()), ["b", "a"]);
}

#[test]
fn changes_are_accounted_for_since_the_last_start() {
    let rig = Rig::new();
    let audit = rig.open();
    let of = |name: &str, revision: u64| AuditEntry {
        revision: Some(revision),
        ..act(name)
    };
    let start = |revision: u64| AuditEntry {
        door: BROKER.to_owned(),
        act: START.to_owned(),
        ..of("", revision)
    };
    let accounted = || {
        audit.settle();
        audit.accounted().unwrap()
    };
    assert_eq!(accounted().upto, None);
    assert!(
        !accounted().misses(7),
        "nothing is known of the time before"
    );
    audit.record(of("a", 5));
    audit.record(start(9));
    audit.record(act("no change of a document"));
    audit.record(of("c", 14));
    audit.record(of("b", 12));
    let found = accounted();
    assert_eq!(found.upto, Some(9));
    let missed: Vec<u64> = (0..20).filter(|it| found.misses(*it)).collect();
    assert_eq!(missed, [10, 11, 13, 15, 16, 17, 18, 19]);
    audit.record(start(20));
    assert_eq!(accounted().revisions.len(), 0);
}

#[test]
fn nobody_floods_the_log_with_what_fails() {
    let rig = Rig::new();
    let audit = rig.open();
    audit.record(act("mine"));
    for n in 0..20_000 {
        audit.record(AuditEntry {
            principal: "token:n".to_owned(),
            result: "failed".to_owned(),
            detail: "malformed-body".to_owned(),
            ..act(&format!("q{n}"))
        });
    }
    audit.close();
    let found = audit.read(&all()).unwrap();
    assert!(found.len() <= 100, "{} lines", found.len());
    let times: u64 = found.iter().map(|it| it.times).sum();
    assert_eq!(times, 20_001, "all are counted");
    assert_eq!(found.last().map(|it| it.target.as_str()), Some("mine"));
    assert!(
        found
            .iter()
            .skip(1)
            .take(1)
            .all(|it| it.principal == "token:n")
    );
}

#[test]
fn nobody_floods_the_log_with_what_changes_nothing() {
    let rig = Rig::new();
    let audit = rig.open();
    audit.record(act("mine"));
    for n in 0..2_000 {
        audit.record(AuditEntry {
            principal: "mia".to_owned(),
            result: if n % 2 == 0 { "dry-run" } else { "unchanged" }.to_owned(),
            before: Some("x".repeat(2_000).into()),
            after: Some("y".repeat(2_000).into()),
            ..act("q")
        });
    }
    audit.close();
    let found = audit.read(&all()).unwrap();
    assert!(found.len() <= 5, "{} lines", found.len());
    let times: u64 = found.iter().map(|it| it.times).sum();
    assert_eq!(times, 2_001, "all are counted");
    let details = |it: &AuditEntry| it.before.is_some() || it.after.is_some();
    assert!(!found.iter().any(details));
}

#[test]
fn nobody_floods_the_log_with_what_is_done() {
    let rig = Rig::new();
    let audit = rig.open();
    audit.record(act("mine"));
    // Whoever has lines left writes them, whatever the other has done.
    for n in 0..2_000 {
        audit.record(AuditEntry {
            principal: "mia".to_owned(),
            revision: Some(100 + n),
            before: Some(n.into()),
            after: Some("y".repeat(2_000).into()),
            ..act("q")
        });
        if n % 100 == 0 {
            audit.settle();
            audit.record(act(&n.to_string()));
        }
    }
    audit.close();
    let bytes = list(&rig.disk, Rig::folder()).unwrap().len();
    assert_eq!(bytes, 1, "one file has it all");
    assert!(rig.disk.bytes(&rig.newest()).unwrap().len() < 500_000);
    let found = audit.read(&all()).unwrap();
    assert_eq!(found.iter().filter(|it| it.principal == "ann").count(), 21);
    let of_mia = found.iter().filter(|it| it.principal == "mia");
    assert_eq!(of_mia.clone().map(|it| it.times).sum::<u64>(), 2_000);
    assert_eq!(of_mia.count(), quota::LINES_MAX as usize + 2);
    let accounted = audit.accounted().unwrap();
    assert_eq!(accounted.together_upto, 2_099);
    assert!(!accounted.misses(2_000), "it may be in the line of many");
    assert!(accounted.misses(2_100));
}

#[test]
fn files_are_private() {
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().join(FOLDER);
    let audit = Audit::open(&folder, Settings::default(), system_clock()).unwrap();
    audit.record(act("a"));
    audit.close();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let file = folder.join("audit-00000000000000000001.jsonl");
    assert_eq!((mode(&folder), mode(&file)), (0o700, 0o600));
    let verified = verify(&folder).unwrap();
    assert!(verified.is_sound() && verified.lines == 1);
}

#[tokio::test]
async fn a_query_reads_off_the_event_loop() {
    let rig = Rig::new();
    let audit = rig.open();
    audit.record(act("a"));
    let found = audit.query(all()).await.unwrap();
    assert_eq!(targets(&found), ["a"]);
}
