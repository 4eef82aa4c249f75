//! How a command reaches the broker: URL, credentials, and the patience it has.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;

use super::time::parse_duration;
use super::{Global, UsageError};
use crate::client::{Backoff, ClientOptions, Credentials};
use crate::engine::address::{Address, AddressLimits, Filter};
use crate::tls::ConnectOptions;

/// The file with a token that a broker makes for the commands of its own user.
const KEY_FILE: &str = "cli.key";
/// The broker where none is named.
const URL: &str = "ws://127.0.0.1:7300/mbws";
/// The data folder where none is named.
const DATA: &str = "./restante-data";
/// Larger files hold no password and no token.
const SECRET_BYTES_MAX: u64 = 64 * 1024;
/// How long the first connection is tried for where no timeout says otherwise: a broker that was just started.
const FIRST_CONNECT: Duration = Duration::from_secs(5);

/// What any broker may take; one that takes less says so.
const LIMITS: AddressLimits = AddressLimits {
    bytes_max: AddressLimits::BYTES_CEILING,
    segments_max: AddressLimits::SEGMENTS_CEILING,
};

/// How long to try.
#[derive(Debug, Clone, Args)]
pub(super) struct Patience {
    /// Give up when the broker has been away for this long [default: 5 s for the first connection, then never]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(super) timeout: Option<Duration>,
    /// How long the broker keeps the session when the connection is lost [default: 1 h; `consume` without --output: 30 s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(super) expiry: Option<Duration>,
}

/// Options of a client that resumes its session, which the broker keeps for `expiry` unless a flag says otherwise.
///
/// # Errors
/// A secret's file that cannot be read.
pub(super) fn client_options(
    global: &Global,
    patience: &Patience,
    expiry: Duration,
) -> anyhow::Result<ClientOptions> {
    let mut options = ClientOptions::new(url(global)?);
    options.credentials = credentials(global)?;
    options.tls = tls(global);
    options.expiry = patience.expiry.unwrap_or(expiry);
    options.connect_timeout = Some(patience.timeout.unwrap_or(FIRST_CONNECT));
    options.reconnect = Backoff {
        give_up_after: patience.timeout,
        ..Backoff::default()
    };
    Ok(options)
}

/// Whom to trust and what to show, where the URL says TLS.
pub(super) fn tls(global: &Global) -> ConnectOptions {
    ConnectOptions {
        ca: global.ca.clone(),
        certificate: global.certificate.clone(),
        key: global.key.clone(),
    }
}

fn url(global: &Global) -> anyhow::Result<String> {
    let base = global.url.as_deref().unwrap_or(URL).trim_end_matches('/');
    let Some(realm) = &global.realm else {
        return Ok(base.to_owned());
    };
    if realm.is_empty() || realm.contains(['/', '?', '#', ' ']) {
        return Err(UsageError(format!("`{realm}` cannot be a realm's name")).into());
    }
    if !base.ends_with("/mbws") {
        let why = format!("--realm goes with a --url that ends in /mbws, not with {base}");
        return Err(UsageError(why).into());
    }
    Ok(format!("{base}/{realm}"))
}

/// The realm that a command names, by its option or at the end of its URL.
pub(super) fn named_realm(global: &Global) -> Option<&str> {
    let of_url = || {
        let (_, realm) = global.url.as_deref()?.split_once("/mbws/")?;
        Some(realm.trim_end_matches('/')).filter(|realm| !realm.is_empty())
    };
    global.realm.as_deref().or_else(of_url)
}

/// A command about `address`, whole, for whoever administers the broker.
pub(super) fn command_about(command: &str, address: &str, global: &Global) -> String {
    let realm = named_realm(global).map(|realm| format!(" --realm {}", word(realm)));
    let realm = realm.unwrap_or_default();
    format!("restante {command} {}{realm}", word(address))
}

