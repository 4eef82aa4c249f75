//! Vectors that were computed elsewhere, what is out of order, and clients for all other tests.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::json;

use super::*;
use crate::access::hash::{from_hex, to_hex};
use crate::access::scram::{self as plain_scram, both, mac};

/// A client that knows a password, or has a private key.
pub(crate) struct Client {
    pub(crate) password: String,
    pub(crate) hello: Hello,
}

const NONCE: &str = "nonce-of-thirty-two-letters-00000";
const CLIENT_NONCE: &str = "Y2xpZW50LW5vbmNlLTE2Yg==";
/// The private half of [`PUBLIC`], and a challenge with what is exported of a connection: the specification's examples.
const PRIVATE: &str = "4d57d97a68f555696620a6d849c0ce582568518d729eb753dc7c732de2804510";
pub(crate) const PUBLIC: &str = "1adfc8bfe1d35616e64dffbd900096f23b066f914c8c2ffbb66f6075b96e116d";
const CHANNEL: &str = "62e935ae755f3d48f80d4d59f6121358c435722a67e859cc0caa8b539027f2ff";

impl Client {
    /// One that offers `methods` for `user`.
    pub(crate) fn new(methods: &[&str], user: &str, password: &str) -> Client {
        let extra = [("nonce", CLIENT_NONCE), ("pubkey", PUBLIC)];
        let extra = extra.map(|(name, value)| (name.to_owned(), json!(value)));
        Client {
            password: password.to_owned(),
            hello: Hello {
                authmethods: methods.iter().map(|it| (*it).to_owned()).collect(),
                authid: (!user.is_empty()).then(|| user.to_owned()),
                authextra: extra.into_iter().collect(),
                session: 4711,
                ..Hello::default()
            },
        }
    }

    /// What it says to a challenge.
    pub(crate) fn answer(&self, challenge: &Challenge) -> String {
        let told = |name: &str| challenge.extra[name].as_str().unwrap().to_owned();
        let count = |name: &str| u32::try_from(challenge.extra[name].as_u64().unwrap()).unwrap();
        let password = self.password.as_bytes();
        match challenge.method {
            Method::Ticket => self.password.clone(),
            Method::Cra => {
                let (salt, iterations) = (told("salt"), count("iterations"));
                let key = pbkdf2::pbkdf2_hmac_array::<sha2::Sha256, 32>(
                    password,
                    salt.as_bytes(),
                    iterations,
                );
                let key = STANDARD.encode(key);
                STANDARD.encode(mac(key.as_bytes(), told("challenge").as_bytes()))
            }
            Method::WampScram => {
                let salt = STANDARD.decode(told("salt")).unwrap();
                let rounds = count("iterations");
                let salted = pbkdf2::pbkdf2_hmac_array::<sha2::Sha256, 32>(password, &salt, rounds);
                self.proof(challenge, &salted, "biws")
            }
            Method::Scram => {
                let params =
                    argon2::Params::new(count("memory"), count("iterations"), 1, Some(32)).unwrap();
                let argon2 = argon2::Argon2::new(
                    argon2::Algorithm::Argon2id,
                    argon2::Version::V0x13,
                    params,
                );
                let (salt, mut salted) = (STANDARD.decode(told("salt")).unwrap(), [0; 32]);
                argon2
                    .hash_password_into(password, &salt, &mut salted)
                    .unwrap();
                self.proof(challenge, STANDARD_NO_PAD.encode(salted).as_bytes(), "")
            }
            Method::Cryptosign => sign(&from_hex(&told("challenge")).unwrap()),
            Method::Anonymous | Method::Http | Method::Tls => unreachable!("never challenged"),
        }
    }

    fn proof(&self, challenge: &Challenge, salted: &[u8], binding: &str) -> String {
        let told = |name: &str| challenge.extra[name].as_str().unwrap();
        let (name, nonce, salt) = (
            self.hello.authid.as_deref().unwrap(),
            told("nonce"),
            told("salt"),
        );
        assert!(nonce.starts_with(CLIENT_NONCE) && nonce.len() > CLIENT_NONCE.len() + 20);
        let iterations = &challenge.extra["iterations"];
        let signed = format!(
            "n={name},r={CLIENT_NONCE},r={nonce},s={salt},i={iterations},c={binding},r={nonce}"
        );
        let key = mac(salted, b"Client Key");
        let stored = <sha2::Sha256 as sha2::Digest>::digest(key);
        STANDARD.encode(both(&key, &mac(&stored, signed.as_bytes())))
    }
}

