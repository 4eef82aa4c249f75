//! Reading records back.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use restante_storage::sim::{Fault, Op, SimDisk, Why};
use restante_storage::{
    Damage, Disk, DiskFile, DiskLock, LogError, LogOptions, Lsn, ReadError, RecordRef,
};

use crate::world::{Kept, body, open, open_on, open_with, segment, small};

/// A log of several segments, and what is in it.
fn filled(disk: &SimDisk) -> (crate::world::World, Vec<Kept>) {
    let (mut world, _) = open(disk).unwrap();
    let kept = (0..60)
        .flat_map(|n| world.keep(&[body(n * 2, 400), body(n * 2 + 1, 900)]))
        .collect();
    (world, kept)
}

#[test]
fn every_record_is_read_back_alone_and_together() {
    let (world, kept) = filled(&SimDisk::new());
    let reader = world.log.reader();
    assert!(reader.cached(kept[0].lsn).is_none(), "the ring is small");
    assert!(reader.cached(kept[119].lsn).is_some());
    for hint in [0, 1, 100, 600, 100_000] {
        for record in &kept {
            let bytes = reader.read(record.lsn, hint).unwrap();
            assert_eq!(&Kept::of(RecordRef::parse(&bytes).unwrap()), record);
            assert_eq!(bytes.len(), record.len as usize);
        }
    }
    for step in [1, 2, 7, 50] {
        for exact in [true, false] {
            let wanted: Vec<_> = kept.iter().step_by(step).collect();
            let asked: Vec<_> = wanted
                .iter()
                .map(|kept| (kept.lsn, if exact { kept.len } else { 0 }))
                .collect();
            let got = reader.read_many(&asked);
            assert_eq!(got.len(), wanted.len());
            for (got, wanted) in got.iter().zip(wanted) {
                assert_eq!(
                    &Kept::of(RecordRef::parse(got.as_ref().unwrap()).unwrap()),
                    wanted
                );
            }
        }
    }
    assert!(reader.read_many(&[]).is_empty());
}

#[test]
fn a_reader_outlives_its_log() {
    let (world, kept) = filled(&SimDisk::new());
    let reader = world.log.reader();
    world.log.close().unwrap();
    drop(world);
    assert_eq!(
        reader.read(kept[0].lsn, 0).unwrap().len(),
        kept[0].len as usize
    );
}

#[test]
fn what_was_released_is_gone() {
    let (world, kept) = filled(&SimDisk::new());
    let reader = world.log.reader();
    // Has the first segments' files open.
    reader.read_many(
        &kept
            .iter()
            .map(|kept| (kept.lsn, kept.len))
            .collect::<Vec<_>>(),
    );
    let upto = kept[60].lsn;
    world.log.release(upto);
    let oldest = world.log.oldest();
    assert!(oldest <= upto && oldest > kept[0].lsn);
    for housekept in [false, true] {
        if housekept {
            world.log.wait_for_housekeeping();
        }
        for record in &kept {
            match reader.read(record.lsn, 0) {
                Ok(bytes) => assert!(record.lsn >= oldest && bytes.len() == record.len as usize),
                Err(ReadError::Gone(lsn)) => assert!(lsn < oldest && lsn == record.lsn),
                Err(ReadError::Log(error)) => panic!("{error}"),
            }
        }
    }
    let all = reader.read_many(
        &kept
            .iter()
            .map(|kept| (kept.lsn, kept.len))
            .collect::<Vec<_>>(),
    );
    assert!(
        all.iter()
            .zip(&kept)
            .all(|(read, kept)| read.is_ok() == (kept.lsn >= oldest))
    );
}

/// Each of the two once held what the other one waited for.
#[test]
fn segments_are_opened_while_others_are_released() {
    let (mut world, _) = open(&SimDisk::new()).unwrap();
    let kept: Vec<Kept> = (0..1200)
        .flat_map(|n| world.keep(&[body(n, 900)]))
        .collect();
    let n_segments = world.log.segments().len();
    assert!(n_segments > 70, "{n_segments}: files would stay open");
    let (log, reader) = (world.log.clone(), world.log.reader());
    let (done, is_done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let releasing = std::thread::spawn(move || {
            // Little by little, and mostly nothing.
            for at in 0..20_000_u64 {
                log.release(Lsn::new(at));
            }
        });
        for _ in 0..50 {
            for record in &kept {
                match reader.read(record.lsn, record.len) {
                    Ok(_) | Err(ReadError::Gone(_)) => {}
                    Err(ReadError::Log(error)) => panic!("{error}"),
                }
            }
        }
        releasing.join().unwrap();
        done.send(()).ok();
    });
    is_done
        .recv_timeout(std::time::Duration::from_secs(60))
        .expect("one waits for the other");
}

/// A disk that opens a file for reading only once it is told to, from when on it is shut.
struct Slow {
    disk: SimDisk,
    shut: Arc<AtomicBool>,
    opens: Sender<()>,
    go_on: Receiver<()>,
}

