//! SCRAM-SHA-256 over MQTT 5.0, as a client of somebody else does it: computed here from the RFC, with nothing of the broker's own.

use std::io::{Read, Write};
use std::net::TcpStream;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use hmac::{Hmac, KeyInit as _, Mac as _};
use restante_proto::mqtt::{
    Auth, AuthProperties, Connect, Decoder, Limits, Packet, ReasonCode, Secret, Str, Version,
    encode,
};
use sha2::{Digest as _, Sha256};

use crate::server::Server;
use crate::wait;

const METHOD: &str = "SCRAM-SHA-256";

/// One connection, and what it has said of itself.
pub(crate) struct Client {
    stream: TcpStream,
    decoder: Decoder,
    input: BytesMut,
}

fn text(text: &str) -> Str {
    Str::try_from(text).expect("a string of MQTT")
}

fn secret(text: &str) -> Secret {
    Secret(Bytes::copy_from_slice(text.as_bytes()))
}

fn mac(key: &[u8], message: &str) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key");
    mac.update(message.as_bytes());
    mac.finalize().into_bytes().into()
}

/// The client's last message, and what the server is to say then.
fn answer(password: &str, first_bare: &str, server_first: &str) -> (String, String) {
    let mut told = server_first.split(',');
    let mut next = |name: &str| {
        let attribute = told.next().and_then(|it| it.strip_prefix(name));
        attribute.expect("an attribute").to_owned()
    };
    let (nonce, salt, iterations) = (next("r="), next("s="), next("i="));
    let salt = STANDARD.decode(salt).expect("base 64");
    let iterations = iterations.parse().expect("a number");
    let salted = pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(password.as_bytes(), &salt, iterations);
    let client_key = mac(&salted, "Client Key");
    let bare = format!("c=biws,r={nonce}");
    let signed = format!("{first_bare},{server_first},{bare}");
    let signature = mac(&Sha256::digest(client_key), &signed);
    let proof: Vec<u8> = client_key
        .iter()
        .zip(signature)
        .map(|(one, other)| one ^ other)
        .collect();
    let verified = STANDARD.encode(mac(&mac(&salted, "Server Key"), &signed));
    let last = format!("{bare},p={}", STANDARD.encode(proof));
    (last, format!("v={verified}"))
}

impl Client {
    pub(crate) fn new(server: &Server) -> Client {
        let stream = TcpStream::connect(server.clients()).expect("a connection");
        let deadline = Some(wait::deadline());
        stream.set_read_timeout(deadline).expect("a timeout");
        Client {
            stream,
            decoder: Decoder::client(Version::V5, Limits::default()),
            input: BytesMut::new(),
        }
    }

    fn send(&mut self, packet: &Packet) {
        let mut bytes = BytesMut::new();
        encode(packet, Version::V5, &mut bytes).expect("a packet");
        self.stream.write_all(&bytes).expect("written");
    }

    fn receive(&mut self) -> Packet {
        loop {
            if let Some(packet) = self.decoder.decode(&mut self.input).expect("a packet") {
                return packet;
            }
            let mut bytes = [0; 1024];
            let n_bytes = self.stream.read(&mut bytes).expect("bytes");
            assert!(n_bytes > 0, "the connection ended before a packet");
            self.input
                .extend_from_slice(bytes.get(..n_bytes).expect("as many"));
        }
    }

    /// An AUTH of that code comes; its data.
    fn expect_auth(&mut self, reason: ReasonCode) -> String {
        let Packet::Auth(auth) = self.receive() else {
            panic!("no AUTH came")
        };
        assert_eq!(auth.reason, reason);
        assert_eq!(auth.properties.authentication_method, Some(text(METHOD)));
        let data = auth.properties.authentication_data.unwrap_or_default();
        String::from_utf8(data.0.to_vec()).expect("text")
    }

    fn auth(&mut self, reason: ReasonCode, data: &str) {
        self.send(&Packet::Auth(Auth {
            reason,
            properties: AuthProperties {
                authentication_method: Some(text(METHOD)),
                authentication_data: Some(secret(data)),
                ..AuthProperties::default()
            },
        }));
    }

    /// A CONNECT as `user`, up to the CONNACK; its code.
    pub(crate) fn connect(&mut self, user: &str, password: &str) -> ReasonCode {
        let bare = format!("n={user},r=fyko+d2lbbFgONRv9qkxdawL");
        let mut connect = Connect::new(Version::V5, text("scrammer"));
        connect.properties.authentication_method = Some(text(METHOD));
        connect.properties.authentication_data = Some(secret(&format!("n,,{bare}")));
        self.send(&Packet::Connect(Box::new(connect)));
        let told = self.expect_auth(ReasonCode::ContinueAuthentication);
        let (last, expected) = answer(password, &bare, &told);
        self.auth(ReasonCode::ContinueAuthentication, &last);
        let Packet::Connack(connack) = self.receive() else {
            panic!("no CONNACK came")
        };
        if connack.reason == ReasonCode::Success {
            let properties = &connack.properties;
            assert_eq!(properties.authentication_method, Some(text(METHOD)));
            assert_eq!(properties.authentication_data, Some(secret(&expected)));
        }
        connack.reason
    }