/// As a client signs `message` with [`PRIVATE`].
fn sign(message: &[u8; 32]) -> String {
    let private = from_hex::<32>(PRIVATE).unwrap();
    let pair = Ed25519KeyPair::from_seed_unchecked(&private).unwrap();
    assert_eq!(to_hex(pair.public_key().as_ref()), PUBLIC);
    to_hex(pair.sign(message).as_ref()) + &to_hex(message)
}

fn occasion(hello: &Hello) -> Occasion<'_> {
    Occasion {
        hello,
        nonce: NONCE,
        now: Instant::now(),
        date: UnixMillis::new(1_796_000_523_456),
    }
}

fn cra(client: &Client) -> (Box<Exchange>, Challenge) {
    let key = CraKey::with("correct horse", "abcdefghjkmnpqrstvwxyz0123", 15_000);
    Exchange::cra(&occasion(&client.hello), key)
}

fn wamp_scram(client: &Client) -> (Box<Exchange>, Challenge) {
    let verifier = plain_scram::Verifier::with("correct horse", b"0123456789abcdef", 15_000);
    let of = occasion(&client.hello);
    Exchange::scram(&of, CLIENT_NONCE, Verifier::Pbkdf2(verifier))
}

fn argon_scram(client: &Client) -> (Box<Exchange>, Challenge) {
    let verifier = ArgonVerifier::with("correct horse", b"0123456789abcdef", 4, 4096).unwrap();
    let of = occasion(&client.hello);
    Exchange::scram(&of, CLIENT_NONCE, Verifier::Argon(verifier))
}

fn cryptosign(hello: &Hello) -> (Box<Exchange>, Challenge) {
    let key = PublicKey::from_hex(PUBLIC).unwrap();
    Exchange::cryptosign(&occasion(hello), key, [0xFF; 32])
}

fn finish(exchange: &Exchange, signature: &str) -> Result<Dict, Fault> {
    exchange.finish(signature, &Dict::new())
}

#[test]
fn vectors_of_an_independent_client_are_ours() {
    // Computed with Python's hashlib and hmac, and the reference implementation of Argon2.
    let key = CraKey::with("correct horse", "abcdefghjkmnpqrstvwxyz0123", 15_000);
    let text =
        "WAMPCRA$15000:32:abcdefghjkmnpqrstvwxyz0123$9SuVt4Wbk/3DJq1xsyGqhGob4Pp4dHhrFd18PKtadck=";
    assert_eq!(key.to_text(), text);
    let argon = ArgonVerifier::with("correct horse", b"0123456789abcdef", 4, 4096).unwrap();
    let text = "SCRAM-ARGON2ID13$4:4096:MDEyMzQ1Njc4OWFiY2RlZg==$6tv90mE0ICcu0/iZ37nEUyRQFNf8CQLvLj2jjE27v9k=:\
                DEKUQHgTP0cuno0KYGxuRhAOtkgDXe9PTB8/dV0bzJ0=";
    assert_eq!(argon.to_text(), text);

    let client = Client::new(&[], "a,b=c", "correct horse");
    let (exchange, challenge) = wamp_scram(&client);
    assert_eq!(
        json!(challenge.extra),
        json!({
            "nonce": format!("{CLIENT_NONCE}{NONCE}"),
            "salt": "MDEyMzQ1Njc4OWFiY2RlZg==",
            "kdf": "pbkdf2",
            "iterations": 15_000,
        })
    );
    let proof = "SrxKAQ4Y0y/fH8mDkBZh81yWjvGl5XHD1vVPxk+8DUs=";
    let said = json!(finish(&exchange, proof).unwrap());
    let ours = json!({"verifier": "hVc+pKGN8Jkt4k34V2WhbOmPTz6JRPHHVK9V941TxrY="});
    assert_eq!(said, ours);

    let client = Client::new(&[], "ada", "correct horse");
    let (exchange, challenge) = argon_scram(&client);
    assert_eq!(
        json!(challenge.extra),
        json!({
            "nonce": format!("{CLIENT_NONCE}{NONCE}"),
            "salt": "MDEyMzQ1Njc4OWFiY2RlZg==",
            "kdf": "argon2id-13",
            "iterations": 4,
            "memory": 4096,
        })
    );
    let proof = "wdhEe+tKExO5Mem/8O7PPE6urweLwUwO2133zR8/IRs=";
    let said = json!(finish(&exchange, proof).unwrap());
    let ours = json!({"scram_server_signature": "Wu6t5kfzMho+xGm8mjKpGFGOODLFxc9ShDSZ4DotuHw="});
    assert_eq!(said, ours);
}

