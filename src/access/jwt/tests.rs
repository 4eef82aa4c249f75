//! What the header promises.

use std::fs;
use std::path::Path;
use std::time::Duration;

use jsonwebtoken::EncodingKey;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PublicKeyData};
use serde_json::json;

use super::super::settings::KeySource;
use super::*;

const NOW_SECONDS: u64 = 1_800_000_000;
const NOW: UnixMillis = UnixMillis::new(NOW_SECONDS * 1000);
const ISSUER: &str = "https://login.example";

/// A key that exists for these tests only.
const RSA_PRIVATE: &[u8] = include_bytes!("fixtures/rsa.der");
const RSA_PUBLIC: &str = include_str!("fixtures/rsa.pem");
const RSA_WEAK: &str = include_str!("fixtures/rsa-1024.pem");

const SECRET: &str = "a secret of thirty-two bytes and more, and then some more: sixty-four";

fn algorithm(name: &str) -> JwtAlgorithm {
    JwtAlgorithm::from_name(name).unwrap()
}

fn settings(algorithms: &[&str], keys: KeySource) -> IssuerSettings {
    IssuerSettings {
        issuer: ISSUER.to_owned(),
        audience: "restante".to_owned(),
        algorithms: algorithms.iter().map(|name| algorithm(name)).collect(),
        keys,
        user_claim: "sub".to_owned(),
        user_prefix: String::new(),
        roles_claim: "roles".to_owned(),
        roles_prefix: String::new(),
        leeway: Duration::from_secs(30),
        allow_admin: false,
    }
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": "restante", "sub": "ada", "roles": ["shop"],
        "exp": NOW_SECONDS + 600, "iat": NOW_SECONDS - 5, "nbf": NOW_SECONDS - 5,
    })
}

fn base64(text: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// A token of these very parts.
fn signed(header: &str, claims: &str, key: &EncodingKey, with: &str) -> String {
    let message = format!("{}.{}", base64(header), base64(claims));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, algorithm(with).get());
    format!("{message}.{}", signature.unwrap())
}

fn token(header: &Value, claims: &Value, key: &EncodingKey, with: &str) -> String {
    signed(&header.to_string(), &claims.to_string(), key, with)
}

fn secret_key() -> EncodingKey {
    EncodingKey::from_secret(SECRET.as_bytes())
}

/// A folder with key files, and what is made of them.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, text: impl AsRef<[u8]>) -> std::path::PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn secret(&self) -> IssuerSettings {
        let file = self.file("secret", format!("{SECRET}\n"));
        settings(&["HS256"], KeySource::Secret(file))
    }

    fn rsa(&self) -> IssuerSettings {
        let file = self.file("rsa.pem", RSA_PUBLIC);
        settings(&["RS256", "PS256"], KeySource::PublicKey(file))
    }
}

fn issuers(settings: IssuerSettings) -> Issuers {
    Issuers::load(&[settings])
        .unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)))
}

/// Who a token with these claims is, of an issuer with `change`d settings.
fn with_claims(
    change: impl FnOnce(&mut IssuerSettings),
    claims: &Value,
) -> Result<Principal, Fault> {
    let folder = Folder::new();
    let mut settings = folder.secret();
    change(&mut settings);
    let header = json!({"alg": "HS256", "typ": "JWT"});
    issuers(settings).verify(&token(&header, claims, &secret_key(), "HS256"), NOW)
}

fn roles(principal: Result<Principal, Fault>) -> Result<Vec<String>, Fault> {
    principal.map(|principal| principal.roles.to_vec())
}

#[test]
fn a_right_token_is_a_principal() {
    let ada = with_claims(|_| {}, &claims()).unwrap();
    assert_eq!(&*ada.name, "jwt:ada");
    assert_eq!(*ada.roles, ["shop".to_owned()]);
    let ends = UnixMillis::new((NOW_SECONDS + 600 + 30) * 1000);
    assert_eq!(ada.expires, Some(ends));
    let issuer = ISSUER.into();
    assert_eq!(ada.identity, Identity::Jwt { issuer });
}

