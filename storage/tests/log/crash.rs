//! A power cut at every operation of the disk, in life and in recovery, and what must be there afterwards.
//!
//! A script appends, rolls, releases, recycles, closes and starts again, on a disk that halts at its n-th operation,
//! for every n. What the disk keeps is then recovered and compared with what the script was told was stored:
//! - nothing that was acknowledged is lost or changed, at the LSN that it was acknowledged with;
//! - nothing is there that was not put, and of each run's records what is there is a beginning, in order;
//! - the recovered log takes more records and keeps those too.
//!
//! The same exploration with one sync left out must find a loss: that is how we know that the sync matters.

use std::collections::BTreeMap;

use restante_storage::sim::{Fault, Keep, Op, SimDisk, Why};
use restante_storage::{LogOptions, Lsn};

use crate::world::{Found, Kept, Outcome, SEGMENT_BYTES, World, body, name, open_with, small};

/// What the script was told.
#[derive(Debug, Clone, Default)]
struct Told {
    stored: BTreeMap<Lsn, Kept>,
    /// Records before this may be gone.
    released: Lsn,
    /// Each start is a run; its records are named run × 1000 + n, in the order they were put.
    runs: u64,
    n_in_run: u64,
    spares: usize,
}

impl Told {
    fn put(&mut self, world: &mut World, sizes: &[usize]) -> Result<(), Stopped> {
        let bodies: Vec<_> = sizes
            .iter()
            .map(|len| {
                self.n_in_run += 1;
                body(self.runs * 1000 + self.n_in_run, *len)
            })
            .collect();
        let outcome = world.put(&bodies);
        // Only while the housekeeper rests is the order of operations the same each time.
        world.log.wait_for_housekeeping();
        match outcome {
            Outcome::Stored(records) => {
                self.stored
                    .extend(records.into_iter().map(|record| (record.lsn, record)));
                Ok(())
            }
            Outcome::Lost => Err(Stopped),
        }
    }

    fn begin(&mut self, disk: &SimDisk) -> Result<World, Stopped> {
        let (world, _) = open_with(disk, self.options()).map_err(|_| Stopped)?;
        self.runs += 1;
        self.n_in_run = 0;
        world.log.wait_for_housekeeping();
        Ok(world)
    }

    fn options(&self) -> LogOptions {
        LogOptions {
            spares: self.spares,
            ..small()
        }
    }

    fn release(&mut self, world: &World, upto: Lsn) {
        self.released = self.released.max(upto);
        world.log.release(upto);
        world.log.wait_for_housekeeping();
    }

    /// What is wrong with what a start found.
    fn judge(&self, found: &Found) -> Result<(), String> {
        let by_lsn: BTreeMap<_, _> = found
            .records
            .iter()
            .map(|record| (record.lsn, record))
            .collect();
        if found.oldest
            > Lsn::new(self.released.get() / SEGMENT_BYTES * SEGMENT_BYTES + 4096)
                .max(Lsn::new(4096))
        {
            return Err(format!(
                "begins at {}, though only {} was released",
                found.oldest, self.released
            ));
        }
        for (lsn, record) in self.stored.range(found.oldest..) {
            if by_lsn.get(lsn) != Some(&record) {
                return Err(format!(
                    "{lsn} was acknowledged; found: {:?}",
                    by_lsn.get(lsn).map(|kept| name(&kept.body))
                ));
            }
        }
        let names: Vec<_> = found
            .records
            .iter()
            .map(|record| name(&record.body))
            .collect();
        let in_order = names
            .windows(2)
            .all(|pair| pair[1] == pair[0] + 1 || (pair[1] % 1000 == 1 && pair[1] > pair[0]));
        let ordered = found
            .records
            .windows(2)
            .all(|pair| pair[0].lsn < pair[1].lsn);
        let offsets = found
            .records
            .windows(2)
            .all(|pair| pair[0].offsets[0].next() == pair[1].offsets[0]);
        if in_order && ordered && offsets {
            Ok(())
        } else {
            Err(format!("out of order: {names:?}"))
        }
    }
}

/// The disk halted, or the log noticed.
#[derive(Debug)]
struct Stopped;

/// What leaves out a sync.
#[derive(Clone, Copy)]
struct Lie {
    what: &'static str,
    /// Only while recovering.
    recovering: bool,
    /// While recovering, no spare can be made.
    starved: bool,
    lie: fn(Op, &str) -> bool,
}

impl Lie {
    fn apply(lie: Option<Lie>, disk: &SimDisk, recovering: bool) {
        match lie {
            Some(Lie {
                recovering: only,
                lie,
                ..
            }) if recovering || !only => disk.ignore(lie),
            _ => disk.heed(),
        }
    }
}