#[test]
fn the_signatures_of_the_specification_are_ours() {
    let mut hello = Client::new(&[], "", "").hello;
    let (exchange, challenge) = cryptosign(&hello);
    let told = json!({"challenge": "f".repeat(64), "channel_binding": null});
    assert_eq!(json!(challenge.extra), told);
    let plain = "b32675b221f08593213737bef8240e7c15228b07028e19595294678c90d11c0c\
                 ae80a357331bfc5cc9fb71081464e6e75013517c2cf067ad566a6b7b728e5d03";
    let plain = format!("{plain}{}", "ff".repeat(32));
    assert_eq!(sign(&[0xFF; 32]), plain);
    assert_eq!(finish(&exchange, &plain), Ok(Dict::new()));
    assert_eq!(
        finish(&exchange, &plain.to_uppercase()),
        Ok(Dict::new()),
        "digits are digits"
    );

    // What the connection exports counts only if the client asks for it by the name of what it is.
    hello.channel = from_hex(CHANNEL);
    let (exchange, _) = cryptosign(&hello);
    assert_eq!(finish(&exchange, &plain), Ok(Dict::new()));
    let binding = |name: &str| ("channel_binding".to_owned(), json!(name));
    hello.authextra.extend([binding("tls-unique")]);
    let (exchange, challenge) = cryptosign(&hello);
    assert_eq!(challenge.extra["channel_binding"], json!(null));
    assert_eq!(finish(&exchange, &plain), Ok(Dict::new()));
    hello.authextra.extend([binding("tls-exporter")]);
    let (exchange, challenge) = cryptosign(&hello);
    assert_eq!(challenge.extra["channel_binding"], json!("tls-exporter"));
    let bound = "9b6f41540c9b95b4b7b281c3042fa9c54cef43c842d62ea3fd6030fcb66e70b3\
                 e80d49d44c29d1635da9348d02ec93f3ed1ef227dfb59a07b580095c2b82f80f\
                 9d16ca518aa0c2b707f2b2a609edeca73bca8dd59817a633f35574ac6fd80d00";
    assert_eq!(finish(&exchange, bound), Ok(Dict::new()));
    assert_eq!(finish(&exchange, &plain), Err(Fault::Mismatch));
}

#[test]
fn a_challenge_of_cra_says_what_was_asked_for_and_no_more() {
    let mut client = Client::new(&[], "ada", "correct horse");
    client.hello.authrole = Some("shop".to_owned());
    let (exchange, challenge) = cra(&client);
    let text = challenge.extra["challenge"].as_str().unwrap();
    let fields: Value = serde_json::from_str(text).unwrap();
    assert_eq!(
        fields,
        json!({
            "authid": "ada",
            "authrole": "shop",
            "authmethod": "wampcra",
            "authprovider": "restante",
            "nonce": NONCE,
            "timestamp": "2026-11-30T01:02:03.456Z",
            "session": 4711,
        })
    );
    let rest = ["salt", "iterations", "keylen"].map(|name| challenge.extra[name].clone());
    let wanted = [
        json!("abcdefghjkmnpqrstvwxyz0123"),
        json!(15_000),
        json!(32),
    ];
    assert_eq!((rest, challenge.extra.len()), (wanted, 4));
    assert_eq!(
        finish(&exchange, &client.answer(&challenge)),
        Ok(Dict::new())
    );
    // Computed elsewhere.
    let sorted = r#"{"authid":"ada","authmethod":"wampcra","authprovider":"restante","authrole":"shop","nonce":"nonce-of-thirty-two-letters-00000","session":4711,"timestamp":"2026-11-30T01:02:03.456Z"}"#;
    assert_eq!(text, sorted);
    let signature = "wQHkKtpUHE3811V5LjkwdW365iUZl+7DWN7POC6Kmlw=";
    assert_eq!(finish(&exchange, signature), Ok(Dict::new()));
}

