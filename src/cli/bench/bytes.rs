//! Bytes of a connection of the loads: all that waits is written with one call, and all that is there is read with one.

use std::cell::RefCell;
use std::io;

use anyhow::bail;
use bytes::{Buf as _, BytesMut};
use tokio::net::TcpStream;

/// How much is read at a time.
const READ_BYTES: usize = 64 * 1024;

thread_local! {
    /// What is read comes here first, so that an idle connection has no room of its own.
    static ROOM: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

/// Writes all of `output`, which is empty then.
///
/// # Errors
/// The connection is gone.
pub(super) async fn flush(stream: &TcpStream, output: &mut BytesMut) -> anyhow::Result<()> {
    while !output.is_empty() {
        match stream.try_write(output) {
            Ok(n_bytes) => output.advance(n_bytes),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.writable().await?,
            Err(error) => return Err(error.into()),
        }
    }
    output.clear();
    Ok(())
}

/// Waits for bytes, and puts what is there behind `input`. Cancel-safe.
///
/// # Errors
/// The connection is gone.
pub(super) async fn hear(stream: &TcpStream, input: &mut BytesMut) -> anyhow::Result<()> {
    loop {
        stream.readable().await?;
        let read = ROOM.with_borrow_mut(|room| {
            let read = stream.try_read(room);
            if let Ok(n_bytes) = read {
                input.extend_from_slice(room.get(..n_bytes).unwrap_or_default());
            }
            read
        });
        match read {
            Ok(0) => bail!("the other end has closed a connection"),
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
}