#[test]
fn every_algorithm_works_with_a_key_of_its_kind() {
    let folder = Folder::new();
    let rsa = EncodingKey::from_rsa_der(RSA_PRIVATE);
    let check = |names: &[&str], keys: KeySource, key: &EncodingKey| {
        let issuers = issuers(settings(names, keys));
        for name in names {
            let token = token(&json!({"alg": name}), &claims(), key, name);
            assert!(issuers.verify(&token, NOW).is_ok(), "{name}");
            let mut forged = token.clone();
            forged.truncate(forged.len() - 8);
            forged.push_str("AAAAAAAA");
            assert_eq!(
                issuers.verify(&forged, NOW).err(),
                Some(Fault::Signature),
                "{name}"
            );
        }
    };
    let secret = KeySource::Secret(folder.file("secret", SECRET));
    check(&["HS256", "HS384", "HS512"], secret, &secret_key());
    let pem = KeySource::PublicKey(folder.file("rsa.pem", RSA_PUBLIC));
    check(
        &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"],
        pem,
        &rsa,
    );
    for (name, kind) in [
        ("ES256", &PKCS_ECDSA_P256_SHA256),
        ("ES384", &PKCS_ECDSA_P384_SHA384),
        ("EdDSA", &PKCS_ED25519),
    ] {
        let pair = KeyPair::generate_for(kind).unwrap();
        let private = match name {
            "EdDSA" => EncodingKey::from_ed_der(&pair.serialize_der()),
            _ => EncodingKey::from_ec_der(&pair.serialize_der()),
        };
        let pem = KeySource::PublicKey(folder.file(name, pair.public_key_pem()));
        check(&[name], pem, &private);
        let keys = json!({"keys": [jwk(name, "one", &pair)]}).to_string();
        let jwks = KeySource::Jwks(folder.file("jwks", keys));
        check(&[name], jwks, &private);
    }
}

/// A public key as a JWKS has it.
fn jwk(name: &str, kid: &str, pair: &KeyPair) -> Value {
    let raw = pair.der_bytes();
    match name {
        "EdDSA" => json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": base64(raw)}),
        _ => {
            let (x, y) = raw[1..].split_at(raw.len() / 2);
            let crv = if name == "ES256" { "P-256" } else { "P-384" };
            json!({"kty": "EC", "crv": crv, "kid": kid, "x": base64(x), "y": base64(y), "use": "sig"})
        }
    }
}

/// Claims with one changed, or without it.
fn but(name: &str, value: Value) -> Value {
    let mut claims = claims();
    let members = claims.as_object_mut().unwrap();
    match value {
        Value::Null => members.remove(name),
        value => members.insert(name.to_owned(), value),
    };
    claims
}

