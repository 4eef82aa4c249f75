//! A small file that must be whole and current after any crash: written beside, synced, renamed, its folder synced.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Larger files are not ours.
const BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Replaces the file's contents; durable when it returns.
///
/// # Errors
/// What the file system said. The old contents are then still there.
pub(super) fn write<T: Serialize>(path: &Path, value: &T) -> anyhow::Result<()> {
    let beside = beside(path);
    let doing = || format!("cannot write {}", path.display());
    let text = serde_json::to_string(value).with_context(doing)?;
    let put = || -> std::io::Result<()> {
        let mut file = File::create(&beside)?;
        file.write_all(text.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        sync_folder(path)
    };
    put().with_context(doing)
}

/// What is in the file; none: there is no such file.
///
/// # Errors
/// What the file system said, or that it is no such file.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Option<T>> {
    let doing = || format!("cannot read {}", path.display());
    match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(doing),
        Ok(about) => anyhow::ensure!(
            about.len() <= BYTES_MAX,
            "{} is not a state file",
            path.display()
        ),
    }
    let text = fs::read(path).with_context(doing)?;
    let value = serde_json::from_slice(&text)
        .with_context(|| format!("{} is not a state file", path.display()))?;
    Ok(Some(value))
}

/// Removes the file; durable when it returns. That there is none is no error.
///
/// # Errors
/// What the file system said.
pub(super) fn remove(path: &Path) -> anyhow::Result<()> {
    let take = || match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_folder(path),
    };
    take().with_context(|| format!("cannot remove {}", path.display()))
}

/// Makes the file's name durable.
///
/// # Errors
/// What the file system said.
pub(super) fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        assert_eq!(read::<Vec<u32>>(&path).unwrap(), None);
        write(&path, &[1, 2]).unwrap();
        write(&path, &[3]).unwrap();
        assert_eq!(read::<Vec<u32>>(&path).unwrap(), Some(vec![3]));
        fs::write(&path, "[3").unwrap();
        assert!(read::<Vec<u32>>(&path).is_err());
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
