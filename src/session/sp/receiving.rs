//! What a client gets: the consumer that its role begins with, deliveries on their way out, and their settlement.

use std::time::Instant;

use bytes::Bytes;
use restante_proto::mbws::Ranges;
use restante_proto::sp::{Hops, Role};
use smallvec::SmallVec;

use super::{
    CONSUMER, Dropped, HOPS, Outgoing, REPLIES, REPLIES_CREDIT, Session, Wish, end_of_pair,
};
use crate::broker::{Call, Consume, Delivery, Settle, Source};

impl Session {
    pub(super) fn begin(&mut self) {
        let address = self.client.address.to_string();
        let credit = self.client.options.credit.map(|it| u64::from(it.get()));
        let out = credit.unwrap_or(u64::from(self.settings.credit)).max(1);
        match self.client.role {
            Role::Push | Role::Pub => {}
            Role::Pull => self.consume(address, Source::Queue, out),
            Role::Sub => match self.client.options.durable.clone() {
                Some(name) => {
                    let queue = format!("{address}!{name}");
                    self.consume(queue, Source::Durable { filter: address }, out);
                }
                None => self.consume(address, Source::Topic, u64::MAX),
            },
            Role::Bus | Role::Respondent => self.consume(address, Source::Topic, u64::MAX),
            Role::Rep => {
                let at_once = credit.unwrap_or(u64::from(self.settings.requests)).max(1);
                self.consume(address, Source::Requests, at_once);
            }
            Role::Req | Role::Surveyor => {
                self.replies_credit = REPLIES_CREDIT;
                let wish = Consume {
                    consumer: REPLIES.to_owned(),
                    address: format!("~{REPLIES}"),
                    source: Source::Queue,
                    limit: REPLIES_CREDIT,
                    auto_settle: true,
                    exclusive: true,
                    retained: false,
                    shard: None,
                };
                self.call(Call::Consume(wish));
                self.beginning = Some(self.last);
            }
            Role::Pair | Role::Pair1 => match self.client.options.side {
                Some(side) => self.consume(end_of_pair(&address, side), Source::Queue, out),
                None => {
                    let version = u8::from(self.client.role == Role::Pair1);
                    self.consume(address, Source::Pair { version }, out);
                }
            },
        }
    }

    pub(super) fn consume(&mut self, address: String, source: Source, limit: u64) {
        // The pong behind a message says that the one before it was taken: with one message only nothing would be said.
        let pongs = self.has_pongs();
        let limit = limit.saturating_add(u64::from(pongs));
        self.credit = limit;
        let wish = Consume {
            consumer: CONSUMER.to_owned(),
            address,
            exclusive: self.client.options.side.is_some(),
            source,
            limit,
            auto_settle: false,
            retained: false,
            shard: None,
        };
        self.call(Call::Consume(wish));
        self.beginning = Some(self.last);
    }

    pub(super) fn delivered(&mut self, now: Instant, delivery: &Delivery) {
        let message = &delivery.message;
        match self.client.role {
            Role::Push | Role::Pub => {}
            Role::Pull => {
                self.put_out(SmallVec::new(), message.body.clone(), Some(delivery.offset))
            }
            Role::Sub => {
                let is_durable = self.client.options.durable.is_some();
                let offset = is_durable.then_some(delivery.offset);
                if self.client.options.wants(&message.body) {
                    self.put_out(SmallVec::new(), message.body.clone(), offset);
                } else if let Some(offset) = offset {
                    self.pass_over(offset);
                }
            }
            Role::Bus => self.put_out(SmallVec::new(), message.body.clone(), None),
            Role::Pair => {
                self.put_out(SmallVec::new(), message.body.clone(), Some(delivery.offset))
            }
            Role::Pair1 => {
                let hops = message.properties.get(HOPS);
                let hops = hops.and_then(|it| it.parse().ok()).map(Hops::of);
                match hops.map_or(Some(Hops::FIRST), |it| it.next(self.settings.hops_max)) {
                    Some(hops) => {
                        let header = SmallVec::from_slice(&hops.to_bytes());
                        self.put_out(header, message.body.clone(), Some(delivery.offset));
                    }
                    None => {
                        self.drop_message(Dropped::TooDeep);
                        self.pass_over(delivery.offset);
                    }
                }
            }
            Role::Req | Role::Surveyor => self.answered(delivery),
            Role::Rep => self.is_asked(now, delivery, Some(delivery.offset)),
            Role::Respondent => {
                if message.reply_to.is_some() {
                    self.is_asked(now, delivery, None);
                }
            }
        }
    }

    pub(super) fn put_out(&mut self, header: SmallVec<[u8; 32]>, body: Bytes, offset: Option<u64>) {
        self.under_way.extend(offset);
        self.out.push_back(Outgoing {
            header,
            body,
            is_counted: offset.is_some(),
        });
    }

    /// A delivery that is not for the client is settled at once.
    pub(super) fn pass_over(&mut self, offset: u64) {
        self.accept([offset].into_iter().collect());
        self.raise_credit(1);
    }

    pub(super) fn raise_credit(&mut self, by: u64) {
        self.credit = self.credit.saturating_add(by);
        self.wishes.push_back(Wish::Credit {
            consumer: CONSUMER,
            limit: self.credit,
        });
    }

    /// Deliveries are done with.
    pub(super) fn accept(&mut self, accepted: Ranges) {
        self.call(Call::Settle(Settle {
            consumer: CONSUMER.to_owned(),
            accepted,
            ..Settle::default()
        }));
    }

    /// They go to somebody else, and count as failed.
    pub(super) fn release(&mut self, released: Ranges) {
        self.call(Call::Settle(Settle {
            consumer: CONSUMER.to_owned(),
            released,
            ..Settle::default()
        }));
    }
}
