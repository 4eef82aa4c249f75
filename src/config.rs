//! The configuration: what the file and the environment say, checked, with units, as the broker means it.
//!
//! ```text
//! file ─▶ yaml ─▶ settings: each value against the table in `schema` ─▶ Config: typed, and fit together
//! RESTANTE_… ─────▶┘                └──────────▶ Faults: all of them, with places ◀──────┘
//! ```
//!
//! An operator sees every fault in one go, each with its line and what to do. The table is the single source of keys,
//! kinds, ranges, defaults and texts. Nothing is secret here: secrets have files of their own, which are named here.
//!
//! Always, each with a test of its name in `tests`, `render` or `force`:
//! - `all_faults_are_reported_at_once`, each with line, key and remedy.
//! - `an_empty_file_is_the_default`.
//! - `what_is_written_loads_to_the_same`: `effective_yaml` loses nothing.
//! - `every_key_in_force_says_where_it_is_from`, and `a_reload_says_of_each_change_whether_it_counts_now`.
//!
//! Not here: what a setting does (the part that it is named after), and how a reload is applied (the module `reload`).

mod check;
mod fault;
mod force;
mod nearest;
pub(crate) mod places;
mod render;
mod schema;
mod settings;
pub(crate) mod tree;
mod types;
mod units;
pub(crate) mod yaml;

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use fault::{Fault, Faults, Problem, Source};
#[cfg(test)]
pub(crate) use force::live_keys;
pub use force::{Change, InForce, in_force, reload};
use settings::{Entry, Layers, Setting, Settings};
pub use types::{
    Access, Admin, Audit, ClientAuth, Definitions, DeniedPublish, Disclose, Limits, Log, LogFormat,
    Mbws, Metrics, Mqtt, QueueLimits, QueuePolicy, Queues, SlowConsumer, Sp, Storage, SyncPolicy,
    Tls, TlsFiles, TlsVersion, UriCheck, Wamp, WampLongPoll,
};
pub(crate) use units::{UnitError, read_size};

/// Larger files are refused unread: no configuration is that large, and the parser builds a tree of it.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// What the broker shall do. Made by [`Config::load`]; every value is within its range.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The folder of everything that must survive.
    pub data: PathBuf,
    /// Where clients connect; port 0 means any. At least one.
    pub listen: Vec<SocketAddr>,
    /// Whether connections from other machines may be unencrypted, on [`Config::listen`] and [`Admin::listen`].
    pub allow_insecure: bool,
    /// How long a stop waits for clients.
    pub drain_time: Duration,
    /// The admin API.
    pub admin: Admin,
    /// Encryption of all listeners.
    pub tls: Tls,
    /// The log on disk.
    pub storage: Storage,
    /// What one client may cost.
    pub limits: Limits,
    /// The MBWS door.
    pub mbws: Mbws,
    /// The MQTT door.
    pub mqtt: Mqtt,
    /// The WAMP door.
    pub wamp: Wamp,
    /// The SP door.
    pub sp: Sp,
    /// How queues come to be, and what holds for them.
    pub queues: Queues,
    /// What is logged.
    pub log: Log,
    /// The audit log.
    pub audit: Audit,
    /// What is counted.
    pub metrics: Metrics,
    /// What is set at each start.
    pub definitions: Definitions,
    /// Who is let in.
    pub access: Access,
    settings: Settings,
}

impl Config {
    /// Reads the file at `path`, if there is one, and `environment` over it, all of whose variables may be passed.
    ///
    /// # Errors
    /// Everything that is wrong, in the file's order; the caller prints it and exits.
    pub fn load(
        path: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Config, Faults> {
        let mut layers = Layers::new();
        if let Some(path) = path {
            let text = read(path).map_err(|problem| Faults::of_file(path, 1, 1, problem))?;
            layers.file(path, &text).map_err(|error| {
                Faults::of_file(
                    path,
                    error.line,
                    error.column,
                    Problem::Syntax {
                        message: error.message,
                    },
                )
            })?;
        }
        layers.environment(environment);
        let (settings, mut faults) = layers.finish();
        fit_together(&settings, &mut faults);
        match Faults::new(faults) {
            Some(faults) => Err(faults),
            None => Ok(types::config(settings)),
        }
    }

    /// Where the value of `key` came from, for those who find fault with it later.
    pub fn source(&self, key: &'static str) -> Source {
        self.settings.source(key)
    }

    /// All settings as they were loaded, as a file that [`Config::load`] reads to the same.
    pub fn effective_yaml(&self) -> String {
        render::effective(&self.settings)
    }

    /// The defaults as a file, with every key explained; `ops/restante.example.yaml`.
    pub fn example_yaml() -> String {
        render::explained(&Config::default().settings)
    }
}

impl Default for Config {
    /// What holds without a file and variables.
    fn default() -> Config {
        types::config(Layers::new().finish().0)
    }
}

fn read(path: &Path) -> Result<String, Problem> {
    let unreadable = |source| Problem::Unreadable { source };
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Problem::FileTooBig {
            limit: units::write_size(FILE_BYTES_MAX),
        });
    }
    String::from_utf8(bytes).map_err(|_| Problem::Syntax {
        message: "it is not UTF-8 text".to_owned(),
    })
}

