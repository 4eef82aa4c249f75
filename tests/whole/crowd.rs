//! MQTT clients that come all at once, do not read, or are not there any more: each gets what it is due, and nobody else
//! waits for it.

use std::sync::Barrier;
use std::thread::scope;

use restante_proto::mqtt::{Connect, Packet, PacketId, Qos, ReasonCode, Version};

use crate::peer::{Gone, Over, Peer, connect, publish};
use crate::server::Server;
use crate::wait;

/// How many come at once.
const STORM: usize = 200;

fn attach(server: &Server, connect: Connect) -> Peer {
    let (peer, connack) = Peer::connect(server.clients(), Over::Tcp, connect).expect("connected");
    assert_eq!(connack.reason, ReasonCode::Success);
    peer
}

/// Somebody in good order, who subscribes to what it publishes.
struct Neighbour {
    peer: Peer,
    n: u32,
}

impl Neighbour {
    fn new(server: &Server) -> Neighbour {
        let connect = connect(Version::V5, "neighbour", &server.token(), true);
        let mut peer = attach(server, connect);
        let (code, _) = peer
            .subscribe("neighbour", Qos::AtMostOnce)
            .expect("answered");
        assert!(!code.is_error());
        Neighbour { peer, n: 0 }
    }

    /// It is served, now.
    fn goes_on(&mut self) {
        self.n += 1;
        let payload = self.n.to_string();
        let packet = publish(Qos::AtMostOnce, "neighbour", &payload, PacketId::FIRST);
        self.peer.send(&packet).expect("sent");
        match self.peer.receive().expect("a packet") {
            Packet::Publish(publish) => assert_eq!(publish.payload, payload),
            other => panic!("not a PUBLISH: {other:?}"),
        }
    }
}

#[test]
fn of_two_hundred_connections_with_one_client_id_one_is_left_with_the_session() {
    for version in [Version::V311, Version::V5] {
        let server = Server::start();
        let mut neighbour = Neighbour::new(&server);
        let token = server.token();
        let wish = connect(version, "storm", &token, false);
        let mut first = attach(&server, wish.clone());
        let (code, _) = first
            .subscribe("storm/#", Qos::ExactlyOnce)
            .expect("answered");
        assert_eq!(code, ReasonCode::GrantedQos2);
        let at_once = Barrier::new(STORM + 1);
        // Each of them is in, for a moment at least, or is told that it is taken over.
        let peers: Vec<Result<Peer, Gone>> = scope(|scope| {
            let rush = || {
                at_once.wait();
                let (peer, connack) = Peer::connect(server.clients(), Over::Tcp, wish.clone())?;
                match connack.reason {
                    ReasonCode::Success => assert!(connack.session_present),
                    // Somebody who came later was quicker.
                    ReasonCode::ServerBusy | ReasonCode::ServerUnavailable => {
                        return Err(Gone::Lost);
                    }
                    _ => panic!("{connack:?}"),
                }
                Ok(peer)
            };
            let rushing: Vec<_> = (0..STORM).map(|_| scope.spawn(rush)).collect();
            at_once.wait();
            neighbour.goes_on();
            let joined = rushing.into_iter().map(|it| it.join().expect("it is in"));
            joined.collect()
        });
        neighbour.goes_on();
        let mut writer = attach(&server, connect(version, "writer", &token, true));
        assert_eq!(
            writer.publish("storm/all", "for one"),
            Ok(ReasonCode::Success)
        );
        let mut n_received = 0;
        for peer in peers.into_iter().flatten().chain([first]) {
            n_received += u32::from(receives_or_is_told(peer, version));
        }
        assert_eq!(n_received, 1, "who is left has the session");
        wait::until("no connection is left but of the two", || {
            (server.metric("restante_mqtt_connections", "") == 2.0).then_some(())
        });
    }
}

