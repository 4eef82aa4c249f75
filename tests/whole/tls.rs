//! TLS as an operator and a user meet it: files, clients, a new certificate, a broken one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustix::process::Signal;

use crate::process::{Process, RESTANTE, command};
use crate::server::Server;
use crate::wait;

/// Whoever signs a test's certificates.
pub(crate) struct Authority(Issuer<'static, KeyPair>, String);

impl Authority {
    pub(crate) fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Authority(Issuer::new(params, key), pem)
    }

    /// Its own certificate.
    pub(crate) fn pem(&self) -> &str {
        &self.1
    }

    /// Writes a new certificate and its key, as NAME.pem and NAME.key, for servers and clients alike.
    pub(crate) fn issue(&self, folder: &Path, name: &str) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        replace(&folder.join(format!("{name}.pem")), &certificate.pem());
        replace(&folder.join(format!("{name}.key")), &key.serialize_pem());
    }
}

/// Writes a private file, in the place of the old one at once.
pub(crate) fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).expect("a file");
    let only_owner = fs::Permissions::from_mode(0o600);
    fs::set_permissions(&new, only_owner).expect("its owner");
    fs::rename(&new, path).expect("a rename");
}

/// One whose TLS files are beside its data, with clients' certificates of the same authority.
fn server(authority: &Authority, client_auth: &str) -> Server {
    let mut server = Server::prepare(&[("RESTANTE_TLS_RELOAD_INTERVAL", "1h")]);
    let path = |name: &str| server.file(name).display().to_string();
    let settings = [
        ("RESTANTE_TLS_CERTIFICATE", path("server.pem")),
        ("RESTANTE_TLS_KEY", path("server.key")),
        ("RESTANTE_TLS_CLIENT_CA", path("ca.pem")),
        ("RESTANTE_TLS_CLIENT_AUTH", client_auth.to_owned()),
    ];
    let folder = server.file("");
    replace(&folder.join("ca.pem"), &authority.1);
    authority.issue(&folder, "server");
    for (name, value) in settings {
        server.set(name, &value);
    }
    server.run();
    server
}

/// `restante ARGS` over TLS; what it wrote, and its exit code.
fn run(server: &Server, args: &[&str]) -> (String, Option<i32>) {
    let mut command = command(RESTANTE);
    command
        .args(args)
        .arg("--data")
        .arg(server.data())
        .arg("--url")
        .arg(server.url().replace("ws://", "wss://"))
        .current_dir(server.file(""));
    let mut process = Process::start(&mut command);
    let status = process.wait();
    let wrote = format!("{}{}", process.stdout(), process.stderr());
    (wrote, status.code())
}

#[test]
fn clients_reach_both_listeners_over_tls_and_the_certificate_is_replaced_under_way() {
    let authority = Authority::new();
    let mut server = server(&authority, "optional");
    fs::write(server.file("lines"), "one\n").expect("a file");
    let send = ["send", "a", "--file", "lines", "--ca", "ca.pem"];
    assert_eq!(run(&server, &send).1, Some(0));
    let admin_url = server.admin_url().replace("http://", "https://");
    let queues = ["queues", "--admin-url", &admin_url, "--ca", "ca.pem"];
    let (listed, code) = run(&server, &queues);
    assert!(code == Some(0) && listed.contains("default"), "{listed}");
    assert!(server.get("/readyz?verbose").contains("certificate"));
    let until = "restante_tls_certificate_expiry_timestamp_seconds";
    assert!(server.metric(until, "") > 1_700_000_000.0);

    // A stranger's certificate is found out by the client.
    let stranger = Authority::new();
    replace(&server.file("other.pem"), &stranger.1);
    let other = ["send", "a", "--file", "lines", "--ca", "other.pem"];
    let (said, code) = run(&server, &other);
    assert!(said.contains("name with --ca"), "{said}");
    assert!(!said.contains("start a broker"), "{said}");
    assert_eq!(code, Some(3));
    let other = ["queues", "--admin-url", &admin_url, "--ca", "other.pem"];
    let (said, code) = run(&server, &other);
    assert_eq!(said.matches("name with --ca").count(), 1, "{said}");
    assert_eq!(code, Some(3));
    let none = ["send", "a", "--file", "lines", "--ca", "none.pem"];
    let (said, code) = run(&server, &none);
    assert_eq!(said.matches("No such file").count(), 1, "{said}");
    assert_eq!(code, Some(1));

    // A session that is open outlives what follows.
    let mut follow = server.cli(&["consume", "a", "--count", "3"]);
    wait::until("the first message came", || {
        follow.stdout().contains("one").then_some(())
    });
    server.announce("the new TLS files cannot be used");
    replace(&server.file("server.key"), "nonsense");
    server.signal(Signal::HUP);
    let reloads = "restante_tls_reloads_total";
    let reloaded = |server: &Server, result| server.metric(reloads, result) > 0.0;
    wait::until("the broken key is refused", || {
        reloaded(&server, "failed").then_some(())
    });
    assert_eq!(run(&server, &send).1, Some(0), "the old one is still there");

    stranger.issue(&server.file(""), "server");
    server.signal(Signal::HUP);
    wait::until("the new one is taken", || {
        reloaded(&server, "ok").then_some(())
    });
    assert_eq!(
        run(
            &server,
            &["send", "a", "--file", "lines", "--ca", "other.pem"]
        )
        .1,
        Some(0)
    );
    assert_eq!(follow.wait().code(), Some(0), "{}", follow.stderr());
    server.terminate();
}