#[test]
fn every_way_a_token_can_be_wrong() {
    let soon = NOW_SECONDS + 600;
    for (claim, value, fault) in [
        ("exp", json!(null), Fault::Time),
        ("exp", json!(soon as f64 + 0.5), Fault::Time),
        ("exp", json!(soon as f64), Fault::Time),
        ("exp", json!(1.8e300), Fault::Time),
        ("exp", json!(soon.to_string()), Fault::Time),
        ("exp", json!(-1), Fault::Time),
        ("exp", json!(true), Fault::Time),
        ("exp", json!([soon]), Fault::Time),
        ("exp", json!(u64::MAX), Fault::Time),
        ("exp", json!(soon * 1000), Fault::Time),
        ("exp", json!(NOW_SECONDS - 30), Fault::Expired),
        ("exp", json!(0), Fault::Expired),
        ("nbf", json!(NOW_SECONDS + 31), Fault::TooEarly),
        ("nbf", json!(1.5), Fault::Time),
        ("nbf", json!("x"), Fault::Time),
        ("iat", json!(NOW_SECONDS + 31), Fault::TooEarly),
        ("iat", json!(NOW_SECONDS as f64), Fault::Time),
        ("aud", json!(null), Fault::Audience),
        ("aud", json!("Restante"), Fault::Audience),
        ("aud", json!("restante "), Fault::Audience),
        ("aud", json!([]), Fault::Audience),
        ("aud", json!(["other"]), Fault::Audience),
        ("aud", json!(["restante", 1]), Fault::Audience),
        ("aud", json!({"restante": true}), Fault::Audience),
        ("iss", json!(null), Fault::Issuer),
        ("iss", json!("https://login.example/"), Fault::Issuer),
        ("iss", json!([ISSUER]), Fault::Issuer),
        ("sub", json!(null), Fault::User),
        ("sub", json!(""), Fault::User),
        ("sub", json!(7), Fault::User),
        ("sub", json!("a\u{0}b"), Fault::User),
        ("sub", json!("x".repeat(257)), Fault::User),
        ("roles", json!({"shop": true}), Fault::Roles),
        ("roles", json!([["shop"]]), Fault::Roles),
        ("roles", json!([{"name": "shop"}]), Fault::Roles),
        ("roles", json!(["shop", null]), Fault::Roles),
        ("roles", json!(7), Fault::Roles),
        ("roles", json!(vec!["x"; 257]), Fault::Roles),
    ] {
        let shown = format!("{claim}: {value}");
        assert_eq!(
            with_claims(|_| {}, &but(claim, value)).err(),
            Some(fault),
            "{shown}"
        );
    }
    for (claim, value) in [
        ("exp", json!(NOW_SECONDS - 29)),
        ("nbf", json!(NOW_SECONDS + 30)),
        ("nbf", json!(null)),
        ("iat", json!(null)),
        ("aud", json!(["other", "restante"])),
        ("sub", json!("auth0|1:2")),
        ("roles", json!(null)),
        ("more", json!({"deep": [1]})),
    ] {
        let shown = format!("{claim}: {value}");
        assert!(with_claims(|_| {}, &but(claim, value)).is_ok(), "{shown}");
    }
}