/// Two runs: rolls twice, releases two segments at once and later one, recycles, closes, starts again, rolls.
fn script(disk: &SimDisk, told: &mut Told) -> Result<(), Stopped> {
    let mut world = told.begin(disk)?;
    let result = first_run(disk, &mut world, told);
    let closed = world.log.close();
    result?;
    closed.map_err(|_| Stopped)?;
    let mut world = told.begin(disk)?;
    let result = second_run(&mut world, told);
    // Not closed: this run is killed, wherever the disk halts.
    let result = result.map(|()| disk.halt_at(disk.n_operations() + 1));
    world.log.close().ok();
    result
}

fn first_run(disk: &SimDisk, world: &mut World, told: &mut Told) -> Result<(), Stopped> {
    told.put(world, &[100])?;
    told.put(world, &[900, 8, 3000])?;
    for _ in 0..7 {
        told.put(world, &[1700, 3300])?;
    }
    told.release(world, Lsn::new(3 * SEGMENT_BYTES));
    for _ in 0..2 {
        told.put(world, &[3000, 2000])?;
    }
    told.release(world, Lsn::new(4 * SEGMENT_BYTES));
    // So that the released segment becomes a spare and is taken at once.
    disk.fail(no_spares(1));
    told.put(world, &[3000, 3000, 3000])?;
    told.release(world, Lsn::new(5 * SEGMENT_BYTES));
    told.put(world, &[3000, 3000, 3000])?;
    told.put(world, &[3000, 3000, 3000])?;
    told.put(world, &[20])
}

fn no_spares(times: u64) -> Fault {
    Fault {
        op: Op::Create,
        path: "spare".into(),
        after: 0,
        times,
        why: Why::Full,
    }
}

fn second_run(world: &mut World, told: &mut Told) -> Result<(), Stopped> {
    for _ in 0..3 {
        told.put(world, &[2000, 4000, 1000])?;
    }
    told.put(world, &[513, 8])
}

/// A start after a crash, and a little life, on a disk that may halt.
fn recovery(disk: &SimDisk, told: &mut Told, lie: Option<Lie>) -> Result<(), Stopped> {
    if lie.is_some_and(|lie| lie.starved) {
        // Making a spare syncs the folder too, and could stand in for the sync that is left out.
        disk.fail(no_spares(u64::MAX));
    }
    Lie::apply(lie, disk, true);
    let world = told.begin(disk);
    Lie::apply(lie, disk, false);
    let mut world = world?;
    let result = told
        .put(&mut world, &[700, 30])
        .and_then(|()| told.put(&mut world, &[40]));
    world.log.close().ok();
    result
}

/// Recovers `disk`, compares, goes on, recovers again, compares.
fn check(disk: &SimDisk, told: &Told) -> Result<(), String> {
    let mut told = told.clone();
    for _ in 0..2 {
        let (world, found) =
            open_with(disk, told.options()).map_err(|error| format!("does not start: {error}"))?;
        told.judge(&found)?;
        world
            .log
            .close()
            .map_err(|error| format!("does not close: {error}"))?;
        let mut world = told.begin(disk).map_err(|_| "does not start again")?;
        told.put(&mut world, &[300, 1000])
            .map_err(|_| "takes nothing more")?;
        world
            .log
            .close()
            .map_err(|error| format!("does not close: {error}"))?;
    }
    Ok(())
}

/// Crashes of a disk that halted: what it keeps, and what is then done with it.
const CRASHES: [(u64, Keep); 8] = [
    (0, Keep::Nothing),
    (0, Keep::All),
    (1, Keep::TornLast),
    (2, Keep::TornLast),
    (3, Keep::Some),
    (4, Keep::Some),
    (5, Keep::Some),
    (6, Keep::Some),
];

/// Halts at every operation of the script and tries all crashes of it. Gives how many there were, or the first loss.
fn explore(lie: Option<Lie>, spares: usize) -> Result<u32, String> {
    let mut n_crashes = 0;
    for n in 1.. {
        let disk = SimDisk::new();
        Lie::apply(lie, &disk, false);
        disk.halt_at(n);
        let mut told = Told {
            spares,
            ..Told::default()
        };
        let done = script(&disk, &mut told).is_ok();
        for (seed, keep) in CRASHES {
            n_crashes += 1;
            check(&disk.crash(seed * 1000 + n, keep), &told)
                .map_err(|loss| explain(n, seed, keep, &disk, &loss))?;
        }
        if done {
            return Ok(n_crashes);
        }
    }
    unreachable!("the script ends")
}

