//! Users and API keys, in `credentials.json` in the data folder.
//!
//! In memory is a snapshot that readers take without a lock; a change writes the whole file anew (`folder`) and then
//! swaps the snapshot. Neither has a password or a key in it, only hashes.
//!
//! ```text
//! {"format": 1, "users": [{"name", "password_hash", "roles", "disabled"}], "keys": [{"id", "label", …}]}
//! ```
//!
//! Always, with tests of these names below: `a_broken_file_is_refused`, `a_change_survives_a_restart`.
//!
//! Not here: how a password is checked (`authenticator`), the first user (`bootstrap`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rand::rngs::SysError;
use serde::{Deserialize, Serialize};

use super::credentials::{NAME_BYTES_MAX, SECRET_BYTES_MAX};
use super::folder::{self, FolderError};
use super::hash::{self, Digest};
use super::secret::{Secret, random_letters};

/// The file's name.
pub const CREDENTIALS_FILE: &str = "credentials.json";

const FORMAT: u32 = 1;
const PASSWORD_CHARS_MIN: usize = 8;

/// Why credentials could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system said no.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The file is not what this program writes. Refuse to start: to go on without some users would look like a success.
    #[error(
        "{path} is broken ({what}); restore it, or remove it to start with a new admin password"
    )]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, without its contents.
        what: String,
    },
    /// A user's or key's name, or a role, is empty, too long, or has a `:` or control characters.
    #[error("this is no name: at most 256 bytes, no colon, no control characters")]
    Name,
    /// A password of fewer than 8 characters or more than 1024 bytes.
    #[error("a password has 8 characters or more, 1024 bytes at most, and no control characters")]
    Password,
    /// A new user without a password.
    #[error("a new user needs a password")]
    NoPassword,
    /// The system has no random numbers.
    #[error("the system's random generator failed")]
    Random(#[from] SysError),
    /// The password could not be hashed.
    #[error("the password could not be hashed ({0})")]
    Hash(argon2::password_hash::Error),
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct User {
    name: String,
    pub(super) password_hash: String,
    pub(super) roles: Vec<String>,
    pub(super) disabled: bool,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Key {
    id: String,
    pub(super) label: String,
    hash: String,
    pub(super) roles: Vec<String>,
    pub(super) disabled: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileForm {
    format: u32,
    users: Vec<User>,
    keys: Vec<Key>,
}

/// All users by name and all keys by id, at one time.
#[derive(Clone, Default)]
pub(super) struct Snapshot {
    users: BTreeMap<String, User>,
    keys: BTreeMap<String, Key>,
}

impl Snapshot {
    pub(super) fn user(&self, name: &str) -> Option<&User> {
        self.users.get(name)
    }

    /// The key that `token` is, whether disabled or not.
    pub(super) fn key(&self, token: &str) -> Option<&Key> {
        let id = token.split('_').nth(1).unwrap_or_default();
        let key = self.keys.get(id);
        let stored = key
            .and_then(|key| Digest::from_hex(&key.hash))
            .unwrap_or(Digest::of(""));
        key.filter(|_| Digest::of(token).matches(stored))
    }

    fn key_of_label(&self, label: &str) -> Option<&Key> {
        self.keys.values().find(|key| key.label == label)
    }
}

/// A user, without anything secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserSummary {
    /// Their name.
    pub name: String,
    /// Their roles.
    pub roles: Vec<String>,
    /// Whether they are refused.
    pub disabled: bool,
}

/// An API key, without anything secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySummary {
    /// The part of the key that may be shown.
    pub id: String,
    /// What it is for.
    pub label: String,
    /// Its roles.
    pub roles: Vec<String>,
    /// Whether it is refused.
    pub disabled: bool,
}

/// The users and API keys of one data folder. Changes write and sync a file, and hash: not on a worker of the runtime.
pub struct CredentialStore {
    folder: PathBuf,
    snapshot: ArcSwap<Snapshot>,
    /// Held from reading the old snapshot to swapping in the new one.
    changing: Mutex<()>,
}

impl CredentialStore {
    /// Reads the file in `folder`; `None` if there is none.
    ///
    /// # Errors
    /// [`StoreError::Broken`], [`StoreError::Folder`]: the broker must not start.
    pub fn open(folder: &Path) -> Result<Option<CredentialStore>, StoreError> {
        let Some(bytes) = folder::read(folder, CREDENTIALS_FILE)? else {
            return Ok(None);
        };
        let broken = |what| StoreError::Broken {
            path: folder.join(CREDENTIALS_FILE),
            what,
        };
        let snapshot = parse(&bytes).map_err(broken)?;
        Ok(Some(CredentialStore::with(folder, snapshot)))
    }

    /// A store with nobody in it, whose file is written with the first change.
    pub(super) fn empty(folder: &Path) -> CredentialStore {
        CredentialStore::with(folder, Snapshot::default())
    }

    fn with(folder: &Path, snapshot: Snapshot) -> CredentialStore {
        CredentialStore {
            folder: folder.to_owned(),
            snapshot: ArcSwap::from_pointee(snapshot),
            changing: Mutex::new(()),
        }
    }

    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Every user, by name.
    pub fn users(&self) -> Vec<UserSummary> {
        let summary = |user: &User| UserSummary {
            name: user.name.clone(),
            roles: user.roles.clone(),
            disabled: user.disabled,
        };
        self.snapshot().users.values().map(summary).collect()
    }

    /// Every API key, by id.
    pub fn keys(&self) -> Vec<KeySummary> {
        let summary = |key: &Key| KeySummary {
            id: key.id.clone(),
            label: key.label.clone(),
            roles: key.roles.clone(),
            disabled: key.disabled,
        };
        self.snapshot().keys.values().map(summary).collect()
    }

    /// Makes a user, or changes one; without `password` it stays as it is. Durable on return.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is changed then.
    pub fn put_user(
        &self,
        name: &str,
        password: Option<&Secret>,
        roles: &[String],
        disabled: bool,
    ) -> Result<(), StoreError> {
        check_names(std::iter::once(name).chain(roles.iter().map(String::as_str)))?;
        let password_hash = password.map(new_password_hash).transpose()?;
        self.change(|snapshot| {
            let present = snapshot
                .users
                .get(name)
                .map(|user| user.password_hash.clone());
            let password_hash = password_hash.or(present).ok_or(StoreError::NoPassword)?;
            let user = User {
                name: name.to_owned(),
                password_hash,
                roles: roles.to_vec(),
                disabled,
            };
            snapshot.users.insert(name.to_owned(), user);
            Ok(())
        })
    }

    /// Removes a user; whether there was one. Durable on return.
    ///
    /// # Errors
    /// [`StoreError::Folder`]; nothing is changed then.
    pub fn remove_user(&self, name: &str) -> Result<bool, StoreError> {
        self.change(|snapshot| Ok(snapshot.users.remove(name).is_some()))
    }

    /// Makes an API key, in the place of the one with this label if there is one, and returns it: it is kept nowhere.
    /// Durable on return.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is changed then.
    pub fn issue_key(&self, label: &str, roles: &[String]) -> Result<Secret, StoreError> {
        check_names(std::iter::once(label).chain(roles.iter().map(String::as_str)))?;
        let id = random_letters(10)?;
        // 52 letters of 5 bits: 256 bits and a little.
        let token = Secret::new(format!("rst_{id}_{}", random_letters(52)?));
        let hash = Digest::of(token.expose()).to_hex();
        let key = Key {
            id: id.clone(),
            label: label.to_owned(),
            hash,
            roles: roles.to_vec(),
            disabled: false,
        };
        self.change(|snapshot| {
            snapshot.keys.retain(|_, key| key.label != label);
            snapshot.keys.insert(id, key);
            Ok(())
        })?;
        Ok(token)
    }

    /// Enables or disables the API key with this label; whether there was one. Durable on return.
    ///
    /// # Errors
    /// [`StoreError::Folder`]; nothing is changed then.
    pub fn disable_key(&self, label: &str, disabled: bool) -> Result<bool, StoreError> {
        self.change(|snapshot| {
            let key = snapshot.keys.values_mut().find(|key| key.label == label);
            Ok(key.map(|key| key.disabled = disabled).is_some())
        })
    }

    /// Removes the API key with this label; whether there was one. Durable on return.
    ///
    /// # Errors
    /// [`StoreError::Folder`]; nothing is changed then.
    pub fn revoke_key(&self, label: &str) -> Result<bool, StoreError> {
        self.change(|snapshot| {
            let before = snapshot.keys.len();
            snapshot.keys.retain(|_, key| key.label != label);
            Ok(snapshot.keys.len() < before)
        })
    }

    /// Whether the key with this label, if it is enabled, is `token`; `None` if it is disabled.
    pub(super) fn label_is(&self, label: &str, token: &str) -> Option<bool> {
        let snapshot = self.snapshot();
        match snapshot.key_of_label(label) {
            Some(key) if key.disabled => None,
            _ => Some(snapshot.key(token).is_some_and(|key| key.label == label)),
        }
    }

    fn change<T>(
        &self,
        change: impl FnOnce(&mut Snapshot) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let _alone = self.changing.lock();
        let mut snapshot = Snapshot::clone(&self.snapshot.load());
        let result = change(&mut snapshot)?;
        folder::write(&self.folder, CREDENTIALS_FILE, &form(&snapshot)?)?;
        self.snapshot.store(Arc::new(snapshot));
        Ok(result)
    }
}

fn form(snapshot: &Snapshot) -> Result<Vec<u8>, StoreError> {
    let users = snapshot.users.values().cloned().collect();
    let keys = snapshot.keys.values().cloned().collect();
    let form = serde_json::to_vec_pretty(&FileForm {
        format: FORMAT,
        users,
        keys,
    });
    form.map_err(|error| {
        FolderError {
            doing: "encode",
            path: CREDENTIALS_FILE.into(),
            source: error.into(),
        }
        .into()
    })
}

/// Reads the file, and checks all that will be relied upon.
fn parse(bytes: &[u8]) -> Result<Snapshot, String> {
    // Only the place of a syntax error: its text might quote the contents.
    let place =
        |error: serde_json::Error| format!("line {}, column {}", error.line(), error.column());
    let form: FileForm = serde_json::from_slice(bytes).map_err(place)?;
    if form.format != FORMAT {
        return Err(format!(
            "its format is {}, and this program knows only {FORMAT}",
            form.format
        ));
    }
    let mut snapshot = Snapshot::default();
    for (index, user) in form.users.into_iter().enumerate() {
        let fine = is_name(&user.name)
            && user.roles.iter().all(|role| is_name(role))
            && hash::is_password_hash(&user.password_hash);
        if !fine || snapshot.users.insert(user.name.clone(), user).is_some() {
            return Err(format!(
                "users[{index}] has a bad name, role or hash, or a name that is taken"
            ));
        }
    }
    for (index, key) in form.keys.into_iter().enumerate() {
        let names_fine = is_name(&key.label) && key.roles.iter().all(|role| is_name(role));
        let fine = names_fine && is_key_id(&key.id) && Digest::from_hex(&key.hash).is_some();
        let taken = snapshot.key_of_label(&key.label).is_some();
        if !fine || taken || snapshot.keys.insert(key.id.clone(), key).is_some() {
            return Err(format!(
                "keys[{index}] has a bad id, label, role or hash, or one that is taken"
            ));
        }
    }
    Ok(snapshot)
}

fn check_names<'a>(mut names: impl Iterator<Item = &'a str>) -> Result<(), StoreError> {
    if names.all(is_name) {
        Ok(())
    } else {
        Err(StoreError::Name)
    }
}

/// A colon would end a name in a Basic header, and marks the principals of API keys.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && !name.contains(|c: char| c == ':' || c.is_control())
}

fn is_key_id(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn new_password_hash(password: &Secret) -> Result<String, StoreError> {
    let password = password.expose();
    let long_enough =
        password.chars().count() >= PASSWORD_CHARS_MIN && password.len() <= SECRET_BYTES_MAX;
    if !long_enough || password.chars().any(char::is_control) {
        return Err(StoreError::Password);
    }
    hash::hash_password(password).map_err(StoreError::Hash)
}

#[cfg(test)]
mod tests;
