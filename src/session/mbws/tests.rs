//! Scripts: what the client says, what the broker says, what each must hear.

mod flow;
mod handshake;
mod pair;
mod words;
