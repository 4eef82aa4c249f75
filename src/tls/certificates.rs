//! The certificate in force, and how a new one takes its place.
//!
//! A file that is being written, or that is wrong, changes nothing: the old certificate stays until the new files are good
//! as a whole. It is tried again at every look, and told once.

use std::sync::Arc;

use arc_swap::ArcSwap;
use metrics::{counter, gauge};
use parking_lot::Mutex;
use rustls::ServerConfig;
use tracing::{error, info, warn};

use super::files::{self, Loaded, Stamp, TlsError, Validity};
use crate::config::{Tls, TlsFiles};

const DAY: i64 = 24 * 60 * 60;
/// Days before the end at which an operator is reminded.
const REMINDERS: [i64; 3] = [30, 7, 1];

/// What all gates serve with. Cheap to ask, never waits.
pub struct Certificates {
    tls: Tls,
    files: TlsFiles,
    current: ArcSwap<Loaded>,
    seen: Mutex<Seen>,
}

struct Seen {
    /// The files as they were when the present certificate was read.
    good: Stamp,
    /// The same for those that were refused last.
    bad: Option<Stamp>,
    /// The least of [`REMINDERS`] that was told of the present certificate; 0: that it has expired.
    reminded: Option<i64>,
}

impl Certificates {
    /// Reads the files; none where there is no TLS. A certificate that has expired is told and taken: other listeners and
    /// clients are served all the same.
    ///
    /// # Errors
    /// All that is wrong with them, each with its key.
    pub fn load(tls: &Tls) -> Result<Option<Arc<Certificates>>, Vec<(&'static str, TlsError)>> {
        let Some(files) = &tls.files else {
            return Ok(None);
        };
        let good = Stamp::of(files);
        let loaded = files::load(tls, files)?;
        tell_expiry(loaded.validity);
        let certificates = Certificates {
            tls: tls.clone(),
            files: files.clone(),
            current: ArcSwap::from_pointee(loaded),
            seen: Mutex::new(Seen {
                good,
                bad: None,
                reminded: None,
            }),
        };
        certificates.remind(files::now());
        Ok(Some(Arc::new(certificates)))
    }

    /// What a handshake that begins now is done with.
    pub(super) fn server(&self) -> Arc<ServerConfig> {
        self.current.load().server.clone()
    }

    /// When it expires, as people write it, and whether that is over.
    pub fn expiry(&self) -> (String, bool) {
        let validity = self.current.load().validity;
        (validity.until_text(), files::now() > validity.until())
    }

    /// Reads the files if one has changed, and reminds of the certificate's end. Reads files: not for the event loop.
    pub fn look(&self) {
        let stamp = Stamp::of(&self.files);
        if self.seen.lock().good != stamp {
            self.read(stamp);
        }
        self.remind(files::now());
    }

    /// Reads the files, changed or not: an operator asked for it. Reads files: not for the event loop.
    pub fn reload(&self) {
        self.seen.lock().bad = None;
        self.read(Stamp::of(&self.files));
        self.remind(files::now());
    }

    /// `stamp` is from before the files are read: a change in between is seen at the next look.
    fn read(&self, stamp: Stamp) {
        let loaded = files::load(&self.tls, &self.files).and_then(|loaded| {
            let valid = loaded.check(files::now());
            valid.map(|()| loaded).map_err(|error| vec![error])
        });
        match loaded {
            Ok(loaded) => self.take(loaded, stamp),
            Err(errors) => self.refuse(&errors, stamp),
        }
    }

    fn take(&self, loaded: Loaded, stamp: Stamp) {
        let expires = loaded.validity.until_text();
        tell_expiry(loaded.validity);
        self.current.store(Arc::new(loaded));
        *self.seen.lock() = Seen {
            good: stamp,
            bad: None,
            reminded: None,
        };
        counter!("restante_tls_reloads_total", "result" => "ok").increment(1);
        info!(
            expires,
            "new connections are shown the certificate as it is now"
        );
    }

    fn refuse(&self, errors: &[(&'static str, TlsError)], stamp: Stamp) {
        let told = self.seen.lock().bad.replace(stamp.clone()) == Some(stamp);
        if told {
            return;
        }
        counter!("restante_tls_reloads_total", "result" => "failed").increment(1);
        for (key, error) in errors {
            error!(key, %error, "the new TLS files cannot be used; the old ones stay in force");
        }
    }

    fn remind(&self, now: i64) {
        let validity = self.current.load().validity;
        let Some(due) = due(validity.until() - now) else {
            return;
        };
        let before = self.seen.lock().reminded.replace(due);
        if before.is_some_and(|before| before <= due) {
            self.seen.lock().reminded = before;
            return;
        }
        let expires = validity.until_text();
        if due == 0 {
            error!(
                expires,
                "the TLS certificate has expired: clients refuse it"
            );
        } else {
            warn!(expires, "the TLS certificate expires within {due} days");
        }
    }
}

/// Which reminder it is time for, with so many seconds left.
fn due(left: i64) -> Option<i64> {
    if left < 0 {
        return Some(0);
    }
    REMINDERS.into_iter().rev().find(|days| left <= days * DAY)
}

fn tell_expiry(validity: Validity) {
    gauge!("restante_tls_certificate_expiry_timestamp_seconds").set(validity.until() as f64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_is_reminded_a_month_a_week_and_a_day_before() {
        for (left, expected) in [
            (31 * DAY, None),
            (30 * DAY, Some(30)),
            (7 * DAY + 1, Some(30)),
            (7 * DAY, Some(7)),
            (DAY, Some(1)),
            (0, Some(1)),
            (-1, Some(0)),
        ] {
            assert_eq!(due(left), expected, "{left} s before");
        }
    }
}
