//! A file that holds each message once, whatever becomes of the process that writes it.
//!
//! ```text
//! append ─▶ fsync FILE ─▶ FILE.restante: length, offsets (tmp, fsync, rename, fsync folder) ─▶ settle
//! ```
//!
//! A kill leaves one of three: a longer file than the state says (it is cut: those messages were not settled and come
//! again), a state whose offsets were not settled (they are held and settled, not written), or neither.
//!
//! Always, each with a test of its name below:
//! - `what_the_state_does_not_cover_is_cut_off`
//! - `offsets_noted_are_there_after_a_kill`
//! - `a_file_that_lost_bytes_is_not_touched`

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use restante_proto::mbws::Ranges;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::cli::state_file;

/// More ranges are no state of ours.
const RANGES_MAX: usize = 1 << 20;
/// More offsets than were ever in one hand.
const OFFSETS_MAX: u64 = 1 << 24;

/// What is being consumed: a state file is of one job only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) url: String,
    pub(super) address: String,
    pub(super) json: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    session: Uuid,
    job: Job,
    /// Whether the session has the consumer.
    consumer: bool,
    /// How much of the file is of whole, noted messages.
    length: u64,
    /// How many messages of this job are in it: what `--count` still wants is the rest.
    messages: u64,
    /// Offsets written whose settlement may not be confirmed, as `1-5 7`.
    written: String,
}

/// The file and its state.
#[derive(Debug)]
pub(super) struct Output {
    path: PathBuf,
    state_path: PathBuf,
    file: File,
    state: State,
    written: Ranges,
}

impl Output {
    /// Opens the file as the last state left it, or begins at its end.
    ///
    /// # Errors
    /// What the file system said; the state is of another job, or covers more than the file has.
    pub(super) fn open(path: PathBuf, job: Job) -> anyhow::Result<Output> {
        let doing = || format!("cannot open {}", path.display());
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let mut file = file.with_context(doing)?;
        let length = file.metadata().with_context(doing)?.len();
        let state_path = state_path(&path);
        let state = match state_file::read::<State>(&state_path)? {
            Some(state) => {
                check(&state, &job, &state_path, length)?;
                state
            }
            None => {
                file.sync_all().with_context(doing)?;
                state_file::sync_folder(&path).with_context(doing)?;
                let state = State {
                    session: Uuid::new_v4(),
                    job,
                    consumer: false,
                    length,
                    messages: 0,
                    written: String::new(),
                };
                state_file::write(&state_path, &state)?;
                state
            }
        };
        let written = parse_ranges(&state.written)
            .with_context(|| format!("{} is damaged", state_path.display()))?;
        file.set_len(state.length).with_context(doing)?;
        file.seek(SeekFrom::End(0)).with_context(doing)?;
        Ok(Output {
            path,
            state_path,
            file,
            state,
            written,
        })
    }

    /// The session to open.
    pub(super) fn session(&self) -> Uuid {
        self.state.session
    }

    /// Whether the session, if it is resumed, has the consumer.
    pub(super) fn has_consumer(&self) -> bool {
        self.state.consumer
    }

    /// How many messages killed commands have written for this one.
    pub(super) fn messages(&self) -> u64 {
        self.state.messages
    }

    /// Offsets that are in the file and must not be written again.
    pub(super) fn written(&self) -> &Ranges {
        &self.written
    }

    /// The broker gave this session.
    ///
    /// # Errors
    /// What the file system said.
    pub(super) fn opened(&mut self, session: Uuid) -> anyhow::Result<()> {
        if session == self.state.session {
            return Ok(());
        }
        self.state.session = session;
        self.state.consumer = false;
        self.write_state()
    }

    /// The session has the consumer now.
    ///
    /// # Errors
    /// What the file system said.
    pub(super) fn has_begun(&mut self) -> anyhow::Result<()> {
        self.state.consumer = true;
        self.write_state()
    }

    /// Appends `bytes`, which are `messages` of them; `written` are all offsets in the file whose settlement is not confirmed, theirs included.
    /// They may be settled when it returns.
    ///
    /// # Errors
    /// What the file system said. Nothing may be settled, and nothing more be appended.
    pub(super) fn append(
        &mut self,
        bytes: &[u8],
        messages: u64,
        written: Ranges,
    ) -> anyhow::Result<()> {
        let put = self.file.write_all(bytes);
        put.and_then(|()| self.file.sync_data())
            .with_context(|| format!("cannot write {}", self.path.display()))?;
        self.state.length += bytes.len() as u64;
        self.state.messages += messages;
        self.written = written;
        self.write_state()
    }

