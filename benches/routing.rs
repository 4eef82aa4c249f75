//! What a publish and a bind cost in the router, by how much is bound: `cargo bench --bench routing`.
//!
//! The addresses of a bench are all that are bound, in a shuffled order, so a million of them are cold in the caches: the
//! worst case, not the usual one.  `bytes_for` measures memory: read its `max alloc`.

use std::cell::Cell;

use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher, black_box};
use restante::engine::address::{AddressLimits, Filter};
use restante::engine::routing::Router;
use restante::message::NewMessage;
use restante::registry::{Document, DocumentId, DocumentKind, Registry};
use restante::routes::{RouteTable, Sent};
use smallvec::SmallVec;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

const SIZES: [u64; 3] = [1_000, 100_000, 1_000_000];

fn main() {
    divan::main();
}

fn filter(text: &str) -> Filter {
    text.parse().expect("a filter")
}

/// A router with `n` filters bound to a target each.
fn router(n: u64, name: impl Fn(u64) -> String) -> Router<u64> {
    let mut router = Router::new();
    for i in 0..n {
        router.bind(&filter(&name(i)), i);
    }
    router
}

/// Publishes to the addresses of `0..n`, each `stride` after the one before: all of them, in no order a cache likes.
fn publish(
    bencher: Bencher<'_, '_>,
    router: &Router<u64>,
    n: u64,
    address: impl Fn(u64) -> String,
) {
    let stride = 611_953; // a prime, so no size is a multiple of it
    let addresses: Vec<String> = (0..n).map(|i| address(i * stride % n)).collect();
    let mut found = SmallVec::new();
    let mut turn = addresses.iter().cycle();
    bencher.counter(ItemsCount::new(1_u64)).bench_local(|| {
        let address = turn.next().expect("a cycle has no end");
        router.collect_unique(black_box(address), &mut found);
        found.len()
    });
}

#[divan::bench(args = SIZES, sample_size = 1_000, sample_count = 1_000)]
fn match_exact(bencher: Bencher<'_, '_>, n: u64) {
    let router = router(n, |i| format!("a/{i}"));
    publish(bencher, &router, n, |i| format!("a/{i}"));
}

/// As `match_exact`, but publishes go to a thousand of the addresses: what a busy broker is like.
#[divan::bench(args = SIZES, sample_size = 1_000, sample_count = 1_000)]
fn match_exact_warm(bencher: Bencher<'_, '_>, n: u64) {
    let router = router(n, |i| format!("a/{i}"));
    publish(bencher, &router, 1_000, |i| {
        format!("a/{}", i * (n / 1_000))
    });
}

/// What an administrator's routes and bindings cost together: as many of each, a message that one route renames, and the
/// queue that is bound there. Publishes go to a few of the addresses.
#[divan::bench(args = [10, 1_000, 100_000], sample_size = 1_000, sample_count = 200)]
fn route_and_match(bencher: Bencher<'_, '_>, n: u64) {
    let table = route_table(n);
    let bindings = router(n, |i| format!("out/{i}"));
    let message = NewMessage::default();
    let addresses: Vec<String> = (0..10).map(|i| format!("in/{}", i * (n / 10))).collect();
    let mut found = SmallVec::new();
    let mut turn = addresses.iter().cycle();
    bencher.counter(ItemsCount::new(1_u64)).bench_local(|| {
        let address = turn.next().expect("a cycle has no end");
        let sent = Sent {
            address: black_box(address),
            message: &message,
            id: b"1",
        };
        let routed = table.route(&sent).expect("each address has a route");
        let to = routed.to.first().expect("and that a target");
        bindings.collect_unique(to, &mut found);
        assert_eq!(found.len(), 1);
    });
}

fn route_table(n: u64) -> RouteTable {
    let routes = (0..n).map(|i| {
        let id = DocumentId {
            kind: DocumentKind::Route,
            realm: "default".into(),
            name: format!("route-{i}"),
        };
        let json = serde_json::json!({"filter": format!("in/{i}"), "to": [{"address": format!("out/{i}")}]});
        let route = serde_json::from_value(json).expect("a route");
        (id, Some(Document::Route(route)))
    });
    let registry = Registry::default().with(8, &routes.collect::<Vec<_>>());
    let mut tables = restante::routes::tables(&registry, AddressLimits::default());
    tables.remove("default").expect("the realm has routes")
}

/// As `match_exact`, with filters of five shapes beside, four of which match.
#[divan::bench(args = SIZES, sample_size = 1_000, sample_count = 1_000)]
fn match_exact_beside_wildcards(bencher: Bencher<'_, '_>, n: u64) {
    let mut router = router(n, |i| format!("a/{i}"));
    for (target, text) in ["#", "a/+", "a/#", "+/+", "a/+/b/+"]
        .into_iter()
        .enumerate()
    {
        router.bind(&filter(text), target as u64);
    }
    publish(bencher, &router, n, |i| format!("a/{i}"));
}

