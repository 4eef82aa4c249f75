//! What every state store must do, run on each of them; then what only the one on disk can show.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::UnixMillis;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// A store that can be closed and opened again, and broken.
trait Subject: Sized {
    fn new() -> Self;
    fn store(&self) -> &dyn StateStore;
    fn reopened(self) -> Self;
    /// The next checkpoint fails with [`StateError::Store`] or [`StateError::Io`].
    fn will_fail(&mut self);
}

struct OnDisk {
    dir: TempDir,
    store: Option<SledStore>,
}

impl OnDisk {
    fn path(&self) -> PathBuf {
        self.dir.path().join("state.sled")
    }
}

impl Subject for OnDisk {
    fn new() -> Self {
        OnDisk {
            dir: TempDir::new().unwrap(),
            store: None,
        }
        .reopened()
    }

    fn store(&self) -> &dyn StateStore {
        self.store.as_ref().unwrap()
    }

    fn reopened(mut self) -> Self {
        self.store = None;
        self.store = Some(SledStore::open(&self.path()).unwrap().store);
        self
    }

    fn will_fail(&mut self) {
        // Its listing is a part of every checkpoint, after the flush.
        fs::remove_dir(self.path().join("blobs")).unwrap();
    }
}

impl Subject for MemoryStore {
    fn new() -> Self {
        MemoryStore::new()
    }

    fn store(&self) -> &dyn StateStore {
        self
    }

    fn reopened(self) -> Self {
        self.crash(CrashTo::TheLast);
        self
    }

    fn will_fail(&mut self) {
        self.fail_next_checkpoint(Failure::AfterWriting);
    }
}