    /// Everything is settled and confirmed, but for `doubtful`, of sessions that were lost: they may come again, so
    /// the state is kept for them.
    ///
    /// # Errors
    /// What the file system said.
    pub(super) fn finish(&mut self, doubtful: Ranges) -> anyhow::Result<()> {
        if doubtful.is_empty() {
            return state_file::remove(&self.state_path);
        }
        self.written = doubtful;
        self.state.messages = 0;
        self.write_state()
    }

    fn write_state(&mut self) -> anyhow::Result<()> {
        self.state.written = self.written.to_string();
        state_file::write(&self.state_path, &self.state)
    }
}

fn check(state: &State, job: &Job, path: &Path, length: u64) -> anyhow::Result<()> {
    let shown = path.display();
    anyhow::ensure!(
        state.job == *job,
        "{shown} belongs to another `consume`: of {} at {}. Name another file, or remove it",
        state.job.address,
        state.job.url
    );
    anyhow::ensure!(
        length >= state.length,
        "the file has {length} bytes, and {shown} covers {}: it was changed by somebody else. Put it back, or remove \
         {shown} to append to it as it is",
        state.length
    );
    Ok(())
}

fn parse_ranges(text: &str) -> anyhow::Result<Ranges> {
    let ranges = Ranges::parse(text, RANGES_MAX)?;
    anyhow::ensure!(ranges.count() <= OFFSETS_MAX, "too many offsets");
    Ok(ranges)
}

fn state_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".restante");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(address: &str) -> Job {
        Job {
            url: "ws://h/mbws".into(),
            address: address.into(),
            json: false,
        }
    }

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Folder(tempfile::tempdir().unwrap())
        }

        fn path(&self) -> PathBuf {
            self.0.path().join("got")
        }

        fn open(&self) -> Output {
            Output::open(self.path(), job("q")).unwrap()
        }

        fn text(&self) -> String {
            std::fs::read_to_string(self.path()).unwrap()
        }
    }

    #[test]
    fn what_the_state_does_not_cover_is_cut_off() {
        let folder = Folder::new();
        std::fs::write(folder.path(), "before\n").unwrap();
        let mut output = folder.open();
        output.append(b"one\n", 1, Ranges::from_iter([1])).unwrap();
        // Killed between the file and the state.
        output.file.write_all(b"two\nthr").unwrap();
        drop(output);
        let mut output = folder.open();
        assert_eq!(folder.text(), "before\none\n");
        output
            .append(b"two\n", 1, Ranges::from_iter([1, 2]))
            .unwrap();
        assert_eq!(folder.text(), "before\none\ntwo\n");
    }

    #[test]
    fn offsets_noted_are_there_after_a_kill() {
        let folder = Folder::new();
        let mut output = folder.open();
        let session = output.session();
        assert!(!output.has_consumer());
        output.has_begun().unwrap();
        let written = Ranges::from_iter([1, 2, 3, 7]);
        output.append(b"x\n", 1, written.clone()).unwrap();
        drop(output);
        let mut output = folder.open();
        assert!(output.has_consumer());
        assert_eq!((output.session(), output.written()), (session, &written));
        output.opened(Uuid::new_v4()).unwrap();
        assert!(!output.has_consumer(), "a new session has none");
        assert_eq!(output.written(), &written, "offsets outlive sessions");
    }

    #[test]
    fn a_file_that_lost_bytes_is_not_touched() {
        let folder = Folder::new();
        folder.open().append(b"one\n", 1, Ranges::new()).unwrap();
        std::fs::write(folder.path(), "on").unwrap();
        assert!(Output::open(folder.path(), job("q")).is_err());
        assert_eq!(folder.text(), "on");
    }

    #[test]
    fn a_finished_file_is_appended_to() {
        let folder = Folder::new();
        let mut output = folder.open();
        output.append(b"one\n", 1, Ranges::new()).unwrap();
        output.finish(Ranges::new()).unwrap();
        let mut output = folder.open();
        output.append(b"two\n", 1, Ranges::new()).unwrap();
        assert_eq!(folder.text(), "one\ntwo\n");
        assert!(Output::open(folder.path(), job("other")).is_err());
    }
}
