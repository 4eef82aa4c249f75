//! Log, engine and state store together, on a disk that halts at its n-th operation, for every n.
//!
//! A script of some 260 steps does what the broker's threads do: it sends, settles, defines, deletes, writes dead letters
//! and definitions again, checkpoints, releases segments; and what administrators do: it pauses and changes queues, purges,
//! moves and redrives. What a crash leaves is then recovered with the broker's own
//! `recover`, with the state store's last checkpoint, with the one before, and with none, and compared:
//! - everything that was acknowledged is there, at its offset and LSN, in order, with its attempts;
//! - of what was not acknowledged a beginning of one batch may be there, and nothing else;
//! - sessions stand at their frame, with their refusals and consumers;
//! - whatever the state store still had, the state is the same to the byte;
//! - what was recovered goes on, and survives the next crash.
//!
//! The same with one sync left out must find a loss or a start that is refused: that is how we know that the sync matters.

mod model;
mod script;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::thread;

use restante_storage::RecordRef;
use restante_storage::sim::{Keep, Op, SimDisk};
use restante_storage::state::MemoryStore;

use super::rows::Rows;
use crate::engine::Engine;
use model::Found;
use script::{Leftovers, Run, Told, Which, body, recovered};

/// What the script left when its disk halted.
struct Wreck {
    disk: SimDisk,
    store: Leftovers,
    told: Told,
    done: bool,
}

/// What leaves out a sync: asked with the operation, and its path and what it would make durable.
type Lie = fn(Op, &str) -> bool;

/// Runs the script until the disk's `n`-th operation.
fn wreck(n: u64, lie: Option<Lie>) -> Wreck {
    let disk = SimDisk::new();
    disk.halt_at(n);
    if let Some(lie) = lie {
        disk.ignore(lie);
    }
    let store = Arc::new(MemoryStore::new());
    let mut told = Told::default();
    let mut done = false;
    if let Ok(mut run) = Run::start(&disk, Rows::new(Arc::clone(&store) as _), told.clone()) {
        done = run.script().is_ok();
        if done {
            disk.halt_at(disk.n_operations() + 1);
        }
        told = run.told.clone();
        run.log.close().ok();
    }
    Wreck {
        disk,
        store: Leftovers::of(&store),
        told,
        done,
    }
}

/// What a crash keeps, by seed.
const CRASHES: [(u64, Keep); 6] = [
    (0, Keep::Nothing),
    (0, Keep::All),
    (1, Keep::TornLast),
    (2, Keep::TornLast),
    (3, Keep::Some),
    (4, Keep::Some),
];

/// Recovers what is on `disk` in each of these ways, compares; goes on in the first of them, crashes again, compares.
fn check(disk: &SimDisk, wreck: &Wreck, ways: &[Which], lie: Option<Lie>) -> Result<(), String> {
    let mut before = None;
    let mut ends = None;
    for which in ways.iter().copied() {
        let (scan, mut engine) = recovered(&disk.fork(), &wreck.store.store(which))?;
        drop(scan);
        let mut rows = engine.all_rows();
        // A chunk's references outlive their messages, as far as each way knows them; those that wait are compared below.
        // Nor does a chunk say anything in which nothing waits: where the log has lost its messages, it is not there.
        let is_empty = |marks: &[u8]| marks.iter().all(|byte| *byte == 0);
        let says_nothing = |key: &[u8], row: &[u8]| {
            key.starts_with(b"b/") || (key.starts_with(b"a/") && is_empty(row))
        };
        rows.retain(|key, row| !says_nothing(key, row));
        if let Some((other, before)) = &before
            && *before != rows
        {
            let why = difference(before, &rows);
            return Err(format!(
                "{other:?} and {which:?} of the state store differ in {why}"
            ));
        }
        before = Some((which, rows));
        let end = outcome(&mut engine, &wreck.told)
            .map_err(|why| format!("with {which:?} of the state store: {why}"))?;
        ends = Some(end);
    }
    let Some(((n_stored, found), which)) = ends.zip(ways.first()) else {
        return Ok(());
    };
    let result = goes_on(&disk.fork(), wreck, n_stored, &found, *which, lie);
    result.map_err(|why| format!("going on with {which:?} of the state store: {why}"))
}

/// The first row that is not the same.
fn difference(a: &BTreeMap<Vec<u8>, Vec<u8>>, b: &BTreeMap<Vec<u8>, Vec<u8>>) -> String {
    let keys = a.keys().chain(b.keys());
    let different: BTreeSet<_> = keys.filter(|key| a.get(*key) != b.get(*key)).collect();
    let key = different.first().map_or(&b""[..], |key| key);
    let kind = String::from_utf8_lossy(key.get(..2).unwrap_or_default()).into_owned();
    format!(
        "{} rows, the first of them {kind} {key:?}: {:?} and {:?}",
        different.len(),
        a.get(key),
        b.get(key)
    )
}

