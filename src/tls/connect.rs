//! The client's side: whom it trusts, and what it shows.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{CertificateError, ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, TlsStream};

use super::files::{TlsError, authorities, certificates, private_key};
use super::stream::Stream;
use super::{ALPN, provider};

/// Where Debian and its kin keep the authorities that their administrator trusts.
const SYSTEM_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// How a client does TLS; all files are PEM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnectOptions {
    /// The authorities of servers' certificates, and no others; none: those of the system.
    pub ca: Option<PathBuf>,
    /// The client's own certificate, for servers that ask for one; goes with `key`.
    pub certificate: Option<PathBuf>,
    /// The private key of `certificate`.
    pub key: Option<PathBuf>,
}

/// Makes TLS of TCP connections. Cheap to clone. `Debug` shows no secret.
#[derive(Clone)]
pub struct Connector(TlsConnector);

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector(..)")
    }
}

impl Connector {
    /// Reads the files that `options` name. A few milliseconds.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn load(options: &ConnectOptions) -> Result<Connector, TlsError> {
        connector(options, &[&TLS13, &TLS12])
    }

    /// TLS over `stream` to the server that the caller calls `host`: a name, or an address without brackets.
    ///
    /// # Errors
    /// The connection broke, or the server is not who it should be.
    pub async fn connect(&self, host: &str, stream: TcpStream) -> io::Result<Stream> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let connected = self.0.connect(name, stream).await;
        let stream = connected.map_err(|error| explained(error, host))?;
        Ok(Stream::Tls(Box::new(TlsStream::Client(stream))))
    }
}

/// Why the other side's certificate does not pass, with what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Untrusted(String);

impl Untrusted {
    fn new(error: &CertificateError, host: &str) -> Untrusted {
        use CertificateError as E;
        Untrusted(match error {
            E::UnknownIssuer => {
                "no authority that is trusted here has made the broker's certificate; name with --ca the file of the \
                 one that did"
                    .into()
            }
            E::NotValidForName | E::NotValidForNameContext { .. } => format!(
                "the broker's certificate is not for {host}; use a name that is in it, or make one that has {host}"
            ),
            E::Expired | E::ExpiredContext { .. } => {
                "the broker's certificate has expired; the broker needs a new one, if this machine's clock is right".into()
            }
            E::NotValidYet | E::NotValidYetContext { .. } => {
                "the broker's certificate is not valid yet; is this machine's clock right?".into()
            }
            E::Revoked => "the broker's certificate was revoked; the broker needs a new one".into(),
            E::BadSignature => {
                "the broker's certificate is not signed by the authority that it names; name with --ca the file of the \
                 one that made it"
                    .into()
            }
            E::InvalidPurpose | E::InvalidPurposeContext { .. } => {
                "the broker's certificate is not one for servers; make it with extendedKeyUsage=serverAuth".into()
            }
            // What rustls has no word of its own for, webpki has.
            E::Other(other) if other.to_string() == "CaUsedAsEndEntity" => {
                "the broker shows the certificate of an authority as its own; make it a server certificate, with \
                 basicConstraints=CA:FALSE"
                    .into()
            }
            other => format!("the broker's certificate cannot be used: {other}"),
        })
    }

    /// What of an error is about trust, if any.
    pub fn of<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Untrusted> {
        let inner = error.downcast_ref::<io::Error>()?.get_ref()?;
        inner.downcast_ref()
    }
}

/// Says in words what rustls says of a certificate in names of its source.
fn explained(error: io::Error, host: &str) -> io::Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(rustls::Error::InvalidCertificate(why)) => {
            io::Error::new(error.kind(), Untrusted::new(why, host))
        }
        _ => error,
    }
}

fn connector(
    options: &ConnectOptions,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<Connector, TlsError> {
    let trusted = match &options.ca {
        Some(path) => authorities(path)?,
        None => system_authorities(Path::new(SYSTEM_BUNDLE))?,
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)?
        .with_root_certificates(trusted);
    let mut config = match (&options.certificate, &options.key) {
        (Some(certificate), Some(key)) => {
            builder.with_client_auth_cert(certificates(certificate)?, private_key(key)?)?
        }
        (None, None) => builder.with_no_client_auth(),
        _ => return Err(TlsError::Half),
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Connector(TlsConnector::from(Arc::new(config))))
}

/// Those of the system's bundle that can be used: some have kinds of keys that nobody signs with any more.
fn system_authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let all = certificates(path).map_err(|_| TlsError::NoAuthorities { path: path.into() })?;
    let mut store = RootCertStore::empty();
    let (added, ignored) = store.add_parsable_certificates(all);
    tracing::trace!(added, ignored, "the system's authorities");
    Ok(store)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A client of yesterday.
    pub(in crate::tls) fn only_tls12(options: &ConnectOptions) -> Connector {
        connector(options, &[&TLS12]).expect("good files")
    }

    #[test]
    fn what_is_wrong_with_a_certificate_is_said_with_what_to_do() {
        for (error, said) in [
            (CertificateError::UnknownIssuer, "--ca"),
            (CertificateError::NotValidForName, "not for broker.example"),
            (CertificateError::Expired, "has expired"),
            (CertificateError::NotValidYet, "clock"),
        ] {
            let error = rustls::Error::InvalidCertificate(error);
            let error = explained(
                io::Error::new(io::ErrorKind::InvalidData, error),
                "broker.example",
            );
            let untrusted = Untrusted::of(&error).expect("it is about trust");
            assert!(untrusted.to_string().contains(said), "{untrusted}");
            assert_eq!(error.to_string(), untrusted.to_string());
        }
        let broken = explained(io::ErrorKind::ConnectionReset.into(), "broker.example");
        assert!(Untrusted::of(&broken).is_none());
    }

    #[test]
    fn without_a_system_s_bundle_somebody_must_be_named() {
        let missing = system_authorities(Path::new("/nowhere/bundle.crt"));
        assert!(matches!(missing, Err(TlsError::NoAuthorities { .. })));
    }
}
