//! Commits: order, marks, room, failure.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use restante_storage::sim::{Fault, Op, SimDisk, Why};
use restante_storage::{Closed, DraftBatch, Log, LogError, LogOptions, Lsn, Offset, SyncPolicy};

use crate::world::{DIR, Outcome, body, name, open, open_with, small};

#[test]
fn what_is_put_comes_back_in_order_with_lsns_and_offsets() {
    let disk = SimDisk::new();
    let (mut world, found) = open(&disk).unwrap();
    assert_eq!((found.records.len(), found.oldest), (0, Lsn::new(4096)));
    let mut kept = world.keep(&[body(0, 100), body(1, 9)]);
    kept.extend(world.keep(&[body(2, 3000)]));
    assert_eq!(kept[0].lsn, Lsn::new(4096));
    assert_eq!(
        kept.iter()
            .flat_map(|record| &record.offsets)
            .copied()
            .collect::<Vec<_>>(),
        [1, 2, 3].map(Offset::new)
    );
    assert_eq!(
        kept.iter()
            .map(|record| name(&record.body))
            .collect::<Vec<_>>(),
        [0, 1, 2]
    );
    world.log.close().unwrap();
    let (mut world, found) = open(&disk).unwrap();
    assert_eq!(found.records, kept);
    assert_eq!(found.tail.torn, None);
    let more = world.keep(&[body(3, 8)]);
    assert_eq!(more[0].offsets, [Offset::new(4)]);
    assert_eq!(
        more[0].lsn,
        Lsn::new((16 << 10) + 4096),
        "a start begins a fresh segment"
    );
}

#[test]
fn the_marks_tell_how_far_a_commit_got() {
    let (mut world, _) = open(&SimDisk::new()).unwrap();
    let before = world.log.marks();
    assert_eq!(
        (before.appended, before.durable, before.applied),
        (Lsn::new(4096), Lsn::new(4096), Lsn::new(4096))
    );
    world.keep(&[body(0, 100)]);
    let after = world.log.marks();
    let end = world.commits[0].1;
    assert_eq!(
        (after.appended, after.written, after.durable, after.applied),
        (end, end, end, Lsn::new(4096))
    );
    world.log.set_applied(end);
    assert_eq!(world.log.marks().applied, end);
}

#[test]
fn a_batch_is_never_split() {
    let disk = SimDisk::new();
    let (mut world, _) = open(&disk).unwrap();
    for round in 0..40 {
        let bodies: Vec<_> = (0..round % 5 + 1)
            .map(|n| body(round * 10 + n, 1500))
            .collect();
        let kept = world.keep(&bodies);
        assert_eq!(kept.len(), bodies.len());
        let segments: Vec<_> = kept
            .iter()
            .map(|record| record.lsn.get() / (16 << 10))
            .collect();
        assert!(
            segments.iter().all(|segment| *segment == segments[0]),
            "round {round}: {segments:?}"
        );
    }
    assert!(world.log.segments().len() > 5);
}

#[test]
fn batches_that_wait_share_a_commit() {
    let disk = SimDisk::new();
    let (mut world, _) = open(&disk).unwrap();
    // While the first waits for its segment, the others queue up.
    let batches: Vec<_> = (0..30)
        .map(|n| world.submit(&[body(n, 100)]).unwrap())
        .collect();
    world.wait_for(batches[29]);
    assert!(world.commits.len() < 30, "{:?}", world.commits);
    let stored: usize = world.commits.iter().map(|(_, _, n)| n).sum();
    assert_eq!(stored, 30);
}

#[test]
fn an_empty_batch_comes_back_with_the_others() {
    let (mut world, _) = open(&SimDisk::new()).unwrap();
    assert_eq!(world.keep(&[]), []);
    assert_eq!(world.keep(&[body(1, 8)]).len(), 1);
    assert_eq!(world.keep(&[]), []);
}

fn check_failure_is_final(fault: Fault) {
    let disk = SimDisk::new();
    let (mut world, _) = open(&disk).unwrap();
    world.keep(&[body(0, 100)]);
    world.log.wait_for_housekeeping();
    let marks = world.log.marks();
    disk.fail(fault.clone());
    assert!(
        matches!(world.put(&[body(1, 100)]), Outcome::Lost),
        "{fault:?}"
    );
    assert_eq!(world.log.marks().durable, marks.durable, "{fault:?}");
    let operations = disk.n_operations();
    assert_eq!(world.submit(&[body(2, 100)]), None, "{fault:?}: refused");
    assert_eq!(world.log.try_reserve(1).err(), Some(Closed));
    assert!(matches!(&*world.failures[0], LogError::Poisoned { .. }));
    assert!(matches!(
        &*world.log.close().unwrap_err(),
        LogError::Poisoned { .. }
    ));
    assert_eq!(world.failures.len(), 1, "told once");
    assert!(world.log.failure().is_some());
    assert_eq!(disk.n_operations(), operations, "nothing is tried again");
    let (_, found) = open(&disk.crash(1, restante_storage::sim::Keep::Nothing)).unwrap();
    assert_eq!(found.records.len(), 1);
}

#[test]
fn a_failed_sync_is_final() {
    for (op, why) in [
        (Op::SyncData, Why::Broken),
        (Op::Write, Why::Broken),
        (Op::Write, Why::Short),
        (Op::Write, Why::Full),
    ] {
        check_failure_is_final(Fault {
            op,
            path: ".wal".into(),
            after: 0,
            times: 1,
            why,
        });
    }
}

