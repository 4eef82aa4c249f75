//! What commands ask of whoever sits there: a name typed again before something is gone, a password that is not shown.
//!
//! Nothing is ever asked where nobody sits: then a flag or a file must say it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::path::Path;

use anyhow::Context;
use clap::Args;
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};

use super::UsageError;

/// Larger files hold no password.
const PASSWORD_BYTES_MAX: u64 = 64 * 1024;

/// What Ctrl-C types.
const INTERRUPT: u8 = 3;

/// What a command that destroys something must be told.
#[derive(Debug, Clone, Args)]
pub(super) struct Sure {
    /// Do it without asking
    #[arg(long, short)]
    pub(super) yes: bool,
}

impl Sure {
    /// Goes on to `what` ("remove user ada") only if it was said with a flag, or if the name is typed again.
    ///
    /// # Errors
    /// It was not.
    pub(super) fn check(&self, what: &str, name: &str) -> anyhow::Result<()> {
        if self.yes {
            return Ok(());
        }
        if !io::stdin().is_terminal() {
            let why = format!("nothing was done: nobody is there to be asked; say --yes to {what}");
            return Err(UsageError(why).into());
        }
        eprint!("To {what}, which cannot be undone, type `{name}`: ");
        io::stderr().flush()?;
        let mut typed = String::new();
        io::stdin()
            .lock()
            .take(PASSWORD_BYTES_MAX)
            .read_line(&mut typed)?;
        anyhow::ensure!(
            typed.trim_end_matches(['\r', '\n']) == name,
            "nothing was done"
        );
        Ok(())
    }
}

/// A new password: the first line of `file`, of stdin, or of what is typed unseen, twice.
///
/// # Errors
/// It cannot be read, is empty, or was typed differently.
pub(super) fn password(file: Option<&Path>) -> anyhow::Result<String> {
    if let Some(path) = file {
        let opened = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        return first_line(opened).with_context(|| format!("in {}", path.display()));
    }
    if !io::stdin().is_terminal() {
        let why = "on stdin; write the password there, or name a file with --new-password-file";
        return first_line(io::stdin()).context(why);
    }
    let first = unseen("New password: ")?;
    anyhow::ensure!(
        first == unseen("Again: ")?,
        "these were two different passwords"
    );
    Ok(first)
}

fn first_line(source: impl Read) -> anyhow::Result<String> {
    let mut line = String::new();
    BufReader::new(source.take(PASSWORD_BYTES_MAX)).read_line(&mut line)?;
    let password = line.trim_end_matches(['\r', '\n']);
    anyhow::ensure!(
        !password.is_empty(),
        "there is no password in the first line"
    );
    Ok(password.to_owned())
}

fn unseen(prompt: &str) -> anyhow::Result<String> {
    eprint!("{prompt}");
    io::stderr().flush()?;
    let _dark = Dark::new()?;
    let line = first_line(io::stdin().lock());
    eprintln!();
    let interrupted = |line: &String| line.contains(char::from(INTERRUPT));
    anyhow::ensure!(!line.as_ref().is_ok_and(interrupted), "interrupted");
    line
}

/// The terminal shows nothing of what is typed until this is dropped.
struct Dark {
    before: Termios,
}

impl Dark {
    fn new() -> anyhow::Result<Dark> {
        let before = tcgetattr(io::stdin())?;
        let mut dark = before.clone();
        // Ctrl-C ends the line instead of the process, which would leave the terminal dark.
        dark.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
        dark.special_codes[SpecialCodeIndex::VEOL] = INTERRUPT;
        tcsetattr(io::stdin(), OptionalActions::Flush, &dark)?;
        Ok(Dark { before })
    }
}

impl Drop for Dark {
    fn drop(&mut self) {
        // If the terminal is gone there is nothing to set back.
        tcsetattr(io::stdin(), OptionalActions::Now, &self.before).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_the_first_line() {
        let read = |text: &str| first_line(text.as_bytes()).ok();
        assert_eq!(read("pass word \r\nmore\n").as_deref(), Some("pass word "));
        assert_eq!(read("x").as_deref(), Some("x"));
        assert_eq!(read(""), None);
        assert_eq!(read("\nx"), None);
    }
}
