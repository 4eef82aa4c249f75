//! What a connection begins with decides what it is: TLS, or plain where that is let in.
//!
//! Nothing is taken off the connection before that is known: the byte is only looked at.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use rustls::{AlertDescription, CertificateError, PeerIncompatible};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::{TlsAcceptor, TlsStream};

use super::certificates::Certificates;
use super::stream::{Stream, first_byte};

/// The type of a TLS record that begins a handshake (RFC 8446 §5.1).
pub const HANDSHAKE: u8 = 0x16;
/// What rustls may hold back for a peer that does not read: two records.
const WRITE_BUFFER_BYTES: usize = 32 * 1024;
/// How long a peer that is turned away has to read why, and how much it may still say.
const SEE_OUT_WITHIN: Duration = Duration::from_millis(500);
const SEE_OUT_BYTES_MAX: u64 = 64 * 1024;

const USE_TLS: &str = "This listener takes encrypted connections only: use wss:// or https://.\n";

/// What a listener lets in. Cheap to clone.
#[derive(Clone, Default)]
pub struct Gate {
    certificates: Option<Arc<Certificates>>,
    plain: bool,
}

/// A connection that was let in.
pub struct Admitted {
    /// Its bytes.
    pub stream: Stream,
    /// The certificate, in DER, whose key the client proved to have; of an authority that the configuration names.
    pub certificate: Option<Arc<[u8]>>,
}

/// Why a connection was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnedAway {
    /// It went away before it said anything.
    Gone,
    /// It said too little before the deadline.
    TooSlow,
    /// It was not encrypted.
    Plain,
    /// The handshake failed; why, as in the metrics.
    Handshake(&'static str),
}

impl Gate {
    /// Lets in TLS, if there are certificates, and plain connections if `plain`.
    pub fn new(certificates: Option<Arc<Certificates>>, plain: bool) -> Gate {
        Gate {
            certificates,
            plain,
        }
    }

    /// Lets in plain connections only.
    pub fn plain() -> Gate {
        Gate::new(None, true)
    }

    /// Whether it lets in TLS.
    pub fn takes_tls(&self) -> bool {
        self.certificates.is_some()
    }

    /// Whether it lets in what is not encrypted.
    pub fn takes_plain(&self) -> bool {
        self.plain
    }

    /// Lets `stream` in, counted, or turns it away, counted and told why where it can be.
    ///
    /// # Errors
    /// [`TurnedAway`]; the connection is closed.
    pub async fn admit(
        &self,
        stream: TcpStream,
        deadline: Instant,
    ) -> Result<Admitted, TurnedAway> {
        let admitted = self.admit_some_time(stream);
        let admitted = timeout_at(deadline, Box::pin(admitted)).await;
        let admitted = admitted.unwrap_or(Err(TurnedAway::TooSlow));
        if let Err(why) = admitted {
            failed(why);
        }
        admitted
    }

    async fn admit_some_time(&self, stream: TcpStream) -> Result<Admitted, TurnedAway> {
        let Some(certificates) = &self.certificates else {
            return self.admit_plain(stream, b'G').await;
        };
        match first_byte(&stream).await {
            Ok(Some(HANDSHAKE)) => handshake(certificates, stream).await,
            Ok(Some(first)) => self.admit_plain(stream, first).await,
            Ok(None) | Err(_) => Err(TurnedAway::Gone),
        }
    }

    async fn admit_plain(&self, mut stream: TcpStream, first: u8) -> Result<Admitted, TurnedAway> {
        if self.plain {
            return Ok(Admitted {
                stream: Stream::Plain(stream),
                certificate: None,
            });
        }
        // A door that does not speak HTTP would take an answer in it for garbage.
        let answer = if first.is_ascii_uppercase() {
            use_tls()
        } else {
            String::new()
        };
        see_out(&mut stream, answer.as_bytes()).await;
        Err(TurnedAway::Plain)
    }
}

async fn handshake(certificates: &Certificates, stream: TcpStream) -> Result<Admitted, TurnedAway> {
    let acceptor = TlsAcceptor::from(certificates.server());
    let mut stream = match acceptor.accept(stream).into_fallible().await {
        Ok(stream) => stream,
        Err((error, mut stream)) => {
            tracing::debug!(peer = ?stream.peer_addr().ok(), %error, "a TLS handshake failed");
            // An alert was sent that says why: it is to be read before the connection is reset.
            see_out(&mut stream, &[]).await;
            return Err(TurnedAway::Handshake(reason(&error)));
        }
    };
    let (_, session) = stream.get_mut();
    session.set_buffer_limit(Some(WRITE_BUFFER_BYTES));
    let version = session.protocol_version().and_then(|it| it.as_str());
    let version = version.unwrap_or("other");
    counter!("restante_tls_handshakes_total", "version" => version).increment(1);
    let shown = session.peer_certificates().and_then(|chain| chain.first());
    Ok(Admitted {
        certificate: shown.map(|certificate| Arc::from(certificate.as_ref())),
        stream: Stream::Tls(Box::new(TlsStream::Server(stream))),
    })
}

fn use_tls() -> String {
    format!(
        "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: text/plain; charset=utf-8\r\n\
         content-length: {}\r\n\r\n{USE_TLS}",
        USE_TLS.len()
    )
}

/// Says `last`, and reads on until the peer has closed too: a connection that is closed with bytes unread is reset, and
/// a reset overtakes what was said.
async fn see_out(stream: &mut TcpStream, last: &[u8]) {
    let seen_out = async {
        stream.write_all(last).await?;
        stream.shutdown().await?;
        let mut rest = stream.take(SEE_OUT_BYTES_MAX);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
    };
    match timeout(SEE_OUT_WITHIN, seen_out).await {
        Ok(outcome) => tracing::trace!(?outcome, "turned away"),
        Err(_) => tracing::trace!("turned away, and it did not close"),
    }
}

fn failed(why: TurnedAway) {
    let reason = match why {
        TurnedAway::Gone => return,
        TurnedAway::TooSlow => "too-slow",
        TurnedAway::Plain => "plain",
        TurnedAway::Handshake(reason) => reason,
    };
    counter!("restante_tls_handshake_failures_total", "reason" => reason).increment(1);
}

/// What a handshake failed of, in a word of the metrics.
fn reason(error: &io::Error) -> &'static str {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(error) => tls_reason(error),
        None => "gone",
    }
}

fn tls_reason(error: &rustls::Error) -> &'static str {
    use rustls::Error;
    match error {
        Error::NoCertificatesPresented => "no-certificate",
        Error::InvalidCertificate(why) => certificate_reason(why),
        Error::PeerIncompatible(why) => incompatible_reason(why),
        Error::NoApplicationProtocol => "no-common-protocol",
        Error::InvalidMessage(_) | Error::PeerSentOversizedRecord => "not-tls",
        Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown,
        ) => "distrusted",
        Error::AlertReceived(_) => "alert",
        _ => "broken",
    }
}

fn certificate_reason(why: &CertificateError) -> &'static str {
    match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "expired-certificate"
        }
        CertificateError::UnknownIssuer => "unknown-authority",
        _ => "bad-certificate",
    }
}

fn incompatible_reason(why: &PeerIncompatible) -> &'static str {
    match why {
        PeerIncompatible::SupportedVersionsExtensionRequired
        // Clients of TLS 1.1 and before had no such extension.
        | PeerIncompatible::SignatureAlgorithmsExtensionRequired
        | PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled
        | PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig => "version",
        _ => "no-common-parameters",
    }
}
