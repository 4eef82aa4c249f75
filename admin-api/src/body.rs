//! A request's body: no route takes one yet, so that it is read to its end and thrown away.
//!
//! Read it must be, for the next request comes behind it on the same connection.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::time::timeout;

use crate::problem::{Code, Problem};

/// Reads `body` without keeping it.
///
/// # Errors
/// It is larger than `bytes_max` (seen before anything is read if the client said so), does not end within
/// `deadline`, or breaks off: 413, 408, 400.
pub(crate) async fn discard(
    body: Incoming,
    bytes_max: u64,
    deadline: Duration,
) -> Result<(), Problem> {
    if body.size_hint().lower() > bytes_max {
        return Err(too_large(bytes_max));
    }
    match timeout(deadline, read(body, bytes_max)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Problem::new(
            Code::RequestTimeout,
            "the body did not arrive in time",
        )),
    }
}

async fn read(mut body: Incoming, bytes_max: u64) -> Result<(), Problem> {
    let mut bytes_left = bytes_max;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return Err(Problem::new(
                Code::MalformedBody,
                "the body is cut short or malformed",
            ));
        };
        let len = frame.data_ref().map_or(0, |data| data.len() as u64);
        bytes_left = bytes_left
            .checked_sub(len)
            .ok_or_else(|| too_large(bytes_max))?;
    }
    Ok(())
}

fn too_large(bytes_max: u64) -> Problem {
    Problem::new(
        Code::BodyTooLarge,
        format!("no more than {bytes_max} bytes"),
    )
}
