//! TLS, for every listener and for clients: what is spoken, with which certificate, and who shows one.
//!
//! ```text
//! accepted ─▶ Gate: first byte ─ 0x16 ─▶ handshake ─▶ Stream, and the certificate that the client showed
//!                          └──── else ─▶ plain, where the gate lets it; otherwise told to use TLS
//! files ─▶ Certificates ─▶ every new handshake        (read again when they change, and on SIGHUP)
//! ```
//!
//! TLS 1.2 and 1.3 with ring's suites, which are all authenticated encryption with forward secrecy. No renegotiation and
//! no early data: rustls has neither for servers unless asked. There is no way to skip the check of a certificate.
//!
//! Always, each with a test of its name in `tests`:
//! - `a_broken_new_file_keeps_the_old_certificate`, and `a_new_certificate_is_shown_to_new_connections_only`.
//! - `a_client_certificate_is_believed_only_from_its_authority`.
//! - `an_old_version_is_refused`, and `garbage_is_refused`.
//! - `plain_http_is_told_to_use_tls`, where the gate does not let it.
//!
//! Not here: who a certificate stands for (`access`), how long a handshake may take (whoever holds the gate).

mod certificates;
mod connect;
mod files;
mod gate;
mod stream;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

pub use certificates::Certificates;
pub use connect::{ConnectOptions, Connector, Untrusted};
pub use files::{Finding, TlsError, check};
pub use gate::{Admitted, Gate, HANDSHAKE, TurnedAway};
pub use stream::{Stream, first_byte};

/// The only protocol inside, until a door speaks another: who offers others alone is refused (RFC 7301 §3.2).
const ALPN: &[u8] = b"http/1.1";

/// Named wherever it is needed: a default for the process could be changed by whatever is linked in.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