#[test]
fn a_failure_while_rolling_is_final() {
    // Filling a segment of 16 KiB: its end, its successor's header, name and folder, each fails in turn.
    let mut failed = 0;
    for op in [Op::Write, Op::SyncData, Op::Rename, Op::SyncDir] {
        for after in 0..4 {
            let disk = SimDisk::new();
            let (mut world, _) = open(&disk).unwrap();
            world.keep(&[body(0, 3500), body(1, 3500), body(2, 3500)]);
            world.log.wait_for_housekeeping();
            disk.fail(Fault {
                op,
                path: String::new(),
                after,
                times: 1,
                why: Why::Broken,
            });
            let stored = matches!(world.put(&[body(3, 3500)]), Outcome::Stored(_));
            let closed = world.log.close();
            if !stored {
                failed += 1;
                assert!(closed.is_err(), "{op:?} {after}");
            }
            let (_, found) = open(&disk.crash(1, restante_storage::sim::Keep::Nothing)).unwrap();
            assert!(
                found.records.len() >= if stored { 4 } else { 3 },
                "{op:?} {after}"
            );
        }
    }
    assert!(failed >= 8, "{failed}");
}

#[test]
fn lazy_policies_store_after_the_write_and_sync_when_closed() {
    for sync in [
        SyncPolicy::Never,
        SyncPolicy::Interval(Duration::from_secs(3600)),
    ] {
        let disk = SimDisk::new();
        let (mut world, _) = open_with(&disk, LogOptions { sync, ..small() }).unwrap();
        world.keep(&[body(0, 100)]);
        let marks = world.log.marks();
        assert!(marks.durable < marks.written, "{sync:?}");
        world.log.set_applied(marks.written);
        let (_, found) = open(&disk.crash(0, restante_storage::sim::Keep::Nothing)).unwrap();
        assert_eq!(found.records.len(), 0, "{sync:?}: a power cut takes it");
        let (_, found) = open(&disk.fork()).unwrap();
        assert_eq!(found.records.len(), 1, "{sync:?}: a kill does not");
        world.log.close().unwrap();
        let (_, found) = open(&disk.crash(0, restante_storage::sim::Keep::Nothing)).unwrap();
        assert_eq!(found.records.len(), 1, "{sync:?}");
    }
}

#[test]
fn an_interval_of_nothing_syncs_at_once() {
    let sync = SyncPolicy::Interval(Duration::ZERO);
    let (mut world, _) = open_with(&SimDisk::new(), LogOptions { sync, ..small() }).unwrap();
    world.keep(&[body(0, 100)]);
    let marks = world.log.marks();
    assert_eq!(marks.durable, marks.written);
}

#[test]
fn room_comes_back_when_the_batch_is_stored() {
    let options = LogOptions {
        in_flight_bytes_max: 4 << 10,
        ..small()
    };
    let (mut world, _) = open_with(&SimDisk::new(), options).unwrap();
    let permit = world.log.try_reserve(4 << 10).unwrap().unwrap();
    assert!(world.log.try_reserve(1).unwrap().is_none());
    let mut batch = DraftBatch::new(world.log.limits(), 1 << 40);
    batch.hold(permit);
    world.log.submit(batch).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    drop(runtime.block_on(world.log.reserve(4 << 10)).unwrap());
    world.keep(&[body(1, 8)]);
}

#[test]
fn a_second_log_in_the_folder_is_refused_until_the_first_is_closed() {
    let disk = SimDisk::new();
    let (world, _) = open(&disk).unwrap();
    assert!(matches!(open(&disk), Err(LogError::Locked { .. })));
    world.log.close().unwrap();
    open(&disk).unwrap();
}

#[test]
fn a_second_process_in_a_real_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let scan = || Log::scan(Arc::new(restante_storage::RealDisk), folder.path(), small());
    let first = scan().unwrap();
    assert!(matches!(scan(), Err(LogError::Locked { .. })));
    drop(first);
    scan().unwrap();
}

#[test]
fn closing_twice_or_after_the_last_handle_is_harmless() {
    let disk = SimDisk::new();
    let (mut world, _) = open(&disk).unwrap();
    world.keep(&[body(0, 8)]);
    let other = world.log.clone();
    world.log.close().unwrap();
    other.close().unwrap();
    assert_eq!(
        other.submit(DraftBatch::new(other.limits(), 0)),
        Err(Closed)
    );
}

#[test]
fn a_folder_keeps_its_segment_size() {
    let disk = SimDisk::new();
    let (mut world, _) = open(&disk).unwrap();
    world.keep(&[body(0, 8)]);
    world.log.close().unwrap();
    let options = LogOptions {
        segment_bytes: 1 << 20,
        record_bytes_max: 1 << 18,
        ..small()
    };
    let (world, found) = open_with(&disk, options).unwrap();
    assert_eq!(found.records.len(), 1);
    assert_eq!(world.log.limits().record_bytes_max, 4 << 10);
}

#[test]
fn a_segment_size_that_cannot_work_is_refused_before_anything_is_made() {
    for segment_bytes in [0, 8 << 10, (16 << 10) + 1, 2 << 30] {
        let disk = SimDisk::new();
        let options = LogOptions {
            segment_bytes,
            ..small()
        };
        assert!(
            matches!(open_with(&disk, options), Err(LogError::Option { .. })),
            "{segment_bytes}"
        );
        assert!(disk.bytes(&Path::new(DIR).join("META")).is_err());
    }
}
