//! SIGHUP: the configuration is read again, and what can be applied is applied.
//!
//! A file that is broken changes nothing, and every fault of it is logged. Each key that is otherwise is logged as applied or as
//! needing a restart; which of the two is the table's word (`config/schema.rs`, `live`), and `every_live_key_is_applied` checks that this module obeys it.
//!
//! Always, each with a test of its name below:
//! - `what_can_be_applied_is_applied_and_the_rest_is_told`.
//! - `a_broken_file_changes_nothing`.
//! - `every_live_key_is_applied`.

use std::sync::Arc;

use arc_swap::ArcSwap;
use restante_admin_api::audit::AuditEntry;
use tokio::signal::unix::Signal;
use tokio::sync::watch;

use crate::audit::Audit;
use crate::config::{self, Change, Config, Faults};
use crate::logs::Logs;
use crate::systemd;

/// Reads the configuration anew, from where the first one was read.
pub type Load = Arc<dyn Fn() -> Result<Config, Faults> + Send + Sync>;

/// Reads and applies the configuration again.
pub(crate) struct Reloader {
    load: Load,
    /// What is in force.
    current: Arc<ArcSwap<Config>>,
    logs: Logs,
}

impl Reloader {
    /// `current` is what is in force; the reloader keeps it so.
    pub(crate) fn new(load: Load, current: Arc<ArcSwap<Config>>, logs: Logs) -> Reloader {
        Reloader {
            load,
            current,
            logs,
        }
    }

    /// Reloads at each signal until `stopping`; each is an act of whoever may send signals. One that has begun is finished.
    pub(crate) async fn run(
        self,
        mut hangup: Signal,
        audit: Audit,
        mut stopping: watch::Receiver<bool>,
    ) {
        let reloader = Arc::new(self);
        loop {
            tokio::select! {
                signal = hangup.recv() => if signal.is_none() { return },
                _ = stopping.wait_for(|it| *it) => return,
            }
            let reloader = reloader.clone();
            systemd::reloading();
            // Reads a file.
            match tokio::task::spawn_blocking(move || reloader.reload()).await {
                Ok(reloaded) => audit.record(entry(reloaded)),
                Err(_) => tracing::error!("a reload broke down; the configuration is as it was"),
            }
            if !*stopping.borrow() {
                systemd::ready("serving");
            }
        }
    }

    /// Reloads now; gives what is otherwise, or why nothing was changed.
    fn reload(&self) -> Result<Vec<Change>, Faults> {
        let new = match (self.load)() {
            Ok(new) => new,
            Err(faults) => {
                for fault in faults.iter() {
                    tracing::warn!(%fault, "the new configuration is not applied");
                }
                return Err(faults);
            }
        };
        let (changes, config) = config::reload(&self.current.load(), &new);
        for change in &changes {
            self.apply(change, &config);
        }
        if changes.is_empty() {
            tracing::info!("the configuration is read again; no key has changed");
        }
        self.current.store(Arc::new(config));
        Ok(changes)
    }

    fn apply(&self, change: &Change, config: &Config) {
        let Change { key, old, new, .. } = change;
        if !change.applied {
            tracing::warn!(key, old, new, "a changed setting needs a restart");
            return;
        }
        match self.put(key, config) {
            Put::Done => tracing::info!(key, old, new, "a changed setting is applied"),
            Put::Failed(error) => {
                tracing::error!(key, new, error, "a changed setting is not applied");
            }
            Put::Unknown => tracing::error!(
                key,
                new,
                "a changed setting is not applied: nobody takes it"
            ),
        }
    }

    /// One arm for each key that the table calls live.
    fn put(&self, key: &str, config: &Config) -> Put {
        match key {
            "log.level" => match self.logs.set_level(&config.log.level) {
                Ok(()) => Put::Done,
                Err(error) => Put::Failed(error.to_string()),
            },
            _ => Put::Unknown,
        }
    }
}

