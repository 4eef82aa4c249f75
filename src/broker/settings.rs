//! What the configuration says that concerns the broker.

use std::time::Duration;

use restante_storage::SessionNo;
use restante_storage::payload::DefineQueue;

use crate::access;
use crate::config::{Config, Disclose, SlowConsumer, UriCheck};
use crate::engine::address::{Address, AddressLimits, Filter, escape_segment};
use crate::router::{self, UriRules};

/// The realm that always exists.
pub const DEFAULT_REALM: &str = "default";

/// The broker's settings; defaults and ranges stand in the configuration's table (`config/schema.rs`).
#[derive(Debug, Clone)]
pub struct Settings {
    /// Limits of addresses and filters.
    pub address: AddressLimits,
    /// Clients attached at once.
    pub connections_max: usize,
    /// Of them, with one principal.
    pub connections_per_principal: usize,
    /// How long a session may outlive its socket.
    pub session_expiry_max: Duration,
    /// Sessions that outlive their sockets.
    pub sessions_max: usize,
    /// Consumers of one session.
    pub consumers_per_session: usize,
    /// Queues of one realm.
    pub queues_per_realm: usize,
    /// Whether a send makes the queue that its address lacks.
    pub create_on_send: bool,
    /// Whether a consumer makes the queue that its address lacks.
    pub create_on_consume: bool,
    /// Messages that a temporary queue holds.
    pub temp_messages_max: u64,
    /// Bytes that a temporary queue holds.
    pub temp_bytes_max: u64,
    /// Free bytes of the disk below which publishes are refused.
    pub free_low_bytes: u64,
    /// Time between checkpoints.
    pub checkpoint_interval: Duration,
    /// Bytes of log after which a checkpoint does not wait for its time.
    pub checkpoint_bytes: u64,
    /// Who is let in, as far as the configuration says.
    pub access: access::Settings,
    /// What MQTT sessions may cost.
    pub mqtt: MqttSettings,
    /// What WAMP sessions may cost.
    pub wamp: WampSettings,
    policies: Vec<(Filter, DefineQueue)>,
    defaults: DefineQueue,
}

/// What holds for MQTT sessions in the broker.
#[derive(Debug, Clone)]
pub struct MqttSettings {
    /// Messages that a session's own queue holds; what comes on top is dropped.
    pub session_messages_max: u64,
    /// Bytes that a session's own queue holds; what comes on top is dropped.
    pub session_bytes_max: u64,
    /// Whether QoS 0 messages are kept for sessions whose client is away.
    pub queue_qos0_offline: bool,
    /// How long the queue of a shared subscription waits for a member before it goes with all that waits in it.
    pub share_linger: Duration,
    /// Subscriptions of one session.
    pub subscriptions_max: usize,
    /// Messages that are kept at their addresses, in all realms.
    pub retained_max: usize,
}

/// What holds for WAMP sessions in the broker.
#[derive(Debug, Clone, Copy, Default)]
pub struct WampSettings {
    /// Of each realm's router.
    pub limits: router::Limits,
    /// Whether the session of a subscriber that does not take its events ends; else it misses them.
    pub ends_the_slow: bool,
    /// Whether callers and publishers are disclosed, where no session decides it: who calls by another door, and testaments.
    pub disclose: router::DisclosePolicy,
}

impl WampSettings {
    fn new(config: &Config) -> Self {
        let wamp = &config.wamp;
        WampSettings {
            limits: router::Limits {
                uri_rules: match wamp.uri_check {
                    UriCheck::Loose => UriRules::Loose,
                    UriCheck::Strict => UriRules::Strict,
                },
                uri_bytes_max: usize::try_from(config.limits.address_bytes).unwrap_or(usize::MAX),
                subscriptions_per_session_max: wamp.subscriptions_max,
                registrations_per_session_max: wamp.registrations_max,
                calls_per_caller_max: wamp.calls_max,
                ..router::Limits::default()
            },
            ends_the_slow: wamp.slow_consumer == SlowConsumer::Disconnect,
            disclose: match wamp.disclose {
                Disclose::Wished => router::DisclosePolicy::Asked,
                Disclose::Always => router::DisclosePolicy::Always,
                Disclose::Never => router::DisclosePolicy::Never,
            },
        }
    }
}

