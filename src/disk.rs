//! The machine's disk, with its syncs timed: what a broker's confirms cost is what its disk's syncs cost.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use metrics::{Counter, Histogram, counter, histogram};
use restante_storage::{Disk, DiskFile, DiskLock, RealDisk};

/// [`RealDisk`], counting and timing syncs of files.
pub(crate) struct MeteredDisk {
    syncs: Counter,
    failures: Counter,
    seconds: Histogram,
}

impl MeteredDisk {
    /// Make it after the metrics recorder is installed.
    pub(crate) fn new() -> Self {
        MeteredDisk {
            syncs: counter!("restante_log_syncs_total"),
            failures: counter!("restante_log_sync_failures_total"),
            seconds: histogram!("restante_log_sync_seconds"),
        }
    }

    fn metered(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(MeteredFile {
            file,
            syncs: self.syncs.clone(),
            failures: self.failures.clone(),
            seconds: self.seconds.clone(),
        })
    }
}

impl Default for MeteredDisk {
    fn default() -> Self {
        Self::new()
    }
}

struct MeteredFile {
    file: Arc<dyn DiskFile>,
    syncs: Counter,
    failures: Counter,
    seconds: Histogram,
}

impl Disk for MeteredDisk {
    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.metered(RealDisk.create_new(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.metered(RealDisk.open(path)?))
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        RealDisk.open_read(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.sync_dir(dir)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        RealDisk.create_dir_all(dir)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        RealDisk.free_bytes(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        RealDisk.lock(path)
    }
}

impl DiskFile for MeteredFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        self.file.read_at(buffer, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.file.write_at(bytes, at)
    }

    fn sync_data(&self) -> io::Result<()> {
        let begun = Instant::now();
        let synced = self.file.sync_data();
        self.seconds.record(begun.elapsed());
        self.syncs.increment(1);
        if synced.is_err() {
            self.failures.increment(1);
        }
        synced
    }

    fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn len_bytes(&self) -> io::Result<u64> {
        self.file.len_bytes()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }
}
