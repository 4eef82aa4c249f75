//! Where messages are written to, and in which form.

use std::io::{self, ErrorKind, Write};

use restante_proto::mbws::Ranges;

use super::output::Output;
use crate::cli::message_json;
use crate::client::Delivery;

/// How a message is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Its body and a newline.
    Text,
    /// One line of JSON.
    Json,
}

/// Stdout, or a file that a crash leaves consistent.
pub(super) struct Sink {
    form: Form,
    buffer: Vec<u8>,
    to: To,
}

enum To {
    Stdout,
    File(Output),
}

impl Sink {
    pub(super) fn stdout(form: Form) -> Self {
        Sink::new(form, To::Stdout)
    }

    pub(super) fn file(output: Output, form: Form) -> Self {
        Sink::new(form, To::File(output))
    }

    fn new(form: Form, to: To) -> Self {
        let buffer = Vec::new();
        Sink { form, buffer, to }
    }

    /// Writes a batch so that it may be settled: flushed, or, in a file, synced and noted. `settling` are the
    /// offsets written before whose settlement is not confirmed. False: nobody reads stdout any more.
    ///
    /// # Errors
    /// What the file system said; nothing of the batch may be settled.
    pub(super) fn write(&mut self, batch: &[Delivery], settling: &Ranges) -> anyhow::Result<bool> {
        self.buffer.clear();
        for delivery in batch {
            match self.form {
                Form::Json => message_json::write(delivery, &mut self.buffer)?,
                Form::Text => {
                    self.buffer.extend_from_slice(&delivery.body.bytes);
                    self.buffer.push(b'\n');
                }
            }
        }
        match &mut self.to {
            To::Stdout => to_stdout(&self.buffer),
            To::File(output) => {
                let mut written = settling.clone();
                for delivery in batch {
                    written.insert(delivery.offset);
                }
                output.append(&self.buffer, batch.len() as u64, written)?;
                Ok(true)
            }
        }
    }

    /// Whether it is a file.
    pub(super) fn is_file(&self) -> bool {
        matches!(self.to, To::File(_))
    }

    /// How many messages killed commands had written, when this one began.
    pub(super) fn messages_before(&self) -> u64 {
        match &self.to {
            To::Stdout => 0,
            To::File(output) => output.messages(),
        }
    }

    /// Everything written in this session is settled and confirmed; `doubtful` are those of sessions that were lost.
    ///
    /// # Errors
    /// What the file system said.
    pub(super) fn finish(&mut self, doubtful: Ranges) -> anyhow::Result<()> {
        match &mut self.to {
            To::Stdout => Ok(()),
            To::File(output) => output.finish(doubtful),
        }
    }
}

fn to_stdout(bytes: &[u8]) -> anyhow::Result<bool> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(anyhow::Error::new(error).context("cannot write to stdout")),
    }
}