fn entry(reloaded: Result<Vec<Change>, Faults>) -> AuditEntry {
    let applied = |by: fn(&Change) -> &str, changes: &[Change]| {
        let fields = changes.iter().filter(|it| it.applied);
        let fields = fields.map(|it| (it.key.to_owned(), by(it).into()));
        Some(serde_json::Value::Object(fields.collect()))
    };
    let own = AuditEntry {
        door: "signal".to_owned(),
        act: "reload".to_owned(),
        target: "config".to_owned(),
        ..AuditEntry::default()
    };
    match reloaded {
        Ok(changes) => {
            let restart = changes.iter().filter(|it| !it.applied).map(|it| it.key);
            let restart: Vec<&str> = restart.collect();
            let detail = match restart.is_empty() {
                true => String::new(),
                false => format!("need a restart: {}", restart.join(", ")),
            };
            AuditEntry {
                result: "done".to_owned(),
                detail,
                before: applied(|it| &it.old, &changes),
                after: applied(|it| &it.new, &changes),
                ..own
            }
        }
        Err(faults) => AuditEntry {
            result: "failed".to_owned(),
            detail: faults.to_string(),
            ..own
        },
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Put {
    Done,
    Failed(String),
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LogFormat;
    use parking_lot::Mutex;
    use std::path::PathBuf;

    struct Rig {
        folder: tempfile::TempDir,
        reloader: Reloader,
    }

    impl Rig {
        fn new(text: &str) -> Rig {
            let folder = tempfile::tempdir().unwrap();
            let path: PathBuf = folder.path().join("restante.yaml");
            std::fs::write(&path, text).unwrap();
            let load: Load = Arc::new(move || Config::load(Some(&path), []));
            let config = load().unwrap();
            let logs = Logs::detached(&config.log);
            let current = Arc::new(ArcSwap::from_pointee(config));
            Rig {
                folder,
                reloader: Reloader::new(load, current, logs),
            }
        }

        fn write(&self, text: &str) {
            std::fs::write(self.folder.path().join("restante.yaml"), text).unwrap();
        }

        fn keys(&self) -> Vec<(&'static str, bool)> {
            let changes = self.reloader.reload().unwrap();
            changes.iter().map(|it| (it.key, it.applied)).collect()
        }
    }

    #[test]
    fn what_can_be_applied_is_applied_and_the_rest_is_told() {
        let rig = Rig::new("log: {level: info}\n");
        assert_eq!(rig.keys(), []);
        rig.write("log: {level: debug, format: json}\nlimits: {window: 5}\n");
        let told = [("limits.window", false), ("log.format", false)];
        assert_eq!(rig.keys(), [told[0], ("log.level", true), told[1]]);
        assert_eq!(rig.reloader.logs.level(), "debug");
        let current = rig.reloader.current.load();
        assert_eq!(
            (current.log.format, &*current.log.level),
            (LogFormat::Text, "debug")
        );
        assert_eq!(rig.keys(), told, "told again until there is a restart");
    }

    #[test]
    fn a_broken_file_changes_nothing() {
        let rig = Rig::new("log: {level: warn}\n");
        rig.write("log: {level: debug}\nnonsense: 1\n");
        let faults = rig.reloader.reload().unwrap_err();
        assert!(faults.to_string().contains("nonsense"), "{faults}");
        assert_eq!(rig.reloader.logs.level(), "warn");
        assert_eq!(rig.reloader.current.load().log.level, "warn");
    }

    #[test]
    fn a_reload_is_an_act_for_the_audit_log() {
        let rig = Rig::new("");
        rig.write("log: {level: debug}\nlimits: {window: 5}\n");
        let done = entry(rig.reloader.reload());
        assert_eq!(done.detail, "need a restart: limits.window");
        assert_eq!(done.before, Some(serde_json::json!({"log.level": "info"})));
        assert_eq!(done.after, Some(serde_json::json!({"log.level": "debug"})));
        rig.write("nonsense: 1\n");
        let failed = entry(rig.reloader.reload());
        assert_eq!(failed.result, "failed");
        assert!(failed.detail.contains("nonsense"), "{}", failed.detail);
    }

    #[test]
    fn every_live_key_is_applied() {
        let rig = Rig::new("");
        let config = Config::default();
        let seen = Mutex::new(0);
        for key in config::live_keys() {
            *seen.lock() += 1;
            assert_eq!(rig.reloader.put(key, &config), Put::Done, "{key}");
        }
        assert!(*seen.lock() > 0);
        assert_eq!(rig.reloader.put("limits.window", &config), Put::Unknown);
    }
}