#[test]
fn every_way_a_header_can_be_wrong() {
    let folder = Folder::new();
    let issuers = issuers(folder.secret());
    let verify = |header: &str| {
        let token = signed(header, &claims().to_string(), &secret_key(), "HS256");
        issuers.verify(&token, NOW).err()
    };
    for (header, fault) in [
        (json!({"alg": "none"}), Fault::Algorithm),
        (json!({"alg": "None"}), Fault::Algorithm),
        (json!({"alg": "HS384"}), Fault::Algorithm),
        (json!({"alg": "RS256"}), Fault::Algorithm),
        (json!({"alg": "hs256"}), Fault::Algorithm),
        (json!({"alg": "ES512"}), Fault::Algorithm),
        (json!({}), Fault::Form),
        (json!({"alg": null}), Fault::Form),
        (json!({"alg": ["HS256"]}), Fault::Form),
        (json!(["HS256"]), Fault::Form),
        (
            json!({"alg": "HS256", "crit": ["exp"], "exp": 1}),
            Fault::Header,
        ),
        (json!({"alg": "HS256", "crit": []}), Fault::Header),
        (json!({"alg": "HS256", "typ": "logout+jwt"}), Fault::Header),
        (json!({"alg": "HS256", "typ": "JWE"}), Fault::Header),
        (json!({"alg": "HS256", "kid": "k".repeat(257)}), Fault::Key),
        (json!({"alg": "HS256", "kid": 7}), Fault::Form),
    ] {
        assert_eq!(verify(&header.to_string()), Some(fault), "{header}");
    }
    assert_eq!(
        verify(r#"{"alg":"HS256","alg":"HS256"}"#),
        Some(Fault::Form)
    );
    assert_eq!(verify("not JSON"), Some(Fault::Form));
    assert_eq!(verify(&"[".repeat(4000)), Some(Fault::Form));
    for header in [
        json!({"alg": "HS256"}),
        json!({"alg": "HS256", "typ": "jwt", "kid": "any", "jku": "https://evil.example", "x": 1}),
        json!({"alg": "HS256", "typ": "at+jwt"}),
    ] {
        assert_eq!(verify(&header.to_string()), None, "{header}");
    }
}

#[test]
fn every_way_a_text_can_be_no_token() {
    let folder = Folder::new();
    let issuers = issuers(folder.secret());
    let header = json!({"alg": "HS256"});
    let good = token(&header, &claims(), &secret_key(), "HS256");
    let (message, signature) = good.rsplit_once('.').unwrap();
    assert!(issuers.verify(&good, NOW).is_ok());
    for (text, fault) in [
        (String::new(), Fault::Form),
        ("..".to_owned(), Fault::Form),
        (message.to_owned(), Fault::Form),
        (format!("{good}.x"), Fault::Form),
        (format!("x.{good}"), Fault::Form),
        (format!("{message}."), Fault::Signature),
        (format!("{good}="), Fault::Signature),
        (
            format!("{message}.{}", signature.to_lowercase()),
            Fault::Signature,
        ),
        (format!("{message}.{}", &signature[1..]), Fault::Signature),
        (good.replacen('.', "=.", 1), Fault::Form),
        (good.replacen("ey", "e y", 1), Fault::Form),
    ] {
        assert_eq!(issuers.verify(&text, NOW).err(), Some(fault), "{text}");
    }
    let other = EncodingKey::from_secret(SECRET.replace('a', "b").as_bytes());
    let forged = token(&header, &claims(), &other, "HS256");
    assert_eq!(issuers.verify(&forged, NOW).err(), Some(Fault::Signature));
    // Other claims under the same signature.
    let (head, _) = message.split_once('.').unwrap();
    let swapped = format!(
        "{head}.{}.{signature}",
        base64(but("sub", json!("eve")).to_string())
    );
    assert_eq!(issuers.verify(&swapped, NOW).err(), Some(Fault::Signature));
}

#[test]
fn a_public_key_is_never_a_shared_secret() {
    let folder = Folder::new();
    let issuers = issuers(folder.rsa());
    let rsa = EncodingKey::from_rsa_der(RSA_PRIVATE);
    let good = token(&json!({"alg": "RS256"}), &claims(), &rsa, "RS256");
    assert!(issuers.verify(&good, NOW).is_ok());
    for secret in [RSA_PUBLIC, RSA_PUBLIC.trim()] {
        let with = EncodingKey::from_secret(secret.as_bytes());
        let forged = token(&json!({"alg": "HS256"}), &claims(), &with, "HS256");
        assert_eq!(issuers.verify(&forged, NOW).err(), Some(Fault::Algorithm));
        let lying = token(&json!({"alg": "RS256"}), &claims(), &with, "HS256");
        assert_eq!(issuers.verify(&lying, NOW).err(), Some(Fault::Signature));
    }
    // The configuration that would ask for it is refused as well.
    let mixed = settings(&["RS256", "HS256"], folder.rsa().keys);
    assert!(matches!(
        Issuers::load(&[mixed]),
        Err(IssuerError::Keys { .. })
    ));
    let pem = KeySource::Secret(folder.file("pem", RSA_PUBLIC));
    assert!(Issuers::load(&[settings(&["HS256"], pem)]).is_err());
}

#[test]
fn roles_are_read_where_they_are() {
    let deep = json!({"realm_access": {"roles": ["shop", "admin"]}});
    let mut all = claims();
    all.as_object_mut()
        .unwrap()
        .extend(deep.as_object().unwrap().clone());
    let at = |path: &'static str, claims: &Value| {
        roles(with_claims(|it| it.roles_claim = path.to_owned(), claims))
    };
    assert_eq!(at("realm_access.roles", &all).unwrap(), ["shop"]);
    assert_eq!(at("realm_access.nothing", &all), Ok(Vec::new()));
    assert_eq!(at("nothing.at.all", &all), Ok(Vec::new()));
    assert_eq!(at("realm_access", &all), Err(Fault::Roles));
    assert_eq!(at("realm_access.roles.deeper", &all), Err(Fault::Roles));
    let dotted = but("https://a.example/roles", json!("a b"));
    assert_eq!(at("https://a.example/roles", &dotted).unwrap(), ["a", "b"]);
    let prefixed = but(
        "roles",
        json!([
            "app-shop",
            "shop",
            "app-",
            "app-app-x",
            "app-admin",
            "app-*"
        ]),
    );
    let ours = with_claims(|it| it.roles_prefix = "app-".to_owned(), &prefixed);
    assert_eq!(roles(ours).unwrap(), ["shop", "app-x"]);
    assert_eq!(
        at("roles", &but("roles", json!(["*", "a:b", "", "ok"]))).unwrap(),
        ["ok"]
    );
}

