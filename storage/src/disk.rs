//! What the log asks of a file system: the real one, or one in memory that loses, tears and fails (`sim`).
//!
//! Always: nothing that these calls do is promised to survive a power cut until the matching sync has returned `Ok`:
//! `sync_data` for bytes and length, `sync_all` the same with the rest of the metadata, `sync_dir` for names.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

mod real;

pub use real::RealDisk;

/// A file system.
pub trait Disk: Send + Sync + 'static {
    /// Creates a file that must not exist, for reading and writing. Its name is durable after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// As the system says.
    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// As the system says.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file for reading only.
    ///
    /// # Errors
    /// As the system says.
    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// The names in a folder, in no order.
    ///
    /// # Errors
    /// As the system says.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Renames a file within its folder, in place of what had that name. Durable after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// As the system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Durable after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// As the system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes a folder's names durable as they are now.
    ///
    /// # Errors
    /// As the system says; the log takes it as final.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Creates a folder and the folders above it where they are missing; durable on return.
    ///
    /// # Errors
    /// As the system says.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// Bytes that may still be written below a folder.
    ///
    /// # Errors
    /// As the system says.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;

    /// Takes a lock file, which is created if missing, until the value is dropped or the process is gone.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when somebody else has it; otherwise as the system says.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>>;
}

/// An open file.
pub trait DiskFile: Send + Sync {
    /// Fills `buffer` from `at` on; fewer bytes than asked for only at the end of the file.
    ///
    /// # Errors
    /// As the system says.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `at`.
    ///
    /// # Errors
    /// As the system says; any part may have been written.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Makes bytes and length durable.
    ///
    /// # Errors
    /// As the system says; what is durable then is unknown until the file is read after a restart.
    fn sync_data(&self) -> io::Result<()>;

    /// As [`DiskFile::sync_data`], with all metadata.
    ///
    /// # Errors
    /// As [`DiskFile::sync_data`].
    fn sync_all(&self) -> io::Result<()>;

    /// Its length in bytes.
    ///
    /// # Errors
    /// As the system says.
    fn len_bytes(&self) -> io::Result<u64>;

    /// Cuts it, or lengthens it with zeros.
    ///
    /// # Errors
    /// As the system says.
    fn set_len(&self, bytes: u64) -> io::Result<()>;
}

/// A lock that is held.
pub trait DiskLock: Send + fmt::Debug {}
