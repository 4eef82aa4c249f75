//! An authority of a test, and folders with what it issued.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use tempfile::TempDir;

use crate::config::{ClientAuth, Tls, TlsFiles, TlsVersion};
use crate::tls::ConnectOptions;

/// Somebody who signs certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, in PEM.
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Authority {
            pem: certificate.pem(),
            issuer: Issuer::new(params, key),
        }
    }

    /// For servers on this machine.
    pub(crate) fn server(&self) -> Issued {
        self.issue(server_params())
    }

    /// The same, over for years.
    pub(crate) fn expired_server(&self) -> Issued {
        let mut params = server_params();
        params.not_after = date_time_ymd(2020, 1, 1);
        self.issue(params)
    }

    pub(crate) fn client(&self, name: &str) -> Issued {
        self.issue(client_params(name))
    }

    /// The same, over for years.
    pub(crate) fn expired_client(&self, name: &str) -> Issued {
        let mut params = client_params(name);
        params.not_after = date_time_ymd(2020, 1, 1);
        self.issue(params)
    }

    fn issue(&self, params: CertificateParams) -> Issued {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Issued {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

fn server_params() -> CertificateParams {
    let names = ["localhost", "127.0.0.1"].map(str::to_owned);
    let mut params = CertificateParams::new(names).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

fn client_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

/// The files of one server and its clients; they go with it.
pub(crate) struct Folder(TempDir);

impl Folder {
    /// With a server's certificate from `authority`, which clients trust.
    pub(crate) fn new(authority: &Authority) -> Folder {
        let folder = Folder(tempfile::tempdir().unwrap());
        folder.write("ca.pem", &authority.pem);
        folder.serve(&authority.server());
        folder
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Puts a file in the place of another, as those who rotate certificates do.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let new = self.path("new");
        fs::write(&new, text).unwrap();
        fs::rename(&new, self.path(name)).unwrap();
    }

    /// What the server is to show.
    pub(crate) fn serve(&self, issued: &Issued) {
        self.write("server.pem", &issued.certificate);
        self.write("server.key", &issued.key);
        only_owner(&self.path("server.key"));
    }

    /// A server's settings that ask for no client certificates.
    pub(crate) fn tls(&self) -> Tls {
        Tls {
            files: Some(TlsFiles {
                certificate: self.path("server.pem"),
                key: self.path("server.key"),
                client_ca: None,
            }),
            client_auth: ClientAuth::Optional,
            min_version: TlsVersion::V12,
            reload_interval: Duration::from_secs(10),
        }
    }

    /// A server's settings with client certificates of `authority`.
    pub(crate) fn tls_with_clients(&self, authority: &Authority, auth: ClientAuth) -> Tls {
        self.write("clients.pem", &authority.pem);
        let mut tls = self.tls();
        if let Some(files) = &mut tls.files {
            files.client_ca = Some(self.path("clients.pem"));
        }
        tls.client_auth = auth;
        tls
    }

    /// A client that trusts the folder's authority.
    pub(crate) fn client(&self) -> ConnectOptions {
        ConnectOptions {
            ca: Some(self.path("ca.pem")),
            ..ConnectOptions::default()
        }
    }

    /// The same, with a certificate of its own.
    pub(crate) fn client_with(&self, issued: &Issued) -> ConnectOptions {
        self.write("client.pem", &issued.certificate);
        self.write("client.key", &issued.key);
        ConnectOptions {
            certificate: Some(self.path("client.pem")),
            key: Some(self.path("client.key")),
            ..self.client()
        }
    }
}

fn only_owner(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}
