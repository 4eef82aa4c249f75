//! The loads of `restante bench`, small: that they go through, and that nothing is lost on the way.

use serde_json::Value;

use crate::process::{Process, RESTANTE, command};
use crate::server::Server;

/// The rows of `restante bench wamp` with these arguments.
fn wamp(server: &Server, url: &str, more: &[&str]) -> Vec<Value> {
    let mut command = command(RESTANTE);
    command
        .args([
            "bench",
            "wamp",
            "--json",
            "--url",
            url,
            "--seconds",
            "200ms",
        ])
        .args(["--warm-up", "0s", "--clients", "2", "--callees", "2"])
        .args([
            "--subscribers",
            "5",
            "--patterns",
            "1000",
            "--sessions",
            "3",
        ])
        .args(more)
        .arg("--data")
        .arg(server.data());
    let mut process = Process::start(&mut command);
    let status = process.wait();
    assert!(status.success(), "{url} {more:?}: {}", process.stderr());
    serde_json::from_str(&process.stdout()).expect("rows")
}

#[test]
fn a_small_load_of_wamp_loses_nothing_by_any_way() {
    let server = Server::start();
    let (raw, web) = (
        format!("rs://{}", server.clients()),
        format!("ws://{}/wamp", server.clients()),
    );
    for (url, serializer) in [
        (&raw, "json"),
        (&raw, "cbor"),
        (&web, "msgpack"),
        (&web, "ubjson"),
    ] {
        let scenario = [
            "--scenario",
            "rpc,events,fanout",
            "--serializer",
            serializer,
        ];
        for row in wamp(&server, url, &scenario) {
            assert_eq!(row["missing"], 0, "{url}: {row}");
            let rates = [&row["called_per_second"], &row["delivered_per_second"]];
            assert!(
                rates.iter().any(|it| it.as_f64() > Some(0.0)),
                "{url}: {row}"
            );
        }
    }
    let rows = wamp(&server, &raw, &["--scenario", "patterns,idle"]);
    let connections = rows.iter().filter(|row| row["connections"] == 3).count();
    let compared = rows.iter().filter(|row| row["ratio"].is_f64()).count();
    assert_eq!((rows.len(), connections, compared), (5, 1, 2), "{rows:?}");
}
