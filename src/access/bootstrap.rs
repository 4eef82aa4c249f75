//! The first start: an `admin` user with a password that is shown once, and an API key for the local command line.
//!
//! There is no default password. The command line's key lies in `cli.key` in the data folder, for whoever may read it
//! there; if it has vanished, or is another store's, the next start makes a new one and the old one is worth nothing. If
//! that key is disabled in the store, it is left so.
//!
//! Always, with tests of these names below: `the_password_is_shown_once`, `a_vanished_key_is_replaced`.

use std::path::Path;
use std::sync::Arc;

use super::folder;
use super::{ADMIN, CREDENTIALS_FILE, CredentialStore, FolderError, Secret, StoreError};

/// The name of the file with the command line's key.
pub const CLI_KEY_FILE: &str = "cli.key";

const CLI_LABEL: &str = "cli";

/// Why there are no credentials to start with. The broker must not start.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct BootstrapError(#[from] StoreError);

impl From<FolderError> for BootstrapError {
    fn from(error: FolderError) -> Self {
        BootstrapError(error.into())
    }
}

/// A store that has an admin, or had one before.
pub struct Bootstrap {
    /// Users and keys.
    pub store: Arc<CredentialStore>,
    /// On the first start, the password of `admin`: print it, it is kept nowhere.
    pub admin_password: Option<Secret>,
}

/// Opens the credentials in `folder`, or makes them. Call it once the folder is locked, and not on a worker of the
/// runtime. Durable on return.
///
/// # Errors
/// [`BootstrapError`]: what is there is broken, or cannot be written.
pub fn bootstrap(folder: &Path) -> Result<Bootstrap, BootstrapError> {
    folder::prepare(folder, CREDENTIALS_FILE)?;
    let (store, admin_password) = match CredentialStore::open(folder)? {
        Some(store) => (store, None),
        None => first_start(folder)?,
    };
    let present = folder::read(folder, CLI_KEY_FILE)?.unwrap_or_default();
    let token = String::from_utf8_lossy(&present);
    if store.label_is(CLI_LABEL, token.trim()) == Some(false) {
        // A crash in between leaves a store whose key nobody has: the next start comes here again.
        let token = store.issue_key(CLI_LABEL, &[ADMIN.to_owned()])?;
        folder::write(
            folder,
            CLI_KEY_FILE,
            format!("{}\n", token.expose()).as_bytes(),
        )?;
    }
    Ok(Bootstrap {
        store: Arc::new(store),
        admin_password,
    })
}

fn first_start(folder: &Path) -> Result<(CredentialStore, Option<Secret>), StoreError> {
    let store = CredentialStore::empty(folder);
    let password = Secret::random_password()?;
    store.put_user(ADMIN, Some(&password), &[ADMIN.to_owned()], false)?;
    Ok((store, Some(password)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn cli_key(folder: &Path) -> String {
        fs::read_to_string(folder.join(CLI_KEY_FILE))
            .unwrap()
            .trim()
            .to_owned()
    }

    #[test]
    fn the_password_is_shown_once() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("data");
        let first = bootstrap(&folder).unwrap();
        let password = first.admin_password.unwrap();
        let key = cli_key(&folder);
        let second = bootstrap(&folder).unwrap();
        assert!(second.admin_password.is_none());
        assert_eq!(cli_key(&folder), key);
        for file in [CREDENTIALS_FILE, CLI_KEY_FILE] {
            let path = folder.join(file);
            assert!(
                !fs::read_to_string(&path)
                    .unwrap()
                    .contains(password.expose())
            );
            assert_eq!(
                fs::metadata(path).unwrap().permissions().mode() & 0o777,
                0o600
            );
        }
        assert_eq!(
            fs::metadata(&folder).unwrap().permissions().mode() & 0o777,
            0o700
        );
        let users = second.store.users();
        assert_eq!(
            (
                users.len(),
                users[0].name.as_str(),
                users[0].roles.as_slice()
            ),
            (1, ADMIN, &[ADMIN.to_owned()][..])
        );
    }

    #[test]
    fn a_vanished_key_is_replaced() {
        let root = tempfile::tempdir().unwrap();
        bootstrap(root.path()).unwrap();
        let old = cli_key(root.path());
        fs::remove_file(root.path().join(CLI_KEY_FILE)).unwrap();
        let store = bootstrap(root.path()).unwrap().store;
        let new = cli_key(root.path());
        assert!(store.snapshot().key(&old).is_none() && store.snapshot().key(&new).is_some());
        fs::write(root.path().join(CLI_KEY_FILE), "rst_of_another_store").unwrap();
        bootstrap(root.path()).unwrap();
        assert!(cli_key(root.path()) != new && cli_key(root.path()).len() == new.len());
    }

    #[test]
    fn a_disabled_key_stays_disabled() {
        let root = tempfile::tempdir().unwrap();
        bootstrap(root.path())
            .unwrap()
            .store
            .disable_key(CLI_LABEL, true)
            .unwrap();
        fs::remove_file(root.path().join(CLI_KEY_FILE)).unwrap();
        assert!(bootstrap(root.path()).unwrap().store.keys()[0].disabled);
        assert!(!root.path().join(CLI_KEY_FILE).exists());
    }

    #[test]
    fn a_broken_file_stops_the_start() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join(CREDENTIALS_FILE), "").unwrap();
        let error = bootstrap(root.path()).err().unwrap().to_string();
        assert!(error.contains("is broken"), "{error}");
        assert_eq!(fs::read(root.path().join(CREDENTIALS_FILE)).unwrap(), b"");
    }
}
