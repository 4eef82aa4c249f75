//! From PEM files to what rustls serves with, and everything that can be wrong with them.
//!
//! No error quotes a file: one of them is a secret.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::crypto::ring::Ticketer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{InconsistentKeys, RootCertStore, ServerConfig, SupportedProtocolVersion};
use x509_parser::time::ASN1Time;

use super::{ALPN, provider};
use crate::config::{ClientAuth, Tls, TlsFiles, TlsVersion};

/// A system's whole bundle of authorities has a quarter of it.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Bits of a file's mode that let everybody on the machine have it.
const OTHERS: u32 = 0o007;

/// What is wrong with the files of TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// It is not there, or not for this user.
    #[error("{} cannot be read ({why}); name a file that this user may read", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why. No `source`: the sentence has it already.
        why: io::Error,
    },
    /// No PEM file is that large.
    #[error("{} is larger than 1 MiB: is it the right file?", path.display())]
    TooBig {
        /// Which.
        path: PathBuf,
    },
    /// It is no PEM file.
    #[error("{} is not PEM; it must have lines like -----BEGIN CERTIFICATE-----", path.display())]
    NotPem {
        /// Which.
        path: PathBuf,
    },
    /// There is none of what it is named for.
    #[error("{} has no {wanted}", path.display())]
    Without {
        /// Which.
        path: PathBuf,
        /// What should be in it.
        wanted: &'static str,
    },
    /// A certificate that cannot be used.
    #[error("{} has a certificate that cannot be used", path.display())]
    BadCertificate {
        /// Which file.
        path: PathBuf,
    },
    /// The private key is of no kind that is known here.
    #[error("{} has a key of a kind that is not known here; use ECDSA P-256 or P-384, Ed25519, or RSA of 2048 bits or more", path.display())]
    BadKey {
        /// Which file.
        path: PathBuf,
    },
    /// The key belongs to another certificate.
    #[error("{} is not the key of the first certificate in {}; the broker's own must come first", key.display(), certificate.display())]
    Mismatch {
        /// The key.
        key: PathBuf,
        /// The certificate.
        certificate: PathBuf,
    },
    /// The certificate's time is over.
    #[error("{} expired on {at}; get a new one", path.display())]
    Expired {
        /// Which file.
        path: PathBuf,
        /// When.
        at: String,
    },
    /// The certificate's time has not come.
    #[error("{} is valid from {at} on; is this machine's clock right?", path.display())]
    NotYet {
        /// Which file.
        path: PathBuf,
        /// When it will be.
        at: String,
    },
    /// There is nothing to check the other side's certificate against.
    #[error(
        "there are no authorities to check certificates against: {} cannot be read; name a file with --ca", path.display()
    )]
    NoAuthorities {
        /// Where the system's should be.
        path: PathBuf,
    },
    /// A certificate without its key, or a key without its certificate.
    #[error("a certificate and its key go together: name both or neither")]
    Half,
    /// Anything else that rustls does not take.
    #[error("these files do not go together")]
    Rustls(#[from] rustls::Error),
}

/// Something that [`check`] found.
#[derive(Debug)]
pub struct Finding {
    /// The configuration's key that it is about.
    pub key: &'static str,
    /// False: the broker runs all the same.
    pub is_fault: bool,
    /// What, and what to do.
    pub text: String,
}

/// All that can be said of the files before anybody connects; nothing if there is no TLS.
pub fn check(tls: &Tls) -> Vec<Finding> {
    let Some(files) = &tls.files else {
        return Vec::new();
    };
    let mut findings: Vec<Finding> = match load(tls, files) {
        Ok(loaded) => loaded.check(now()).err().into_iter().map(fault).collect(),
        Err(errors) => errors.into_iter().map(fault).collect(),
    };
    findings.extend(exposed(&files.key));
    findings
}

fn fault((key, error): (&'static str, TlsError)) -> Finding {
    Finding {
        key,
        is_fault: true,
        text: error.to_string(),
    }
}

/// A key that everybody on the machine can have is no secret.
fn exposed(key: &Path) -> Option<Finding> {
    let mode = fs::metadata(key).ok()?.mode();
    (mode & OTHERS != 0).then(|| Finding {
        key: "tls.key",
        is_fault: false,
        text: format!(
            "{} can be read or changed by everybody on this machine; `chmod 600` it",
            key.display()
        ),
    })
}

/// What the files came to.
pub(super) struct Loaded {
    pub(super) server: Arc<ServerConfig>,
    pub(super) validity: Validity,
    certificate: PathBuf,
}

/// When a certificate is valid; both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    from: ASN1Time,
    until: ASN1Time,
}

impl Validity {
    /// Seconds since 1970 UTC.
    pub(super) fn until(self) -> i64 {
        self.until.timestamp()
    }

    /// As people write it.
    pub(super) fn until_text(self) -> String {
        self.until.to_string()
    }
}

impl Loaded {
    /// Whether it is valid at `now`, in seconds since 1970 UTC.
    pub(super) fn check(&self, now: i64) -> Result<(), (&'static str, TlsError)> {
        let path = self.certificate.clone();
        let Validity { from, until } = self.validity;
        let error = if now > until.timestamp() {
            let at = until.to_string();
            TlsError::Expired { path, at }
        } else if now < from.timestamp() {
            let at = from.to_string();
            TlsError::NotYet { path, at }
        } else {
            return Ok(());
        };
        Err(("tls.certificate", error))
    }
}

