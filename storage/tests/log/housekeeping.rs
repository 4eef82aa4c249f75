//! Spares, recycling, release, and a disk that is full.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, unbounded};
use restante_storage::sim::{Fault, Keep, Op, SimDisk, Why};
use restante_storage::{
    Commit, Disk, Draft, DraftBatch, Kind, Log, LogError, LogOptions, Lsn, Raw, UnixMillis,
};

use crate::world::{DIR, Outcome, SEGMENT_BYTES, World, body, open, open_with, small, wal};

fn names(disk: &SimDisk) -> Vec<String> {
    disk.list(&wal()).unwrap()
}

fn fill_segments(world: &mut World, n: u64) {
    for round in 0..n {
        world.keep(&[body(round, 3500), body(round, 3500), body(round, 3500)]);
        world.log.wait_for_housekeeping();
    }
}

#[test]
fn segments_go_oldest_first() {
    let disk = SimDisk::new();
    let (mut world, _) = open_with(
        &disk,
        LogOptions {
            spares: 2,
            ..small()
        },
    )
    .unwrap();
    fill_segments(&mut world, 6);
    assert_eq!(world.log.segments().len(), 6);
    world.log.release(Lsn::new(3 * SEGMENT_BYTES));
    world.log.wait_for_housekeeping();
    assert_eq!(world.log.oldest(), Lsn::new(3 * SEGMENT_BYTES + 4096));
    let touched: Vec<_> = disk
        .trace()
        .into_iter()
        .filter(|line| line.contains("Remove"))
        .collect();
    let order: Vec<_> = [0, 1, 2]
        .map(|n| {
            touched
                .iter()
                .position(|line| line.contains(&format!("{n:016}")))
        })
        .to_vec();
    assert!(
        order.is_sorted() && order.iter().all(Option::is_some),
        "{touched:?}"
    );
    let left = names(&disk);
    assert_eq!(
        left.iter()
            .filter(|name| name.starts_with("spare-"))
            .count(),
        2
    );
    assert_eq!(left.len(), 3 + 2);
}

#[test]
fn a_released_segment_becomes_a_spare_and_its_records_do_not_come_back() {
    let disk = SimDisk::new();
    let (mut world, _) = open(&disk).unwrap();
    fill_segments(&mut world, 12);
    // Let the one spare be used up by a fault, so that the released segments are needed.
    disk.fail(Fault {
        op: Op::Create,
        path: "spare".into(),
        after: 0,
        times: u64::MAX,
        why: Why::Full,
    });
    fill_segments(&mut world, 1);
    for round in 0..8 {
        world.log.release(Lsn::new((round + 2) * SEGMENT_BYTES));
        world.log.wait_for_housekeeping();
        let kept = world.keep(&[body(1000 + round, 3500), body(0, 3500), body(0, 3500)]);
        let after = world.keep(&[body(2000 + round, 100)]);
        assert!(kept[0].lsn < after[0].lsn);
    }
    assert!(
        disk.trace()
            .iter()
            .any(|line| line.contains("SyncDir") && line.contains(".wal -> data/wal/spare-"))
    );
    let oldest = world.log.oldest();
    for (seed, keep) in [
        (0, Keep::Nothing),
        (0, Keep::All),
        (1, Keep::Some),
        (2, Keep::Some),
    ] {
        let (_, found) = open(&disk.crash(seed, keep)).unwrap();
        assert_eq!(found.oldest, oldest);
        assert!(
            found
                .records
                .windows(2)
                .all(|pair| pair[0].lsn < pair[1].lsn)
        );
        assert!(
            found
                .records
                .windows(2)
                .all(|pair| pair[0].offsets[0].next() == pair[1].offsets[0])
        );
    }
}

#[test]
fn the_newest_segment_is_never_released() {
    let disk = SimDisk::new();
    let (mut world, _) = open(&disk).unwrap();
    world.log.release(Lsn::new(1 << 30));
    fill_segments(&mut world, 3);
    world.log.release(Lsn::new(1 << 30));
    world.log.wait_for_housekeeping();
    assert_eq!(world.log.oldest(), Lsn::new(2 * SEGMENT_BYTES + 4096));
    let more = world.keep(&[body(9, 9)]);
    world.log.close().unwrap();
    let (world, found) = open(&disk).unwrap();
    assert_eq!(found.records.last(), more.last());
    world.log.release(Lsn::new(1 << 30));
    world.log.close().unwrap();
    let (mut world, _) = open(&disk).unwrap();
    let next = world.keep(&[body(10, 9)]);
    assert!(next[0].lsn > more[0].lsn, "no LSN comes twice");
}

#[test]
fn a_full_disk_is_no_failure() {
    let disk = SimDisk::new();
    // META, two segments, and no third.
    disk.set_capacity(Some(2 * SEGMENT_BYTES + 1000));
    let (mut world, _) = open(&disk).unwrap();
    fill_segments(&mut world, 2);
    assert!(world.log.disk_low());
    let settled = world.keep(&[body(0, 50)]);
    assert_eq!(
        settled.len(),
        1,
        "what is small still fits into the last segment"
    );
    assert!(
        matches!(world.put(&[body(1, 3900), body(1, 3900)]), Outcome::Lost),
        "waits"
    );
    assert!(world.log.failure().is_none());
    disk.set_capacity(None);
    // The waiting batch is stored as soon as there is room; releasing makes the housekeeper look at once.
    world.log.release(Lsn::new(SEGMENT_BYTES));
    world.log.wait_for_housekeeping();
    world.keep(&[body(2, 100)]);
    assert!(!world.log.disk_low());
    world.log.close().unwrap();
    let (_, found) = open(&disk).unwrap();
    assert_eq!(found.records.len(), 3 + 1 + 2 + 1);
}