#[test]
fn the_role_admin_needs_the_configurations_leave() {
    let claims = but("roles", json!(["admin", "shop"]));
    assert_eq!(roles(with_claims(|_| {}, &claims)).unwrap(), ["shop"]);
    let allowed = with_claims(|it| it.allow_admin = true, &claims);
    assert_eq!(roles(allowed).unwrap(), ["admin", "shop"]);
}

#[test]
fn users_of_two_issuers_have_different_names() {
    let folder = Folder::new();
    let two = |one: &str, other: &str| {
        let mut first = folder.secret();
        let mut second = folder.secret();
        first.user_prefix = one.to_owned();
        second.user_prefix = other.to_owned();
        second.issuer = "https://other.example".to_owned();
        Issuers::load(&[first, second])
    };
    for (one, other) in [("", ""), ("a-", ""), ("", "a-"), ("a", "ab"), ("x", "x")] {
        assert!(
            matches!(two(one, other), Err(IssuerError::SameUsers { .. })),
            "{one} {other}"
        );
    }
    let issuers = two("a/", "b/").unwrap();
    let header = json!({"alg": "HS256"});
    let name = |iss: &str| {
        let token = token(&header, &but("iss", json!(iss)), &secret_key(), "HS256");
        issuers.verify(&token, NOW).unwrap().name.to_string()
    };
    assert_eq!(name(ISSUER), "jwt:a/ada");
    assert_eq!(name("https://other.example"), "jwt:b/ada");
    let same = [folder.secret(), folder.secret()];
    assert!(matches!(
        Issuers::load(&same),
        Err(IssuerError::Twice { .. })
    ));
}

/// An issuer with a JWKS of P-256 keys by these ids.
struct Published {
    folder: Folder,
    issuers: Issuers,
}

fn set(keys: &[(&str, &KeyPair)]) -> String {
    let keys: Vec<Value> = keys
        .iter()
        .map(|(kid, pair)| jwk("ES256", kid, pair))
        .collect();
    json!({ "keys": keys }).to_string()
}

fn pair() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

impl Published {
    fn new(jwks: &str) -> Published {
        let folder = Folder::new();
        let file = folder.file("jwks.json", jwks);
        let issuers = issuers(settings(&["ES256", "RS256"], KeySource::Jwks(file)));
        Published { folder, issuers }
    }

    /// Puts another file in its place, as a deploy would.
    fn replace(&self, jwks: &str) {
        let new = self.folder.file("new", jwks);
        fs::rename(new, self.folder.0.path().join("jwks.json")).unwrap();
        self.issuers.0[0].keys.look_now();
    }

    fn verify(&self, kid: Option<&str>, pair: &KeyPair) -> Option<Fault> {
        let header = match kid {
            Some(kid) => json!({"alg": "ES256", "kid": kid}),
            None => json!({"alg": "ES256"}),
        };
        let key = EncodingKey::from_ec_der(&pair.serialize_der());
        let token = token(&header, &claims(), &key, "ES256");
        self.issuers.verify(&token, NOW).err()
    }
}

