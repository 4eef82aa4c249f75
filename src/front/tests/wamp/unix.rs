//! RawSocket over a Unix socket.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net;

use tempfile::tempdir;
use tokio::net::UnixStream;

use super::super::server::Server;
use super::client::{Raw, with};
use super::echo::Seen;
use crate::front::{Takes, UnixSocket};
use crate::tls::Gate;

#[tokio::test]
async fn a_unix_socket_s_peers_are_of_this_machine() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("wamp.sock");
    let socket = UnixSocket::bind(&path).unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let (settings, mut sight) = with(|settings| settings.connections_max = 1);
    let server = Server::on(socket.into(), Takes::Wamp, Gate::plain(), settings);
    let connect = async || Raw {
        stream: UnixStream::connect(&path).await.unwrap(),
    };
    let mut raw = connect().await;
    raw.shake_hands(2).await;
    let came = Seen::Came("unix", "msgpack", "127.0.0.1".to_owned());
    assert_eq!(sight.next().await, came);
    raw.send(0, b"[1]").await;
    assert_eq!(raw.receive().await, (0, b"[1]".to_vec()));
    // The same limits as for the rest.
    let mut second = connect().await;
    second.expect(&[0x7f, 0x40, 0, 0]).await;
    second.expect_end().await;
    raw.send(3, b"").await;
    raw.expect_end().await;
    sight.expect_ended("bad-transport").await;
    server.shut_down();
    server.ends().await;
    assert!(!path.exists(), "it goes with the listener");
}

#[tokio::test]
async fn a_unix_socket_is_made_removed_and_never_taken_from_who_listens() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("wamp.sock");
    // Of a process that was killed.
    drop(net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let first = UnixSocket::bind(&path).unwrap();
    let second = UnixSocket::bind(&path).unwrap_err();
    assert_eq!(second.kind(), std::io::ErrorKind::AddrInUse);
    assert!(net::UnixStream::connect(&path).is_ok());
    drop(first);
    assert!(!path.exists());
    let file = folder.path().join("letters.txt");
    fs::write(&file, "dear").unwrap();
    let refused = UnixSocket::bind(&file).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read_to_string(&file).unwrap(), "dear");
    assert!(UnixSocket::bind(&folder.path().join("no/where")).is_err());
}