macro_rules! for_every_store {
    ($($behaviour:ident)*) => {
        mod on_disk { $(#[test] fn $behaviour() { super::$behaviour::<super::OnDisk>(); })* }
        mod in_memory { $(#[test] fn $behaviour() { super::$behaviour::<super::MemoryStore>(); })* }
    };
}

for_every_store! {
    a_new_store_is_empty
    a_checkpoint_is_there_after_reopening
    a_batch_applies_in_its_order
    a_batch_counts_its_bytes_and_changes
    a_scan_shows_a_prefix_in_order_until_told_to_stop
    an_oversized_row_is_refused_and_changes_nothing
    a_failed_checkpoint_is_final
    an_empty_batch_asks_nothing_of_a_disk
    rows_take_room
    any_history_reads_like_a_map
}

fn batch(changes: &[(&str, Option<&str>)]) -> StateBatch {
    let mut batch = StateBatch::new();
    for (key, value) in changes {
        match value {
            Some(value) => batch.put(*key, *value),
            None => batch.remove(*key),
        }
    }
    batch
}

fn rows_below(store: &dyn StateStore, prefix: &[u8]) -> Rows {
    let mut rows = Rows::new();
    let mut keys = Vec::new();
    let visited = store.scan(prefix, &mut |key, value| {
        keys.push(key.to_vec());
        rows.insert(key.to_vec(), value.to_vec());
        ControlFlow::Continue(())
    });
    visited.unwrap();
    assert!(keys.is_sorted(), "scanned out of order: {keys:?}");
    rows
}

fn check_row(store: &dyn StateStore, key: &str, expected: Option<&str>) {
    assert_eq!(
        store.get(key.as_bytes()).unwrap().as_deref(),
        expected.map(str::as_bytes),
        "row {key}"
    );
}

fn a_new_store_is_empty<S: Subject>() {
    let subject = S::new();
    assert_eq!(rows_below(subject.store(), b""), Rows::new());
    check_row(subject.store(), "m/ckpt", None);
}

fn a_checkpoint_is_there_after_reopening<S: Subject>() {
    let subject = S::new();
    subject
        .store()
        .checkpoint(batch(&[("a", Some("1")), ("b", Some("2"))]))
        .unwrap();
    subject
        .store()
        .checkpoint(batch(&[("a", None), ("c", Some(""))]))
        .unwrap();
    let subject = subject.reopened();
    check_row(subject.store(), "a", None);
    check_row(subject.store(), "b", Some("2"));
    check_row(subject.store(), "c", Some(""));
}

fn a_batch_applies_in_its_order<S: Subject>() {
    let subject = S::new();
    let changes = [
        ("a", Some("1")),
        ("a", None),
        ("b", None),
        ("b", Some("2")),
        ("c", Some("1")),
        ("c", Some("3")),
    ];
    subject.store().checkpoint(batch(&changes)).unwrap();
    check_row(subject.store(), "a", None);
    check_row(subject.store(), "b", Some("2"));
    check_row(subject.store(), "c", Some("3"));
}

fn a_batch_counts_its_bytes_and_changes<S: Subject>() {
    let batch = batch(&[("ab", Some("123")), ("ab", None)]);
    assert_eq!(
        (batch.len(), batch.bytes(), batch.is_empty()),
        (2, 7, false)
    );
    assert!(StateBatch::new().is_empty());
}

fn a_scan_shows_a_prefix_in_order_until_told_to_stop<S: Subject>() {
    let subject = S::new();
    let mut rows = StateBatch::new();
    for key in [
        &b"p"[..],
        b"q/\x00",
        b"q/\xff\xff",
        b"q/\xff",
        b"q0",
        b"\xff\xff",
        b"\xff",
    ] {
        rows.put(key, b"v".to_vec());
    }
    subject.store().checkpoint(rows).unwrap();
    let keys = |prefix: &[u8]| {
        rows_below(subject.store(), prefix)
            .into_keys()
            .collect::<Vec<_>>()
    };
    assert_eq!(keys(b"q/"), [&b"q/\x00"[..], b"q/\xff", b"q/\xff\xff"]);
    assert_eq!(keys(b"\xff"), [&b"\xff"[..], b"\xff\xff"]);
    assert_eq!(keys(b"x").len(), 0);
    assert_eq!(keys(b"").len(), 7);

    let mut n_shown = 0;
    let stop_at_two = &mut |_: &[u8], _: &[u8]| {
        n_shown += 1;
        if n_shown == 2 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    subject.store().scan(b"q/", stop_at_two).unwrap();
    assert_eq!(n_shown, 2);
}

fn an_oversized_row_is_refused_and_changes_nothing<S: Subject>() {
    let subject = S::new();
    let mut too_long = batch(&[("a", Some("1"))]);
    too_long.put("b", vec![0; VALUE_BYTES_MAX + 1]);
    let refusal = subject.store().checkpoint(too_long);
    assert!(
        matches!(refusal, Err(StateError::ValueTooLong { .. })),
        "{refusal:?}"
    );
    let mut too_long = batch(&[("a", Some("1"))]);
    too_long.remove(vec![0; KEY_BYTES_MAX + 1]);
    let refusal = subject.store().checkpoint(too_long);
    assert!(
        matches!(refusal, Err(StateError::KeyTooLong { .. })),
        "{refusal:?}"
    );
    check_row(subject.store(), "a", None);

    let mut just_fits = StateBatch::new();
    just_fits.put(vec![1; KEY_BYTES_MAX], vec![2; VALUE_BYTES_MAX]);
    subject.store().checkpoint(just_fits).unwrap();
    let subject = subject.reopened();
    assert_eq!(
        subject.store().get(&[1; KEY_BYTES_MAX]).unwrap(),
        Some(vec![2; VALUE_BYTES_MAX])
    );
}

fn a_failed_checkpoint_is_final<S: Subject>() {
    let mut subject = S::new();
    subject
        .store()
        .checkpoint(batch(&[("a", Some("1")), ("b", Some("1"))]))
        .unwrap();
    subject.will_fail();
    let failure = subject.store().checkpoint(batch(&[("a", Some("2"))]));
    assert!(
        matches!(
            failure,
            Err(StateError::Store { .. } | StateError::Io { .. })
        ),
        "{failure:?}"
    );

    let again = subject.store().checkpoint(batch(&[("a", Some("3"))]));
    assert!(matches!(again, Err(StateError::Broken)), "{again:?}");
    let read = subject.store().get(b"a");
    assert!(matches!(read, Err(StateError::Broken)), "{read:?}");
    let scanned = subject
        .store()
        .scan(b"", &mut |_, _| ControlFlow::Continue(()));
    assert!(matches!(scanned, Err(StateError::Broken)), "{scanned:?}");
    // What no failed checkpoint was about is still found by those who know what they look for.
    let salvaged = subject.store().salvage(b"b").unwrap();
    assert_eq!(salvaged, Some(b"1".to_vec()));
    assert_eq!(subject.store().salvage(b"c").unwrap(), None);
}

fn an_empty_batch_asks_nothing_of_a_disk<S: Subject>() {
    let mut subject = S::new();
    subject.will_fail();
    subject.store().checkpoint(StateBatch::new()).unwrap();
    check_row(subject.store(), "a", None);
}

fn rows_take_room<S: Subject>() {
    let subject = S::new();
    let mut rows = StateBatch::new();
    for row in 0..40u64 {
        rows.put(row.to_be_bytes(), noise(row, VALUE_BYTES_MAX));
    }
    let bytes = rows.bytes();
    subject.store().checkpoint(rows).unwrap();
    assert!(
        subject.store().bytes_on_disk() >= bytes,
        "{} on disk",
        subject.store().bytes_on_disk()
    );
}

/// Bytes that look random and differ with `seed`.
fn noise(seed: u64, n_bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next)
        .flatten()
        .take(n_bytes)
        .collect()
}

#[derive(Debug, Clone)]
enum Step {
    Checkpoint(Vec<(Vec<u8>, Option<Vec<u8>>)>),
    Reopen,
    Scan(Vec<u8>),
}

fn step() -> impl Strategy<Value = Step> {
    // Few and short, so that keys meet again and are prefixes of one another.
    let key = || prop::collection::vec(prop_oneof![Just(0u8), Just(b'q'), Just(0xff)], 0..4);
    let value = prop::collection::vec(any::<u8>(), 0..40);
    let changes = prop::collection::vec((key(), prop::option::of(value)), 0..30);
    prop_oneof![
        6 => changes.prop_map(Step::Checkpoint),
        1 => Just(Step::Reopen),
        2 => key().prop_map(Step::Scan),
    ]
}

fn any_history_reads_like_a_map<S: Subject>() {
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(24)
    };
    proptest!(config, |(steps in prop::collection::vec(step(), 1..16))| {
        let mut subject = S::new();
        let mut map = Rows::new();
        for step in steps {
            match step {
                Step::Checkpoint(changes) => subject.store().checkpoint(apply(&mut map, changes)).unwrap(),
                Step::Reopen => subject = subject.reopened(),
                Step::Scan(prefix) => check_scan(subject.store(), &map, &prefix),
            }
        }
        check_scan(subject.store(), &map, b"");
        for (key, value) in &map {
            assert_eq!(subject.store().get(key).unwrap().as_ref(), Some(value));
        }
    });
}

fn apply(map: &mut Rows, changes: Vec<(Vec<u8>, Option<Vec<u8>>)>) -> StateBatch {
    let mut batch = StateBatch::new();
    for (key, value) in changes {
        if let Some(value) = value {
            map.insert(key.clone(), value.clone());
            batch.put(key, value);
        } else {
            map.remove(&key);
            batch.remove(key);
        }
    }
    batch
}

fn check_scan(store: &dyn StateStore, map: &Rows, prefix: &[u8]) {
    let expected = map.iter().filter(|(key, _)| key.starts_with(prefix));
    assert_eq!(
        rows_below(store, prefix),
        expected.map(|(k, v)| (k.clone(), v.clone())).collect()
    );
}

#[test]
fn a_crash_in_memory_goes_back_by_at_most_one_checkpoint() {
    let store = MemoryStore::new();
    store
        .checkpoint(batch(&[("a", Some("1")), ("b", Some("1"))]))
        .unwrap();
    store
        .checkpoint(batch(&[("a", Some("2")), ("a", None), ("c", Some("2"))]))
        .unwrap();
    store.crash(CrashTo::TheLast);
    check_row(&store, "c", Some("2"));
    store
        .checkpoint(batch(&[("b", None), ("d", Some("3"))]))
        .unwrap();
    for _ in 0..2 {
        store.crash(CrashTo::TheOneBefore);
        assert_eq!(rows_below(&store, b"").len(), 2);
        check_row(&store, "b", Some("1"));
        check_row(&store, "c", Some("2"));
    }
}

#[test]
fn a_failure_before_writing_leaves_nothing_and_one_after_writing_leaves_all() {
    for (failure, expected) in [
        (Failure::BeforeWriting, None),
        (Failure::AfterWriting, Some("1")),
    ] {
        let store = MemoryStore::new();
        store.fail_next_checkpoint(failure);
        store.checkpoint(batch(&[("a", Some("1"))])).unwrap_err();
        store.crash(CrashTo::TheLast);
        check_row(&store, "a", expected);
    }
}

#[test]
fn a_deleted_directory_opens_fresh_and_empty() {
    let subject = OnDisk::new();
    subject
        .store()
        .checkpoint(batch(&[("a", Some("1"))]))
        .unwrap();
    let (path, dir) = (subject.path(), subject.dir);
    drop(subject.store);
    assert!(!SledStore::open(&path).unwrap().fresh);
    fs::remove_dir_all(&path).unwrap();
    let opened = SledStore::open_or_set_aside(&path, UnixMillis::new(5)).unwrap();
    assert!(opened.fresh && opened.set_aside.is_none());
    check_row(&opened.store, "a", None);
    drop(dir);
}

/// A directory that `damage` has spoilt is moved, by the name that the clock gives, and an empty one takes its place.
fn check_set_aside(damage: impl FnOnce(&Path)) -> StateError {
    let subject = OnDisk::new();
    let mut rows = StateBatch::new();
    for row in 0..200u64 {
        rows.put(row.to_be_bytes(), noise(row, 1000));
    }
    subject.store().checkpoint(rows).unwrap();
    let (path, dir) = (subject.path(), subject.dir);
    drop(subject.store);
    damage(&path);
    fs::create_dir(dir.path().join("state.sled.bad-7")).unwrap();
    let opened = SledStore::open_or_set_aside(&path, UnixMillis::new(7)).unwrap();
    let set_aside = opened.set_aside.unwrap();
    assert!(opened.fresh);
    assert_eq!(set_aside.moved_to, dir.path().join("state.sled.bad-8"));
    assert!(set_aside.moved_to.join("db").exists());
    assert_eq!(rows_below(&opened.store, b""), Rows::new());
    opened.store.checkpoint(batch(&[("a", Some("1"))])).unwrap();
    set_aside.because
}

#[test]
fn what_cannot_be_opened_is_set_aside() {
    let other_version = |path: &Path| {
        fs::write(
            path.join("conf"),
            b"segment_size: 524288\nuse_compression: false\nversion: 0.33\nxxxx",
        )
        .unwrap();
    };
    assert!(matches!(
        check_set_aside(other_version),
        StateError::Store { .. }
    ));
    let bad_snapshot =
        |path: &Path| fs::write(path.join("snap.7FFFFFFFFFFFFFFF"), b"no snapshot at all").unwrap();
    assert!(matches!(
        check_set_aside(bad_snapshot),
        StateError::Store { .. }
    ));
    let marked = |path: &Path| fs::write(path.join("BROKEN"), b"").unwrap();
    assert!(matches!(check_set_aside(marked), StateError::Broken));
}

#[test]
fn a_store_that_broke_is_set_aside_while_it_is_still_there() {
    let mut subject = OnDisk::new();
    subject.will_fail();
    subject
        .store()
        .checkpoint(batch(&[("a", Some("1"))]))
        .unwrap_err();
    let opened = SledStore::open_or_set_aside(&subject.path(), UnixMillis::new(1)).unwrap();
    assert!(matches!(
        opened.set_aside.unwrap().because,
        StateError::Broken
    ));
    check_row(&opened.store, "a", None);
}

#[test]
fn a_damaged_file_is_an_error_or_a_fresh_store_and_never_a_panic() {
    for n_bytes_cut in [1usize, 100, 5_000, 40_000] {
        let subject = OnDisk::new();
        for generation in 0..20 {
            subject
                .store()
                .checkpoint(one_generation(generation))
                .unwrap();
        }
        let (path, _dir) = (subject.path(), subject.dir);
        drop(subject.store);
        let db = path.join("db");
        let mut bytes = fs::read(&db).unwrap();
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        bytes[end - n_bytes_cut..].fill(0xAB);
        fs::write(&db, bytes).unwrap();
        let opened = SledStore::open_or_set_aside(&path, UnixMillis::new(1)).unwrap();
        let read_all = opened
            .store
            .scan(b"", &mut |_, _| ControlFlow::Continue(()));
        if read_all.is_ok() {
            opened.store.checkpoint(one_generation(30)).unwrap();
        }
    }
}

#[test]
fn half_a_checkpoint_is_never_opened() {
    let mut subject = OnDisk::new();
    for first in (0..1000u64).step_by(100) {
        let mut rows = StateBatch::new();
        (first..first + 100).for_each(|row| rows.put(row.to_be_bytes(), noise(row, 8000)));
        subject.store().checkpoint(rows).unwrap();
    }
    // Opened again, it has no page in memory: the batch meets the damage after it has changed other pages.
    subject = subject.reopened();
    let db = fs::OpenOptions::new()
        .write(true)
        .open(subject.path().join("db"))
        .unwrap();
    // Half of the file, so that it does not matter where sled put which page this time.
    let quarter = db.metadata().unwrap().len() / 4;
    let damage = vec![0xAB; 2 * quarter as usize];
    db.write_all_at(&damage, quarter).unwrap();
    let mut rows = StateBatch::new();
    (0..1000u64).for_each(|row| rows.put(row.to_be_bytes(), "new"));
    let failure = subject.store().checkpoint(rows);
    assert!(failure.is_err());
    subject.store = None;
    let refusal = SledStore::open(&subject.path());
    assert!(matches!(refusal, Err(StateError::Broken)), "{refusal:?}");
}

#[test]
fn a_store_in_use_is_not_set_aside() {
    let subject = OnDisk::new();
    let refusal = SledStore::open_or_set_aside(&subject.path(), UnixMillis::new(1));
    assert!(
        matches!(refusal, Err(StateError::InUse { .. })),
        "{refusal:?}"
    );
}

#[test]
fn no_page_becomes_a_file_of_its_own() {
    let subject = OnDisk::new();
    let row = |seed: u64, row: u64| {
        let mut key = vec![0x55; KEY_BYTES_MAX - 8];
        key.extend(row.to_be_bytes());
        (key, noise(seed, VALUE_BYTES_MAX))
    };
    for round in 0..6u64 {
        let mut rows = StateBatch::new();
        for number in 0..100 {
            let (key, value) = row(round * 100 + number, number);
            // Thinned out in every other round, so that leaves merge before they fill again.
            if round % 2 == 1 && number % 7 != 0 {
                rows.remove(key);
            } else {
                rows.put(key, value);
            }
        }
        subject.store().checkpoint(rows).unwrap();
        assert_eq!(
            fs::read_dir(subject.path().join("blobs")).unwrap().count(),
            0
        );
    }
}

const CHILD_DIR: &str = "RESTANTE_STATE_TEST_CHILD_DIR";
const N_ROWS: u64 = 60;

/// All rows say the generation; the rows beside them move on, so that pages split, merge and are written anew.
fn one_generation(generation: u64) -> StateBatch {
    let mut rows = StateBatch::new();
    for row in 0..N_ROWS {
        rows.put(
            [b"g/", &row.to_be_bytes()[..]].concat(),
            generation.to_be_bytes(),
        );
        let moving =
            |generation: u64| [b"x/", &(generation * N_ROWS + row).to_be_bytes()[..]].concat();
        rows.put(moving(generation), noise(generation, 2000));
        if let Some(old) = generation.checked_sub(2) {
            rows.remove(moving(old));
        }
    }
    rows
}

/// The one generation that all rows are of; `None` if there are none.
fn generation_of(store: &dyn StateStore) -> Option<u64> {
    let rows = rows_below(store, b"g/");
    let first = rows.values().next()?;
    assert_eq!(rows.len() as u64, N_ROWS);
    assert!(
        rows.values().all(|value| value == first),
        "half a checkpoint: {rows:?}"
    );
    let generation = u64::from_be_bytes(first.as_slice().try_into().unwrap());
    let moving = rows_below(store, b"x/");
    assert_eq!(
        moving.len() as u64,
        N_ROWS * 2.min(generation + 1),
        "half a checkpoint at {generation}"
    );
    Some(generation)
}

/// Runs in the child: checkpoints for ever, and says on stderr which are durable.
fn checkpoint_until_killed(dir: &Path) {
    let store = SledStore::open(dir).unwrap().store;
    let first = generation_of(&store).map_or(0, |generation| generation + 1);
    for generation in first.. {
        store.checkpoint(one_generation(generation)).unwrap();
        std::io::stderr()
            .write_all(format!("durable {generation}\n").as_bytes())
            .unwrap();
    }
}

/// Lets a child make `n_more` checkpoints, kills it in the next one, and gives back the last that it promised.
fn kill_after(n_more: usize, dir: &Path) -> u64 {
    let mut child = spawn_child(dir);
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut promised = None;
    for n_lines in 1.. {
        let mut line = String::new();
        let n_bytes = lines.read_line(&mut line).unwrap();
        if n_bytes == 0 || !line.ends_with('\n') {
            break;
        }
        promised = line
            .trim_end()
            .strip_prefix("durable ")
            .map(|number| number.parse().unwrap());
        assert!(promised.is_some(), "the child said: {line}");
        if n_lines == n_more {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    promised.unwrap()
}

fn spawn_child(dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "state::conformance::a_killed_process_leaves_whole_checkpoints",
            "--nocapture",
        ])
        .env(CHILD_DIR, dir)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn a_killed_process_leaves_whole_checkpoints() {
    if let Some(dir) = std::env::var_os(CHILD_DIR) {
        return checkpoint_until_killed(Path::new(&dir));
    }
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("state.sled");
    for n_more in [1, 30, 2, 7, 1, 60, 13, 4, 25, 3, 1, 17] {
        let promised = kill_after(n_more, &path);
        let opened = SledStore::open(&path).unwrap();
        let found = generation_of(&opened.store).unwrap();
        assert!(found >= promised, "promised {promised}, found {found}");
    }
}
