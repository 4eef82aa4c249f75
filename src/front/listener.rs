//! What a listener listens on: TCP, or a Unix socket for processes of this machine.
//!
//! A Unix socket has no address that its peers could be told apart by. Where one is asked for (logs, limits of one address, listings),
//! they are `127.0.0.1` with port 0: from this machine, and from no port. Who may connect is up to the file's permissions.
//!
//! Always, each with a test of its name in `front::tests`:
//! - `a_unix_socket_is_made_removed_and_never_taken_from_who_listens`.
//! - `a_unix_socket_s_peers_are_of_this_machine`.

use std::fs::{self, Permissions};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net;
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// The broker's user and group may connect.
const MODE: u32 = 0o660;
/// What stands for the address of whoever comes over a Unix socket.
const FROM_HERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Where connections come from.
#[derive(Debug)]
pub enum Socket {
    /// Other machines, or this one.
    Tcp(TcpListener),
    /// Processes of this machine.
    Unix(UnixSocket),
}

/// A connection that has just come.
#[derive(Debug)]
pub(super) enum Incoming {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A Unix socket that is listened on. Its file goes when this is dropped.
#[derive(Debug)]
pub struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Its name, for metrics and logs.
    pub(super) fn name(&self) -> String {
        match self {
            Socket::Tcp(listener) => match listener.local_addr() {
                Ok(address) => address.to_string(),
                Err(_) => "unknown".to_owned(),
            },
            Socket::Unix(socket) => socket.path.display().to_string(),
        }
    }

    /// Waits for a connection. Cancel-safe.
    ///
    /// # Errors
    /// This one connection is gone already, or the system has nothing left for another.
    pub(super) async fn accept(&self) -> io::Result<(Incoming, SocketAddr)> {
        match self {
            Socket::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Incoming::Tcp(stream), peer))
            }
            Socket::Unix(socket) => {
                let (stream, _) = socket.listener.accept().await?;
                Ok((Incoming::Unix(stream), FROM_HERE))
            }
        }
    }
}

impl From<TcpListener> for Socket {
    fn from(listener: TcpListener) -> Self {
        Socket::Tcp(listener)
    }
}

impl From<UnixSocket> for Socket {
    fn from(socket: UnixSocket) -> Self {
        Socket::Unix(socket)
    }
}

impl UnixSocket {
    /// Listens at `path`, in place of what a process that is gone has left there. The file gets its name once its permissions are
    /// right.
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrInUse`]: somebody listens there. [`io::ErrorKind::AlreadyExists`]: it is no socket. Or the folder does
    /// not let us.
    pub fn bind(path: &Path) -> io::Result<UnixSocket> {
        check_stale(path)?;
        let mut before = path.as_os_str().to_owned();
        before.push(".new");
        let before = PathBuf::from(before);
        match fs::remove_file(&before) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&before)?;
        fs::set_permissions(&before, Permissions::from_mode(MODE))?;
        fs::rename(&before, path)?;
        Ok(UnixSocket {
            listener,
            path: path.to_owned(),
        })
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "cannot remove the socket");
        }
    }
}

/// Whether `path` may be taken: nothing is there, or a socket that nobody listens on.
fn check_stale(path: &Path) -> io::Result<()> {
    let there = match fs::symlink_metadata(path) {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !there.file_type().is_socket() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    match net::UnixStream::connect(path) {
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) => Err(error),
    }
}