#[test]
fn closing_while_the_disk_is_full_gives_up_what_waits() {
    let disk = SimDisk::new();
    disk.set_capacity(Some(SEGMENT_BYTES + 1000));
    let (mut world, _) = open(&disk).unwrap();
    fill_segments(&mut world, 1);
    assert!(matches!(
        world.put(&[body(1, 3900), body(1, 3900)]),
        Outcome::Lost
    ));
    let error = world.log.close().unwrap_err();
    assert!(
        matches!(&*error, LogError::ClosedWhileFull { batches: 1 }),
        "{error}"
    );
    assert!(world.log.failure().is_none());
    disk.set_capacity(None);
    let (_, found) = open(&disk).unwrap();
    assert_eq!(found.records.len(), 3);
}

#[test]
fn what_the_writer_never_took_is_dropped_with_its_companion() {
    let disk = SimDisk::new();
    // One batch is a commit: the first waits for a segment, the others behind it.
    let options = LogOptions {
        commit_bytes_max: 1,
        ..small()
    };
    let mut scan = Log::scan(Arc::new(disk.clone()), Path::new(DIR), options).unwrap();
    scan.replay(scan.oldest(), &mut |_| {}).unwrap();
    disk.set_capacity(Some(1));
    let log = scan
        .start(HashMap::new(), |_: Commit<Sender<()>>| {}, |_| {})
        .unwrap();
    let companions: Vec<_> = (0..3)
        .map(|_| {
            let (companion, dropped) = unbounded();
            let mut batch = DraftBatch::new(log.limits(), companion);
            let raw = Raw(&[]);
            batch
                .push(&Draft::new(Kind::Advance, UnixMillis::ZERO, &raw))
                .unwrap();
            log.submit(batch).unwrap();
            dropped
        })
        .collect();
    assert!(log.close().is_err());
    for dropped in companions {
        let heard = dropped.recv_timeout(Duration::from_secs(10));
        assert_eq!(heard, Err(RecvTimeoutError::Disconnected));
    }
    let (companion, _) = unbounded();
    assert!(
        log.submit(DraftBatch::new(log.limits(), companion))
            .is_err()
    );
}

#[test]
fn a_start_on_a_full_disk_waits_for_room_and_reads_meanwhile() {
    let disk = SimDisk::new();
    let (mut world, _) = open(&disk).unwrap();
    let kept = world.keep(&[body(0, 100)]);
    world.log.close().unwrap();
    let full = disk.crash(0, Keep::Nothing);
    for name in names(&full) {
        if name.starts_with("spare") {
            full.remove(&wal().join(name)).unwrap();
        }
    }
    full.set_capacity(Some(1));
    let (mut world, found) = open(&full).unwrap();
    assert_eq!(found.records, kept);
    assert!(matches!(world.put(&[body(1, 100)]), Outcome::Lost));
    assert!(world.log.reader().read(kept[0].lsn, 0).is_ok());
    world.log.close().unwrap_err();
}

#[test]
fn a_failed_folder_sync_ends_the_log_at_the_next_segment() {
    let disk = SimDisk::new();
    let (mut world, _) = open(&disk).unwrap();
    fill_segments(&mut world, 3);
    disk.fail(Fault {
        op: Op::SyncDir,
        path: "wal".into(),
        after: 0,
        times: 1,
        why: Why::Broken,
    });
    world.log.release(Lsn::new(SEGMENT_BYTES));
    world.log.wait_for_housekeeping();
    world.keep(&[body(0, 100)]);
    let big = [body(0, 3900), body(0, 3900), body(0, 3900)];
    assert!(matches!(world.put(&big), Outcome::Lost));
    assert!(matches!(
        &*world.log.close().unwrap_err(),
        LogError::Poisoned { .. }
    ));
}

#[test]
fn spares_left_by_an_earlier_run_are_used_and_halves_removed() {
    let disk = SimDisk::new();
    let (mut world, _) = open(&disk).unwrap();
    fill_segments(&mut world, 1);
    world.log.close().unwrap();
    disk.create_new(&wal().join("spare-9.tmp")).unwrap();
    disk.create_new(&wal().join("spare-8.wal")).unwrap();
    disk.create_new(&wal().join("notes.txt")).unwrap();
    let before = disk.trace().len();
    let (mut world, _) = open(&disk).unwrap();
    world.keep(&[body(0, 100)]);
    world.log.wait_for_housekeeping();
    let trace = disk.trace().split_off(before);
    let first_create = trace
        .iter()
        .position(|line| line.contains("Create data/wal/spare"));
    let first_segment = trace
        .iter()
        .position(|line| line.contains("Rename") && line.contains("0001.wal"));
    assert!(
        first_segment.is_some() && first_create.is_none_or(|create| Some(create) > first_segment),
        "{trace:?}"
    );
    let names = names(&disk);
    assert!(names.contains(&"notes.txt".to_owned()));
    assert!(
        !names
            .iter()
            .any(|name| name == "spare-9.tmp" || name == "spare-8.wal")
    );
}

#[test]
fn a_start_that_stores_nothing_costs_no_space() {
    let disk = SimDisk::new();
    for round in 0..20 {
        let (mut world, found) = open(&disk).unwrap();
        assert_eq!(found.records.len(), round);
        world.keep(&[body(0, 100)]);
        world.log.wait_for_housekeeping();
        world.log.close().unwrap();
    }
    let bytes: usize = names(&disk)
        .iter()
        .map(|name| disk.bytes(&wal().join(name)).unwrap().len())
        .sum();
    assert!(bytes <= 20 * 8192 + 3 * SEGMENT_BYTES as usize, "{bytes}");
    assert!(disk.bytes(&Path::new(DIR).join("META")).is_ok());
}