/// As `explore`, with a second crash at every operation of the recovery from the first: of the machine after that of the
/// machine, and of the machine after that of the process alone.
fn explore_recovery(lie: Option<Lie>, spares: usize, every: usize) -> Result<u32, String> {
    let mut n_crashes = 0;
    for n in (1..).step_by(every) {
        let disk = SimDisk::new();
        disk.halt_at(n);
        let mut told = Told {
            spares,
            ..Told::default()
        };
        let done = script(&disk, &mut told).is_ok();
        let mut firsts = vec![disk.fork()];
        if lie.is_none() {
            let keeps = [Keep::Nothing, Keep::TornLast, Keep::Some];
            firsts.extend(keeps.map(|keep| disk.crash(n, keep)));
        }
        for first in firsts {
            for m in 1.. {
                let second = first.fork();
                second.halt_at(m);
                let mut told = told.clone();
                recovery(&second, &mut told, lie).ok();
                let whole = !second.is_halted();
                for (seed, keep) in [(0, Keep::Nothing), (1, Keep::Some), (2, Keep::Some)] {
                    n_crashes += 1;
                    check(&second.crash(seed * 1000 + n + m, keep), &told).map_err(|loss| {
                        format!("first at {n}: {}", explain(m, seed, keep, &second, &loss))
                    })?;
                }
                if whole {
                    break;
                }
            }
        }
        if done {
            return Ok(n_crashes);
        }
    }
    unreachable!("the script ends")
}

fn explain(n: u64, seed: u64, keep: Keep, disk: &SimDisk, loss: &str) -> String {
    format!(
        "halted at {n}, seed {seed}, {keep:?}: {loss}\n{}",
        disk.trace().join("\n")
    )
}

#[test]
fn nothing_acknowledged_is_lost() {
    let n_crashes = explore(None, 1).unwrap_or_else(|loss| panic!("{loss}"));
    assert!(n_crashes > 800, "{n_crashes}");
}

#[test]
fn a_crash_during_recovery_changes_nothing() {
    let n_crashes = explore_recovery(None, 2, 9).unwrap_or_else(|loss| panic!("{loss}"));
    assert!(n_crashes > 2000, "{n_crashes}");
}

fn is_segment(what: &str) -> bool {
    what.contains("wal/0")
}

/// The writer ends a segment with a record of 48 bytes; no record of the script is that small.
fn is_end(what: &str) -> bool {
    what.ends_with("+48")
}

/// Every sync there is, except those that only save time or space (a spare's zeros, a spare's first name).
const LIES: [Lie; 12] = [
    Lie {
        what: "META's bytes",
        recovering: false,
        starved: false,
        lie: |op, what| op == Op::SyncAll && what.contains("META"),
    },
    Lie {
        what: "META's name",
        recovering: false,
        starved: false,
        lie: |op, what| op == Op::SyncDir && what.contains("-> data/META"),
    },
    Lie {
        what: "a segment's header",
        recovering: false,
        starved: false,
        lie: |op, what| op == Op::SyncData && what.contains("spare"),
    },
    Lie {
        what: "a segment's name",
        recovering: false,
        starved: false,
        lie: |op, what| op == Op::SyncDir && what.contains("-> data/wal/0"),
    },
    Lie {
        what: "a commit",
        recovering: false,
        starved: false,
        lie: |op, what| op == Op::SyncData && is_segment(what) && !is_end(what),
    },
    Lie {
        what: "a segment's end",
        recovering: false,
        starved: false,
        lie: |op, what| op == Op::SyncData && is_segment(what) && is_end(what),
    },
    Lie {
        what: "a recycled segment's new name",
        recovering: false,
        starved: false,
        lie: |op, what| {
            op == Op::SyncDir && what.contains("wal/0") && what.contains("-> data/wal/spare")
        },
    },
    Lie {
        what: "a segment's removal",
        recovering: false,
        starved: false,
        lie: |op, what| op == Op::SyncDir && what.contains("wal/0") && what.ends_with("-> -"),
    },
    Lie {
        what: "at a start, META's name",
        recovering: true,
        starved: false,
        lie: |op, what| op == Op::SyncDir && what.contains("-> data/META"),
    },
    Lie {
        what: "at a start, the newest segment's name",
        recovering: true,
        starved: true,
        lie: |op, what| op == Op::SyncDir && what.contains("-> data/wal/0"),
    },
    Lie {
        what: "at a start, what the last process wrote",
        recovering: true,
        starved: false,
        lie: |op, what| op == Op::SyncData && is_segment(what) && !is_end(what),
    },
    Lie {
        what: "at a start, the seal",
        recovering: true,
        starved: false,
        lie: |op, what| op == Op::SyncData && is_segment(what) && is_end(what),
    },
];

#[test]
fn every_sync_matters() {
    for lie in LIES {
        // With two spares a start finds one even if the last process was killed as it took the other.
        let explored = if lie.recovering {
            explore_recovery(Some(lie), 2, 1)
        } else {
            explore(Some(lie), 1)
        };
        assert!(
            explored.is_err(),
            "no crash shows that {} must be synced",
            lie.what
        );
    }
}