/// How many of the records in doubt are there, and what else.
fn outcome(engine: &mut Engine, told: &Told) -> Result<(usize, Found), String> {
    let found = Found::in_engine(engine, &told.uuids());
    let mut model = told.model.clone();
    let mut differences = Vec::new();
    let mut doubts = told.in_doubt.iter();
    for n_stored in 0.. {
        match model.compare(&found, &told.lsns) {
            Ok(()) => return Ok((n_stored, found)),
            Err(difference) => differences.push(format!("after {n_stored} in doubt: {difference}")),
        }
        match doubts.next() {
            Some(deed) => model.apply(deed),
            None => break,
        }
    }
    Err(differences.join("; "))
}

/// A start, a little life, a power cut, and another start.
fn goes_on(
    disk: &SimDisk,
    wreck: &Wreck,
    n_stored: usize,
    found: &Found,
    which: Which,
    lie: Option<Lie>,
) -> Result<(), String> {
    if let Some(lie) = lie {
        disk.ignore(lie);
    }
    let mut run = Run::start(disk, wreck.store.store(which), wreck.told.clone())?;
    run.dispel(n_stored);
    bodies_are_right(&run, found)?;
    let result = run.go_on().map_err(|_| "it stops".to_owned());
    let crashed = disk.crash(0, Keep::Nothing);
    disk.halt_at(0);
    run.log.close().ok();
    result?;
    let (_scan, mut engine) = recovered(&crashed, &wreck.store.store(Which::None))?;
    outcome(&mut engine, &run.told)
        .map(|_| ())
        .map_err(|why| format!("and after the next power cut: {why}"))
}

fn bodies_are_right(run: &Run, found: &Found) -> Result<(), String> {
    let reader = run.log.reader();
    for (name, offset, lsn) in found.ready() {
        let record = reader
            .read(lsn, 0)
            .map_err(|error| format!("{name} {offset}: {error}"))?;
        let record =
            RecordRef::parse(&record).map_err(|what| format!("{name} {offset}: {what:?}"))?;
        let queue = run
            .told
            .model
            .queues
            .values()
            .find(|queue| queue.name == name);
        let id = queue
            .and_then(|queue| queue.messages.get(&offset))
            .map(|message| message.id);
        if id.is_none_or(|id| record.body() != body(id, record.body().len())) {
            return Err(format!("{name} {offset} is not message {id:?}"));
        }
    }
    Ok(())
}

/// Halts at every operation of the script, or every `step`th, and tries all crashes there. Gives how many there were,
/// or the first loss.
fn explore(lie: Option<Lie>, first: u64, step: usize) -> Result<u32, String> {
    let mut n_crashes = 0;
    for n in (first..).step_by(step) {
        let wreck = wreck(n, lie);
        for (seed, keep) in CRASHES {
            n_crashes += 1;
            let mut ways = [Which::Last, Which::Before, Which::None];
            ways.rotate_left((n + seed) as usize % 3);
            let ways = if keep == Keep::Nothing {
                &ways[..]
            } else {
                &ways[..1]
            };
            check(
                &wreck.disk.crash(seed * 10_000 + n, keep),
                &wreck,
                ways,
                None,
            )
            .map_err(|why| wreck.explain(n, &format!("seed {seed}, {keep:?}: {why}")))?;
        }
        if wreck.done {
            return Ok(n_crashes);
        }
    }
    unreachable!("the script ends")
}

/// As [`explore`], but only the process dies at first; the power goes after its successor has gone on for a while.
fn explore_successor(lie: Option<Lie>, first: u64, step: usize) -> Result<u32, String> {
    let mut n_crashes = 0;
    for n in (first..).step_by(step) {
        let wreck = wreck(n, None);
        n_crashes += 1;
        let way = [Which::Last, Which::None][n as usize % 2];
        check(&wreck.disk.fork(), &wreck, &[way], lie).map_err(|why| wreck.explain(n, &why))?;
        if wreck.done {
            return Ok(n_crashes);
        }
    }
    unreachable!("the script ends")
}

impl Wreck {
    fn explain(&self, n: u64, why: &str) -> String {
        let trace = self.disk.trace();
        let last = trace
            .get(trace.len().saturating_sub(20)..)
            .unwrap_or_default();
        format!(
            "halted at operation {n}: {why}\nin doubt: {:?}\n…\n{}",
            self.told.in_doubt,
            last.join("\n")
        )
    }
}

/// Shares a search out to as many threads as there are cores.
fn everywhere(search: fn(Option<Lie>, u64, usize) -> Result<u32, String>) -> u32 {
    let n_threads = thread::available_parallelism().map_or(1, Into::into);
    let outcomes: Vec<_> = thread::scope(|scope| {
        let searches: Vec<_> = (1..=n_threads)
            .map(|first| scope.spawn(move || search(None, first as u64, n_threads)))
            .collect();
        searches
            .into_iter()
            .map(|search| search.join().expect("a search does not panic"))
            .collect()
    });
    outcomes
        .into_iter()
        .map(|outcome| outcome.unwrap_or_else(|loss| panic!("{loss}")))
        .sum()
}