/// What must hold between two keys that are each in their range.
fn fit_together(settings: &Settings, faults: &mut Vec<Fault>) {
    let mut fault = |key: &'static str, problem| {
        faults.push(Fault {
            source: settings.source(key),
            key: key.to_owned(),
            problem,
        });
    };
    for (key, other) in [
        ("limits.frame-bytes", "limits.header-bytes"),
        ("storage.segment-bytes", "limits.frame-bytes"),
        ("storage.segment-bytes", "mqtt.packet-bytes-max"),
        ("storage.segment-bytes", "wamp.message-bytes-max"),
        (
            "wamp.long-poll.session-timeout",
            "wamp.long-poll.poll-timeout",
        ),
    ] {
        let (value, least) = (settings.get(key), settings.get(other));
        let is_less = match (value, least) {
            (Setting::Size(value), Setting::Size(least)) => value < least,
            (Setting::Span(value), Setting::Span(least)) => value < least,
            _ => false,
        };
        if is_less {
            let (value, other_value) = (render::inline(value), render::inline(least));
            fault(
                key,
                Problem::LessThan {
                    value,
                    other,
                    other_value,
                },
            );
        }
    }
    let is_set = |key| *settings.get(key) != Setting::None;
    for (key, other) in [
        ("tls.certificate", "tls.key"),
        ("tls.key", "tls.certificate"),
        ("tls.client-ca", "tls.certificate"),
    ] {
        if is_set(key) && !is_set(other) {
            fault(key, Problem::Alone { other });
        }
    }
    let required = Setting::Text("required".to_owned());
    if *settings.get("tls.client-auth") == required && !is_set("tls.client-ca") {
        let other = "tls.client-ca";
        fault("tls.client-auth", Problem::Alone { other });
    }
    let plain = *settings.get("allow-insecure") == Setting::Flag(true);
    let encrypted = is_set("tls.certificate") && is_set("tls.key");
    if let Setting::Entries(entries) = settings.get("access.jwt") {
        for (index, entry) in entries.iter().enumerate() {
            issuer_fits(index, entry, &mut fault);
        }
    }
    if let (Setting::Texts(mqtt), Setting::Texts(wamp)) =
        (settings.get("mqtt.path"), settings.get("wamp.path"))
        && settings.source("wamp.path") != Source::Default
        && let Some(path) = wamp.iter().find(|it| mqtt.contains(it))
    {
        let (path, other) = (path.clone(), "mqtt.path");
        fault("wamp.path", Problem::PathTaken { path, other });
    }
    let mut taken: Vec<(SocketAddr, &'static str)> = Vec::new();
    for key in ["listen", "admin.listen", "mqtt.listen", "wamp.listen"] {
        let Setting::Sockets(sockets) = settings.get(key) else {
            continue;
        };
        for &address in sockets {
            if !address.ip().to_canonical().is_loopback() && !plain && !encrypted {
                fault(key, Problem::Insecure { address });
            }
            match taken
                .iter()
                .find(|(other, _)| *other == address && address.port() != 0)
            {
                Some((_, other)) => fault(key, Problem::AddressTaken { address, other }),
                None => taken.push((address, key)),
            }
        }
    }
}

/// An issuer has keys from one place, and algorithms that want keys of the kind that is there.
fn issuer_fits(index: usize, entry: &Entry, fault: &mut impl FnMut(&'static str, Problem)) {
    const KEY: &str = "access.jwt";
    let mut wrong = |complaint: &str, expected: &str| {
        let problem = Problem::WrongValue {
            found: format!("[{index}]"),
            complaint: complaint.to_owned(),
            expected: expected.to_owned(),
        };
        fault(KEY, problem);
    };
    let files = ["secret-file", "key-file", "jwks-file"];
    if files.iter().filter(|key| entry.contains_key(*key)).count() != 1 {
        wrong(
            "has not exactly one file with keys",
            "one of secret-file, key-file and jwks-file",
        );
        return;
    }
    let Some(Setting::Texts(algorithms)) = entry.get("algorithms") else {
        return;
    };
    let of_secrets = |name: &String| name.starts_with("HS");
    if entry.contains_key("secret-file") && !algorithms.iter().all(of_secrets) {
        wrong(
            "has a shared secret and algorithms that want a public key",
            "only HS256, HS384 and HS512 with a secret-file",
        );
    } else if !entry.contains_key("secret-file") && algorithms.iter().any(of_secrets) {
        wrong(
            "has public keys and algorithms that want a shared secret",
            "HS256, HS384 and HS512 only with a secret-file",
        );
    }
}

#[cfg(test)]
mod tests;