/// What to say to whom `verb` was denied: the command that tells an administrator why.
pub(super) fn who_sees_why(verb: &str, address: &str, global: &Global) -> String {
    let mut command = command_about("explain", address, global);
    if verb != "send" {
        command.push_str(&format!(" --verb {verb}"));
    }
    let is_own_key = |file: &PathBuf| file.file_name().is_some_and(|name| name == KEY_FILE);
    let mut whose = "";
    match (&global.user, &global.key_file) {
        (Some(user), _) => command.push_str(&format!(" --as {}", word(user))),
        (None, Some(file)) if !is_own_key(file) => {
            whose = ", and `--as token:LABEL` for the label of your token";
        }
        // Another door than that of the local key, or that of nobody.
        (None, None) if global.certificate.is_some() => {
            whose = ", and `--as NAME` for the user of your certificate";
        }
        (None, _) => command.push_str(" --as token:cli"),
    }
    format!("an administrator sees why with `{command}`{whose}")
}

/// `text` as one word of a shell.
fn word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/-_.:@,+%=".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Checks an address before a broker is asked, which would only say that it is none.
///
/// # Errors
/// The rule that it breaks.
pub(super) fn check_address(text: &str) -> anyhow::Result<()> {
    let checked = Address::parse(text, LIMITS).map(drop);
    checked.map_err(|error| UsageError(format!("`{text}` is no address: {error}")).into())
}

/// Checks a filter, as [`check_address`] does an address.
///
/// # Errors
/// The rule that it breaks.
pub(super) fn check_filter(text: &str) -> anyhow::Result<()> {
    let checked = Filter::parse(text, LIMITS).map(drop);
    checked.map_err(|error| UsageError(format!("`{text}` is no filter: {error}")).into())
}

/// How long the key of a broker that is just starting is waited for.
const KEY_WAIT: Duration = Duration::from_secs(3);

/// The credentials that the flags, the environment or the data folder give, in this order.
///
/// # Errors
/// A file that cannot be read.
pub(super) fn credentials(global: &Global) -> anyhow::Result<Credentials> {
    if let (Some(user), Some(file)) = (&global.user, &global.password_file) {
        let password = secret(file)?.with_context(|| missing(file))?;
        let user = user.clone();
        return Ok(Credentials::Password { user, password });
    }
    if let Some(file) = &global.key_file {
        let token = secret(file)?.with_context(|| missing(file))?;
        return Ok(Credentials::Token(token));
    }
    let folder = global.data.clone().unwrap_or_else(|| PathBuf::from(DATA));
    let file = folder.join(KEY_FILE);
    let begun = Instant::now();
    let mut token = secret(&file)?;
    // A broker that is starting for the first time has its folder, and its key in a moment.
    while token.is_none() && folder.exists() && begun.elapsed() < KEY_WAIT {
        std::thread::sleep(KEY_WAIT / 30);
        token = secret(&file)?;
    }
    Ok(token.map_or(Credentials::None, Credentials::Token))
}

/// What to say where the broker knows none of the credentials that [`credentials`] found.
pub(super) fn refused(global: &Global) -> String {
    if let Some(user) = &global.user {
        return format!(
            "user {user} is not let in: the name or the password in --password-file is wrong, or the user is disabled"
        );
    }
    if let Some(file) = &global.key_file {
        let file = file.display();
        return format!(
            "the token in {file} is not taken: it is wrong, disabled, removed or expired"
        );
    }
    let folder = global.data.clone().unwrap_or_else(|| PathBuf::from(DATA));
    let file = folder.join(KEY_FILE);
    let begun = match (file.exists(), &global.certificate) {
        (true, _) => format!(
            "the key in {} is not this broker's, or is disabled",
            file.display()
        ),
        (false, Some(file)) => {
            let file = file.display();
            format!("no user has a name that is in {file}, or that user is disabled")
        }
        (false, None) => "no credentials were given".to_owned(),
    };
    format!(
        "{begun}; name who you are with --data (a broker's folder), --key-file, or --user and --password-file"
    )
}

fn missing(file: &Path) -> String {
    format!("there is no file {}", file.display())
}

