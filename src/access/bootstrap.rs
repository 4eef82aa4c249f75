//! The first start: an `admin` user with a password that is shown once, and a token for the local command line.
//!
//! There is no default password. It is random, or stands in a file that the configuration names, and either way is only
//! looked for while nobody has the role `admin`. The command line's token lies in `cli.key` in the data folder, for whoever may
//! read it there; if it has vanished, or is another store's, the next start makes a new one and the old one is worth nothing.
//! If that token is disabled, it is left so.
//!
//! Here documents are only made. The caller writes them to the log, and shows the password once they are durable. The file is
//! written first: a crash in between leaves a token that nobody knows, which the next start replaces.
//!
//! Always, with tests of these names below: `the_password_is_shown_once`, `a_vanished_key_is_replaced`,
//! `a_disabled_key_stays_disabled`.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::rngs::SysError;

use super::authenticator::{PasswordError, check_password};
use super::folder::{self, FolderError};
use super::hash::{Digest, PasswordSecrets};
use super::principal::ADMIN;
use super::token::{NewToken, id_of, new_secret, new_token};
use super::{Secret, Settings};
use crate::registry::{Document, DocumentId, DocumentKind, Registry, Stored, Token, User};

/// The name of the file with the command line's token.
pub const CLI_KEY_FILE: &str = "cli.key";

/// The label of the command line's token.
pub(super) const CLI_LABEL: &str = "cli";
const PASSWORD_FILE_BYTES_MAX: u64 = 64 << 10;