/// Seconds since 1970 UTC.
pub(super) fn now() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    since_1970.map_or(0, |it| i64::try_from(it.as_secs()).unwrap_or(i64::MAX))
}

/// Reads all files, and says of all of them what is wrong, each with its key.
pub(super) fn load(tls: &Tls, files: &TlsFiles) -> Result<Loaded, Vec<(&'static str, TlsError)>> {
    let of = |key: &'static str| move |error: TlsError| vec![(key, error)];
    let chain = certificates(&files.certificate).and_then(|chain| {
        let validity = validity(&files.certificate, &chain)?;
        Ok((chain, validity))
    });
    let key = private_key(&files.key);
    let authorities = files.client_ca.as_deref().map(authorities).transpose();
    match (chain, key, authorities) {
        (Ok((chain, validity)), Ok(key), Ok(authorities)) => {
            let server = server(tls, chain, key, authorities)
                .map_err(|error| of("tls.key")(unfit(files, error)))?;
            Ok(Loaded {
                server: Arc::new(server),
                validity,
                certificate: files.certificate.clone(),
            })
        }
        (chain, key, authorities) => {
            let errors = [
                chain.err().map(of("tls.certificate")),
                key.err().map(of("tls.key")),
                authorities.err().map(of("tls.client-ca")),
            ];
            Err(errors.into_iter().flatten().flatten().collect())
        }
    }
}

fn unfit(files: &TlsFiles, error: rustls::Error) -> TlsError {
    match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => TlsError::Mismatch {
            key: files.key.clone(),
            certificate: files.certificate.clone(),
        },
        rustls::Error::General(_) => TlsError::BadKey {
            path: files.key.clone(),
        },
        other => TlsError::Rustls(other),
    }
}

fn server(
    tls: &Tls,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    authorities: Option<RootCertStore>,
) -> Result<ServerConfig, rustls::Error> {
    let versions: &[&SupportedProtocolVersion] = match tls.min_version {
        TlsVersion::V12 => &[&TLS13, &TLS12],
        TlsVersion::V13 => &[&TLS13],
    };
    let verifier = match authorities {
        Some(authorities) => verifier(authorities, tls.client_auth)?,
        None => WebPkiClientVerifier::no_client_auth(),
    };
    let asks = verifier.offer_client_auth();
    let mut server = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    server.alpn_protocols = vec![ALPN.to_vec()];
    // Nothing is kept for clients that may come back: a ticket holds it, sealed with a key that ends with this config.
    server.session_storage = Arc::new(NoServerSessionStorage {});
    if asks {
        // A resumed session would bring its certificate back unchecked, expired or of an authority that is gone.
        server.send_tls13_tickets = 0;
    } else {
        server.ticketer = Ticketer::new()?;
    }
    Ok(server)
}

fn verifier(
    authorities: RootCertStore,
    auth: ClientAuth,
) -> Result<Arc<dyn ClientCertVerifier>, rustls::Error> {
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider());
    let builder = match auth {
        ClientAuth::None => return Ok(WebPkiClientVerifier::no_client_auth()),
        ClientAuth::Optional => builder.allow_unauthenticated(),
        ClientAuth::Required => builder,
    };
    builder
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))
}

/// All certificates of a file, at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    let all: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&text).collect();
    let all = all.map_err(|_| TlsError::NotPem { path: path.into() })?;
    if all.is_empty() {
        return Err(TlsError::Without {
            path: path.into(),
            wanted: "certificate",
        });
    }
    Ok(all)
}

/// The first private key of a file.
pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = read(path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::Without {
            path: path.into(),
            wanted: "private key that is not encrypted",
        },
        _ => TlsError::NotPem { path: path.into() },
    })
}

/// All certificates of a file, as those that others are checked against.
pub(super) fn authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(path)? {
        store
            .add(certificate)
            .map_err(|_| TlsError::BadCertificate { path: path.into() })?;
    }
    Ok(store)
}

fn validity(path: &Path, chain: &[CertificateDer<'_>]) -> Result<Validity, TlsError> {
    let bad = || TlsError::BadCertificate { path: path.into() };
    let first = chain.first().ok_or_else(bad)?;
    let (_, parsed) = x509_parser::parse_x509_certificate(first).map_err(|_| bad())?;
    let validity = parsed.validity();
    Ok(Validity {
        from: validity.not_before,
        until: validity.not_after,
    })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let unreadable = |why| TlsError::Unreadable {
        path: path.into(),
        why,
    };
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    let read = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(TlsError::TooBig { path: path.into() });
    }
    Ok(bytes)
}

/// What changes when a file does; none: it is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp(Vec<Option<[i128; 4]>>);

impl Stamp {
    /// Of all files, through links: some put a new folder in place of the old.
    pub(super) fn of(files: &TlsFiles) -> Stamp {
        let all = [
            Some(&files.certificate),
            Some(&files.key),
            files.client_ca.as_ref(),
        ];
        Stamp(all.into_iter().flatten().map(|path| stamp(path)).collect())
    }
}

fn stamp(path: &Path) -> Option<[i128; 4]> {
    let about = fs::metadata(path).ok()?;
    let modified = i128::from(about.mtime()) * 1_000_000_000 + i128::from(about.mtime_nsec());
    Some([
        about.dev().into(),
        about.ino().into(),
        about.size().into(),
        modified,
    ])
}