#[test]
fn where_a_client_certificate_is_required_nobody_comes_without() {
    let authority = Authority::new();
    let server = server(&authority, "required");
    authority.issue(&server.file(""), "client");
    fs::write(server.file("lines"), "one\n").expect("a file");
    let bare = [
        "send",
        "a",
        "--file",
        "lines",
        "--timeout",
        "0s",
        "--ca",
        "ca.pem",
    ];
    let (said, code) = run(&server, &bare);
    assert!(said.contains("name one with --certificate"), "{said}");
    assert_eq!(code, Some(3));
    let mut shown = bare.to_vec();
    shown.extend(["--certificate", "client.pem", "--key", "client.key"]);
    assert_eq!(run(&server, &shown).1, Some(0));
    let admin_url = server.admin_url().replace("http://", "https://");
    let queues = ["queues", "--admin-url", &admin_url, "--ca", "ca.pem"];
    let (said, code) = run(&server, &queues);
    assert_eq!(code, Some(1));
    assert!(said.contains("name one with --certificate"), "{said}");
}

#[test]
fn an_authority_as_a_server_is_told_in_words() {
    let mut server = Server::prepare(&[]);
    let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("a name");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let pem = params.self_signed(&key).expect("a certificate").pem();
    replace(&server.file("tls.pem"), &pem);
    replace(&server.file("tls.key"), &key.serialize_pem());
    for (name, file) in [
        ("RESTANTE_TLS_CERTIFICATE", "tls.pem"),
        ("RESTANTE_TLS_KEY", "tls.key"),
    ] {
        let path = server.file(file).display().to_string();
        server.set(name, &path);
    }
    server.run();
    let (said, code) = run(&server, &["consume", "a", "--ca", "tls.pem"]);
    assert!(said.contains("basicConstraints=CA:FALSE"), "{said}");
    assert_eq!(code, Some(3));
}

#[test]
fn check_config_looks_into_the_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new();
    authority.issue(folder.path(), "a");
    authority.issue(folder.path(), "b");
    let check = |yaml: &str| {
        fs::write(folder.path().join("restante.yaml"), yaml).expect("a file");
        let mut command = command(RESTANTE);
        command
            .args(["check-config", "restante.yaml"])
            .current_dir(folder.path());
        let mut process = Process::start(&mut command);
        let code = process.wait().code();
        (code, process.stderr())
    };
    let good = "tls:\n  certificate: a.pem\n  key: a.key\n";
    assert_eq!(check(good), (Some(0), String::new()));
    let (code, said) = check(&good.replace("a.key", "b.key"));
    assert_eq!(code, Some(1));
    let expected =
        "restante.yaml:3:3: tls.key: b.key is not the key of the first certificate in a.pem";
    assert!(said.starts_with(expected), "{said}");
    let (code, said) = check(&good.replace("a.", "none."));
    assert_eq!((code, said.lines().count()), (Some(1), 2), "{said}");
    let readable = fs::Permissions::from_mode(0o644);
    fs::set_permissions(folder.path().join("a.key"), readable).expect("its owner");
    let (code, said) = check(good);
    assert!(
        code == Some(0) && said.contains("tls.key: warning: a.key"),
        "{said}"
    );
}

#[test]
fn a_hangup_ends_no_broker_without_tls() {
    let mut server = Server::start();
    server.signal(Signal::HUP);
    wait::until("it says that there is nothing to read", || {
        server.log().contains("no TLS files").then_some(())
    });
    server.terminate();
}
