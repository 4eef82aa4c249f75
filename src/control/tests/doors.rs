//! The matrix of access, through the admin API's own door.

use super::*;
use crate::access::matrix::{Door, run};
use crate::access::testing;
use crate::access::{Identity, Principal};

struct Api {
    runtime: tokio::runtime::Runtime,
    house: House,
}

impl Door for Api {
    fn verbs(&self) -> Vec<Verb> {
        vec![Verb::Send, Verb::Browse, Verb::Manage]
    }

    fn set(&mut self, documents: &testing::House) {
        let broker = &self.house.control.broker;
        let present = broker.registry();
        let gone = present.of_kind(DocumentKind::Rule);
        let mut changes: Vec<_> = gone.map(|it| (it.id.clone(), None)).collect();
        let wanted = documents.registry.documents.values();
        changes.extend(wanted.map(|it| (it.id.clone(), Some(it.document.clone()))));
        let change = Change {
            as_of: present.revision,
            documents: changes,
            ..Change::default()
        };
        self.runtime.block_on(broker.change(change)).unwrap();
    }

    fn attempt(&mut self, who: &Principal, verb: Verb, realm: &str, address: &str) -> bool {
        // As the matrix has it, whether or not there is a document of it.
        let caller = self.house.caller(Principal {
            identity: Identity::Broker,
            ..who.clone()
        });
        let control = &self.house.control;
        let realm = realm.to_owned();
        let tried = match verb {
            Verb::Send => {
                let sent = control.publish(&caller, realm, message(address), DRY);
                self.runtime.block_on(sent).map(drop)
            }
            Verb::Browse => {
                let all = Selection::default();
                let browsed = control.browse(&caller, realm, address.to_owned(), all, 1, 1);
                self.runtime.block_on(browsed).map(drop)
            }
            _ => {
                let gone = control.remove_queue(&caller, realm, address.to_owned(), DRY);
                self.runtime.block_on(gone).map(drop)
            }
        };
        match tried {
            Err(ControlError::Denied { .. }) => false,
            Ok(()) | Err(ControlError::NotFound { .. }) => true,
            Err(other) => panic!("{verb:?} {address}: {other:?}"),
        }
    }
}

#[test]
fn callers_of_the_api_keep_to_the_matrix() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let house = house();
    let other = Document::Realm(crate::registry::Realm::default());
    let put = house.put(id(DocumentKind::Realm, "other"), other);
    runtime.block_on(put).unwrap();
    let (asked, through) = run(&mut Api { runtime, house });
    assert!(asked > 10_000, "{asked}");
    assert!(
        through > asked / 10 && through < asked / 2,
        "{through} of {asked}"
    );
}
