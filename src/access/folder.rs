//! Private files in the data folder: only their owner reads them, and each is either the old one or the new one.
//!
//! ```text
//! write NAME.new (0600) ─▶ fsync ─▶ rename to NAME ─▶ fsync of the folder
//! ```
//!
//! Always, with tests of these names below: `what_is_made_is_private`, `a_link_is_not_followed`,
//! `a_folder_with_other_things_in_it_keeps_its_mode`.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use tracing::warn;

/// Larger files are refused: a key is a hundred bytes, and the largest set of keys a few thousand.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What the file system said no to.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {path}")]
pub struct FolderError {
    /// A verb: "read", "create".
    pub doing: &'static str,
    /// What of.
    pub path: PathBuf,
    /// Why not.
    pub source: io::Error,
}

/// Makes `folder` if it is not there, for its owner alone.
///
/// A folder that is there and open to others is closed if it is empty or has our key in it. Otherwise it may be
/// somebody else's (`/tmp`), and there is only a warning: the files themselves are private in any case.
pub(super) fn prepare(folder: &Path, ours: &str) -> Result<(), FolderError> {
    let failed = |doing| {
        move |source| FolderError {
            doing,
            path: folder.to_owned(),
            source,
        }
    };
    if !folder.exists() {
        if let Some(parent) = folder.parent() {
            fs::create_dir_all(parent).map_err(failed("create the parent of"))?;
        }
        return DirBuilder::new()
            .mode(0o700)
            .create(folder)
            .map_err(failed("create"));
    }
    let mode = fs::metadata(folder)
        .map_err(failed("look at"))?
        .permissions()
        .mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let is_empty = fs::read_dir(folder)
        .map_err(failed("list"))?
        .next()
        .is_none();
    let closed = (is_empty || folder.join(ours).exists())
        && fs::set_permissions(folder, Permissions::from_mode(0o700)).is_ok();
    if !closed {
        warn!(folder = %folder.display(), mode = format!("{:o}", mode & 0o7777), "others may enter the data folder; chmod 700 it");
    }
    Ok(())
}

/// Reads a private file, if it is there. One that others could read is closed to them, with a warning.
pub(super) fn read(folder: &Path, name: &str) -> Result<Option<Vec<u8>>, FolderError> {
    let path = folder.join(name);
    let failed = |doing| {
        let path = path.clone();
        move |source| FolderError {
            doing,
            path,
            source,
        }
    };
    let file = match OpenOptions::new()
        .read(true)
        .custom_flags(no_follow())
        .open(&path)
    {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("open")(error)),
    };
    let metadata = file.metadata().map_err(failed("look at"))?;
    if metadata.permissions().mode() & 0o077 != 0 {
        warn!(file = %path.display(), "others could read this file; it is closed to them now");
        file.set_permissions(Permissions::from_mode(0o600))
            .map_err(failed("chmod"))?;
    }
    if metadata.len() > FILE_BYTES_MAX {
        return Err(failed("read")(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "it is larger than 1 MiB",
        )));
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(failed("read"))?;
    Ok(Some(bytes))
}

/// Puts `bytes` in the place of a private file. When this returns, they survive a power cut.
pub(super) fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), FolderError> {
    let (path, new) = (folder.join(name), folder.join(format!("{name}.new")));
    let failed = |doing| {
        let path = path.clone();
        move |source| FolderError {
            doing,
            path,
            source,
        }
    };
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("make room for")(error));
        }
        _ => {}
    }
    let options = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(no_follow())
        .open(&new);
    let mut file = options.map_err(failed("create a new"))?;
    file.write_all(bytes).map_err(failed("write"))?;
    file.sync_all().map_err(failed("sync"))?;
    fs::rename(&new, &path).map_err(failed("replace"))?;
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed("sync the folder of"))
}

fn no_follow() -> i32 {
    i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_is_made_is_private() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a/b");
        prepare(&folder, "cli.key").unwrap();
        write(&folder, "x", b"one").unwrap();
        write(&folder, "x", b"two").unwrap();
        assert_eq!((mode(&folder), mode(&folder.join("x"))), (0o700, 0o600));
        assert_eq!(read(&folder, "x").unwrap().unwrap(), b"two");
        assert!(!folder.join("x.new").exists());
        assert!(read(&folder, "y").unwrap().is_none());
    }

    #[test]
    fn a_file_that_was_open_is_closed() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "x", b"one").unwrap();
        fs::set_permissions(root.path().join("x"), Permissions::from_mode(0o644)).unwrap();
        read(root.path(), "x").unwrap();
        assert_eq!(mode(&root.path().join("x")), 0o600);
    }

    #[test]
    fn a_link_is_not_followed() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("target"), "untouched").unwrap();
        for name in ["x", "x.new"] {
            std::os::unix::fs::symlink(root.path().join("target"), root.path().join(name)).unwrap();
        }
        assert!(read(root.path(), "x").is_err());
        write(root.path(), "x", b"new").unwrap();
        assert_eq!(fs::read(root.path().join("target")).unwrap(), b"untouched");
    }

    #[test]
    fn a_folder_with_other_things_in_it_keeps_its_mode() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("f");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("other"), "").unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
        prepare(&folder, "ours").unwrap();
        assert_eq!(mode(&folder), 0o755);
        fs::write(folder.join("ours"), "").unwrap();
        prepare(&folder, "ours").unwrap();
        assert_eq!(mode(&folder), 0o700);
    }
}
