//! A connection's bytes, of which a stranger gets to send only so many.
//!
//! A WebSocket takes in a whole message before anybody looks at it. Until a connection's client is known, what it makes us keep is
//! bounded here, far below what its clients may send later (`ops/SECURITY.md`, "Memory before authentication").
//!
//! Not here: how long a stranger may take (accept), how many there may be (newcomers).

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::tls::Stream;

/// What a stranger may send. An `open` or CONNECT with a long token fits, and so does a will.
///
/// Checked before a read, so that one read's more may come: 8 KiB.
pub(super) const STRANGER_BYTES_MAX: usize = 96 * 1024;

/// A stream whose peer is a stranger, until it is [admitted](Self::admit).
#[derive(Debug)]
pub(super) struct Rationed {
    stream: Stream,
    /// What may still be read; none: anything.
    left: Option<usize>,
    /// Whether more than that was wanted.
    exceeded: bool,
    /// Bytes that were written.
    written: u64,
}

impl Rationed {
    /// Of a stranger who has sent `n_early` bytes already.
    pub(super) fn new(stream: Stream, n_early: usize) -> Self {
        Rationed {
            stream,
            left: Some(STRANGER_BYTES_MAX.saturating_sub(n_early)),
            exceeded: false,
            written: 0,
        }
    }

    /// Of all bytes that were written, and `flushed` or not, those that the peer's system has for certain; none: it cannot be said, as
    /// not all of them are there.
    pub(super) fn arrived(&self, flushed: bool) -> io::Result<Option<u64>> {
        let left = self.stream.unacknowledged()?;
        Ok(match &self.stream {
            Stream::Plain(_) => Some(self.written.saturating_sub(left)),
            Stream::Tls(_) | Stream::Unix(_) => (flushed && left == 0).then_some(self.written),
        })
    }

    /// Bytes that were written.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// See [`Stream::is_ended_by_peer`].
    pub(super) fn is_ended_by_peer(&self) -> bool {
        self.stream.is_ended_by_peer()
    }

    /// Ends the connection, without what is spoken over it.
    pub(super) async fn shut(mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }

    /// The peer is known: it may send anything from now on.
    pub(super) fn admit(&mut self) {
        self.left = None;
        self.exceeded = false;
    }

    /// Whether a stranger has used up what it may send, and a whole message was not in it.
    pub(super) fn is_exceeded(&self) -> bool {
        self.exceeded
    }
}

impl AsyncRead for Rationed {
    /// Pending for good once a stranger has sent what it may: whoever polls looks at [`Rationed::is_exceeded`] then.
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let Some(left) = this.left else {
            return Pin::new(&mut this.stream).poll_read(cx, buf);
        };
        if left == 0 {
            this.exceeded = true;
            return Poll::Pending;
        }
        let n_before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        let n_read = buf.filled().len() - n_before;
        this.left = Some(left.saturating_sub(n_read));
        read
    }
}

impl AsyncWrite for Rationed {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.written += counted(&written);
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.written += counted(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

fn counted(written: &Poll<io::Result<usize>>) -> u64 {
    match written {
        Poll::Ready(Ok(bytes)) => *bytes as u64,
        Poll::Ready(Err(_)) | Poll::Pending => 0,
    }
}