#[test]
fn no_answer_that_is_out_of_order_is_taken() {
    use Fault::{Malformed, Mismatch, Wrong};
    let client = Client::new(&[], "ada", "correct horse");
    let huge = "A".repeat(1 << 20);
    let other = STANDARD.encode([7; 32]);
    for (name, (exchange, challenge)) in [
        ("wampcra", cra(&client)),
        ("wamp-scram", wamp_scram(&client)),
        ("scram", argon_scram(&client)),
    ] {
        let right = client.answer(&challenge);
        let wrong_length = match name {
            "wampcra" => Wrong,
            _ => Malformed,
        };
        for (signature, fault) in [
            ("", wrong_length),
            ("!", Malformed),
            ("é", Malformed),
            (right.trim_end_matches('='), Malformed),
            (&right[1..], Malformed),
            (&STANDARD.encode([7; 31]), wrong_length),
            (&STANDARD.encode([7; 33]), wrong_length),
            (&format!("{right}\n"), Malformed),
            (&huge, wrong_length),
            (&other, Wrong),
        ] {
            let shown = signature.get(..20).unwrap_or(signature);
            assert_eq!(finish(&exchange, signature), Err(fault), "{name}: {shown}");
        }
        assert!(finish(&exchange, &right).is_ok(), "{name}: as it was");
        // Another exchange has another nonce.
        let again = Occasion {
            nonce: "another-nonce",
            ..occasion(&client.hello)
        };
        let again = match &exchange.asked {
            Asked::Cra(asked) => Exchange::cra(&again, asked.key().clone()),
            Asked::Scram(asked) => Exchange::scram(&again, CLIENT_NONCE, asked.verifier().clone()),
            _ => unreachable!(),
        };
        assert_eq!(finish(&again.0, &right), Err(Wrong), "{name}: replayed");
    }

    let (exchange, challenge) = wamp_scram(&client);
    let right = client.answer(&challenge);
    let extra = |value: Value| serde_json::from_value::<Dict>(value).unwrap();
    let nonce = &challenge.extra["nonce"];
    let whole = json!({"nonce": nonce, "channel_binding": null, "cbind_data": null, "x": 1});
    assert!(exchange.finish(&right, &extra(whole)).is_ok());
    for bad in [
        json!({"nonce": NONCE}),
        json!({"nonce": 1}),
        json!({"nonce": null}),
        json!({"channel_binding": "tls-exporter"}),
        json!({"cbind_data": "AA=="}),
    ] {
        let refused = exchange.finish(&right, &extra(bad.clone()));
        assert_eq!(refused, Err(Mismatch), "{bad}");
    }

    let (exchange, _) = cryptosign(&client.hello);
    let right = sign(&[0xFF; 32]);
    let (signature, message) = right.split_at(128);
    let turned = if right.starts_with('0') { "1" } else { "0" };
    for (signature, fault) in [
        (String::new(), Malformed),
        (signature.to_owned(), Malformed),
        (right[1..].to_owned(), Malformed),
        (format!("{right}0"), Malformed),
        (right.replace('f', "g"), Malformed),
        ("é".repeat(96), Malformed),
        (huge, Malformed),
        (sign(&[0; 32]), Mismatch),
        (format!("{}{message}", "0".repeat(128)), Wrong),
        (format!("{turned}{}", &right[1..]), Wrong),
    ] {
        let shown = signature.get(..20).unwrap_or_default();
        assert_eq!(finish(&exchange, &signature), Err(fault), "{shown}");
    }
    assert!(finish(&exchange, &right).is_ok(), "as it was");
}

#[test]
fn an_answer_comes_in_time_and_is_not_huge() {
    let client = Client::new(&[], "ada", "correct horse");
    let (exchange, _) = cra(&client);
    let begun = exchange.begun;
    assert_eq!(exchange.check(begun + ANSWER_WITHIN, "x"), Ok(()));
    let later = begun + ANSWER_WITHIN + Duration::from_millis(1);
    assert_eq!(exchange.check(later, "x"), Err(Fault::Late));
    let huge = "x".repeat(SIGNATURE_BYTES_MAX + 1);
    assert_eq!(exchange.check(begun, &huge), Err(Fault::Malformed));
    let (ticket, challenge) = Exchange::ticket(&occasion(&client.hello));
    assert!(challenge.extra.is_empty());
    assert_eq!(finish(&ticket, "x"), Err(Fault::Malformed), "not here");
}