#[test]
fn a_key_is_found_by_its_id() {
    let (one, other) = (pair(), pair());
    let two = Published::new(&set(&[("one", &one), ("two", &other)]));
    assert_eq!(two.verify(Some("one"), &one), None);
    assert_eq!(two.verify(Some("two"), &other), None);
    assert_eq!(two.verify(Some("two"), &one), Some(Fault::Signature));
    assert_eq!(two.verify(Some("three"), &one), Some(Fault::Key));
    assert_eq!(two.verify(Some(""), &one), Some(Fault::Key));
    assert_eq!(
        two.verify(None, &one),
        Some(Fault::Key),
        "which of the two?"
    );
    let alone = Published::new(&set(&[("one", &one)]));
    assert_eq!(alone.verify(None, &one), None);
    assert_eq!(alone.verify(Some("x"), &one), Some(Fault::Key));
    // A key is for the algorithm that its set says.
    let mut other_use = jwk("ES256", "one", &one);
    other_use["alg"] = json!("ES384");
    let fine = jwk("ES256", "two", &other);
    let set = json!({ "keys": [other_use, fine] }).to_string();
    assert_eq!(
        Published::new(&set).verify(Some("one"), &one),
        Some(Fault::Key)
    );
}

#[test]
fn keys_are_read_again_when_their_file_changes() {
    let (old, new) = (pair(), pair());
    let published = Published::new(&set(&[("old", &old)]));
    assert_eq!(published.verify(Some("new"), &new), Some(Fault::Key));
    published.replace(&set(&[("old", &old), ("new", &new)]));
    assert_eq!(published.verify(Some("new"), &new), None);
    assert_eq!(published.verify(Some("old"), &old), None);
    published.replace(&set(&[("new", &new)]));
    assert_eq!(published.verify(Some("old"), &old), Some(Fault::Key));
}

#[test]
fn a_broken_file_leaves_the_keys_as_they_are() {
    let (old, new) = (pair(), pair());
    let published = Published::new(&set(&[("old", &old)]));
    for broken in ["", "{", "{}", r#"{"keys":[]}"#, &"x".repeat((1 << 20) + 1)] {
        published.replace(broken);
        assert_eq!(published.verify(Some("old"), &old), None);
    }
    fs::remove_file(published.folder.0.path().join("jwks.json")).unwrap();
    published.issuers.0[0].keys.look_now();
    assert_eq!(published.verify(Some("old"), &old), None);
    published.replace(&set(&[("new", &new)]));
    assert_eq!(published.verify(Some("new"), &new), None, "and recovers");
    assert_eq!(published.verify(Some("old"), &old), Some(Fault::Key));
}

