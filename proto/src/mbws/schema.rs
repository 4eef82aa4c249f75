//! The messages of `proto/mbws.proto` as prost derives them: the second opinion of the tests.
//!
//! `binary` reads and writes the same bytes by hand; `properties` compares the two on any frame. Here only the schema's
//! text is checked against these structs' numbers and against the tables.

use std::collections::BTreeMap;

use super::field::{Field, Verb};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Header {
    #[prost(oneof = "Arm", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12")]
    pub(super) verb: Option<Arm>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Arm {
    #[prost(message, tag = "1")]
    Open(Open),
    #[prost(message, tag = "2")]
    Opened(Opened),
    #[prost(message, tag = "3")]
    Hold(Hold),
    #[prost(message, tag = "4")]
    Send(Send),
    #[prost(message, tag = "5")]
    Consume(Consume),
    #[prost(message, tag = "6")]
    Credit(Credit),
    #[prost(message, tag = "7")]
    Settle(Settle),
    #[prost(message, tag = "8")]
    Cancel(Cancel),
    #[prost(message, tag = "9")]
    Confirm(Confirm),
    #[prost(message, tag = "10")]
    Deliver(Deliver),
    #[prost(message, tag = "11")]
    Error(Error),
    #[prost(message, tag = "12")]
    Close(Close),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub(super) enum Role {
    Client = 0,
    Broker = 1,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub(super) enum Accept {
    Both = 0,
    Text = 1,
    Binary = 2,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub(super) enum Mode {
    Queue = 0,
    Topic = 1,
    Browse = 2,
    Replay = 3,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub(super) enum SettleMode {
    Explicit = 0,
    Auto = 1,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Open {
    #[prost(uint32, optional, tag = "32")]
    pub(super) version: Option<u32>,
    #[prost(string, optional, tag = "33")]
    pub(super) session: Option<String>,
    #[prost(uint64, tag = "34")]
    pub(super) expiry: u64,
    #[prost(string, optional, tag = "35")]
    pub(super) name: Option<String>,
    #[prost(enumeration = "Role", tag = "36")]
    pub(super) role: i32,
    #[prost(enumeration = "Accept", tag = "37")]
    pub(super) accept: i32,
    #[prost(string, optional, tag = "38")]
    pub(super) user: Option<String>,
    #[prost(string, optional, tag = "39")]
    pub(super) password: Option<String>,
    #[prost(string, optional, tag = "40")]
    pub(super) token: Option<String>,
    #[prost(uint32, optional, tag = "41")]
    pub(super) heartbeat: Option<u32>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Opened {
    #[prost(string, optional, tag = "33")]
    pub(super) session: Option<String>,
    #[prost(uint64, optional, tag = "34")]
    pub(super) expiry: Option<u64>,
    #[prost(uint32, optional, tag = "41")]
    pub(super) heartbeat: Option<u32>,
    #[prost(bool, optional, tag = "42")]
    pub(super) resumed: Option<bool>,
    #[prost(uint64, optional, tag = "43")]
    pub(super) confirmed: Option<u64>,
    #[prost(uint32, optional, tag = "44")]
    pub(super) window: Option<u32>,
    #[prost(uint32, optional, tag = "45")]
    pub(super) max_frame: Option<u32>,
    #[prost(string, optional, tag = "46")]
    pub(super) broker: Option<String>,
    #[prost(string, optional, tag = "47")]
    pub(super) server: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Hold {
    #[prost(string, optional, tag = "2")]
    pub(super) consumer: Option<String>,
    #[prost(uint64, repeated, tag = "31")]
    pub(super) offsets: Vec<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Send {
    #[prost(uint64, optional, tag = "1")]
    pub(super) seq: Option<u64>,
    #[prost(string, optional, tag = "3")]
    pub(super) address: Option<String>,
    #[prost(string, optional, tag = "7")]
    pub(super) message_id: Option<String>,
    #[prost(string, optional, tag = "8")]
    pub(super) correlation_id: Option<String>,
    #[prost(string, optional, tag = "9")]
    pub(super) reply_to: Option<String>,
    #[prost(string, optional, tag = "10")]
    pub(super) content_type: Option<String>,
    #[prost(string, optional, tag = "11")]
    pub(super) key: Option<String>,
    #[prost(uint32, optional, tag = "12")]
    pub(super) priority: Option<u32>,
    #[prost(uint64, optional, tag = "13")]
    pub(super) ttl: Option<u64>,
    #[prost(bool, tag = "14")]
    pub(super) text: bool,
    #[prost(btree_map = "string, string", tag = "15")]
    pub(super) property: BTreeMap<String, String>,
    #[prost(uint64, optional, tag = "16")]
    pub(super) delay: Option<u64>,
    #[prost(bool, tag = "17")]
    pub(super) transient: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Consume {
    #[prost(uint64, optional, tag = "1")]
    pub(super) seq: Option<u64>,
    #[prost(string, optional, tag = "2")]
    pub(super) consumer: Option<String>,
    #[prost(string, optional, tag = "3")]
    pub(super) address: Option<String>,
    #[prost(uint64, optional, tag = "18")]
    pub(super) limit: Option<u64>,
    #[prost(enumeration = "Mode", tag = "19")]
    pub(super) mode: i32,
    #[prost(string, optional, tag = "20")]
    pub(super) from: Option<String>,
    #[prost(string, optional, tag = "21")]
    pub(super) filter: Option<String>,
    #[prost(enumeration = "SettleMode", tag = "22")]
    pub(super) settle: i32,
    #[prost(bool, tag = "23")]
    pub(super) exclusive: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Credit {
    #[prost(string, optional, tag = "2")]
    pub(super) consumer: Option<String>,
    #[prost(uint64, optional, tag = "18")]
    pub(super) limit: Option<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Settle {
    #[prost(uint64, optional, tag = "1")]
    pub(super) seq: Option<u64>,
    #[prost(string, optional, tag = "2")]
    pub(super) consumer: Option<String>,
    #[prost(uint64, optional, tag = "16")]
    pub(super) delay: Option<u64>,
    #[prost(uint64, repeated, tag = "24")]
    pub(super) accepted: Vec<u64>,
    #[prost(uint64, repeated, tag = "25")]
    pub(super) released: Vec<u64>,
    #[prost(uint64, repeated, tag = "26")]
    pub(super) rejected: Vec<u64>,
    #[prost(string, optional, tag = "28")]
    pub(super) reason: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Cancel {
    #[prost(uint64, optional, tag = "1")]
    pub(super) seq: Option<u64>,
    #[prost(string, optional, tag = "2")]
    pub(super) consumer: Option<String>,
    #[prost(string, optional, tag = "27")]
    pub(super) code: Option<String>,
    #[prost(string, optional, tag = "28")]
    pub(super) reason: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Confirm {
    #[prost(uint64, optional, tag = "29")]
    pub(super) upto: Option<u64>,
    #[prost(message, repeated, tag = "30")]
    pub(super) failed: Vec<Failure>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Failure {
    #[prost(uint64, optional, tag = "1")]
    pub(super) seq: Option<u64>,
    #[prost(string, optional, tag = "2")]
    pub(super) code: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Deliver {
    #[prost(string, optional, tag = "2")]
    pub(super) consumer: Option<String>,
    #[prost(string, optional, tag = "3")]
    pub(super) address: Option<String>,
    #[prost(uint64, optional, tag = "4")]
    pub(super) offset: Option<u64>,
    #[prost(uint32, optional, tag = "5")]
    pub(super) attempt: Option<u32>,
    #[prost(uint64, optional, tag = "6")]
    pub(super) timestamp: Option<u64>,
    #[prost(string, optional, tag = "7")]
    pub(super) message_id: Option<String>,
    #[prost(string, optional, tag = "8")]
    pub(super) correlation_id: Option<String>,
    #[prost(string, optional, tag = "9")]
    pub(super) reply_to: Option<String>,
    #[prost(string, optional, tag = "10")]
    pub(super) content_type: Option<String>,
    #[prost(string, optional, tag = "11")]
    pub(super) key: Option<String>,
    #[prost(uint32, optional, tag = "12")]
    pub(super) priority: Option<u32>,
    #[prost(uint64, optional, tag = "13")]
    pub(super) ttl: Option<u64>,
    #[prost(bool, tag = "14")]
    pub(super) text: bool,
    #[prost(btree_map = "string, string", tag = "15")]
    pub(super) property: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Error {
    #[prost(string, optional, tag = "27")]
    pub(super) code: Option<String>,
    #[prost(string, optional, tag = "28")]
    pub(super) reason: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Close {
    #[prost(string, optional, tag = "28")]
    pub(super) reason: Option<String>,
}

#[test]
fn the_schema_and_the_tables_agree() {
    let mut message = "";
    for line in include_str!("../../proto/mbws.proto").lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let ["message" | "enum", name, "{"] = words[..] {
            message = name;
        }
        let Some(at) = words.iter().position(|word| *word == "=") else {
            continue;
        };
        let name = match words[at - 1] {
            // Named for what each binding says of the body.
            "text" => "body-encoding".to_owned(),
            name => name.replace('_', "-"),
        };
        let number = words[at + 1].trim_end_matches(';').parse().ok();
        let in_table = match message {
            "Header" => Verb::from_name(&name).map(Verb::number),
            // Their numbers are their own.
            "" | "Failure" | "Role" | "Accept" | "Mode" | "SettleMode" => continue,
            _ => Field::from_name(&name).map(Field::number),
        };
        assert_eq!(in_table, number, "{line}");
    }
}
