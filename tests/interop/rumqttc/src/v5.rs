//! The client of MQTT 5.0.

use std::collections::HashMap;

use bytes::Bytes;
use rumqttc::Transport;
use rumqttc::v5::mqttbytes::v5::{
    ConnectProperties, ConnectReturnCode, Filter, LastWill, Packet, PubAckReason, PubRecReason,
    Publish, PublishProperties, SubscribeProperties, SubscribeReasonCode, UnsubAckReason,
};
use rumqttc::v5::mqttbytes::{QoS, qos};
use rumqttc::v5::{
    AsyncClient, ClientError, ConnectionError, Event, EventLoop, MqttOptions, StateError,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::{Given, PACKET_BYTES_MAX, REQUESTS, Wish, tell};

pub(crate) async fn run(given: &Given, wishes: mpsc::UnboundedReceiver<Wish>) {
    let mut options = MqttOptions::new(&given.client_id, given.address(), given.port);
    if given.websocket {
        options.set_transport(Transport::Ws);
    }
    let properties = ConnectProperties {
        session_expiry_interval: given.stays.then_some(given.session_expiry_s),
        receive_maximum: given.receive_maximum,
        max_packet_size: Some(given.packet_maximum.unwrap_or(PACKET_BYTES_MAX)),
        topic_alias_max: given.alias_maximum,
        ..ConnectProperties::new()
    };
    options
        .set_keep_alive(given.keep_alive())
        .set_clean_start(!given.stays)
        .set_credentials("whoever", &given.password)
        .set_manual_acks(given.hold)
        .set_connect_properties(properties);
    if let Some((topic, payload, level)) = &given.will {
        let level = qos(*level).expect("a QoS");
        let will = LastWill::new(topic, payload.clone(), level, false, None);
        options.set_last_will(will);
    }
    let (client, events) = AsyncClient::new(options, REQUESTS);
    let (held, taken) = mpsc::unbounded_channel();
    tokio::spawn(grant(client, wishes, taken));
    let listener = Listener {
        events,
        held,
        aliases: HashMap::new(),
        received: None,
    };
    listener.listen().await;
}

struct Listener {
    events: EventLoop,
    held: mpsc::UnboundedSender<Publish>,
    /// The library tells topics as they came: empty, if an alias stands for one.
    aliases: HashMap<u16, Bytes>,
    /// What the last PUBREC said.
    received: Option<PubRecReason>,
}

impl Listener {
    /// Tells what comes, to the end of the connection.
    async fn listen(mut self) {
        loop {
            match self.events.poll().await {
                Ok(Event::Incoming(packet)) => self.hear(packet),
                Ok(Event::Outgoing(_)) => {}
                Err(ConnectionError::ConnectionRefused(code)) => {
                    return tell("refused", json!(code_of(code)));
                }
                Err(ConnectionError::MqttState(StateError::ServerDisconnect {
                    reason_code,
                    reason_string,
                })) => return tell("end", json!([reason_code as u8, reason_string])),
                Err(error) => return tell("end", json!([null, error.to_string()])),
            }
        }
    }

    fn hear(&mut self, packet: Packet) {
        match packet {
            Packet::ConnAck(it) => {
                let assigned = it.properties.and_then(|it| it.assigned_client_identifier);
                tell("connack", json!([it.session_present, assigned]));
            }
            Packet::Publish(it) => {
                tell("message", self.message(&it));
                // Whoever grants wishes may be gone already.
                self.held.send(it).ok();
            }
            Packet::SubAck(it) => tell("suback", json!(it.return_codes.first().map(granted))),
            Packet::UnsubAck(it) => tell("unsuback", json!(it.reasons.first().map(ended))),
            Packet::PubAck(it) => tell("done", json!(acknowledged(it.reason))),
            // One that refuses is the end of its flow.
            Packet::PubRec(it) if received(it.reason) >= 0x80 => {
                tell("done", json!(received(it.reason)));
            }
            Packet::PubRec(it) => self.received = Some(it.reason),
            Packet::PubComp(_) => tell("done", json!(self.received.take().map(received))),
            Packet::PingResp(_) => tell("pingresp", json!(null)),
            _ => {}
        }
    }

    fn message(&mut self, publish: &Publish) -> Value {
        let properties = publish.properties.clone().unwrap_or_default();
        let mut topic = publish.topic.clone();
        if let Some(alias) = properties.topic_alias {
            if topic.is_empty() {
                topic = self.aliases.get(&alias).cloned().unwrap_or_default();
            }
            self.aliases.insert(alias, topic.clone());
        }
        json!({
            "topic": String::from_utf8_lossy(&topic),
            "payload": publish.payload.as_ref(),
            "qos": publish.qos as u8,
            "retain": publish.retain,
            "user": properties.user_properties,
            "content_type": properties.content_type,
            "response_topic": properties.response_topic,
            "correlation": properties.correlation_data.as_deref(),
            "expiry": properties.message_expiry_interval,
            "identifiers": properties.subscription_identifiers,
        })
    }
}

async fn grant(
    client: AsyncClient,
    mut wishes: mpsc::UnboundedReceiver<Wish>,
    mut held: mpsc::UnboundedReceiver<Publish>,
) {
    while let Some(wish) = wishes.recv().await {
        let granted = match wish {
            Wish::Acknowledge => {
                // Not what comes because of the first of them.
                for _ in 0..held.len() {
                    if let Ok(publish) = held.try_recv() {
                        client.ack(&publish).await.expect("acknowledged");
                    }
                }
                Ok(())
            }
            wish => grant_one(&client, wish).await,
        };
        granted.expect("the library takes it");
    }
}

async fn grant_one(client: &AsyncClient, wish: Wish) -> Result<(), ClientError> {
    match wish {
        Wish::Subscribe {
            filter,
            qos,
            no_local,
            identifier,
        } => {
            let filter = Filter {
                nolocal: no_local,
                ..Filter::new(filter, level(qos))
            };
            let properties = SubscribeProperties {
                id: identifier,
                user_properties: Vec::new(),
            };
            client
                .subscribe_many_with_properties([filter], properties)
                .await
        }
        Wish::Unsubscribe { filter } => client.unsubscribe(filter).await,
        Wish::Publish {
            topic,
            payload,
            qos,
            user,
            content_type,
            response_topic,
            correlation,
            expiry,
            alias,
        } => {
            let properties = PublishProperties {
                user_properties: user,
                content_type,
                response_topic,
                correlation_data: correlation.map(Bytes::from),
                message_expiry_interval: expiry,
                topic_alias: alias,
                ..PublishProperties::default()
            };
            client
                .publish_with_properties(topic, level(qos), false, payload, properties)
                .await
        }
        Wish::Acknowledge => Ok(()),
        Wish::Leave => client.disconnect().await,
    }
}

fn level(number: u8) -> QoS {
    qos(number).expect("a QoS")
}

fn granted(code: &SubscribeReasonCode) -> u8 {
    match code {
        SubscribeReasonCode::Success(qos) => *qos as u8,
        SubscribeReasonCode::NotAuthorized => 0x87,
        SubscribeReasonCode::TopicFilterInvalid => 0x8f,
        SubscribeReasonCode::QuotaExceeded => 0x97,
        _ => 0x80,
    }
}

fn ended(reason: &UnsubAckReason) -> u8 {
    match reason {
        UnsubAckReason::Success => 0,
        UnsubAckReason::NoSubscriptionExisted => 0x11,
        UnsubAckReason::NotAuthorized => 0x87,
        _ => 0x80,
    }
}

fn acknowledged(reason: PubAckReason) -> u8 {
    match reason {
        PubAckReason::Success => 0,
        PubAckReason::NoMatchingSubscribers => 0x10,
        PubAckReason::NotAuthorized => 0x87,
        PubAckReason::QuotaExceeded => 0x97,
        _ => 0x80,
    }
}

fn received(reason: PubRecReason) -> u8 {
    match reason {
        PubRecReason::Success => 0,
        PubRecReason::NoMatchingSubscribers => 0x10,
        PubRecReason::NotAuthorized => 0x87,
        PubRecReason::QuotaExceeded => 0x97,
        _ => 0x80,
    }
}

fn code_of(code: ConnectReturnCode) -> u8 {
    match code {
        ConnectReturnCode::BadUserNamePassword => 0x86,
        ConnectReturnCode::NotAuthorized => 0x87,
        _ => 0x80,
    }
}