#[test]
fn the_script_does_everything_that_a_broker_does_to_its_disk() {
    let wreck = wreck(u64::MAX, None);
    let trace = wreck.disk.trace();
    let count = |what: &[&str]| {
        trace
            .iter()
            .filter(|line| what.iter().all(|word| line.contains(word)))
            .count()
    };
    assert!(wreck.done, "{}", wreck.explain(0, "it stopped"));
    for (what, words) in [
        ("commits", &["SyncData", "wal/"][..]),
        ("new segments", &["SyncDir", "-> data/wal/0"]),
        ("segments' ends", &["SyncData", "+48"]),
        ("removed segments", &["Remove", "wal/0"]),
        (
            "recycled segments",
            &["SyncDir", "wal/0", "-> data/wal/spare"],
        ),
        ("spares", &["SyncAll", "spare"]),
    ] {
        let n = count(words);
        println!("{what}: {n}");
        assert!(n > 2, "{what}: {n}");
    }
}

#[test]
fn a_crash_at_every_write_and_sync_recovers_to_what_the_model_says() {
    let n_crashes = everywhere(explore);
    assert!(n_crashes > 3000, "{n_crashes}");
}

#[test]
fn a_kill_and_then_a_power_cut_recover_to_what_the_model_says() {
    let n_crashes = everywhere(explore_successor);
    assert!(n_crashes > 500, "{n_crashes}");
}

/// The writer ends a segment with a record of 48 bytes; no other write of the script is that small.
fn is_end(what: &str) -> bool {
    what.ends_with("+48")
}

fn is_header(what: &str) -> bool {
    what.ends_with(" after write 0+4096")
}

fn is_commit(op: Op, what: &str) -> bool {
    op == Op::SyncData && what.contains("wal/") && !is_header(what) && !is_end(what)
}

/// Syncs without which a crash loses something, or lets no broker start.
const NEEDED: [(&str, Lie); 8] = [
    ("META's bytes", |op, what| {
        op == Op::SyncAll && what.contains("META")
    }),
    ("META's name", |op, what| {
        op == Op::SyncDir && what.contains("-> data/META")
    }),
    ("a segment's header", |op, what| {
        op == Op::SyncData && is_header(what)
    }),
    ("a segment's name", |op, what| {
        op == Op::SyncDir && what.contains("-> data/wal/0")
    }),
    ("a commit", is_commit),
    ("a segment's end", |op, what| {
        op == Op::SyncData && is_end(what)
    }),
    ("a recycled segment's new name", |op, what| {
        op == Op::SyncDir && what.contains("wal/0") && what.contains("-> data/wal/spare")
    }),
    ("a segment's removal", |op, what| {
        op == Op::SyncDir && what.contains("wal/0") && what.ends_with("-> -")
    }),
];

/// The same, at the start after the death of a process. (That names which the dead process left unsynced must be synced
/// is shown by the log's own `every_sync_matters`: here a spare is made meanwhile, whose name's sync covers them too.)
const NEEDED_AT_START: [(&str, Lie); 2] = [
    ("what the last process wrote", is_commit),
    ("the seal", |op, what| op == Op::SyncData && is_end(what)),
];

/// Syncs that save time or space, and lose nothing where the disk leaves them out: a spare becomes a segment only by a
/// header and a name that are synced of themselves, and the sync of its first commit covers its zeros too.
const NOT_NEEDED: [(&str, Lie); 2] = [
    ("a spare's zeros", |op, what| {
        op == Op::SyncAll && what.contains("spare")
    }),
    ("a spare's first name", |op, what| {
        op == Op::SyncDir && what.contains(".tmp -> data/wal/spare")
    }),
];

#[test]
fn every_sync_matters() {
    for (what, lie) in NEEDED {
        report(what, explore(Some(lie), 1, 1));
    }
    for (what, lie) in NEEDED_AT_START {
        report(
            &format!("at a start, {what}"),
            explore_successor(Some(lie), 1, 1),
        );
    }
}

fn report(what: &str, explored: Result<u32, String>) {
    match explored {
        Ok(n_crashes) => panic!("none of {n_crashes} crashes shows that {what} must be synced"),
        Err(loss) => println!("{what}: {}", loss.lines().next().unwrap_or_default()),
    }
}

#[test]
fn syncs_that_only_save_time_or_space_lose_nothing() {
    for (what, lie) in NOT_NEEDED {
        let explored = explore(Some(lie), 1, 5);
        explored.unwrap_or_else(|loss| panic!("without the sync of {what}: {loss}"));
    }
}
