//! The RFC's example, and what the grammar does not allow; and a client for all other tests.

use super::*;

/// A client of SCRAM that knows a password.
pub(crate) struct Client {
    pub(crate) password: String,
    first_bare: String,
    gs2_header: &'static str,
}

impl Client {
    pub(crate) fn new(user: &str, password: &str) -> Client {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        Client {
            password: password.to_owned(),
            first_bare: format!("n={user},r=client-nonce"),
            gs2_header: "n,,",
        }
    }

    pub(crate) fn first(&self) -> String {
        format!("{}{}", self.gs2_header, self.first_bare)
    }

    /// The last message, and what the server is to say then.
    pub(crate) fn last(&self, server_first: &str) -> (String, String) {
        let mut told = server_first.split(',');
        let mut next = |name: &str| told.next().unwrap().strip_prefix(name).unwrap();
        let (nonce, salt, iterations) = (next("r="), next("s="), next("i="));
        assert!(nonce.starts_with("client-nonce") && nonce.len() > "client-nonce".len() + 20);
        let password = prepared(&self.password);
        let salted = pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(
            password.as_bytes(),
            &STANDARD.decode(salt).unwrap(),
            iterations.parse().unwrap(),
        );
        let client_key = mac(&salted, b"Client Key");
        let bare = format!("c={},r={nonce}", STANDARD.encode(self.gs2_header));
        let signed = format!("{},{server_first},{bare}", self.first_bare);
        let signature = mac(&hash(&client_key), signed.as_bytes());
        let mut proof = client_key;
        for (byte, other) in proof.iter_mut().zip(signature) {
            *byte ^= other;
        }
        let server_key = mac(&salted, b"Server Key");
        let verified = STANDARD.encode(mac(&server_key, signed.as_bytes()));
        let last = format!("{bare},p={}", STANDARD.encode(proof));
        (last, format!("v={verified}"))
    }
}

const SERVER_NONCE: &str = "server-nonce-of-twenty-and-more";

/// An exchange with a client of that password, and the client's last message.
fn exchange(client: &Client, verifier: &Verifier) -> (Exchange, String, String) {
    let first = ClientFirst::read(client.first().as_bytes()).unwrap();
    let (exchange, told) = Exchange::begin(first, verifier.clone(), SERVER_NONCE);
    let (last, expected) = client.last(&told);
    (exchange, last, expected)
}

fn verifier() -> Verifier {
    Verifier::with("correct horse", b"0123456789abcdef", 4096)
}

