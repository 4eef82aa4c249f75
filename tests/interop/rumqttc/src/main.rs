//! rumqttc, led by the hand: one connection, whose options are the argument, with a wish for each line of stdin and what
//! comes of it on stdout, all in JSON. `with_rumqttc.py` has the other end.
//!
//! It has a client for each version, which share nothing; `v4` and `v5` say the same of both.

mod v4;
mod v5;

use std::io::BufRead;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// Larger than what any scenario sends.
const PACKET_BYTES_MAX: u32 = 1024 * 1024;
/// How many requests may wait for the library.
const REQUESTS: usize = 16;

/// How to connect.
#[derive(Deserialize)]
struct Given {
    host: String,
    port: u16,
    websocket: bool,
    version: String,
    client_id: String,
    password: String,
    stays: bool,
    keep_alive_s: u64,
    /// Nothing is acknowledged before it is wished.
    hold: bool,
    session_expiry_s: u32,
    receive_maximum: Option<u16>,
    packet_maximum: Option<u32>,
    alias_maximum: Option<u16>,
    /// Topic, payload and QoS.
    will: Option<(String, Vec<u8>, u8)>,
}

impl Given {
    /// What the library takes for the broker's address.
    fn address(&self) -> String {
        if self.websocket {
            format!("ws://{}:{}/mqtt", self.host, self.port)
        } else {
            self.host.clone()
        }
    }

    fn keep_alive(&self) -> Duration {
        Duration::from_secs(self.keep_alive_s)
    }
}

/// A line of stdin.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
enum Wish {
    Subscribe {
        filter: String,
        qos: u8,
        no_local: bool,
        identifier: Option<usize>,
    },
    Unsubscribe {
        filter: String,
    },
    Publish {
        topic: String,
        payload: Vec<u8>,
        qos: u8,
        #[serde(default)]
        user: Vec<(String, String)>,
        content_type: Option<String>,
        response_topic: Option<String>,
        correlation: Option<Vec<u8>>,
        expiry: Option<u32>,
        alias: Option<u16>,
    },
    /// Of all that is held.
    Acknowledge,
    Leave,
}

#[tokio::main]
async fn main() {
    let given = std::env::args().nth(1).expect("the options");
    let given: Given = serde_json::from_str(&given).expect("options");
    let wishes = read_wishes();
    if given.version == "5.0" {
        v5::run(&given, wishes).await;
    } else {
        v4::run(&given, wishes).await;
    }
    // The thread that reads stdin is not waited for.
    std::process::exit(0);
}

fn read_wishes() -> mpsc::UnboundedReceiver<Wish> {
    let (wishes, taken) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let line = line.expect("a line of text");
            let wish = serde_json::from_str(&line).expect("a wish");
            if wishes.send(wish).is_err() {
                return;
            }
        }
    });
    taken
}

/// Says that something happened.
fn tell(event: &str, value: Value) {
    println!("{}", json!([event, value]));
}