impl Settings {
    /// From a checked configuration.
    pub fn new(config: &Config) -> Self {
        let limits = &config.limits;
        let address = AddressLimits {
            bytes_max: usize::try_from(limits.address_bytes).unwrap_or(usize::MAX),
            segments_max: limits.address_segments,
        };
        let policies = config.queues.policies.iter().filter_map(|policy| {
            Some((
                Filter::parse(&policy.filter, address).ok()?,
                definition(&policy.limits),
            ))
        });
        Settings {
            address,
            connections_max: limits.connections,
            connections_per_principal: limits.connections_per_principal,
            session_expiry_max: limits.session_expiry,
            sessions_max: limits.sessions,
            consumers_per_session: limits.consumers_per_session,
            queues_per_realm: limits.queues_per_realm,
            create_on_send: config.queues.create_on_send,
            create_on_consume: config.queues.create_on_consume,
            temp_messages_max: 16_384,
            temp_bytes_max: 16 << 20,
            free_low_bytes: config.storage.free_low_bytes,
            checkpoint_interval: config.storage.checkpoint_interval,
            checkpoint_bytes: config.storage.checkpoint_bytes,
            access: access_settings(config),
            mqtt: MqttSettings::new(config),
            wamp: WampSettings::new(config),
            policies: policies.collect(),
            defaults: definition(&config.queues.defaults),
        }
    }

    /// The queue that is made for an address: named after it, bound to it, with the first policy that matches.
    pub(super) fn queue_definition(&self, realm: &str, address: &Address) -> DefineQueue {
        let policy = self
            .policies
            .iter()
            .find(|(filter, _)| filter.matches(address));
        DefineQueue {
            realm: realm.to_owned(),
            name: address.as_str().to_owned(),
            bindings: vec![address.as_str().to_owned()],
            ..policy.map_or(&self.defaults, |(_, policy)| policy).clone()
        }
    }
}

/// The name of an MQTT session's own queue.
pub(super) fn own_queue_name(client: &str) -> String {
    format!("$mqtt/{}", escape_segment(client))
}

/// The name of the queue that a group shares.
pub(super) fn shared_queue_name(group: &str, filter: &str) -> String {
    format!(
        "$share/{}/{}",
        escape_segment(group),
        escape_segment(filter)
    )
}

/// Whether MQTT clients have chosen a queue's name: their ids, their groups, their filters.
pub fn is_named_by_clients(queue: &str) -> bool {
    queue.starts_with("$mqtt/") || queue.starts_with("$share/")
}

impl MqttSettings {
    fn new(config: &Config) -> Self {
        let mqtt = &config.mqtt;
        MqttSettings {
            session_messages_max: mqtt.session_messages_max,
            session_bytes_max: mqtt.session_bytes_max,
            queue_qos0_offline: mqtt.queue_qos0_offline,
            share_linger: mqtt.share_linger,
            subscriptions_max: mqtt.subscriptions_max,
            retained_max: mqtt.retained_max,
        }
    }

    /// A session's own queue, bound to nothing yet.
    pub(super) fn own_queue(&self, realm: &str, client: &str, session: SessionNo) -> DefineQueue {
        DefineQueue {
            realm: realm.to_owned(),
            name: own_queue_name(client),
            max_messages: self.session_messages_max,
            max_bytes: self.session_bytes_max,
            sheds: true,
            session: session.get(),
            ..DefineQueue::default()
        }
    }

    /// The queue that a group shares.
    pub(super) fn shared_queue(&self, realm: &str, group: &str, filter: &str) -> DefineQueue {
        let linger = self.share_linger.as_millis();
        DefineQueue {
            realm: realm.to_owned(),
            name: shared_queue_name(group, filter),
            max_messages: self.session_messages_max,
            max_bytes: self.session_bytes_max,
            sheds: true,
            bindings: vec![filter.to_owned()],
            linger_ms: u64::try_from(linger).unwrap_or(u64::MAX).max(1),
            ..DefineQueue::default()
        }
    }
}

/// What the configuration says of access.
pub fn access_settings(config: &Config) -> access::Settings {
    access::Settings {
        issuers: config.access.issuers.clone(),
        attempts_per_minute: config.limits.auth_attempts,
        admin_password_file: config.access.admin_password_file.clone(),
        anonymous_role: config.access.anonymous_role.clone(),
    }
}

fn definition(limits: &crate::config::QueueLimits) -> DefineQueue {
    DefineQueue {
        ttl_ms: limits
            .ttl
            .map_or(0, |ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)),
        max_attempts: limits.max_attempts.unwrap_or(0),
        dead_letter: limits.dead_letter.clone(),
        max_messages: limits.max_messages.unwrap_or(0),
        max_bytes: limits.max_bytes.unwrap_or(0),
        ..DefineQueue::default()
    }
}
