//! The sockets that clients connect to: bound before anything is recovered, so that a wrong address stops the start at once, and heard
//! only when there is somebody to answer, out of the way of all files that are opened later.
//!
//! *Why so late.* From `listen` on the system takes connections, whoever answers them. A libnanomsg client that hears nothing for five
//! seconds takes that for a refusal and never comes again; one that is not taken tries on. A recovery can take longer.
//!
//! *Why out of the way.* When a process is killed, Linux closes its files from the highest number down (seen on 6.18). A listener among
//! the lowest lives longest: for a moment the kernel still takes connections for it that nobody will answer. A libnanomsg client, which is
//! back within a millisecond, takes such an end for a refusal, and never comes again. So listeners have numbers above those that
//! connections get.
//!
//! Always, with a test of its name:
//! - `listeners_have_higher_numbers_than_what_comes_later`
//! - `nobody_is_let_in_before_there_is_somebody_to_answer`

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Resource, getrlimit};
use tokio::net::{TcpListener, TcpSocket};

use crate::front::UnixSocket;

/// How long an address may be in use by whoever listened there before.
const IN_USE_MAX: Duration = Duration::from_secs(3);
/// Files that are open besides connections, and room for listeners: what the log, the state and the runtime need is far below.
const OTHER_FILES: u64 = 4096;
/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;
/// Numbers below the limit that are left free.
const BELOW_LIMIT: u64 = 64;

/// Addresses that are ours, and that nobody can connect to yet.
#[derive(Debug)]
pub(super) struct Bound {
    sockets: Vec<TcpSocket>,
    /// The key of the configuration that names them.
    key: &'static str,
}

impl Bound {
    /// Has the system take connections. In a runtime, which is to accept them.
    ///
    /// # Errors
    /// Somebody else has come first.
    pub(super) fn listen(self) -> Result<Vec<TcpListener>> {
        let key = self.key;
        let listens = |socket: TcpSocket| {
            let address = socket.local_addr();
            socket.listen(BACKLOG).with_context(|| match address {
                Ok(address) => in_use(address, key),
                Err(error) => format!("cannot listen: {error}"),
            })
        };
        self.sockets.into_iter().map(listens).collect()
    }
}

/// Binds all of them. `connections`: how many there may be at a time; listeners have numbers above theirs.
///
/// # Errors
/// An address cannot be had; the text names it and the `key` of the configuration.
pub(super) async fn bind(
    addresses: &[SocketAddr],
    key: &'static str,
    connections: usize,
) -> Result<Bound> {
    let mut sockets = Vec::new();
    for address in addresses {
        let bound = bind_one(*address).await;
        let bound = bound.with_context(|| in_use(*address, key))?;
        sockets.push(out_of_the_way(bound, connections));
    }
    Ok(Bound { sockets, key })
}

fn in_use(address: SocketAddr, key: &str) -> String {
    format!("cannot listen on {address}: is another broker running there? ({key} says where)")
}

/// Binds a Unix socket, if there is a path for one.
///
/// # Errors
/// The path cannot be had.
pub(super) fn bind_unix(path: Option<&Path>) -> Result<Option<UnixSocket>> {
    let Some(path) = path else { return Ok(None) };
    let bound = UnixSocket::bind(path).with_context(|| {
        let path = path.display();
        format!("cannot listen on {path}: is another broker running there, or is it another file? (wamp.unix-socket says where)")
    })?;
    Ok(Some(bound))
}

async fn bind_one(address: SocketAddr) -> io::Result<TcpSocket> {
    let begun = Instant::now();
    loop {
        match try_bind(address) {
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse && begun.elapsed() < IN_USE_MAX =>
            {
                tokio::time::sleep(IN_USE_MAX / 30).await;
            }
            bound => return bound,
        }
    }
}

fn try_bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // Connections of a broker before may still be in TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// The same socket under a high number; under its own, if the system has none to give.
fn out_of_the_way(socket: TcpSocket, connections: usize) -> TcpSocket {
    match fcntl_dupfd_cloexec(&socket, lowest_number(connections)) {
        Ok(moved) => of_file(moved),
        Err(error) => {
            tracing::debug!(%error, "a listener keeps its number");
            socket
        }
    }
}

/// Tokio takes over no other socket than a standard stream, connected or not.
fn of_file(file: OwnedFd) -> TcpSocket {
    TcpSocket::from_std_stream(TcpStream::from(file))
}

/// Above what connections can get, and below the limit of this process.
fn lowest_number(connections: usize) -> i32 {
    let wanted = (connections as u64).saturating_add(OTHER_FILES);
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let number = wanted.min(limit.saturating_sub(BELOW_LIMIT));
    i32::try_from(number).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsRawFd;

    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn listeners_have_higher_numbers_than_what_comes_later() {
        let any = "127.0.0.1:0".parse().unwrap();
        let bound = bind(&[any, any], "listen", 100).await.unwrap();
        let listeners = bound.listen().unwrap();
        let later: Vec<File> = (0..50).map(|_| File::open("/dev/null").unwrap()).collect();
        for listener in &listeners {
            let number = listener.as_raw_fd();
            assert!(number > 128, "{number}");
            assert!(later.iter().all(|file| file.as_raw_fd() < number));
            let at = listener.local_addr().unwrap();
            let (client, served) = tokio::join!(TcpStream::connect(at), listener.accept());
            assert!(client.is_ok() && served.is_ok());
        }
    }

    #[tokio::test]
    async fn nobody_is_let_in_before_there_is_somebody_to_answer() {
        let any = "127.0.0.1:0".parse().unwrap();
        let bound = bind(&[any], "listen", 100).await.unwrap();
        let at = bound.sockets[0].local_addr().unwrap();
        let refused = TcpStream::connect(at).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let listeners = bound.listen().unwrap();
        assert!(TcpStream::connect(at).await.is_ok());
        // Who comes second is told, and which key to look at.
        let error = bind(&[at], "mqtt.listen", 100).await.unwrap_err();
        let text = format!("{error:#}");
        assert!(
            text.contains("mqtt.listen") && text.contains(&at.to_string()),
            "{text}"
        );
        drop(listeners);
    }

    #[test]
    fn the_number_is_one_that_the_process_may_have() {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let number = lowest_number(usize::MAX);
        assert!(number > 0 && (u64::try_from(number).unwrap() < limit));
    }
}
