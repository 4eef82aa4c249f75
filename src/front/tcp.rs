//! A connection whose own bytes are the protocol's: MQTT's packets, WAMP's frames.
//!
//! Neither way has it a buffer of its own while nothing is under way: what comes is read into one that all connections of
//! a thread share, and taken out of it at once; what is written is encoded into another such one, and waits here only for as
//! long as the peer does not take it.
//!
//! Always, with a test of its name in `front::tests`:
//! - `a_mqtt_peer_that_does_not_read_is_not_written_to`.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf as _, BytesMut};
use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::tls::Stream;

/// The most that one read takes.
const READ_BYTES: usize = 64 * 1024;

/// Room for what is encoded at once, and a packet or message more. A larger one's is given back.
const WRITE_BYTES: usize = 128 * 1024;

thread_local! {
    static ROOM: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
    static PAGE: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

/// What a turn brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// What waited is written; there is room again.
    Written,
    /// So many bytes, which are in the input.
    Bytes(usize),
    /// The peer has ended its side.
    Closed,
    /// The connection is gone.
    Gone,
}

/// One connection.
pub(super) struct Tcp {
    stream: Stream,
    /// What the peer has not taken yet.
    output: BytesMut,
    /// Whether the peer takes no more for now.
    blocked: bool,
}

impl Tcp {
    pub(super) fn new(stream: Stream) -> Self {
        Tcp {
            stream,
            output: BytesMut::new(),
            blocked: false,
        }
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Writes what waits and, if `read`, waits for bytes. Cancel-safe.
    pub(super) async fn turn(&mut self, read: bool, input: &mut BytesMut) -> Turn {
        poll_fn(|cx| self.poll_turn(cx, read, input)).await
    }

    /// Bytes, if there are some already.
    pub(super) fn turn_now(&mut self, input: &mut BytesMut) -> Option<Turn> {
        poll_fn(|cx| self.poll_read(cx, input)).now_or_never()
    }

    /// Has `fill` encode into the output, for as long as it does and the peer takes it.
    ///
    /// # Errors
    /// The connection is gone.
    pub(super) fn write(&mut self, mut fill: impl FnMut(&mut BytesMut)) -> io::Result<()> {
        PAGE.with_borrow_mut(|page| {
            while !self.blocked {
                page.clear();
                page.reserve(WRITE_BYTES);
                fill(page);
                if page.is_empty() {
                    break;
                }
                self.write_now(page)?;
            }
            if page.capacity() > 2 * WRITE_BYTES {
                *page = BytesMut::new();
            }
            Ok(())
        })
    }

    /// Writes a page as far as the peer takes it, and keeps the rest.
    fn write_now(&mut self, page: &mut BytesMut) -> io::Result<()> {
        // Nobody is woken for it: the next turn sees to that.
        let mut cx = Context::from_waker(Waker::noop());
        while !page.is_empty() {
            match Pin::new(&mut self.stream).poll_write(&mut cx, page)? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(n_bytes) => page.advance(n_bytes),
                Poll::Pending => {
                    self.output.extend_from_slice(page);
                    self.blocked = true;
                    return Ok(());
                }
            }
        }
        self.blocked = Pin::new(&mut self.stream).poll_flush(&mut cx)?.is_pending();
        Ok(())
    }

    /// Ends our side, and reads on until the peer has ended its: a connection closed with bytes unread is reset, and a
    /// reset overtakes what was written.
    pub(super) async fn close(mut self) {
        let ended = self.stream.shutdown().await;
        if ended.is_ok() {
            let rest = tokio::io::copy(&mut self.stream, &mut tokio::io::sink()).await;
            tracing::trace!(?rest, "read to the end");
        }
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>, read: bool, input: &mut BytesMut) -> Poll<Turn> {
        if self.blocked
            && let Poll::Ready(written) = self.poll_write(cx)
        {
            self.blocked = false;
            return Poll::Ready(match written {
                Ok(()) => Turn::Written,
                Err(_) => Turn::Gone,
            });
        }
        if read {
            return self.poll_read(cx, input);
        }
        Poll::Pending
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, input: &mut BytesMut) -> Poll<Turn> {
        ROOM.with_borrow_mut(|room| {
            let mut room = ReadBuf::new(room);
            let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut room));
            input.extend_from_slice(room.filled());
            Poll::Ready(match (read, room.filled().len()) {
                (Ok(()), 0) => Turn::Closed,
                (Ok(()), n_bytes) => Turn::Bytes(n_bytes),
                (Err(_), _) => Turn::Gone,
            })
        })
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.output.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.output))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n_bytes => self.output.advance(n_bytes),
            }
        }
        // An idle connection keeps no room: there are many of them.
        self.output = BytesMut::new();
        Pin::new(&mut self.stream).poll_flush(cx)
    }
}