/// Whether it gets the message; else it is told that another one has its session.
fn receives_or_is_told(mut peer: Peer, version: Version) -> bool {
    match peer.receive() {
        Ok(Packet::Publish(publish)) => {
            assert_eq!(&publish.payload[..], b"for one");
            true
        }
        Ok(Packet::Disconnect(disconnect)) => {
            assert_eq!(version, Version::V5);
            assert_eq!(disconnect.reason, ReasonCode::SessionTakenOver);
            assert_eq!(peer.receive(), Err(Gone::Lost));
            false
        }
        // 3.1.1 has no word for it.
        Err(Gone::Lost) => {
            assert_eq!(version, Version::V311);
            false
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_subscriber_that_does_not_read_costs_nobody_else_anything() {
    const BODY: usize = 64 * 1024;
    const MESSAGES: u32 = 1500;
    const GROWTH_KIB_MAX: u64 = 48 * 1024;
    let server = Server::start();
    let token = server.token();
    let mut lazy = Vec::new();
    for over in [Over::Tcp, Over::WebSocket] {
        let id = format!("lazy-{over:?}");
        let connect = connect(Version::V5, &id, &token, true);
        let (mut peer, _) = Peer::connect(server.clients(), over, connect).expect("connected");
        let (code, _) = peer.subscribe("flood", Qos::AtMostOnce).expect("answered");
        assert!(!code.is_error());
        lazy.push(peer);
    }
    let mut busy = attach(&server, connect(Version::V5, "busy", &token, true));
    let (code, _) = busy.subscribe("flood", Qos::AtMostOnce).expect("answered");
    assert!(!code.is_error());
    let mut neighbour = Neighbour::new(&server);
    neighbour.goes_on();
    let before = server.resident_kib();
    let body = "x".repeat(BODY);
    for _ in 0..MESSAGES {
        let packet = publish(Qos::AtMostOnce, "flood", &body, PacketId::FIRST);
        busy.send(&packet).expect("sent");
        // It reads: it gets all of them.
        assert!(matches!(busy.receive(), Ok(Packet::Publish(_))));
    }
    neighbour.goes_on();
    let after = server.resident_kib();
    let sent_kib = u64::from(MESSAGES) * BODY as u64 / 1024;
    println!("{sent_kib} KiB were sent; resident: {before} KiB, then {after} KiB");
    assert!(
        after < before + GROWTH_KIB_MAX,
        "from {before} to {after} KiB"
    );
    // What they missed is counted, and they go on from there once they read.
    assert!(server.metric("restante_messages_dropped_total", "") > 0.0);
    for peer in &mut lazy {
        assert!(matches!(peer.receive(), Ok(Packet::Publish(_))));
    }
}

#[test]
fn a_session_is_taken_over_from_a_client_that_is_not_there_any_more() {
    let server = Server::start();
    let token = server.token();
    let wish = connect(Version::V5, "reader", &token, false);
    // Silent, and its connection open: nobody has told the broker that it is gone.
    let mut gone = attach(&server, wish.clone());
    let (code, _) = gone
        .subscribe("orders/#", Qos::AtLeastOnce)
        .expect("answered");
    assert_eq!(code, ReasonCode::GrantedQos1);
    let mut writer = attach(&server, connect(Version::V5, "writer", &token, true));
    for n in 0..50 {
        let stored = writer.publish("orders/eu", &n.to_string());
        assert_eq!(stored, Ok(ReasonCode::Success));
    }
    let mut reader = attach(&server, wish);
    for n in 0..50 {
        match reader.receive().expect("a packet") {
            Packet::Publish(publish) => assert_eq!(publish.payload, n.to_string()),
            other => panic!("not a PUBLISH: {other:?}"),
        }
    }
    drop(gone);
}

#[test]
fn a_client_that_is_silent_for_too_long_is_given_up_and_what_it_had_goes_to_another() {
    let server = Server::start();
    let token = server.token();
    let filter = "$share/crew/work";
    let wish = Connect {
        keep_alive_secs: 1,
        ..connect(Version::V5, "gone", &token, true)
    };
    let mut gone = attach(&server, wish);
    let (code, _) = gone.subscribe(filter, Qos::AtLeastOnce).expect("answered");
    assert_eq!(code, ReasonCode::GrantedQos1);
    let mut other = attach(&server, connect(Version::V5, "other", &token, true));
    let mut writer = attach(&server, connect(Version::V5, "writer", &token, true));
    for n in 0..20 {
        assert_eq!(
            writer.publish("work", &n.to_string()),
            Ok(ReasonCode::Success)
        );
    }
    let (code, mut came) = other.subscribe(filter, Qos::AtLeastOnce).expect("answered");
    assert_eq!(code, ReasonCode::GrantedQos1);
    let mut numbers = Vec::new();
    while numbers.len() < 20 {
        let packet = match came.pop() {
            Some(packet) => packet,
            None => other.receive().expect("what the other one had"),
        };
        match packet {
            Packet::Publish(publish) => {
                numbers.push(String::from_utf8_lossy(&publish.payload).into_owned());
            }
            packet => panic!("not a PUBLISH: {packet:?}"),
        }
    }
    numbers.sort_by_key(|it| it.parse::<u32>().ok());
    let wanted: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    assert_eq!(numbers, wanted);
    wait::until("it is counted", || {
        let ended = server.metric("restante_mqtt_disconnects_total", "keep-alive");
        (ended >= 1.0).then_some(())
    });
    drop(gone);
}

#[test]
fn a_session_ends_when_its_expiry_has_passed() {
    let server = Server::start();
    let mut wish = connect(Version::V5, "passing", &server.token(), false);
    wish.properties.session_expiry_secs = Some(1);
    let mut peer = attach(&server, wish.clone());
    let (code, _) = peer
        .subscribe("orders/#", Qos::AtLeastOnce)
        .expect("answered");
    assert_eq!(code, ReasonCode::GrantedQos1);
    let is_known = || server.get("/api/v1/sessions").contains("passing");
    assert!(is_known());
    drop(peer);
    wait::until("it is over", || (!is_known()).then_some(()));
    let (_, connack) = Peer::connect(server.clients(), Over::Tcp, wish).expect("connected");
    assert!(!connack.session_present);
}