/// Why there is nobody to start with. The broker must not start.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The file system said no to `cli.key`.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The system has no random numbers.
    #[error("the system's random generator failed")]
    Random(#[from] SysError),
    /// `access.admin-password-file` cannot be read.
    #[error("the first password cannot be read from {path}")]
    PasswordFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The password there cannot be anybody's, or cannot be hashed.
    #[error("the first password cannot be used")]
    Password(#[from] PasswordError),
}

/// What a start has to write before anybody is let in.
pub struct Bootstrap {
    /// Documents to put in, in this order; most often none.
    pub changes: Vec<(DocumentId, Document)>,
    /// On the first start, the password of `admin`, if it was made here: print it, it is kept nowhere.
    pub admin_password: Option<Secret>,
}

/// Sees to it that somebody is administrator, and that the command line has a token. Call it once the folder is locked, and
/// not on a worker of the runtime. What is in `folder` on return is durable.
///
/// # Errors
/// [`BootstrapError`]; nothing is to be written then.
pub fn bootstrap(
    registry: &Registry,
    folder: &Path,
    settings: &Settings,
) -> Result<Bootstrap, BootstrapError> {
    folder::prepare(folder, CLI_KEY_FILE)?;
    let mut bootstrap = Bootstrap {
        changes: Vec::new(),
        admin_password: None,
    };
    if !has_admin(registry) {
        bootstrap.first_start(registry, settings)?;
    }
    bootstrap.command_line(registry, folder)?;
    Ok(bootstrap)
}

/// Whether anybody is administrator, disabled or not: disabling the last one is no way to get a new password.
fn has_admin(registry: &Registry) -> bool {
    let is_admin = |stored: &Arc<Stored>| match &stored.document {
        Document::User(user) => user.roles.iter().any(|role| role == ADMIN),
        Document::Token(token) => token.roles.iter().any(|role| role == ADMIN),
        _ => false,
    };
    let mut users = registry.of_kind(DocumentKind::User);
    users.any(is_admin) || registry.of_kind(DocumentKind::Token).any(is_admin)
}

impl Bootstrap {
    fn first_start(
        &mut self,
        registry: &Registry,
        settings: &Settings,
    ) -> Result<(), BootstrapError> {
        let password = match &settings.admin_password_file {
            Some(path) => password_in(path)?,
            None => Secret::random_password()?,
        };
        let secrets = PasswordSecrets::of(password.expose()).map_err(|_| PasswordError::Failed)?;
        let stored = registry.get(DocumentKind::User, "", ADMIN);
        let mut user = match stored.map(|stored| &stored.document) {
            Some(Document::User(user)) => user.clone(),
            _ => User {
                description: "made at the first start".to_owned(),
                ..User::default()
            },
        };
        user.roles.push(ADMIN.to_owned());
        user.disabled = false;
        secrets.put_into(&mut user);
        let id = id(DocumentKind::User, ADMIN);
        self.changes.push((id, Document::User(user)));
        if settings.admin_password_file.is_none() {
            self.admin_password = Some(password);
        }
        Ok(())
    }

    fn command_line(&mut self, registry: &Registry, folder: &Path) -> Result<(), BootstrapError> {
        let file = folder::read(folder, CLI_KEY_FILE)?.unwrap_or_default();
        let file = String::from_utf8_lossy(&file);
        let stored = cli_token(registry);
        let (new, token) = match stored {
            Some((_, token)) if token.disabled => return Ok(()),
            Some((id, token)) if is(file.trim(), id, token) => return Ok(()),
            Some((id, token)) => (new_secret(id.to_owned())?, token.clone()),
            None => (new_token()?, fresh_cli_token()),
        };
        let NewToken {
            id: name,
            secret,
            hash,
        } = new;
        folder::write(
            folder,
            CLI_KEY_FILE,
            format!("{}\n", secret.expose()).as_bytes(),
        )?;
        let token = Token {
            hash,
            previous: None,
            expires_at: None,
            created_at: crate::broker::now().get(),
            ..token
        };
        let id = id(DocumentKind::Token, &name);
        self.changes.push((id, Document::Token(token)));
        Ok(())
    }
}

/// The token in `cli.key`, as the document that it would have: for a broker that does not keep its documents.
pub fn cli_token_in(folder: &Path) -> Option<(DocumentId, Document)> {
    let file = folder::read(folder, CLI_KEY_FILE).ok().flatten()?;
    let text = String::from_utf8(file).ok()?;
    let name = id_of(text.trim())?;
    let token = Token {
        hash: Digest::of(text.trim()).to_hex(),
        ..fresh_cli_token()
    };
    Some((id(DocumentKind::Token, name), Document::Token(token)))
}

/// The command line's token, and its id.
fn cli_token(registry: &Registry) -> Option<(&str, &Token)> {
    let mut tokens = registry.of_kind(DocumentKind::Token);
    tokens.find_map(|stored| match &stored.document {
        Document::Token(token) if token.label == CLI_LABEL => {
            Some((stored.id.name.as_str(), token))
        }
        _ => None,
    })
}

fn fresh_cli_token() -> Token {
    Token {
        label: CLI_LABEL.to_owned(),
        description: "the command line on the broker's own machine".to_owned(),
        roles: vec![ADMIN.to_owned()],
        ..Token::default()
    }
}

fn is(text: &str, id: &str, token: &Token) -> bool {
    let stored = Digest::from_hex(&token.hash);
    id_of(text) == Some(id) && stored.is_some_and(|stored| stored.matches(Digest::of(text)))
}

/// The first line of a file, which may be anybody's to read: it is the deployment's, not ours.
fn password_in(path: &Path) -> Result<Secret, BootstrapError> {
    let failed = |source| BootstrapError::PasswordFile {
        path: path.to_owned(),
        source,
    };
    let mut text = String::new();
    let file = File::open(path).map_err(failed)?;
    let mut file = file.take(PASSWORD_FILE_BYTES_MAX);
    file.read_to_string(&mut text).map_err(failed)?;
    let password = Secret::new(text.lines().next().unwrap_or_default());
    check_password(&password)?;
    Ok(password)
}

fn id(kind: DocumentKind, name: &str) -> DocumentId {
    DocumentId {
        kind,
        realm: String::new(),
        name: name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::hash;
    use super::super::testing::House;
    use super::*;
    use crate::registry::DocumentKind;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    /// Starts once: what is made is put into the house.
    fn start(house: &mut House, folder: &Path) -> Bootstrap {
        let made = bootstrap(&house.registry, folder, &house.settings).unwrap();
        for (id, document) in &made.changes {
            house.put(id.kind, &id.name, document.clone());
        }
        made
    }

    fn cli_key(folder: &Path) -> String {
        let text = fs::read_to_string(folder.join(CLI_KEY_FILE)).unwrap();
        text.trim().to_owned()
    }

    fn is_let_in(house: &House, key: &str) -> bool {
        let principal = super::super::token::verify(&house.access(), key, crate::broker::now());
        principal.is_some_and(|principal| principal.has_role(ADMIN))
    }

    #[test]
    fn the_password_is_shown_once() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("data");
        let mut house = House::new();
        let password = start(&mut house, &folder).admin_password.unwrap();
        let key = cli_key(&folder);
        assert!(is_let_in(&house, &key));
        let access = house.access();
        let (admin, _) = access.user(ADMIN).unwrap();
        assert_eq!(admin.roles, [ADMIN]);
        let hash = admin.password_hash.as_ref().unwrap();
        assert!(hash::is_password(password.expose(), hash));
        let second = start(&mut house, &folder);
        assert!(second.admin_password.is_none() && second.changes.is_empty());
        assert_eq!(cli_key(&folder), key);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(
            (mode(&folder), mode(&folder.join(CLI_KEY_FILE))),
            (0o700, 0o600)
        );
    }

    #[test]
    fn a_vanished_key_is_replaced() {
        let root = tempfile::tempdir().unwrap();
        let mut house = House::new();
        start(&mut house, root.path());
        let old = cli_key(root.path());
        fs::remove_file(root.path().join(CLI_KEY_FILE)).unwrap();
        assert!(start(&mut house, root.path()).admin_password.is_none());
        let new = cli_key(root.path());
        assert!(!is_let_in(&house, &old) && is_let_in(&house, &new));
        for foreign in ["rst_of_another", &old, "", "\u{fffd}"] {
            fs::write(root.path().join(CLI_KEY_FILE), foreign).unwrap();
            assert_eq!(start(&mut house, root.path()).changes.len(), 1, "{foreign}");
            assert!(is_let_in(&house, &cli_key(root.path())));
        }
        assert_eq!(house.registry.of_kind(DocumentKind::Token).count(), 1);
    }

    #[test]
    fn a_disabled_key_stays_disabled() {
        let root = tempfile::tempdir().unwrap();
        let mut house = House::new();
        start(&mut house, root.path());
        let (id, token) = cli_token(&house.registry).unwrap();
        let (id, mut token) = (id.to_owned(), token.clone());
        token.disabled = true;
        house.put(DocumentKind::Token, &id, Document::Token(token));
        fs::remove_file(root.path().join(CLI_KEY_FILE)).unwrap();
        assert!(start(&mut house, root.path()).changes.is_empty());
        assert!(!root.path().join(CLI_KEY_FILE).exists());
    }

    #[test]
    fn a_first_password_may_stand_in_a_file() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("password");
        let mut house = House::new();
        house.settings.admin_password_file = Some(file.clone());
        let refused =
            |house: &House| bootstrap(&house.registry, root.path(), &house.settings).err();
        assert!(matches!(
            refused(&house),
            Some(BootstrapError::PasswordFile { .. })
        ));
        fs::write(&file, "short\n").unwrap();
        assert!(matches!(refused(&house), Some(BootstrapError::Password(_))));
        fs::write(&file, "correct horse\nmore\n").unwrap();
        assert!(start(&mut house, root.path()).admin_password.is_none());
        let access = house.access();
        let (admin, _) = access.user(ADMIN).unwrap();
        assert!(hash::is_password(
            "correct horse",
            admin.password_hash.as_ref().unwrap()
        ));
        // From now on nobody looks at the file.
        fs::remove_file(&file).unwrap();
        assert!(start(&mut house, root.path()).changes.is_empty());
    }

    #[test]
    fn a_disabled_admin_is_an_admin() {
        let root = tempfile::tempdir().unwrap();
        let admin = User {
            roles: vec![ADMIN.to_owned()],
            disabled: true,
            ..User::default()
        };
        let mut house = House::new().user("boss", admin);
        assert!(start(&mut house, root.path()).admin_password.is_none());
        assert!(house.access().user(ADMIN).is_none());
    }
}
