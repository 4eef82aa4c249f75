//! Lines to messages: a thread that reads, because stdin can only be waited for by one.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use anyhow::Context;
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::cli::message_json;
use crate::client::Outgoing;

/// Lines handed over at once: enough to make the hand-over cheap, few enough to be sent while the next are read.
const BATCH_LINES_MAX: usize = 256;
/// A longer line is no message but a mistake, and would fill the memory.
const LINE_BYTES_MAX: u64 = 64 * 1024 * 1024;
const READ_BYTES: usize = 256 * 1024;

/// How lines are to be understood.
#[derive(Debug, Clone)]
pub(super) struct Form {
    /// Where the messages go.
    pub(super) address: String,
    /// Each line is a whole message in JSON, not a body.
    pub(super) json: bool,
}

/// Batches of messages, as they are read; the first error is the last item.
pub(super) type Batches = mpsc::Receiver<anyhow::Result<Vec<Outgoing>>>;

/// Starts to read `file` (none: stdin) after its first `skip` lines.
///
/// # Errors
/// The file cannot be opened.
pub(super) fn start(file: Option<&Path>, skip: u64, form: Form) -> anyhow::Result<Batches> {
    let source: Box<dyn Read + Send> = match file {
        None => Box::new(io::stdin()),
        Some(path) => {
            let opened = File::open(path);
            Box::new(opened.with_context(|| format!("cannot open {}", path.display()))?)
        }
    };
    // Two: one is being sent while the next is ready.
    let (sender, batches) = mpsc::channel(2);
    std::thread::Builder::new()
        .name("lines".into())
        .spawn(move || {
            let mut lines = Lines::new(source, form);
            if let Err(error) = lines.skip(skip) {
                drop(sender.blocking_send(Err(error)));
                return;
            }
            while let Some(batch) = lines.batch().transpose() {
                let last = batch.is_err();
                // Refused: whoever sent them has ended.
                if sender.blocking_send(batch).is_err() || last {
                    return;
                }
            }
        })?;
    Ok(batches)
}

struct Lines<R> {
    input: BufReader<R>,
    form: Form,
    /// The number of the last line read, from 1.
    number: u64,
    /// What ended the input, to be told after the lines before it.
    error: Option<anyhow::Error>,
}

impl<R: Read> Lines<R> {
    fn new(input: R, form: Form) -> Self {
        Lines {
            input: BufReader::with_capacity(READ_BYTES, input),
            form,
            number: 0,
            error: None,
        }
    }

    /// Passes over lines that need not be sent.
    fn skip(&mut self, n_lines: u64) -> anyhow::Result<()> {
        for _ in 0..n_lines {
            let there = self.line()?.is_some();
            anyhow::ensure!(
                there,
                "the file has {} lines, and {n_lines} of it were sent: it is not the same file",
                self.number
            );
        }
        Ok(())
    }

    /// The messages of the lines that are here now, at least one; none at the end.
    fn batch(&mut self) -> anyhow::Result<Option<Vec<Outgoing>>> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let mut batch = Vec::new();
        loop {
            match self.message() {
                Ok(Some(message)) => batch.push(message),
                Ok(None) => break,
                Err(error) if batch.is_empty() => return Err(error),
                Err(error) => {
                    self.error = Some(error);
                    break;
                }
            }
            // A line is not kept back until the next one is there.
            if batch.len() == BATCH_LINES_MAX || !self.input.buffer().contains(&b'\n') {
                break;
            }
        }
        Ok((!batch.is_empty()).then_some(batch))
    }

    fn message(&mut self) -> anyhow::Result<Option<Outgoing>> {
        let Some(line) = self.line()? else {
            return Ok(None);
        };
        let address = &self.form.address;
        if self.form.json {
            let message = message_json::read(address, &line);
            let number = self.number;
            return message
                .map(Some)
                .with_context(|| format!("line {number} is no message"));
        }
        Ok(Some(match String::from_utf8(line) {
            Ok(text) => Outgoing::text(address, text),
            Err(not_text) => Outgoing::bytes(address, Bytes::from(not_text.into_bytes())),
        }))
    }

    /// The next line without its newline; none at the end.
    fn line(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let mut limited = (&mut self.input).take(LINE_BYTES_MAX);
        let read = limited.read_until(b'\n', &mut line);
        let n = read.with_context(|| format!("cannot read line {}", self.number + 1))?;
        if n == 0 {
            return Ok(None);
        }
        self.number += 1;
        if line.last() == Some(&b'\n') {
            line.pop();
        } else {
            anyhow::ensure!(
                (n as u64) < LINE_BYTES_MAX,
                "line {} is longer than {LINE_BYTES_MAX} bytes",
                self.number
            );
        }
        Ok(Some(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8], json: bool) -> Lines<&[u8]> {
        let address = "q".into();
        Lines::new(input, Form { address, json })
    }

    fn bodies(batch: Vec<Outgoing>) -> Vec<Vec<u8>> {
        let each = batch.into_iter();
        each.map(|message| message.body.bytes.to_vec()).collect()
    }

    #[test]
    fn a_line_is_a_body_without_its_newline() {
        let mut lines = lines(b"a\r\n\n\xff\nlast", false);
        let batch = lines.batch().unwrap().unwrap();
        assert!(!batch[2].body.text);
        assert_eq!(bodies(batch), [&b"a\r"[..], b"", b"\xff"]);
        let batch = lines.batch().unwrap().unwrap();
        assert_eq!(bodies(batch), [b"last"]);
        assert!(lines.batch().unwrap().is_none());
    }

    #[test]
    fn lines_sent_before_are_passed_over() {
        let mut some = lines(b"1\n2\n3\n", false);
        some.skip(2).unwrap();
        assert_eq!(bodies(some.batch().unwrap().unwrap()), [b"3"]);
        assert!(lines(b"1\n", false).skip(2).is_err());
    }

    #[test]
    fn the_lines_before_a_bad_one_are_sent() {
        let mut lines = lines(b"{\"body\":\"a\"}\nb\n", true);
        assert_eq!(bodies(lines.batch().unwrap().unwrap()), [b"a"]);
        let error = lines.batch().unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
    }
}