#[test]
fn the_example_of_rfc_7677_is_ours() {
    let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    let verifier = Verifier::with("pencil", &salt, 4096);
    let first = ClientFirst::read(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO").unwrap();
    assert_eq!(first.user, "user");
    let (exchange, told) = Exchange::begin(first, verifier, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0");
    assert_eq!(
        told,
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    );
    let last = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    assert_eq!(
        exchange.finish(last.as_bytes()).unwrap(),
        "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    );
}

#[test]
fn who_knows_the_password_is_let_in_and_nobody_else() {
    let (exchange_, last, expected) = exchange(&Client::new("ada", "correct horse"), &verifier());
    assert_eq!(exchange_.user(), "ada");
    assert_eq!(exchange_.finish(last.as_bytes()), Ok(expected));
    let (exchange, last, _) = exchange(&Client::new("ada", "wrong horse"), &verifier());
    assert_eq!(exchange.finish(last.as_bytes()), Err(ScramError::Proof));
}

#[test]
fn a_client_that_could_bind_the_channel_is_let_in_without() {
    let mut client = Client::new("ada", "correct horse");
    client.gs2_header = "y,,";
    let (exchange_, last, expected) = exchange(&client, &verifier());
    assert_eq!(exchange_.finish(last.as_bytes()), Ok(expected));
    // It must say the same at both times, or somebody between has changed it.
    let changed = last.replace(&STANDARD.encode("y,,"), &STANDARD.encode("n,,"));
    let changed = exchange_.finish(changed.as_bytes());
    assert_eq!(changed, Err(ScramError::Mismatch));
}

#[test]
fn names_may_have_commas_and_equals_signs() {
    for (name, user) in [
        ("ada", "ada"),
        ("a=2Cb=3Dc", "a,b=c"),
        ("eu:ada", "eu:ada"),
        ("=3D2C", "=2C"),
        ("ädä", "ädä"),
    ] {
        let first = ClientFirst::read(format!("n,,n={name},r=x").as_bytes()).unwrap();
        assert_eq!(first.user, user);
    }
    assert!(ClientFirst::read(b"n,a=a=2Cb,n=a=2Cb,r=x,e=ignored").is_ok());
}

#[test]
fn what_is_out_of_order_is_refused() {
    use ScramError::{Authzid, ChannelBinding, Extension, Malformed, Mismatch, Proof};
    let long_name = format!("n,,n={},r=x", "a".repeat(257));
    let long_nonce = format!("n,,n=ada,r={}", "x".repeat(513));
    let long = format!("n,,n=ada,r=x,e={}", "x".repeat(2048));
    for (message, error) in [
        (&b""[..], Malformed),
        (b"n", Malformed),
        (b"n,,", Malformed),
        (b"n,n=ada,r=x", Malformed),
        (b"x,,n=ada,r=x", Malformed),
        (b"N,,n=ada,r=x", Malformed),
        (b",,n=ada,r=x", Malformed),
        (b"p=tls-exporter,,n=ada,r=x", ChannelBinding),
        (b"p,,n=ada,r=x", Malformed),
        (b"n,a=bob,n=ada,r=x", Authzid),
        (b"n,a=,n=ada,r=x", Malformed),
        (b"n,ada,n=ada,r=x", Malformed),
        (b"n,,m=ext,n=ada,r=x", Extension),
        (b"n,,n=ada,m=ext,r=x", Extension),
        (b"n,,n=ada,r=x,m=ext", Extension),
        (b"n,,r=x,n=ada", Malformed),
        (b"n,,n=ada", Malformed),
        (b"n,,n=ada,r=", Malformed),
        (b"n,,n=ada,r=a b", Malformed),
        (b"n,,n=ada,r=x,", Malformed),
        (b"n,,n=ada,r=x,1=y", Malformed),
        (b"n,,n=,r=x", Malformed),
        (b"n,,n=a=b,r=x", Malformed),
        (b"n,,n=a=2c,r=x", Malformed),
        (b"n,,n=a=,r=x", Malformed),
        (b"n,,n=a\0,r=x", Malformed),
        (b"n,,n=a\nb,r=x", Malformed),
        (b"n,,n=a\xFF,r=x", Malformed),
        (long_name.as_bytes(), Malformed),
        (long_nonce.as_bytes(), Malformed),
        (long.as_bytes(), Malformed),
    ] {
        let shown = String::from_utf8_lossy(message);
        assert_eq!(ClientFirst::read(message), Err(error), "{shown}");
    }

    let (exchange, last, _) = exchange(&Client::new("ada", "correct horse"), &verifier());
    let changed = |from: &str, to: &str| {
        assert!(last.contains(from), "{last}");
        last.replacen(from, to, 1)
    };
    let proof = last.rsplit_once("p=").unwrap().1;
    let other_proof = STANDARD.encode([7; 32]);
    for (message, error) in [
        (String::new(), Malformed),
        (changed("c=", "C="), Malformed),
        (changed("c=biws,", ""), Malformed),
        (changed("c=biws", "c=eSws"), Mismatch),
        (changed("c=biws", "c=!"), Mismatch),
        (changed("c=biws", "m=x,c=biws"), Extension),
        (changed(",p=", ",m=x,p="), Extension),
        (changed(SERVER_NONCE, ""), Mismatch),
        (changed("client-nonce", "another-nonce"), Mismatch),
        (changed("server-nonce", "Server-nonce"), Mismatch),
        (changed(",p=", ","), Malformed),
        (changed(proof, ""), Malformed),
        (changed(proof, &proof[1..]), Malformed),
        (changed(proof, proof.trim_end_matches('=')), Malformed),
        (changed(proof, &STANDARD.encode([7; 31])), Malformed),
        (changed(proof, &STANDARD.encode([7; 33])), Malformed),
        (changed(proof, "!!!!"), Malformed),
        (changed(proof, &other_proof), Proof),
        (format!("{last},x=y"), Malformed),
        // An extension that may be ignored is signed: nobody puts one in on the way.
        (changed(",p=", ",x=y,p="), Proof),
        ("x".repeat(5000), Malformed),
    ] {
        let refused = exchange.finish(message.as_bytes());
        assert_eq!(refused, Err(error), "{message}");
    }
    assert_eq!(exchange.finish(b"\xFF\xFE"), Err(Malformed));
    assert!(exchange.finish(last.as_bytes()).is_ok(), "as it was");
}

#[test]
fn verifiers_are_stored_as_text() {
    let made = Verifier::new("correct horse").unwrap();
    let text = made.to_text();
    assert!(text.starts_with("SCRAM-SHA-256$15000:"), "{text}");
    assert!(Verifier::from_text(&text).as_ref() == Ok(&made));
    assert!(Verifier::new("correct horse").unwrap() != made);
    // As PostgreSQL has it for `pencil` and the RFC's salt.
    let known = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:\
                 wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
    let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    assert_eq!(Verifier::with("pencil", &salt, 4096).to_text(), known);
    let with = |from: &str, to: &str| known.replace(from, to);
    for bad in [
        String::new(),
        "plain".to_owned(),
        with("SHA-256", "SHA-1"),
        with("$4096", "$"),
        with("4096", "x"),
        with("4096", "+4096"),
        with("4096", "04096"),
        with("4096", "99999999999"),
        with("W22ZaJ0SNY7soEsUEjb6gQ==", "W22Z"),
        with("W22ZaJ0SNY7soEsUEjb6gQ==", "!"),
        with("W22ZaJ0SNY7soEsUEjb6gQ==", &"QUJD".repeat(22)),
        with("WG5d", ""),
        with("wfPL", ""),
        format!("{known}A"),
        format!("{known}:"),
    ] {
        let refused = Verifier::from_text(&bad).err();
        assert_eq!(refused, Some(VerifierError::Form), "{bad}");
    }
    for bad in [with("4096", "4095"), with("4096", "1000001")] {
        let refused = Verifier::from_text(&bad).err();
        assert_eq!(refused, Some(VerifierError::Iterations), "{bad}");
    }
}

#[test]
fn passwords_are_prepared_as_clients_prepare_them() {
    let of = |password: &str| Verifier::with(password, b"0123456789abcdef", 4096);
    // RFC 4013 §3: mapped to nothing, and normalized.
    assert!(of("I\u{AD}X") == of("IX") && of("\u{2168}") == of("IX"));
    assert!(of("a\u{A0}b") == of("a b"));
    assert!(of("user") != of("USER"));
    // What it does not allow is taken as it is.
    for odd in ["\u{1F600} horse", "\u{627}1", "\u{AD}"] {
        assert!(of(odd) == of(odd) && of(odd) != of(""), "{odd}");
    }
}

#[test]
fn a_made_up_verifier_lets_nobody_in_and_looks_like_any_other() {
    let made_up = |user: &str| Verifier::made_up(b"a key of this process", user);
    assert!(made_up("eve") == made_up("eve") && made_up("eve") != made_up("mallory"));
    assert!(made_up("eve") != Verifier::made_up(b"another", "eve"));
    let (real, fake) = (Verifier::new("correct horse").unwrap(), made_up("eve"));
    let shape = |it: &Verifier| (it.salt.len(), it.iterations);
    assert_eq!(shape(&real), shape(&fake));
    for password in ["", "eve", "correct horse"] {
        let (exchange, last, _) = exchange(&Client::new("eve", password), &fake);
        assert_eq!(exchange.finish(last.as_bytes()), Err(ScramError::Proof));
    }
}

#[test]
fn no_debug_output_shows_a_verifier() {
    let verifier = verifier();
    let shown = format!("{verifier:?} {:?}", Verifier::from_text("canary").err());
    let text = verifier.to_text();
    let (_, secret) = text.split_once(':').unwrap();
    assert!(!shown.contains(secret) && !shown.contains("canary"));
    let (exchange, _, _) = exchange(&Client::new("ada", "x"), &verifier);
    let shown = format!("{exchange:?}");
    for key in verifier.keys.to_text().split(':') {
        let bytes = STANDARD.decode(key).unwrap();
        assert!(!shown.contains(&format!("{bytes:?}")) && !shown.contains(key));
    }
}