    /// Once more, with an AUTH of 0x19, and a ping in between; how it ends.
    fn again(&mut self, user: &str, password: &str) -> ReasonCode {
        let bare = format!("n={user},r=another-nonce");
        self.auth(ReasonCode::Reauthenticate, &format!("n,,{bare}"));
        let told = self.expect_auth(ReasonCode::ContinueAuthentication);
        self.send(&Packet::Pingreq);
        assert_eq!(self.receive(), Packet::Pingresp);
        let (last, expected) = answer(password, &bare, &told);
        self.auth(ReasonCode::ContinueAuthentication, &last);
        match self.receive() {
            Packet::Auth(auth) => {
                assert_eq!(auth.properties.authentication_data, Some(secret(&expected)));
                auth.reason
            }
            Packet::Disconnect(disconnect) => disconnect.reason,
            other => panic!("neither AUTH nor DISCONNECT: {other:?}"),
        }
    }

    fn expect_disconnect(&mut self) -> ReasonCode {
        match self.receive() {
            Packet::Disconnect(disconnect) => disconnect.reason,
            other => panic!("not a DISCONNECT: {other:?}"),
        }
    }
}

fn add_user(server: &Server, name: &str, password: &str) {
    let file = server.file(&format!("{name}.secret"));
    std::fs::write(&file, password).expect("a file");
    let file = file.display().to_string();
    server.administer(&["user", "add", name, "--new-password-file", &file]);
}

#[test]
fn a_password_is_proved_and_never_sent() {
    let mut server = Server::start();
    add_user(&server, "ada", "correct horse");
    add_user(&server, "bob", "battery staple");
    server.administer(&["realm", "add", "shop"]);
    let connect = |server: &Server, user: &str, password: &str| {
        let mut client = Client::new(server);
        (client.connect(user, password), client)
    };
    let success = ReasonCode::Success;
    let (code, mut ada) = connect(&server, "ada", "correct horse");
    assert_eq!(code, success);
    assert_eq!(ada.again("ada", "correct horse"), success);
    // She stays who she is, and must know her password still.
    assert_eq!(
        ada.again("bob", "battery staple"),
        ReasonCode::NotAuthorized
    );
    let (code, mut ada) = connect(&server, "shop:ada", "correct horse");
    assert_eq!(code, success);
    assert!(server.get("/api/v1/connections").contains("\"shop\""));
    assert_eq!(ada.again("shop:ada", "correct horse"), success);
    assert_eq!(ada.again("ada", "wrong horse"), ReasonCode::NotAuthorized);
    for (user, password) in [
        ("ada", "wrong horse"),
        ("eve", "correct horse"),
        ("nowhere:ada", "correct horse"),
    ] {
        let (code, _) = connect(&server, user, password);
        assert_eq!(code, ReasonCode::NotAuthorized, "{user}");
    }
    let counted = server.metric("restante_auth_attempts_total", "reason=\"scram\"");
    assert!(counted >= 4.0, "{counted}");

    // What is stored of a password outlives a crash; and a new one ends what the old one began.
    server.kill9();
    server.run();
    let (code, mut ada) = connect(&server, "ada", "correct horse");
    assert_eq!(code, success);
    let file = server.file("ada.new");
    std::fs::write(&file, "another horse").expect("a file");
    let file = file.display().to_string();
    server.administer(&["user", "passwd", "ada", "--new-password-file", &file]);
    assert_eq!(ada.expect_disconnect(), ReasonCode::NotAuthorized);
    let (code, _) = connect(&server, "ada", "correct horse");
    assert_eq!(code, ReasonCode::NotAuthorized);
    let (code, _) = connect(&server, "ada", "another horse");
    assert_eq!(code, success);
}

#[test]
fn who_has_a_ready_made_hash_alone_is_refused_and_the_operator_told_why() {
    let server = Server::start();
    add_user(&server, "ada", "correct horse");
    let exported = server.administer(&["definitions", "export", "--with-hashes"]);
    assert!(exported.contains("scram_verifier: "), "{exported}");
    let lines = exported
        .lines()
        .filter(|it| !it.contains("scram_verifier: "));
    let old: Vec<&str> = lines.collect();
    let file = server.file("old.yaml");
    // The same hash keeps its verifier; for a new user there is none.
    let old = old.join("\n").replace("  ada:", "  old:");
    std::fs::write(&file, old).expect("a file");
    server.administer(&["definitions", "apply", &file.display().to_string()]);
    for (user, expected) in [
        ("ada", ReasonCode::Success),
        ("old", ReasonCode::NotAuthorized),
    ] {
        let code = Client::new(&server).connect(user, "correct horse");
        assert_eq!(code, expected, "{user}");
    }
    wait::until("the log tells it", || {
        let log = server.log();
        log.contains("cannot log in by SCRAM").then_some(())
    });
}
