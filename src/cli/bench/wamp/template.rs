//! A request, encoded once: each one sent is a copy of it with its own id and time.
//!
//! Every serializer has a form of a number that is as long for a small one as for the largest id, so the places never move.

use anyhow::Context;
use bytes::BytesMut;
use restante_proto::wamp::rawsocket::Frame;
use restante_proto::wamp::{ID_MAX, Message, Payload, Serializer, encode};

use super::door::Entrance;

/// In front of the time, to find it by.
const MARK: &[u8] = b"at:";
/// Digits of a time.
const DIGITS: usize = 20;
/// Digits of the largest id.
const ID_DIGITS: usize = 16;

/// A request that is sent many times.
#[derive(Debug, Clone)]
pub(super) struct Template {
    pub(super) bytes: BytesMut,
    serializer: Serializer,
    id_at: usize,
    time_at: usize,
}

impl Template {
    /// The request that `make` makes of an id and a payload, which is one string of `size` bytes.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn new(
        entrance: &Entrance,
        size: u32,
        make: impl FnOnce(u64, Payload) -> Message,
    ) -> anyhow::Result<Template> {
        let serializer = entrance.serializer;
        let mut text = format!("at:{:0DIGITS$}", 0);
        text.extend(std::iter::repeat_n(
            'x',
            (size as usize).saturating_sub(text.len()),
        ));
        let payload = Payload::from_single_text(serializer, &text)?;
        let mut body = BytesMut::new();
        encode(serializer, &make(ID_MAX, payload), &mut body)?;
        let mut bytes = BytesMut::new();
        let frame = Frame::Message(body.freeze());
        entrance.carrier.put(serializer, &frame, &mut bytes)?;
        let id_at = match serializer {
            Serializer::Json => find(&bytes, &decimal::<ID_DIGITS>(ID_MAX, b' ')),
            _ => find(&bytes, &binary(serializer, ID_MAX)),
        };
        Ok(Template {
            id_at: id_at.context("an id")?,
            time_at: find(&bytes, MARK).context("a time")? + MARK.len(),
            bytes,
            serializer,
        })
    }

    /// The next one, with this id, sent at `nanos`.
    pub(super) fn stamp(&mut self, id: u64, nanos: u64) {
        match self.serializer {
            Serializer::Json => self.patch(self.id_at, &decimal::<ID_DIGITS>(id, b' ')),
            other => self.patch(self.id_at, &binary(other, id)),
        }
        self.patch(self.time_at, &decimal::<DIGITS>(nanos, b'0'));
    }

    fn patch(&mut self, at: usize, with: &[u8]) {
        if let Some(place) = self.bytes.get_mut(at..at + with.len()) {
            place.copy_from_slice(with);
        }
    }
}

/// When the request was sent that this is the payload of; 0: none of ours.
pub(super) fn time_of(payload: &Payload) -> u64 {
    let time = || {
        let args = payload.raw_args()?;
        let at = find(args, MARK)? + MARK.len();
        let digits = args.get(at..at + DIGITS)?;
        let value = |n: u64, digit: &u8| n * 10 + u64::from(digit.wrapping_sub(b'0') % 10);
        Some(digits.iter().fold(0, value))
    };
    time().unwrap_or(0)
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|it| it == what)
}

fn binary(serializer: Serializer, id: u64) -> [u8; 8] {
    match serializer {
        Serializer::Ubjson => id.to_le_bytes(),
        _ => id.to_be_bytes(),
    }
}

/// Right-aligned.
fn decimal<const N: usize>(mut number: u64, fill: u8) -> [u8; N] {
    let mut digits = [fill; N];
    for place in digits.iter_mut().rev() {
        *place = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    digits
}

#[cfg(test)]
mod tests {
    use restante_proto::wamp::{Dict, Limits, decode};

    use super::super::carrier::Carrier;
    use super::*;

    #[test]
    fn what_is_stamped_is_found_again() {
        for carrier in [Carrier::RawSocket, Carrier::WebSocket] {
            for serializer in Serializer::ALL {
                let entrance = Entrance {
                    address: ([127, 0, 0, 1], 1).into(),
                    carrier,
                    host: String::new(),
                    path: String::new(),
                    serializer,
                    realm: String::new(),
                    user: None,
                    ticket: None,
                };
                let make = |request, payload| Message::Call {
                    request,
                    options: Dict::new(),
                    procedure: "a.b".to_owned(),
                    payload,
                };
                let mut template = Template::new(&entrance, 100, make).unwrap();
                template.stamp(ID_MAX - 1, 1);
                template.stamp(7, 1_234_567);
                let n_head = template.bytes.len() - body_bytes(carrier, &template);
                let body = template.bytes.clone().split_off(n_head).freeze();
                let decoded = decode(serializer, &body, &Limits::default());
                let Ok(Message::Call {
                    request, payload, ..
                }) = decoded
                else {
                    panic!("{serializer:?}: {decoded:?}");
                };
                assert_eq!((request, time_of(&payload)), (7, 1_234_567));
                let args = payload.args().unwrap();
                assert_eq!(args[0].as_str().map(str::len), Some(100));
            }
        }
    }

    /// A client's frame is masked with nothing: 4 bytes of RawSocket's head, 2 and 2 of a length and 4 of a mask of
    /// WebSocket's.
    fn body_bytes(carrier: Carrier, template: &Template) -> usize {
        let n_head = match (carrier, template.bytes.len()) {
            (Carrier::RawSocket, _) => 4,
            (Carrier::WebSocket, 0..132) => 6,
            (Carrier::WebSocket, _) => 8,
        };
        template.bytes.len() - n_head
    }
}