#[test]
fn the_method_follows_from_hello_alone() {
    let chosen = |hello: &Hello, anonymous| match choose(hello, anonymous) {
        Ok(Choice::Anonymous) => "anonymous",
        Ok(Choice::Ticket) => "ticket",
        Ok(Choice::Cra { .. }) => "wampcra",
        Ok(Choice::Scram { .. }) => "wamp-scram",
        Ok(Choice::ArgonScram { .. }) => "scram",
        Ok(Choice::Cryptosign { .. }) => "cryptosign",
        Err(why) => why.uri(),
    };
    let of = |methods: &[&str]| Client::new(methods, "ada", "").hello;
    let required = "wamp.error.authentication_required";
    let no_match = "wamp.error.no_matching_auth_method";
    for (methods, unknown_are_refused, unknown_are_let_in) in [
        (&[][..], required, "anonymous"),
        (&["anonymous"], required, "anonymous"),
        (&["anonymous", "ticket"], "ticket", "anonymous"),
        (&["ticket", "anonymous"], "ticket", "ticket"),
        (&["x", "wampcra", "ticket"], "wampcra", "wampcra"),
        (&["wamp-scram", "scram"], "wamp-scram", "wamp-scram"),
        (&["scram", "wamp-scram"], "scram", "scram"),
        (&["cryptosign", "ticket"], "cryptosign", "cryptosign"),
        (&["cookie", "tls", "http", ""], no_match, no_match),
        (&["Ticket"], no_match, no_match),
        (&["cookie", "anonymous"], no_match, "anonymous"),
    ] {
        assert_eq!(
            chosen(&of(methods), false),
            unknown_are_refused,
            "{methods:?}"
        );
        assert_eq!(
            chosen(&of(methods), true),
            unknown_are_let_in,
            "{methods:?}"
        );
    }
    // What a method begins with must be there.
    let all = ["wampcra", "scram", "wamp-scram", "cryptosign", "ticket"];
    let mut hello = of(&all);
    hello.authid = None;
    assert_eq!(chosen(&hello, false), "cryptosign");
    for bad in [
        json!(PUBLIC[1..]),
        json!(1),
        json!("x".repeat(64)),
        json!(null),
    ] {
        hello.authextra.insert("pubkey".to_owned(), bad);
        assert_eq!(chosen(&hello, false), "ticket");
    }
    for bad in ["", "a b", "a,b", "ä", &"x".repeat(513)] {
        let mut hello = of(&["scram", "wamp-scram"]);
        hello.authextra.insert("nonce".to_owned(), json!(bad));
        assert_eq!(chosen(&hello, false), no_match, "{bad}");
    }
    let mut many = vec!["x"; METHODS];
    many.push("ticket");
    assert_eq!(chosen(&of(&many), false), no_match, "beyond reason");
    for bad in ["x".repeat(257), "a\n".to_owned()] {
        let denied = "wamp.error.authentication_denied";
        let mut hello = of(&["ticket"]);
        hello.authid = Some(bad.clone());
        assert_eq!(chosen(&hello, true), denied);
        let mut hello = of(&[]);
        hello.authrole = Some(bad);
        assert_eq!(chosen(&hello, true), denied);
    }
}

/// As many methods as are looked at.
const METHODS: usize = 16;

#[test]
fn a_welcome_has_the_role_that_was_asked_for_or_the_first() {
    use crate::access::testing::principal;
    let role = |roles: &[&str], wish: Option<&str>| {
        let welcome = Welcome::new(principal("ada", roles), Method::Ticket, wish);
        welcome.map(|it| (it.authid, it.authrole))
    };
    let ada = |role: &str| Ok(("ada".to_owned(), role.to_owned()));
    assert_eq!(role(&["shop", "office"], None), ada("shop"));
    assert_eq!(role(&["shop", "office"], Some("office")), ada("office"));
    assert_eq!(role(&[], None), ada(""));
    let refused = Err(Refusal::NoSuchRole);
    assert_eq!(role(&["shop"], Some("admin")), refused);
    assert_eq!(role(&[], Some("")), refused);
}