/// What is said of a file that cannot be used.
fn complaint(algorithms: &[&str], keys: KeySource) -> String {
    let error = Issuers::load(&[settings(algorithms, keys)]).err();
    let error = error.unwrap_or_else(|| panic!("it is taken"));
    let source = std::error::Error::source(&error).map(ToString::to_string);
    assert!(error.to_string().contains(ISSUER), "{error}");
    let source = source.unwrap_or_default();
    let shown = format!("{error:?} {error} {source}");
    for secret in [SECRET, &base64(SECRET), "AQAB", "BEGIN RSA"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    source
}

#[test]
fn keys_that_are_not_good_enough_are_refused_at_the_start() {
    let folder = Folder::new();
    let at = |path: &Path| path.to_owned();
    let file = |text: &str| folder.file("k", text);
    let says = |found: String, what: &str| assert!(found.ends_with(what), "{found}");
    let missing = KeySource::Jwks(at(Path::new("/nowhere/jwks.json")));
    says(complaint(&["RS256"], missing), "cannot be read");
    let short = KeySource::Secret(file("short"));
    assert!(complaint(&["HS256"], short).contains("too short"));
    let of_32 = KeySource::Secret(file(&"x".repeat(32)));
    assert!(complaint(&["HS256", "HS512"], of_32).contains("too short"));
    let weak = KeySource::PublicKey(file(RSA_WEAK));
    assert!(complaint(&["RS256"], weak).contains("2048"));
    let no_pem = KeySource::PublicKey(file("x"));
    assert!(complaint(&["RS256"], no_pem).contains("PEM"));
    let private = pair().serialize_pem();
    assert!(complaint(&["ES256"], KeySource::PublicKey(file(&private))).contains("PEM"));
    let other_kind = KeySource::PublicKey(file(RSA_PUBLIC));
    says(
        complaint(&["ES256"], other_kind),
        "has no key of the kind that the algorithms need",
    );
    let p256 = KeySource::PublicKey(file(&pair().public_key_pem()));
    says(
        complaint(&["ES384"], p256),
        "has no key of the kind that the algorithms need",
    );
    let jwks = |keys: Value| {
        let source = KeySource::Jwks(file(&json!({ "keys": keys }).to_string()));
        complaint(&["ES256", "EdDSA", "RS256"], source)
    };
    let none = "has no key of the kind that the algorithms need";
    let broken = "has a key that is broken";
    says(jwks(json!([])), none);
    says(jwks(json!([{"kty": "oct", "k": base64(SECRET)}])), none);
    says(
        jwks(json!([{"kty": "EC", "crv": "P-521", "x": "", "y": ""}])),
        none,
    );
    says(
        jwks(json!([{"kty": "RSA", "use": "enc", "n": "AQ", "e": "AQAB"}])),
        none,
    );
    says(
        jwks(json!([{"kty": "OKP", "crv": "Ed25519", "x": "AQAB"}])),
        broken,
    );
    says(
        jwks(json!([{"kty": "EC", "crv": "P-256", "x": "AQAB", "y": "AQAB"}])),
        broken,
    );
    let nowhere = base64([1; 32]);
    says(
        jwks(json!([{"kty": "EC", "crv": "P-256", "x": nowhere, "y": nowhere}])),
        broken,
    );
    says(jwks(json!([{"kty": "EC", "crv": "P-256"}])), broken);
    says(jwks(json!([{"kty": 1}])), broken);
    assert!(jwks(json!([{"kty": "RSA", "n": base64([255; 128]), "e": "AQAB"}])).contains("2048"));
    let key = jwk("ES256", "one", &pair());
    says(jwks(json!([key.clone(), key])), "has two keys of one id");
}

#[test]
fn a_published_rsa_key_works() {
    use x509_parser::prelude::FromDer;
    let pem = rustls_pki_types::pem::PemObject::from_pem_slice(RSA_PUBLIC.as_bytes());
    let der: rustls_pki_types::SubjectPublicKeyInfoDer<'_> = pem.unwrap();
    let (_, info) = x509_parser::prelude::SubjectPublicKeyInfo::from_der(&der).unwrap();
    let Ok(x509_parser::public_key::PublicKey::RSA(rsa)) = info.parsed() else {
        panic!("it is RSA");
    };
    let n = base64(rsa.modulus.strip_prefix(&[0]).unwrap_or(rsa.modulus));
    let key = json!({"kty": "RSA", "kid": "r", "alg": "RS256", "n": n, "e": base64(rsa.exponent)});
    let published = Published::new(&json!({ "keys": [key] }).to_string());
    let private = EncodingKey::from_rsa_der(RSA_PRIVATE);
    let token = token(
        &json!({"alg": "RS256", "kid": "r"}),
        &claims(),
        &private,
        "RS256",
    );
    assert!(published.issuers.verify(&token, NOW).is_ok());
}

/// An issuer whose key is in `folder`, and what signs a token of it for a user for the next ten minutes.
pub(in crate::access) fn an_issuer(folder: &Path) -> (IssuerSettings, impl Fn(&str) -> String) {
    let file = folder.join("secret");
    fs::write(&file, SECRET).unwrap();
    let sign = |user: &str| {
        let now = crate::broker::now().get() / 1000;
        let claims = json!({"iss": ISSUER, "aud": "restante", "sub": user, "exp": now + 600});
        token(&json!({"alg": "HS256"}), &claims, &secret_key(), "HS256")
    };
    (settings(&["HS256"], KeySource::Secret(file)), sign)
}
