//! The names in a client certificate, as users' documents write them.
//!
//! | name | from |
//! |---|---|
//! | `cn:NAME` | the subject's common name |
//! | `dns:NAME`, `uri:URI`, `email:ADDRESS` | the alternative names |
//! | `sha256:HEX` | the hash of the whole certificate |
//!
//! Names are compared to the letter. TLS has verified the chain before anybody looks here; what is in the certificate is thus
//! what its authority says, and the fingerprint is the one name that no other authority can give away.
//!
//! Always, with a test of its name below: `names_are_read_from_a_certificate`.

use restante_storage::UnixMillis;
use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// How names in certificates may begin.
const PREFIXES: [&str; 5] = ["cn:", "dns:", "uri:", "email:", "sha256:"];

/// Names beyond these are not looked at: no honest certificate has them.
const NAMES_MAX: usize = 256;
const NAME_BYTES_MAX: usize = 1024;

/// What of a certificate matters here.
pub(super) struct Shown {
    /// Its names, prefixes in front.
    pub(super) names: Vec<String>,
    /// When it ends.
    pub(super) expires: UnixMillis,
}

/// Reads a certificate. None: it is none, or has names that cannot be trusted to be what they seem.
pub(super) fn read(der: &[u8]) -> Option<Shown> {
    let (rest, certificate) = X509Certificate::from_der(der).ok()?;
    if !rest.is_empty() {
        return None;
    }
    let mut names = vec![format!("sha256:{}", fingerprint(der)?)];
    for name in certificate.subject().iter_common_name() {
        names.push(format!("cn:{}", name.as_str().ok()?));
    }
    let alternatives = certificate.subject_alternative_name().ok()?;
    let alternatives = alternatives.iter().flat_map(|it| &it.value.general_names);
    names.extend(alternatives.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(format!("dns:{name}")),
        GeneralName::URI(uri) => Some(format!("uri:{uri}")),
        GeneralName::RFC822Name(address) => Some(format!("email:{address}")),
        _ => None,
    }));
    let too_long = names.iter().any(|name| name.len() > NAME_BYTES_MAX);
    if names.len() > NAMES_MAX || too_long {
        return None;
    }
    let seconds = u64::try_from(certificate.validity().not_after.timestamp()).ok()?;
    let expires = UnixMillis::new(seconds.saturating_mul(1000));
    Some(Shown { names, expires })
}

/// SHA-256 in hexadecimal digits, by the hash that TLS itself uses.
fn fingerprint(der: &[u8]) -> Option<String> {
    let suite = TLS13_AES_128_GCM_SHA256.tls13()?;
    let hash = suite.common.hash_provider.hash(der);
    Some(
        hash.as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
    )
}

/// What is wrong with a name in a user's document, if anything is.
pub(super) fn complaint(name: &str) -> Option<&'static str> {
    let prefix = PREFIXES.iter().find(|prefix| name.starts_with(**prefix));
    let Some(text) = prefix.and_then(|prefix| name.strip_prefix(*prefix)) else {
        return Some("begins with none of `cn:`, `dns:`, `uri:`, `email:` and `sha256:`");
    };
    let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if name.starts_with("sha256:") && !(text.len() == 64 && text.bytes().all(hex)) {
        return Some("is no fingerprint: 64 hexadecimal digits in lower case, without colons");
    }
    if text.is_empty() || name.len() > NAME_BYTES_MAX || text.chars().any(char::is_control) {
        return Some("is empty, longer than 1024 bytes, or has control characters");
    }
    None
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    /// A certificate of `cn`, with `ada.example` and more as alternative names.
    pub(in crate::access) fn certificate(cn: &str) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["ada.example".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, cn);
        params.subject_alt_names.extend([
            SanType::URI("spiffe://example/ada".try_into().unwrap()),
            SanType::Rfc822Name("ada@example".try_into().unwrap()),
        ]);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn names_are_read_from_a_certificate() {
        let der = certificate("ada");
        let shown = read(&der).unwrap();
        let mut names = shown.names.clone();
        let fingerprint = names.remove(0);
        assert!(complaint(&fingerprint).is_none() && fingerprint.starts_with("sha256:"));
        assert_ne!(
            read(&certificate("ada")).unwrap().names.first(),
            Some(&fingerprint)
        );
        assert_eq!(
            names,
            [
                "cn:ada",
                "dns:ada.example",
                "uri:spiffe://example/ada",
                "email:ada@example"
            ]
        );
        assert!(shown.expires > UnixMillis::new(1_700_000_000_000));
    }

    #[test]
    fn what_is_no_certificate_has_no_names() {
        let mut der = certificate("ada");
        assert!(read(&[]).is_none() && read(b"not DER").is_none());
        assert!(read(&der[..der.len() / 2]).is_none());
        der.push(0);
        assert!(read(&der).is_none(), "something behind it");
    }

    #[test]
    fn names_in_documents_have_a_known_form() {
        for name in ["cn:Ada Lovelace", "dns:a.example", "uri:x:y", "email:a@b"] {
            assert_eq!(complaint(name), None, "{name}");
        }
        assert_eq!(complaint(&format!("sha256:{}", "0a".repeat(32))), None);
        for name in [
            "",
            "ada",
            "CN:ada",
            "cn:",
            "dns:a\nb",
            "sha256:00",
            &format!("sha256:{}", "0A".repeat(32)),
            &format!("cn:{}", "x".repeat(1100)),
        ] {
            assert!(complaint(name).is_some(), "{name}");
        }
    }
}