#[test]
fn secrets_are_stored_as_text() {
    let key = CraKey::new("correct horse").unwrap();
    assert!(CraKey::from_text(&key.to_text()).as_ref() == Ok(&key));
    assert!(CraKey::new("correct horse").unwrap() != key);
    let known = key.to_text();
    let (front, back) = known.rsplit_once('$').unwrap();
    let letters = front.rsplit_once(':').unwrap().1;
    for bad in [
        String::new(),
        "plain".to_owned(),
        known.replace("WAMPCRA", "WAMPCRB"),
        known.replace(":32:", ":31:"),
        known.replace(":32:", "::"),
        known.replace("$15000", "$+15000"),
        known.replace("$15000", "$015000"),
        known.replace("$15000", "$99999999999"),
        known.replace(letters, "short"),
        known.replace(letters, &"x".repeat(65)),
        known.replace(letters, "a b c d e f g"),
        known.replace(back, ""),
        known.replace(back, "QUJD"),
        known.replace(back, back.trim_end_matches('=')),
        format!("{known}A"),
    ] {
        let error = CraKey::from_text(&bad).unwrap_err();
        assert!(error.to_string().contains("WAMPCRA"), "{bad}");
    }
    for iterations in ["$999", "$1000001"] {
        let error = CraKey::from_text(&known.replace("$15000", iterations)).unwrap_err();
        assert!(error.to_string().contains("1000000"), "{iterations}");
    }

    let verifier = ArgonVerifier::new("correct horse").unwrap();
    assert!(ArgonVerifier::from_text(&verifier.to_text()).as_ref() == Ok(&verifier));
    let known = verifier.to_text();
    let (front, keys) = known.rsplit_once('$').unwrap();
    let salt = front.rsplit_once(':').unwrap().1;
    for bad in [
        String::new(),
        known.replace("ID13", "ID10"),
        known.replace("$4:", "$:"),
        known.replace("$4:", "$04:"),
        known.replace(":4096:", ":x:"),
        known.replace(salt, "QUJD"),
        known.replace(salt, "!"),
        known.replace(keys, ""),
        known.replace(':', ""),
        format!("{known}A"),
    ] {
        let error = ArgonVerifier::from_text(&bad).unwrap_err();
        assert!(error.to_string().contains("ARGON2ID13"), "{bad}");
    }
    for cost in ["$1:512:", "$1:4:", "$4294967295:1048576:", "$1:2097152:"] {
        let error = ArgonVerifier::from_text(&known.replace("$4:4096:", cost)).unwrap_err();
        assert!(error.to_string().contains("4194304"), "{cost}");
    }
    // As crossbar's examples have it.
    assert!(ArgonVerifier::from_text(&known.replace("$4:4096:", "$4096:512:")).is_ok());
}

#[test]
fn what_is_made_up_lets_nobody_in_and_looks_like_any_other() {
    let client = Client::new(&[], "eve", "correct horse");
    let of = &occasion(&client.hello);
    let shape = |challenge: &Challenge| {
        let lengths = challenge.extra.iter();
        lengths
            .map(|(name, value)| match value.as_str() {
                Some(text) => (name.clone(), json!(text.len())),
                None => (name.clone(), value.clone()),
            })
            .collect::<Dict>()
    };
    let made = b"a key of this process";
    let cra = |key| Exchange::cra(of, key);
    let (real, fake) = (
        cra(CraKey::new("correct horse").unwrap()),
        cra(CraKey::made_up(made, "eve")),
    );
    let argon = |it| Exchange::scram(of, CLIENT_NONCE, Verifier::Argon(it));
    let (real_argon, fake_argon) = (
        argon(ArgonVerifier::new("correct horse").unwrap()),
        argon(ArgonVerifier::made_up(made, "eve")),
    );
    for ((_, real), (exchange, fake)) in [(real, fake), (real_argon, fake_argon)] {
        assert_eq!(shape(&real), shape(&fake));
        let answer = client.answer(&fake);
        assert_eq!(finish(&exchange, &answer), Err(Fault::Wrong));
    }
    assert!(CraKey::made_up(made, "eve") == CraKey::made_up(made, "eve"));
    assert!(CraKey::made_up(made, "eve") != CraKey::made_up(made, "mallory"));
    assert!(CraKey::made_up(made, "eve") != CraKey::made_up(b"another", "eve"));
}

#[test]
fn no_debug_output_shows_a_secret() {
    let mut client = Client::new(&["scram"], "ada", "correct horse");
    let canary = ("x".to_owned(), json!("canary"));
    client.hello.authextra.extend([canary]);
    let (cra, _) = cra(&client);
    let (argon, _) = argon_scram(&client);
    let shown = format!("{:?} {cra:?} {argon:?}", client.hello);
    assert!(shown.contains("ada"), "{shown}");
    for secret in ["canary", "9SuVt4Wb", "6tv90mE0", "DEKUQHgT"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn a_key_with_which_anybody_can_sign_is_none() {
    assert_eq!(complaint(PUBLIC), None);
    for bad in [
        "0".repeat(64),
        format!("{}80", "0".repeat(62)),
        format!("01{}", "0".repeat(62)),
        format!("ec{}7f", "f".repeat(60)),
        format!("ec{}", "f".repeat(62)),
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85".to_owned(),
        PUBLIC.to_uppercase(),
        PUBLIC[2..].to_owned(),
        String::new(),
    ] {
        assert!(complaint(&bad).is_some(), "{bad}");
    }
}
