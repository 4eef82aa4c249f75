//! A broker that is what the test wants, and the admin API in front of it.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use restante_admin_api::{
    Admin, AuthError, BoxFuture, Check, Control, Health, Options, Policy, QueueInfo, serve,
};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use crate::client::{Answer, Client, within};
use crate::log;

/// Who may read, for [`Fake::authenticate`].
pub(crate) const READER: &str = "authorization: Basic reader";

pub(crate) struct Fake {
    pub(crate) health: Mutex<Health>,
    pub(crate) queues: Mutex<Vec<QueueInfo>>,
    /// `queues` waits for one of these.
    pub(crate) gate: Semaphore,
    /// Has a permit for each call of `queues` that came to the gate.
    pub(crate) at_gate: Semaphore,
    pub(crate) n_authenticated: AtomicUsize,
}

impl Fake {
    pub(crate) fn new() -> Arc<Fake> {
        let check = |name| Check {
            name,
            ok: true,
            text: format!("{name} is fine"),
        };
        Arc::new(Fake {
            health: Mutex::new(Health {
                live: true,
                ready: ["recovered", "log", "disk"].map(check).into(),
            }),
            queues: Mutex::default(),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
            at_gate: Semaphore::new(0),
            n_authenticated: AtomicUsize::new(0),
        })
    }

    pub(crate) fn with_queues(names: &[(&str, &str)]) -> Arc<Fake> {
        let fake = Fake::new();
        *fake.queues.lock().unwrap() = names.iter().copied().map(queue).collect();
        fake
    }

    /// One whose `queues` waits until `gate` has permits.
    pub(crate) fn gated() -> Arc<Fake> {
        let fake = Fake::new();
        fake.gate.forget_permits(Semaphore::MAX_PERMITS);
        fake
    }

    /// The name of a check that is not met.
    pub(crate) fn unready(name: &str) -> Arc<Fake> {
        let fake = Fake::new();
        for check in &mut fake.health.lock().unwrap().ready {
            check.ok = check.name != name;
        }
        fake
    }
}

fn queue((realm, name): (&str, &str)) -> QueueInfo {
    QueueInfo {
        realm: realm.into(),
        name: name.into(),
        durable: true,
        messages_ready: 3,
        messages_unsettled: 2,
        bytes: 1000,
        consumers: 1,
        next_offset: 7,
        oldest_timestamp: Some(1_700_000_000_000),
        policy: Policy {
            ttl_ms: Some(60_000),
            ..Policy::default()
        },
    }
}

impl Control for Fake {
    fn health(&self) -> Health {
        self.health.lock().unwrap().clone()
    }

    fn metrics(&self) -> String {
        "# TYPE up gauge\nup 1\n".into()
    }

    fn queues(&self) -> BoxFuture<'_, Vec<QueueInfo>> {
        Box::pin(async {
            self.at_gate.add_permits(1);
            self.gate.acquire().await.unwrap().forget();
            let queues = self.queues.lock().unwrap().clone();
            assert!(
                !queues.iter().any(|queue| queue.name == "panic"),
                "as the test wants"
            );
            queues
        })
    }

    fn authenticate<'a>(
        &'a self,
        authorization: &'a [u8],
        peer: IpAddr,
    ) -> BoxFuture<'a, Result<Admin, AuthError>> {
        assert!(peer.is_loopback());
        self.n_authenticated.fetch_add(1, Ordering::Relaxed);
        let admin = |name: &str, may_read| {
            Ok(Admin {
                name: name.into(),
                may_read,
            })
        };
        let outcome = match authorization {
            b"Basic reader" => admin("reader", true),
            b"Bearer nobody" => admin("nobody", false),
            b"Basic many" => Err(AuthError::TooMany {
                retry_after: Duration::from_millis(41_001),
            }),
            b"Basic busy" => Err(AuthError::Busy),
            _ => Err(AuthError::Refused),
        };
        Box::pin(async { outcome })
    }
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: watch::Sender<bool>,
    pub(crate) task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(fake: &Arc<Fake>, options: Options) -> Server {
        log::begin();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (shutdown, ended) = watch::channel(false);
        let control = Arc::clone(fake) as Arc<dyn Control>;
        let task = tokio::spawn(serve(vec![listener], control, options, ended));
        Server {
            address,
            shutdown,
            task,
        }
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.address).await
    }

    pub(crate) async fn ended(self) {
        within("the end of the server", self.task).await.unwrap();
    }
}

/// One request to a server of its own.
pub(crate) async fn ask(fake: &Arc<Fake>, request: &str) -> Answer {
    let server = Server::start(fake, Options::default()).await;
    server.client().await.ask(request).await
}
