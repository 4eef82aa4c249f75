//! The raw log: `cargo bench -p restante-storage --bench log`.
//!
//! - `synced`: what producers get who wait for each of their records, one record of 256 bytes a batch, on a real disk
//!   with a sync for each commit. The argument is how many producers wait at a time.
//! - `unsynced`: the same without waiting for the disk (a sync only when a segment ends).
//! - `writer_alone`: what the writer's thread costs: batches of 64 records, on a disk that takes everything at once.
//! - `encode`: what a record costs its producer.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crossbeam_channel::{Receiver, unbounded};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use restante_storage::{
    Disk, DiskFile, DiskLock, Draft, DraftBatch, Kind, Limits, Log, LogOptions, Lsn, QueueId, Raw,
    RealDisk, SyncPolicy, UnixMillis,
};

const BODY: [u8; 256] = [7; 256];
const TARGETS: [QueueId; 1] = [QueueId::new(4096)];

fn main() {
    divan::main();
}

#[divan::bench(args = [1, 8, 64, 512], sample_count = 5, sample_size = 1)]
fn synced(bencher: Bencher<'_, '_>, producers: usize) {
    let n_batches = (producers * 200).clamp(500, 40_000);
    on_real_disk(bencher, SyncPolicy::Always, producers, n_batches);
}

#[divan::bench(args = [1, 8, 64, 512], sample_count = 5, sample_size = 1)]
fn unsynced(bencher: Bencher<'_, '_>, producers: usize) {
    on_real_disk(bencher, SyncPolicy::Never, producers, 100_000);
}

#[divan::bench(args = [1, 8, 64], sample_count = 10, sample_size = 1)]
fn writer_alone(bencher: Bencher<'_, '_>, records_a_batch: usize) {
    let rig = Rig::new(Arc::new(Void), Path::new("void"), SyncPolicy::Always);
    let n_batches = 200_000 / records_a_batch;
    let batches = || {
        (0..n_batches)
            .map(|_| rig.batch(records_a_batch))
            .collect::<Vec<_>>()
    };
    bencher
        .with_inputs(batches)
        .counter(ItemsCount::new(n_batches * records_a_batch))
        .bench_local_values(|batches| rig.run(batches.into_iter(), 4096));
}

#[divan::bench(args = [1, 64])]
fn encode(bencher: Bencher<'_, '_>, records_a_batch: usize) {
    let limits = Limits {
        record_bytes_max: 1 << 20,
        batch_bytes_max: 1 << 20,
    };
    bencher
        .counter(ItemsCount::new(records_a_batch))
        .bench(|| fill(DraftBatch::new(limits, ()), records_a_batch));
}

fn on_real_disk(bencher: Bencher<'_, '_>, sync: SyncPolicy, producers: usize, n_batches: usize) {
    let folder = tempfile::tempdir_in(".").expect("a folder");
    let rig = Rig::new(Arc::new(RealDisk), folder.path(), sync);
    rig.run((0..100).map(|_| rig.batch(1)), 1);
    bencher
        .counter(ItemsCount::new(n_batches))
        .bench_local(|| rig.run((0..n_batches).map(|_| rig.batch(1)), producers));
    rig.log.close().expect("closed");
}

/// A log and the news of its commits.
struct Rig {
    log: Log<()>,
    stored: Receiver<(usize, Lsn)>,
}

impl Rig {
    fn new(disk: Arc<dyn Disk>, dir: &Path, sync: SyncPolicy) -> Self {
        let options = LogOptions {
            sync,
            ..LogOptions::default()
        };
        let scan = Log::scan(disk, dir, options).expect("a new log");
        let (news, stored) = unbounded();
        let sink = move |commit: restante_storage::Commit<()>| {
            news.send((commit.batches.len(), commit.end)).ok();
        };
        let log = scan
            .start(HashMap::new(), sink, |failure| panic!("{failure}"))
            .expect("started");
        Rig { log, stored }
    }

    fn batch(&self, records: usize) -> DraftBatch<()> {
        fill(DraftBatch::new(self.log.limits(), ()), records)
    }

    /// Keeps `waiting` batches on their way until all are stored.
    fn run(&self, mut batches: impl Iterator<Item = DraftBatch<()>>, waiting: usize) {
        let mut on_their_way = 0;
        loop {
            for batch in batches.by_ref().take(waiting - on_their_way) {
                self.log.submit(batch).expect("running");
                on_their_way += 1;
            }
            if on_their_way == 0 {
                break;
            }
            let (n, end) = self.stored.recv().expect("running");
            on_their_way -= n;
            self.log.release(end);
        }
    }
}

fn fill<T>(mut batch: DraftBatch<T>, records: usize) -> DraftBatch<T> {
    let envelope = Raw(b"orders/eu/berlin");
    for _ in 0..records {
        let draft = Draft {
            targets: &TARGETS,
            body: black_box(&BODY),
            ..Draft::new(Kind::Enqueue, UnixMillis::new(1), &envelope)
        };
        batch.push(&draft).expect("it fits");
    }
    batch
}

/// A disk that takes everything and keeps nothing.
#[derive(Debug)]
struct Void;

impl Disk for Void {
    fn create_new(&self, _path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(Void))
    }

    fn open(&self, _path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(Void))
    }

    fn open_read(&self, _path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn list(&self, _dir: &Path) -> io::Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        Ok(())
    }

    fn remove(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn create_dir_all(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn free_bytes(&self, _dir: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    fn lock(&self, _path: &Path) -> io::Result<Box<dyn DiskLock>> {
        Ok(Box::new(Void))
    }
}

impl DiskLock for Void {}

impl DiskFile for Void {
    fn read_at(&self, _buffer: &mut [u8], _at: u64) -> io::Result<usize> {
        Ok(0)
    }

    fn write_at(&self, bytes: &[u8], _at: u64) -> io::Result<()> {
        black_box(bytes);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(())
    }

    fn len_bytes(&self) -> io::Result<u64> {
        Ok(0)
    }

    fn set_len(&self, _bytes: u64) -> io::Result<()> {
        Ok(())
    }
}