#[divan::bench(args = SIZES, sample_size = 1_000, sample_count = 1_000)]
fn match_wildcard(bencher: Bencher<'_, '_>, n: u64) {
    let router = router(n, |i| format!("device/{i}/+/state"));
    publish(bencher, &router, n, |i| format!("device/{i}/door/state"));
}

/// Filters that are prefixes of characters, all below one segment and of one length.
#[divan::bench(args = [1_000, 100_000], sample_size = 1_000, sample_count = 1_000)]
fn match_prefix(bencher: Bencher<'_, '_>, n: u64) {
    let router = router(n, |i| format!("com/{i:07}-#"));
    publish(bencher, &router, n, |i| format!("com/{i:07}-door/state"));
}

/// The same of sixteen lengths.
#[divan::bench(args = [1_000, 100_000], sample_size = 1_000, sample_count = 1_000)]
fn match_prefix_of_many_lengths(bencher: Bencher<'_, '_>, n: u64) {
    let text = |i: u64| format!("com/{i:07}{}", "-".repeat((i % 16) as usize));
    let router = router(n, |i| text(i) + "#");
    publish(bencher, &router, n, |i| text(i) + "door/state");
}

/// The worst that can be bound in 12 levels: 4,096 shapes, and none matches. Compare it with a limit on shapes.
#[divan::bench(args = [64, 1_024, 4_096], sample_size = 10)]
fn match_every_shape(bencher: Bencher<'_, '_>, n_shapes: u64) {
    let segment = |i: u64, level: u32| if i >> level & 1 == 1 { "+/" } else { "a/" };
    let text = |i| (0..12).map(|level| segment(i, level)).collect::<String>() + "x";
    let router = router(n_shapes, text);
    publish(bencher, &router, 1, |_| ["a"; 64].join("/"));
}

/// A bind with a snapshot before each that is kept until the next, as for a reader. The binds go on from `n`.
fn bind(bencher: Bencher<'_, '_>, n: u64, name: impl Fn(u64) -> String) {
    let mut router = router(n, &name);
    let mut reader = router.snapshot();
    let next = Cell::new(n);
    bencher
        .with_inputs(|| {
            next.set(next.get() + 1);
            (filter(&name(next.get())), next.get())
        })
        .bench_local_values(|(filter, target)| {
            let new = router.bind(&filter, target);
            reader = router.snapshot();
            assert!(new && reader.len() == router.len());
        });
}

#[divan::bench(args = SIZES, sample_size = 100, sample_count = 500)]
fn bind_exact(bencher: Bencher<'_, '_>, n: u64) {
    bind(bencher, n, |i| format!("a/{i}"));
}

#[divan::bench(args = SIZES, sample_size = 100, sample_count = 500)]
fn bind_wildcard(bencher: Bencher<'_, '_>, n: u64) {
    bind(bencher, n, |i| format!("device/{i}/+/state"));
}

#[divan::bench(args = [1_000, 100_000], sample_size = 100, sample_count = 500)]
fn bind_prefix(bencher: Bencher<'_, '_>, n: u64) {
    bind(bencher, n, |i| format!("com/{i:07}-#"));
}

/// The next subscriber of a topic that has `n`.
#[divan::bench(args = SIZES, sample_size = 100, sample_count = 500)]
fn bind_in_a_crowd(bencher: Bencher<'_, '_>, n: u64) {
    bind(bencher, n, |_| "a/b".into());
}

/// An unbind with a snapshot after each.
#[divan::bench(args = SIZES, sample_size = 1, sample_count = 500)]
fn unbind_exact(bencher: Bencher<'_, '_>, n: u64) {
    let mut router = router(n, |i| format!("a/{i}"));
    let mut reader = router.snapshot();
    let next = Cell::new(0);
    bencher
        .with_inputs(|| {
            next.set(next.get() + 1);
            (filter(&format!("a/{}", next.get())), next.get())
        })
        .bench_local_values(|(filter, target)| {
            assert!(router.unbind(&filter, &target));
            reader = router.snapshot();
            reader.len()
        });
}

/// One message to a topic with `n` subscribers.
#[divan::bench(args = SIZES, sample_size = 1, sample_count = 20)]
fn fan_out(bencher: Bencher<'_, '_>, n: u64) {
    let router = router(n, |_| "a/b".into());
    bencher.counter(ItemsCount::new(n)).bench_local(|| {
        let mut sum = 0;
        router.matches(black_box("a/b"), &mut |target| sum += target);
        sum
    });
}

#[divan::bench(args = ["a/{}", "device/{}/+/state", "device/{}/#"], sample_size = 1, sample_count = 1)]
fn bytes_for_a_million(text: &str) -> Router<u64> {
    router(1_000_000, |i| text.replace("{}", &i.to_string()))
}