impl Disk for Slow {
    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.create_new(path)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open(path)
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let opened = self.disk.open_read(path);
        if self.shut.load(Ordering::SeqCst) {
            self.opens.send(()).unwrap();
            self.go_on.recv_timeout(Duration::from_secs(60)).unwrap();
        }
        opened
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir_all(dir)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.disk.free_bytes(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        self.disk.lock(path)
    }
}

/// The writer and a release go on; what was released meanwhile is gone, and its file does not stay open.
#[test]
fn nobody_waits_for_a_file_that_opens_slowly() {
    let shut = Arc::new(AtomicBool::new(false));
    let ((opens, is_opening), (go, go_on)) = (unbounded(), unbounded());
    let disk = Slow {
        disk: SimDisk::new(),
        shut: Arc::clone(&shut),
        opens,
        go_on,
    };
    let (mut world, _) = open_on(Arc::new(disk), small()).unwrap();
    let kept: Vec<Kept> = (0..60).flat_map(|n| world.keep(&[body(n, 900)])).collect();
    shut.store(true, Ordering::SeqCst);
    let (reader, first) = (world.log.reader(), kept[0].lsn);
    let reading = std::thread::spawn(move || reader.read(first, 0));
    let within = Duration::from_secs(20);
    is_opening.recv_timeout(within).unwrap();
    let (done, is_done) = unbounded();
    let (log, upto) = (world.log.clone(), kept[40].lsn);
    std::thread::spawn(move || {
        log.release(upto);
        done.send(()).unwrap();
    });
    let released = is_done.recv_timeout(within);
    go.send(()).unwrap();
    released.expect("it waits for the reader");
    assert!(matches!(reading.join().unwrap(), Err(ReadError::Gone(lsn)) if lsn == first));
}

#[test]
fn a_rotten_record_is_reported_and_others_are_read() {
    let disk = SimDisk::new();
    let (world, kept) = filled(&disk);
    let reader = world.log.reader();
    let rotten = &kept[3];
    let mut bytes = disk.bytes(&segment(0)).unwrap();
    bytes[rotten.lsn.get() as usize + 60] ^= 1;
    disk.set_bytes(&segment(0), bytes).unwrap();
    let results = reader.read_many(
        &kept[..8]
            .iter()
            .map(|kept| (kept.lsn, kept.len))
            .collect::<Vec<_>>(),
    );
    for (result, kept) in results.iter().zip(&kept) {
        match result {
            Ok(_) => assert_ne!(kept, rotten),
            Err(ReadError::Log(error)) => {
                assert_eq!(kept, rotten);
                let at = rotten.lsn.get();
                assert!(
                    matches!(&**error, LogError::Corrupt { offset, what: Damage::Checksum, .. } if *offset == at)
                );
            }
            Err(gone) => panic!("{gone}"),
        }
    }
}

#[test]
fn a_place_without_a_record_and_a_failing_disk_are_errors() {
    let disk = SimDisk::new();
    let (world, kept) = filled(&disk);
    let reader = world.log.reader();
    for lsn in [Lsn::new(0), kept[0].lsn.advance(8), Lsn::new(1 << 40)] {
        assert!(
            matches!(reader.read(lsn, 0), Err(ReadError::Log(_))),
            "{lsn}"
        );
    }
    disk.fail(Fault {
        op: Op::Read,
        path: String::new(),
        after: 0,
        times: 1,
        why: Why::Broken,
    });
    assert!(
        matches!(reader.read(kept[0].lsn, 0), Err(ReadError::Log(error)) if matches!(&*error, LogError::Io { .. }))
    );
    assert!(
        reader.read(kept[0].lsn, 0).is_ok(),
        "one failed read does not harm the log"
    );
}

#[test]
fn without_a_ring_all_comes_from_the_disk() {
    let (mut world, _) = open_with(
        &SimDisk::new(),
        LogOptions {
            tail_bytes: 0,
            ..small()
        },
    )
    .unwrap();
    let kept = world.keep(&[body(0, 100)]);
    assert!(world.log.reader().cached(kept[0].lsn).is_none());
    assert!(world.log.reader().read(kept[0].lsn, 0).is_ok());
}

#[test]
fn a_long_read_ends_once_it_has_enough() {
    let (world, kept) = filled(&SimDisk::new());
    let reader = world.log.reader();
    let asked: Vec<_> = kept.iter().map(|kept| (kept.lsn, 48)).collect();
    let (mut n_read, mut n_calls) = (0, 0);
    while n_read < kept.len() {
        let got = reader.read_upto(&asked[n_read..], 1);
        assert!(!got.is_empty());
        for (got, kept) in got.iter().zip(&kept[n_read..]) {
            let record = RecordRef::parse(got.as_ref().unwrap()).unwrap();
            assert_eq!(&Kept::of(record), kept);
        }
        (n_read, n_calls) = (n_read + got.len(), n_calls + 1);
    }
    assert!(n_calls > 5, "one call a segment: {n_calls}");
    assert_eq!(reader.read_upto(&asked, usize::MAX).len(), kept.len());
}
