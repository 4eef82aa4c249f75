//! The client of MQTT 3.1.1.

use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, EventLoop, LastWill, MqttOptions,
    Packet, Publish, QoS, SubscribeReasonCode, Transport, qos,
};
use serde_json::json;
use tokio::sync::mpsc;

use crate::{Given, PACKET_BYTES_MAX, REQUESTS, Wish, tell};

pub(crate) async fn run(given: &Given, wishes: mpsc::UnboundedReceiver<Wish>) {
    let mut options = MqttOptions::new(&given.client_id, given.address(), given.port);
    if given.websocket {
        options.set_transport(Transport::Ws);
    }
    options
        .set_keep_alive(given.keep_alive())
        .set_clean_session(!given.stays)
        .set_credentials("whoever", &given.password)
        .set_manual_acks(given.hold)
        .set_max_packet_size(PACKET_BYTES_MAX as usize, PACKET_BYTES_MAX as usize);
    if let Some((topic, payload, level)) = &given.will {
        let level = qos(*level).expect("a QoS");
        options.set_last_will(LastWill::new(topic, payload.clone(), level, false));
    }
    let (client, events) = AsyncClient::new(options, REQUESTS);
    let (held, taken) = mpsc::unbounded_channel();
    tokio::spawn(grant(client, wishes, taken));
    listen(events, held).await;
}

/// Tells what comes, to the end of the connection.
async fn listen(mut events: EventLoop, held: mpsc::UnboundedSender<Publish>) {
    loop {
        match events.poll().await {
            Ok(Event::Incoming(packet)) => hear(packet, &held),
            Ok(Event::Outgoing(_)) => {}
            Err(ConnectionError::ConnectionRefused(code)) => {
                return tell("refused", json!(code_of(code)));
            }
            Err(error) => return tell("end", json!([null, error.to_string()])),
        }
    }
}

fn hear(packet: Packet, held: &mpsc::UnboundedSender<Publish>) {
    match packet {
        Packet::ConnAck(it) => tell("connack", json!([it.session_present, null])),
        Packet::Publish(it) => {
            tell(
                "message",
                json!({
                    "topic": it.topic, "payload": it.payload.as_ref(), "qos": it.qos as u8, "retain": it.retain,
                }),
            );
            // Whoever grants wishes may be gone already.
            held.send(it).ok();
        }
        Packet::SubAck(it) => tell("suback", json!(it.return_codes.first().map(granted))),
        Packet::UnsubAck(_) => tell("unsuback", json!(null)),
        Packet::PubAck(_) | Packet::PubComp(_) => tell("done", json!(0)),
        Packet::PingResp => tell("pingresp", json!(null)),
        _ => {}
    }
}

async fn grant(
    client: AsyncClient,
    mut wishes: mpsc::UnboundedReceiver<Wish>,
    mut held: mpsc::UnboundedReceiver<Publish>,
) {
    while let Some(wish) = wishes.recv().await {
        let granted = match wish {
            Wish::Subscribe { filter, qos, .. } => client.subscribe(filter, level(qos)).await,
            Wish::Unsubscribe { filter } => client.unsubscribe(filter).await,
            Wish::Publish {
                topic,
                payload,
                qos,
                ..
            } => client.publish(topic, level(qos), false, payload).await,
            Wish::Acknowledge => {
                // Not what comes because of the first of them.
                for _ in 0..held.len() {
                    if let Ok(publish) = held.try_recv() {
                        client.ack(&publish).await.expect("acknowledged");
                    }
                }
                Ok(())
            }
            Wish::Leave => client.disconnect().await,
        };
        granted.expect("the library takes it");
    }
}

fn level(number: u8) -> QoS {
    qos(number).expect("a QoS")
}

fn granted(code: &SubscribeReasonCode) -> u8 {
    match code {
        SubscribeReasonCode::Success(qos) => *qos as u8,
        SubscribeReasonCode::Failure => 0x80,
    }
}

fn code_of(code: ConnectReturnCode) -> u8 {
    code as u8
}