/// The first line of a file; none: there is no such file.
fn secret(file: &Path) -> anyhow::Result<Option<String>> {
    let doing = || format!("cannot read {}", file.display());
    match fs::metadata(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(doing),
        Ok(about) if about.len() > SECRET_BYTES_MAX => {
            anyhow::bail!("{} is too large for a secret", file.display())
        }
        Ok(_) => {}
    }
    let text = fs::read_to_string(file).with_context(doing)?;
    let line = text.lines().next().unwrap_or_default();
    anyhow::ensure!(!line.is_empty(), "{} is empty", file.display());
    Ok(Some(line.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    fn global(args: &[&str]) -> Global {
        let all = ["restante", "queues"].iter().chain(args);
        Cli::try_parse_from(all).unwrap().global
    }

    #[test]
    fn the_data_folder_holds_the_key_and_flags_go_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let data = folder.path().to_str().unwrap();
        assert_eq!(
            credentials(&global(&["--data", data])).unwrap(),
            Credentials::None
        );
        fs::write(path("cli.key"), "one\n").unwrap();
        fs::write(path("other"), "two").unwrap();
        let found = credentials(&global(&["--data", data])).unwrap();
        assert_eq!(found, Credentials::Token("one".into()));
        let other = path("other");
        let found = credentials(&global(&["--data", data, "--key-file", &other])).unwrap();
        assert_eq!(found, Credentials::Token("two".into()));
        let found = credentials(&global(&["--user", "ada", "--password-file", &other])).unwrap();
        let password = "two".into();
        assert_eq!(
            found,
            Credentials::Password {
                user: "ada".into(),
                password
            }
        );
        assert!(credentials(&global(&["--key-file", &path("none")])).is_err());
    }

    #[test]
    fn a_bad_address_is_told_with_its_rule() {
        assert!(check_address("orders/eu").is_ok() && check_filter("orders/#").is_ok());
        let said = check_address("orders//eu").unwrap_err().to_string();
        assert!(said.contains("empty segment at byte 7"), "{said}");
        let said = check_filter("a/#/b").unwrap_err().to_string();
        assert!(said.contains("not last"), "{said}");
    }

    #[test]
    fn who_is_not_let_in_hears_which_credentials_were_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().to_str().unwrap();
        let said = |args: &[&str]| refused(&global(&[&["--data", data], args].concat()));
        assert!(
            said(&["--user", "ada", "--password-file", "p"]).contains("user ada is not let in")
        );
        let key = said(&["--key-file", "k"]);
        assert!(
            key.contains("token in k") && key.contains("expired"),
            "{key}"
        );
        assert!(said(&[]).contains("no credentials were given"));
        fs::write(folder.path().join("cli.key"), "one\n").unwrap();
        assert!(said(&[]).contains("cli.key is not this broker's"));
    }

    #[test]
    fn who_is_denied_hears_the_command_that_tells_why() {
        let said = |verb, address, args: &[&str]| who_sees_why(verb, address, &global(args));
        assert_eq!(
            said(
                "send",
                "work/eu",
                &["--realm", "shop", "--user", "alice", "--password-file", "p"]
            ),
            "an administrator sees why with `restante explain work/eu --realm shop --as alice`"
        );
        assert_eq!(
            said("consume", "it's $1", &["--url", "ws://h/mbws/shop"]),
            "an administrator sees why with \
             `restante explain 'it'\\''s $1' --realm shop --verb consume --as token:cli`"
        );
        let unknown = said("send", "a", &["--key-file", "billing.key"]);
        assert!(
            unknown.contains("`restante explain a`, and `--as token:LABEL`"),
            "{unknown}"
        );
    }

    #[test]
    fn a_realm_is_the_end_of_the_url() {
        assert_eq!(
            url(&global(&["--url", "ws://h/mbws"])).unwrap(),
            "ws://h/mbws"
        );
        let with = |realm, base| url(&global(&["--realm", realm, "--url", base]));
        assert_eq!(with("r", "ws://h/mbws/").unwrap(), "ws://h/mbws/r");
        assert!(with("r", "ws://h/mbws/s").is_err());
        assert!(with("a/b", "ws://h/mbws").is_err());
    }
}
