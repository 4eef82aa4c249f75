//! What the header promises.

use super::*;

const HASH: &str = hash::NOBODY;

fn store() -> (tempfile::TempDir, CredentialStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = CredentialStore::empty(folder.path());
    (folder, store)
}

fn roles(roles: &[&str]) -> Vec<String> {
    roles.iter().map(|role| (*role).to_owned()).collect()
}

#[test]
fn a_change_survives_a_restart() {
    let (folder, store) = store();
    store
        .put_user(
            "ada",
            Some(&Secret::new("correct horse")),
            &roles(&["shop"]),
            false,
        )
        .unwrap();
    let token = store.issue_key("backup", &roles(&["reader"])).unwrap();
    store.disable_key("backup", true).unwrap();
    let again = CredentialStore::open(folder.path()).unwrap().unwrap();
    assert_eq!((again.users(), again.keys()), (store.users(), store.keys()));
    assert_eq!(
        again.snapshot().key(token.expose()).unwrap().label,
        "backup"
    );
    assert!(
        again
            .snapshot()
            .key(&format!("{}x", token.expose()))
            .is_none()
    );
    let file = std::fs::read_to_string(folder.path().join(CREDENTIALS_FILE)).unwrap();
    assert!(!file.contains("correct horse") && !file.contains(token.expose()));
}

#[test]
fn users_are_changed_and_removed() {
    let (_folder, store) = store();
    assert!(matches!(
        store.put_user("ada", None, &[], false),
        Err(StoreError::NoPassword)
    ));
    assert!(matches!(
        store.put_user("ada", Some(&Secret::new("short")), &[], false),
        Err(StoreError::Password)
    ));
    assert!(matches!(
        store.put_user("a:b", Some(&Secret::new("long enough")), &[], false),
        Err(StoreError::Name)
    ));
    store
        .put_user("ada", Some(&Secret::new("long enough")), &[], false)
        .unwrap();
    let hash = store.snapshot().user("ada").unwrap().password_hash.clone();
    store.put_user("ada", None, &roles(&["x"]), true).unwrap();
    assert_eq!(store.snapshot().user("ada").unwrap().password_hash, hash);
    assert_eq!(
        store.users(),
        [UserSummary {
            name: "ada".to_owned(),
            roles: roles(&["x"]),
            disabled: true
        }]
    );
    assert!(store.remove_user("ada").unwrap() && !store.remove_user("ada").unwrap());
}

#[test]
fn a_new_key_takes_the_place_of_the_one_with_its_label() {
    let (_folder, store) = store();
    let old = store.issue_key("cli", &[]).unwrap();
    let new = store.issue_key("cli", &[]).unwrap();
    assert_eq!(store.label_is("cli", old.expose()), Some(false));
    assert_eq!(store.label_is("cli", new.expose()), Some(true));
    assert_eq!(store.keys().len(), 1);
    assert!(store.revoke_key("cli").unwrap() && store.keys().is_empty());
}

#[test]
fn a_broken_file_is_refused() {
    let user = |name: &str, hash: &str| {
        format!(r#"{{"name":"{name}","password_hash":"{hash}","roles":[],"disabled":false}}"#)
    };
    let key = |id: &str, label: &str| {
        format!(
            r#"{{"id":"{id}","label":"{label}","hash":"{}","roles":[],"disabled":false}}"#,
            "0".repeat(64)
        )
    };
    let file =
        |users: &str, keys: &str| format!(r#"{{"format":1,"users":[{users}],"keys":[{keys}]}}"#);
    assert!(parse(file(&user("a", HASH), &key("i", "l")).as_bytes()).is_ok());
    for text in [
        String::new(),
        "{}".to_owned(),
        file("", "").replace(":1", ":2"),
        file("", "").replace('}', r#","more":1}"#),
        file("", "") + "x",
        file(&user("a", "canary"), ""),
        file(&user("", HASH), ""),
        file(&user("a:b", HASH), ""),
        file(&format!("{},{}", user("a", HASH), user("a", HASH)), ""),
        file("", &format!("{},{}", key("i", "l"), key("i", "m"))),
        file("", &format!("{},{}", key("i", "l"), key("j", "l"))),
        file("", &key("i_j", "l")),
        file("", &key("i", "l").replace("00", "0")),
        file(r#"{"canary":1}"#, ""),
    ] {
        let what = parse(text.as_bytes())
            .err()
            .unwrap_or_else(|| panic!("{text}"));
        assert!(!what.contains("canary"), "{what}");
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(CREDENTIALS_FILE), "{").unwrap();
    assert!(matches!(
        CredentialStore::open(folder.path()),
        Err(StoreError::Broken { .. })
    ));
}
