//! A connection's bytes, encrypted or not, from far or from this machine: one type, so that nothing behind it is written twice.

use std::ffi::c_int;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use rustix::ioctl::{Getter, ioctl};
use rustix::net::sockopt;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsStream;

/// A TCP connection, TLS over one, or a connection of a Unix socket.
#[derive(Debug)]
pub enum Stream {
    /// As it is.
    Plain(TcpStream),
    /// Encrypted. In a box: a plain connection does not pay for it.
    Tls(Box<TlsStream<TcpStream>>),
    /// From a process of this machine, whose files say who may connect.
    Unix(UnixStream),
}

impl Stream {
    /// Whether it is encrypted.
    pub fn is_tls(&self) -> bool {
        matches!(self, Stream::Tls(_))
    }

    /// What both ends of a TLS connection know of it and nobody else does, and no other connection has: what is proved can be bound
    /// to it (RFC 9266, `tls-exporter`). None: it is not encrypted.
    pub fn channel_binding(&self) -> Option<[u8; 32]> {
        let Stream::Tls(stream) = self else {
            return None;
        };
        let TlsStream::Server(stream) = &**stream else {
            return None;
        };
        let (_, connection) = stream.get_ref();
        let label = b"EXPORTER-Channel-Binding";
        connection
            .export_keying_material([0; 32], label, Some(&[]))
            .ok()
    }

    /// Has the system look every now and then whether the peer is still there: a TCP connection on which nothing goes for twice
    /// `every` ends then, if its peer's machine is gone. Others tell by themselves.
    pub fn keep_alive(&self, every: Duration) {
        let tcp = match self {
            Stream::Plain(tcp) => tcp,
            Stream::Tls(stream) => stream.get_ref().0,
            Stream::Unix(_) => return,
        };
        let pause = (every / 3).max(Duration::from_secs(1));
        let set = sockopt::set_tcp_keepidle(tcp, every.max(Duration::from_secs(1)))
            .and_then(|()| sockopt::set_tcp_keepintvl(tcp, pause))
            .and_then(|()| sockopt::set_tcp_keepcnt(tcp, 3))
            .and_then(|()| sockopt::set_socket_keepalive(tcp, true));
        if let Err(error) = set {
            tracing::debug!(%error, "cannot set keep alive");
        }
    }

    /// How many bytes were handed to the system for the peer and are not known to be with it: for TCP, what its system has not
    /// acknowledged, sent or not; for a Unix socket, more than nothing as long as the peer has not read all. Of TLS, encrypted ones.
    ///
    /// # Errors
    /// The system does not say.
    pub fn unacknowledged(&self) -> io::Result<u64> {
        let bytes = match self {
            Stream::Plain(tcp) => outgoing(tcp.as_fd())?,
            Stream::Tls(stream) => outgoing(stream.get_ref().0.as_fd())?,
            Stream::Unix(unix) => outgoing(unix.as_fd())?,
        };
        Ok(u64::from(bytes.unsigned_abs()))
    }

    /// Whether the peer has said that it sends nothing more, or is gone, whatever there is to be read of it still. Looks, and does not wait.
    pub fn is_ended_by_peer(&self) -> bool {
        let ready = match self {
            Stream::Plain(tcp) => tcp.ready(Interest::READABLE).now_or_never(),
            Stream::Tls(stream) => stream.get_ref().0.ready(Interest::READABLE).now_or_never(),
            Stream::Unix(unix) => unix.ready(Interest::READABLE).now_or_never(),
        };
        matches!(ready, Some(Ok(ready)) if ready.is_read_closed())
    }

    /// Waits for what it begins with, and leaves it there; none: the peer has closed. Cancel-safe.
    ///
    /// # Errors
    /// The connection broke. A Unix socket's bytes cannot be looked at without taking them.
    pub async fn first_byte(&mut self) -> io::Result<Option<u8>> {
        match self {
            Stream::Plain(stream) => first_byte(stream).await,
            Stream::Tls(stream) => Ok(stream.fill_buf().await?.first().copied()),
            Stream::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

/// What a TCP connection begins with; see [`Stream::first_byte`]. For those who are not to be sent what they could not read.
///
/// # Errors
/// The connection broke.
pub async fn first_byte(stream: &TcpStream) -> io::Result<Option<u8>> {
    let mut first = [0];
    let n_seen = stream.peek(&mut first).await?;
    Ok(first.first().copied().filter(|_| n_seen > 0))
}

impl From<UnixStream> for Stream {
    fn from(stream: UnixStream) -> Self {
        Stream::Unix(stream)
    }
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Stream::Plain(stream)
    }
}

/// Bytes in a socket's send queue (`SIOCOUTQ`, tcp(7), unix(7)).
#[expect(unsafe_code, reason = "no library has this request")]
fn outgoing(socket: BorrowedFd<'_>) -> io::Result<c_int> {
    const SIOCOUTQ: rustix::ioctl::Opcode = 0x5411;
    // SAFETY: for every kind of socket this request writes one `int`, which is what the getter has room for.
    let bytes = unsafe { ioctl(socket, Getter::<SIOCOUTQ, c_int>::new()) }?;
    Ok(bytes)
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, bufs),
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
            Stream::Unix(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
