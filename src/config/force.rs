//! The configuration in force, key by key, and what a newly read one changes in it.
//!
//! Which keys a reload applies is a column of the table in `schema`; all others are told as "needs a restart" until there is one, however often
//! the file is read again.
//!
//! Always, each with a test of its name below:
//! - `every_key_in_force_says_where_it_is_from`.
//! - `a_reload_says_of_each_change_whether_it_counts_now`.

use super::fault::Source;
use super::render::inline;
use super::schema::{KEYS, Kind};
use super::settings::Setting;
use super::{Config, types};

/// What stands for a secret.
const MASK: &str = "(secret)";

/// A key of the configuration, as it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InForce {
    /// With dots.
    pub key: &'static str,
    /// As one would write it; secrets masked.
    pub value: String,
    /// `default`, `file` or the environment variable.
    pub from: String,
}

/// Every key of `config`, in the order of the table.
#[must_use]
pub fn in_force(config: &Config) -> Vec<InForce> {
    KEYS.iter()
        .map(|key| InForce {
            key: key.path,
            value: shown(key.kind, config.settings.get(key.path)),
            from: match config.settings.source(key.path) {
                Source::Default => "default".to_owned(),
                Source::File { .. } => "file".to_owned(),
                Source::Environment { variable } => variable,
            },
        })
        .collect()
}

/// A key that another configuration has otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// With dots.
    pub key: &'static str,
    /// As it counts, and as one would write it; secrets masked.
    pub old: String,
    /// As it is wanted.
    pub new: String,
    /// Whether a reload applies it; otherwise it needs a restart.
    pub applied: bool,
}

/// What `new` changes in `old`, and what is in force after that: `old` with those of `new` that a reload applies. The caller applies them.
#[must_use]
pub fn reload(old: &Config, new: &Config) -> (Vec<Change>, Config) {
    let changed = KEYS
        .iter()
        .filter(|key| old.settings.get(key.path) != new.settings.get(key.path));
    let mut settings = old.settings.clone();
    let mut changes = Vec::new();
    for key in changed {
        if key.live {
            settings = settings.with(key.path, &new.settings);
        }
        changes.push(Change {
            key: key.path,
            old: shown(key.kind, old.settings.get(key.path)),
            new: shown(key.kind, new.settings.get(key.path)),
            applied: key.live,
        });
    }
    (changes, types::config(settings))
}

/// The keys that a reload applies.
#[cfg(test)]
pub(crate) fn live_keys() -> impl Iterator<Item = &'static str> {
    KEYS.iter().filter(|key| key.live).map(|key| key.path)
}

fn shown(kind: Kind, setting: &Setting) -> String {
    if is_secret(kind) {
        return MASK.to_owned();
    }
    inline(setting)
}

/// Whether the value must be seen by nobody. Without a `_` arm, so that a new kind has to say.
fn is_secret(kind: Kind) -> bool {
    match kind {
        // A path tells where a secret is, and who may read the configuration knows as much.
        Kind::Folder | Kind::File => false,
        Kind::Flag
        | Kind::Choice(_)
        | Kind::Choices(_)
        | Kind::Count { .. }
        | Kind::Size { .. }
        | Kind::Span { .. }
        | Kind::Sockets
        | Kind::Origins
        | Kind::Paths
        | Kind::LogLevels
        | Kind::Address
        | Kind::Filter
        | Kind::Text
        | Kind::Role => false,
        Kind::Entries(keys) => keys.iter().any(|key| is_secret(key.kind)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    fn load(text: &str, variables: &[(&str, &str)]) -> Config {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("restante.yaml");
        std::fs::write(&path, text).unwrap();
        let variables = variables
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)));
        Config::load(Some(&path), variables).unwrap_or_else(|faults| panic!("{faults}"))
    }

    #[test]
    fn every_key_in_force_says_where_it_is_from() {
        let config = load(
            "storage: {sync: never, segment-bytes: 131072KiB}\ndrain-time: 90s\nqueues:\n  policies:\n  - {filter: 'a/#', ttl: 1d}\n",
            &[
                ("RESTANTE_LIMITS_WINDOW", "7"),
                ("RESTANTE_STORAGE_SYNC", "interval"),
            ],
        );
        let all = in_force(&config);
        assert_eq!(all.len(), KEYS.len());
        let check = |key: &str, value: &str, from: &str| {
            let found = all.iter().find(|it| it.key == key).unwrap();
            assert_eq!((found.value.as_str(), found.from.as_str()), (value, from));
        };
        check("listen", "127.0.0.1:7300", "default");
        check("storage.sync", "interval", "RESTANTE_STORAGE_SYNC");
        check("storage.segment-bytes", "128MiB", "file");
        check("drain-time", "90s", "file");
        check("limits.window", "7", "RESTANTE_LIMITS_WINDOW");
        check("queues.defaults.ttl", "none", "default");
        check("queues.policies", "[{filter: \"a/#\", ttl: 1d}]", "file");
    }

    #[test]
    fn what_is_in_force_can_be_written_so() {
        let config = load(
            "queues: {policies: [{filter: 'a/#', ttl: none}, {filter: b, dead-letter: 'd: e'}]}\nmbws: {origins: ['https://a.example']}\nlisten: ['[::1]:1', '127.0.0.1:2']\n",
            &[],
        );
        let text: String = in_force(&config)
            .iter()
            .map(|it| format!("{}: {}\n", it.key, it.value))
            .collect();
        assert_eq!(load(&text, &[]), config);
    }

    #[test]
    fn a_reload_says_of_each_change_whether_it_counts_now() {
        let old = load("log: {level: info}\nlimits: {window: 7}\n", &[]);
        let new = load("log: {level: debug}\nlimits: {window: 8}\n", &[]);
        let (changes, after) = reload(&old, &new);
        let change = |key, old: &str, new: &str, applied| Change {
            key,
            old: old.to_owned(),
            new: new.to_owned(),
            applied,
        };
        assert_eq!(
            changes,
            [
                change("limits.window", "7", "8", false),
                change("log.level", "info", "debug", true),
            ]
        );
        assert_eq!((after.limits.window, &*after.log.level), (7, "debug"));
        // What needs a restart is told again, and nothing else.
        let (changes, again) = reload(&after, &new);
        assert_eq!(changes, [change("limits.window", "7", "8", false)]);
        assert_eq!(again, after);
        assert_eq!(reload(&old, &old).0, []);
    }
}
