//! What `send --resume-file` keeps, so that a killed `send` goes on where the broker says it was.
//!
//! Line n of the file is frame n of the session: the broker counts the lines for us. The session's id is on disk
//! before the broker hears of it, and `opened` before the first line is sent; so a session that the broker does not
//! know is either one that never began, or one that it has forgotten with lines in it.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::cli::state_file;
use crate::client::Opening;

/// The file and what is in it.
#[derive(Debug)]
pub(super) struct Resume {
    path: PathBuf,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    session: Uuid,
    job: Job,
    /// Whether the broker has ever answered for this session.
    opened: bool,
    /// Lines that the broker was last known to have: for people, should the session be lost.
    confirmed: u64,
}

/// What is being sent: a state file is of one job only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) url: String,
    pub(super) address: String,
    pub(super) file: PathBuf,
    pub(super) json: bool,
}

impl Resume {
    /// Reads the file, or makes it, with a new session.
    ///
    /// # Errors
    /// What the file system said; the file is of another job.
    pub(super) fn load(path: &Path, mut job: Job) -> anyhow::Result<Resume> {
        let found = std::fs::canonicalize(&job.file);
        job.file = found.with_context(|| format!("cannot open {}", job.file.display()))?;
        let state = match state_file::read::<State>(path)? {
            Some(state) => {
                anyhow::ensure!(
                    state.job == job,
                    "{} belongs to another `send`: of {} to {} at {}. Name another file, or remove it",
                    path.display(),
                    state.job.file.display(),
                    state.job.address,
                    state.job.url
                );
                state
            }
            None => {
                let session = Uuid::new_v4();
                let state = State {
                    session,
                    job,
                    opened: false,
                    confirmed: 0,
                };
                state_file::write(path, &state)?;
                state
            }
        };
        let path = path.to_owned();
        Ok(Resume { path, state })
    }

    /// The session to open.
    pub(super) fn session(&self) -> Uuid {
        self.state.session
    }

    /// Whether an earlier process got as far as the broker.
    pub(super) fn goes_on(&self) -> bool {
        self.state.opened
    }

    /// The broker has answered. Gives the lines that need not be sent.
    ///
    /// # Errors
    /// It has forgotten the session; what the file system said.
    pub(super) fn opened(&mut self, opening: &Opening) -> anyhow::Result<u64> {
        if self.state.opened && !opening.resumed {
            return Err(self.lost());
        }
        self.state.session = opening.session;
        self.state.opened = true;
        state_file::write(&self.path, &self.state)?;
        Ok(opening.confirmed)
    }

    /// Notes how far it got.
    ///
    /// # Errors
    /// What the file system said.
    pub(super) fn note(&mut self, confirmed: u64) -> anyhow::Result<()> {
        if confirmed == self.state.confirmed {
            return Ok(());
        }
        self.state.confirmed = confirmed;
        state_file::write(&self.path, &self.state)
    }

    /// All is sent: there is nothing to resume.
    ///
    /// # Errors
    /// What the file system said.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        state_file::remove(&self.path)
    }

    /// What to say and do when the broker has forgotten the session.
    pub(super) fn lost(&self) -> anyhow::Error {
        let State { job, confirmed, .. } = &self.state;
        anyhow::anyhow!(
            "the broker no longer knows the session of {state}: it expired (see --expiry), or the broker's data were \
             replaced. The first {confirmed} lines are stored, later ones may be. To send the rest, some of them \
             perhaps twice: remove {state}, and send `tail -n +{next} {file}`",
            state = self.path.display(),
            next = confirmed + 1,
            file = job.file.display(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opening(session: Uuid, resumed: bool, confirmed: u64) -> Opening {
        Opening {
            session,
            resumed,
            confirmed,
            expiry: 0,
            window: 1,
            frame_bytes_max: 0,
            heartbeat: 1,
            broker: String::new(),
            server: String::new(),
        }
    }

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("lines"), "1\n2\n3\n").unwrap();
            Folder(folder)
        }

        fn load(&self, address: &str) -> anyhow::Result<Resume> {
            let job = Job {
                url: "ws://h/mbws".into(),
                address: address.into(),
                file: self.0.path().join("lines"),
                json: false,
            };
            Resume::load(&self.0.path().join("state"), job)
        }
    }

    #[test]
    fn the_broker_says_which_line_is_next() {
        let folder = Folder::new();
        let mut first = folder.load("q").unwrap();
        assert!(!first.goes_on());
        let session = first.session();
        assert_eq!(first.opened(&opening(session, false, 0)).unwrap(), 0);

        let mut second = folder.load("q").unwrap();
        assert!(second.goes_on());
        assert_eq!(second.session(), session);
        assert_eq!(second.opened(&opening(session, true, 2)).unwrap(), 2);
        second.finish().unwrap();
        assert_ne!(folder.load("q").unwrap().session(), session);
    }

    #[test]
    fn a_session_killed_before_it_began_is_no_lost_one() {
        let folder = Folder::new();
        let session = folder.load("q").unwrap().session();
        let mut second = folder.load("q").unwrap();
        assert_eq!(second.opened(&opening(session, false, 0)).unwrap(), 0);
    }

    #[test]
    fn a_lost_session_says_what_to_do() {
        let folder = Folder::new();
        let mut first = folder.load("q").unwrap();
        let session = first.session();
        first.opened(&opening(session, false, 0)).unwrap();
        first.note(2).unwrap();
        let mut second = folder.load("q").unwrap();
        let lost = second.opened(&opening(session, false, 0)).unwrap_err();
        assert!(lost.to_string().contains("tail -n +3"), "{lost}");
    }

    #[test]
    fn a_state_file_is_of_one_job() {
        let folder = Folder::new();
        folder.load("q").unwrap();
        assert!(folder.load("other").is_err());
    }
}
