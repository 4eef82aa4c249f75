//! Taking connections from a listener, whatever it says, and what makes them fit to be talked over.
//!
//! Without free file descriptors `accept` fails at once, again and again: it is asked a few times a second then, for an
//! end of the listener would need a person, and a busy loop would keep the others from closing theirs.
//!
//! Always, each with a test of its name below:
//! - `a_failing_listener_is_neither_hammered_nor_given_up`.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tracing::{info, warn};

use crate::control::BoxFuture;

/// Long enough for others to close something, short enough for a probe with a deadline of a second.
const PAUSE: Duration = Duration::from_millis(100);

/// Bytes both ways, encrypted or not.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection that requests may be read from.
pub struct Secured {
    /// Its bytes.
    pub stream: Box<dyn Duplex>,
    /// The client certificate in DER, verified; none: it showed none.
    pub certificate: Option<Arc<[u8]>>,
    /// Whether the bytes are encrypted on their way.
    pub tls: bool,
}

/// What stands between an accepted connection and its first request: TLS, or nothing ([`Plain`]).
pub trait Secure: Send + Sync + 'static {
    /// Makes a connection fit for requests, `within` which time it must be; none: it is turned away, counted and closed.
    /// May be dropped half-way.
    fn secure(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        within: Duration,
    ) -> BoxFuture<'_, Option<Secured>>;
}

/// Lets in every connection as it is.
pub struct Plain;

impl Secure for Plain {
    fn secure(
        &self,
        stream: TcpStream,
        _: SocketAddr,
        _: Duration,
    ) -> BoxFuture<'_, Option<Secured>> {
        Box::pin(async {
            Some(Secured {
                stream: Box::new(stream),
                certificate: None,
                tls: false,
            })
        })
    }
}

/// Where connections come from.
pub(crate) trait Accept {
    /// The next connection. Nothing is lost if this is dropped half-way.
    fn accept(&self) -> impl Future<Output = io::Result<(TcpStream, SocketAddr)>> + Send;
}

impl Accept for TcpListener {
    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        TcpListener::accept(self).await
    }
}

/// A listener that never fails.
pub(crate) struct Patient<L> {
    listener: L,
    /// The last attempt failed and was logged: an hour of failures is one line.
    failing: bool,
}

impl<L: Accept> Patient<L> {
    pub(crate) fn new(listener: L) -> Patient<L> {
        Patient {
            listener,
            failing: false,
        }
    }

    /// The next connection. Nothing is lost if this is dropped half-way.
    pub(crate) async fn next(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok(accepted) => {
                    self.recovered();
                    return accepted;
                }
                Err(error) if is_about_one_connection(error.kind()) => {}
                Err(error) => {
                    self.failed(&error);
                    sleep(PAUSE).await;
                }
            }
        }
    }

    fn failed(&mut self, error: &io::Error) {
        counter!("restante_admin_accept_errors_total").increment(1);
        if !self.failing {
            warn!(%error, "the admin API cannot accept connections; it goes on trying");
        }
        self.failing = true;
    }

    fn recovered(&mut self) {
        if self.failing {
            info!("the admin API accepts connections again");
        }
        self.failing = false;
    }
}

/// The client went away before it was its turn; the next one may be there already.
fn is_about_one_connection(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use tokio::time::{Instant, timeout};

    use super::*;

    /// Without a descriptor to the end of time.
    struct Exhausted<'a>(&'a AtomicU64);

    impl Accept for Exhausted<'_> {
        async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
            self.0.fetch_add(1, Ordering::Relaxed);
            const EMFILE: i32 = 24;
            Err(io::Error::from_raw_os_error(EMFILE))
        }
    }

    /// Aborts a few connections before a real one.
    struct Fickle {
        listener: TcpListener,
        aborts_left: AtomicU64,
    }

    impl Accept for Fickle {
        async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
            let left = self.aborts_left.load(Ordering::Relaxed);
            if left == 0 {
                return Accept::accept(&self.listener).await;
            }
            self.aborts_left.store(left - 1, Ordering::Relaxed);
            Err(ErrorKind::ConnectionAborted.into())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_listener_is_neither_hammered_nor_given_up() {
        let asked = AtomicU64::new(0);
        let mut patient = Patient::new(Exhausted(&asked));
        let minute = timeout(Duration::from_mins(1), patient.next());
        assert!(minute.await.is_err(), "no connection out of nothing");
        let asked = asked.load(Ordering::Relaxed);
        assert!((599..=601).contains(&asked), "{asked} times in a minute");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_went_away_delays_nobody() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let aborts_left = AtomicU64::new(3);
        let mut patient = Patient::new(Fickle {
            listener,
            aborts_left,
        });
        let began = Instant::now();
        patient.next().await;
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
