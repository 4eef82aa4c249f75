//! The sockets that clients connect to: bound before anything is recovered, and out of the way of all files that are opened later.
//!
//! *Why out of the way.* When a process is killed, Linux closes its files from the highest number down (seen on 6.18). A listener among
//! the lowest lives longest: for a moment the kernel still takes connections for it that nobody will answer. A libnanomsg client, which is
//! back within a millisecond, takes such an end for a refusal, and never comes again. So listeners have numbers above those that
//! connections get.
//!
//! Always, with a test of its name:
//! - `listeners_have_higher_numbers_than_what_comes_later`

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Resource, getrlimit};
use tokio::net::TcpListener;

use crate::front::UnixSocket;

/// How long an address may be in use by whoever listened there before.
const IN_USE_MAX: Duration = Duration::from_secs(3);
/// Files that are open besides connections, and room for listeners: what the log, the state and the runtime need is far below.
const OTHER_FILES: u64 = 4096;
/// Numbers below the limit that are left free.
const BELOW_LIMIT: u64 = 64;

/// Binds all of them. `connections`: how many there may be at a time; listeners have numbers above theirs.
///
/// # Errors
/// An address cannot be had; the text names it and the `key` of the configuration.
pub(super) async fn bind(
    addresses: &[SocketAddr],
    key: &str,
    connections: usize,
) -> Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    for address in addresses {
        let bound = bind_one(*address).await.with_context(|| {
            format!(
                "cannot listen on {address}: is another broker running there? ({key} says where)"
            )
        })?;
        listeners.push(out_of_the_way(bound, connections)?);
    }
    Ok(listeners)
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

async fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    let begun = Instant::now();
    loop {
        match TcpListener::bind(address).await {
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse && begun.elapsed() < IN_USE_MAX =>
            {
                tokio::time::sleep(IN_USE_MAX / 30).await;
            }
            bound => return bound,
        }
    }
}

/// The same socket under a high number; under its own, if the system has none to give.
fn out_of_the_way(listener: TcpListener, connections: usize) -> io::Result<TcpListener> {
    let listener = listener.into_std()?;
    let listener = match fcntl_dupfd_cloexec(&listener, lowest_number(connections)) {
        Ok(moved) => moved.into(),
        Err(error) => {
            tracing::debug!(%error, "a listener keeps its number");
            listener
        }
    };
    TcpListener::from_std(listener)
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
        let listeners = bind(&[any, any], "listen", 100).await.unwrap();
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

    #[test]
    fn the_number_is_one_that_the_process_may_have() {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let number = lowest_number(usize::MAX);
        assert!(number > 0 && (u64::try_from(number).unwrap() < limit));
    }
}
